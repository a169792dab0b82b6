//! Blocks that a hostile peer fills: nonsense, spends to anywhere, HTLCs that nothing tells apart.

use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};
use lightning::ln::types::ChannelId;
use lightning::types::payment::PaymentHash;
use proptest::collection::vec;
use proptest::prelude::*;

use super::onchain::urgent_since;
use super::{Channel, Outbox};
use crate::event::MonitorEvent;
use crate::input::PlacedTransaction;
use crate::keys::Environment;
use crate::onchain::identify::{FundingSpend, HtlcOutput, OutputKind};
use crate::onchain::testing::{Pair, hash, pair, preimage, spec};
use crate::record::OutboundHtlc;
use crate::source::{HtlcSource, InboundHtlcId, InboundPart};
use crate::spec::{Direction, HtlcAdd, SpecHtlc};
use crate::update::UpdateStep;

/// Height of the commitment's block; A's HTLCs expire at 500 and 510.
const CLOSED_AT: u32 = 100;
/// A claim by its payee: signature, preimage, script.
const CLAIM_SCRIPT: [u8; 136] = [0; 136];

/// An HTLC of A's that pays on what came in on another channel, each from a peer of its own.
fn forwarded(htlc_id: u64) -> OutboundHtlc {
    let htlc = &spec().htlcs[&(Direction::Outbound, htlc_id)];
    let part = InboundPart {
        id: InboundHtlcId {
            channel_id: ChannelId([htlc_id as u8; 32]),
            htlc_id: 0,
        },
        amount_msat: htlc.amount_msat,
        cltv_expiry: htlc.cltv_expiry + 1_000,
        shared_secret: [0; 32],
    };
    OutboundHtlc {
        add: HtlcAdd {
            htlc_id,
            amount_msat: htlc.amount_msat,
            payment_hash: htlc.payment_hash,
            cltv_expiry: htlc.cltv_expiry,
            onion: Vec::new(),
        },
        source: HtlcSource::Forward { parts: vec![part] },
        added_by: 1,
        preimage: None,
        failed_back: false,
    }
}

/// A's channel, whose end B's commitment is.
fn closed(pair: Pair) -> (Environment, Channel, Transaction) {
    closed_by(pair, Whose::Theirs)
}

/// Whose commitment ends A's channel.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Whose {
    Ours,
    Theirs,
    TheirsRevoked,
}

fn closed_by(mut pair: Pair, whose: Whose) -> (Environment, Channel, Transaction) {
    let commitment = match whose {
        Whose::Ours => pair.a.commitment_transaction(),
        Whose::Theirs => pair.b.commitment_transaction(),
        Whose::TheirsRevoked => pair.cheat(),
    };
    let mut record = pair.a.record;
    record.outbound = (0..3).map(|id| (id, forwarded(id))).collect();
    let environment = pair.a.environment;
    let mut channel = Channel::loaded(record, 1);
    let blocks = std::slice::from_ref(&commitment);
    block(&environment, &mut channel, CLOSED_AT, blocks);
    (environment, channel, commitment)
}

/// A block, and what it decides.
fn block(
    environment: &Environment,
    channel: &mut Channel,
    height: u32,
    transactions: &[Transaction],
) -> Vec<UpdateStep> {
    let mut out = Outbox::default();
    let placed: Vec<_> = transactions
        .iter()
        .zip(1..)
        .map(|(transaction, index)| PlacedTransaction {
            index,
            transaction: transaction.clone(),
        })
        .collect();
    channel
        .watch_block(environment, height, true, &placed, &mut out)
        .expect("a block fits");
    let position = channel.current_position(environment);
    let known = |hash: &PaymentHash| channel.record.preimage_of(hash);
    let steps = channel.due_steps(position.as_deref(), height, true, &known);
    if !steps.is_empty() {
        channel.commit(steps.clone(), &mut out).expect("they fit");
    }
    steps
}

/// Where an HTLC's output is.
fn output_of(environment: &Environment, channel: &Channel, htlc_id: u64) -> OutPoint {
    let position = channel.position(environment).expect("it has ended");
    let is_it = |kind: &super::onchain::OnchainKind| {
        matches!(kind, super::onchain::OnchainKind::Commitment(OutputKind::Htlc(htlc))
            if (htlc.direction, htlc.htlc_id) == (Direction::Outbound, htlc_id))
    };
    let mut outputs = position.outputs.iter();
    outputs
        .find(|output| is_it(&output.kind))
        .expect("it has one")
        .outpoint
}

