//! Words for what happens in a world: traces and complaints are read by people.

use std::collections::BTreeMap;

use bitcoin::secp256k1::PublicKey;
use lightning::ln::types::ChannelId;

use crate::effect::{Content, Effect, Store, UserEvent};
use crate::input::Command;
use crate::message::Message;
use crate::update::{EntryContent, UpdateStep};

/// What nodes and channels are called.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Nodes by id.
    pub nodes: BTreeMap<PublicKey, char>,
    /// Channels by id, as `A-B`.
    pub channels: BTreeMap<ChannelId, String>,
}

impl Names {
    /// A node's letter.
    pub fn node(&self, node_id: &PublicKey) -> char {
        self.nodes.get(node_id).copied().unwrap_or('?')
    }

    /// A channel's name.
    pub fn channel(&self, channel_id: &ChannelId) -> String {
        match self.channels.get(channel_id) {
            Some(name) => name.clone(),
            None => format!("channel {}", short(&channel_id.0)),
        }
    }

    /// A store's name.
    pub fn store(&self, store: &Store) -> String {
        match store {
            Store::Monitor(channel_id) => self.channel(channel_id),
            Store::Payment(payment_id) => format!("payment {}", short(payment_id)),
        }
    }

    /// What a user commands.
    pub fn command(&self, node: char, command: &Command) -> String {
        let words = match command {
            Command::Open { peer, .. } => format!("open to {}", self.node(peer)),
            Command::Close { channel_id } => format!("close {}", self.channel(channel_id)),
            Command::ForceClose { channel_id } => {
                format!("force-close {}", self.channel(channel_id))
            }
            Command::Pay(pay) => format!("pay {}", short(&pay.payment_id)),
            Command::Claim { .. } => "claim".to_owned(),
            Command::Fail { payment_hash } => format!("fail {}", short(&payment_hash.0)),
            Command::FeeRate { sat_per_kw } => format!("fee rate {sat_per_kw}"),
        };
        format!("{node} command {words}")
    }

    /// A message, with its HTLC or number.
    pub fn message(&self, message: &Message) -> String {
        let detail = match message {
            Message::UpdateAddHtlc(m) => format!(" {} of {} msat", m.htlc_id, m.amount_msat),
            Message::UpdateFulfillHtlc(m) => format!(" {}", m.htlc_id),
            Message::UpdateFailHtlc(m) => format!(" {}", m.htlc_id),
            Message::UpdateFailMalformedHtlc(m) => format!(" {}", m.htlc_id),
            Message::ChannelReestablish(m) => format!(
                " next {} {}",
                m.next_local_commitment_number, m.next_remote_commitment_number
            ),
            Message::Error(m) => format!(": {}", m.data),
            Message::Warning(m) => format!(": {}", m.data),
            _ => String::new(),
        };
        let channel = message.channel_id().map(|id| self.channel(&id));
        format!("{} {}{detail}", message.name(), channel.unwrap_or_default())
    }

    /// An effect.
    pub fn effect(&self, effect: &Effect) -> String {
        match effect {
            Effect::Persist(write) => {
                let store = self.store(&write.store);
                format!(
                    "persist {store} {}: {}",
                    write.sequence,
                    content(&write.content)
                )
            }
            Effect::Trim {
                channel_id,
                from,
                to,
            } => format!("trim {} {from} to {to}", self.channel(channel_id)),
            Effect::ForgetPayment { payment_id } => format!("forget {}", short(payment_id)),
            Effect::Archive { channel_id } => format!("archive {}", self.channel(channel_id)),
            Effect::Send { message, .. } => format!("send {}", self.message(message)),
            Effect::Broadcast { channel_id, .. } => {
                format!("broadcast {}", self.channel(channel_id))
            }
            Effect::BumpCommitment { channel_id, .. } => {
                format!("publish commitment {}", self.channel(channel_id))
            }
            Effect::BumpHtlcs {
                channel_id, htlcs, ..
            } => format!(
                "publish {} second stages {}",
                htlcs.len(),
                self.channel(channel_id)
            ),
            Effect::Tell { id, event } => format!("tell {} {}", id.0, self.event(event)),
            Effect::Answer { id, result } => format!("answer {id} {result:?}"),
            Effect::Fund { amount_sat, .. } => format!("fund {amount_sat} sat"),
            Effect::Unfund { .. } => "unfund".to_owned(),
            Effect::FindRoute { payment_id, .. } => format!("find route {}", short(payment_id)),
            Effect::AnnounceChannel { .. } => "announce channel".to_owned(),
            Effect::AnnouncePolicy { .. } => "announce policy".to_owned(),
            Effect::Disconnect { peer } => format!("disconnect {}", self.node(peer)),
            Effect::DropSends { channel_id } => format!("drop sends {}", self.channel(channel_id)),
        }
    }

