//! The `deadbolt` command: reads the command line, starts what it asks for, prints, and ends with a
//! documented exit code. Owns nothing else: exploring, saving and reporting are modules of their own.

mod args;
mod commands;
mod console;
mod environment;
mod error;
mod exit;
mod progress;
mod real;
mod rig_log;
mod session;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::explore::{Interrupt, Interrupter};
use args::{Arguments, Command, NodeProgram};
use commands::{Context, Ended, execute};
use console::Console;

pub use environment::{Bench, Environment, ListedScenario};
pub use error::CommandError;
pub use exit::{
    EXIT_FAIL, EXIT_INTERRUPTED, EXIT_NOT_RUN, EXIT_PASS, EXIT_RIG_FAULT, EXIT_SET_UP, EXIT_USAGE,
};
pub use real::RealEnvironment;

/// The node programs that this executable is besides: `deadbolt node stock CONFIG`.
///
/// One executable is both rig and nodes, so that `cargo rig` builds all there is to run, and a rig
/// can never start nodes of another build than its own.
#[derive(Clone, Copy, Debug)]
pub struct NodeMains {
    /// Unmodified LDK; takes the path of the configuration.
    pub stock: fn(&Path) -> ExitCode,
    /// Our own node.
    pub unified: fn(&Path) -> ExitCode,
}

/// Runs the command line of this process.
pub fn main<E: Environment>(nodes: NodeMains, environment: E) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing can be done about a terminal that does not take the message.
            let _ = error.print();
            let code = if error.use_stderr() {
                EXIT_USAGE
            } else {
                EXIT_PASS
            };
            return ExitCode::from(code);
        }
    };
    // A node runs on a runtime of its own making, on this very thread.
    if let Command::Node { program, config } = &arguments.command {
        return match program {
            NodeProgram::Stock => (nodes.stock)(config),
            NodeProgram::Unified => (nodes.unified)(config),
        };
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads can be started: {error}; free some and try again");
            return ExitCode::from(EXIT_RIG_FAULT);
        }
    };
    rig_log::install();
    let console = Console::standard(arguments.json);
    let code = runtime.block_on(async {
        let (interrupter, interrupt) = Interrupter::new();
        tokio::spawn(listen_for_interrupts(interrupter));
        command(&arguments, &environment, &console, interrupt).await
    });
    // A set-up that was interrupted may still sit in a thread that blocks.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// Runs one command and ends it with its JSON line if asked to.
async fn command<E: Environment>(
    arguments: &Arguments,
    environment: &E,
    console: &Console,
    interrupt: Interrupt,
) -> u8 {
    let context = Context::new(arguments, environment, console, interrupt.clone());
    let ended = match execute(&context).await {
        Ok(ended) => ended,
        Err(error) => {
            console.complain(&error);
            Ended::without_cases(error.exit_code())
        }
    };
    console.end(&ended.summary);
    if interrupt.is_set() {
        EXIT_INTERRUPTED
    } else {
        ended.exit_code
    }
}

/// The first Ctrl-C (or SIGTERM) asks for an orderly end, the second ends at once; either way the
/// nodes die with this process.
async fn listen_for_interrupts(interrupter: Interrupter) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupts), Ok(mut terminations)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    let mut asked = false;
    loop {
        tokio::select! {
            _ = interrupts.recv() => {}
            _ = terminations.recv() => {}
        }
        if asked {
            std::process::exit(i32::from(EXIT_INTERRUPTED));
        }
        asked = true;
        eprintln!("interrupted: ending the running cases; once more ends at once");
        interrupter.interrupt();
    }
}
