//! Meeting the counterparty again (BOLT 2, message retransmission): what each side missed follows from
//! two numbers, and what has to be sent again follows from the record.

use lightning::ln::msgs;

use crate::keys::{Environment, secret_index};
use crate::message::Message;
use crate::record::Closure;
use crate::update::UpdateStep;

use super::{Channel, ChannelError, Connection, Outbox};

/// What a peer is told that lost its data: it must not publish, and this side will not either if it is
/// this side that lost.
pub(super) const STALE: &str = "sync lost: the peer proved that it knows a later commitment";

/// Ticks within which a peer has to answer `channel_reestablish` and `commitment_signed`.
const TICKS_TO_ANSWER: u32 = 3;

impl Channel {
    /// The connection is there: `channel_reestablish` goes first.
    pub(crate) fn peer_up(&mut self, environment: &Environment, out: &mut Outbox) {
        self.volatile.connection = Connection::Reestablishing;
        let message = self.reestablish(environment);
        self.send(message, out);
    }

    /// Where this side stands. It also proves to a peer that lost data that it did.
    fn reestablish(&self, environment: &Environment) -> Message {
        let last_secret = self
            .record
            .counterparty
            .number
            .checked_sub(1)
            .and_then(|number| {
                self.record
                    .counterparty_secrets
                    .0
                    .get_secret(secret_index(number))
            });
        let keys = environment.channel_keys(&self.record.parameters.keys_id);
        Message::ChannelReestablish(msgs::ChannelReestablish {
            channel_id: self.id(),
            next_local_commitment_number: self.record.holder.number + 1,
            next_remote_commitment_number: self.record.counterparty.number,
            your_last_per_commitment_secret: last_secret.unwrap_or([0; 32]),
            my_current_per_commitment_point: keys
                .commitment_point(self.record.holder.number, &environment.secp),
            next_funding: None,
            my_current_funding_locked: None,
        })
    }

    /// A peer still believes in a channel that was closed by force. It may have lost its data, and then must not
    /// publish what it has: so it is shown where the channel stands before it is told that it is over. Once a
    /// connection, since a peer that has forgotten the channel may answer each time.
    pub(crate) fn answer_when_closed(&mut self, environment: &Environment, out: &mut Outbox) {
        let peer = self.peer();
        if self.volatile.connection == Connection::Down {
            self.volatile.connection = Connection::Reestablishing;
            out.send_now(peer, self.reestablish(environment));
        }
        let error = msgs::ErrorMessage {
            channel_id: self.id(),
            data: "the channel is closed".into(),
        };
        out.send_now(peer, Message::Error(error));
    }

    /// The connection is gone, and with it all that was not signed (BOLT 2).
    pub(crate) fn peer_down(&mut self) {
        self.volatile.connection = Connection::Down;
        self.volatile.proposed.clear();
        self.volatile.unanswered_ticks = 0;
        self.volatile.closing = Default::default();
        self.volatile.announcing = self.volatile.announcing.without_connection();
    }

    /// A tick has passed. Whether the peer has owed an answer for [`TICKS_TO_ANSWER`] of them.
    pub(crate) fn tick_answer(&mut self) -> bool {
        let awaits = self.record.closure.is_none()
            && match self.volatile.connection {
                Connection::Down => false,
                Connection::Reestablishing => true,
                // What is not written yet was not sent, nor was what rests on another channel's writes.
                Connection::Up => {
                    self.record.next_counterparty.is_some()
                        && self.is_durable()
                        && self.volatile.claims_rest_on.is_empty()
                }
            };
        self.volatile.unanswered_ticks = match awaits {
            true => self.volatile.unanswered_ticks + 1,
            false => 0,
        };
        self.volatile.unanswered_ticks >= TICKS_TO_ANSWER
    }

