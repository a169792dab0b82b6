//! `report.html`: one file, no scripts, nothing fetched.

use maud::{DOCTYPE, Markup, html};

use super::phase_times::{milliseconds, phase_name};
use super::text::more_covered;
use super::{
    FamilyRow, RunReport, WORST_SHOWN, family_rows, median_us_by_phase, pair_rows, race_rows,
    worst_failures,
};
use crate::evidence::Verdict;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:75em;\
padding:0 1em}table{border-collapse:collapse}td,th{padding:.15em .7em;text-align:right}\
td:first-child,th:first-child{text-align:left}tr:nth-child(even){background:#f3f3f3}\
pre{background:#f6f6f6;padding:.7em;overflow-x:auto;font-size:13px}.fail{color:#b00020}\
.pass{color:#1b6e2c}";

/// The whole page. `timeline` gives the lines of a case whose evidence is kept.
pub fn render_html(report: &RunReport, timeline: &dyn Fn(&str) -> Vec<String>) -> String {
    let totals = &report.summary;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (report.run.run_id) " - deadbolt" }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                h1 { (report.run.subject) ": " (report.run.run_id) }
                p { code { "deadbolt " (report.run.command.join(" ")) } ", seed " (report.run.seed)
                    ", deadbolt " (report.run.deadbolt) }
                p class=(if totals.fail > 0 { "fail" } else { "pass" }) {
                    (totals.cases) " cases: " (totals.pass) " pass, " (totals.fail) " fail, "
                    (totals.not_run) " not run, " (totals.rig_fault) " rig faults; "
                    (totals.points_covered) " of " (totals.points_total) " points covered"
                    (more_covered(totals)) "; "
                    (totals.wall_s) " s, " (totals.cases_per_min) " cases a minute"
                }
                @if report.incomplete { p class="fail" { "This run was stopped before its end." } }
                (parts(report))
                h2 { "Points" }
                (family_table("family", "points", family_rows(report)))
                @if report.races.is_some() {
                    h2 { "Closes" }
                    (family_table("closes", "found", race_rows(report)))
                }
                @if report.pairs.is_some() {
                    h2 { "Second kills" }
                    (family_table("second kill", "pairs", pair_rows(report)))
                }
                h2 { "Where a case's time goes (median)" }
                (time_table(report))
                @if report.not_well().next().is_some() {
                    h2 { "The worst cases" }
                    (failures(report, timeline))
                }
                h2 { "All cases" }
                (all_cases(report))
            }
        }
    };
    page.into_string()
}

fn parts(report: &RunReport) -> Markup {
    html! { ul { @for (part, version) in &report.run.parts { li { (part) ": " (version) } } } }
}

fn family_table(family: &str, points: &str, rows: Vec<FamilyRow>) -> Markup {
    html! {
        table {
            tr { th { (family) } th { "node" } th { (points) } th { "covered" } th { "cases" }
                th { "pass" } th { "fail" } th { "not run" } th { "rig fault" } }
            @for row in rows {
                tr { td { (row.family) } td { (row.node) } td { (row.points) } td { (row.covered) }
                    td { (row.cases) } td { (row.pass) }
                    td class=[(row.fail > 0).then_some("fail")] { (row.fail) }
                    td { (row.not_run) } td { (row.rig_fault) } }
            }
        }
    }
}

fn time_table(report: &RunReport) -> Markup {
    html! {
        table {
            @for (phase, spent_us) in median_us_by_phase(&report.records) {
                tr { td { (phase_name(phase)) } td { (milliseconds(spent_us)) } }
            }
        }
    }
}

fn failures(report: &RunReport, timeline: &dyn Fn(&str) -> Vec<String>) -> Markup {
    html! {
        @for group in worst_failures(report, WORST_SHOWN) {
            h3 { (group.code) ", " (group.case_ids.len()) " cases" }
            p { (group.message) }
            @if !group.besides.is_empty() { p { "besides: " (group.besides.join(", ")) } }
            @if !group.lines.is_empty() { pre { (group.lines.join("\n")) } }
            @if let Some(first) = group.case_ids.first() {
                p { code { (report.replay_command(first)) } }
                @let lines = timeline(first);
                @if !lines.is_empty() {
                    details { summary { "timeline of " (first) } pre { (lines.join("\n")) } }
                }
            }
            @if group.case_ids.len() > 1 {
                details { summary { "all of them" } pre { (group.case_ids.join("\n")) } }
            }
        }
    }
}

fn all_cases(report: &RunReport) -> Markup {
    html! {
        table {
            tr { th { "case" } th { "verdict" } th { "findings" } th { "ms" } }
            @for record in &report.records {
                tr {
                    td { (record.case_id) }
                    td class=[(record.counts_as() == Verdict::Fail).then_some("fail")] {
                        (format!("{:?}", record.verdict))
                        @if let Some(pin) = &record.pinned {
                            (if pin.met { ", as pinned" } else { ", not as pinned" })
                        }
                    }
                    td { (record.finding_codes().join(", ")) }
                    td { (record.wall_us / 1000) }
                }
            }
        }
    }
}
