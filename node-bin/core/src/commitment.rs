//! Commitment transactions from specs: fees, trimming, building, signing, checking (BOLT 3, anchors
//! with zero-fee HTLC transactions). Transactions are built anew each time; no record holds one.

use bitcoin::Transaction;
use bitcoin::secp256k1::ecdsa::Signature;

use crate::keys::Environment;
use crate::record::{ChannelParameters, CounterpartyCommitment, HolderCommitment};
use crate::spec::CommitmentSpec;

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

/// What the opener pays for this commitment in satoshis: the base weight, one output's weight for
/// every HTLC that is not dust, and both anchors.
pub fn fee_and_anchors_sat(
    _parameters: &ChannelParameters,
    _spec: &CommitmentSpec,
    _side: Side,
) -> u64 {
    unimplemented!()
}

/// The same, if `more` further untrimmed HTLCs were in it.
pub fn fee_and_anchors_with_sat(
    _parameters: &ChannelParameters,
    _spec: &CommitmentSpec,
    _side: Side,
    _more: u64,
) -> u64 {
    unimplemented!()
}

/// Millisatoshis in HTLCs that this commitment trims: what a close would cost whoever owns them.
pub fn dust_exposure_msat(
    _parameters: &ChannelParameters,
    _spec: &CommitmentSpec,
    _side: Side,
) -> u64 {
    unimplemented!()
}

/// Signs a commitment of the counterparty and its HTLC transactions, in output order. Deterministic:
/// the same commitment gives the same signatures (RFC 6979).
pub fn sign_counterparty_commitment(
    _environment: &Environment,
    _parameters: &ChannelParameters,
    _commitment: &CounterpartyCommitment,
) -> (Signature, Vec<Signature>) {
    unimplemented!()
}

/// Checks the counterparty's signatures of a commitment of the holder.
pub fn verify_holder_commitment(
    _environment: &Environment,
    _parameters: &ChannelParameters,
    _commitment: &HolderCommitment,
) -> Result<(), SignatureError> {
    unimplemented!()
}

/// The holder's commitment, signed by both, ready to be published.
pub fn holder_commitment_transaction(
    _environment: &Environment,
    _parameters: &ChannelParameters,
    _commitment: &HolderCommitment,
) -> Transaction {
    unimplemented!()
}
