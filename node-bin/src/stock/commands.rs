//! The commands of the control API, carried out on LDK. Each ends with all that follows from it done.

use bitcoin::hashes::{Hash, sha256};
use bitcoin::hex::FromHex;
use bitcoin::secp256k1::PublicKey;
use faults::gate;
use lightning::chain::{Confirm, Listen};
use lightning::ln::channelmanager::{
    Bolt11InvoiceParameters, Bolt11PaymentError, PaymentId, RecipientOnionFields, Retry,
    RetryableSendFailure,
};
use lightning::ln::types::ChannelId;
use lightning::routing::router::{PaymentParameters, RouteParameters, RouteParametersConfig};
use lightning::types::payment::{PaymentHash, PaymentPreimage};
use lightning::util::errors::APIError;
use lightning::util::persist::{KVStoreSync, NETWORK_GRAPH_PERSISTENCE_KEY};
use lightning::util::ser::Writeable;
use lightning_invoice::Bolt11Invoice;

use super::names::PaymentName;
use super::node::Node;
use super::sync::{Follower, SyncError};
use crate::api::{Command, ErrorCode, Hop, NodeInfo, Reply, Report, RequestError};

/// Invoices live longer than any run: regtest's clock runs ahead by a second a block.
const INVOICE_EXPIRY_SECONDS: u32 = 7 * 24 * 60 * 60;
/// BOLT 11's `min_final_cltv_expiry_delta`: LDK's own least.
const FINAL_CLTV_EXPIRY_DELTA: u16 = 42;

fn bad(message: impl ToString) -> RequestError {
    RequestError {
        code: ErrorCode::BadRequest,
        message: message.to_string(),
    }
}

fn refused(message: impl ToString) -> RequestError {
    RequestError {
        code: ErrorCode::Refused,
        message: message.to_string(),
    }
}

impl From<SyncError> for RequestError {
    fn from(error: SyncError) -> Self {
        RequestError {
            code: ErrorCode::Chain,
            message: error.to_string(),
        }
    }
}

fn api_error(error: APIError) -> RequestError {
    match error {
        APIError::ChannelUnavailable { err } => RequestError {
            code: ErrorCode::NotFound,
            message: err,
        },
        APIError::APIMisuseError { err } => refused(err),
        error => refused(format!("{error:?}")),
    }
}

fn bytes32(text: &str) -> Result<[u8; 32], RequestError> {
    <[u8; 32]>::from_hex(text).map_err(|_| bad(format!("{text:?} is not 64 hexadecimal digits")))
}

fn payment_id(key: &str) -> PaymentId {
    PaymentId(sha256::Hash::hash(key.as_bytes()).to_byte_array())
}

fn kind_of(command: &Command) -> Option<(&'static str, String)> {
    Some(match command {
        Command::Open { key, .. } => ("open", key.clone()),
        Command::Invoice { key, .. } => ("invoice", key.clone()),
        Command::Pay { key, .. } => ("pay", key.clone()),
        Command::Keysend { key, .. } => ("keysend", key.clone()),
        Command::Close { .. } => ("close", String::new()),
        Command::ForceClose { .. } => ("force_close", String::new()),
        Command::Claim { .. } => ("claim", String::new()),
        Command::Fail { .. } => ("fail", String::new()),
        _ => return None,
    })
}

impl Node {
    /// Carries out every command but `connect`, `disconnect` and `stop`, which are the server's.
    pub(super) fn carry_out(&self, command: Command) -> Result<Reply, RequestError> {
        let Some((name, role)) = kind_of(&command) else {
            return self.answer(command);
        };
        let role = match &command {
            Command::Close { channel_id, .. } | Command::ForceClose { channel_id, .. } => self
                .names
                .channel(&ChannelId::from_bytes(bytes32(channel_id)?))
                .unwrap_or_default(),
            Command::Claim { payment_hash } | Command::Fail { payment_hash } => self
                .names
                .incoming(payment_hash)
                .map(|name| name.key)
                .unwrap_or_default(),
            _ => role,
        };
        self.begin(format!("command {name} {role}"));
        let _ = gate::point(&format!("command.{name}.before"), &role);
        let outcome = self.change(command);
        self.work();
        let _ = gate::point(&format!("command.{name}.after"), &role);
        outcome
    }

