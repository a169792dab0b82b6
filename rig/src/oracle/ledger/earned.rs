//! What forwarders' users are told of what they earned: each forward that was claimed on both edges is told at least once
//! by a unified node, and none that was not claimed, or with another fee, by any.

use std::collections::BTreeMap;

use node_bin::api::UserEvent;

use super::forwards::is_end;
use super::{Ended, sides};
use crate::oracle::htlcs::Htlc;
use crate::oracle::outcome::Outcome;
use crate::oracle::{CaseView, Docket};
use crate::scenario::NodeKind;

/// One hash's HTLCs at a forwarder that may have been claimed.
struct Forward<'c> {
    inbound: Vec<(&'c Htlc, Outcome)>,
    outbound: Vec<(&'c Htlc, Outcome)>,
}

/// A `payment_forwarded`.
struct ToldOf<'c> {
    seq: u64,
    inbound: &'c str,
    outbound: &'c str,
    fee_msat: Option<u64>,
}

pub(super) fn judge(case: &CaseView<'_>, by_hash: &BTreeMap<&str, Ended<'_>>, docket: &mut Docket) {
    for (node, setting) in &case.evidence.plan.scenario.nodes {
        if case.was_put_back(node) {
            continue;
        }
        let others = by_hash.iter().filter(|(hash, _)| !is_end(case, node, hash));
        let forwards: Vec<Forward<'_>> = others
            .filter_map(|(_, htlcs)| forward_of(node, htlcs))
            .collect();
        let told: Vec<ToldOf<'_>> = told_by(case, node).collect();
        for one in &told {
            judge_told(node, one, &forwards, docket);
        }
        if setting.kind == NodeKind::Unified {
            judge_untold(node, &told, &forwards, docket);
        }
    }
}

fn forward_of<'c>(node: &str, htlcs: &Ended<'c>) -> Option<Forward<'c>> {
    let [inbound, outbound] = sides(node, htlcs).map(|side| {
        let may_pay =
            |(_, outcome): &&&(&Htlc, Outcome)| outcome.is_claimed() || *outcome == Outcome::Dust;
        side.iter()
            .filter(may_pay)
            .map(|one| **one)
            .collect::<Vec<_>>()
    });
    (!outbound.is_empty()).then_some(Forward { inbound, outbound })
}

fn told_by<'c>(case: &CaseView<'c>, node: &str) -> impl Iterator<Item = ToldOf<'c>> {
    let events = case.events().filter(move |told| told.node == node);
    events.filter_map(|told| match told.what {
        UserEvent::PaymentForwarded {
            inbound,
            outbound,
            fee_msat,
            ..
        } => Some(ToldOf {
            seq: told.seq,
            inbound,
            outbound,
            fee_msat: *fee_msat,
        }),
        _ => None,
    })
}

/// Something that was claimed fits what was told.
fn judge_told(node: &str, told: &ToldOf<'_>, forwards: &[Forward<'_>], docket: &mut Docket) {
    let downstream = forwards.iter().flat_map(|forward| {
        let here = forward.outbound.iter();
        here.filter(|(htlc, _)| htlc.channel == told.outbound)
            .map(move |(htlc, _)| (forward, htlc))
    });
    let mut downstream = downstream.peekable();
    let lines = vec![format!("of {} to {}", told.inbound, told.outbound)];
    if downstream.peek().is_none() {
        docket.find(
            "forwarded-not-claimed",
            format!(
                "{node} was told of a forward to {} though nothing was claimed there",
                told.outbound
            ),
            vec![told.seq],
            lines,
        );
        return;
    }
    let Some(fee_msat) = told.fee_msat else {
        return;
    };
    let mut fitting = downstream.flat_map(|(forward, outbound)| {
        let upstream = forward.inbound.iter();
        upstream
            .filter(|(htlc, _)| htlc.channel == told.inbound)
            .map(|(inbound, _)| inbound.amount_msat.checked_sub(outbound.amount_msat))
    });
    if !fitting.any(|kept_msat| kept_msat == Some(fee_msat)) {
        docket.find(
            "forwarded-wrong-fee",
            format!("{node} was told that it earned {fee_msat} msat, which no forward left it"),
            vec![told.seq],
            lines,
        );
    }
}

/// As many were told as were claimed on both edges, by the channel downstream. A kill may repeat some, never all but
/// one.
fn judge_untold(node: &str, told: &[ToldOf<'_>], forwards: &[Forward<'_>], docket: &mut Docket) {
    let mut claimed: BTreeMap<&str, Vec<&Htlc>> = BTreeMap::new();
    for Forward { inbound, outbound } in forwards {
        let is_claimed = |(_, outcome): &&(&Htlc, Outcome)| outcome.is_claimed();
        if inbound.iter().filter(is_claimed).count() < outbound.len() {
            continue;
        }
        for (htlc, _) in outbound.iter().filter(is_claimed) {
            claimed.entry(&htlc.channel).or_default().push(htlc);
        }
    }
    for (channel, htlcs) in claimed {
        let heard = told.iter().filter(|told| told.outbound == channel).count();
        if heard < htlcs.len() {
            docket.find(
                "forward-untold",
                format!(
                    "{node} forwarded {} HTLCs that were claimed on {channel} and its user was told of {heard}",
                    htlcs.len()
                ),
                htlcs.iter().flat_map(|htlc| htlc.trace.clone()).collect(),
                htlcs.iter().map(|htlc| htlc.name()).collect(),
            );
        }
    }
}
