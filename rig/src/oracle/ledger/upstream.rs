//! When a forwarder failed upstream. It may do so only when downstream can claim no more: what a confirmed
//! commitment decides is decided six blocks deep (`corrections.md`, 14 and invariant 4).

use std::collections::BTreeMap;

use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{OutPoint, Transaction};
use faults::GateReport;
use node_bin::api::{Report, WireMessage};

use super::{Ended, sides};
use crate::evidence::{NodeReport, RigEntry, Source};
use crate::oracle::chain_view::commitment::Closure;
use crate::oracle::chain_view::witness::{SpendPath, read};
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

/// Since when an outbound HTLC can be claimed no more.
#[derive(Clone, Copy, Debug)]
enum Decided {
    /// Messages removed it from both commitments, or the chain decided before it was reorganised, by this trace entry.
    Since(u64),
    /// The chain decided, at this height of it.
    At(u32),
    /// It never came to be.
    Always,
}

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
    let heights = heights(case, node);
    let inbound: Vec<&Htlc> = inbound.into_iter().map(|(htlc, _)| *htlc).collect();
    let outbound: Vec<Vec<Decided>> = outbound
        .into_iter()
        .map(|(htlc, outcome)| failed_for_good(case, &heights, htlc, *outcome))
        .collect();
    let never_forwarded = inbound.len().saturating_sub(outbound.len());
    for (before, (seq, htlc)) in failures(case, node, &inbound).into_iter().enumerate() {
        let height = heights.range(..seq).next_back().map_or(0, |(_, at)| *at);
        let is_over = |decided: &Decided| match decided {
            Decided::Since(since) => *since < seq,
            Decided::At(at) => *at <= height,
            Decided::Always => true,
        };
        let decided = outbound.iter().filter(|any| any.iter().any(is_over));
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
                format!("when its outbound HTLCs were failed for good: {outbound:?}"),
            ],
        );
    }
}

/// Any of what makes sure that an outbound HTLC can be claimed no more; nothing, if it could to the end.
fn failed_for_good(
    case: &CaseView<'_>,
    heights: &BTreeMap<u64, u32>,
    htlc: &Htlc,
    outcome: Outcome,
) -> Vec<Decided> {
    let Closure::Commitment(commitment) = case.closure(&htlc.channel) else {
        return match outcome {
            Outcome::Claimed(_) | Outcome::Pending => Vec::new(),
            Outcome::Failed(_) => removed(htlc),
            _ => vec![Decided::Always],
        };
    };
    // What a cheater publishes decides nothing that was decided before.
    let is_old = case.cheater_of(&htlc.channel).is_some();
    let deep = |height: u32| Decided::At(height.saturating_add(CONFIRMATIONS - 1));
    match outcome {
        Outcome::Claimed(_) | Outcome::Pending => Vec::new(),
        _ if !htlc.arrived || is_old || outcome == Outcome::Penalty => vec![Decided::Always],
        Outcome::Failed(Witness::Chain) => {
            let here: Vec<&Htlc> = case
                .htlcs()
                .map(|(other, _)| other)
                .filter(|other| other.channel == htlc.channel)
                .collect();
            let place = here.iter().position(|other| *other == htlc);
            let output = place.and_then(|at| outputs_of(&here, commitment).into_iter().nth(at)?);
            let Some((outpoint, spend)) = output.and_then(|one| Some((one.outpoint, one.spend?)))
            else {
                return Vec::new();
            };
            let mut either = vec![deep(spend.height)];
            either.extend(deep_before(case, heights, |txid| {
                takes_back(case, txid, &outpoint)
            }));
            either
        }
        _ => {
            let mut either = removed(htlc);
            either.push(deep(commitment.height));
            let txid = commitment.txid.to_string();
            either.extend(deep_before(case, heights, |of| of == txid));
            either
        }
    }
}

/// Whether a node published this transaction, and it takes an HTLC back from this output of a commitment after its
/// expiry.
fn takes_back(case: &CaseView<'_>, txid: &str, output: &OutPoint) -> bool {
    let mut published = case.published().filter(|told| told.what.txid == txid);
    published.any(|told| {
        let transaction = deserialize_hex::<Transaction>(&told.what.raw);
        transaction.is_ok_and(|transaction| {
            let mut inputs = transaction.input.iter();
            inputs.any(|input| {
                input.previous_output == *output && read(input).1 == SpendPath::Timeout
            })
        })
    })
}

/// Where the node had a block that makes one of these transactions final, which a reorganisation took off since: it was
/// right to take six confirmations at their word.
fn deep_before(
    case: &CaseView<'_>,
    heights: &BTreeMap<u64, u32>,
    is_it: impl Fn(&str) -> bool,
) -> Option<Decided> {
    case.evidence.trace.iter().find_map(|entry| {
        let Source::Rig {
            did: RigEntry::Reorged { taken_off, .. },
        } = &entry.source
        else {
            return None;
        };
        let mut had = taken_off.iter();
        let had = had.find(|block| block.txids.iter().any(|txid| is_it(txid)))?;
        let final_height = had.height.saturating_add(CONFIRMATIONS - 1);
        let mut before = heights.range(..entry.seq);
        let (seq, _) = before.find(|(_, height)| **height >= final_height)?;
        Some(Decided::Since(*seq))
    })
}

/// Where messages removed it for good, if they did.
fn removed(htlc: &Htlc) -> Vec<Decided> {
    let since = htlc.removal.with_both.filter(|_| htlc.failed);
    since.map(Decided::Since).into_iter().collect()
}

/// The height that the node knows from each trace entry on at which that changes: of the block that it is handed, or
/// where no block is told of, the chain's.
fn heights(case: &CaseView<'_>, node: &str) -> BTreeMap<u64, u32> {
    let base_height = case.evidence.chain.base_height;
    let mut connected = BTreeMap::new();
    let mut mined = BTreeMap::new();
    let mut known = 0;
    for entry in &case.evidence.trace {
        match &entry.source {
            Source::Rig {
                did: RigEntry::Mined { height, .. },
            } => {
                mined.insert(entry.seq, *height);
            }
            Source::Rig {
                did: RigEntry::Reorged { height, blocks, .. },
            } => {
                mined.insert(entry.seq, *height);
                known = known.min(height.saturating_sub(blocks.saturating_add(1)));
                connected.insert(entry.seq, known);
            }
            Source::Node {
                node: of,
                report: NodeReport::Gate(GateReport::Point { point, .. }),
                ..
            } if of == node && point.name == "block.connected.before" => {
                let above = point.role.trim_start_matches('+').parse::<u32>();
                known = known.max(base_height.saturating_add(above.unwrap_or(0)));
                connected.insert(entry.seq, known);
            }
            _ => {}
        }
    }
    if known > 0 { connected } else { mined }
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
