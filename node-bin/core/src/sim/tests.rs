//! Explorations that every change has to pass, each bounded in time; more of the same with the example `sim`.

use std::time::Duration;

use super::campaign::Campaign;
use super::crash::Image;
use super::explore::{Endings, Options, Report, Scope, explore};
use super::flow::Flow;
use super::flows::FLOWS;
use super::judge::{judge_alive, restart};
use super::plan::Plan;
use super::schedule::Action;
use super::script::{Kind, Script};
use super::testing::{A, B, C, has_event, record, rested, world, world_when};
use super::world::{Persistence, Schedule, World};
use crate::effect::UserEvent;
use crate::engine::Engine;
use crate::event::EventKind;

/// A test's time. What it did not come to, the next one may: each begins at another moment.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Seed of the random tests if the environment gives none.
const SEED_VARIABLE: &str = "SIM_SEED";

pub(super) fn expect_clean(title: &str, report: &Report) {
    for failure in &report.failures {
        eprintln!("FAIL {}", failure.plan);
        for complaint in &failure.complaints {
            eprintln!("     {complaint}");
        }
    }
    assert!(report.cases > 0, "{title}: nothing was judged");
    assert_eq!(report.failed, 0, "{title}: of {} cases", report.cases);
}

/// A new seed, or the environment's.
pub(super) fn seed() -> u64 {
    let seed = match std::env::var(SEED_VARIABLE) {
        Ok(words) => words.parse().expect("a number"),
        Err(_) => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    };
    eprintln!("{SEED_VARIABLE}={seed}");
    seed
}

/// A campaign of this length.
pub(super) fn campaign(flows: &[&str], endings: Endings, time_limit: Duration) -> Campaign {
    Campaign {
        flows: flows.iter().map(|name| (*name).to_owned()).collect(),
        seed: seed(),
        cases: u64::MAX,
        time_limit: Some(time_limit),
        endings,
        threads: 2,
    }
}

fn explore_cleanly(flows: &[&str], persistence: Persistence, depth: usize) {
    let options = Options {
        depth,
        scope: Scope::Restarted,
        cuts: true,
        lost_acks: true,
        lost_payments: true,
        threads: 2,
        time_limit: Some(TIME_LIMIT / flows.len() as u32),
        first_moment: seed(),
        ..Options::default()
    };
    for flow in flows {
        let plan = Plan::new(flow, persistence, Schedule::Fixed, 0);
        let report = explore(&plan, options).expect("a world comes about");
        expect_clean(&plan.to_string(), &report);
    }
}

#[test]
fn an_exploration_tries_the_same_wherever_it_begins() {
    let tried = |first_moment| {
        let options = Options {
            cuts: true,
            threads: 2,
            first_moment,
            ..Options::default()
        };
        let plan = Plan::new("direct", Persistence::Synchronous, Schedule::Fixed, 0);
        let report = explore(&plan, options).expect("a world comes about");
        (report.cases, report.failed, report.moments)
    };
    let from_the_start = tried(0);
    assert!(from_the_start.0 > 20, "{from_the_start:?}");
    for first_moment in [1, 17, 1_000_003] {
        assert_eq!(tried(first_moment), from_the_start, "from {first_moment}");
    }
}

#[test]
fn every_flow_ends_as_planned_when_nothing_goes_wrong() {
    for (name, _, _) in FLOWS {
        for persistence in [Persistence::Synchronous, Persistence::Asynchronous] {
            for schedule in [Schedule::Fixed, Schedule::Random] {
                let plan = Plan::new(name, persistence, schedule, 1);
                let mut world = plan.replay(false).expect("a world comes about");
                let verdict = judge_alive(&mut world);
                assert_eq!(verdict.complaints, Vec::<String>::new(), "{plan}");
                let is_storm = name.starts_with("storm");
                assert!(is_storm || verdict.ended_otherwise == 0, "{plan}");
            }
        }
    }
}

/// Whether an effect of a node had to wait for a write in this world, which runs to its rest.
fn does_anything_wait(mut world: World) -> bool {
    let mut does_wait = false;
    while world.advance() {
        let mut engines = world.nodes.iter().filter_map(|node| node.engine.as_ref());
        does_wait |= engines.any(Engine::is_anything_held);
    }
    does_wait
}

#[test]
fn nothing_ever_waits_where_writes_are_done_at_once() {
    for (name, _, _) in FLOWS {
        for schedule in [Schedule::Fixed, Schedule::Random] {
            let waits = |persistence| {
                let plan = Plan::new(name, persistence, schedule, 1);
                does_anything_wait(plan.start().expect("a world comes about"))
            };
            assert!(!waits(Persistence::Synchronous), "{name}");
            assert!(waits(Persistence::Asynchronous), "{name}");
        }
    }
}

