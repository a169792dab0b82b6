//! The amounts of a payment, from edge to edge: what its users are told of them. Owns what they are told; what forwarders keep is
//! [`forwards`](super::forwards)'s.

use node_bin::api::{HtlcDirection, PaymentState, PaymentView};

use super::payment::{End, ToldUsers};
use crate::evidence::MadePayment;
use crate::oracle::{CaseView, Docket};

pub(super) fn judge(
    case: &CaseView<'_>,
    made: &MadePayment,
    users: &ToldUsers,
    first: &End,
    last: &End,
    docket: &mut Docket,
) {
    judge_told(made, users, docket);
    judge_fee(made, users, first, last, docket);
    judge_listed(case, made, users, docket);
}

/// The receiver's user hears of the whole amount, each time.
fn judge_told(made: &MadePayment, users: &ToldUsers, docket: &mut Docket) {
    let mut told = users.amounts_msat.iter();
    if let Some((seq, told_msat)) = told.find(|(_, told)| *told != made.amount_msat) {
        docket.find(
            "wrong-amount",
            format!(
                "{} was told of {told_msat} msat of {}, which is for {} msat",
                made.to, made.id, made.amount_msat
            ),
            vec![*seq],
            Vec::new(),
        );
    }
}

/// What the sender gave and the receiver did not get is the fee that the sender's user hears of.
fn judge_fee(made: &MadePayment, users: &ToldUsers, first: &End, last: &End, docket: &mut Docket) {
    let is_whole = |end: &End| end.dust_msat == 0 && end.pending == 0;
    let is_paid = last.claimed_msat == made.amount_msat && is_whole(first) && is_whole(last);
    if !is_paid || first.claimed_msat < made.amount_msat {
        // A loss, a second payment or a part: named by those who judge it.
        return;
    }
    let fee_msat = first.claimed_msat - made.amount_msat;
    if let Some((seq, told_msat)) = users.fees_msat.iter().find(|(_, told)| *told != fee_msat) {
        docket.find(
            "wrong-fee",
            format!(
                "{} was told that {} cost {told_msat} msat of fees, but gave {fee_msat} msat more than {} got",
                made.from, made.id, made.to
            ),
            vec![*seq],
            first.lines.clone(),
        );
    }
}

/// At rest the nodes list the payment as their users were told of it; but for those that were put back to an old state,
/// for which it may not have been so.
fn judge_listed(case: &CaseView<'_>, made: &MadePayment, users: &ToldUsers, docket: &mut Docket) {
    let (is_sent, is_failed) = (users.sent.is_some(), users.failed.is_some());
    let is_claimed = users.claimed.is_some();
    let sides = [
        (&made.from, HtlcDirection::Outbound, is_sent, is_failed),
        (&made.to, HtlcDirection::Inbound, is_claimed, false),
    ];
    for (node, direction, is_done, is_failed) in sides {
        if case.was_put_back(node) {
            continue;
        }
        let views = case.rest(node).into_iter().flat_map(|view| &view.payments);
        let its = views.filter(|listed| listed.direction == direction && is_of(listed, made));
        for listed in its {
            let told = match listed.state {
                PaymentState::Failed if is_done && !is_failed => "done",
                PaymentState::Succeeded if is_failed && !is_done => "failed",
                _ => continue,
            };
            docket.find(
                "wrong-state",
                format!(
                    "{node}'s user was told that {} is {told}, but it is listed as {:?} at rest",
                    made.id, listed.state
                ),
                Vec::new(),
                Vec::new(),
            );
        }
    }
}

fn is_of(listed: &PaymentView, made: &MadePayment) -> bool {
    match listed.direction {
        HtlcDirection::Outbound => listed.payment_id.as_ref() == Some(&made.payment_id),
        HtlcDirection::Inbound => listed.payment_hash.as_ref() == Some(&made.payment_hash),
    }
}