    /// Compares numbers and sends again what the counterparty missed, in the order of the first time.
    pub(crate) fn receive_reestablish(
        &mut self,
        message: &msgs::ChannelReestablish,
        environment: &Environment,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        if self.record.onchain.funding_spend.is_some() {
            let why = "the channel is over: its closing transaction is in a block";
            return Err(ChannelError::Ignore(why.into()));
        }
        if self.volatile.connection != Connection::Reestablishing {
            return Err(ChannelError::Warn("a second channel_reestablish".into()));
        }
        // A peer that has closed the channel by agreement and forgotten it says numbers that no channel
        // has. Both had signed the close: the chain has it, or will.
        let is_forgotten = message.next_local_commitment_number == 0;
        if is_forgotten && self.is_drained() {
            return Err(ChannelError::Ignore(
                "the peer has closed the channel".into(),
            ));
        }
        let missed_revocation = self.compare_revocations(message, environment, out)?;
        let missed_commitment = self.compare_commitments(message)?;
        self.volatile.connection = Connection::Up;
        self.volatile.unanswered_ticks = 0;
        let at_start = message.next_local_commitment_number == 1 && self.record.holder.number == 0;
        if at_start && self.record.funding.holder_ready {
            self.send_channel_ready(environment, out);
        }
        let commitment_first = self
            .record
            .next_counterparty
            .as_ref()
            .is_some_and(|next| next.holder_number < self.record.holder.number);
        if missed_commitment && commitment_first {
            self.send_commitment(environment, out)?;
        }
        if missed_revocation {
            self.send_revocation(environment, out);
        }
        if missed_commitment && !commitment_first {
            self.send_commitment(environment, out)?;
        }
        Ok(())
    }

    /// Whether the counterparty missed the holder's last revocation.
    fn compare_revocations(
        &mut self,
        message: &msgs::ChannelReestablish,
        environment: &Environment,
        out: &mut Outbox,
    ) -> Result<bool, ChannelError> {
        let expected = message.next_remote_commitment_number;
        let number = self.record.holder.number;
        if !self.knows_secret(message, environment) {
            return Err(ChannelError::Close(
                "channel_reestablish with a wrong secret".into(),
            ));
        }
        self.heed_proof(message, environment, out)?;
        match number - expected {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(ChannelError::Close(
                "channel_reestablish with a very old commitment: the peer lost data".into(),
            )),
        }
    }

    /// Whether the message shows the last secret that the holder is said to have told.
    fn knows_secret(&self, message: &msgs::ChannelReestablish, environment: &Environment) -> bool {
        let Some(last) = message.next_remote_commitment_number.checked_sub(1) else {
            return true;
        };
        let keys = environment.channel_keys(&self.record.parameters.keys_id);
        last < (1 << 48) && keys.commitment_secret(last) == message.your_last_per_commitment_secret
    }

    /// If the message proves that this record is stale, nothing of it is published from now on, closed or
    /// not: only this node could have told that secret, and what it would publish would hand everything to
    /// the counterparty.
    pub(crate) fn heed_proof(
        &mut self,
        message: &msgs::ChannelReestablish,
        environment: &Environment,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        let is_later = message.next_remote_commitment_number > self.record.holder.number;
        if !is_later || !self.knows_secret(message, environment) {
            return Ok(());
        }
        let may_publish = !matches!(
            self.record.closure,
            Some(Closure::Forced {
                broadcast: false,
                ..
            })
        );
        if may_publish {
            let step = UpdateStep::ChannelForceClosed {
                reason: STALE.into(),
                broadcast: false,
            };
            self.commit(vec![step], out)?;
        }
        Err(ChannelError::Close(STALE.into()))
    }

    /// Whether the counterparty missed the holder's last `commitment_signed`.
    fn compare_commitments(
        &self,
        message: &msgs::ChannelReestablish,
    ) -> Result<bool, ChannelError> {
        let next = message.next_local_commitment_number;
        let signed = self.record.next_counterparty.is_some();
        let last = self.record.counterparty.number + u64::from(signed);
        if next == last + 1 {
            return Ok(false);
        }
        if signed && next == last {
            return Ok(true);
        }
        Err(ChannelError::Close(format!(
            "channel_reestablish expects commitment {next}, the last one signed was {last}"
        )))
    }
}
