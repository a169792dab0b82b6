//! The one place that runs effects: in order, and none before what it waits for is durable. It does no
//! I/O itself: it hands out one effect after the other, and whoever carries them out (real files and
//! sockets, or a simulated world) has a place for a crash before and after each.
//!
//! Owns: the queue of effects, the effects held back until a write is durable, the inputs that follow
//! from effects. Decides nothing about the protocol.

use std::collections::{BTreeMap, VecDeque};

use bitcoin::secp256k1::PublicKey;

use crate::effect::{Effect, Ordered, Store};
use crate::input::{Input, Surroundings};
use crate::node::Node;

/// What is known of one store's writes.
#[derive(Clone, Debug, Default)]
struct StoreProgress {
    /// Sequence of the last write handed out.
    issued: u64,
    /// Sequence of the last write that is durable.
    durable: u64,
    /// Effects that wait, each with the write it waits for; first in, first out.
    held: VecDeque<(u64, Effect)>,
}

/// A node with its effects.
#[derive(Clone)]
pub struct Engine {
    /// The core.
    pub node: Node,
    queue: VecDeque<Ordered>,
    inbox: VecDeque<Input>,
    stores: BTreeMap<Store, StoreProgress>,
}

impl Engine {
    /// Runs this node, whose start has these effects, and whose stores are durable up to these
    /// sequences.
    pub fn new(node: Node, start: Vec<Ordered>, durable: Vec<(Store, u64)>) -> Self {
        let progress = |sequence| StoreProgress {
            issued: sequence,
            durable: sequence,
            held: VecDeque::new(),
        };
        Engine {
            node,
            queue: start.into(),
            inbox: VecDeque::new(),
            stores: durable
                .into_iter()
                .map(|(store, sequence)| (store, progress(sequence)))
                .collect(),
        }
    }

    /// Takes an input; it is handled once everything before it is done.
    pub fn input(&mut self, input: Input) {
        self.forget_if_down(&input);
        self.inbox.push_back(input);
    }

    /// The next effect that may be carried out now. `None`: nothing is left to do before another input
    /// or a completed write comes.
    pub fn next(&mut self, surroundings: &mut dyn FnMut() -> Surroundings) -> Option<Effect> {
        loop {
            while let Some(ordered) = self.queue.pop_front() {
                if let Some(effect) = self.pass(ordered) {
                    return Some(effect);
                }
            }
            let input = self.inbox.pop_front()?;
            // Inputs that came before it may have asked for more.
            self.forget_if_down(&input);
            let effects = self.node.step(input, surroundings());
            self.queue.extend(effects);
        }
    }

    /// Whether nothing is left to do and no write is on its way.
    pub fn is_quiet(&self) -> bool {
        self.queue.is_empty() && self.inbox.is_empty() && !self.has_writes_in_flight()
    }

    /// Whether a write was handed out and is not durable yet.
    pub fn has_writes_in_flight(&self) -> bool {
        self.stores
            .values()
            .any(|store| store.durable < store.issued)
    }

    /// A write is durable, and so are all before it to the same store. What waited for it goes
    /// before all else that is queued; then the core hears of it.
    pub fn persisted(&mut self, store: Store, sequence: u64) {
        let progress = self.stores.entry(store).or_default();
        progress.durable = progress.durable.max(sequence);
        let mut released = Vec::new();
        while let Some((needed, _)) = progress.held.front() {
            if *needed > progress.durable {
                break;
            }
            if let Some((_, effect)) = progress.held.pop_front() {
                released.push(effect);
            }
        }
        for effect in released.into_iter().rev() {
            self.queue.push_front(Ordered {
                effect,
                waits_for: None,
            });
        }
        self.inbox.push_back(Input::Persisted { store, sequence });
    }

    /// The effect if it may be carried out now; else it is held back or dropped.
    fn pass(&mut self, ordered: Ordered) -> Option<Effect> {
        let Ordered { effect, waits_for } = ordered;
        if let Effect::DropSends { channel_id } = &effect {
            let channel_id = *channel_id;
            self.forget_sends(&|effect| sends_on(effect, channel_id));
            return None;
        }
        if let Effect::Persist(write) = &effect {
            let progress = self.stores.entry(write.store).or_default();
            progress.issued = progress.issued.max(write.sequence);
            return Some(effect);
        }
        if let Effect::Send { peer, .. } = &effect
            && self.is_going_down(peer)
        {
            return None;
        }
        let Some(store) = waits_for else {
            return Some(effect);
        };
        let progress = self.stores.entry(store).or_default();
        if progress.durable >= progress.issued && progress.held.is_empty() {
            return Some(effect);
        }
        progress.held.push_back((progress.issued, effect));
        None
    }

    /// What was to be sent on a connection is lost with it; the next reestablish says what has to be
    /// sent again. Sent on the next connection it would break the protocol.
    fn forget_if_down(&mut self, input: &Input) {
        if let Input::PeerDown { peer } = input {
            let peer = *peer;
            self.forget_sends(&|effect| sends_to(effect, &peer));
        }
    }

    /// Whether an end of this peer's connection is known here and not yet to the core: what the core
    /// wants sent until it is belongs to the connection that is gone.
    fn is_going_down(&self, peer: &PublicKey) -> bool {
        self.inbox
            .iter()
            .any(|input| matches!(input, Input::PeerDown { peer: down } if down == peer))
    }

    fn forget_sends(&mut self, forget: &dyn Fn(&Effect) -> bool) {
        self.queue.retain(|ordered| !forget(&ordered.effect));
        for progress in self.stores.values_mut() {
            progress.held.retain(|(_, effect)| !forget(effect));
        }
    }
}

fn sends_to(effect: &Effect, to: &PublicKey) -> bool {
    matches!(effect, Effect::Send { peer, .. } if peer == to)
}

fn sends_on(effect: &Effect, on: lightning::ln::types::ChannelId) -> bool {
    matches!(effect, Effect::Send { channel_id, .. } if *channel_id == Some(on))
}
