//! The unified node next to an unmodified LDK node, message by message in one process.

mod stock;

use std::sync::Arc;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::PublicKey;
use bitcoin::{ScriptBuf, Transaction, WPubkeyHash};
use lightning::events::{Event, PathFailure};
use lightning::ln::channelmanager::{PaymentId, RecipientOnionFields};
use lightning::ln::types::ChannelId;
use lightning::routing::gossip::NetworkUpdate;
use lightning::routing::router::{Path, PaymentParameters, Route, RouteHop, RouteParameters};
use lightning::types::features::{ChannelFeatures, NodeFeatures};
use lightning::types::payment::{PaymentHash, PaymentPreimage, PaymentSecret};
use node_core::effect::{Effect, UserEvent};
use node_core::engine::Engine;
use node_core::input::{Command, Input, PayCommand, PlacedTransaction, Surroundings};
use node_core::keys::Environment;
use node_core::message::Message;
use node_core::node::{BestBlock, Node, Policy, Stored};
use node_core::onion;
use node_core::record::Closure;
use node_core::source::PathHop;

use stock::{Stock, header, paying};

const START_HEIGHT: u32 = 150;
const CAPACITY_SAT: u64 = 1_000_000;
const NOW_S: u64 = 1_700_000_000;

struct World {
    environment: Arc<Environment>,
    engine: Engine,
    stock: Stock,
    height: u32,
    steps: u32,
    told: Vec<UserEvent>,
    broadcasts: Vec<Transaction>,
    announced: Vec<lightning::ln::msgs::ChannelAnnouncement>,
    /// Messages that still arrive before the connection is cut.
    until_cut: Option<u32>,
    is_cut: bool,
    complaints_allowed: bool,
}

