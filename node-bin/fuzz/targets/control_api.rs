#![no_main]

//! Lines of the control socket: each is read, and what can be read is carried out on a core in a small world.
//! Nothing may panic, every request is answered, and no request makes the core's records contradict
//! themselves.

use libfuzzer_sys::fuzz_target;
use lightning::ln::types::ChannelId;
use lightning::types::payment::{PaymentHash, PaymentPreimage};
use node_bin::api::{Command, Request};
use node_bin::unified::requests;
use node_core::input::{Command as CoreCommand, Input};
use node_core::sim::flow::Flow;
use node_core::sim::judge::durable;
use node_core::sim::setup::{Topology, open_world};
use node_core::sim::world::World;

/// Lines looked at in one input.
const LINES: usize = 16;
/// The node that is commanded.
const NODE: usize = 0;

fuzz_target!(|bytes: &[u8]| {
    let lines = bytes.split(|byte| *byte == b'\n').take(LINES);
    let requests: Vec<Request> = lines.filter_map(read).collect();
    let commands: Vec<CoreCommand> = requests
        .into_iter()
        .filter_map(|request| core_command(request.command))
        .collect();
    if commands.is_empty() {
        return;
    }
    let Ok(mut world) = open_world(Topology::Line, 0) else {
        return;
    };
    world.play(Flow::default());
    for command in commands {
        world.nodes[NODE].user.order(command);
        world.input(NODE, Input::Tick);
        world.run_to_rest();
        let user = &world.nodes[NODE].user;
        assert!(user.unanswered().next().is_none());
        for node in &world.nodes {
            let found = durable::complaints(node.disk.durable());
            assert_eq!(found, Vec::<String>::new());
        }
    }
    // A close by force comes with an error to a peer that did nothing.
    let is_serious = |complaint: &&String| !complaint.contains("honest peer");
    let serious: Vec<_> = world.complaints.iter().filter(is_serious).collect();
    assert_eq!(serious, Vec::<&String>::new());
});

/// What is read comes out the same when it is written and read again; what is not is answered.
fn read(line: &[u8]) -> Option<Request> {
    match Request::read(line) {
        Ok(request) => {
            let written = serde_json::to_vec(&request).ok()?;
            assert_eq!(Request::read(&written).as_ref(), Ok(&request));
            Some(request)
        }
        Err(refusal) => {
            assert!(refusal.error.is_some());
            assert!(serde_json::to_vec(&refusal).is_ok());
            None
        }
    }
}

/// 32 bytes; a short hexadecimal number names one of the world's own channels.
fn bytes32(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        let digits = text.get(2 * index..2 * index + 2)?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

fn channel_id(world: &World, text: &str) -> Option<ChannelId> {
    match text.parse::<usize>() {
        Ok(place) => world.channels_between(NODE, 1).get(place).copied(),
        Err(_) => bytes32(text).map(ChannelId),
    }
}

/// What the core is told, as the unified node tells it.
fn core_command(command: Command) -> Option<CoreCommand> {
    let world = open_world(Topology::Line, 0).ok()?;
    let preimage = PaymentPreimage([7; 32]);
    Some(match command {
        Command::Open {
            key,
            node_id,
            capacity_sat,
            push_msat,
            announce,
        } => CoreCommand::Open {
            user_channel_id: digest(&key),
            // Any other peer is refused for not being connected.
            peer: match key.as_str() {
                "" => node_id,
                _ => world.nodes[1].node_id,
            },
            capacity_sat,
            push_msat,
            announce,
        },
        Command::Close { channel_id: id, .. } => CoreCommand::Close {
            channel_id: channel_id(&world, &id)?,
        },
        Command::ForceClose { channel_id: id, .. } => CoreCommand::ForceClose {
            channel_id: channel_id(&world, &id)?,
        },
        Command::Pay {
            key,
            invoice,
            paths,
        } => CoreCommand::Pay(Box::new(requests::pay(&key, invoice, paths).ok()?)),
        Command::Keysend {
            key,
            node_id,
            amount_msat,
            mut paths,
        } => {
            // Random numbers name no channel: small ones stand for those that exist.
            for path in &mut paths {
                first_hop(&world, path);
            }
            let pay = requests::keysend(&key, preimage, node_id, amount_msat, paths);
            if pay.paths.iter().any(Vec::is_empty) {
                return None;
            }
            CoreCommand::Pay(Box::new(pay))
        }
        Command::Claim { .. } => CoreCommand::Claim { preimage },
        Command::Fail { payment_hash } => CoreCommand::Fail {
            payment_hash: PaymentHash(bytes32(&payment_hash)?),
        },
        Command::FeeRate { sat_per_kw } => CoreCommand::FeeRate { sat_per_kw },
        _ => return None,
    })
}

fn digest(key: &str) -> [u8; 32] {
    let mut digest = [1; 32];
    for (place, byte) in key.bytes().enumerate() {
        digest[place % 32] ^= byte;
    }
    digest
}

fn first_hop(world: &World, path: &mut [node_bin::api::Hop]) {
    let durable = world.nodes[NODE].disk.durable();
    let channel = world.channels_between(NODE, 1);
    let record = channel.first().and_then(|id| durable.channels.get(id));
    if let (Some(hop), Some(record)) = (path.first_mut(), record)
        && hop.short_channel_id < 256
    {
        hop.node_id = world.nodes[1].node_id;
        hop.short_channel_id = record.short_channel_id().unwrap_or(0);
    }
}
