//! Storms: flows that are different for each seed, of everything at once.

use bitcoin::secp256k1::rand::{Rng, SeedableRng, rngs::StdRng};

use super::flows::{A, B, C, D};
use super::script::{Kind, Script};
use super::setup::Topology;

/// Phases of a storm, at the most.
const STORM_PHASES: usize = 3;
/// Payments of a phase, at the most.
const STORM_PAYMENTS: usize = 4;
/// The largest payment of a storm is twice that, in millisatoshis: more than anybody has.
const STORM_AMOUNT_MSAT: u64 = 1 << 28;

/// Random payments of all kinds and sizes in all directions, fee rates and blocks in between, by the seed.
pub(super) fn storm(script: &mut Script) {
    script.is_uncertain();
    let mut dice = StdRng::seed_from_u64(script.seed);
    for _ in 0..dice.gen_range(1..=STORM_PHASES) {
        for _ in 0..dice.gen_range(1..=STORM_PAYMENTS) {
            // As many of every order of magnitude.
            let magnitude = STORM_AMOUNT_MSAT >> dice.gen_range(0..18);
            script.amount_msat = magnitude + dice.gen_range(0..magnitude);
            storm_payment(script, &mut dice);
        }
        if dice.gen_bool(0.4) {
            let node = dice.gen_range(0..script.topology.nodes());
            script.fee_rate(node, dice.gen_range(300..2_000));
        }
        if dice.gen_bool(0.2) {
            script.mine(1);
        }
        script.phase += 1;
    }
}

fn storm_payment(script: &mut Script, dice: &mut StdRng) {
    const KINDS: [Kind; 8] = [
        Kind::Claim,
        Kind::Claim,
        Kind::Keysend,
        Kind::Fail,
        Kind::UnknownHash,
        Kind::FeeTooLow,
        Kind::HoldAndClaim,
        Kind::HoldAndFail,
    ];
    let kind = KINDS[dice.gen_range(0..KINDS.len())];
    let ways: &[&[usize]] = match script.topology {
        Topology::Pair | Topology::Strangers => &[&[A, B]],
        Topology::Line => &[&[A, B, C], &[A, B], &[B, C]],
        Topology::Diamond => &[&[A, B, D], &[A, C, D], &[B, A, C], &[B, D, C]],
    };
    let way = ways[dice.gen_range(0..ways.len())];
    let is_split = script.topology == Topology::Diamond && dice.gen_bool(0.5);
    let mut split: Vec<Vec<usize>> = match is_split && kind != Kind::Keysend {
        true => vec![vec![A, B, D], vec![A, C, D]],
        false => vec![way.to_vec()],
    };
    if dice.gen_bool(0.5) {
        split.iter_mut().for_each(|way| way.reverse());
    }
    // With a single hop nobody's fee can be too low.
    let kind = match kind {
        Kind::FeeTooLow if split[0].len() == 2 => Kind::Claim,
        kind => kind,
    };
    let split: Vec<&[usize]> = split.iter().map(Vec::as_slice).collect();
    script.pay_parts(&split, kind);
}
