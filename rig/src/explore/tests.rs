//! Explorations of scripted worlds.

use std::sync::atomic::Ordering;

use super::testing::{ScriptedWorld, Twist, campaign, forward_plan, forward_scenario};
use super::*;
use crate::evidence::Verdict;
use crate::run_store::load_evidence;

fn exploration(options: ExploreOptions) -> Exploration {
    Exploration {
        scenario: forward_scenario(),
        seed: 1,
        options,
    }
}

async fn explore(world: ScriptedWorld, options: ExploreOptions) -> (tempfile::TempDir, Explored) {
    let logs = tempfile::tempdir().unwrap();
    let (_interrupter, interrupt) = Interrupter::new();
    let campaign = campaign(logs.path(), world, interrupt);
    let explored = exploration(options).run(&campaign).await.unwrap();
    (logs, explored)
}

fn verdicts(explored: &Explored) -> Vec<(&str, Verdict)> {
    explored
        .ran
        .records
        .iter()
        .map(|record| (record.case_id.as_str(), record.verdict))
        .collect()
}

#[test]
fn points_of_the_setup_and_of_live_payments_are_not_explored() {
    let world = ScriptedWorld::of_forward();
    let evidence = world.evidence(&forward_plan(&[]), None, false);
    let points = points_of(&evidence);
    assert_eq!(points.len(), 4);
    assert!(points.iter().all(|reached| reached.point.node == "B"));
    assert_eq!(canonical(&points).len(), 4);
}

#[tokio::test]
async fn an_exploration_finds_the_class_that_fails() {
    let world = ScriptedWorld {
        twists: vec![("persist.monitor_update.after", Twist::Close)],
        ..ScriptedWorld::of_forward()
    };
    let (logs, explored) = explore(world, ExploreOptions::default()).await;
    assert_eq!(
        verdicts(&explored),
        [
            ("B.persist.monitor_update.after.A-B-2.1", Verdict::Fail),
            ("B.persist.monitor_update.before.A-B-2.1", Verdict::Pass),
            ("B.send.revoke_and_ack.after.A-B.1", Verdict::Pass),
        ]
    );
    let tally = Tally::of(&explored.ran.records);
    assert_eq!((tally.points_covered, explored.points.points.len()), (4, 4));
    // The failure keeps everything, the passing cases only their plans.
    let cases = logs.path().join("latest/cases");
    let failed = cases.join("B.persist.monitor_update.after.A-B-2.1");
    assert_eq!(load_evidence(&failed).unwrap().plan.seed, 1);
    assert!(failed.join("B-stderr.log").exists());
    assert!(failed.join("verdict.json").exists());
    let passed = cases.join("B.send.revoke_and_ack.after.A-B.1");
    let names: Vec<_> = std::fs::read_dir(passed)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["plan.json"]);
}

#[tokio::test]
async fn a_scenario_that_fails_by_itself_is_not_explored() {
    let world = ScriptedWorld {
        sick: true,
        ..ScriptedWorld::of_forward()
    };
    let (_logs, explored) = explore(world, ExploreOptions::default()).await;
    assert_eq!(explored.dry_run.unwrap().verdict, Verdict::Fail);
    assert!(explored.ran.records.is_empty());
}

#[tokio::test]
async fn a_point_that_is_not_reached_is_never_green_nor_covered() {
    let world = ScriptedWorld {
        twists: vec![("send.revoke_and_ack.after", Twist::Miss)],
        ..ScriptedWorld::of_forward()
    };
    let (_logs, explored) = explore(world, ExploreOptions::default()).await;
    let tally = Tally::of(&explored.ran.records);
    assert_eq!((tally.pass, tally.not_run, tally.points_covered), (2, 1, 3));
}

#[tokio::test]
async fn a_rig_fault_or_a_panic_of_one_case_does_not_stop_the_others() {
    let world = ScriptedWorld {
        twists: vec![
            ("persist.monitor_update.before", Twist::RigFault),
            ("persist.monitor_update.after", Twist::Panic),
        ],
        ..ScriptedWorld::of_forward()
    };
    let (logs, explored) = explore(world, ExploreOptions::default()).await;
    let tally = Tally::of(&explored.ran.records);
    assert_eq!((tally.pass, tally.rig_fault), (1, 2));
    let fault = &explored.ran.records[1];
    assert_eq!(
        fault.rig_fault.as_deref(),
        Some("bitcoind died: start it again")
    );
    assert!(fault.evidence_kept);
    let folder = logs.path().join("latest/cases").join(&fault.case_id);
    assert!(load_evidence(&folder).is_ok());
    let broken = explored.ran.records[0].rig_fault.as_deref().unwrap();
    assert!(broken.contains("the rig broke off"), "{broken}");
}

#[tokio::test]
async fn an_interruption_ends_running_cases_and_starts_no_more() {
    let logs = tempfile::tempdir().unwrap();
    let (interrupter, interrupt) = Interrupter::new();
    let world = ScriptedWorld {
        twists: vec![("persist.monitor_update.before", Twist::Hang)],
        hangs: Some(interrupter),
        ..ScriptedWorld::of_forward()
    };
    let mut campaign = campaign(logs.path(), world, interrupt);
    campaign.workers = 1;
    let options = ExploreOptions {
        every_point: true,
        ..ExploreOptions::default()
    };
    let explored = exploration(options).run(&campaign).await.unwrap();
    assert!(explored.ran.interrupted);
    // One dry run, the case before the one that hangs, and that one.
    assert_eq!(campaign.runner.started.load(Ordering::SeqCst), 3);
    assert_eq!(explored.ran.records.len(), 1);
    assert_eq!(campaign.folder.verdicts().unwrap().len(), 2);
}

#[tokio::test]
async fn cases_can_be_chosen_by_node_pattern_limit_and_share() {
    for (options, expected) in [
        (
            ExploreOptions {
                point: Some("send.*".to_owned()),
                ..ExploreOptions::default()
            },
            2,
        ),
        (
            ExploreOptions {
                limit: Some(1),
                ..ExploreOptions::default()
            },
            1,
        ),
        (
            ExploreOptions {
                partition: Some("slice:2/2".parse().unwrap()),
                ..ExploreOptions::default()
            },
            1,
        ),
        (
            ExploreOptions {
                limit: Some(0),
                ..ExploreOptions::default()
            },
            0,
        ),
    ] {
        let (_logs, explored) = explore(ScriptedWorld::of_forward(), options).await;
        assert_eq!(explored.ran.records.len(), expected);
        assert_eq!(explored.points.points.len(), 4);
    }
}

#[tokio::test]
async fn a_choice_that_fits_nothing_is_an_error_that_says_so() {
    let logs = tempfile::tempdir().unwrap();
    let (_interrupter, interrupt) = Interrupter::new();
    let campaign = campaign(logs.path(), ScriptedWorld::of_forward(), interrupt);
    for (options, fragment) in [
        (
            ExploreOptions {
                point: Some("nonsense".to_owned()),
                ..ExploreOptions::default()
            },
            "none of the 4 points",
        ),
        (
            ExploreOptions {
                node: Some("Z".to_owned()),
                ..ExploreOptions::default()
            },
            "it has A, B, C",
        ),
    ] {
        let error = exploration(options).run(&campaign).await.unwrap_err();
        assert!(error.to_string().contains(fragment), "{error}");
    }
}
