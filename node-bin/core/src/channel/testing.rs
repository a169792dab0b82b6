//! Both ends of an open channel, for tests of what one end makes of the other's messages. Writes count as
//! durable at once.

use std::sync::Arc;

use bitcoin::secp256k1::SecretKey;
use lightning::ln::types::ChannelId;
use lightning::types::payment::PaymentPreimage;

use super::operating::Unable;
use super::{Channel, ChannelError, Outbox, WaitingAdd};
use crate::keys::Environment;
use crate::message::Message;
use crate::record::ChannelRecord;
use crate::sim::flows;
use crate::sim::testing::{A, B, channel};
use crate::source::HtlcSource;
use crate::spec::{Change, HtlcAdd, ONION_PACKET_BYTES};
use crate::wire;

/// One end of a channel.
pub(super) struct End {
    pub channel: Channel,
    pub environment: Arc<Environment>,
    out: Outbox,
}

/// Both ends, with nothing on the wire.
#[derive(Clone)]
pub(super) struct Ends {
    /// Pays the fees.
    pub opener: End,
    pub acceptor: End,
}

impl Clone for End {
    /// What was wanted is wanted once.
    fn clone(&self) -> Self {
        End {
            channel: self.channel.clone(),
            environment: self.environment.clone(),
            out: Outbox::default(),
        }
    }
}

pub(super) fn preimage(number: u8) -> PaymentPreimage {
    PaymentPreimage([number; 32])
}

/// An HTLC whose preimage is [`preimage`] of this number.
pub(super) fn add(number: u8, htlc_id: u64, amount_msat: u64) -> HtlcAdd {
    HtlcAdd {
        htlc_id,
        amount_msat,
        payment_hash: preimage(number).into(),
        cltv_expiry: 1_000,
        onion: vec![0; ONION_PACKET_BYTES],
    }
}

impl End {
    pub fn id(&self) -> ChannelId {
        self.channel.id()
    }

    pub fn record(&mut self) -> &mut ChannelRecord {
        &mut self.channel.record
    }

    /// Hands a message over.
    pub fn give(&mut self, message: &Message) -> Result<(), ChannelError> {
        let End {
            channel,
            environment,
            out,
        } = self;
        match message {
            Message::UpdateAddHtlc(m) => channel.receive_add(m),
            Message::UpdateFulfillHtlc(m) => channel.receive_fulfill(m, out),
            Message::UpdateFailHtlc(m) => {
                channel.receive_fail(m.htlc_id, wire::fail_reason(m).unwrap())
            }
            Message::UpdateFailMalformedHtlc(m) => {
                let hash = wire::malformed_hash(m).unwrap();
                channel.receive_fail_malformed(m.htlc_id, hash, m.failure_code)
            }
            Message::UpdateFee(m) => channel.receive_fee(m.feerate_per_kw),
            Message::CommitmentSigned(m) => channel.receive_commitment_signed(m, environment, out),
            Message::RevokeAndAck(m) => channel.receive_revocation(m, environment, out),
            Message::ChannelReestablish(m) => channel.receive_reestablish(m, environment, out),
            other => panic!("{other:?}"),
        }
    }

    /// Hands the message of a change over.
    pub fn give_change(&mut self, change: &Change) -> Result<(), ChannelError> {
        let message = wire::change_message(self.id(), change).unwrap();
        self.give(&message)
    }

    /// Closes the channel by this end's commitment.
    pub fn force_close(&mut self) {
        let End {
            channel,
            environment,
            out,
        } = self;
        channel.force_close(environment, "closed by a test", true, out);
    }

    /// What is to be sent; the rest of the effects is forgotten.
    pub fn sent(&mut self) -> Vec<Message> {
        let message = |ordered: crate::effect::Ordered| match ordered.effect {
            crate::effect::Effect::Send { message, .. } => Some(message),
            _ => None,
        };
        self.out.take().into_iter().filter_map(message).collect()
    }

    /// Whether nothing is wanted, neither a write nor a message.
    pub fn wants_nothing(&mut self) -> bool {
        self.out.take().is_empty()
    }

    /// Signs whatever waits. Why an HTLC could not be offered.
    pub fn flush(&mut self) -> Vec<Unable> {
        let unable = self.channel.flush(&self.environment, &mut self.out);
        unable.unwrap().into_iter().map(|(_, why)| why).collect()
    }

    /// Offers an HTLC and signs it if it is this end's turn. Why it could not be offered.
    pub fn offer(&mut self, number: u8, amount_msat: u64) -> Option<Unable> {
        self.channel.offer(WaitingAdd {
            add: add(number, 0, amount_msat),
            source: HtlcSource::Own {
                payment_id: [number; 32],
                part: 0,
                session_key: SecretKey::from_slice(&[number; 32]).unwrap(),
                path: Vec::new(),
            },
        });
        self.flush().pop()
    }

    /// Loses the connection and has a new one: `channel_reestablish` is on its way.
    pub fn reconnect(&mut self) {
        self.channel.peer_down();
        self.channel.peer_up(&self.environment, &mut self.out);
        self.out.take();
    }

    /// Gives each side so much, in both commitments, with this dust limit for each.
    pub fn set(&mut self, [holder, other]: [u64; 2], dust_limits_sat: [u64; 2]) {
        let record = &mut self.channel.record;
        for spec in [&mut record.holder.spec, &mut record.counterparty.spec] {
            (spec.holder_msat, spec.counterparty_msat) = (holder, other);
        }
        record.parameters.holder_limits.dust_limit_sat = dust_limits_sat[0];
        record.parameters.counterparty_limits.dust_limit_sat = dust_limits_sat[1];
    }
}

impl Ends {
    /// A channel that nothing went over.
    pub fn open() -> Ends {
        let world = flows::start("direct", 1).unwrap();
        let channel_id = channel(&world, A, B);
        let end = |node: usize| {
            let node = &world.nodes[node];
            End {
                channel: node.engine.as_ref().unwrap().node.channels[&channel_id].clone(),
                environment: node.environment.clone(),
                out: Outbox::default(),
            }
        };
        Ends {
            opener: end(A),
            acceptor: end(B),
        }
    }

    /// Both sign and revoke until nothing is left to be said.
    pub fn settle(&mut self) {
        let speak = |from: &mut End, to: &mut End| {
            assert_eq!(from.flush(), []);
            for message in from.sent() {
                to.give(&message).unwrap();
            }
        };
        for _ in 0..4 {
            speak(&mut self.opener, &mut self.acceptor);
            speak(&mut self.acceptor, &mut self.opener);
        }
        assert!(self.opener.sent().is_empty() && self.acceptor.sent().is_empty());
    }
}
