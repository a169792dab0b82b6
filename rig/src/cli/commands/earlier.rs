//! An earlier run as one side of a comparison: finds it, and refuses it unless it is what the command would run
//! itself, to its end.

use std::collections::BTreeSet;

use clap::Parser;

use super::super::args::{Arguments, Command};
use super::compare::Side;
use super::explore::options_of;
use super::{CommandError, Context, Environment};
use crate::explore::{DRY_RUN, Exploration, ExploreOptions};
use crate::report::RunReport;
use crate::run_store::{Located, RunFolder, RunRecord, locate, read_plan};

/// Reads the run `wanted` (as `judge` takes it) back as what `explorations` would come to.
///
/// # Errors
/// There is no such run, or it explored something else, or it was stopped before its end.
pub(super) fn earlier<E: Environment>(
    context: &Context<'_, E>,
    wanted: &str,
    explorations: &[Exploration],
) -> Result<Side, CommandError> {
    let folder = match locate(&context.logs, wanted)? {
        Located::Run(folder) => folder,
        Located::Plan(_) => return Err(refused(wanted, "it is a single case: name a whole run")),
    };
    let report = RunReport::read(&folder)?;
    let [first, ..] = explorations else {
        return Err(refused(wanted, "there is nothing to compare it with"));
    };
    if options_asked(&report.run) != Some(first.options.clone()) {
        return Err(refused(
            wanted,
            "it was not explored with the same choice of points, faults and budgets",
        ));
    }
    same_scenarios(&folder, &report, explorations)
        .map_err(|difference| refused(wanted, &difference))?;
    if report.incomplete {
        return Err(refused(wanted, "it was stopped before its end"));
    }
    Ok(Side {
        run_id: report.run.run_id,
        records: report.records,
        summary: report.summary,
        interrupted: false,
    })
}

fn refused(wanted: &str, problem: &str) -> CommandError {
    CommandError::Usage(format!(
        "the run {wanted:?} cannot be a side of this comparison: {problem}; leave it out and its side is explored now"
    ))
}

/// What the run's own command line chose; none if it was no exploration.
fn options_asked(run: &RunRecord) -> Option<ExploreOptions> {
    let line = std::iter::once("deadbolt".to_owned()).chain(run.command.iter().cloned());
    match Arguments::try_parse_from(line).ok()?.command {
        Command::Explore(arguments) => Some(options_of(&arguments)),
        Command::Compare(arguments) => Some(options_of(&arguments.explore)),
        _ => None,
    }
}

/// The dry runs' plans hold the scenarios as they were then, with kinds, writes and seed.
fn same_scenarios(
    folder: &RunFolder,
    report: &RunReport,
    explorations: &[Exploration],
) -> Result<(), String> {
    let mut known = BTreeSet::new();
    for exploration in explorations {
        let case_id = format!("{}{DRY_RUN}", exploration.prefix);
        let name = &exploration.scenario.name;
        let path = folder.case(&case_id).plan_path();
        if !path.exists() {
            return Err(format!("it has no dry run of {name}"));
        }
        let plan = read_plan(&path).map_err(|error| error.to_string())?;
        if plan.seed != exploration.seed {
            let (its, this) = (plan.seed, exploration.seed);
            return Err(format!("its seed is {its}, this command's {this}"));
        }
        if plan.scenario != exploration.scenario {
            return Err(format!(
                "its {name} has other steps, kinds of nodes or modes of writing"
            ));
        }
        known.insert(case_id);
    }
    let mut dry_runs = report.records.iter().map(|record| &record.case_id);
    match dry_runs.find(|id| id.ends_with(DRY_RUN) && !known.contains(*id)) {
        Some(other) => Err(format!("it has one more scenario, of {other}")),
        None => Ok(()),
    }
}