impl World {
    fn new() -> World {
        let script = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([1; 20]));
        let environment = Arc::new(Environment::new([1; 32], script));
        let policy = Policy {
            feerate_per_kw: 1000,
            fee_base_msat: 1000,
            fee_proportional_millionths: 10,
            cltv_expiry_delta: 48,
            minimum_depth: 3,
            maximum_unacknowledged_events: 100,
        };
        let tip = BestBlock {
            height: START_HEIGHT,
            hash: header(START_HEIGHT).block_hash(),
        };
        let (node, start, durable) = Node::load(
            environment.clone(),
            policy,
            Stored::default(),
            tip,
            Surroundings {
                entropy: [0; 32],
                now_s: NOW_S,
            },
        )
        .unwrap();
        let mut world = World {
            environment,
            engine: Engine::new(node, start, durable),
            stock: Stock::new([2; 32], START_HEIGHT),
            height: START_HEIGHT,
            steps: 0,
            told: Vec::new(),
            broadcasts: Vec::new(),
            announced: Vec::new(),
            until_cut: None,
            is_cut: false,
            complaints_allowed: false,
        };
        world.connect();
        world
    }

    fn connect(&mut self) {
        let ours = self.environment.node_id();
        self.stock.connect(ours);
        let peer = self.stock.node_id;
        self.engine.input(Input::PeerUp { peer });
        self.run();
    }

    fn reconnect(&mut self) {
        self.stock.disconnect(self.environment.node_id());
        let peer = self.stock.node_id;
        self.engine.input(Input::PeerDown { peer });
        self.run();
        self.connect();
    }

    /// Until neither has anything to do.
    fn run(&mut self) {
        loop {
            let mut busy = self.run_engine();
            busy |= self.stock.handle_events();
            for message in self.stock.messages() {
                busy = true;
                if self.arrives() {
                    let peer = self.stock.node_id;
                    self.engine.input(Input::Message { peer, message });
                    self.run_engine();
                }
            }
            if self.is_cut {
                self.is_cut = false;
                self.reconnect();
                busy = true;
            }
            if !busy {
                return;
            }
            self.steps += 1;
            assert!(self.steps < 10_000, "the nodes never come to rest");
        }
    }

    /// Whether the next message arrives; none does from the cut to the next connection.
    fn arrives(&mut self) -> bool {
        match &mut self.until_cut {
            Some(0) => {
                self.until_cut = None;
                self.is_cut = true;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        !self.is_cut
    }

    fn run_engine(&mut self) -> bool {
        let mut busy = false;
        let mut draws = self.steps.to_be_bytes().to_vec();
        let mut surroundings = || {
            draws.push(1);
            Surroundings {
                entropy: sha256::Hash::hash(&draws).to_byte_array(),
                now_s: NOW_S,
            }
        };
        while let Some(effect) = self.engine.next(&mut surroundings) {
            busy = true;
            match effect {
                Effect::Persist(write) => self.engine.persisted(write.store, write.sequence),
                Effect::Send { message, .. } => {
                    if let Message::Error(error) = &message
                        && !self.complaints_allowed
                    {
                        panic!("our node fails a channel: {}", error.data);
                    }
                    if self.arrives() {
                        self.stock.receive(self.environment.node_id(), message);
                    }
                }
                Effect::Broadcast { transactions, .. } => self.broadcasts.extend(transactions),
                Effect::Tell { id, event } => {
                    self.told.push(event);
                    self.engine.input(Input::Told { id });
                }
                Effect::Fund {
                    temporary_channel_id,
                    script,
                    amount_sat,
                } => self.engine.input(Input::Funded {
                    temporary_channel_id,
                    transaction: Ok(paying(script, amount_sat)),
                }),
                Effect::AnnounceChannel { announcement, .. } => self.announced.push(*announcement),
                Effect::Answer { result, .. } => {
                    result.unwrap();
                }
                _ => {}
            }
        }
        busy
    }

    fn mine(&mut self, transactions: &[Transaction], blocks: u32) {
        for block in 0..blocks {
            self.height += 1;
            let transactions = if block == 0 { transactions } else { &[] };
            self.stock.connect_block(self.height, transactions);
            let placed = |(index, transaction): (usize, &Transaction)| PlacedTransaction {
                // A block begins with its coinbase, which nobody looks at here.
                index: index as u32 + 1,
                transaction: transaction.clone(),
            };
            self.engine.input(Input::BlockConnected {
                is_tip: true,
                height: self.height,
                hash: header(self.height).block_hash(),
                transactions: transactions.iter().enumerate().map(placed).collect(),
            });
            self.run();
        }
    }

    fn command(&mut self, command: Command) {
        self.engine.input(Input::Command { id: 1, command });
        self.run();
    }

    fn open_from_unified(&mut self, push_msat: u64) -> ChannelId {
        self.command(Command::Open {
            user_channel_id: [5; 32],
            peer: self.stock.node_id,
            capacity_sat: CAPACITY_SAT,
            push_msat,
            announce: true,
        });
        let funding = self.broadcasts.remove(0);
        self.mine(&[funding], 6);
        self.usable_channel()
    }

    fn open_from_stock(&mut self, push_msat: u64) -> ChannelId {
        let ours = self.environment.node_id();
        self.stock
            .manager
            .create_channel(ours, CAPACITY_SAT, push_msat, 1, None, None)
            .unwrap();
        self.run();
        let funding = self.stock.broadcasts.0.lock().unwrap().remove(0);
        self.mine(&[funding], 6);
        self.usable_channel()
    }

    fn usable_channel(&self) -> ChannelId {
        assert_eq!(self.stock.complaints, Vec::<String>::new());
        let channels = self.stock.manager.list_usable_channels();
        assert_eq!(
            channels.len(),
            1,
            "{:?}",
            self.stock.manager.list_channels()
        );
        let id = channels[0].channel_id;
        let channel = &self.engine.node.channels[&id];
        assert!(channel.is_usable());
        assert_eq!(channel.short_channel_id(), channels[0].short_channel_id);
        assert!(
            self.told
                .iter()
                .any(|event| matches!(event, UserEvent::ChannelReady { .. }))
        );
        id
    }

    fn short_channel_id(&self) -> u64 {
        self.stock.manager.list_channels()[0]
            .short_channel_id
            .unwrap()
    }

    /// Pays the stock node's invoice.
    fn pay_stock(&mut self, amount_msat: u64, number: u8) {
        let (payment_hash, secret) = self
            .stock
            .manager
            .create_inbound_payment(Some(amount_msat), 3600, None)
            .unwrap();
        let hop = PathHop {
            node_id: self.stock.node_id,
            short_channel_id: self.short_channel_id(),
            fee_msat: amount_msat,
            cltv_expiry_delta: 40,
        };
        self.command(Command::Pay(Box::new(PayCommand {
            payment_id: [number; 32],
            payment_hash,
            amount_msat,
            payment_secret: Some(secret),
            keysend_preimage: None,
            payment_metadata: None,
            final_cltv_expiry_delta: 40,
            paths: vec![vec![hop]],
            route: None,
            expires_at_s: None,
        })));
        let preimage = self
            .stock
            .manager
            .get_payment_preimage(payment_hash, secret)
            .unwrap();
        self.stock.manager.claim_funds(preimage);
        self.run();
        let is_sent = |event: &UserEvent| matches!(event, UserEvent::PaymentSent { preimage: told, .. } if *told == preimage);
        assert!(self.told.iter().any(is_sent), "{:?}", self.told);
    }

    /// The stock node pays an invoice of the unified node.
    fn pay_unified(&mut self, amount_msat: u64, number: u8) {
        let preimage = PaymentPreimage([number; 32]);
        let payment_hash = PaymentHash(sha256::Hash::hash(&preimage.0).to_byte_array());
        let secret =
            onion::make_payment_secret(&self.environment, &payment_hash, amount_msat, NOW_S + 3600);
        let route = direct_route(
            self.environment.node_id(),
            self.short_channel_id(),
            amount_msat,
        );
        self.stock
            .manager
            .send_payment_with_route(
                route,
                payment_hash,
                RecipientOnionFields::secret_only(secret),
                PaymentId([number; 32]),
            )
            .unwrap();
        self.run();
        self.command(Command::Claim { preimage });
        let is_sent = |event: &Event| matches!(event, Event::PaymentSent { payment_hash: told, .. } if *told == payment_hash);
        assert!(self.stock.events.iter().any(is_sent), "{:?}", self.told);
    }

    fn assert_closed_by_agreement(&mut self, id: ChannelId) {
        self.run();
        assert_eq!(self.stock.complaints, Vec::<String>::new());
        let Some(Closure::Cooperative { transaction }) =
            &self.engine.node.channels[&id].record.closure
        else {
            panic!("not closed: {:?}", self.told);
        };
        let by_stock = self.stock.broadcasts.0.lock().unwrap();
        assert_eq!(by_stock.last(), Some(transaction));
        assert_eq!(self.broadcasts.last(), Some(transaction));
        assert!(self.stock.manager.list_channels().is_empty());
    }
}

fn direct_route(to: PublicKey, short_channel_id: u64, amount_msat: u64) -> Route {
    route(vec![vec![hop(to, short_channel_id, amount_msat, 40)]])
}

fn hop(
    pubkey: PublicKey,
    short_channel_id: u64,
    fee_msat: u64,
    cltv_expiry_delta: u32,
) -> RouteHop {
    RouteHop {
        pubkey,
        node_features: NodeFeatures::empty(),
        short_channel_id,
        channel_features: ChannelFeatures::empty(),
        fee_msat,
        cltv_expiry_delta,
        maybe_announced_channel: true,
    }
}

/// A route of these paths, to where they end.
fn route(paths: Vec<Vec<RouteHop>>) -> Route {
    let ends: Vec<&RouteHop> = paths.iter().filter_map(|path| path.last()).collect();
    let amount_msat = ends.iter().map(|end| end.fee_msat).sum();
    let payee = PaymentParameters::from_node_id(ends[0].pubkey, ends[0].cltv_expiry_delta);
    Route {
        route_params: Some(RouteParameters::from_payment_params_and_value(
            payee,
            amount_msat,
        )),
        paths: paths
            .into_iter()
            .map(|hops| Path {
                hops,
                blinded_tail: None,
            })
            .collect(),
    }
}

#[test]
fn a_channel_that_the_unified_node_opens_is_used_and_closed_by_agreement() {
    let mut world = World::new();
    let id = world.open_from_unified(200_000_000);
    world.pay_stock(10_000_000, 11);
    world.pay_unified(20_000_000, 12);
    world.pay_unified(100_000, 13);
    world.command(Command::Close { channel_id: id });
    world.assert_closed_by_agreement(id);
}

#[test]
fn a_channel_that_stock_ldk_opens_is_used_and_closed_by_agreement() {
    let mut world = World::new();
    let id = world.open_from_stock(200_000_000);
    world.pay_unified(20_000_000, 12);
    world.pay_stock(10_000_000, 11);
    let ours = world.environment.node_id();
    world.stock.manager.close_channel(&id, &ours).unwrap();
    world.assert_closed_by_agreement(id);
}

#[test]
fn both_publish_the_same_announcement() {
    for by_stock in [false, true] {
        let mut world = World::new();
        if by_stock {
            world.open_from_stock(0);
        } else {
            world.open_from_unified(0);
        }
        assert_eq!(world.announced.len(), 1);
        assert_eq!(world.stock.announced.first(), world.announced.first());
    }
}

#[test]
fn a_channel_survives_reconnections_at_every_stage_after_its_funding() {
    for by_stock in [false, true] {
        let mut world = World::new();
        let id = if by_stock {
            world.open_from_stock(300_000_000)
        } else {
            world.open_from_unified(300_000_000)
        };
        world.reconnect();
        world.usable_channel();
        world.pay_stock(5_000_000, 21);
        world.reconnect();
        world.pay_unified(6_000_000, 22);
        world.reconnect();
        world.pay_stock(7_000_000, 23);
        world.command(Command::Close { channel_id: id });
        world.assert_closed_by_agreement(id);
    }
}

/// Cuts the connection before every single message of this act, one world a cut; returns the cuts.
fn cut_everywhere(by_stock: bool, act: fn(&mut World)) -> u32 {
    for cut in 0.. {
        let mut world = World::new();
        if by_stock {
            world.open_from_stock(300_000_000);
        } else {
            world.open_from_unified(300_000_000);
        }
        world.until_cut = Some(cut);
        act(&mut world);
        if world.until_cut.take().is_some() {
            return cut;
        }
        world.usable_channel();
        world.pay_unified(1_000_000, 51);
        world.pay_stock(1_000_000, 52);
    }
    unreachable!()
}

#[test]
fn a_payment_survives_a_cut_before_any_message() {
    for by_stock in [false, true] {
        let cuts = cut_everywhere(by_stock, |world| world.pay_stock(5_000_000, 41));
        assert!(cuts > 8, "{cuts}");
        let cuts = cut_everywhere(by_stock, |world| world.pay_unified(6_000_000, 42));
        assert!(cuts > 8, "{cuts}");
    }
}

impl World {
    /// Closes the channel with the connection cut before one message; whether there was that message,
    /// and whether the unified node knows of the agreement.
    fn close_with_cut(by_stock: bool, closes_unified: bool, cut: u32) -> (bool, bool) {
        let mut world = World::new();
        let id = if by_stock {
            world.open_from_stock(300_000_000)
        } else {
            world.open_from_unified(300_000_000)
        };
        world.complaints_allowed = true;
        world.until_cut = Some(cut);
        if closes_unified {
            world.command(Command::Close { channel_id: id });
        } else {
            let ours = world.environment.node_id();
            world.stock.manager.close_channel(&id, &ours).unwrap();
            world.run();
        }
        assert!(world.stock.manager.list_channels().is_empty());
        assert_eq!(world.stock.broadcasts.0.lock().unwrap().len(), 1);
        let closure = &world.engine.node.channels[&id].record.closure;
        let is_agreed = matches!(closure, Some(Closure::Cooperative { .. }));
        // Whoever was not told waits for the chain, which says it.
        assert!(is_agreed || closure.is_none());
        (world.until_cut.is_none(), is_agreed)
    }
}

/// The one message that may not be lost is the acceptor's last signature, if the acceptor is stock: it
/// has forgotten the channel then, and says so. The closing transaction is published all the same, and
/// this node waits for it.
#[test]
fn a_close_survives_a_cut_before_any_message() {
    for (by_stock, closes_unified) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut not_agreed = 0;
        let mut cuts = 0;
        loop {
            let (was_cut, is_agreed) = World::close_with_cut(by_stock, closes_unified, cuts);
            not_agreed += u32::from(!is_agreed);
            if !was_cut {
                break;
            }
            cuts += 1;
        }
        assert!(cuts >= 4, "{cuts}");
        assert_eq!(not_agreed, u32::from(!by_stock));
    }
}

