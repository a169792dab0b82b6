//! Carries out effects in a world, and what becomes durable there.

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::PublicKey;
use bitcoin::{
    Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness,
    absolute::LockTime, transaction::Version,
};
use lightning::ln::types::ChannelId;

use crate::channel::Channel;
use crate::effect::{CommandError, Done, Effect, Store, Write};
use crate::input::Input;
use crate::message::Message;
use crate::onchain::bumping::{SecondStage, feeless_second_stages};
use crate::payment::RouteWish;
use crate::source::{PathHop, PaymentId};

use super::disk::Landed;
use super::judge;
use super::world::{Persistence, World};

impl World {
    /// Carries out a node's next effect.
    pub(super) fn run(&mut self, node: usize) {
        let Some(effect) = self.nodes[node].pending.take() else {
            return;
        };
        self.note(|world| format!("{} {}", world.nodes[node].name, world.names.effect(&effect)));
        self.carry_out(node, effect);
        self.nodes[node].refill(&mut self.dice);
    }

    fn carry_out(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Persist(write) => self.persist(node, &write),
            Effect::Trim {
                channel_id,
                from,
                to,
            } => self.nodes[node].disk.trim(channel_id, from, to),
            Effect::Archive { channel_id } => self.archive(node, channel_id),
            Effect::ForgetPayment { payment_id } => {
                self.nodes[node].disk.forget_payment(&payment_id);
            }
            Effect::Send { peer, message, .. } => self.send(node, &peer, message),
            Effect::Broadcast {
                channel_id,
                transactions,
            } => {
                judge::sending::broadcast(self, node, channel_id, &transactions);
                self.publish(transactions);
            }
            Effect::BumpCommitment { channel_id, .. } => self.publish_commitment(node, channel_id),
            Effect::BumpHtlcs {
                channel_id, htlcs, ..
            } => self.publish_second_stages(node, channel_id, &htlcs),
            Effect::Tell { id, event } => {
                judge::telling::told(self, node, &event);
                let life = self.nodes[node].life;
                self.nodes[node].user.hear(life, id, event);
            }
            Effect::Answer { id, result } => self.answer(node, id, result),
            Effect::Fund {
                temporary_channel_id,
                script,
                amount_sat,
            } => {
                let transaction = Ok(self.made_up_transaction(script, amount_sat));
                self.input(
                    node,
                    Input::Funded {
                        temporary_channel_id,
                        transaction,
                    },
                );
            }
            Effect::FindRoute {
                payment_id, wish, ..
            } => {
                let paths = self.ways(&payment_id, &wish);
                self.input(node, Input::RouteFound { payment_id, paths });
            }
            Effect::Disconnect { peer } => {
                let name = self.nodes[node].name;
                self.complain(format!("{name} hangs up on an honest peer"));
                if let Some(other) = self.by_id(&peer) {
                    self.cut(node, other);
                }
            }
            Effect::Unfund { .. }
            | Effect::AnnounceChannel { .. }
            | Effect::AnnouncePolicy { .. }
            | Effect::DropSends { .. } => {}
        }
    }

    fn answer(&mut self, node: usize, id: u64, result: Result<Done, CommandError>) {
        if !self.nodes[node].user.answered(id, result) {
            let name = self.nodes[node].name;
            self.complain(format!(
                "{name} answers command {id}, which nobody waits for"
            ));
        }
    }

    /// What a search for ways comes to.
    fn ways(&self, payment_id: &PaymentId, wish: &RouteWish) -> Vec<Vec<PathHop>> {
        let mut payments = self.flow.payments.iter();
        let payment = payments.find(|payment| payment.payment_id == *payment_id);
        let avoids = |way: &&Vec<PathHop>| {
            let mut hops = way.iter();
            hops.all(|hop| !wish.failed_channels.contains(&hop.short_channel_id))
        };
        let way = payment.and_then(|payment| payment.ways.iter().find(avoids));
        way.into_iter().cloned().collect()
    }

    fn persist(&mut self, node: usize, write: &Write) {
        self.nodes[node].disk.write(write);
        if self.persistence == Persistence::Synchronous {
            self.complete(node, write.store);
        }
    }

    /// The oldest write to a store becomes durable, and the node hears of it.
    pub(super) fn complete(&mut self, node: usize, store: Store) {
        if let Some(sequence) = self.land(node, store) {
            self.note(|world| {
                let name = world.nodes[node].name;
                format!("{name} durable {} {sequence}", world.names.store(&store))
            });
            if let Some(engine) = &mut self.nodes[node].engine {
                engine.persisted(store, sequence);
            }
            self.nodes[node].refill(&mut self.dice);
        }
    }

    /// The oldest write to a store becomes durable. Returns its sequence.
    pub(super) fn land(&mut self, node: usize, store: Store) -> Option<u64> {
        let (sequence, landed) = self.nodes[node].disk.land(store)?;
        match landed {
            Ok(Landed::Channel { before, after }) => {
                self.keep_commitment(node, store, &after);
                judge::durable::landed(self, node, before.as_deref(), &after);
            }
            Ok(Landed::Payment) => {}
            Err(error) => {
                let name = self.nodes[node].name;
                self.complain(format!("{name}'s disk: {error}"));
            }
        }
        Some(sequence)
    }

    /// The commitment alone: this chain takes what pays no fee.
    fn publish_commitment(&mut self, node: usize, channel_id: ChannelId) {
        let Some(channel) = self.channel_of(node, channel_id) else {
            return;
        };
        let environment = self.nodes[node].environment.clone();
        if let Some(transaction) = channel.transaction_to_publish(&environment) {
            judge::sending::broadcast(self, node, channel_id, std::slice::from_ref(&transaction));
            self.publish(vec![transaction]);
        }
    }

    fn publish_second_stages(&mut self, node: usize, channel_id: ChannelId, htlcs: &[SecondStage]) {
        let Some(channel) = self.channel_of(node, channel_id) else {
            return;
        };
        let environment = self.nodes[node].environment.clone();
        let transactions = feeless_second_stages(&environment, &channel.record, htlcs);
        judge::sending::broadcast(self, node, channel_id, &transactions);
        self.publish(transactions);
    }

    /// Gives transactions to the chain. That it refuses one is nobody's fault: another was first, or a
    /// node has not seen the newest block.
    pub(super) fn publish(&mut self, transactions: Vec<Transaction>) {
        for transaction in transactions {
            let txid = transaction.compute_txid();
            if let Err(refusal) = self.chain.publish(transaction) {
                self.note(|_| format!("the chain refuses {txid}: {refusal}"));
            }
        }
    }

    fn channel_of(&self, node: usize, channel_id: ChannelId) -> Option<Channel> {
        let engine = self.nodes[node].engine.as_ref()?;
        engine.node.channels.get(&channel_id).cloned()
    }

    fn archive(&mut self, node: usize, channel_id: ChannelId) {
        if let Some(record) = self.nodes[node].disk.archive(channel_id)
            && !record.events.is_empty()
        {
            let name = self.nodes[node].name;
            self.complain(format!(
                "{name} archives a channel with unacknowledged events"
            ));
        }
    }

    fn send(&mut self, node: usize, peer: &PublicKey, message: Message) {
        let Some(other) = self.by_id(peer) else {
            let name = self.nodes[node].name;
            return self.complain(format!("{name} sends to nobody"));
        };
        judge::sending::sent(self, node, &message);
        if let Some(link) = self.link_between(node, other) {
            link.send(node, message);
        }
    }

    /// The connection between two nodes ends.
    pub fn cut(&mut self, one: usize, other: usize) {
        let Some(link) = self.link_between(one, other) else {
            return;
        };
        if !link.is_up {
            return;
        }
        link.cut();
        self.note(|world| {
            let (one, other) = (world.nodes[one].name, world.nodes[other].name);
            format!("{one} / {other}")
        });
        for (end, other) in [(one, other), (other, one)] {
            self.hear_of_cut(end, other);
        }
    }

    /// A node notices that a connection is gone.
    pub(super) fn hear_of_cut(&mut self, node: usize, other: usize) {
        let peer = self.nodes[other].node_id;
        let to_nobody = matches!(
            &self.nodes[node].pending,
            Some(Effect::Send { peer: to, .. }) if *to == peer
        );
        if to_nobody {
            self.nodes[node].pending = None;
        }
        self.input(node, Input::PeerDown { peer });
    }

    fn made_up_transaction(&mut self, script: ScriptBuf, amount_sat: u64) -> Transaction {
        self.next_coin += 1;
        let coin = sha256::Hash::hash(&self.next_coin.to_be_bytes());
        let coin = OutPoint::new(Txid::from_byte_array(coin.to_byte_array()), 0);
        self.chain.give(coin, amount_sat);
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: coin,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                witness: Witness::from_slice(&[[1_u8; 64]]),
            }],
            output: vec![TxOut {
                value: Amount::from_sat(amount_sat),
                script_pubkey: script,
            }],
        }
    }
}
