//! What forwarders gave and got under one payment hash. A forwarder must never have paid downstream
//! without being paid upstream, nor the other way round.

use std::collections::BTreeSet;

use faults::{GateReport, PointId};

use super::{Ended, sides, upstream};
use crate::evidence::{NodeReport, Source};
use crate::oracle::htlcs::{Htlc, closed_by};
use crate::oracle::outcome::Outcome;
use crate::oracle::{CaseView, Docket};
use crate::scenario::Persist;

/// What a forwarder may keep of one HTLC, in millisatoshis: ten times what the nodes' policies ask for.
const KEPT_MSAT_MAX: u64 = 10_000;

#[derive(Default)]
struct Side {
    claimed: usize,
    claimed_msat: u64,
    /// Those that are sure not to be paid any more.
    refunded_msat: u64,
    dust_msat: u64,
    pending: usize,
    lines: Vec<String>,
    trace: Vec<u64>,
}

impl Side {
    fn of<'h>(htlcs: impl Iterator<Item = &'h (&'h Htlc, Outcome)>) -> Self {
        let mut side = Side::default();
        for (htlc, outcome) in htlcs {
            match outcome {
                Outcome::Claimed(_) => {
                    side.claimed += 1;
                    side.claimed_msat = side.claimed_msat.saturating_add(htlc.amount_msat);
                }
                Outcome::Failed(_) | Outcome::Forgotten | Outcome::Penalty => {
                    side.refunded_msat = side.refunded_msat.saturating_add(htlc.amount_msat);
                }
                Outcome::Dust => side.dust_msat = side.dust_msat.saturating_add(htlc.amount_msat),
                Outcome::Pending => side.pending += 1,
            }
            side.lines.push(format!("{}: {outcome:?}", htlc.name()));
            side.trace.extend(&htlc.trace);
        }
        side
    }
}

/// A forwarder's HTLCs of one hash.
struct Books<'a> {
    payment_hash: &'a str,
    inbound: Side,
    outbound: Side,
}

impl<'a> Books<'a> {
    fn of(node: &str, payment_hash: &'a str, htlcs: &Ended<'_>) -> Self {
        let [inbound, outbound] = sides(node, htlcs).map(|side| Side::of(side.into_iter()));
        Books {
            payment_hash,
            inbound,
            outbound,
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("payment hash {}", self.payment_hash)];
        lines.extend(
            self.inbound
                .lines
                .iter()
                .map(|line| format!("inbound {line}")),
        );
        lines.extend(
            self.outbound
                .lines
                .iter()
                .map(|line| format!("outbound {line}")),
        );
        lines
    }

    fn trace(&self) -> Vec<u64> {
        let both = self.inbound.trace.iter().chain(&self.outbound.trace);
        let mut trace: Vec<u64> = both.copied().collect();
        trace.sort_unstable();
        trace.dedup();
        trace
    }
}

/// Judges every node between this hash's payers and payees.
pub(super) fn judge(
    case: &CaseView<'_>,
    payment_hash: &str,
    htlcs: &Ended<'_>,
    docket: &mut Docket,
) {
    let nodes: BTreeSet<&str> = htlcs
        .iter()
        .flat_map(|(htlc, _)| [htlc.offerer.as_str(), htlc.receiver.as_str()])
        .collect();
    for node in nodes {
        if !is_end(case, node, payment_hash) {
            judge_forwarder(case, node, payment_hash, htlcs, docket);
            judge_kept(node, payment_hash, htlcs, docket);
            judge_count(node, payment_hash, htlcs, docket);
            upstream::judge(case, node, payment_hash, htlcs, docket);
        }
    }
}

/// Whether the node pays or is paid under this hash.
pub(super) fn is_end(case: &CaseView<'_>, node: &str, payment_hash: &str) -> bool {
    let mut payments = case.evidence.payments.iter();
    payments.any(|made| made.payment_hash == payment_hash && (made.from == node || made.to == node))
}

fn judge_forwarder(
    case: &CaseView<'_>,
    node: &str,
    payment_hash: &str,
    htlcs: &Ended<'_>,
    docket: &mut Docket,
) {
    let books = Books::of(node, payment_hash, htlcs);
    let (lines, trace) = (|| books.lines(), || books.trace());
    let Books {
        inbound, outbound, ..
    } = &books;
    let (got, gave) = (inbound.claimed_msat, outbound.claimed_msat);
    if gave > got {
        let lost = gave - got;
        if inbound.pending > 0 {
            // Not lost yet; that it is still pending is for `at-rest` to say.
            docket.note(format!(
                "{node} paid {gave} msat downstream and waits for its inbound HTLC"
            ));
        } else if inbound.dust_msat >= lost && is_reckless(case, node, htlcs) {
            docket.find(
                "forwarded-after-close",
                format!(
                    "{node} offered an HTLC downstream when it had told its user that the channel of the inbound one \
                     is closed, where that has no output: it lost {lost} msat"
                ),
                trace(),
                lines(),
            );
        } else if inbound.dust_msat >= lost {
            docket.note(format!(
                "{node} lost {lost} msat of dust HTLCs that had no output when their channel closed"
            ));
        } else {
            docket.find(
                "forwarder-loss",
                format!("{node} paid {gave} msat downstream and got {got} msat upstream: it lost {lost} msat"),
                trace(),
                lines(),
            );
        }
    } else if inbound.claimed > outbound.claimed {
        if outbound.pending > 0 || outbound.dust_msat > 0 {
            docket.note(format!(
                "{node} got {got} msat upstream while an outbound HTLC is pending or was dust"
            ));
        } else {
            docket.find(
                "forwarder-gain",
                format!(
                    "{node} got {got} msat upstream and paid {gave} msat downstream, with {} msat of its \
                     outbound HTLCs refunded: it kept {} msat of others",
                    outbound.refunded_msat,
                    got - gave
                ),
                trace(),
                lines(),
            );
        }
    }
}

