use bitcoin::secp256k1::SecretKey;
use lightning::types::payment::{PaymentHash, PaymentPreimage, PaymentSecret};

use super::*;
use crate::onion::build;
use crate::onion::testing::{environment, hop, payment, unreadable_payload};
use crate::payment::PaymentRecord;
use crate::source::PathHop;

const HEIGHT: u32 = 150;

/// The HTLC that the path's first node gets.
fn add(payment: &PaymentRecord, path: &[PathHop], height: u32) -> HtlcAdd {
    let key = SecretKey::from_slice(&[5; 32]).unwrap();
    let built = build(&environment(1), payment, &key, path, height).unwrap();
    HtlcAdd {
        htlc_id: 0,
        amount_msat: built.amount_msat,
        payment_hash: payment.payment_hash,
        cltv_expiry: built.cltv_expiry,
        onion: built.onion,
    }
}

/// Over node 2 to node 3.
fn two_hops(delta: u32) -> [PathHop; 2] {
    [
        hop(&environment(2), 70, 1_000, delta),
        hop(&environment(3), 80, 50_000, 18),
    ]
}

fn refused(peeled: Peeled) -> OwnFailure {
    match peeled {
        Peeled::Refused { failure, .. } => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_forward_is_peeled_and_its_onion_is_the_payees() {
    let add = add(&payment(50_000), &two_hops(48), HEIGHT);
    assert_eq!((add.amount_msat, add.cltv_expiry), (51_000, 217));
    let Peeled::Forward {
        onion,
        short_channel_id: 80,
        amount_msat: 50_000,
        cltv_expiry: 169,
        shared_secret,
    } = peel(&environment(2), &add)
    else {
        panic!("no forward");
    };
    let next = HtlcAdd {
        htlc_id: 4,
        amount_msat: 50_000,
        cltv_expiry: 169,
        onion,
        ..add
    };
    match peel(&environment(3), &next) {
        Peeled::Receive {
            shared_secret: with_payee,
            amount_msat: 50_000,
            total_msat: 50_000,
            cltv_expiry: 169,
            payment_secret: Some(PaymentSecret(secret)),
            keysend_preimage: None,
        } => {
            assert_eq!(secret, [3; 32]);
            assert_ne!(with_payee, shared_secret);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_part_says_what_all_parts_come_to() {
    let path = [hop(&environment(3), 80, 20_000, 18)];
    match peel(&environment(3), &add(&payment(50_000), &path, HEIGHT)) {
        Peeled::Receive {
            amount_msat: 20_000,
            total_msat: 50_000,
            ..
        } => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn keysend_brings_its_preimage_and_must_match_the_hash() {
    let preimage = PaymentPreimage([6; 32]);
    let mut payment = payment(50_000);
    payment.payment_secret = None;
    payment.keysend_preimage = Some(preimage);
    payment.payment_hash = preimage.into();
    let path = [hop(&environment(3), 80, 50_000, 18)];
    match peel(&environment(3), &add(&payment, &path, HEIGHT)) {
        Peeled::Receive {
            total_msat: 50_000,
            keysend_preimage: Some(found),
            payment_secret: None,
            ..
        } => assert_eq!(found, preimage),
        other => panic!("{other:?}"),
    }
    payment.payment_hash = PaymentHash([2; 32]);
    assert_eq!(
        refused(peel(&environment(3), &add(&payment, &path, HEIGHT))),
        OwnFailure::incorrect_payment_details(50_000, 0)
    );
}

#[test]
fn no_height_is_too_late_or_too_early_to_peel() {
    for height in [60, 1_000, 800_000, 499_000_000] {
        let add = add(&payment(50_000), &two_hops(48), height);
        let peeled = peel(&environment(2), &add);
        assert!(matches!(peeled, Peeled::Forward { .. }), "{peeled:?}");
    }
    let add = add(&payment(50_000), &two_hops(1_900), 800_000);
    assert!(matches!(
        peel(&environment(2), &add),
        Peeled::Forward { .. }
    ));
}

#[test]
fn a_forward_that_leaves_too_few_blocks_is_refused_with_its_expiry() {
    let add = add(&payment(50_000), &two_hops(47), HEIGHT);
    let failure = refused(peel(&environment(2), &add));
    assert_eq!(failure.code, code::INCORRECT_CLTV_EXPIRY);
    assert_eq!(failure.data, [0, 0, 0, 216, 0, 0]);
}

#[test]
fn less_than_the_sender_meant_to_arrive_is_refused() {
    let path = [hop(&environment(3), 80, 50_000, 18)];
    let meant = add(&payment(50_000), &path, HEIGHT);
    let poor = HtlcAdd {
        amount_msat: 49_999,
        ..meant.clone()
    };
    let failure = refused(peel(&environment(3), &poor));
    assert_eq!(failure.code, code::FINAL_INCORRECT_HTLC_AMOUNT);
    assert_eq!(failure.data, 49_999u64.to_be_bytes());
    let early = HtlcAdd {
        cltv_expiry: 168,
        ..meant
    };
    let failure = refused(peel(&environment(3), &early));
    assert_eq!(failure.code, code::FINAL_INCORRECT_CLTV_EXPIRY);
    assert_eq!(failure.data, 168u32.to_be_bytes());
}

#[test]
fn a_payment_without_any_secret_is_refused() {
    let mut payment = payment(50_000);
    payment.payment_secret = None;
    let path = [hop(&environment(3), 80, 50_000, 18)];
    let failure = refused(peel(&environment(3), &add(&payment, &path, HEIGHT)));
    assert_eq!(failure.code, code::REQUIRED_NODE_FEATURE_MISSING);
}

#[test]
fn a_payload_that_cannot_be_read_is_refused() {
    let failure = refused(peel(&environment(2), &unreadable_payload()));
    assert_eq!(failure.code, code::INVALID_ONION_PAYLOAD);
    assert_eq!(failure.data, [0; 3]);
}

#[test]
fn an_onion_that_is_not_for_this_node_or_this_hash_is_malformed() {
    let good = add(&payment(50_000), &two_hops(48), HEIGHT);
    let other_hash = HtlcAdd {
        payment_hash: PaymentHash([7; 32]),
        ..good.clone()
    };
    let sha256_of_onion = sha256::Hash::hash(&good.onion).to_byte_array();
    for peeled in [
        peel(&environment(3), &good),
        peel(&environment(2), &other_hash),
    ] {
        assert_eq!(
            peeled,
            Peeled::Malformed {
                sha256_of_onion,
                failure_code: code::INVALID_ONION_HMAC
            }
        );
    }
}

#[test]
fn version_key_and_length_of_an_onion_are_checked() {
    let good = add(&payment(50_000), &two_hops(48), HEIGHT);
    let code_of = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut add = good.clone();
        change(&mut add.onion);
        match peel(&environment(2), &add) {
            Peeled::Malformed { failure_code, .. } => failure_code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code_of(&|onion| onion[0] = 1), code::INVALID_ONION_VERSION);
    assert_eq!(code_of(&|onion| onion[1] = 9), code::INVALID_ONION_KEY);
    assert_eq!(code_of(&Vec::clear), code::INVALID_ONION_VERSION);
    assert_eq!(code_of(&|onion| onion.push(0)), code::INVALID_ONION_VERSION);
    assert_eq!(
        code_of(&|onion| onion.truncate(1_365)),
        code::INVALID_ONION_VERSION
    );
}

#[test]
fn any_byte_of_an_onion_may_be_wrong_and_is_malformed() {
    let good = add(&payment(50_000), &two_hops(48), HEIGHT);
    for place in 0..good.onion.len() {
        let mut add = good.clone();
        add.onion[place] ^= 0x10;
        let peeled = peel(&environment(2), &add);
        assert!(matches!(peeled, Peeled::Malformed { .. }), "{place}");
    }
}