fn spending(inputs: Vec<(OutPoint, Vec<Vec<u8>>)>, outputs: usize) -> Transaction {
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: inputs
            .into_iter()
            .map(|(previous_output, witness)| TxIn {
                previous_output,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::MAX,
                witness: Witness::from_slice(&witness),
            })
            .collect(),
        output: vec![TxOut::NULL; outputs],
    }
}

fn claim(outpoint: OutPoint, byte: u8) -> Transaction {
    let witness = vec![
        vec![0; 71],
        preimage(byte).0.to_vec(),
        CLAIM_SCRIPT.to_vec(),
    ];
    spending(vec![(outpoint, witness)], 1)
}

fn timeout(outpoint: OutPoint) -> Transaction {
    let witness = vec![vec![0; 71], Vec::new(), CLAIM_SCRIPT.to_vec()];
    spending(vec![(outpoint, witness)], 1)
}

/// What pays for this HTLC expires at this height.
fn expires_upstream(channel: &mut Channel, htlc_id: u64, cltv_expiry: u32) {
    let htlc = channel.record.outbound.get_mut(&htlc_id).unwrap();
    let HtlcSource::Forward { parts } = &mut htlc.source else {
        panic!("it was forwarded");
    };
    parts[0].cltv_expiry = cltv_expiry;
}

/// The HTLCs that were claimed, and those that were failed.
fn ends(channel: &Channel) -> (Vec<u64>, Vec<u64>) {
    let events = channel.record.events.iter();
    let mut ends = (Vec::new(), Vec::new());
    for pending in events {
        match &pending.event {
            MonitorEvent::ForwardedHtlcClaimed { htlc_id, .. } => ends.0.push(*htlc_id),
            MonitorEvent::ForwardedHtlcFailed { htlc_id, .. } => ends.1.push(*htlc_id),
            _ => {}
        }
    }
    ends
}

#[test]
fn of_two_htlcs_equal_in_hash_amount_and_expiry_each_ends_by_its_own_output() {
    let (environment, mut channel, _) = closed(pair(&spec()));
    assert_eq!(hash(1), forwarded(0).add.payment_hash);
    let outputs = [0, 1].map(|id| output_of(&environment, &channel, id));
    assert_ne!(outputs[0], outputs[1]);
    block(&environment, &mut channel, 101, &[claim(outputs[1], 1)]);
    assert_eq!(ends(&channel), (vec![1], vec![]));
    block(&environment, &mut channel, 501, &[timeout(outputs[0])]);
    block(&environment, &mut channel, 505, &[]);
    assert_eq!(ends(&channel), (vec![1], vec![]));
    block(&environment, &mut channel, 506, &[]);
    assert_eq!(ends(&channel), (vec![1], vec![0]));
    assert_eq!(channel.record.outbound.keys().collect::<Vec<_>>(), [&2]);
}

/// The first of two twins is given up upstream; then this happens, and the peer takes its output.
fn taken_too_late(then: impl FnOnce(&mut Channel)) {
    let (environment, mut channel, _) = closed(pair(&spec()));
    let outputs = [0, 1].map(|id| output_of(&environment, &channel, id));
    expires_upstream(&mut channel, 0, 520);
    block(&environment, &mut channel, 517, &[]);
    assert_eq!(ends(&channel), (vec![], vec![0]));
    then(&mut channel);
    block(&environment, &mut channel, 518, &[claim(outputs[0], 1)]);
    assert_eq!(ends(&channel), (vec![0, 1], vec![]));
    block(&environment, &mut channel, 519, &[timeout(outputs[1])]);
    block(&environment, &mut channel, 530, &[]);
    assert_eq!(ends(&channel), (vec![0, 1], vec![]));
    assert_eq!(channel.record.outbound.keys().collect::<Vec<_>>(), [&2]);
}

#[test]
fn a_preimage_that_comes_too_late_for_one_twin_upstream_pays_for_the_other() {
    taken_too_late(|_| {});
}

