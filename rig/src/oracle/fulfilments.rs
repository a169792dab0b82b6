//! Which fulfilments a node that took them still has: what is not durable dies with it, and what reaches it for a
//! channel that it has closed counts only if it keeps it. Owns that alone; what it means where an HTLC has no
//! output is [`outcome`](super::outcome)'s.
//!
//! Whatever shows that a node had a preimage for good counts, whether it is of the same channel or not: the oracle
//! may excuse only what a node cannot have known.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::hashes::{Hash, sha256};
use bitcoin::hex::FromHex;
use faults::{GateReport, PointId};
use node_bin::api::{Report, WireMessage};

use super::htlcs::{Htlc, closed_by};
use crate::evidence::{Evidence, NodeReport, Source};
use crate::scenario::Persist;

/// Marks what was forgotten, and adds the late preimages that were kept.
pub(super) fn read(evidence: &Evidence, htlcs: &mut [Htlc]) {
    let mut reader = Reader {
        evidence,
        htlcs,
        nodes: BTreeMap::new(),
        closed: BTreeSet::new(),
        lost: BTreeSet::new(),
        kept: BTreeSet::new(),
    };
    for entry in &evidence.trace {
        if let Source::Node { node, life, report } = &entry.source {
            reader.live(node, *life);
            match report {
                NodeReport::Node(report) => reader.report(entry.seq, node, report),
                NodeReport::Gate(GateReport::Point { point, .. }) => reader.point(node, point),
                NodeReport::Gate(_) => {}
            }
        }
    }
    let (lost, kept) = (reader.lost, reader.kept);
    for (place, htlc) in htlcs.iter_mut().enumerate() {
        let is_kept = kept.contains(&(htlc.offerer.clone(), htlc.payment_hash.clone()));
        htlc.preimages_forgotten = lost.contains(&place) && !is_kept;
    }
}

/// What a node's present life has taken and not shown to have kept.
#[derive(Default)]
struct Taken {
    life: u32,
    /// Places of HTLCs.
    fulfilled: BTreeSet<usize>,
    /// By channel: those that no signature covers yet, and those that one covers which the node has not answered.
    signing: BTreeMap<String, [BTreeSet<usize>; 2]>,
    /// What came when the channel was closed, by its trace entry, until the node turns to something else.
    late: Vec<(u64, usize, String)>,
}

struct Reader<'e, 'h> {
    evidence: &'e Evidence,
    htlcs: &'h mut [Htlc],
    nodes: BTreeMap<&'e str, Taken>,
    closed: BTreeSet<(&'e str, &'e str)>,
    /// HTLCs whose offerer died with the preimage.
    lost: BTreeSet<usize>,
    /// Who has the preimage of which hash for good.
    kept: BTreeSet<(String, String)>,
}

