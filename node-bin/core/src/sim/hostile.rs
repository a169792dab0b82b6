//! A peer that breaks rules and signs all the same: messages with the signatures and secrets that only the real
//! peer can make, for whatever was proposed to a node. What a rule breaker can reach with random bytes ends
//! at the first signature.

use lightning::ln::msgs;
use lightning::ln::types::ChannelId;

use crate::channel::Channel;
use crate::commitment::sign_counterparty_commitment;
use crate::input::Input;
use crate::keys::Environment;
use crate::message::Message;
use crate::record::{ChannelParameters, CounterpartyCommitment};
use crate::spec::Change;

use super::judge::rest::mirrored;
use super::world::World;

/// A peer of a channel, with its secrets.
#[derive(Clone, Copy)]
pub struct Forger<'a> {
    /// Its keys.
    pub environment: &'a Environment,
    /// The channel as it sees it.
    pub parameters: &'a ChannelParameters,
}

impl Forger<'_> {
    /// `commitment_signed` for all that it has proposed to the victim, whether it may be proposed or not.
    /// `None`: the proposals contradict each other.
    pub fn commitment_signed(
        &self,
        victim: &Channel,
        victim_environment: &Environment,
    ) -> Option<Message> {
        let record = &victim.record;
        let acked = &record.holder_changes.acked;
        let proposed = &victim.volatile.proposed;
        let spec = record.holder.spec.after(acked, proposed).ok()?;
        let number = record.holder.number + 1;
        let keys = victim_environment.channel_keys(&record.parameters.keys_id);
        let commitment = CounterpartyCommitment {
            number,
            spec: mirrored(&spec),
            point: keys.commitment_point(number, &victim_environment.secp),
        };
        let (signature, htlc_signatures) =
            sign_counterparty_commitment(self.environment, self.parameters, &commitment);
        Some(Message::CommitmentSigned(msgs::CommitmentSigned {
            channel_id: victim.id(),
            signature,
            htlc_signatures,
            funding_txid: None,
        }))
    }

    /// `revoke_and_ack` for its commitment that the victim may wait for.
    pub fn revocation(&self, victim: &Channel) -> Message {
        let number = victim.record.counterparty.number;
        let keys = self.environment.channel_keys(&self.parameters.keys_id);
        Message::RevokeAndAck(msgs::RevokeAndACK {
            channel_id: victim.id(),
            per_commitment_secret: keys.commitment_secret(number),
            next_per_commitment_point: keys.commitment_point(number + 2, &self.environment.secp),
            release_htlc_message_paths: Vec::new(),
        })
    }
}

/// The id that a node expects of its peer's next HTLC.
pub fn next_htlc_id(victim: &Channel) -> u64 {
    let is_add = |change: &&Change| matches!(change, Change::Add(_));
    let proposed = victim.volatile.proposed.iter().filter(is_add).count();
    victim.record.next_counterparty_htlc_id + proposed as u64
}

impl World {
    /// A node's side of a channel, while it lives.
    pub fn side(&self, node: usize, channel_id: &ChannelId) -> Option<&Channel> {
        let engine = self.nodes[node].engine.as_ref()?;
        engine.node.channels.get(channel_id)
    }

    /// As [`Forger::commitment_signed`]; `None` too if one of both has no such channel.
    pub fn forge_commitment_signed(
        &self,
        attacker: usize,
        victim: usize,
        channel_id: ChannelId,
    ) -> Option<Message> {
        let forger = self.forger(attacker, channel_id)?;
        let channel = self.side(victim, &channel_id)?;
        forger.commitment_signed(channel, &self.nodes[victim].environment)
    }

    /// As [`Forger::revocation`]; `None` if one of both has no such channel.
    pub fn forge_revocation(
        &self,
        attacker: usize,
        victim: usize,
        channel_id: ChannelId,
    ) -> Option<Message> {
        let forger = self.forger(attacker, channel_id)?;
        Some(forger.revocation(self.side(victim, &channel_id)?))
    }

    fn forger(&self, attacker: usize, channel_id: ChannelId) -> Option<Forger<'_>> {
        let attacker = &self.nodes[attacker];
        let record = attacker.disk.durable().channels.get(&channel_id)?;
        Some(Forger {
            environment: &attacker.environment,
            parameters: &record.parameters,
        })
    }

    /// A message reaches a node as if this peer had sent it.
    pub fn inject(&mut self, from: usize, to: usize, message: Message) {
        self.note(|world| {
            let (from, to) = (world.nodes[from].name, world.nodes[to].name);
            format!("{from} !> {to} {}", world.names.message(&message))
        });
        let peer = self.nodes[from].node_id;
        self.input(to, Input::Message { peer, message });
    }
}
