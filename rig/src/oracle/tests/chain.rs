use std::collections::BTreeMap;

use bitcoin::OutPoint;
use bitcoin::consensus::encode::deserialize_hex;
use faults::GateReport;
use node_bin::api::{Report, UserEvent, WireMessage};

use super::{
    assert_finds, assert_not_run, assert_passes, direct, forward, good_direct, good_forward,
    judgement,
};
use crate::evidence::{Evidence, NodeReport, Source, Verdict};
use crate::oracle::chain_view::ChainView;
use crate::oracle::chain_view::commitment::Closure;
use crate::oracle::chain_view::witness::{OutputKind, SpendPath};
use crate::oracle::testing::{Ending, FEE_SAT, OnChain, World, anchor_script, preimage};
use crate::scenario::{ExpectedPayment, NodeKind, Persist};

pub const UPSTREAM_MSAT: u64 = 50_001_000;
pub const DOWNSTREAM_MSAT: u64 = 50_000_000;

pub fn on_chain(amount_msat: u64, offered: bool, ending: Ending) -> OnChain {
    OnChain {
        number: 1,
        amount_sat: amount_msat / 1000,
        offered,
        ending,
    }
}

/// A–B–C with an HTLC on both hops, and B–C meant to close.
pub fn under_way() -> (World, u64) {
    let mut world = forward();
    world.made("p", &["A", "B", "C"], 1, DOWNSTREAM_MSAT);
    let upstream = world.add("A", "B", 1, UPSTREAM_MSAT);
    world.add("B", "C", 1, DOWNSTREAM_MSAT);
    world.evidence.plan.scenario.expect.closed = vec!["B-C".into()];
    (world, upstream)
}

/// C closes and claims on chain; B learns the preimage there.
pub fn claimed_on_chain() -> Evidence {
    claimed_from("C")
}

pub fn claimed_from(by: &str) -> Evidence {
    let (mut world, upstream) = under_way();
    let offered = by == "B";
    world.force_close(
        "B-C",
        by,
        &[on_chain(DOWNSTREAM_MSAT, offered, Ending::Preimage)],
    );
    world.fulfil("A", "B", upstream, 1, UPSTREAM_MSAT);
    let made = world.evidence.payments[0].clone();
    world.claimed_event(&made);
    world.sent_event(&made, 1);
    world.live();
    world.rest()
}

pub fn timed_out_from(by: &str) -> World {
    failed_after(by, 5)
}

/// `by` closes B-C, B gets its HTLC back on chain, and so many blocks later fails the one of A.
pub fn failed_after(by: &str, blocks: u32) -> World {
    let (mut world, upstream) = under_way();
    world.expect("p", ExpectedPayment::Failed);
    time_out(&mut world, by);
    for _ in 0..blocks {
        world.mine(Vec::new());
    }
    world.fail("A", "B", upstream);
    let made = world.evidence.payments[0].clone();
    world.failed_event(&made);
    world.live();
    world
}

/// `by` closes B-C, and B gets its HTLC back on chain.
pub fn time_out(world: &mut World, by: &str) {
    let offered = by == "B";
    world.force_close(
        "B-C",
        by,
        &[on_chain(DOWNSTREAM_MSAT, offered, Ending::Timeout)],
    );
}

#[test]
fn an_htlc_claimed_on_chain_from_either_commitment_passes() {
    assert_passes(&claimed_from("C"));
    assert_passes(&claimed_from("B"));
}

#[test]
fn an_htlc_timed_out_on_chain_from_either_commitment_passes() {
    assert_passes(&timed_out_from("B").rest());
    assert_passes(&timed_out_from("C").rest());
}

