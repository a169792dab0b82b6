//! Nodes and channels: names, sizes, and who can afford what. Owns the look-up of names, with a
//! complaint for each that does not exist.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;

use super::DEFAULT_KIND;
use super::balances::OPENER_FEES_SAT;
use crate::scenario::error::{Complaints, advice};
use crate::scenario::keys::Word;
use crate::scenario::model::{ChainKind, Channel, Node};
use crate::scenario::raw::{RawChannel, RawNode};

/// The smallest channel, in satoshis.
const MIN_CAPACITY_SAT: u64 = 20_000;
/// The largest channel without `option_support_large_channel` (BOLT 2), in satoshis.
const MAX_CAPACITY_SAT: u64 = 16_777_215;
/// What a node needs besides the channels it opens, for fees and to bump closes, in satoshis.
const WALLET_RESERVE_SAT: u64 = 200_000;
/// What the rig can hand to one node, in satoshis.
const MAX_FUNDS_SAT: u64 = 1_000_000_000;
/// Default funds of a node that opens channels, in satoshis.
const OPENER_FUNDS_SAT: u64 = 20_000_000;
/// Default funds of a node that opens none, in satoshis.
const ACCEPTOR_FUNDS_SAT: u64 = 1_000_000;
/// Names end up in labels and in file names.
const MAX_NAME_CHARS: usize = 12;

/// A channel of the file.
pub(super) struct KnownChannel {
    pub(super) channel: Channel,
    /// Whether its amounts are possible, so that payments can be measured against them.
    pub(super) sound: bool,
}

/// Nodes and channels of the file.
pub(super) struct Topology {
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) channels: Vec<KnownChannel>,
}

impl Topology {
    pub(super) fn check(
        raw_nodes: Vec<RawNode>,
        raw_channels: Vec<RawChannel>,
        complaints: &mut Complaints<'_>,
    ) -> Self {
        let mut topology = Topology {
            nodes: BTreeMap::new(),
            channels: Vec::new(),
        };
        let mut places = Vec::new();
        for raw in raw_nodes {
            check_node_name(&raw.name, complaints);
            let opens = raw_channels
                .iter()
                .any(|channel| channel.between[0].get_ref() == raw.name.get_ref());
            let default_sat = if opens {
                OPENER_FUNDS_SAT
            } else {
                ACCEPTOR_FUNDS_SAT
            };
            let place = raw
                .funds_sat
                .as_ref()
                .map_or(raw.name.span(), Spanned::span);
            places.push((raw.name.get_ref().clone(), place));
            let node = Node {
                kind: raw.kind.unwrap_or(DEFAULT_KIND),
                chain: raw.chain.unwrap_or(ChainKind::Bitcoind),
                funds_sat: raw.funds_sat.map_or(default_sat, Spanned::into_inner),
                persist: raw.persist.unwrap_or_default(),
            };
            topology.nodes.insert(raw.name.into_inner(), node);
        }
        for raw in raw_channels {
            topology.add_channel(raw, complaints);
        }
        for (name, place) in places {
            topology.check_funds(&name, place, complaints);
        }
        topology
    }

    fn add_channel(&mut self, raw: RawChannel, complaints: &mut Complaints<'_>) {
        for end in &raw.between {
            self.node(end, complaints);
        }
        let [opener, acceptor] = raw.between;
        if opener.get_ref() == acceptor.get_ref() {
            let message = format!(
                "a channel leads from one node to another, not from {0} to {0}",
                opener.get_ref()
            );
            complaints.at(acceptor.span(), message);
        }
        let sound = check_amounts(&raw.capacity_sat, raw.push_msat.as_ref(), complaints);
        let label = self.next_label(opener.get_ref(), acceptor.get_ref());
        self.channels.push(KnownChannel {
            sound,
            channel: Channel {
                label,
                opener: opener.into_inner(),
                acceptor: acceptor.into_inner(),
                capacity_sat: raw.capacity_sat.into_inner(),
                push_msat: raw.push_msat.map_or(0, Spanned::into_inner),
                announce: raw.announce,
            },
        });
    }

    fn next_label(&self, one: &str, other: &str) -> String {
        let base = format!("{}-{}", one.min(other), one.max(other));
        match self.between(one, other).count() {
            0 => base,
            count => format!("{base}.{}", count + 1),
        }
    }

