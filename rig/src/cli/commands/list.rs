//! `deadbolt list`.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use faults::catalogue::{FAMILIES, STAGES};

use super::super::args::Listing;
use super::super::exit::EXIT_PASS;
use super::{CommandError, Context, Ended, Environment};
use crate::run_store::list_runs;

pub(super) fn list<E: Environment>(
    context: &Context<'_, E>,
    what: Listing,
) -> Result<Ended, CommandError> {
    let text = match what {
        Listing::Scenarios => scenarios(context)?,
        Listing::Points => points(),
        Listing::Nodes => nodes(),
        Listing::Runs => runs(context)?,
    };
    context.console.say(&text);
    Ok(Ended::without_cases(EXIT_PASS))
}

fn table<const COLUMNS: usize>(
    header: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    table.trim_fmt()
}

fn scenarios<E: Environment>(context: &Context<'_, E>) -> Result<String, CommandError> {
    let rows = context.environment.scenarios()?;
    Ok(table(
        ["scenario", "what it shows"],
        rows.into_iter().map(|row| [row.name, row.about]),
    ))
}

fn points() -> String {
    let rows = FAMILIES.iter().map(|family| {
        let mut notes = Vec::new();
        if family.can_fail {
            notes.push("can fail");
        }
        if family.own_thread {
            notes.push("can be held alone");
        }
        if family.stages {
            notes.push("stages");
        }
        [
            family.name.to_owned(),
            family.role.to_owned(),
            family.about.to_owned(),
            notes.join(", "),
        ]
    });
    format!(
        "{}\n\nEach has a point `.before` and one `.after`. Where it says stages, a node whose store \
         shows them passes\n{} in between. A point is written NODE:name[role]@hit,\nfor example \
         B:persist.monitor_update.before[A-B #2]@1. A dry run lists those of a scenario:\n`deadbolt \
         explore SCENARIO --limit 0` writes them to logs/latest/points.json.",
        table(["family", "role", "what lies between", ""], rows),
        STAGES.map(|stage| format!("`.{stage}`")).join(", ")
    )
}

fn nodes() -> String {
    table(
        ["kind", "what it is", "program"],
        [
            [
                "stock".to_owned(),
                "unmodified LDK".to_owned(),
                "deadbolt node stock CONFIG".to_owned(),
            ],
            [
                "unified".to_owned(),
                "deadbolt's own node".to_owned(),
                "deadbolt node unified CONFIG".to_owned(),
            ],
        ],
    )
}

fn runs<E: Environment>(context: &Context<'_, E>) -> Result<String, CommandError> {
    let runs = list_runs(&context.logs)?;
    if runs.is_empty() {
        return Ok(format!("There is no run under {}.", context.logs.display()));
    }
    let rows = runs.into_iter().map(|listed| {
        [
            listed.run.run_id,
            listed.cases.to_string(),
            listed.failed.to_string(),
            match listed.complete {
                true => "complete".to_owned(),
                false => "broken off".to_owned(),
            },
            listed.run.command.join(" "),
        ]
    });
    Ok(table(["run", "cases", "failed", "", "command"], rows))
}
