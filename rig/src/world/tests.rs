//! The stage with real processes that are no Lightning nodes, on a chain that is only counted.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use faults::{Action, Condition, Fault, GateReport};
use node_bin::api::Report;

use super::bounds::Bounds;
use super::chain_access::ChainAccess;
use super::fake_node::programs;
use super::node_handle::NodePrograms;
use super::recorder::Recorder;
use super::rig_fault::RigFault;
use super::runner::CaseOutcome;
use super::scratch::CaseScratch;
use super::stage::Stage;
use crate::evidence::{NodeReport, Phase, RigEntry, Source, TraceEntry};
use crate::scenario::{
    ChainKind, Expectation, Node, NodeKind, Payment, PaymentKind, PaymentMoment, Persist, Plan,
    Scenario, Step, StepKind,
};

fn fault(at: &str, action: Action, life: u32) -> Fault {
    Fault {
        at: at.parse().unwrap(),
        action,
        life,
    }
}

fn kill(at: &str, life: u32) -> Fault {
    fault(at, Action::Kill, life)
}

fn pay() -> StepKind {
    StepKind::Pay(Payment {
        id: "p".to_owned(),
        from: "A".to_owned(),
        to: "B".to_owned(),
        amount_msat: 1_000,
        kind: PaymentKind::Invoice,
        hold: false,
        paths: vec![],
        parts_msat: vec![],
    })
}

fn wait_until(until: PaymentMoment) -> StepKind {
    StepKind::Await {
        payment: "p".to_owned(),
        until,
    }
}

fn plan(steps: Vec<StepKind>, faults: Vec<Fault>) -> Plan {
    let node = Node {
        kind: NodeKind::Stock,
        chain: ChainKind::Bitcoind,
        funds_sat: 0,
        persist: Persist::Sync,
    };
    let names = ["A", "B"].map(str::to_owned);
    let step = |(index, kind)| Step {
        label: format!("step-{}", index + 1),
        kind,
    };
    Plan {
        version: 1,
        case_id: "case".to_owned(),
        seed: 1,
        scenario: Scenario {
            name: "test".to_owned(),
            about: String::new(),
            nodes: names.map(|name| (name, node.clone())).into(),
            channels: vec![],
            act: steps.into_iter().enumerate().map(step).collect(),
            expect: Expectation::default(),
            cases: vec![],
            races: Vec::new(),
        },
        faults,
    }
}

fn short_bounds() -> Bounds {
    Bounds {
        call: Duration::from_secs(10),
        ..Bounds::default()
    }
}

async fn play_with(plan: &Plan, programs: NodePrograms, bounds: Bounds) -> CaseOutcome {
    // Removed with the case's folder.
    let root = bitcoind::tempfile::tempdir().unwrap().keep();
    let scratch = Arc::new(CaseScratch::create(&root).unwrap());
    let names = plan.scenario.nodes.keys();
    let recorder = Arc::new(Recorder::create(&scratch.trace(), names).unwrap());
    let chain = Arc::new(ChainAccess::Counted(AtomicU32::new(110)));
    let stage = Stage::new(
        plan,
        chain,
        Arc::clone(&scratch),
        recorder,
        programs,
        bounds,
    );
    let mut stage = stage.await.unwrap();
    let fault = stage.play().await.err();
    stage.outcome(fault, scratch).await
}

async fn play(steps: Vec<StepKind>, faults: Vec<Fault>, manner: &str) -> CaseOutcome {
    play_with(&plan(steps, faults), programs(manner), short_bounds()).await
}

fn trace(outcome: &CaseOutcome) -> &[TraceEntry] {
    &outcome.evidence.as_ref().unwrap().trace
}

fn deeds(outcome: &CaseOutcome) -> Vec<RigEntry> {
    let entries = trace(outcome).iter();
    let deeds = entries.filter_map(|entry| match &entry.source {
        Source::Rig { did } => Some(did.clone()),
        Source::Node { .. } => None,
    });
    deeds.collect()
}

