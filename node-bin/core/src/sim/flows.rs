//! The flows that are explored, by name.

use bitcoin::secp256k1::rand::{SeedableRng, rngs::StdRng};

use super::script::{Kind, Script};
use super::setup::{SetupError, Topology, open_world};
use super::storm::storm;
use super::world::World;

/// A payment below every dust limit, in millisatoshis.
const DUST_MSAT: u64 = 100_001;

/// A payment whose two halves are the same, in millisatoshis.
const TWINS_MSAT: u64 = 40_000_000;

pub(super) const A: usize = 0;
pub(super) const B: usize = 1;
pub(super) const C: usize = 2;
pub(super) const D: usize = 3;

/// Writes a flow.
pub type Write = fn(&mut Script);

/// All flows by name, with what they need.
pub const FLOWS: &[(&str, Topology, Write)] = &[
    ("direct", Topology::Pair, |s| s.pay(&[A, B], Kind::Claim)),
    ("dust", Topology::Line, |s| {
        s.amount_msat = DUST_MSAT;
        s.pay(&[A, B, C], Kind::Claim);
    }),
    ("forward", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::Claim)
    }),
    ("keysend", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::Keysend)
    }),
    ("fail-back", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::Fail)
    }),
    ("unknown", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::UnknownHash)
    }),
    ("refused", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::FeeTooLow)
    }),
    ("hold-claim", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::HoldAndClaim)
    }),
    ("hold-fail", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::HoldAndFail)
    }),
    ("mpp", Topology::Diamond, |s| {
        s.pay_parts(&[&[A, B, D], &[A, C, D]], Kind::Claim)
    }),
    ("mpp-hold", Topology::Diamond, |s| {
        s.pay_parts(&[&[A, B, D], &[A, C, D]], Kind::HoldAndClaim)
    }),
    ("mpp-fail", Topology::Diamond, |s| {
        s.pay_parts(&[&[A, B, D], &[A, C, D]], Kind::Fail)
    }),
    ("mpp-partial", Topology::Diamond, |s| {
        s.pay_parts(&[&[A, B, D], &[A, C, D]], Kind::FeeTooLow)
    }),
    ("both-ways", Topology::Pair, |s| {
        s.pay(&[A, B], Kind::Claim);
        s.pay(&[B, A], Kind::Claim);
    }),
    ("crossing", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::Claim);
        s.pay(&[C, B, A], Kind::Claim);
    }),
    ("concurrent", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::Claim);
        s.pay(&[A, B, C], Kind::Fail);
        s.pay(&[A, B], Kind::Claim);
        s.pay(&[C, B, A], Kind::Claim);
        s.pay(&[C, B], Kind::UnknownHash);
    }),
    ("fee", Topology::Line, |s| {
        s.fee_rate(A, 900);
        s.pay(&[A, B, C], Kind::Claim);
        s.fee_rate(B, 700);
        s.pay(&[C, B, A], Kind::Claim);
    }),
    ("force-downstream", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::HoldAndClaim);
        s.force_before_the_claim(B, &[[B, C]]);
    }),
    ("force-by-payee", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::HoldAndClaim);
        s.force_before_the_claim(C, &[[B, C]]);
    }),
    ("force-race", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::HoldAndClaim);
        s.force_with_the_claim(B, [B, C]);
    }),
    ("force-upstream", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::HoldAndClaim);
        s.force_before_the_claim(A, &[[A, B]]);
    }),
    ("force-own-upstream", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::HoldAndClaim);
        s.force_before_the_claim(B, &[[A, B]]);
    }),
    ("force-timeout", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::HoldForEver);
        s.force_before_the_claim(B, &[[B, C]]);
    }),
    // The payee's claim and the timeout, either of which the next block may hold.
    ("force-contest", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::HoldAndClaim);
        s.force_and_contest(B, [B, C]);
    }),
    ("force-mpp", Topology::Diamond, |s| {
        s.pay_parts(&[&[A, B, D], &[A, C, D]], Kind::HoldAndClaim);
        s.force_before_the_claim(D, &[[B, D]]);
    }),
    ("force-both", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::HoldAndClaim);
        s.force_before_the_claim(B, &[[A, B], [B, C]]);
    }),
    ("force-both-timeout", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::HoldForEver);
        s.force_before_the_claim(B, &[[A, B], [B, C]]);
    }),
    ("force-dust", Topology::Line, |s| {
        s.amount_msat = DUST_MSAT;
        s.pay(&[A, B, C], Kind::HoldForEver);
        s.force_before_the_claim(B, &[[B, C]]);
    }),
    // Two HTLCs that no commitment tells apart.
    ("force-twins", Topology::Line, |s| {
        s.amount_msat = TWINS_MSAT;
        s.pay_parts(&[&[A, B, C], &[A, B, C]], Kind::HoldAndClaim);
        s.force_before_the_claim(B, &[[B, C]]);
    }),
    ("force-twins-timeout", Topology::Line, |s| {
        s.amount_msat = TWINS_MSAT;
        s.pay_parts(&[&[A, B, C], &[A, B, C]], Kind::HoldForEver);
        s.force_before_the_claim(C, &[[B, C]]);
    }),
    ("retry", Topology::Diamond, |s| {
        s.pay_with_retries(&[&[A, B, D], &[A, C, D]])
    }),
    ("open", Topology::Strangers, |s| s.open([A, B])),
    ("storm-pair", Topology::Pair, storm),
    ("storm-line", Topology::Line, storm),
    ("storm-diamond", Topology::Diamond, storm),
    ("close", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::HoldAndClaim);
        s.close_before_the_claim([A, B]);
    }),
];

/// How many different sets of keys worlds have.
const KEY_SETS: u64 = 4;

/// A world that is about to play this flow. Another seed means other random bytes and, among a few, other
/// keys; so channel ids sort differently too.
///
/// # Errors
///
/// [`SetupError`]: there is no such flow, or its world does not come about.
pub fn start(name: &str, seed: u64) -> Result<World, SetupError> {
    let Some((name, topology, write)) = FLOWS.iter().find(|(known, _, _)| *known == name) else {
        return Err(SetupError::Failed(format!("no flow is called {name}")));
    };
    let mut world = open_world(*topology, seed % KEY_SETS)?;
    world.dice = StdRng::seed_from_u64(seed);
    let mut script = Script::new(name, &world, seed);
    write(&mut script);
    let flow = script.finish();
    world.play(flow);
    Ok(world)
}
