//! Which transaction spends a channel's funding output, and what each of its outputs is. What the
//! record has the contents of is built anew and compared as a whole; of a revoked commitment the
//! scripts are.
//!
//! BOLT 5, "Mutual Close Handling", "Unilateral Close Handling" and "Revoked Transaction Close Handling".

use bitcoin::secp256k1::{PublicKey, SecretKey};
use bitcoin::{ScriptBuf, Transaction};
use lightning::ln::chan_utils::get_commitment_transaction_number_obscure_factor;
use lightning::types::payment::PaymentHash;

use crate::keys::Environment;
use crate::record::{ChannelRecord, CounterpartyCommitment, RevokedHtlcRecord};
use crate::spec::{CommitmentSpec, Direction};

mod matching;

use matching::{FixedScripts, Looked};

/// Whose transaction spends the funding output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FundingSpend {
    /// Both sides agreed on it: nothing of it is left to claim.
    Cooperative,
    /// The holder's newest commitment.
    Holder {
        /// BOLT 3's number, from 0.
        number: u64,
    },
    /// An older commitment of the holder, which it has revoked: somebody ran a copy of this node. The
    /// counterparty may take all of it.
    HolderRevoked {
        /// BOLT 3's number, from 0.
        number: u64,
    },
    /// A commitment that the counterparty may publish.
    Counterparty {
        /// BOLT 3's number, from 0.
        number: u64,
        /// Its commitment point.
        point: PublicKey,
    },
    /// A commitment that the counterparty had revoked.
    Revoked {
        /// BOLT 3's number, from 0.
        number: u64,
        /// Its commitment secret.
        secret: SecretKey,
    },
    /// None that the record knows: a commitment of the counterparty from later than this record, if
    /// it has a number. The holder's balance in it is the holder's all the same.
    Unknown {
        /// BOLT 3's number, if it looks like a commitment.
        number: Option<u64>,
    },
}

impl FundingSpend {
    /// What this commitment holds, its dust among it, as far as the record knows: nothing is known
    /// of revoked ones but the HTLCs that have outputs.
    pub fn spec<'a>(&self, record: &'a ChannelRecord) -> Option<&'a CommitmentSpec> {
        match self {
            FundingSpend::Holder { .. } => Some(&record.holder.spec),
            FundingSpend::Counterparty { number, .. } => {
                commitment_of_counterparty(record, *number).map(|commitment| &commitment.spec)
            }
            _ => None,
        }
    }
}

/// An HTLC that has an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HtlcOutput {
    /// Which way.
    pub direction: Direction,
    /// Its id in that direction.
    pub htlc_id: u64,
    /// Its hash.
    pub payment_hash: PaymentHash,
    /// Absolute height.
    pub cltv_expiry: u32,
    /// Millisatoshis.
    pub amount_msat: u64,
}

/// What an output of a commitment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// The holder's balance in its own commitment (`to_local`): spendable after the delay.
    HolderDelayed,
    /// The holder's balance in the counterparty's commitment (`to_remote`): spendable in the next
    /// block.
    HolderBalance,
    /// The counterparty's balance, which it may have.
    CounterpartyBalance,
    /// The holder's anchor.
    HolderAnchor,
    /// The counterparty's anchor.
    CounterpartyAnchor,
    /// An HTLC.
    Htlc(HtlcOutput),
    /// The counterparty's balance in a commitment that it had revoked: the holder's.
    RevokedBalance,
    /// An HTLC in a commitment that the counterparty had revoked: the holder's.
    RevokedHtlc(HtlcOutput),
    /// Nothing that the record knows.
    Unknown,
}

/// An output of a commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitmentOutput {
    /// Its place.
    pub vout: u32,
    /// Satoshis.
    pub amount_sat: u64,
    /// What it is.
    pub kind: OutputKind,
}

/// A transaction that spends the funding output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// Whose.
    pub spend: FundingSpend,
    /// Its outputs, in order; none of a cooperative close.
    pub outputs: Vec<CommitmentOutput>,
}

