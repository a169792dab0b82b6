//! Secrets: the node's by LDK's derivation, a channel's from its `keys_id`, all from one seed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bitcoin::ScriptBuf;
use bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256};
use bitcoin::secp256k1::{All, PublicKey, Secp256k1, SecretKey};
use lightning::ln::chan_utils::{ChannelPublicKeys, build_commitment_secret};
use lightning::sign::KeysManager;

/// BOLT 3's index of the secret of commitment 0: secrets are given out from the highest index down.
pub const FIRST_COMMITMENT_INDEX: u64 = (1 << 48) - 1;

/// BOLT 3 counts commitments up from 0, the secrets' tree counts down from [`FIRST_COMMITMENT_INDEX`].
pub const fn secret_index(number: u64) -> u64 {
    FIRST_COMMITMENT_INDEX.saturating_sub(number)
}

/// Channels whose derived secrets are kept at hand: whoever opens and never funds must not fill the memory.
const DERIVED_KEPT: usize = 1_024;

/// What the core may use and never changes: keys, contexts, where coins go.
pub struct Environment {
    /// Curve arithmetic.
    pub secp: Secp256k1<All>,
    /// For the node's own signatures, ECDH and invoices (`NodeSigner`); never asked for entropy.
    pub node_keys: KeysManager,
    /// Everything of ours follows from it.
    pub seed: [u8; 32],
    /// A script of the on-chain wallet: closes pay to it.
    pub destination_script: ScriptBuf,
    node_id: PublicKey,
    /// What was derived before. No state: the seed gives the same again.
    derived: Mutex<BTreeMap<[u8; 32], (ChannelKeys, ChannelPublicKeys)>>,
}

/// A channel's secrets (BOLT 3, "Key Derivation").
#[derive(Clone)]
pub struct ChannelKeys {
    /// Signs what spends the funding output.
    pub funding: SecretKey,
    /// With the counterparty's revoked secret: takes what its revoked commitment holds.
    pub revocation_base: SecretKey,
    /// Takes this side's balance from the counterparty's commitment.
    pub payment: SecretKey,
    /// Takes this side's balance from its own commitment, after the delay.
    pub delayed_payment_base: SecretKey,
    /// Signs HTLC transactions, and takes HTLCs from the counterparty's commitment.
    pub htlc_base: SecretKey,
    /// Commitment secrets follow from it.
    pub commitment_seed: [u8; 32],
}

impl Environment {
    /// From a seed.
    pub fn new(seed: [u8; 32], destination_script: ScriptBuf) -> Environment {
        let secp = Secp256k1::new();
        // The time only feeds the manager's entropy, which is never asked for.
        let node_keys = KeysManager::new(&seed, 0, 0, true);
        let node_id = node_keys.get_node_secret_key().public_key(&secp);
        Environment {
            secp,
            node_keys,
            seed,
            destination_script,
            node_id,
            derived: Mutex::new(BTreeMap::new()),
        }
    }

    /// This node's id.
    pub fn node_id(&self) -> PublicKey {
        self.node_id
    }

    /// The secrets of the channel with this `keys_id`.
    pub fn channel_keys(&self, keys_id: &[u8; 32]) -> ChannelKeys {
        self.derived(keys_id).0
    }

    /// The holder's points in the channel with this `keys_id`.
    pub fn channel_points(&self, keys_id: &[u8; 32]) -> ChannelPublicKeys {
        self.derived(keys_id).1
    }

    fn derived(&self, keys_id: &[u8; 32]) -> (ChannelKeys, ChannelPublicKeys) {
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if derived.len() >= DERIVED_KEPT && !derived.contains_key(keys_id) {
            derived.clear();
        }
        derived
            .entry(*keys_id)
            .or_insert_with(|| {
                let keys = ChannelKeys::derive(&self.seed, keys_id);
                let points = keys.public(&self.secp);
                (keys, points)
            })
            .clone()
    }
}

#[cfg(test)]
impl Environment {
    /// With these secrets for the channel with this `keys_id`, whatever the seed would give: for BOLT 3's vectors.
    pub(crate) fn with_channel_keys(self, keys_id: [u8; 32], keys: ChannelKeys) -> Environment {
        let points = keys.public(&self.secp);
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        derived.insert(keys_id, (keys, points));
        drop(derived);
        self
    }
}

