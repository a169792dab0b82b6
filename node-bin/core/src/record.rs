//! A channel's record: all that is durable about it. The channel's negotiation state is part of it, so
//! no second record can be staler than the first.
//!
//! The seed's state of a `ChannelMonitor`; `corrections.md`, 10.

use std::collections::BTreeMap;

use bitcoin::secp256k1::PublicKey;
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::{ScriptBuf, Transaction};
use lightning::chain::transaction::OutPoint;
use lightning::ln::chan_utils::{ChannelPublicKeys, CounterpartyCommitmentSecrets};
use lightning::ln::types::ChannelId;
use lightning::types::payment::{PaymentHash, PaymentPreimage};

use crate::event::MonitorEvent;
use crate::source::HtlcSource;
use crate::spec::{Change, CommitmentSpec, Direction, HtlcAdd};

/// The limits that one side announced at the opening; they bind the other side (BOLT 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelLimits {
    /// Outputs below this many satoshis are left out of its commitment.
    pub dust_limit_sat: u64,
    /// What the other side may have pending towards it, in millisatoshis.
    pub max_htlc_value_in_flight_msat: u64,
    /// What the other side has to keep, in satoshis.
    pub reserve_sat: u64,
    /// The least the other side may offer, in millisatoshis.
    pub htlc_minimum_msat: u64,
    /// How many blocks the other side's own outputs wait.
    pub to_self_delay: u16,
    /// How many HTLCs the other side may have pending.
    pub max_accepted_htlcs: u16,
}

/// What is fixed when a channel is funded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelParameters {
    /// From the funding output (BOLT 2).
    pub channel_id: ChannelId,
    /// The user's idempotency key's digest for an opener; else all zero.
    pub user_channel_id: [u8; 32],
    /// The other side.
    pub counterparty_node_id: PublicKey,
    /// From it and the node's seed follow all secrets of the channel.
    pub keys_id: [u8; 32],
    /// Whether the holder opened the channel, and so pays its fees.
    pub is_opener: bool,
    /// Satoshis.
    pub capacity_sat: u64,
    /// The funding output.
    pub funding: OutPoint,
    /// The channel is to be announced.
    pub announce: bool,
    /// Confirmations the holder waits for.
    pub minimum_depth: u32,
    /// The counterparty's points.
    pub counterparty_keys: ChannelPublicKeys,
    /// What the holder announced: binds the counterparty.
    pub holder_limits: ChannelLimits,
    /// What the counterparty announced: binds the holder.
    pub counterparty_limits: ChannelLimits,
    /// Where the holder's balance goes at a cooperative close.
    pub holder_shutdown_script: ScriptBuf,
}

/// The holder's newest commitment, signed by the counterparty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderCommitment {
    /// BOLT 3's number, from 0.
    pub number: u64,
    /// What it holds.
    pub spec: CommitmentSpec,
    /// The counterparty's, of the transaction.
    pub signature: Signature,
    /// The counterparty's, of the HTLC transactions, in output order.
    pub htlc_signatures: Vec<Signature>,
}

/// A commitment of the counterparty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterpartyCommitment {
    /// BOLT 3's number, from 0.
    pub number: u64,
    /// What it holds.
    pub spec: CommitmentSpec,
    /// Its commitment point.
    pub point: PublicKey,
}

/// The counterparty's next commitment: signed by the holder, the one before not yet revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCommitment {
    /// It.
    pub commitment: CounterpartyCommitment,
    /// The holder's commitment number when it was signed: tells after a reconnection whether
    /// `commitment_signed` or `revoke_and_ack` went first.
    pub holder_number: u64,
}

/// The holder's changes on their way into both commitments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HolderChanges {
    /// In the counterparty's next commitment, which is signed and unrevoked.
    pub signed: Vec<Change>,
    /// In the counterparty's commitment for good; not yet in the holder's.
    pub acked: Vec<Change>,
}

/// The counterparty's changes on their way into both commitments. (Those that it has not signed
/// yet are no part of the record: BOLT 2 forgets them with the connection.)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CounterpartyChanges {
    /// In the holder's commitment; not yet in the counterparty's.
    pub acked: Vec<Change>,
    /// In the counterparty's next commitment too, which is signed and unrevoked.
    pub signed: Vec<Change>,
}

