//! The closing transactions that either side may sign, and the fees that this node agrees to.
//!
//! BOLT 3, "Closing Transaction"; BOLT 2, "Legacy Closing Negotiation: `closing_signed`".

use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::sighash::EcdsaSighashType;
use bitcoin::{Amount, ScriptBuf, Transaction};
use lightning::ln::chan_utils::build_closing_transaction;
use lightning::ln::msgs;

use crate::channel::{Channel, ChannelError, LEAST_FEERATE_PER_KW};
use crate::commitment::{funding_script, input_sighash};
use crate::keys::Environment;

/// Weight of the funding input's witness, with the segwit marker: two signatures of 72 bytes and the
/// script of 71, each with its length, and an empty element.
const WITNESS_WEIGHT: u64 = 2 + 1 + 1 + 2 * 73 + 72;

/// A closing transaction as one side may have signed it.
pub(super) struct Variant {
    pub transaction: Transaction,
    /// What the opener pays, all of its balance at the most, in satoshis.
    pub fee_sat: u64,
}

/// Fees that this node agrees to, in satoshis.
pub(super) struct FeeRange {
    pub least_sat: u64,
    pub most_sat: u64,
}

/// Which outputs to leave out although they are no dust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Omit {
    Nothing,
    Holder,
    Counterparty,
}

impl Channel {
    /// The opener goes from what relays up to its fee rate; the other takes whatever the opener pays
    /// that relays.
    pub(super) fn fee_range(
        &self,
        holder: &ScriptBuf,
        counterparty: &ScriptBuf,
        feerate: u32,
    ) -> FeeRange {
        let spec = &self.record.holder.spec;
        let parameters = &self.record.parameters;
        let both = self.closing_transaction(holder, counterparty, 1, 1);
        let weight = both.base_size() as u64 * 4 + WITNESS_WEIGHT;
        let fee_sat = |feerate: u32| u64::from(feerate) * weight / 1000;
        let (opener_sat, wanted_sat) = if parameters.is_opener {
            let feerate = feerate.max(LEAST_FEERATE_PER_KW);
            (spec.holder_msat / 1000, fee_sat(feerate))
        } else {
            (spec.counterparty_msat / 1000, u64::MAX)
        };
        let most_sat = wanted_sat.min(opener_sat);
        FeeRange {
            least_sat: fee_sat(LEAST_FEERATE_PER_KW).min(most_sat),
            most_sat,
        }
    }

    /// The closing transaction with this fee. Outputs up to this node's dust limit are left out.
    pub(super) fn variant(
        &self,
        holder: &ScriptBuf,
        counterparty: &ScriptBuf,
        fee_sat: u64,
        omit: Omit,
    ) -> Result<Variant, ChannelError> {
        let spec = &self.record.holder.spec;
        let parameters = &self.record.parameters;
        let (mut holder_sat, mut counterparty_sat) =
            (spec.holder_msat / 1000, spec.counterparty_msat / 1000);
        let opener_sat = if parameters.is_opener {
            &mut holder_sat
        } else {
            &mut counterparty_sat
        };
        let fee_sat = fee_sat.min(*opener_sat);
        *opener_sat -= fee_sat;
        // Not below the limit but up to it, as everybody does; the peer may say otherwise.
        let left = |amount_sat: u64, omitted: Omit| {
            if omit == omitted || amount_sat <= parameters.holder_limits.dust_limit_sat {
                0
            } else {
                amount_sat
            }
        };
        let holder_sat = left(holder_sat, Omit::Holder);
        let counterparty_sat = left(counterparty_sat, Omit::Counterparty);
        if holder_sat == 0 && counterparty_sat == 0 {
            let nothing = "nothing is left that a closing transaction could pay";
            return Err(ChannelError::Close(nothing.into()));
        }
        let transaction =
            self.closing_transaction(holder, counterparty, holder_sat, counterparty_sat);
        Ok(Variant {
            transaction,
            fee_sat,
        })
    }

    fn closing_transaction(
        &self,
        holder: &ScriptBuf,
        counterparty: &ScriptBuf,
        holder_sat: u64,
        counterparty_sat: u64,
    ) -> Transaction {
        build_closing_transaction(
            Amount::from_sat(holder_sat),
            Amount::from_sat(counterparty_sat),
            holder.clone(),
            counterparty.clone(),
            self.record.parameters.funding.into_bitcoin_outpoint(),
        )
    }