#[test]
fn a_commitment_is_read_output_by_output() {
    let evidence = claimed_on_chain();
    let chain = ChainView::read(&evidence.chain).unwrap();
    let funding: OutPoint = evidence.channels[1].funding.parse().unwrap();
    let Closure::Commitment(commitment) = Closure::read(&chain, &funding) else {
        panic!("no commitment");
    };
    let kinds: Vec<OutputKind> = commitment
        .outputs
        .iter()
        .map(|output| output.kind)
        .collect();
    assert_eq!(
        kinds[..4],
        [
            OutputKind::Delayed,
            OutputKind::ToRemote,
            OutputKind::Anchor,
            OutputKind::Anchor
        ]
    );
    assert!(matches!(
        kinds[4],
        OutputKind::Htlc {
            offered: false,
            cltv_expiry: Some(150),
            ..
        }
    ));
    assert_eq!(
        commitment.outputs[4].spend.unwrap().path,
        SpendPath::Preimage([1; 32])
    );
    assert_eq!(commitment.outputs[0].spend.unwrap().path, SpendPath::Owner);
    let other: OutPoint = evidence.channels[0].funding.parse().unwrap();
    assert_eq!(Closure::read(&chain, &other), Closure::Open);
}

#[test]
fn a_transaction_nobody_can_read_leaves_the_case_unjudged() {
    let mut evidence = good_direct();
    evidence.chain.blocks[0].transactions[0].truncate(20);
    for oracle in ["ledger", "conservation", "close", "at-rest", "witnesses"] {
        assert_not_run(&evidence, oracle, "cannot be read");
    }
}

#[test]
fn a_block_from_another_case_leaves_the_case_unjudged() {
    let mut evidence = good_direct();
    evidence.chain.blocks[0].height = 3;
    assert_not_run(&evidence, "witnesses", "mixes two cases");
}

#[test]
fn a_funding_that_is_in_no_block_leaves_the_case_unjudged() {
    let mut evidence = good_direct();
    evidence.chain.blocks.pop();
    assert_not_run(&evidence, "ledger", "is in none of the case's blocks");
}

#[test]
fn events_that_the_chain_belies_are_found() {
    // A was told paid, and the HTLC it offered was timed out on chain.
    let mut world = World::new(&["A", "B"], &[("A", "B")]);
    let made = world.made("p", &["A", "B"], 1, DOWNSTREAM_MSAT);
    world.add("A", "B", 1, DOWNSTREAM_MSAT);
    world.evidence.plan.scenario.expect.closed = vec!["A-B".into()];
    world.force_close(
        "A-B",
        "A",
        &[on_chain(DOWNSTREAM_MSAT, true, Ending::Timeout)],
    );
    world.claimed_event(&made);
    world.sent_event(&made, 1);
    let evidence = world.rest();
    let (message, _) = assert_finds(&evidence, "ledger", "chain-disagrees-with-events");
    assert!(message.contains("A was told that p is paid"), "{message}");
    let judgement = judgement(&evidence, "ledger");
    assert!(
        judgement
            .findings
            .iter()
            .any(|f| f.message.contains("B lost 50000000 msat")),
        "{judgement:#?}"
    );
}

#[test]
fn a_failed_payment_that_was_claimed_on_chain_is_found() {
    let mut world = World::new(&["A", "B"], &[("A", "B")]);
    let made = world.made("p", &["A", "B"], 1, DOWNSTREAM_MSAT);
    world.add("A", "B", 1, DOWNSTREAM_MSAT);
    world.evidence.plan.scenario.expect.closed = vec!["A-B".into()];
    world.force_close(
        "A-B",
        "A",
        &[on_chain(DOWNSTREAM_MSAT, true, Ending::Preimage)],
    );
    world.claimed_event(&made);
    world.failed_event(&made);
    assert_finds(&world.rest(), "ledger", "chain-disagrees-with-events");
}

#[test]
fn a_forwarder_that_loses_its_inbound_htlc_on_chain_is_named() {
    let mut world = forward();
    world.expect("p", ExpectedPayment::Either);
    let made = world.made("p", &["A", "B", "C"], 1, DOWNSTREAM_MSAT);
    world.add("A", "B", 1, UPSTREAM_MSAT);
    let downstream = world.add("B", "C", 1, DOWNSTREAM_MSAT);
    world.fulfil("B", "C", downstream, 1, DOWNSTREAM_MSAT);
    world.evidence.plan.scenario.expect.closed = vec!["A-B".into()];
    world.force_close(
        "A-B",
        "A",
        &[on_chain(UPSTREAM_MSAT, true, Ending::Timeout)],
    );
    world.claimed_event(&made);
    world.failed_event(&made);
    world.live();
    let (message, _) = assert_finds(&world.rest(), "ledger", "forwarder-loss");
    assert!(
        message.contains("B paid 50000000 msat downstream and got 0 msat"),
        "{message}"
    );
}

