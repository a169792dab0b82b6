//! Commitment transactions from specs: fees, trimming, building, signing, checking (BOLT 3, anchors
//! with zero-fee HTLC transactions). Transactions are built anew each time; no record holds one.

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::{All, Message, PublicKey, Secp256k1};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{Amount, ScriptBuf, Transaction, Witness};
use lightning::ln::chan_utils::{
    ChannelPublicKeys, ChannelTransactionParameters, CommitmentTransaction,
    CounterpartyChannelTransactionParameters, DirectedChannelTransactionParameters,
    HTLCOutputInCommitment, build_htlc_transaction, derive_private_key, get_htlc_redeemscript,
    make_funding_redeemscript,
};
use lightning::types::features::ChannelTypeFeatures;

use crate::keys::{ChannelKeys, Environment, secret_index};
use crate::record::{ChannelLimits, ChannelParameters, CounterpartyCommitment, HolderCommitment};
use crate::spec::{CommitmentSpec, Direction, SpecHtlc};

/// Weight of a commitment without HTLCs (BOLT 3, "Expected Weights").
const BASE_WEIGHT: u64 = 1124;
/// Weight of an HTLC's output.
const HTLC_OUTPUT_WEIGHT: u64 = 172;
/// Satoshis in both anchors.
pub const ANCHORS_SAT: u64 = 2 * 330;

/// The counterparty's signatures are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Of the commitment transaction.
    #[error("the commitment's signature is wrong")]
    Commitment,
    /// Their number.
    #[error("{got} HTLC signatures for {wanted} HTLC outputs")]
    Count {
        /// Sent.
        got: usize,
        /// Needed.
        wanted: usize,
    },
    /// Of an HTLC transaction.
    #[error("the signature of HTLC output {0} is wrong")]
    Htlc(usize),
}

/// Whose transaction a spec becomes: decides what is dust and which HTLCs are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This node's.
    Holder,
    /// The other's.
    Counterparty,
}

/// The one channel type that this node opens and accepts.
pub fn channel_type() -> ChannelTypeFeatures {
    ChannelTypeFeatures::anchors_zero_htlc_fee_and_dependencies()
}

/// The script that the funding output pays to, by hash.
pub fn funding_script(holder: &PublicKey, counterparty: &PublicKey) -> ScriptBuf {
    make_funding_redeemscript(holder, counterparty)
}

/// The fee of a commitment with so many HTLC outputs, in satoshis.
pub fn commitment_fee_sat(feerate_per_kw: u32, htlc_outputs: u64) -> u64 {
    u64::from(feerate_per_kw) * (BASE_WEIGHT + HTLC_OUTPUT_WEIGHT * htlc_outputs) / 1000
}

/// What the opener must be able to pay for this commitment in satoshis, whichever side's it is: dust limits
/// may differ, so the side whose commitment has more outputs decides.
pub fn fee_and_anchors_sat(
    parameters: &ChannelParameters,
    spec: &CommitmentSpec,
    more: u64,
) -> u64 {
    let of = |side| fee_and_anchors_with_sat(parameters, spec, side, more);
    of(Side::Holder).max(of(Side::Counterparty))
}

/// What the opener pays for this side's commitment in satoshis: the base weight, one output's weight for
/// every HTLC that is not dust, and both anchors; as if `more` further untrimmed HTLCs were in it.
fn fee_and_anchors_with_sat(
    parameters: &ChannelParameters,
    spec: &CommitmentSpec,
    side: Side,
    more: u64,
) -> u64 {
    let outputs = untrimmed(parameters, spec, side).count() as u64;
    commitment_fee_sat(spec.feerate_per_kw, outputs + more) + ANCHORS_SAT
}

/// Millisatoshis in HTLCs that this commitment trims: what a close would cost whoever owns them.
pub fn dust_exposure_msat(
    parameters: &ChannelParameters,
    spec: &CommitmentSpec,
    side: Side,
) -> u64 {
    let dust_limit_sat = side.limits(parameters).dust_limit_sat;
    spec.htlcs
        .values()
        .filter(|htlc| is_dust(htlc, dust_limit_sat))
        .map(|htlc| htlc.amount_msat)
        .sum()
}

/// The HTLCs that get an output of their own in this commitment, by direction and id.
pub fn untrimmed<'a>(
    parameters: &ChannelParameters,
    spec: &'a CommitmentSpec,
    side: Side,
) -> impl Iterator<Item = (&'a (Direction, u64), &'a SpecHtlc)> + use<'a> {
    let dust_limit_sat = side.limits(parameters).dust_limit_sat;
    spec.htlcs
        .iter()
        .filter(move |(_, htlc)| !is_dust(htlc, dust_limit_sat))
}

