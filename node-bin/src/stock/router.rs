//! Routes: the one the user gave for a payment, else LDK's own by gossip.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bitcoin::secp256k1::{self, PublicKey, Secp256k1};
use lightning::blinded_path::payment::{BlindedPaymentPath, ReceiveTlvs};
use lightning::ln::channel_state::ChannelDetails;
use lightning::ln::channelmanager::PaymentId;
use lightning::routing::router::{InFlightHtlcs, Path, Route, RouteHop, RouteParameters, Router};
use lightning::types::features::{ChannelFeatures, NodeFeatures};
use lightning::types::payment::PaymentHash;

use super::GossipRouter;
use crate::api::Hop;

/// LDK's router with routes set in advance.
pub struct PlannedRouter {
    by_gossip: Arc<GossipRouter>,
    planned: Mutex<HashMap<PaymentId, Vec<Vec<Hop>>>>,
}

impl PlannedRouter {
    /// Falls back on this router.
    pub fn new(by_gossip: Arc<GossipRouter>) -> Self {
        PlannedRouter {
            by_gossip,
            planned: Mutex::default(),
        }
    }

    /// Sets the paths of a payment about to be made.
    pub fn plan(&self, payment: PaymentId, paths: Vec<Vec<Hop>>) {
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        planned.insert(payment, paths);
    }
}

fn path(hops: Vec<Hop>) -> Path {
    let hop = |hop: Hop| RouteHop {
        pubkey: hop.node_id,
        node_features: NodeFeatures::empty(),
        short_channel_id: hop.short_channel_id,
        channel_features: ChannelFeatures::empty(),
        fee_msat: hop.fee_msat,
        cltv_expiry_delta: hop.cltv_expiry_delta,
        maybe_announced_channel: false,
    };
    Path {
        hops: hops.into_iter().map(hop).collect(),
        blinded_tail: None,
    }
}

impl Router for PlannedRouter {
    fn find_route(
        &self,
        payer: &PublicKey,
        route_params: &RouteParameters,
        first_hops: Option<&[&ChannelDetails]>,
        inflight_htlcs: InFlightHtlcs,
    ) -> Result<Route, &'static str> {
        self.by_gossip
            .find_route(payer, route_params, first_hops, inflight_htlcs)
    }

    fn find_route_with_id(
        &self,
        payer: &PublicKey,
        route_params: &RouteParameters,
        first_hops: Option<&[&ChannelDetails]>,
        inflight_htlcs: InFlightHtlcs,
        _payment_hash: PaymentHash,
        payment_id: PaymentId,
    ) -> Result<Route, &'static str> {
        let planned = {
            let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
            planned.remove(&payment_id)
        };
        match planned {
            None => self.find_route(payer, route_params, first_hops, inflight_htlcs),
            Some(paths) => Ok(Route {
                paths: paths.into_iter().map(path).collect(),
                route_params: Some(route_params.clone()),
            }),
        }
    }

    fn create_blinded_payment_paths<T: secp256k1::Signing + secp256k1::Verification>(
        &self,
        recipient: PublicKey,
        first_hops: Vec<ChannelDetails>,
        tlvs: ReceiveTlvs,
        amount_msats: Option<u64>,
        secp_ctx: &Secp256k1<T>,
    ) -> Result<Vec<BlindedPaymentPath>, ()> {
        let router = &self.by_gossip;
        router.create_blinded_payment_paths(recipient, first_hops, tlvs, amount_msats, secp_ctx)
    }
}
