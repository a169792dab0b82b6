//! The one place that runs effects: in order, and none before what it waits for is durable. It does no
//! I/O itself: it hands out one effect after the other, and whoever carries them out (real files and
//! sockets, or a simulated world) has a place for a crash before and after each.
//!
//! Owns: the queue of effects, the effects held back until a write is durable, the inputs that follow
//! from effects. Decides nothing about the protocol.
//!
//! In place of the seed's blocked updates and `monitor_pending_*`; `corrections.md`, 3 and 5, rest on it.

use std::collections::{BTreeMap, VecDeque};

use bitcoin::secp256k1::PublicKey;

use crate::effect::{Effect, Ordered, Store};
use crate::input::{Input, Surroundings};
use crate::node::Node;

/// What is known of one store's writes.
#[derive(Clone, Copy, Debug, Default)]
struct StoreProgress {
    /// Sequence of the last write handed out.
    issued: u64,
    /// Sequence of the last write that is durable.
    durable: u64,
}

impl StoreProgress {
    fn is_durable(&self) -> bool {
        self.durable >= self.issued
    }
}

/// An effect that waits.
#[derive(Clone, Debug)]
struct Held {
    /// The writes that it waits for: the last ones handed out before it.
    needed: Vec<(Store, u64)>,
    effect: Effect,
}

impl Held {
    fn is_message(&self) -> bool {
        matches!(self.effect, Effect::Send { .. })
    }

    fn is_ready(&self, stores: &BTreeMap<Store, StoreProgress>) -> bool {
        self.needed.iter().all(|(store, sequence)| {
            let progress = stores.get(store);
            progress.is_none_or(|progress| progress.durable >= *sequence)
        })
    }
}

/// A node with its effects.
#[derive(Clone)]
pub struct Engine {
    /// The core.
    pub node: Node,
    queue: VecDeque<Ordered>,
    /// Effects that waited and may go now; first in, first out, before all else that is queued.
    released: VecDeque<Effect>,
    inbox: VecDeque<Input>,
    stores: BTreeMap<Store, StoreProgress>,
    /// Effects that wait, in the order in which they were wanted, by the first store that they wait for.
    held: BTreeMap<Store, VecDeque<Held>>,
}

impl Engine {
    /// Runs this node, whose start has these effects, and whose stores are durable up to these
    /// sequences.
    pub fn new(node: Node, start: Vec<Ordered>, durable: Vec<(Store, u64)>) -> Self {
        let progress = |sequence| StoreProgress {
            issued: sequence,
            durable: sequence,
        };
        Engine {
            node,
            queue: start.into(),
            released: VecDeque::new(),
            inbox: VecDeque::new(),
            stores: durable
                .into_iter()
                .map(|(store, sequence)| (store, progress(sequence)))
                .collect(),
            held: BTreeMap::new(),
        }
    }

    /// Takes an input; it is handled once everything before it is done.
    pub fn input(&mut self, input: Input) {
        if let Input::PeerDown { peer } = &input {
            // What was to be sent to it is lost with the connection; the next reestablish says
            // what has to be sent again.
            let peer = *peer;
            self.forget_sends(&|effect| sends_to(effect, &peer));
        }
        self.inbox.push_back(input);
    }

    /// The next effect that may be carried out now. `None`: nothing is left to do before another input
    /// or a completed write comes.
    pub fn next(&mut self, surroundings: &mut dyn FnMut() -> Surroundings) -> Option<Effect> {
        loop {
            if let Some(effect) = self.released.pop_front() {
                self.note_end(&effect);
                return Some(effect);
            }
            if let Some(ordered) = self.queue.pop_front() {
                let Some(effect) = self.pass(ordered) else {
                    continue;
                };
                self.note_end(&effect);
                return Some(effect);
            }
            let input = self.inbox.pop_front()?;
            let effects = self.node.step(input, surroundings());
            self.queue.extend(effects);
        }
    }

