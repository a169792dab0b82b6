//! Every node by itself: what it has in wallet and channels changed by what it was paid and paid,
//! to the millisatoshi; a node whose channels went on chain may also have lost chain fees, anchors,
//! dust and the parts of outputs below one satoshi, but never gained.

use bitcoin::OutPoint;

use super::chain_view::commitment::Closure;
use super::chain_view::witness::OutputKind;
use super::conservation::{Books, fundings, wallet_sat};
use super::{CaseView, Docket};
use crate::evidence::OpenedChannel;

/// Judges every node. The sums over all nodes are known to be right.
pub(super) fn judge(case: &CaseView<'_>, books: &Books, docket: &mut Docket) {
    for node in case.evidence.plan.scenario.nodes.keys() {
        judge_node(case, books, node, docket);
    }
}

fn judge_node(case: &CaseView<'_>, books: &Books, node: &str, docket: &mut Docket) {
    let Some(change_msat) = change_msat(case, books, node, docket) else {
        return;
    };
    let opened = Opened::read(case, books, node);
    let flow_msat = flow_msat(case, node) + opened.pushed_msat;
    // Above zero: the node has more than its HTLCs brought it.
    let surplus_msat = change_msat - flow_msat;
    let closed: Vec<OutPoint> = fundings(case)
        .into_iter()
        .filter(|(channel, _)| channel.opener == node || channel.acceptor == node)
        .filter(|(channel, _)| case.closure(&channel.label).is_closed())
        .map(|(_, funding)| funding)
        .collect();
    let (won_msat, forfeited_msat) = penalties_msat(case, node);
    let allowed_msat = forfeited_msat
        + opened.fees_msat
        + i128_of(books.lost_after_sat(&closed, case.is_cheater(node))) * 1000
        + anchors_taken_msat(case, |channel| channel.opener == node);
    let anchors_msat = anchors_taken_msat(case, |channel| channel.acceptor == node);
    if surplus_msat > anchors_msat && surplus_msat <= anchors_msat + won_msat {
        docket.note(format!(
            "{node} gained {surplus_msat} msat by penalties (at most {won_msat} msat)"
        ));
    } else if surplus_msat > 0 && surplus_msat <= anchors_msat {
        docket.note(format!(
            "{node} gained {surplus_msat} msat by anchors that others paid for (at most {anchors_msat} msat)"
        ));
    } else if surplus_msat > 0 {
        docket.find(
            "value-created",
            format!(
                "{node} has {surplus_msat} msat more than its HTLCs brought it ({flow_msat:+} msat by HTLCs, \
                 {change_msat:+} msat in wallet and channels)"
            ),
            Vec::new(),
            flow_lines(case, node),
        );
    } else if surplus_msat < -allowed_msat {
        docket.find(
            "value-vanished",
            format!(
                "{node} has {} msat less than its HTLCs brought it ({flow_msat:+} msat by HTLCs, \
                 {change_msat:+} msat in wallet and channels), of which its closes explain {allowed_msat} msat \
                 at most",
                -surplus_msat
            ),
            Vec::new(),
            flow_lines(case, node),
        );
    } else if surplus_msat < 0 {
        docket.note(format!(
            "{node} lost {} msat to chain fees, anchors, dust and rounding at its closes (at most {allowed_msat} msat)",
            -surplus_msat
        ));
    }
}

/// What a node may win and lose by penalties: all of a channel that a revoked commitment closed.
fn penalties_msat(case: &CaseView<'_>, node: &str) -> (i128, i128) {
    let (mut won_msat, mut forfeited_msat) = (0, 0);
    for channel in &case.evidence.channels {
        let capacity_msat = i128::from(channel.capacity_sat) * 1000;
        match case.cheater_of(&channel.label) {
            Some(cheater) if cheater == node => forfeited_msat += capacity_msat,
            Some(_) if channel.opener == node || channel.acceptor == node => {
                won_msat += capacity_msat;
            }
            _ => {}
        }
    }
    (won_msat, forfeited_msat)
}

