//! Payments whose ends a crash, a payer or time could have turned: what is told stays true.

use lightning::ln::msgs;
use lightning::types::payment::{PaymentHash, PaymentPreimage};

use super::Node;
use super::sending::PAYMENTS_KEPT;
use crate::channel::MAXIMUM_DUST_EXPOSURE_MSAT;
use crate::effect::{CommandError, Done, Effect, Store, UserEvent};
use crate::engine::Engine;
use crate::event::EventKind;
use crate::input::{Command, Input, PayCommand, Surroundings};
use crate::message::Message;
use crate::node::BestBlock;
use crate::onion::{self, make_payment_secret};
use crate::payment::{PaymentOutcome, RouteWish};
use crate::record::{Rejection, Resolution};
use crate::sim::crash::Image;
use crate::sim::flow::Flow;
use crate::sim::hostile::{Forger, next_htlc_id};
use crate::sim::node::NOW_S;
use crate::sim::schedule::Action;
use crate::sim::testing::{A, B, C, channel, has_event, record, rested, world, world_when};
use crate::sim::user::Wish;
use crate::sim::world::World;
use crate::source::{InboundHtlcId, PathHop};
use crate::wire::onion_packet;

fn surroundings() -> Surroundings {
    Surroundings {
        entropy: [7; 32],
        now_s: NOW_S,
    }
}

/// Carries out everything, with every write durable at once and every event handled.
fn drive(engine: &mut Engine) -> Vec<Effect> {
    drive_at(engine, NOW_S)
}

/// The same, at this time.
fn drive_at(engine: &mut Engine, now_s: u64) -> Vec<Effect> {
    let mut all = Vec::new();
    let mut surroundings = || Surroundings {
        now_s,
        ..surroundings()
    };
    while let Some(effect) = engine.next(&mut surroundings) {
        match &effect {
            Effect::Persist(write) => engine.persisted(write.store, write.sequence),
            Effect::Tell { id, .. } => engine.input(Input::Told { id: *id }),
            _ => {}
        }
        all.push(effect);
    }
    all
}

/// The node of a world started anew from its disk, at this tip and this time.
fn started(world: &World, node: usize, height: u32, now_s: u64) -> (Node, Vec<Effect>) {
    let at = &world.nodes[node];
    let best_block = BestBlock {
        height,
        ..world.chain.tip()
    };
    let surroundings = Surroundings {
        entropy: [7; 32],
        now_s,
    };
    let (environment, policy) = (at.environment.clone(), at.policy.clone());
    let stored = at.disk.stored().unwrap();
    let (node, start, _) =
        Node::load(environment, policy, stored, best_block, surroundings).unwrap();
    (node, start.into_iter().map(|o| o.effect).collect())
}

fn is_sent(event: &UserEvent) -> bool {
    matches!(event, UserEvent::PaymentSent { .. })
}

