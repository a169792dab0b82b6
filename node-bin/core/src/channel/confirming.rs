//! From a signed funding to a usable channel: confirmations and `channel_ready` (BOLT 2).

use lightning::ln::msgs;
use lightning::util::scid_utils::scid_from_parts;

use crate::channel::{Channel, ChannelError, Connection, Outbox};
use crate::commitment::funding_script;
use crate::input::PlacedTransaction;
use crate::keys::Environment;
use crate::message::Message;
use crate::record::ChannelRecord;
use crate::update::UpdateStep;

impl ChannelRecord {
    /// BOLT 7's short channel id, once the funding is in a block.
    pub fn short_channel_id(&self) -> Option<u64> {
        let (height, index) = self.funding.confirmed?;
        let output = u64::from(self.parameters.funding.index);
        scid_from_parts(u64::from(height), u64::from(index), output).ok()
    }

    /// Confirmations of the funding at this height of the tip.
    pub fn confirmations(&self, best_height: u32) -> u32 {
        match self.funding.confirmed {
            Some((height, _)) => (best_height + 1).saturating_sub(height),
            None => 0,
        }
    }

    /// Whether both sides have said `channel_ready`.
    pub fn is_ready(&self) -> bool {
        self.funding.holder_ready && self.funding.counterparty_ready
    }
}

/// The funding transaction is in a block. What it pays is checked only now: the acceptor has never seen
/// it.
pub fn funding_seen(
    channel: &mut Channel,
    environment: &Environment,
    height: u32,
    placed: &PlacedTransaction,
    out: &mut Outbox,
) -> Result<(), ChannelError> {
    let transaction_index = placed.index;
    if channel.record.funding.confirmed == Some((height, transaction_index)) {
        return Ok(());
    }
    let parameters = &channel.record.parameters;
    let holder = environment.channel_points(&parameters.keys_id);
    let script = funding_script(
        &holder.funding_pubkey,
        &parameters.counterparty_keys.funding_pubkey,
    )
    .to_p2wsh();
    let pays = placed
        .transaction
        .output
        .get(usize::from(parameters.funding.index))
        .is_some_and(|output| {
            output.script_pubkey == script && output.value.to_sat() == parameters.capacity_sat
        });
    if !pays {
        let wrong = "the funding transaction does not pay to the channel";
        return Err(ChannelError::Close(wrong.to_owned()));
    }
    let step = UpdateStep::FundingConfirmed {
        height,
        transaction_index,
    };
    channel.commit(vec![step], out)
}

/// A reorganisation took the funding out again, if it was above `new_tip_height`.
pub fn funding_unseen(
    channel: &mut Channel,
    new_tip_height: u32,
    out: &mut Outbox,
) -> Result<(), ChannelError> {
    match channel.record.funding.confirmed {
        Some((height, _)) if height > new_tip_height => {
            channel.commit(vec![UpdateStep::FundingUnconfirmed], out)
        }
        _ => Ok(()),
    }
}

/// Says `channel_ready` once the funding is deep enough; at every other time does nothing.
pub fn depth_reached(
    channel: &mut Channel,
    environment: &Environment,
    best_height: u32,
    out: &mut Outbox,
) -> Result<(), ChannelError> {
    let record = &channel.record;
    let is_deep = record.funding.confirmed.is_some()
        && record.confirmations(best_height) >= record.parameters.minimum_depth;
    if record.funding.holder_ready || record.closure.is_some() || !is_deep {
        return Ok(());
    }
    channel.commit(vec![UpdateStep::HolderReady], out)?;
    // Without a connection the next reestablish sends it (BOLT 2).
    if channel.volatile.connection == Connection::Up {
        channel.send(channel_ready(channel, environment), out);
    }
    Ok(())
}

/// This node's `channel_ready`, the same each time.
pub fn channel_ready(channel: &Channel, environment: &Environment) -> Message {
    let keys = environment.channel_keys(&channel.record.parameters.keys_id);
    Message::ChannelReady(msgs::ChannelReady {
        channel_id: channel.id(),
        next_per_commitment_point: keys.commitment_point(1, &environment.secp),
        short_channel_id_alias: None,
    })
}

/// The peer's `channel_ready` came, for the first time or again after a reconnection.
pub fn handle_channel_ready(
    channel: &mut Channel,
    message: &msgs::ChannelReady,
    out: &mut Outbox,
) -> Result<(), ChannelError> {
    if channel.record.funding.counterparty_ready {
        return Ok(());
    }
    let step = UpdateStep::CounterpartyReady {
        next_point: message.next_per_commitment_point,
    };
    channel.commit(vec![step], out)
}
