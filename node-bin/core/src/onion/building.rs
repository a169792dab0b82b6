//! Building the onion of a part of an own payment, on LDK's `create_payment_onion`.
//!
//! BOLT 4, "Packet Construction".

use bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256};
use bitcoin::secp256k1::SecretKey;
use lightning::ln::channelmanager::RecipientOnionFields;
use lightning::ln::create_payment_onion;
use lightning::routing::router::{Path, RouteHop};
use lightning::types::features::{ChannelFeatures, NodeFeatures};
use lightning::util::ser::Writeable;

use crate::keys::Environment;
use crate::payment::PaymentRecord;
use crate::source::PathHop;

/// More than all bitcoins, in millisatoshis: no path may come to that.
const MAXIMUM_MSAT: u64 = 21_000_000 * 100_000_000 * 1000;

/// An onion for a part of an own payment, and what its first hop has to get and when it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltOnion {
    /// On the wire's form.
    pub onion: Vec<u8>,
    /// For the first hop, in millisatoshis.
    pub amount_msat: u64,
    /// Of the first HTLC.
    pub cltv_expiry: u32,
}

/// A path that no onion can be built for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// It leads nowhere.
    #[error("the path has no hops")]
    NoHops,
    /// It costs more than there is.
    #[error("the path's amounts come to more than 21 million bitcoins")]
    Amount,
    /// LDK says why.
    #[error("the path fits no onion: {0}")]
    Refused(String),
}

/// Builds the onion of a part; `height` is the tip's. `total_msat` in the onion is the payment's
/// amount. The same arguments give the same onion.
///
/// # Errors
///
/// [`BuildError`]: the path is empty, costs more than there is, or fits no onion.
pub fn build(
    environment: &Environment,
    payment: &PaymentRecord,
    session_key: &SecretKey,
    path: &[PathHop],
    height: u32,
) -> Result<BuiltOnion, BuildError> {
    if path.is_empty() {
        return Err(BuildError::NoHops);
    }
    path.iter()
        .try_fold(0, |sum: u64, hop| sum.checked_add(hop.fee_msat))
        .filter(|sum| *sum < MAXIMUM_MSAT)
        .ok_or(BuildError::Amount)?;
    let (packet, amount_msat, cltv_expiry) = create_payment_onion(
        &environment.secp,
        &ldk_path(path),
        session_key,
        payment.amount_msat,
        &recipient_fields(payment),
        height.saturating_add(1),
        &payment.payment_hash,
        &payment.keysend_preimage,
        None,
        pad_key(session_key),
    )
    .map_err(|error| BuildError::Refused(format!("{error:?}")))?;
    Ok(BuiltOnion {
        onion: packet.encode(),
        amount_msat,
        cltv_expiry,
    })
}

fn recipient_fields(payment: &PaymentRecord) -> RecipientOnionFields {
    let mut fields = RecipientOnionFields::spontaneous_empty();
    fields.payment_secret = payment.payment_secret;
    fields.payment_metadata = payment.payment_metadata.clone();
    fields
}

fn ldk_path(path: &[PathHop]) -> Path {
    let hops = path.iter().map(|hop| RouteHop {
        pubkey: hop.node_id,
        node_features: NodeFeatures::empty(),
        short_channel_id: hop.short_channel_id,
        channel_features: ChannelFeatures::empty(),
        fee_msat: hop.fee_msat,
        cltv_expiry_delta: hop.cltv_expiry_delta,
        maybe_announced_channel: true,
    });
    Path {
        hops: hops.collect(),
        blinded_tail: None,
    }
}

/// BOLT 4's `pad` key: what fills the packet behind the last payload follows from the session key.
fn pad_key(session_key: &SecretKey) -> [u8; 32] {
    let mut engine = HmacEngine::<sha256::Hash>::new(b"pad");
    engine.input(&session_key.secret_bytes());
    Hmac::from_engine(engine).to_byte_array()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onion::testing::{environment, hop, payment};

    #[test]
    fn the_same_session_key_gives_the_same_onion_and_another_gives_another() {
        let (sender, payee) = (environment(1), environment(3));
        let path = [hop(&payee, 7, 50_000, 18)];
        let build = |byte| {
            let key = SecretKey::from_slice(&[byte; 32]).unwrap();
            build(&sender, &payment(50_000), &key, &path, 100).unwrap()
        };
        assert_eq!(build(5), build(5));
        assert_ne!(build(5), build(6));
        assert_eq!((build(5).amount_msat, build(5).cltv_expiry), (50_000, 119));
    }

    #[test]
    fn paths_that_fit_no_onion_are_refused_and_overflow_nothing() {
        let (sender, payee) = (environment(1), environment(3));
        let key = SecretKey::from_slice(&[5; 32]).unwrap();
        let build = |path: &[PathHop], height| build(&sender, &payment(1), &key, path, height);
        assert_eq!(build(&[], 0), Err(BuildError::NoHops));
        let rich = hop(&payee, 7, u64::MAX, 18);
        assert_eq!(build(&[rich.clone(), rich], 0), Err(BuildError::Amount));
        let late = hop(&payee, 7, 1, u32::MAX);
        assert!(build(&[late.clone(), late], u32::MAX).is_err());
        let long = vec![hop(&payee, 7, 1, 1); 200];
        assert!(build(&long, 100).is_err());
    }
}
