//! Every scenario on real parts: without faults all pass, in every mix of kinds, and the same points are passed
//! every time.

mod common;

use std::path::Path;
use std::process::Command;

use bitcoin::Transaction;
use bitcoin::consensus::encode::deserialize_hex;
use common::{DEADBOLT, Logs, workspace};
use rig::chain::ChainPool;
use rig::explore::points_of;
use rig::scenario::{self, NodeKind, Plan};
use rig::setup::{self, SilentProgress};
use rig::world::{CaseRunner, NodePrograms};
use serde_json::Value;

/// Who is what: all unified, all stock, B alone unified (in `mpp` a forwarder of two), B alone stock.
const MIXES: [&[&str]; 4] = [
    &["--kind", "unified"],
    &["--kind", "stock"],
    &["--kind", "stock", "--kind", "B=unified"],
    &["--kind", "unified", "--kind", "B=stock"],
];

/// What shows a flaw of one kind of node says itself which it is, and what only one kind can do is done by that.
fn mixes(name: &str) -> &[&[&str]] {
    match name {
        "forget" | "data-loss/stock" => &[&[]],
        "data-loss/unified" => &[&[], &["--kind", "A=stock"]],
        // A stock node closes a channel whose funding loses its only confirmation, on purpose.
        "reorg/funding" => &[&[]],
        // To a stock node six confirmations are final; here it is the side that loses nothing by that.
        "reorg/sweep"
        | "reorg/six-both"
        | "reorg/six-penalty"
        | "reorg/six-theirs"
        | "reorg/second-stage-penalty"
        | "reorg/second-stage-success-penalty" => &[&[], &["--kind", "B=stock"]],
        "timeout-small" | "reorg/six-timeout" | "reorg/six-timeout-theirs" => {
            &[&[], &["--kind", "A=stock", "--kind", "C=stock"]]
        }
        _ if name.starts_with("regression/") => &[&[]],
        _ => &MIXES,
    }
}

fn passes(name: &str) {
    for mix in mixes(name) {
        let logs = Logs::new();
        let arguments = [&["run", name, "--json", "--keep", "all"], *mix].concat();
        let ended = logs.deadbolt(&arguments).expect_code(0);
        let summary = ended.json();
        assert_eq!(summary["fail"], 0, "{mix:?}: {ended}");
        assert_eq!(summary["not_run"], 0, "{mix:?}: {ended}");
        let run = summary["run_id"].as_str().unwrap();
        look_closer(name, mix, &logs.0.path().join(run));
    }
}

/// What a reorganisation takes off has to be there: who published it before, and its role.
fn taken_off(name: &str) -> &[(&str, &str)] {
    match name {
        "reorg/timeout"
        | "reorg/timeout-theirs"
        | "reorg/six-timeout"
        | "reorg/six-timeout-theirs"
        | "reorg/electrs" => &[("B", "B-C claim")],
        "reorg/claim-theirs" | "reorg/six-theirs" => &[("C", "B-C claim")],
        "reorg/sweep"
        | "reorg/penalty"
        | "reorg/six-penalty"
        | "reorg/second-stage-penalty"
        | "reorg/second-stage-success-penalty" => &[("A", "A-B claim")],
        "reorg/both" | "reorg/six-both" => &[("B", "A-B claim"), ("C", "B-C claim")],
        _ => &[],
    }
}