#[test]
fn a_new_fee_rate_is_agreed_on() {
    let mut world = World::new();
    let id = world.open_from_unified(300_000_000);
    world.command(Command::FeeRate { sat_per_kw: 2_500 });
    world.engine.input(Input::Tick);
    world.run();
    world.pay_stock(5_000_000, 31);
    let spec = &world.engine.node.channels[&id].record.holder.spec;
    assert_eq!(spec.feerate_per_kw, 2_500);
    assert_eq!(world.stock.complaints, Vec::<String>::new());
    world.command(Command::Close { channel_id: id });
    world.assert_closed_by_agreement(id);
}

#[test]
fn nothing_at_stake_on_one_side_still_closes() {
    let mut world = World::new();
    let id = world.open_from_unified(0);
    let ours = world.environment.node_id();
    world.stock.manager.close_channel(&id, &ours).unwrap();
    world.assert_closed_by_agreement(id);
    let mut world = World::new();
    let id = world.open_from_stock(0);
    world.command(Command::Close { channel_id: id });
    world.assert_closed_by_agreement(id);
}

/// What a payer that is told of a failure makes of it: the channel to avoid and what its graph learns.
#[derive(Debug, PartialEq)]
struct Blame {
    short_channel_id: Option<u64>,
    graph_learns: Option<NetworkUpdate>,
    is_payment_over: bool,
}