    fn change(&self, command: Command) -> Result<Reply, RequestError> {
        match command {
            Command::Open {
                key,
                node_id,
                capacity_sat,
                push_msat,
                announce,
            } => self.open(&key, node_id, capacity_sat, push_msat, announce),
            Command::Close {
                channel_id,
                node_id,
            } => {
                let channel_id = ChannelId::from_bytes(bytes32(&channel_id)?);
                self.manager
                    .close_channel(&channel_id, &node_id)
                    .map_err(api_error)?;
                Ok(Reply::Done)
            }
            Command::ForceClose {
                channel_id,
                node_id,
            } => {
                let channel_id = ChannelId::from_bytes(bytes32(&channel_id)?);
                self.manager
                    .force_close_broadcasting_latest_txn(
                        &channel_id,
                        &node_id,
                        "closed by its user".into(),
                    )
                    .map_err(api_error)?;
                Ok(Reply::Done)
            }
            Command::Invoice {
                key,
                amount_msat,
                hold,
            } => self.invoice(key, amount_msat, hold),
            Command::Pay {
                key,
                invoice,
                paths,
            } => self.pay(&key, &invoice, paths),
            Command::Keysend {
                key,
                node_id,
                amount_msat,
                paths,
            } => self.keysend(&key, node_id, amount_msat, paths),
            Command::Claim { payment_hash } => {
                let name = self
                    .names
                    .incoming(&payment_hash)
                    .ok_or_else(|| RequestError {
                        code: ErrorCode::NotFound,
                        message: format!("no invoice of this node has the hash {payment_hash}"),
                    })?;
                self.manager
                    .claim_funds(PaymentPreimage(self.names.preimage(&name.key)));
                Ok(Reply::Done)
            }
            Command::Fail { payment_hash } => {
                self.manager
                    .fail_htlc_backwards(&PaymentHash(bytes32(&payment_hash)?));
                Ok(Reply::Done)
            }
            other => self.answer(other),
        }
    }

    fn answer(&self, command: Command) -> Result<Reply, RequestError> {
        match command {
            Command::Info {} => Ok(Reply::Info(self.info())),
            Command::Hold { payment_hash } => {
                bytes32(&payment_hash)?;
                let key = self.names.incoming(&payment_hash).map(|name| name.key);
                let name = PaymentName {
                    key: key.unwrap_or_default(),
                    hold: true,
                };
                self.names.expect_payment(&payment_hash, name);
                Ok(Reply::Done)
            }
            Command::Channels {} => Ok(Reply::Channels(self.channel_views())),
            Command::Payments {} => Ok(Reply::Payments(self.payment_views())),
            Command::Balance {} => Ok(Reply::Balance(self.wallet.balance())),
            Command::Address {} => Ok(Reply::Address(self.wallet.address())),
            Command::Graph {} => Ok(Reply::Graph(self.graph_view())),
            Command::Rest {} => Ok(Reply::Rest(Box::new(self.rest_view()))),
            Command::Sync {} => {
                let height = self.sync()?;
                Ok(Reply::Synced { height })
            }
            Command::Tick {} => {
                self.tick()?;
                Ok(Reply::Done)
            }
            Command::FeeRate { sat_per_kw } => {
                self.fees.set(sat_per_kw);
                Ok(Reply::Done)
            }
            Command::Arm { points } => {
                gate::arm(points);
                Ok(Reply::Done)
            }
            Command::Release { point } => {
                let was_held = gate::release(&point);
                if was_held {
                    self.begin(format!("release {}", point.name));
                    self.after_release();
                }
                Ok(Reply::Released { was_held })
            }
            other => Err(bad(format!("not a command for here: {other:?}"))),
        }
    }