#[test]
fn a_twin_is_claimed_for_an_output_whose_preimage_a_message_had_told() {
    taken_too_late(|channel| {
        let told = UpdateStep::FulfillHtlc {
            htlc_id: 0,
            preimage: preimage(1),
        };
        let mut out = Outbox::default();
        channel.commit(vec![told], &mut out).expect("it fits");
        assert_eq!(ends(channel), (vec![0], vec![]));
    });
}

#[test]
fn one_output_that_was_taken_pays_for_one_twin_though_that_one_is_buried_first() {
    let mut triplets = spec();
    let twin = triplets.htlcs[&(Direction::Outbound, 0)].clone();
    triplets.htlcs.insert((Direction::Outbound, 2), twin);
    let (environment, mut channel, _) = closed(pair(&triplets));
    let mut third = forwarded(0);
    third.add.htlc_id = 2;
    channel.record.outbound.insert(2, third);
    let outputs = [0, 1, 2].map(|id| output_of(&environment, &channel, id));
    expires_upstream(&mut channel, 0, 520);
    block(&environment, &mut channel, 514, &[timeout(outputs[1])]);
    block(&environment, &mut channel, 517, &[]);
    assert_eq!(ends(&channel), (vec![], vec![0]));
    block(&environment, &mut channel, 518, &[claim(outputs[0], 1)]);
    for height in 519..530 {
        block(&environment, &mut channel, height, &[]);
    }
    assert_eq!(ends(&channel), (vec![0, 1], vec![]));
    block(&environment, &mut channel, 530, &[timeout(outputs[2])]);
    block(&environment, &mut channel, 535, &[]);
    assert_eq!(ends(&channel), (vec![0, 1], vec![2]));
}

/// HTLC 7, which is dust, of the same hash as this one: in the commitment, without an output.
fn add_dust(channel: &mut Channel, like: u64) {
    let mut dust = forwarded(like);
    dust.add.htlc_id = 7;
    dust.add.amount_msat = 100_000;
    let trimmed = SpecHtlc {
        amount_msat: dust.add.amount_msat,
        payment_hash: dust.add.payment_hash,
        cltv_expiry: dust.add.cltv_expiry,
    };
    let spec = &mut channel.record.counterparty.spec;
    spec.htlcs.insert((Direction::Outbound, 7), trimmed);
    channel.record.outbound.insert(7, dust);
}

#[test]
fn an_output_that_was_taken_pays_for_one_as_large_whatever_else_of_its_hash_was_claimed() {
    // Twins with a smaller one of the same hash between them, and dust.
    let mut spec = spec();
    let twin = spec.htlcs[&(Direction::Outbound, 0)].clone();
    spec.htlcs.insert((Direction::Outbound, 2), twin);
    let small = spec.htlcs.get_mut(&(Direction::Outbound, 1)).unwrap();
    small.amount_msat /= 2;
    let small_msat = small.amount_msat;
    let (environment, mut channel, _) = closed(pair(&spec));
    let outbound = &mut channel.record.outbound;
    outbound.get_mut(&1).unwrap().add.amount_msat = small_msat;
    let mut twin = forwarded(0);
    twin.add.htlc_id = 2;
    outbound.insert(2, twin);
    add_dust(&mut channel, 0);
    let outputs = [0, 1, 2].map(|id| output_of(&environment, &channel, id));
    expires_upstream(&mut channel, 0, 520);
    // The dust would be over by then; its peer is told of no block before.
    block(&environment, &mut channel, 517, &[claim(outputs[0], 1)]);
    assert_eq!(ends(&channel), (vec![0, 7], vec![]));
    let given_up = channel.record.outbound.get_mut(&0).unwrap();
    given_up.failed_back = true;
    block(&environment, &mut channel, 518, &[]);
    assert_eq!(ends(&channel), (vec![0, 7, 2], vec![]));
    block(&environment, &mut channel, 519, &[timeout(outputs[1])]);
    block(&environment, &mut channel, 520, &[timeout(outputs[2])]);
    block(&environment, &mut channel, 525, &[]);
    assert_eq!(ends(&channel), (vec![0, 7, 2], vec![1]));
}