/// B pays an HTLC on whose inbound one has no output in what closes A-B, before that or after; this comes before both.
fn dust_upstream(is_closed_first: bool, before: impl FnOnce(&mut World)) -> Evidence {
    let mut world = forward();
    world.expect("p", ExpectedPayment::Either);
    let made = world.made("p", &["A", "B", "C"], 1, 100_000);
    world.add("A", "B", 1, 101_000);
    let close = |world: &mut World| {
        // The commitment has the HTLC, but no output for it: the miner gets its 101 sat.
        world.evidence.plan.scenario.expect.closed = vec!["A-B".into()];
        world.balances.get_mut("A-B").unwrap()[0] -= 101_000;
        world.force_close("A-B", "A", &[]);
    };
    before(&mut world);
    if is_closed_first {
        close(&mut world);
    }
    let downstream = world.add("B", "C", 1, 100_000);
    world.fulfil("B", "C", downstream, 1, 100_000);
    if !is_closed_first {
        close(&mut world);
    }
    world.claimed_event(&made);
    world.failed_event(&made);
    world.live();
    world.rest()
}

#[test]
fn an_inbound_htlc_too_small_for_an_output_is_an_allowance_with_a_name() {
    let evidence = dust_upstream(false, |_| {});
    assert_passes(&evidence);
    let ledger = judgement(&evidence, "ledger");
    assert!(
        ledger
            .notes
            .iter()
            .any(|note| note.contains("B lost 100000 msat of dust")),
        "{ledger:#?}"
    );
}

#[test]
fn an_htlc_that_is_passed_on_after_its_inbound_channel_closed_without_an_output_is_found() {
    let evidence = dust_upstream(true, |_| {});
    let (message, _) = assert_finds(&evidence, "ledger", "forwarded-after-close");
    assert!(message.contains("it lost 100000 msat"), "{message}");
}

#[test]
fn an_htlc_that_was_written_down_before_its_inbound_channel_closed_may_be_passed_on_after_it() {
    let written = |node: &str, name: &str, role: &str| {
        dust_upstream(true, |world| {
            world.pass(node, name, role);
            world.restart("B");
        })
    };
    assert_passes(&written("B", "persist.monitor_update.renamed", "B-C"));
    assert_passes(&written("B", "persist.monitor.after", "B-C"));
    // Nothing that is no such write counts.
    for (node, name, role) in [
        ("B", "persist.monitor_update.synced", "B-C"),
        ("B", "persist.monitor_update.after", "A-B"),
        ("C", "persist.monitor_update.after", "B-C"),
        ("B", "persist.monitor_ack.after", "B-C"),
    ] {
        assert_finds(
            &written(node, name, role),
            "ledger",
            "forwarded-after-close",
        );
    }
}

/// C fulfils an HTLC too small for an output, B takes that, and B-C closes by C's commitment, which has the
/// HTLC still. B fails upstream.
fn forgotten_dust(amount_msat: u64, do_before_the_kill: impl Fn(&mut World)) -> World {
    let mut world = forward();
    world.expect("p", ExpectedPayment::Either);
    let made = world.made("p", &["A", "B", "C"], 1, amount_msat);
    let upstream = world.add("A", "B", 1, amount_msat + 1_000);
    world.add("B", "C", 1, amount_msat);
    let fulfil = WireMessage::UpdateFulfillHtlc {
        htlc_id: 0,
        preimage: preimage(1),
    };
    world.message("C", "B", "B-C", fulfil);
    world.claimed_event(&made);
    do_before_the_kill(&mut world);
    world.restart("B");
    world.evidence.plan.scenario.expect.closed = vec!["B-C".into()];
    world.balances.get_mut("B-C").unwrap()[0] -= amount_msat;
    world.force_close("B-C", "C", &[]);
    for _ in 0..5 {
        world.mine(Vec::new());
    }
    world.fail("A", "B", upstream);
    world.failed_event(&made);
    world.live();
    world
}

fn store(world: &mut World, label: &str) {
    let channel_id = world.channel(label).channel_id;
    let key = format!("monitor_updates/{channel_id}/7");
    world.report("B", Report::Stored { key, bytes: 7 });
}

