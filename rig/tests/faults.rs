//! Every action at a point, on real nodes: that it happens, and that what comes of it is judged.

mod common;

use std::collections::BTreeMap;

use common::Logs;
use serde_json::Value;

/// Where B stores an update of its monitor, by kind of node: a stock node's points name its updates.
const STORED: [(&str, &str); 2] = [
    ("stock", "B:persist.monitor_update.before[A-B #2]@1"),
    ("unified", "B:persist.monitor_update.before[A-B]@2"),
];

#[test]
fn a_kill_after_the_monitor_and_before_the_manager_is_named_as_an_unexpected_close() {
    let logs = Logs::new();
    let kill = "B:persist.monitor_update.after[A-B #2]@1";
    let ended = logs
        .deadbolt(&["run", "direct", "--kind", "stock", "--kill", kill])
        .expect_code(1);
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains("unexpected-close"), "{ended}");
    assert!(said.contains("OutdatedChannelManager"), "{ended}");
    assert!(
        said.contains("A ChannelManager is stale compared to the current ChannelMonitor!"),
        "{ended}"
    );
}

#[test]
fn explore_finds_the_stale_manager_by_itself_and_judge_agrees_offline() {
    let logs = Logs::new();
    let ended = logs
        .deadbolt(&["explore", "direct", "--kind", "stock", "--json"])
        .expect_code(1);
    let summary = ended.json();
    assert_eq!(
        summary["points_covered"], summary["points_total"],
        "{ended}"
    );
    assert_eq!(summary["not_run"], 0, "{ended}");
    assert_eq!(summary["rig_fault"], 0, "{ended}");
    assert!(ended.stderr.contains("unexpected-close"), "{ended}");

    let run = summary["run_id"].as_str().unwrap();
    let judged = logs.deadbolt(&["judge", run, "--json"]).expect_code(1);
    assert_eq!(judged.json()["fail"], summary["fail"], "{judged}");
}

#[test]
fn explore_kills_our_node_at_every_point_of_a_payment_and_all_pass() {
    let ended = Logs::new()
        .deadbolt(&["explore", "direct", "--json"])
        .expect_code(0);
    let summary = ended.json();
    assert_eq!(
        summary["points_covered"], summary["points_total"],
        "{ended}"
    );
    assert!(summary["pass"].as_u64().unwrap() > 100, "{ended}");
    for none in ["fail", "not_run", "rig_fault"] {
        assert_eq!(summary[none], 0, "{ended}");
    }
}

#[test]
fn a_point_that_is_never_reached_is_never_green() {
    let kill = "B:persist.monitor_update.after[A-B #999]@1";
    let ended = Logs::new()
        .deadbolt(&["run", "direct", "--kill", kill])
        .expect_code(2);
    assert!(
        ended.stderr.contains("point-not-reached") || ended.stdout.contains("point-not-reached"),
        "{ended}"
    );
}

#[test]
fn a_kill_that_only_a_live_payment_would_meet_does_not_happen() {
    // The first claim is the scenario's.
    let kill = "B:mpp.claim.part.before[A-B]@2";
    let ended = Logs::new()
        .deadbolt(&["run", "direct", "--kill", kill])
        .expect_code(2);
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains("was not reached in life 0"), "{ended}");
}

