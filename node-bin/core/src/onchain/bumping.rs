//! What `BumpTransactionEventHandlerSync` is told, so that it takes the wallet's coins to get a
//! commitment, or the second-stage transactions of the holder's, into a block.
//!
//! BOLT 3, "HTLC-Timeout and HTLC-Success Transactions" and its anchors; BOLT 5, "Unilateral Close Handling".

use bitcoin::absolute::LockTime;
use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::{All, Secp256k1};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, Transaction};
use lightning::chain::ClaimId;
use lightning::events::bump_transaction::{AnchorDescriptor, BumpTransactionEvent};
use lightning::sign::ecdsa::EcdsaChannelSigner;
use lightning::sign::{ChannelDerivationParameters, HTLCDescriptor};
use lightning::types::payment::PaymentPreimage;

use super::scripts;
use super::signer::HolderSigner;
use crate::commitment::{ANCHORS_SAT, BuiltCommitment, transaction_parameters};
use crate::keys::Environment;
use crate::record::{ChannelParameters, ChannelRecord};
use crate::spec::Direction;

/// An HTLC of the holder's commitment that is to go to its second stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecondStage {
    /// Which way.
    pub direction: Direction,
    /// Its id in that direction.
    pub htlc_id: u64,
    /// An inbound HTLC's. An outbound one has expired instead, and needs none.
    pub preimage: Option<PaymentPreimage>,
}

/// The holder's anchor in a commitment, whoever's it is. There is none in a commitment in which the
/// holder has nothing.
pub fn anchor_descriptor(
    environment: &Environment,
    parameters: &ChannelParameters,
    transaction: &Transaction,
) -> Option<AnchorDescriptor> {
    let points = environment.channel_points(&parameters.keys_id);
    let script = scripts::anchor(&points.funding_pubkey).to_p2wsh();
    let (vout, output) = (0u32..)
        .zip(&transaction.output)
        .find(|(_, output)| output.script_pubkey == script)?;
    // The signature commits to the value that every anchor has.
    if output.value != Amount::from_sat(ANCHORS_SAT / 2) {
        return None;
    }
    Some(AnchorDescriptor {
        channel_derivation_parameters: derivation(environment, parameters),
        outpoint: OutPoint {
            txid: transaction.compute_txid(),
            vout,
        },
        value: output.value,
    })
}

/// Asks for a commitment to get into a block at this fee rate, with a child that spends the holder's
/// anchor: the holder's own (`holder_commitment_transaction`), or one that the
/// counterparty published. None if the holder has no anchor in it: then it has nothing to lose
/// either.
pub fn channel_close(
    environment: &Environment,
    parameters: &ChannelParameters,
    commitment_tx: Transaction,
    feerate_per_kw: u32,
) -> Option<BumpTransactionEvent> {
    let anchor_descriptor = anchor_descriptor(environment, parameters, &commitment_tx)?;
    let paid = commitment_tx
        .output
        .iter()
        .map(|output| output.value.to_sat())
        .sum::<u64>();
    Some(BumpTransactionEvent::ChannelClose {
        channel_id: parameters.channel_id,
        counterparty_node_id: parameters.counterparty_node_id,
        claim_id: ClaimId(anchor_descriptor.outpoint.txid.to_byte_array()),
        package_target_feerate_sat_per_1000_weight: feerate_per_kw,
        commitment_tx_fee_satoshis: parameters.capacity_sat.saturating_sub(paid),
        commitment_tx,
        anchor_descriptor,
        // Only for who weighs whether to bump at all.
        pending_htlcs: Vec::new(),
    })
}

/// The second-stage transactions' inputs and outputs of these HTLCs of the holder's commitment. Left
/// out is what has no output there, and an inbound HTLC without its preimage.
pub fn htlc_descriptors(
    environment: &Environment,
    record: &ChannelRecord,
    wanted: &[SecondStage],
) -> Vec<HTLCDescriptor> {
    let parameters = &record.parameters;
    let built = BuiltCommitment::of_holder(environment, parameters, &record.holder);
    let descriptor = |wanted: &SecondStage| {
        let id = (wanted.direction, wanted.htlc_id);
        let position = built.htlcs.iter().position(|htlc| *htlc == id)?;
        let preimage = match wanted.direction {
            Direction::Inbound => Some(wanted.preimage?),
            Direction::Outbound => None,
        };
        let counterparty_sig = record.holder.htlc_signatures.get(position)?;
        let derivation = derivation(environment, parameters);
        descriptor_of(&built, derivation, position, preimage, counterparty_sig)
    };
    wanted.iter().filter_map(descriptor).collect()
}

