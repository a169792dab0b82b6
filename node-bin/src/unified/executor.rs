//! Carries out what the core wants done, one effect after the other, with a crash point before and after
//! each that leaves the process. Owns the engine, the writes that wait, and the answers to commands;
//! decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitcoin::{Amount, ScriptBuf, Transaction};
use faults::gate;
use lightning::chain::chaininterface::{BroadcasterInterface, FEERATE_FLOOR_SATS_PER_KW};
use lightning::events::bump_transaction::BumpTransactionEvent;
use lightning::events::bump_transaction::sync::{BumpTransactionEventHandlerSync, WalletSync};
use lightning::ln::msgs::{ChannelAnnouncement, ChannelUpdate, MessageSendEvent};
use lightning::ln::types::ChannelId;
use node_core::effect::{CommandError, Content, Done, Effect, Store, TellId, UserEvent, Write};
use node_core::engine::Engine;
use node_core::input::{Command, Input, Surroundings};
use node_core::keys::Environment;
use node_core::node::Node as Core;
use node_core::onchain::bumping::{SecondStage, channel_close, htlc_resolutions};
use node_core::source::PaymentId;

use super::dice::Dice;
use super::records::{Records, StoreError, hex};
use super::routing::{self, Wanted};
use super::writes::Writes;
use super::{events, messages};
use crate::api::Command as ApiCommand;
use crate::shared::Logger;
use crate::shared::basis::now_seconds;
use crate::shared::broadcaster::Broadcaster;
use crate::shared::commands::bytes32;
use crate::shared::control::request_put_first;
use crate::shared::host::Host;
use crate::shared::wallet::NodeWallet;
use crate::shared::wire;

/// LDK's fee bumping, with the core's signer.
pub type Bumper = BumpTransactionEventHandlerSync<
    Arc<Broadcaster>,
    Arc<WalletSync<Arc<NodeWallet>, Logger>>,
    Arc<Environment>,
    Logger,
>;

/// What the executor works with.
pub struct Tools {
    /// The store.
    pub records: Records,
    /// To bitcoind.
    pub broadcaster: Arc<Broadcaster>,
    /// For LDK's router.
    pub logger: Logger,
    /// Pays with the wallet's coins for what pays no fee of its own.
    pub bumper: Bumper,
}

/// The engine and whoever does what it says.
pub struct Executor {
    engine: Engine,
    tools: Tools,
    writes: Writes,
    core_dice: Dice,
    write_dice: Dice,
    route_dice: Dice,
    /// Id of the last command.
    commands: u64,
    /// Answers that have come and nobody has taken.
    answers: BTreeMap<u64, Result<Done, CommandError>>,
}

/// Ends the process: a node that went on without its record would lose money.
fn die(error: &StoreError) -> ! {
    eprintln!("deadbolt node: {error}; see the store's disk");
    std::process::abort();
}

/// What the store was told to do is done, or the process ends.
fn stored(result: Result<(), StoreError>) {
    if let Err(error) = result {
        die(&error);
    }
}

/// A node's sources of chance: one for each purpose.
pub struct AllDice {
    /// For the core.
    pub core: Dice,
    /// For the order of writes.
    pub writes: Dice,
    /// For the router.
    pub routes: Dice,
}

impl AllDice {
    /// Of this seed in this life.
    pub fn new(seed: [u8; 32], life: u32) -> Self {
        AllDice {
            core: Dice::new(seed, life, "core"),
            writes: Dice::new(seed, life, "writes"),
            routes: Dice::new(seed, life, "routes"),
        }
    }
}

/// What comes with the next input.
pub fn surroundings(dice: &mut Dice) -> Surroundings {
    Surroundings {
        entropy: dice.throw(),
        now_s: now_seconds(),
    }
}

/// Into the node's own graph, and to every peer.
fn announce(host: &Host, msg: ChannelAnnouncement, update: ChannelUpdate) {
    host.send(wire::describe(
        MessageSendEvent::BroadcastChannelAnnouncement {
            msg,
            update_msg: Some(update),
        },
    ));
}

impl Executor {
    /// Drives this engine.
    pub fn new(engine: Engine, tools: Tools, writes: Writes, dice: AllDice) -> Self {
        Executor {
            engine,
            tools,
            writes,
            core_dice: dice.core,
            write_dice: dice.writes,
            route_dice: dice.routes,
            commands: 0,
            answers: BTreeMap::new(),
        }
    }

    /// The core, to read.
    pub fn core(&self) -> &Core {
        &self.engine.node
    }

    /// The store, for what is no channel's and no payment's.
    pub fn records(&self) -> &Records {
        &self.tools.records
    }

    /// Something happened; it is handled by the next `run`.
    pub fn input(&mut self, input: Input) {
        self.engine.input(input);
    }

    /// Does everything that follows from the inputs so far, all writes included but those that are held.
    pub fn run(&mut self, host: &Host) {
        loop {
            self.take_requests_put_first();
            let dice = &mut self.core_dice;
            if let Some(effect) = self.engine.next(&mut || surroundings(dice)) {
                self.carry_out(host, effect);
            } else if let Some(write) = self.writes.due(&mut self.write_dice) {
                self.perform(&write);
            } else {
                return;
            }
        }
    }

