//! Opening (BOLT 2, channel establishment v1), as opener and as acceptor. Until the funding is signed
//! nothing is durable: a crash or a disconnection forgets it.
//!
//! A [`PendingOpen`] is handed from one function to the next; an error ends it, and gives the coins
//! back that were taken for it.

use std::collections::BTreeMap;

use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::secp256k1::PublicKey;
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::{ScriptBuf, Transaction};
use lightning::chain::transaction::OutPoint;
use lightning::ln::chan_utils::{ChannelPublicKeys, CounterpartyCommitmentSecrets};
use lightning::ln::msgs;
use lightning::ln::types::ChannelId;

use crate::channel::{Channel, ChannelError, Outbox};
use crate::commitment::{funding_script, sign_counterparty_commitment, verify_holder_commitment};
use crate::effect::{CommandError, Effect};
use crate::keys::Environment;
use crate::message::Message;
use crate::node::Policy;
use crate::record::{
    ChannelLimits, ChannelParameters, ChannelRecord, CounterpartyChanges, CounterpartyCommitment,
    FundingState, HolderChanges, HolderCommitment, OnchainRecord, RevokedSecrets, ShutdownState,
};
use crate::spec::CommitmentSpec;

mod messages;
mod terms;

/// What the user wants opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    /// With whom.
    pub peer: PublicKey,
    /// The user's idempotency key's digest.
    pub user_channel_id: [u8; 32],
    /// Satoshis.
    pub capacity_sat: u64,
    /// Given to the peer from the start, in millisatoshis.
    pub push_msat: u64,
    /// Whether gossip shall tell of it.
    pub announce: bool,
}

/// What both sides know of a channel before its funding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    temporary_channel_id: ChannelId,
    keys_id: [u8; 32],
    is_opener: bool,
    request: OpenRequest,
    feerate_per_kw: u32,
    minimum_depth: u32,
}

/// What the other side has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterpartyTerms {
    keys: ChannelPublicKeys,
    limits: ChannelLimits,
    /// Its point for commitment 0.
    first_point: PublicKey,
}

/// A channel that is being opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)]
pub enum PendingOpen {
    /// As opener: `open_channel` is sent.
    Offered(Terms),
    /// As opener: `accept_channel` came, the funding transaction is wanted.
    Accepted(Terms, CounterpartyTerms),
    /// As opener: `funding_created` is sent.
    Funded {
        /// What the record will be made of.
        parameters: ChannelParameters,
        /// The other's first commitment, signed.
        counterparty: CounterpartyCommitment,
        /// To be published once the record is durable.
        transaction: Transaction,
    },
    /// As acceptor: `accept_channel` is sent.
    Answered(Terms, CounterpartyTerms),
}

impl PendingOpen {
    /// The channel's id, once `funding_created` is sent: the peer uses it from then on.
    pub fn channel_id(&self) -> Option<ChannelId> {
        match self {
            PendingOpen::Funded { parameters, .. } => Some(parameters.channel_id),
            PendingOpen::Offered(_) | PendingOpen::Accepted(..) | PendingOpen::Answered(..) => None,
        }
    }

    /// Whether the holder has a transaction that funds it.
    pub fn is_funded(&self) -> bool {
        matches!(self, PendingOpen::Funded { .. })
    }

    /// Whether the peer opens it.
    pub fn is_by_peer(&self) -> bool {
        matches!(self, PendingOpen::Answered(..))
    }

    /// The user's idempotency key's digest for an opener; else all zero.
    pub fn user_channel_id(&self) -> [u8; 32] {
        match self {
            PendingOpen::Offered(terms)
            | PendingOpen::Accepted(terms, _)
            | PendingOpen::Answered(terms, _) => terms.request.user_channel_id,
            PendingOpen::Funded { parameters, .. } => parameters.user_channel_id,
        }
    }

    /// Gives it up: the coins taken for it are free again. Nothing was published.
    pub fn abandon(self, out: &mut Outbox) {
        if let PendingOpen::Funded { transaction, .. } = self {
            out.now(Effect::Unfund { transaction });
        }
    }
}

