//! Closing by agreement (BOLT 2, `shutdown` and `closing_signed`). `shutdown` is durable, so that no
//! restart takes it back; the negotiation that follows is not, and starts over with each connection.

use bitcoin::ScriptBuf;
use bitcoin::secp256k1::ecdsa::Signature;
use lightning::ln::msgs;
use lightning::ln::script::ShutdownScript;

use crate::channel::{Channel, ChannelError, Connection, Outbox};
use crate::commitment::funding_witness;
use crate::effect::Effect;
use crate::features::init_features;
use crate::keys::Environment;
use crate::message::Message;
use crate::record::Closure;
use crate::spec::Change;
use crate::update::UpdateStep;

mod transactions;

use transactions::{FeeRange, Omit, Variant};

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

impl Channel {
    /// The user wants the channel closed: says `shutdown`. Does nothing if that was said already.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Close`] if the record does not take the step: a flaw of this node's.
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
    ///
    /// # Errors
    ///
    /// [`ChannelError`]: what BOLT 2, "Closing Initiation: `shutdown`", does not allow a peer, or not now.
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
    ///
    /// # Errors
    ///
    /// [`ChannelError`] if no closing transaction can be made of the balances.
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
    ///
    /// # Errors
    ///
    /// [`ChannelError`]: what BOLT 2, "Legacy Closing Negotiation: `closing_signed`", does not allow a peer, or not now.
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
}