fn count(outcome: &CaseOutcome, is_it: impl Fn(&RigEntry) -> bool) -> usize {
    deeds(outcome).iter().filter(|deed| is_it(deed)).count()
}

fn reissued(outcome: &CaseOutcome) -> Vec<(String, String)> {
    let deeds = deeds(outcome).into_iter();
    let reissued = deeds.filter_map(|deed| match deed {
        RigEntry::Reissued { node, method } => Some((node, method)),
        _ => None,
    });
    reissued.collect()
}

fn waits_ended(outcome: &CaseOutcome) -> Vec<String> {
    let deeds = deeds(outcome).into_iter();
    let ended = deeds.filter_map(|deed| match deed {
        RigEntry::WaitEnded { missing } => Some(missing),
        _ => None,
    });
    ended.collect()
}

fn no_fault(outcome: &CaseOutcome) {
    assert!(
        outcome.rig_fault.is_none(),
        "{}",
        outcome.rig_fault.as_ref().unwrap()
    );
}

fn no_process_is_left(outcome: &CaseOutcome) {
    for deed in deeds(outcome) {
        if let RigEntry::Started { pid, node, .. } = deed {
            let process = std::path::PathBuf::from(format!("/proc/{pid}"));
            assert!(!process.exists(), "{node} ({pid}) is still there");
        }
    }
}

#[tokio::test]
async fn a_case_without_faults_plays_through_its_phases_and_leaves_no_process() {
    let outcome = play(vec![pay(), wait_until(PaymentMoment::Sent)], vec![], "well").await;
    no_fault(&outcome);
    no_process_is_left(&outcome);
    assert_eq!(waits_ended(&outcome), Vec::<String>::new());
    let phases: Vec<Phase> = outcome.phase_us.keys().copied().collect();
    assert_eq!(
        phases,
        [Phase::SetUp, Phase::Act, Phase::Settle, Phase::Judge]
    );
    let evidence = outcome.evidence.as_ref().unwrap();
    assert_eq!(evidence.rest.len(), 2);
    assert_eq!(evidence.start.len(), 2);
    assert_eq!(evidence.payments[0].id, "p");
    let seqs: Vec<u64> = evidence.trace.iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_trace_file_holds_every_entry_line_by_line() {
    let outcome = play(vec![pay()], vec![], "well").await;
    let file = outcome.scratch.as_ref().unwrap().path().join("trace.jsonl");
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<TraceEntry> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, trace(&outcome));
}

#[tokio::test]
async fn a_command_that_a_kill_left_unanswered_is_given_again_under_the_same_key() {
    for at in ["A:command.pay.before[p]@1", "A:command.pay.after[p]@1"] {
        let steps = vec![pay(), wait_until(PaymentMoment::Sent)];
        let outcome = play(steps, vec![kill(at, 0)], "well").await;
        no_fault(&outcome);
        no_process_is_left(&outcome);
        assert_eq!(reissued(&outcome), [("A".to_owned(), "pay".to_owned())]);
        let at_point = at.parse::<faults::NodePoint>().unwrap().point;
        let killed = RigEntry::Killed {
            node: "A".to_owned(),
            life: 0,
            point: Some(at_point),
        };
        assert!(deeds(&outcome).contains(&killed));
        assert!(outcome.phase_us.contains_key(&Phase::Recover));
        let stored = outcome.scratch.as_ref().unwrap().path().join("stored");
        assert!(stored.join("A-0-before").is_dir());
        assert!(stored.join("A-0-after").is_dir());
    }
}

#[tokio::test]
async fn an_answered_command_is_not_given_again() {
    let steps = vec![
        pay(),
        wait_until(PaymentMoment::Sent),
        StepKind::Mine {
            blocks: 1,
            empty: false,
        },
    ];
    let outcome = play(steps, vec![kill("B:command.sync.before@1", 0)], "well").await;
    no_fault(&outcome);
    assert_eq!(reissued(&outcome), []);
}

