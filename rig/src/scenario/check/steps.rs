//! The steps in order: what each refers to has to exist by then and to be still possible. Owns the
//! life of payments and channels along `[[act]]`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::Spanned;

use super::balances::Balances;
use super::outcome::Outcomes;
use super::topology::Topology;
use super::{check_name, payments};
use crate::scenario::error::{Complaints, advice};
use crate::scenario::keys::Word;
use crate::scenario::model::{ExpectedPayment, Payment, PaymentMoment, Step, StepKind};
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

/// Walks along the steps.
pub(super) struct Walk<'w> {
    pub(super) topology: &'w Topology,
    pub(super) outcomes: &'w Outcomes,
    pub(super) balances: Balances,
    /// Channels that a step has closed, each with that step's number.
    pub(super) closed: BTreeMap<String, usize>,
    /// Payment ids with the number of the step that starts them.
    starts: BTreeMap<String, usize>,
    started: BTreeMap<String, Started>,
}

/// Checks all steps and writes out their defaults. Also gives the labels of all steps, those with
/// complaints included.
pub(super) fn check(
    raw: Vec<RawStep>,
    topology: &Topology,
    outcomes: &Outcomes,
    complaints: &mut Complaints<'_>,
) -> (Vec<Step>, BTreeSet<String>) {
    let mut walk = Walk {
        topology,
        outcomes,
        balances: Balances::at_start(topology),
        closed: BTreeMap::new(),
        starts: BTreeMap::new(),
        started: BTreeMap::new(),
    };
    for (index, step) in raw.iter().enumerate() {
        if let RawStepKind::Pay(payment) = &step.kind {
            let id = payment.id.get_ref().clone();
            walk.starts.entry(id).or_insert(index + 1);
        }
    }
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
        if let Some(kind) = walk.step(step.kind, number, complaints) {
            steps.push(Step { label, kind });
        }
    }
    walk.finish(complaints);
    (steps, labels)
}

impl Walk<'_> {
    fn step(
        &mut self,
        raw: RawStepKind,
        number: usize,
        complaints: &mut Complaints<'_>,
    ) -> Option<StepKind> {
        Some(match raw {
            RawStepKind::Pay(payment) => StepKind::Pay(self.pay(payment, complaints)?),
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
            RawStepKind::Mine(blocks) => {
                if !(1..=MAX_BLOCKS).contains(blocks.get_ref()) {
                    let message = format!("`blocks` is from 1 to {MAX_BLOCKS}");
                    complaints.at(blocks.span(), message);
                }
                StepKind::Mine {
                    blocks: blocks.into_inner(),
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
        })
    }

    fn pay(&mut self, raw: RawPayment, complaints: &mut Complaints<'_>) -> Option<Payment> {
        match self.started.entry(raw.id.get_ref().clone()) {
            Entry::Occupied(earlier) => {
                let id = earlier.key();
                let message = format!("a payment is called `{id}` already: choose another id");
                complaints.at(raw.id.span(), message);
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Started {
                    place: raw.id.span(),
                    hold: raw.hold,
                    told: None,
                });
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
        for (id, started) in &self.started {
            let expected = self.outcomes.of(id);
            if expected.is_none() {
                let message = format!(
                    "say what comes of it: `{id} = \"sent\"`, `\"failed\"` or `\"either\"` under \
                     [expect.payments]"
                );
                complaints.at(started.place.clone(), message);
            }
            let never_claimed = started.hold && started.told.is_none();
            if never_claimed && expected == Some(ExpectedPayment::Sent) {
                let message = format!("`{id}` is held and never claimed, so it cannot be sent");
                complaints.at(started.place.clone(), message);
            }
        }
    }
}
