//! Between the core's changes and the protocol's messages. Where `lightning` keeps a field private the
//! message is made from bytes, as the wire has it.
//!
//! BOLT 2, "Normal Operation".

use bitcoin::secp256k1::PublicKey;
use lightning::ln::msgs::{self, DecodeError};
use lightning::ln::types::ChannelId;
use lightning::util::ser::{LengthReadable, Readable, Writeable};

use crate::message::Message;
use crate::spec::{Change, HtlcAdd, ONION_PACKET_BYTES};

/// A message that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored change is no message: {0:?}")]
pub struct WireError(pub DecodeError);

/// An onion packet as on the wire.
pub fn onion_bytes(packet: &msgs::OnionPacket) -> Vec<u8> {
    packet.encode()
}

/// An onion packet from the wire's form.
///
/// # Errors
///
/// [`WireError`]: the bytes are not as many as BOLT 4's packet has.
pub fn onion_packet(bytes: &[u8]) -> Result<msgs::OnionPacket, WireError> {
    if bytes.len() != ONION_PACKET_BYTES {
        return Err(WireError(DecodeError::BadLengthDescriptor));
    }
    let mut hop_data = [0; 1300];
    hop_data.copy_from_slice(&bytes[34..1334]);
    let mut hmac = [0; 32];
    hmac.copy_from_slice(&bytes[1334..]);
    Ok(msgs::OnionPacket {
        version: bytes[0],
        public_key: PublicKey::from_slice(&bytes[1..34]),
        hop_data,
        hmac,
    })
}

/// The `update_add_htlc` of an HTLC.
///
/// # Errors
///
/// [`WireError`]: the onion is not as long as BOLT 4's packet.
pub fn add_message(channel_id: ChannelId, add: &HtlcAdd) -> Result<msgs::UpdateAddHTLC, WireError> {
    Ok(msgs::UpdateAddHTLC {
        channel_id,
        htlc_id: add.htlc_id,
        amount_msat: add.amount_msat,
        payment_hash: add.payment_hash,
        cltv_expiry: add.cltv_expiry,
        skimmed_fee_msat: None,
        onion_routing_packet: onion_packet(&add.onion)?,
        blinding_point: None,
        hold_htlc: None,
    })
}

/// The `update_fail_htlc` with this failure onion.
///
/// # Errors
///
/// [`WireError`]: the onion is longer than a message can say.
pub fn fail_message(
    channel_id: ChannelId,
    htlc_id: u64,
    reason: &[u8],
) -> Result<msgs::UpdateFailHTLC, WireError> {
    let mut bytes = channel_id.encode();
    htlc_id.write(&mut bytes).map_err(|_| short())?;
    let length = u16::try_from(reason.len()).map_err(|_| short())?;
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(reason);
    LengthReadable::read_from_fixed_length_buffer(&mut &bytes[..]).map_err(WireError)
}

fn short() -> WireError {
    WireError(DecodeError::BadLengthDescriptor)
}

/// The `update_fail_malformed_htlc` with this hash and code.
///
/// # Errors
///
/// [`WireError`]: LDK does not read what was made, which does not happen.
pub fn fail_malformed_message(
    channel_id: ChannelId,
    htlc_id: u64,
    sha256_of_onion: &[u8; 32],
    failure_code: u16,
) -> Result<msgs::UpdateFailMalformedHTLC, WireError> {
    let mut bytes = channel_id.encode();
    htlc_id.write(&mut bytes).map_err(|_| short())?;
    bytes.extend_from_slice(sha256_of_onion);
    bytes.extend_from_slice(&failure_code.to_be_bytes());
    LengthReadable::read_from_fixed_length_buffer(&mut &bytes[..]).map_err(WireError)
}

/// The failure onion in an `update_fail_htlc`.
///
/// # Errors
///
/// [`WireError`]: LDK does not write it as BOLT 2 lays it out, which does not happen.
pub fn fail_reason(message: &msgs::UpdateFailHTLC) -> Result<Vec<u8>, WireError> {
    let bytes = message.encode();
    // channel_id, htlc_id, then a length of two bytes and so many bytes (BOLT 2).
    let mut rest = bytes.get(40..).ok_or_else(short)?;
    let length: u16 = Readable::read(&mut rest).map_err(WireError)?;
    let reason = rest.get(..usize::from(length)).ok_or_else(short)?;
    Ok(reason.to_vec())
}

/// The hash in an `update_fail_malformed_htlc`.
///
/// # Errors
///
/// [`WireError`]: LDK does not write it as BOLT 2 lays it out, which does not happen.
pub fn malformed_hash(message: &msgs::UpdateFailMalformedHTLC) -> Result<[u8; 32], WireError> {
    let bytes = message.encode();
    let mut hash = [0; 32];
    hash.copy_from_slice(bytes.get(40..72).ok_or_else(short)?);
    Ok(hash)
}

/// The message of a change.
///
/// # Errors
///
/// [`WireError`]: an onion in it has a length that no message has.
pub fn change_message(channel_id: ChannelId, change: &Change) -> Result<Message, WireError> {
    Ok(match change {
        Change::Add(add) => Message::UpdateAddHtlc(add_message(channel_id, add)?),
        Change::Fulfill { htlc_id, preimage } => {
            Message::UpdateFulfillHtlc(msgs::UpdateFulfillHTLC {
                channel_id,
                htlc_id: *htlc_id,
                payment_preimage: *preimage,
                attribution_data: None,
            })
        }
        Change::Fail { htlc_id, reason } => {
            Message::UpdateFailHtlc(fail_message(channel_id, *htlc_id, reason)?)
        }
        Change::FailMalformed {
            htlc_id,
            sha256_of_onion,
            failure_code,
        } => Message::UpdateFailMalformedHtlc(fail_malformed_message(
            channel_id,
            *htlc_id,
            sha256_of_onion,
            *failure_code,
        )?),
        Change::Fee { feerate_per_kw } => Message::UpdateFee(msgs::UpdateFee {
            channel_id,
            feerate_per_kw: *feerate_per_kw,
        }),
    })
}
