//! Every HTLC of the case, put together from the messages that both sides report. Owns what the wire
//! says of each; what the chain adds is [`outcome`](super::outcome)'s, and what it means is the
//! ledger's.
//!
//! BOLT 2 on reconnection: messages are repeated with the same id and content, and updates that no
//! signature covered are forgotten, so that their id can come back with other content. An HTLC is
//! therefore known by channel, offerer, id *and* content.

use std::collections::{BTreeMap, BTreeSet};

use node_bin::api::{Report, UserEvent, WireMessage};

use crate::evidence::{Evidence, NodeReport, OpenedChannel, Source};

/// An HTLC as the wire tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Htlc {
    /// The channel's label.
    pub channel: String,
    /// Who offered it.
    pub offerer: String,
    /// Whom it was offered to.
    pub receiver: String,
    /// BOLT 2's id.
    pub htlc_id: u64,
    /// Millisatoshis.
    pub amount_msat: u64,
    /// 64 hexadecimal digits.
    pub payment_hash: String,
    /// Absolute height.
    pub cltv_expiry: u32,
    /// The receiver took the `update_add_htlc`.
    pub arrived: bool,
    /// Another HTLC was offered under the same id later: this one was forgotten.
    pub replaced: bool,
    /// The preimages that the offerer, its channel open, took from `update_fulfill_htlc`s, usually one.
    pub preimages: Vec<String>,
    /// The offerer may know none of them any more: each time it took one, it died before anything that it
    /// keeps for the channel was durable.
    pub preimages_forgotten: bool,
    /// The offerer, its channel open, took an `update_fail_htlc` or `update_fail_malformed_htlc`.
    pub failed: bool,
    /// The offerer also revoked the commitment before it: a failure for good.
    pub fail_committed: bool,
    /// Trace entries that tell of it.
    pub trace: Vec<u64>,
}

impl Htlc {
    /// For messages to people: `HTLC 0 of A on A-B (50000 msat)`.
    pub fn name(&self) -> String {
        format!(
            "HTLC {} of {} on {} ({} msat)",
            self.htlc_id, self.offerer, self.channel, self.amount_msat
        )
    }
}

/// Puts the HTLCs together, in order of their first appearance.
pub fn read(evidence: &Evidence) -> Vec<Htlc> {
    let mut reader = Reader {
        channels: &evidence.channels,
        ..Reader::default()
    };
    for entry in &evidence.trace {
        let Source::Node { node, life, report } = &entry.source else {
            continue;
        };
        let NodeReport::Node(report) = report else {
            continue;
        };
        reader.report(entry.seq, node, *life, report);
    }
    reader.htlcs
}

/// Channel, offerer, id.
type Key = (String, String, u64);

#[derive(Default)]
struct Reader<'e> {
    channels: &'e [OpenedChannel],
    htlcs: Vec<Htlc>,
    /// The newest HTLC under each id.
    newest: BTreeMap<Key, usize>,
    /// By node and channel: the failures it took, on their way to being committed.
    failures: BTreeMap<(String, String), Failures>,
    /// Channels that a node has closed, by its own word: removals that come after it decide nothing.
    closed: BTreeSet<(String, String)>,
    /// By node: HTLCs whose preimage it took in this life, before a durable write for their channel.
    taken: BTreeMap<String, Vec<usize>>,
    /// Those whose preimage is durable at the offerer.
    kept: BTreeSet<usize>,
    lives: BTreeMap<String, u32>,
}

#[derive(Default)]
struct Failures {
    peer: String,
    unsigned: Vec<usize>,
    signed: Vec<usize>,
}