/// Whether an HTLC gets no output. HTLC transactions pay no fee, so the limit alone decides.
fn is_dust(htlc: &SpecHtlc, dust_limit_sat: u64) -> bool {
    htlc.amount_msat / 1000 < dust_limit_sat
}

impl Side {
    /// The limits of whoever owns the transaction.
    fn limits(self, parameters: &ChannelParameters) -> &ChannelLimits {
        match self {
            Side::Holder => &parameters.holder_limits,
            Side::Counterparty => &parameters.counterparty_limits,
        }
    }

    /// HTLCs in this direction are offered by the owner of the transaction.
    fn offers(self) -> Direction {
        match self {
            Side::Holder => Direction::Outbound,
            Side::Counterparty => Direction::Inbound,
        }
    }
}

/// Signs a commitment of the counterparty and its HTLC transactions, in output order. Deterministic:
/// the same commitment gives the same signatures (RFC 6979).
pub fn sign_counterparty_commitment(
    environment: &Environment,
    parameters: &ChannelParameters,
    commitment: &CounterpartyCommitment,
) -> (Signature, Vec<Signature>) {
    BuiltCommitment::of_counterparty(environment, parameters, commitment).sign(
        &environment.secp,
        &environment.channel_keys(&parameters.keys_id),
    )
}

/// Checks the counterparty's signatures of a commitment of the holder.
///
/// # Errors
///
/// [`SignatureError`]: which one is wrong, or that their number is.
pub fn verify_holder_commitment(
    environment: &Environment,
    parameters: &ChannelParameters,
    commitment: &HolderCommitment,
) -> Result<(), SignatureError> {
    BuiltCommitment::of_holder(environment, parameters, commitment).verify(
        &environment.secp,
        &commitment.signature,
        &commitment.htlc_signatures,
    )
}

/// The holder's commitment, signed by both, ready to be published.
pub fn holder_commitment_transaction(
    environment: &Environment,
    parameters: &ChannelParameters,
    commitment: &HolderCommitment,
) -> Transaction {
    let keys = environment.channel_keys(&parameters.keys_id);
    BuiltCommitment::of_holder(environment, parameters, commitment).fully_signed(
        &environment.secp,
        &keys,
        &commitment.signature,
    )
}

/// The witness that spends the funding output, with both signatures for `SIGHASH_ALL`.
pub fn funding_witness(
    holder: (&PublicKey, &Signature),
    counterparty: (&PublicKey, &Signature),
) -> Witness {
    let script = funding_script(holder.0, counterparty.0);
    // In the order of the keys in the script, which is that of their bytes (BOLT 3).
    let (first, second) = if holder.0.serialize() < counterparty.0.serialize() {
        (holder.1, counterparty.1)
    } else {
        (counterparty.1, holder.1)
    };
    let mut witness = Witness::new();
    witness.push([]);
    witness.push_ecdsa_signature(&with_sighash_all(first));
    witness.push_ecdsa_signature(&with_sighash_all(second));
    witness.push(script);
    witness
}

fn with_sighash_all(signature: &Signature) -> bitcoin::ecdsa::Signature {
    bitcoin::ecdsa::Signature::sighash_all(*signature)
}

/// A commitment transaction with what it was made of.
pub struct BuiltCommitment {
    /// LDK's builder's work, unsigned.
    pub transaction: CommitmentTransaction,
    /// Which HTLC each of `transaction.nondust_htlcs()` is. Two that agree in everything that the
    /// transaction shows are told apart by id alone, in ascending order.
    pub htlcs: Vec<(Direction, u64)>,
    /// What LDK's functions ask for besides.
    pub parameters: ChannelTransactionParameters,
    /// Whose it is.
    pub side: Side,
}

impl BuiltCommitment {
    /// A commitment of the holder.
    pub fn of_holder(
        environment: &Environment,
        parameters: &ChannelParameters,
        commitment: &HolderCommitment,
    ) -> BuiltCommitment {
        let keys = environment.channel_keys(&parameters.keys_id);
        let point = keys.commitment_point(commitment.number, &environment.secp);
        BuiltCommitment::new(
            &environment.secp,
            transaction_parameters(environment.channel_points(&parameters.keys_id), parameters),
            &commitment.spec,
            Side::Holder,
            parameters.holder_limits.dust_limit_sat,
            (commitment.number, &point),
        )
    }

    /// A commitment of the counterparty.
    pub fn of_counterparty(
        environment: &Environment,
        parameters: &ChannelParameters,
        commitment: &CounterpartyCommitment,
    ) -> BuiltCommitment {
        BuiltCommitment::new(
            &environment.secp,
            transaction_parameters(environment.channel_points(&parameters.keys_id), parameters),
            &commitment.spec,
            Side::Counterparty,
            parameters.counterparty_limits.dust_limit_sat,
            (commitment.number, &commitment.point),
        )
    }