#[tokio::test]
async fn blocks_of_an_interrupted_step_are_not_mined_twice() {
    let steps = vec![StepKind::Mine {
        blocks: 3,
        empty: false,
    }];
    let outcome = play(steps, vec![kill("A:command.sync.before@1", 0)], "well").await;
    no_fault(&outcome);
    assert_eq!(
        count(&outcome, |deed| matches!(deed, RigEntry::Killed { .. })),
        1
    );
    assert_eq!(
        count(&outcome, |deed| matches!(
            deed,
            RigEntry::Mined { blocks: 3, .. }
        )),
        1
    );
}

#[tokio::test]
async fn a_kill_in_the_midst_of_a_recovery_starts_another_one() {
    let faults = vec![
        kill("A:command.pay.before[p]@1", 0),
        kill("A:command.info.before@1", 1),
        kill("A:command.sync.after@1", 2),
        kill("A:command.pay.after[p]@1", 3),
        // In the settle phase.
        kill("A:command.rest.before@1", 4),
    ];
    let steps = vec![pay(), wait_until(PaymentMoment::Sent)];
    let outcome = play(steps, faults, "well").await;
    no_fault(&outcome);
    no_process_is_left(&outcome);
    assert_eq!(
        count(&outcome, |deed| matches!(deed, RigEntry::Killed { .. })),
        5
    );
    assert_eq!(waits_ended(&outcome), Vec::<String>::new());
    assert_eq!(outcome.evidence.unwrap().rest.len(), 2);
}

#[tokio::test]
async fn kills_without_end_end_the_case_and_leave_it_to_the_judge() {
    let faults = (0..9).map(|life| kill("A:command.pay.before[p]@1", life));
    let bounds = Bounds {
        lives: 3,
        ..short_bounds()
    };
    let plan = plan(vec![pay()], faults.collect());
    let outcome = play_with(&plan, programs("well"), bounds).await;
    no_fault(&outcome);
    assert_eq!(
        count(&outcome, |deed| matches!(deed, RigEntry::Killed { .. })),
        3
    );
    assert!(waits_ended(&outcome)[0].contains("A has had 3 processes"));
    let rest = outcome.evidence.unwrap().rest;
    assert_eq!(
        rest.keys().collect::<Vec<_>>(),
        ["B"],
        "only those that live are asked"
    );
}

#[tokio::test]
async fn a_restart_step_kills_at_rest_and_goes_on() {
    let restart = StepKind::Restart {
        node: "B".to_owned(),
    };
    let outcome = play(
        vec![restart, pay(), wait_until(PaymentMoment::Sent)],
        vec![],
        "well",
    )
    .await;
    no_fault(&outcome);
    let killed = RigEntry::Killed {
        node: "B".to_owned(),
        life: 0,
        point: None,
    };
    assert!(deeds(&outcome).contains(&killed));
    assert_eq!(waits_ended(&outcome), Vec::<String>::new());
}

#[tokio::test]
async fn a_node_that_ends_by_itself_is_started_again_with_its_last_lines_noted() {
    let steps = vec![pay(), wait_until(PaymentMoment::Sent)];
    let outcome = play(steps, vec![], "quits once").await;
    no_fault(&outcome);
    let exited = deeds(&outcome).into_iter().find_map(|deed| match deed {
        RigEntry::Exited {
            node,
            life: 0,
            status,
            last_lines,
        } => Some((node, status, last_lines)),
        _ => None,
    });
    let (node, status, last_lines) = exited.unwrap();
    assert_eq!(node, "A");
    assert!(status.contains("3"), "{status}");
    assert!(
        last_lines
            .join("\n")
            .contains("panicked: no idea what to do"),
        "{last_lines:?}"
    );
    assert_eq!(reissued(&outcome), [("A".to_owned(), "pay".to_owned())]);
    assert_eq!(waits_ended(&outcome), Vec::<String>::new());
}

