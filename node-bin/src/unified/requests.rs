//! Requests of the control API as commands of the core: what can be said of a request without the node. Pure,
//! so that it can be fuzzed.

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::PublicKey;
use lightning::types::payment::{PaymentHash, PaymentPreimage};
use lightning_invoice::Bolt11Invoice;
use node_core::input::PayCommand;
use node_core::payment::RouteWish;
use node_core::source::PathHop;

use crate::api::{Hop, RequestError};
use crate::shared::commands::{ATTEMPTS_BY_GOSSIP, FINAL_CLTV_EXPIRY_DELTA, bad, key_digest};

fn path(hops: Vec<Hop>) -> Vec<PathHop> {
    hops.into_iter()
        .map(|hop| PathHop {
            node_id: hop.node_id,
            short_channel_id: hop.short_channel_id,
            fee_msat: hop.fee_msat,
            cltv_expiry_delta: hop.cltv_expiry_delta,
        })
        .collect()
}

/// How a way is found: only if none was given, for a given one is tried once.
fn wish(payee: PublicKey, invoice: String, paths: &[Vec<Hop>]) -> Option<RouteWish> {
    paths.is_empty().then_some(RouteWish {
        payee,
        invoice,
        attempts_left: ATTEMPTS_BY_GOSSIP,
        failed_channels: Vec::new(),
    })
}

/// The payment of an invoice. Refused: what is no invoice, or names no amount or a final delta out of all
/// bounds.
pub fn pay(key: &str, text: String, paths: Vec<Vec<Hop>>) -> Result<PayCommand, RequestError> {
    let invoice: Bolt11Invoice = text
        .parse()
        .map_err(|error| bad(format!("no invoice: {error:?}")))?;
    let amount_msat = invoice
        .amount_milli_satoshis()
        .ok_or_else(|| bad("the invoice names no amount"))?;
    let delta = u32::try_from(invoice.min_final_cltv_expiry_delta())
        .map_err(|_| bad("the invoice's final expiry delta is out of all bounds"))?;
    Ok(PayCommand {
        payment_id: key_digest(key),
        payment_hash: PaymentHash(invoice.payment_hash().to_byte_array()),
        amount_msat,
        payment_secret: Some(*invoice.payment_secret()),
        keysend_preimage: None,
        payment_metadata: invoice.payment_metadata().cloned(),
        final_cltv_expiry_delta: delta,
        route: wish(invoice.get_payee_pub_key(), text, &paths),
        paths: paths.into_iter().map(path).collect(),
    })
}

/// A payment without an invoice; `amount_msat` in millisatoshis.
pub fn keysend(
    key: &str,
    preimage: PaymentPreimage,
    node_id: PublicKey,
    amount_msat: u64,
    paths: Vec<Vec<Hop>>,
) -> PayCommand {
    PayCommand {
        payment_id: key_digest(key),
        payment_hash: preimage.into(),
        amount_msat,
        payment_secret: None,
        keysend_preimage: Some(preimage),
        payment_metadata: None,
        final_cltv_expiry_delta: u32::from(FINAL_CLTV_EXPIRY_DELTA),
        route: wish(node_id, String::new(), &paths),
        paths: paths.into_iter().map(path).collect(),
    }
}
