//! Builds evidence for the oracles' tests: worlds in which all goes well, for a test to spoil. Keys
//! and signatures are made up; scripts and witnesses have BOLT 3's form.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::str::FromStr;

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::hex::DisplayHex;
use bitcoin::script::Builder;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{OutPoint, Transaction, Txid};
use faults::{GateReport, PointId};
use node_bin::api::{
    Balance, ChannelView, HtlcDirection, PaymentState, PaymentView, Report, RestView, UserEvent,
    WireMessage,
};

use crate::evidence::{
    BlockEvidence, ChainEvidence, Evidence, NodeReport, OpenedChannel, Phase, RigEntry, Source,
    TraceEntry,
};
use crate::scenario::{
    ChainKind, Channel, Expectation, Node, NodeKind, Persist, Plan, Scenario, Step, StepKind,
};

mod closing;
mod payments;
mod scripts;

pub use closing::{Ending, OnChain};
pub use scripts::anchor_script;
use scripts::{histories, transaction, wallet_script};

/// Height of the block before the case's first.
pub const BASE: u32 = 100;
/// Every channel's size.
pub const CAPACITY_SAT: u64 = 1_000_000;
/// What every acceptor gets.
pub const PUSH_MSAT: u64 = 300_000_000;
/// What each of the transactions made here pays.
pub const FEE_SAT: u64 = 500;
/// An HTLC's expiry.
pub const EXPIRY: u32 = 150;

/// A preimage that only this number has.
pub fn preimage(number: u8) -> String {
    [number; 32].to_lower_hex_string()
}

/// Its hash.
pub fn payment_hash(number: u8) -> String {
    sha256::Hash::hash(&[number; 32]).to_string()
}

/// A world on its way to evidence.
pub struct World {
    pub evidence: Evidence,
    pub lives: BTreeMap<String, u32>,
    pub wallets: BTreeMap<String, u64>,
    /// By label: opener, acceptor.
    pub balances: BTreeMap<String, [u64; 2]>,
    pub closed: BTreeSet<String>,
    /// What a sweep pays.
    pub sweep_fee_sat: u64,
    /// What a penalty on a cheater's balance pays.
    pub penalty_fee_sat: u64,
    /// Ids of the payments whose sender was told last that they failed.
    pub failed: BTreeSet<String>,
    coins: BTreeMap<String, OutPoint>,
    next_ids: HashMap<(String, String), u64>,
    height: u32,
}

impl World {
    /// Nodes and channels between them, opened and settled, with nothing done yet.
    pub fn new(nodes: &[&str], channels: &[(&str, &str)]) -> Self {
        let scenario = Scenario {
            name: "test".into(),
            about: "a world for a test".into(),
            nodes: nodes
                .iter()
                .map(|name| (name.to_string(), node()))
                .collect(),
            channels: Vec::new(),
            act: Vec::new(),
            expect: Expectation::default(),
            cases: Vec::new(),
            races: Vec::new(),
        };
        let mut world = World {
            evidence: Evidence {
                plan: Plan {
                    version: 1,
                    case_id: "0001".into(),
                    seed: 1,
                    scenario,
                    faults: Vec::new(),
                },
                channels: Vec::new(),
                payments: Vec::new(),
                trace: Vec::new(),
                chain: ChainEvidence {
                    base_height: BASE,
                    tip_height: BASE,
                    ..ChainEvidence::default()
                },
                start: BTreeMap::new(),
                rest: BTreeMap::new(),
            },
            lives: nodes.iter().map(|name| (name.to_string(), 0)).collect(),
            wallets: BTreeMap::new(),
            balances: BTreeMap::new(),
            closed: BTreeSet::new(),
            sweep_fee_sat: FEE_SAT,
            penalty_fee_sat: FEE_SAT,
            failed: BTreeSet::new(),
            coins: BTreeMap::new(),
            next_ids: HashMap::new(),
            height: BASE,
        };
        world.rig(RigEntry::Phase {
            phase: Phase::SetUp,
        });
        world.fund(nodes);
        for (opener, acceptor) in channels {
            world.open(opener, acceptor);
        }
        let views = world.views();
        world.evidence.start = views;
        world.rig(RigEntry::Phase { phase: Phase::Act });
        world
    }

