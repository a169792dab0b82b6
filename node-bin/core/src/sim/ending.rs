//! Channels that end on the chain against the flow: closed by force by a user, by a cheating peer; and blocks that
//! are replaced. What such a world is expected to come to changes with it.

use std::sync::Arc;

use bitcoin::{OutPoint, Transaction, Witness};
use lightning::ln::types::ChannelId;

use crate::commitment::holder_commitment_transaction;
use crate::effect::{Effect, Store};
use crate::input::{Command, Input};
use crate::onchain::bumping::{SecondStage, feeless_second_stages};
use crate::record::ChannelRecord;
use crate::spec::Direction;

use super::chain::Fate;
use super::crash::Image;
use super::flow::{OpenedChannel, Step};
use super::node::surroundings;
use super::world::World;

/// Blocks mined at once while nothing but delays is waited for.
const BLOCKS_OF_A_DELAY: u32 = 24;

/// Blocks that a closing transaction has on it when all is over, whatever was replaced before.
const BLOCKS_AFTER_A_REORG: u32 = 12;

/// Blocks after which a channel on the chain should be settled.
const BLOCKS_TO_SETTLE: u32 = 1_500;

impl World {
    /// A pair's channel ends on the chain, and payments may end otherwise than planned.
    pub(super) fn expect_on_chain(&mut self, pair: [usize; 2]) {
        let flow = Arc::make_mut(&mut self.flow);
        flow.is_certain = false;
        if !flow.forces.contains(&pair) {
            flow.forces.push(pair);
        }
        let last = vec![Step::Settle];
        if flow.phases.last() != Some(&last) {
            flow.phases.push(last);
        }
        // It may have been settled already, with other channels.
        self.phase = self.phase.min(flow.phases.len() - 1);
    }

    /// What was in a block has to come into one again.
    fn expect_blocks(&mut self) {
        let flow = Arc::make_mut(&mut self.flow);
        let blocks = [1, 1, BLOCKS_AFTER_A_REORG];
        let mined = blocks.map(|blocks| vec![Step::Mine { blocks }]);
        flow.phases.extend(mined);
        flow.phases.push(vec![Step::Settle]);
    }

    /// A user closes a channel by force, now.
    pub(super) fn close_by_force(&mut self, node: usize, pair: [usize; 2], is_mined: bool) {
        let Some(channel_id) = self.flow.channel(pair[0], pair[1]) else {
            return;
        };
        self.expect_on_chain(pair);
        if is_mined {
            let mine = vec![Step::Mine { blocks: 1 }];
            Arc::make_mut(&mut self.flow)
                .phases
                .insert(self.phase, mine);
        }
        let command = Command::ForceClose { channel_id };
        self.note(|world| world.names.command(world.nodes[node].name, &command));
        if self.nodes[node].engine.is_none() {
            return self.nodes[node].user.order(command);
        }
        let id = self.next_command_id;
        self.next_command_id += 1;
        self.nodes[node].user.order_given(command.clone(), id);
        self.input(node, Input::Command { id, command });
    }

    /// No miner takes what spends the commitment of this pair's channel, or any does again.
    pub(super) fn censor(&mut self, pair: [usize; 2], is_censored: bool) {
        let mut opened = self.flow.opened.iter();
        let opened = opened.find(|opened| opened.pair == pair);
        let Some((commitment, _)) = opened.and_then(|o| self.chain.spender(&o.funding)) else {
            return;
        };
        let txid = commitment.compute_txid();
        let count = commitment.output.len() as u32;
        for vout in 0..count {
            self.chain.censor(OutPoint { txid, vout }, is_censored);
        }
        if !is_censored {
            self.chain.publish_rivals();
        }
    }

    /// Mines until no channel that ends on the chain needs blocks any more. False: it is not over.
    pub(super) fn settle(&mut self) -> bool {
        let flow = self.flow.clone();
        let is_open = |node: &usize, channel_id: &ChannelId| {
            let node = &self.nodes[*node];
            !node.is_gone && node.disk.durable().channels.contains_key(channel_id)
        };
        let is_over = flow.opened.iter().all(|opened| {
            let mut ends = opened.pair.iter();
            !flow.forces.contains(&opened.pair) || !ends.any(|end| is_open(end, &opened.channel_id))
        });
        if is_over || self.settled_blocks >= BLOCKS_TO_SETTLE {
            return true;
        }
        let alive = self.nodes.iter().filter(|node| !node.is_gone);
        let mut records = alive.flat_map(|node| node.disk.durable().channels.values());
        let blocks = match records.any(|record| !record.outbound.is_empty()) {
            true => 1,
            false if self.settled_blocks < BLOCKS_OF_A_DELAY => 1,
            false => BLOCKS_OF_A_DELAY,
        };
        self.settled_blocks += blocks;
        (0..blocks).for_each(|_| self.chain.mine());
        false
    }

    /// The last blocks are replaced, and every living node hears so.
    pub(super) fn reorganise(&mut self, depth: u32, fate: Fate) {
        let fork = self.chain.reorganise(depth, fate);
        self.expect_blocks();
        self.note(|_| format!("blocks above {fork} are replaced: {fate:?}"));
        let hash = self.chain.best_at(fork).hash;
        for node in 0..self.nodes.len() {
            let known = &mut self.nodes[node];
            known.settled_height = known.settled_height.min(fork);
            if known.seen_height <= fork {
                continue;
            }
            known.seen_height = fork;
            let input = Input::BlocksDisconnected { height: fork, hash };
            self.expect_silence(node, &input);
            self.input(node, input);
        }
    }

