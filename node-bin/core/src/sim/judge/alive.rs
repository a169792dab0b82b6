//! After all that happened, channels are not only in order: payments go over them.

use crate::sim::flow::Flow;
use crate::sim::script::Script;
use crate::sim::world::World;

use super::{payments, rest};

/// Pays over every open channel, each way, and says what went wrong. The world is used up.
pub fn complaints(world: &mut World) -> Vec<String> {
    let flow: Flow = {
        let mut script = Script::new("alive", world, 0);
        script.pay_over_all_channels();
        script.finish()
    };
    world.play(flow);
    world.run_to_rest();
    let mut found = std::mem::take(&mut world.complaints);
    found.extend(rest::complaints(world));
    let (of_payments, ended_otherwise) = payments::complaints(world);
    found.extend(of_payments);
    if ended_otherwise > 0 {
        found.push(format!("{ended_otherwise} payments do not go through"));
    }
    found
        .iter()
        .map(|complaint| format!("afterwards: {complaint}"))
        .collect()
}