    fn check_funds(&self, name: &str, place: Range<usize>, complaints: &mut Complaints<'_>) {
        let Some(node) = self.nodes.get(name) else {
            return;
        };
        let opened_sat = self
            .channels
            .iter()
            .filter(|known| known.channel.opener == name && known.sound)
            .fold(0u64, |sum, known| {
                sum.saturating_add(known.channel.capacity_sat)
            });
        let needed_sat = opened_sat.saturating_add(WALLET_RESERVE_SAT);
        if opened_sat > 0 && node.funds_sat < needed_sat {
            let message = format!(
                "{name} opens channels of {opened_sat} sat but has {} sat: set `funds_sat` to \
                 {needed_sat} or more ({WALLET_RESERVE_SAT} are for fees and closes)",
                node.funds_sat
            );
            complaints.at(place, message);
        } else if node.funds_sat > MAX_FUNDS_SAT {
            let message = format!("`funds_sat` of {name} is at most {MAX_FUNDS_SAT}");
            complaints.at(place, message);
        }
    }

    /// Whether there is such a node; a complaint if not.
    pub(super) fn node(&self, name: &Word, complaints: &mut Complaints<'_>) -> bool {
        let text = name.get_ref();
        let known = self.nodes.contains_key(text);
        if !known {
            let names = advice(text, self.nodes.keys().map(String::as_str));
            complaints.at(name.span(), format!("no node `{text}` in [nodes]{names}"));
        }
        known
    }

    /// The channel of this label; a complaint if there is none.
    pub(super) fn channel(
        &self,
        label: &Word,
        complaints: &mut Complaints<'_>,
    ) -> Option<&KnownChannel> {
        let text = label.get_ref();
        let found = self.channels.iter().find(|k| k.channel.label == *text);
        if found.is_none() {
            let labels = self.channels.iter().map(|k| k.channel.label.as_str());
            let labels = advice(text, labels);
            complaints.at(label.span(), format!("no channel `{text}`{labels}"));
        }
        found
    }

    /// All channels between two nodes, in the order of the file.
    pub(super) fn between<'t>(
        &'t self,
        one: &'t str,
        other: &'t str,
    ) -> impl Iterator<Item = &'t KnownChannel> {
        self.channels
            .iter()
            .filter(move |known| known.channel.peer_of(one) == Some(other))
    }
}

impl Channel {
    /// Who is on the other side from this node; `None` if the node is on neither.
    pub fn peer_of(&self, node: &str) -> Option<&str> {
        if self.opener == node {
            Some(&self.acceptor)
        } else if self.acceptor == node {
            Some(&self.opener)
        } else {
            None
        }
    }
}

fn check_node_name(name: &Word, complaints: &mut Complaints<'_>) {
    let text = name.get_ref();
    let mut letters = text.chars();
    let legal = letters.next().is_some_and(|c| c.is_ascii_uppercase())
        && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.len() <= MAX_NAME_CHARS;
    if !legal {
        let message = format!(
            "{text:?} cannot name a node: write a capital letter, then small letters and digits, \
             {MAX_NAME_CHARS} in all at most, such as A or Carol"
        );
        complaints.at(name.span(), message);
    }
}

/// Whether the amounts of a channel are possible.
fn check_amounts(
    capacity: &Spanned<u64>,
    push: Option<&Spanned<u64>>,
    complaints: &mut Complaints<'_>,
) -> bool {
    let capacity_sat = *capacity.get_ref();
    if !(MIN_CAPACITY_SAT..=MAX_CAPACITY_SAT).contains(&capacity_sat) {
        let message = format!(
            "`capacity_sat` is from {MIN_CAPACITY_SAT} to {MAX_CAPACITY_SAT} sat, not {capacity_sat}"
        );
        complaints.at(capacity.span(), message);
        return false;
    }
    let Some(push) = push else { return true };
    let most_msat = (capacity_sat - OPENER_FEES_SAT) * 1_000;
    if *push.get_ref() > most_msat {
        let message = format!(
            "`push_msat` is at most {most_msat} msat here: {capacity_sat} sat less \
             {OPENER_FEES_SAT} sat that the opener keeps for fees"
        );
        complaints.at(push.span(), message);
        return false;
    }
    true
}
