//! What a command needs of the world outside: scenario files, real parts, something that runs cases,
//! judges. The real one starts processes; tests have their own.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::CommandError;
use crate::explore::{Judge, RunCase};
use crate::scenario::Scenario;

/// A scenario for `deadbolt list scenarios`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedScenario {
    /// Its name.
    pub name: String,
    /// What it shows, or what is wrong with its file.
    pub about: String,
}

/// Everything cases run on, started.
pub struct Bench<R> {
    /// Runs a case.
    pub runner: Arc<R>,
    /// The parts, with version and origin.
    pub parts: BTreeMap<String, String>,
    /// Where running cases keep their files.
    pub scratch: Option<PathBuf>,
}

/// The world outside.
pub trait Environment: Send + Sync {
    /// Runs a case.
    type Runner: RunCase;

    /// Where runs are saved unless the command line says otherwise.
    fn default_logs(&self) -> PathBuf;

    /// Reads and checks a scenario.
    ///
    /// # Errors
    /// It is not there, or is wrong.
    fn scenario(&self, name: &str) -> Result<Scenario, CommandError>;

    /// All scenarios.
    ///
    /// # Errors
    /// Their folder cannot be read.
    fn scenarios(&self) -> Result<Vec<ListedScenario>, CommandError>;

    /// Finds or builds the parts and starts what `workers` cases at once need.
    fn start(
        &self,
        workers: usize,
    ) -> impl Future<Output = Result<Bench<Self::Runner>, CommandError>> + Send;

    /// The oracles.
    fn judge(&self) -> Judge;

    /// Finds or builds the parts and says which they are.
    fn setup(&self) -> impl Future<Output = Result<String, CommandError>> + Send;

    /// What is there, and the exit code that says whether it is all.
    fn doctor(&self) -> impl Future<Output = Result<(String, u8), CommandError>> + Send;
}