#[test]
fn a_payment_told_as_sent_cannot_fail_after_its_record_is_lost_while_a_part_of_it_lives() {
    let is_between = |w: &World| {
        let waits = |peer| {
            let mut outbound = record(w, A, peer).outbound.values();
            outbound.any(|htlc| htlc.preimage.is_none())
        };
        let is_told = w.nodes[A].user.handled().any(is_sent);
        let is_quiet = w.nodes[A].pending.is_none() && !w.nodes[A].user.has_mail();
        is_told && is_quiet && (waits(B) || waits(C))
    };
    let mut world = world_when("mpp", is_between);
    let image = Image {
        payments_lost: true,
        ..Image::default()
    };
    world.crash(A, &image);
    world.perform(Action::Restart(A));
    let engine = world.nodes[A].engine.as_ref().unwrap();
    let payment = engine.node.payments.values().next().unwrap();
    let outcome = &payment.outcome;
    assert!(
        matches!(outcome, Some(PaymentOutcome::Sent { .. })),
        "{outcome:?}"
    );
    world.run_to_rest();
    let found = crate::sim::judge::judge(&mut world).complaints;
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_claimable_payment_is_claimable_after_a_restart_though_its_invoice_has_expired() {
    let world = world_when("hold-claim", |w| {
        let mut heard = w.nodes[C].user.handled();
        heard.any(|event| matches!(event, UserEvent::PaymentClaimable { .. }))
    });
    let payment_hash = world.flow.payments[0].payment_hash;
    // The invoice is for a day. Ten blocks later the payment is claimable to a running node, too.
    let height = world.chain.height() + 10;
    let (node, start) = started(&world, C, height, NOW_S + 100_000);
    let is_told = start.iter().any(|effect| {
        matches!(effect, Effect::Tell { event: UserEvent::PaymentClaimable { payment_hash: hash, .. }, .. }
            if hash == &payment_hash)
    });
    assert!(is_told, "{start:?}");
    assert!(node.claimables[&payment_hash].complete);
}

/// A payment of A's to B over their channel, whose invoice is for `asked_msat`.
fn command(world: &World, number: u8, asked_msat: u64, amount_msat: u64) -> PayCommand {
    let payment_hash: PaymentHash = PaymentPreimage([number; 32]).into();
    let payee = &world.nodes[B];
    let scid = record(world, A, B).short_channel_id().unwrap();
    PayCommand {
        payment_id: [number; 32],
        payment_hash,
        amount_msat,
        payment_secret: Some(make_payment_secret(
            &payee.environment,
            &payment_hash,
            asked_msat,
            NOW_S + 1_000,
        )),
        keysend_preimage: None,
        payment_metadata: None,
        final_cltv_expiry_delta: 42,
        paths: vec![vec![PathHop {
            node_id: payee.node_id,
            short_channel_id: scid,
            fee_msat: amount_msat,
            cltv_expiry_delta: 42,
        }]],
        route: None,
        expires_at_s: Some(NOW_S + 1_000),
    }
}

/// Ends the flow; its channels stay known.
fn play_nothing(world: &mut World) {
    let opened = world.flow.opened.clone();
    world.play(Flow {
        opened,
        ..Flow::default()
    });
}

fn order(world: &mut World, command: PayCommand) {
    let pay = Command::Pay(Box::new(command));
    world.nodes[A].user.order(pay);
}

#[test]
fn a_payment_of_more_than_twice_what_was_asked_for_is_refused() {
    for (number, amount_msat, is_taken) in [(1, 2_000_000, true), (2, 2_000_001, false)] {
        let mut world = rested("direct");
        play_nothing(&mut world);
        let pay = command(&world, number, 1_000_000, amount_msat);
        let payment_hash = pay.payment_hash;
        world.nodes[B].user.wishes.insert(payment_hash, Wish::Hold);
        order(&mut world, pay);
        world.run_to_rest();
        let mut heard = world.nodes[B].user.handled();
        let is_claimable = heard.any(|event| {
            matches!(event, UserEvent::PaymentClaimable { payment_hash: hash, .. }
                if hash == &payment_hash)
        });
        assert_eq!(is_claimable, is_taken, "{amount_msat}");
    }
}

/// A world in which A has paid B so much of what its onion promises, and B has nothing left to do; the HTLC.
fn paid(promised_msat: u64, amount_msat: u64) -> (World, PayCommand, InboundHtlcId) {
    let mut world = rested("direct");
    play_nothing(&mut world);
    let mut pay = command(&world, 1, promised_msat, promised_msat);
    pay.paths[0][0].fee_msat = amount_msat;
    let hash = pay.payment_hash;
    world.nodes[B].user.wishes.insert(hash, Wish::Hold);
    order(&mut world, pay.clone());
    let part = |world: &World| {
        let node = &world.nodes[B].engine.as_ref().unwrap().node;
        let known = node.claimables.get(&hash);
        known.map(|known| known.parts[0].id)
    };
    while part(&world).is_none() || !world.nodes[B].is_quiet() {
        assert!(world.advance());
    }
    let id = part(&world).unwrap();
    (world, pay, id)
}

#[test]
fn a_payment_whose_rest_does_not_come_within_three_ticks_is_given_back_as_timed_out() {
    let (world, pay, id) = paid(2_000_000, 1_999_999);
    let mut engine = world.nodes[B].engine.clone().unwrap();
    for _ in 0..3 {
        let channel = &engine.node.channels[&id.channel_id];
        assert_eq!(channel.resolution(id.htlc_id), None);
        engine.input(Input::Tick);
        drive(&mut engine);
    }
    let channel = &engine.node.channels[&id.channel_id];
    let Some(Resolution::Rejected {
        rejection: Rejection::Fail { reason },
    }) = channel.resolution(id.htlc_id)
    else {
        panic!("{:?}", channel.resolution(id.htlc_id));
    };
    let payer = world.nodes[A].engine.as_ref().unwrap();
    let payment = &payer.node.payments[&pay.payment_id];
    let (key, environment) = (&payment.parts[0].session_key, &payer.node.environment);
    let read = onion::decode_failure(environment, key, &pay.paths[0], reason);
    assert_eq!((read.hop, read.code), (Some(0), Some(23)));
    assert!(!engine.node.claimables.contains_key(&pay.payment_hash));
}

#[test]
fn a_complete_payment_that_is_held_does_not_time_out() {
    let (world, pay, id) = paid(2_000_000, 2_000_000);
    let mut engine = world.nodes[B].engine.clone().unwrap();
    for _ in 0..30 {
        engine.input(Input::Tick);
        drive(&mut engine);
    }
    let channel = &engine.node.channels[&id.channel_id];
    assert_eq!(channel.resolution(id.htlc_id), None);
    let known = &engine.node.claimables[&pay.payment_hash];
    assert!(known.complete);
}

#[test]
fn own_payments_do_not_put_more_dust_on_a_channel_than_a_close_may_cost() {
    let mut world = rested("direct");
    play_nothing(&mut world);
    for number in 0..20 {
        let pay = command(&world, number, 350_000, 350_000);
        world.nodes[B]
            .user
            .wishes
            .insert(pay.payment_hash, Wish::Hold);
        order(&mut world, pay);
        while world.advance() && world.nodes[A].user.has_orders(false) {}
    }
    for _ in 0..2_000 {
        world.advance();
    }
    let channel_id = channel(&world, A, B);
    let channel = world.side(A, &channel_id).unwrap();
    let exposure_msat = channel.dust_exposure_msat();
    assert!(
        exposure_msat <= MAXIMUM_DUST_EXPOSURE_MSAT,
        "{exposure_msat}"
    );
    assert!(exposure_msat > MAXIMUM_DUST_EXPOSURE_MSAT - 350_000);
}

#[test]
fn dust_that_a_peer_sends_beyond_what_a_close_may_cost_is_given_back() {
    let world = rested("direct");
    let mut engine = world.nodes[B].engine.clone().unwrap();
    let channel_id = channel(&world, A, B);
    let (peer, environment) = (world.nodes[A].node_id, world.nodes[A].environment.clone());
    let parameters = record(&world, A, B).parameters.clone();
    let forger = Forger {
        environment: &environment,
        parameters: &parameters,
    };
    let mut claimable = 0;
    for number in 1..=20 {
        let pay = command(&world, number, 350_000, 350_000);
        let session_key = environment.channel_keys(&[number; 32]).funding;
        let payment = crate::payment::PaymentRecord::asked(&pay);
        let height = engine.node.best_block.height;
        let built =
            onion::build(&environment, &payment, &session_key, &pay.paths[0], height).unwrap();
        let add = Message::UpdateAddHtlc(msgs::UpdateAddHTLC {
            channel_id,
            htlc_id: next_htlc_id(&engine.node.channels[&channel_id]),
            amount_msat: built.amount_msat,
            payment_hash: pay.payment_hash,
            cltv_expiry: built.cltv_expiry,
            skimmed_fee_msat: None,
            onion_routing_packet: onion_packet(&built.onion).unwrap(),
            blinding_point: None,
            hold_htlc: None,
        });
        engine.input(Input::Message { peer, message: add });
        drive(&mut engine);
        // Until both sides have nothing to sign any more.
        for _ in 0..3 {
            let victim = &engine.node.channels[&channel_id];
            let message = match &victim.record.next_counterparty {
                Some(_) => Some(forger.revocation(victim)),
                None => forger.commitment_signed(victim, &engine.node.environment),
            };
            let message = message.unwrap();
            engine.input(Input::Message { peer, message });
            let effects = drive(&mut engine);
            claimable += effects
                .iter()
                .filter(|effect| {
                    matches!(
                        effect,
                        Effect::Tell {
                            event: UserEvent::PaymentClaimable { .. },
                            ..
                        }
                    )
                })
                .count();
        }
    }
    assert!(engine.node.channels[&channel_id].record.closure.is_none());
    assert_eq!(claimable, (MAXIMUM_DUST_EXPOSURE_MSAT / 350_000) as usize);
}

#[test]
fn own_payments_that_ended_are_forgotten_in_the_end_and_no_sooner() {
    let mut world = rested("direct");
    let template = world.nodes[A]
        .disk
        .durable()
        .payments
        .values()
        .next()
        .unwrap()
        .clone();
    let mut stored = world.nodes[A].disk.stored().unwrap();
    stored.payments.clear();
    for number in 0..PAYMENTS_KEPT as u32 + 3 {
        let mut record = (*template).clone();
        record.payment_id[..4].copy_from_slice(&number.to_be_bytes());
        // The first are the youngest.
        record.ended_at_s = Some(u64::from(u32::MAX - number));
        stored.payments.push(record);
    }
    // This one is the oldest of all, and its user may not know how it ended.
    stored.payments[7].ended_at_s = Some(0);
    stored.payments[7].told = false;
    let at = &world.nodes[A];
    let (environment, policy) = (at.environment.clone(), at.policy.clone());
    let tip = world.chain.tip();
    let (node, start, durable) =
        Node::load(environment, policy, stored, tip, surroundings()).unwrap();
    let mut engine = Engine::new(node, start, durable);
    let mut forgotten = Vec::new();
    let mut forget = |effects: Vec<Effect>| {
        for effect in effects {
            if let Effect::ForgetPayment { payment_id } = effect {
                forgotten.push(u32::from_be_bytes(payment_id[..4].try_into().unwrap()));
            }
        }
    };
    while let Some(effect) = engine.next(&mut surroundings) {
        assert!(!matches!(effect, Effect::ForgetPayment { .. }));
    }
    // With an acknowledgement on its way, nothing.
    let channel = engine.node.channels.values_mut().next().unwrap();
    let durable = std::mem::replace(&mut channel.volatile.durable, 0);
    let channel_id = channel.id();
    engine.input(Input::Tick);
    while let Some(effect) = engine.next(&mut surroundings) {
        assert!(!matches!(effect, Effect::ForgetPayment { .. }));
    }
    engine.persisted(Store::Monitor(channel_id), durable);
    engine.input(Input::Tick);
    let mut effects = Vec::new();
    while let Some(effect) = engine.next(&mut surroundings) {
        effects.push(effect);
    }
    forget(effects);
    let last = PAYMENTS_KEPT as u32 + 2;
    assert_eq!(forgotten, [last, last - 1]);
    assert_eq!(engine.node.payments.len(), PAYMENTS_KEPT + 1);
    world.nodes[A].engine = None;
}

#[test]
fn the_claim_of_one_part_stays_until_the_other_part_is_gone_for_good() {
    let mut world = world("mpp");
    let mut seen = false;
    while world.advance() {
        let lives = |peer| {
            let mut outbound = record(&world, A, peer).outbound.values();
            outbound.any(|htlc| htlc.preimage.is_none())
        };
        let is_told = world.nodes[A].user.handled().any(is_sent);
        for (claimed, other) in [(B, C), (C, B)] {
            if is_told && lives(other) && !lives(claimed) {
                seen = true;
                assert!(has_event(&world, A, claimed, EventKind::Claimed));
            }
        }
    }
    assert!(seen, "both parts end at once");
    assert!(record(&world, A, B).events.is_empty());
    assert!(record(&world, A, C).events.is_empty());
}

/// Gives the command to the node at this time; the answer.
fn pay_at(engine: &mut Engine, pay: &PayCommand, now_s: u64) -> Result<Done, CommandError> {
    engine.input(Input::Command {
        id: 9,
        command: Command::Pay(Box::new(pay.clone())),
    });
    let effects = drive_at(engine, now_s);
    let answer = effects.into_iter().find_map(|effect| match effect {
        Effect::Answer { id: 9, result } => Some(result),
        _ => None,
    });
    answer.unwrap()
}

#[test]
fn an_expired_invoice_is_refused_unless_its_payment_was_begun_before() {
    let world = rested("direct");
    let mut engine = world.nodes[A].engine.clone().unwrap();
    let begun = command(&world, 1, 50_000, 50_000);
    let late = command(&world, 2, 50_000, 50_000);
    assert_eq!(pay_at(&mut engine, &begun, NOW_S + 1_000), Ok(Done::Begun));
    let refusal = pay_at(&mut engine, &late, NOW_S + 1_001).unwrap_err();
    assert!(refusal.to_string().contains("expired"), "{refusal}");
    assert_eq!(engine.node.payments.get(&late.payment_id), None);
    let again = pay_at(&mut engine, &begun, NOW_S + 1_001);
    assert_eq!(again, Ok(Done::Already));
}

/// The effects of a payment whose first way failed, when a second one is found at this time.
fn second_way_at(expires_at_s: Option<u64>, now_s: u64) -> Vec<Effect> {
    let world = rested("direct");
    let mut engine = world.nodes[A].engine.clone().unwrap();
    let mut pay = command(&world, 1, 50_000, 50_000);
    let mut nowhere = pay.paths.remove(0);
    nowhere[0].short_channel_id = 1;
    pay.expires_at_s = expires_at_s;
    pay.route = Some(RouteWish {
        payee: world.nodes[B].node_id,
        invoice: String::new(),
        attempts_left: 5,
        failed_channels: Vec::new(),
    });
    assert_eq!(pay_at(&mut engine, &pay, NOW_S), Ok(Done::Begun));
    let found = Input::RouteFound {
        payment_id: pay.payment_id,
        paths: vec![nowhere],
    };
    engine.input(found.clone());
    let effects = drive(&mut engine);
    let is_search = |effect: &Effect| matches!(effect, Effect::FindRoute { .. });
    assert!(effects.iter().any(is_search), "{effects:?}");
    engine.input(found);
    drive_at(&mut engine, now_s)
}

#[test]
fn nothing_is_tried_again_after_the_invoice_has_expired() {
    let failure = |effect: &Effect| match effect {
        Effect::Tell {
            event: UserEvent::PaymentFailed { reason, .. },
            ..
        } => Some(reason.clone()),
        _ => None,
    };
    let is_search = |effect: &Effect| matches!(effect, Effect::FindRoute { .. });
    for expires_at_s in [None, Some(NOW_S + 10)] {
        let effects = second_way_at(expires_at_s, NOW_S + 10);
        assert!(effects.iter().any(is_search), "{effects:?}");
        assert_eq!(effects.iter().find_map(failure), None);
    }
    let effects = second_way_at(Some(NOW_S + 10), NOW_S + 11);
    assert!(!effects.iter().any(is_search), "{effects:?}");
    let reason = effects.iter().find_map(failure).unwrap();
    assert!(reason.contains("expired"), "{reason}");
}

#[test]
fn a_part_that_a_crash_kept_from_being_sent_is_not_sent_after_the_invoice_has_expired() {
    let mut world = rested("direct");
    play_nothing(&mut world);
    let pay = command(&world, 1, 50_000, 50_000);
    let mut record = crate::payment::PaymentRecord::asked(&pay);
    record.sequence = 1;
    record.parts.push(crate::payment::PaymentPart {
        part: 0,
        session_key: world.nodes[A].environment.channel_keys(&[9; 32]).funding,
        path: pay.paths[0].clone(),
        state: crate::payment::PartState::Pending,
    });
    let at = &world.nodes[A];
    let mut stored = at.disk.stored().unwrap();
    stored.payments = vec![record];
    let (environment, policy) = (at.environment.clone(), at.policy.clone());
    let late = Surroundings {
        now_s: NOW_S + 1_001,
        ..surroundings()
    };
    let (node, start, durable) =
        Node::load(environment, policy, stored, world.chain.tip(), late).unwrap();
    let mut engine = Engine::new(node, start, durable);
    let effects = drive_at(&mut engine, NOW_S + 1_001);
    let is_failed = |effect: &Effect| {
        matches!(effect, Effect::Tell { event: UserEvent::PaymentFailed { reason, .. }, .. }
            if reason.contains("expired"))
    };
    assert!(effects.iter().any(is_failed), "{effects:?}");
    let channel = &engine.node.channels[&channel(&world, A, B)];
    assert!(channel.record.outbound.is_empty() && channel.volatile.adds.is_empty());
}
