//! Signed transactions that take what is the holder's on the chain, each paying its fee out of what it
//! takes. The same claims at the same fee rate give the same bytes. What the holder's own commitment
//! needs besides (second-stage transactions, anchors) takes the wallet's coins: see
//! [`super::bumping`].
//!
//! BOLT 5; BOLT 3, "Commitment Transaction Outputs", has the witnesses.

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{Message, PublicKey, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, Script, Transaction, TxOut, Txid, ecdsa};
use lightning::types::payment::PaymentPreimage;

use super::identify::{CommitmentOutput, FundingSpend, HtlcOutput, OutputKind};
use crate::keys::Environment;
use crate::record::ChannelParameters;
use crate::spec::Direction;

mod inputs;

use inputs::ClaimInput;

/// By which right an output is the holder's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimPath {
    /// The holder's balance in its own commitment, or the output of one of its second-stage
    /// transactions: after the delay.
    Delayed {
        /// The holder's commitment, by BOLT 3's number.
        number: u64,
    },
    /// The holder's balance in a commitment of the counterparty: one block later.
    Balance,
    /// An inbound HTLC in a commitment of the counterparty, with its preimage: one block later.
    Preimage {
        /// The counterparty's commitment point.
        point: PublicKey,
        /// Which.
        htlc: HtlcOutput,
        /// Of its hash.
        preimage: PaymentPreimage,
    },
    /// An outbound HTLC in a commitment of the counterparty, once it has expired.
    Timeout {
        /// The counterparty's commitment point.
        point: PublicKey,
        /// Which.
        htlc: HtlcOutput,
    },
    /// The counterparty's balance in a commitment that it had revoked, or the output of one of its
    /// second-stage transactions.
    RevokedBalance {
        /// The commitment's secret.
        secret: SecretKey,
    },
    /// An HTLC in a commitment that the counterparty had revoked.
    RevokedHtlc {
        /// The commitment's secret.
        secret: SecretKey,
        /// Which.
        htlc: HtlcOutput,
    },
}

/// An output that is the holder's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Where it is.
    pub outpoint: OutPoint,
    /// Satoshis.
    pub amount_sat: u64,
    /// By which right.
    pub path: ClaimPath,
}

/// A transaction that claims, ready to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimTransaction {
    /// It. It can be replaced by one that pays more.
    pub transaction: Transaction,
    /// What it pays, in satoshis.
    pub fee_sat: u64,
    /// Claims that it leaves out: taking them costs more than they hold at this fee rate.
    pub uneconomic: Vec<OutPoint>,
}

/// No transaction can claim this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// Nothing worth an output would be left.
    #[error("at {feerate_per_kw} sat/kw the fee leaves nothing of {} outputs", outpoints.len())]
    Uneconomic {
        /// Satoshis per 1000 weight units.
        feerate_per_kw: u32,
        /// All of the claims.
        outpoints: Vec<OutPoint>,
    },
    /// An amount or a number of outputs that no transaction has.
    #[error("the claims fit no transaction")]
    Impossible,
}

/// The claim that follows from an output of a commitment, if it is the holder's and needs no second
/// stage. `preimage` is that of an inbound HTLC, if it is known. An outbound HTLC's claim is there
/// from the start: [`Claim::least_tip_height`] says when it may be published.
pub fn claim_of(
    spend: &FundingSpend,
    txid: Txid,
    output: &CommitmentOutput,
    preimage: Option<PaymentPreimage>,
) -> Option<Claim> {
    let path = match (spend, output.kind) {
        (
            FundingSpend::Holder { number } | FundingSpend::HolderRevoked { number },
            OutputKind::HolderDelayed,
        ) => ClaimPath::Delayed { number: *number },
        (_, OutputKind::HolderBalance) => ClaimPath::Balance,
        (FundingSpend::Counterparty { point, .. }, OutputKind::Htlc(htlc)) => {
            match htlc.direction {
                Direction::Inbound => ClaimPath::Preimage {
                    point: *point,
                    htlc,
                    preimage: preimage?,
                },
                Direction::Outbound => ClaimPath::Timeout {
                    point: *point,
                    htlc,
                },
            }
        }
        (FundingSpend::Revoked { secret, .. }, OutputKind::RevokedBalance) => {
            ClaimPath::RevokedBalance { secret: *secret }
        }
        (FundingSpend::Revoked { secret, .. }, OutputKind::RevokedHtlc(htlc)) => {
            ClaimPath::RevokedHtlc {
                secret: *secret,
                htlc,
            }
        }
        _ => return None,
    };
    Some(Claim {
        outpoint: OutPoint {
            txid,
            vout: output.vout,
        },
        amount_sat: output.amount_sat,
        path,
    })
}

/// The claim on the output of a second-stage transaction by whoever published the commitment, if that
/// output is the holder's: its own after the delay, a cheater's at once.
pub fn second_stage_claim(
    spend: &FundingSpend,
    outpoint: OutPoint,
    amount_sat: u64,
) -> Option<Claim> {
    let path = match spend {
        FundingSpend::Holder { number } => ClaimPath::Delayed { number: *number },
        FundingSpend::Revoked { secret, .. } => ClaimPath::RevokedBalance { secret: *secret },
        _ => return None,
    };
    Some(Claim {
        outpoint,
        amount_sat,
        path,
    })
}

