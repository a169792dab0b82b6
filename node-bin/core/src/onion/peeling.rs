//! Peeling, on LDK's `peel_payment_onion`. Knows no height and no policy: those are the manager's.
//!
//! BOLT 4, "Onion Decryption" and "Failure Messages".

use std::io::Cursor;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{All, Secp256k1};
use lightning::ln::channelmanager::{PendingHTLCInfo, PendingHTLCRouting};
use lightning::ln::msgs::{OnionPacket, UpdateAddHTLC};
use lightning::ln::onion_payment::{InboundHTLCErr, peel_payment_onion};
use lightning::ln::types::ChannelId;
use lightning::sign::{NodeSigner, Recipient};
use lightning::util::logger::{Logger, Record};
use lightning::util::ser::{Readable, Writeable};

use super::{OwnFailure, Peeled, code};
use crate::keys::Environment;
use crate::spec::{HtlcAdd, ONION_PACKET_BYTES};

/// LDK refuses HTLCs that expire more than this many blocks after the height it is given.
const FAR_AWAY_BLOCKS: u32 = 14 * 24 * 6;

/// The pure core logs nothing.
struct Silence;

impl Logger for Silence {
    fn log(&self, _record: Record) {}
}

/// Peels one layer. Checks nothing that depends on the height or on this node's policy, but that a
/// forward leaves LDK's `MIN_CLTV_EXPIRY_DELTA` between both expiries. A failure's height is 0 here.
pub fn peel(environment: &Environment, add: &HtlcAdd) -> Peeled {
    peel_with(&environment.node_keys, &environment.secp, add)
}

/// The same for whoever has the node's key.
fn peel_with(node_signer: &impl NodeSigner, secp: &Secp256k1<All>, add: &HtlcAdd) -> Peeled {
    let malformed = |failure_code| Peeled::Malformed {
        sha256_of_onion: sha256::Hash::hash(&add.onion).to_byte_array(),
        failure_code,
    };
    let packet = match OnionPacket::read(&mut Cursor::new(&add.onion)) {
        Ok(packet) if add.onion.len() == ONION_PACKET_BYTES => packet,
        _ => return malformed(code::INVALID_ONION_VERSION),
    };
    let secret = packet.public_key.ok().and_then(|key| {
        let secret = node_signer.ecdh(Recipient::Node, &key, None);
        secret.ok().map(|secret| secret.secret_bytes())
    });
    let Some(shared_secret) = secret else {
        return malformed(code::INVALID_ONION_KEY);
    };
    match peel_by_ldk(node_signer, secp, add, packet) {
        Ok(info) => read(add, info),
        Err(error) => match failure_code(&error) {
            // LDK uses this code for HTLCs inside blinded paths, which are wrapped all the same: this
            // node can only be where such a path begins.
            code::INVALID_ONION_BLINDING => refuse_blinded(add, shared_secret),
            bad if bad & code::BADONION != 0 => malformed(bad),
            other => Peeled::Refused {
                shared_secret,
                failure: refusal(add, other),
            },
        },
    }
}

/// LDK judges by the height too. It gets the lowest at which no HTLC of this expiry is too far away;
/// what is too soon at that height is too soon at any true height, or too far away there.
pub(super) fn peel_by_ldk(
    node_signer: &impl NodeSigner,
    secp: &Secp256k1<All>,
    add: &HtlcAdd,
    onion_routing_packet: OnionPacket,
) -> Result<PendingHTLCInfo, InboundHTLCErr> {
    let message = UpdateAddHTLC {
        channel_id: ChannelId::new_zero(),
        htlc_id: add.htlc_id,
        amount_msat: add.amount_msat,
        payment_hash: add.payment_hash,
        cltv_expiry: add.cltv_expiry,
        skimmed_fee_msat: None,
        onion_routing_packet,
        blinding_point: None,
        hold_htlc: None,
    };
    let height = add.cltv_expiry.saturating_sub(FAR_AWAY_BLOCKS);
    peel_payment_onion(&message, node_signer, &Silence, secp, height, false)
}

