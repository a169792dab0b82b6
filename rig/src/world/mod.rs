//! One case is one fresh world: nodes, coins and channels from nothing, the scenario's steps, the
//! plan's faults, recovery, rest, and the evidence of it all. Starts and kills processes; never
//! judges, and never knows a node's code but for the API.
//!
//! - [`CaseRunner`]: from a plan to a [`CaseOutcome`].
//! - [`NodePrograms`]: which programs are the nodes.
//! - [`RigFault`]: what can go wrong with the rig itself.
//!
//! A case is played by a stage (`stage`): the recorder writes down all that happens and wakes
//! those who wait for it; a supervisor per process carries the faults out; the phases (`set_up`,
//! `act`, `recover`, `settle`, `collect`) only ask, wait and mine.

mod act;
mod bounds;
mod chain_access;
mod closer;
mod collect;
mod completer;
mod control;
mod cutter;
mod live;
mod node_handle;
mod opening;
mod payments;
mod quiet;
mod recorder;
mod recover;
mod rig_fault;
mod runner;
mod scratch;
mod set_up;
mod settle;
mod spawner;
mod stage;
mod supervisor;

#[cfg(test)]
mod fake_node;
#[cfg(test)]
mod tests;

pub use bounds::Bounds;
pub use node_handle::NodePrograms;
pub use payments::{FINAL_CLTV_DELTA, FORWARD_CLTV_DELTA, FORWARD_FEE_MSAT};
pub use rig_fault::RigFault;
pub use runner::{CaseOutcome, CaseRunner};
pub use scratch::CaseScratch;
