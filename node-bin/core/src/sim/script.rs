//! Writes flows: payments over the world's channels with the fees that its nodes ask for, commands, blocks.

use bitcoin::hashes::{Hash, sha256};
use lightning::types::payment::{PaymentHash, PaymentPreimage};
use lightning::util::scid_utils::scid_from_parts;

use crate::input::{Command, PayCommand};
use crate::onion::make_payment_secret;
use crate::payment::RouteWish;
use crate::source::PathHop;

use super::flow::{End, Flow, OpenedChannel, PlannedPart, PlannedPayment, Step};
use super::node::NOW_S;
use super::setup::{CAPACITY_SAT, PUSH_MSAT, Topology};
use super::user::Wish;
use super::world::World;

/// What a payment carries, in millisatoshis, unless its flow is about something else.
const AMOUNT_MSAT: u64 = 20_000_123;

/// Final expiry delta, in blocks.
const FINAL_CLTV_EXPIRY_DELTA: u32 = 42;

/// What both sides of a channel have to own for payments to be expected to go over it, in millisatoshis.
const LEAST_MSAT: u64 = 100_000_000;

/// Ways that a payment may try.
const ATTEMPTS: u32 = 3;

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
    /// The payee waits until it is too late.
    HoldForEver,
}

/// A flow that is being written.
pub struct Script<'a> {
    world: &'a World,
    /// Who is there.
    pub(super) topology: Topology,
    /// For flows that are different each time.
    pub(super) seed: u64,
    /// Of the next payments.
    pub(super) amount_msat: u64,
    /// In which the next payments begin.
    pub(super) phase: usize,
    flow: Flow,
}

/// All channels that are open now.
fn opened(world: &World) -> Vec<OpenedChannel> {
    let pairs = world.links.iter().map(|link| link.ends);
    pairs
        .filter(|pair| pair.iter().all(|end| !world.nodes[*end].is_gone))
        .filter_map(|pair| {
            let durable = world.nodes[pair[0]].disk.durable();
            let channels = world.channels_between(pair[0], pair[1]);
            let mut records = channels.iter().filter_map(|id| durable.channels.get(id));
            let record = records.find(|record| record.closure.is_none())?;
            let spec = &record.holder.spec;
            Some(OpenedChannel {
                channel_id: record.parameters.channel_id,
                funding: record.parameters.funding.into_bitcoin_outpoint(),
                pair,
                balances_msat: [spec.holder_msat, spec.counterparty_msat],
            })
        })
        .collect()
}

impl<'a> Script<'a> {
    /// A flow without steps.
    pub(super) fn new(name: &str, world: &'a World, seed: u64) -> Self {
        Script {
            world,
            topology: world.topology,
            seed,
            amount_msat: AMOUNT_MSAT,
            phase: 0,
            flow: Flow {
                name: name.to_owned(),
                is_certain: true,
                phases: vec![Vec::new()],
                opened: opened(world),
                ..Flow::default()
            },
        }
    }

    /// Payments may end otherwise than planned: nobody looks whether there is money for them.
    pub(super) fn is_uncertain(&mut self) {
        self.flow.is_certain = false;
    }

    /// What was written.
    pub(super) fn finish(self) -> Flow {
        self.flow
    }

    /// A payment in one part.
    pub(super) fn pay(&mut self, nodes: &[usize], kind: Kind) {
        self.pay_parts(&[nodes], kind);
    }

    /// A payment in several parts of about the same size.
    pub(super) fn pay_parts(&mut self, ways: &[&[usize]], kind: Kind) {
        let number = self.flow.payments.len() as u8;
        let digest = |what: &str| {
            let words = format!("{what} {number} of {} {}", self.flow.name, self.seed);
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
            Kind::HoldAndFail | Kind::HoldForEver => (Wish::Hold, End::Failed),
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
            ways: Vec::new(),
        };
        let command = self.pay_command(&payment, paths, kind);
        let phase = self.phase;
        self.order(phase, payer, Command::Pay(Box::new(command)));
        match kind {
            Kind::HoldAndClaim => self.order(phase + 1, payee, Command::Claim { preimage }),
            Kind::HoldAndFail => self.order(phase + 1, payee, Command::Fail { payment_hash }),
            _ => {}
        }
        self.flow.payments.push(payment);
    }

    /// A payment that tries one way after the other; only the last takes it.
    pub(super) fn pay_with_retries(&mut self, nodes: &[&[usize]]) {
        let Some((last, others)) = nodes.split_last() else {
            return;
        };
        self.pay(last, Kind::Claim);
        let amount_msat = self.amount_msat;
        let mut ways: Vec<_> = others
            .iter()
            .map(|nodes| self.path(nodes, amount_msat, true))
            .collect();
        ways.push(self.path(last, amount_msat, false));
        let order = self.flow.phases[self.phase].last_mut();
        if let Some(Step::Order { command, .. }) = order
            && let Command::Pay(pay) = command
            && let Some(payment) = self.flow.payments.last_mut()
        {
            pay.paths.clear();
            pay.route = Some(RouteWish {
                payee: self.world.nodes[payment.payee].node_id,
                invoice: String::new(),
                attempts_left: ATTEMPTS,
                failed_channels: Vec::new(),
            });
            payment.ways = ways;
        }
    }

