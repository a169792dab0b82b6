//! Why a command did not do what it was asked.

use super::exit::{EXIT_RIG_FAULT, EXIT_SET_UP, EXIT_USAGE};
use crate::explore::ExploreError;
use crate::report::ReportError;
use crate::run_store::StoreError;
use crate::scenario::{LibraryError, OverrideError, ScenarioErrors};
use faults::FaultPlanError;

/// A command's error; each tells what to do.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The command line asks for something that is not there or makes no sense.
    #[error("{0}")]
    Usage(String),
    /// No such scenario.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// A scenario file is wrong.
    #[error(transparent)]
    Scenario(#[from] ScenarioErrors),
    /// `--kind` or `--persist` is wrong.
    #[error(transparent)]
    Override(#[from] OverrideError),
    /// A fault cannot be carried out.
    #[error(transparent)]
    Fault(#[from] FaultPlanError),
    /// The choice of points is wrong, or they cannot be saved.
    #[error(transparent)]
    Explore(#[from] ExploreError),
    /// A saved run cannot be found, read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A report cannot be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// bitcoind or electrs is not there.
    #[error("{0}")]
    SetUp(String),
    /// The rig cannot work here.
    #[error("{0}")]
    Rig(String),
    /// The user stopped it before the first case.
    #[error("interrupted before the first case began")]
    Interrupted,
}

impl CommandError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            CommandError::SetUp(_) => EXIT_SET_UP,
            CommandError::Rig(_) | CommandError::Report(_) | CommandError::Interrupted => {
                EXIT_RIG_FAULT
            }
            CommandError::Store(error) | CommandError::Explore(ExploreError::Store(error)) => {
                store_code(error)
            }
            CommandError::Usage(_)
            | CommandError::Library(_)
            | CommandError::Scenario(_)
            | CommandError::Override(_)
            | CommandError::Fault(_)
            | CommandError::Explore(_) => EXIT_USAGE,
        }
    }
}

fn store_code(error: &StoreError) -> u8 {
    match error {
        StoreError::Io { .. } => EXIT_RIG_FAULT,
        StoreError::Malformed { .. }
        | StoreError::LaterVersion { .. }
        | StoreError::BadPlan { .. }
        | StoreError::NotFound { .. }
        | StoreError::Ambiguous { .. }
        | StoreError::NoEvidence(_) => EXIT_USAGE,
    }
}