#[test]
fn dust_that_the_miners_have_is_claimed_upstream_if_a_message_told_a_preimage_of_its_hash() {
    let (environment, mut channel, _) = closed(pair(&spec()));
    add_dust(&mut channel, 2);
    // Another one the commitment never had: what it is worth is in the holder's balance.
    let mut unsent = channel.record.outbound[&7].clone();
    unsent.add.htlc_id = 8;
    channel.record.outbound.insert(8, unsent);
    let told = UpdateStep::FulfillHtlc {
        htlc_id: 2,
        preimage: preimage(2),
    };
    let mut out = Outbox::default();
    channel.commit(vec![told], &mut out).expect("it fits");
    block(&environment, &mut channel, CLOSED_AT + 5, &[]);
    assert_eq!(ends(&channel), (vec![2, 7], vec![8]));
}

#[test]
fn an_htlc_that_came_back_by_the_chain_is_failed_though_its_preimage_is_known() {
    let (environment, mut channel, _) = closed(pair(&spec()));
    let [first, second] = [0, 1].map(|id| output_of(&environment, &channel, id));
    block(&environment, &mut channel, 101, &[claim(first, 1)]);
    block(&environment, &mut channel, 501, &[timeout(second)]);
    block(&environment, &mut channel, 506, &[]);
    assert_eq!(ends(&channel), (vec![0], vec![1]));
}

#[test]
fn an_htlc_that_only_the_peer_can_take_from_a_commitment_unknown_here_is_kept_until_upstream_is_due()
 {
    let pair = pair(&spec());
    let commitment = pair.b.commitment_transaction();
    let mut record = pair.a.record;
    // An old state: the peer has gone on since, and one HTLC of these was removed.
    record.counterparty.number -= 1;
    record.outbound = [0, 2].map(|id| (id, forwarded(id))).into();
    let mut removed = forwarded(2);
    removed.add.htlc_id = 5;
    removed.add.amount_msat = 77_777_000;
    record.outbound.insert(5, removed);
    let environment = pair.a.environment;
    let mut channel = Channel::loaded(record, 1);
    block(&environment, &mut channel, CLOSED_AT, &[commitment]);
    let spend = channel.position(&environment).unwrap().spend;
    assert!(matches!(spend, FundingSpend::Unknown { .. }), "{spend:?}");
    block(&environment, &mut channel, CLOSED_AT + 5, &[]);
    assert_eq!(ends(&channel), (vec![], vec![5]));
    // Long after it expired.
    block(&environment, &mut channel, 1_000, &[]);
    assert_eq!(ends(&channel), (vec![], vec![5]));
    expires_upstream(&mut channel, 0, 1_004);
    block(&environment, &mut channel, 1_001, &[]);
    assert_eq!(ends(&channel), (vec![], vec![5, 0]));
    assert!(channel.record.outbound.contains_key(&2));
}

#[test]
fn an_htlc_is_claimed_upstream_in_time_if_another_one_of_its_hash_was_claimed() {
    let (environment, mut channel, _) = closed(pair(&spec()));
    let output = output_of(&environment, &channel, 1);
    block(&environment, &mut channel, 101, &[claim(output, 1)]);
    assert_eq!(ends(&channel), (vec![1], vec![]));
    // Three blocks before what pays for it expires, and the peer may take it still.
    block(&environment, &mut channel, 1_497, &[]);
    assert_eq!(ends(&channel), (vec![1, 0], vec![]));
    block(&environment, &mut channel, 1_507, &[]);
    assert_eq!(ends(&channel), (vec![1, 0], vec![2]));
}

#[test]
fn dust_is_not_failed_while_blocks_that_are_there_may_hold_its_preimage() {
    let (environment, mut channel, _) = closed(pair(&spec()));
    let mut dust = forwarded(0);
    dust.add.htlc_id = 7;
    dust.add.amount_msat = 100_000;
    channel.record.outbound.insert(7, dust);
    let position = channel.current_position(&environment);
    let at =
        |tip, is_chains_tip| channel.due_steps(position.as_deref(), tip, is_chains_tip, &|_| None);
    assert_eq!(at(CLOSED_AT + 5, false), []);
    assert_eq!(at(CLOSED_AT + 5, true).len(), 1);
}

