//! `[[race]]`: the closes that `explore` tries at every point of a node.

use std::collections::BTreeSet;

use toml::Spanned;

use super::outcome::Outcomes;
use super::topology::Topology;
use crate::scenario::error::{Complaints, advice};
use crate::scenario::keys::Word;
use crate::scenario::model::{Race, StepKind};
use crate::scenario::raw::RawRace;

/// What a race may speak of.
pub(super) struct Ground<'w> {
    pub(super) topology: &'w Topology,
    pub(super) outcomes: &'w Outcomes,
    pub(super) labels: &'w BTreeSet<String>,
    pub(super) opened_by_steps: BTreeSet<String>,
}

impl<'w> Ground<'w> {
    /// Of a file with these steps.
    pub(super) fn new<'s>(
        topology: &'w Topology,
        outcomes: &'w Outcomes,
        labels: &'w BTreeSet<String>,
        act: impl IntoIterator<Item = &'s StepKind>,
    ) -> Self {
        let opened = act.into_iter().filter_map(|kind| match kind {
            StepKind::Open { channel } => Some(channel.clone()),
            _ => None,
        });
        Ground {
            topology,
            outcomes,
            labels,
            opened_by_steps: opened.collect(),
        }
    }

    /// Checks the races.
    pub(super) fn check(&self, raw: Vec<RawRace>, complaints: &mut Complaints<'_>) -> Vec<Race> {
        raw.into_iter()
            .map(|race| self.check_race(race, complaints))
            .collect()
    }

    fn check_race(&self, raw: RawRace, complaints: &mut Complaints<'_>) -> Race {
        self.topology.node(&raw.at, complaints);
        if let Some(from) = &raw.from
            && !self.labels.contains(from.get_ref())
        {
            let known = advice(from.get_ref(), self.labels.iter().map(String::as_str));
            let message = format!("no step is labelled `{}`{known}", from.get_ref());
            complaints.at(from.span(), message);
        }
        if raw.close.get_ref().is_empty() {
            let message = "say which channels close, as [[\"A-B\"], [\"A-B\", \"B-C\"]]";
            complaints.at(raw.close.span(), message);
        }
        let mut close = Vec::new();
        for group in raw.close.into_inner() {
            if group.get_ref().is_empty() {
                complaints.at(group.span(), "name the channels that close together");
            }
            let mut labels: Vec<String> = Vec::new();
            for label in group.into_inner() {
                self.check_channel(&raw.at, &label, complaints);
                if labels.contains(label.get_ref()) {
                    let message = format!("`{}` is in this group already", label.get_ref());
                    complaints.at(label.span(), message);
                }
                labels.push(label.into_inner());
            }
            close.push(labels);
        }
        Race {
            at: raw.at.into_inner(),
            from: raw.from.map(Spanned::into_inner),
            close,
        }
    }

    fn check_channel(&self, at: &Word, label: &Word, complaints: &mut Complaints<'_>) {
        let Some(known) = self.topology.channel(label, complaints) else {
            return;
        };
        let text = label.get_ref();
        let message = if known.channel.peer_of(at.get_ref()).is_none() {
            format!("{} is not in `{text}`, so it cannot close it", at.get_ref())
        } else if self.opened_by_steps.contains(text) {
            format!("a step opens `{text}`: a race needs a channel that the set-up opens")
        } else if self.outcomes.closes(text) {
            format!("`{text}` is closed anyway: take it out of `closed`, or out of this race")
        } else {
            return;
        };
        complaints.at(label.span(), message);
    }
}