impl Blame {
    /// Of one channel.
    fn channel(short_channel_id: u64, is_permanent: bool) -> Blame {
        Blame {
            short_channel_id: Some(short_channel_id),
            graph_learns: Some(NetworkUpdate::ChannelFailure {
                short_channel_id,
                is_permanent,
            }),
            is_payment_over: false,
        }
    }
}

/// Of a channel that nobody has.
const NO_CHANNEL: u64 = 0x00de_ad00_0001_0000;

impl World {
    /// Two channels between the same two, so that the stock node can pay itself by way of ours; their
    /// short channel ids.
    fn with_two_channels() -> (World, u64, u64) {
        let mut world = World::new();
        world.open_from_unified(500_000_000);
        let first = world.short_channel_id();
        world.broadcasts.clear();
        world.command(Command::Open {
            user_channel_id: [6; 32],
            peer: world.stock.node_id,
            capacity_sat: CAPACITY_SAT,
            push_msat: 500_000_000,
            announce: true,
        });
        let funding = world.broadcasts.remove(0);
        world.mine(&[funding], 6);
        let channels = world.stock.manager.list_usable_channels();
        assert_eq!(channels.len(), 2, "{channels:?}");
        let mut ids = channels
            .iter()
            .filter_map(|channel| channel.short_channel_id);
        let second = ids.find(|id| *id != first).unwrap();
        (world, first, second)
    }

