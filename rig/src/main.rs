//! The `deadbolt` executable: the rig, and every node program.

use std::path::Path;
use std::process::ExitCode;

use rig::cli::{self, NodeMains, RealEnvironment};

fn main() -> ExitCode {
    let nodes = NodeMains {
        stock: node_bin::stock::main,
        unified: not_in_this_build,
    };
    cli::main(nodes, RealEnvironment::here())
}

fn not_in_this_build(config: &Path) -> ExitCode {
    eprintln!(
        "error: this build has no such node program; {} is not started",
        config.display()
    );
    ExitCode::from(cli::EXIT_USAGE)
}
