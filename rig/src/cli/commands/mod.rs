//! One file a command. Each takes the command line and the world outside, prints, and says how it
//! ended.

mod compare;
mod earlier;
mod explore;
mod judge;
mod list;
mod replay;
mod run;

use std::path::PathBuf;

use super::args::{Arguments, Command};
use super::console::Console;
use super::environment::Environment;
use super::error::CommandError;
use super::exit::EXIT_PASS;
use crate::explore::Interrupt;
use crate::run_store::SummaryRecord;
use crate::scenario::Scenario;

/// What every command has at hand.
pub(super) struct Context<'a, E> {
    pub arguments: &'a Arguments,
    pub environment: &'a E,
    pub console: &'a Console,
    pub interrupt: Interrupt,
    pub logs: PathBuf,
    pub workers: usize,
    pub command_line: Vec<String>,
}

/// Two cases for each core: a case waits for disks and sockets about as often as it computes
/// (measured in `DESIGN.md`).
fn default_workers() -> usize {
    2 * std::thread::available_parallelism().map_or(1, usize::from)
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ended {
    pub summary: SummaryRecord,
    pub exit_code: u8,
}

impl Ended {
    /// Of a command that ran no case.
    pub fn without_cases(exit_code: u8) -> Ended {
        Ended {
            summary: SummaryRecord::default(),
            exit_code,
        }
    }
}

impl<'a, E: Environment> Context<'a, E> {
    pub fn new(
        arguments: &'a Arguments,
        environment: &'a E,
        console: &'a Console,
        interrupt: Interrupt,
    ) -> Self {
        Context {
            arguments,
            environment,
            console,
            interrupt,
            logs: arguments
                .logs
                .clone()
                .unwrap_or_else(|| environment.default_logs()),
            workers: arguments.workers.map_or_else(default_workers, usize::from),
            command_line: std::env::args().skip(1).collect(),
        }
    }

    /// What a printed command needs so that it finds this one's runs.
    pub fn command_options(&self) -> String {
        match &self.arguments.logs {
            Some(logs) => format!(" --logs {}", logs.display()),
            None => String::new(),
        }
    }

    /// The scenario, with its nodes set as the command line says.
    fn scenario(&self, name: &str) -> Result<Scenario, CommandError> {
        self.set(self.environment.scenario(name)?)
    }

    /// The scenario of this name, or all of the folder of this name.
    fn family(&self, name: &str) -> Result<Vec<Scenario>, CommandError> {
        let scenarios = self.environment.family(name)?;
        scenarios.into_iter().map(|one| self.set(one)).collect()
    }

    fn set(&self, mut scenario: Scenario) -> Result<Scenario, CommandError> {
        scenario.set(&self.arguments.kinds)?;
        scenario.set(&self.arguments.persists)?;
        Ok(scenario)
    }
}

/// Does what the command line asks.
pub(super) async fn execute<E: Environment>(
    context: &Context<'_, E>,
) -> Result<Ended, CommandError> {
    match &context.arguments.command {
        Command::Setup => {
            let parts = tokio::select! {
                parts = context.environment.parts() => parts?,
                () = context.interrupt.wait() => return Err(CommandError::Interrupted),
            };
            for (name, what) in context.environment.describe(&parts) {
                context.console.say(&format!("{name}: {what}"));
            }
            Ok(Ended::without_cases(EXIT_PASS))
        }
        Command::Doctor => {
            let json = context.console.is_json();
            let (said, exit_code) = context.environment.doctor(json).await?;
            context.console.print(&said);
            Ok(Ended::without_cases(exit_code))
        }
        Command::List { what } => list::list(context, *what),
        Command::Run(arguments) => run::run(context, arguments).await,
        Command::Explore(arguments) => explore::explore(context, arguments).await,
        Command::Compare(arguments) => compare::run(context, arguments).await,
        Command::Replay(arguments) => replay::replay(context, arguments).await,
        Command::Judge { target } => judge::judge(context, target),
        // `cli::main` has taken it before anything was started.
        Command::Node { .. } => Ok(Ended::without_cases(EXIT_PASS)),
    }
}