/// What no oracle asks: that it came about in the way that the scenario is about.
fn look_closer(name: &str, mix: &[&str], run: &Path) {
    let told = || told_of_p(&run.join("cases/no-fault/trace.jsonl"));
    let parts = |told: &[Value]| -> Vec<String> {
        let parts = told.iter().filter(|event| event["kind"] == "payment_part");
        parts
            .map(|part| part["resolution"].as_str().unwrap().to_owned())
            .collect()
    };
    for (node, role) in taken_off(name) {
        let lines = lines_of(&run.join("cases/no-fault/trace.jsonl"));
        let (before, _) = lines.split_at(place_of(&lines, "reorged"));
        assert!(
            publishes(before, node, role),
            "{mix:?}: no {role} of {node}"
        );
    }
    match name {
        // A stock payer may try the same way twice: by the short channel id and by its alias in the invoice.
        "retry" => {
            let parts = parts(&told());
            let (last, before) = parts.split_last().unwrap();
            assert_eq!(last, "claimed", "{mix:?}: {parts:?}");
            let is_failed = |part: &String| part == "failed";
            assert!(
                !before.is_empty() && before.iter().all(is_failed),
                "{mix:?}: {parts:?}"
            );
        }
        "mpp-gossip" => {
            let parts = parts(&told());
            let is_claimed = |part: &String| part == "claimed";
            assert!(
                parts.len() > 1 && parts.iter().all(is_claimed),
                "{mix:?}: {parts:?}"
            );
        }
        "mpp-timeout" => {
            let told = told();
            assert_eq!(parts(&told), ["failed", "failed"], "{mix:?}");
            let mut reasons = told.iter().filter_map(|event| event["reason"].as_str());
            let reason = reasons.next_back().unwrap();
            // A stock node does not tell the code.
            assert!(
                reason.ends_with("0x0017") || reason.contains("RetriesExhausted"),
                "{mix:?}: {reason}"
            );
        }
        // As many blocks as the steps mine, all empty: B's commitment is in none of them.
        "early-fail-back" => {
            let mined = mined_before_p_failed(&run.join("cases/no-fault/trace.jsonl"));
            assert!(mined.ends_with(&[45, 50]), "{mix:?}: {mined:?}");
        }
        // A node sees blocks only: what it spends was in one, before its own penalty for the commitment.
        "revoked/second-stage"
        | "revoked/second-stage-success"
        | "reorg/second-stage-penalty"
        | "reorg/second-stage-success-penalty" => {
            let trace = run.join("cases/no-fault/trace.jsonl");
            let lines = lines_of(&trace);
            let (_, after) = lines.split_at(place_of(&lines, "restored"));
            assert!(
                spends_claim_of(after, "A", "B", "A-B claim"),
                "{mix:?}: A takes nothing that B had claimed"
            );
        }
        _ => {}
    }
}

/// Where the rig did this first.
fn place_of(lines: &[Value], deed: &str) -> usize {
    let place = lines.iter().position(|line| line["did"]["type"] == deed);
    place.unwrap_or_else(|| panic!("the rig never {deed}"))
}

/// The transactions of this role that the node published.
fn published(lines: &[Value], node: &str, role: &str) -> Vec<Transaction> {
    let of_node = lines.iter().filter(|line| line["node"] == node);
    let reports = of_node.filter(|line| line["report"]["type"] == "broadcast");
    let published = reports.flat_map(|line| line["report"]["transactions"].as_array().unwrap());
    published
        .filter(|transaction| transaction["role"] == role)
        .map(|transaction| deserialize_hex(transaction["raw"].as_str().unwrap()).unwrap())
        .collect()
}

/// Whether the node published a transaction of this role.
fn publishes(lines: &[Value], node: &str, role: &str) -> bool {
    !published(lines, node, role).is_empty()
}

/// Whether the node's transactions of this role spend what the other's made.
fn spends_claim_of(lines: &[Value], node: &str, other: &str, role: &str) -> bool {
    let theirs: Vec<_> = published(lines, other, role)
        .iter()
        .map(Transaction::compute_txid)
        .collect();
    let own = published(lines, node, role);
    let mut inputs = own.iter().flat_map(|transaction| &transaction.input);
    inputs.any(|input| theirs.contains(&input.previous_output.txid))
}

/// Blocks of each mining before A's user was told that the payment `p` failed.
fn mined_before_p_failed(trace: &Path) -> Vec<u64> {
    let lines = lines_of(trace).into_iter();
    let before = lines.take_while(|line| {
        let event = &line["report"]["event"];
        event["kind"] != "payment_failed" || !is_of_p(event)
    });
    let mined = before.filter(|line| line["did"]["type"] == "mined");
    mined
        .map(|line| line["did"]["blocks"].as_u64().unwrap())
        .collect()
}

/// What A's user was told of the payment `p`, in order.
fn told_of_p(trace: &Path) -> Vec<Value> {
    let lines = lines_of(trace).into_iter();
    lines
        .filter(|line| line["node"] == "A")
        .map(|line| line["report"]["event"].clone())
        .filter(is_of_p)
        .collect()
}

