//! Oracles. Some look on while a world runs: at every write that becomes durable, every message that is sent,
//! every crash image. The others judge a world that has come to rest. They read records and what users
//! heard, and ask the core nothing.

pub mod alive;
pub mod durable;
pub mod onchain;
pub mod opening;
pub mod payments;
pub mod quiet;
pub mod rest;
pub mod restart;
pub mod sending;
pub mod telling;
#[cfg(test)]
mod tests;

use super::world::World;

/// What a world came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is wrong; empty: nothing.
    pub complaints: Vec<String>,
    /// Payments that ended otherwise than planned: an honest failure where nothing but a crash was
    /// in the way.
    pub ended_otherwise: usize,
}

/// Judges a world at rest, and then sees whether payments go over all its channels.
pub fn judge_alive(world: &mut World) -> Verdict {
    let mut verdict = judge(world);
    if verdict.complaints.is_empty() {
        verdict.complaints = alive::complaints(world);
    }
    verdict
}

/// Judges a world at rest. Restarts all its nodes to see that nothing comes of it.
pub fn judge(world: &mut World) -> Verdict {
    let mut complaints = std::mem::take(&mut world.complaints);
    complaints.extend(rest::complaints(world));
    let (of_payments, ended_otherwise) = payments::complaints(world);
    complaints.extend(of_payments);
    complaints.extend(opening::complaints(world));
    complaints.extend(onchain::complaints(world));
    if complaints.is_empty() {
        complaints.extend(restart::complaints(world));
    }
    Verdict {
        complaints,
        ended_otherwise,
    }
}
