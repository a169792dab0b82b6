//! `[setup]`: from nothing to nodes with coins, connections and channels, all of them at rest and
//! armed. Nothing is hurt here on purpose.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::address::NetworkUnchecked;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Address, Amount, Network, ScriptBuf};
use futures_util::future::join_all;
use node_bin::api::{ChannelView, Command, Reply, RestView, UserEvent};

use super::live::Live;
use super::recorder::{Heed, WaitEnd};
use super::rig_fault::{RigFault, Stop};
use super::stage::{Pair, Stage, all};
use crate::evidence::OpenedChannel;
use crate::scenario::Channel;

/// Deep enough for a channel to be ready and to be announced.
const FUNDING_BLOCKS: u32 = 6;

/// Coins that a node's funds come in, so that a channel and a fee bump find one each.
const COINS_PER_NODE: u64 = 2;

/// After so many rounds nodes are connected anew, to ask for gossip from the beginning.
const GOSSIP_ROUNDS: u32 = 3;

/// Gossip is not counted, so quiet does not tell that it has arrived: after so long without a
/// report the timers, which make nodes gossip, are ticked again.
const GOSSIP_SLICE: Duration = Duration::from_millis(100);

impl Stage {
    /// All of `[setup]`.
    pub(super) async fn set_up(&mut self) -> Result<(), Stop> {
        self.start_all().await?;
        self.fund_wallets().await?;
        self.mine(1).await?;
        self.sync_all().await?;
        for handle in self.nodes.values_mut() {
            handle.synced = true;
        }
        self.want_links_of_all_channels();
        self.connect_channels(&self.plan.scenario.channels).await?;
        let scenario = &self.plan.scenario;
        let mut channels = scenario.channels.clone();
        channels.retain(|channel| !scenario.is_opened_by_step(&channel.label));
        for channel in &channels {
            self.open(channel).await?;
        }
        if !channels.is_empty() {
            self.mine(FUNDING_BLOCKS).await?;
            self.let_electrs_catch_up();
            self.sync_all().await?;
            self.channels_ready(&channels).await?;
        }
        self.quiet().await?;
        self.start = self.rest_all().await?;
        self.channels = self.opened(&channels)?;
        self.around.channels.set(&self.channels);
        self.gossip_has_spread(&channels).await?;
        self.quiet().await?;
        self.arm_all().await
    }

    /// A program that ends before it is ready gets another chance, and then is a fault of the rig.
    async fn start_all(&mut self) -> Result<(), Stop> {
        loop {
            match self.start_missing().await {
                Err(Stop::Interrupted) => {}
                started => return started,
            }
        }
    }

    /// Often these are the case's last blocks: electrs indexes them while the steps run, and not
    /// while somebody waits for it. If it cannot, whoever needs it says why.
    fn let_electrs_catch_up(&self) {
        let chain = Arc::clone(&self.chain);
        tokio::spawn(async move { drop(chain.electrs_synced().await) });
    }

    /// Pays every node its funds in one transaction.
    async fn fund_wallets(&self) -> Result<(), Stop> {
        let rich = self
            .nodes
            .values()
            .filter(|handle| handle.node.funds_sat > 0);
        let pay = rich.map(|handle| async {
            let coin = Amount::from_sat(handle.node.funds_sat / COINS_PER_NODE);
            let script = self.wallet_script(&handle.name).await?;
            Ok(vec![(script, coin); COINS_PER_NODE as usize])
        });
        let outputs: Vec<(ScriptBuf, Amount)> = all(pay).await?.into_iter().flatten().collect();
        if !outputs.is_empty() {
            self.chain.fund(&outputs).await?;
        }
        Ok(())
    }

    async fn wallet_script(&self, name: &str) -> Result<ScriptBuf, Stop> {
        let unusable = |answer: String| RigFault::UnreadableAnswer {
            node: name.to_owned(),
            method: "address".to_owned(),
            answer,
        };
        match self.ask(name, Command::Address {}).await? {
            Reply::Address(text) => text
                .parse::<Address<NetworkUnchecked>>()
                .and_then(|address| address.require_network(Network::Regtest))
                .map(|address| address.script_pubkey())
                .map_err(|error| unusable(format!("{text}: {error}")).into()),
            other => Err(Stage::misfit(name, "address", &other)),
        }
    }

