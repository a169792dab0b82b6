//! The rig: starts, kills, restarts and judges Lightning nodes on a real chain.
//!
//! Data flows one way: scenario → plan → processes → trace → verdict → report.

pub mod chain;
pub mod cli;
pub mod evidence;
pub mod explore;
pub mod oracle;
pub mod report;
pub mod run_store;
pub mod scenario;
pub mod setup;
pub mod world;
