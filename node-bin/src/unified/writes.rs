//! When writes are done: at once, later, or when told to; out of order across stores, never within one. Owns
//! the writes that wait; what waits for them is the engine's.

use std::collections::BTreeSet;

use node_core::effect::{Store, Write};

use super::dice::Dice;
use crate::api::{Persistence, WriteOrder};

/// Writes that wait to be done.
pub struct Writes {
    order: Option<WriteOrder>,
    /// They are not done before somebody says so.
    is_held: bool,
    /// In the order in which they were wanted.
    waiting: Vec<Write>,
}

impl Writes {
    /// None yet.
    pub fn new(persistence: Persistence) -> Self {
        Writes {
            order: match persistence {
                Persistence::Sync => None,
                Persistence::Async { order } => Some(order),
                Persistence::Held => Some(WriteOrder::Seeded),
            },
            is_held: persistence == Persistence::Held,
            waiting: Vec::new(),
        }
    }

    /// Takes a write; gives it back if it is to be done at once.
    pub fn want(&mut self, write: Write) -> Option<Write> {
        if self.order.is_none() {
            return Some(write);
        }
        self.waiting.push(write);
        None
    }

    /// How many wait.
    pub fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// The write to do now, the node having nothing else to do; none if they are held.
    pub fn due(&mut self, dice: &mut Dice) -> Option<Write> {
        match self.is_held {
            true => None,
            false => self.next(dice),
        }
    }

    /// The write whose turn it is.
    pub fn next(&mut self, dice: &mut Dice) -> Option<Write> {
        let store = match self.order? {
            WriteOrder::Reversed => self.waiting.last()?.store,
            WriteOrder::Seeded => {
                let stores: BTreeSet<Store> =
                    self.waiting.iter().map(|write| write.store).collect();
                let chosen = dice.below(stores.len())?;
                stores.into_iter().nth(chosen)?
            }
        };
        let place = self.waiting.iter().position(|write| write.store == store)?;
        Some(self.waiting.remove(place))
    }
}

#[cfg(test)]
mod tests {
    use node_core::effect::Content;
    use node_core::update::{EntryContent, LogEntry};

    use super::*;

    fn write(store: u8, sequence: u64) -> Write {
        Write {
            store: Store::Payment([store; 32]),
            sequence,
            content: Content::Entry(LogEntry {
                sequence,
                content: EntryContent::Acks(Vec::new()),
            }),
        }
    }

    /// Two writes each to three stores, and the order in which they are done.
    fn done(persistence: Persistence, life: u32) -> Vec<(Store, u64)> {
        let mut writes = Writes::new(persistence);
        let mut dice = Dice::new([7; 32], life, "writes");
        for sequence in 1..=2 {
            for store in 1..=3 {
                assert!(writes.want(write(store, sequence)).is_none());
            }
        }
        std::iter::from_fn(|| writes.next(&mut dice))
            .map(|write| (write.store, write.sequence))
            .collect()
    }

    #[test]
    fn a_synchronous_write_is_done_at_once() {
        let mut writes = Writes::new(Persistence::Sync);
        assert!(writes.want(write(1, 1)).is_some());
        assert!(writes.next(&mut Dice::new([7; 32], 0, "writes")).is_none());
    }

    #[test]
    fn a_held_write_waits_until_it_is_told_to_be_done() {
        let mut writes = Writes::new(Persistence::Held);
        let mut dice = Dice::new([7; 32], 0, "writes");
        assert!(writes.want(write(1, 1)).is_none());
        assert!(writes.due(&mut dice).is_none());
        assert_eq!(writes.waiting(), 1);
        let told = writes.next(&mut dice);
        assert_eq!(told.map(|write| write.sequence), Some(1));
        assert_eq!(writes.waiting(), 0);
    }

    #[test]
    fn reversed_writes_begin_with_the_store_written_to_last_and_keep_each_stores_order() {
        let order = WriteOrder::Reversed;
        let order: Vec<_> = done(Persistence::Async { order }, 0);
        let store = |number: u8| Store::Payment([number; 32]);
        assert_eq!(
            order,
            [(3, 1), (3, 2), (2, 1), (2, 2), (1, 1), (1, 2)].map(|(at, n)| (store(at), n))
        );
    }

    #[test]
    fn seeded_writes_repeat_themselves_and_keep_each_stores_order() {
        let order = WriteOrder::Seeded;
        let first = done(Persistence::Async { order }, 0);
        assert_eq!(first, done(Persistence::Async { order }, 0));
        assert_eq!(first.len(), 6);
        for store in 1..=3 {
            let sequences: Vec<_> = first
                .iter()
                .filter(|(at, _)| *at == Store::Payment([store; 32]))
                .map(|(_, sequence)| *sequence)
                .collect();
            assert_eq!(sequences, [1, 2]);
        }
        let lives: BTreeSet<_> = (0..8)
            .map(|life| done(Persistence::Async { order }, life))
            .collect();
        assert!(lives.len() > 1, "every life has the same order");
    }
}