    fn fund(&mut self, nodes: &[&str]) {
        // The rig's coin is older than the case.
        let coin = OutPoint::new(Txid::hash(b"the rig's"), 0);
        let outputs = nodes
            .iter()
            .map(|node| (wallet_script(node), 5_000_000))
            .collect::<Vec<_>>();
        let given = transaction(&[coin], &outputs);
        for (vout, node) in (0..).zip(nodes) {
            let outpoint = OutPoint::new(given.compute_txid(), vout);
            self.coins.insert(node.to_string(), outpoint);
            self.wallets.insert(node.to_string(), 5_000_000);
        }
        self.mine(vec![given]);
    }

    fn open(&mut self, opener: &str, acceptor: &str) {
        let label = format!("{opener}-{acceptor}");
        let change_sat = self.wallets[opener] - CAPACITY_SAT - FEE_SAT;
        let script = Builder::new().push_slice(label.as_bytes().first_chunk::<3>().unwrap());
        let funding = transaction(
            &[self.coins[opener]],
            &[
                (script.into_script().to_p2wsh(), CAPACITY_SAT),
                (wallet_script(opener), change_sat),
            ],
        );
        let txid = funding.compute_txid();
        self.coins.insert(opener.into(), OutPoint::new(txid, 1));
        self.wallets.insert(opener.into(), change_sat);
        self.mine(vec![funding]);
        let scenario = &mut self.evidence.plan.scenario;
        scenario.channels.push(Channel {
            label: label.clone(),
            opener: opener.into(),
            acceptor: acceptor.into(),
            capacity_sat: CAPACITY_SAT,
            push_msat: PUSH_MSAT,
            announce: false,
        });
        self.evidence.channels.push(OpenedChannel {
            label: label.clone(),
            opener: opener.into(),
            acceptor: acceptor.into(),
            capacity_sat: CAPACITY_SAT,
            push_msat: PUSH_MSAT,
            funding: format!("{txid}:0"),
            channel_id: txid.to_string(),
            short_channel_id: Some(1 + self.evidence.channels.len() as u64),
        });
        let balances = [CAPACITY_SAT * 1000 - PUSH_MSAT, PUSH_MSAT];
        self.balances.insert(label, balances);
    }

    /// A step opens a channel, and its funding is in a block.
    pub fn open_by_step(&mut self, opener: &str, acceptor: &str) {
        self.open(opener, acceptor);
        let opened = self.evidence.channels.last_mut().unwrap();
        let funding: OutPoint = opened.funding.parse().unwrap();
        opened.channel_id = funding.txid.to_byte_array().to_lower_hex_string();
        let channel = format!("{opener}-{acceptor}");
        self.step("step-1", StepKind::Open { channel });
    }

    /// The scenario has such a step.
    pub fn step(&mut self, label: &str, kind: StepKind) {
        let label = label.into();
        self.evidence.plan.scenario.act.push(Step { label, kind });
    }

    /// The step with this label begins.
    pub fn begin(&mut self, label: &str) {
        let label = label.into();
        self.rig(RigEntry::StepBegun { label });
    }

    /// It ends.
    pub fn end(&mut self, label: &str) {
        let label = label.into();
        self.rig(RigEntry::StepEnded { label });
    }

    /// A block with these.
    pub fn mine(&mut self, transactions: Vec<Transaction>) {
        self.height += 1;
        self.evidence.chain.tip_height = self.height;
        self.evidence.chain.blocks.push(BlockEvidence {
            height: self.height,
            hash: format!("{:064x}", self.height),
            transactions: transactions.iter().map(serialize_hex).collect(),
        });
        self.rig(RigEntry::Mined {
            height: self.height,
            blocks: 1,
        });
    }

