//! What several oracles need of a case, read once: its chain, its closes, its HTLCs. Owns lookups;
//! decides nothing.

use std::collections::BTreeMap;
use std::str::FromStr;

use bitcoin::hashes::Hash;
use bitcoin::hex::FromHex;
use bitcoin::{OutPoint, Txid};
use node_bin::api::{BroadcastTransaction, ChannelView, Report, RestView, UserEvent};

use super::Docket;
use super::chain_view::ChainView;
use super::chain_view::commitment::Closure;
use super::htlcs::{self, Htlc};
use super::outcome::{self, Outcome};
use crate::evidence::{Evidence, NodeReport, OpenedChannel, RigEntry, Source};
use crate::scenario::{ExpectedPayment, StepKind};

/// A funding transaction of a node's wallet has a change output besides; this is more than plenty.
const FUNDING_OUTPUTS_MAX: u16 = 16;

/// Evidence with what follows from it directly.
pub struct CaseView<'a> {
    /// All there is.
    pub evidence: &'a Evidence,
    chain: Result<ChainView, String>,
    closures: BTreeMap<String, Closure>,
    htlcs: Vec<(Htlc, Outcome)>,
}

/// A node's report with where it stands.
#[derive(Clone, Copy)]
pub(super) struct Told<'a, T> {
    /// The trace entry.
    pub seq: u64,
    /// Who.
    pub node: &'a str,
    /// In which life.
    pub life: u32,
    /// What.
    pub what: &'a T,
}

impl<'a> CaseView<'a> {
    /// Reads the evidence. What cannot be read is said by the oracles that need it.
    pub fn read(evidence: &'a Evidence) -> Self {
        let chain = ChainView::read(&evidence.chain).map_err(|error| error.to_string());
        let mut case = CaseView {
            evidence,
            chain,
            closures: BTreeMap::new(),
            htlcs: Vec::new(),
        };
        case.read_closures();
        case.read_htlcs();
        case
    }

    fn read_closures(&mut self) {
        let Ok(chain) = &self.chain else { return };
        for channel in &self.evidence.channels {
            let closure = match OutPoint::from_str(&channel.funding) {
                Ok(funding) => Closure::read(chain, &funding),
                Err(_) => Closure::Unfunded,
            };
            self.closures.insert(channel.label.clone(), closure);
        }
    }

    fn read_htlcs(&mut self) {
        let all = htlcs::read(self.evidence);
        let mut outcomes = vec![Outcome::Pending; all.len()];
        for channel in &self.evidence.channels {
            let places: Vec<usize> = (0..all.len())
                .filter(|place| all[*place].channel == channel.label)
                .collect();
            let here: Vec<&Htlc> = places.iter().map(|place| &all[*place]).collect();
            let rest = [self.rest(&channel.opener), self.rest(&channel.acceptor)];
            let closure = self
                .closures
                .get(&channel.label)
                .unwrap_or(&Closure::Unfunded);
            let is_revoked = self.cheater_of(&channel.label).is_some();
            let ended = outcome::of_channel(&here, closure, rest, &channel.channel_id, is_revoked);
            for (place, ended) in places.into_iter().zip(ended) {
                outcomes[place] = ended;
            }
        }
        self.htlcs = all.into_iter().zip(outcomes).collect();
    }

    /// The chain, or `None` after a word to the docket.
    pub(super) fn chain_or_miss(&self, docket: &mut Docket) -> Option<&ChainView> {
        let funded = |label: &String| self.closures.get(label) != Some(&Closure::Unfunded);
        match &self.chain {
            Ok(chain) => {
                let of_set_up = |c: &&OpenedChannel| !self.is_opened_by_step(&c.label);
                let mut channels = self.evidence.channels.iter().filter(of_set_up);
                let unfunded = channels.find(|c| !funded(&c.label));
                if let Some(channel) = unfunded {
                    docket.miss(
                        "evidence-missing",
                        format!(
                            "the funding {} of {} is in none of the case's blocks",
                            channel.funding, channel.label
                        ),
                    );
                    return None;
                }
                Some(chain)
            }
            Err(reason) => {
                docket.miss("evidence-missing", reason.clone());
                None
            }
        }
    }

    /// Says what is missing of the set-up's channels and of the nodes' views at rest.
    pub(super) fn miss_what_is_not_there(&self, docket: &mut Docket) {
        if self.evidence.trace.is_empty() {
            docket.miss("evidence-missing", "the trace is empty".to_owned());
        }
        for node in self.evidence.plan.scenario.nodes.keys() {
            if self.rest(node).is_none() {
                let message = format!("there is no view of {node} at rest");
                docket.miss("evidence-missing", message);
            }
        }
        for channel in &self.evidence.plan.scenario.channels {
            if self.opened(&channel.label).is_none() && !self.is_opened_by_step(&channel.label) {
                let message = format!("channel {} was never opened", channel.label);
                docket.miss("evidence-missing", message);
            }
        }
    }