    /// What a user is told.
    pub fn event(&self, event: &UserEvent) -> String {
        match event {
            UserEvent::ChannelPending { channel_id, .. } => {
                format!("ChannelPending {}", self.channel(channel_id))
            }
            UserEvent::ChannelReady { channel_id, .. } => {
                format!("ChannelReady {}", self.channel(channel_id))
            }
            UserEvent::ChannelClosed { channel_id, reason } => {
                format!("ChannelClosed {}: {reason}", self.channel(channel_id))
            }
            UserEvent::PaymentClaimable { payment_hash, .. } => {
                format!("PaymentClaimable {}", short(&payment_hash.0))
            }
            UserEvent::PaymentClaimed { payment_hash, .. } => {
                format!("PaymentClaimed {}", short(&payment_hash.0))
            }
            UserEvent::PaymentSent { payment_id, .. } => {
                format!("PaymentSent {}", short(payment_id))
            }
            UserEvent::PaymentFailed {
                payment_id, reason, ..
            } => format!("PaymentFailed {}: {reason}", short(payment_id)),
            UserEvent::PaymentPart {
                payment_id,
                claimed,
                ..
            } => format!("PaymentPart {} claimed: {claimed}", short(payment_id)),
            UserEvent::PaymentForwarded {
                inbound,
                outbound,
                fee_msat,
                ..
            } => format!(
                "PaymentForwarded {} {} fee {fee_msat:?}",
                self.channel(inbound),
                self.channel(outbound)
            ),
            UserEvent::HtlcHandlingFailed { inbound, reason } => {
                format!("HtlcHandlingFailed {}: {reason}", self.channel(inbound))
            }
        }
    }
}

/// The first bytes of an id.
pub fn short(id: &[u8; 32]) -> String {
    id.iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn content(content: &Content) -> String {
    match content {
        Content::Snapshot(_) => "snapshot".to_owned(),
        Content::Payment(record) => format!("payment, outcome {:?}", record.outcome.is_some()),
        Content::Entry(entry) => match &entry.content {
            EntryContent::Acks(keys) => keys
                .iter()
                .map(|key| format!("ack {:?} {}", key.kind, key.htlc_id))
                .collect::<Vec<_>>()
                .join(", "),
            EntryContent::Update(update) => {
                update.steps.iter().map(step).collect::<Vec<_>>().join(", ")
            }
        },
    }
}

/// A step's name: what comes before its fields in Rust's own notation.
fn step(step: &UpdateStep) -> String {
    let words = format!("{step:?}");
    let name: String = words.chars().take_while(|c| c.is_alphanumeric()).collect();
    match step {
        UpdateStep::LatestHolderCommitment {
            number, changes, ..
        }
        | UpdateStep::LatestCounterpartyCommitment {
            number, changes, ..
        } => format!("{name} {number} with {} changes", changes.len()),
        UpdateStep::CommitmentSecret { number, .. } => format!("{name} {number}"),
        UpdateStep::HtlcIrrevocablyCommitted { htlc_id }
        | UpdateStep::FulfillHtlc { htlc_id, .. }
        | UpdateStep::PaymentPreimage { htlc_id, .. } => format!("{name} {htlc_id}"),
        _ => name,
    }
}
