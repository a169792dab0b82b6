//! Invariant 7: no message and no transaction leaves before what it rests on is durable.

use bitcoin::Transaction;
use lightning::ln::types::ChannelId;

use crate::commitment::sign_counterparty_commitment;
use crate::message::Message;
use crate::record::{ChannelRecord, Closure};
use crate::sim::disk::Durable;
use crate::sim::node::SimNode;
use crate::sim::world::World;
use crate::source::InboundHtlcId;
use crate::spec::Change;

/// Judges a message that a node sends now.
pub fn sent(world: &mut World, node: usize, message: &Message) {
    // An opener that died too early has forgotten the channel, and says so.
    let is_forgotten = matches!(message, Message::Error(error)
        if !world.nodes[node].disk.durable().channels.contains_key(&error.channel_id));
    if is_forgotten && !world.flow.opens.is_empty() {
        return;
    }
    // So does whoever has closed by force.
    if matches!(message, Message::Error(error) if world.flow.is_forced(&error.channel_id)) {
        return;
    }
    if let Some(problem) = premature(&world.nodes[node], message) {
        let name = world.nodes[node].name;
        let words = world.names.message(message);
        world.complain(format!("{name} sends {words}: {problem}"));
    }
}

/// Judges transactions that a node publishes now.
pub fn broadcast(
    world: &mut World,
    node: usize,
    channel_id: ChannelId,
    transactions: &[Transaction],
) {
    let durable = world.nodes[node].disk.durable();
    let record = durable.channels.get(&channel_id);
    let covered = transactions.iter().all(|transaction| {
        record.is_some_and(|record| {
            let txid = transaction.compute_txid();
            let funding = record.parameters.funding.into_bitcoin_outpoint();
            let mut inputs = transaction.input.iter();
            let ends_it = inputs.any(|input| input.previous_output == funding);
            let closing = match &record.closure {
                // Whatever ended it, what it left may be claimed; in vain, if a reorganisation was faster.
                Some(_) if !ends_it => true,
                Some(Closure::Cooperative { transaction }) => transaction.compute_txid() == txid,
                Some(Closure::Forced { broadcast, .. }) => *broadcast,
                None => false,
            };
            closing || record.parameters.funding.txid == txid
        })
    });
    if !covered {
        let name = world.nodes[node].name;
        let channel = world.names.channel(&channel_id);
        world.complain(format!(
            "{name} publishes a transaction of {channel} that it has not written down"
        ));
    }
}

/// What is missing for this message to be sent. `None`: nothing.
pub fn premature(node: &SimNode, message: &Message) -> Option<String> {
    let durable = node.disk.durable();
    let channel_id = message.channel_id();
    let record = channel_id.and_then(|id| durable.channels.get(&id));
    let missing = match message {
        // Whoever has forgotten a closed channel says so (BOLT 2).
        Message::Error(m) if node.disk.archived().contains(&m.channel_id) => return None,
        Message::Error(m) => return Some(format!("an error to an honest peer: {}", m.data)),
        Message::Warning(m) => return Some(format!("a warning to an honest peer: {}", m.data)),
        Message::OpenChannel(_)
        | Message::AcceptChannel(_)
        | Message::FundingCreated(_)
        | Message::ChannelUpdate(_)
        | Message::UpdateFee(_) => return None,
        _ => record.and_then(|record| without_prerequisite(node, durable, record, message)),
    };
    match record {
        Some(_) => missing,
        None => Some("nothing durable is known of the channel".to_owned()),
    }
}

fn without_prerequisite(
    node: &SimNode,
    durable: &Durable,
    record: &ChannelRecord,
    message: &Message,
) -> Option<String> {
    let missing = |what: &str| Some(format!("not durable: {what}"));
    match message {
        Message::RevokeAndAck(m) => {
            let keys = node.environment.channel_keys(&record.parameters.keys_id);
            let last_revoked = record.holder.number.checked_sub(1);
            let allowed = last_revoked
                .is_some_and(|number| keys.commitment_secret(number) == m.per_commitment_secret);
            // An older one was allowed earlier; a newer one is not.
            (!allowed).then(|| "not durable: the commitment after the revoked one".to_owned())
        }
        Message::CommitmentSigned(m) => {
            let signed = record.next_counterparty.as_ref().is_some_and(|next| {
                let (signature, htlc_signatures) = sign_counterparty_commitment(
                    &node.environment,
                    &record.parameters,
                    &next.commitment,
                );
                m.signature == signature && m.htlc_signatures == htlc_signatures
            });
            (!signed).then(|| "not durable: the commitment that is signed".to_owned())
        }
        // The peer sends again what these numbers say is missing, and takes the rest for done.
        Message::ChannelReestablish(m) => {
            let numbers = (
                m.next_local_commitment_number,
                m.next_remote_commitment_number,
            );
            let known = (record.holder.number + 1, record.counterparty.number);
            (numbers != known).then(|| {
                format!("not durable: the commitments {numbers:?} that it speaks of, but {known:?}")
            })
        }
        Message::UpdateAddHtlc(m) => match record.outbound.get(&m.htlc_id) {
            None => missing("the HTLC that is offered"),
            Some(htlc) => {
                let committed = htlc.source.parts().iter().all(|part| {
                    let upstream = durable.channels.get(&part.id.channel_id);
                    upstream
                        .and_then(|record| record.inbound.get(&part.id.htlc_id))
                        .is_some_and(|htlc| htlc.committed)
                });
                (!committed).then(|| "not durable: that its inbound HTLC is committed".to_owned())
            }
        },
        Message::UpdateFulfillHtlc(m) => {
            let htlc = record.inbound.get(&m.htlc_id);
            let known = htlc.is_none_or(|htlc| htlc.preimage() == Some(m.payment_preimage));
            if !known {
                return missing("the preimage");
            }
            // Upstream forgets the HTLC, and a crash would leave nobody who knows of the claim.
            let inbound = InboundHtlcId {
                channel_id: m.channel_id,
                htlc_id: m.htlc_id,
            };
            let channels = durable.channels.values();
            let mut outbound = channels.flat_map(|record| record.outbound.values());
            outbound
                .any(|htlc| htlc.source.names(inbound) && htlc.preimage.is_none())
                .then(|| "not durable: the preimage downstream".to_owned())
        }
        Message::UpdateFailHtlc(m) => fail_unsigned(record, m.htlc_id),
        Message::UpdateFailMalformedHtlc(m) => fail_unsigned(record, m.htlc_id),
        Message::ChannelReady(_) if !record.funding.holder_ready => missing("that it is ready"),
        Message::Shutdown(_) if record.shutdown.holder.is_none() => missing("the shutdown"),
        _ => None,
    }
}

fn fail_unsigned(record: &ChannelRecord, htlc_id: u64) -> Option<String> {
    let changes = &record.holder_changes;
    let signed = changes.signed.iter().chain(&changes.acked).any(|change| {
        matches!(change,
            Change::Fail { htlc_id: id, .. } | Change::FailMalformed { htlc_id: id, .. }
                if *id == htlc_id)
    });
    (!signed).then(|| "not durable: the removal".to_owned())
}
