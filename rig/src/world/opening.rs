//! Channels that a step opens, where crashes are explored: the step itself, and learning of the channel
//! from whichever side lists it. Those of `[setup]` are `set_up`'s.

use std::collections::BTreeMap;

use node_bin::api::{Command, RestView};

use super::rig_fault::{RigFault, Stop};
use super::set_up::{ordered, view_of};
use super::stage::Stage;
use crate::evidence::{OpenedChannel, RigEntry};
use crate::scenario::{Channel, Payment};

/// How often a channel is asked for, between two deaths, before it is left to the judge.
const OPEN_ATTEMPTS: u32 = 3;

/// How many blocks more a channel gets to become ready after the steps.
const READY_BLOCKS: u32 = 6;

impl Stage {
    /// Opens a channel, and waits until both sides list it with its funding. What a kill undid is asked
    /// for again under the same key, as its user would; what it did not undo is not done twice.
    pub(super) async fn open_step(&mut self, label: &str) -> Result<(), Stop> {
        let channel = self.channel_of_step(label)?;
        let pair = (channel.opener.clone(), channel.acceptor.clone());
        for _ in 0..OPEN_ATTEMPTS {
            if !self.connect(&pair).await? {
                break;
            }
            let given = format!("open {label}");
            if !self.progress.done.insert(given) {
                self.recorder().rig(RigEntry::Reissued {
                    node: channel.opener.clone(),
                    method: "open".to_owned(),
                });
            }
            let command = self.open_command(&channel)?;
            if let Err(refusal) = self.call(&channel.opener, command).await? {
                self.refused(&channel.opener, "open", &refusal);
            }
            self.quiet().await?;
            let rests = self.rest_all().await?;
            self.learn_channels(&rests);
            if both_list(&rests, &channel) {
                return Ok(());
            }
        }
        let missing = format!("both sides of {label} to list it with its funding");
        self.recorder().rig(RigEntry::WaitEnded { missing });
        Ok(())
    }

    /// The command that opens a channel.
    pub(super) fn open_command(&self, channel: &Channel) -> Result<Command, RigFault> {
        Ok(Command::Open {
            key: channel.label.clone(),
            node_id: self.node(&channel.acceptor)?.node_id,
            capacity_sat: channel.capacity_sat,
            push_msat: channel.push_msat,
            announce: channel.announce,
        })
    }

    fn channel_of_step(&self, label: &str) -> Result<Channel, RigFault> {
        let mut channels = self.plan.scenario.channels.iter();
        let channel = channels.find(|channel| channel.label == label);
        channel
            .cloned()
            .ok_or_else(|| RigFault::BadPlan(format!("there is no channel {label:?}")))
    }

    /// Notes the channels that steps opened, as these views have them.
    pub(super) fn learn_channels(&mut self, rests: &BTreeMap<String, RestView>) {
        let scenario = &self.plan.scenario;
        let by_step = scenario
            .channels
            .iter()
            .filter(|channel| scenario.is_opened_by_step(&channel.label));
        for opened in by_step.filter_map(|channel| opened(rests, channel)) {
            let mut known = self.channels.iter_mut();
            match known.find(|known| known.label == opened.label) {
                Some(known) => *known = opened,
                None => self.channels.push(opened),
            }
        }
        self.around.channels.set(&self.channels);
    }

    /// A channel that this payment needs and that is not open, if there is one.
    pub(super) async fn not_open_for(&mut self, payment: &Payment) -> Result<Option<String>, Stop> {
        let missing = |stage: &Stage| {
            let labels = payment.paths.iter().flatten();
            let is_open = |label: &&String| {
                let mut channels = stage.channels.iter();
                channels.any(|known| known.label == **label && known.short_channel_id.is_some())
            };
            let mut by_step = labels.filter(|label| stage.plan.scenario.is_opened_by_step(label));
            by_step.find(|label| !is_open(label)).cloned()
        };
        if missing(self).is_some() {
            let rests = self.rest_all().await?;
            self.learn_channels(&rests);
        }
        Ok(missing(self))
    }

    /// Whether blocks could make a channel ready that a step opened: it is listed, should stay open, and
    /// has not had its share yet.
    pub(super) fn is_a_channel_on_its_way(&self, rests: &BTreeMap<String, RestView>) -> bool {
        let scenario = &self.plan.scenario;
        let unready = |channel: &OpenedChannel| {
            let mut views = [&channel.opener, &channel.acceptor].into_iter();
            views.any(|name| {
                let view = rests
                    .get(name)
                    .and_then(|rest| view_of(rest, &channel.label));
                view.is_some_and(|view| !view.ready)
            })
        };
        self.progress.ready_blocks < READY_BLOCKS
            && self.channels.iter().any(|channel| {
                scenario.is_opened_by_step(&channel.label)
                    && !scenario.expect.closed.contains(&channel.label)
                    && unready(channel)
            })
    }

    /// Wants the connections that the channels need, those that steps open among them.
    pub(super) fn want_links_of_all_channels(&mut self) {
        let channels = self.plan.scenario.channels.iter();
        let links = channels.map(|channel| ordered(&channel.opener, &channel.acceptor));
        self.wanted = links.collect();
    }
}

/// The channel as its opener sees it, else as the other side does; `None` without a funding output.
fn opened(rests: &BTreeMap<String, RestView>, channel: &Channel) -> Option<OpenedChannel> {
    let mut sides = [&channel.opener, &channel.acceptor].into_iter();
    sides.find_map(|name| {
        let view = view_of(rests.get(name)?, &channel.label)?;
        Some(OpenedChannel {
            label: channel.label.clone(),
            opener: channel.opener.clone(),
            acceptor: channel.acceptor.clone(),
            capacity_sat: channel.capacity_sat,
            push_msat: channel.push_msat,
            funding: view.funding.clone()?,
            channel_id: view.channel_id.clone(),
            short_channel_id: view.short_channel_id,
        })
    })
}

/// Whether both sides list the same channel, with its funding.
fn both_list(rests: &BTreeMap<String, RestView>, channel: &Channel) -> bool {
    let of = |name: &str| {
        let view = view_of(rests.get(name)?, &channel.label)?;
        Some((view.channel_id.clone(), view.funding.clone()?))
    };
    let (ours, theirs) = (of(&channel.opener), of(&channel.acceptor));
    ours.is_some() && ours == theirs
}
