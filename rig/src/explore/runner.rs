//! What a campaign needs of whatever runs a case: a plan goes in, evidence comes out.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::Path;

use crate::evidence::{Evidence, Phase};
use crate::scenario::Plan;

/// Which cases keep their evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Keep {
    /// Every case.
    All,
    /// All that did not pass.
    #[default]
    Failures,
}

/// Runs one case in a fresh world. Dropping the future ends the case and all its processes.
pub trait RunCase: Send + Sync + 'static {
    /// Runs it to its end. Whatever goes wrong with the rig is in the outcome.
    fn run(&self, plan: &Plan) -> impl Future<Output = CaseOutcome> + Send;
}

/// What came of running a case, before it is judged.
pub struct CaseOutcome {
    /// The evidence, as far as there is any.
    pub evidence: Option<Evidence>,
    /// What went wrong with the rig, with what to do about it.
    pub rig_fault: Option<String>,
    /// Microseconds by phase.
    pub phase_us: BTreeMap<Phase, u64>,
    /// The case's files: logs and stored state of every node.
    pub scratch: Box<dyn CaseScratch>,
}

/// The files a case made. Dropping it removes them.
pub trait CaseScratch: Send + Sync {
    /// Moves or copies them into the case's folder, which exists and may hold other files.
    ///
    /// # Errors
    /// The file system refuses.
    fn keep(&self, folder: &Path) -> io::Result<()>;
}

/// No files.
pub struct NoScratch;

impl CaseScratch for NoScratch {
    fn keep(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}
