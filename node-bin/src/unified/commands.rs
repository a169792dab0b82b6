//! The commands of the control API, carried out on the core. Each ends with all that follows from it done.

use bitcoin::secp256k1::PublicKey;
use faults::gate;
use lightning::chain::{BestBlock, Listen};
use lightning::ln::types::ChannelId;
use lightning::types::payment::{PaymentHash, PaymentPreimage};
use node_core::effect::{CommandError, Done};
use node_core::input::{Command as CoreCommand, Input, PayCommand};

use super::blocks::BlockFeed;
use super::node::Node;
use super::records::hex;
use super::{invoices, requests, views};
use crate::api::{Command, ErrorCode, Hop, NodeInfo, Reply, Report, RequestError};
use crate::shared::LIGHTNING_VERSION;
use crate::shared::commands::{bad, bytes32, key_digest, not_found, refused};
use crate::shared::names::PaymentName;
use crate::shared::sync::{Follower, SyncError};

fn channel_id(text: &str) -> Result<ChannelId, RequestError> {
    Ok(ChannelId::from_bytes(bytes32(text)?))
}

impl Node {
    /// Has the core do it.
    fn command(&mut self, command: CoreCommand) -> Result<Done, RequestError> {
        match self.executor.command(&self.host, command) {
            Some(Ok(done)) => Ok(done),
            Some(Err(CommandError::NotFound(what))) => Err(not_found(what)),
            Some(Err(CommandError::Refused(why))) => Err(refused(why)),
            None => Err(RequestError {
                code: ErrorCode::Internal,
                message: "the core did not answer".into(),
            }),
        }
    }

