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
        prefix: String::new(),
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
    assert_eq!(explored.dry_runs[0].verdict, Verdict::Fail);
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
    // Five dry runs, the case before the one that hangs, and that one.
    assert_eq!(campaign.runner.started.load(Ordering::SeqCst), 7);
    assert_eq!(explored.ran.records.len(), 1);
    assert_eq!(campaign.folder.verdicts().unwrap().len(), 6);
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

/// A world whose B passes two classes of points on its way back.
fn recovering() -> ScriptedWorld {
    ScriptedWorld {
        recovery: vec![
            ("B:persist.monitor.before[A-B]", 1),
            ("B:persist.monitor.after[A-B]", 1),
            ("B:send.channel_reestablish.before[A-B]", 1),
        ],
        ..ScriptedWorld::of_forward()
    }
}

fn second_kills(options: ExploreOptions) -> ExploreOptions {
    ExploreOptions {
        depth: Depth::Two,
        ..options
    }
}

fn pair_ids(explored: &Explored) -> Vec<String> {
    let records = explored.ran.records.iter();
    let pairs = records.filter(|record| record.pair.is_some());
    pairs.map(|record| record.case_id.clone()).collect()
}

#[tokio::test]
async fn a_second_kill_hits_every_class_of_the_life_after_every_first_kill() {
    let (logs, explored) = explore(recovering(), second_kills(ExploreOptions::default())).await;
    let tally = Tally::of(&explored.ran.records);
    assert_eq!((tally.cases(), tally.pass), (9, 9));
    assert_eq!((tally.points_covered, tally.pairs_covered), (4, 6));
    assert_eq!(explored.pairs.as_ref().unwrap().pairs.len(), 6);
    let case = "B.send.revoke_and_ack.after.A-B.1.then.B.persist.monitor.before.A-B.1";
    assert!(pair_ids(&explored).contains(&case.to_owned()));
    let folder = logs.path().join("latest/cases").join(case);
    let plan = crate::run_store::read_plan(&folder.join("plan.json")).unwrap();
    let lives: Vec<u32> = plan.faults.iter().map(|fault| fault.life).collect();
    assert_eq!(lives, [0, 1]);
}

#[tokio::test]
async fn a_budget_draws_by_the_seed_and_a_larger_one_contains_a_smaller_one() {
    let mut drawn: Vec<Vec<String>> = Vec::new();
    for budget in [2, 4] {
        let options = ExploreOptions {
            budget: Some(budget),
            ..ExploreOptions::default()
        };
        let (_logs, explored) = explore(recovering(), second_kills(options)).await;
        let pairs = explored.pairs.as_ref().unwrap();
        let selected = pairs.pairs.iter().filter(|pair| pair.selected);
        assert_eq!((pairs.pairs.len(), selected.count()), (6, budget));
        drawn.push(pair_ids(&explored));
    }
    assert_eq!(drawn[0].len(), 2);
    assert!(drawn[0].iter().all(|id| drawn[1].contains(id)));
}

#[tokio::test]
async fn the_shares_of_a_partition_run_every_pair_once() {
    let mut all = Vec::new();
    for share in ["slice:1/2", "slice:2/2"] {
        let options = ExploreOptions {
            partition: Some(share.parse().unwrap()),
            ..ExploreOptions::default()
        };
        let (_logs, explored) = explore(recovering(), second_kills(options)).await;
        all.extend(pair_ids(&explored));
    }
    all.sort_unstable();
    let (_logs, explored) = explore(recovering(), second_kills(ExploreOptions::default())).await;
    assert_eq!(all, pair_ids(&explored));
}

#[tokio::test]
async fn a_first_kill_that_missed_its_point_is_followed_by_no_second_one() {
    let world = ScriptedWorld {
        twists: vec![("send.revoke_and_ack.after", Twist::Miss)],
        ..recovering()
    };
    let (_logs, explored) = explore(world, second_kills(ExploreOptions::default())).await;
    assert_eq!(explored.pairs.as_ref().unwrap().pairs.len(), 4);
}

