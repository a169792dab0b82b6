//! What the node tells when asked: channels, payments, claims. Reads the core's state, changes nothing.

use lightning::util::scid_utils::scid_from_parts;
use node_core::channel::Channel;
use node_core::node::Node as Core;
use node_core::payment::{PaymentOutcome, PaymentRecord};
use node_core::record::{ChannelRecord, InboundHtlc, OutboundHtlc, Resolution};
use node_core::spec::Direction;

use super::records::hex;
use crate::api::{
    ChannelView, HtlcDirection, HtlcView, OnchainClaim, PaymentState, PaymentView, RestView,
};
use crate::shared::host::Host;
use crate::shared::names::Names;

/// The channel's short id (BOLT 7), once its funding is in a block.
pub fn short_channel_id(record: &ChannelRecord) -> Option<u64> {
    let (height, index) = record.funding.confirmed?;
    let output = u64::from(record.parameters.funding.index);
    scid_from_parts(u64::from(height), u64::from(index), output).ok()
}

/// The channel with this short id.
pub fn channel_of(core: &Core, scid: u64) -> Option<&Channel> {
    core.channels
        .values()
        .find(|channel| short_channel_id(&channel.record) == Some(scid))
}

/// What would be the holder's if all pending HTLCs failed, in millisatoshis, before commitment fees.
pub fn balance_msat(record: &ChannelRecord) -> u64 {
    let spec = &record.holder.spec;
    let outbound: u64 = spec
        .htlcs
        .iter()
        .filter(|((direction, _), _)| *direction == Direction::Outbound)
        .map(|(_, htlc)| htlc.amount_msat)
        .sum();
    spec.holder_msat + outbound
}

fn inbound_state(htlc: &InboundHtlc) -> &'static str {
    match (&htlc.resolution, htlc.committed) {
        (Some(Resolution::Claimed { .. }), _) => "claimed",
        (Some(Resolution::Rejected { .. }), _) => "rejected",
        (None, true) => "committed",
        (None, false) => "offered",
    }
}

fn outbound_state(htlc: &OutboundHtlc) -> &'static str {
    match htlc.preimage {
        Some(_) => "claimed",
        None => "offered",
    }
}

fn htlcs(record: &ChannelRecord) -> Vec<HtlcView> {
    let view = |direction, add: &node_core::spec::HtlcAdd, state: &str| HtlcView {
        direction,
        htlc_id: Some(add.htlc_id),
        amount_msat: add.amount_msat,
        payment_hash: add.payment_hash.to_string(),
        cltv_expiry: add.cltv_expiry,
        state: state.to_owned(),
    };
    let inbound = record
        .inbound
        .values()
        .map(|htlc| view(HtlcDirection::Inbound, &htlc.add, inbound_state(htlc)));
    let outbound = record
        .outbound
        .values()
        .map(|htlc| view(HtlcDirection::Outbound, &htlc.add, outbound_state(htlc)));
    inbound.chain(outbound).collect()
}

fn channel_view(names: &Names, channel: &Channel) -> ChannelView {
    let record = &channel.record;
    let parameters = &record.parameters;
    let closing = channel.is_shutting_down();
    let counterparty = match &record.next_counterparty {
        Some(next) => next.commitment.number,
        None => record.counterparty.number,
    };
    ChannelView {
        label: names.channel_with(&channel.id(), &channel.peer()),
        channel_id: channel.id().to_string(),
        funding: Some(format!(
            "{}:{}",
            parameters.funding.txid, parameters.funding.index
        )),
        short_channel_id: short_channel_id(record),
        peer: channel.peer(),
        opener: parameters.is_opener,
        capacity_sat: parameters.capacity_sat,
        balance_msat: (!closing).then(|| balance_msat(record)),
        ready: channel.is_ready(),
        usable: channel.is_usable() && !closing,
        htlcs: htlcs(record),
        holder_commitment_number: Some(record.holder.number),
        counterparty_commitment_number: Some(counterparty),
    }
}

/// All channels that nothing has closed yet.
pub fn channels(names: &Names, core: &Core) -> Vec<ChannelView> {
    let mut views: Vec<_> = core
        .channels
        .values()
        .filter(|channel| channel.record.closure.is_none())
        .map(|channel| channel_view(names, channel))
        .collect();
    views.sort_by(|a, b| a.label.cmp(&b.label));
    views
}

fn payment_view(record: &PaymentRecord) -> PaymentView {
    PaymentView {
        payment_id: Some(hex(&record.payment_id)),
        payment_hash: Some(record.payment_hash.to_string()),
        direction: HtlcDirection::Outbound,
        state: match &record.outcome {
            None => PaymentState::Pending,
            Some(PaymentOutcome::Sent { .. }) => PaymentState::Succeeded,
            Some(PaymentOutcome::Failed { .. }) => PaymentState::Failed,
        },
    }
}

/// All payments made.
pub fn payments(core: &Core) -> Vec<PaymentView> {
    core.payments.values().map(payment_view).collect()
}

/// Closed channels that may owe the node something: of one whose funding is in no block there is nothing on
/// chain to take.
fn closed(core: &Core) -> impl Iterator<Item = &Channel> {
    let channels = core.channels.values();
    channels.filter(|channel| {
        let record = &channel.record;
        let is_funded =
            record.funding.confirmed.is_some() || record.onchain.funding_spend.is_some();
        record.closure.is_some() && is_funded
    })
}

/// The hash of an HTLC of a closed channel that the chain has not decided.
fn undecided_hash(core: &Core, channel: &Channel) -> Option<String> {
    let hash = match channel.position(&core.environment) {
        Some(position) => {
            let mut unspent = position.outputs.iter().filter(|on| on.spent.is_none());
            unspent
                .find_map(|on| on.htlc())
                .map(|htlc| htlc.payment_hash)
        }
        None => {
            let mut htlcs = channel.record.holder.spec.htlcs.values();
            htlcs.next().map(|htlc| htlc.payment_hash)
        }
    };
    hash.map(|hash| hash.to_string())
}

/// What closed channels still owe the node: their balance, until they are archived.
fn claims(names: &Names, core: &Core) -> Vec<OnchainClaim> {
    let mut claims: Vec<_> = closed(core)
        .map(|channel| OnchainClaim {
            channel: names.channel(&channel.id()).unwrap_or_default(),
            kind: "claimable_awaiting_confirmations".to_owned(),
            amount_sat: balance_msat(&channel.record) / 1_000,
            payment_hash: undecided_hash(core, channel),
        })
        .collect();
    claims.sort_by(|a, b| (&a.channel, &a.kind).cmp(&(&b.channel, &b.kind)));
    claims
}

/// Outputs of closed channels that are the node's to take or to see taken, and are not spent beyond any
/// reorganisation. One for a channel of which no transaction is in a block yet.
fn unswept(core: &Core) -> u32 {
    let tip = core.best_block.height;
    let outputs = closed(core).map(|channel| match channel.position(&core.environment) {
        Some(position) => channel.unburied(&position, tip),
        None => usize::from(balance_msat(&channel.record) > 0),
    });
    u32::try_from(outputs.sum::<usize>()).unwrap_or(u32::MAX)
}

/// Everything a verdict needs.
pub fn rest(host: &Host, core: &Core) -> RestView {
    RestView {
        block_height: core.best_block.height,
        channels: channels(&host.names, core),
        payments: payments(core),
        balance: host.wallet.balance(),
        claims: claims(&host.names, core),
        unswept: unswept(core),
    }
}