impl ChannelKeys {
    fn derive(seed: &[u8; 32], keys_id: &[u8; 32]) -> ChannelKeys {
        let secret = |label| secret_key(seed, keys_id, label);
        ChannelKeys {
            funding: secret("funding"),
            revocation_base: secret("revocation base"),
            payment: secret("payment"),
            delayed_payment_base: secret("delayed payment base"),
            htlc_base: secret("htlc base"),
            commitment_seed: digest(seed, keys_id, "commitment seed", 0),
        }
    }

    /// The points that the counterparty gets.
    pub fn public(&self, secp: &Secp256k1<All>) -> ChannelPublicKeys {
        ChannelPublicKeys {
            funding_pubkey: self.funding.public_key(secp),
            revocation_basepoint: self.revocation_base.public_key(secp).into(),
            payment_point: self.payment.public_key(secp),
            delayed_payment_basepoint: self.delayed_payment_base.public_key(secp).into(),
            htlc_basepoint: self.htlc_base.public_key(secp).into(),
        }
    }

    /// The secret of this side's commitment `number` (BOLT 3 counts up from 0).
    pub fn commitment_secret(&self, number: u64) -> [u8; 32] {
        build_commitment_secret(&self.commitment_seed, secret_index(number))
    }

    /// The point of this side's commitment `number`.
    pub fn commitment_point(&self, number: u64, secp: &Secp256k1<All>) -> PublicKey {
        // All but one in 2^128 secrets are keys. For that one the point is one that nobody can revoke:
        // the channel stops there.
        SecretKey::from_slice(&self.commitment_secret(number))
            .unwrap_or(self.funding)
            .public_key(secp)
    }
}

fn digest(seed: &[u8; 32], keys_id: &[u8; 32], label: &str, attempt: u8) -> [u8; 32] {
    let mut engine = HmacEngine::<sha256::Hash>::new(seed);
    engine.input(b"deadbolt channel");
    engine.input(keys_id);
    engine.input(label.as_bytes());
    engine.input(&[attempt]);
    Hmac::from_engine(engine).to_byte_array()
}

/// The first digest that is a secret key: all but one in 2^128 are.
fn secret_key(seed: &[u8; 32], keys_id: &[u8; 32], label: &str) -> SecretKey {
    let mut attempt = 0u8;
    loop {
        if let Ok(key) = SecretKey::from_slice(&digest(seed, keys_id, label, attempt)) {
            return key;
        }
        attempt = attempt.wrapping_add(1);
    }
}

#[cfg(test)]
#[path = "keys_vector_tests.rs"]
mod vector_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use lightning::sign::{NodeSigner, Recipient};

    fn environment() -> Environment {
        Environment::new([7; 32], ScriptBuf::new())
    }

    #[test]
    fn the_node_id_is_the_one_that_ldk_derives() {
        let environment = environment();
        let by_ldk = environment.node_keys.get_node_id(Recipient::Node).unwrap();
        assert_eq!(environment.node_id(), by_ldk);
    }

    #[test]
    fn a_channels_keys_follow_from_seed_and_keys_id_alone() {
        let once = environment().channel_points(&[1; 32]);
        assert_eq!(once, environment().channel_points(&[1; 32]));
        assert_ne!(once, environment().channel_points(&[2; 32]));
        let other_seed = Environment::new([8; 32], ScriptBuf::new());
        assert_ne!(once, other_seed.channel_points(&[1; 32]));
    }

    #[test]
    fn revoked_secrets_fit_bolt_3s_shachain() {
        let keys = environment().channel_keys(&[1; 32]);
        let mut secrets = lightning::ln::chan_utils::CounterpartyCommitmentSecrets::new();
        for number in 0..9 {
            let index = FIRST_COMMITMENT_INDEX - number;
            secrets
                .provide_secret(index, keys.commitment_secret(number))
                .unwrap();
        }
        assert_eq!(
            secrets.get_secret(FIRST_COMMITMENT_INDEX - 3),
            Some(keys.commitment_secret(3))
        );
    }
}
