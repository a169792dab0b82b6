//! The unified node: deadbolt's own Lightning node as a process of its own, driven by the rig.
//!
//! `node-core` decides; this module gives it files, sockets, coins, routes and blocks, and puts a crash
//! point before and after everything that the core wants done. It knows no rule of the protocol.

use std::path::Path;
use std::process::ExitCode;

use crate::shared::basis;

mod blocks;
mod commands;
mod dice;
mod dump;
mod electrs;
mod events;
mod executor;
mod invoices;
mod messages;
mod node;
mod records;
pub mod requests;
mod routing;
mod start;
mod store;
mod views;
mod writes;

/// Runs the node that the configuration file describes until it is told to stop.
pub fn main(config_path: &Path) -> ExitCode {
    basis::main(config_path, start::start)
}

/// Prints a stored record as JSON.
pub fn dump(file: &Path) -> ExitCode {
    dump::main(file)
}
