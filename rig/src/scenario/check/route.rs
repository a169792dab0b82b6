//! The ways of a payment: from names or labels to channel labels, sender first. Owns what makes a
//! path a path; never amounts.

use std::collections::BTreeSet;

use toml::Spanned;

use super::topology::Topology;
use crate::scenario::error::Complaints;
use crate::scenario::keys::Word;
use crate::scenario::raw::{RawPayment, RawRoute};

/// One path with the node that each channel is entered from.
pub(super) type Path = Vec<(String, String)>;

/// The paths of a payment; empty if gossip chooses. `None` after a complaint.
pub(super) fn resolve(
    payment: &RawPayment,
    topology: &Topology,
    complaints: &mut Complaints<'_>,
) -> Option<Vec<Path>> {
    match &payment.route {
        RawRoute::Direct => direct(payment, topology, complaints).map(|path| vec![path]),
        RawRoute::Gossip(span) => {
            let (from, to) = (payment.from.get_ref(), payment.to.get_ref());
            if announced_reach(topology, from).contains(to.as_str()) {
                return Some(Vec::new());
            }
            let message = format!(
                "gossip knows no way from {from} to {to}: set `announce = true` on every channel \
                 on the way"
            );
            complaints.at(span.clone(), message);
            None
        }
        RawRoute::Via(paths) => all(paths, payment, complaints, |path, complaints| {
            by_names(path, topology, complaints)
        }),
        RawRoute::Paths(paths) => all(paths, payment, complaints, |path, complaints| {
            by_labels(path, payment.from.get_ref(), topology, complaints)
        }),
    }
}

fn direct(
    payment: &RawPayment,
    topology: &Topology,
    complaints: &mut Complaints<'_>,
) -> Option<Path> {
    let (from, to) = (payment.from.get_ref(), payment.to.get_ref());
    let Some(known) = topology.between(from, to).next() else {
        let message = format!(
            "{from} and {to} share no channel: give the payment `via = [[\"{from}\", ..., \
             \"{to}\"]]`, `paths` or `route = \"gossip\"`"
        );
        complaints.at(payment.to.span(), message);
        return None;
    };
    Some(vec![(from.clone(), known.channel.label.clone())])
}

/// Every node that announced channels lead to.
fn announced_reach<'t>(topology: &'t Topology, from: &'t str) -> BTreeSet<&'t str> {
    let mut reached = BTreeSet::from([from]);
    let mut edge = vec![from];
    while let Some(node) = edge.pop() {
        for known in topology.channels.iter().filter(|k| k.channel.announce) {
            if let Some(peer) = known.channel.peer_of(node)
                && reached.insert(peer)
            {
                edge.push(peer);
            }
        }
    }
    reached
}

fn all(
    paths: &Spanned<Vec<Spanned<Vec<Word>>>>,
    payment: &RawPayment,
    complaints: &mut Complaints<'_>,
    read: impl Fn(&Spanned<Vec<Word>>, &mut Complaints<'_>) -> Option<(Path, String)>,
) -> Option<Vec<Path>> {
    if paths.get_ref().is_empty() {
        complaints.at(paths.span(), "give one path a part, or leave the key out");
        return None;
    }
    let mut read_paths = Vec::new();
    for path in paths.get_ref() {
        read_paths.extend(read(path, complaints).filter(|(hops, end)| {
            check_ends(hops, end, path, payment, complaints)
                && check_loop(hops, end, path, complaints)
        }));
    }
    (read_paths.len() == paths.get_ref().len())
        .then(|| read_paths.into_iter().map(|(hops, _)| hops).collect())
}

fn check_ends(
    hops: &Path,
    end: &str,
    path: &Spanned<Vec<Word>>,
    payment: &RawPayment,
    complaints: &mut Complaints<'_>,
) -> bool {
    let (from, to) = (payment.from.get_ref(), payment.to.get_ref());
    let start = hops.first().map_or("", |(node, _)| node.as_str());
    if start == from && end == to {
        return true;
    }
    let message = format!("this path leads from {start} to {end}, the payment from {from} to {to}");
    complaints.at(path.span(), message);
    false
}

fn check_loop(
    hops: &Path,
    end: &str,
    path: &Spanned<Vec<Word>>,
    complaints: &mut Complaints<'_>,
) -> bool {
    let nodes = hops.iter().map(|(node, _)| node.as_str()).chain([end]);
    let mut seen = BTreeSet::new();
    for node in nodes {
        if !seen.insert(node) {
            let message = format!("this path comes to {node} twice: leave out the round trip");
            complaints.at(path.span(), message);
            return false;
        }
    }
    true
}

/// A path as names of nodes, and where it ends.
fn by_names(
    path: &Spanned<Vec<Word>>,
    topology: &Topology,
    complaints: &mut Complaints<'_>,
) -> Option<(Path, String)> {
    let names = path.get_ref();
    let unknown = names
        .iter()
        .filter(|name| !topology.node(name, complaints))
        .count();
    let Some(end) = names.last().filter(|_| names.len() > 1) else {
        complaints.at(path.span(), "a path names two nodes or more, sender first");
        return None;
    };
    if unknown > 0 {
        return None;
    }
    let mut hops = Vec::new();
    for pair in names.windows(2) {
        let (from, to) = (pair[0].get_ref(), pair[1].get_ref());
        let Some(known) = topology.between(from, to).next() else {
            let message = format!("{from} and {to} share no channel: add one or take another way");
            complaints.at(pair[1].span(), message);
            return None;
        };
        hops.push((from.clone(), known.channel.label.clone()));
    }
    Some((hops, end.get_ref().clone()))
}

/// A path as labels of channels, and where it ends.
fn by_labels(
    path: &Spanned<Vec<Word>>,
    from: &str,
    topology: &Topology,
    complaints: &mut Complaints<'_>,
) -> Option<(Path, String)> {
    if path.get_ref().is_empty() {
        complaints.at(path.span(), "a path has one channel or more, sender first");
        return None;
    }
    let mut hops = Vec::new();
    let mut node = from.to_owned();
    for label in path.get_ref() {
        let channel = &topology.channel(label, complaints)?.channel;
        let Some(peer) = channel.peer_of(&node) else {
            let message = format!(
                "`{}` does not lead on from {node}: the next channel has to be one of {node}'s",
                channel.label
            );
            complaints.at(label.span(), message);
            return None;
        };
        hops.push((node, channel.label.clone()));
        node = peer.to_owned();
    }
    Some((hops, node))
}
