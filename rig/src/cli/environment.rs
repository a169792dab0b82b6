//! What a command needs of the world outside: scenario files, real parts, something that runs cases,
//! judges. The real one starts processes; tests have their own.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
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
}

/// The world outside.
pub trait Environment: Send + Sync {
    /// Runs a case.
    type Runner: RunCase;
    /// bitcoind and electrs, found.
    type Parts: Send;

    /// Where runs are saved unless the command line says otherwise.
    fn default_logs(&self) -> PathBuf;

    /// Reads and checks a scenario.
    ///
    /// # Errors
    /// It is not there, or is wrong.
    fn scenario(&self, name: &str) -> Result<Scenario, CommandError>;

    /// The scenarios of this name: one, or all of a folder.
    ///
    /// # Errors
    /// None is there, or one is wrong.
    fn family(&self, name: &str) -> Result<Vec<Scenario>, CommandError> {
        Ok(vec![self.scenario(name)?])
    }

    /// All scenarios.
    ///
    /// # Errors
    /// Their folder cannot be read.
    fn scenarios(&self) -> Result<Vec<ListedScenario>, CommandError>;

    /// Finds the parts, or builds them.
    ///
    /// # Errors
    /// They are missing and cannot be built.
    fn parts(&self) -> impl Future<Output = Result<Self::Parts, CommandError>> + Send;

    /// Each part with its version and origin.
    fn describe(&self, parts: &Self::Parts) -> BTreeMap<String, String>;

    /// Starts what `workers` cases at once need; the parts log into the run's folder.
    ///
    /// # Errors
    /// The machine refuses.
    fn start(
        &self,
        parts: Self::Parts,
        workers: usize,
        run: &Path,
    ) -> Result<Bench<Self::Runner>, CommandError>;

    /// The oracles.
    fn judge(&self) -> Judge;

    /// What is there, and the exit code that says whether it is all.
    fn doctor(&self, json: bool)
    -> impl Future<Output = Result<(String, u8), CommandError>> + Send;
}
