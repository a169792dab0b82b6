//! The node: channels, forwards, payments. `step` takes one input and says what is to be done.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitcoin::BlockHash;
use bitcoin::secp256k1::PublicKey;
use lightning::ln::types::ChannelId;

use crate::channel::{Channel, Outbox};
use crate::effect::{Ordered, Store};
use crate::input::{Input, Surroundings};
use crate::keys::Environment;
use crate::payment::PaymentRecord;
use crate::record::ChannelRecord;
use crate::source::PaymentId;
use crate::update::LogEntry;

/// This node's policy. The same in every life unless the user changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What a commitment's fee rate should be, in satoshis per 1000 weight units.
    pub feerate_per_kw: u32,
    /// For forwarding, in millisatoshis.
    pub fee_base_msat: u32,
    /// For forwarding, in millionths of what is forwarded.
    pub fee_proportional_millionths: u32,
    /// Between an inbound expiry and the outbound one, in blocks.
    pub cltv_expiry_delta: u16,
    /// Confirmations that a channel needs.
    pub minimum_depth: u32,
    /// Unacknowledged events of a channel above which nothing is forwarded or sent over it.
    pub maximum_unacknowledged_events: usize,
}

/// The tip that the node has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BestBlock {
    /// Height.
    pub height: u32,
    /// Hash.
    pub hash: BlockHash,
}

/// A channel as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChannel {
    /// The last whole write.
    pub snapshot: ChannelRecord,
    /// The entries after it. Entries up to the snapshot's sequence are passed over: they are what a
    /// crash left of a trim.
    pub entries: Vec<LogEntry>,
}

/// Everything that was durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Channels.
    pub channels: Vec<StoredChannel>,
    /// Own payments. May all be missing: HTLCs are resolved all the same.
    pub payments: Vec<PaymentRecord>,
}

/// A store that the node cannot start from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A log that does not fit its snapshot.
    #[error("channel {channel_id}: {error}")]
    Log {
        /// Which channel.
        channel_id: ChannelId,
        /// What.
        error: crate::channel::ApplyError,
    },
}

/// The node.
#[derive(Clone)]
pub struct Node {
    /// What never changes.
    pub environment: Arc<Environment>,
    /// Its policy.
    pub policy: Policy,
    /// Its channels, closed ones too until they are archived.
    pub channels: BTreeMap<ChannelId, Channel>,
    /// Its own payments.
    pub payments: BTreeMap<PaymentId, PaymentRecord>,
    /// The tip.
    pub best_block: BestBlock,
    pub(crate) peers: BTreeMap<PublicKey, ()>,
}

impl Node {
    /// A node from what is stored (nothing at the first start), that has seen the chain up to
    /// `best_block`. Returns it with what its start wants done and how far its stores are durable:
    /// what [`crate::engine::Engine::new`] takes.
    #[allow(clippy::type_complexity)]
    pub fn load(
        _environment: Arc<Environment>,
        _policy: Policy,
        _stored: Stored,
        _best_block: BestBlock,
    ) -> Result<(Node, Vec<Ordered>, Vec<(Store, u64)>), LoadError> {
        unimplemented!()
    }

    /// Handles one input. All that follows is in the effects, in order.
    pub fn step(&mut self, _input: Input, _surroundings: Surroundings) -> Vec<Ordered> {
        let mut out = Outbox::default();
        out.take()
    }
}
