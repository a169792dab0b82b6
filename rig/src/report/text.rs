//! The report on the terminal.

use std::fmt::Write;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

use super::phase_times::{milliseconds, phase_name};
use super::{
    RunReport, WORST_SHOWN, family_rows, median_us_by_phase, pair_rows, race_rows, worst_failures,
};
use crate::run_store::SummaryRecord;

/// Most lines of evidence printed for one group.
const LINES_SHOWN: usize = 4;

/// The whole report, ending with a line feed.
pub fn render_text(report: &RunReport) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail, so the results of writeln! carry nothing.
    let totals = &report.summary;
    let rows = family_rows(report);
    if !rows.is_empty() {
        let _ = writeln!(text, "{}\n", family_table("family", "points", &rows));
    }
    let pairs = pair_rows(report);
    if !pairs.is_empty() {
        let _ = writeln!(text, "{}\n", family_table("second kill", "pairs", &pairs));
    }
    let races = race_rows(report);
    if !races.is_empty() {
        let _ = writeln!(text, "{}\n", family_table("closes", "found", &races));
    }
    let times = median_us_by_phase(&report.records);
    if !times.is_empty() {
        let spent: Vec<String> = times
            .iter()
            .map(|(phase, spent_us)| format!("{} {}", phase_name(*phase), milliseconds(*spent_us)))
            .collect();
        let _ = writeln!(
            text,
            "Where a case's time goes (median): {}\n",
            spent.join(", ")
        );
    }
    write_failures(&mut text, report);
    let _ = writeln!(
        text,
        "{}: {} cases: {} pass, {} fail, {} not run, {} rig faults; {} of {} points covered{}; \
         {:.1} s, {:.0} cases a minute",
        report.run.subject,
        totals.cases,
        totals.pass,
        totals.fail,
        totals.not_run,
        totals.rig_fault,
        totals.points_covered,
        totals.points_total,
        more_covered(totals),
        totals.wall_s,
        totals.cases_per_min
    );
    if report.incomplete {
        let _ = writeln!(text, "The run was stopped before its end.");
    }
    let _ = writeln!(text, "{}", what_next(report));
    text
}

/// `, 5 of 8 that vary covered, 7 of 90 pairs covered, 20 of 800 closes covered`, as far as there are any.
pub(super) fn more_covered(totals: &SummaryRecord) -> String {
    let covered = |covered: Option<u64>, total: Option<u64>, what: &str| match (covered, total) {
        (Some(covered), Some(total)) => format!(", {covered} of {total} {what} covered"),
        _ => String::new(),
    };
    let varying = covered(totals.varying_covered, totals.varying_total, "that vary");
    let pairs = covered(totals.pairs_covered, totals.pairs_total, "pairs");
    let closes = covered(totals.closes_covered, totals.closes_total, "closes");
    varying + &pairs + &closes
}

fn family_table(family: &str, points: &str, rows: &[super::FamilyRow]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header([
        family,
        "node",
        points,
        "covered",
        "cases",
        "pass",
        "fail",
        "not run",
        "rig fault",
    ]);
    for row in rows {
        let counts = [
            row.points,
            row.covered,
            row.cases,
            row.pass,
            row.fail,
            row.not_run,
            row.rig_fault,
        ];
        let mut cells = vec![row.family.clone(), row.node.clone()];
        cells.extend(counts.map(|count| match count {
            0 => "-".to_owned(),
            some => some.to_string(),
        }));
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn write_failures(text: &mut String, report: &RunReport) {
    let groups = worst_failures(report, usize::MAX);
    if groups.is_empty() {
        return;
    }
    let _ = writeln!(text, "The worst cases, by what was found:\n");
    for (index, group) in groups.iter().take(WORST_SHOWN).enumerate() {
        let count = match group.case_ids.len() {
            1 => "1 case".to_owned(),
            several => format!("{several} cases"),
        };
        let _ = writeln!(
            text,
            "{:>3}. {} ({count}): {}",
            index + 1,
            group.code,
            group.message
        );
        for line in group.lines.iter().take(LINES_SHOWN) {
            let _ = writeln!(text, "       | {line}");
        }
        if !group.besides.is_empty() {
            let _ = writeln!(text, "       besides: {}", group.besides.join(", "));
        }
        if let Some(first) = group.case_ids.first() {
            let _ = writeln!(text, "       {}", report.replay_command(first));
        }
        let _ = writeln!(text);
    }
    if groups.len() > WORST_SHOWN {
        let _ = writeln!(
            text,
            "     and {} more kinds of failure: report.html and verdicts.jsonl have them all\n",
            groups.len() - WORST_SHOWN
        );
    }
}

fn what_next(report: &RunReport) -> String {
    let totals = &report.summary;
    let folder = &report.folder;
    if totals.fail > 0 {
        return format!(
            "Next: replay one of the above, or read {folder}/report.html; `cargo rig judge{} {}` \
             judges the saved evidence again.",
            report.command_options, report.run.run_id
        );
    }
    if report.not_well().next().is_some() {
        return format!(
            "Next: {folder}/verdicts.jsonl says why cases were not judged, and {folder}/rig.jsonl \
             what the rig did."
        );
    }
    if report.incomplete {
        return format!("All well as far as it got; {folder} has the plans.");
    }
    if totals.pairs_covered < totals.pairs_total {
        return "Next: take `--budget` away, or give another `--seed`, to cover more pairs."
            .to_owned();
    }
    if totals.closes_covered < totals.closes_total {
        return "Next: take `--budget` away, or give another `--seed`, to cover more closes."
            .to_owned();
    }
    if totals.points_covered < totals.points_total {
        return "Next: take `--limit`, `--node`, `--point` and `--partition` away to cover the rest."
            .to_owned();
    }
    format!("All well. {folder} has the plans.")
}