/// How an inbound HTLC is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// With a failure onion for the sender.
    Fail {
        /// The onion.
        reason: Vec<u8>,
    },
    /// Its onion could not be read.
    Malformed {
        /// Of the onion.
        sha256_of_onion: [u8; 32],
        /// With BADONION set.
        failure_code: u16,
    },
}

/// What is to become of an inbound HTLC. A claim replaces a rejection, never the other way round. It does so
/// even if the rejection is signed: until the peer's removal is irrevocable, a commitment that holds the HTLC
/// may be published and the HTLC claimed from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It is claimed.
    Claimed {
        /// With this.
        preimage: PaymentPreimage,
    },
    /// It is refused.
    Rejected {
        /// How.
        rejection: Rejection,
    },
}

/// An HTLC that the counterparty offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundHtlc {
    /// It, with its onion.
    pub add: HtlcAdd,
    /// It is irrevocably committed on both sides.
    pub committed: bool,
    /// What is to become of it, once that is decided; sent when the channel's turn comes.
    pub resolution: Option<Resolution>,
    /// Sequence of the update that decided it.
    pub resolved_by: Option<u64>,
    /// Sequence of the update that signed its removal.
    pub removed_by: Option<u64>,
}

impl ChannelRecord {
    /// The preimage that an HTLC of this hash was claimed with, by either side.
    pub fn preimage_of(&self, hash: &PaymentHash) -> Option<PaymentPreimage> {
        let outbound = self.outbound.values();
        let outbound = outbound.map(|htlc| (htlc.add.payment_hash, htlc.preimage));
        let inbound = self.inbound.values();
        let inbound = inbound.map(|htlc| (htlc.add.payment_hash, htlc.preimage()));
        let mut claimed = outbound.chain(inbound);
        claimed.find_map(|(of, preimage)| preimage.filter(|_| of == *hash))
    }

    /// Whether the holder has signed a commitment that removes this inbound HTLC as refused, which is not revoked
    /// yet: a claim came after it.
    pub fn is_refusal_signed(&self, htlc_id: u64) -> bool {
        let signed = self.holder_changes.signed.iter();
        let mut signed = signed.chain(&self.holder_changes.acked);
        signed.any(|change| {
            !matches!(change, Change::Fulfill { .. }) && change.removes() == Some(htlc_id)
        })
    }
}

impl InboundHtlc {
    /// Its preimage, if it is claimed.
    pub fn preimage(&self) -> Option<PaymentPreimage> {
        match &self.resolution {
            Some(Resolution::Claimed { preimage }) => Some(*preimage),
            _ => None,
        }
    }
}

/// An HTLC that the holder offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundHtlc {
    /// It, with its onion.
    pub add: HtlcAdd,
    /// Where it came from.
    pub source: HtlcSource,
    /// Sequence of the update that signed it.
    pub added_by: u64,
    /// Known once the counterparty claimed it.
    pub preimage: Option<PaymentPreimage>,
    /// It was failed upstream before the chain had decided, because the inbound HTLC was about to
    /// expire.
    pub failed_back: bool,
}

/// An event and the write that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingEvent {
    /// It.
    pub event: MonitorEvent,
    /// Sequence of the update that made it.
    pub made_by: u64,
}

/// What the counterparty has revoked: BOLT 3's shachain.
#[derive(Clone, PartialEq, Eq)]
pub struct RevokedSecrets(pub CounterpartyCommitmentSecrets);

impl std::fmt::Debug for RevokedSecrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "down to index {}", self.0.get_min_seen_secret())
    }
}

/// An HTLC that has an output of its own in a commitment which the counterparty revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevokedHtlcRecord {
    /// Which way.
    pub direction: Direction,
    /// Its id in that direction.
    pub htlc_id: u64,
    /// Its hash.
    pub payment_hash: PaymentHash,
    /// Absolute height.
    pub cltv_expiry: u32,
    /// Millisatoshis.
    pub amount_msat: u64,
}

/// What a commitment that the counterparty revoked has to be punished with beside its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevokedCommitment {
    /// Its HTLCs that are not dust, in ascending order of direction and id.
    pub htlcs: Vec<RevokedHtlcRecord>,
}

