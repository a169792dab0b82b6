//! Every oracle is fed a bad history and sees it: good worlds, with one thing made wrong.

use std::sync::Arc;

use super::durable::{self, acknowledged};
use super::sending::premature;
use super::{Verdict, judge, payments, quiet, rest, restart};
use crate::effect::{Effect, TellId, UserEvent};
use crate::event::{EventKind, Failure, MonitorEvent};
use crate::message::Message;
use crate::record::{self, ChannelRecord, Closure, Rejection};
use crate::sim::chain::Fate;
use crate::sim::disk::Durable;
use crate::sim::flow::Step;
use crate::sim::plan::Plan;
use crate::sim::schedule::Action;
use crate::sim::testing::{
    A, B, C, channel, has_event, record, rested, was_claimed, world, world_when,
};
use crate::sim::world::World;
use crate::spec::Direction;

fn change(world: &mut World, node: usize, peer: usize, how: impl FnOnce(&mut ChannelRecord)) {
    let channel_id = channel(world, node, peer);
    let durable = world.nodes[node].disk.durable_mut();
    let record = durable.channels.get_mut(&channel_id).expect("it is there");
    how(Arc::make_mut(record));
}

/// What is wrong with B's durable records.
fn wrong_with_b(world: &World) -> String {
    durable::complaints(world.nodes[B].disk.durable()).join("; ")
}

#[test]
fn an_accepted_htlc_that_nothing_remembers_is_found() {
    let mut world = world_when("forward", |w| has_event(w, B, A, EventKind::Accepted));
    assert_eq!(wrong_with_b(&world), "");
    change(&mut world, B, A, |record| record.events.clear());
    assert!(wrong_with_b(&world).contains("nothing will ever resolve inbound HTLC 0"));
}

#[test]
fn an_htlc_that_is_forwarded_twice_is_found() {
    let mut world = world_when("forward", |w| !record(w, B, C).outbound.is_empty());
    assert_eq!(wrong_with_b(&world), "");
    change(&mut world, B, C, |record| {
        let twin = record.outbound[&0].clone();
        record.outbound.insert(1, twin);
    });
    assert!(wrong_with_b(&world).contains("inbound HTLC 0 is forwarded 2 times"));
}

#[test]
fn a_preimage_that_is_known_downstream_only_is_found() {
    let mut world = world_when("forward", |w| has_event(w, B, C, EventKind::Claimed));
    assert_eq!(wrong_with_b(&world), "");
    change(&mut world, B, C, |record| record.events.clear());
    assert!(wrong_with_b(&world).contains("the preimage of outbound HTLC 0 is not known upstream"));
}

#[test]
fn a_failure_upstream_while_downstream_may_claim_is_found() {
    let mut world = world_when("forward", |w| !record(w, B, C).outbound.is_empty());
    change(&mut world, B, A, |record| {
        let htlc = record.inbound.get_mut(&0).expect("it is there");
        htlc.resolution = Some(record::Resolution::Rejected {
            rejection: Rejection::Fail { reason: Vec::new() },
        });
    });
    assert!(wrong_with_b(&world).contains("inbound HTLC 0 is failed, and downstream may claim it"));
}

#[test]
fn an_htlc_that_is_claimed_and_failed_is_found() {
    let mut world = world_when("forward", |w| has_event(w, B, C, EventKind::Claimed));
    change(&mut world, B, C, |record| {
        let mut twin = record.events[0].clone();
        let MonitorEvent::ForwardedHtlcClaimed { source, .. } = &twin.event else {
            panic!("the only event is the claim");
        };
        twin.event = MonitorEvent::ForwardedHtlcFailed {
            htlc_id: 0,
            payment_hash: record.outbound[&0].add.payment_hash,
            source: source.clone(),
            failure: Failure::Local { failure_code: 0 },
        };
        record.events.push(twin);
    });
    assert!(wrong_with_b(&world).contains("outbound HTLC 0 is claimed and failed"));
}

