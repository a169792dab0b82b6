//! Explores a scenario: a dry run lists the points its nodes pass, then one fresh world per class of
//! points is killed there and judged. Owns which cases there are and how a campaign of them runs;
//! never how a world works (a `RunCase` does) nor what is right (the oracles do).

mod campaign;
mod classes;
mod compare;
mod dry_runs;
mod exploration;
mod family;
mod interrupt;
mod pairs;
mod partition;
mod points;
mod races;
#[cfg(test)]
mod races_tests;
mod runner;
mod tally;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use campaign::{Campaign, Judge, Judged, PlannedCase, Ran};
pub(crate) use campaign::{judge_evidence, record_of};
pub use classes::{PointClass, case_id_of, classes_of};
pub use compare::{Change, ComparedCase, ComparedRecord, Counts, MatchedBy, compare};
pub use exploration::{DRY_RUN, Depth, Exploration, ExploreError, ExploreFault, ExploreOptions};
pub use family::{Explored, explore_all};
pub use interrupt::{Interrupt, Interrupter};
pub use pairs::{PointPair, recovery_points};
pub use partition::{Partition, PartitionParseError};
pub use points::{ReachedPoint, canonical, points_of, step_began};
pub use races::{RaceClass, race_classes};
pub use runner::{CaseOutcome, CaseScratch, Keep, NoScratch, RunCase};
pub use tally::{Progress, Silent, Tally, Totals};
