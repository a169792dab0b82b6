//! The real chain under a rig worker: one bitcoind and one electrs on regtest, the rig's own
//! coins, mining, reorgs, and the evidence read back from both. It never interprets a Lightning
//! transaction and never imports channel code: it hands out blocks and histories, oracles judge.
//!
//! - [`ChainPair`]: the two processes and everything that can be asked of them.
//! - [`ChainPool`]: pairs leased to cases, replaced before their chain gets old.

mod coins;
mod electrum;
mod error;
mod owner;
mod pair;
mod pool;
mod rpc;
mod scratch;
mod tether;

#[cfg(test)]
mod real_tests;

pub use error::{ChainError, ProcessName};
pub use pair::{ChainPair, Tip};
pub use pool::{ChainPool, Lease, PoolLimits};
