//! Closing by agreement (BOLT 2, `shutdown` and `closing_signed`). `shutdown` is durable, so that no
//! restart takes it back; the negotiation that follows is not, and starts over with each connection.

use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::sighash::EcdsaSighashType;
use bitcoin::{Amount, ScriptBuf, Transaction};
use lightning::ln::chan_utils::build_closing_transaction;
use lightning::ln::msgs;
use lightning::ln::script::ShutdownScript;

use crate::channel::{Channel, ChannelError, Connection, LEAST_FEERATE_PER_KW, Outbox};
use crate::commitment::{funding_script, funding_witness, input_sighash};
use crate::effect::Effect;
use crate::features::init_features;
use crate::keys::Environment;
use crate::message::Message;
use crate::record::Closure;
use crate::spec::Change;
use crate::update::UpdateStep;

/// Weight of the funding input's witness, with the segwit marker: two signatures of 72 bytes and the
/// script of 71, each with its length, and an empty element.
const WITNESS_WEIGHT: u64 = 2 + 1 + 1 + 2 * 73 + 72;
/// Counter-offers of the peer's after which the negotiation has failed. With fee ranges (BOLT 2) both
/// agree on the second message.
const ROUNDS_LIMIT: u32 = 8;

/// Negotiation of the closing fee.
#[derive(Clone, Debug, Default)]
pub struct Negotiation {
    /// The fee last offered to the peer, in satoshis.
    offered_sat: Option<u64>,
    rounds: u32,
}

/// A closing transaction as one side may have signed it.
struct Variant {
    transaction: Transaction,
    /// What the opener pays, all of its balance at the most, in satoshis.
    fee_sat: u64,
}

/// Fees that this node agrees to, in satoshis.
struct FeeRange {
    least_sat: u64,
    most_sat: u64,
}

/// Which outputs to leave out although they are no dust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Omit {
    Nothing,
    Holder,
    Counterparty,
}

impl Channel {
    /// The user wants the channel closed: says `shutdown`. Does nothing if that was said already.
    pub fn begin_shutdown(
        &mut self,
        environment: &Environment,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        if self.record.shutdown.holder.is_some() || self.record.closure.is_some() {
            return Ok(());
        }
        let script = self.holder_script(environment);
        self.commit(vec![UpdateStep::HolderShutdown { script }], out)?;
        if self.volatile.connection == Connection::Up {
            self.send_shutdown(out);
        }
        Ok(())
    }

    /// Sends `shutdown` if it was ever said: after each reestablishing (BOLT 2).
    pub(crate) fn send_shutdown(&self, out: &mut Outbox) {
        if let Some(script) = &self.record.shutdown.holder {
            let message = msgs::Shutdown {
                channel_id: self.id(),
                scriptpubkey: script.clone(),
            };
            self.send(Message::Shutdown(message), out);
        }
    }

    /// The peer wants the channel closed, for the first time or again after a reconnection; this node
    /// then wants it too.
    pub fn receive_shutdown(
        &mut self,
        environment: &Environment,
        message: &msgs::Shutdown,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        if !self.may_negotiate() {
            let untimely = "shutdown came before channel_reestablish or after the close";
            return Err(ChannelError::Ignore(untimely.into()));
        }
        let has_unsigned_add = |change: &Change| matches!(change, Change::Add(_));
        if self.volatile.proposed.iter().any(has_unsigned_add) {
            let unsigned = "shutdown came with HTLCs that are not signed";
            return Err(ChannelError::Close(unsigned.into()));
        }
        let script = message.scriptpubkey.clone();
        ShutdownScript::try_from((script.clone(), &init_features()))
            .map_err(|_| ChannelError::Warn("shutdown came with a script of no kind".into()))?;
        match &self.record.shutdown.counterparty {
            Some(known) if *known == script => return Ok(()),
            Some(_) => {
                let changed = "shutdown came with another script than before";
                return Err(ChannelError::Warn(changed.into()));
            }
            None => {}
        }
        let mut steps = vec![UpdateStep::CounterpartyShutdown { script }];
        let answers = self.record.shutdown.holder.is_none();
        if answers {
            let script = self.holder_script(environment);
            steps.push(UpdateStep::HolderShutdown { script });
        }
        self.commit(steps, out)?;
        if answers {
            self.send_shutdown(out);
        }
        Ok(())
    }