#[tokio::test]
async fn a_node_that_ends_again_and_again_is_left_to_the_judge() {
    let outcome = play(vec![pay()], vec![], "quits always").await;
    no_fault(&outcome);
    assert_eq!(
        count(&outcome, |deed| matches!(deed, RigEntry::Exited { .. })),
        2
    );
    assert!(waits_ended(&outcome)[0].contains("A that does not end by itself"));
}

#[tokio::test]
async fn a_program_that_is_never_ready_is_a_fault_of_the_rig_with_its_last_lines() {
    let outcome = play(vec![], vec![], "stillborn").await;
    let fault = outcome.rig_fault.unwrap();
    assert!(matches!(fault, RigFault::NeverReady { .. }), "{fault}");
    assert!(
        fault.to_string().contains("cannot read my own store"),
        "{fault}"
    );
    assert!(outcome.evidence.is_some(), "the evidence so far is kept");
}

#[tokio::test]
async fn a_missing_program_is_reported_with_the_command_that_was_run() {
    let argv = vec!["/nowhere/deadbolt-node".into(), "stock".into()];
    let programs = NodePrograms {
        stock: argv.clone(),
        unified: argv,
    };
    let outcome = play_with(&plan(vec![], vec![]), programs, short_bounds()).await;
    let fault = outcome.rig_fault.unwrap();
    assert!(matches!(fault, RigFault::NotStarted { .. }), "{fault}");
    assert!(
        fault.to_string().contains("/nowhere/deadbolt-node stock"),
        "{fault}"
    );
}

#[tokio::test]
async fn a_node_that_never_answers_is_a_fault_of_the_rig_within_the_bound() {
    let bounds = Bounds {
        call: Duration::from_millis(700),
        ..Bounds::default()
    };
    let outcome = play_with(&plan(vec![pay()], vec![]), programs("mute"), bounds).await;
    let fault = outcome.rig_fault.as_ref().unwrap();
    let RigFault::NotAnswering {
        node,
        method,
        waited_ms,
        ..
    } = fault
    else {
        panic!("{fault}");
    };
    assert_eq!(
        (node.as_str(), method.as_str(), *waited_ms),
        ("A", "pay", 700)
    );
    no_process_is_left(&outcome);
}

#[tokio::test]
async fn a_case_that_takes_too_long_says_what_it_was_waiting_for() {
    let bounds = Bounds {
        case: Duration::from_millis(900),
        ..Bounds::default()
    };
    let outcome = play_with(&plan(vec![pay()], vec![]), programs("mute"), bounds).await;
    let fault = outcome.rig_fault.as_ref().unwrap();
    assert!(matches!(fault, RigFault::CaseTooLong { .. }), "{fault}");
    no_process_is_left(&outcome);
}

#[tokio::test]
async fn an_unreadable_report_is_a_fault_of_the_rig_that_names_node_and_line() {
    let outcome = play(vec![pay()], vec![], "babbles").await;
    let fault = outcome.rig_fault.as_ref().unwrap();
    assert!(
        matches!(fault, RigFault::UnreadableReport { .. }),
        "{fault}"
    );
    assert!(fault.to_string().contains("node A"), "{fault}");
    assert!(fault.to_string().contains("nonsense"), "{fault}");
    no_process_is_left(&outcome);
}

#[tokio::test]
async fn a_freeze_where_nothing_is_armed_is_a_fault_of_the_rig() {
    let outcome = play(vec![pay()], vec![], "freezes").await;
    let fault = outcome.rig_fault.as_ref().unwrap();
    assert!(matches!(fault, RigFault::UnplannedFreeze { .. }), "{fault}");
    no_process_is_left(&outcome);
}

#[tokio::test]
async fn a_delayed_node_goes_on_by_itself() {
    let delay = Action::Delay { delay_ms: 20 };
    let faults = vec![fault("A:command.pay.before[p]@1", delay, 0)];
    let steps = vec![pay(), wait_until(PaymentMoment::Sent)];
    let outcome = play(steps, faults, "well").await;
    no_fault(&outcome);
    assert_eq!(waits_ended(&outcome), Vec::<String>::new());
    assert_eq!(
        count(&outcome, |deed| matches!(deed, RigEntry::Killed { .. })),
        0
    );
}

