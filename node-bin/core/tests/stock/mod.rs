//! An unmodified LDK node in this process, with nothing around it: no chain, no store, no routes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version as BlockVersion};
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{self, PublicKey, Secp256k1};
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, BlockHash, CompactTarget, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn,
    TxMerkleNode, TxOut, Txid, Witness,
};
use lightning::blinded_path::message::{BlindedMessagePath, MessageContext, MessageForwardNode};
use lightning::blinded_path::payment::{BlindedPaymentPath, ReceiveTlvs};
use lightning::chain::chaininterface::{BroadcasterInterface, ConfirmationTarget, FeeEstimator};
use lightning::chain::chainmonitor::{ChainMonitor, Persist};
use lightning::chain::channelmonitor::{ChannelMonitor, ChannelMonitorUpdate};
use lightning::chain::{BestBlock, ChannelMonitorUpdateStatus, Confirm, Filter};
use lightning::events::{Event, EventsProvider};
use lightning::ln::channel_state::ChannelDetails;
use lightning::ln::channelmanager::{ChainParameters, ChannelManager};
use lightning::ln::msgs::{
    BaseMessageHandler, ChannelMessageHandler, ErrorAction, Init, MessageSendEvent,
};
use lightning::onion_message::messenger::{Destination, MessageRouter, OnionMessagePath};
use lightning::routing::router::{InFlightHtlcs, Route, RouteParameters, Router};
use lightning::sign::{InMemorySigner, KeysManager, NodeSigner, ReceiveAuthKey, Recipient};
use lightning::util::config::UserConfig;
use lightning::util::logger::{Logger, Record};
use lightning::util::persist::MonitorName;
use node_core::features::init_features;
use node_core::message::Message;

pub struct Quiet;

impl Logger for Quiet {
    fn log(&self, _: Record) {}
}

pub struct Fees;

impl FeeEstimator for Fees {
    fn get_est_sat_per_1000_weight(&self, target: ConfirmationTarget) -> u32 {
        match target {
            ConfirmationTarget::ChannelCloseMinimum => 253,
            _ => 1000,
        }
    }
}

#[derive(Default)]
pub struct Broadcasts(pub Mutex<Vec<Transaction>>);

impl BroadcasterInterface for Broadcasts {
    fn broadcast_transactions(&self, transactions: &[&Transaction]) {
        let mut all = self.0.lock().unwrap();
        all.extend(
            transactions
                .iter()
                .map(|transaction| (*transaction).clone()),
        );
    }
}

pub struct AlwaysDurable;

impl Persist<InMemorySigner> for AlwaysDurable {
    fn persist_new_channel(
        &self,
        _: MonitorName,
        _: &ChannelMonitor<InMemorySigner>,
    ) -> ChannelMonitorUpdateStatus {
        ChannelMonitorUpdateStatus::Completed
    }

    fn update_persisted_channel(
        &self,
        _: MonitorName,
        _: Option<&ChannelMonitorUpdate>,
        _: &ChannelMonitor<InMemorySigner>,
    ) -> ChannelMonitorUpdateStatus {
        ChannelMonitorUpdateStatus::Completed
    }

    fn archive_persisted_channel(&self, _: MonitorName) {}
}

pub struct NoRoutes;

impl Router for NoRoutes {
    fn find_route(
        &self,
        _: &PublicKey,
        _: &RouteParameters,
        _: Option<&[&ChannelDetails]>,
        _: InFlightHtlcs,
    ) -> Result<Route, &'static str> {
        Err("routes are given")
    }

    fn create_blinded_payment_paths<T: secp256k1::Signing + secp256k1::Verification>(
        &self,
        _: PublicKey,
        _: Vec<ChannelDetails>,
        _: ReceiveTlvs,
        _: Option<u64>,
        _: &Secp256k1<T>,
    ) -> Result<Vec<BlindedPaymentPath>, ()> {
        Err(())
    }
}

impl MessageRouter for NoRoutes {
    fn find_path(
        &self,
        _: PublicKey,
        _: Vec<PublicKey>,
        _: Destination,
    ) -> Result<OnionMessagePath, ()> {
        Err(())
    }

    fn create_blinded_paths<T: secp256k1::Signing + secp256k1::Verification>(
        &self,
        _: PublicKey,
        _: ReceiveAuthKey,
        _: MessageContext,
        _: Vec<MessageForwardNode>,
        _: &Secp256k1<T>,
    ) -> Result<Vec<BlindedMessagePath>, ()> {
        Err(())
    }
}

type Monitor = ChainMonitor<
    InMemorySigner,
    Arc<dyn Filter + Send + Sync>,
    Arc<Broadcasts>,
    Arc<Fees>,
    Arc<Quiet>,
    Arc<AlwaysDurable>,
    Arc<KeysManager>,
>;

pub type Manager = ChannelManager<
    Arc<Monitor>,
    Arc<Broadcasts>,
    Arc<KeysManager>,
    Arc<KeysManager>,
    Arc<KeysManager>,
    Arc<Fees>,
    Arc<NoRoutes>,
    Arc<NoRoutes>,
    Arc<Quiet>,