/// A world in which only this many runs pass a point of the way back, and what came of exploring it.
async fn fickle_after(runs: usize) -> (usize, Explored) {
    let logs = tempfile::tempdir().unwrap();
    let (_interrupter, interrupt) = Interrupter::new();
    let world = ScriptedWorld {
        fickle: Some(("B:persist.monitor.after[A-B]", runs)),
        ..recovering()
    };
    let campaign = campaign(logs.path(), world, interrupt);
    let exploration = exploration(second_kills(ExploreOptions::default()));
    let explored = exploration.run(&campaign).await.unwrap();
    (campaign.runner.started.load(Ordering::SeqCst), explored)
}

#[tokio::test]
async fn a_second_point_that_the_first_kill_alone_need_not_reach_varies_and_is_not_covered() {
    // Five dry runs and three first kills still pass it.
    let (started, explored) = fickle_after(5 + 3).await;
    let tally = Tally::of(&explored.ran.records);
    assert_eq!((tally.pass, tally.not_run), (3 + 3, 0));
    assert_eq!(
        (tally.pairs_covered, explored.pairs.unwrap().pairs.len()),
        (3, 6)
    );
    // Each missed pair: five attempts, and one run of the first kill alone that tells.
    assert_eq!(started, 5 + 3 + 3 + 3 * (5 + 1));
}

#[tokio::test]
async fn a_second_point_that_the_first_kill_alone_always_reaches_is_not_run_if_it_is_missed() {
    let logs = tempfile::tempdir().unwrap();
    let (_interrupter, interrupt) = Interrupter::new();
    let world = ScriptedWorld {
        shy: Some("B:persist.monitor.after[A-B]"),
        ..recovering()
    };
    let campaign = campaign(logs.path(), world, interrupt);
    let exploration = exploration(second_kills(ExploreOptions::default()));
    let explored = exploration.run(&campaign).await.unwrap();
    let tally = Tally::of(&explored.ran.records);
    assert_eq!((tally.pass, tally.not_run), (3 + 3, 3));
}

#[tokio::test]
async fn a_case_that_misses_its_point_is_run_five_times_in_all() {
    let logs = tempfile::tempdir().unwrap();
    let (_interrupter, interrupt) = Interrupter::new();
    let world = ScriptedWorld {
        twists: vec![("send.revoke_and_ack.after", Twist::Miss)],
        ..ScriptedWorld::of_forward()
    };
    let campaign = campaign(logs.path(), world, interrupt);
    let explored = exploration(ExploreOptions::default())
        .run(&campaign)
        .await
        .unwrap();
    // Five dry runs, two cases that reach their points, and one that does not.
    assert_eq!(campaign.runner.started.load(Ordering::SeqCst), 5 + 2 + 5);
    assert_eq!(explored.ran.records.len(), 3);
    assert_eq!(campaign.folder.verdicts().unwrap().len(), 8);
}

#[tokio::test]
async fn connections_are_lost_at_the_points_of_messages_only() {
    let options = ExploreOptions {
        fault: Some(ExploreFault::Disconnect),
        ..ExploreOptions::default()
    };
    let (logs, explored) = explore(ScriptedWorld::of_forward(), options).await;
    assert_eq!(
        verdicts(&explored),
        [
            ("B.send.revoke_and_ack.after.A-B.1", Verdict::Pass),
            ("B.send.revoke_and_ack.before.A-B.1", Verdict::Pass),
        ]
    );
    assert_eq!(explored.points.points.len(), 2);
    let case = logs
        .path()
        .join("latest/cases/B.send.revoke_and_ack.before.A-B.1");
    let plan = crate::run_store::read_plan(&case.join("plan.json")).unwrap();
    assert_eq!(plan.faults[0].action, faults::Action::Disconnect);
}

#[test]
fn options_that_do_not_go_together_are_refused_before_anything_is_started() {
    let lost = ExploreOptions {
        fault: Some(ExploreFault::Disconnect),
        ..ExploreOptions::default()
    };
    let bounded = ExploreOptions {
        budget: Some(5),
        ..ExploreOptions::default()
    };
    for options in [second_kills(lost), bounded] {
        assert!(exploration(options).check().is_err());
    }
}
