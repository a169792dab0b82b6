//! Every claim is checked by Bitcoin Core's script interpreter.

use bitcoin::Sequence;

use super::*;
use crate::onchain::bumping::{SecondStage, htlc_descriptors};
use crate::onchain::identify::{Identified, identify};
use crate::onchain::signer::HolderSigner;
use crate::onchain::spend::{SpendPath, read_delayed_spend, read_spend, second_stage_output};
use crate::onchain::testing::{CAPACITY_SAT, Chain, DELAY_OF_A, End, pair, preimage, spec};
use lightning::sign::HTLCDescriptor;
use lightning::sign::ecdsa::EcdsaChannelSigner;

const FEERATE: u32 = 1000;

fn identified(end: &End, transaction: &Transaction) -> Identified {
    identify(&end.environment, &end.record, transaction)
}

/// The preimage of any HTLC here.
fn known_preimage(output: &CommitmentOutput) -> Option<PaymentPreimage> {
    match output.kind {
        OutputKind::Htlc(htlc) => (1..=5)
            .map(preimage)
            .find(|preimage| hash_of(preimage) == htlc.payment_hash.0),
        _ => None,
    }
}

fn hash_of(preimage: &PaymentPreimage) -> [u8; 32] {
    bitcoin::hashes::sha256::Hash::hash(&preimage.0).to_byte_array()
}

fn claims(identified: &Identified, transaction: &Transaction) -> Vec<Claim> {
    let txid = transaction.compute_txid();
    identified
        .outputs
        .iter()
        .filter_map(|output| claim_of(&identified.spend, txid, output, known_preimage(output)))
        .collect()
}

fn take(end: &End, claims: &[Claim]) -> ClaimTransaction {
    claim_transaction(
        &end.environment,
        end.parameters(),
        claims,
        &end.environment.destination_script,
        FEERATE,
    )
    .unwrap()
}

fn assert_fee_fits(claim: &ClaimTransaction) {
    let weight = claim.transaction.weight().to_wu();
    let least = u64::from(FEERATE) * weight / 1000;
    // Few signatures are a byte or two shorter than the longest.
    let slack = 2 * claim.transaction.input.len() as u64;
    assert!(
        (least..=least + slack).contains(&claim.fee_sat),
        "{claim:?}"
    );
}

/// How the output that each input spends was spent, for each input of a transaction.
fn paths(identified: &Identified, of: &Transaction, spending: &Transaction) -> Vec<SpendPath> {
    let txid = of.compute_txid();
    spending
        .input
        .iter()
        .filter(|input| input.previous_output.txid == txid)
        .map(|input| {
            let output = identified.outputs[input.previous_output.vout as usize];
            read_spend(&output.kind, input)
        })
        .collect()
}

#[test]
fn all_that_is_ours_in_the_counterpartys_commitment_is_taken_at_once() {
    let pair = pair(&spec());
    let mut chain = Chain::funded(&pair);
    let commitment = pair.b.commitment_transaction();
    chain.accept(&commitment);
    let found = identified(&pair.a, &commitment);
    let claims = claims(&found, &commitment);
    // Its balance, three that it offered, two that it can redeem.
    assert_eq!(claims.len(), 6);
    let taken = take(&pair.a, &claims);
    assert_eq!(taken, take(&pair.a, &claims), "not deterministic");
    assert_eq!(taken.transaction.lock_time.to_consensus_u32(), 510);
    assert!(taken.transaction.is_explicitly_rbf());
    assert_fee_fits(&taken);
    chain.accept(&taken.transaction);
    // The other end reads from it what happened.
    let seen = identified(&pair.b, &commitment);
    let paths = paths(&seen, &commitment, &taken.transaction);
    let count = |wanted: SpendPath| paths.iter().filter(|path| **path == wanted).count();
    for byte in [4, 5] {
        assert_eq!(
            count(SpendPath::Preimage {
                preimage: preimage(byte),
                second_stage: false
            }),
            1
        );
    }
    assert_eq!(
        count(SpendPath::Timeout {
            second_stage: false
        }),
        3
    );
    assert_eq!(count(SpendPath::Balance), 1);
}

#[test]
fn each_claim_stands_alone_too() {
    let pair = pair(&spec());
    let commitment = pair.b.commitment_transaction();
    let found = identified(&pair.a, &commitment);
    for claim in claims(&found, &commitment) {
        let mut chain = Chain::funded(&pair);
        chain.accept(&commitment);
        let taken = take(&pair.a, &[claim]);
        assert_fee_fits(&taken);
        chain.accept(&taken.transaction);
    }
}

#[test]
fn a_claim_knows_from_when_on_it_may_be_published() {
    let pair = pair(&spec());
    let commitment = pair.b.commitment_transaction();
    let found = identified(&pair.a, &commitment);
    let timeout = claims(&found, &commitment)
        .into_iter()
        .find(|claim| claim.lock_time() == 510)
        .unwrap();
    assert_eq!(timeout.least_tip_height(pair.a.parameters(), 400), 510);
    assert_eq!(timeout.least_tip_height(pair.a.parameters(), 600), 600);
    assert_eq!(timeout.relative_delay(pair.a.parameters()), 1);
}

