//! Payments that are made several at once: `count` of a `pay` step. Owns their names (`p-1`, `p-2`, ...
//! of `p`) and what a step that names the group means; never how a payment is checked.

use std::collections::BTreeMap;

use toml::Spanned;

use crate::scenario::error::Complaints;
use crate::scenario::keys::Word;
use crate::scenario::raw::{RawPayment, RawStep, RawStepKind};

/// The most that one step makes at once: LDK takes 50 HTLCs into a channel.
const MAX_COUNT: u32 = 50;

/// The members of every group, by the group's id.
pub(super) struct Groups(BTreeMap<String, Vec<String>>);

impl Groups {
    /// The groups that these steps make.
    pub(super) fn of(steps: &[RawStep], complaints: &mut Complaints<'_>) -> Self {
        let mut groups = BTreeMap::new();
        for step in steps {
            let RawStepKind::Pay(payment) = &step.kind else {
                continue;
            };
            let Some(count) = &payment.count else {
                continue;
            };
            if !(2..=MAX_COUNT).contains(count.get_ref()) {
                let message = format!("`count` is from 2 to {MAX_COUNT}");
                complaints.at(count.span(), message);
            }
            let id = payment.id.get_ref();
            let count = (*count.get_ref()).clamp(2, MAX_COUNT);
            let members = (1..=count).map(|number| format!("{id}-{number}"));
            groups
                .entry(id.clone())
                .or_insert_with(|| members.collect());
        }
        Groups(groups)
    }

    /// The members of a group, if it is one.
    pub(super) fn members(&self, id: &str) -> Option<&[String]> {
        self.0.get(id).map(Vec::as_slice)
    }

    /// What the file calls this payment: its group's id, or its own.
    pub(super) fn name_of<'a>(&'a self, id: &'a str) -> &'a str {
        let has_it = |(_, members): &(&String, &Vec<String>)| members.iter().any(|one| one == id);
        let group = self.0.iter().find(has_it);
        group.map_or(id, |(group, _)| group)
    }

    /// The ids of the payments that this step makes, in order.
    pub(super) fn ids(&self, payment: &RawPayment) -> Vec<String> {
        let id = payment.id.get_ref();
        match (&payment.count, self.members(id)) {
            (Some(_), Some(members)) => members.to_vec(),
            _ => vec![id.clone()],
        }
    }

    /// A step that names a group, once for each member; any other as it is.
    pub(super) fn spread(&self, step: RawStepKind) -> Vec<RawStepKind> {
        let named = match &step {
            RawStepKind::Await { payment, .. } => payment,
            RawStepKind::Claim(payment) | RawStepKind::Fail(payment) => payment,
            _ => return vec![step],
        };
        let Some(members) = self.members(named.get_ref()) else {
            return vec![step];
        };
        let one = |member: &String| renamed(step.clone(), named_as(named, member));
        members.iter().map(one).collect()
    }
}

/// Another name in the same place of the file.
pub(super) fn named_as(word: &Word, name: &str) -> Word {
    Spanned::new(word.span(), name.to_owned())
}

fn renamed(step: RawStepKind, name: Word) -> RawStepKind {
    match step {
        RawStepKind::Await { until, .. } => RawStepKind::Await {
            payment: name,
            until,
        },
        RawStepKind::Claim(_) => RawStepKind::Claim(name),
        RawStepKind::Fail(_) => RawStepKind::Fail(name),
        other => other,
    }
}