/// As opener: sends `open_channel`.
///
/// # Errors
///
/// [`CommandError::Refused`]: what is asked for is outside of this node's terms.
pub fn begin(
    environment: &Environment,
    policy: &Policy,
    request: OpenRequest,
    entropy: [u8; 32],
    out: &mut Outbox,
) -> Result<(ChannelId, PendingOpen), CommandError> {
    let limits = terms::holder_limits(request.capacity_sat);
    terms::check_capacity(request.capacity_sat)
        .and_then(|()| {
            terms::check_opener_affords(
                request.capacity_sat,
                request.push_msat,
                policy.feerate_per_kw,
                limits.reserve_sat,
                terms::HTLCS_TO_AFFORD,
            )
        })
        .map_err(CommandError::Refused)?;
    let terms = Terms {
        temporary_channel_id: ChannelId(labelled(&entropy, "temporary channel id")),
        keys_id: labelled(&entropy, "keys id"),
        is_opener: true,
        request,
        feerate_per_kw: policy.feerate_per_kw,
        minimum_depth: policy.minimum_depth,
    };
    let message = messages::open_channel(environment, &terms, &limits);
    out.send_now(terms.request.peer, Message::OpenChannel(message));
    Ok((terms.temporary_channel_id, PendingOpen::Offered(terms)))
}

/// As acceptor: answers `open_channel` with `accept_channel`.
///
/// # Errors
///
/// [`ChannelError::Close`]: BOLT 2, "The `open_channel` Message", or this node's terms do not allow it.
pub fn accept(
    environment: &Environment,
    policy: &Policy,
    peer: PublicKey,
    message: &msgs::OpenChannel,
    entropy: [u8; 32],
    out: &mut Outbox,
) -> Result<PendingOpen, ChannelError> {
    terms::check_open(message).map_err(ChannelError::Close)?;
    let fields = &message.common_fields;
    let terms = Terms {
        temporary_channel_id: fields.temporary_channel_id,
        keys_id: labelled(&entropy, "keys id"),
        is_opener: false,
        request: OpenRequest {
            peer,
            user_channel_id: [0; 32],
            capacity_sat: fields.funding_satoshis,
            push_msat: message.push_msat,
            announce: fields.channel_flags & 1 == 1,
        },
        feerate_per_kw: fields.commitment_feerate_sat_per_1000_weight,
        minimum_depth: policy.minimum_depth.max(1),
    };
    let counterparty = messages::terms_of_opener(message);
    let answer = messages::accept_channel(environment, &terms);
    out.send_now(peer, Message::AcceptChannel(answer));
    Ok(PendingOpen::Answered(terms, counterparty))
}

/// As opener: `accept_channel` came; asks for the funding transaction.
///
/// # Errors
///
/// [`ChannelError`]: BOLT 2, "The `accept_channel` Message", or this node's terms do not allow it, or not now.
pub fn handle_accept_channel(
    environment: &Environment,
    pending: PendingOpen,
    message: &msgs::AcceptChannel,
    out: &mut Outbox,
) -> Result<PendingOpen, ChannelError> {
    let PendingOpen::Offered(mut terms) = pending else {
        return Err(untimely(pending, "accept_channel", out));
    };
    let (request, feerate_per_kw) = (&terms.request, terms.feerate_per_kw);
    terms::check_accept(
        message,
        request.capacity_sat,
        request.push_msat,
        feerate_per_kw,
    )
    .map_err(ChannelError::Close)?;
    let fields = &message.common_fields;
    // A channel before its funding is in a block takes trust that nobody asked for.
    terms.minimum_depth = fields.minimum_depth.max(1);
    let counterparty = messages::terms_of_acceptor(message);
    out.now(Effect::Fund {
        temporary_channel_id: terms.temporary_channel_id,
        script: funding_output_script(environment, &terms.keys_id, &counterparty.keys),
        amount_sat: terms.request.capacity_sat,
    });
    Ok(PendingOpen::Accepted(terms, counterparty))
}

