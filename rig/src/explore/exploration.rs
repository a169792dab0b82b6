//! One exploration: dry run, points, classes, and the cases chosen from them. Running them is `family`'s.

use faults::catalogue::family_of;
use faults::{Action, Fault, NodePoint};
use wildmatch::WildMatch;

use super::campaign::{Campaign, PlannedCase, Ran};
use super::classes::{PointClass, case_id_of, classes_of, halves};
use super::dry_runs::{LEAST_DRY_RUNS, MOST_DRY_RUNS, agree, classes_of_all, varies_in};
use super::family::{Explored, explore_all};
use super::pairs::PointPair;
use super::partition::Partition;
use super::points::{ReachedPoint, points_of, step_began};
use super::races::{RaceClass, race_classes};
use super::runner::RunCase;
use crate::evidence::{Evidence, Verdict};
use crate::run_store::{CaseRecord, PLAN_VERSION, PairRecord, RaceRecord, StoreError};
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
    /// Channels close as the scenario's `[[race]]` entries say.
    Close,
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
    /// What happens at the points; if nothing is said, closes where the scenario races them, else kills.
    pub fault: Option<ExploreFault>,
    /// Whether nodes are killed a second time.
    pub depth: Depth,
    /// No more cases with a second kill, or with closes, than this.
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
    #[error("`--depth 2` kills a node that was killed before: it goes with `--fault kill` only")]
    NoSecondKill,
    /// Nothing to close.
    #[error(
        "the scenario {0} has no [[race]] that says which channels close: add one, or leave out `--fault close`"
    )]
    NoRace(String),
    /// A bound of what is not done.
    #[error("`--budget` bounds second kills and closes: add `--depth 2`, or use `--limit`")]
    BudgetWithoutDepth,
    /// Something could not be saved.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A scenario and what of it to explore.
pub struct Exploration {
    /// The scenario with every node's kind decided.
    pub scenario: Scenario,
    /// Every case gets it.
    pub seed: u64,
    /// The choice.
    pub options: ExploreOptions,
    /// What the names of its cases begin with, for one of several in the same run; else empty.
    pub prefix: String,
}

/// An exploration after its dry run.
pub(super) struct Begun {
    /// The dry runs.
    pub dry_runs: Vec<CaseRecord>,
    /// All that there is to explore, whether or not it was asked for.
    pub classes: Vec<PointClass>,
    /// The classes that were asked for.
    pub chosen: Vec<PointClass>,
    /// Closes, if those are what happens at the points; only those that were asked for are listed.
    pub races: Vec<RaceClass>,
    /// Whether points were reached and the choice fits none of them.
    pub is_choice_empty: bool,
}

impl Exploration {
    /// Makes the dry run, and unless it fails runs one case per chosen class.
    ///
    /// # Errors
    /// Nothing is chosen, or the points cannot be saved.
    pub async fn run<R: RunCase>(&self, campaign: &Campaign<R>) -> Result<Explored, ExploreError> {
        explore_all(std::slice::from_ref(self), campaign).await
    }

    /// What happens at the points: what was asked for, else closes where the scenario races them.
    pub fn fault(&self) -> ExploreFault {
        let usual = match self.scenario.races.is_empty() {
            true => ExploreFault::Kill,
            false => ExploreFault::Close,
        };
        self.options.fault.unwrap_or(usual)
    }

