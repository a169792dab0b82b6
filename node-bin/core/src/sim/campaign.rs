//! Random cases: a random order of everything, crashes and cuts at random moments, one to four of them. A case
//! follows from its seed; what is printed is its plan, which follows from nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bitcoin::secp256k1::rand::{Rng, SeedableRng, rngs::StdRng};

use super::crash::Image;
use super::explore::{Endings, Report, panic_words};
use super::fault::Fault;
use super::judge::{Verdict, judge_alive};
use super::plan::Plan;
use super::setup::SetupError;
use super::world::{Persistence, Schedule, World};

/// Faults of a case, at the most.
const FAULTS: u32 = 4;

/// What to run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Flows to choose from.
    pub flows: Vec<String>,
    /// Seed of the first case; the others follow.
    pub seed: u64,
    /// No more cases than that.
    pub cases: u64,
    /// No case is begun after that long.
    pub time_limit: Option<Duration>,
    /// Channels closed by force, reorganisations and cheats among the faults.
    pub endings: Endings,
    /// Threads.
    pub threads: usize,
}

impl Campaign {
    /// Runs it.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: a world does not come about.
    pub fn run(&self) -> Result<Report, SetupError> {
        let started = Instant::now();
        let next = AtomicU64::new(0);
        let mut total = Report::default();
        let reports: Vec<Result<Report, SetupError>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.threads.max(1))
                .map(|_| scope.spawn(|| self.work(&next, started)))
                .collect();
            let finished = workers.into_iter().map(|worker| worker.join());
            finished
                .map(|report| report.unwrap_or_else(|_| Ok(Report::default())))
                .collect()
        });
        for report in reports {
            total.add(report?);
        }
        Ok(total)
    }

    fn work(&self, next: &AtomicU64, started: Instant) -> Result<Report, SetupError> {
        let mut report = Report::default();
        loop {
            let case = next.fetch_add(1, Ordering::Relaxed);
            let is_late = self
                .time_limit
                .is_some_and(|limit| started.elapsed() > limit);
            if case >= self.cases || is_late {
                report.is_cut_short |= is_late;
                return Ok(report);
            }
            let seed = self.seed.wrapping_add(case);
            let mut dice = StdRng::seed_from_u64(seed);
            let flow = &self.flows[dice.gen_range(0..self.flows.len())];
            let persistence = match dice.gen_bool(0.5) {
                true => Persistence::Synchronous,
                false => Persistence::Asynchronous,
            };
            let mut plan = Plan::new(flow, persistence, Schedule::Random, seed);
            let mut world = plan.start()?;
            let result = catch_unwind(AssertUnwindSafe(|| {
                run(&mut world, &mut plan, &mut dice, self.endings);
                judge_alive(&mut world)
            }));
            let verdict = result.unwrap_or_else(|panic| Verdict {
                complaints: vec![panic_words(&*panic)],
                ended_otherwise: 0,
            });
            report.record(&plan, verdict);
        }
    }
}

/// Plays a case, and writes down its faults as they happen.
fn run(world: &mut World, plan: &mut Plan, dice: &mut StdRng, endings: Endings) {
    // The first fault anywhere in the flow, the others soon after it: in the recovery.
    let faults = dice.gen_range(1..=FAULTS);
    for number in 0..faults {
        let gap = match (number, endings == Endings::default()) {
            (0, true) => 300,
            // What happens on the chain takes longer.
            (0, false) => 900,
            _ => 80,
        };
        let at = world.actions + dice.gen_range(0..gap);
        while world.actions < at && world.advance() {}
        let fault = ending(world, dice, endings).unwrap_or_else(|| fault(world, dice));
        plan.faults.push(fault.clone());
        world.suffer(&fault);
    }
    world.run_to_rest();
}

/// Sometimes, one of the faults that end channels, or replace blocks.
fn ending(world: &World, dice: &mut StdRng, endings: Endings) -> Option<Fault> {
    if endings == Endings::default() || dice.gen_bool(0.5) {
        return None;
    }
    let mut possible = endings.possible(world);
    match possible.len() {
        0 => None,
        count => Some(possible.swap_remove(dice.gen_range(0..count))),
    }
}

fn fault(world: &World, dice: &mut StdRng) -> Fault {
    let at = world.actions;
    if dice.gen_bool(0.2) {
        let link = dice.gen_range(0..world.links.len());
        let pair = world.links[link].ends;
        return Fault::Cut { pair, at };
    }
    let alive = world.nodes.iter().enumerate();
    let alive: Vec<usize> = alive
        .filter(|(_, node)| !node.is_gone)
        .map(|(at, _)| at)
        .collect();
    let node = alive[dice.gen_range(0..alive.len())];
    let in_flight = world.nodes[node].disk.in_flight();
    let image = Image {
        kept: in_flight
            .map(|(_, count)| dice.gen_range(0..=count))
            .collect(),
        messages_arrive: dice.gen_bool(0.5),
        acks_lost: dice.gen_bool(0.1),
        payments_lost: dice.gen_bool(0.05),
    };
    Fault::Crash { node, at, image }
}