    /// Does one of the writes that wait, with all that follows; `false`: none waits.
    pub fn write_one(&mut self, host: &Host) -> bool {
        let Some(write) = self.writes.next(&mut self.write_dice) else {
            return false;
        };
        self.perform(&write);
        self.run(host);
        true
    }

    /// How many writes wait to be told to be done.
    pub fn waiting_writes(&self) -> u64 {
        self.writes.waiting()
    }

    /// Gives the core a command, does all that follows, and takes the answer; `None`: there was none. Writes
    /// that are held are done as long as there is no answer, for it may rest on them.
    pub fn command(&mut self, host: &Host, command: Command) -> Option<Result<Done, CommandError>> {
        let id = self.enter(command);
        self.run(host);
        while !self.answers.contains_key(&id) && self.write_one(host) {}
        self.answers.remove(&id)
    }

    /// A fault's requests do not wait for the writes that are under way.
    fn take_requests_put_first(&mut self) {
        while let Some(request) = request_put_first() {
            match request {
                ApiCommand::ForceClose { channel_id, .. } => match bytes32(&channel_id) {
                    Ok(id) => {
                        let channel_id = ChannelId::from_bytes(id);
                        self.enter(Command::ForceClose { channel_id });
                    }
                    Err(error) => tracing::error!(%error, "a fault closes no channel"),
                },
                other => tracing::error!(?other, "a fault asks for what only a command can"),
            }
        }
    }

    fn enter(&mut self, command: Command) -> u64 {
        self.commands += 1;
        let id = self.commands;
        self.engine.input(Input::Command { id, command });
        id
    }

    fn carry_out(&mut self, host: &Host, effect: Effect) {
        match effect {
            Effect::Persist(write) => self.persist(host, write),
            Effect::Trim {
                channel_id,
                from,
                to,
            } => stored(self.tools.records.trim(&channel_id, from, to)),
            Effect::Archive { channel_id } => stored(self.tools.records.archive(&channel_id)),
            Effect::ForgetPayment { payment_id } => {
                stored(self.tools.records.forget_payment(&payment_id));
            }
            Effect::Send { peer, message, .. } => {
                host.send(wire::describe(messages::outgoing(peer, message)));
            }
            Effect::Broadcast { transactions, .. } => {
                let transactions: Vec<&Transaction> = transactions.iter().collect();
                self.tools.broadcaster.broadcast_transactions(&transactions);
            }
            Effect::BumpCommitment {
                channel_id,
                feerate_per_kw,
            } => self.bump_commitment(channel_id, feerate_per_kw),
            Effect::BumpHtlcs {
                channel_id,
                feerate_per_kw,
                htlcs,
            } => self.bump_htlcs(channel_id, feerate_per_kw, &htlcs),
            Effect::Tell { id, event } => self.tell(host, id, &event),
            Effect::Answer { id, result } => {
                self.answers.insert(id, result);
            }
            Effect::Fund {
                temporary_channel_id,
                script,
                amount_sat,
            } => self.fund_channel(host, temporary_channel_id, script, amount_sat),
            Effect::Unfund { transaction } => at_point("unfund", &host.names.cause(), || {
                host.wallet.forget(&transaction);
            }),
            Effect::FindRoute {
                payment_id,
                amount_msat,
                final_cltv_expiry_delta,
                wish,
            } => {
                let random_bytes = self.route_dice.throw();
                let wanted = Wanted {
                    amount_msat,
                    final_cltv_expiry_delta,
                    wish: &wish,
                    random_bytes,
                };
                self.find_route(host, payment_id, &wanted);
            }
            Effect::AnnounceChannel {
                announcement,
                update,
            } => announce(host, *announcement, *update),
            Effect::AnnouncePolicy { update } => announce_policy(host, *update),
            Effect::Disconnect { peer } => at_point("disconnect", &host.names.peer(&peer), || {
                host.peers.disconnect_by_node_id(peer);
            }),
            // The engine's own: it never hands it out.
            Effect::DropSends { .. } => {}
        }
    }

    fn find_route(&mut self, host: &Host, payment_id: PaymentId, wanted: &Wanted<'_>) {
        let id = hex(&payment_id);
        let role = host.names.payment_role(Some(&id), None);
        let find = || routing::find(host, &self.tools.logger, self.core(), wanted);
        let paths = at_point("find_route", &role, find);
        self.engine.input(Input::RouteFound { payment_id, paths });
    }

    fn fund_channel(&mut self, host: &Host, id: ChannelId, script: ScriptBuf, amount_sat: u64) {
        let fund = || self.fund(host, script, amount_sat);
        let transaction = at_point("fund", &host.names.cause(), fund);
        self.engine.input(Input::Funded {
            temporary_channel_id: id,
            transaction,
        });
    }