>;

/// The node, and what it has told.
pub struct Stock {
    pub manager: Manager,
    pub monitor: Arc<Monitor>,
    pub broadcasts: Arc<Broadcasts>,
    pub node_id: PublicKey,
    pub events: Vec<Event>,
    /// Disconnections and errors that it asked for.
    pub complaints: Vec<String>,
    pub announced: Vec<lightning::ln::msgs::ChannelAnnouncement>,
    confirmed: HashSet<Txid>,
}

/// A block header of this height that names its parent.
pub fn header(height: u32) -> Header {
    Header {
        version: BlockVersion::TWO,
        prev_blockhash: BlockHash::from_byte_array([height as u8; 32]),
        merkle_root: TxMerkleNode::all_zeros(),
        time: 1_700_000_000 + height,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        nonce: height,
    }
}

/// A signed transaction, as far as anybody looks, with this output.
pub fn paying(script: ScriptBuf, amount_sat: u64) -> Transaction {
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint {
                txid: Txid::from_byte_array([7; 32]),
                vout: 0,
            },
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[vec![1; 72], vec![2; 33]]),
        }],
        output: vec![TxOut {
            value: Amount::from_sat(amount_sat),
            script_pubkey: script,
        }],
    }
}

impl Stock {
    pub fn new(seed: [u8; 32], height: u32) -> Stock {
        let keys = Arc::new(KeysManager::new(&seed, 1, 1, true));
        let broadcasts = Arc::new(Broadcasts::default());
        let monitor = Arc::new(ChainMonitor::new(
            None,
            broadcasts.clone(),
            Arc::new(Quiet),
            Arc::new(Fees),
            Arc::new(AlwaysDurable),
            keys.clone(),
            keys.get_peer_storage_key(),
        ));
        let mut config = UserConfig::default();
        config
            .channel_handshake_config
            .negotiate_anchors_zero_fee_htlc_tx = true;
        config.channel_handshake_config.announce_for_forwarding = true;
        config
            .channel_handshake_limits
            .force_announced_channel_preference = false;
        config.manually_accept_inbound_channels = true;
        let manager = ChannelManager::new(
            Arc::new(Fees),
            monitor.clone(),
            broadcasts.clone(),
            Arc::new(NoRoutes),
            Arc::new(NoRoutes),
            Arc::new(Quiet),
            keys.clone(),
            keys.clone(),
            keys.clone(),
            config,
            ChainParameters {
                network: Network::Regtest,
                best_block: BestBlock::new(header(height).block_hash(), height),
            },
            1_700_000_000,
        );
        Stock {
            manager,
            monitor,
            broadcasts,
            node_id: keys.get_node_id(Recipient::Node).unwrap(),
            events: Vec::new(),
            complaints: Vec::new(),
            announced: Vec::new(),
            confirmed: HashSet::new(),
        }
    }

    pub fn connect(&self, peer: PublicKey) {
        let init = Init {
            features: init_features(),
            networks: None,
            remote_network_address: None,
        };
        self.manager.peer_connected(peer, &init, false).unwrap();
    }

    pub fn disconnect(&self, peer: PublicKey) {
        self.manager.peer_disconnected(peer);
    }

    /// Takes part in a block.
    pub fn connect_block(&mut self, height: u32, transactions: &[Transaction]) {
        let header = header(height);
        // A block begins with its coinbase.
        let placed: Vec<(usize, &Transaction)> = (1..)
            .zip(transactions)
            .filter(|(_, transaction)| self.confirmed.insert(transaction.compute_txid()))
            .collect();
        for confirm in [&self.manager as &dyn Confirm, &*self.monitor] {
            confirm.transactions_confirmed(&header, &placed, height);
            confirm.best_block_updated(&header, height);
        }
    }

    /// Does what LDK leaves to its users, as far as a peer needs it; keeps every event.
    pub fn handle_events(&mut self) -> bool {
        self.manager.process_pending_htlc_forwards();
        let new = Mutex::new(Vec::new());
        self.manager.process_pending_events(&|event: Event| {
            new.lock().unwrap().push(event);
            Ok(())
        });
        let new = new.into_inner().unwrap();
        let any = !new.is_empty();
        for event in new {
            match &event {
                Event::OpenChannelRequest {
                    temporary_channel_id,
                    counterparty_node_id,
                    ..
                } => self
                    .manager
                    .accept_inbound_channel(temporary_channel_id, counterparty_node_id, 1, None)
                    .unwrap(),
                Event::FundingGenerationReady {
                    temporary_channel_id,
                    counterparty_node_id,
                    channel_value_satoshis,
                    output_script,
                    ..
                } => {
                    let transaction = paying(output_script.clone(), *channel_value_satoshis);
                    self.manager
                        .funding_transaction_generated(
                            *temporary_channel_id,
                            *counterparty_node_id,
                            transaction,
                        )
                        .unwrap();
                }
                _ => {}
            }
            self.events.push(event);
        }
        any
    }

