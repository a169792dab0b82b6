//! BOLT 11 invoices of this node's own.

use std::time::Duration;

use bitcoin::hashes::{Hash, sha256};
use lightning::sign::{NodeSigner, Recipient};
use lightning::types::payment::PaymentHash;
use lightning::types::routing::RouteHint;
use lightning_invoice::{Bolt11Invoice, Currency, InvoiceBuilder};
use node_core::keys::Environment;
use node_core::onion::make_payment_secret;

use crate::shared::basis::now_seconds;
use crate::shared::commands::{FINAL_CLTV_EXPIRY_DELTA, INVOICE_EXPIRY_SECONDS};

/// What LDK adds to the final delta, for blocks that are found while a payment is on its way.
const FINAL_CLTV_EXPIRY_BUFFER: u16 = 3;

/// The chain that this node's invoices, and those that it pays, are for.
pub const CURRENCY: Currency = Currency::Regtest;

/// Makes an invoice; the reason if it cannot be made.
pub fn make(
    environment: &Environment,
    payment_hash: PaymentHash,
    amount_msat: u64,
    hints: Vec<RouteHint>,
) -> Result<Bolt11Invoice, String> {
    let now_s = now_seconds();
    let expires_at_s = now_s + u64::from(INVOICE_EXPIRY_SECONDS);
    let secret = make_payment_secret(environment, &payment_hash, amount_msat, expires_at_s);
    let mut builder = InvoiceBuilder::new(CURRENCY)
        .description(String::new())
        .duration_since_epoch(Duration::from_secs(now_s))
        .payee_pub_key(environment.node_id())
        .payment_hash(sha256::Hash::from_byte_array(payment_hash.0))
        .payment_secret(secret)
        .basic_mpp()
        .min_final_cltv_expiry_delta(u64::from(
            FINAL_CLTV_EXPIRY_DELTA + FINAL_CLTV_EXPIRY_BUFFER,
        ))
        .expiry_time(Duration::from_secs(u64::from(INVOICE_EXPIRY_SECONDS)))
        .amount_milli_satoshis(amount_msat);
    for hint in hints {
        builder = builder.private_route(hint);
    }
    let raw = builder.build_raw().map_err(|error| error.to_string())?;
    let signature = environment
        .node_keys
        .sign_invoice(&raw, Recipient::Node)
        .map_err(|()| "the node's key did not sign".to_owned())?;
    let signed = raw
        .sign(|_| Ok::<_, String>(signature))
        .map_err(|error| error.clone())?;
    Bolt11Invoice::from_signed(signed).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invoice_says_what_the_node_will_know_again() {
        let environment = Environment::new([5; 32], bitcoin::ScriptBuf::new());
        let hash = PaymentHash([7; 32]);
        let text = make(&environment, hash, 50_000_000, Vec::new())
            .unwrap()
            .to_string();
        let invoice: Bolt11Invoice = text.parse().unwrap();
        assert_eq!(invoice.amount_milli_satoshis(), Some(50_000_000));
        assert_eq!(invoice.min_final_cltv_expiry_delta(), 45);
        assert_eq!(invoice.get_payee_pub_key(), environment.node_id());
        let secret = invoice.payment_secret();
        let known = node_core::onion::read_payment_secret(&environment, &hash, secret);
        assert_eq!(known.map(|(amount_msat, _)| amount_msat), Some(50_000_000));
    }
}
