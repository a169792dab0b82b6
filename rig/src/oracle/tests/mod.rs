//! Every oracle is fed a good world and, for each of its findings, a bad one.

use super::testing::World;
use super::{Judgement, Verdicts, judge, judge_all, verdict_of};
use crate::evidence::{Evidence, Verdict};
use crate::scenario::ExpectedPayment;

mod amounts;
mod chain;
mod conservation;
mod forwards;
mod htlc_outputs;
mod ledger;
mod meant;
mod opening;
mod penalties;
mod published;
mod races;
mod settled;

/// A pays B directly.
fn direct() -> World {
    let mut world = World::new(&["A", "B"], &[("A", "B")]);
    world.expect("p", ExpectedPayment::Sent);
    world
}

/// A pays C through B.
fn forward() -> World {
    let mut world = World::new(&["A", "B", "C"], &[("A", "B"), ("B", "C")]);
    world.expect("p", ExpectedPayment::Sent);
    world
}

fn good_direct() -> Evidence {
    let mut world = direct();
    world.pay("p", &["A", "B"], 1, 50_000_000);
    world.live();
    world.rest()
}

fn good_forward() -> Evidence {
    let mut world = forward();
    world.pay("p", &["A", "B", "C"], 1, 50_000_123);
    world.live();
    world.rest()
}

fn judgement(evidence: &Evidence, oracle: &str) -> Judgement {
    let mut all = judge_all(evidence).into_iter();
    all.find(|judgement| judgement.oracle == oracle).unwrap()
}

#[track_caller]
fn assert_passes(evidence: &Evidence) {
    for judgement in judge_all(evidence) {
        assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:#?}");
        assert_eq!(judgement.findings, Vec::new());
    }
}

/// The oracle fails the case with this code; the finding's message and lines.
#[track_caller]
fn assert_finds(evidence: &Evidence, oracle: &str, code: &str) -> (String, Vec<String>) {
    let judgement = judgement(evidence, oracle);
    assert_eq!(judgement.verdict, Verdict::Fail, "{judgement:#?}");
    let found = judgement
        .findings
        .iter()
        .find(|finding| finding.code == code);
    let found = found.unwrap_or_else(|| panic!("no {code} in {judgement:#?}"));
    assert_eq!(judge(evidence).verdict, Verdict::Fail);
    (found.message.clone(), found.lines.clone())
}

#[track_caller]
fn assert_not_run(evidence: &Evidence, oracle: &str, words: &str) {
    let judgement = judgement(evidence, oracle);
    assert_eq!(judgement.verdict, Verdict::NotRun, "{judgement:#?}");
    let said = judgement
        .findings
        .iter()
        .any(|finding| finding.message.contains(words));
    assert!(said, "{judgement:#?}");
}

#[test]
fn a_good_direct_payment_passes_every_oracle() {
    assert_passes(&good_direct());
}

#[test]
fn a_good_forward_passes_every_oracle() {
    assert_passes(&good_forward());
}

#[test]
fn judging_twice_and_judging_saved_evidence_give_the_same() {
    for evidence in [
        good_direct(),
        good_forward(),
        chain::claimed_on_chain(),
        ledger::flipped(),
    ] {
        let first = judge(&evidence);
        assert_eq!(first, judge(&evidence));
        let saved = serde_json::to_string(&evidence).unwrap();
        let read: Evidence = serde_json::from_str(&saved).unwrap();
        assert_eq!(read, evidence);
        assert_eq!(first, judge(&read));
        let verdicts = serde_json::to_string(&first).unwrap();
        assert_eq!(serde_json::from_str::<Verdicts>(&verdicts).unwrap(), first);
    }
}

#[test]
fn a_failure_beats_what_could_not_be_judged_and_that_beats_a_pass() {
    let with = |verdict| Judgement {
        oracle: "test".into(),
        verdict,
        findings: Vec::new(),
        notes: Vec::new(),
    };
    let of =
        |verdicts: &[Verdict]| verdict_of(&verdicts.iter().copied().map(with).collect::<Vec<_>>());
    assert_eq!(of(&[Verdict::Pass, Verdict::Pass]), Verdict::Pass);
    assert_eq!(of(&[Verdict::Pass, Verdict::NotRun]), Verdict::NotRun);
    assert_eq!(
        of(&[Verdict::NotRun, Verdict::Fail, Verdict::Pass]),
        Verdict::Fail
    );
    assert_eq!(of(&[]), Verdict::NotRun);
}

#[test]
fn no_evidence_is_never_green() {
    let mut evidence = good_direct();
    evidence.trace.clear();
    evidence.rest.clear();
    evidence.start.clear();
    assert_ne!(judge(&evidence).verdict, Verdict::Pass);
    for judgement in judge_all(&evidence) {
        let judged = ["armed", "witnesses"].contains(&judgement.oracle.as_str());
        assert!(
            judged || judgement.verdict != Verdict::Pass,
            "{judgement:#?}"
        );
    }
}

#[test]
fn absurd_numbers_are_judged_without_a_panic() {
    let mut evidence = good_direct();
    evidence.channels[0].capacity_sat = u64::MAX;
    evidence.channels[0].push_msat = u64::MAX;
    evidence.payments[0].amount_msat = u64::MAX;
    evidence.payments[0].payment_hash = "not hexadecimal".into();
    for view in evidence
        .rest
        .values_mut()
        .chain(evidence.start.values_mut())
    {
        view.balance.confirmed_sat = u64::MAX;
        view.balance.unconfirmed_sat = u64::MAX;
        view.channels[0].balance_msat = Some(u64::MAX);
    }
    evidence.chain.base_height = u32::MAX;
    judge(&evidence);
    evidence.chain.base_height = super::testing::BASE;
    evidence.chain.tip_height = u32::MAX;
    judge(&evidence);
}

#[test]
fn a_case_is_judged_in_a_few_milliseconds() {
    let mut world = forward();
    for number in 1..20 {
        world.pay(&format!("q{number}"), &["A", "B", "C"], number, 1_000_000);
    }
    world.pay("p", &["A", "B", "C"], 50, 1_000_000);
    world.live();
    let evidence = world.rest();
    let mut best = std::time::Duration::MAX;
    for _ in 0..20 {
        let begun = std::time::Instant::now();
        judge(&evidence);
        best = best.min(begun.elapsed());
    }
    println!("{} trace entries judged in {best:?}", evidence.trace.len());
    // Five milliseconds in release; unoptimised and on a busy machine, ten times as much.
    assert!(best < std::time::Duration::from_millis(50), "{best:?}");
}

#[test]
fn the_oracles_know_nodes_by_their_api_only() {
    fn sources(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/oracle");
    sources(&folder, &mut found);
    assert!(found.len() > 10);
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.trim_start();
            let foreign = code.contains("node_bin::") && !code.contains("node_bin::api")
                || code.starts_with("use lightning");
            let this_test = code.contains("code.contains") || code.contains("starts_with");
            assert!(
                !foreign || this_test,
                "{}:{}: {line}",
                path.display(),
                number + 1
            );
        }
    }
}