    /// Makes the opener's first offer once nothing is pending on either side. To be called after
    /// whatever may have drained the channel; does nothing at every other time.
    pub fn continue_closing(
        &mut self,
        environment: &Environment,
        feerate_per_kw: u32,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        let is_first =
            self.record.parameters.is_opener && self.volatile.closing.offered_sat.is_none();
        if !is_first || !self.may_negotiate() || !self.is_drained() {
            return Ok(());
        }
        let Some((holder, counterparty)) = self.scripts() else {
            return Ok(());
        };
        let range = self.fee_range(&holder, &counterparty, feerate_per_kw);
        let variant = self.variant(&holder, &counterparty, range.most_sat, Omit::Nothing)?;
        self.offer_close(environment, &variant, &range, out);
        Ok(())
    }

    /// The peer's offer. Agreed on, the closing transaction is durable before this node's signature
    /// leaves it; then it is published.
    pub fn receive_closing_signed(
        &mut self,
        environment: &Environment,
        feerate_per_kw: u32,
        message: &msgs::ClosingSigned,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        if !self.may_negotiate() {
            let untimely = "closing_signed came before channel_reestablish or after the close";
            return Err(ChannelError::Ignore(untimely.into()));
        }
        let early = || ChannelError::Close("closing_signed came too early".into());
        let (holder, counterparty) = self.scripts().ok_or_else(early)?;
        let offered_sat = self.volatile.closing.offered_sat;
        let is_opener = self.record.parameters.is_opener;
        if !self.is_drained() || (is_opener && offered_sat.is_none()) {
            return Err(early());
        }
        let signed = self.signed_variant(environment, &holder, &counterparty, message)?;
        let range = self.fee_range(&holder, &counterparty, feerate_per_kw);
        if offered_sat == Some(message.fee_satoshis) {
            return self.agree(environment, signed, message.signature, None, out);
        }
        if range.holds(message.fee_satoshis) {
            let answer = Some(&range);
            return self.agree(environment, signed, message.signature, answer, out);
        }
        self.volatile.closing.rounds += 1;
        let counter_sat = range.counter_offer(message, is_opener)?;
        if self.volatile.closing.rounds > ROUNDS_LIMIT {
            let endless = "the closing fee was not agreed on";
            return Err(ChannelError::Close(endless.into()));
        }
        let variant = self.variant(&holder, &counterparty, counter_sat, Omit::Nothing)?;
        self.offer_close(environment, &variant, &range, out);
        Ok(())
    }

    /// Also after an agreement: a crash may have kept the peer from hearing of it.
    fn may_negotiate(&self) -> bool {
        let is_forced = matches!(self.record.closure, Some(Closure::Forced { .. }));
        self.volatile.connection == Connection::Up && !is_forced
    }

    /// Whether both sides have said `shutdown` and nothing is pending in either commitment or on its
    /// way into one.
    pub fn is_drained(&self) -> bool {
        let record = &self.record;
        record.shutdown.holder.is_some()
            && record.shutdown.counterparty.is_some()
            && record.inbound.is_empty()
            && record.outbound.is_empty()
            && record.holder.spec.htlcs.is_empty()
            && record.counterparty.spec.htlcs.is_empty()
            && record.next_counterparty.is_none()
            && record.holder_changes.signed.is_empty()
            && record.holder_changes.acked.is_empty()
            && record.counterparty_changes.signed.is_empty()
            && record.counterparty_changes.acked.is_empty()
            && self.volatile.proposed.is_empty()
    }