    /// A line of the trace; its number.
    pub fn push(&mut self, source: Source) -> u64 {
        let seq = self.evidence.trace.len() as u64 + 1;
        let time_us = seq * 10;
        self.evidence.trace.push(TraceEntry {
            seq,
            time_us,
            source,
        });
        seq
    }

    pub fn rig(&mut self, did: RigEntry) -> u64 {
        self.push(Source::Rig { did })
    }

    pub fn report(&mut self, node: &str, report: Report) -> u64 {
        let life = self.lives[node];
        self.push(Source::Node {
            node: node.into(),
            life,
            report: NodeReport::Node(report),
        })
    }

    pub fn event(&mut self, node: &str, event: UserEvent) -> u64 {
        self.report(node, Report::Event { event })
    }

    /// The node is handed this block of the case.
    pub fn connect(&mut self, node: &str, height: u32) -> u64 {
        self.pass(
            node,
            "block.connected.before",
            &format!("+{}", height - BASE),
        )
    }

    /// The node passes a point.
    pub fn pass(&mut self, node: &str, name: &str, role: &str) -> u64 {
        let point = PointId {
            name: name.into(),
            role: role.into(),
            hit: 1,
        };
        let life = self.lives[node];
        self.push(Source::Node {
            node: node.into(),
            life,
            report: NodeReport::Gate(GateReport::Point { point, input: 0 }),
        })
    }

    /// A message that is sent and not received.
    pub fn lost_message(&mut self, from: &str, to: &str, label: &str, message: WireMessage) {
        self.report(
            from,
            Report::Sent {
                peer: to.into(),
                channel: Some(label.into()),
                message,
            },
        );
    }

    pub fn message(&mut self, from: &str, to: &str, label: &str, message: WireMessage) {
        self.lost_message(from, to, label, message.clone());
        self.report(
            to,
            Report::Received {
                peer: from.into(),
                channel: Some(label.into()),
                message,
            },
        );
    }

    /// The exchange that commits what `from` changed.
    pub fn commit(&mut self, from: &str, to: &str, label: &str) {
        for (from, to) in [(from, to), (to, from)] {
            let signed = WireMessage::CommitmentSigned { htlc_signatures: 0 };
            self.message(from, to, label, signed);
            self.message(to, from, label, WireMessage::RevokeAndAck {});
        }
    }

    /// Kills a node and starts it again; its peers connect.
    pub fn restart(&mut self, node: &str) {
        let life = self.lives[node];
        self.rig(RigEntry::Killed {
            node: node.into(),
            life,
            point: None,
        });
        self.lives.insert(node.into(), life + 1);
        self.rig(RigEntry::Started {
            node: node.into(),
            life: life + 1,
            pid: 7,
        });
        let peers: Vec<String> = self
            .lives
            .keys()
            .filter(|name| *name != node)
            .cloned()
            .collect();
        for peer in peers {
            self.report(&peer, Report::PeerDown { peer: node.into() });
            self.report(&peer, Report::PeerUp { peer: node.into() });
            self.report(node, Report::PeerUp { peer });
        }
    }

    pub fn add_message(&self, id: u64, number: u8, amount_msat: u64) -> WireMessage {
        WireMessage::UpdateAddHtlc {
            htlc_id: id,
            amount_msat,
            payment_hash: payment_hash(number),
            cltv_expiry: EXPIRY,
        }
    }

    /// An HTLC that both sides commit to; its id.
    pub fn add(&mut self, from: &str, to: &str, number: u8, amount_msat: u64) -> u64 {
        let label = self.label(from, to);
        let next = self
            .next_ids
            .entry((label.clone(), from.into()))
            .or_default();
        let id = *next;
        *next += 1;
        let message = self.add_message(id, number, amount_msat);
        self.message(from, to, &label, message);
        self.commit(from, to, &label);
        id
    }

