use faults::{Fault, GateReport};
use node_bin::api::{
    BroadcastTransaction, HtlcDirection, HtlcView, LogLevel, OnchainClaim, PaymentState, Report,
    UserEvent, WireMessage,
};

use super::{
    assert_finds, assert_not_run, assert_passes, direct, forward, good_direct, good_forward,
    judgement,
};
use crate::evidence::{Evidence, NodeReport, RigEntry, Source, Verdict};
use crate::oracle::testing::World;

fn log(world: &mut World, node: &str, level: LogLevel, message: &str) -> u64 {
    let log = Report::Log {
        level,
        module: "lightning::ln::channelmanager".into(),
        message: message.into(),
    };
    world.report(node, log)
}

/// B starts again with a manager older than its monitor.
fn stale() -> Evidence {
    let mut world = direct();
    world.pay("p", &["A", "B"], 1, 50_000_000);
    log(
        &mut world,
        "B",
        LogLevel::Warn,
        "of the life before: closing time",
    );
    world.restart("B");
    log(
        &mut world,
        "B",
        LogLevel::Error,
        "A ChannelManager is stale compared to the current ChannelMonitor!",
    );
    log(
        &mut world,
        "B",
        LogLevel::Error,
        " The channel will be force-closed and the latest commitment broadcast.",
    );
    log(
        &mut world,
        "A",
        LogLevel::Warn,
        "a word of A's about closing",
    );
    world.event(
        "B",
        UserEvent::ChannelClosed {
            channel: "A-B".into(),
            channel_id: world.channel("A-B").channel_id,
            reason: "OutdatedChannelManager".into(),
        },
    );
    let data = "Channel closed because of an exception".to_owned();
    world.message("B", "A", "A-B", WireMessage::Error { data });
    world.force_close("A-B", "B", &[]);
    world.rest()
}

#[test]
fn an_unexpected_close_is_named_with_reason_and_log_lines() {
    let evidence = stale();
    let (message, lines) = assert_finds(&evidence, "close", "unexpected-close");
    assert!(
        message.contains("A-B closed unexpectedly: B says OutdatedChannelManager"),
        "{message}"
    );
    assert!(message.contains("; spent by "), "{message}");
    assert!(lines[0].contains("B (life 1) ERROR"), "{lines:?}");
    assert!(
        lines[0].contains("A ChannelManager is stale compared"),
        "{lines:?}"
    );
    assert!(lines[1].contains("will be force-closed"), "{lines:?}");
    assert_eq!(
        lines[2],
        "error from B to A: Channel closed because of an exception"
    );
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(judgement(&evidence, "close").findings.len(), 1);
    // The money is all there, and nothing else is wrong.
    for oracle in ["ledger", "conservation", "at-rest", "alive"] {
        assert_eq!(
            judgement(&evidence, oracle).verdict,
            Verdict::Pass,
            "{oracle}"
        );
    }
}

#[test]
fn a_close_that_only_the_chain_shows_is_found() {
    let mut evidence = stale();
    evidence.trace.retain(|entry| {
        !matches!(
            &entry.source,
            Source::Node {
                report: NodeReport::Node(Report::Event {
                    event: UserEvent::ChannelClosed { .. }
                }),
                ..
            }
        )
    });
    let (message, lines) = assert_finds(&evidence, "close", "unexpected-close");
    assert!(message.contains("no node told its user"), "{message}");
    assert!(
        lines.iter().any(|line| line.contains("stale compared")),
        "{lines:?}"
    );
}

#[test]
fn a_channel_that_one_side_does_not_list_is_found() {
    let mut evidence = good_direct();
    evidence.rest.get_mut("B").unwrap().channels.clear();
    let (message, _) = assert_finds(&evidence, "close", "unexpected-close");
    assert!(message.contains("B does not list it at rest"), "{message}");
}

#[test]
fn an_expected_close_that_did_not_happen_is_found() {
    let mut evidence = good_direct();
    evidence.plan.scenario.expect.closed = vec!["A-B".into()];
    assert_finds(&evidence, "close", "missing-close");
}

#[test]
fn a_pending_htlc_is_found() {
    let mut evidence = good_direct();
    let channel = &mut evidence.rest.get_mut("B").unwrap().channels[0];
    channel.htlcs.push(HtlcView {
        direction: HtlcDirection::Inbound,
        htlc_id: Some(3),
        amount_msat: 7,
        payment_hash: "ab".repeat(32),
        cltv_expiry: 150,
        state: "Committed".into(),
    });
    let (message, _) = assert_finds(&evidence, "at-rest", "pending-htlc");
    assert!(
        message.contains("B has an inbound HTLC of 7 msat (id 3) in A-B"),
        "{message}"
    );
}

#[test]
fn a_pending_payment_is_found() {
    let mut evidence = good_direct();
    evidence.rest.get_mut("A").unwrap().payments[0].state = PaymentState::Pending;
    assert_finds(&evidence, "at-rest", "pending-payment");
}

