//! From the death of a process, or the loss of a connection, until its node is connected again. Can be struck by further kills
//! at any moment, and then begins anew.

use bitcoin::secp256k1::PublicKey;
use node_bin::api::{Command, NodeInfo, Reply};

use super::live::{Cut, Live, Status};
use super::recorder::{Heed, WaitEnd};
use super::rig_fault::{RigFault, Stop};
use super::stage::{Stage, all};
use crate::evidence::{Phase, RigEntry, Source};

/// How often a node that ends by itself is started again before the case is given up.
const RESTARTS_AFTER_EXIT: u32 = 1;

impl Stage {
    /// Brings all dead nodes back; the phase that was interrupted goes on afterwards.
    pub(super) async fn recover(&mut self) -> Result<(), Stop> {
        self.recorder().phase(Phase::Recover);
        loop {
            match self.recover_once().await {
                Err(Stop::Interrupted) => continue,
                // The others are back; a held node comes back when its hold ends.
                Ok(()) | Err(Stop::NodeHeld) => break,
                Err(stop) => return Err(stop),
            }
        }
        if let Some(phase) = self.progress.phase {
            self.recorder().phase(phase);
        }
        Ok(())
    }

    async fn recover_once(&mut self) -> Result<(), Stop> {
        for cut in self.recorder().take_cuts() {
            self.cut_noticed(&cut).await?;
        }
        self.deaths_noticed().await?;
        self.start_missing().await?;
        for name in self.awake() {
            self.close_as_first_thing(&name).await?;
            if !self.node(&name)?.synced {
                match self.sync(&name).await {
                    Err(Stop::NodeHeld) => continue,
                    synced => synced?,
                }
                if let Some(handle) = self.nodes.get_mut(&name) {
                    handle.synced = true;
                }
            }
        }
        self.connect_wanted().await?;
        self.quiet().await?;
        self.snapshot_recovered()
    }

    /// A node that reads nothing while it has too much to send finds out only by a ping, and the rig ticks
    /// none: it is told.
    async fn cut_noticed(&self, cut: &Cut) -> Result<(), Stop> {
        let noticed = |live: &Live| live.has_noticed(cut);
        let what = format!("{} to notice that {} is gone", cut.node, cut.peer);
        let bound = self.bounds().wait;
        let heed = Heed::FaultsOnly;
        if !self.recorder().wait(bound, &what, heed, noticed).await? {
            let node_id = self.node(&cut.peer)?.node_id;
            let _ = self
                .call(&cut.node, Command::Disconnect { node_id })
                .await?;
        }
        Ok(())
    }

    /// What a fault wants of a node as soon as it is back, before it hears of anything.
    async fn close_as_first_thing(&self, name: &str) -> Result<(), Stop> {
        for closing in self.recorder().take_closes(name) {
            let (node, channel) = (closing.by.clone(), closing.channel.clone());
            self.recorder().rig(RigEntry::ForceClosed { node, channel });
            let (channel_id, node_id) = self.channel_to_close(&closing.channel, name)?;
            let command = Command::ForceClose {
                channel_id,
                node_id,
            };
            let purpose = format!("close {} by fault", closing.channel);
            // A refusal is noted.
            let _ = self.once(&purpose, name, command).await?;
        }
        Ok(())
    }

    /// A peer that has not noticed yet would take the new connection for a second one. One that reads nothing
    /// while it has too much to send never notices: LDK's transport takes no error of a write for an end, and what
    /// would tell it is a ping.
    pub(super) async fn deaths_noticed(&self) -> Result<(), Stop> {
        let noticed = |live: &Live| live.unnoticed_deaths().is_empty().then_some(());
        let what = "the peers of a dead node to notice";
        let (soon, heed) = (self.bounds().notice, Heed::FaultsOnly);
        match self.recorder().try_wait(soon, what, heed, noticed).await {
            Ok(()) => return Ok(()),
            Err(WaitEnd::Stop(stop)) => return Err(stop),
            Err(WaitEnd::Expired) => {}
        }
        for (node, dead) in self.recorder().look(Live::unnoticed_deaths) {
            let node_id = self.node(&dead)?.node_id;
            let _ = self.call(&node, Command::Disconnect { node_id }).await?;
        }
        let bound = self.bounds().wait;
        self.recorder().wait(bound, what, heed, noticed).await
    }

    /// Starts every node that has no process and makes it ready, all side by side.
    pub(super) async fn start_missing(&mut self) -> Result<(), Stop> {
        let missing: Vec<String> = self.recorder().look(|live| {
            let nodes = live.nodes.iter();
            let dead = nodes.filter(|(name, node)| {
                let is_missing = matches!(node.status, Status::Unborn | Status::Dead);
                is_missing && !live.stopped.contains(*name)
            });
            dead.map(|(name, _)| name.clone()).collect()
        });
        for name in &missing {
            self.may_start(name)?;
        }
        let around = &self.around;
        let handles = self
            .nodes
            .values_mut()
            .filter(|handle| missing.contains(&handle.name));
        all(handles.map(|handle| async move { Ok(handle.start(around).await?) })).await?;
        // Also those that an interruption left half ready.
        let unready = self
            .nodes
            .values()
            .filter(|handle| handle.address.is_none());
        let stage: &Stage = self;
        let ready = unready.map(async |handle| {
            let info = stage.make_ready(&handle.name).await?;
            Ok((handle.name.clone(), info))
        });
        for (name, info) in all(ready).await? {
            let address = info
                .address
                .parse()
                .map_err(|error| RigFault::UnreadableAnswer {
                    node: name.clone(),
                    method: "info".to_owned(),
                    answer: format!("the address {:?}: {error}", info.address),
                })?;
            self.is_itself(&name, &info.node_id)?;
            if let Some(handle) = self.nodes.get_mut(&name) {
                handle.address = Some(address);
            }
        }
        Ok(())
    }

