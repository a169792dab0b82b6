//! Simulated worlds: nodes, disks, links and a chain in memory, forked at crash points, run to rest, and
//! judged. The same core as in a real process, without the process: hundreds of thousands of crashes an hour.
//!
//! Owns everything around the core that a real process and the rig would be. Never decides anything that
//! the core decides.

pub mod campaign;
mod carry;
pub mod chain;
pub mod crash;
pub mod disk;
mod ending;
#[cfg(test)]
mod ending_tests;
pub mod explore;
pub mod fault;
pub mod flow;
pub mod flows;
pub mod hostile;
pub mod judge;
pub mod link;
pub mod names;
pub mod node;
pub mod plan;
#[cfg(test)]
mod property_tests;
pub mod schedule;
pub mod script;
pub mod setup;
mod storm;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod user;
pub mod world;