    /// Makes the dry run and chooses; `None` if the user stopped it.
    pub(super) async fn begin<R: RunCase>(&self, campaign: &Campaign<R>) -> Option<Begun> {
        let judged = campaign.run_one(self.dry_run(DRY_RUN)).await?;
        let reached = judged.evidence.as_ref().map(points_of).unwrap_or_default();
        let mut runs = vec![reached.clone()];
        let mut dry_runs = vec![judged.record];
        if dry_runs[0].verdict == Verdict::Pass {
            let more = self.more_dry_runs(campaign, &mut runs).await;
            dry_runs.extend(more.records);
            if more.interrupted {
                return None;
            }
        }
        let passed = dry_runs.iter().all(|run| run.verdict == Verdict::Pass);
        let mut begun = Begun {
            dry_runs,
            classes: Vec::new(),
            chosen: Vec::new(),
            races: Vec::new(),
            is_choice_empty: false,
        };
        if self.fault() == ExploreFault::Close {
            if let Some(evidence) = &judged.evidence {
                self.choose_races(evidence, &runs, &mut begun);
            }
        } else {
            begun.classes = self.with_fault(classes_of_all(&runs, self.options.every_point));
            for class in &mut begun.classes {
                class.case_id.insert_str(0, &self.prefix);
            }
            let fitting = self.fitting(&begun.classes);
            // An empty share, or a limit of none, is what was asked for; a choice that fits nothing is not.
            begun.is_choice_empty = fitting.is_empty() && !reached.is_empty();
            begun.chosen = self.choose(&fitting).into_iter().cloned().collect();
        }
        // A scenario that goes wrong by itself tells nothing about crashes.
        if !passed {
            begun.chosen.clear();
            begun.races.clear();
            begun.is_choice_empty = false;
        }
        Some(begun)
    }

    fn dry_run(&self, name: &str) -> PlannedCase {
        let case_id = format!("{}{name}", self.prefix);
        PlannedCase {
            plan: self.plan(&case_id, Vec::new()),
            case_id,
            points: Vec::new(),
            pin: None,
            pair: None,
            race: None,
            attempts: 1,
            varies: false,
        }
    }

    /// More dry runs, and if they do not all pass the same points, still more of them.
    async fn more_dry_runs<R: RunCase>(
        &self,
        campaign: &Campaign<R>,
        runs: &mut Vec<Vec<ReachedPoint>>,
    ) -> Ran {
        let mut ended = Ran::default();
        for numbers in [2..=LEAST_DRY_RUNS, LEAST_DRY_RUNS + 1..=MOST_DRY_RUNS] {
            let is_settled = runs.len() > 1 && runs.iter().all(|run| agree(run, &runs[0]));
            if is_settled || ended.interrupted {
                break;
            }
            let cases = numbers.map(|number| self.dry_run(&format!("{DRY_RUN}-{number}")));
            let (ran, reached) = campaign.run_all_reading(cases.collect(), points_of).await;
            runs.extend(reached.into_values());
            ended.records.extend(ran.records);
            ended.interrupted |= ran.interrupted;
        }
        ended
    }

    /// The scenario's closes at the chosen points of the first dry run. Where the others passed a point tells whether
    /// it varies.
    fn choose_races(&self, evidence: &Evidence, runs: &[Vec<ReachedPoint>], begun: &mut Begun) {
        let Some(reached) = runs.first() else {
            return;
        };
        let varies = varies_in(runs);
        for race in &self.scenario.races {
            let from = race.from.as_deref();
            let begins = from.map_or(Some(0), |step| step_began(evidence, step));
            let raced: Vec<ReachedPoint> = reached
                .iter()
                .filter(|point| point.point.node == race.at)
                .filter(|point| begins.is_some_and(|begins| point.seq > begins))
                .cloned()
                .collect();
            for class in classes_of(&raced, self.options.every_point) {
                for class in halves(class, &varies) {
                    let mut known = begun.classes.iter();
                    if known.all(|known| known.points != class.points) {
                        begun.classes.push(class);
                    }
                }
            }
            let every_point = self.options.every_point;
            let races = race_classes(&self.scenario, race, &raced, &varies, every_point);
            begun.races.extend(races);
        }
        let fits = self.fits();
        let all = std::mem::take(&mut begun.races);
        let had_any = !all.is_empty();
        let fitting = all.into_iter().filter(|race| race.points.iter().any(&fits));
        let fitting: Vec<RaceClass> = fitting.collect();
        begun.is_choice_empty = had_any && fitting.is_empty();
        begun.races = fitting
            .into_iter()
            .enumerate()
            .filter(|(index, _)| self.is_in_share(*index))
            .map(|(_, mut race)| {
                race.case_id.insert_str(0, &self.prefix);
                race
            })
            .collect();
    }

