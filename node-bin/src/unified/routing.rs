//! Ways for payments without given paths: LDK's router over what gossip told and the node's own channels;
//! and the hints that an invoice gives others. Owns what peers told of their side of unannounced channels.

use std::collections::BTreeMap;

use lightning::ln::channel_state::{ChannelCounterparty, ChannelDetails};
use lightning::ln::msgs::ChannelUpdate;
use lightning::routing::router::{PaymentParameters, RouteParameters, find_route};
use lightning::routing::scoring::{
    ProbabilisticScorer, ProbabilisticScoringDecayParameters, ProbabilisticScoringFeeParameters,
};
use lightning::types::routing::{RouteHint, RouteHintHop, RoutingFees};
use lightning_invoice::Bolt11Invoice;
use node_core::channel::Channel;
use node_core::node::Node as Core;
use node_core::payment::RouteWish;
use node_core::source::PathHop;

use super::views::{balance_msat, short_channel_id};
use crate::shared::Logger;
use crate::shared::host::Host;

/// How many hints an invoice has at the most.
const MAXIMUM_HINTS: usize = 3;

/// What peers charge for forwarding to this node, by short channel id.
#[derive(Default)]
pub struct PeerPolicies {
    by_scid: BTreeMap<u64, ChannelUpdate>,
}

impl PeerPolicies {
    /// A peer told of its side of a channel. Believed if the channel is one with that peer.
    pub fn learn(
        &mut self,
        core: &Core,
        peer: &bitcoin::secp256k1::PublicKey,
        told: &ChannelUpdate,
    ) {
        let scid = told.contents.short_channel_id;
        if super::views::channel_of(core, scid).is_some_and(|channel| channel.peer() == *peer) {
            self.by_scid.insert(scid, told.clone());
        }
    }

    /// Ways to this node over its unannounced channels; none if an announced one can be found.
    pub fn hints(&self, core: &Core) -> Vec<RouteHint> {
        let usable = || core.channels.values().filter(|channel| is_open(channel));
        if usable().any(|channel| channel.record.parameters.announce) {
            return Vec::new();
        }
        usable()
            .filter_map(|channel| self.hint(channel))
            .take(MAXIMUM_HINTS)
            .collect()
    }

    fn hint(&self, channel: &Channel) -> Option<RouteHint> {
        let short_channel_id = short_channel_id(&channel.record)?;
        let told = &self.by_scid.get(&short_channel_id)?.contents;
        Some(RouteHint(vec![RouteHintHop {
            src_node_id: channel.peer(),
            short_channel_id,
            fees: RoutingFees {
                base_msat: told.fee_base_msat,
                proportional_millionths: told.fee_proportional_millionths,
            },
            cltv_expiry_delta: told.cltv_expiry_delta,
            htlc_minimum_msat: Some(told.htlc_minimum_msat),
            htlc_maximum_msat: Some(told.htlc_maximum_msat),
        }]))
    }
}

fn is_open(channel: &Channel) -> bool {
    channel.is_usable() && !channel.is_shutting_down()
}

/// What is asked for.
pub struct Wanted<'a> {
    /// Millisatoshis.
    pub amount_msat: u64,
    /// In blocks.
    pub final_cltv_expiry_delta: u32,
    /// Whereto.
    pub wish: &'a RouteWish,
    /// For whatever the router leaves to chance.
    pub random_bytes: [u8; 32],
}

/// One path a part; none if there is no way.
pub fn find(host: &Host, logger: &Logger, core: &Core, wanted: &Wanted<'_>) -> Vec<Vec<PathHop>> {
    let Some(mut payee) = payee(wanted) else {
        return Vec::new();
    };
    payee.previously_failed_channels = wanted.wish.failed_channels.clone();
    let parameters = RouteParameters::from_payment_params_and_value(payee, wanted.amount_msat);
    let first_hops: Vec<_> = core
        .channels
        .values()
        .filter(|channel| is_open(channel))
        .filter_map(first_hop)
        .collect();
    let first_hops: Vec<_> = first_hops.iter().collect();
    // It remembers nothing: what a payment has learnt is in its own list of failed channels.
    let scorer = ProbabilisticScorer::new(
        ProbabilisticScoringDecayParameters::default(),
        host.graph.clone(),
        logger.clone(),
    );
    let found = find_route(
        &core.environment.node_id(),
        &parameters,
        &host.graph,
        Some(&first_hops),
        logger.clone(),
        &scorer,
        &ProbabilisticScoringFeeParameters::default(),
        &wanted.random_bytes,
    );
    match found {
        Ok(route) => route.paths.iter().map(path).collect(),
        Err(reason) => {
            tracing::info!(reason, "no route was found");
            Vec::new()
        }
    }
}