/// The HTLC output at this place among the commitment's HTLCs, with the counterparty's signature for its second
/// stage. None: there is no such place.
pub(crate) fn descriptor_of(
    built: &BuiltCommitment,
    channel_derivation_parameters: ChannelDerivationParameters,
    position: usize,
    preimage: Option<PaymentPreimage>,
    counterparty_sig: &Signature,
) -> Option<HTLCDescriptor> {
    let trusted = built.transaction.trust();
    Some(HTLCDescriptor {
        channel_derivation_parameters,
        commitment_txid: trusted.txid(),
        per_commitment_number: trusted.commitment_number(),
        per_commitment_point: trusted.per_commitment_point(),
        // HTLC transactions pay no fee of their own (anchors).
        feerate_per_kw: 0,
        htlc: trusted.nondust_htlcs().get(position)?.clone(),
        preimage,
        counterparty_sig: *counterparty_sig,
    })
}

/// The second-stage transactions of these HTLCs as they are without the wallet's coins: signed, and paying
/// no fee. For a chain that asks for none.
pub fn feeless_second_stages(
    environment: &Environment,
    record: &ChannelRecord,
    wanted: &[SecondStage],
) -> Vec<Transaction> {
    let secp = &environment.secp;
    let signer = HolderSigner::new(environment, record.parameters.keys_id);
    htlc_descriptors(environment, record, wanted)
        .iter()
        .filter_map(|descriptor| feeless_second_stage(secp, &signer, descriptor))
        .collect()
}

/// BOLT 3's HTLC transaction of this output, signed by both. None: the signer refuses.
pub(crate) fn feeless_second_stage(
    secp: &Secp256k1<All>,
    signer: &HolderSigner,
    descriptor: &HTLCDescriptor,
) -> Option<Transaction> {
    let lock_time = match descriptor.preimage {
        Some(_) => LockTime::ZERO,
        None => LockTime::from_consensus(descriptor.htlc.cltv_expiry),
    };
    let mut transaction = Transaction {
        version: Version::TWO,
        lock_time,
        input: vec![descriptor.unsigned_tx_input()],
        output: vec![descriptor.tx_output(secp)],
    };
    let signature = signer
        .sign_holder_htlc_transaction(&transaction, 0, descriptor, secp)
        .ok()?;
    let script = descriptor.witness_script(secp);
    for input in &mut transaction.input {
        input.witness = descriptor.tx_input_witness(&signature, &script);
    }
    Some(transaction)
}

/// Asks for these HTLCs of the holder's commitment to go to their second stage at this fee rate. The
/// counterparty signed each one's lock time, so only those with the same one share a transaction and
/// an event. They stay in the order in which they are wanted.
pub fn htlc_resolutions(
    environment: &Environment,
    record: &ChannelRecord,
    wanted: &[SecondStage],
    feerate_per_kw: u32,
) -> Vec<BumpTransactionEvent> {
    let mut by_lock_time: Vec<(u32, Vec<HTLCDescriptor>)> = Vec::new();
    for descriptor in htlc_descriptors(environment, record, wanted) {
        let lock_time = match descriptor.preimage {
            Some(_) => 0,
            None => descriptor.htlc.cltv_expiry,
        };
        match by_lock_time
            .iter_mut()
            .find(|(known, _)| *known == lock_time)
        {
            Some((_, same)) => same.push(descriptor),
            None => by_lock_time.push((lock_time, vec![descriptor])),
        }
    }
    by_lock_time
        .into_iter()
        .map(
            |(lock_time, htlc_descriptors)| BumpTransactionEvent::HTLCResolution {
                channel_id: record.parameters.channel_id,
                counterparty_node_id: record.parameters.counterparty_node_id,
                claim_id: claim_id(&htlc_descriptors),
                target_feerate_sat_per_1000_weight: feerate_per_kw,
                htlc_descriptors,
                tx_lock_time: LockTime::from_consensus(lock_time),
            },
        )
        .collect()
}

/// The same HTLCs have the same id, so that the wallet takes the same coins when more is paid.
fn claim_id(descriptors: &[HTLCDescriptor]) -> ClaimId {
    let mut engine = sha256::Hash::engine();
    for descriptor in descriptors {
        let vout = descriptor.htlc.transaction_output_index.unwrap_or_default();
        engine.input(&descriptor.commitment_txid.to_byte_array());
        engine.input(&vout.to_be_bytes());
    }
    ClaimId(sha256::Hash::from_engine(engine).to_byte_array())
}

fn derivation(
    environment: &Environment,
    parameters: &ChannelParameters,
) -> ChannelDerivationParameters {
    let points = environment.channel_points(&parameters.keys_id);
    ChannelDerivationParameters {
        value_satoshis: parameters.capacity_sat,
        keys_id: parameters.keys_id,
        transaction_parameters: transaction_parameters(points, parameters),
    }
}

#[cfg(test)]
mod tests;
