//! What must come of a scenario, and its pinned cases. Owns `[expect]` and `[[case]]`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use faults::{Action, Closing, Condition, Fault, NodePoint};
use toml::Spanned;

use super::groups::Groups;
use super::topology::Topology;
use super::{check_name, is_repeated};
use crate::scenario::error::{Complaints, advice};
use crate::scenario::keys::Word;
use crate::scenario::model::{Bumped, Case, Expectation, ExpectedPayment, Verdict};
use crate::scenario::raw::{RawCase, RawExpect, RawFault};

/// `[expect]` with its places.
pub(super) struct Outcomes {
    payments: BTreeMap<String, (Range<usize>, ExpectedPayment)>,
    closed: Vec<Word>,
    revoked: BTreeMap<String, String>,
    bumped: BTreeMap<String, BTreeSet<Bumped>>,
}

impl Outcomes {
    pub(super) fn read(
        raw: RawExpect,
        topology: &Topology,
        groups: &Groups,
        complaints: &mut Complaints<'_>,
    ) -> Self {
        let mut payments = BTreeMap::new();
        for (id, outcome) in &raw.payments {
            let entry = (id.span(), *outcome.get_ref());
            match groups.members(id.get_ref()) {
                // What is said of one by its own name goes before what is said of all.
                Some(members) => {
                    for member in members {
                        payments.entry(member.clone()).or_insert(entry.clone());
                    }
                }
                None => {
                    payments.insert(id.get_ref().clone(), entry);
                }
            }
        }
        let mut seen = Vec::new();
        for label in &raw.closed {
            topology.channel(label, complaints);
            if is_repeated(&seen, label) {
                let message = format!("`{}` is in `closed` already", label.get_ref());
                complaints.at(label.span(), message);
            }
            seen.push(label);
        }
        let revoked = match raw.revoked {
            Some(revoked) => check_revoked(revoked, &raw.closed, topology, complaints),
            None => BTreeMap::new(),
        };
        let bumped = match raw.bumped {
            Some(bumped) => check_bumped(bumped, &raw.closed, topology, complaints),
            None => BTreeMap::new(),
        };
        Outcomes {
            payments,
            closed: raw.closed,
            revoked,
            bumped,
        }
    }

    /// What is expected of a payment.
    pub(super) fn of(&self, payment: &str) -> Option<ExpectedPayment> {
        self.payments.get(payment).map(|(_, outcome)| *outcome)
    }

    /// Every payment with the place where it is named.
    pub(super) fn payments(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.payments
            .iter()
            .map(|(id, (place, _))| (id.as_str(), place.clone()))
    }

    /// Whether the channel is expected to be closed at the end.
    pub(super) fn closes(&self, label: &str) -> bool {
        self.closed.iter().any(|closed| closed.get_ref() == label)
    }

    pub(super) fn into_expectation(self) -> Expectation {
        Expectation {
            payments: self
                .payments
                .into_iter()
                .map(|(id, (_, outcome))| (id, outcome))
                .collect(),
            closed: self.closed.into_iter().map(Spanned::into_inner).collect(),
            revoked: self.revoked,
            bumped: self.bumped,
        }
    }
}

fn check_revoked(
    revoked: Spanned<BTreeMap<String, String>>,
    closed: &[Word],
    topology: &Topology,
    complaints: &mut Complaints<'_>,
) -> BTreeMap<String, String> {
    let place = revoked.span();
    for (label, cheater) in revoked.get_ref() {
        let Some(known) = topology.channel(&Spanned::new(place.clone(), label.clone()), complaints)
        else {
            continue;
        };
        if known.channel.peer_of(cheater).is_none() {
            let message =
                format!("{cheater} is not in `{label}`, so it cannot publish its commitment");
            complaints.at(place.clone(), message);
        }
        if closed.iter().all(|closed| closed.get_ref() != label) {
            complaints.at(
                place.clone(),
                format!("add \"{label}\" to `closed` as well"),
            );
        }
    }
    revoked.into_inner()
}

