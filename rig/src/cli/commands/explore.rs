//! `deadbolt explore`.

use super::super::args::ExploreArguments;
use super::super::session::{Found, Session};
use super::{CommandError, Context, Ended, Environment};
use crate::evidence::Verdict;
use crate::explore::{Exploration, ExploreOptions};
use crate::report::shown;

pub(super) async fn explore<E: Environment>(
    context: &Context<'_, E>,
    arguments: &ExploreArguments,
) -> Result<Ended, CommandError> {
    let scenario = context.scenario(&arguments.scenario)?;
    let exploration = Exploration {
        seed: context.arguments.seed,
        options: ExploreOptions {
            every_point: arguments.every_point,
            node: arguments.node.clone(),
            point: arguments.point.clone(),
            limit: arguments.limit,
            partition: arguments.partition,
            fault: arguments.fault,
            depth: arguments.depth,
            budget: arguments.budget,
        },
        scenario,
    };
    exploration.check()?;
    let session = Session::begin(context, &exploration.scenario.name).await?;
    context.console.note(&format!(
        "{}: dry run, then a case per class of points, {} at once; {}",
        exploration.scenario.name,
        context.workers,
        shown(session.campaign.folder.path())
    ));
    let explored = exploration.run(&session.campaign).await?;
    let mut records = Vec::new();
    if let Some(dry_run) = explored.dry_run {
        if dry_run.verdict != Verdict::Pass {
            context.console.note(
                "the scenario does not pass without any fault, so no crash was tried: mend it, or \
                 the node, first",
            );
        }
        records.push(dry_run);
    }
    records.extend(explored.ran.records);
    session.end(
        context,
        records,
        Found {
            points: Some(explored.points),
            pairs: explored.pairs,
        },
        explored.ran.interrupted,
    )
}
