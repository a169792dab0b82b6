//! Which transaction spends a channel's funding output, and what each of its outputs is. What the
//! record has the contents of is built anew and compared as a whole; of a revoked commitment the
//! scripts are.

use bitcoin::secp256k1::{PublicKey, SecretKey};
use bitcoin::{ScriptBuf, Transaction};
use lightning::ln::chan_utils::get_commitment_transaction_number_obscure_factor;
use lightning::types::payment::PaymentHash;

use super::scripts::{self, CommitmentScripts};
use crate::commitment::{BuiltCommitment, Side};
use crate::keys::{Environment, FIRST_COMMITMENT_INDEX};
use crate::record::{ChannelRecord, RevokedHtlcRecord};
use crate::spec::{CommitmentSpec, Direction};

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

/// A transaction that has the form of a commitment with this number. Both sides' commitments count
/// alike, so the number does not tell whose it is.
struct Looked<'a> {
    environment: &'a Environment,
    record: &'a ChannelRecord,
    transaction: &'a Transaction,
    number: u64,
}

impl Looked<'_> {
    fn holders(&self) -> Option<Identified> {
        let holder = &self.record.holder;
        if holder.number != self.number {
            return None;
        }
        let built = BuiltCommitment::of_holder(self.environment, &self.record.parameters, holder);
        self.as_built(
            &built,
            &holder.spec,
            FundingSpend::Holder {
                number: self.number,
            },
        )
    }

    fn counterpartys(&self) -> Option<Identified> {
        let next = self.record.next_counterparty.as_ref();
        let commitments = [
            Some(&self.record.counterparty),
            next.map(|next| &next.commitment),
        ];
        let commitment = commitments
            .into_iter()
            .flatten()
            .find(|commitment| commitment.number == self.number)?;
        let built =
            BuiltCommitment::of_counterparty(self.environment, &self.record.parameters, commitment);
        self.as_built(
            &built,
            &commitment.spec,
            FundingSpend::Counterparty {
                number: self.number,
                point: commitment.point,
            },
        )
    }

    /// The transaction, if it is this one.
    fn as_built(
        &self,
        built: &BuiltCommitment,
        spec: &CommitmentSpec,
        spend: FundingSpend,
    ) -> Option<Identified> {
        let trusted = built.transaction.trust();
        if trusted.txid() != self.transaction.compute_txid() {
            return None;
        }
        let fixed = FixedScripts::new(self.environment, self.record);
        let own_balance = match built.side {
            Side::Holder => OutputKind::HolderDelayed,
            Side::Counterparty => OutputKind::CounterpartyBalance,
        };
        let htlc_at = |vout: u32| {
            let position = trusted
                .nondust_htlcs()
                .iter()
                .position(|htlc| htlc.transaction_output_index == Some(vout))?;
            let (direction, htlc_id) = *built.htlcs.get(position)?;
            let htlc = spec.htlcs.get(&(direction, htlc_id))?;
            Some(OutputKind::Htlc(HtlcOutput {
                direction,
                htlc_id,
                payment_hash: htlc.payment_hash,
                cltv_expiry: htlc.cltv_expiry,
                amount_msat: htlc.amount_msat,
            }))
        };
        // Whatever is left over is the balance of whoever owns it.
        let kind = |vout: u32, script: &ScriptBuf| {
            htlc_at(vout)
                .or_else(|| fixed.kind(script))
                .or(Some(own_balance))
        };
        Some(Identified {
            spend,
            outputs: outputs(self.transaction, kind),
        })
    }

    fn revoked(&self) -> Option<Identified> {
        let secrets = &self.record.counterparty_secrets.0;
        if self.number >= self.record.counterparty.number {
            return None;
        }
        let secret = secrets.get_secret(FIRST_COMMITMENT_INDEX.checked_sub(self.number)?)?;
        let secret = SecretKey::from_slice(&secret).ok()?;
        let point = secret.public_key(&self.environment.secp);
        let scripts = CommitmentScripts::new(
            self.environment,
            &self.record.parameters,
            Side::Counterparty,
            &point,
        );
        let fixed = FixedScripts::new(self.environment, self.record);
        let balance = scripts.delayed().to_p2wsh();
        let mut htlcs: Vec<(ScriptBuf, HtlcOutput)> = self
            .record
            .revoked_htlcs
            .get(&self.number)
            .into_iter()
            .flat_map(|revoked| &revoked.htlcs)
            .map(HtlcOutput::from)
            .map(|htlc| (scripts.htlc(&htlc).to_p2wsh(), htlc))
            .collect();
        let outputs = outputs(self.transaction, |vout, script| {
            if *script == balance {
                return Some(OutputKind::RevokedBalance);
            }
            let amount = self.transaction.output.get(vout as usize)?.value.to_sat();
            // Each HTLC has one output, so that of several that agree each one gets its own.
            let fits = htlcs
                .iter()
                .position(|(of, htlc)| of == script && htlc.amount_msat / 1000 == amount);
            match fits {
                Some(position) => Some(OutputKind::RevokedHtlc(htlcs.remove(position).1)),
                None => fixed.kind(script),
            }
        });
        let is_counterpartys = outputs.iter().any(|output| {
            matches!(
                output.kind,
                OutputKind::RevokedBalance | OutputKind::RevokedHtlc(_) | OutputKind::HolderBalance
            )
        });
        is_counterpartys.then_some(Identified {
            spend: FundingSpend::Revoked {
                number: self.number,
                secret,
            },
            outputs,
        })
    }

    fn holders_revoked(&self) -> Option<Identified> {
        if self.number >= self.record.holder.number {
            return None;
        }
        let keys = self
            .environment
            .channel_keys(&self.record.parameters.keys_id);
        let point = keys.commitment_point(self.number, &self.environment.secp);
        let scripts = CommitmentScripts::new(
            self.environment,
            &self.record.parameters,
            Side::Holder,
            &point,
        );
        let fixed = FixedScripts::new(self.environment, self.record);
        let balance = scripts.delayed().to_p2wsh();
        let outputs = outputs(self.transaction, |_, script| match *script == balance {
            true => Some(OutputKind::HolderDelayed),
            false => fixed.kind(script),
        });
        let is_holders = outputs.iter().any(|output| {
            matches!(
                output.kind,
                OutputKind::HolderDelayed | OutputKind::CounterpartyBalance
            )
        });
        is_holders.then_some(Identified {
            spend: FundingSpend::HolderRevoked {
                number: self.number,
            },
            outputs,
        })
    }
}