impl Reader<'_> {
    fn report(&mut self, seq: u64, node: &str, life: u32, report: &Report) {
        if self.lives.insert(node.to_owned(), life) != Some(life) {
            self.forget_unsigned(node, None);
            for place in self.taken.remove(node).unwrap_or_default() {
                self.htlcs[place].preimages_forgotten = !self.kept.contains(&place);
            }
        }
        match report {
            Report::PeerUp { peer } | Report::PeerDown { peer } => {
                self.forget_unsigned(node, Some(peer));
            }
            Report::Sent {
                peer,
                channel: Some(channel),
                message,
            } => self.sent(seq, node, peer, channel, message),
            Report::Received {
                peer,
                channel: Some(channel),
                message,
            } => self.received(seq, node, peer, channel, message),
            Report::Stored { key, .. } => self.stored(node, key),
            Report::Event {
                event: UserEvent::ChannelClosed { channel, .. },
            } => {
                self.closed.insert((node.to_owned(), channel.clone()));
            }
            _ => {}
        }
    }

    /// What was taken before a write for the channel began is in it: inputs are handled in order.
    fn stored(&mut self, node: &str, key: &str) {
        let Some(taken) = self.taken.get_mut(node) else {
            return;
        };
        let mut of_channel = Vec::new();
        taken.retain(|place| {
            let label = &self.htlcs[*place].channel;
            let is_here = is_of_channel(self.channels, label, key);
            of_channel.extend(is_here.then_some(*place));
            !is_here
        });
        for place in of_channel {
            self.htlcs[place].preimages_forgotten = false;
            self.kept.insert(place);
        }
    }

    fn forget_unsigned(&mut self, node: &str, peer: Option<&str>) {
        for ((of, _), failures) in &mut self.failures {
            if of == node && peer.is_none_or(|peer| peer == failures.peer) {
                failures.unsigned.clear();
            }
        }
    }

    fn sent(&mut self, seq: u64, node: &str, peer: &str, channel: &str, message: &WireMessage) {
        match message {
            WireMessage::UpdateAddHtlc { .. } => {
                self.added(seq, channel, node, peer, message);
            }
            WireMessage::UpdateFulfillHtlc { htlc_id, .. }
            | WireMessage::UpdateFailHtlc { htlc_id }
            | WireMessage::UpdateFailMalformedHtlc { htlc_id, .. } => {
                // The sender of a removal knows; what counts is that the offerer took it.
                if let Some(place) = self.find(channel, peer, *htlc_id) {
                    self.htlcs[place].trace.push(seq);
                }
            }
            WireMessage::RevokeAndAck {} => {
                let key = (node.to_owned(), channel.to_owned());
                let signed = self
                    .failures
                    .get_mut(&key)
                    .map(|f| std::mem::take(&mut f.signed));
                for place in signed.unwrap_or_default() {
                    self.htlcs[place].fail_committed = true;
                }
            }
            _ => {}
        }
    }

    fn received(&mut self, seq: u64, node: &str, peer: &str, channel: &str, message: &WireMessage) {
        if self.closed.contains(&(node.to_owned(), channel.to_owned())) {
            return;
        }
        match message {
            WireMessage::UpdateAddHtlc { .. } => {
                if let Some(place) = self.added(seq, channel, peer, node, message) {
                    self.htlcs[place].arrived = true;
                }
            }
            WireMessage::UpdateFulfillHtlc { htlc_id, preimage } => {
                if let Some(place) = self.find(channel, node, *htlc_id) {
                    let htlc = &mut self.htlcs[place];
                    htlc.trace.push(seq);
                    if !htlc.preimages.contains(preimage) {
                        htlc.preimages.push(preimage.clone());
                    }
                    self.taken.entry(node.to_owned()).or_default().push(place);
                }
            }
            WireMessage::UpdateFailHtlc { htlc_id }
            | WireMessage::UpdateFailMalformedHtlc { htlc_id, .. } => {
                if let Some(place) = self.find(channel, node, *htlc_id) {
                    self.htlcs[place].trace.push(seq);
                    self.htlcs[place].failed = true;
                    self.failures_of(node, peer, channel).unsigned.push(place);
                }
            }
            WireMessage::CommitmentSigned { .. } => {
                let failures = self.failures_of(node, peer, channel);
                failures.signed.append(&mut failures.unsigned);
            }
            _ => {}
        }
    }

    fn failures_of(&mut self, node: &str, peer: &str, channel: &str) -> &mut Failures {
        let key = (node.to_owned(), channel.to_owned());
        self.failures.entry(key).or_insert_with(|| Failures {
            peer: peer.to_owned(),
            ..Failures::default()
        })
    }

    fn find(&self, channel: &str, offerer: &str, htlc_id: u64) -> Option<usize> {
        let key = (channel.to_owned(), offerer.to_owned(), htlc_id);
        self.newest.get(&key).copied()
    }

    fn added(
        &mut self,
        seq: u64,
        channel: &str,
        offerer: &str,
        receiver: &str,
        message: &WireMessage,
    ) -> Option<usize> {
        let WireMessage::UpdateAddHtlc {
            htlc_id,
            amount_msat,
            payment_hash,
            cltv_expiry,
        } = message
        else {
            return None;
        };
        let known = self.htlcs.iter().position(|htlc| {
            htlc.channel == channel
                && htlc.offerer == offerer
                && htlc.htlc_id == *htlc_id
                && htlc.amount_msat == *amount_msat
                && htlc.payment_hash == *payment_hash
                && htlc.cltv_expiry == *cltv_expiry
        });
        if let Some(place) = known {
            self.htlcs[place].trace.push(seq);
            return Some(place);
        }
        let place = self.htlcs.len();
        let key = (channel.to_owned(), offerer.to_owned(), *htlc_id);
        if let Some(older) = self.newest.insert(key, place) {
            self.htlcs[older].replaced = true;
        }
        self.htlcs.push(Htlc {
            channel: channel.to_owned(),
            offerer: offerer.to_owned(),
            receiver: receiver.to_owned(),
            htlc_id: *htlc_id,
            amount_msat: *amount_msat,
            payment_hash: payment_hash.clone(),
            cltv_expiry: *cltv_expiry,
            arrived: false,
            replaced: false,
            preimages: Vec::new(),
            preimages_forgotten: false,
            failed: false,
            fail_committed: false,
            trace: vec![seq],
        });
        Some(place)
    }
}

/// Whether a record with this key is the channel's: keys of monitors and of their updates hold the
/// `channel_id` or the funding. Of a channel that is not known to have been opened, any is.
fn is_of_channel(channels: &[OpenedChannel], label: &str, key: &str) -> bool {
    let mut known = channels.iter().filter(|channel| channel.label == label);
    let mut is_opened = false;
    let is_named = known.any(|channel| {
        is_opened = true;
        let funding = channel.funding.split(':').next().unwrap_or_default();
        key.contains(&channel.channel_id) || key.contains(funding)
    });
    is_named || !is_opened
}
