//! An input of a claiming transaction: script, key and witness of each right. Never weighs whether it
//! is worth its fee.
//!
//! BOLT 3, "Commitment Transaction Outputs" and "Key Derivation".

use bitcoin::secp256k1::{PublicKey, SecretKey};
use bitcoin::{OutPoint, ScriptBuf, Sequence, TxIn, Witness};
use lightning::ln::chan_utils::{derive_private_key, derive_private_revocation_key};

use super::{Claim, ClaimPath};
use crate::commitment::Side;
use crate::keys::Environment;
use crate::onchain::scripts::{self, CommitmentScripts};
use crate::record::ChannelParameters;

/// The longest signature with a low r and a low s, and its sighash byte.
const SIGNATURE_BYTES: usize = 71;

/// All that an input of a claiming transaction takes.
pub(super) struct ClaimInput {
    outpoint: OutPoint,
    pub(super) amount_sat: u64,
    pub(super) script: ScriptBuf,
    pub(super) key: SecretKey,
    /// What the script wants between signature and script.
    selector: Option<Vec<u8>>,
    sequence: Sequence,
    pub(super) lock_time: u32,
}

impl ClaimInput {
    pub(super) fn new(
        environment: &Environment,
        parameters: &ChannelParameters,
        claim: &Claim,
    ) -> ClaimInput {
        let (script, key, selector) = unlocking(environment, parameters, &claim.path);
        // A height is also low enough to say that the transaction can be replaced.
        let sequence = match claim.path {
            ClaimPath::RevokedBalance { .. } | ClaimPath::RevokedHtlc { .. } => {
                Sequence::ENABLE_RBF_NO_LOCKTIME
            }
            _ => Sequence::from_height(claim.relative_delay(parameters)),
        };
        ClaimInput {
            outpoint: claim.outpoint,
            amount_sat: claim.amount_sat,
            script,
            key,
            selector,
            sequence,
            lock_time: claim.lock_time(),
        }
    }

    pub(super) fn witness(&self, signature: Vec<u8>) -> Witness {
        let mut witness = Witness::new();
        witness.push(signature);
        if let Some(selector) = &self.selector {
            witness.push(selector);
        }
        witness.push(&self.script);
        witness
    }

    pub(super) fn unsigned(&self) -> TxIn {
        TxIn {
            previous_output: self.outpoint,
            script_sig: ScriptBuf::new(),
            sequence: self.sequence,
            witness: self.witness(vec![0; SIGNATURE_BYTES]),
        }
    }

    pub(super) fn weight(&self) -> u64 {
        self.unsigned().segwit_weight().to_wu()
    }
}

/// Witness script, key and selector.
fn unlocking(
    environment: &Environment,
    parameters: &ChannelParameters,
    path: &ClaimPath,
) -> (ScriptBuf, SecretKey, Option<Vec<u8>>) {
    let secp = &environment.secp;
    let keys = environment.channel_keys(&parameters.keys_id);
    let at = |side, point: &PublicKey| CommitmentScripts::new(environment, parameters, side, point);
    match path {
        ClaimPath::Delayed { number } => {
            let point = keys.commitment_point(*number, secp);
            let key = derive_private_key(secp, &point, &keys.delayed_payment_base);
            (at(Side::Holder, &point).delayed(), key, Some(Vec::new()))
        }
        ClaimPath::Balance => {
            let point = environment
                .channel_points(&parameters.keys_id)
                .payment_point;
            (scripts::balance(&point), keys.payment, None)
        }
        ClaimPath::Preimage {
            point,
            htlc,
            preimage,
        } => {
            let key = derive_private_key(secp, point, &keys.htlc_base);
            let script = at(Side::Counterparty, point).htlc(htlc);
            (script, key, Some(preimage.0.to_vec()))
        }
        ClaimPath::Timeout { point, htlc } => {
            let key = derive_private_key(secp, point, &keys.htlc_base);
            let script = at(Side::Counterparty, point).htlc(htlc);
            (script, key, Some(Vec::new()))
        }
        ClaimPath::RevokedBalance { secret } => {
            let key = derive_private_revocation_key(secp, secret, &keys.revocation_base);
            let script = at(Side::Counterparty, &secret.public_key(secp)).delayed();
            (script, key, Some(vec![1]))
        }
        ClaimPath::RevokedHtlc { secret, htlc } => {
            let key = derive_private_revocation_key(secp, secret, &keys.revocation_base);
            let script = at(Side::Counterparty, &secret.public_key(secp)).htlc(htlc);
            let revocation_key = key.public_key(secp).serialize();
            (script, key, Some(revocation_key.to_vec()))
        }
    }
}

#[cfg(test)]
#[path = "inputs_tests.rs"]
mod tests;