/// The scripts that are the same in every commitment. Whose commitment it is needs no telling: a side
/// is paid by its fixed key in the other's commitments alone.
struct FixedScripts {
    by_script: [(ScriptBuf, OutputKind); 4],
}

impl FixedScripts {
    fn new(environment: &Environment, record: &ChannelRecord) -> FixedScripts {
        let parameters = &record.parameters;
        let holder = environment.channel_points(&parameters.keys_id);
        let counterparty = &parameters.counterparty_keys;
        FixedScripts {
            by_script: [
                (
                    scripts::balance(&holder.payment_point),
                    OutputKind::HolderBalance,
                ),
                (
                    scripts::balance(&counterparty.payment_point),
                    OutputKind::CounterpartyBalance,
                ),
                (
                    scripts::anchor(&holder.funding_pubkey),
                    OutputKind::HolderAnchor,
                ),
                (
                    scripts::anchor(&counterparty.funding_pubkey),
                    OutputKind::CounterpartyAnchor,
                ),
            ]
            .map(|(script, kind)| (script.to_p2wsh(), kind)),
        }
    }

    fn kind(&self, script: &ScriptBuf) -> Option<OutputKind> {
        self.by_script
            .iter()
            .find(|(of, _)| of == script)
            .map(|(_, kind)| *kind)
    }
}

#[cfg(test)]
mod tests;
