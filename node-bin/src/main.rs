//! `deadbolt-node stock CONFIG`, `deadbolt-node unified CONFIG`: a node program by itself, without the rig.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A node program of deadbolt. CONTROL.md tells how it is configured and commanded.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Subcommand)]
enum Kind {
    /// Unmodified LDK.
    Stock {
        /// The configuration, a JSON file.
        config: PathBuf,
    },
    /// Deadbolt's own node.
    Unified {
        /// The configuration, a JSON file.
        config: PathBuf,
    },
    /// Print a record of a unified node as JSON.
    Dump {
        /// A file of its store.
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().kind {
        Kind::Stock { config } => node_bin::stock::main(&config),
        Kind::Unified { config } => node_bin::unified::main(&config),
        Kind::Dump { file } => node_bin::unified::dump(&file),
    }
}