/// Who is to bump must have something to bump.
fn check_bumped(
    bumped: Spanned<BTreeMap<String, BTreeSet<Bumped>>>,
    closed: &[Word],
    topology: &Topology,
    complaints: &mut Complaints<'_>,
) -> BTreeMap<String, BTreeSet<Bumped>> {
    let place = bumped.span();
    for (name, kinds) in bumped.get_ref() {
        let is_its = |label: &&Word| {
            let mut channels = topology.channels.iter();
            channels.any(|known| {
                known.channel.label == *label.get_ref() && known.channel.peer_of(name).is_some()
            })
        };
        let node = Spanned::new(place.clone(), name.clone());
        if topology.node(&node, complaints) && !closed.iter().any(|label| is_its(&label)) {
            let message = format!("no channel of {name} is in `closed`, so it has nothing to bump");
            complaints.at(place.clone(), message);
        }
        if kinds.is_empty() {
            let message =
                format!("say what {name} has to bump: \"anchor\", \"htlc\" or \"balance\"");
            complaints.at(place.clone(), message);
        }
    }
    bumped.into_inner()
}

/// Checks the pinned cases.
pub(super) fn check_cases(
    raw: Vec<RawCase>,
    topology: &Topology,
    labels: &BTreeSet<String>,
    complaints: &mut Complaints<'_>,
) -> Vec<Case> {
    let mut seen = Vec::new();
    for case in &raw {
        check_name(&case.name, "a case", complaints);
        if is_repeated(&seen, &case.name) {
            let message = format!("a case is called `{}` already", case.name.get_ref());
            complaints.at(case.name.span(), message);
        }
        seen.push(&case.name);
        let verdict = *case.verdict.get_ref();
        if !matches!(verdict, Verdict::Pass | Verdict::Fail) {
            let message = "a pinned case has to end as `pass` or `fail`";
            complaints.at(case.verdict.span(), message);
        }
        if let Some(finding) = &case.finding
            && verdict == Verdict::Pass
        {
            let message = "only a case that must `fail` has a `finding`: leave it out";
            complaints.at(finding.span(), message);
        }
    }
    raw.into_iter()
        .map(|case| Case {
            name: case.name.into_inner(),
            faults: case
                .faults
                .into_iter()
                .filter_map(|fault| check_fault(fault, topology, labels, complaints))
                .collect(),
            verdict: case.verdict.into_inner(),
            finding: case.finding.map(Spanned::into_inner),
        })
        .collect()
}

fn check_fault(
    raw: RawFault,
    topology: &Topology,
    labels: &BTreeSet<String>,
    complaints: &mut Complaints<'_>,
) -> Option<Fault> {
    let place = raw.at.span();
    let action_place = raw.action.span();
    let at = match raw.at.get_ref().parse::<NodePoint>() {
        Ok(at) => at,
        Err(error) => {
            complaints.at(place, error.to_string());
            return None;
        }
    };
    let node = Spanned::new(place.clone(), at.node.clone());
    topology.node(&node, complaints);
    if let Action::Hold { until } = raw.action.get_ref() {
        check_condition(until, action_place.clone(), topology, labels, complaints);
    }
    if let Action::Close { closes, .. } = raw.action.get_ref() {
        check_closes(closes, action_place, topology, complaints);
    }
    let fault = Fault {
        at,
        action: raw.action.into_inner(),
        life: raw.life,
    };
    if let Err(error) = fault.check() {
        complaints.at(place, error.to_string());
    }
    Some(fault)
}

fn check_closes(
    closes: &[Closing],
    place: Range<usize>,
    topology: &Topology,
    complaints: &mut Complaints<'_>,
) {
    if closes.is_empty() {
        complaints.at(place.clone(), "a close closes at least one channel");
    }
    for closing in closes {
        let label = Spanned::new(place.clone(), closing.channel.clone());
        let Some(known) = topology.channel(&label, complaints) else {
            continue;
        };
        if known.channel.peer_of(&closing.by).is_none() {
            let message = format!("{} is not in `{}`", closing.by, closing.channel);
            complaints.at(place.clone(), message);
        }
    }
}

fn check_condition(
    until: &Condition,
    place: Range<usize>,
    topology: &Topology,
    labels: &BTreeSet<String>,
    complaints: &mut Complaints<'_>,
) {
    match until {
        Condition::Never => {}
        Condition::Step(label) => {
            if !labels.contains(label) {
                let known = advice(label, labels.iter().map(String::as_str));
                complaints.at(place, format!("no step is labelled `{label}`{known}"));
            }
        }
        Condition::Point(point) => {
            let node = Spanned::new(place.clone(), point.node.clone());
            topology.node(&node, complaints);
            // Whatever happens at it, the point itself has to be in the catalogue.
            if let Err(error) = Fault::kill(point.clone()).check() {
                complaints.at(place, error.to_string());
            }
        }
    }
}