/// How far the funding has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FundingState {
    /// The opener's funding transaction. Older releases dropped it when it was confirmed.
    pub transaction: Option<Transaction>,
    /// Height and place in the block, once confirmed.
    pub confirmed: Option<(u32, u32)>,
    /// The holder sent `channel_ready`.
    pub holder_ready: bool,
    /// The counterparty's came.
    pub counterparty_ready: bool,
    /// The counterparty's announcement signatures, by its node's and by its funding key.
    pub announcement: Option<(Signature, Signature)>,
    /// The tip's height when the holder, as acceptor, signed the channel. `None`: the holder opened it, or an
    /// older release accepted it.
    pub accepted_at: Option<u32>,
}

impl FundingState {
    /// The holder's funding transaction, as long as no block has it.
    pub fn unconfirmed(&self) -> Option<&Transaction> {
        self.transaction
            .as_ref()
            .filter(|_| self.confirmed.is_none())
    }
}

/// How a channel ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closure {
    /// By agreement; the transaction is signed by both.
    Cooperative {
        /// It.
        transaction: Transaction,
    },
    /// By a commitment.
    Forced {
        /// Why, for the user.
        reason: String,
        /// Whether the holder's commitment may be published.
        broadcast: bool,
    },
}

impl Closure {
    /// Whether it is by a commitment of the holder's that may be published.
    pub fn is_published(&self) -> bool {
        matches!(
            self,
            Closure::Forced {
                broadcast: true,
                ..
            }
        )
    }
}

/// A cooperative close under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShutdownState {
    /// The holder sent `shutdown` with this script.
    pub holder: Option<ScriptBuf>,
    /// The counterparty's came with this one.
    pub counterparty: Option<ScriptBuf>,
}

/// A transaction in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenTransaction {
    /// It.
    pub transaction: Transaction,
    /// The block's height.
    pub height: u32,
}

/// What the chain has said about a channel's end. A reorganisation takes things out again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnchainRecord {
    /// What spends the funding output.
    pub funding_spend: Option<SeenTransaction>,
    /// What spends outputs of that, and of second-stage transactions; in the order of the chain.
    pub spends: Vec<SeenTransaction>,
}

/// All that is durable about a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRecord {
    /// Sequence of the last log entry that is part of it.
    pub sequence: u64,
    /// What does not change.
    pub parameters: ChannelParameters,
    /// How far the funding has come.
    pub funding: FundingState,
    /// The holder's newest commitment.
    pub holder: HolderCommitment,
    /// The counterparty's newest commitment that it has not revoked and has to keep to.
    pub counterparty: CounterpartyCommitment,
    /// The one after, while the holder waits for `revoke_and_ack`.
    pub next_counterparty: Option<SignedCommitment>,
    /// The counterparty's point for the commitment after its newest; known from `channel_ready` on.
    pub counterparty_next_point: Option<PublicKey>,
    /// What it has revoked.
    pub counterparty_secrets: RevokedSecrets,
    /// The HTLCs of what it has revoked, by the commitment's number; those without any are left out.
    pub revoked_htlcs: BTreeMap<u64, RevokedCommitment>,
    /// The holder's changes under way.
    pub holder_changes: HolderChanges,
    /// The counterparty's changes under way.
    pub counterparty_changes: CounterpartyChanges,
    /// Id of the holder's next HTLC.
    pub next_htlc_id: u64,
    /// Id of the counterparty's next HTLC.
    pub next_counterparty_htlc_id: u64,
    /// HTLCs that the counterparty offered, until their removal is irrevocable.
    pub inbound: BTreeMap<u64, InboundHtlc>,
    /// HTLCs that the holder offered, until their removal is irrevocable.
    pub outbound: BTreeMap<u64, OutboundHtlc>,
    /// Events that are not acknowledged, in the order in which they came; deferred ones among them.
    pub events: Vec<PendingEvent>,
    /// A cooperative close under way.
    pub shutdown: ShutdownState,
    /// How it ended, once it has.
    pub closure: Option<Closure>,
    /// What the chain has said about its end.
    pub onchain: OnchainRecord,
}