#[test]
fn dust_whose_fulfilment_died_with_the_offerer_is_an_allowance_with_a_name() {
    let evidence = forgotten_dust(300_000, |_| {}).rest();
    assert_passes(&evidence);
    let ledger = judgement(&evidence, "ledger");
    let named = "p: 300000 msat of dust HTLCs had no output when their channel closed";
    assert!(ledger.notes.iter().any(|note| note == named), "{ledger:#?}");
    // A record of something else keeps nothing of it, nor does a payment of another hash.
    let other = |world: &mut World| {
        let key = "manager".to_owned();
        world.report("B", Report::Stored { key, bytes: 7 });
    };
    assert_passes(&forgotten_dust(300_000, other).rest());
    // A write that waits is of what came before, perhaps.
    let late = |world: &mut World| {
        let nodes = &mut world.evidence.plan.scenario.nodes;
        nodes.get_mut("B").unwrap().persist = Persist::Held;
        store(world, "B-C");
    };
    assert_passes(&forgotten_dust(300_000, late).rest());
}

#[test]
fn dust_whose_fulfilment_the_offerer_had_for_good_is_a_loss() {
    type Keeps = fn(&mut World);
    let keeps: [Keeps; 6] = [
        |world| store(world, "B-C"),
        |world| store(world, "A-B"),
        |world| {
            let point = "persist.monitor_update.renamed[B-C]@4".parse().unwrap();
            let (node, life) = ("B".into(), 0);
            let report = NodeReport::Gate(GateReport::Point { point, input: 3 });
            world.push(Source::Node { node, life, report });
        },
        |world| {
            let signed = WireMessage::CommitmentSigned { htlc_signatures: 0 };
            world.message("C", "B", "B-C", signed);
            world.message("B", "C", "B-C", WireMessage::RevokeAndAck {});
        },
        |world| {
            let fulfil = WireMessage::UpdateFulfillHtlc {
                htlc_id: 0,
                preimage: preimage(1),
            };
            world.lost_message("B", "A", "A-B", fulfil);
        },
        |world| {
            let nodes = &mut world.evidence.plan.scenario.nodes;
            nodes.get_mut("B").unwrap().persist = Persist::Held;
            world.report(
                "B",
                Report::Idle {
                    handled: 1,
                    counters: BTreeMap::new(),
                    waiting_writes: 0,
                },
            );
        },
    ];
    for keep in keeps {
        let evidence = forgotten_dust(300_000, keep).rest();
        let (message, _) = assert_finds(&evidence, "ledger", "forwarder-loss");
        assert!(
            message.contains("B paid 300000 msat downstream"),
            "{message}"
        );
    }
}

#[test]
fn dust_that_is_fulfilled_when_its_offerer_has_closed_the_channel_is_an_allowance_with_a_name() {
    let fulfilled = |is_closed_before: bool, is_stored: bool| {
        let mut world = direct();
        world.expect("p", ExpectedPayment::Either);
        world.evidence.plan.scenario.expect.closed = vec!["A-B".into()];
        let made = world.made("p", &["A", "B"], 1, 300_000);
        world.add("A", "B", 1, 300_000);
        world.claimed_event(&made);
        let channel_id = world.channel("A-B").channel_id;
        let fulfil = WireMessage::UpdateFulfillHtlc {
            htlc_id: 0,
            preimage: preimage(1),
        };
        if !is_closed_before {
            world.message("B", "A", "A-B", fulfil.clone());
        }
        let closed = UserEvent::ChannelClosed {
            channel: "A-B".into(),
            channel_id,
            reason: "HolderForceClosed".into(),
        };
        world.event("A", closed);
        if is_closed_before {
            world.message("B", "A", "A-B", fulfil);
        }
        if is_stored {
            let key = format!("monitor_updates/{}/9", world.channel("A-B").channel_id);
            world.report("A", Report::Stored { key, bytes: 7 });
        }
        world.mine(Vec::new());
        world.report("A", Report::Block { height: 104 });
        let key = format!("monitor_updates/{}/10", world.channel("A-B").channel_id);
        world.report("A", Report::Stored { key, bytes: 7 });
        world.balances.get_mut("A-B").unwrap()[0] -= 300_000;
        world.force_close("A-B", "A", &[]);
        world.failed_event(&made);
        world.rest()
    };
    assert_passes(&fulfilled(true, false));
    // One that keeps the preimage has been told, closed or not.
    assert_finds(&fulfilled(true, true), "ledger", "claimed-not-paid");
    assert_finds(&fulfilled(false, true), "ledger", "claimed-not-paid");
}

