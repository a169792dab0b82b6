//! One exploration: dry run, points, classes, the cases chosen from them, and second kills.

use faults::catalogue::family_of;
use faults::{Action, Fault, NodePoint};
use wildmatch::WildMatch;

use super::campaign::{Campaign, PlannedCase, Ran};
use super::classes::{PointClass, case_id_of};
use super::dry_runs::{MOST_DRY_RUNS, agree, classes_of_all};
use super::pairs::{PointPair, drawn, pairs_of, recovery_points};
use super::partition::Partition;
use super::points::{ReachedPoint, points_of};
use super::runner::RunCase;
use crate::evidence::Verdict;
use crate::run_store::{
    CaseRecord, PLAN_VERSION, PairClassRecord, PairRecord, PairsRecord, PointClassRecord,
    PointsRecord, StoreError,
};
use crate::scenario::{Plan, Scenario};

/// Name of the dry run's case.
pub const DRY_RUN: &str = "dry-run";

/// How often a case is run until it reaches its points.
const ATTEMPTS: u32 = 5;

/// What happens at the points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ExploreFault {
    /// A SIGKILL.
    #[default]
    Kill,
    /// The connection is dropped; at the points of messages only.
    Disconnect,
}

/// How many kills of a node a case has at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Depth {
    /// One.
    #[default]
    #[value(name = "1")]
    One,
    /// Another one while the node comes back.
    #[value(name = "2")]
    Two,
}

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
    /// This share of the cases only, and of second kills those that follow them.
    pub partition: Option<Partition>,
    /// What happens at the points.
    pub fault: ExploreFault,
    /// Whether nodes are killed a second time.
    pub depth: Depth,
    /// No more cases with a second kill than this.
    pub budget: Option<usize>,
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
    /// A second kill where there is no first.
    #[error("`--depth 2` kills a node that was killed before: leave out `--fault disconnect`")]
    NoSecondDisconnect,
    /// A bound of what is not done.
    #[error("`--budget` bounds second kills: add `--depth 2`, or use `--limit`")]
    BudgetWithoutDepth,
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
    /// The pairs of kills, if second ones were asked for.
    pub pairs: Option<PairsRecord>,
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
        let mut explored = Explored {
            dry_run: None,
            points: PointsRecord::default(),
            pairs: None,
            ran: Ran::default(),
        };
        let Some(judged) = campaign.run_one(self.dry_run(DRY_RUN)).await else {
            explored.ran.interrupted = true;
            return Ok(explored);
        };
        let passed = judged.record.verdict == Verdict::Pass;
        explored.dry_run = Some(judged.record);
        let reached = judged.evidence.as_ref().map(points_of).unwrap_or_default();
        let mut runs = vec![reached.clone()];
        let mut more = Ran::default();
        if passed && !reached.is_empty() {
            more = self.more_dry_runs(campaign, &mut runs).await;
        }
        let classes = self.with_fault(classes_of_all(&runs, self.options.every_point));
        let fitting = self.fitting(&classes);
        let chosen = self.choose(&fitting);
        explored.points = record_points(&classes, &chosen);
        campaign.folder.save_points(&explored.points)?;
        // A scenario that goes wrong by itself tells nothing about crashes.
        if !passed || more.interrupted || !more.records.is_empty() {
            explored.ran = more;
            return Ok(explored);
        }
        // An empty share, or a limit of none, is what was asked for; a choice that fits nothing is not.
        if fitting.is_empty() && !reached.is_empty() {
            return Err(ExploreError::NothingChosen {
                reached: reached.len(),
            });
        }
        let cases = chosen.iter().map(|class| self.case(class)).collect();
        match self.options.depth {
            Depth::One => explored.ran = campaign.run_all(cases).await,
            Depth::Two => {
                let (ran, recoveries) = campaign.run_all_reading(cases, recovery_points).await;
                explored.ran = ran;
                let covered = |case_id: &str| {
                    let mut records = explored.ran.records.iter();
                    records.any(|record| record.case_id == case_id && record.covers())
                };
                let first_kills: Vec<(PointClass, Vec<ReachedPoint>)> = chosen
                    .iter()
                    .filter(|class| covered(&class.case_id))
                    .filter_map(|class| {
                        let recovery = recoveries.get(&class.case_id)?;
                        Some(((*class).clone(), recovery.clone()))
                    })
                    .collect();
                self.second_kills(campaign, &mut explored, &first_kills)
                    .await?;
            }
        }
        Ok(explored)
    }

    fn dry_run(&self, case_id: &str) -> PlannedCase {
        PlannedCase {
            case_id: case_id.to_owned(),
            plan: self.plan(case_id, Vec::new()),
            points: Vec::new(),
            pin: None,
            pair: None,
            attempts: 1,
            varies: false,
        }
    }

    /// A second dry run, and if it does not pass the points of the first, more of them. What is returned holds
    /// those that did not go well.
    async fn more_dry_runs<R: RunCase>(
        &self,
        campaign: &Campaign<R>,
        runs: &mut Vec<Vec<ReachedPoint>>,
    ) -> Ran {
        let mut ended = Ran::default();
        for numbers in [2..=2, 3..=MOST_DRY_RUNS] {
            if runs.len() > 1 && runs.iter().all(|run| agree(run, &runs[0])) {
                break;
            }
            let cases = numbers.map(|number| self.dry_run(&format!("{DRY_RUN}-{number}")));
            let (ran, reached) = campaign.run_all_reading(cases.collect(), points_of).await;
            runs.extend(reached.into_values());
            let went_wrong = |record: &CaseRecord| record.verdict != Verdict::Pass;
            ended
                .records
                .extend(ran.records.into_iter().filter(went_wrong));
            ended.interrupted |= ran.interrupted;
        }
        ended
    }

    /// Draws pairs, and runs a case for each.
    async fn second_kills<R: RunCase>(
        &self,
        campaign: &Campaign<R>,
        explored: &mut Explored,
        first_kills: &[(PointClass, Vec<ReachedPoint>)],
    ) -> Result<(), ExploreError> {
        let pairs = drawn(pairs_of(first_kills, self.options.every_point), self.seed);
        let budget = self.options.budget.unwrap_or(usize::MAX);
        let record = record_pairs(&pairs, budget);
        campaign.folder.save_pairs(&record)?;
        explored.pairs = Some(record);
        if explored.ran.interrupted {
            return Ok(());
        }
        let cases = pairs.iter().take(budget).map(|pair| self.pair_case(pair));
        let second = campaign.run_all(cases.collect()).await;
        explored.ran.records.extend(second.records);
        explored.ran.interrupted |= second.interrupted;
        Ok(())
    }

    /// Checks what can be checked before anything is started.
    ///
    /// # Errors
    /// The chosen node is not in the scenario, or the options do not go together.
    pub fn check(&self) -> Result<(), ExploreError> {
        let options = &self.options;
        match (options.depth, options.fault, options.budget) {
            (Depth::Two, ExploreFault::Disconnect, _) => {
                return Err(ExploreError::NoSecondDisconnect);
            }
            (Depth::One, _, Some(_)) => return Err(ExploreError::BudgetWithoutDepth),
            _ => {}
        }
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

    /// The classes with the points at which the fault can happen.
    fn with_fault(&self, mut classes: Vec<PointClass>) -> Vec<PointClass> {
        if self.options.fault == ExploreFault::Disconnect {
            let is_send =
                |at: &NodePoint| family_of(&at.point.name).is_some_and(|family| family.is_send());
            for class in &mut classes {
                class.points.retain(is_send);
            }
            classes.retain(|class| !class.points.is_empty());
            for class in &mut classes {
                class.case_id = case_id_of(class.representative());
            }
        }
        classes
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
        let fault = Fault {
            action: match self.options.fault {
                ExploreFault::Kill => Action::Kill,
                ExploreFault::Disconnect => Action::Disconnect,
            },
            ..Fault::kill(class.representative().clone())
        };
        PlannedCase {
            case_id: class.case_id.clone(),
            plan: self.plan(&class.case_id, vec![fault]),
            points: class.points.clone(),
            pin: None,
            pair: None,
            attempts: ATTEMPTS,
            varies: class.varies,
        }
    }

    fn pair_case(&self, pair: &PointPair) -> PlannedCase {
        let kills = vec![
            Fault::kill(pair.first.clone()),
            Fault {
                life: 1,
                // A class has at least one point.
                ..Fault::kill(pair.second[0].clone())
            },
        ];
        PlannedCase {
            case_id: pair.case_id.clone(),
            plan: self.plan(&pair.case_id, kills),
            points: Vec::new(),
            pin: None,
            pair: Some(record_pair(pair)),
            attempts: ATTEMPTS,
            varies: false,
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

fn record_pair(pair: &PointPair) -> PairRecord {
    PairRecord {
        first: pair.first.clone(),
        second: pair.second.clone(),
    }
}

fn record_pairs(pairs: &[PointPair], budget: usize) -> PairsRecord {
    let record = |(place, pair): (usize, &PointPair)| PairClassRecord {
        case_id: pair.case_id.clone(),
        pair: record_pair(pair),
        selected: place < budget,
    };
    PairsRecord {
        pairs: pairs.iter().enumerate().map(record).collect(),
    }
}

fn record_points(classes: &[PointClass], chosen: &[&PointClass]) -> PointsRecord {
    let of = |varies: bool| {
        let classes = classes.iter().filter(|class| class.varies == varies);
        let points = classes.flat_map(|class| class.points.iter().cloned());
        let mut points: Vec<NodePoint> = points.collect();
        points.sort_unstable();
        points
    };
    PointsRecord {
        points: of(false),
        varying: of(true),
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