#[test]
fn a_delayed_write_changes_nothing() {
    for (kind, stored) in STORED {
        let fault = format!(r#"{{"at":"{stored}","action":"delay","delay_ms":200}}"#);
        Logs::new()
            .deadbolt(&["run", "direct", "--kind", kind, "--fault", &fault])
            .expect_code(0);
    }
}

#[test]
fn a_write_held_until_another_point_goes_on_then_and_changes_nothing() {
    let fault = r#"{"at":"B:persist.manager.before[recv commitment_signed A-B]@1","action":"hold","until":{"point":"A:send.revoke_and_ack.after[A-B]@1"}}"#;
    Logs::new()
        .deadbolt(&["run", "direct", "--kind", "stock", "--fault", fault])
        .expect_code(0);
}

#[test]
fn a_write_held_until_a_step_ends_lets_the_rest_of_the_node_go_on() {
    let fault = r#"{"at":"B:persist.manager.before[recv commitment_signed A-B]@1","action":"hold","until":{"step":"step-3"}}"#;
    Logs::new()
        .deadbolt(&["run", "direct", "--kind", "stock", "--fault", fault])
        .expect_code(0);
}

#[test]
fn a_failed_monitor_write_ends_the_node_and_is_named() {
    for (kind, stored) in STORED {
        let fault = format!(r#"{{"at":"{stored}","action":"fail"}}"#);
        let ended = Logs::new()
            .deadbolt(&["run", "direct", "--kind", kind, "--fault", &fault])
            .expect_code(1);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(said.contains("node-died"), "{kind}: {ended}");
    }
}

#[test]
fn a_kill_while_a_channel_opens_leaves_no_output_that_never_comes() {
    let kill = "A:persist.monitor.before[A-B]@1";
    Logs::new()
        .deadbolt(&["run", "open", "--kill", kill])
        .expect_code(0);
}

#[test]
fn a_kill_before_a_node_is_asked_for_a_live_payment_whose_channel_then_closes_leaves_it_decided() {
    let fault = r#"{"at":"B:command.pay.before[live-B-C-B]@1","action":"close","closes":[{"channel":"B-C","by":"B"}],"kill":true}"#;
    Logs::new()
        .deadbolt(&["run", "close-race/forward", "--fault", fault])
        .expect_code(0);
}

/// How many messages a node took from a peer while writes of its own waited.
fn messages_met_by_waiting_writes(trace: &str) -> usize {
    let mut waiting: BTreeMap<String, u64> = BTreeMap::new();
    let mut met = 0;
    for line in trace.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let (node, report) = (&entry["node"], &entry["report"]);
        let Some(node) = node.as_str() else { continue };
        match report["type"].as_str() {
            Some("idle") => {
                let writes = report["waiting_writes"].as_u64().unwrap_or(0);
                waiting.insert(node.to_owned(), writes);
            }
            Some("received") if waiting.get(node).is_some_and(|writes| *writes > 0) => met += 1,
            _ => {}
        }
    }
    met
}

#[test]
fn messages_meet_writes_that_are_held_and_the_payment_passes() {
    for (mode, do_meet) in [("held", true), ("async-seeded", false)] {
        let logs = Logs::new();
        let arguments = ["run", "forward", "--persist", mode, "--keep", "all"];
        let ended = logs.deadbolt(&arguments).expect_code(0);
        let cases = logs.0.path().join("latest/cases");
        let case = std::fs::read_dir(cases).unwrap().next().unwrap().unwrap();
        let trace = std::fs::read_to_string(case.path().join("trace.jsonl")).unwrap();
        let met = messages_met_by_waiting_writes(&trace);
        assert_eq!(met > 0, do_meet, "{mode}: {met} messages; {ended}");
    }
}

#[test]
fn explore_kills_our_node_at_every_point_with_all_writes_held_and_all_pass() {
    let ended = Logs::new()
        .deadbolt(&["explore", "direct", "--persist", "held", "--json"])
        .expect_code(0);
    let summary = ended.json();
    assert_eq!(
        summary["points_covered"], summary["points_total"],
        "{ended}"
    );
}

#[test]
fn channels_that_close_while_writes_wait_or_come_in_another_order_lose_nothing() {
    for scenario in ["close-race/held", "close-race/late"] {
        let ended = Logs::new()
            .deadbolt(&["explore", scenario, "--budget", "12", "--json"])
            .expect_code(0);
        let summary = ended.json();
        assert_eq!(summary["pass"], summary["cases"], "{ended}");
        assert_ne!(summary["closes_covered"], 0, "{ended}");
    }
}

#[test]
fn a_kill_replayed_from_its_plan_gets_the_same_verdict() {
    let logs = Logs::new();
    let kill = "B:persist.monitor_update.after[A-B #2]@1";
    let ended = logs
        .deadbolt(&["run", "direct", "--kind", "stock", "--kill", kill, "--json"])
        .expect_code(1);
    let run = ended.json()["run_id"].as_str().unwrap().to_owned();
    let again = logs
        .deadbolt(&["replay", &run, "-n", "3", "--json"])
        .expect_code(1);
    assert_eq!(again.json()["fail"], 3, "{again}");
}