#[test]
fn a_resolution_that_flips_is_found() {
    let signs_removal = |w: &World| {
        let mut signed = record(w, B, A).holder_changes.signed.iter();
        signed.any(|change| change.removes().is_some())
    };
    let mut world = world_when("forward", signs_removal);
    assert_eq!(world.complaints, Vec::<String>::new());
    let mut flipped = record(&world, B, A).clone();
    flipped.holder_changes.signed = vec![crate::spec::Change::Fail {
        htlc_id: 0,
        reason: Vec::new(),
    }];
    let before = record(&world, B, A).clone();
    durable::landed(&mut world, B, Some(&before), &Arc::new(flipped));
    let found = world.complaints.join("; ");
    assert!(found.contains("B has Claimed inbound HTLC 0 of A-B and now Failed it"));
}

/// What is missing if the event of this kind is acknowledged at the first moment at which it is there.
fn missing_if_acknowledged(
    flow: &str,
    node: usize,
    peer: usize,
    kind: EventKind,
) -> Option<String> {
    let world = world_when(flow, |w| has_event(w, node, peer, kind));
    let mut after = record(&world, node, peer).clone();
    let place = after.events.iter().position(|p| p.event.key().kind == kind);
    let event = after.events.remove(place.expect("it is there")).event;
    let mut durable: Durable = world.nodes[node].disk.durable().clone();
    let after = Arc::new(after);
    durable
        .channels
        .insert(after.parameters.channel_id, after.clone());
    acknowledged(&durable, &world.nodes[node].user, &after, &event)
}

#[test]
fn an_acknowledgement_that_rests_on_nothing_is_found() {
    let missing = |flow: &str, node, peer, kind| {
        missing_if_acknowledged(flow, node, peer, kind).unwrap_or_default()
    };
    let accept = missing("forward", B, A, EventKind::Accepted);
    assert!(
        accept.contains("inbound HTLC 0 is nowhere else"),
        "{accept}"
    );
    let claim = missing("forward", B, C, EventKind::Claimed);
    assert!(claim.contains("its inbound one is not removed"), "{claim}");
    let failure = missing("fail-back", B, C, EventKind::Failed);
    assert!(
        failure.contains("its inbound one is not removed"),
        "{failure}"
    );
    let sent = missing("direct", A, B, EventKind::Claimed);
    assert!(sent.contains("the user has not handled the end"), "{sent}");
    let failed = missing("unknown", A, B, EventKind::Failed);
    assert!(
        failed.contains("the user has not handled the end"),
        "{failed}"
    );
    let parts = missing("mpp", 3, B, EventKind::MppClaim);
    assert!(
        parts.contains("a part of an MPP claim is not durable"),
        "{parts}"
    );
    let told = missing("direct", B, A, EventKind::MppClaim);
    assert!(
        told.contains("the user has not handled PaymentClaimed"),
        "{told}"
    );
    let closed = missing("force-downstream", B, C, EventKind::HolderForceClosed);
    assert!(
        closed.contains("the user has not handled ChannelClosed"),
        "{closed}"
    );
}

#[test]
fn a_claimable_htlc_of_a_closed_channel_whose_accept_is_acknowledged_is_found() {
    let is_told = |w: &World| {
        let mut handled = w.nodes[C].user.handled();
        handled.any(|event| matches!(event, UserEvent::PaymentClaimable { .. }))
    };
    let world = world_when("force-by-payee", |w| {
        let record = record(w, C, B);
        let is_open = record
            .inbound
            .values()
            .all(|htlc| htlc.resolution.is_none());
        record.closure.is_some() && is_open && has_event(w, C, B, EventKind::Accepted) && is_told(w)
    });
    let mut after = record(&world, C, B).clone();
    let is_accept = |p: &record::PendingEvent| p.event.key().kind == EventKind::Accepted;
    let place = after.events.iter().position(is_accept);
    let event = after.events.remove(place.expect("it is there")).event;
    let mut durable: Durable = world.nodes[C].disk.durable().clone();
    let id = after.parameters.channel_id;
    durable.channels.insert(id, Arc::new(after.clone()));
    let missing = acknowledged(&durable, &world.nodes[C].user, &after, &event);
    assert_eq!(
        missing.unwrap_or_default(),
        "inbound HTLC 0 is nowhere else"
    );
}

