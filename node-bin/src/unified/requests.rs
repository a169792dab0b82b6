//! Requests of the control API as commands of the core: what can be said of a request without the node. Pure,
//! so that it can be fuzzed.

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::PublicKey;
use lightning::types::features::Bolt11InvoiceFeatures;
use lightning::types::payment::{PaymentHash, PaymentPreimage};
use lightning_invoice::{Bolt11Invoice, Currency};
use node_core::input::PayCommand;
use node_core::payment::RouteWish;
use node_core::source::PathHop;

use super::invoices::CURRENCY;
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

/// What an invoice may ask of its payer (BOLT 9): an onion with a payload, a payment secret, several parts,
/// metadata.
fn payable_features() -> Bolt11InvoiceFeatures {
    let mut features = Bolt11InvoiceFeatures::empty();
    features.set_variable_length_onion_optional();
    features.set_payment_secret_optional();
    features.set_basic_mpp_optional();
    features.set_payment_metadata_optional();
    features
}

/// Reads an invoice as its payer (BOLT 11). Whether it has expired is the core's to say, which has the time,
/// and knows whether the payment was begun before.
///
/// # Errors
///
/// `bad_request`: no invoice, an invoice of another chain than `currency`'s, or one that needs a feature which
/// this node does not have.
pub fn read_invoice(text: &str, currency: &Currency) -> Result<Bolt11Invoice, RequestError> {
    let invoice: Bolt11Invoice = text
        .parse()
        .map_err(|error| bad(format!("no invoice: {error:?}")))?;
    if invoice.currency() != *currency {
        return Err(bad(format!(
            "the invoice is for {:?}, this node is on {currency:?}",
            invoice.currency()
        )));
    }
    let payable = payable_features();
    let unknown = invoice
        .features()
        .map(|features| features.required_unknown_bits_from(&payable))
        .unwrap_or_default();
    if !unknown.is_empty() {
        return Err(bad(format!(
            "the invoice needs features that this node does not have: {unknown:?}"
        )));
    }
    Ok(invoice)
}

/// The payment of an invoice.
///
/// # Errors
///
/// `bad_request`: as [`read_invoice`], or the invoice names no amount, or a final delta out of all bounds.
pub fn pay(key: &str, text: String, paths: Vec<Vec<Hop>>) -> Result<PayCommand, RequestError> {
    let invoice = read_invoice(&text, &CURRENCY)?;
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
        expires_at_s: invoice.expires_at().map(|at| at.as_secs()),
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
        expires_at_s: None,
        paths: paths.into_iter().map(path).collect(),
    }
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
