//! What monitors tell the manager. An event stays in its monitor's record until exactly it is
//! acknowledged; its key survives a crash, because it says what the event is about and not when it came.
//!
//! The seed's `MonitorEvent`s; `corrections.md`, 1, 2, 6, 11.

use lightning::ln::types::ChannelId;
use lightning::types::payment::{PaymentHash, PaymentPreimage};

use crate::source::{HtlcSource, InboundHtlcId};
use crate::spec::HtlcAdd;

/// What kind of event; with an HTLC's id it is the event's identity on its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// [`MonitorEvent::HtlcAccepted`]; the id is an inbound one.
    Accepted,
    /// [`MonitorEvent::ForwardedHtlcClaimed`]; the id is an outbound one.
    Claimed,
    /// [`MonitorEvent::ForwardedHtlcFailed`]; the id is an outbound one.
    Failed,
    /// [`MonitorEvent::InboundMppClaimPersisted`]; the id is an inbound one.
    MppClaim,
    /// [`MonitorEvent::HolderForceClosed`]; the id is 0.
    HolderForceClosed,
    /// [`MonitorEvent::CommitmentTxConfirmed`]; the id is 0.
    CommitmentTxConfirmed,
}

/// An event's identity on its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey {
    /// What kind.
    pub kind: EventKind,
    /// BOLT 2's id of the HTLC it is about, in the direction that the kind says.
    pub htlc_id: u64,
}

/// The parts of a claim of a payment to this node. Each part's monitor holds the whole list, so that
/// any one that survives completes the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MppClaim {
    /// The payment.
    pub payment_hash: PaymentHash,
    /// Its preimage, pinned by the deferred event.
    pub preimage: PaymentPreimage,
    /// All of it, in millisatoshis.
    pub amount_msat: u64,
    /// Every part.
    pub parts: Vec<InboundHtlcId>,
}

/// How an outbound HTLC failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The peer's encrypted failure onion.
    Onion(Vec<u8>),
    /// The peer could not read the onion (BOLT 2's `update_fail_malformed_htlc`).
    Malformed {
        /// Of the onion it saw.
        sha256_of_onion: [u8; 32],
        /// With BADONION set.
        failure_code: u16,
    },
    /// It was failed on chain, or before it was ever committed: this node says so itself.
    Local {
        /// BOLT 4's code.
        failure_code: u16,
    },
}

/// What a monitor tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MonitorEvent {
    /// An inbound HTLC is irrevocably committed on both sides: it may be forwarded or kept.
    HtlcAccepted {
        /// It, with its onion.
        add: HtlcAdd,
    },
    /// An outbound HTLC's preimage is known: by the peer's word, or on chain.
    ForwardedHtlcClaimed {
        /// Which.
        htlc_id: u64,
        /// Its preimage, pinned by this event.
        preimage: PaymentPreimage,
        /// Its amount, in millisatoshis.
        amount_msat: u64,
        /// Where it came from.
        source: HtlcSource,
        /// The preimage was seen on chain.
        from_onchain: bool,
    },
    /// An outbound HTLC is irrevocably gone without a preimage.
    ForwardedHtlcFailed {
        /// Which.
        htlc_id: u64,
        /// Its hash.
        payment_hash: PaymentHash,
        /// Where it came from.
        source: HtlcSource,
        /// What the peer said.
        failure: Failure,
    },
    /// A part of a claim has its preimage durable. Deferred: told only at a start.
    InboundMppClaimPersisted {
        /// The part.
        htlc_id: u64,
        /// The whole claim.
        claim: MppClaim,
    },
    /// This node has decided to publish its commitment.
    HolderForceClosed {
        /// Why.
        reason: String,
    },
    /// A commitment is in a block.
    CommitmentTxConfirmed,
}

impl MonitorEvent {
    /// Its identity on its channel.
    pub fn key(&self) -> EventKey {
        let key = |kind, htlc_id| EventKey { kind, htlc_id };
        match self {
            MonitorEvent::HtlcAccepted { add } => key(EventKind::Accepted, add.htlc_id),
            MonitorEvent::ForwardedHtlcClaimed { htlc_id, .. } => key(EventKind::Claimed, *htlc_id),
            MonitorEvent::ForwardedHtlcFailed { htlc_id, .. } => key(EventKind::Failed, *htlc_id),
            MonitorEvent::InboundMppClaimPersisted { htlc_id, .. } => {
                key(EventKind::MppClaim, *htlc_id)
            }
            MonitorEvent::HolderForceClosed { .. } => key(EventKind::HolderForceClosed, 0),
            MonitorEvent::CommitmentTxConfirmed => key(EventKind::CommitmentTxConfirmed, 0),
        }
    }

    /// The source of the outbound HTLC that this event resolves, if it resolves one.
    pub fn resolved_source(&self) -> Option<&HtlcSource> {
        match self {
            MonitorEvent::ForwardedHtlcClaimed { source, .. }
            | MonitorEvent::ForwardedHtlcFailed { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Whether the event may be told before the write that creates it is durable. Knowing a
    /// preimage is monotone, and telling it early gets it upstream sooner; a failure or an accept
    /// that a crash takes back would be told of something that never happened.
    pub fn may_surface_early(&self) -> bool {
        matches!(self, MonitorEvent::ForwardedHtlcClaimed { .. })
    }

    /// Whether it tells of an HTLC to forward or to receive.
    pub fn is_accept(&self) -> bool {
        matches!(self, MonitorEvent::HtlcAccepted { .. })
    }

    /// Whether the event is told at a start only (the seed's deferred restart events).
    pub fn is_deferred(&self) -> bool {
        matches!(self, MonitorEvent::InboundMppClaimPersisted { .. })
    }
}

/// An event of a channel, as the manager meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The channel whose monitor holds it.
    pub channel_id: ChannelId,
    /// Which of its events.
    pub key: EventKey,
}
