//! One simulated node: the engine while it lives, and what outlives it.

use std::sync::Arc;

use bitcoin::secp256k1::PublicKey;
use bitcoin::secp256k1::rand::{RngCore, rngs::StdRng};

use crate::effect::Effect;
use crate::engine::Engine;
use crate::input::{Input, Surroundings};
use crate::keys::Environment;
use crate::node::Policy;

use super::disk::Disk;
use super::user::User;

/// The simulation's time: it stands still, so that nothing expires by itself.
pub const NOW_S: u64 = 1_750_000_000;

/// A node of a world.
#[derive(Clone)]
pub struct SimNode {
    /// One letter: A, B, ...
    pub name: char,
    /// Its keys.
    pub environment: Arc<Environment>,
    /// Its id.
    pub node_id: PublicKey,
    /// Its policy.
    pub policy: Policy,
    /// It, while it lives.
    pub engine: Option<Engine>,
    /// The effect to be carried out next. A crash now is a crash before it.
    pub pending: Option<Effect>,
    /// What it has written.
    pub disk: Disk,
    /// Its user.
    pub user: User,
    /// Its records of own payments were lost once: it may not know of some.
    pub has_lost_payments: bool,
    /// It has cheated, and nobody sees it again.
    pub is_gone: bool,
    /// Counted from 0.
    pub life: u32,
    /// Height up to which it has been given blocks in this life.
    pub seen_height: u32,
    /// Height from which it is given blocks again after a crash: all that followed from those up to
    /// here is durable.
    pub settled_height: u32,
}

impl SimNode {
    /// Gives an input, and gets the next effect ready.
    pub fn input(&mut self, input: Input, dice: &mut StdRng) {
        if let Some(engine) = &mut self.engine {
            engine.input(input);
        }
        self.refill(dice);
    }

    /// Gets the next effect ready if none is.
    pub fn refill(&mut self, dice: &mut StdRng) {
        let Some(engine) = &mut self.engine else {
            return;
        };
        if self.pending.is_none() {
            self.pending = engine.next(&mut || surroundings(dice));
        }
        if self.pending.is_none() && engine.is_quiet() {
            self.settled_height = self.seen_height;
        }
    }

    /// Whether it lives and has nothing to do by itself.
    pub fn is_quiet(&self) -> bool {
        let Some(engine) = &self.engine else {
            return false;
        };
        self.pending.is_none() && engine.is_quiet() && !self.user.has_mail()
    }
}

/// Random bytes and the time.
pub fn surroundings(dice: &mut StdRng) -> Surroundings {
    let mut entropy = [0; 32];
    dice.fill_bytes(&mut entropy);
    Surroundings {
        entropy,
        now_s: NOW_S,
    }
}