    /// The channel of this label, if it was ever opened.
    pub(super) fn opened(&self, label: &str) -> Option<&'a OpenedChannel> {
        let mut channels = self.evidence.channels.iter();
        channels.find(|channel| channel.label == label)
    }

    /// Whether a step opens the channel: it may come to nothing on the way, with nothing lost.
    pub(super) fn is_opened_by_step(&self, label: &str) -> bool {
        self.evidence.plan.scenario.is_opened_by_step(label)
    }

    /// Whether a step should have opened the channel and its funding is in no block.
    pub(super) fn is_never_published(&self, label: &str) -> bool {
        self.is_opened_by_step(label) && *self.closure(label) == Closure::Unfunded
    }

    /// Whether the funding transaction of the channel with this id is in a block or in the mempool. An
    /// id is the funding's own with the output's index in its last two bytes (BOLT 2); that of a channel
    /// without a funding transaction is nobody's.
    pub(super) fn is_funded(&self, channel_id: &str) -> bool {
        let Ok(id) = <[u8; 32]>::from_hex(channel_id) else {
            return false;
        };
        let waits = |txid: &Txid| self.evidence.chain.mempool.contains(&txid.to_string());
        (0..FUNDING_OUTPUTS_MAX).any(|vout| {
            let mut bytes = id;
            let [high, low] = vout.to_be_bytes();
            bytes[30] ^= high;
            bytes[31] ^= low;
            let funding = OutPoint::new(Txid::from_byte_array(bytes), u32::from(vout));
            let in_block = |chain: &ChainView| chain.output(&funding).is_some();
            self.chain.as_ref().is_ok_and(in_block) || waits(&funding.txid)
        })
    }

    /// A node's view at rest.
    pub(super) fn rest(&self, node: &str) -> Option<&'a RestView> {
        self.evidence.rest.get(node)
    }

    /// A channel as the node lists it at rest.
    pub(super) fn channel_at_rest(
        &self,
        node: &str,
        channel: &OpenedChannel,
    ) -> Option<&'a ChannelView> {
        listed(self.evidence.rest.get(node)?, channel)
    }

    /// A channel as the node listed it after `[setup]`.
    pub(super) fn channel_at_start(
        &self,
        node: &str,
        channel: &OpenedChannel,
    ) -> Option<&'a ChannelView> {
        listed(self.evidence.start.get(node)?, channel)
    }

    /// What the chain says of a channel.
    pub(super) fn closure(&self, label: &str) -> &Closure {
        self.closures.get(label).unwrap_or(&Closure::Unfunded)
    }

    /// All HTLCs with how they ended.
    pub(super) fn htlcs(&self) -> impl Iterator<Item = (&Htlc, Outcome)> {
        self.htlcs.iter().map(|(htlc, outcome)| (htlc, *outcome))
    }

    /// Everything nodes reported.
    pub(super) fn reports(&self) -> impl Iterator<Item = Told<'a, Report>> {
        self.evidence
            .trace
            .iter()
            .filter_map(|entry| match &entry.source {
                Source::Node {
                    node,
                    life,
                    report: NodeReport::Node(report),
                } => Some(Told {
                    seq: entry.seq,
                    node,
                    life: *life,
                    what: report,
                }),
                _ => None,
            })
    }

    /// Everything users were told, of killed lives too; but for those of a node that was put back to an
    /// old state, since what it says of payments was true once.
    pub(super) fn events(&self) -> impl Iterator<Item = Told<'a, UserEvent>> {
        let restored: BTreeMap<&str, u64> = self
            .rig_entries()
            .filter_map(|(seq, entry)| match entry {
                RigEntry::Restored { node } => Some((node.as_str(), seq)),
                _ => None,
            })
            .collect();
        self.reports().filter_map(move |told| match told.what {
            Report::Event { .. } if restored.get(told.node).is_some_and(|seq| told.seq > *seq) => {
                None
            }
            Report::Event { event } => Some(Told {
                seq: told.seq,
                node: told.node,
                life: told.life,
                what: event,
            }),
            _ => None,
        })
    }

    /// Every transaction that a node gave out, whether the network took it or not, as often as it did.
    pub(super) fn published(&self) -> impl Iterator<Item = Told<'a, BroadcastTransaction>> {
        self.reports().flat_map(|told| {
            let transactions = match told.what {
                Report::Broadcast { transactions, .. } => transactions.as_slice(),
                _ => &[],
            };
            transactions.iter().map(move |made| Told {
                seq: told.seq,
                node: told.node,
                life: told.life,
                what: made,
            })
        })
    }

    /// Whether the rig put the node back to an old state: what it says was true once.
    pub(super) fn was_put_back(&self, node: &str) -> bool {
        self.rig_entries()
            .any(|(_, did)| matches!(did, RigEntry::Restored { node: of } if of == node))
    }

    /// Everything the rig did.
    pub(super) fn rig_entries(&self) -> impl Iterator<Item = (u64, &'a RigEntry)> {
        self.evidence
            .trace
            .iter()
            .filter_map(|entry| match &entry.source {
                Source::Rig { did } => Some((entry.seq, did)),
                Source::Node { .. } => None,
            })
    }

    /// Whether the scenario has the channel closed at the end, or a fault closed it.
    pub(super) fn is_meant_to_close(&self, label: &str) -> bool {
        let closed = &self.evidence.plan.scenario.expect.closed;
        closed.iter().any(|expected| expected == label)
            || self.closed_by_faults().any(|closed| closed == label)
    }

    /// Who is meant to publish a revoked commitment of the channel, if anybody is.
    pub(super) fn cheater_of(&self, label: &str) -> Option<&'a str> {
        let revoked = &self.evidence.plan.scenario.expect.revoked;
        revoked.get(label).map(String::as_str)
    }

    /// Whether the node is meant to publish a revoked commitment.
    pub(super) fn is_cheater(&self, node: &str) -> bool {
        let revoked = &self.evidence.plan.scenario.expect.revoked;
        revoked.values().any(|cheater| cheater == node)
    }

    /// The channels that faults had a node close.
    fn closed_by_faults(&self) -> impl Iterator<Item = &'a str> {
        self.rig_entries().filter_map(|(_, entry)| match entry {
            RigEntry::ForceClosed { channel, .. } => Some(channel.as_str()),
            _ => None,
        })
    }

    /// Whether a fault had a node close this channel.
    pub(super) fn is_closed_by_a_fault(&self, label: &str) -> bool {
        self.closed_by_faults().any(|closed| closed == label)
    }

    /// Whether the scenario has such a step.
    pub(super) fn has_step(&self, is_it: impl Fn(&StepKind) -> bool) -> bool {
        let mut steps = self.evidence.plan.scenario.act.iter();
        steps.any(|step| is_it(&step.kind))
    }

    /// Where in the trace the first such step begins.
    pub(super) fn first_begun(&self, is_it: impl Fn(&StepKind) -> bool) -> Option<u64> {
        let steps = &self.evidence.plan.scenario.act;
        self.rig_entries().find_map(|(seq, entry)| match entry {
            RigEntry::StepBegun { label } => {
                let mut steps = steps.iter();
                let is_begun = steps.any(|step| step.label == *label && is_it(&step.kind));
                is_begun.then_some(seq)
            }
            _ => None,
        })
    }

    /// What must come of a payment, if that was said. Where a fault closes a channel it is for the moment to decide
    /// whether a payment that nobody has taken yet is sent, and only that every edge ends alike is sure. What its
    /// payee refuses cannot be sent, and what a user was let claim has to be.
    pub(super) fn expected_payment(&self, id: &str) -> Option<ExpectedPayment> {
        let expected = self
            .evidence
            .plan
            .scenario
            .expect
            .payments
            .get(id)
            .copied()?;
        let is_raced = self.closed_by_faults().next().is_some();
        match expected {
            ExpectedPayment::Sent if is_raced && !self.is_taken(id) => {
                Some(ExpectedPayment::Either)
            }
            expected => Some(expected),
        }
    }

    /// Whether the payee's user gave the command to claim it, and was not refused.
    fn is_taken(&self, id: &str) -> bool {
        let is_claim =
            |kind: &StepKind| matches!(kind, StepKind::Claim { payment } if payment == id);
        let Some(begun) = self.first_begun(is_claim) else {
            return false;
        };
        let after = self.rig_entries().filter(|(seq, _)| *seq > begun);
        let mut of_step = after.map(|(_, entry)| entry);
        let end = of_step.find(|entry| match entry {
            RigEntry::Refused { method, .. } => method == "claim",
            RigEntry::StepEnded { .. } => true,
            _ => false,
        });
        matches!(end, Some(RigEntry::StepEnded { .. }))
    }
}

fn listed<'v>(view: &'v RestView, channel: &OpenedChannel) -> Option<&'v ChannelView> {
    view.channels
        .iter()
        .find(|listed| listed.channel_id == channel.channel_id)
}