fn payee(wanted: &Wanted<'_>) -> Option<PaymentParameters> {
    let wish = wanted.wish;
    if wish.invoice.is_empty() {
        let delta = wanted.final_cltv_expiry_delta;
        return Some(PaymentParameters::for_keysend(wish.payee, delta, false));
    }
    let invoice: Bolt11Invoice = wish.invoice.parse().ok()?;
    Some(PaymentParameters::from_bolt11_invoice(&invoice))
}

fn path(path: &lightning::routing::router::Path) -> Vec<PathHop> {
    path.hops
        .iter()
        .map(|hop| PathHop {
            node_id: hop.pubkey,
            short_channel_id: hop.short_channel_id,
            fee_msat: hop.fee_msat,
            cltv_expiry_delta: hop.cltv_expiry_delta,
        })
        .collect()
}

/// A channel as LDK's router knows a first hop.
fn first_hop(channel: &Channel) -> Option<ChannelDetails> {
    let record = &channel.record;
    let parameters = &record.parameters;
    let limits = &parameters.counterparty_limits;
    let short_channel_id = short_channel_id(record)?;
    let pending_msat: u64 = record
        .outbound
        .values()
        .map(|htlc| htlc.add.amount_msat)
        .sum();
    let spendable_msat = balance_msat(record)
        .saturating_sub(pending_msat)
        .saturating_sub(limits.reserve_sat * 1_000)
        .saturating_sub(opener_costs_msat(channel));
    let in_flight_msat = limits
        .max_htlc_value_in_flight_msat
        .saturating_sub(pending_msat);
    Some(ChannelDetails {
        channel_id: channel.id(),
        counterparty: ChannelCounterparty {
            node_id: channel.peer(),
            features: node_core::features::init_features(),
            unspendable_punishment_reserve: limits.reserve_sat,
            forwarding_info: None,
            outbound_htlc_minimum_msat: Some(limits.htlc_minimum_msat),
            outbound_htlc_maximum_msat: None,
        },
        funding_txo: Some(parameters.funding),
        channel_type: None,
        short_channel_id: Some(short_channel_id),
        outbound_scid_alias: None,
        inbound_scid_alias: None,
        channel_value_satoshis: parameters.capacity_sat,
        unspendable_punishment_reserve: Some(limits.reserve_sat),
        user_channel_id: 0,
        feerate_sat_per_1000_weight: Some(record.holder.spec.feerate_per_kw),
        outbound_capacity_msat: spendable_msat,
        next_outbound_htlc_limit_msat: spendable_msat.min(in_flight_msat),
        next_outbound_htlc_minimum_msat: limits.htlc_minimum_msat,
        inbound_capacity_msat: 0,
        confirmations_required: None,
        confirmations: None,
        force_close_spend_delay: None,
        is_outbound: parameters.is_opener,
        is_channel_ready: true,
        channel_shutdown_state: None,
        is_usable: true,
        is_announced: parameters.announce,
        inbound_htlc_minimum_msat: None,
        inbound_htlc_maximum_msat: None,
        config: None,
        pending_inbound_htlcs: Vec::new(),
        pending_outbound_htlcs: Vec::new(),
        funding_redeem_script: None,
    })
}

/// What one more HTLC has to leave to an opener: the fee of its commitment with it, twice over as LDK
/// keeps it, and both anchors. A rough guess is enough: the channel itself refuses what it cannot do.
fn opener_costs_msat(channel: &Channel) -> u64 {
    use node_core::commitment::fee_and_anchors_sat;
    let record = &channel.record;
    if !record.parameters.is_opener {
        return 0;
    }
    let spec = &record.counterparty.spec;
    2_000 * fee_and_anchors_sat(&record.parameters, spec, 1)
}
