//! Which node id follows from a seed, so that peers can be named before they run.

use bitcoin::hex::FromHex;
use bitcoin::secp256k1::PublicKey;
use lightning::sign::{KeysManager, NodeSigner, Recipient};

/// Why a seed is no seed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a seed is 64 hexadecimal digits, not {0:?}")]
pub struct BadSeed(pub String);

/// Reads a seed.
///
/// # Errors
///
/// [`BadSeed`]: it is not 64 hexadecimal digits.
pub fn seed_bytes(seed: &str) -> Result<[u8; 32], BadSeed> {
    <[u8; 32]>::from_hex(seed).map_err(|_| BadSeed(seed.to_owned()))
}

/// The node id that every node program derives from this seed: LDK's `KeysManager` derivation.
///
/// # Errors
///
/// [`BadSeed`]: it is not 64 hexadecimal digits.
pub fn node_id_of_seed(seed: &str) -> Result<PublicKey, BadSeed> {
    let keys = KeysManager::new(&seed_bytes(seed)?, 0, 0, true);
    keys.get_node_id(Recipient::Node)
        .map_err(|()| BadSeed(seed.to_owned()))
}