    /// Connects those that share a channel, the opener of their first one acting, side by side.
    async fn connect_channels(&self, channels: &[Channel]) -> Result<(), Stop> {
        let mut met = BTreeSet::new();
        let first = channels
            .iter()
            .filter(|channel| met.insert(ordered(&channel.opener, &channel.acceptor)));
        let pairs: Vec<Pair> = first
            .map(|channel| (channel.opener.clone(), channel.acceptor.clone()))
            .collect();
        let connected = all(pairs.iter().map(|pair| self.connect(pair))).await?;
        for (pair, connected) in pairs.iter().zip(connected) {
            if !connected {
                return Err(Stop::Fault(RigFault::Refused {
                    node: pair.0.clone(),
                    method: "connect".to_owned(),
                    message: format!("no connection to {} after several attempts", pair.1),
                }));
            }
        }
        Ok(())
    }

    /// Opens one channel and waits until both sides have its funding transaction.
    async fn open(&self, channel: &Channel) -> Result<(), Stop> {
        let open = self.open_command(channel)?;
        self.ask(&channel.opener, open).await?;
        let is_pending = |event: &UserEvent| matches!(event, UserEvent::ChannelPending { channel: label, .. } if *label == channel.label);
        let seen = |live: &Live| both_were_told(live, channel, is_pending);
        let what = format!("both sides' channel_pending of {}", channel.label);
        let bound = self.bounds().wait;
        self.recorder()
            .wait(bound, &what, Heed::Deaths, seen)
            .await?;
        // The wallets' next coins are chosen from what they know now.
        self.quiet().await
    }

    async fn channels_ready(&self, channels: &[Channel]) -> Result<(), Stop> {
        for channel in channels {
            let is_ready = |event: &UserEvent| matches!(event, UserEvent::ChannelReady { channel: label, .. } if *label == channel.label);
            let seen = |live: &Live| both_were_told(live, channel, is_ready);
            let what = format!("both sides' channel_ready of {}", channel.label);
            let bound = self.bounds().wait;
            self.recorder()
                .wait(bound, &what, Heed::Deaths, seen)
                .await?;
        }
        Ok(())
    }

    /// The channels as their openers see them.
    fn opened(&self, channels: &[Channel]) -> Result<Vec<OpenedChannel>, Stop> {
        let opened = channels.iter().map(|channel| {
            let unusable = |what: &str| {
                Stop::Fault(RigFault::UnreadableAnswer {
                    node: channel.opener.clone(),
                    method: "rest".to_owned(),
                    answer: format!("no {what} for channel {}, which is ready", channel.label),
                })
            };
            let view = self.start.get(&channel.opener);
            let view = view.and_then(|rest| view_of(rest, &channel.label));
            let view = view.ok_or_else(|| unusable("view"))?;
            Ok(OpenedChannel {
                label: channel.label.clone(),
                opener: channel.opener.clone(),
                acceptor: channel.acceptor.clone(),
                capacity_sat: channel.capacity_sat,
                push_msat: channel.push_msat,
                funding: view
                    .funding
                    .clone()
                    .ok_or_else(|| unusable("funding output"))?,
                channel_id: view.channel_id.clone(),
                short_channel_id: Some(
                    view.short_channel_id
                        .ok_or_else(|| unusable("short_channel_id"))?,
                ),
            })
        });
        opened.collect()
    }