#[test]
fn one_transaction_may_claim_one_twin_and_take_back_the_other_among_foreign_inputs() {
    let (environment, mut channel, _) = closed(pair(&spec()));
    let foreign = (OutPoint::null(), vec![preimage(2).0.to_vec()]);
    let [first, second] = [0, 1].map(|id| output_of(&environment, &channel, id));
    let claimed = vec![vec![0; 71], preimage(1).0.to_vec(), CLAIM_SCRIPT.to_vec()];
    let returned = vec![vec![0; 71], Vec::new(), CLAIM_SCRIPT.to_vec()];
    let mixed = spending(vec![foreign, (second, returned), (first, claimed)], 0);
    block(&environment, &mut channel, 500, &[mixed]);
    assert_eq!(ends(&channel), (vec![0], vec![]));
    block(&environment, &mut channel, 505, &[]);
    assert_eq!(ends(&channel), (vec![0], vec![1]));
}

#[test]
fn a_reorganisation_between_a_timeouts_confirmations_lets_a_claim_win() {
    let (environment, mut channel, commitment) = closed(pair(&spec()));
    let output = output_of(&environment, &channel, 2);
    block(&environment, &mut channel, 511, &[timeout(output)]);
    block(&environment, &mut channel, 515, &[]);
    let mut out = Outbox::default();
    channel.unwatch_blocks(510, &mut out).expect("it fits");
    let before = ends(&channel);
    assert_eq!(before, (vec![], vec![]));
    block(&environment, &mut channel, 511, &[claim(output, 2)]);
    block(&environment, &mut channel, 520, &[]);
    assert_eq!(ends(&channel), (vec![2], vec![]));
    // All blocks again, as after a start: nothing comes of it.
    block(&environment, &mut channel, CLOSED_AT, &[commitment]);
    block(&environment, &mut channel, 511, &[claim(output, 2)]);
    block(&environment, &mut channel, 530, &[]);
    assert_eq!(ends(&channel), (vec![2], vec![]));
}

#[test]
fn dust_is_claimed_upstream_by_the_preimage_of_another_htlc_of_its_hash() {
    let (environment, mut channel, _) = closed(pair(&spec()));
    add_dust(&mut channel, 0);
    // Never in the commitment, and no dust either.
    let mut unsent = forwarded(0);
    unsent.add.htlc_id = 9;
    channel.record.outbound.insert(9, unsent);
    let output = output_of(&environment, &channel, 0);
    block(&environment, &mut channel, 101, &[claim(output, 1)]);
    assert_eq!(ends(&channel), (vec![0, 7], vec![]));
    block(&environment, &mut channel, 110, &[]);
    assert_eq!(ends(&channel), (vec![0, 7], vec![9]));
}

#[test]
fn nothing_is_given_up_while_blocks_that_are_there_may_hold_its_preimage() {
    let (environment, mut channel, _) = closed(pair(&spec()));
    let position = channel.current_position(&environment);
    let at = |is_chains_tip| {
        let tip = 1_507;
        channel.due_steps(position.as_deref(), tip, is_chains_tip, &|_| None)
    };
    assert_eq!(at(false), []);
    assert_eq!(at(true).len(), 3);
}

#[test]
fn a_claim_takes_the_event_of_an_early_failure_away() {
    let (environment, mut channel, _) = closed(pair(&spec()));
    let output = output_of(&environment, &channel, 2);
    // Three blocks before what pays for it expires.
    block(&environment, &mut channel, 510 + 1_000 - 3, &[]);
    assert_eq!(ends(&channel), (vec![], vec![0, 1, 2]));
    block(&environment, &mut channel, 1_508, &[claim(output, 2)]);
    assert_eq!(ends(&channel), (vec![2], vec![0, 1]));
    block(&environment, &mut channel, 1_520, &[]);
    assert_eq!(ends(&channel), (vec![2], vec![0, 1]));
}

