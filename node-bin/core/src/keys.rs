//! Secrets: the node's by LDK's derivation, a channel's from its `keys_id`, all from one seed.

use bitcoin::ScriptBuf;
use bitcoin::secp256k1::{All, PublicKey, Secp256k1, SecretKey};
use lightning::ln::chan_utils::ChannelPublicKeys;
use lightning::sign::KeysManager;

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
}

/// A channel's secrets.
#[derive(Clone)]
#[allow(missing_docs)] // BOLT 3's names
pub struct ChannelKeys {
    pub funding: SecretKey,
    pub revocation_base: SecretKey,
    pub payment: SecretKey,
    pub delayed_payment_base: SecretKey,
    pub htlc_base: SecretKey,
    pub commitment_seed: [u8; 32],
}

impl Environment {
    /// From a seed.
    pub fn new(_seed: [u8; 32], _destination_script: ScriptBuf) -> Environment {
        unimplemented!()
    }

    /// This node's id.
    pub fn node_id(&self) -> PublicKey {
        unimplemented!()
    }

    /// The secrets of the channel with this `keys_id`.
    pub fn channel_keys(&self, _keys_id: &[u8; 32]) -> ChannelKeys {
        unimplemented!()
    }
}

impl ChannelKeys {
    /// The points that the counterparty gets.
    pub fn public(&self, _secp: &Secp256k1<All>) -> ChannelPublicKeys {
        unimplemented!()
    }

    /// The secret of this side's commitment `number` (BOLT 3 counts up from 0).
    pub fn commitment_secret(&self, _number: u64) -> [u8; 32] {
        unimplemented!()
    }

    /// The point of this side's commitment `number`.
    pub fn commitment_point(&self, _number: u64, _secp: &Secp256k1<All>) -> PublicKey {
        unimplemented!()
    }
}
