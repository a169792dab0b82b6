//! Two cores with random inputs: whatever is asked of them and whatever happens to them, in whatever order, both
//! hold the same commitments whenever nothing is under way, and nobody has lost a millisatoshi.

use proptest::collection::vec;
use proptest::prelude::*;

use super::crash::Image;
use super::judge::rest;
use super::script::{Kind, Script};
use super::testing::{A, B, world};
use super::world::{Persistence, Schedule, World};
use crate::input::Command;

/// Something that is asked of the world, or happens to it.
#[derive(Clone, Debug)]
enum Deed {
    /// A payment, of this kind and so many millisatoshis, by the first or by the second.
    Pay {
        is_by_first: bool,
        kind: Kind,
        amount_msat: u64,
    },
    /// The opener's fee rate, in satoshis per 1000 weight units.
    FeeRate(u32),
    /// So many things happen.
    Advance(u16),
    /// The connection ends.
    Cut,
    /// One of both dies; the number chooses what is left.
    Crash { is_first: bool, image: usize },
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Claim),
        Just(Kind::Keysend),
        Just(Kind::Fail),
        Just(Kind::UnknownHash),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        3 => (any::<bool>(), kind(), 1..400_000_000u64).prop_map(|(is_by_first, kind, amount_msat)| {
            Deed::Pay { is_by_first, kind, amount_msat }
        }),
        2 => (any::<bool>(), kind(), 1..800_000u64).prop_map(|(is_by_first, kind, amount_msat)| {
            Deed::Pay { is_by_first, kind, amount_msat }
        }),
        1 => (253..3_000u32).prop_map(Deed::FeeRate),
        6 => (1..60u16).prop_map(Deed::Advance),
        1 => Just(Deed::Cut),
        1 => (any::<bool>(), any::<usize>()).prop_map(|(is_first, image)| {
            Deed::Crash { is_first, image }
        }),
    ]
}

/// The flow with all these payments; their orders are given one by one.
fn payments(world: &World, deeds: &[Deed]) -> (super::flow::Flow, Vec<(usize, Command)>) {
    let mut script = Script::new("property", world, 0);
    script.is_uncertain();
    for deed in deeds {
        if let Deed::Pay {
            is_by_first,
            kind,
            amount_msat,
        } = deed
        {
            script.amount_msat = *amount_msat;
            let way = match is_by_first {
                true => [A, B],
                false => [B, A],
            };
            script.pay(&way, *kind);
        }
    }
    let mut flow = script.finish();
    let steps = std::mem::take(&mut flow.phases).into_iter().flatten();
    let orders = steps.filter_map(|step| match step {
        super::flow::Step::Order { node, command } => Some((node, command)),
        super::flow::Step::Mine { .. }
        | super::flow::Step::Censor { .. }
        | super::flow::Step::Settle => None,
    });
    let orders = orders.collect();
    (flow, orders)
}

fn play(deeds: &[Deed], persistence: Persistence, schedule: Schedule) -> World {
    let mut world = world("direct");
    let (flow, orders) = payments(&world, deeds);
    world.play(flow);
    world.persistence = persistence;
    world.schedule = schedule;
    let mut orders = orders.into_iter();
    for deed in deeds {
        match deed {
            Deed::Pay { .. } => {
                if let Some((node, command)) = orders.next() {
                    world.nodes[node].user.order(command);
                }
            }
            Deed::FeeRate(sat_per_kw) => {
                let sat_per_kw = *sat_per_kw;
                world.nodes[A].user.order(Command::FeeRate { sat_per_kw });
            }
            Deed::Advance(actions) => {
                for _ in 0..*actions {
                    world.advance();
                }
            }
            Deed::Cut => {
                world.cut(A, B);
                world.recovering = true;
            }
            Deed::Crash { is_first, image } => {
                let node = if *is_first { A } else { B };
                if world.nodes[node].engine.is_some() {
                    let images = world.images(node);
                    let image: &Image = &images[image % images.len()];
                    world.crash(node, image);
                }
            }
        }
    }
    world.run_to_rest();
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn two_cores_with_random_inputs_hold_the_same_commitments(
        deeds in vec(deed(), 1..24),
        is_async in any::<bool>(),
        is_random in any::<bool>(),
    ) {
        let persistence = match is_async {
            true => Persistence::Asynchronous,
            false => Persistence::Synchronous,
        };
        let schedule = match is_random {
            true => Schedule::Random,
            false => Schedule::Fixed,
        };
        let world = play(&deeds, persistence, schedule);
        prop_assert_eq!(&world.complaints, &Vec::<String>::new());
        prop_assert_eq!(rest::complaints(&world), Vec::<String>::new());
    }
}
