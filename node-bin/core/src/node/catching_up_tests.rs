//! What must not be decided in a catch-up, while blocks are still to come.

use super::hostile_tests::{
    B, C, block_at, block_with, channel_between, drive, empty_block, engine_of, fundings, see_anew,
};
use crate::commitment::holder_commitment_transaction;
use crate::effect::{Effect, UserEvent};
use crate::engine::Engine;
use crate::event::EventKind;
use crate::input::{Command, Input, PlacedTransaction};
use crate::sim::testing;
use crate::sim::world::World;

#[test]
fn a_payment_that_comes_up_while_blocks_are_caught_up_with_is_told_of_at_the_tip() {
    let mut world = testing::world("hold-claim");
    let all = fundings(&world);
    see_anew(&mut world, C, &all[1..], &[]);
    while !testing::has_event(&world, C, B, EventKind::Accepted) {
        assert!(world.advance());
    }
    let mut engine = engine_of(&world, C);
    let tells = |engine: &mut Engine| {
        let effects = drive(engine);
        let mut told = effects.iter();
        told.any(|effect| {
            let is_claimable =
                |event: &UserEvent| matches!(event, UserEvent::PaymentClaimable { .. });
            matches!(effect, Effect::Tell { event, .. } if is_claimable(event))
        })
    };
    let height = engine.node.best_block.height;
    let (_, funding) = all[1].clone();
    engine.input(block_at(height + 1, false, vec![funding]));
    assert!(!tells(&mut engine));
    engine.input(block_at(height + 2, false, Vec::new()));
    assert!(!tells(&mut engine));
    engine.input(empty_block(height + 3));
    assert!(tells(&mut engine));
}

/// The payee of a payment in dust, its user about to claim.
fn payee_of_dust() -> (World, Engine) {
    let accepted = |world: &World| testing::has_event(world, C, B, EventKind::Accepted);
    let world = testing::world_when("dust", accepted);
    let mut engine = engine_of(&world, C);
    drive(&mut engine);
    (world, engine)
}

/// The user claims. How often that was answered.
fn answers(effects: &[Effect]) -> usize {
    let answers = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Answer { id: 99, .. }));
    answers.count()
}

#[test]
fn a_claim_waits_for_the_blocks_that_are_still_to_come_in_which_its_channel_may_end() {
    let (world, mut engine) = payee_of_dust();
    let channel_id = channel_between(&world, B, C);
    let peer = testing::record(&world, B, C);
    let environment = &engine_of(&world, B).node.environment;
    let transaction = holder_commitment_transaction(environment, &peer.parameters, &peer.holder);
    let height = engine.node.best_block.height;
    let preimage = world.flow.payments[0].preimage;
    engine.input(block_at(height + 1, false, Vec::new()));
    engine.input(Input::Command {
        id: 99,
        command: Command::Claim { preimage },
    });
    assert_eq!(answers(&drive(&mut engine)), 0);
    let placed = PlacedTransaction {
        index: 1,
        transaction,
    };
    engine.input(block_with(height + 2, vec![placed]));
    assert_eq!(answers(&drive(&mut engine)), 1);
    // The dust in it is the miners'.
    let record = &engine.node.channels[&channel_id].record;
    assert!(record.closure.is_some());
    assert_eq!(record.inbound[&0].preimage(), None);
}

#[test]
fn a_claim_that_waited_for_blocks_goes_on_at_the_tip() {
    let (world, payee) = payee_of_dust();
    let channel_id = channel_between(&world, B, C);
    let preimage = world.flow.payments[0].preimage;
    let height = payee.node.best_block.height;
    let taken_off = Input::BlocksDisconnected {
        height: height - 1,
        hash: bitcoin::hashes::Hash::all_zeros(),
    };
    for comes_before in [block_at(height + 1, false, Vec::new()), taken_off] {
        let mut engine = payee.clone();
        engine.input(comes_before);
        engine.input(Input::Command {
            id: 99,
            command: Command::Claim { preimage },
        });
        assert_eq!(answers(&drive(&mut engine)), 0);
        engine.input(empty_block(height + 2));
        assert_eq!(answers(&drive(&mut engine)), 1);
        let record = &engine.node.channels[&channel_id].record;
        assert_eq!(record.inbound[&0].preimage(), Some(preimage));
    }
}