impl<'e> Reader<'e, '_> {
    /// A new life has only what was kept.
    fn live(&mut self, node: &'e str, life: u32) {
        let taken = self.nodes.entry(node).or_default();
        if taken.life != life {
            self.lost.extend(&taken.fulfilled);
            *taken = Taken {
                life,
                ..Taken::default()
            };
        }
    }

    fn report(&mut self, seq: u64, node: &'e str, report: &'e Report) {
        match report {
            Report::Stored { key, .. } => self.stored(node, key),
            Report::Sent {
                channel: Some(channel),
                message,
                ..
            } => self.sent(node, channel, message),
            Report::Received {
                channel, message, ..
            } => {
                self.of(node).late.clear();
                if let Some(channel) = channel {
                    self.received(seq, node, channel, message);
                }
            }
            Report::PeerDown { .. } | Report::PeerUp { .. } => self.of(node).signing.clear(),
            Report::Block { .. } => self.of(node).late.clear(),
            Report::Idle {
                waiting_writes: 0, ..
            } => {
                self.of(node).late.clear();
                // Writes that are not done at once may be of what came before: only now is all of it done.
                if !self.is_sync(node) {
                    let taken = std::mem::take(&mut self.of(node).fulfilled);
                    self.keep(node, taken);
                }
            }
            _ => {
                let closed = closed_by(&self.evidence.channels, report);
                self.closed.extend(closed.map(|label| (node, label)));
            }
        }
    }

    fn of(&mut self, node: &'e str) -> &mut Taken {
        self.nodes.entry(node).or_default()
    }

    fn is_sync(&self, node: &str) -> bool {
        let nodes = &self.evidence.plan.scenario.nodes;
        nodes
            .get(node)
            .is_none_or(|node| node.persist == Persist::Sync)
    }

    fn keep(&mut self, node: &str, places: impl IntoIterator<Item = usize>) {
        for place in places {
            let hash = self.htlcs[place].payment_hash.clone();
            self.kept.insert((node.to_owned(), hash));
        }
    }

    fn received(&mut self, seq: u64, node: &'e str, channel: &'e str, message: &WireMessage) {
        match message {
            WireMessage::UpdateFulfillHtlc { htlc_id, preimage } => {
                let place = self.htlcs.iter().position(|htlc| {
                    htlc.channel == channel
                        && htlc.offerer == node
                        && htlc.htlc_id == *htlc_id
                        && !htlc.replaced
                });
                let Some(place) = place else { return };
                if self.closed.contains(&(node, channel)) {
                    self.of(node).late.push((seq, place, preimage.clone()));
                    return;
                }
                self.lost.remove(&place);
                let taken = self.of(node);
                taken.fulfilled.insert(place);
                let [unsigned, _] = taken.signing.entry(channel.to_owned()).or_default();
                unsigned.insert(place);
            }
            WireMessage::CommitmentSigned { .. } => {
                let [unsigned, signed] =
                    self.of(node).signing.entry(channel.to_owned()).or_default();
                signed.append(unsigned);
            }
            _ => {}
        }
    }

    fn sent(&mut self, node: &'e str, channel: &str, message: &WireMessage) {
        match message {
            // It gave the commitment up that had them: BOLT 2 wants the next one to be kept by then.
            WireMessage::RevokeAndAck {} => {
                if let Some([_, signed]) = self.of(node).signing.get_mut(channel) {
                    let signed = std::mem::take(signed);
                    self.keep(node, signed);
                }
            }
            WireMessage::UpdateFulfillHtlc { preimage, .. } => {
                let hash = <[u8; 32]>::from_hex(preimage)
                    .map(|preimage| sha256::Hash::hash(&preimage).to_string());
                self.kept.extend(hash.map(|hash| (node.to_owned(), hash)));
            }
            _ => {}
        }
    }

    /// A record is in its place, though the node has not said so yet.
    fn point(&mut self, node: &'e str, point: &PointId) {
        let is_record = point.name.starts_with("persist.monitor");
        if is_record && point.name.ends_with(".renamed") {
            let label = point.role.split_whitespace().next();
            self.durable(node, |_, channel| Some(channel) == label);
        }
    }

    fn stored(&mut self, node: &'e str, key: &str) {
        let evidence = self.evidence;
        let payments = evidence.payments.iter();
        let of_payment: Vec<&str> = payments
            .filter(|made| made.from == node && key.contains(&made.payment_id))
            .map(|made| made.payment_hash.as_str())
            .collect();
        self.durable(node, |hash, label| {
            of_payment.contains(&hash) || is_of_channel(evidence, label, key)
        });
    }

    /// A write is durable: of these hashes, and channels, as far as the node has HTLCs there. One that is done at
    /// once is of what was handled last; others may be of anything before.
    fn durable(&mut self, node: &'e str, is_meant: impl Fn(&str, &str) -> bool) {
        let htlcs = &self.htlcs;
        let is_shown = |place: &usize| {
            let hash = &htlcs[*place].payment_hash;
            let mut alike = htlcs.iter().filter(|htlc| htlc.payment_hash == *hash);
            alike.any(|htlc| {
                (htlc.offerer == node || htlc.receiver == node) && is_meant(hash, &htlc.channel)
            })
        };
        let is_sync = self.is_sync(node);
        let taken = self.nodes.entry(node).or_default();
        let fulfilled = taken
            .fulfilled
            .iter()
            .filter(|place| is_sync && is_shown(place));
        let mut shown: Vec<usize> = fulfilled.copied().collect();
        let mut late = Vec::new();
        taken.late.retain(|one| {
            let is_kept = is_shown(&one.1);
            late.extend(is_kept.then(|| one.clone()));
            !is_kept
        });
        for (seq, place, preimage) in late {
            let htlc = &mut self.htlcs[place];
            htlc.trace.push(seq);
            if !htlc.preimages.contains(&preimage) {
                htlc.preimages.push(preimage);
            }
            shown.push(place);
        }
        self.keep(node, shown);
    }
}

/// Whether a record with this key is the channel's: keys of monitors and of their updates hold the `channel_id` or
/// the funding. Of a channel that is not known to have been opened, any is.
fn is_of_channel(evidence: &Evidence, label: &str, key: &str) -> bool {
    let channels = evidence.channels.iter();
    let mut known = channels.filter(|channel| channel.label == label).peekable();
    let is_opened = known.peek().is_some();
    let is_named = known.any(|channel| {
        let funding = channel.funding.split(':').next().unwrap_or_default();
        key.contains(&channel.channel_id) || key.contains(funding)
    });
    is_named || !is_opened
}
