//! Builds evidence for the oracles' tests: worlds in which all goes well, for a test to spoil. Keys
//! and signatures are made up; scripts and witnesses have BOLT 3's form.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::str::FromStr;

use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hashes::{Hash, ripemd160, sha256};
use bitcoin::hex::DisplayHex;
use bitcoin::opcodes::all as op;
use bitcoin::script::Builder;
use bitcoin::secp256k1::PublicKey;
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, WPubkeyHash, Witness,
};
use node_bin::api::{
    Balance, ChannelView, HtlcDirection, PaymentState, PaymentView, Report, RestView, UserEvent,
    WireMessage,
};

use crate::evidence::{
    BlockEvidence, ChainEvidence, Evidence, MadePayment, NodeReport, OpenedChannel, Phase,
    RigEntry, ScriptHistory, Source, TraceEntry,
};
use crate::scenario::{
    ChainKind, Channel, Expectation, ExpectedPayment, Node, NodeKind, PaymentKind, Plan, Scenario,
};

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

fn key(number: u8) -> [u8; 33] {
    let mut key = [number; 33];
    key[0] = 2;
    key
}

fn wallet_script(node: &str) -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&WPubkeyHash::hash(node.as_bytes()))
}

/// How an HTLC output ends.
#[derive(Clone, Copy, PartialEq)]
pub enum Ending {
    Preimage,
    Timeout,
    Revocation,
    Unspent,
    /// As `Timeout` or `Preimage` by the broadcaster, with the second stage left unspent.
    HalfTimeout,
}

/// An HTLC in a commitment.
#[derive(Clone, Copy)]
pub struct OnChain {
    pub number: u8,
    pub amount_sat: u64,
    /// By whose commitment it is.
    pub offered: bool,
    pub ending: Ending,
}

