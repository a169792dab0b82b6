//! One exploration: dry run, points, classes, and the cases chosen from them.

use faults::{Fault, NodePoint};
use wildmatch::WildMatch;

use super::campaign::{Campaign, PlannedCase, Ran};
use super::classes::{PointClass, classes_of};
use super::partition::Partition;
use super::points::{ReachedPoint, canonical, points_of};
use super::runner::RunCase;
use crate::evidence::Verdict;
use crate::run_store::{CaseRecord, PLAN_VERSION, PointClassRecord, PointsRecord, StoreError};
use crate::scenario::{Plan, Scenario};

/// Name of the dry run's case.
pub const DRY_RUN: &str = "dry-run";

/// Which of the points to explore, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExploreOptions {
    /// Every point is a case of its own.
    pub every_point: bool,
    /// Points of this node only.
    pub node: Option<String>,
    /// Points that fit this pattern only: `*` and `?`, against the name or against `name[role]@hit`.
    pub point: Option<String>,
    /// No more cases than this.
    pub limit: Option<usize>,
    /// This share of the cases only.
    pub partition: Option<Partition>,
}

/// Why nothing was explored, or not all.
#[derive(Debug, thiserror::Error)]
pub enum ExploreError {
    /// The chosen node is not in the scenario.
    #[error("the scenario {scenario} has no node {node:?}; it has {}", .known.join(", "))]
    UnknownNode {
        /// The scenario.
        scenario: String,
        /// As given.
        node: String,
        /// Its nodes.
        known: Vec<String>,
    },
    /// The choice is empty though points were reached.
    #[error(
        "none of the {reached} points that the dry run reached is chosen: points.json in the run's \
         folder lists them, `--node` and `--point` choose among them"
    )]
    NothingChosen {
        /// How many there were.
        reached: usize,
    },
    /// Something could not be saved.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an exploration came to.
#[derive(Debug)]
pub struct Explored {
    /// The dry run; `None` if the user stopped it.
    pub dry_run: Option<CaseRecord>,
    /// What the dry run reached.
    pub points: PointsRecord,
    /// The cases.
    pub ran: Ran,
}

/// A scenario and what of it to explore.
pub struct Exploration {
    /// The scenario with every node's kind decided.
    pub scenario: Scenario,
    /// Every case gets it.
    pub seed: u64,
    /// The choice.
    pub options: ExploreOptions,
}

impl Exploration {
    /// Makes the dry run, and unless it fails runs one case per chosen class.
    ///
    /// # Errors
    /// Nothing is chosen, or the points cannot be saved.
    pub async fn run<R: RunCase>(&self, campaign: &Campaign<R>) -> Result<Explored, ExploreError> {
        self.check()?;
        let dry = PlannedCase {
            case_id: DRY_RUN.to_owned(),
            plan: self.plan(DRY_RUN, Vec::new()),
            points: Vec::new(),
            pin: None,
        };
        let mut explored = Explored {
            dry_run: None,
            points: PointsRecord::default(),
            ran: Ran::default(),
        };
        let Some(judged) = campaign.run_one(dry).await else {
            explored.ran.interrupted = true;
            return Ok(explored);
        };
        let passed = judged.record.verdict == Verdict::Pass;
        explored.dry_run = Some(judged.record);
        let reached = judged.evidence.as_ref().map(points_of).unwrap_or_default();
        let classes = classes_of(&reached, self.options.every_point);
        let fitting = self.fitting(&classes);
        let chosen = self.choose(&fitting);
        explored.points = record_points(&reached, &classes, &chosen);
        campaign.folder.save_points(&explored.points)?;
        // A scenario that goes wrong by itself tells nothing about crashes.
        if !passed {
            return Ok(explored);
        }
        // An empty share, or a limit of none, is what was asked for; a choice that fits nothing is not.
        if fitting.is_empty() && !reached.is_empty() {
            return Err(ExploreError::NothingChosen {
                reached: reached.len(),
            });
        }
        let cases = chosen.into_iter().map(|class| self.case(class)).collect();
        explored.ran = campaign.run_all(cases).await;
        Ok(explored)
    }

    /// Checks what can be checked before anything is started.
    ///
    /// # Errors
    /// The chosen node is not in the scenario.
    pub fn check(&self) -> Result<(), ExploreError> {
        match &self.options.node {
            Some(node) if !self.scenario.nodes.contains_key(node) => {
                Err(ExploreError::UnknownNode {
                    scenario: self.scenario.name.clone(),
                    node: node.clone(),
                    known: self.scenario.nodes.keys().cloned().collect(),
                })
            }
            _ => Ok(()),
        }
    }

    /// The classes that the choice of node and point fits.
    fn fitting<'a>(&self, classes: &'a [PointClass]) -> Vec<&'a PointClass> {
        let pattern = self.options.point.as_deref().map(WildMatch::new);
        let fits = |at: &NodePoint| {
            let by_node = self
                .options
                .node
                .as_ref()
                .is_none_or(|node| node == &at.node);
            let by_name = pattern.as_ref().is_none_or(|pattern| {
                pattern.matches(&at.point.name) || pattern.matches(&at.point.to_string())
            });
            by_node && by_name
        };
        classes
            .iter()
            .filter(|class| class.points.iter().any(fits))
            .collect()
    }

    /// Of those, the share and number that were asked for.
    fn choose<'a>(&self, fitting: &[&'a PointClass]) -> Vec<&'a PointClass> {
        fitting
            .iter()
            .enumerate()
            .filter(|(index, _)| {
                let share = self.options.partition;
                share.is_none_or(|share| share.takes(*index))
            })
            .map(|(_, class)| *class)
            .take(self.options.limit.unwrap_or(usize::MAX))
            .collect()
    }

    fn case(&self, class: &PointClass) -> PlannedCase {
        let kill = Fault::kill(class.representative().clone());
        PlannedCase {
            case_id: class.case_id.clone(),
            plan: self.plan(&class.case_id, vec![kill]),
            points: class.points.clone(),
            pin: None,
        }
    }

    /// All cases share the dry run's seed, so that its points are theirs.
    fn plan(&self, case_id: &str, faults: Vec<Fault>) -> Plan {
        Plan {
            version: PLAN_VERSION,
            case_id: case_id.to_owned(),
            seed: self.seed,
            scenario: self.scenario.clone(),
            faults,
        }
    }
}

fn record_points(
    reached: &[ReachedPoint],
    classes: &[PointClass],
    chosen: &[&PointClass],
) -> PointsRecord {
    PointsRecord {
        points: canonical(reached),
        classes: classes
            .iter()
            .map(|class| PointClassRecord {
                case_id: class.case_id.clone(),
                points: class.points.clone(),
                selected: chosen.iter().any(|other| other.case_id == class.case_id),
            })
            .collect(),
    }
}
