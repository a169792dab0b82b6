//! `compare` as its users run it: what it exits with, and what the line of `--json` says.

mod common;

use common::{Ended, Logs};
use serde_json::Value;

/// One class of points of one node, on both kinds.
fn compared(logs: &Logs, subject: &str, control: &str) -> Ended {
    logs.deadbolt(&[
        "compare",
        "direct",
        "--subject",
        subject,
        "--control",
        control,
        "--node",
        "B",
        "--point",
        "send.revoke_and_ack.*",
        "--limit",
        "1",
        "--json",
    ])
}

fn number(totals: &Value, key: &str) -> u64 {
    totals[key]
        .as_u64()
        .unwrap_or_else(|| panic!("no {key} in {totals}"))
}

/// Every line is counted once.
fn lines(totals: &Value) -> u64 {
    let keys = [
        "same",
        "fixed",
        "regressed",
        "not_judged",
        "only_subject",
        "only_control",
    ];
    keys.iter().map(|key| number(totals, key)).sum()
}

/// A stock node that is killed with a message sent closes its channel at the next start (LDK #4286).
#[test]
fn what_only_the_control_fails_is_fixed_and_exits_0() {
    let logs = Logs::new();
    let ended = compared(&logs, "unified", "stock").expect_code(0);
    let totals = &ended.json()["compared"];
    assert!(number(totals, "fixed") > 0, "{ended}");
    assert_eq!(number(totals, "regressed"), 0, "{ended}");
    assert_eq!(number(totals, "not_judged"), 0, "{ended}");
    let shown = ended
        .stderr
        .lines()
        .filter(|line| line.starts_with("fixed "));
    assert_eq!(shown.count() as u64, number(totals, "fixed"), "{ended}");
    assert_eq!(
        (&totals["subject"], &totals["control"]),
        (&"unified".into(), &"stock".into())
    );
    // Both runs are there, under the names that the totals give.
    for run in ["subject_run", "control_run"] {
        let folder = logs.0.path().join(totals[run].as_str().unwrap());
        assert!(
            folder.join("summary.json").exists() || folder.join("run.json").exists(),
            "{ended}"
        );
    }
    assert!(lines(totals) >= 2, "{ended}");
}

#[test]
fn what_only_the_subject_fails_is_a_regression_and_exits_1() {
    let logs = Logs::new();
    let ended = compared(&logs, "stock", "unified").expect_code(1);
    let totals = &ended.json()["compared"];
    assert!(number(totals, "regressed") > 0, "{ended}");
    assert_eq!(number(totals, "fixed"), 0, "{ended}");
}

#[test]
fn a_kind_compared_with_itself_is_the_same_and_exits_0() {
    let logs = Logs::new();
    let ended = compared(&logs, "unified", "unified").expect_code(0);
    let totals = &ended.json()["compared"];
    assert_eq!(number(totals, "same"), lines(totals), "{ended}");
    assert_eq!(number(totals, "same_fail"), 0, "{ended}");
}
