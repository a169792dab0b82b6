//! `deadbolt explore`.

use super::super::args::ExploreArguments;
use super::super::session::{Found, Session};
use super::{CommandError, Context, Ended, Environment};
use crate::evidence::Verdict;
use crate::explore::{Exploration, ExploreFault, ExploreOptions, Explored, explore_all};
use crate::report::shown;
use crate::scenario::Scenario;

pub(super) async fn explore<E: Environment>(
    context: &Context<'_, E>,
    arguments: &ExploreArguments,
) -> Result<Ended, CommandError> {
    let family = context.family(&arguments.scenario)?;
    let explorations = explorations(context.arguments.seed, arguments, family);
    for exploration in &explorations {
        exploration.check()?;
    }
    let subject = subject(arguments, &explorations);
    let session = Session::begin(context, &subject).await?;
    let what = match explorations
        .iter()
        .any(|one| one.fault() == ExploreFault::Close)
    {
        true => "a case per close and class of points",
        false => "a case per class of points",
    };
    context.console.note(&format!(
        "{subject}: dry run, then {what}, {} at once; {}",
        context.workers,
        shown(session.campaign.folder.path())
    ));
    let explored = explore_all(&explorations, &session.campaign).await?;
    let interrupted = explored.ran.interrupted;
    let failing = |record: &&crate::run_store::CaseRecord| record.verdict != Verdict::Pass;
    for dry_run in explored.dry_runs.iter().filter(failing) {
        context.console.note(&format!(
            "{}: the scenario does not pass without any fault, so no crash was tried: mend it, or the \
             node, first",
            dry_run.case_id
        ));
    }
    let (records, found) = parts_of(explored);
    session.end(context, records, found, interrupted)
}

/// What the run is called: the one scenario, or the folder of several.
pub(super) fn subject(arguments: &ExploreArguments, explorations: &[Exploration]) -> String {
    match explorations {
        [one] => one.scenario.name.clone(),
        _ => arguments.scenario.trim_end_matches('/').to_owned(),
    }
}

/// What a command line chooses of a scenario's points, and what happens there.
pub(super) fn options_of(arguments: &ExploreArguments) -> ExploreOptions {
    ExploreOptions {
        every_point: arguments.every_point,
        node: arguments.node.clone(),
        point: arguments.point.clone(),
        limit: arguments.limit,
        partition: arguments.partition,
        fault: arguments.fault,
        depth: arguments.depth,
        budget: arguments.budget,
    }
}

/// One exploration a scenario. Of several, each has its own name before those of its cases.
pub(super) fn explorations(
    seed: u64,
    arguments: &ExploreArguments,
    family: Vec<Scenario>,
) -> Vec<Exploration> {
    let is_alone = family.len() == 1;
    let exploration = |scenario: Scenario| Exploration {
        seed,
        options: options_of(arguments),
        prefix: match (is_alone, scenario.name.rsplit('/').next()) {
            (false, Some(last)) => format!("{last}."),
            _ => String::new(),
        },
        scenario,
    };
    family.into_iter().map(exploration).collect()
}

/// The records of all cases, and what else was found.
pub(super) fn parts_of(explored: Explored) -> (Vec<crate::run_store::CaseRecord>, Found) {
    let mut records = explored.dry_runs;
    records.extend(explored.ran.records);
    let found = Found {
        points: Some(explored.points),
        pairs: explored.pairs,
        races: explored.races,
    };
    (records, found)
}