/// As opener: the funding transaction is there; sends `funding_created`. From here on the peer calls
/// the channel by [`PendingOpen::channel_id`].
///
/// # Errors
///
/// [`ChannelError`]: there is no such transaction, it does not pay to the channel, or nobody asked for it.
pub fn handle_funded(
    environment: &Environment,
    pending: PendingOpen,
    transaction: Result<Transaction, String>,
    out: &mut Outbox,
) -> Result<PendingOpen, ChannelError> {
    let transaction = transaction.map_err(ChannelError::Close)?;
    let PendingOpen::Accepted(terms, counterparty) = pending else {
        out.now(Effect::Unfund { transaction });
        return Err(untimely(pending, "a funding transaction", out));
    };
    let script = funding_output_script(environment, &terms.keys_id, &counterparty.keys);
    let Some(funding) = output_paying(&transaction, &script, terms.request.capacity_sat) else {
        out.now(Effect::Unfund { transaction });
        let wrong = "the funding transaction does not pay to the channel";
        return Err(ChannelError::Close(wrong.to_owned()));
    };
    let (peer, temporary_channel_id) = (terms.request.peer, terms.temporary_channel_id);
    let commitment = CounterpartyCommitment {
        number: 0,
        spec: first_spec(&terms),
        point: counterparty.first_point,
    };
    let parameters = parameters(environment, terms, counterparty, funding);
    let (signature, _) = sign_counterparty_commitment(environment, &parameters, &commitment);
    out.send_now(
        peer,
        Message::FundingCreated(msgs::FundingCreated {
            temporary_channel_id,
            funding_txid: funding.txid,
            funding_output_index: funding.index,
            signature,
        }),
    );
    Ok(PendingOpen::Funded {
        parameters,
        counterparty: commitment,
        transaction,
    })
}

/// As acceptor: `funding_created` came, the tip being at this height. The channel's first record is wanted,
/// then `funding_signed` is sent.
///
/// # Errors
///
/// [`ChannelError`]: the signature is wrong, or nothing of the kind is expected (BOLT 2, "The `funding_created`
/// Message").
pub fn handle_funding_created(
    environment: &Environment,
    pending: PendingOpen,
    message: &msgs::FundingCreated,
    height: u32,
    out: &mut Outbox,
) -> Result<Channel, ChannelError> {
    let PendingOpen::Answered(terms, counterparty) = pending else {
        return Err(untimely(pending, "funding_created", out));
    };
    let funding = OutPoint {
        txid: message.funding_txid,
        index: message.funding_output_index,
    };
    let commitment = CounterpartyCommitment {
        number: 0,
        spec: first_spec(&terms),
        point: counterparty.first_point,
    };
    let parameters = parameters(environment, terms, counterparty, funding);
    let mut record = first_record(environment, parameters, commitment, message.signature, None)?;
    record.funding.accepted_at = Some(height);
    let (signature, _) =
        sign_counterparty_commitment(environment, &record.parameters, &record.counterparty);
    let channel = Channel::created(record, out);
    let answer = msgs::FundingSigned {
        channel_id: channel.id(),
        signature,
    };
    channel.send(Message::FundingSigned(answer), out);
    Ok(channel)
}

/// As opener: `funding_signed` came. The channel's first record is wanted, then the funding transaction
/// is published: not before, or a crash would leave coins in an output that nobody remembers.
///
/// # Errors
///
/// [`ChannelError`]: the signature is wrong, or nothing of the kind is expected (BOLT 2, "The `funding_signed`
/// Message").
pub fn handle_funding_signed(
    environment: &Environment,
    pending: PendingOpen,
    message: &msgs::FundingSigned,
    out: &mut Outbox,
) -> Result<Channel, ChannelError> {
    let PendingOpen::Funded {
        parameters,
        counterparty,
        transaction,
    } = pending
    else {
        return Err(untimely(pending, "funding_signed", out));
    };
    let record = match first_record(
        environment,
        parameters,
        counterparty,
        message.signature,
        Some(transaction.clone()),
    ) {
        Ok(record) => record,
        Err(error) => {
            out.now(Effect::Unfund { transaction });
            return Err(error);
        }
    };
    let channel = Channel::created(record, out);
    out.after(
        channel.store(),
        Effect::Broadcast {
            channel_id: channel.id(),
            transactions: vec![transaction],
        },
    );
    Ok(channel)
}