    /// Carries out a command that changes something.
    pub(super) fn change(&mut self, command: Command) -> Result<Reply, RequestError> {
        match command {
            Command::Open {
                key,
                node_id,
                capacity_sat,
                push_msat,
                announce,
            } => {
                self.command(CoreCommand::Open {
                    user_channel_id: key_digest(&key),
                    peer: node_id,
                    capacity_sat,
                    push_msat,
                    announce,
                })?;
                Ok(Reply::Done)
            }
            Command::Close {
                channel_id: id,
                node_id,
            } => {
                let channel_id = self.channel_with(&id, &node_id)?;
                self.command(CoreCommand::Close { channel_id })?;
                Ok(Reply::Done)
            }
            Command::ForceClose {
                channel_id: id,
                node_id,
            } => {
                let channel_id = self.channel_with(&id, &node_id)?;
                self.command(CoreCommand::ForceClose { channel_id })?;
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
            } => self.pay_invoice(&key, invoice, paths),
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
                let preimage = PaymentPreimage(self.host.names.preimage(&name.key));
                self.command(CoreCommand::Claim { preimage })?;
                Ok(Reply::Done)
            }
            Command::Fail { payment_hash } => {
                let payment_hash = PaymentHash(bytes32(&payment_hash)?);
                self.command(CoreCommand::Fail { payment_hash })?;
                Ok(Reply::Done)
            }
            other => self.answer(other),
        }
    }

    /// Carries out any other command.
    pub(super) fn answer(&mut self, command: Command) -> Result<Reply, RequestError> {
        let core = self.executor.core();
        match command {
            Command::Info {} => Ok(Reply::Info(self.info())),
            Command::Channels {} => Ok(Reply::Channels(views::channels(&self.host.names, core))),
            Command::Payments {} => Ok(Reply::Payments(views::payments(core))),
            Command::Rest {} => Ok(Reply::Rest(Box::new(views::rest(&self.host, core)))),
            Command::Sync {} => {
                let best = core.best_block;
                let reached = self.follow(BestBlock::new(best.hash, best.height))?;
                gate::emit(&Report::Block {
                    height: reached.height,
                });
                Ok(Reply::Synced {
                    height: reached.height,
                })
            }
            Command::Write {} => {
                self.host.begin("write".into());
                self.executor.write_one(&self.host);
                Ok(Reply::Done)
            }
            Command::Tick {} => {
                self.host.begin("tick".into());
                self.executor.input(Input::Tick);
                self.executor.run(&self.host);
                self.host.tick_graph(self.executor.records())?;
                Ok(Reply::Done)
            }
            Command::FeeRate { sat_per_kw } => {
                self.host.begin("fee_rate".into());
                self.host.fees.set(sat_per_kw);
                let sat_per_kw = self.host.fees.get();
                self.command(CoreCommand::FeeRate { sat_per_kw })?;
                Ok(Reply::Done)
            }
            // Nothing of this node has a thread of its own, so nothing is ever held.
            Command::Release { point } => Ok(Reply::Released {
                was_held: gate::release(&point),
            }),
            other => Err(bad(format!("not a command for here: {other:?}"))),
        }
    }

    fn info(&self) -> NodeInfo {
        let core = self.executor.core();
        NodeInfo {
            node_id: core.environment.node_id(),
            kind: "unified".into(),
            version: format!(
                "deadbolt {} on lightning {LIGHTNING_VERSION}",
                env!("CARGO_PKG_VERSION")
            ),
            address: self.host.address(),
            block_height: core.best_block.height,
            crash_points: gate::HAS_POINTS,
        }
    }

    fn channel_with(&self, id: &str, peer: &PublicKey) -> Result<ChannelId, RequestError> {
        let channel_id = channel_id(id)?;
        match self.executor.core().channels.get(&channel_id) {
            Some(channel) if channel.peer() == *peer => Ok(channel_id),
            _ => Err(not_found("no such channel with that peer")),
        }
    }

    fn invoice(
        &mut self,
        key: String,
        amount_msat: u64,
        hold: bool,
    ) -> Result<Reply, RequestError> {
        let core = self.executor.core();
        let hash: PaymentHash = PaymentPreimage(self.host.names.preimage(&key)).into();
        let hints = self.policies.hints(core);
        let invoice = invoices::make(&core.environment, hash, amount_msat, hints).map_err(bad)?;
        let payment_hash = hash.to_string();
        self.host
            .names
            .expect_payment(&payment_hash, PaymentName { key, hold });
        Ok(Reply::Invoice {
            invoice: invoice.to_string(),
            payment_hash,
        })
    }

    fn pay_invoice(
        &mut self,
        key: &str,
        text: String,
        paths: Vec<Vec<Hop>>,
    ) -> Result<Reply, RequestError> {
        self.pay(key, requests::pay(key, text, paths)?)
    }

    fn keysend(
        &mut self,
        key: &str,
        node_id: PublicKey,
        amount_msat: u64,
        paths: Vec<Vec<Hop>>,
    ) -> Result<Reply, RequestError> {
        let preimage = PaymentPreimage(self.host.names.preimage(key));
        self.pay(
            key,
            requests::keysend(key, preimage, node_id, amount_msat, paths),
        )
    }

    fn pay(&mut self, key: &str, payment: PayCommand) -> Result<Reply, RequestError> {
        if payment.paths.iter().any(Vec::is_empty) {
            return Err(bad("a path without hops"));
        }
        let payment_hash = payment.payment_hash.to_string();
        self.host.names.made_payment(&hex(&payment.payment_id), key);
        let done = self.command(CoreCommand::Pay(Box::new(payment)))?;
        Ok(Reply::Payment {
            payment_hash,
            already: done == Done::Already,
        })
    }

    /// Connects blocks up to the tip, from the last one that the core has seen, with all that follows.
    pub(super) fn follow(&mut self, seen: BestBlock) -> Result<BestBlock, SyncError> {
        if let Some(electrs) = self.electrs.take() {
            let reached = self.follow_electrs(&electrs, seen);
            self.electrs = Some(electrs);
            return reached;
        }
        let Node { host, executor, .. } = self;
        let feed = BlockFeed::up_to(host.chain.tip()?.height);
        let mut followers = [
            Follower {
                best: host.wallet.best_block(),
                listener: &*host.wallet as &dyn Listen,
            },
            Follower {
                best: seen,
                listener: &feed,
            },
        ];
        let begin = |cause| host.begin(cause);
        let mut after = || {
            for input in feed.take() {
                executor.input(input);
            }
            executor.run(host);
        };
        host.chain.follow(&mut followers, &begin, &mut after)
    }
}