fn is_of_p(event: &Value) -> bool {
    use bitcoin::hashes::{Hash, sha256};
    event["payment_id"] == sha256::Hash::hash(b"p").to_string().as_str()
}

fn lines_of(trace: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(trace).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

macro_rules! scenarios_pass_without_faults {
    ($($test:ident = $name:literal,)*) => {
        $(#[test]
        fn $test() {
            passes($name);
        })*

        #[test]
        fn no_scenario_is_left_out_of_these_tests() {
            let tested = [$($name),*];
            for entry in scenario::library(&workspace()).unwrap() {
                assert!(tested.contains(&entry.name.as_str()), "{} has no test", entry.name);
            }
        }
    };
}

scenarios_pass_without_faults! {
    a_direct_payment_arrives = "direct",
    a_forwarded_payment_arrives = "forward",
    a_payment_in_two_parts_arrives = "mpp",
    a_payment_that_its_receiver_refuses_comes_back = "fail-back",
    a_preimage_learnt_on_chain_is_carried_upstream = "claim-onchain",
    a_timeout_on_chain_fails_upstream = "timeout-onchain",
    a_timeout_on_the_peers_commitment_fails_upstream = "timeout-theirs",
    a_timeout_of_little_worth_fails_upstream = "timeout-small",
    a_channel_closes_in_time_for_a_preimage_that_its_peer_does_not_take = "claim-deadline",
    two_htlcs_that_nothing_tells_apart_are_both_claimed = "twins-claim",
    two_htlcs_that_nothing_tells_apart_are_both_taken_back = "twins-timeout",
    a_route_is_found_by_gossip = "gossip-route",
    a_spontaneous_payment_arrives = "keysend",
    a_held_payment_is_claimed = "hold-claim",
    a_payment_survives_a_disconnect = "disconnect-in-flight",
    blocks_may_come_from_electrs = "electrs-forward",
    a_cooperative_close_pays_both_sides = "coop-close",
    a_channel_is_opened_and_paid_over = "open",
    payments_both_ways_at_once_arrive = "both-ways",
    thirty_payments_at_once_arrive = "busy-forward",
    of_two_held_payments_one_fails_and_one_arrives = "hold-fail",
    a_fee_update_with_an_htlc_in_flight_hurts_nobody = "fee-update",
    a_close_waits_for_the_payment_that_is_held = "drain-close",
    everything_at_once_ends_well = "mixed",
    our_node_forwards_to_a_peer_when_it_is_back = "regression/offline-peer",
    a_stock_node_fails_what_it_would_forward_to_an_absent_peer = "regression/offline-peer-stock",
    a_race_around_a_forward_passes_without_its_closes = "close-race/forward",
    a_race_around_a_failure_passes_without_its_closes = "close-race/fail",
    a_race_around_a_claim_in_parts_passes_without_its_closes = "close-race/mpp",
    a_race_around_several_payments_passes_without_its_closes = "close-race/busy",
    a_race_around_dust_passes_without_its_closes = "close-race/dust",
    a_race_around_held_writes_passes_without_its_closes = "close-race/held",
    a_race_around_late_writes_passes_without_its_closes = "close-race/late",
    both_channels_of_a_forward_closed_by_the_forwarder_pay_all_sides = "closing/by-forwarder",
    both_channels_of_a_forward_closed_by_its_peers_pay_all_sides = "closing/by-peers",
    a_revoked_balance_is_taken = "revoked/balance",
    a_revoked_commitment_with_an_offered_htlc_is_taken = "revoked/offered-htlc",
    a_revoked_commitment_with_a_received_htlc_is_taken = "revoked/received-htlc",
    a_second_stage_of_a_revoked_commitment_is_taken = "revoked/second-stage",
    a_claim_on_a_revoked_commitment_is_taken_from_its_second_stage = "revoked/second-stage-success",
    a_payer_that_cheats_a_forwarder_loses_all = "revoked/forward-inbound",
    a_payee_that_cheats_a_forwarder_loses_all = "revoked/forward-outbound",
    a_commitment_confirms_again_after_a_reorganisation = "reorg/commitment",
    a_claim_confirms_again_after_a_reorganisation = "reorg/claim",
    a_timeout_is_six_deep_in_the_chain_that_stays = "reorg/timeout",
    a_timeout_by_what_electrs_tells_is_six_deep_in_the_chain_that_stays = "reorg/electrs",
    what_the_last_six_blocks_confirmed_confirms_again = "reorg/six",
    a_closing_transaction_confirms_again_after_a_reorganisation = "reorg/coop-close",
    a_penalty_confirms_again_after_a_reorganisation = "reorg/penalty",
    a_penalty_of_six_blocks_ago_is_made_again = "reorg/six-penalty",
    a_penalty_of_a_second_stage_is_made_again = "reorg/second-stage-penalty",
    a_penalty_of_a_claim_and_of_its_second_stage_is_made_again = "reorg/second-stage-success-penalty",
    a_claim_on_the_peers_commitment_is_made_again = "reorg/claim-theirs",
    a_claim_on_the_peers_commitment_of_six_blocks_ago_is_made_again = "reorg/six-theirs",
    a_timeout_on_the_peers_commitment_is_six_deep_in_the_chain_that_stays = "reorg/timeout-theirs",
    a_sweep_confirms_again_after_a_reorganisation = "reorg/sweep",
    a_timeout_of_six_blocks_ago_comes_again = "reorg/six-timeout",
    a_timeout_on_the_peers_commitment_of_six_blocks_ago_comes_again = "reorg/six-timeout-theirs",
    both_channels_of_a_forward_end_again_after_a_reorganisation = "reorg/both",
    both_channels_of_a_forward_end_again_after_six_blocks = "reorg/six-both",
    a_commitment_and_a_claim_are_bumped_until_a_block_has_them = "fee-spike",
    a_second_stage_with_a_preimage_is_bumped_alone = "fee-spike-claim",
    a_claim_on_the_peers_commitment_is_bumped_alone = "fee-spike-claim-theirs",
    a_second_stage_after_a_timeout_is_bumped_alone = "fee-spike-timeout",
    a_timeout_on_the_peers_commitment_is_bumped_alone = "fee-spike-timeout-theirs",
    a_penalty_is_bumped_alone = "fee-spike-penalty",
    a_close_that_is_taken_off_while_a_node_is_down_comes_again = "reorg/while-down",
    a_channel_is_ready_and_works_although_its_funding_is_taken_off_twice = "reorg/funding",
    a_payment_is_failed_upstream_in_time_though_blocks_leave_the_commitment_out = "early-fail-back",
    a_node_that_lost_its_data_publishes_nothing_and_is_not_punished = "data-loss/unified",
    a_stock_node_that_lost_its_data_ends_itself = "data-loss/stock",
    a_part_alone_is_given_back_after_three_ticks = "mpp-timeout",
    a_claim_that_electrs_tells_of_is_carried_upstream = "electrs-claim",
    a_timeout_by_what_electrs_tells_fails_upstream = "electrs-timeout",
    a_payer_finds_another_way = "retry",
    a_payer_splits_what_no_way_carries = "mpp-gossip",
    nodes_that_forget_their_payments_resolve_every_htlc = "forget",
    a_stale_manager_closes_the_channel_and_a_fresh_one_keeps_it = "regression/ldk-4286",
}

/// The points of one dry run, sorted: the order between channels is no promise, the points are.
async fn points(runner: &CaseRunner, scenario: &scenario::Scenario, seed: u64) -> Vec<String> {
    let plan = Plan {
        version: 1,
        case_id: format!("dry-{seed}"),
        seed,
        scenario: scenario.clone(),
        faults: Vec::new(),
    };
    let outcome = runner.run(&plan).await;
    assert!(outcome.rig_fault.is_none(), "{:?}", outcome.rig_fault);
    let evidence = outcome
        .evidence
        .expect("a case without a rig fault has evidence");
    let reached = points_of(&evidence);
    let mut points: Vec<String> = reached
        .iter()
        .map(|reached| reached.point.to_string())
        .collect();
    points.sort();
    points
}

fn loaded(name: &str) -> scenario::Scenario {
    let root = workspace();
    let entry = scenario::find(&root, name).unwrap();
    scenario::load(&entry.path, &root).unwrap()
}

/// The scenario with every node of this kind.
fn all_of(kind: NodeKind, mut scenario: scenario::Scenario) -> scenario::Scenario {
    for node in scenario.nodes.values_mut() {
        node.kind = kind;
    }
    scenario
}

/// A runner of these programs whose chain works in this folder.
fn runner(programs: NodePrograms, work: &Path) -> CaseRunner {
    let parts = setup::ensure(&SilentProgress).unwrap();
    let pool = ChainPool::new(&parts.bitcoind.path, &parts.electrs.path, 1, work);
    CaseRunner::new(pool, programs)
}

/// `varying`: what points begin with that need not be the same.
async fn twenty_dry_runs_agree(name: &str, kind: NodeKind, varying: &[&str]) {
    let scenario = all_of(kind, loaded(name));
    let program = |kind: &str| vec![DEADBOLT.into(), "node".into(), kind.into()];
    let programs = NodePrograms {
        stock: program("stock"),
        unified: program("unified"),
    };
    let work = tempfile::tempdir().unwrap();
    let runner = runner(programs, work.path());
    let steady = |mut points: Vec<String>| {
        points.retain(|point| !varying.iter().any(|start| point.starts_with(start)));
        points
    };
    let first = steady(points(&runner, &scenario, 1).await);
    assert!(first.len() > 50, "only {} points in {name}", first.len());
    for seed in 2..=20 {
        let again = steady(points(&runner, &scenario, seed).await);
        let lost: Vec<_> = first
            .iter()
            .filter(|point| !again.contains(point))
            .collect();
        let new: Vec<_> = again
            .iter()
            .filter(|point| !first.contains(point))
            .collect();
        assert!(
            lost.is_empty() && new.is_empty(),
            "{name}, run {seed}: lost {lost:?}, new {new:?}"
        );
        assert_eq!(first.len(), again.len(), "{name}, run {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_dry_runs_of_a_forward_pass_the_same_points() {
    twenty_dry_runs_agree("forward", NodeKind::Unified, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_dry_runs_of_a_forward_by_stock_nodes_pass_the_same_points() {
    twenty_dry_runs_agree("forward", NodeKind::Stock, &[]).await;
}

/// A payer acknowledges the claim of a part when no other part may fail any more, so that where the
/// acknowledgement stands in the log of one channel depends on the other. Whatever else it passes is the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_dry_runs_of_a_multi_part_payment_pass_the_same_points_but_for_the_payers_log() {
    let log = [
        "A:persist.monitor_update.",
        "A:persist.monitor_ack.",
        "A:remove.monitor_update.",
    ];
    twenty_dry_runs_agree("mpp", NodeKind::Unified, &log).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_dry_runs_of_a_multi_part_payment_by_stock_nodes_pass_the_same_points() {
    twenty_dry_runs_agree("mpp", NodeKind::Stock, &[]).await;
}

/// The node built alone, as somebody would who wants it without the rig. (Inside the workspace the
/// rig turns the points on for every crate.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_built_alone_pays_and_passes_no_crash_point() {
    let built = Path::new(DEADBOLT).parent().unwrap();
    let target = built.parent().unwrap();
    let cargo = Command::new(env!("CARGO"))
        .args([
            "build",
            "--locked",
            "-p",
            "node-bin",
            "--bin",
            "deadbolt-node",
            "--target-dir",
        ])
        .arg(target)
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(
        cargo.status.success(),
        "{}",
        String::from_utf8_lossy(&cargo.stderr)
    );

    let node = target.join("debug/deadbolt-node").into_os_string();
    let program = |kind: &str| vec![node.clone(), kind.into()];
    let programs = NodePrograms {
        stock: program("stock"),
        unified: program("unified"),
    };
    let work = tempfile::tempdir().unwrap();
    let runner = runner(programs, work.path());
    for kind in [NodeKind::Stock, NodeKind::Unified] {
        let plan = Plan {
            version: 1,
            case_id: "alone".to_owned(),
            seed: 1,
            scenario: all_of(kind, loaded("direct")),
            faults: Vec::new(),
        };
        let outcome = runner.run(&plan).await;
        assert!(outcome.rig_fault.is_none(), "{:?}", outcome.rig_fault);
        let evidence = outcome.evidence.unwrap();
        let verdicts = rig::oracle::judge(&evidence);
        assert_eq!(verdicts.verdict, scenario::Verdict::Pass, "{verdicts:?}");
        let points = points_of(&evidence);
        assert!(
            points.is_empty(),
            "points in a build without them: {points:?}"
        );
    }
}