    /// `to` (the receiver) fulfils.
    pub fn fulfil(&mut self, from: &str, to: &str, id: u64, number: u8, amount_msat: u64) {
        let label = self.label(from, to);
        let preimage = preimage(number);
        self.message(
            to,
            from,
            &label,
            WireMessage::UpdateFulfillHtlc {
                htlc_id: id,
                preimage,
            },
        );
        self.commit(to, from, &label);
        self.move_msat(from, to, amount_msat);
    }

    /// `to` (the receiver) fails.
    pub fn fail(&mut self, from: &str, to: &str, id: u64) {
        let label = self.label(from, to);
        self.message(
            to,
            from,
            &label,
            WireMessage::UpdateFailHtlc { htlc_id: id },
        );
        self.commit(to, from, &label);
    }

    pub fn move_msat(&mut self, from: &str, to: &str, amount_msat: u64) {
        let label = self.label(from, to);
        let opener = self.channel(&label).opener == from;
        let balances = self.balances.get_mut(&label).unwrap();
        let (giver, taker) = if opener { (0, 1) } else { (1, 0) };
        balances[giver] -= amount_msat;
        balances[taker] += amount_msat;
    }

    pub fn label(&self, one: &str, other: &str) -> String {
        let found = self.evidence.channels.iter().find(|channel| {
            let sides = [channel.opener.as_str(), channel.acceptor.as_str()];
            sides.contains(&one) && sides.contains(&other)
        });
        found.unwrap().label.clone()
    }

    pub fn channel(&self, label: &str) -> OpenedChannel {
        let mut channels = self.evidence.channels.iter();
        channels
            .find(|channel| channel.label == label)
            .unwrap()
            .clone()
    }

    fn views(&self) -> BTreeMap<String, RestView> {
        let nodes = self.evidence.plan.scenario.nodes.keys();
        nodes.map(|node| (node.clone(), self.view(node))).collect()
    }

    fn view(&self, node: &str) -> RestView {
        let open = self.evidence.channels.iter().filter(|channel| {
            !self.closed.contains(&channel.label)
                && (channel.opener == node || channel.acceptor == node)
        });
        let payments = self
            .evidence
            .payments
            .iter()
            .filter(|made| made.from == node);
        RestView {
            block_height: self.height,
            channels: open
                .map(|channel| self.channel_view(node, channel))
                .collect(),
            payments: payments
                .map(|made| PaymentView {
                    payment_id: Some(made.payment_id.clone()),
                    payment_hash: Some(made.payment_hash.clone()),
                    direction: HtlcDirection::Outbound,
                    state: match self.failed.contains(&made.payment_id) {
                        true => PaymentState::Failed,
                        false => PaymentState::Succeeded,
                    },
                })
                .collect(),
            balance: Balance {
                confirmed_sat: self.wallets[node],
                unconfirmed_sat: 0,
            },
            claims: Vec::new(),
            unswept: 0,
        }
    }

    fn channel_view(&self, node: &str, channel: &OpenedChannel) -> ChannelView {
        let opener = channel.opener == node;
        let [opener_msat, acceptor_msat] = self.balances[&channel.label];
        let generator = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        ChannelView {
            label: channel.label.clone(),
            channel_id: channel.channel_id.clone(),
            funding: Some(channel.funding.clone()),
            short_channel_id: channel.short_channel_id,
            peer: PublicKey::from_str(generator).unwrap(),
            opener,
            capacity_sat: channel.capacity_sat,
            balance_msat: Some(if opener { opener_msat } else { acceptor_msat }),
            ready: true,
            usable: true,
            htlcs: Vec::new(),
            holder_commitment_number: Some(4),
            counterparty_commitment_number: Some(4),
        }
    }

    /// Evidence of the world as it is, electrs's histories included.
    pub fn rest(mut self) -> Evidence {
        self.evidence.rest = self.views();
        self.evidence.chain.histories = histories(&self.evidence.chain);
        self.evidence
    }
}

fn node() -> Node {
    Node {
        kind: NodeKind::Stock,
        chain: ChainKind::Bitcoind,
        funds_sat: 5_000_000,
        persist: Persist::Sync,
    }
}