#[test]
fn an_htlc_that_is_no_dust_is_no_allowance_though_its_fulfilment_died_with_the_offerer() {
    assert_finds(
        &forgotten_dust(546_000, |_| {}).rest(),
        "ledger",
        "forwarder-loss",
    );
}

#[test]
fn more_dust_than_a_channel_may_hold_is_found_when_it_closes() {
    let closed_with = |count: u64| {
        let mut world = World::new(&["B", "C"], &[("B", "C")]);
        for node in world.evidence.plan.scenario.nodes.values_mut() {
            node.kind = NodeKind::Unified;
        }
        world.evidence.plan.scenario.expect.closed = vec!["B-C".into()];
        for number in 0..count {
            let id = format!("p-{number}");
            let number = number as u8 + 1;
            let made = world.made(&id, &["B", "C"], number, 500_000);
            world.expect(&id, ExpectedPayment::Failed);
            world.add("B", "C", number, 500_000);
            world.balances.get_mut("B-C").unwrap()[0] -= 500_000;
            world.failed_event(&made);
        }
        world.force_close("B-C", "C", &[]);
        world.live();
        world.rest()
    };
    assert_passes(&closed_with(10));
    let (message, lines) = assert_finds(&closed_with(11), "ledger", "dust-above-limit");
    assert!(message.starts_with("5500000 msat of dust"), "{message}");
    assert_eq!(lines.len(), 11);
}

#[test]
fn an_htlc_fulfilled_by_message_and_timed_out_on_chain_is_found() {
    let (mut world, upstream) = under_way();
    let fulfil = WireMessage::UpdateFulfillHtlc {
        htlc_id: 0,
        preimage: preimage(1),
    };
    world.message("C", "B", "B-C", fulfil);
    world.force_close(
        "B-C",
        "B",
        &[on_chain(DOWNSTREAM_MSAT, true, Ending::Timeout)],
    );
    world.fulfil("A", "B", upstream, 1, UPSTREAM_MSAT);
    let made = world.evidence.payments[0].clone();
    world.claimed_event(&made);
    world.sent_event(&made, 1);
    world.live();
    let evidence = world.rest();
    let (message, _) = assert_finds(&evidence, "ledger", "htlc-double-claim");
    assert!(
        message.contains("fulfilled by a message and timed out on chain"),
        "{message}"
    );
    assert_finds(&evidence, "ledger", "forwarder-gain");
}

#[test]
fn an_htlc_failed_by_message_and_claimed_on_chain_is_found() {
    let (mut world, upstream) = under_way();
    world.fail("B", "C", 0);
    world.force_close(
        "B-C",
        "C",
        &[on_chain(DOWNSTREAM_MSAT, false, Ending::Preimage)],
    );
    world.fulfil("A", "B", upstream, 1, UPSTREAM_MSAT);
    let made = world.evidence.payments[0].clone();
    world.claimed_event(&made);
    world.sent_event(&made, 1);
    world.live();
    let (message, _) = assert_finds(&world.rest(), "ledger", "htlc-double-claim");
    assert!(
        message.contains("failed by a message and claimed on chain"),
        "{message}"
    );
}

#[test]
fn a_revoked_commitment_is_found_by_its_penalty() {
    let (mut world, _) = under_way();
    world.force_close(
        "B-C",
        "B",
        &[on_chain(DOWNSTREAM_MSAT, true, Ending::Revocation)],
    );
    let (message, _) = assert_finds(&world.rest(), "close", "revoked-commitment");
    assert!(
        message.contains("B-C was closed by the revoked commitment"),
        "{message}"
    );
}

