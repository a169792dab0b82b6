//! What a node publishes for a close it publishes again for more as long as blocks leave it out. Judged only of
//! nodes and kinds of outputs that the scenario names; one transaction that is given out several times is no bump.

use std::collections::{BTreeMap, HashMap};

use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{OutPoint, Transaction, Txid};
use node_bin::api::Report;

use super::chain_view::ChainView;
use super::chain_view::commitment::{Closure, Output};
use super::chain_view::witness::OutputKind;
use super::{CaseView, Docket};
use crate::scenario::Bumped;

/// A transaction that the network took from a node.
struct Published {
    seq: u64,
    node: String,
    txid: Txid,
    transaction: Transaction,
}

pub(super) fn judge(case: &CaseView<'_>, docket: &mut Docket) {
    let nodes = &case.evidence.plan.scenario.expect.bumped;
    if nodes.is_empty() {
        return;
    }
    let Some(published) = all_published(case, docket) else {
        return;
    };
    let Some(chain) = case.chain_or_miss(docket) else {
        return;
    };
    for (node, kinds) in nodes {
        let spends = spends_of(case, chain, &published, node);
        for kind in kinds {
            judge_kind(node, *kind, &spends, docket);
        }
    }
}

/// Everything published, in order; `None`, said, if something cannot be read.
fn all_published(case: &CaseView<'_>, docket: &mut Docket) -> Option<Vec<Published>> {
    let mut all = Vec::new();
    for told in case.reports() {
        let Report::Broadcast {
            transactions,
            error: None,
        } = told.what
        else {
            continue;
        };
        for made in transactions {
            let Ok(transaction) = deserialize_hex::<Transaction>(&made.raw) else {
                let message = format!("{}'s transaction {} cannot be read", told.node, made.txid);
                docket.miss("evidence-missing", message);
                return None;
            };
            all.push(Published {
                seq: told.seq,
                node: told.node.to_owned(),
                txid: transaction.compute_txid(),
                transaction,
            });
        }
    }
    Some(all)
}

/// A spend with what it pays, where that is known, in satoshis.
type Spend<'p> = (&'p Published, Option<u64>);

/// What the node published, one after the other, for each output of a commitment that closed a channel of its.
fn spends_of<'p>(
    case: &CaseView<'_>,
    chain: &ChainView,
    published: &'p [Published],
    node: &str,
) -> BTreeMap<OutPoint, (Option<Bumped>, Vec<Spend<'p>>)> {
    let mut spends = BTreeMap::new();
    let channels = case.evidence.channels.iter();
    for channel in channels.filter(|channel| channel.opener == node || channel.acceptor == node) {
        if let Closure::Commitment(commitment) = case.closure(&channel.label) {
            let outputs = commitment.outputs.iter();
            spends.extend(outputs.map(|output| (output.outpoint, (kind_of(output), Vec::new()))));
        }
    }
    for one in published.iter().filter(|one| one.node == node) {
        let fee_sat = fee_sat(one, chain, published);
        for input in &one.transaction.input {
            let Some((_, spends)) = spends.get_mut(&input.previous_output) else {
                continue;
            };
            if spends
                .iter()
                .all(|(other, _): &Spend<'_>| other.txid != one.txid)
            {
                spends.push((one, fee_sat));
            }
        }
    }
    spends
}

fn kind_of(output: &Output) -> Option<Bumped> {
    match output.kind {
        OutputKind::Anchor => Some(Bumped::Anchor),
        OutputKind::Htlc { .. } => Some(Bumped::Htlc),
        OutputKind::Delayed | OutputKind::ToRemote => Some(Bumped::Balance),
        OutputKind::Unknown => None,
    }
}

fn judge_kind(
    node: &str,
    wanted: Bumped,
    spends: &BTreeMap<OutPoint, (Option<Bumped>, Vec<Spend<'_>>)>,
    docket: &mut Docket,
) {
    let word = match wanted {
        Bumped::Anchor => "an anchor",
        Bumped::Htlc => "an HTLC",
        Bumped::Balance => "a balance",
    };
    let of_kind = spends.iter().filter(|(_, (kind, _))| *kind == Some(wanted));
    let bump = of_kind.clone().find_map(|(output, (_, spends))| {
        let fees_sat: Vec<u64> = spends.iter().filter_map(|(_, fee_sat)| *fee_sat).collect();
        let rises = |pair: &[u64]| pair[0] < pair[1];
        fees_sat.windows(2).any(rises).then_some((output, fees_sat))
    });
    if let Some((output, fees_sat)) = bump {
        docket.note(format!(
            "{node} published spends of {output}, {word}, for {fees_sat:?} sat, one after the other"
        ));
        return;
    }
    let all = of_kind.flat_map(|(output, (_, spends))| {
        spends.iter().map(move |(one, fee_sat)| {
            let fee = fee_sat.map_or("an unknown fee".to_owned(), |sat| format!("{sat} sat"));
            (
                one.seq,
                format!("{output}: spent by {} for {fee}", one.txid),
            )
        })
    });
    let (trace, lines) = all.unzip();
    docket.find(
        "not-bumped",
        format!(
            "{node} never published a spend of {word} of a channel's close again for a higher fee"
        ),
        trace,
        lines,
    );
}

/// What the miner would get, in satoshis, if it is known what the inputs hold.
fn fee_sat(one: &Published, chain: &ChainView, published: &[Published]) -> Option<u64> {
    let unconfirmed: HashMap<Txid, &Transaction> = published
        .iter()
        .map(|other| (other.txid, &other.transaction))
        .collect();
    let mut left_sat = 0_u64;
    for input in &one.transaction.input {
        let spent = input.previous_output;
        let made = unconfirmed.get(&spent.txid).copied();
        let of_parent = |parent: &Transaction| {
            let output = parent.output.get(usize::try_from(spent.vout).ok()?)?;
            Some(output.value.to_sat())
        };
        let value_sat = match chain.output(&spent) {
            Some(output) => output.value.to_sat(),
            None => made.and_then(of_parent)?,
        };
        left_sat = left_sat.checked_add(value_sat)?;
    }
    for output in &one.transaction.output {
        left_sat = left_sat.checked_sub(output.value.to_sat())?;
    }
    Some(left_sat)
}