#[test]
fn a_crash_anywhere_in_a_payment_is_recovered_from() {
    let flows = ["direct", "forward", "fail-back", "mpp"];
    explore_cleanly(&flows, Persistence::Synchronous, 1);
}

#[test]
fn a_crash_with_any_writes_on_their_way_is_recovered_from() {
    let flows = ["direct", "forward", "fail-back", "mpp"];
    explore_cleanly(&flows, Persistence::Asynchronous, 1);
}

#[test]
fn a_crash_in_the_recovery_from_a_crash_is_recovered_from() {
    explore_cleanly(&["direct"], Persistence::Synchronous, 2);
}

#[test]
fn no_answered_command_is_taken_back_by_a_crash() {
    let flows = ["hold-claim", "hold-fail", "close"];
    explore_cleanly(&flows, Persistence::Asynchronous, 1);
}

#[test]
fn random_crashes_in_random_orders_are_recovered_from() {
    let flows: Vec<_> = FLOWS.iter().map(|(name, _, _)| *name).collect();
    let campaign = campaign(&flows, Endings::default(), TIME_LIMIT);
    let report = campaign.run().expect("worlds come about");
    expect_clean("random", &report);
}

#[test]
fn the_same_plan_gives_the_same_history() {
    let plan: Plan = "mpp async random seed=5 crash=D@90:arrive crash=A@120"
        .parse()
        .expect("a plan");
    let trace = || plan.replay(true).expect("a world comes about").trace;
    assert!(trace().is_some_and(|lines| lines.len() > 100));
    assert_eq!(trace(), trace());
}

#[test]
fn a_peer_that_has_not_seen_a_closing_transaction_yet_is_not_warned() {
    let plan = Plan::new("close", Persistence::Synchronous, Schedule::Fixed, 0);
    let mut world = plan.start().expect("a world comes about");
    let phases = world.flow.phases.len();
    while world.phase < phases {
        assert!(world.advance());
    }
    // The blocks are mined, and nobody has seen them. A starts anew and sees them first.
    world.crash(0, &Default::default());
    world.perform(Action::Restart(0));
    for _ in 0..6 {
        world.perform(Action::Block(0));
    }
    world.perform(Action::Connect(0));
    for _ in 0..4 {
        world.perform(Action::Run(1));
    }
    world.perform(Action::Deliver { link: 0, from: 1 });
    world.run_to_rest();
    assert_eq!(judge_alive(&mut world).complaints, Vec::<String>::new());
}

#[test]
fn both_sides_of_a_channel_agree_whenever_they_are_quiet() {
    let campaign = Campaign {
        flows: vec!["storm-pair".to_owned()],
        seed: 0,
        cases: u64::MAX,
        time_limit: Some(TIME_LIMIT / 2),
        endings: Endings::default(),
        threads: 2,
    };
    let report = campaign.run().expect("worlds come about");
    expect_clean("storm-pair", &report);
}