#[tokio::test]
async fn a_held_node_goes_on_when_its_condition_comes_true() {
    let hold = |until| Action::Hold { until };
    let until = hold(Condition::Step("step-2".to_owned()));
    let faults = vec![fault("A:command.pay.before[p]@1", until, 0)];
    let mine = StepKind::Mine {
        blocks: 1,
        empty: false,
    };
    let steps = vec![pay(), mine, wait_until(PaymentMoment::Sent)];
    let outcome = play(steps, faults, "well").await;
    no_fault(&outcome);
    assert_eq!(waits_ended(&outcome), Vec::<String>::new());
    assert_eq!(
        count(&outcome, |deed| matches!(deed, RigEntry::Killed { .. })),
        0
    );
}

#[tokio::test]
async fn a_hold_that_never_ends_ends_with_the_nodes_life() {
    let until = Condition::Never;
    let faults = vec![fault(
        "A:command.pay.before[p]@1",
        Action::Hold { until },
        0,
    )];
    let outcome = play(vec![pay()], faults, "well").await;
    no_fault(&outcome);
    assert_eq!(
        count(&outcome, |deed| matches!(deed, RigEntry::Killed { .. })),
        1
    );
    assert_eq!(outcome.evidence.unwrap().rest.len(), 2);
}

#[tokio::test]
async fn timers_are_ticked_only_when_nothing_is_under_way() {
    let bounds = Bounds {
        settle_blocks: 1,
        ticks: 0,
        ..short_bounds()
    };
    let outcome = play_with(&plan(vec![], vec![]), programs("lingers"), bounds).await;
    no_fault(&outcome);
    let words = trace(&outcome)
        .iter()
        .filter_map(|entry| match &entry.source {
            Source::Node { node, report, .. } if node == "A" => match report {
                NodeReport::Node(Report::Idle {
                    waiting_writes: 0, ..
                }) => Some("at rest"),
                NodeReport::Gate(GateReport::Point { point, .. }) => match point.to_string() {
                    at if at.starts_with("command.sync.after") => Some("synced"),
                    at if at.starts_with("command.tick.before") => Some("ticked"),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        });
    let words: Vec<&str> = words.collect();
    assert!(words.contains(&"ticked"), "{words:?}");
    assert!(
        words.windows(2).all(|two| two != ["synced", "ticked"]),
        "{words:?}"
    );
}

#[tokio::test]
async fn what_does_not_come_is_given_up_as_soon_as_nothing_is_under_way() {
    let steps = vec![
        pay(),
        wait_until(PaymentMoment::Failed),
        StepKind::Mine {
            blocks: 5,
            empty: false,
        },
    ];
    let outcome = play(steps, vec![], "well").await;
    no_fault(&outcome);
    let missing = &waits_ended(&outcome)[0];
    assert!(
        missing.contains("payment p from A to B to be failed"),
        "{missing}"
    );
    assert_eq!(
        count(&outcome, |deed| matches!(
            deed,
            RigEntry::Mined { blocks: 5, .. }
        )),
        0
    );
    let end_us = trace(&outcome).last().unwrap().time_us;
    assert!(end_us < 5_000_000, "{end_us} us");
}

#[tokio::test]
async fn a_refused_command_is_noted_and_taken_as_an_answer() {
    let claim = StepKind::Claim {
        payment: "p".to_owned(),
    };
    let outcome = play(vec![pay(), claim], vec![], "well").await;
    no_fault(&outcome);
    let refused = count(&outcome, |deed| {
        matches!(deed, RigEntry::Refused { method, message, .. }
            if method == "claim" && message.contains("no such payment"))
    });
    assert_eq!(refused, 1);
}

#[test]
fn a_case_can_run_on_any_thread() {
    fn is_send(_: impl Send) {}
    let check = |runner: super::CaseRunner, plan: Plan| {
        is_send(async move {
            runner.run(&plan).await;
        })
    };
    let _ = check;
}