#[test]
fn a_block_without_what_the_record_says_of_its_height_takes_that_back() {
    let (environment, mut channel, commitment) = closed(pair(&spec()));
    let output = output_of(&environment, &channel, 2);
    block(&environment, &mut channel, 511, &[timeout(output)]);
    // The node was down, and nobody told it of a reorganisation: it sees all blocks again.
    let mut out = Outbox::default();
    let placed = PlacedTransaction {
        index: 1,
        transaction: commitment.clone(),
    };
    for height in CLOSED_AT..=600 {
        let here: &[PlacedTransaction] = match height {
            103 => std::slice::from_ref(&placed),
            _ => &[],
        };
        let watched = channel.watch_block(&environment, height, height == 600, here, &mut out);
        watched.expect("a block fits");
    }
    let position = channel.position(&environment).expect("it has ended");
    assert_eq!(position.confirmed, 103);
    assert!(position.outputs.iter().all(|output| output.spent.is_none()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nonsense_in_blocks_claims_nothing_and_is_forgotten_with_its_blocks(
        whose in prop_oneof![Just(Whose::Ours), Just(Whose::Theirs), Just(Whose::TheirsRevoked)],
        spends in nonsense(12),
        spends_of_those in nonsense(4),
        height in 101_u32..480,
    ) {
        let (environment, mut channel, commitment) = closed_by(pair(&spec()), whose);
        let before = channel.record.onchain.clone();
        let of_commitment = spending_all(&[commitment.compute_txid()], spends);
        let txids: Vec<_> = of_commitment.iter().map(Transaction::compute_txid).collect();
        let of_those = spending_all(&txids, spends_of_those);
        block(&environment, &mut channel, height, &of_commitment);
        block(&environment, &mut channel, height + 1, &of_those);
        prop_assert_eq!(ends(&channel), (vec![], vec![]));
        let mut out = Outbox::default();
        channel.unwatch_blocks(height - 1, &mut out).expect("it fits");
        prop_assert_eq!(&channel.record.onchain, &before);
        block(&environment, &mut channel, height, &[]);
        block(&environment, &mut channel, height + 10, &[]);
        prop_assert_eq!(ends(&channel), (vec![], vec![]));
    }

    #[test]
    fn nonsense_in_blocks_keeps_no_output_that_it_left_from_its_owner(
        whose in prop_oneof![Just(Whose::Ours), Just(Whose::Theirs), Just(Whose::TheirsRevoked)],
        spends in nonsense(12),
        height in 101_u32..480,
    ) {
        let (environment, mut channel, commitment) = closed_by(pair(&spec()), whose);
        let txid = commitment.compute_txid();
        let spent: Vec<u32> = spends.iter().map(|(_, vout, ..)| *vout).collect();
        let mine = |channel: &Channel| -> Vec<u32> {
            let position = channel.position(&environment).expect("it has ended");
            let claims = channel.claims(&position).into_iter();
            claims.map(|(claim, _)| claim.outpoint).filter(|of| of.txid == txid).map(|of| of.vout).collect()
        };
        let before = mine(&channel);
        prop_assert!(!before.is_empty());
        block(&environment, &mut channel, height, &spending_all(&[txid], spends));
        let left: Vec<u32> = before.into_iter().filter(|vout| !spent.contains(vout)).collect();
        prop_assert_eq!(mine(&channel), left);
    }
}

/// Which transaction a spend is of, which of its outputs, the witness, and how many outputs it has.
type Nonsense = (usize, u32, Vec<Vec<u8>>, usize);

fn nonsense(vouts: u32) -> impl Strategy<Value = Vec<Nonsense>> {
    let witness = vec(vec(any::<u8>(), 0..140), 0..7);
    vec((any::<usize>(), 0..vouts, witness, 0_usize..4), 1..6)
}

fn spending_all(txids: &[Txid], spends: Vec<Nonsense>) -> Vec<Transaction> {
    let spends = spends.into_iter();
    let spend = |(which, vout, witness, outputs): Nonsense| {
        let txid = txids[which % txids.len()];
        spending(vec![(OutPoint { txid, vout }, witness)], outputs)
    };
    spends.map(spend).collect()
}

#[test]
fn a_claim_is_urgent_by_its_expiry_though_its_commitment_came_late() {
    let urgent = |direction, cltv_expiry, confirmed| {
        let htlc = HtlcOutput {
            direction,
            htlc_id: 0,
            payment_hash: hash(1),
            cltv_expiry,
            amount_msat: 1,
        };
        urgent_since(&htlc, confirmed)
    };
    // To be claimed: from 18 blocks before the peer may take it.
    assert_eq!(urgent(Direction::Inbound, 500, 100), 482);
    assert_eq!(urgent(Direction::Inbound, 500, 494), 482);
    // To be taken back: from its expiry.
    assert_eq!(urgent(Direction::Outbound, 500, 533), 500);
    // What is long past is no reason to begin at the highest rate.
    assert_eq!(urgent(Direction::Outbound, 500, 1_000), 964);
}