/// Kills A without its payments' records, and lets the world rest.
fn without_payments(world: &mut super::world::World) {
    let image = Image {
        payments_lost: true,
        ..Image::default()
    };
    world.crash(A, &image);
    world.run_to_rest();
    let found = super::judge::judge(world).complaints;
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_failure_whose_payment_record_is_lost_is_told_all_the_same() {
    let mut world = world_when("unknown", |w| has_event(w, A, B, EventKind::Failed));
    without_payments(&mut world);
    let is_told = world.nodes[A]
        .user
        .handled()
        .any(|event| matches!(event, UserEvent::PaymentFailed { .. }));
    assert!(is_told);
}

#[test]
fn a_claim_that_was_told_before_its_payment_record_was_lost_leaves_nothing_under_way() {
    let mut world = world_when("direct", |w| {
        let record = record(w, A, B);
        let mut outbound = record.outbound.values();
        outbound.any(|htlc| htlc.preimage.is_some()) && record.events.is_empty()
    });
    without_payments(&mut world);
}

#[test]
fn with_the_records_of_own_payments_deleted_at_any_moment_every_htlc_still_resolves() {
    let options = Options {
        lost_payments: true,
        threads: 2,
        ..Options::default()
    };
    for flow in ["forward", "mpp", "fail-back"] {
        let plan = Plan::new(flow, Persistence::Synchronous, Schedule::Fixed, 0);
        let report = explore(&plan, options).expect("a world comes about");
        expect_clean(&plan.to_string(), &report);
    }
}

#[test]
fn unacknowledged_events_are_bounded_by_refusing_new_htlcs() {
    for at_once in [false, true] {
        events_are_bounded(at_once);
    }
}

/// Twice as many payments as there may be events, one after the other or all together.
fn events_are_bounded(at_once: bool) {
    const BOUND: usize = 3;
    let mut world = world("forward");
    world.play(payments(&world, &[A, B, C], 2 * BOUND, at_once));
    let engine = world.nodes[B].engine.as_mut().expect("it lives");
    engine.node.policy.maximum_unacknowledged_events = BOUND;
    // Nothing that B tells of its forwards is handled, so no claim can be acknowledged.
    world.nodes[B].user.is_busy = true;
    let mut most = 0;
    while world.advance() {
        most = most.max(record(&world, B, C).events.len());
    }
    assert_eq!(most, BOUND);
    let count = |world: &World, is_it: fn(&UserEvent) -> bool| {
        let heard = world.nodes[A].user.handled();
        heard.filter(|event| is_it(event)).count()
    };
    let sent = |event: &UserEvent| matches!(event, UserEvent::PaymentSent { .. });
    let failed = |event: &UserEvent| matches!(event, UserEvent::PaymentFailed { .. });
    assert_eq!((count(&world, sent), count(&world, failed)), (BOUND, BOUND));
    world.nodes[B].user.is_busy = false;
    world.run_to_rest();
    assert!(record(&world, B, C).events.is_empty());
    let flow = {
        let mut script = Script::new("after", &world, 0);
        script.pay(&[A, B, C], Kind::Claim);
        script.finish()
    };
    world.play(flow);
    world.run_to_rest();
    assert_eq!(count(&world, sent), 1);
}

/// So many payments on one way, one after the other or all together.
fn payments(world: &World, way: &[usize], count: usize, at_once: bool) -> Flow {
    let mut script = Script::new("bounded", world, 0);
    for phase in 0..count {
        if !at_once {
            script.phase = phase;
        }
        script.pay(way, Kind::Claim);
    }
    script.finish()
}

#[test]
fn own_payments_make_no_more_events_than_may_be_unacknowledged_even_all_together() {
    const BOUND: usize = 3;
    let mut world = world("direct");
    world.play(payments(&world, &[A, B], 2 * BOUND, true));
    let engine = world.nodes[A].engine.as_mut().expect("it lives");
    engine.node.policy.maximum_unacknowledged_events = BOUND;
    // What A is told of its payments is not handled, so no end of one can be acknowledged.
    world.nodes[A].user.is_busy = true;
    let mut most = 0;
    while world.advance() {
        most = most.max(record(&world, A, B).events.len());
    }
    assert_eq!(most, BOUND);
    world.nodes[A].user.is_busy = false;
    world.run_to_rest();
    assert!(record(&world, A, B).events.is_empty());
    let heard = || world.nodes[A].user.handled();
    let sent = heard().filter(|event| matches!(event, UserEvent::PaymentSent { .. }));
    let failed = heard().filter(|event| matches!(event, UserEvent::PaymentFailed { .. }));
    assert_eq!((sent.count(), failed.count()), (BOUND, BOUND));
}

#[test]
fn own_payments_are_refused_while_too_many_events_are_unacknowledged() {
    let mut world = world("direct");
    let engine = world.nodes[A].engine.as_mut().expect("it lives");
    engine.node.policy.maximum_unacknowledged_events = 0;
    world.run_to_rest();
    let mut heard = world.nodes[A].user.handled();
    assert!(heard.any(|event| matches!(event, UserEvent::PaymentFailed { .. })));
    assert_eq!(record(&world, A, B).next_htlc_id, 0);
}

#[test]
fn restarting_twice_with_no_input_changes_nothing() {
    for (name, _, _) in FLOWS {
        if *name == "open" || name.starts_with("force") {
            continue;
        }
        let mut world = rested(name);
        assert_eq!(
            restart::complaints(&mut world),
            Vec::<String>::new(),
            "{name}"
        );
    }
}

#[test]
fn the_order_in_which_records_are_read_changes_nothing() {
    for (flow, kind) in [
        ("mpp", EventKind::MppClaim),
        ("mpp-fail", EventKind::Accepted),
    ] {
        let world = world_when(flow, |w| {
            has_event(w, 3, B, kind) && has_event(w, 3, C, kind)
        });
        let node = &world.nodes[3];
        let load = |is_reversed: bool| {
            let mut stored = node.disk.stored().expect("it can be read");
            if is_reversed {
                stored.channels.reverse();
                stored.payments.reverse();
            }
            let surroundings = crate::input::Surroundings {
                entropy: [7; 32],
                now_s: super::node::NOW_S,
            };
            let (environment, policy) = (node.environment.clone(), node.policy.clone());
            let tip = world.chain.tip();
            let loaded = crate::node::Node::load(environment, policy, stored, tip, surroundings);
            loaded.expect("it starts").1
        };
        assert_eq!(load(false), load(true));
    }
}