    /// The stock node sends this; its payee expects nothing of the kind.
    fn stock_sends(&mut self, route: Route, secret: PaymentSecret, number: u8) -> PaymentHash {
        let preimage = [number; 32];
        let payment_hash = PaymentHash(sha256::Hash::hash(&preimage).to_byte_array());
        let onion = RecipientOnionFields::secret_only(secret);
        let id = PaymentId([number; 32]);
        // A part that cannot be sent is told as an event.
        let _ = self
            .stock
            .manager
            .send_payment_with_route(route, payment_hash, onion, id);
        self.run();
        payment_hash
    }

    /// Whom the stock node blames for the failures of parts that were on their way.
    fn blames(&self) -> Vec<Blame> {
        let failed = |event: &Event| match event {
            Event::PaymentPathFailed {
                payment_failed_permanently,
                failure: PathFailure::OnPath { network_update },
                short_channel_id,
                ..
            } => Some(Blame {
                short_channel_id: *short_channel_id,
                graph_learns: network_update.clone(),
                is_payment_over: *payment_failed_permanently,
            }),
            _ => None,
        };
        self.stock.events.iter().filter_map(failed).collect()
    }

    /// The stock node pays itself by way of our node, over this channel; whom it blames.
    fn blamed_for(&mut self, first: u64, next: u64, terms: (u64, u32, u32)) -> Vec<Blame> {
        let (fee_msat, delta, final_delta) = terms;
        let (ours, stocks) = (self.environment.node_id(), self.stock.node_id);
        let path = vec![
            hop(ours, first, fee_msat, delta),
            hop(stocks, next, 5_000_000, final_delta),
        ];
        self.stock_sends(route(vec![path]), PaymentSecret([3; 32]), 61);
        self.blames()
    }
}