impl Claim {
    /// The lock time that a transaction needs to take it, as a height; 0 if none.
    pub fn lock_time(&self) -> u32 {
        match &self.path {
            ClaimPath::Timeout { htlc, .. } => htlc.cltv_expiry,
            _ => 0,
        }
    }

    /// The blocks that its output has to be deep before the transaction's own block (BOLT 3's
    /// relative delays); 0 if none.
    pub fn relative_delay(&self, parameters: &ChannelParameters) -> u16 {
        match self.path {
            ClaimPath::Delayed { .. } => parameters.counterparty_limits.to_self_delay,
            ClaimPath::Balance | ClaimPath::Preimage { .. } | ClaimPath::Timeout { .. } => 1,
            ClaimPath::RevokedBalance { .. } | ClaimPath::RevokedHtlc { .. } => 0,
        }
    }

    /// The HTLC that it takes, if its peer may want to be first.
    pub fn contested_htlc(&self) -> Option<&HtlcOutput> {
        match &self.path {
            ClaimPath::Preimage { htlc, .. } | ClaimPath::Timeout { htlc, .. } => Some(htlc),
            _ => None,
        }
    }

    /// The least height of the best block at which nodes accept a transaction that takes this, when
    /// its output confirmed at this height: one below the least height that can hold it.
    pub fn least_tip_height(&self, parameters: &ChannelParameters, confirmed_height: u32) -> u32 {
        let delay = u32::from(self.relative_delay(parameters));
        let by_delay = match delay {
            0 => 0,
            _ => confirmed_height.saturating_add(delay - 1),
        };
        by_delay.max(self.lock_time())
    }
}

/// Takes all of these claims to `destination` with one signed transaction that pays `feerate_per_kw`.
/// Its lock time is the latest of the claims': who does not want to wait leaves the later ones out.
/// Claims that hold less than their own input costs are left out and named.
///
/// # Errors
///
/// [`ClaimError`]: the fee would leave nothing, or no transaction can hold the claims.
pub fn claim_transaction(
    environment: &Environment,
    parameters: &ChannelParameters,
    claims: &[Claim],
    destination: &Script,
    feerate_per_kw: u32,
) -> Result<ClaimTransaction, ClaimError> {
    let mut inputs = Vec::with_capacity(claims.len());
    let mut uneconomic = Vec::new();
    for claim in claims {
        let input = ClaimInput::new(environment, parameters, claim);
        let cost_sat = fee_sat(feerate_per_kw, input.weight()).ok_or(ClaimError::Impossible)?;
        match claim.amount_sat > cost_sat {
            true => inputs.push(input),
            false => uneconomic.push(claim.outpoint),
        }
    }
    let nothing = || ClaimError::Uneconomic {
        feerate_per_kw,
        outpoints: claims.iter().map(|claim| claim.outpoint).collect(),
    };
    if inputs.is_empty() {
        return Err(nothing());
    }
    let total_sat = inputs
        .iter()
        .try_fold(0u64, |sum, input| sum.checked_add(input.amount_sat))
        .ok_or(ClaimError::Impossible)?;
    let mut transaction = unsigned(&inputs, destination);
    let fee_sat =
        fee_sat(feerate_per_kw, transaction.weight().to_wu()).ok_or(ClaimError::Impossible)?;
    let left = Amount::from_sat(total_sat.saturating_sub(fee_sat));
    if left < destination.minimal_non_dust() {
        return Err(nothing());
    }
    for output in &mut transaction.output {
        output.value = left;
    }
    sign(environment, &inputs, &mut transaction)?;
    Ok(ClaimTransaction {
        transaction,
        fee_sat,
        uneconomic,
    })
}

/// The fee for a weight, rounded up.
fn fee_sat(feerate_per_kw: u32, weight: u64) -> Option<u64> {
    Some(
        u64::from(feerate_per_kw)
            .checked_mul(weight)?
            .div_ceil(1000),
    )
}

/// The transaction with signatures of nothing in it, as heavy as real ones can be.
fn unsigned(inputs: &[ClaimInput], destination: &Script) -> Transaction {
    let lock_time = inputs
        .iter()
        .map(|input| input.lock_time)
        .max()
        .unwrap_or(0);
    Transaction {
        version: Version::TWO,
        // Heights: a commitment holds no expiry above BOLT 2's 500,000,000.
        lock_time: LockTime::from_consensus(lock_time),
        input: inputs.iter().map(ClaimInput::unsigned).collect(),
        output: vec![TxOut {
            value: Amount::ZERO,
            script_pubkey: destination.to_owned(),
        }],
    }
}

fn sign(
    environment: &Environment,
    inputs: &[ClaimInput],
    transaction: &mut Transaction,
) -> Result<(), ClaimError> {
    let mut witnesses = Vec::with_capacity(inputs.len());
    let mut cache = SighashCache::new(&*transaction);
    for (index, input) in inputs.iter().enumerate() {
        let digest = cache
            .p2wsh_signature_hash(
                index,
                &input.script,
                Amount::from_sat(input.amount_sat),
                EcdsaSighashType::All,
            )
            .map_err(|_| ClaimError::Impossible)?;
        let message = Message::from_digest(digest.to_byte_array());
        let signature = environment.secp.sign_ecdsa_low_r(&message, &input.key);
        let signature = ecdsa::Signature::sighash_all(signature).to_vec();
        witnesses.push(input.witness(signature));
    }
    for (input, witness) in transaction.input.iter_mut().zip(witnesses) {
        input.witness = witness;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
