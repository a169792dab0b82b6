//! `[[act]]`: the scenario's steps, one after the other. A step that a kill interrupts is taken up
//! again after the recovery; whatever of it was done is not done again.

use node_bin::api::Command;

use super::live::{Live, Status};
use super::payments::has_come;
use super::recorder::{Heed, WaitEnd};
use super::rig_fault::{RigFault, Stop};
use super::set_up::ordered;
use super::stage::Stage;
use crate::evidence::{MadePayment, OpenedChannel, RigEntry};
use crate::scenario::{NodeKind, PaymentMoment, Step, StepKind};

impl Stage {
    /// All steps. Stops early when something awaited will not come.
    pub(super) async fn act(&mut self) -> Result<(), Stop> {
        for step in self.plan.scenario.act.clone() {
            let label = step.label.clone();
            self.recorder().rig(RigEntry::StepBegun { label });
            loop {
                match self.step(&step).await {
                    Ok(()) => break,
                    Err(Stop::Interrupted) => self.recover().await?,
                    // Its command is on the way, and is carried out when the node goes on.
                    Err(Stop::NodeHeld) => break,
                    Err(Stop::GaveUp) => return Ok(()),
                    Err(stop) => return Err(stop),
                }
            }
            let label = step.label.clone();
            self.recorder().rig(RigEntry::StepEnded { label });
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<(), Stop> {
        let label = step.label.as_str();
        match &step.kind {
            StepKind::Pay(payment) => self.pay(payment, None).await,
            StepKind::PayMany { payments } => self.pay_many(payments).await,
            StepKind::Await { payment, until } => self.wait_for_payment(payment, *until).await,
            StepKind::Claim { payment } => {
                let made = self.made(payment)?;
                let payment_hash = made.payment_hash.clone();
                let command = Command::Claim { payment_hash };
                self.once(label, &made.to, command).await.map(drop)
            }
            StepKind::Fail { payment } => {
                let made = self.made(payment)?;
                let payment_hash = made.payment_hash.clone();
                let command = Command::Fail { payment_hash };
                self.once(label, &made.to, command).await.map(drop)
            }
            StepKind::Disconnect {
                between: [one, other],
            } => self.disconnect(label, one, other).await,
            StepKind::Connect {
                between: [one, other],
            } => {
                self.wanted.insert(ordered(one, other));
                self.progress.given_up.clear();
                // The first acts; what fails here is noted there.
                self.connect(&(one.clone(), other.clone())).await?;
                self.connect_wanted().await
            }
            StepKind::Open { channel } => self.open_step(channel).await,
            StepKind::FeeRate { node, sat_per_kw } => {
                self.set_fee_rate(label, node, *sat_per_kw).await
            }
            StepKind::Close { channel, by } => {
                let (channel_id, node_id) = self.channel_to_close(channel, by)?;
                let command = Command::Close {
                    channel_id,
                    node_id,
                };
                self.once(label, by, command).await.map(drop)
            }
            StepKind::ForceClose { channel, by } => {
                let (channel_id, node_id) = self.channel_to_close(channel, by)?;
                let command = Command::ForceClose {
                    channel_id,
                    node_id,
                };
                self.once(label, by, command).await.map(drop)
            }
            StepKind::Mine { blocks, empty } => self.mine_step(label, *blocks, *empty).await,
            StepKind::Reorg { blocks } => self.reorg_step(label, *blocks).await,
            StepKind::Snapshot { node, name } => self.snapshot_step(label, node, name).await,
            StepKind::Restore { node, snapshot } => self.restore(label, node, snapshot).await,
            StepKind::Stop { node } => self.stop(label, node).await,
            StepKind::Start { node } => self.start_again(label, node),
            StepKind::Quiet => self.quiet().await,
            StepKind::Tick => self.tick_all().await,
            StepKind::Restart { node } => self.restart(label, node).await,
            StepKind::Forget { node } => self.forget(label, node).await,
        }
    }

    async fn disconnect(&mut self, label: &str, one: &str, other: &str) -> Result<(), Stop> {
        self.wanted.remove(&ordered(one, other));
        if self.agreed(one, other).await? {
            let node_id = self.node(other)?.node_id;
            let command = Command::Disconnect { node_id };
            // A refusal is noted; what counts is that the connection goes down.
            let _ = self.once(label, one, command).await?;
        }
        let down = |live: &Live| live.is_link_down(one, other).then_some(());
        let what = format!("{one} and {other} to be disconnected");
        let bound = self.bounds().wait;
        self.recorder().wait(bound, &what, Heed::Deaths, down).await
    }

    /// A channel's id and its other side's, for a command.
    pub(super) fn channel_to_close(
        &self,
        label: &str,
        by: &str,
    ) -> Result<(String, bitcoin::secp256k1::PublicKey), RigFault> {
        let unknown = || RigFault::BadPlan(format!("there is no channel {label:?}"));
        let mut channels = self.channels.iter();
        let channel = channels
            .find(|channel| channel.label == label)
            .ok_or_else(unknown)?;
        let peer = other_side(channel, by)
            .ok_or_else(|| RigFault::BadPlan(format!("{by} has no part in channel {label:?}")))?;
        Ok((channel.channel_id.clone(), self.node(peer)?.node_id))
    }

    /// The later lives of the node get the new rate from the beginning.
    async fn set_fee_rate(&mut self, label: &str, name: &str, sat_per_kw: u32) -> Result<(), Stop> {
        let command = Command::FeeRate { sat_per_kw };
        // A refusal is noted.
        let _ = self.once(label, name, command).await?;
        if let Some(handle) = self.nodes.get_mut(name) {
            handle.fee_rate_sat_per_kw = sat_per_kw;
        }
        Ok(())
    }

    async fn mine_step(&mut self, label: &str, blocks: u32, empty: bool) -> Result<(), Stop> {
        // Which transactions a block gets must not depend on how fast a node was.
        self.quiet().await?;
        if self.progress.done.insert(format!("mined {label}")) {
            match empty {
                true => self.mine_empty(blocks).await?,
                false => self.mine(blocks).await?,
            }
        }
        self.sync_all().await?;
        self.quiet().await
    }

    async fn reorg_step(&mut self, label: &str, blocks: u32) -> Result<(), Stop> {
        self.quiet().await?;
        if self.progress.done.insert(format!("reorg {label}")) {
            self.reorganise(blocks).await?;
        }
        self.sync_all().await?;
        self.quiet().await
    }

    async fn snapshot_step(&mut self, label: &str, node: &str, name: &str) -> Result<(), Stop> {
        self.quiet().await?;
        if self.progress.done.insert(format!("snapshot {label}")) {
            self.around.scratch.save(node, name)?;
        }
        Ok(())
    }

    /// The node comes back with what it knew then, and nobody tells it what has happened since.
    async fn restore(&mut self, label: &str, node: &str, snapshot: &str) -> Result<(), Stop> {
        let done = format!("restored {label}");
        if self.progress.done.contains(&done) {
            return Ok(());
        }
        self.quiet().await?;
        self.progress.done.insert(done);
        self.wanted
            .retain(|(one, other)| one != node && other != node);
        let killed = self.kill(node).await;
        if matches!(killed, Err(Stop::Interrupted)) {
            self.around.scratch.put_back(node, snapshot)?;
            let node = node.to_owned();
            self.recorder().rig(RigEntry::Restored { node });
        }
        killed
    }

    async fn stop(&mut self, label: &str, node: &str) -> Result<(), Stop> {
        let done = format!("stopped {label}");
        if self.progress.done.contains(&done) {
            return Ok(());
        }
        self.quiet().await?;
        self.progress.done.insert(done);
        self.recorder().set_stopped(node, true);
        match self.kill(node).await {
            Err(Stop::Interrupted) => self.deaths_noticed().await,
            stopped => stopped,
        }
    }

    fn start_again(&mut self, label: &str, node: &str) -> Result<(), Stop> {
        match self.progress.done.insert(format!("started {label}")) {
            true => {
                self.recorder().set_stopped(node, false);
                Err(Stop::Interrupted)
            }
            false => Ok(()),
        }
    }

    async fn restart(&mut self, label: &str, node: &str) -> Result<(), Stop> {
        let done = format!("killed {label}");
        if self.progress.done.contains(&done) {
            return Ok(());
        }
        self.quiet().await?;
        self.progress.done.insert(done);
        self.kill(node).await
    }

    /// The node comes back with its monitors and without its records of payments.
    async fn forget(&mut self, label: &str, name: &str) -> Result<(), Stop> {
        if self.node(name)?.node.kind != NodeKind::Unified {
            let why = format!("a stock node such as {name} has no records of payments to forget");
            return Err(RigFault::BadPlan(why).into());
        }
        let done = format!("forgotten {label}");
        if self.progress.done.contains(&done) {
            return Ok(());
        }
        self.quiet().await?;
        self.progress.done.insert(done);
        let killed = self.kill(name).await;
        if matches!(killed, Err(Stop::Interrupted)) {
            self.around.scratch.forget_payments(name)?;
            let node = name.to_owned();
            self.recorder().rig(RigEntry::Forgot { node });
        }
        killed
    }

    /// Kills a node and says that it has to be brought back.
    pub(super) async fn kill(&self, name: &str) -> Result<(), Stop> {
        let handle = self.node(name)?;
        let life = handle.life();
        handle.kill();
        let dead = |live: &Live| live.is_over(name, life).then_some(());
        let what = format!("the end of {name}");
        let bound = self.bounds().exit;
        self.recorder()
            .wait(bound, &what, Heed::FaultsOnly, dead)
            .await?;
        Err(Stop::Interrupted)
    }

    /// Waits for a payment. When nothing is under way any more and it has still not come, then
    /// timers are ticked some times and blocks are mined as far as they can help; if that does not bring
    /// it, nothing will.
    async fn wait_for_payment(&mut self, id: &str, moment: PaymentMoment) -> Result<(), Stop> {
        let payment = self.made(id)?.clone();
        let mut ticks = 0;
        let mut mined = 0;
        loop {
            let came = |live: &Live| has_come(live, &payment, moment);
            if self.came_or_quiet(&payment, moment).await? {
                return Ok(());
            }
            if ticks < self.bounds().ticks {
                ticks += 1;
                self.tick_all().await?;
                continue;
            }
            let blocks = self
                .blocks_that_help(self.bounds().settle_blocks - mined)
                .await?;
            if blocks == 0 || self.recorder().look(came) {
                if self.recorder().look(came) {
                    return Ok(());
                }
                return self.give_up(&payment, moment, "though nothing is under way any more");
            }
            mined += blocks;
            self.mine(blocks).await?;
            self.sync_all().await?;
            self.tick_all().await?;
        }
    }

    /// Waits until the payment has come so far (`true`), or nothing is under way (`false`).
    async fn came_or_quiet(
        &self,
        payment: &MadePayment,
        moment: PaymentMoment,
    ) -> Result<bool, Stop> {
        let seen = |live: &Live| match has_come(live, payment, moment) {
            true => Some(true),
            false => live.is_quiet().then_some(false),
        };
        let what = format!("payment {} to be {}", payment.id, word(moment));
        let bound = self.bounds().awaited;
        match self
            .recorder()
            .try_wait(bound, &what, Heed::Deaths, seen)
            .await
        {
            Ok(came) => Ok(came),
            Err(WaitEnd::Stop(stop)) => Err(stop),
            Err(WaitEnd::Expired) => self.give_up(payment, moment, "in time").map(|()| false),
        }
    }

    fn give_up(&self, payment: &MadePayment, moment: PaymentMoment, how: &str) -> Result<(), Stop> {
        // A close at any moment may decide it the other way.
        let decided =
            |live: &Live| live.closed_by_fault && has_come(live, payment, PaymentMoment::Decided);
        if self.recorder().look(decided) {
            return Err(Stop::GaveUp);
        }
        let standing = self.recorder().look(Live::describe);
        let missing = format!(
            "payment {} from {} to {} to be {} {how}; the nodes stood so:\n{standing}",
            payment.id,
            payment.from,
            payment.to,
            word(moment),
        );
        self.recorder().rig(RigEntry::WaitEnded { missing });
        Err(Stop::GaveUp)
    }

    /// Ends the lives of nodes that a hold still keeps from running: what it waited for has not
    /// come and cannot come any more.
    pub(super) async fn end_holds(&self) -> Result<(), Stop> {
        let held = self.recorder().look(|live| {
            let mut nodes = live.nodes.iter();
            let held = nodes.find(|(_, node)| live.is_held(node) && node.status != Status::Dead);
            held.map(|(name, _)| name.clone())
        });
        match held {
            Some(name) => self.kill(&name).await,
            None => Ok(()),
        }
    }
}

/// The other side of a channel.
pub(super) fn other_side<'a>(channel: &'a OpenedChannel, name: &str) -> Option<&'a str> {
    match (channel.opener == name, channel.acceptor == name) {
        (true, _) => Some(&channel.acceptor),
        (_, true) => Some(&channel.opener),
        _ => None,
    }
}

fn word(moment: PaymentMoment) -> &'static str {
    match moment {
        PaymentMoment::Claimable => "claimable",
        PaymentMoment::Claimed => "claimed",
        PaymentMoment::Sent => "sent",
        PaymentMoment::Failed => "failed",
        PaymentMoment::Decided => "sent or failed",
    }
}
