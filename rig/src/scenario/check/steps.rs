//! The steps in order: what each refers to has to exist by then and to be still possible. Owns the
//! life of payments and channels along `[[act]]`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};

use toml::Spanned;

use super::balances::Balances;
use super::groups::{Groups, named_as};
use super::outcome::Outcomes;
use super::topology::Topology;
use super::{check_name, payments};
use crate::scenario::error::{Complaints, advice};
use crate::scenario::keys::Word;
use crate::scenario::model::{ExpectedPayment, NodeKind, Payment, PaymentMoment, Step, StepKind};
use crate::scenario::raw::{RawPayment, RawStep, RawStepKind};

/// The most blocks that one step mines: regtest chains age.
const MAX_BLOCKS: u32 = 1_000;

/// How far a payment has come along the steps.
struct Started {
    place: Range<usize>,
    hold: bool,
    /// `claim` or `fail`, once a step has said so.
    told: Option<&'static str>,
}

impl Started {
    fn of(payment: &RawPayment) -> Self {
        Started {
            place: payment.id.span(),
            hold: payment.hold,
            told: None,
        }
    }
}

/// What fee rates a step may set, in satoshis per 1000 weight units: from what nodes relay.
const FEE_RATES: RangeInclusive<u32> = 253..=100_000;

/// What is known of the file besides its steps.
#[derive(Clone, Copy)]
pub(super) struct Known<'w> {
    pub(super) topology: &'w Topology,
    pub(super) outcomes: &'w Outcomes,
    pub(super) groups: &'w Groups,
}

/// Walks along the steps.
pub(super) struct Walk<'w> {
    pub(super) topology: &'w Topology,
    pub(super) outcomes: &'w Outcomes,
    groups: &'w Groups,
    pub(super) balances: Balances,
    /// Channels that a step has closed, each with that step's number.
    pub(super) closed: BTreeMap<String, usize>,
    /// Channels that a later step opens, each with that step's number.
    pub(super) unopened: BTreeMap<String, usize>,
    /// Payment ids with the number of the step that starts them.
    starts: BTreeMap<String, usize>,
    started: BTreeMap<String, Started>,
    /// Copies of data by name, with the node they are of.
    snapshots: BTreeMap<String, String>,
    /// Nodes that are down.
    stopped: BTreeSet<String>,
}

/// Checks all steps and writes out their defaults. Also gives the labels of all steps, those with
/// complaints included.
pub(super) fn check(
    raw: Vec<RawStep>,
    known: Known<'_>,
    complaints: &mut Complaints<'_>,
) -> (Vec<Step>, BTreeSet<String>) {
    let mut walk = Walk::before(&raw, known);
    let mut labels = BTreeSet::new();
    let mut steps = Vec::new();
    for (index, step) in raw.into_iter().enumerate() {
        let number = index + 1;
        let place = step.label.as_ref().map_or(step.span, Spanned::span);
        if let Some(label) = &step.label {
            check_name(label, "a step", complaints);
        }
        let label = step
            .label
            .map_or_else(|| format!("step-{number}"), Spanned::into_inner);
        if !labels.insert(label.clone()) {
            complaints.at(place, format!("a step is labelled `{label}` already"));
        }
        let kinds = walk.steps(step.kind, number, complaints);
        let last = kinds.len();
        // The label is the last one's: the step has ended when that has.
        for (place, kind) in (1..).zip(kinds) {
            let label = match place == last {
                true => label.clone(),
                false => format!("{label}.{place}"),
            };
            steps.push(Step { label, kind });
        }
    }
    walk.finish(complaints);
    (steps, labels)
}