    /// Checks what can be checked before anything is started.
    ///
    /// # Errors
    /// The chosen node is not in the scenario, or the options do not go together.
    pub fn check(&self) -> Result<(), ExploreError> {
        let options = &self.options;
        let fault = self.fault();
        match (options.depth, fault, options.budget) {
            (Depth::Two, ExploreFault::Disconnect | ExploreFault::Close, _) => {
                return Err(ExploreError::NoSecondKill);
            }
            (Depth::One, ExploreFault::Kill | ExploreFault::Disconnect, Some(_)) => {
                return Err(ExploreError::BudgetWithoutDepth);
            }
            _ => {}
        }
        if fault == ExploreFault::Close && self.scenario.races.is_empty() {
            return Err(ExploreError::NoRace(self.scenario.name.clone()));
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
        if self.fault() == ExploreFault::Disconnect {
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

    /// Whether a point fits the choice of node and point.
    fn fits(&self) -> impl Fn(&NodePoint) -> bool {
        let pattern = self.options.point.as_deref().map(WildMatch::new);
        let node = self.options.node.clone();
        move |at: &NodePoint| {
            let by_node = node.as_ref().is_none_or(|node| *node == at.node);
            let by_name = pattern.as_ref().is_none_or(|pattern| {
                pattern.matches(&at.point.name) || pattern.matches(&at.point.to_string())
            });
            by_node && by_name
        }
    }

    /// The classes that the choice of node and point fits.
    fn fitting<'a>(&self, classes: &'a [PointClass]) -> Vec<&'a PointClass> {
        let fits = self.fits();
        classes
            .iter()
            .filter(|class| class.points.iter().any(&fits))
            .collect()
    }

    fn is_in_share(&self, index: usize) -> bool {
        let share = self.options.partition;
        share.is_none_or(|share| share.takes(index))
    }

    /// Of those, the share and number that were asked for.
    fn choose<'a>(&self, fitting: &[&'a PointClass]) -> Vec<&'a PointClass> {
        fitting
            .iter()
            .enumerate()
            .filter(|(index, _)| self.is_in_share(*index))
            .map(|(_, class)| *class)
            .take(self.options.limit.unwrap_or(usize::MAX))
            .collect()
    }

    /// The case of a class.
    pub(super) fn case(&self, class: &PointClass) -> PlannedCase {
        let fault = Fault {
            action: match self.fault() {
                ExploreFault::Disconnect => Action::Disconnect,
                ExploreFault::Kill | ExploreFault::Close => Action::Kill,
            },
            ..Fault::kill(class.representative().clone())
        };
        PlannedCase {
            case_id: class.case_id.clone(),
            plan: self.plan(&class.case_id, vec![fault]),
            points: class.points.clone(),
            pin: None,
            pair: None,
            race: None,
            attempts: ATTEMPTS,
            varies: class.varies,
        }
    }

    /// The case of closes at a class. `points` are those that no other case of the run counts.
    pub(super) fn race_case(&self, race: &RaceClass, points: Vec<NodePoint>) -> PlannedCase {
        PlannedCase {
            case_id: race.case_id.clone(),
            plan: self.plan(&race.case_id, vec![race.fault()]),
            points,
            pin: None,
            pair: None,
            race: Some(record_race(race)),
            attempts: ATTEMPTS,
            varies: race.varies,
        }
    }

    /// The case of two kills.
    pub(super) fn pair_case(&self, pair: &PointPair) -> PlannedCase {
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
            race: None,
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

/// A pair as it is written down.
pub(super) fn record_pair(pair: &PointPair) -> PairRecord {
    PairRecord {
        first: pair.first.clone(),
        second: pair.second.clone(),
    }
}

/// Closes as they are written down.
pub(super) fn record_race(race: &RaceClass) -> RaceRecord {
    let (closes, kill) = match &race.action {
        Action::Close { closes, kill } => (closes.clone(), *kill),
        _ => (Vec::new(), false),
    };
    RaceRecord {
        points: race.points.clone(),
        closes,
        kill,
    }
}
