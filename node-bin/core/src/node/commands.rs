//! What the user commands.
//!
//! Payments: BOLT 11, "Requirements" of a payer; openings and closes: BOLT 2.

use bitcoin::secp256k1::PublicKey;
use lightning::ln::types::ChannelId;
use lightning::types::payment::PaymentHash;

use crate::channel::{Outbox, opening};
use crate::effect::{CommandError, Done, Effect, Store};
use crate::input::Command;

use super::Node;

/// An opening that the user wants.
pub(super) struct Wish {
    pub user_channel_id: [u8; 32],
    pub peer: PublicKey,
    pub capacity_sat: u64,
    pub push_msat: u64,
    pub announce: bool,
}

impl Node {
    pub(super) fn command(&mut self, id: u64, command: Command, out: &mut Outbox) {
        // A channel that this payment came over may have ended in a block that is still to come.
        if matches!(command, Command::Claim { .. }) && !self.at_tip {
            self.waiting.push((id, command));
            return;
        }
        let rests_on = self.rests_on(&command);
        let result = match command {
            Command::Pay(pay) => return self.pay(id, *pay, out),
            Command::Open {
                user_channel_id,
                peer,
                capacity_sat,
                push_msat,
                announce,
            } => self.open(
                Wish {
                    user_channel_id,
                    peer,
                    capacity_sat,
                    push_msat,
                    announce,
                },
                out,
            ),
            Command::Close { channel_id } => self.close(channel_id, out),
            Command::ForceClose { channel_id } => self.force_close(channel_id, out),
            Command::Claim { preimage } => self.claim(preimage, out),
            Command::Fail { payment_hash } => self.fail(payment_hash, out),
            Command::FeeRate { sat_per_kw } => {
                self.policy.feerate_per_kw = sat_per_kw.max(crate::channel::LEAST_FEERATE_PER_KW);
                for channel in self.channels.values_mut() {
                    channel.volatile.fee = Some(self.policy.feerate_per_kw);
                }
                Ok(Done::Begun)
            }
        };
        // What is answered is not asked for again: it has to survive a crash.
        let answer = Effect::Answer { id, result };
        match rests_on {
            Some(store) => out.after(store, answer),
            None => out.now(answer),
        }
    }

    /// The store that makes a command durable. Of a payment in parts it is one of several: a part whose
    /// preimage is durable brings the others along, and a part that is given back alone leaves the
    /// others to time out.
    fn rests_on(&self, command: &Command) -> Option<Store> {
        match command {
            Command::Close { channel_id } | Command::ForceClose { channel_id } => {
                Some(Store::Monitor(*channel_id))
            }
            Command::Claim { preimage } => self.first_part((*preimage).into()),
            Command::Fail { payment_hash } => self.first_part(*payment_hash),
            Command::Pay(_) | Command::Open { .. } | Command::FeeRate { .. } => None,
        }
    }

    fn first_part(&self, payment_hash: PaymentHash) -> Option<Store> {
        let claimable = self.claimables.get(&payment_hash);
        let mut claims = self.claims.values();
        let claim = claims.find(|known| known.claim.payment_hash == payment_hash);
        let of_claim = claim.and_then(|claim| claim.claim.parts.first().copied());
        let first = claimable
            .and_then(|known| known.parts.first().map(|part| part.id))
            .or(of_claim)?;
        Some(Store::Monitor(first.channel_id))
    }

    fn open(&mut self, wish: Wish, out: &mut Outbox) -> Result<Done, CommandError> {
        let is_known = self
            .channels
            .values()
            .any(|channel| channel.record.parameters.user_channel_id == wish.user_channel_id)
            || self
                .opens
                .values()
                .any(|open| open.user_channel_id() == wish.user_channel_id);
        if is_known {
            return Ok(Done::Already);
        }
        if !self.peers.contains(&wish.peer) {
            return Err(CommandError::Refused("the peer is not connected".into()));
        }
        let entropy = self.draw_entropy();
        let begun = opening::begin(
            &self.environment,
            &self.policy,
            opening::OpenRequest {
                peer: wish.peer,
                user_channel_id: wish.user_channel_id,
                capacity_sat: wish.capacity_sat,
                push_msat: wish.push_msat,
                announce: wish.announce,
            },
            entropy,
            out,
        );
        match begun {
            Ok((temporary_channel_id, open)) => {
                self.opens.insert((wish.peer, temporary_channel_id), open);
                Ok(Done::Begun)
            }
            Err(error) => Err(CommandError::Refused(error.to_string())),
        }
    }

    fn close(&mut self, channel_id: ChannelId, out: &mut Outbox) -> Result<Done, CommandError> {
        let environment = self.environment.clone();
        let Some(channel) = self.channels.get_mut(&channel_id) else {
            return Err(CommandError::NotFound("no such channel".into()));
        };
        if channel.record.closure.is_some() || channel.record.shutdown.holder.is_some() {
            return Ok(Done::Already);
        }
        if !channel.is_usable() {
            let why = "the channel is not usable now: connect the peer, or close by force";
            return Err(CommandError::Refused(why.into()));
        }
        match channel.begin_shutdown(&environment, out) {
            Ok(()) => Ok(Done::Begun),
            Err(error) => Err(CommandError::Refused(error.to_string())),
        }
    }

    fn force_close(
        &mut self,
        channel_id: ChannelId,
        out: &mut Outbox,
    ) -> Result<Done, CommandError> {
        let Some(channel) = self.channels.get_mut(&channel_id) else {
            return Err(CommandError::NotFound("no such channel".into()));
        };
        if channel.record.closure.is_some() {
            return Ok(Done::Already);
        }
        channel.force_close(&self.environment, "closed by its user", true, out);
        let data = "closed by its user".into();
        let error = lightning::ln::msgs::ErrorMessage { channel_id, data };
        out.send_now(channel.peer(), crate::message::Message::Error(error));
        Ok(Done::Begun)
    }
}
