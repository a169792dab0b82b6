//! The flows that are explored, by name.

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::rand::{SeedableRng, rngs::StdRng};
use lightning::types::payment::{PaymentHash, PaymentPreimage};
use lightning::util::scid_utils::scid_from_parts;

use crate::input::{Command, PayCommand};
use crate::onion::make_payment_secret;
use crate::source::PathHop;

use super::flow::{End, Flow, OpenedChannel, PlannedPart, PlannedPayment, Step};
use super::node::NOW_S;
use super::setup::{SetupError, Topology, open_world};
use super::user::Wish;
use super::world::World;

/// What a payment carries, in millisatoshis, unless its flow is about something else.
const AMOUNT_MSAT: u64 = 20_000_123;

/// A payment below every dust limit.
const DUST_MSAT: u64 = 100_001;

/// Final expiry delta, in blocks.
const FINAL_CLTV_EXPIRY_DELTA: u32 = 42;

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const D: usize = 3;

/// All flows by name, with what they need.
pub const FLOWS: &[(&str, Topology, fn(&mut Script))] = &[
    ("direct", Topology::Pair, |s| s.pay(&[A, B], Kind::Claim)),
    ("dust", Topology::Line, |s| {
        s.amount_msat = DUST_MSAT;
        s.pay(&[A, B, C], Kind::Claim);
    }),
    ("forward", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::Claim)
    }),
    ("keysend", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::Keysend)
    }),
    ("fail-back", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::Fail)
    }),
    ("unknown", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::UnknownHash)
    }),
    ("refused", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::FeeTooLow)
    }),
    ("hold-claim", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::HoldAndClaim)
    }),
    ("hold-fail", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::HoldAndFail)
    }),
    ("mpp", Topology::Diamond, |s| {
        s.pay_parts(&[&[A, B, D], &[A, C, D]], Kind::Claim)
    }),
    ("mpp-hold", Topology::Diamond, |s| {
        s.pay_parts(&[&[A, B, D], &[A, C, D]], Kind::HoldAndClaim)
    }),
    ("mpp-fail", Topology::Diamond, |s| {
        s.pay_parts(&[&[A, B, D], &[A, C, D]], Kind::Fail)
    }),
    ("mpp-partial", Topology::Diamond, |s| {
        s.pay_parts(&[&[A, B, D], &[A, C, D]], Kind::FeeTooLow)
    }),
    ("both-ways", Topology::Pair, |s| {
        s.pay(&[A, B], Kind::Claim);
        s.pay(&[B, A], Kind::Claim);
    }),
    ("crossing", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::Claim);
        s.pay(&[C, B, A], Kind::Claim);
    }),
    ("concurrent", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::Claim);
        s.pay(&[A, B, C], Kind::Fail);
        s.pay(&[A, B], Kind::Claim);
        s.pay(&[C, B, A], Kind::Claim);
        s.pay(&[C, B], Kind::UnknownHash);
    }),
    ("fee", Topology::Line, |s| {
        s.fee_rate(A, 900);
        s.pay(&[A, B, C], Kind::Claim);
        s.fee_rate(B, 700);
        s.pay(&[C, B, A], Kind::Claim);
    }),
    ("close", Topology::Line, |s| {
        s.pay(&[A, B, C], Kind::HoldAndClaim);
        s.close_before_the_claim([A, B]);
    }),
];

/// How a payment of a script goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The payee claims at once.
    Claim,
    /// Without an invoice.
    Keysend,
    /// The payee fails it at once.
    Fail,
    /// The payee never gave that hash out.
    UnknownHash,
    /// The last forwarding node gets too little.
    FeeTooLow,
    /// The payee waits, and claims in the next phase.
    HoldAndClaim,
    /// The payee waits, and fails it in the next phase.
    HoldAndFail,
}

/// A flow that is being written.
pub struct Script<'a> {
    world: &'a World,
    amount_msat: u64,
    flow: Flow,
}

/// How many different sets of keys worlds have.
const KEY_SETS: u64 = 4;

