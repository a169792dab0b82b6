//! The `deadbolt` executable: the rig, and every node program.

use std::process::ExitCode;

use rig::cli::{self, NodeMains, RealEnvironment};

fn main() -> ExitCode {
    let nodes = NodeMains {
        stock: node_bin::stock::main,
        unified: node_bin::unified::main,
    };
    cli::main(nodes, RealEnvironment::here())
}