    fn new(
        secp: &Secp256k1<All>,
        parameters: ChannelTransactionParameters,
        spec: &CommitmentSpec,
        side: Side,
        dust_limit_sat: u64,
        (number, point): (u64, &PublicKey),
    ) -> BuiltCommitment {
        let outputs: Vec<(Direction, u64, HTLCOutputInCommitment)> = spec
            .htlcs
            .iter()
            .filter(|(_, htlc)| !is_dust(htlc, dust_limit_sat))
            .map(|((direction, id), htlc)| (*direction, *id, output(htlc, *direction, side)))
            .collect();
        let (holder_sat, counterparty_sat) = balances_after_fees_sat(
            spec,
            parameters.is_outbound_from_holder,
            outputs.len() as u64,
        );
        let or_dust = |amount_sat: u64| {
            if amount_sat < dust_limit_sat {
                0
            } else {
                amount_sat
            }
        };
        let (owner_sat, other_sat) = match side {
            Side::Holder => (or_dust(holder_sat), or_dust(counterparty_sat)),
            Side::Counterparty => (or_dust(counterparty_sat), or_dust(holder_sat)),
        };
        let transaction = CommitmentTransaction::new(
            secret_index(number),
            point,
            owner_sat,
            other_sat,
            spec.feerate_per_kw,
            outputs
                .iter()
                .map(|(_, _, output)| output.clone())
                .collect(),
            &directed(&parameters, side),
            secp,
        );
        let htlcs = ids_in_output_order(&transaction, outputs);
        BuiltCommitment {
            transaction,
            htlcs,
            parameters,
            side,
        }
    }

    /// The other's signatures of it and of its HTLC transactions, by the keys of whoever does not
    /// own it.
    fn sign(&self, secp: &Secp256k1<All>, keys: &ChannelKeys) -> (Signature, Vec<Signature>) {
        let signature = secp.sign_ecdsa(&self.sighash(), &keys.funding);
        let point = self.transaction.per_commitment_point();
        let htlc_key = derive_private_key(secp, &point, &keys.htlc_base);
        let htlc_signatures = self
            .transaction
            .nondust_htlcs()
            .iter()
            .map(|htlc| secp.sign_ecdsa(&self.htlc_sighash(htlc), &htlc_key))
            .collect();
        (signature, htlc_signatures)
    }

    /// Checks the signatures of whoever does not own it.
    fn verify(
        &self,
        secp: &Secp256k1<All>,
        signature: &Signature,
        htlc_signatures: &[Signature],
    ) -> Result<(), SignatureError> {
        let signer = self.directed().countersignatory_pubkeys();
        secp.verify_ecdsa(&self.sighash(), signature, &signer.funding_pubkey)
            .map_err(|_| SignatureError::Commitment)?;
        let htlcs = self.transaction.nondust_htlcs();
        if htlcs.len() != htlc_signatures.len() {
            return Err(SignatureError::Count {
                got: htlc_signatures.len(),
                wanted: htlcs.len(),
            });
        }
        let trusted = self.transaction.trust();
        let htlc_key = trusted.keys().countersignatory_htlc_key.to_public_key();
        for (index, (htlc, signature)) in htlcs.iter().zip(htlc_signatures).enumerate() {
            secp.verify_ecdsa(&self.htlc_sighash(htlc), signature, &htlc_key)
                .map_err(|_| SignatureError::Htlc(index))?;
        }
        Ok(())
    }

    /// It, with the owner's signature and the other's.
    fn fully_signed(
        &self,
        secp: &Secp256k1<All>,
        keys: &ChannelKeys,
        counterparty_signature: &Signature,
    ) -> Transaction {
        let own_signature = secp.sign_ecdsa(&self.sighash(), &keys.funding);
        let directed = self.directed();
        let mut transaction = self
            .transaction
            .trust()
            .built_transaction()
            .transaction
            .clone();
        let witness = funding_witness(
            (
                &directed.broadcaster_pubkeys().funding_pubkey,
                &own_signature,
            ),
            (
                &directed.countersignatory_pubkeys().funding_pubkey,
                counterparty_signature,
            ),
        );
        for input in &mut transaction.input {
            input.witness = witness.clone();
        }
        transaction
    }

    /// The transaction that takes an HTLC output to the second stage, unsigned.
    pub fn htlc_transaction(&self, htlc: &HTLCOutputInCommitment) -> Transaction {
        let trusted = self.transaction.trust();
        build_htlc_transaction(
            &trusted.txid(),
            self.transaction.negotiated_feerate_per_kw(),
            self.directed().contest_delay(),
            htlc,
            &self.parameters.channel_type_features,
            &trusted.keys().broadcaster_delayed_payment_key,
            &trusted.keys().revocation_key,
        )
    }