#[test]
fn outputs_that_nobody_took_are_found_and_named_in_the_books() {
    for ending in [Ending::Unspent, Ending::HalfTimeout] {
        let (mut world, upstream) = under_way();
        world.force_close("B-C", "B", &[on_chain(DOWNSTREAM_MSAT, true, ending)]);
        world.fail("A", "B", upstream);
        let made = world.evidence.payments[0].clone();
        world.failed_event(&made);
        world.live();
        let evidence = world.rest();
        let (message, _) = assert_finds(&evidence, "at-rest", "unclaimed-output");
        assert!(message.contains("(50000 sat)"), "{message}");
        let notes = judgement(&evidence, "conservation").notes;
        assert!(
            notes.contains(&"other outputs left on chain: 50000 sat".to_owned()),
            "{notes:?}"
        );
        assert!(
            notes.contains(&"anchors left on chain: 660 sat".to_owned()),
            "{notes:?}"
        );
    }
}

#[test]
fn an_acceptor_may_gain_its_own_anchor() {
    let mut world = timed_out_from("B");
    // C accepted B-C and takes both anchors, for which B paid, without a fee: 660 sat, less the 500
    // that C's own sweep cost.
    let commitment: bitcoin::Transaction = world
        .evidence
        .chain
        .blocks
        .iter()
        .flat_map(|block| &block.transactions)
        .map(|raw| deserialize_hex(raw).unwrap())
        .find(|made: &bitcoin::Transaction| {
            made.output
                .iter()
                .any(|output| output.value.to_sat() == 330)
        })
        .unwrap();
    for vout in [2, 3] {
        let anchor = OutPoint::new(commitment.compute_txid(), vout);
        let witness = vec![vec![1; 71], anchor_script(2).to_bytes()];
        world.sweep("C", anchor, 330 + FEE_SAT, witness);
    }
    let evidence = world.rest();
    assert_passes(&evidence);
    let notes = judgement(&evidence, "conservation").notes;
    let gain = "C gained 160000 msat by anchors that others paid for (at most 660000 msat)";
    assert!(notes.contains(&gain.to_owned()), "{notes:?}");
}

#[test]
fn an_electrs_that_lacks_a_transaction_is_found() {
    let mut evidence = good_forward();
    let history = evidence
        .chain
        .histories
        .iter_mut()
        .find(|history| history.entries.len() > 1);
    history.unwrap().entries.pop();
    let (message, lines) = assert_finds(&evidence, "witnesses", "electrs-disagrees");
    assert!(message.contains("lacks 1 and has 0"), "{message}");
    assert!(
        lines[0].starts_with("only in bitcoind's blocks: "),
        "{lines:?}"
    );
}

#[test]
fn an_electrs_that_has_a_transaction_of_its_own_is_found() {
    let mut evidence = good_forward();
    evidence.chain.histories[0]
        .entries
        .push(("cd".repeat(32), 102));
    assert_finds(&evidence, "witnesses", "electrs-disagrees");
    let mut evidence = good_forward();
    let unused = crate::evidence::ScriptHistory {
        script: "51".into(),
        entries: vec![("cd".repeat(32), 102)],
    };
    evidence.chain.histories.push(unused);
    assert_finds(&evidence, "witnesses", "electrs-disagrees");
}

#[test]
fn an_electrs_with_another_height_is_found() {
    let mut evidence = good_direct();
    evidence.chain.histories[0].entries[0].1 += 1;
    let (message, _) = assert_finds(&evidence, "witnesses", "electrs-disagrees");
    assert!(message.contains("lacks 1 and has 1"), "{message}");
}

#[test]
fn an_electrs_with_a_mempool_of_its_own_is_found_and_with_the_shared_one_not() {
    let mut evidence = good_direct();
    evidence.chain.histories[0]
        .entries
        .push(("cd".repeat(32), 0));
    assert_finds(&evidence, "witnesses", "electrs-disagrees");
    evidence.chain.mempool.push("cd".repeat(32));
    assert_eq!(judgement(&evidence, "witnesses").verdict, Verdict::Pass);
}

#[test]
fn what_electrs_says_of_the_time_before_the_case_does_not_matter() {
    let mut evidence = good_direct();
    evidence.chain.histories[0]
        .entries
        .push(("cd".repeat(32), 90));
    assert_passes(&evidence);
}

#[test]
fn a_script_that_electrs_was_not_asked_for_leaves_the_case_unjudged() {
    let mut evidence = good_direct();
    evidence.chain.histories.pop();
    assert_not_run(&evidence, "witnesses", "electrs was not asked");
}