    fn is_itself(&self, name: &str, node_id: &PublicKey) -> Result<(), Stop> {
        let expected = self.node(name)?.node_id;
        match expected == *node_id {
            true => Ok(()),
            false => Err(Stop::Fault(RigFault::UnreadableAnswer {
                node: name.to_owned(),
                method: "info".to_owned(),
                answer: format!("node id {node_id}, but its seed gives {expected}"),
            })),
        }
    }

    /// Whether the node may have another process: the field starts a node that ended again, once;
    /// and no case goes on for ever.
    fn may_start(&self, name: &str) -> Result<(), Stop> {
        let (exits, lives, last) = self.ends_of(name);
        let Some(last) = last else {
            return Ok(());
        };
        let never_ready = self.start.is_empty() && exits > RESTARTS_AFTER_EXIT;
        if let (
            true,
            RigEntry::Exited {
                status, last_lines, ..
            },
        ) = (never_ready, last)
        {
            return Err(Stop::Fault(RigFault::NeverReady {
                node: name.to_owned(),
                program: self.node(name)?.program(&self.around),
                status,
                last_lines,
            }));
        }
        let missing = if exits > RESTARTS_AFTER_EXIT {
            format!("a process of {name} that does not end by itself")
        } else if lives >= self.bounds().lives {
            format!("an end of the kills: {name} has had {lives} processes")
        } else {
            return Ok(());
        };
        self.recorder().rig(RigEntry::WaitEnded { missing });
        Err(Stop::Judge)
    }

    /// How many processes of the node in a row have ended by themselves, how many it has had, and
    /// how the last one ended.
    fn ends_of(&self, name: &str) -> (u32, u32, Option<RigEntry>) {
        let (mut exits, mut lives, mut last) = (0, 0, None);
        for entry in self.recorder().trace() {
            let Source::Rig { did } = entry.source else {
                continue;
            };
            match &did {
                RigEntry::Started { node, .. } if node == name => lives += 1,
                RigEntry::Killed { node, .. } if node == name => {
                    exits = 0;
                    last = Some(did);
                }
                RigEntry::Exited { node, .. } if node == name => {
                    exits += 1;
                    last = Some(did);
                }
                _ => {}
            }
        }
        (exits, lives, last)
    }

    /// Waits for a started node's first idle, connects to it and asks who it is.
    async fn make_ready(&self, name: &str) -> Result<NodeInfo, Stop> {
        let handle = self.node(name)?;
        let life = handle.life();
        let seen = |live: &Live| {
            let running = live.nodes.get(name)?.status == Status::Running;
            match live.is_over(name, life) {
                true => Some(false),
                false => running.then_some(true),
            }
        };
        let what = format!("the first idle of {name}");
        let bound = self.bounds().start;
        if !self
            .recorder()
            .wait(bound, &what, Heed::FaultsOnly, seen)
            .await?
        {
            return Err(Stop::Interrupted);
        }
        if handle.control().is_none()
            && let Err(error) = handle.connect_control(&self.around).await
        {
            // Dead already, or it spoke of idleness before it listened.
            if self.recorder().look(|live| live.is_over(name, life)) {
                return Err(Stop::Interrupted);
            }
            return Err(self.not_listening(name, life, &error).await);
        }
        match self.ask(name, Command::Info {}).await? {
            Reply::Info(info) => Ok(info),
            other => Err(Stage::misfit(name, "info", &other)),
        }
    }

    async fn not_listening(&self, name: &str, life: u32, error: &std::io::Error) -> Stop {
        let over = |live: &Live| live.is_over(name, life).then_some(());
        let bound = self.bounds().exit;
        let what = format!("{name} to listen or to end");
        match self
            .recorder()
            .wait(bound, &what, Heed::FaultsOnly, over)
            .await
        {
            Ok(()) => Stop::Interrupted,
            Err(Stop::Fault(RigFault::NothingCame { waited_ms, .. })) => {
                Stop::Fault(RigFault::NotAnswering {
                    node: name.to_owned(),
                    method: "connect to the control socket".to_owned(),
                    waited_ms,
                    missing: error.to_string(),
                })
            }
            Err(stop) => stop,
        }
    }

    /// Keeps the stores of those that came back, once.
    fn snapshot_recovered(&mut self) -> Result<(), Stop> {
        for handle in self.nodes.values().filter(|handle| handle.life() > 0) {
            let before = handle.life() - 1;
            let label = format!("after {} {before}", handle.name);
            if self.progress.done.insert(label) {
                self.around
                    .scratch
                    .snapshot(&handle.name, before, "after")?;
            }
        }
        Ok(())
    }
}