/// A world on its way to evidence.
pub struct World {
    pub evidence: Evidence,
    pub lives: BTreeMap<String, u32>,
    pub wallets: BTreeMap<String, u64>,
    /// By label: opener, acceptor.
    pub balances: BTreeMap<String, [u64; 2]>,
    pub closed: BTreeSet<String>,
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
            short_channel_id: 1 + self.evidence.channels.len() as u64,
        });
        let balances = [CAPACITY_SAT * 1000 - PUSH_MSAT, PUSH_MSAT];
        self.balances.insert(label, balances);
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

    /// Notes a payment as made, without anything of it happening.
    pub fn made(&mut self, id: &str, nodes: &[&str], number: u8, amount_msat: u64) -> MadePayment {
        let made = MadePayment {
            id: id.into(),
            from: nodes[0].into(),
            to: nodes[nodes.len() - 1].into(),
            amount_msat,
            payment_hash: payment_hash(number),
            payment_id: sha256::Hash::hash(id.as_bytes()).to_string(),
            kind: PaymentKind::Invoice,
            paths: vec![
                nodes
                    .windows(2)
                    .map(|pair| self.label(pair[0], pair[1]))
                    .collect(),
            ],
            proves: None,
        };
        self.evidence.payments.push(made.clone());
        made
    }

    pub fn expect(&mut self, id: &str, expected: ExpectedPayment) {
        let expect = &mut self.evidence.plan.scenario.expect;
        expect.payments.insert(id.into(), expected);
    }

    pub fn sent_event(&mut self, made: &MadePayment, number: u8) -> u64 {
        self.event(
            &made.from,
            UserEvent::PaymentSent {
                payment_id: made.payment_id.clone(),
                payment_hash: made.payment_hash.clone(),
                preimage: preimage(number),
                fee_paid_msat: None,
            },
        )
    }

    pub fn failed_event(&mut self, made: &MadePayment) -> u64 {
        self.event(
            &made.from,
            UserEvent::PaymentFailed {
                payment_id: made.payment_id.clone(),
                payment_hash: Some(made.payment_hash.clone()),
                reason: "RetriesExhausted".into(),
            },
        )
    }

    pub fn claimed_event(&mut self, made: &MadePayment) -> u64 {
        self.event(
            &made.to,
            UserEvent::PaymentClaimed {
                payment_hash: made.payment_hash.clone(),
                amount_msat: made.amount_msat,
            },
        )
    }

    /// A payment along these nodes that succeeds; forwarders take 1000 msat each.
    pub fn pay(&mut self, id: &str, nodes: &[&str], number: u8, amount_msat: u64) -> MadePayment {
        let made = self.made(id, nodes, number, amount_msat);
        let hops: Vec<(&str, &str)> = nodes.windows(2).map(|pair| (pair[0], pair[1])).collect();
        let last = hops.len() - 1;
        let amount = |hop: usize| amount_msat + 1000 * (last - hop) as u64;
        let mut ids = Vec::new();
        for (place, (from, to)) in hops.iter().enumerate() {
            ids.push(self.add(from, to, number, amount(place)));
        }
        for (place, (from, to)) in hops.iter().enumerate().rev() {
            self.fulfil(from, to, ids[place], number, amount(place));
        }
        self.claimed_event(&made);
        self.sent_event(&made, number);
        made
    }

    /// A payment along these nodes that the receiver fails.
    pub fn pay_in_vain(
        &mut self,
        id: &str,
        nodes: &[&str],
        number: u8,
        amount_msat: u64,
    ) -> MadePayment {
        let made = self.made(id, nodes, number, amount_msat);
        let hops: Vec<(&str, &str)> = nodes.windows(2).map(|pair| (pair[0], pair[1])).collect();
        let mut ids = Vec::new();
        for (from, to) in &hops {
            ids.push(self.add(from, to, number, amount_msat));
        }
        for ((from, to), id) in hops.iter().zip(ids).rev() {
            self.fail(from, to, id);
        }
        self.failed_event(&made);
        made
    }

    /// A live payment through every channel that is open.
    pub fn live(&mut self) {
        for (number, channel) in (200_u8..).zip(self.evidence.channels.clone()) {
            if self.closed.contains(&channel.label) {
                continue;
            }
            let id = format!("live-{}-{}", channel.label, channel.opener);
            let nodes = [channel.opener.as_str(), channel.acceptor.as_str()];
            self.pay(&id, &nodes, number, 10_000);
            self.evidence.payments.last_mut().unwrap().proves = Some(channel.label.clone());
        }
    }

    /// `by` publishes its commitment with these HTLCs; everything is swept, as far as the HTLCs'
    /// endings let it. Wallets follow.
    pub fn force_close(&mut self, label: &str, by: &str, htlcs: &[OnChain]) -> Txid {
        let channel = self.channel(label);
        let other = if channel.opener == by {
            &channel.acceptor
        } else {
            &channel.opener
        };
        let commitment = self.commitment(&channel, by, htlcs);
        let txid = commitment.compute_txid();
        self.mine(vec![commitment.clone()]);
        let delayed = delayed_script();
        let local = vec![vec![1; 71], vec![], delayed.to_bytes()];
        self.sweep(
            by,
            OutPoint::new(txid, 0),
            commitment.output[0].value.to_sat(),
            local,
        );
        let remote = vec![vec![1; 71], to_remote_script().to_bytes()];
        self.sweep(
            other,
            OutPoint::new(txid, 1),
            commitment.output[1].value.to_sat(),
            remote,
        );
        for (vout, htlc) in (4..).zip(htlcs) {
            self.end_htlc(by, other, OutPoint::new(txid, vout), *htlc);
        }
        self.closed.insert(label.into());
        for (node, reason) in [
            (by, "HolderForceClosed"),
            (other.as_str(), "CommitmentTxConfirmed"),
        ] {
            self.event(
                node,
                UserEvent::ChannelClosed {
                    channel: label.into(),
                    channel_id: channel.channel_id.clone(),
                    reason: reason.into(),
                },
            );
        }
        txid
    }

    fn commitment(&self, channel: &OpenedChannel, by: &str, htlcs: &[OnChain]) -> Transaction {
        let [mut opener_sat, mut acceptor_sat] =
            self.balances[&channel.label].map(|msat| msat / 1000);
        let by_opener = channel.opener == by;
        for htlc in htlcs {
            let offerer_is_opener = htlc.offered == by_opener;
            *(if offerer_is_opener {
                &mut opener_sat
            } else {
                &mut acceptor_sat
            }) -= htlc.amount_sat;
        }
        opener_sat -= FEE_SAT + 660;
        let (local, remote) = if by_opener {
            (opener_sat, acceptor_sat)
        } else {
            (acceptor_sat, opener_sat)
        };
        let mut outputs = vec![
            (delayed_script().to_p2wsh(), local),
            (to_remote_script().to_p2wsh(), remote),
            (anchor_script(1).to_p2wsh(), 330),
            (anchor_script(2).to_p2wsh(), 330),
        ];
        for htlc in htlcs {
            outputs.push((htlc_script(htlc).to_p2wsh(), htlc.amount_sat));
        }
        let funding = OutPoint::from_str(&channel.funding).unwrap();
        let mut commitment = transaction(&[funding], &outputs);
        commitment.lock_time = LockTime::from_consensus(0x2012_3456);
        commitment.input[0].sequence = Sequence(0x8065_4321);
        commitment
    }

    /// Spends an output to a wallet.
    pub fn sweep(&mut self, node: &str, outpoint: OutPoint, value_sat: u64, witness: Vec<Vec<u8>>) {
        let mut sweep = transaction(&[outpoint], &[(wallet_script(node), value_sat - FEE_SAT)]);
        sweep.input[0].witness = Witness::from_slice(&witness);
        *self.wallets.get_mut(node).unwrap() += value_sat - FEE_SAT;
        self.mine(vec![sweep]);
    }

    fn end_htlc(&mut self, by: &str, other: &str, outpoint: OutPoint, htlc: OnChain) {
        let choice = match htlc.ending {
            Ending::Unspent => return,
            Ending::Preimage => vec![htlc.number; 32],
            Ending::Timeout | Ending::HalfTimeout => vec![],
            Ending::Revocation => key(9).to_vec(),
        };
        let script = htlc_script(&htlc).to_bytes();
        let own =
            htlc.offered == (htlc.ending != Ending::Preimage) && htlc.ending != Ending::Revocation;
        if !own {
            let witness = vec![vec![1; 71], choice, script];
            self.sweep(other, outpoint, htlc.amount_sat, witness);
            return;
        }
        let delayed = delayed_script();
        let mut second = transaction(&[outpoint], &[(delayed.to_p2wsh(), htlc.amount_sat)]);
        second.input[0].witness =
            Witness::from_slice(&[vec![], vec![1; 71], vec![1; 71], choice, script]);
        let outpoint = OutPoint::new(second.compute_txid(), 0);
        self.mine(vec![second]);
        if htlc.ending != Ending::HalfTimeout {
            let witness = vec![vec![1; 71], vec![], delayed.to_bytes()];
            self.sweep(by, outpoint, htlc.amount_sat, witness);
        }
    }

    /// Both sides close together.
    pub fn close_together(&mut self, label: &str) {
        let channel = self.channel(label);
        let [opener_sat, acceptor_sat] = self.balances[label].map(|msat| msat / 1000);
        let opener_sat = opener_sat - FEE_SAT;
        let funding = OutPoint::from_str(&channel.funding).unwrap();
        let close = transaction(
            &[funding],
            &[
                (wallet_script(&channel.opener), opener_sat),
                (wallet_script(&channel.acceptor), acceptor_sat),
            ],
        );
        *self.wallets.get_mut(&channel.opener).unwrap() += opener_sat;
        *self.wallets.get_mut(&channel.acceptor).unwrap() += acceptor_sat;
        self.mine(vec![close]);
        self.closed.insert(label.into());
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
                    state: PaymentState::Succeeded,
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
            short_channel_id: Some(channel.short_channel_id),
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

/// What an honest electrs says.
pub fn histories(chain: &ChainEvidence) -> Vec<ScriptHistory> {
    let mut scripts: HashMap<OutPoint, ScriptBuf> = HashMap::new();
    let mut found: BTreeMap<String, BTreeSet<(String, i32)>> = BTreeMap::new();
    for block in &chain.blocks {
        for raw in &block.transactions {
            let made: Transaction = bitcoin::consensus::encode::deserialize_hex(raw).unwrap();
            let txid = made.compute_txid();
            let entry = (txid.to_string(), block.height as i32);
            for input in &made.input {
                if let Some(script) = scripts.get(&input.previous_output) {
                    found
                        .entry(script.to_hex_string())
                        .or_default()
                        .insert(entry.clone());
                }
            }
            for (vout, output) in (0..).zip(&made.output) {
                let script = output.script_pubkey.clone();
                found
                    .entry(script.to_hex_string())
                    .or_default()
                    .insert(entry.clone());
                scripts.insert(OutPoint::new(txid, vout), script);
            }
        }
    }
    found
        .into_iter()
        .map(|(script, entries)| ScriptHistory {
            script,
            entries: entries.into_iter().collect(),
        })
        .collect()
}

fn node() -> Node {
    Node {
        kind: NodeKind::Stock,
        chain: ChainKind::Bitcoind,
        funds_sat: 5_000_000,
    }
}

fn transaction(inputs: &[OutPoint], outputs: &[(ScriptBuf, u64)]) -> Transaction {
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: inputs
            .iter()
            .map(|outpoint| TxIn {
                previous_output: *outpoint,
                sequence: Sequence::MAX,
                ..TxIn::default()
            })
            .collect(),
        output: outputs
            .iter()
            .map(|(script, value_sat)| TxOut {
                value: Amount::from_sat(*value_sat),
                script_pubkey: script.clone(),
            })
            .collect(),
    }
}