    fn directed(&self) -> DirectedChannelTransactionParameters<'_> {
        directed(&self.parameters, self.side)
    }

    fn sighash(&self) -> Message {
        let directed = self.directed();
        let script = funding_script(
            &directed.broadcaster_pubkeys().funding_pubkey,
            &directed.countersignatory_pubkeys().funding_pubkey,
        );
        self.transaction
            .trust()
            .built_transaction()
            .get_sighash_all(&script, self.parameters.channel_value_satoshis)
    }

    /// What the counterparty signs of an HTLC transaction: with anchors its only input and output,
    /// so that fees can be added.
    fn htlc_sighash(&self, htlc: &HTLCOutputInCommitment) -> Message {
        let trusted = self.transaction.trust();
        let script =
            get_htlc_redeemscript(htlc, &self.parameters.channel_type_features, trusted.keys());
        let transaction = self.htlc_transaction(htlc);
        input_sighash(
            &transaction,
            &script,
            htlc.to_bitcoin_amount(),
            EcdsaSighashType::SinglePlusAnyoneCanPay,
        )
    }
}

/// The digest that signs a transaction's only input, which spends a P2WSH output.
pub(crate) fn input_sighash(
    transaction: &Transaction,
    script: &bitcoin::Script,
    amount: Amount,
    sighash_type: EcdsaSighashType,
) -> Message {
    // Fails only for a transaction without that input. Nobody takes a signature of nothing.
    let digest = SighashCache::new(transaction)
        .p2wsh_signature_hash(0, script, amount, sighash_type)
        .map_or([0; 32], |hash| hash.to_byte_array());
    Message::from_digest(digest)
}

/// The same parameters in LDK's words.
pub fn transaction_parameters(
    holder_points: ChannelPublicKeys,
    parameters: &ChannelParameters,
) -> ChannelTransactionParameters {
    ChannelTransactionParameters {
        holder_pubkeys: holder_points,
        holder_selected_contest_delay: parameters.holder_limits.to_self_delay,
        is_outbound_from_holder: parameters.is_opener,
        counterparty_parameters: Some(CounterpartyChannelTransactionParameters {
            pubkeys: parameters.counterparty_keys.clone(),
            selected_contest_delay: parameters.counterparty_limits.to_self_delay,
        }),
        funding_outpoint: Some(parameters.funding),
        splice_parent_funding_txid: None,
        channel_type_features: channel_type(),
        channel_value_satoshis: parameters.capacity_sat,
    }
}

pub(crate) fn directed(
    parameters: &ChannelTransactionParameters,
    side: Side,
) -> DirectedChannelTransactionParameters<'_> {
    match side {
        Side::Holder => parameters.as_holder_broadcastable(),
        Side::Counterparty => parameters.as_counterparty_broadcastable(),
    }
}

/// Both balances rounded down, less what the opener pays, as far as it can.
fn balances_after_fees_sat(
    spec: &CommitmentSpec,
    is_opener: bool,
    htlc_outputs: u64,
) -> (u64, u64) {
    let cost_sat = commitment_fee_sat(spec.feerate_per_kw, htlc_outputs) + ANCHORS_SAT;
    let (holder_sat, counterparty_sat) = (spec.holder_msat / 1000, spec.counterparty_msat / 1000);
    if is_opener {
        (holder_sat.saturating_sub(cost_sat), counterparty_sat)
    } else {
        (holder_sat, counterparty_sat.saturating_sub(cost_sat))
    }
}

fn output(htlc: &SpecHtlc, direction: Direction, side: Side) -> HTLCOutputInCommitment {
    HTLCOutputInCommitment {
        offered: direction == side.offers(),
        amount_msat: htlc.amount_msat,
        cltv_expiry: htlc.cltv_expiry,
        payment_hash: htlc.payment_hash,
        transaction_output_index: None,
    }
}

/// Which HTLC each output is. The builder keeps the order of those it sorts as equal, and ids ascend
/// in what it is given, so the first one left that fits is the right one.
fn ids_in_output_order(
    transaction: &CommitmentTransaction,
    mut outputs: Vec<(Direction, u64, HTLCOutputInCommitment)>,
) -> Vec<(Direction, u64)> {
    let mut ids = Vec::with_capacity(outputs.len());
    for placed in transaction.nondust_htlcs() {
        let fits = |(_, _, output): &(Direction, u64, HTLCOutputInCommitment)| {
            output.offered == placed.offered
                && output.amount_msat == placed.amount_msat
                && output.cltv_expiry == placed.cltv_expiry
                && output.payment_hash == placed.payment_hash
        };
        if let Some(position) = outputs.iter().position(fits) {
            let (direction, id, _) = outputs.remove(position);
            ids.push((direction, id));
        }
    }
    ids
}

#[cfg(test)]
mod tests;