    /// Nothing is emitted on a disconnect: it is only written down.
    fn expect_silence(&mut self, node: usize, input: &Input) {
        let Some(engine) = &self.nodes[node].engine else {
            return;
        };
        let mut core = engine.node.clone();
        let effects = core.step(input.clone(), surroundings(&mut self.dice.clone()));
        let mut loud = effects
            .iter()
            .filter(|ordered| !matches!(ordered.effect, Effect::Persist(_) | Effect::Trim { .. }));
        if let Some(ordered) = loud.next() {
            let (name, words) = (self.nodes[node].name, self.names.effect(&ordered.effect));
            self.complain(format!("{name} does this when blocks are gone: {words}"));
        }
    }

    /// Keeps a holder's commitments, for when it cheats.
    pub(super) fn keep_commitment(
        &mut self,
        node: usize,
        store: Store,
        record: &Arc<ChannelRecord>,
    ) {
        let Store::Monitor(channel_id) = store else {
            return;
        };
        let all = Arc::make_mut(&mut self.commitments);
        let kept = all.entry((node, channel_id)).or_default();
        if kept.last().map(|last| last.holder.number) != Some(record.holder.number) {
            kept.push(record.clone());
        }
    }

    /// The commitments that this node has revoked as far as its peer's durable record knows, by number.
    pub fn revoked_commitments(&self, node: usize, opened: &OpenedChannel) -> Vec<u64> {
        let channel_id = &opened.channel_id;
        let peers = opened.pair.iter().filter(|end| **end != node);
        let known =
            peers.filter_map(|end| self.nodes[*end].disk.durable().channels.get(channel_id));
        let current = known.map(|record| record.counterparty.number).min();
        let kept = self.commitments.get(&(node, *channel_id));
        let numbers = kept
            .into_iter()
            .flatten()
            .map(|record| record.holder.number);
        numbers
            .filter(|number| current.is_some_and(|current| *number < current))
            .collect()
    }

    /// A node publishes a commitment that it has revoked, with what follows from it, and is gone.
    pub(super) fn cheat(&mut self, node: usize, pair: [usize; 2], number: u64, is_late: bool) {
        let Some(channel_id) = self.flow.channel(pair[0], pair[1]) else {
            return;
        };
        let kept = self.commitments.get(&(node, channel_id));
        let mut kept = kept.into_iter().flatten();
        let Some(record) = kept.find(|record| record.holder.number == number).cloned() else {
            return self.complain(format!("no commitment {number} to cheat with"));
        };
        self.crash(node, &Image::default());
        self.nodes[node].is_gone = true;
        self.expect_on_chain(pair);
        let environment = self.nodes[node].environment.clone();
        let commitment =
            holder_commitment_transaction(&environment, &record.parameters, &record.holder);
        self.cheats.push((node, commitment.compute_txid()));
        self.publish(vec![commitment]);
        self.chain.mine();
        if is_late {
            self.wait_for_expiry(&record);
            let htlcs = self.second_stages_of(&record);
            let stages = feeless_second_stages(&environment, &record, &htlcs);
            self.publish(stages.into_iter().map(with_odd_selector).collect());
            self.chain.mine();
        }
    }

    /// Blocks that nobody sees before a cheater has taken back what it offered. Where there are other channels, their
    /// deadlines would pass unseen too.
    fn wait_for_expiry(&mut self, record: &ChannelRecord) {
        if self.flow.opened.len() > 1 {
            return;
        }
        let htlcs = record.holder.spec.htlcs.iter();
        let offered = htlcs.filter(|((direction, _), _)| *direction == Direction::Outbound);
        let expiry = offered.map(|(_, htlc)| htlc.cltv_expiry).max();
        while expiry.is_some_and(|expiry| self.chain.height() < expiry) {
            self.chain.mine();
        }
    }

    /// All that a cheater would take: with every preimage, and what has expired.
    fn second_stages_of(&self, record: &ChannelRecord) -> Vec<SecondStage> {
        let htlcs = record.holder.spec.htlcs.iter();
        htlcs
            .map(|((direction, htlc_id), htlc)| {
                let mut payments = self.flow.payments.iter();
                let payment = payments.find(|known| known.payment_hash == htlc.payment_hash);
                let preimage = match direction {
                    Direction::Inbound => payment.map(|payment| payment.preimage),
                    Direction::Outbound => None,
                };
                SecondStage {
                    direction: *direction,
                    htlc_id: *htlc_id,
                    preimage,
                }
            })
            .collect()
    }
}

/// Nobody signs the selector of a timeout: scripts take any that is no preimage.
fn with_odd_selector(mut stage: Transaction) -> Transaction {
    for input in &mut stage.input {
        let mut elements = input.witness.to_vec();
        if let Some(selector) = elements.get_mut(3)
            && selector.is_empty()
        {
            *selector = vec![7];
        }
        input.witness = Witness::from_slice(&elements);
    }
    stage
}