    /// Whether nothing is left to do and no write is on its way.
    pub fn is_quiet(&self) -> bool {
        self.queue.is_empty()
            && self.released.is_empty()
            && self.inbox.is_empty()
            && !self.has_writes_in_flight()
    }

    /// Whether a write was handed out and is not durable yet.
    pub fn has_writes_in_flight(&self) -> bool {
        self.stores.values().any(|store| !store.is_durable())
    }

    /// Whether an effect waits for a write.
    #[cfg(test)]
    pub(crate) fn is_anything_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// A write is durable, and so are all before it to the same store. What waited for it goes
    /// before all else that is queued; then the core hears of it.
    pub fn persisted(&mut self, store: Store, sequence: u64) {
        let progress = self.stores.entry(store).or_default();
        progress.durable = progress.durable.max(sequence);
        self.release();
        self.inbox.push_back(Input::Persisted { store, sequence });
    }

    /// Lets go what waits for nothing any more.
    fn release(&mut self) {
        for queue in self.held.values_mut() {
            let mut is_message_held = false;
            for held in std::mem::take(queue) {
                // A message that waits for more than its own store keeps later messages waiting, and nothing else:
                // a claim on the chain must not wait for another channel's writes.
                let is_behind = is_message_held && held.is_message();
                if !is_behind && held.is_ready(&self.stores) {
                    self.released.push_back(held.effect);
                } else {
                    is_message_held |= held.is_message();
                    queue.push_back(held);
                }
            }
        }
        self.held.retain(|_, queue| !queue.is_empty());
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
        if self.is_too_late(&effect) {
            return None;
        }
        let Some(first) = waits_for.first() else {
            return Some(effect);
        };
        let needed = waits_for.iter().filter_map(|store| {
            let progress = self.stores.get(store)?;
            (!progress.is_durable()).then_some((*store, progress.issued))
        });
        let needed = needed.collect();
        let held = Held { needed, effect };
        let mut before = self.held.get(first).into_iter().flatten();
        let is_behind = held.is_message() && before.any(Held::is_message);
        if !is_behind && held.needed.is_empty() {
            return Some(held.effect);
        }
        self.held.entry(*first).or_default().push_back(held);
        None
    }

    /// A store that is no more has no progress.
    fn note_end(&mut self, effect: &Effect) {
        if let Effect::ForgetPayment { payment_id } = effect {
            self.stores.remove(&Store::Payment(*payment_id));
        }
    }

    /// Whether this is a message for a connection that is gone already, though the core has not heard of
    /// it: sent now, it would reach the peer on the next connection.
    fn is_too_late(&self, effect: &Effect) -> bool {
        let Effect::Send { peer: to, .. } = effect else {
            return false;
        };
        let mut inbox = self.inbox.iter();
        inbox.any(|input| matches!(input, Input::PeerDown { peer } if peer == to))
    }

    fn forget_sends(&mut self, forget: &dyn Fn(&Effect) -> bool) {
        self.queue.retain(|ordered| !forget(&ordered.effect));
        self.released.retain(|effect| !forget(effect));
        for queue in self.held.values_mut() {
            queue.retain(|held| !forget(&held.effect));
        }
        // What stood behind them may wait for nothing more.
        self.release();
    }
}

fn sends_to(effect: &Effect, to: &PublicKey) -> bool {
    matches!(effect, Effect::Send { peer, .. } if peer == to)
}

