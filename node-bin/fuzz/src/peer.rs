//! What a hostile peer may do to a node, chosen by bytes. The world is a line, A-B-C; B is attacked by both
//! ends, which go on as honest nodes in between, so that messages reach deep. Whatever happens, B does not
//! panic, and its durable records keep the invariants that no peer may break.

use std::sync::LazyLock;

use lightning::ln::types::ChannelId;
use node_core::input::Command;
use node_core::sim::crash::Image;
use node_core::sim::flow::Step;
use node_core::sim::flows;
use node_core::sim::judge::durable;
use node_core::sim::schedule::Action;
use node_core::sim::world::{Persistence, World};

use crate::made::Maker;
use crate::wire;

/// The node that is attacked.
pub const VICTIM: usize = 1;
/// Deeds of one input, at the most.
const DEEDS: usize = 200;
/// Things that may happen between two deeds.
const ACTIONS: usize = 40;

/// Bytes, taken from the front; zero when there are none left.
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// One byte.
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// A number of any magnitude.
    pub fn number(&mut self) -> u64 {
        let width = usize::from(self.byte() % 9);
        (0..width).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    /// So many bytes, or what is left.
    pub fn some(&mut self, count: usize) -> &'a [u8] {
        let (some, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        some
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Worlds with payments of different kinds under way.
const FLOWS: &[&str] = &[
    "crossing",
    "hold-claim",
    "fail-back",
    "concurrent",
    "fee",
    "close",
    "force-downstream",
    "force-upstream",
];

static WORLDS: LazyLock<Vec<World>> = LazyLock::new(|| {
    let start = |flow: &&str| flows::start(flow, 0).ok();
    FLOWS.iter().filter_map(start).collect()
});

/// Plays what these bytes say.
pub fn play(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let flow = usize::from(bytes.byte()) % FLOWS.len();
    let mut world = WORLDS[flow].clone();
    if bytes.byte() & 1 == 1 {
        world.persistence = Persistence::Asynchronous;
    }
    for _ in 0..DEEDS {
        if bytes.is_empty() || world.given_up {
            break;
        }
        deed(&mut world, &mut bytes);
        look(&world);
    }
    for _ in 0..20 * ACTIONS {
        if !world.advance() {
            break;
        }
    }
    look(&world);
}

fn deed(world: &mut World, bytes: &mut Bytes<'_>) {
    let kind = bytes.byte();
    let attacker = usize::from(kind & 0x80 != 0) * 2;
    match kind & 0x0f {
        0..=2 => {
            for _ in 0..usize::from(bytes.byte()) % ACTIONS {
                world.advance();
            }
        }
        3 => raw(world, attacker, bytes),
        4 | 5 => mutated(world, attacker, bytes),
        6..=9 => made(world, attacker, bytes),
        10 => signed(world, attacker, bytes),
        11 => lost_or_twice(world, attacker, bytes),
        12 => world.cut(attacker, VICTIM),
        13 => command(world, bytes),
        14 => mine(world, bytes),
        _ => crash(world, bytes),
    }
}

/// The channel between the attacker and the node, or another.
pub fn channel(world: &World, attacker: usize, which: u8) -> ChannelId {
    let other = match which {
        0..=0xf0 => attacker,
        0xf1..=0xf8 => 2 - attacker,
        _ => return ChannelId([which; 32]),
    };
    let channel = world.flow.channel(other, VICTIM);
    channel.unwrap_or(ChannelId([0; 32]))
}

fn raw(world: &mut World, attacker: usize, bytes: &mut Bytes<'_>) {
    let number = wire::TYPES[usize::from(bytes.byte()) % wire::TYPES.len()];
    let length = usize::from(bytes.byte()) * 8;
    let text = [&number.to_be_bytes()[..], bytes.some(length)].concat();
    if let Some(Ok(message)) = wire::read(&text) {
        let again = wire::read(&wire::write(&message));
        assert_eq!(again, Some(Ok(message.clone())));
        world.inject(attacker, VICTIM, message);
    }
}

/// The next message that the attacker means to send, with some bytes changed.
fn mutated(world: &mut World, attacker: usize, bytes: &mut Bytes<'_>) {
    for _ in 0..ACTIONS {
        let Some(link) = world.link_between(attacker, VICTIM) else {
            return;
        };
        if let Some(message) = link.receive(attacker) {
            let mut text = wire::write(&message);
            for _ in 0..=bytes.byte() % 3 {
                let place = 2 + bytes.number() as usize % (text.len() - 2);
                text[place] ^= bytes.byte();
            }
            if let Some(Ok(message)) = wire::read(&text) {
                world.inject(attacker, VICTIM, message);
            }
            return;
        }
        if !world.advance() {
            return;
        }
    }
}

fn made(world: &mut World, attacker: usize, bytes: &mut Bytes<'_>) {
    let which = bytes.byte();
    let maker = Maker {
        world,
        attacker,
        channel_id: channel(world, attacker, which),
    };
    if let Some(message) = maker.make(bytes) {
        let text = wire::write(&message);
        if let Some(Ok(message)) = wire::read(&text) {
            world.inject(attacker, VICTIM, message);
        }
    }
}

/// What the peer alone can sign or reveal.
fn signed(world: &mut World, attacker: usize, bytes: &mut Bytes<'_>) {
    let channel_id = channel(world, attacker, 0);
    let message = match bytes.byte() % 2 {
        0 => world.forge_commitment_signed(attacker, VICTIM, channel_id),
        _ => world.forge_revocation(attacker, VICTIM, channel_id),
    };
    if let Some(message) = message {
        world.inject(attacker, VICTIM, message);
    }
}

fn lost_or_twice(world: &mut World, attacker: usize, bytes: &mut Bytes<'_>) {
    let twice = bytes.byte() & 1 == 1;
    let link = world.link_between(attacker, VICTIM);
    if let Some(message) = link.and_then(|link| link.receive(attacker))
        && twice
    {
        world.inject(attacker, VICTIM, message.clone());
        world.inject(attacker, VICTIM, message);
    }
}

/// One of the flow's commands, or a close.
fn command(world: &mut World, bytes: &mut Bytes<'_>) {
    let which = usize::from(bytes.byte());
    let flow = world.flow.clone();
    let orders = flow.phases.iter().flatten().filter_map(|step| match step {
        Step::Order { node, command } => Some((*node, command.clone())),
        Step::Mine { .. } | Step::Settle => None,
    });
    let mut all: Vec<_> = orders.collect();
    for attacker in [0, 2] {
        let channel_id = channel(world, attacker, 0);
        all.push((VICTIM, Command::Close { channel_id }));
        all.push((VICTIM, Command::ForceClose { channel_id }));
    }
    all.push((VICTIM, Command::FeeRate { sat_per_kw: 900 }));
    let (node, command) = all.swap_remove(which % all.len());
    world.nodes[node].user.order(command);
}

fn mine(world: &mut World, bytes: &mut Bytes<'_>) {
    let count = bytes.byte();
    if count & 0x80 != 0 {
        world.perform(Action::Tick);
    }
    for _ in 0..count % 64 {
        world.chain.mine();
    }
}

fn crash(world: &mut World, bytes: &mut Bytes<'_>) {
    if world.nodes[VICTIM].engine.is_none() {
        return;
    }
    let images = world.images(VICTIM);
    let which = usize::from(bytes.byte()) % images.len();
    let image = Image {
        acks_lost: bytes.byte() & 3 == 3,
        ..images[which].clone()
    };
    world.crash(VICTIM, &image);
}

/// What no peer may bring about.
fn look(world: &World) {
    let found = durable::complaints(world.nodes[VICTIM].disk.durable());
    assert_eq!(found, Vec::<String>::new());
    // That it answers with errors, hangs up, or disagrees with a liar is as it should be.
    let serious = [
        "B acknowledges",
        "B cannot",
        "B has ",
        "B tells",
        "B's bytes",
        "B's disk",
        "B's durable",
        "B publishes",
    ];
    for complaint in &world.complaints {
        let is_serious = serious.iter().any(|start| complaint.starts_with(start));
        assert!(!is_serious, "{complaint}");
    }
}