    /// A payment over every channel, each way. A channel that is nearly all on one side is left out:
    /// reserves and fees may stand in the way.
    pub(super) fn pay_over_all_channels(&mut self) {
        let opened = self.flow.opened.iter();
        let pairs: Vec<_> = opened
            .filter(|channel| channel.balances_msat.iter().all(|msat| *msat > LEAST_MSAT))
            .map(|channel| channel.pair)
            .collect();
        for [one, other] in pairs {
            self.pay(&[one, other], Kind::Claim);
            self.pay(&[other, one], Kind::Claim);
        }
    }

    /// A channel is opened, by the first of the two.
    pub(super) fn open(&mut self, pair: [usize; 2]) {
        let command = Command::Open {
            user_channel_id: sha256::Hash::hash(self.flow.name.as_bytes()).to_byte_array(),
            peer: self.world.nodes[pair[1]].node_id,
            capacity_sat: CAPACITY_SAT,
            push_msat: PUSH_MSAT,
            announce: false,
        };
        self.order(0, pair[0], command);
        let blocks = self.world.nodes[pair[0]].policy.minimum_depth + 1;
        self.step(1, Step::Mine { blocks });
        self.flow.opens.push(pair);
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
            expires_at_s: (!is_keysend).then_some(NOW_S + 86_400),
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
            .flow
            .channel(one, other)
            .and_then(|channel_id| durable.channels.get(&channel_id));
        let Some((record, (height, index))) =
            record.and_then(|record| Some((record, record.funding.confirmed?)))
        else {
            return 0;
        };
        let output = u64::from(record.parameters.funding.index);
        scid_from_parts(u64::from(height), u64::from(index), output).unwrap_or(0)
    }

    pub(super) fn fee_rate(&mut self, node: usize, sat_per_kw: u32) {
        self.order(self.phase, node, Command::FeeRate { sat_per_kw });
    }

    /// Channels are closed by force while a payment is held, all at once; the closing transactions are in a
    /// block before the payee does anything.
    pub(super) fn force_before_the_claim(&mut self, by: usize, pairs: &[[usize; 2]]) {
        let mut closes = Vec::new();
        for pair in pairs {
            if let Some(channel_id) = self.flow.channel(pair[0], pair[1]) {
                closes.push(Step::Order {
                    node: by,
                    command: Command::ForceClose { channel_id },
                });
                self.flow.forces.push(*pair);
            }
        }
        self.flow.phases.insert(1, closes);
        self.flow.phases.insert(2, vec![Step::Mine { blocks: 1 }]);
        self.flow.phases.push(vec![Step::Settle]);
    }

    /// The pair's channel is closed by force while a payment is held, and what claims it is kept out of blocks
    /// until it can be taken back as well.
    pub(super) fn force_and_contest(&mut self, by: usize, pair: [usize; 2]) {
        self.force_before_the_claim(by, &[pair]);
        self.is_uncertain();
        let censor = |is_censored| Step::Censor { pair, is_censored };
        let settle = self.flow.phases.pop();
        if let Some(claim) = self.flow.phases.last_mut() {
            claim.insert(0, censor(true));
        }
        let wait = (0..FINAL_CLTV_EXPIRY_DELTA + 3).map(|_| vec![Step::Mine { blocks: 1 }]);
        self.flow.phases.extend(wait);
        self.flow
            .phases
            .push(vec![censor(false), Step::Mine { blocks: 1 }]);
        self.flow.phases.extend(settle);
    }

    /// The pair's channel is closed by force while the payee claims.
    pub(super) fn force_with_the_claim(&mut self, by: usize, pair: [usize; 2]) {
        if let Some(channel_id) = self.flow.channel(pair[0], pair[1]) {
            self.order(1, by, Command::ForceClose { channel_id });
            self.flow.phases.push(vec![Step::Settle]);
            self.flow.forces.push(pair);
        }
    }

    /// The pair's channel is closed by agreement while a payment is held, which then goes through.
    pub(super) fn close_before_the_claim(&mut self, pair: [usize; 2]) {
        let channel_id = self.flow.channel(pair[0], pair[1]);
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

    pub(super) fn mine(&mut self, blocks: u32) {
        self.step(self.phase, Step::Mine { blocks });
    }

    fn order(&mut self, phase: usize, node: usize, command: Command) {
        self.step(phase, Step::Order { node, command });
    }

    fn step(&mut self, phase: usize, step: Step) {
        while self.flow.phases.len() <= phase {
            self.flow.phases.push(Vec::new());
        }
        self.flow.phases[phase].push(step);
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