/// A world that is about to play this flow. Another seed means other random bytes and, among a few, other
/// keys; so channel ids sort differently too.
pub fn start(name: &str, seed: u64) -> Result<World, SetupError> {
    let Some((name, topology, write)) = FLOWS.iter().find(|(known, _, _)| *known == name) else {
        return Err(SetupError::Failed(format!("no flow is called {name}")));
    };
    let mut world = open_world(*topology, seed % KEY_SETS)?;
    world.dice = StdRng::seed_from_u64(seed);
    let mut script = Script {
        world: &world,
        amount_msat: AMOUNT_MSAT,
        flow: Flow {
            name: (*name).to_owned(),
            phases: vec![Vec::new()],
            opened: opened(&world, *topology),
            ..Flow::default()
        },
    };
    write(&mut script);
    let flow = script.flow;
    world.play(flow);
    Ok(world)
}

fn opened(world: &World, topology: Topology) -> Vec<OpenedChannel> {
    let record = |pair: &[usize; 2]| {
        let durable = world.nodes[pair[0]].disk.durable();
        let channel_id = world.channels_between(pair[0], pair[1]).pop()?;
        durable.channels.get(&channel_id).cloned()
    };
    topology
        .pairs()
        .iter()
        .filter_map(|pair| {
            let record = record(pair)?;
            let spec = &record.holder.spec;
            Some(OpenedChannel {
                channel_id: record.parameters.channel_id,
                pair: *pair,
                balances_msat: [spec.holder_msat, spec.counterparty_msat],
            })
        })
        .collect()
}

