//! What nodes paid miners. Fees are a loss that a close excuses, so they have a bound: a node that gives its money
//! away as fees has lost it.

use std::collections::BTreeSet;

use bitcoin::{OutPoint, Transaction, Txid};

use super::chain_view::witness::{self, SpendPath};
use super::chain_view::{ChainView, Confirmed};
use super::conservation::fundings;
use super::{CaseView, Docket};
use crate::scenario::StepKind;

/// What nodes estimate until a step tells them otherwise, in satoshis per 1000 weight units.
const FIRST_ESTIMATE_SAT_PER_KW: u64 = 1_000;

/// The most that a transaction's fee rate, with the commitment that it pays for, may be, as a multiple of the highest
/// that any node estimated. What waits for a block is made dearer again and again.
const MOST_RAISED: u64 = 20;

/// Judges every transaction that a node published and a block took (or the mempool, at rest), from this height on.
pub(super) fn judge(
    case: &CaseView<'_>,
    chain: &ChainView,
    above_height: u32,
    docket: &mut Docket,
) {
    let published: BTreeSet<&str> = case
        .published()
        .map(|told| told.what.txid.as_str())
        .collect();
    let fundings: BTreeSet<OutPoint> = fundings(case).into_iter().map(|(_, of)| of).collect();
    let most_sat_per_kw = highest_estimate_sat_per_kw(case) * MOST_RAISED;
    let mut dearest_sat_per_kw = 0;
    for made in chain.transactions() {
        if made.height <= above_height || is_penalty(&made.transaction) {
            continue;
        }
        let txid = made.txid.to_string();
        let is_published = published.contains(txid.as_str());
        let Some(fee_sat) = chain.fee_sat(made).filter(|_| is_published) else {
            continue;
        };
        let (mut paid_sat, mut weight) = (fee_sat, made.transaction.weight().to_wu().max(1));
        for parent in paid_for(chain, &fundings, made) {
            paid_sat = paid_sat.saturating_add(chain.fee_sat(parent).unwrap_or(0));
            weight += parent.transaction.weight().to_wu();
        }
        let sat_per_kw = paid_sat.saturating_mul(1_000) / weight;
        dearest_sat_per_kw = dearest_sat_per_kw.max(sat_per_kw);
        if sat_per_kw > most_sat_per_kw {
            docket.find(
                "fee-too-high",
                format!(
                    "{txid} paid {fee_sat} sat, with what it paid for {sat_per_kw} sat per 1000 weight units: more than {most_sat_per_kw}, \
                     {MOST_RAISED} times the highest fee rate that a node estimated"
                ),
                Vec::new(),
                Vec::new(),
            );
        }
    }
    if dearest_sat_per_kw > 0 {
        docket.note(format!(
            "the dearest transaction of a node paid {dearest_sat_per_kw} sat per 1000 weight units"
        ));
    }
}

/// The commitments that came into the same block with a child of theirs, which pays for them too.
fn paid_for<'c>(
    chain: &'c ChainView,
    fundings: &BTreeSet<OutPoint>,
    child: &'c Confirmed,
) -> Vec<&'c Confirmed> {
    let spent = child.transaction.input.iter();
    let txids: BTreeSet<Txid> = spent.map(|input| input.previous_output.txid).collect();
    let parents = txids.iter().filter_map(|txid| chain.transaction(txid));
    let is_commitment = |parent: &&Confirmed| {
        let mut inputs = parent.transaction.input.iter();
        parent.height == child.height
            && inputs.any(|input| fundings.contains(&input.previous_output))
    };
    parents.filter(is_commitment).collect()
}

/// What takes a cheater's money may cost all of it: rather the miner's than the cheater's.
pub(super) fn is_penalty(transaction: &Transaction) -> bool {
    let mut inputs = transaction.input.iter();
    inputs.any(|input| witness::read(input).1 == SpendPath::Revocation)
}

fn highest_estimate_sat_per_kw(case: &CaseView<'_>) -> u64 {
    let steps = case.evidence.plan.scenario.act.iter();
    let told = steps.filter_map(|step| match step.kind {
        StepKind::FeeRate { sat_per_kw, .. } => Some(u64::from(sat_per_kw)),
        _ => None,
    });
    told.fold(FIRST_ESTIMATE_SAT_PER_KW, u64::max)
}
