//! What users heard of payments: the invariants 5, 8 and 13. A payment is sent if and only if it is claimed,
//! each end is told at least once and no two ends of one payment are told.

use crate::effect::UserEvent;
use crate::input::Command;
use crate::sim::flow::{End, PlannedPayment};
use crate::sim::names::short;
use crate::sim::user::User;
use crate::sim::world::World;

/// HTLCs below are dust, by BOLT 3's 354 satoshis that every node of a world has as its limit.
const DUST_MSAT: u64 = 354_000;

/// What one payer and one payee have handled of one payment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ends {
    claimable: usize,
    claimed: usize,
    sent: usize,
    failed: usize,
    forwarded: usize,
}

/// What is wrong, and how many payments ended otherwise than planned.
pub fn complaints(world: &World) -> (Vec<String>, usize) {
    let mut found = Vec::new();
    let mut otherwise = 0;
    for payment in &world.flow.payments {
        let title = format!("payment {}", short(&payment.payment_id));
        let ends = ends(world, payment);
        of_payment(world, payment, &ends, &title, &mut found);
        let end = match payment.was_sent(world) {
            true => End::Sent,
            false => End::Failed,
        };
        if (end, payment.end) == (End::Sent, End::Failed) {
            found.push(format!(
                "{title} was sent, and nobody should have claimed it"
            ));
        }
        let ends_otherwise = end != payment.end;
        otherwise += usize::from(ends_otherwise);
        // A crash delays; it changes no outcome.
        let is_forgotten = world.nodes[payment.payer].has_lost_payments;
        if ends_otherwise && world.flow.is_certain && !is_forgotten {
            found.push(format!(
                "{title} ended as {end:?} instead of {:?}",
                payment.end
            ));
        }
    }
    (found, otherwise)
}

fn of_payment(
    world: &World,
    payment: &PlannedPayment,
    ends: &Ends,
    title: &str,
    found: &mut Vec<String>,
) {
    if ends.sent > 0 && ends.failed > 0 {
        found.push(format!("{title} was told as sent and as failed"));
    }
    let payer = &world.nodes[payment.payer];
    // Who is gone tells nothing, and is owed nothing.
    if payer.is_gone || world.nodes[payment.payee].is_gone {
        return;
    }
    let may_be_silent = payer.has_lost_payments || was_refused(&payer.user, payment);
    if ends.sent == 0 && ends.failed == 0 && !may_be_silent {
        found.push(format!("{title}: its payer never heard of its end"));
    }
    let is_forgotten = payer.has_lost_payments && ends.sent + ends.failed == 0;
    // Its payee was told when it claimed, and no miner took that before it could be taken back.
    let is_too_late = ends.sent == 0 && world.flow.is_contested(payment);
    let may_differ = is_forgotten || is_too_late || is_dust_on_chain(world, payment);
    if (ends.sent > 0) != (ends.claimed > 0) && !may_differ {
        found.push(format!(
            "{title}: told as sent {} times, as claimed {} times",
            ends.sent, ends.claimed
        ));
    }
    if ends.claimed > 0 && ends.claimable == 0 {
        found.push(format!("{title}: claimed, and was never claimable"));
    }
    let hops: usize = payment.parts.iter().map(|part| part.nodes.len() - 2).sum();
    if ends.sent > 0 && ends.forwarded < hops {
        found.push(format!(
            "{title}: {} of {hops} forwards were told",
            ends.forwarded
        ));
    }
    for node in [payment.payer, payment.payee] {
        for heard in &world.nodes[node].user.heard {
            if let Some(problem) = wrong_details(payment, &heard.event) {
                found.push(format!("{title}: {problem}"));
            }
        }
    }
}

/// Whether an HTLC of this payment has no output of its own in what closed its channel: then nobody can
/// claim it, though its payee may already have been told that it did.
pub(super) fn is_dust_on_chain(world: &World, payment: &PlannedPayment) -> bool {
    payment.parts.iter().any(|part| {
        let pairs = part.nodes.windows(2).zip(&part.amounts_msat);
        let mut forced = pairs.filter(|(pair, _)| {
            let channel_id = world.flow.channel(pair[0], pair[1]);
            channel_id.is_some_and(|channel_id| world.flow.is_forced(&channel_id))
        });
        forced.any(|(_, amount_msat)| *amount_msat < DUST_MSAT)
    })
}

/// An event of this payment that says something wrong.
fn wrong_details(payment: &PlannedPayment, event: &UserEvent) -> Option<String> {
    match event {
        UserEvent::PaymentSent {
            payment_id,
            payment_hash,
            preimage,
            fee_paid_msat,
        } if *payment_id == payment.payment_id => {
            let right = *payment_hash == payment.payment_hash
                && *preimage == payment.preimage
                && fee_paid_msat.is_none_or(|fee_msat| fee_msat == payment.fee_msat());
            (!right).then(|| format!("told as {event:?}, fee {} msat", payment.fee_msat()))
        }
        UserEvent::PaymentClaimable {
            payment_hash,
            amount_msat,
            ..
        }
        | UserEvent::PaymentClaimed {
            payment_hash,
            amount_msat,
        } if *payment_hash == payment.payment_hash => {
            (*amount_msat != payment.amount_msat).then(|| {
                format!(
                    "told as {amount_msat} msat instead of {}",
                    payment.amount_msat
                )
            })
        }
        _ => None,
    }
}

fn ends(world: &World, payment: &PlannedPayment) -> Ends {
    let mut ends = Ends::default();
    for event in world.nodes[payment.payer].user.handled() {
        match event {
            UserEvent::PaymentSent { payment_id, .. } if *payment_id == payment.payment_id => {
                ends.sent += 1;
            }
            UserEvent::PaymentFailed { payment_id, .. } if *payment_id == payment.payment_id => {
                ends.failed += 1;
            }
            _ => {}
        }
    }
    for event in world.nodes[payment.payee].user.handled() {
        match event {
            UserEvent::PaymentClaimable { payment_hash, .. }
                if *payment_hash == payment.payment_hash =>
            {
                ends.claimable += 1;
            }
            UserEvent::PaymentClaimed { payment_hash, .. }
                if *payment_hash == payment.payment_hash =>
            {
                ends.claimed += 1;
            }
            _ => {}
        }
    }
    ends.forwarded = forwards(world, payment);
    ends
}

/// How many hops of the payment were told as forwarded, each with the right fee, at least once.
fn forwards(world: &World, payment: &PlannedPayment) -> usize {
    let mut told = 0;
    for part in &payment.parts {
        for (place, amounts_msat) in part.amounts_msat.windows(2).enumerate() {
            let [from, via, to] = part.nodes[place..place + 3] else {
                continue;
            };
            let wanted_msat = amounts_msat[0] - amounts_msat[1];
            let from_channel = world.flow.channel(from, via);
            let to_channel = world.flow.channel(via, to);
            let heard = world.nodes[via].user.handled().any(|event| {
                matches!(event, UserEvent::PaymentForwarded { inbound, outbound, fee_msat, .. }
                    if from_channel == Some(*inbound)
                        && to_channel == Some(*outbound)
                        && *fee_msat == Some(wanted_msat))
            });
            told += usize::from(heard);
        }
    }
    told
}

fn was_refused(user: &User, payment: &PlannedPayment) -> bool {
    user.orders.iter().any(|order| {
        matches!(&order.command, Command::Pay(pay) if pay.payment_id == payment.payment_id)
            && matches!(order.answer, Some(Err(_)))
    })
}