/// Of what it passes on a forwarder keeps its fee.
fn judge_kept(node: &str, payment_hash: &str, htlcs: &Ended<'_>, docket: &mut Docket) {
    let books = Books::of(node, payment_hash, htlcs);
    let Books {
        inbound, outbound, ..
    } = &books;
    let (got, gave) = (inbound.claimed_msat, outbound.claimed_msat);
    let kept_msat_max = KEPT_MSAT_MAX.saturating_mul(inbound.claimed as u64);
    let is_passed_on = inbound.claimed == outbound.claimed;
    if !is_passed_on || got <= gave.saturating_add(kept_msat_max) {
        return;
    }
    docket.find(
        "overcharged",
        format!(
            "{node} got {got} msat upstream and paid {gave} msat downstream: of each HTLC it may keep \
             {KEPT_MSAT_MAX} msat at most"
        ),
        books.trace(),
        books.lines(),
    );
}

/// Whether the node wrote one of these HTLCs down to be offered after it knew that all channels that it was paid over
/// are closed. What was written before has to go out: BOLT 2 has the peer told again of what is signed. Writes that
/// are done late tell nothing of when they were begun.
fn is_reckless(case: &CaseView<'_>, node: &str, htlcs: &Ended<'_>) -> bool {
    let nodes = &case.evidence.plan.scenario.nodes;
    if nodes
        .get(node)
        .is_some_and(|node| node.persist != Persist::Sync)
    {
        return false;
    }
    let [inbound, outbound] = sides(node, htlcs);
    let closed = inbound.iter().map(|(htlc, _)| {
        let mut told = case.reports().filter(|told| told.node == node);
        let channels = &case.evidence.channels;
        let closed = told.find(|told| closed_by(channels, told.what) == Some(&htlc.channel));
        closed.map_or(u64::MAX, |told| told.seq)
    });
    let last_closed = closed.max().unwrap_or(u64::MAX);
    outbound.iter().any(|(htlc, _)| {
        let offered = htlc.trace.iter().min().copied().unwrap_or(0);
        let written = last_write(case, node, &htlc.channel, offered);
        offered > last_closed && written.is_none_or(|written| written > last_closed)
    })
}

/// The last write of this channel's monitor that the node had in place before this trace entry.
fn last_write(case: &CaseView<'_>, node: &str, label: &str, before: u64) -> Option<u64> {
    let is_write = |point: &PointId| {
        let is_done = point.name.ends_with(".renamed") || point.name.ends_with(".after");
        let mut families = ["persist.monitor_update.", "persist.monitor."].iter();
        families.any(|family| point.name.starts_with(family))
            && is_done
            && point.role.split_whitespace().next() == Some(label)
    };
    let earlier = case.evidence.trace.iter().rev();
    let mut earlier = earlier.skip_while(|entry| entry.seq >= before);
    let found = earlier.find(|entry| match &entry.source {
        Source::Node {
            node: of,
            report:
                NodeReport::Gate(GateReport::Point { point, .. } | GateReport::Frozen { point }),
            ..
        } => of == node && is_write(point),
        _ => false,
    });
    found.map(|entry| entry.seq)
}

/// One outbound HTLC at most for each inbound one: a second is paid by nobody.
fn judge_count(node: &str, payment_hash: &str, htlcs: &Ended<'_>, docket: &mut Docket) {
    let [inbound, outbound] = sides(node, htlcs).map(|side| {
        let there = side.into_iter().map(|(htlc, _)| *htlc);
        let there = there.filter(|htlc| htlc.arrived && !htlc.replaced);
        there.collect::<Vec<_>>()
    });
    if outbound.len() > inbound.len() {
        let all = inbound.iter().chain(&outbound);
        docket.find(
            "forwarded-twice",
            format!(
                "{node} took {} HTLCs of {payment_hash} and offered {} for them",
                inbound.len(),
                outbound.len()
            ),
            all.clone().flat_map(|htlc| htlc.trace.clone()).collect(),
            all.map(|htlc| htlc.name()).collect(),
        );
    }
}