    /// Waits until every node's graph has every announced channel and the nodes on both its ends.
    async fn gossip_has_spread(&mut self, channels: &[Channel]) -> Result<(), Stop> {
        let public = || channels.iter().filter(|channel| channel.announce);
        let announced: BTreeSet<&str> = public().map(|channel| channel.label.as_str()).collect();
        let of_label = self
            .channels
            .iter()
            .filter(|opened| announced.contains(opened.label.as_str()));
        let wanted: BTreeSet<u64> = of_label
            .filter_map(|opened| opened.short_channel_id)
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let tellers = public().flat_map(|channel| [&channel.opener, &channel.acceptor]);
        let tellers = tellers.map(|name| Ok(self.node(name)?.node_id));
        let tellers: BTreeSet<PublicKey> = tellers.collect::<Result<_, RigFault>>()?;
        let deadline = tokio::time::Instant::now() + self.bounds().wait;
        for round in 1.. {
            let missing = self.missing_in_graphs(&wanted, &tellers).await?;
            if missing.is_empty() {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                return Err(Stop::Fault(RigFault::NothingCame {
                    missing: format!(
                        "the announced channels and their nodes in the graphs of {}",
                        missing.join(", ")
                    ),
                    waited_ms: self.bounds().wait.as_millis() as u64,
                    standing: self.recorder().look(Live::describe),
                }));
            }
            self.tick_all().await?;
            // An update that came before its announcement is not sent again, except to a peer that
            // connects and asks for all there is.
            if round % GOSSIP_ROUNDS == 0 {
                self.reconnect_all().await?;
            }
            let before = self.recorder().look(|live| live.seq);
            let more = |live: &Live| (live.seq > before).then_some(());
            match self
                .recorder()
                .try_wait(GOSSIP_SLICE, "gossip", Heed::Deaths, more)
                .await
            {
                Err(WaitEnd::Stop(stop)) => return Err(stop),
                Ok(()) | Err(WaitEnd::Expired) => {}
            }
        }
        Ok(())
    }

    /// Drops all connections and makes them again.
    async fn reconnect_all(&mut self) -> Result<(), Stop> {
        for (one, other) in &self.wanted {
            let node_id = self.node(other)?.node_id;
            self.ask(one, Command::Disconnect { node_id }).await?;
            let down = |live: &Live| live.is_link_down(one, other).then_some(());
            let what = format!("{one} and {other} to be disconnected");
            let bound = self.bounds().wait;
            self.recorder()
                .wait(bound, &what, Heed::Deaths, down)
                .await?;
        }
        self.connect_wanted().await?;
        self.quiet().await
    }

    async fn missing_in_graphs(
        &self,
        wanted: &BTreeSet<u64>,
        tellers: &BTreeSet<PublicKey>,
    ) -> Result<Vec<String>, Stop> {
        let mut missing = Vec::new();
        for (name, reply) in self.ask_all(&Command::Graph {}).await? {
            match reply {
                Reply::Graph(graph) => {
                    let has_channels = wanted.iter().all(|scid| graph.channels.contains(scid));
                    let has_nodes = tellers.iter().all(|node| graph.nodes.contains(node));
                    if !has_channels || !has_nodes {
                        missing.push(name);
                    }
                }
                other => return Err(Stage::misfit(&name, "graph", &other)),
            }
        }
        Ok(missing)
    }

    /// Starts the counting of points everywhere, with the faults of the first lives armed.
    async fn arm_all(&self) -> Result<(), Stop> {
        let arm = |name: String| async move {
            let life = self.node(&name)?.life();
            let points = self.around.armed(&name, life);
            self.ask(&name, Command::Arm { points }).await
        };
        let armed = join_all(self.awake().into_iter().map(arm)).await;
        all(armed.into_iter().map(std::future::ready))
            .await
            .map(drop)
    }
}

/// The names in order.
pub(super) fn ordered(one: &str, other: &str) -> Pair {
    match one <= other {
        true => (one.to_owned(), other.to_owned()),
        false => (other.to_owned(), one.to_owned()),
    }
}

/// A node's view of a channel.
pub(super) fn view_of<'a>(rest: &'a RestView, label: &str) -> Option<&'a ChannelView> {
    rest.channels.iter().find(|view| view.label == label)
}

fn both_were_told(
    live: &Live,
    channel: &Channel,
    is_it: impl Fn(&UserEvent) -> bool,
) -> Option<()> {
    let told = |name| live.events_of(name).any(&is_it);
    (told(&channel.opener) && told(&channel.acceptor)).then_some(())
}
