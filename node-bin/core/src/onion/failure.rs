//! Failure onions (BOLT 4, "Returning Errors"): made, wrapped on their way back, and decoded by the
//! sender. The cryptography is `fiber-sphinx`'s.

use bitcoin::secp256k1::SecretKey;
use fiber_sphinx::OnionErrorPacket;

use super::{OwnFailure, code};
use crate::keys::Environment;
use crate::source::PathHop;

/// Message and padding together, at the least (BOLT 4): failures look alike.
const PADDED_BYTES: usize = 256;

/// What a message may be at the most; what a peer's `update_fail_htlc` can hold is more.
const MAXIMUM_MESSAGE_BYTES: usize = 32 * 1024;

/// Wraps a failure of this node's own for the sender.
pub fn wrap_own_failure(shared_secret: &[u8; 32], failure: &OwnFailure) -> Vec<u8> {
    let mut message = failure.code.to_be_bytes().to_vec();
    message.extend_from_slice(&failure.data);
    message.truncate(MAXIMUM_MESSAGE_BYTES);
    let padding = PADDED_BYTES.saturating_sub(message.len());
    let mut payload = Vec::with_capacity(4 + message.len() + padding);
    payload.extend_from_slice(&(message.len() as u16).to_be_bytes());
    payload.extend_from_slice(&message);
    payload.extend_from_slice(&(padding as u16).to_be_bytes());
    payload.resize(payload.len() + padding, 0);
    OnionErrorPacket::create(shared_secret, payload).into_bytes()
}

/// Wraps a failure that came from downstream once more.
pub fn wrap_relayed_failure(shared_secret: &[u8; 32], reason: Vec<u8>) -> Vec<u8> {
    OnionErrorPacket::from_bytes(reason)
        .xor_cipher_stream(shared_secret)
        .into_bytes()
}

/// What a failure onion told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedFailure {
    /// The hop that failed it, counted from 0 for the first hop; `None`: nobody on the path can have
    /// made this onion.
    pub hop: Option<usize>,
    /// BOLT 4's code, if it could be read.
    pub code: Option<u16>,
    /// The channel to avoid in a retry.
    pub failed_channel: Option<u64>,
    /// Trying again makes no sense: the payee itself refused for good.
    pub is_permanent: bool,
}

/// Decodes a failure onion of an own part.
pub fn decode_failure(
    _environment: &Environment,
    session_key: &SecretKey,
    path: &[PathHop],
    reason: &[u8],
) -> DecodedFailure {
    let Some((code, hop)) = unwrap(session_key, path, reason) else {
        return DecodedFailure {
            hop: None,
            code: None,
            failed_channel: None,
            is_permanent: false,
        };
    };
    let is_final = hop + 1 == path.len();
    DecodedFailure {
        hop: Some(hop),
        code,
        failed_channel: failed_channel(path, hop, code),
        is_permanent: is_final && code.is_none_or(|code| code & code::PERM != 0),
    }
}

/// The code, if there is one, and who made the onion: the first hop whose HMAC is right.
fn unwrap(
    session_key: &SecretKey,
    path: &[PathHop],
    reason: &[u8],
) -> Option<(Option<u16>, usize)> {
    // The two crates have each their own release of secp256k1; keys cross as bytes.
    let session_key =
        fiber_sphinx_secp256k1::SecretKey::from_slice(&session_key.secret_bytes()).ok()?;
    let node_ids = path
        .iter()
        .map(|hop| fiber_sphinx_secp256k1::PublicKey::from_slice(&hop.node_id.serialize()))
        .collect::<Result<Vec<_>, _>>()
        .ok()?;
    OnionErrorPacket::from_bytes(reason.to_vec())
        .parse(node_ids, session_key, |payload| Some(read_code(payload)))
}

/// The code in `[u16 length][code, data][u16 padding's length][padding]`.
fn read_code(payload: &[u8]) -> Option<u16> {
    let (length, rest) = payload.split_first_chunk()?;
    let message = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
    let (code, _data) = message.split_first_chunk()?;
    Some(u16::from_be_bytes(*code))
}

/// Which channel to blame: the one after the erring hop for what is about a channel, the one that led
/// to it for what is about the node or cannot be understood. The payee has no channel after it, and is
/// no reason to avoid one unless the HTLC that came in was not what the sender had meant.
fn failed_channel(path: &[PathHop], hop: usize, code: Option<u16>) -> Option<u64> {
    let leading_to_it = path.get(hop).map(|hop| hop.short_channel_id);
    let Some(after_it) = path.get(hop + 1).map(|hop| hop.short_channel_id) else {
        return match code {
            Some(code::INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS | code::MPP_TIMEOUT) => None,
            _ => leading_to_it,
        };
    };
    match code {
        Some(code) if code & code::BADONION != 0 => Some(after_it),
        Some(code) if code & code::NODE != 0 => leading_to_it,
        Some(code) if code & (code::UPDATE | code::PERM) != 0 => Some(after_it),
        Some(code::EXPIRY_TOO_FAR) => Some(after_it),
        _ => leading_to_it,
    }
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;