fn sends_on(effect: &Effect, on: lightning::ln::types::ChannelId) -> bool {
    matches!(effect, Effect::Send { channel_id, .. } if *channel_id == Some(on))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bitcoin::{BlockHash, ScriptBuf, hashes::Hash};
    use lightning::ln::types::ChannelId;

    use super::*;
    use crate::effect::{Content, Write};
    use crate::keys::Environment;
    use crate::message::Message;
    use crate::node::{BestBlock, Policy, Stored};
    use crate::update::{EntryContent, LogEntry};

    const SURROUNDINGS: Surroundings = Surroundings {
        entropy: [7; 32],
        now_s: 0,
    };
    const STORE: Store = Store::Monitor(ChannelId([1; 32]));
    const OTHER: Store = Store::Monitor(ChannelId([2; 32]));
    const THIRD: Store = Store::Monitor(ChannelId([3; 32]));

    fn engine(start: Vec<Ordered>) -> Engine {
        let policy = Policy {
            feerate_per_kw: 500,
            fee_base_msat: 0,
            fee_proportional_millionths: 0,
            cltv_expiry_delta: 72,
            minimum_depth: 1,
            maximum_unacknowledged_events: 1,
        };
        let best_block = BestBlock {
            height: 0,
            hash: BlockHash::all_zeros(),
        };
        let environment = Arc::new(Environment::new([1; 32], ScriptBuf::new()));
        let stored = Stored::default();
        let Ok((node, _, _)) = Node::load(environment, policy, stored, best_block, SURROUNDINGS)
        else {
            unreachable!("nothing is stored");
        };
        Engine::new(node, start, vec![(STORE, 0)])
    }

    fn persist(sequence: u64) -> Ordered {
        persist_to(STORE, sequence)
    }

    fn persist_to(store: Store, sequence: u64) -> Ordered {
        let content = Content::Entry(LogEntry {
            sequence,
            content: EntryContent::Acks(Vec::new()),
        });
        Ordered {
            effect: Effect::Persist(Write {
                store,
                sequence,
                content,
            }),
            waits_for: Vec::new(),
        }
    }

    fn waiting(id: u64) -> Ordered {
        waiting_for(&[STORE], id)
    }

    fn waiting_for(stores: &[Store], id: u64) -> Ordered {
        let result = Ok(crate::effect::Done::Begun);
        Ordered {
            effect: Effect::Answer { id, result },
            waits_for: stores.to_vec(),
        }
    }

    fn channel_of(id: u8) -> ChannelId {
        ChannelId([id; 32])
    }

    /// A message of the channel of this id.
    fn message_for(stores: &[Store], id: u8) -> Ordered {
        let channel_id = channel_of(id);
        let scriptpubkey = ScriptBuf::new();
        let shutdown = lightning::ln::msgs::Shutdown {
            channel_id,
            scriptpubkey,
        };
        Ordered {
            effect: Effect::Send {
                peer: peer(),
                channel_id: Some(channel_id),
                message: Message::Shutdown(shutdown),
            },
            waits_for: stores.to_vec(),
        }
    }

    fn peer() -> PublicKey {
        let secp = bitcoin::secp256k1::Secp256k1::new();
        let key = bitcoin::secp256k1::SecretKey::from_slice(&[3; 32]);
        let Ok(peer) = key.map(|key| key.public_key(&secp)) else {
            unreachable!("the key is valid");
        };
        peer
    }

    /// What comes out until nothing more does: ids of what waited; writes as 0.
    fn drain(engine: &mut Engine) -> Vec<u64> {
        std::iter::from_fn(|| engine.next(&mut || SURROUNDINGS))
            .map(|effect| match effect {
                Effect::Answer { id, .. } => id,
                Effect::Send {
                    channel_id: Some(id),
                    ..
                } => id.0[0].into(),
                _ => 0,
            })
            .collect()
    }

    #[test]
    fn nothing_passes_a_write_that_is_not_durable() {
        let mut engine = engine(vec![persist(1), waiting(1), persist(2), waiting(2)]);
        assert_eq!(drain(&mut engine), [0, 0]);
        engine.persisted(STORE, 1);
        assert_eq!(drain(&mut engine), [1]);
        engine.persisted(STORE, 2);
        assert_eq!(drain(&mut engine), [2]);
        assert!(engine.is_quiet());
    }

    #[test]
    fn what_waits_for_two_stores_waits_for_the_later_and_is_not_overtaken() {
        for first in [STORE, OTHER] {
            let mut engine = engine(vec![
                persist_to(OTHER, 1),
                persist(1),
                waiting_for(&[STORE, OTHER], 1),
                waiting_for(&[STORE, OTHER], 2),
            ]);
            assert_eq!(drain(&mut engine), [0, 0]);
            engine.persisted(first, 1);
            assert_eq!(drain(&mut engine), Vec::<u64>::new());
            let second = if first == STORE { OTHER } else { STORE };
            engine.persisted(second, 1);
            engine.queue.push_back(waiting(3));
            assert_eq!(drain(&mut engine), [1, 2, 3]);
            assert!(engine.is_quiet());
        }
    }

    #[test]
    fn a_message_that_waits_for_less_does_not_overtake_one_that_waits_for_more() {
        let mut engine = engine(vec![
            persist_to(OTHER, 1),
            persist_to(THIRD, 1),
            message_for(&[STORE, OTHER, THIRD], 1),
        ]);
        assert_eq!(drain(&mut engine), [0, 0]);
        engine.persisted(THIRD, 1);
        engine.queue.push_back(persist_to(THIRD, 2));
        engine.queue.push_back(message_for(&[STORE, OTHER], 2));
        engine.queue.push_back(message_for(&[STORE], 3));
        engine.queue.push_back(waiting(4));
        engine.queue.push_back(persist_to(OTHER, 2));
        engine.queue.push_back(message_for(&[STORE, OTHER], 5));
        // What is no message waits for its own store only.
        assert_eq!(drain(&mut engine), [0, 4, 0]);
        // The later write of the third store is nothing that the first message waits for.
        engine.persisted(OTHER, 1);
        assert_eq!(drain(&mut engine), [1, 2, 3]);
        engine.persisted(OTHER, 2);
        assert_eq!(drain(&mut engine), [5]);
    }

    #[test]
    fn a_message_behind_one_that_is_dropped_goes_when_its_own_writes_are_durable() {
        let mut engine = engine(vec![
            persist_to(OTHER, 1),
            message_for(&[STORE, OTHER], 1),
            message_for(&[STORE], 2),
        ]);
        assert_eq!(drain(&mut engine), [0]);
        let dropped = channel_of(1);
        engine.forget_sends(&|effect| sends_on(effect, dropped));
        assert_eq!(drain(&mut engine), [2]);
    }

    #[test]
    fn an_answer_to_a_message_from_a_connection_that_is_gone_does_not_go_out_on_the_next() {
        let mut engine = engine(Vec::new());
        let peer = peer();
        let channel_id = ChannelId([2; 32]);
        let shutdown = Message::Shutdown(lightning::ln::msgs::Shutdown {
            channel_id,
            scriptpubkey: ScriptBuf::new(),
        });
        engine.input(Input::PeerUp { peer });
        // About a channel that does not exist: answered with an error, if at all.
        engine.input(Input::Message {
            peer,
            message: shutdown.clone(),
        });
        engine.input(Input::PeerDown { peer });
        engine.input(Input::PeerUp { peer });
        assert_eq!(drain(&mut engine), Vec::<u64>::new());
        engine.input(Input::Message {
            peer,
            message: shutdown,
        });
        assert_eq!(drain(&mut engine), [0]);
    }

    #[test]
    fn what_two_writes_in_a_row_release_goes_out_in_the_order_in_which_it_was_wanted() {
        let mut engine = engine(vec![
            persist(1),
            waiting(1),
            waiting(2),
            persist(2),
            waiting(3),
        ]);
        assert_eq!(drain(&mut engine), [0, 0]);
        engine.persisted(STORE, 1);
        engine.persisted(STORE, 2);
        assert_eq!(drain(&mut engine), [1, 2, 3]);
    }
}
