//! Reports of made-up runs.

use super::*;
use crate::explore::testing::{case_record, run_record};
use crate::oracle::Finding;
use crate::run_store::FindingRecord;

/// A failed case with one finding.
pub(crate) fn finding(case_id: &str, code: &str, message: &str) -> CaseRecord {
    let mut record = case_record(case_id, Verdict::Fail);
    record.points = vec![
        "B:persist.monitor_update.after[A-B #2]@1".parse().unwrap(),
        "B:send.revoke_and_ack.before[A-B]@1".parse().unwrap(),
    ];
    record.findings = vec![FindingRecord {
        oracle: "close".to_owned(),
        finding: Finding {
            code: code.to_owned(),
            message: message.to_owned(),
            trace: vec![3],
            lines: vec!["ERROR <stale> & more".to_owned()],
        },
    }];
    record
}

/// A run of these cases.
pub(crate) fn report_of(records: Vec<CaseRecord>) -> RunReport {
    let run = run_record("20261123-173000-forward");
    RunReport {
        summary: Tally::of(&records).summary(
            Some(run.run_id.clone()),
            Totals {
                points: 7,
                varying: 0,
                pairs: None,
                closes: None,
            },
            Duration::from_millis(1_500),
        ),
        run,
        points: None,
        pairs: None,
        races: None,
        records,
        incomplete: false,
        command_options: String::new(),
        folder: "logs/20261123-173000-forward".to_owned(),
    }
}

fn mixed() -> RunReport {
    report_of(vec![
        finding("B.x", "unexpected-close", "B closed A-B"),
        case_record("B.y", Verdict::Pass),
        case_record("B.z", Verdict::RigFault),
        case_record("B.w", Verdict::NotRun),
    ])
}

#[test]
fn the_text_names_the_failure_its_evidence_and_the_command_that_replays_it() {
    let text = render_text(&mixed());
    for fragment in [
        "unexpected-close (1 case): B closed A-B",
        "| ERROR <stale> & more",
        "cargo rig replay 20261123-173000-forward/B.x",
        "persist.monitor_update",
        "Where a case's time goes (median): set up 200 ms, act 40 ms",
        "4 cases: 1 pass, 1 fail, 1 not run, 1 rig faults; 2 of 7 points covered",
        "rig-fault (1 case): port taken",
    ] {
        assert!(text.contains(fragment), "{fragment} is not in\n{text}");
    }
}

#[test]
fn a_case_and_its_points_are_counted_in_the_rows_of_their_families() {
    let rows = family_rows(&mixed());
    let short: Vec<(&str, u64, u64, u64, u64)> = rows
        .iter()
        .map(|row| {
            (
                row.family.as_str(),
                row.points,
                row.covered,
                row.cases,
                row.fail,
            )
        })
        .collect();
    assert_eq!(
        short,
        [
            ("persist.monitor_update", 1, 1, 1, 1),
            ("send.*", 1, 1, 0, 0)
        ]
    );
}

#[test]
fn junit_shows_no_case_green_that_was_not_judged() {
    let xml = render_junit(&mixed()).unwrap();
    assert_eq!(xml.matches("<failure").count(), 1, "{xml}");
    assert_eq!(xml.matches("<error").count(), 2, "{xml}");
    assert!(xml.contains("cargo rig replay"), "{xml}");
    assert!(xml.contains("&lt;stale&gt;"), "{xml}");
}

#[test]
fn the_page_stands_alone_and_escapes_what_nodes_say() {
    let page = render_html(&mixed(), &|case_id| {
        vec![format!("timeline of {case_id} <b>")]
    });
    assert!(page.contains("ERROR &lt;stale&gt; &amp; more"), "{page}");
    assert!(page.contains("timeline of B.x &lt;b&gt;"), "{page}");
    assert!(
        !page.contains("<script") && !page.contains("http"),
        "{page}"
    );
}
