//! The commands of the control API, carried out on LDK. Each ends with all that follows from it done.

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
use lightning_invoice::Bolt11Invoice;

use super::node::Node;
use crate::api::{Command, Hop, NodeInfo, Reply, Report, RequestError};
use crate::shared::LIGHTNING_VERSION;
use crate::shared::commands::{
    ATTEMPTS_BY_GOSSIP, FINAL_CLTV_EXPIRY_DELTA, INVOICE_EXPIRY_SECONDS, bad, bytes32, key_digest,
    not_found, refused,
};
use crate::shared::names::PaymentName;
use crate::shared::sync::{Follower, SyncError};

fn api_error(error: APIError) -> RequestError {
    match error {
        APIError::ChannelUnavailable { err } => not_found(err),
        APIError::APIMisuseError { err } => refused(err),
        error => refused(format!("{error:?}")),
    }
}

fn payment_id(key: &str) -> PaymentId {
    PaymentId(key_digest(key))
}

impl Node {
    /// Carries out a command that changes something.
    pub(super) fn change(&self, command: Command) -> Result<Reply, RequestError> {
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
                let name = self.host.names.incoming(&payment_hash).ok_or_else(|| {
                    not_found(format!(
                        "no invoice of this node has the hash {payment_hash}"
                    ))
                })?;
                self.manager
                    .claim_funds(PaymentPreimage(self.host.names.preimage(&name.key)));
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

    /// Carries out any other command.
    pub(super) fn answer(&self, command: Command) -> Result<Reply, RequestError> {
        match command {
            Command::Info {} => Ok(Reply::Info(self.info())),
            Command::Channels {} => Ok(Reply::Channels(self.channel_views())),
            Command::Payments {} => Ok(Reply::Payments(self.payment_views())),
            Command::Rest {} => Ok(Reply::Rest(Box::new(self.rest_view()))),
            Command::Sync {} => {
                let height = self.sync()?;
                Ok(Reply::Synced { height })
            }
            // LDK's persister keeps nothing waiting.
            Command::Write {} => Ok(Reply::Done),
            Command::Tick {} => {
                self.tick()?;
                Ok(Reply::Done)
            }
            Command::FeeRate { sat_per_kw } => {
                self.host.fees.set(sat_per_kw);
                Ok(Reply::Done)
            }
            Command::Release { point } => {
                let was_held = gate::release(&point);
                if was_held {
                    self.host.begin(format!("release {}", point.name));
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
            version: format!("lightning {}", LIGHTNING_VERSION),
            address: self.host.address(),
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
        let digest = key_digest(key);
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
        let preimage = PaymentPreimage(self.host.names.preimage(&key));
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
        self.host
            .names
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
        if self.host.names.is_decided(&id.to_string()) {
            return Ok(Reply::Payment {
                payment_hash,
                already: true,
            });
        }
        self.host.names.made_payment(&id.to_string(), key);
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
        let preimage = PaymentPreimage(self.host.names.preimage(key));
        let payment_hash = PaymentHash::from(preimage).to_string();
        let id = payment_id(key);
        if self.host.names.is_decided(&id.to_string()) {
            return Ok(Reply::Payment {
                payment_hash,
                already: true,
            });
        }
        self.host.names.made_payment(&id.to_string(), key);
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
            return Retry::Attempts(ATTEMPTS_BY_GOSSIP);
        }
        self.router.plan(id, paths);
        Retry::Attempts(0)
    }

    fn tick(&self) -> Result<(), RequestError> {
        self.host.begin("tick".into());
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
        self.host.tick_graph(&*self.store)?;
        self.work();
        Ok(())
    }

    /// Connects blocks up to the tip and does all that follows; the height reached.
    pub(super) fn sync(&self) -> Result<u32, SyncError> {
        let chain = &self.host.chain;
        let begin = |cause| self.host.begin(cause);
        let follower = |best, listener| Follower { best, listener };
        let wallet_best = self.host.wallet.best_block();
        if chain.electrs.is_some() {
            let mut followers = [follower(wallet_best, &*self.host.wallet as &dyn Listen)];
            let best = chain.follow(&mut followers, &begin, &mut || ())?;
            self.host
                .begin(format!("electrs +{}", best.height - chain.base.height));
            chain.follow_electrs(vec![
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
        let best = chain.best();
        let mut followers = [
            follower(wallet_best, &*self.host.wallet as &dyn Listen),
            follower(best, &*self.manager),
            follower(best, &*self.monitors),
            follower(best, &*self.sweeper),
        ];
        let reached = chain.follow(&mut followers, &begin, &mut || self.work())?;
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