#[test]
fn a_reestablish_that_speaks_of_commitments_not_written_down_is_found() {
    let world = rested("direct");
    let record = record(&world, A, B);
    let point = world.nodes[A].environment.node_id();
    let known = lightning::ln::msgs::ChannelReestablish {
        channel_id: record.parameters.channel_id,
        next_local_commitment_number: record.holder.number + 1,
        next_remote_commitment_number: record.counterparty.number,
        your_last_per_commitment_secret: [0; 32],
        my_current_per_commitment_point: point,
        next_funding: None,
        my_current_funding_locked: None,
    };
    let premature = |message| premature(&world.nodes[A], &Message::ChannelReestablish(message));
    assert_eq!(premature(known.clone()), None);
    let mut ahead = known.clone();
    ahead.next_local_commitment_number += 1;
    let mut behind = known;
    behind.next_remote_commitment_number -= 1;
    for wrong in [ahead, behind] {
        let problem = premature(wrong).unwrap_or_default();
        assert!(
            problem.starts_with("not durable: the commitments"),
            "{problem}"
        );
    }
}

#[test]
fn a_message_that_goes_before_the_write_that_it_rests_on_is_found() {
    let mut seen = std::collections::BTreeSet::new();
    for flow in ["forward", "fail-back"] {
        let mut world = world(flow);
        let mut before: Vec<_> = world
            .nodes
            .iter()
            .map(|node| vec![node.disk.clone()])
            .collect();
        while let Some(action) = world.choose() {
            if let Action::Run(node) = action
                && let Some(Effect::Send { message, .. }) = &world.nodes[node].pending
                && !matches!(message, Message::ChannelUpdate(_))
            {
                assert_eq!(premature(&world.nodes[node], message), None);
                let mut early = world.nodes[node].clone();
                // A preimage is written before the removal is signed.
                let writes = match message {
                    Message::UpdateFulfillHtlc(_) => 2,
                    _ => 1,
                };
                let disks = &before[node];
                early.disk = disks[disks.len() - writes].clone();
                assert_ne!(premature(&early, message), None, "{}", message.name());
                seen.insert(message.name());
            }
            if let Action::Run(node) = action
                && matches!(&world.nodes[node].pending, Some(Effect::Persist(_)))
            {
                before[node].push(world.nodes[node].disk.clone());
            }
            world.perform(action);
        }
    }
    let all = [
        "commitment_signed",
        "revoke_and_ack",
        "update_add_htlc",
        "update_fail_htlc",
        "update_fulfill_htlc",
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
}

#[test]
fn a_claim_that_goes_upstream_before_it_is_durable_downstream_is_found() {
    let is_fulfil = |effect: &Effect| {
        matches!(
            effect,
            Effect::Send {
                message: Message::UpdateFulfillHtlc(_),
                ..
            }
        )
    };
    let mut world = world_when("forward", |world| {
        world.nodes[B].pending.as_ref().is_some_and(is_fulfil)
    });
    let Some(Effect::Send { message, .. }) = world.nodes[B].pending.clone() else {
        unreachable!("it is there");
    };
    assert_eq!(premature(&world.nodes[B], &message), None);
    change(&mut world, B, C, |record| {
        for htlc in record.outbound.values_mut() {
            htlc.preimage = None;
        }
    });
    let problem = premature(&world.nodes[B], &message).unwrap_or_default();
    assert_eq!(problem, "not durable: the preimage downstream");
}

#[test]
fn an_error_to_an_honest_peer_is_found() {
    let world = rested("direct");
    let channel_id = channel(&world, A, B);
    let data = "why".to_owned();
    let error = Message::Error(lightning::ln::msgs::ErrorMessage { channel_id, data });
    let problem = premature(&world.nodes[A], &error).unwrap_or_default();
    assert_eq!(problem, "an error to an honest peer: why");
}

#[test]
fn a_millisatoshi_that_moved_is_found() {
    let mut world = rested("forward");
    change(&mut world, B, C, |record| {
        record.holder.spec.holder_msat += 1;
        record.holder.spec.counterparty_msat -= 1;
    });
    let found = rest::complaints(&world).join("; ");
    assert!(found.contains("B-C: "), "{found}");
    assert!(found.contains(" msat instead of "), "{found}");
}

#[test]
fn an_htlc_that_is_written_down_after_its_inbound_channel_closed_is_found() {
    let mut world = world_when("forward", |w| !record(w, B, C).outbound.is_empty());
    let after = record(&world, B, C).clone();
    let mut before = after.clone();
    before.outbound.clear();
    let found = |world: &World| {
        let durable = world.nodes[B].disk.durable();
        durable::reckless(durable, Some(&before), &after)
    };
    assert_eq!(found(&world), None);
    change(&mut world, B, A, |record| {
        record.closure = Some(Closure::Forced {
            reason: String::new(),
            broadcast: true,
        });
    });
    let words = found(&world).expect("it is found");
    assert!(words.contains("offers HTLC 0"), "{words}");
}

#[test]
fn dust_that_was_passed_on_before_its_inbound_channel_closed_is_lost_and_nothing_else() {
    let plan: Plan = "dust sync fixed seed=0 close=A:A-B@25".parse().unwrap();
    let mut world = plan.replay(false).unwrap();
    assert!(!world.flow.payments[0].was_sent(&world));
    let far = |world: &World| record(world, C, B).holder.spec.holder_msat;
    assert_eq!(far(&world), 500_100_001);
    assert_eq!(rest::complaints(&world), Vec::<String>::new());
    change(&mut world, B, C, |record| {
        record.holder.spec.holder_msat += 1;
        record.holder.spec.counterparty_msat -= 1;
    });
    let found = rest::complaints(&world).join("; ");
    assert!(found.contains(" msat instead of "), "{found}");
}

#[test]
fn what_is_pending_at_rest_is_found() {
    let world = world_when("forward", |w| !record(w, B, C).outbound.is_empty());
    let found = rest::complaints(&world).join("; ");
    for part in [
        "B's A-B has 1 inbound HTLCs",
        "B's B-C has 1 outbound HTLCs",
        "has a payment without an end",
        "B's A-B has an event",
    ] {
        assert!(found.contains(part), "{part} is missing in {found}");
    }
}

#[test]
fn a_channel_that_ended_is_found() {
    let mut world = rested("direct");
    change(&mut world, A, B, |record| {
        record.closure = Some(Closure::Forced {
            reason: "by itself".into(),
            broadcast: true,
        });
    });
    let found = rest::complaints(&world).join("; ");
    assert!(found.contains("A-B ends as Some(Forced"), "{found}");
}

#[test]
fn two_sides_that_see_a_commitment_differently_are_found_when_it_is_quiet() {
    let mut world = rested("direct");
    quiet::look(&mut world);
    assert_eq!(world.complaints, Vec::<String>::new());
    let channel_id = channel(&world, A, B);
    let engine = world.nodes[A].engine.as_mut().expect("it lives");
    let channel = engine
        .node
        .channels
        .get_mut(&channel_id)
        .expect("it is there");
    let key = (Direction::Inbound, 9);
    let htlc = crate::spec::SpecHtlc {
        amount_msat: 1,
        payment_hash: lightning::types::payment::PaymentHash([0; 32]),
        cltv_expiry: 1,
    };
    channel.record.counterparty.spec.htlcs.insert(key, htlc);
    quiet::look(&mut world);
    let found = world.complaints.join("; ");
    assert!(found.contains("quiet: A-B: CommitmentSpec"), "{found}");
    assert!(
        found.contains("what lives is not what is durable"),
        "{found}"
    );
}

/// What is wrong once a user has heard something else than it did.
fn wrong_if_heard(
    flow: &str,
    node: usize,
    how: impl FnOnce(&mut Vec<crate::sim::user::Heard>),
) -> String {
    let mut world = rested(flow);
    assert_eq!(payments::complaints(&world).0, Vec::<String>::new());
    how(&mut world.nodes[node].user.heard);
    payments::complaints(&world).0.join("; ")
}

fn is_sent(event: &UserEvent) -> bool {
    matches!(event, UserEvent::PaymentSent { .. })
}

#[test]
fn ends_of_payments_that_do_not_fit_are_found() {
    let unsaid = wrong_if_heard("direct", A, |heard| heard.retain(|h| !is_sent(&h.event)));
    assert!(
        unsaid.contains("its payer never heard of its end"),
        "{unsaid}"
    );
    assert!(
        unsaid.contains("told as sent 0 times, as claimed 1 times"),
        "{unsaid}"
    );
    let unhandled = wrong_if_heard("direct", A, |heard| {
        heard.iter_mut().for_each(|heard| heard.handled = false);
    });
    assert!(
        unhandled.contains("its payer never heard of its end"),
        "{unhandled}"
    );
    let both = wrong_if_heard("direct", A, |heard| {
        let mut failed = heard[0].clone();
        let sent = heard.iter().find(|heard| is_sent(&heard.event));
        let Some(UserEvent::PaymentSent {
            payment_id,
            payment_hash,
            ..
        }) = sent.map(|h| &h.event)
        else {
            panic!("it was sent");
        };
        failed.event = UserEvent::PaymentFailed {
            payment_id: *payment_id,
            payment_hash: *payment_hash,
            reason: String::new(),
        };
        failed.handled = true;
        heard.push(failed);
    });
    assert!(both.contains("was told as sent and as failed"), "{both}");
    let unclaimed = wrong_if_heard("direct", B, Vec::clear);
    assert!(
        unclaimed.contains("told as sent 1 times, as claimed 0 times"),
        "{unclaimed}"
    );
    let unforwarded = wrong_if_heard("forward", B, Vec::clear);
    assert!(
        unforwarded.contains("0 of 1 forwards were told"),
        "{unforwarded}"
    );
    let overpaid = wrong_if_heard("forward", A, |heard| {
        for heard in heard {
            if let UserEvent::PaymentSent { fee_paid_msat, .. } = &mut heard.event {
                *fee_paid_msat = Some(1);
            }
        }
    });
    assert!(overpaid.contains("fee 3000 msat"), "{overpaid}");
}

#[test]
fn an_end_that_is_told_too_early_is_found() {
    let world = world_when("mpp", |w| !record(w, A, B).outbound.is_empty());
    let payment = &world.flow.payments[0];
    let too_early = |node: usize, event: UserEvent| {
        let durable = world.nodes[node].disk.durable();
        super::telling::premature(durable, &[], &event).unwrap_or_default()
    };
    let (payment_id, payment_hash) = (payment.payment_id, payment.payment_hash);
    let failed = UserEvent::PaymentFailed {
        payment_id,
        payment_hash,
        reason: String::new(),
    };
    assert_eq!(too_early(A, failed), "a part of it may still be claimed");
    let sent = UserEvent::PaymentSent {
        payment_id,
        payment_hash,
        preimage: payment.preimage,
        fee_paid_msat: None,
    };
    assert_eq!(too_early(A, sent), "its preimage is not durable");
    let world = world_when("forward", |w| has_event(w, B, C, EventKind::Claimed));
    let events = world.nodes[B].disk.durable().events();
    let claims_of_b: Vec<_> = events.map(|(id, event)| (id, event.clone())).collect();
    let forwarded = UserEvent::PaymentForwarded {
        inbound: channel(&world, A, B),
        outbound: channel(&world, B, C),
        fee_msat: Some(3_000),
        from_onchain: false,
    };
    let problem =
        super::telling::premature(world.nodes[B].disk.durable(), &claims_of_b, &forwarded);
    let problem = problem.unwrap_or_default();
    assert_eq!(problem, "it is not durably claimed upstream");
    let closed = UserEvent::ChannelClosed {
        channel_id: channel(&world, B, C),
        reason: String::new(),
    };
    let problem = super::telling::premature(world.nodes[B].disk.durable(), &[], &closed);
    assert_eq!(problem.unwrap_or_default(), "the close is not durable");
    let world = world_when("mpp", |w| !record(w, 3, B).inbound.is_empty());
    let claimed = UserEvent::PaymentClaimed {
        payment_hash,
        amount_msat: payment.amount_msat,
    };
    let problem = super::telling::premature(world.nodes[3].disk.durable(), &[], &claimed);
    assert_eq!(
        problem.unwrap_or_default(),
        "a part of it is not durably claimed"
    );
}

#[test]
fn a_restart_that_does_something_is_found() {
    let mut world = world_when("forward", |w| !record(w, B, C).outbound.is_empty());
    let found = restart::complaints(&mut world).join("; ");
    assert!(
        found.contains("does this when it is restarted at rest: persist"),
        "{found}"
    );
    assert!(
        found.contains("writes when it is restarted once at rest"),
        "{found}"
    );
}

#[test]
fn a_command_that_is_never_answered_is_found() {
    let mut world = rested("direct");
    world.nodes[A].user.orders[0].answer = None;
    let found = rest::complaints(&world).join("; ");
    assert!(found.contains("A never answered"), "{found}");
}

#[test]
fn an_answer_that_nobody_waits_for_is_found() {
    let mut world = rested("direct");
    world.nodes[A].pending = Some(Effect::Answer {
        id: 99,
        result: Ok(crate::effect::Done::Begun),
    });
    world.run_to_rest();
    let Verdict { complaints, .. } = judge(&mut world);
    let found = complaints.join("; ");
    assert!(
        found.contains("A answers command 99, which nobody waits for"),
        "{found}"
    );
}

#[test]
fn a_payment_that_nobody_should_have_claimed_is_found() {
    let mut world = rested("unknown");
    let payment = world.flow.payments[0].clone();
    world.nodes[A].user.hear(
        0,
        TellId(99),
        UserEvent::PaymentSent {
            payment_id: payment.payment_id,
            payment_hash: payment.payment_hash,
            preimage: payment.preimage,
            fee_paid_msat: None,
        },
    );
    world.nodes[A].user.handle();
    let found = payments::complaints(&world).0.join("; ");
    assert!(
        found.contains("was sent, and nobody should have claimed it"),
        "{found}"
    );
}

#[test]
fn a_transaction_that_goes_before_its_close_is_written_is_found() {
    let mut world = rested("direct");
    let channel_id = channel(&world, A, B);
    let channel = world.side(A, &channel_id).expect("it is there");
    let mut closed = channel.clone();
    closed.record.closure = Some(Closure::Forced {
        reason: "by itself".into(),
        broadcast: true,
    });
    let environment = world.nodes[A].environment.clone();
    let commitment = closed.transaction_to_publish(&environment);
    let commitment = commitment.expect("it may be published");
    super::sending::broadcast(&mut world, A, channel_id, &[commitment]);
    let found = world.complaints.join("; ");
    assert!(found.contains("that it has not written down"), "{found}");
}

#[test]
fn a_channel_that_is_archived_with_an_event_is_found() {
    let mut world = world_when("forward", |w| has_event(w, B, A, EventKind::Accepted));
    let channel_id = channel(&world, A, B);
    world.nodes[B].pending = Some(Effect::Archive { channel_id });
    world.perform(Action::Run(B));
    let found = world.complaints.join("; ");
    assert!(
        found.contains("archives a channel with unacknowledged events"),
        "{found}"
    );
}

#[test]
fn a_part_that_was_released_alone_is_found() {
    let mut world = rested("mpp");
    let amount_msat = world.flow.payments[0].parts[1].amounts_msat[1];
    // As if the payee had got the second part back to its sender.
    for (node, peer, sign) in [(3, C, -1), (C, 3, 1)] {
        change(&mut world, node, peer, |record| {
            for spec in [&mut record.holder.spec, &mut record.counterparty.spec] {
                let moved = sign * amount_msat as i64;
                spec.holder_msat = spec.holder_msat.wrapping_add_signed(moved);
                spec.counterparty_msat = spec.counterparty_msat.wrapping_add_signed(-moved);
            }
        });
    }
    let found = rest::complaints(&world).join("; ");
    assert!(found.contains(" msat instead of "), "{found}");
}

#[test]
fn satoshis_that_are_missing_after_a_close_are_found() {
    let mut world = world("force-downstream");
    world.run_to_rest();
    assert_eq!(super::onchain::complaints(&world), Vec::<String>::new());
    let mut flow = (*world.flow).clone();
    let forced = flow.forces[0];
    for opened in &mut flow.opened {
        if opened.pair == forced {
            opened.balances_msat[0] += 10_000_000;
        }
    }
    world.flow = Arc::new(flow);
    let found = super::onchain::complaints(&world).join("; ");
    assert!(found.contains(" would be right"), "{found}");
}

/// A payment whose payee claimed on the chain, and lost that to the timeout: as the flow has it, or as if nothing had
/// kept it out of blocks.
fn after_a_contest(is_contested: bool) -> World {
    let mut world = world_when("force-contest", |w| was_claimed(w, B, C));
    world.reorganise(1, Fate::Rivals);
    world.run_to_rest();
    if !is_contested {
        let steps = Arc::make_mut(&mut world.flow).phases.iter_mut();
        steps.for_each(|phase| phase.retain(|step| !matches!(step, Step::Censor { .. })));
    }
    world
}

#[test]
fn a_payee_that_lost_what_it_claimed_in_time_is_found() {
    let found = |is_contested| super::onchain::complaints(&after_a_contest(is_contested));
    assert_eq!(found(true), Vec::<String>::new());
    assert!(found(false).join("; ").contains(" would be right"));
}

#[test]
fn a_forwarder_that_paid_what_it_had_failed_is_found_in_a_contest_too() {
    let mut world = world("force-contest");
    world.run_to_rest();
    assert_eq!(super::onchain::complaints(&world), Vec::<String>::new());
    let is_sent = |event: &UserEvent| matches!(event, UserEvent::PaymentSent { .. });
    world.nodes[A]
        .user
        .heard
        .retain(|heard| !is_sent(&heard.event));
    let found = super::onchain::complaints(&world).join("; ");
    assert!(found.contains(" would be right"), "{found}");
}

#[test]
fn an_output_that_is_burnt_in_fees_is_found() {
    let mut world = world("force-downstream");
    world.run_to_rest();
    world.chain.add_to_fees(3_000);
    let found = super::onchain::complaints(&world).join("; ");
    assert!(found.contains("fees: "), "{found}");
    assert!(!found.contains("overpaid: 0,"), "{found}");
}

#[test]
fn a_channel_that_only_its_opener_knows_is_found() {
    let mut world = rested("open");
    assert_eq!(super::opening::complaints(&world), Vec::<String>::new());
    world.nodes[B].disk.durable_mut().channels.clear();
    let found = super::opening::complaints(&world).join("; ");
    assert!(found.contains("at the acceptor None"), "{found}");
}

#[test]
fn an_image_that_has_lost_acknowledgements_has_its_events_back() {
    let mut world = world("forward");
    let events = |disk: &crate::sim::disk::Disk| disk.durable().events().count();
    let mut seen = 0;
    while world.advance() {
        let disk = &world.nodes[B].disk;
        let mut image = disk.clone();
        if image.lose_last_acks().expect("it can be read") > 0 {
            // An entry that a snapshot has made needless takes nothing along.
            assert!(events(&image) >= events(disk));
            seen += usize::from(events(&image) > events(disk));
        }
    }
    assert!(seen > 0, "no log ends with an acknowledgement");
}