impl<'w> Walk<'w> {
    /// At the beginning of these steps.
    fn before(raw: &[RawStep], known: Known<'w>) -> Self {
        let Known {
            topology,
            outcomes,
            groups,
        } = known;
        let mut walk = Walk {
            topology,
            outcomes,
            groups,
            balances: Balances::at_start(topology),
            closed: BTreeMap::new(),
            unopened: BTreeMap::new(),
            starts: BTreeMap::new(),
            started: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            stopped: BTreeSet::new(),
        };
        for (number, step) in (1..).zip(raw) {
            match &step.kind {
                RawStepKind::Pay(payment) => {
                    for id in groups.ids(payment) {
                        walk.starts.entry(id).or_insert(number);
                    }
                }
                RawStepKind::Open(channel) => {
                    let label = channel.get_ref().clone();
                    walk.unopened.entry(label).or_insert(number);
                }
                _ => {}
            }
        }
        walk
    }

    /// One step of the file; several if it speaks of several payments.
    fn steps(
        &mut self,
        raw: RawStepKind,
        number: usize,
        complaints: &mut Complaints<'_>,
    ) -> Vec<StepKind> {
        let before = complaints.count();
        let mut kinds = Vec::new();
        for raw in self.groups.spread(raw) {
            kinds.extend(self.step(raw, number, complaints));
            // What is wrong with one is wrong with all.
            if complaints.count() > before {
                break;
            }
        }
        kinds
    }

    fn step(
        &mut self,
        raw: RawStepKind,
        number: usize,
        complaints: &mut Complaints<'_>,
    ) -> Option<StepKind> {
        Some(match raw {
            RawStepKind::Pay(payment) => self.pay_all(payment, complaints)?,
            RawStepKind::Await { payment, until } => {
                self.check_await(&payment, &until, complaints);
                StepKind::Await {
                    payment: payment.into_inner(),
                    until: until.into_inner(),
                }
            }
            RawStepKind::Claim(payment) => {
                self.tell(&payment, "claim", complaints);
                StepKind::Claim {
                    payment: payment.into_inner(),
                }
            }
            RawStepKind::Fail(payment) => {
                self.tell(&payment, "fail", complaints);
                StepKind::Fail {
                    payment: payment.into_inner(),
                }
            }
            RawStepKind::Disconnect(between) => StepKind::Disconnect {
                between: self.peers(between, complaints),
            },
            RawStepKind::Connect(between) => StepKind::Connect {
                between: self.peers(between, complaints),
            },
            RawStepKind::Open(channel) => {
                self.open(&channel, complaints);
                StepKind::Open {
                    channel: channel.into_inner(),
                }
            }
            RawStepKind::FeeRate { node, sat_per_kw } => {
                self.fee_rate(&node, &sat_per_kw, complaints);
                StepKind::FeeRate {
                    node: node.into_inner(),
                    sat_per_kw: sat_per_kw.into_inner(),
                }
            }
            RawStepKind::Close { channel, by } => {
                self.close(&channel, &by, number, complaints);
                StepKind::Close {
                    channel: channel.into_inner(),
                    by: by.into_inner(),
                }
            }
            RawStepKind::ForceClose { channel, by } => {
                self.close(&channel, &by, number, complaints);
                StepKind::ForceClose {
                    channel: channel.into_inner(),
                    by: by.into_inner(),
                }
            }
            other => self.step_of_chain_or_node(other, complaints)?,
        })
    }

    /// A step that speaks of blocks or of a node as a whole.
    fn step_of_chain_or_node(
        &mut self,
        raw: RawStepKind,
        complaints: &mut Complaints<'_>,
    ) -> Option<StepKind> {
        Some(match raw {
            RawStepKind::Mine { blocks, empty } => mine(blocks, empty, complaints),
            RawStepKind::Reorg(blocks) => reorg(blocks, complaints),
            RawStepKind::Snapshot { node, name } => self.snapshot(node, name, complaints),
            RawStepKind::Restore { node, snapshot } => self.restore(node, snapshot, complaints),
            RawStepKind::Stop(node) => {
                self.stop(&node, complaints);
                StepKind::Stop {
                    node: node.into_inner(),
                }
            }
            RawStepKind::Start(node) => {
                self.start(&node, complaints);
                StepKind::Start {
                    node: node.into_inner(),
                }
            }
            RawStepKind::Quiet => StepKind::Quiet,
            RawStepKind::Tick => StepKind::Tick,
            RawStepKind::Restart(node) => {
                self.topology.node(&node, complaints);
                StepKind::Restart {
                    node: node.into_inner(),
                }
            }
            RawStepKind::Forget(node) => {
                self.forget(&node, complaints);
                StepKind::Forget {
                    node: node.into_inner(),
                }
            }
            // All others are `step`'s.
            _ => return None,
        })
    }