pub fn delayed_script() -> ScriptBuf {
    Builder::new()
        .push_opcode(op::OP_IF)
        .push_slice(key(3))
        .push_opcode(op::OP_ELSE)
        .push_int(144)
        .push_opcode(op::OP_CSV)
        .push_opcode(op::OP_DROP)
        .push_slice(key(4))
        .push_opcode(op::OP_ENDIF)
        .push_opcode(op::OP_CHECKSIG)
        .into_script()
}

fn to_remote_script() -> ScriptBuf {
    Builder::new()
        .push_slice(key(5))
        .push_opcode(op::OP_CHECKSIGVERIFY)
        .push_int(1)
        .push_opcode(op::OP_CSV)
        .into_script()
}

pub fn anchor_script(number: u8) -> ScriptBuf {
    Builder::new()
        .push_slice(key(number))
        .push_opcode(op::OP_CHECKSIG)
        .push_opcode(op::OP_IFDUP)
        .push_opcode(op::OP_NOTIF)
        .push_int(16)
        .push_opcode(op::OP_CSV)
        .push_opcode(op::OP_ENDIF)
        .into_script()
}

fn htlc_script(htlc: &OnChain) -> ScriptBuf {
    let hash = sha256::Hash::hash(&[htlc.number; 32]).to_byte_array();
    let hash160 = ripemd160::Hash::hash(&hash).to_byte_array();
    let head = Builder::new()
        .push_opcode(op::OP_DUP)
        .push_opcode(op::OP_HASH160)
        .push_slice([7; 20])
        .push_opcode(op::OP_EQUAL)
        .push_opcode(op::OP_IF)
        .push_opcode(op::OP_CHECKSIG)
        .push_opcode(op::OP_ELSE)
        .push_slice(key(6))
        .push_opcode(op::OP_SWAP)
        .push_opcode(op::OP_SIZE)
        .push_int(32)
        .push_opcode(op::OP_EQUAL);
    let body = if htlc.offered {
        head.push_opcode(op::OP_NOTIF)
            .push_opcode(op::OP_DROP)
            .push_int(2)
            .push_opcode(op::OP_SWAP)
            .push_slice(key(7))
            .push_int(2)
            .push_opcode(op::OP_CHECKMULTISIG)
            .push_opcode(op::OP_ELSE)
            .push_opcode(op::OP_HASH160)
            .push_slice(hash160)
            .push_opcode(op::OP_EQUALVERIFY)
    } else {
        head.push_opcode(op::OP_IF)
            .push_opcode(op::OP_HASH160)
            .push_slice(hash160)
            .push_opcode(op::OP_EQUALVERIFY)
            .push_int(2)
            .push_opcode(op::OP_SWAP)
            .push_slice(key(7))
            .push_int(2)
            .push_opcode(op::OP_CHECKMULTISIG)
            .push_opcode(op::OP_ELSE)
            .push_opcode(op::OP_DROP)
            .push_int(i64::from(EXPIRY))
            .push_opcode(op::OP_CLTV)
            .push_opcode(op::OP_DROP)
    };
    body.push_opcode(op::OP_CHECKSIG)
        .push_opcode(op::OP_ENDIF)
        .push_int(1)
        .push_opcode(op::OP_CSV)
        .push_opcode(op::OP_DROP)
        .push_opcode(op::OP_ENDIF)
        .into_script()
}
