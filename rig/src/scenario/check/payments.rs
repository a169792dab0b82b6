//! One `pay` step: its names, its paths, its parts, and whether the channels can carry it. Owns the
//! defaults of a payment.

use std::collections::BTreeMap;

use toml::Spanned;

use super::check_name;
use super::route::{self, Path};
use super::steps::Walk;
use crate::scenario::error::Complaints;
use crate::scenario::model::{ExpectedPayment, Payment, PaymentKind};
use crate::scenario::raw::RawPayment;

/// How the names of the rig's own payments at the end of a case begin, and no scenario's may.
pub const LIVE_PREFIX: &str = "live-";

/// Checks a payment against the state before its step and books it.
pub(super) fn check(
    walk: &mut Walk<'_>,
    raw: RawPayment,
    complaints: &mut Complaints<'_>,
) -> Option<Payment> {
    check_name(&raw.id, "a payment", complaints);
    if raw.id.get_ref().starts_with(LIVE_PREFIX) {
        let message = format!("ids with {LIVE_PREFIX:?} in front belong to the rig");
        complaints.at(raw.id.span(), message);
    }
    let ends_known = [&raw.from, &raw.to]
        .into_iter()
        .filter(|name| walk.topology.node(name, complaints))
        .count();
    let amount_msat = *raw.amount_msat.get_ref();
    if amount_msat == 0 {
        complaints.at(raw.amount_msat.span(), "`amount_msat` is 1 or more");
    }
    if raw.from.get_ref() == raw.to.get_ref() {
        let message = format!("{} cannot pay itself", raw.to.get_ref());
        complaints.at(raw.to.span(), message);
        return None;
    }
    if ends_known < 2 {
        return None;
    }
    if raw.hold && raw.kind == PaymentKind::Keysend {
        let message = "a keysend cannot be held: its receiver learns of it only when it is there; \
                       pay an invoice, or leave `hold` out";
        complaints.at(raw.id.span(), message.to_owned());
    }
    let paths = route::resolve(&raw, walk.topology, complaints)?;
    check_open(walk, &raw, &paths, complaints);
    let parts_msat = share(&raw, paths.len(), complaints)?;
    if amount_msat > 0 {
        check_carried(walk, &raw, &paths, &parts_msat, complaints);
    }
    Some(Payment {
        id: raw.id.into_inner(),
        from: raw.from.into_inner(),
        to: raw.to.into_inner(),
        amount_msat,
        kind: raw.kind,
        hold: raw.hold,
        paths: paths
            .into_iter()
            .map(|path| path.into_iter().map(|(_, label)| label).collect())
            .collect(),
        parts_msat,
    })
}

fn check_open(walk: &Walk<'_>, raw: &RawPayment, paths: &[Path], complaints: &mut Complaints<'_>) {
    for (_, label) in paths.iter().flatten() {
        walk.check_opened(label, raw.id.span(), complaints);
        if let Some(number) = walk.closed.get(label) {
            let message = format!("step {number} has closed `{label}`, which this payment needs");
            complaints.at(raw.id.span(), message);
            return;
        }
    }
}

/// Each part's share: as given, or equal ones with the remainder on the first.
fn share(raw: &RawPayment, path_count: usize, complaints: &mut Complaints<'_>) -> Option<Vec<u64>> {
    let amount_msat = *raw.amount_msat.get_ref();
    let Some(parts) = &raw.parts_msat else {
        // Gossip has no paths and so no parts of its own.
        let count = path_count as u64;
        let (Some(each_msat), Some(rest_msat)) = (
            amount_msat.checked_div(count),
            amount_msat.checked_rem(count),
        ) else {
            return Some(Vec::new());
        };
        if each_msat == 0 && amount_msat > 0 {
            let message = format!("{amount_msat} msat cannot be shared among {path_count} paths");
            complaints.at(raw.amount_msat.span(), message);
            return None;
        }
        let mut shares = vec![each_msat; path_count];
        shares[0] += rest_msat;
        return Some(shares);
    };
    let before = parts.get_ref().iter().filter(|part| *part.get_ref() == 0);
    let mut sound = true;
    for part in before {
        complaints.at(part.span(), "a part is 1 msat or more");
        sound = false;
    }
    let given = parts.get_ref().len();
    if given != path_count {
        let message = if path_count == 0 {
            "leave `parts_msat` out: gossip decides on the parts".to_owned()
        } else {
            format!("there are {given} parts and {path_count} paths: give one part a path")
        };
        complaints.at(parts.span(), message);
        return None;
    }
    let sum_msat = parts
        .get_ref()
        .iter()
        .try_fold(0u64, |sum, part| sum.checked_add(*part.get_ref()));
    if sum_msat != Some(amount_msat) {
        let sum = sum_msat.map_or("more than there is".to_owned(), |sum| format!("{sum} msat"));
        let message = format!("the parts add up to {sum}, `amount_msat` is {amount_msat} msat");
        complaints.at(parts.span(), message);
        sound = false;
    }
    sound.then(|| {
        let parts = parts.get_ref().iter();
        parts.map(|part| *part.get_ref()).collect()
    })
}

/// Complains if a channel cannot carry what goes over it, and books the payment if it will be sent.
fn check_carried(
    walk: &mut Walk<'_>,
    raw: &RawPayment,
    paths: &[Path],
    parts_msat: &[u64],
    complaints: &mut Complaints<'_>,
) {
    if paths.is_empty() {
        check_sender(walk, raw, complaints);
        return;
    }
    let mut carried: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (path, part_msat) in paths.iter().zip(parts_msat) {
        for (node, label) in path {
            let sum_msat = carried.entry((label, node)).or_default();
            *sum_msat = sum_msat.saturating_add(*part_msat);
        }
    }
    let succeeds = walk.outcomes.of(raw.id.get_ref()) == Some(ExpectedPayment::Sent);
    for ((label, node), amount_msat) in carried {
        let Some(sendable_msat) = walk.balances.sendable_msat(label, node) else {
            continue;
        };
        if amount_msat > sendable_msat {
            let place = raw
                .parts_msat
                .as_ref()
                .map_or(raw.amount_msat.span(), Spanned::span);
            let message = format!(
                "{node} can send {sendable_msat} msat over `{label}` at this step, not \
                 {amount_msat}: pay less, or change `capacity_sat` or `push_msat`"
            );
            complaints.at(place, message);
        } else if succeeds {
            walk.balances.send(label, node, amount_msat);
        }
    }
}

/// Where gossip chooses, only what the sender has in all is known.
fn check_sender(walk: &Walk<'_>, raw: &RawPayment, complaints: &mut Complaints<'_>) {
    let from = raw.from.get_ref();
    let sendable = walk
        .topology
        .channels
        .iter()
        .filter(|known| known.channel.peer_of(from).is_some())
        .map(|known| walk.balances.sendable_msat(&known.channel.label, from));
    let Some(sendable_msat) = sendable.sum::<Option<u64>>() else {
        return;
    };
    let amount_msat = *raw.amount_msat.get_ref();
    if amount_msat > sendable_msat {
        let message = format!(
            "{from} can send {sendable_msat} msat over all its channels, not {amount_msat}: pay \
             less, or change `capacity_sat` or `push_msat`"
        );
        complaints.at(raw.amount_msat.span(), message);
    }
}