fn untimely(pending: PendingOpen, what: &str, out: &mut Outbox) -> ChannelError {
    pending.abandon(out);
    ChannelError::Close(format!("{what} came at a wrong time"))
}

/// Independent bytes for one purpose out of an input's entropy.
fn labelled(entropy: &[u8; 32], label: &str) -> [u8; 32] {
    let mut engine = sha256::Hash::engine();
    engine.input(entropy);
    engine.input(label.as_bytes());
    sha256::Hash::from_engine(engine).to_byte_array()
}

fn funding_output_script(
    environment: &Environment,
    keys_id: &[u8; 32],
    counterparty: &ChannelPublicKeys,
) -> ScriptBuf {
    let holder = environment.channel_points(keys_id).funding_pubkey;
    funding_script(&holder, &counterparty.funding_pubkey).to_p2wsh()
}

fn output_paying(transaction: &Transaction, script: &ScriptBuf, sat: u64) -> Option<OutPoint> {
    let index = transaction
        .output
        .iter()
        .position(|output| output.script_pubkey == *script && output.value.to_sat() == sat)?;
    Some(OutPoint {
        txid: transaction.compute_txid(),
        index: u16::try_from(index).ok()?,
    })
}

fn first_spec(terms: &Terms) -> CommitmentSpec {
    let (capacity_msat, push_msat) = (terms.request.capacity_sat * 1000, terms.request.push_msat);
    let opener_msat = capacity_msat.saturating_sub(push_msat);
    let (holder_msat, counterparty_msat) = if terms.is_opener {
        (opener_msat, push_msat)
    } else {
        (push_msat, opener_msat)
    };
    CommitmentSpec {
        feerate_per_kw: terms.feerate_per_kw,
        holder_msat,
        counterparty_msat,
        htlcs: BTreeMap::new(),
    }
}

fn parameters(
    environment: &Environment,
    terms: Terms,
    counterparty: CounterpartyTerms,
    funding: OutPoint,
) -> ChannelParameters {
    ChannelParameters {
        channel_id: ChannelId::v1_from_funding_outpoint(funding),
        user_channel_id: terms.request.user_channel_id,
        counterparty_node_id: terms.request.peer,
        keys_id: terms.keys_id,
        is_opener: terms.is_opener,
        capacity_sat: terms.request.capacity_sat,
        funding,
        announce: terms.request.announce,
        minimum_depth: terms.minimum_depth,
        counterparty_keys: counterparty.keys,
        holder_limits: terms::holder_limits(terms.request.capacity_sat),
        counterparty_limits: counterparty.limits,
        holder_shutdown_script: environment.destination_script.clone(),
    }
}

/// The record that both sides start with, if the other's signature of the holder's first commitment is
/// right.
fn first_record(
    environment: &Environment,
    parameters: ChannelParameters,
    counterparty: CounterpartyCommitment,
    signature: Signature,
    transaction: Option<Transaction>,
) -> Result<ChannelRecord, ChannelError> {
    let holder = HolderCommitment {
        number: 0,
        spec: counterparty.spec.clone(),
        signature,
        htlc_signatures: Vec::new(),
    };
    verify_holder_commitment(environment, &parameters, &holder)
        .map_err(|error| ChannelError::Close(error.to_string()))?;
    Ok(ChannelRecord {
        sequence: 1,
        parameters,
        funding: FundingState {
            transaction,
            ..FundingState::default()
        },
        holder,
        counterparty,
        next_counterparty: None,
        counterparty_next_point: None,
        counterparty_secrets: RevokedSecrets(CounterpartyCommitmentSecrets::new()),
        revoked_htlcs: BTreeMap::new(),
        holder_changes: HolderChanges::default(),
        counterparty_changes: CounterpartyChanges::default(),
        next_htlc_id: 0,
        next_counterparty_htlc_id: 0,
        inbound: BTreeMap::new(),
        outbound: BTreeMap::new(),
        events: Vec::new(),
        shutdown: ShutdownState::default(),
        closure: None,
        onchain: OnchainRecord::default(),
    })
}