/// The channels of a node that were opened since the start.
struct Opened {
    /// What was pushed to it, less what it pushed.
    pushed_msat: i128,
    /// What its funding transactions cost it.
    fees_msat: i128,
}

impl Opened {
    fn read(case: &CaseView<'_>, books: &Books, node: &str) -> Self {
        let mut opened = Opened {
            pushed_msat: 0,
            fees_msat: 0,
        };
        for (channel, funding) in fundings(case) {
            if !books.is_opened_since(&funding) || case.is_never_published(&channel.label) {
                continue;
            }
            let push_msat = i128::from(channel.push_msat);
            if channel.acceptor == node {
                opened.pushed_msat += push_msat;
            } else if channel.opener == node {
                opened.pushed_msat -= push_msat;
                opened.fees_msat += i128_of(books.funding_fee_sat(&funding)) * 1000;
            }
        }
        opened
    }
}

/// Wallet and channels at rest less those at the start.
fn change_msat(
    case: &CaseView<'_>,
    books: &Books,
    node: &str,
    docket: &mut Docket,
) -> Option<i128> {
    let (start, rest) = (case.evidence.start.get(node)?, case.rest(node)?);
    let mut change_msat = (i128_of(wallet_sat(rest)) - i128_of(wallet_sat(start))) * 1000;
    for (channel, funding) in fundings(case) {
        let is_its = channel.opener == node || channel.acceptor == node;
        if !is_its || case.is_never_published(&channel.label) {
            continue;
        }
        let label = &channel.label;
        let known = |listed: Option<&node_bin::api::ChannelView>| {
            listed.and_then(|view| view.balance_msat).map(i128::from)
        };
        if !books.is_opened_since(&funding) {
            let Some(start_msat) = known(case.channel_at_start(node, channel)) else {
                let message =
                    format!("{node} could not tell its exact balance in {label} after the set-up");
                docket.miss("not-judged", message);
                return None;
            };
            change_msat -= start_msat;
        }
        if !case.closure(label).is_closed() {
            // A missing balance at rest has been said already.
            change_msat += known(case.channel_at_rest(node, channel))?;
        }
    }
    Some(change_msat)
}

/// The anchors that were taken at the closes of these channels. BOLT 3: the opener pays for both, so
/// it may lose them and the other side may gain them.
fn anchors_taken_msat(case: &CaseView<'_>, is_among: impl Fn(&OpenedChannel) -> bool) -> i128 {
    let mut taken = 0_i128;
    for channel in case
        .evidence
        .channels
        .iter()
        .filter(|channel| is_among(channel))
    {
        if let Closure::Commitment(commitment) = case.closure(&channel.label) {
            let outputs = commitment.outputs.iter();
            taken += outputs
                .filter(|output| output.kind == OutputKind::Anchor && output.spend.is_some())
                .map(|output| i128::from(output.value_sat) * 1000)
                .sum::<i128>();
        }
    }
    taken
}

/// Sums of satoshis are far below this bound, whatever the evidence says of single ones.
fn i128_of(sat: u128) -> i128 {
    i128::try_from(sat).unwrap_or(i128::MAX / 1_000_000)
}

/// What claimed HTLCs brought the node, less what they cost it.
fn flow_msat(case: &CaseView<'_>, node: &str) -> i128 {
    let claimed = case.htlcs().filter(|(_, outcome)| outcome.is_claimed());
    claimed
        .map(|(htlc, _)| {
            let amount_msat = i128::from(htlc.amount_msat);
            if htlc.receiver == node {
                amount_msat
            } else if htlc.offerer == node {
                -amount_msat
            } else {
                0
            }
        })
        .sum()
}

fn flow_lines(case: &CaseView<'_>, node: &str) -> Vec<String> {
    case.htlcs()
        .filter(|(htlc, _)| htlc.receiver == node || htlc.offerer == node)
        .map(|(htlc, outcome)| format!("{}: {outcome:?}", htlc.name()))
        .collect()
}