impl Script<'_> {
    /// A payment in one part.
    fn pay(&mut self, nodes: &[usize], kind: Kind) {
        self.pay_parts(&[nodes], kind);
    }

    /// A payment in several parts of about the same size.
    fn pay_parts(&mut self, ways: &[&[usize]], kind: Kind) {
        let number = self.flow.payments.len() as u8;
        let digest = |what: &str| {
            let words = format!("{what} {number} of {}", self.flow.name);
            sha256::Hash::hash(words.as_bytes()).to_byte_array()
        };
        let preimage = PaymentPreimage(digest("preimage"));
        let payment_hash = PaymentHash(sha256::Hash::hash(&preimage.0).to_byte_array());
        let (payer, payee) = (ways[0][0], ways[0][ways[0].len() - 1]);
        // Different enough that forwarding fees tell payments apart.
        let amount_msat = self.amount_msat + u64::from(number) * 1_000_000;
        let mut paths = Vec::new();
        let mut parts = Vec::new();
        let mut left_msat = amount_msat;
        for (index, nodes) in ways.iter().enumerate() {
            let waiting = (ways.len() - index) as u64;
            let part_msat = left_msat / waiting;
            left_msat -= part_msat;
            let is_last = index + 1 == ways.len();
            let path = self.path(nodes, part_msat, kind == Kind::FeeTooLow && is_last);
            parts.push(planned_part(nodes, &path));
            paths.push(path);
        }
        let (wish, end) = match kind {
            Kind::Claim => (Wish::Claim(Some(preimage)), End::Sent),
            Kind::Keysend => (Wish::Claim(None), End::Sent),
            Kind::UnknownHash | Kind::FeeTooLow => (Wish::Claim(Some(preimage)), End::Failed),
            Kind::Fail => (Wish::Fail, End::Failed),
            Kind::HoldAndClaim => (Wish::Hold, End::Sent),
            Kind::HoldAndFail => (Wish::Hold, End::Failed),
        };
        let payment = PlannedPayment {
            payer,
            payee,
            payment_id: digest("payment"),
            payment_hash,
            preimage,
            amount_msat,
            parts,
            wish,
            end,
        };
        let command = self.pay_command(&payment, paths, kind);
        self.order(0, payer, Command::Pay(Box::new(command)));
        match kind {
            Kind::HoldAndClaim => self.order(1, payee, Command::Claim { preimage }),
            Kind::HoldAndFail => self.order(1, payee, Command::Fail { payment_hash }),
            _ => {}
        }
        self.flow.payments.push(payment);
    }

    fn pay_command(
        &self,
        payment: &PlannedPayment,
        paths: Vec<Vec<PathHop>>,
        kind: Kind,
    ) -> PayCommand {
        let environment = &self.world.nodes[payment.payee].environment;
        let hash = match kind {
            Kind::UnknownHash => PaymentHash([0x55; 32]),
            _ => payment.payment_hash,
        };
        let secret = make_payment_secret(environment, &hash, payment.amount_msat, NOW_S + 86_400);
        let is_keysend = kind == Kind::Keysend;
        PayCommand {
            payment_id: payment.payment_id,
            payment_hash: payment.payment_hash,
            amount_msat: payment.amount_msat,
            payment_secret: (!is_keysend).then_some(secret),
            keysend_preimage: is_keysend.then_some(payment.preimage),
            payment_metadata: None,
            final_cltv_expiry_delta: FINAL_CLTV_EXPIRY_DELTA,
            paths,
            route: None,
        }
    }

    /// The hops of a way, by the nodes' policies.
    fn path(&self, nodes: &[usize], arrives_msat: u64, fee_too_low: bool) -> Vec<PathHop> {
        let mut hops = Vec::new();
        let mut carried_msat = arrives_msat;
        for (from, to) in nodes.iter().zip(nodes.iter().skip(1)).rev() {
            let policy = &self.world.nodes[*to].policy;
            let (fee_msat, cltv_expiry_delta) = if hops.is_empty() {
                (arrives_msat, FINAL_CLTV_EXPIRY_DELTA)
            } else {
                let proportional =
                    carried_msat * u64::from(policy.fee_proportional_millionths) / 1_000_000;
                let wanted_msat = u64::from(policy.fee_base_msat) + proportional;
                let is_next_to_payee = hops.len() == 1;
                let fee_msat = if fee_too_low && is_next_to_payee {
                    1
                } else {
                    wanted_msat
                };
                carried_msat += fee_msat;
                (fee_msat, u32::from(policy.cltv_expiry_delta))
            };
            hops.push(PathHop {
                node_id: self.world.nodes[*to].node_id,
                short_channel_id: self.short_channel_id(*from, *to),
                fee_msat,
                cltv_expiry_delta,
            });
        }
        hops.reverse();
        hops
    }

    fn short_channel_id(&self, one: usize, other: usize) -> u64 {
        let durable = self.world.nodes[one].disk.durable();
        let record = self
            .world
            .channels_between(one, other)
            .pop()
            .and_then(|channel_id| durable.channels.get(&channel_id));
        let Some((record, (height, index))) =
            record.and_then(|record| Some((record, record.funding.confirmed?)))
        else {
            return 0;
        };
        let output = u64::from(record.parameters.funding.index);
        scid_from_parts(u64::from(height), u64::from(index), output).unwrap_or(0)
    }

    fn fee_rate(&mut self, node: usize, sat_per_kw: u32) {
        self.order(0, node, Command::FeeRate { sat_per_kw });
    }

    /// The pair's channel is closed by agreement while a payment is held, which then goes through.
    fn close_before_the_claim(&mut self, pair: [usize; 2]) {
        let channel_id = self.world.channels_between(pair[0], pair[1]).pop();
        if let Some(channel_id) = channel_id {
            let close = Step::Order {
                node: pair[1],
                command: Command::Close { channel_id },
            };
            self.flow.phases.insert(1, vec![close]);
            self.flow.phases.push(vec![Step::Mine { blocks: 6 }]);
            self.flow.closes.push(pair);
        }
    }

    fn order(&mut self, phase: usize, node: usize, command: Command) {
        while self.flow.phases.len() <= phase {
            self.flow.phases.push(Vec::new());
        }
        self.flow.phases[phase].push(Step::Order { node, command });
    }
}

/// What each channel on a way carries.
fn planned_part(nodes: &[usize], path: &[PathHop]) -> PlannedPart {
    let amounts_msat = (0..path.len())
        .map(|from| path.iter().skip(from).map(|hop| hop.fee_msat).sum())
        .collect();
    PlannedPart {
        nodes: nodes.to_vec(),
        amounts_msat,
    }
}