impl From<&RevokedHtlcRecord> for HtlcOutput {
    fn from(record: &RevokedHtlcRecord) -> HtlcOutput {
        HtlcOutput {
            direction: record.direction,
            htlc_id: record.htlc_id,
            payment_hash: record.payment_hash,
            cltv_expiry: record.cltv_expiry,
            amount_msat: record.amount_msat,
        }
    }
}

/// Tells what a transaction is that spends this channel's funding output.
pub fn identify(
    environment: &Environment,
    record: &ChannelRecord,
    transaction: &Transaction,
) -> Identified {
    let Some(number) = commitment_number(environment, record, transaction) else {
        return without_number(environment, record, transaction);
    };
    let looked_at = Looked {
        environment,
        record,
        transaction,
        number,
    };
    looked_at
        .holders()
        .or_else(|| looked_at.counterpartys())
        .or_else(|| looked_at.revoked())
        .or_else(|| looked_at.holders_revoked())
        .unwrap_or_else(|| unknown(environment, record, transaction, Some(number)))
}

/// The number that a commitment hides in its lock time and sequence (BOLT 3), if this may be one.
fn commitment_number(
    environment: &Environment,
    record: &ChannelRecord,
    transaction: &Transaction,
) -> Option<u64> {
    let [input] = &transaction.input[..] else {
        return None;
    };
    let sequence = input.sequence.to_consensus_u32();
    let lock_time = transaction.lock_time.to_consensus_u32();
    if sequence >> 24 != 0x80 || lock_time >> 24 != 0x20 {
        return None;
    }
    let obscured = u64::from(sequence & 0x00ff_ffff) << 24 | u64::from(lock_time & 0x00ff_ffff);
    let parameters = &record.parameters;
    let factor = get_commitment_transaction_number_obscure_factor(
        &environment
            .channel_points(&parameters.keys_id)
            .payment_point,
        &parameters.counterparty_keys.payment_point,
        parameters.is_opener,
    );
    Some(obscured ^ factor)
}

/// A transaction that is no commitment: a close that both agreed on pays to both `shutdown`s' scripts
/// and to nothing else.
fn without_number(
    environment: &Environment,
    record: &ChannelRecord,
    transaction: &Transaction,
) -> Identified {
    let shutdown = &record.shutdown;
    let agreed = |script: &ScriptBuf| {
        [&shutdown.holder, &shutdown.counterparty].contains(&&Some(script.clone()))
    };
    let is_close = shutdown.holder.is_some()
        && shutdown.counterparty.is_some()
        && transaction
            .output
            .iter()
            .all(|output| agreed(&output.script_pubkey));
    if is_close {
        return Identified {
            spend: FundingSpend::Cooperative,
            outputs: Vec::new(),
        };
    }
    unknown(environment, record, transaction, None)
}

fn unknown(
    environment: &Environment,
    record: &ChannelRecord,
    transaction: &Transaction,
    number: Option<u64>,
) -> Identified {
    let fixed = FixedScripts::new(environment, record);
    Identified {
        spend: FundingSpend::Unknown { number },
        outputs: outputs(transaction, |_, script| fixed.kind(script)),
    }
}

/// The commitment with this number that the counterparty may publish.
fn commitment_of_counterparty(
    record: &ChannelRecord,
    number: u64,
) -> Option<&CounterpartyCommitment> {
    let next = record.next_counterparty.as_ref();
    std::iter::once(&record.counterparty)
        .chain(next.map(|next| &next.commitment))
        .find(|commitment| commitment.number == number)
}

/// Every output with what it is.
fn outputs(
    transaction: &Transaction,
    mut kind: impl FnMut(u32, &ScriptBuf) -> Option<OutputKind>,
) -> Vec<CommitmentOutput> {
    (0u32..)
        .zip(&transaction.output)
        .map(|(vout, output)| CommitmentOutput {
            vout,
            amount_sat: output.value.to_sat(),
            kind: kind(vout, &output.script_pubkey).unwrap_or(OutputKind::Unknown),
        })
        .collect()
}

#[cfg(test)]
mod tests;