    fn info(&self) -> NodeInfo {
        NodeInfo {
            node_id: self.manager.get_our_node_id(),
            kind: "stock".into(),
            version: format!("lightning {}", super::LIGHTNING_VERSION),
            address: self.progress().address.clone(),
            block_height: self.manager.current_best_block().height,
            crash_points: gate::HAS_POINTS,
        }
    }

    fn open(
        &self,
        key: &str,
        node_id: PublicKey,
        capacity_sat: u64,
        push_msat: u64,
        announce: bool,
    ) -> Result<Reply, RequestError> {
        let digest = sha256::Hash::hash(key.as_bytes()).to_byte_array();
        let mut id_bytes = [0; 16];
        id_bytes.copy_from_slice(&digest[..16]);
        let user_channel_id = u128::from_be_bytes(id_bytes);
        let channels = self.manager.list_channels();
        if channels
            .iter()
            .any(|channel| channel.user_channel_id == user_channel_id)
        {
            return Ok(Reply::Done);
        }
        let mut config = self.manager.get_current_config();
        config.channel_handshake_config.announce_for_forwarding = announce;
        self.manager
            .create_channel(
                node_id,
                capacity_sat,
                push_msat,
                user_channel_id,
                None,
                Some(config),
            )
            .map_err(api_error)?;
        Ok(Reply::Done)
    }

    fn invoice(&self, key: String, amount_msat: u64, hold: bool) -> Result<Reply, RequestError> {
        let preimage = PaymentPreimage(self.names.preimage(&key));
        let hash: PaymentHash = preimage.into();
        let params = Bolt11InvoiceParameters {
            amount_msats: Some(amount_msat),
            invoice_expiry_delta_secs: Some(INVOICE_EXPIRY_SECONDS),
            min_final_cltv_expiry_delta: Some(FINAL_CLTV_EXPIRY_DELTA),
            payment_hash: Some(hash),
            ..Bolt11InvoiceParameters::default()
        };
        let invoice = self
            .manager
            .create_bolt11_invoice(params)
            .map_err(|error| bad(format!("{error:?}")))?;
        let payment_hash = hash.to_string();
        self.names
            .expect_payment(&payment_hash, PaymentName { key, hold });
        Ok(Reply::Invoice {
            invoice: invoice.to_string(),
            payment_hash,
        })
    }

    fn pay(&self, key: &str, invoice: &str, paths: Vec<Vec<Hop>>) -> Result<Reply, RequestError> {
        let invoice: Bolt11Invoice = invoice
            .parse()
            .map_err(|error| bad(format!("no invoice: {error:?}")))?;
        let payment_hash = invoice.payment_hash().to_string();
        let id = payment_id(key);
        if self.names.is_decided(&id.to_string()) {
            return Ok(Reply::Payment {
                payment_hash,
                already: true,
            });
        }
        self.names.made_payment(&id.to_string(), key);
        let retry = self.plan(id, paths);
        let sent = self.manager.pay_for_bolt11_invoice(
            &invoice,
            id,
            None,
            RouteParametersConfig::default(),
            retry,
        );
        match sent {
            Ok(()) => Ok(Reply::Payment {
                payment_hash,
                already: false,
            }),
            Err(Bolt11PaymentError::SendingFailed(RetryableSendFailure::DuplicatePayment)) => {
                Ok(Reply::Payment {
                    payment_hash,
                    already: true,
                })
            }
            Err(error) => Err(refused(format!("{error:?}"))),
        }
    }