    /// All payments of a step.
    fn pay_all(&mut self, raw: RawPayment, complaints: &mut Complaints<'_>) -> Option<StepKind> {
        if raw.count.is_none() {
            return self.pay(raw, complaints).map(StepKind::Pay);
        }
        let before = complaints.count();
        let mut payments = Vec::new();
        for id in self.groups.ids(&raw) {
            let one = RawPayment {
                id: named_as(&raw.id, &id),
                ..raw.clone()
            };
            if complaints.count() == before {
                payments.extend(self.pay(one, complaints));
            } else {
                // What is wrong with one is wrong with all; later steps speak of all.
                self.started.insert(id, Started::of(&raw));
            }
        }
        Some(StepKind::PayMany { payments })
    }

    fn pay(&mut self, raw: RawPayment, complaints: &mut Complaints<'_>) -> Option<Payment> {
        match self.started.entry(raw.id.get_ref().clone()) {
            Entry::Occupied(earlier) => {
                let id = earlier.key();
                let message = format!("a payment is called `{id}` already: choose another id");
                complaints.at(raw.id.span(), message);
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Started::of(&raw));
            }
        }
        payments::check(self, raw, complaints)
    }

    /// The payment, if a step before this one starts it; a complaint if not.
    fn started(&mut self, id: &Word, complaints: &mut Complaints<'_>) -> Option<&mut Started> {
        let text = id.get_ref();
        if !self.started.contains_key(text) {
            let message = match self.starts.get(text) {
                Some(number) => {
                    format!("payment `{text}` starts at step {number} only: move this after it")
                }
                None => {
                    let known = advice(text, self.starts.keys().map(String::as_str));
                    format!("no step pays `{text}`{known}")
                }
            };
            complaints.at(id.span(), message);
        }
        self.started.get_mut(text)
    }

    fn check_await(
        &mut self,
        payment: &Word,
        until: &Spanned<PaymentMoment>,
        complaints: &mut Complaints<'_>,
    ) {
        let Some(started) = self.started(payment, complaints) else {
            return;
        };
        let (hold, told) = (started.hold, started.told);
        let id = payment.get_ref();
        let expected = self.outcomes.of(id);
        let succeeds = matches!(
            until.get_ref(),
            PaymentMoment::Sent | PaymentMoment::Claimed
        );
        let fails = *until.get_ref() == PaymentMoment::Failed;
        let message = if succeeds && expected == Some(ExpectedPayment::Failed) {
            format!("this never comes: [expect.payments] says that `{id}` is failed")
        } else if fails && expected == Some(ExpectedPayment::Sent) {
            format!("this never comes: [expect.payments] says that `{id}` is sent")
        } else if succeeds && hold && told != Some("claim") {
            format!("this never comes: `{id}` is held; put a `claim` step before it")
        } else {
            return;
        };
        complaints.at(until.span(), message);
    }

    fn tell(&mut self, payment: &Word, what: &'static str, complaints: &mut Complaints<'_>) {
        let Some(started) = self.started(payment, complaints) else {
            return;
        };
        let hold = started.hold;
        let earlier = started.told.replace(what);
        let id = payment.get_ref();
        let message = if !hold {
            format!(
                "`{id}` is not held, so nothing waits for a `{what}`: pay it with `hold = true`"
            )
        } else if let Some(earlier) = earlier {
            format!("a `{earlier}` step has decided `{id}` already: leave this one out")
        } else if what == "fail" && self.outcomes.of(id) == Some(ExpectedPayment::Sent) {
            format!("[expect.payments] says that `{id}` is sent: it cannot be failed")
        } else {
            return;
        };
        complaints.at(payment.span(), message);
    }

    fn peers(&self, between: [Word; 2], complaints: &mut Complaints<'_>) -> [String; 2] {
        let known = between
            .iter()
            .filter(|name| self.topology.node(name, complaints))
            .count();
        let [one, other] = &between;
        let (first, second) = (one.get_ref(), other.get_ref());
        if known == 2 && self.topology.between(first, second).next().is_none() {
            let message =
                format!("{first} and {second} have no channel, so they are never connected");
            complaints.at(other.span(), message);
        }
        between.map(Spanned::into_inner)
    }

    fn open(&mut self, label: &Word, complaints: &mut Complaints<'_>) {
        let Some(known) = self.topology.channel(label, complaints) else {
            return;
        };
        let text = &known.channel.label;
        let message = if self.unopened.remove(text).is_none() {
            format!("a step before has opened `{text}` already")
        } else if known.channel.announce {
            format!("nobody waits for the gossip of `{text}`: take `announce` out, or this step")
        } else {
            return;
        };
        complaints.at(label.span(), message);
    }

    /// Complains if the channel is not open yet at this step.
    pub(super) fn check_opened(
        &self,
        label: &str,
        place: Range<usize>,
        complaints: &mut Complaints<'_>,
    ) {
        if let Some(number) = self.unopened.get(label) {
            let message = format!("step {number} opens `{label}` only: move this after it");
            complaints.at(place, message);
        }
    }

    fn snapshot(&mut self, node: Word, name: Word, complaints: &mut Complaints<'_>) -> StepKind {
        self.topology.node(&node, complaints);
        check_name(&name, "a snapshot", complaints);
        let (of, text) = (node.get_ref().clone(), name.get_ref().clone());
        if self.snapshots.insert(text, of).is_some() {
            let message = format!("a snapshot is called `{}` already", name.get_ref());
            complaints.at(name.span(), message);
        }
        StepKind::Snapshot {
            node: node.into_inner(),
            name: name.into_inner(),
        }
    }

    fn restore(&mut self, node: Word, snapshot: Word, complaints: &mut Complaints<'_>) -> StepKind {
        self.topology.node(&node, complaints);
        let text = snapshot.get_ref();
        match self.snapshots.get(text) {
            Some(of) if of == node.get_ref() => {}
            Some(of) => {
                let message = format!("snapshot `{text}` is of {of}, not of {}", node.get_ref());
                complaints.at(snapshot.span(), message);
            }
            None => {
                let known = advice(text, self.snapshots.keys().map(String::as_str));
                complaints.at(
                    snapshot.span(),
                    format!("no step before makes a snapshot `{text}`{known}"),
                );
            }
        }
        StepKind::Restore {
            node: node.into_inner(),
            snapshot: snapshot.into_inner(),
        }
    }

    fn stop(&mut self, node: &Word, complaints: &mut Complaints<'_>) {
        self.topology.node(node, complaints);
        if !self.stopped.insert(node.get_ref().clone()) {
            let message = format!("{} is stopped already", node.get_ref());
            complaints.at(node.span(), message);
        }
    }

    fn start(&mut self, node: &Word, complaints: &mut Complaints<'_>) {
        self.topology.node(node, complaints);
        if !self.stopped.remove(node.get_ref()) {
            let message = format!("no step before has stopped {}", node.get_ref());
            complaints.at(node.span(), message);
        }
    }

    /// The command line may still set another kind; [`Scenario::set`](crate::scenario::Scenario::set) looks again.
    fn forget(&self, node: &Word, complaints: &mut Complaints<'_>) {
        self.topology.node(node, complaints);
        let name = node.get_ref();
        let kind = self.topology.nodes.get(name).map(|node| node.kind);
        if kind == Some(NodeKind::Stock) {
            let message = format!(
                "{name} is a stock node, which is nothing without its manager: only a `unified` one can forget"
            );
            complaints.at(node.span(), message);
        }
    }

    fn fee_rate(&self, node: &Word, rate: &Spanned<u32>, complaints: &mut Complaints<'_>) {
        self.topology.node(node, complaints);
        if !FEE_RATES.contains(rate.get_ref()) {
            let (least, most) = (FEE_RATES.start(), FEE_RATES.end());
            let message = format!("`sat_per_kw` is from {least} to {most}");
            complaints.at(rate.span(), message);
        }
    }

    fn close(&mut self, label: &Word, by: &Word, number: usize, complaints: &mut Complaints<'_>) {
        let known_node = self.topology.node(by, complaints);
        let Some(known) = self.topology.channel(label, complaints) else {
            return;
        };
        let text = &known.channel.label;
        if known_node && known.channel.peer_of(by.get_ref()).is_none() {
            let message = format!(
                "{} is not in `{text}`: it is closed by {} or {}",
                by.get_ref(),
                known.channel.opener,
                known.channel.acceptor
            );
            complaints.at(by.span(), message);
        }
        self.check_opened(text, label.span(), complaints);
        if let Some(earlier) = self.closed.get(text) {
            let message = format!("step {earlier} has closed `{text}` already");
            complaints.at(label.span(), message);
        } else if !self.outcomes.closes(text) {
            let message = format!("add \"{text}\" to `closed` in [expect]: this step closes it");
            complaints.at(label.span(), message);
        }
        self.closed.entry(text.clone()).or_insert(number);
    }

    /// What can be said only after the last step.
    fn finish(self, complaints: &mut Complaints<'_>) {
        for (id, place) in self.outcomes.payments() {
            if !self.started.contains_key(id) {
                let known = advice(id, self.starts.keys().map(String::as_str));
                complaints.at(place, format!("no step pays `{id}`{known}"));
            }
        }
        // The members of a group have one place: what is said of one is not said again.
        let mut places = BTreeSet::new();
        for (id, started) in &self.started {
            let expected = self.outcomes.of(id);
            let name = self.groups.name_of(id);
            let never_claimed = started.hold && started.told.is_none();
            let message = if expected.is_none() {
                format!(
                    "say what comes of it: `{name} = \"sent\"`, `\"failed\"` or `\"either\"` under \
                     [expect.payments]"
                )
            } else if never_claimed && expected == Some(ExpectedPayment::Sent) {
                format!("`{name}` is held and never claimed, so it cannot be sent")
            } else {
                continue;
            };
            if places.insert(started.place.start) {
                complaints.at(started.place.clone(), message);
            }
        }
    }
}

/// The nodes wait for six confirmations before they believe a transaction.
const MAX_REORG_BLOCKS: u32 = 6;

fn reorg(blocks: Spanned<u32>, complaints: &mut Complaints<'_>) -> StepKind {
    if !(1..=MAX_REORG_BLOCKS).contains(blocks.get_ref()) {
        let message = format!("`blocks` is from 1 to {MAX_REORG_BLOCKS}");
        complaints.at(blocks.span(), message);
    }
    StepKind::Reorg {
        blocks: blocks.into_inner(),
    }
}

fn mine(blocks: Spanned<u32>, empty: bool, complaints: &mut Complaints<'_>) -> StepKind {
    if !(1..=MAX_BLOCKS).contains(blocks.get_ref()) {
        let message = format!("`blocks` is from 1 to {MAX_BLOCKS}");
        complaints.at(blocks.span(), message);
    }
    StepKind::Mine {
        blocks: blocks.into_inner(),
        empty,
    }
}
