//! The folder of a run under `logs/`: what is written while a run goes, and how it is found and read
//! again. Owns the file formats (`logs/README.md` documents them); never judges and never runs.

mod error;
mod evidence_file;
mod folder;
mod index;
mod locate;
mod plan_file;
mod record;

pub use error::StoreError;
pub use evidence_file::{load_evidence, save_evidence};
pub use folder::{CaseFolder, RunFolder};
pub use index::{ListedRun, list_runs};
pub use locate::{Located, PlanPlace, locate};
pub use plan_file::{PLAN_VERSION, read_plan, write_plan};
pub use record::{
    CaseRecord, FindingRecord, PairClassRecord, PairRecord, PairsRecord, PinRecord,
    PointClassRecord, PointsRecord, RUN_VERSION, RaceClassRecord, RaceRecord, RacesRecord,
    RunRecord, SummaryRecord, VerdictRecord,
};