    /// What it has to say to its peer.
    pub fn messages(&mut self) -> Vec<Message> {
        let mut all = Vec::new();
        for event in self.manager.get_and_clear_pending_msg_events() {
            match event {
                MessageSendEvent::SendOpenChannel { msg, .. } => {
                    all.push(Message::OpenChannel(msg));
                }
                MessageSendEvent::SendAcceptChannel { msg, .. } => {
                    all.push(Message::AcceptChannel(msg));
                }
                MessageSendEvent::SendFundingCreated { msg, .. } => {
                    all.push(Message::FundingCreated(msg));
                }
                MessageSendEvent::SendFundingSigned { msg, .. } => {
                    all.push(Message::FundingSigned(msg));
                }
                MessageSendEvent::SendChannelReady { msg, .. } => {
                    all.push(Message::ChannelReady(msg));
                }
                MessageSendEvent::SendAnnouncementSignatures { msg, .. } => {
                    all.push(Message::AnnouncementSignatures(msg));
                }
                MessageSendEvent::SendRevokeAndACK { msg, .. } => {
                    all.push(Message::RevokeAndAck(msg));
                }
                MessageSendEvent::SendClosingSigned { msg, .. } => {
                    all.push(Message::ClosingSigned(msg));
                }
                MessageSendEvent::SendShutdown { msg, .. } => all.push(Message::Shutdown(msg)),
                MessageSendEvent::SendChannelReestablish { msg, .. } => {
                    all.push(Message::ChannelReestablish(msg));
                }
                MessageSendEvent::SendChannelUpdate { msg, .. } => {
                    all.push(Message::ChannelUpdate(msg));
                }
                MessageSendEvent::UpdateHTLCs { updates, .. } => all.extend(of_updates(updates)),
                MessageSendEvent::BroadcastChannelAnnouncement { msg, .. } => {
                    self.announced.push(msg);
                }
                MessageSendEvent::HandleError { action, .. } => {
                    if let ErrorAction::SendErrorMessage { msg } = &action {
                        all.push(Message::Error(msg.clone()));
                    }
                    self.complaints.push(format!("{action:?}"));
                }
                _ => {}
            }
        }
        all
    }

    pub fn receive(&self, from: PublicKey, message: Message) {
        let manager = &self.manager;
        match message {
            Message::OpenChannel(m) => manager.handle_open_channel(from, &m),
            Message::AcceptChannel(m) => manager.handle_accept_channel(from, &m),
            Message::FundingCreated(m) => manager.handle_funding_created(from, &m),
            Message::FundingSigned(m) => manager.handle_funding_signed(from, &m),
            Message::ChannelReady(m) => manager.handle_channel_ready(from, &m),
            Message::UpdateAddHtlc(m) => manager.handle_update_add_htlc(from, &m),
            Message::UpdateFulfillHtlc(m) => manager.handle_update_fulfill_htlc(from, m),
            Message::UpdateFailHtlc(m) => manager.handle_update_fail_htlc(from, &m),
            Message::UpdateFailMalformedHtlc(m) => {
                manager.handle_update_fail_malformed_htlc(from, &m);
            }
            Message::UpdateFee(m) => manager.handle_update_fee(from, &m),
            Message::CommitmentSigned(m) => manager.handle_commitment_signed(from, &m),
            Message::RevokeAndAck(m) => manager.handle_revoke_and_ack(from, &m),
            Message::ChannelReestablish(m) => manager.handle_channel_reestablish(from, &m),
            Message::Shutdown(m) => manager.handle_shutdown(from, &m),
            Message::ClosingSigned(m) => manager.handle_closing_signed(from, &m),
            Message::AnnouncementSignatures(m) => {
                manager.handle_announcement_signatures(from, &m);
            }
            Message::ChannelUpdate(m) => {
                ChannelMessageHandler::handle_channel_update(manager, from, &m);
            }
            Message::Error(m) => manager.handle_error(from, &m),
            Message::Warning(m) => panic!("our node warns: {}", m.data),
        }
    }
}

/// The messages of one commitment's updates, in LDK's order.
fn of_updates(updates: lightning::ln::msgs::CommitmentUpdate) -> Vec<Message> {
    let mut all = Vec::new();
    all.extend(
        updates
            .update_add_htlcs
            .into_iter()
            .map(Message::UpdateAddHtlc),
    );
    all.extend(
        updates
            .update_fulfill_htlcs
            .into_iter()
            .map(Message::UpdateFulfillHtlc),
    );
    all.extend(
        updates
            .update_fail_htlcs
            .into_iter()
            .map(Message::UpdateFailHtlc),
    );
    all.extend(
        updates
            .update_fail_malformed_htlcs
            .into_iter()
            .map(Message::UpdateFailMalformedHtlc),
    );
    all.extend(updates.update_fee.into_iter().map(Message::UpdateFee));
    all.extend(
        updates
            .commitment_signed
            .into_iter()
            .map(Message::CommitmentSigned),
    );
    all
}
