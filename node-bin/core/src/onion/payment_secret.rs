//! Stateless payment secrets: an invoice's terms, sealed with a key that follows from the seed. Nothing
//! about an invoice has to be stored, so nothing about it can be lost.
//!
//! A secret is a 16-byte tag and 16 bytes of terms, encrypted. The tag authenticates the terms and the
//! payment hash and is the encryption's nonce, so that one secret's terms say nothing about another's.

use bitcoin::hashes::cmp::fixed_time_eq;
use bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256};
use lightning::types::payment::{PaymentHash, PaymentSecret};

use crate::keys::Environment;

/// A stateless payment secret: says to this node alone, later, for which hash, what least amount and
/// until when it was given out.
pub fn make_payment_secret(
    environment: &Environment,
    payment_hash: &PaymentHash,
    least_amount_msat: u64,
    expires_at_s: u64,
) -> PaymentSecret {
    let terms = (u128::from(least_amount_msat) << 64) | u128::from(expires_at_s);
    let tag = tag(environment, payment_hash, terms);
    let sealed = terms ^ pad(environment, payment_hash, tag);
    let mut secret = [0; 32];
    secret[..16].copy_from_slice(&tag.to_be_bytes());
    secret[16..].copy_from_slice(&sealed.to_be_bytes());
    PaymentSecret(secret)
}

/// What a payment secret of this node's says: the least amount in millisatoshis, and the second since
/// 1970 at which it expires. `None`: this node never gave it out for this hash.
pub fn read_payment_secret(
    environment: &Environment,
    payment_hash: &PaymentHash,
    secret: &PaymentSecret,
) -> Option<(u64, u64)> {
    let (given_tag, sealed) = (half(&secret.0, 0), half(&secret.0, 16));
    let terms = sealed ^ pad(environment, payment_hash, given_tag);
    let right_tag = tag(environment, payment_hash, terms);
    fixed_time_eq(&given_tag.to_be_bytes(), &right_tag.to_be_bytes())
        .then_some(((terms >> 64) as u64, terms as u64))
}

fn tag(environment: &Environment, payment_hash: &PaymentHash, terms: u128) -> u128 {
    keyed(environment, b"payment secret: tag", payment_hash, terms)
}

fn pad(environment: &Environment, payment_hash: &PaymentHash, tag: u128) -> u128 {
    keyed(environment, b"payment secret: pad", payment_hash, tag)
}

/// HMAC-SHA256, cut to 16 bytes, with a key of its own for each purpose.
fn keyed(environment: &Environment, purpose: &[u8], hash: &PaymentHash, input: u128) -> u128 {
    let key = hmac(&environment.seed, &[purpose]);
    half(&hmac(&key, &[&hash.0, &input.to_be_bytes()]), 0)
}

fn hmac(key: &[u8; 32], inputs: &[&[u8]]) -> [u8; 32] {
    let mut engine = HmacEngine::<sha256::Hash>::new(key);
    for input in inputs {
        engine.input(input);
    }
    Hmac::from_engine(engine).to_byte_array()
}

fn half(bytes: &[u8; 32], from: usize) -> u128 {
    bytes[from..from + 16]
        .iter()
        .fold(0, |sum, byte| (sum << 8) | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onion::testing::environment;

    const HASH: PaymentHash = PaymentHash([9; 32]);

    #[test]
    fn a_secret_says_later_what_it_was_made_for() {
        for terms in [
            (0, 0),
            (1, u64::MAX),
            (u64::MAX, 1),
            (50_000, 1_764_000_000),
        ] {
            let secret = make_payment_secret(&environment(1), &HASH, terms.0, terms.1);
            assert_eq!(
                read_payment_secret(&environment(1), &HASH, &secret),
                Some(terms)
            );
        }
    }

    #[test]
    fn another_hash_and_another_node_know_nothing_of_it() {
        let secret = make_payment_secret(&environment(1), &HASH, 5, 6);
        let other = PaymentHash([8; 32]);
        assert_eq!(read_payment_secret(&environment(1), &other, &secret), None);
        assert_eq!(read_payment_secret(&environment(2), &HASH, &secret), None);
    }

    #[test]
    fn no_bit_of_it_can_be_changed() {
        let secret = make_payment_secret(&environment(1), &HASH, 5, 6);
        for bit in 0..256 {
            let mut changed = secret;
            changed.0[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_payment_secret(&environment(1), &HASH, &changed), None);
        }
    }

    #[test]
    fn secrets_with_equal_terms_have_nothing_in_common() {
        let one = make_payment_secret(&environment(1), &HASH, 5, 6);
        let two = make_payment_secret(&environment(1), &PaymentHash([8; 32]), 5, 6);
        assert_ne!(one.0[..16], two.0[..16]);
        assert_ne!(one.0[16..], two.0[16..]);
    }
}