#[test]
fn a_claim_that_is_still_open_is_found() {
    let mut evidence = good_direct();
    let view = evidence.rest.get_mut("A").unwrap();
    view.claims.push(OnchainClaim {
        channel: "A-B".into(),
        kind: "claimable_awaiting_confirmations".into(),
        amount_sat: 5,
        payment_hash: None,
    });
    // Of an open channel that works, it is only what a close would bring.
    assert_passes(&evidence);
    evidence.rest.get_mut("A").unwrap().channels[0].usable = false;
    assert_finds(&evidence, "at-rest", "unclaimed-output");
}

#[test]
fn an_unswept_output_is_found() {
    let mut evidence = good_direct();
    evidence.rest.get_mut("A").unwrap().unswept = 2;
    assert_finds(&evidence, "at-rest", "unswept-output");
}

#[test]
fn a_transaction_left_in_the_mempool_is_found() {
    let mut world = direct();
    world.pay("p", &["A", "B"], 1, 50_000_000);
    let txid = "cd".repeat(32);
    let transactions = vec![BroadcastTransaction {
        txid: txid.clone(),
        role: "claim A-B".into(),
        raw: String::new(),
    }];
    world.report(
        "A",
        Report::Broadcast {
            transactions,
            error: None,
        },
    );
    world.live();
    world.evidence.chain.mempool.push(txid);
    let (message, _) = assert_finds(&world.rest(), "at-rest", "mempool-not-empty");
    assert!(message.contains("A's claim A-B transaction"), "{message}");
}

#[test]
fn a_wait_that_ended_in_vain_is_found() {
    let mut world = direct();
    world.pay("p", &["A", "B"], 1, 50_000_000);
    let missing = "B's `idle`".to_owned();
    world.rig(RigEntry::WaitEnded { missing });
    world.live();
    let (message, _) = assert_finds(&world.rest(), "at-rest", "wait-ended");
    assert_eq!(message, "a wait ended without B's `idle`");
}

#[test]
fn a_channel_that_is_not_usable_is_dead() {
    let mut evidence = good_forward();
    evidence.rest.get_mut("C").unwrap().channels[0].usable = false;
    let (message, _) = assert_finds(&evidence, "alive", "dead-channel");
    assert_eq!(message, "C does not call B-C usable at rest");
}

#[test]
fn a_channel_without_a_live_payment_is_dead() {
    let mut evidence = good_forward();
    for payment in &mut evidence.payments {
        payment.proves = None;
    }
    assert_finds(&evidence, "alive", "dead-channel");
}

#[test]
fn a_channel_whose_live_payment_failed_is_dead() {
    let mut world = direct();
    world.pay("p", &["A", "B"], 1, 50_000_000);
    world.pay_in_vain("live-A-B-A", &["A", "B"], 2, 10_000);
    world.evidence.payments[1].proves = Some("A-B".into());
    let (message, _) = assert_finds(&world.rest(), "alive", "dead-channel");
    assert!(
        message.contains("at the end failed (RetriesExhausted)"),
        "{message}"
    );
}

#[test]
fn a_node_that_died_is_found_with_its_last_words() {
    let mut world = direct();
    world.pay("p", &["A", "B"], 1, 50_000_000);
    world.rig(RigEntry::Exited {
        node: "B".into(),
        life: 0,
        status: "signal 6".into(),
        last_lines: vec!["panicked at 'ChannelMonitorUpdates out of order'".into()],
    });
    world.live();
    let (message, lines) = assert_finds(&world.rest(), "process", "node-died");
    assert_eq!(message, "B ended by itself in life 0: signal 6");
    assert!(lines[0].contains("out of order"));
}

#[test]
fn a_point_that_was_not_reached_in_its_life_leaves_the_case_unjudged() {
    let mut world = forward();
    world.pay("p", &["A", "B", "C"], 1, 50_000_000);
    let at: faults::NodePoint = "B:send.revoke_and_ack.before[A-B]@1".parse().unwrap();
    world.evidence.plan.faults.push(Fault::kill(at.clone()));
    let passed = GateReport::Point {
        point: at.point.clone(),
        input: 3,
    };
    let frozen = GateReport::Frozen {
        point: at.point.clone(),
    };
    let gate = |node: &str, life, report| Source::Node {
        node: node.into(),
        life,
        report: NodeReport::Gate(report),
    };
    world.push(gate("B", 0, passed));
    world.push(gate("A", 0, frozen.clone()));
    world.push(gate("B", 1, frozen.clone()));
    world.live();
    let mut evidence = world.rest();
    assert_not_run(
        &evidence,
        "armed",
        "B:send.revoke_and_ack.before[A-B]@1 was not reached in life 0",
    );
    assert_eq!(super::judge(&evidence).verdict, Verdict::NotRun);
    let last = evidence.trace.last_mut().unwrap();
    last.source = gate("B", 0, frozen);
    assert_eq!(judgement(&evidence, "armed").verdict, Verdict::Pass);

    let mut passed_over = evidence.trace.last().unwrap().clone();
    passed_over.source = Source::Rig {
        did: RigEntry::PassedOver {
            node: "B".into(),
            life: 0,
            point: at.point,
        },
    };
    evidence.trace.push(passed_over);
    assert_not_run(&evidence, "armed", "was not reached in life 0");
}
