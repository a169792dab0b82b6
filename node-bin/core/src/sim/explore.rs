//! The explorer: plays a flow once without faults, forks the world at every crash point, lets each fork run to
//! rest, and judges it; and the same again inside each recovery.

use std::collections::HashSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::channel::Connection;

use super::fault::Fault;
use super::judge::{Verdict, judge, judge_alive};
use super::plan::Plan;
use super::schedule::Action;
use super::setup::SetupError;
use super::world::World;

mod endings;

pub use endings::Endings;

/// Failures kept with their plans; the rest are counted.
const FAILURES_KEPT: usize = 50;

/// Of so many cases of a thread, one is paid over all channels afterwards.
const ALIVE_EVERY: u64 = 16;

/// Where the second and further crashes of a case hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The node that died, until its channels are re-established and no event is unacknowledged.
    Restarted,
    /// Any node, until the world is at rest.
    Everyone,
}

/// What to explore.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Crashes in a case.
    pub depth: usize,
    /// Where those after the first hit.
    pub scope: Scope,
    /// Cuts of connections too, at every message.
    pub cuts: bool,
    /// Images too that have lost the acknowledgements at the end of each log.
    pub lost_acks: bool,
    /// Images too that have lost the records of own payments.
    pub lost_payments: bool,
    /// Channels closed by force, reorganisations and cheats too.
    pub endings: Endings,
    /// Further faults hit within so many actions of the one before; none: wherever the scope says.
    pub within: Option<u64>,
    /// Threads.
    pub threads: usize,
    /// No case is begun after that long.
    pub time_limit: Option<Duration>,
    /// The moment of the first run, by its actions and modulo their number, from which on faults are tried first;
    /// those before it come last. What a time limit leaves out is not the same everywhere, then.
    pub first_moment: u64,
}

impl Default for Options {
    /// One crash, anywhere.
    fn default() -> Self {
        Options {
            depth: 1,
            scope: Scope::Restarted,
            cuts: false,
            lost_acks: false,
            lost_payments: false,
            endings: Endings::default(),
            within: None,
            threads: 1,
            time_limit: None,
            first_moment: 0,
        }
    }
}

/// A case that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What to replay.
    pub plan: Plan,
    /// What is wrong.
    pub complaints: Vec<String>,
}

/// What an exploration came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cases judged, the run without faults among them.
    pub cases: u64,
    /// Cases that failed.
    pub failed: u64,
    /// Some of them.
    pub failures: Vec<Failure>,
    /// Payments that ended otherwise than planned, and honestly so.
    pub ended_otherwise: u64,
    /// Moments of the run without faults of which all cases were judged.
    pub moments: u64,
    /// Moments of it that the time limit kept from that.
    pub moments_missed: u64,
    /// Actions in the run without faults.
    pub actions: u64,
    /// The time limit came first.
    pub is_cut_short: bool,
    /// Spent forking and crashing, over all threads.
    pub forking: Duration,
    /// Spent running to rest.
    pub running: Duration,
    /// Spent judging.
    pub judging: Duration,
}

impl Report {
    /// Adds another's figures.
    pub fn add(&mut self, other: Report) {
        self.cases += other.cases;
        self.failed += other.failed;
        self.ended_otherwise += other.ended_otherwise;
        self.moments += other.moments;
        self.moments_missed += other.moments_missed;
        self.actions = self.actions.max(other.actions);
        self.is_cut_short |= other.is_cut_short;
        self.forking += other.forking;
        self.running += other.running;
        self.judging += other.judging;
        self.failures.extend(other.failures);
        self.failures.truncate(FAILURES_KEPT);
    }

    /// Takes a case's verdict.
    pub fn record(&mut self, plan: &Plan, verdict: Verdict) {
        self.cases += 1;
        self.ended_otherwise += verdict.ended_otherwise as u64;
        if !verdict.complaints.is_empty() {
            self.failed += 1;
            if self.failures.len() < FAILURES_KEPT {
                self.failures.push(Failure {
                    plan: plan.clone(),
                    complaints: verdict.complaints,
                });
            }
        }
    }
}

/// Explores a plan: its own faults come first in every case.
///
/// # Errors
///
/// [`SetupError`]: the world does not come about.
pub fn explore(plan: &Plan, options: Options) -> Result<Report, SetupError> {
    let started = Instant::now();
    let mut total = Report::default();
    let mut world = plan.start()?;
    world.run_to_rest();
    total.actions = world.actions;
    let base = plan.start()?;
    let claimed = Mutex::new(HashSet::new());
    let first = match plan.faults.is_empty() {
        true => options.first_moment % total.actions.max(1),
        false => 0,
    };
    for moments in [first..u64::MAX, 0..first] {
        let reports: Vec<Report> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..options.threads.max(1))
                .map(|_| {
                    let mut worker = Worker {
                        options,
                        moments: moments.clone(),
                        started,
                        claimed: &claimed,
                        report: Report::default(),
                    };
                    let world = base.clone();
                    scope.spawn(move || {
                        worker.case(world, plan, options.depth, None);
                        worker.report
                    })
                })
                .collect();
            let finished = workers.into_iter().map(|worker| worker.join());
            finished.map(Result::unwrap_or_default).collect()
        });
        for report in reports {
            total.add(report);
        }
        if first == 0 {
            break;
        }
    }
    Ok(total)
}

/// One thread's share. All threads walk the same first run; each point's cases go to whoever claims it.
struct Worker<'a> {
    options: Options,
    /// Of the first run, by its actions.
    moments: Range<u64>,
    started: Instant,
    claimed: &'a Mutex<HashSet<(u64, usize, bool)>>,
    report: Report,
}

