//! Tries what a commitment may be: one whose contents the record has, or one whose scripts follow from
//! a secret. Never tells a close by agreement.
//!
//! BOLT 3, "Commitment Transaction Construction"; BOLT 5, "Revoked Transaction Close Handling".

use bitcoin::secp256k1::SecretKey;
use bitcoin::{ScriptBuf, Transaction};

use super::{
    FundingSpend, HtlcOutput, Identified, OutputKind, commitment_of_counterparty, outputs,
};
use crate::commitment::{BuiltCommitment, Side};
use crate::keys::{Environment, FIRST_COMMITMENT_INDEX};
use crate::onchain::scripts::{self, CommitmentScripts};
use crate::record::ChannelRecord;
use crate::spec::CommitmentSpec;

/// A transaction that has the form of a commitment with this number. Both sides' commitments count
/// alike, so the number does not tell whose it is.
pub(super) struct Looked<'a> {
    pub(super) environment: &'a Environment,
    pub(super) record: &'a ChannelRecord,
    pub(super) transaction: &'a Transaction,
    pub(super) number: u64,
}

impl Looked<'_> {
    pub(super) fn holders(&self) -> Option<Identified> {
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

    pub(super) fn counterpartys(&self) -> Option<Identified> {
        let commitment = commitment_of_counterparty(self.record, self.number)?;
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

    pub(super) fn revoked(&self) -> Option<Identified> {
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

    pub(super) fn holders_revoked(&self) -> Option<Identified> {
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
pub(super) struct FixedScripts {
    by_script: [(ScriptBuf, OutputKind); 4],
}

impl FixedScripts {
    pub(super) fn new(environment: &Environment, record: &ChannelRecord) -> FixedScripts {
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

    pub(super) fn kind(&self, script: &ScriptBuf) -> Option<OutputKind> {
        self.by_script
            .iter()
            .find(|(of, _)| of == script)
            .map(|(_, kind)| *kind)
    }
}