    /// Publishes the holder's commitment, with a child that pays for both if the holder has an anchor.
    fn bump_commitment(&self, channel_id: ChannelId, feerate_per_kw: u32) {
        let core = self.core();
        let Some(channel) = core.channels.get(&channel_id) else {
            return;
        };
        let environment = &core.environment;
        let Some(commitment) = channel.transaction_to_publish(environment) else {
            return;
        };
        let parameters = &channel.record.parameters;
        let event = channel_close(environment, parameters, commitment.clone(), feerate_per_kw);
        if !event.is_some_and(|event| self.bump(event)) {
            // By its own fee, then: it may do, and without it nothing of the channel can be claimed.
            self.tools
                .broadcaster
                .broadcast_transactions(&[&commitment]);
        }
    }

    /// Has this event handled at the highest rate, of its own and lower ones, for which it comes to a broadcast.
    /// Whether it did.
    fn bump(&self, mut event: BumpTransactionEvent) -> bool {
        let broadcaster = &self.tools.broadcaster;
        affordable(*feerate_of(&mut event), |rate| {
            let before = broadcaster.asked();
            *feerate_of(&mut event) = rate;
            self.tools.bumper.handle_event(&event);
            broadcaster.asked() > before
        })
    }

    fn bump_htlcs(&self, channel_id: ChannelId, feerate_per_kw: u32, htlcs: &[SecondStage]) {
        let core = self.core();
        let Some(channel) = core.channels.get(&channel_id) else {
            return;
        };
        let record = &channel.record;
        for event in htlc_resolutions(&core.environment, record, htlcs, feerate_per_kw) {
            self.bump(event);
        }
    }

    /// A transaction that pays for a channel, or why there is none.
    fn fund(&self, host: &Host, script: ScriptBuf, amount_sat: u64) -> Result<Transaction, String> {
        let height = self.core().best_block.height;
        let amount = Amount::from_sat(amount_sat);
        let channels = self.core().channels_to_end() + 1;
        host.wallet
            .pay_to(script, amount, host.fees.get(), height, channels)
            .map_err(|error| error.to_string())
    }

    fn persist(&mut self, host: &Host, write: Write) {
        if let Content::Snapshot(record) = &write.content {
            let parameters = &record.parameters;
            let funding = parameters.funding.into_bitcoin_outpoint();
            host.names.register(
                parameters.channel_id,
                &parameters.counterparty_node_id,
                funding,
            );
        }
        if let Some(write) = self.writes.want(write) {
            self.perform(&write);
        }
    }

    fn perform(&mut self, write: &Write) {
        stored(self.tools.records.write(write));
        let store: Store = write.store;
        self.engine.persisted(store, write.sequence);
    }

    fn tell(&mut self, host: &Host, id: TellId, event: &UserEvent) {
        let told = events::describe(&host.names, self.core(), event);
        told.give(&host.names, || {
            if let Some(command) = events::reaction(&host.names, event) {
                self.enter(command);
            }
            self.engine.input(Input::Told { id });
        });
    }
}

fn feerate_of(event: &mut BumpTransactionEvent) -> &mut u32 {
    match event {
        BumpTransactionEvent::ChannelClose {
            package_target_feerate_sat_per_1000_weight: rate,
            ..
        }
        | BumpTransactionEvent::HTLCResolution {
            target_feerate_sat_per_1000_weight: rate,
            ..
        } => rate,
    }
}

/// Tries this at lower and lower fee rates, by halves, until it succeeds: the wallet may have too few coins for
/// what is asked, and a low fee is better than none. Whether it did.
fn affordable(feerate_per_kw: u32, mut succeeds: impl FnMut(u32) -> bool) -> bool {
    let mut rate = feerate_per_kw;
    while !succeeds(rate) {
        if rate <= FEERATE_FLOOR_SATS_PER_KW {
            return false;
        }
        rate = (rate / 2).max(FEERATE_FLOOR_SATS_PER_KW);
    }
    true
}

/// Does something between the points of its family.
fn at_point<T>(family: &str, role: &str, does: impl FnOnce() -> T) -> T {
    let _ = gate::point(&format!("{family}.before"), &role);
    let done = does();
    let _ = gate::point(&format!("{family}.after"), &role);
    done
}

fn announce_policy(host: &Host, update: ChannelUpdate) {
    let event = MessageSendEvent::BroadcastChannelUpdate { msg: update };
    host.send(wire::describe(event));
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn what_the_wallet_cannot_pay_for_is_tried_for_less_down_to_what_relays() {
        let tried = RefCell::new(Vec::new());
        let attempt = |least: u32| {
            tried.borrow_mut().clear();
            affordable(2_000, |rate| {
                tried.borrow_mut().push(rate);
                rate <= least
            })
        };
        assert!(attempt(2_000));
        assert_eq!(*tried.borrow(), [2_000]);
        assert!(attempt(600));
        assert_eq!(*tried.borrow(), [2_000, 1_000, 500]);
        assert!(!attempt(0));
        assert_eq!(*tried.borrow(), [2_000, 1_000, 500, 253]);
    }
}