/// Our node takes 1000 msat and 10 millionths, 1050 msat of 5,000,000, and 48 blocks.
#[test]
fn a_stock_payer_blames_the_channel_that_our_node_would_not_forward_over() {
    let told = [
        (
            "a next channel that is not there",
            NO_CHANNEL,
            (1_050, 48, 60),
            true,
        ),
        ("a fee that is too low", 0, (1_049, 48, 60), false),
        ("a delta that is too short", 0, (1_050, 47, 60), false),
        ("an expiry that is too soon", 0, (1_050, 48, 0), false),
    ];
    for (what, next, terms, is_permanent) in told {
        let (mut world, first, second) = World::with_two_channels();
        let next = if next == 0 { second } else { next };
        let blames = world.blamed_for(first, next, terms);
        assert_eq!(blames, [Blame::channel(next, is_permanent)], "{what}");
    }
}

/// What our node forwards, and the payee then refuses, is not laid at our node's door.
#[test]
fn a_stock_payer_blames_the_payee_for_what_our_node_only_relays() {
    let (mut world, first, second) = World::with_two_channels();
    let blames = world.blamed_for(first, second, (1_050, 48, 60));
    let by_payee = Blame {
        short_channel_id: None,
        graph_learns: None,
        is_payment_over: true,
    };
    assert_eq!(blames, [by_payee]);
}

/// BOLT 4's `mpp_timeout` blames no channel, and unlike all else that a payee refuses it is not final.
#[test]
fn a_part_whose_other_part_never_comes_is_given_back_to_a_stock_payer_after_three_ticks() {
    let mut world = World::new();
    world.open_from_unified(500_000_000);
    let ours = world.environment.node_id();
    let number = 62;
    let payment_hash = PaymentHash(sha256::Hash::hash(&[number; 32]).to_byte_array());
    let expires_at_s = NOW_S + 3600;
    let secret =
        onion::make_payment_secret(&world.environment, &payment_hash, 10_000_000, expires_at_s);
    let direct = vec![hop(ours, world.short_channel_id(), 5_000_000, 40)];
    let never = vec![hop(ours, NO_CHANNEL, 5_000_000, 40)];
    world.stock_sends(route(vec![direct, never]), secret, number);
    for _ in 0..2 {
        world.engine.input(Input::Tick);
        world.run();
        assert_eq!(world.blames(), []);
    }
    world.engine.input(Input::Tick);
    world.run();
    let timed_out = Blame {
        short_channel_id: None,
        graph_learns: None,
        is_payment_over: false,
    };
    assert_eq!(world.blames(), [timed_out]);
    let is_claimable = |event: &UserEvent| matches!(event, UserEvent::PaymentClaimable { .. });
    assert!(!world.told.iter().any(is_claimable), "{:?}", world.told);
}