    /// The transaction that the peer has signed: it may have left out its own output, or this node's
    /// if that is dust by its limit.
    pub(super) fn signed_variant(
        &self,
        environment: &Environment,
        holder: &ScriptBuf,
        counterparty: &ScriptBuf,
        message: &msgs::ClosingSigned,
    ) -> Result<Variant, ChannelError> {
        let parameters = &self.record.parameters;
        let mut omits = vec![Omit::Nothing, Omit::Counterparty];
        let mut holder_sat = self.record.holder.spec.holder_msat / 1000;
        if parameters.is_opener {
            // Only the opener pays: whatever fee the other side pays, this output stays.
            holder_sat = holder_sat.saturating_sub(message.fee_satoshis);
        }
        if holder_sat <= parameters.counterparty_limits.dust_limit_sat {
            omits.push(Omit::Holder);
        }
        for omit in omits {
            let Ok(variant) = self.variant(holder, counterparty, message.fee_satoshis, omit) else {
                continue;
            };
            let sighash = self.close_sighash(environment, &variant.transaction);
            let is_signed = environment
                .secp
                .verify_ecdsa(
                    &sighash,
                    &message.signature,
                    &parameters.counterparty_keys.funding_pubkey,
                )
                .is_ok();
            if is_signed && variant.fee_sat == message.fee_satoshis {
                return Ok(variant);
            }
        }
        let wrong = "closing_signed came with a wrong signature or a fee beyond the opener's means";
        Err(ChannelError::Close(wrong.into()))
    }

    #[cfg(test)]
    pub(in crate::channel) fn signed_close_for_tests(
        &self,
        environment: &Environment,
        (holder, counterparty): (&ScriptBuf, &ScriptBuf),
        fee_sat: u64,
    ) -> Signature {
        let variant = self.variant(holder, counterparty, fee_sat, Omit::Nothing);
        self.sign_close(environment, &variant.unwrap().transaction)
    }

    #[cfg(test)]
    pub(in crate::channel) fn signed_robbery_for_tests(
        &self,
        environment: &Environment,
        (holder, counterparty): (&ScriptBuf, &ScriptBuf),
        fee_sat: u64,
    ) -> Signature {
        let variant = self.variant(holder, counterparty, fee_sat, Omit::Counterparty);
        self.sign_close(environment, &variant.unwrap().transaction)
    }

    pub(super) fn sign_close(
        &self,
        environment: &Environment,
        transaction: &Transaction,
    ) -> Signature {
        let keys = environment.channel_keys(&self.record.parameters.keys_id);
        let sighash = self.close_sighash(environment, transaction);
        environment.secp.sign_ecdsa(&sighash, &keys.funding)
    }

    fn close_sighash(
        &self,
        environment: &Environment,
        transaction: &Transaction,
    ) -> bitcoin::secp256k1::Message {
        let parameters = &self.record.parameters;
        let holder = environment.channel_points(&parameters.keys_id);
        let script = funding_script(
            &holder.funding_pubkey,
            &parameters.counterparty_keys.funding_pubkey,
        );
        input_sighash(
            transaction,
            &script,
            Amount::from_sat(parameters.capacity_sat),
            EcdsaSighashType::All,
        )
    }
}

impl FeeRange {
    pub(super) fn holds(&self, fee_sat: u64) -> bool {
        (self.least_sat..=self.most_sat).contains(&fee_sat)
    }

    /// What to offer when the peer's offer is out of range: the nearest fee that both can live with.
    pub(super) fn counter_offer(
        &self,
        message: &msgs::ClosingSigned,
        is_opener: bool,
    ) -> Result<u64, ChannelError> {
        let nearest_sat = message.fee_satoshis.clamp(self.least_sat, self.most_sat);
        let Some(theirs) = &message.fee_range else {
            return Ok(nearest_sat);
        };
        let (least_sat, most_sat) = (
            self.least_sat.max(theirs.min_fee_satoshis),
            self.most_sat.min(theirs.max_fee_satoshis),
        );
        if least_sat > most_sat {
            let apart = "the closing fee ranges do not overlap";
            return Err(ChannelError::Warn(apart.into()));
        }
        if is_opener {
            // The peer knew the opener's range when it chose (BOLT 2).
            let ignored = "the peer's closing fee is outside the range that it was given";
            return Err(ChannelError::Close(ignored.into()));
        }
        Ok(nearest_sat.clamp(least_sat, most_sat))
    }
}
