//! Nothing is pending when all has settled: no HTLC, no payment, no output, no transaction.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::OutPoint;
use node_bin::api::{HtlcDirection, PaymentState, Report, RestView};

use super::chain_view::ChainView;
use super::chain_view::commitment::Closure;
use super::chain_view::witness::OutputKind;
use super::{CaseView, Docket, Judgement, Oracle};
use crate::evidence::RigEntry;

/// The oracle `at-rest`.
pub(super) struct AtRest;

impl Oracle for AtRest {
    fn name(&self) -> &'static str {
        "at-rest"
    }

    fn judge(&self, case: &CaseView<'_>) -> Judgement {
        let mut docket = Docket::default();
        case.miss_what_is_not_there(&mut docket);
        // What a cheat still hopes for is nobody's business.
        let rest = case.evidence.rest.iter();
        for (node, view) in rest.filter(|(node, _)| !case.is_cheater(node)) {
            judge_channels(node, view, &mut docket);
            judge_payments(node, view, &mut docket);
            judge_claims(node, view, &mut docket);
        }
        if let Some(chain) = case.chain_or_miss(&mut docket) {
            judge_outputs(case, chain, &mut docket);
        }
        judge_mempool(case, &mut docket);
        for (seq, entry) in case.rig_entries() {
            if let RigEntry::WaitEnded { missing } = entry {
                docket.find(
                    "wait-ended",
                    format!("a wait ended without {missing}"),
                    vec![seq],
                    Vec::new(),
                );
            }
        }
        docket.close(self)
    }
}

fn judge_channels(node: &str, view: &RestView, docket: &mut Docket) {
    for channel in &view.channels {
        for htlc in &channel.htlcs {
            let way = match htlc.direction {
                HtlcDirection::Inbound => "inbound",
                HtlcDirection::Outbound => "outbound",
            };
            let id = htlc
                .htlc_id
                .map_or_else(|| "not yet sent".to_owned(), |id| format!("id {id}"));
            docket.find(
                "pending-htlc",
                format!(
                    "{node} has an {way} HTLC of {} msat ({id}) in {} at rest, state {}, expiry {}",
                    htlc.amount_msat, channel.label, htlc.state, htlc.cltv_expiry
                ),
                Vec::new(),
                vec![format!("payment hash {}", htlc.payment_hash)],
            );
        }
    }
}

fn judge_payments(node: &str, view: &RestView, docket: &mut Docket) {
    let pending = view
        .payments
        .iter()
        .filter(|payment| payment.state == PaymentState::Pending);
    for payment in pending {
        let way = match payment.direction {
            HtlcDirection::Inbound => "to",
            HtlcDirection::Outbound => "from",
        };
        let hash = payment.payment_hash.as_deref().unwrap_or("unknown");
        docket.find(
            "pending-payment",
            format!("a payment {way} {node} is undecided at rest"),
            Vec::new(),
            vec![format!("payment hash {hash}")],
        );
    }
}

fn judge_claims(node: &str, view: &RestView, docket: &mut Docket) {
    // An open channel would owe the node its balance if it closed; that is no claim yet.
    let usable = |label: &str| view.channels.iter().any(|c| c.label == label && c.usable);
    for claim in view.claims.iter().filter(|claim| !usable(&claim.channel)) {
        docket.find(
            "unclaimed-output",
            format!(
                "{node} has {} sat of {} still to claim at rest ({})",
                claim.amount_sat, claim.channel, claim.kind
            ),
            Vec::new(),
            claim
                .payment_hash
                .iter()
                .map(|hash| format!("payment hash {hash}"))
                .collect(),
        );
    }
    if view.unswept > 0 {
        let message = format!("{node} has {} outputs not swept at rest", view.unswept);
        docket.find("unswept-output", message, Vec::new(), Vec::new());
    }
}

/// The chain's own word on it: outputs of confirmed commitments, and of the second stage, that
/// nobody has spent.
fn judge_outputs(case: &CaseView<'_>, chain: &ChainView, docket: &mut Docket) {
    for channel in &case.evidence.channels {
        let Closure::Commitment(commitment) = case.closure(&channel.label) else {
            continue;
        };
        for output in &commitment.outputs {
            if output.spend.is_none() && output.kind != OutputKind::Anchor {
                let what = "the commitment";
                unspent(
                    what,
                    output.outpoint,
                    output.value_sat,
                    &channel.label,
                    docket,
                );
            }
            if let Some((second, value_sat)) = output.second_stage(chain)
                && chain.spend_of(&second).is_none()
            {
                let what = "an HTLC transaction after the commitment";
                unspent(what, second, value_sat, &channel.label, docket);
            }
        }
    }
}

fn unspent(what: &str, outpoint: OutPoint, value_sat: u64, label: &str, docket: &mut Docket) {
    docket.find(
        "unclaimed-output",
        format!(
            "output {outpoint} ({value_sat} sat) of {what} that closed {label} is unspent at rest"
        ),
        Vec::new(),
        Vec::new(),
    );
}

fn judge_mempool(case: &CaseView<'_>, docket: &mut Docket) {
    let waiting: BTreeSet<&str> = case
        .evidence
        .chain
        .mempool
        .iter()
        .map(String::as_str)
        .collect();
    let mut broadcast: BTreeMap<&str, (u64, String)> = BTreeMap::new();
    for told in case.reports() {
        let Report::Broadcast { transactions, .. } = told.what else {
            continue;
        };
        for transaction in transactions {
            if waiting.contains(transaction.txid.as_str()) {
                let whose = format!("{}'s {}", told.node, transaction.role);
                broadcast
                    .entry(&transaction.txid)
                    .or_insert((told.seq, whose));
            }
        }
    }
    for (txid, (seq, whose)) in broadcast {
        docket.find(
            "mempool-not-empty",
            format!("{whose} transaction {txid} is still in the mempool at rest"),
            vec![seq],
            Vec::new(),
        );
    }
}