impl Worker<'_> {
    /// Runs a world to rest and judges it. On the way, forks it at every point if more crashes are
    /// wanted. `restarted`: the node that died last.
    fn case(&mut self, mut world: World, plan: &Plan, crashes: usize, restarted: Option<usize>) {
        let result = catch_unwind(AssertUnwindSafe(|| {
            if crashes > 0 {
                self.walk(&mut world, plan, crashes, restarted);
            } else {
                let started = Instant::now();
                world.run_to_rest();
                self.report.running += started.elapsed();
            }
            let started = Instant::now();
            let verdict = match self.report.cases % ALIVE_EVERY {
                0 => judge_alive(&mut world),
                _ => judge(&mut world),
            };
            self.report.judging += started.elapsed();
            verdict
        }));
        if !self.claim(plan, (u64::MAX, 0, false)) {
            return;
        }
        let verdict = result.unwrap_or_else(|panic| Verdict {
            complaints: vec![panic_words(&*panic)],
            ended_otherwise: 0,
        });
        self.report.record(plan, verdict);
    }

    fn walk(&mut self, world: &mut World, plan: &Plan, crashes: usize, restarted: Option<usize>) {
        let mut last_point = None;
        let mut is_open = true;
        let begun = world.actions;
        while let Some(action) = world.choose() {
            if self.is_late() {
                self.report.is_cut_short = true;
                is_open = false;
            }
            let is_wanted = !plan.faults.is_empty() || self.moments.contains(&world.actions);
            if let (Some(within), false) = (self.options.within, plan.faults.is_empty()) {
                is_open &= world.actions <= begun + within;
            }
            if is_open && is_wanted {
                self.endings(world, plan, crashes, action);
            }
            let node = match action {
                Action::Run(node) if is_wanted && self.concerns(node, restarted) => Some(node),
                _ => None,
            };
            if let Some(node) = node
                && last_point != Some((world.actions, node))
            {
                self.point(world, plan, crashes, node, is_open);
            }
            if let (Action::Deliver { link, .. }, true) =
                (action, self.options.cuts && is_open && is_wanted)
            {
                self.cut(world, plan, crashes, link);
            }
            world.perform(action);
            if let Some(node) = node {
                self.point(world, plan, crashes, node, is_open);
                last_point = Some((world.actions, node));
            }
            let restarted_only = self.options.scope == Scope::Restarted;
            if let Some(node) = restarted
                && restarted_only
                && has_settled(world, node)
            {
                is_open = false;
            }
        }
    }

    fn concerns(&self, node: usize, restarted: Option<usize>) -> bool {
        self.options.scope == Scope::Everyone || restarted.is_none_or(|restarted| restarted == node)
    }

    fn is_late(&self) -> bool {
        let limit = self.options.time_limit;
        limit.is_some_and(|limit| self.started.elapsed() > limit)
    }

    /// Whether this thread is to do what follows from this point: the first to ask is, where all walk
    /// the same way.
    fn claim(&self, plan: &Plan, point: (u64, usize, bool)) -> bool {
        if !plan.faults.is_empty() {
            return true;
        }
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        claimed.insert(point)
    }

    /// All that was to be tried at a moment of the first run has been, or time was up.
    pub(super) fn pass(&mut self, plan: &Plan) {
        if plan.faults.is_empty() {
            match self.is_late() {
                false => self.report.moments += 1,
                true => self.report.moments_missed += 1,
            }
        }
    }

    /// All crashes of a node that are possible now, unless it is too late for them.
    fn point(&mut self, world: &World, plan: &Plan, crashes: usize, node: usize, is_open: bool) {
        let at = world.actions;
        if !is_open && !plan.faults.is_empty() {
            return;
        }
        if !self.claim(plan, (at, node, false)) {
            return;
        }
        let mut images = match is_open {
            true => world.images(node),
            false => return self.pass(plan),
        };
        if self.options.lost_acks {
            let mut lost = images[0].clone();
            lost.acks_lost = true;
            images.push(lost);
        }
        if self.options.lost_payments {
            let mut lost = images[0].clone();
            lost.payments_lost = true;
            images.push(lost);
        }
        for image in images {
            let fault = Fault::Crash { node, at, image };
            self.fork(world, plan, crashes, &fault, Some(node));
        }
        self.pass(plan);
    }

    fn cut(&mut self, world: &World, plan: &Plan, crashes: usize, link: usize) {
        let at = world.actions;
        if !self.claim(plan, (at, link, true)) {
            return;
        }
        let pair = world.links[link].ends;
        self.fork(world, plan, crashes, &Fault::Cut { pair, at }, None);
    }

    fn fork(
        &mut self,
        world: &World,
        plan: &Plan,
        crashes: usize,
        fault: &Fault,
        restarted: Option<usize>,
    ) {
        let started = Instant::now();
        let mut fork = world.clone();
        fork.suffer(fault);
        self.report.forking += started.elapsed();
        self.case(fork, &plan.and(fault.clone()), crashes - 1, restarted);
    }
}

/// Whether a node has come back: its channels are re-established and no event is unacknowledged.
fn has_settled(world: &World, node: usize) -> bool {
    let node = &world.nodes[node];
    node.engine.as_ref().is_some_and(|engine| {
        engine.node.channels.values().all(|channel| {
            channel.record.closure.is_some()
                || (channel.volatile.connection == Connection::Up
                    && channel.record.events.is_empty())
        })
    })
}

/// What a panic said.
pub fn panic_words(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic
        .downcast_ref::<&str>()
        .map(|words| (*words).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panic: {}", words.unwrap_or_default())
}