    fn agree(
        &mut self,
        environment: &Environment,
        agreed: Variant,
        counterparty_signature: Signature,
        answer: Option<&FeeRange>,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        let own_signature = self.sign_close(environment, &agreed.transaction);
        let mut transaction = agreed.transaction;
        let parameters = &self.record.parameters;
        let holder = environment
            .channel_points(&parameters.keys_id)
            .funding_pubkey;
        let witness = funding_witness(
            (&holder, &own_signature),
            (
                &parameters.counterparty_keys.funding_pubkey,
                &counterparty_signature,
            ),
        );
        for input in &mut transaction.input {
            input.witness = witness.clone();
        }
        let is_news = self.record.closure.is_none();
        if is_news {
            let step = UpdateStep::CooperativelyClosed {
                transaction: transaction.clone(),
            };
            self.commit(vec![step], out)?;
        }
        if let Some(range) = answer {
            self.send_closing_signed(agreed.fee_sat, own_signature, range, out);
        }
        if is_news {
            out.after(
                self.store(),
                Effect::Broadcast {
                    channel_id: self.id(),
                    transactions: vec![transaction],
                },
            );
        }
        Ok(())
    }

    fn offer_close(
        &mut self,
        environment: &Environment,
        variant: &Variant,
        range: &FeeRange,
        out: &mut Outbox,
    ) {
        let signature = self.sign_close(environment, &variant.transaction);
        self.volatile.closing.offered_sat = Some(variant.fee_sat);
        self.send_closing_signed(variant.fee_sat, signature, range, out);
    }

    fn send_closing_signed(
        &self,
        fee_satoshis: u64,
        signature: Signature,
        range: &FeeRange,
        out: &mut Outbox,
    ) {
        let message = msgs::ClosingSigned {
            channel_id: self.id(),
            fee_satoshis,
            signature,
            fee_range: Some(msgs::ClosingSignedFeeRange {
                min_fee_satoshis: range.least_sat.min(fee_satoshis),
                max_fee_satoshis: range.most_sat.max(fee_satoshis),
            }),
        };
        self.send(Message::ClosingSigned(message), out);
    }

    /// Where the holder's balance goes: as fixed at the opening, else to the wallet.
    fn holder_script(&self, environment: &Environment) -> ScriptBuf {
        let script = &self.record.parameters.holder_shutdown_script;
        if script.is_empty() {
            environment.destination_script.clone()
        } else {
            script.clone()
        }
    }

    fn scripts(&self) -> Option<(ScriptBuf, ScriptBuf)> {
        let shutdown = &self.record.shutdown;
        Some((shutdown.holder.clone()?, shutdown.counterparty.clone()?))
    }

    /// The opener goes from what relays up to its fee rate; the other takes whatever the opener pays
    /// that relays.
    fn fee_range(&self, holder: &ScriptBuf, counterparty: &ScriptBuf, feerate: u32) -> FeeRange {
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
    fn variant(
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
    fn signed_variant(
        &self,
        environment: &Environment,
        holder: &ScriptBuf,
        counterparty: &ScriptBuf,
        message: &msgs::ClosingSigned,
    ) -> Result<Variant, ChannelError> {
        let parameters = &self.record.parameters;
        let mut omits = vec![Omit::Nothing, Omit::Counterparty];
        let holder_sat = self.record.holder.spec.holder_msat / 1000;
        if holder_sat.saturating_sub(message.fee_satoshis)
            <= parameters.counterparty_limits.dust_limit_sat
        {
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

    fn sign_close(&self, environment: &Environment, transaction: &Transaction) -> Signature {
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
    fn holds(&self, fee_sat: u64) -> bool {
        (self.least_sat..=self.most_sat).contains(&fee_sat)
    }

    /// What to offer when the peer's offer is out of range: the nearest fee that both can live with.
    fn counter_offer(
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
