//! The real world outside: scenario files of the repository, bitcoind and electrs, worlds of real
//! processes, all oracles.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::environment::{Bench, Environment, ListedScenario};
use super::error::CommandError;
use crate::chain::ChainPool;
use crate::explore::{CaseOutcome, CaseScratch, Judge, NoScratch, RunCase};
use crate::scenario::{Entry, Plan, Scenario, find, find_all, library, load};
use crate::setup::{self, Part, Parts};
use crate::world::{self, CaseRunner, NodePrograms};

/// Everything as it is on this machine.
#[derive(Clone, Debug)]
pub struct RealEnvironment {
    root: PathBuf,
}

impl RealEnvironment {
    /// The repository that the working folder is in; elsewhere the one this was built from.
    pub fn here() -> Self {
        let built_from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .unwrap_or(Path::new("."));
        let root = std::env::current_dir()
            .ok()
            .and_then(|folder| {
                folder
                    .ancestors()
                    .find(|above| above.join("scenarios").is_dir())
                    .map(Path::to_owned)
            })
            .unwrap_or_else(|| built_from.to_owned());
        RealEnvironment { root }
    }
}

impl Environment for RealEnvironment {
    type Runner = CaseRunner;
    type Parts = Parts;

    fn default_logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    fn scenario(&self, name: &str) -> Result<Scenario, CommandError> {
        let entry = find(&self.root, name)?;
        Ok(load(&entry.path, &self.root)?)
    }

    fn family(&self, name: &str) -> Result<Vec<Scenario>, CommandError> {
        let entries = find_all(&self.root, name)?;
        let load = |entry: &Entry| Ok(load(&entry.path, &self.root)?);
        entries.iter().map(load).collect()
    }

    fn scenarios(&self) -> Result<Vec<ListedScenario>, CommandError> {
        let describe = |entry: Entry| ListedScenario {
            about: match load(&entry.path, &self.root) {
                Ok(scenario) => scenario.about,
                Err(errors) => format!("cannot be run: {errors}"),
            },
            name: entry.name,
        };
        Ok(library(&self.root)?.into_iter().map(describe).collect())
    }

    async fn parts(&self) -> Result<Parts, CommandError> {
        tokio::task::spawn_blocking(|| setup::ensure(&*setup::progress_on_stderr()))
            .await
            .map_err(|error| CommandError::Rig(format!("the set-up broke off: {error}")))?
            .map_err(|error| CommandError::SetUp(error.to_string()))
    }

    fn describe(&self, parts: &Parts) -> BTreeMap<String, String> {
        let describe = |part: &Part| {
            format!(
                "{} ({:?}, {})",
                part.version,
                part.origin,
                part.path.display()
            )
        };
        BTreeMap::from([
            ("bitcoind".to_owned(), describe(&parts.bitcoind)),
            ("electrs".to_owned(), describe(&parts.electrs)),
        ])
    }

    fn start(
        &self,
        parts: Parts,
        workers: usize,
        run: &Path,
    ) -> Result<Bench<Self::Runner>, CommandError> {
        let programs =
            NodePrograms::built_in().map_err(|fault| CommandError::Rig(fault.to_string()))?;
        let pool = ChainPool::new(
            &parts.bitcoind.path,
            &parts.electrs.path,
            workers,
            &run.join("chains"),
        );
        Ok(Bench {
            runner: Arc::new(CaseRunner::new(pool, programs)),
        })
    }

    fn judge(&self) -> Judge {
        Arc::new(crate::oracle::judge_all)
    }

    async fn doctor(&self, json: bool) -> Result<(String, u8), CommandError> {
        let report = tokio::task::spawn_blocking(move || setup::doctor(json))
            .await
            .map_err(|error| CommandError::Rig(format!("the doctor broke off: {error}")))?;
        Ok((report.text, report.exit_code))
    }
}

impl RunCase for CaseRunner {
    async fn run(&self, plan: &Plan) -> CaseOutcome {
        let outcome = CaseRunner::run(self, plan).await;
        CaseOutcome {
            evidence: outcome.evidence,
            rig_fault: outcome.rig_fault.map(|fault| fault.to_string()),
            phase_us: outcome.phase_us,
            scratch: match outcome.scratch {
                Some(scratch) => Box::new(KeptScratch(scratch)),
                None => Box::new(NoScratch),
            },
        }
    }
}

struct KeptScratch(Arc<world::CaseScratch>);

impl CaseScratch for KeptScratch {
    fn keep(&self, folder: &Path) -> std::io::Result<()> {
        self.0.keep(folder)
    }
}
