//! Invoices as their payer reads them: BOLT 11's examples, and what this node does not pay.

use std::time::Duration;

use bitcoin::ScriptBuf;
use bitcoin::hashes::sha256;
use bitcoin::hex::FromHex;
use lightning::sign::{NodeSigner, Recipient};
use lightning::types::payment::PaymentSecret;
use lightning_invoice::{InvoiceBuilder, TaggedField};
use node_core::keys::Environment;
use serde_json::Value;

use super::*;

const VECTORS: &str = include_str!("../../core/vectors/bolt11_examples.json");
const PAYEE: &str = "03e7156ae33b0a208d0744199163177e909e80176e55d97a2f221ede0f934dd9ad";
const HASH: &str = "0001020304050607080900010203040506070809000102030405060708090102";

fn examples(of: &str) -> Vec<(String, String)> {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let examples = vectors[of].as_array().unwrap().iter();
    let examples = examples.map(|example| (text(&example["name"]), text(&example["invoice"])));
    examples.collect()
}

/// What the part of the text before its separator says.
fn amount_msat(text: &str) -> Option<u64> {
    let text = text.to_lowercase();
    [
        ("lnbc2500u1", 250_000_000),
        ("lnbc20m1", 2_000_000_000),
        ("lntb20m1", 2_000_000_000),
        ("lnbc25m1", 2_500_000_000),
        ("lnbc10m1", 1_000_000_000),
        ("lnbc9678785340p1", 967_878_534),
    ]
    .into_iter()
    .find_map(|(prefix, amount_msat)| text.starts_with(prefix).then_some(amount_msat))
}

#[test]
fn bolt_11s_valid_examples_are_read_as_it_says() {
    let examples = examples("valid");
    assert_eq!(examples.len(), 16);
    for (name, text) in examples {
        let currency = match text.starts_with("lntb") {
            true => Currency::BitcoinTestnet,
            false => Currency::Bitcoin,
        };
        let invoice = read_invoice(&text, &currency).unwrap_or_else(|error| {
            panic!("{name}: {}", error.message);
        });
        assert_eq!(
            invoice.payment_secret(),
            &PaymentSecret([0x11; 32]),
            "{name}"
        );
        assert_eq!(
            invoice.amount_milli_satoshis(),
            amount_msat(&text),
            "{name}"
        );
        if !name.contains("pico-BTC") {
            let hash = <[u8; 32]>::from_hex(HASH).unwrap();
            assert_eq!(invoice.payment_hash().to_byte_array(), hash, "{name}");
        }
        // Of this one the specification names no key.
        if !name.contains("high-S") {
            assert_eq!(invoice.get_payee_pub_key().to_string(), PAYEE, "{name}");
        }
    }
}

#[test]
fn bolt_11s_invalid_examples_are_refused() {
    let examples = examples("invalid");
    assert_eq!(examples.len(), 10);
    for (name, text) in examples {
        let read = read_invoice(&text, &Currency::Bitcoin);
        assert!(read.is_err(), "{name}");
        assert!(pay("p", text, Vec::new()).is_err(), "{name}");
    }
}

/// An invoice of 50,000 msat with these feature bits set.
fn invoice(currency: Currency, bits: &[usize]) -> String {
    let environment = Environment::new([5; 32], ScriptBuf::new());
    let mut raw = InvoiceBuilder::new(currency)
        .description(String::new())
        .duration_since_epoch(Duration::from_secs(1_750_000_000))
        .expiry_time(Duration::from_secs(60))
        .payment_hash(sha256::Hash::from_byte_array([7; 32]))
        .payment_secret(PaymentSecret([8; 32]))
        .min_final_cltv_expiry_delta(42)
        .amount_milli_satoshis(50_000)
        .build_raw()
        .unwrap();
    for field in &mut raw.data.tagged_fields {
        if let lightning_invoice::RawTaggedField::KnownSemantics(TaggedField::Features(features)) =
            field
        {
            let mut flags = vec![0; 32];
            for bit in [9, 15].iter().chain(bits) {
                flags[bit / 8] |= 1 << (bit % 8);
            }
            *features = Bolt11InvoiceFeatures::from_le_bytes(flags);
        }
    }
    let signature = environment
        .node_keys
        .sign_invoice(&raw, Recipient::Node)
        .unwrap();
    let signed = raw.sign(|_| Ok::<_, ()>(signature)).unwrap();
    signed.to_string()
}

#[test]
fn an_invoice_for_another_chain_is_refused_and_says_which() {
    let error = pay("p", invoice(Currency::Bitcoin, &[]), Vec::new()).unwrap_err();
    assert!(error.message.contains("Bitcoin"), "{}", error.message);
    assert!(error.message.contains("Regtest"), "{}", error.message);
}

#[test]
fn an_invoice_that_needs_an_unknown_feature_is_refused_and_one_that_offers_it_is_paid() {
    // 56 is a trampoline's, which LDK knows and this node does not have; 102 is nobody's.
    for bit in [56, 102] {
        let refused = pay("p", invoice(Currency::Regtest, &[bit]), Vec::new()).unwrap_err();
        assert!(refused.message.contains("eatures"), "{}", refused.message);
        assert!(pay("p", invoice(Currency::Regtest, &[bit + 1]), Vec::new()).is_ok());
    }
    // Several parts, metadata.
    for bit in [8, 14, 16, 48] {
        assert!(pay("p", invoice(Currency::Regtest, &[bit]), Vec::new()).is_ok());
    }
}

#[test]
fn a_payment_knows_when_its_invoice_expires() {
    let command = pay("p", invoice(Currency::Regtest, &[]), Vec::new()).unwrap();
    assert_eq!(command.expires_at_s, Some(1_750_000_060));
    let payee = command.route.unwrap().payee;
    let keysend = keysend("k", PaymentPreimage([1; 32]), payee, 1, Vec::new());
    assert_eq!(keysend.expires_at_s, None);
}
