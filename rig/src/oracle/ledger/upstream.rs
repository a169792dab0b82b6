//! When a forwarder failed upstream. It may do so only when downstream can claim no more: what a confirmed
//! commitment decides is decided six blocks deep (`corrections.md`, 14 and invariant 4).

use std::collections::BTreeMap;

use node_bin::api::{Report, WireMessage};

use super::{Ended, sides};
use crate::evidence::RigEntry;
use crate::oracle::chain_view::commitment::Closure;
use crate::oracle::htlcs::Htlc;
use crate::oracle::outcome::{Outcome, Witness, outputs_of};
use crate::oracle::{CaseView, Docket};

/// Blocks on a transaction, its own among them, after which it is final.
const CONFIRMATIONS: u32 = 6;

/// So long before an inbound HTLC expires it may be failed though downstream is not decided: the channel
/// would be lost besides (an early fail-back).
const GIVING_UP_BLOCKS: u32 = 3;

/// An upstream failure: the trace entry, and the inbound HTLC.
type Failure<'h> = (u64, &'h Htlc);

/// Judges one forwarder's failures under one payment hash. Which outbound HTLC an inbound one paid for is not
/// told: they are counted.
pub(super) fn judge(
    case: &CaseView<'_>,
    node: &str,
    payment_hash: &str,
    htlcs: &Ended<'_>,
    docket: &mut Docket,
) {
    let [inbound, outbound] = sides(node, htlcs).map(|mut side| {
        side.retain(|(htlc, _)| !htlc.replaced);
        side
    });
    let inbound: Vec<&Htlc> = inbound.into_iter().map(|(htlc, _)| *htlc).collect();
    let outbound: Vec<Option<u32>> = outbound
        .into_iter()
        .map(|(htlc, outcome)| failed_for_good(case, htlc, *outcome))
        .collect();
    let never_forwarded = inbound.len().saturating_sub(outbound.len());
    let heights = heights(case);
    for (before, (seq, htlc)) in failures(case, node, &inbound).into_iter().enumerate() {
        let height = heights.range(..seq).next_back().map_or(0, |(_, at)| *at);
        let decided = outbound.iter().flatten().filter(|at| **at <= height);
        let is_given_up = htlc.cltv_expiry <= height.saturating_add(GIVING_UP_BLOCKS);
        if before < never_forwarded + decided.count() || is_given_up {
            continue;
        }
        docket.find(
            "failed-too-early",
            format!(
                "{node} failed {} at height {height}, when what it had forwarded for it could still be claimed",
                htlc.name()
            ),
            vec![seq],
            vec![
                format!("payment hash {payment_hash}"),
                format!("heights at which its outbound HTLCs were failed for good: {outbound:?}"),
            ],
        );
    }
}

/// The height from which on an outbound HTLC could be claimed no more: none, if it could to the end.
fn failed_for_good(case: &CaseView<'_>, htlc: &Htlc, outcome: Outcome) -> Option<u32> {
    let Closure::Commitment(commitment) = case.closure(&htlc.channel) else {
        return (!outcome.is_claimed() && outcome != Outcome::Pending).then_some(0);
    };
    // What a cheater publishes decides nothing that was decided before.
    let is_old = case.cheater_of(&htlc.channel).is_some();
    let height = match outcome {
        Outcome::Claimed(_) | Outcome::Pending => return None,
        Outcome::Failed(Witness::Wire) => return Some(0),
        _ if is_old || !htlc.arrived => return Some(0),
        Outcome::Penalty => return Some(0),
        Outcome::Dust | Outcome::Forgotten => commitment.height,
        Outcome::Failed(Witness::Chain) => {
            let here: Vec<&Htlc> = case
                .htlcs()
                .map(|(other, _)| other)
                .filter(|other| other.channel == htlc.channel)
                .collect();
            let place = here.iter().position(|other| *other == htlc)?;
            let output = outputs_of(&here, commitment).into_iter().nth(place)??;
            output.spend?.height
        }
    };
    Some(height + CONFIRMATIONS - 1)
}

/// The chain's height from each trace entry on at which it changed.
fn heights(case: &CaseView<'_>) -> BTreeMap<u64, u32> {
    case.rig_entries()
        .filter_map(|(seq, entry)| match entry {
            RigEntry::Mined { height, .. } | RigEntry::Reorged { height, .. } => {
                Some((seq, *height))
            }
            _ => None,
        })
        .collect()
}

/// The first time that the node failed each of these, in order.
fn failures<'h>(case: &CaseView<'_>, node: &str, inbound: &[&'h Htlc]) -> Vec<Failure<'h>> {
    let mut found: Vec<Failure<'h>> = Vec::new();
    for told in case.reports().filter(|told| told.node == node) {
        let Report::Sent {
            channel: Some(channel),
            message:
                WireMessage::UpdateFailHtlc { htlc_id }
                | WireMessage::UpdateFailMalformedHtlc { htlc_id, .. },
            ..
        } = told.what
        else {
            continue;
        };
        let failed = inbound
            .iter()
            .find(|htlc| htlc.channel == *channel && htlc.htlc_id == *htlc_id);
        if let Some(htlc) = failed
            && found.iter().all(|(_, known)| known != htlc)
        {
            found.push((told.seq, htlc));
        }
    }
    found
}