fn second_stages() -> Vec<SecondStage> {
    spec()
        .htlcs
        .into_iter()
        .map(|((direction, htlc_id), htlc)| SecondStage {
            direction,
            htlc_id,
            preimage: (1..=5)
                .map(preimage)
                .find(|preimage| hash_of(preimage) == htlc.payment_hash.0),
        })
        .collect()
}

/// B's view of the same HTLCs.
fn turned(stages: Vec<SecondStage>) -> Vec<SecondStage> {
    let turn = |stage: SecondStage| SecondStage {
        direction: stage.direction.reverse(),
        ..stage
    };
    stages.into_iter().map(turn).collect()
}

/// One second-stage transaction for these, without fee: all with the same lock time.
fn second_stage(end: &End, descriptors: &[HTLCDescriptor]) -> Transaction {
    let secp = &end.environment.secp;
    let lock_time = match descriptors[0].preimage {
        Some(_) => 0,
        None => descriptors[0].htlc.cltv_expiry,
    };
    let mut transaction = Transaction {
        version: Version::TWO,
        lock_time: LockTime::from_consensus(lock_time),
        input: descriptors.iter().map(|d| d.unsigned_tx_input()).collect(),
        output: descriptors.iter().map(|d| d.tx_output(secp)).collect(),
    };
    let signer = HolderSigner::new(&end.environment, end.parameters().keys_id);
    for (index, descriptor) in descriptors.iter().enumerate() {
        let signature = signer
            .sign_holder_htlc_transaction(&transaction, index, descriptor, secp)
            .unwrap();
        let script = descriptor.witness_script(secp);
        transaction.input[index].witness = descriptor.tx_input_witness(&signature, &script);
    }
    transaction
}

/// All HTLCs of an end's commitment taken to the second stage, one transaction for each lock time.
fn all_second_stages(end: &End, wanted: &[SecondStage]) -> Vec<Transaction> {
    let mut groups: std::collections::BTreeMap<u32, Vec<HTLCDescriptor>> = Default::default();
    for descriptor in htlc_descriptors(&end.environment, &end.record, wanted) {
        let lock_time = match descriptor.preimage {
            Some(_) => 0,
            None => descriptor.htlc.cltv_expiry,
        };
        groups.entry(lock_time).or_default().push(descriptor);
    }
    groups
        .values()
        .map(|group| second_stage(end, group))
        .collect()
}

#[test]
fn the_holders_balance_and_second_stage_outputs_are_swept_after_the_delay() {
    let pair = pair(&spec());
    let mut chain = Chain::funded(&pair);
    let commitment = pair.a.commitment_transaction();
    chain.accept(&commitment);
    let found = identified(&pair.a, &commitment);
    let mut claims = claims(&found, &commitment);
    assert_eq!(claims.len(), 1, "HTLCs need a second stage");
    let stages = all_second_stages(&pair.a, &second_stages());
    assert_eq!(stages.len(), 3);
    for stage in &stages {
        chain.accept(stage);
        for (index, path) in (0u32..).zip(paths(&found, &commitment, stage)) {
            assert!(matches!(
                path,
                SpendPath::Preimage {
                    second_stage: true,
                    ..
                } | SpendPath::Timeout { second_stage: true }
            ));
            let (outpoint, amount_sat) = second_stage_output(stage, index).unwrap();
            claims.push(second_stage_claim(&found.spend, outpoint, amount_sat).unwrap());
        }
    }
    assert_eq!(claims.len(), 6);
    let taken = take(&pair.a, &claims);
    assert_fee_fits(&taken);
    for (claim, input) in claims.iter().zip(&taken.transaction.input) {
        assert_eq!(input.sequence, Sequence::from_height(DELAY_OF_A));
        assert_eq!(
            claim.least_tip_height(pair.a.parameters(), 1000),
            1000 + u32::from(DELAY_OF_A) - 1
        );
        assert_eq!(read_delayed_spend(input), SpendPath::Delayed);
    }
    chain.accept(&taken.transaction);
}

#[test]
fn a_revoked_commitment_is_punished_on_every_output() {
    let mut pair = pair(&spec());
    let commitment = pair.cheat();
    let mut chain = Chain::funded(&pair);
    chain.accept(&commitment);
    let found = identified(&pair.a, &commitment);
    let claims = claims(&found, &commitment);
    assert_eq!(claims.len(), 7);
    let taken = take(&pair.a, &claims);
    assert_fee_fits(&taken);
    assert_eq!(taken.transaction.lock_time, LockTime::ZERO);
    assert!(taken.transaction.is_explicitly_rbf());
    chain.accept(&taken.transaction);
    let left = taken.transaction.output[0].value.to_sat() + taken.fee_sat;
    // All but anchors, the commitment's fee, dust and what rounding takes of each output.
    let anchors_and_fee = 2 * 330 + 253 * (1124 + 172 * 5) / 1000;
    assert!(left + anchors_and_fee + 100 + 8 >= CAPACITY_SAT);
    let paths = paths(&found, &commitment, &taken.transaction);
    let revocations = paths
        .iter()
        .filter(|path| **path == SpendPath::Revocation)
        .count();
    assert_eq!(revocations, 6);
}

