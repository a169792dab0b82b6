//! `compare` as its users run it: what it exits with, and what the line of `--json` says.

mod common;

use common::{Ended, Logs};
use serde_json::Value;

/// One class of points of one node.
const CHOICE: [&str; 7] = [
    "direct",
    "--node",
    "B",
    "--point",
    "send.revoke_and_ack.*",
    "--limit",
    "1",
];

/// It on both kinds.
fn compared(logs: &Logs, subject: &str, control: &str) -> Ended {
    compared_with(logs, subject, control, &[])
}

fn compared_with(logs: &Logs, subject: &str, control: &str, more: &[&str]) -> Ended {
    let kinds = ["--subject", subject, "--control", control, "--json"];
    logs.deadbolt(&[&["compare"], &CHOICE[..], &kinds, more].concat())
}

/// Explores it on one kind; the run's name.
fn explored(logs: &Logs, kind: &str) -> String {
    let ended = logs.deadbolt(&[&["explore"], &CHOICE[..], &["--kind", kind, "--json"]].concat());
    ended.json()["run_id"].as_str().unwrap().to_owned()
}

fn runs(logs: &Logs) -> usize {
    let entries = std::fs::read_dir(logs.0.path()).unwrap();
    let is_run = |path: std::path::PathBuf| !path.is_symlink() && path.join("run.json").exists();
    entries
        .filter(|entry| is_run(entry.as_ref().unwrap().path()))
        .count()
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

#[test]
fn a_side_that_was_explored_before_is_not_run_again_and_compares_the_same() {
    let logs = Logs::new();
    let control_run = explored(&logs, "stock");
    let with_control = compared_with(&logs, "unified", "stock", &["--control-run", &control_run]);
    let ended = with_control.expect_code(0);
    let totals = &ended.json()["compared"];
    assert_eq!(totals["control_run"], control_run.as_str(), "{ended}");
    assert!(number(totals, "fixed") > 0, "{ended}");
    assert_eq!(runs(&logs), 2, "the control was run again: {ended}");
    // What the comparison ran is a run like any other: with both there is nothing to do but to compare.
    let subject_run = totals["subject_run"].as_str().unwrap().to_owned();
    let both = ["--control-run", &control_run, "--subject-run", &subject_run];
    let again = compared_with(&logs, "unified", "stock", &both).expect_code(0);
    assert_eq!(&again.json()["compared"], totals, "{again}");
    assert_eq!(runs(&logs), 2, "{again}");
}

#[test]
fn a_run_of_anything_else_is_no_side_of_a_comparison() {
    let logs = Logs::new();
    let control_run = explored(&logs, "stock");
    let refused = |subject: &str, control: &str, more: &[&str], why: &str| {
        let more = [&["--control-run", control_run.as_str()], more].concat();
        let ended = compared_with(&logs, subject, control, &more).expect_code(97);
        assert!(ended.stderr.contains(why), "{why}: {ended}");
    };
    refused("stock", "unified", &[], "kinds of nodes");
    refused("unified", "stock", &["--seed", "2"], "its seed is 1");
    refused("unified", "stock", &["--every-point"], "the same choice");
    refused(
        "unified",
        "stock",
        &["--persist", "async"],
        "modes of writing",
    );
    refused(
        "unified",
        "stock",
        &["--subject-run", "none"],
        "there is no run",
    );
    let case = format!("{control_run}/dry-run");
    let ended = compared_with(&logs, "unified", "stock", &["--control-run", &case]);
    let ended = ended.expect_code(97);
    assert!(ended.stderr.contains("name a whole run"), "{ended}");
    // As an interrupt leaves it, and a SIGKILL.
    let summary = logs.0.path().join(&control_run).join("summary.json");
    let saved = std::fs::read_to_string(&summary).unwrap();
    let mut saved: Value = serde_json::from_str(&saved).unwrap();
    saved["interrupted"] = true.into();
    std::fs::write(&summary, saved.to_string()).unwrap();
    refused("unified", "stock", &[], "stopped before its end");
    std::fs::remove_file(&summary).unwrap();
    refused("unified", "stock", &[], "stopped before its end");
    assert_eq!(runs(&logs), 1);
}