/// The code is private in LDK, but not its encoding.
fn failure_code(error: &InboundHTLCErr) -> u16 {
    match error.reason.encode().as_slice() {
        [high, low, ..] => u16::from_be_bytes([*high, *low]),
        _ => code::TEMPORARY_NODE_FAILURE,
    }
}

fn read(add: &HtlcAdd, info: PendingHTLCInfo) -> Peeled {
    let shared_secret = info.incoming_shared_secret;
    let receive =
        |data: Option<lightning::ln::msgs::FinalOnionHopData>, keysend_preimage| Peeled::Receive {
            shared_secret,
            amount_msat: info.outgoing_amt_msat,
            total_msat: data
                .as_ref()
                .map_or(info.outgoing_amt_msat, |data| data.total_msat),
            cltv_expiry: info.outgoing_cltv_value,
            payment_secret: data.map(|data| data.payment_secret),
            keysend_preimage,
        };
    match info.routing {
        PendingHTLCRouting::Forward {
            onion_packet,
            short_channel_id,
            blinded: None,
            ..
        } => match onion_packet.public_key {
            Ok(_) => Peeled::Forward {
                shared_secret,
                onion: onion_packet.encode(),
                short_channel_id,
                amount_msat: info.outgoing_amt_msat,
                cltv_expiry: info.outgoing_cltv_value,
            },
            // The next hop could not read it, and would say so: this node says it for it.
            Err(_) => Peeled::Refused {
                shared_secret,
                failure: refusal(add, code::INVALID_ONION_KEY),
            },
        },
        PendingHTLCRouting::Receive {
            payment_data,
            payment_context: None,
            ..
        } => receive(Some(payment_data), None),
        PendingHTLCRouting::ReceiveKeysend {
            payment_data,
            payment_preimage,
            payment_context: None,
            ..
        } => receive(payment_data, Some(payment_preimage)),
        PendingHTLCRouting::TrampolineForward { .. } => Peeled::Refused {
            shared_secret,
            failure: refusal(add, code::REQUIRED_NODE_FEATURE_MISSING),
        },
        PendingHTLCRouting::Forward { .. }
        | PendingHTLCRouting::Receive { .. }
        | PendingHTLCRouting::ReceiveKeysend { .. } => refuse_blinded(add, shared_secret),
    }
}

/// This node takes part in no blinded path: its features say so.
fn refuse_blinded(add: &HtlcAdd, shared_secret: [u8; 32]) -> Peeled {
    Peeled::Refused {
        shared_secret,
        failure: refusal(add, code::INVALID_ONION_BLINDING),
    }
}

/// BOLT 4's data for a code. LDK leaves it out for some.
fn refusal(add: &HtlcAdd, code: u16) -> OwnFailure {
    match code {
        code::INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS => {
            OwnFailure::incorrect_payment_details(add.amount_msat, 0)
        }
        code::INCORRECT_CLTV_EXPIRY => OwnFailure::update(code, &add.cltv_expiry.to_be_bytes()),
        code::AMOUNT_BELOW_MINIMUM | code::FEE_INSUFFICIENT => {
            OwnFailure::update(code, &add.amount_msat.to_be_bytes())
        }
        _ if code & code::UPDATE != 0 => OwnFailure::update(code, &[]),
        _ => OwnFailure {
            code,
            data: match code {
                code::FINAL_INCORRECT_CLTV_EXPIRY => add.cltv_expiry.to_be_bytes().to_vec(),
                code::FINAL_INCORRECT_HTLC_AMOUNT => add.amount_msat.to_be_bytes().to_vec(),
                // Type 0 at offset 0: which field it was LDK does not tell.
                code::INVALID_ONION_PAYLOAD => vec![0; 3],
                _ if code & code::BADONION != 0 => {
                    sha256::Hash::hash(&add.onion).to_byte_array().to_vec()
                }
                _ => Vec::new(),
            },
        },
    }
}

#[cfg(test)]
#[path = "peeling_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "peeling_vector_tests.rs"]
mod vector_tests;