#[test]
fn a_cheater_whose_second_stage_confirms_first_is_punished_there() {
    let mut pair = pair(&spec());
    let commitment = pair.cheat();
    let mut chain = Chain::funded(&pair);
    chain.accept(&commitment);
    let found = identified(&pair.a, &commitment);
    let mut claims = Vec::new();
    for stage in all_second_stages(&pair.b, &turned(second_stages())) {
        chain.accept(&stage);
        for (index, path) in (0u32..).zip(paths(&found, &commitment, &stage)) {
            assert_ne!(path, SpendPath::Unknown);
            let (outpoint, amount_sat) = second_stage_output(&stage, index).unwrap();
            claims.push(second_stage_claim(&found.spend, outpoint, amount_sat).unwrap());
        }
    }
    assert_eq!(claims.len(), 5);
    let taken = take(&pair.a, &claims);
    for input in &taken.transaction.input {
        assert_eq!(read_delayed_spend(input), SpendPath::Revocation);
    }
    chain.accept(&taken.transaction);
}

#[test]
fn a_cheater_that_writes_an_odd_selector_for_its_timeouts_is_punished_there_too() {
    let mut pair = pair(&spec());
    let commitment = pair.cheat();
    let mut chain = Chain::funded(&pair);
    chain.accept(&commitment);
    let found = identified(&pair.a, &commitment);
    let mut odd = 0;
    for mut stage in all_second_stages(&pair.b, &turned(second_stages())) {
        for input in &mut stage.input {
            let mut elements = input.witness.to_vec();
            if elements[3].is_empty() {
                elements[3] = vec![7];
                odd += 1;
            }
            input.witness = bitcoin::Witness::from_slice(&elements);
        }
        chain.accept(&stage);
        let paths = paths(&found, &commitment, &stage);
        let is_second_stage = |path: &SpendPath| {
            matches!(
                path,
                SpendPath::Timeout { second_stage: true }
                    | SpendPath::Preimage {
                        second_stage: true,
                        ..
                    }
            )
        };
        assert!(paths.iter().all(is_second_stage), "{paths:?}");
    }
    assert_eq!(odd, 2);
}

#[test]
fn what_costs_more_than_it_holds_is_left_out_and_named() {
    let mut pair = pair(&spec());
    let commitment = pair.cheat();
    let found = identified(&pair.a, &commitment);
    let claims = claims(&found, &commitment);
    let take_at = |feerate| {
        claim_transaction(
            &pair.a.environment,
            pair.a.parameters(),
            &claims,
            &pair.a.environment.destination_script,
            feerate,
        )
    };
    // An HTLC's penalty input weighs somewhat more than 400: all but the balances are too small.
    let taken = take_at(60_000).unwrap();
    assert_eq!(taken.uneconomic.len(), 5);
    assert_eq!(taken.transaction.input.len(), 2);
    let Err(ClaimError::Uneconomic { outpoints, .. }) = take_at(3_000_000) else {
        panic!("claimed");
    };
    assert_eq!(outpoints.len(), claims.len());
    assert!(take_at(u32::MAX).is_err());
}

#[test]
fn claims_of_nothing_and_of_impossible_amounts_are_refused() {
    let pair = pair(&spec());
    let take = |claims: &[Claim]| {
        claim_transaction(
            &pair.a.environment,
            pair.a.parameters(),
            claims,
            &pair.a.environment.destination_script,
            FEERATE,
        )
    };
    assert!(matches!(take(&[]), Err(ClaimError::Uneconomic { .. })));
    let claim = Claim {
        outpoint: OutPoint::null(),
        amount_sat: u64::MAX,
        path: ClaimPath::Balance,
    };
    assert_eq!(take(&[claim, claim]), Err(ClaimError::Impossible));
}

#[test]
#[should_panic(expected = "input 0")]
fn the_interpreter_refuses_a_claim_that_ignores_its_delay() {
    let pair = pair(&spec());
    let mut chain = Chain::funded(&pair);
    let commitment = pair.a.commitment_transaction();
    chain.accept(&commitment);
    let found = identified(&pair.a, &commitment);
    let mut hasty = pair.a.record.parameters.clone();
    // The counterparty's delay is in the sequence and, by the script, in the signature.
    hasty.counterparty_limits.to_self_delay -= 1;
    let taken = claim_transaction(
        &pair.a.environment,
        &hasty,
        &claims(&found, &commitment),
        &pair.a.environment.destination_script,
        FEERATE,
    );
    chain.accept(&taken.unwrap().transaction);
}