    fn keysend(
        &self,
        key: &str,
        node_id: PublicKey,
        amount_msat: u64,
        paths: Vec<Vec<Hop>>,
    ) -> Result<Reply, RequestError> {
        let preimage = PaymentPreimage(self.names.preimage(key));
        let payment_hash = PaymentHash::from(preimage).to_string();
        let id = payment_id(key);
        if self.names.is_decided(&id.to_string()) {
            return Ok(Reply::Payment {
                payment_hash,
                already: true,
            });
        }
        self.names.made_payment(&id.to_string(), key);
        let retry = self.plan(id, paths);
        let multi_part = false;
        let delta = u32::from(FINAL_CLTV_EXPIRY_DELTA);
        let payee = PaymentParameters::for_keysend(node_id, delta, multi_part);
        let sent = self.manager.send_spontaneous_payment(
            Some(preimage),
            RecipientOnionFields::spontaneous_empty(),
            id,
            RouteParameters::from_payment_params_and_value(payee, amount_msat),
            retry,
        );
        match sent {
            Ok(_) => Ok(Reply::Payment {
                payment_hash,
                already: false,
            }),
            Err(RetryableSendFailure::DuplicatePayment) => Ok(Reply::Payment {
                payment_hash,
                already: true,
            }),
            Err(error) => Err(refused(format!("{error:?}"))),
        }
    }

    /// A payment over given paths is tried once; one by gossip may look for another way.
    fn plan(&self, id: PaymentId, paths: Vec<Vec<Hop>>) -> Retry {
        if paths.is_empty() {
            return Retry::Attempts(3);
        }
        self.router.plan(id, paths);
        Retry::Attempts(0)
    }

    fn tick(&self) -> Result<(), RequestError> {
        self.begin("tick".into());
        self.manager.timer_tick_occurred();
        // Not the transport's tick: it drops a peer that has not answered a ping since the tick
        // before, and the rig's ticks come as fast as the nodes can take them.
        self.monitors.rebroadcast_pending_claims();
        self.monitors.archive_fully_resolved_channel_monitors();
        if self
            .sweeper
            .regenerate_and_broadcast_spend_if_necessary()
            .is_err()
        {
            tracing::warn!("the sweeper could not make its transaction");
        }
        self.graph.remove_stale_channels_and_tracking();
        let written = self
            .store
            .write("", "", NETWORK_GRAPH_PERSISTENCE_KEY, self.graph.encode());
        written.map_err(|error| RequestError {
            code: ErrorCode::Internal,
            message: format!("the network graph could not be written: {error}"),
        })?;
        self.work();
        Ok(())
    }

    /// Connects blocks up to the tip and does all that follows; the height reached.
    pub(super) fn sync(&self) -> Result<u32, SyncError> {
        let after = || -> Result<(), SyncError> {
            self.work();
            Ok(())
        };
        let begin = |cause| self.begin(cause);
        let follower = |best, listener| Follower { best, listener };
        let wallet_best = self.wallet.best_block();
        if self.chain.electrs.is_some() {
            let mut followers = [follower(wallet_best, &*self.wallet as &dyn Listen)];
            let best = self.chain.follow(&mut followers, &begin, &|| Ok(()))?;
            self.begin(format!("electrs +{}", best.height - self.chain.base.height));
            self.chain.follow_electrs(vec![
                &*self.manager as &(dyn Confirm + Sync + Send),
                &*self.monitors,
                &*self.sweeper,
            ])?;
            self.work();
            gate::emit(&Report::Block {
                height: best.height,
            });
            return Ok(self.manager.current_best_block().height);
        }
        let best = self.chain.best();
        let mut followers = [
            follower(wallet_best, &*self.wallet as &dyn Listen),
            follower(best, &*self.manager),
            follower(best, &*self.monitors),
            follower(best, &*self.sweeper),
        ];
        let reached = self.chain.follow(&mut followers, &begin, &after)?;
        gate::emit(&Report::Block {
            height: reached.height,
        });
        Ok(reached.height)
    }

    /// A node without a record writes one, so that every later start finds it.
    pub(super) fn write_fresh_manager(&self) {
        self.progress().mark_dirty();
        self.work();
    }
}
