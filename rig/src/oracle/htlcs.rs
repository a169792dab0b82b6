//! Every HTLC of the case, put together from the messages that both sides report. Owns what the wire
//! says of each; what the chain adds is [`outcome`](super::outcome)'s, and what it means is the
//! ledger's.
//!
//! BOLT 2 on reconnection: messages are repeated with the same id and content, and updates that no
//! signature covered are forgotten, so that their id can come back with other content. An HTLC is
//! therefore known by channel, offerer, id *and* content.

use std::collections::{BTreeMap, BTreeSet};

use node_bin::api::{Report, UserEvent, WireMessage};

use super::fulfilments;
use super::progress::{Progress, UnderWay};
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
    /// The preimages that the offerer took from `update_fulfill_htlc`s, usually one.
    pub preimages: Vec<String>,
    /// The offerer may know none of them any more: each time it took one, it died before that was durable.
    pub preimages_forgotten: bool,
    /// The offerer, its channel open, took an `update_fail_htlc` or `update_fail_malformed_htlc`.
    pub failed: bool,
    /// The offerer also revoked the commitment before it: a failure for good.
    pub fail_committed: bool,
    /// How far it came into the commitments; the receiver tells.
    pub add: Progress,
    /// How far its removal came; the offerer tells.
    pub removal: Progress,
    /// Where the receiver first sent a removal.
    pub removal_sent: Option<u64>,
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
    fulfilments::read(evidence, &mut reader.htlcs);
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
    /// By node and channel: the updates it took, on their way to being committed.
    under_way: BTreeMap<(String, String), UnderWay<Update>>,
    /// Channels that a node has closed, by its own word: removals that come after it decide nothing.
    closed: BTreeSet<(String, String)>,
    lives: BTreeMap<String, u32>,
}

/// What a peer changes, with the HTLC's place.
#[derive(Clone, Copy)]
enum Update {
    Add(usize),
    Removal { place: usize, is_failure: bool },
}

impl Reader<'_> {
    fn report(&mut self, seq: u64, node: &str, life: u32, report: &Report) {
        if self.lives.insert(node.to_owned(), life) != Some(life) {
            self.forget_unsigned(node, None);
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
            _ => {
                let closed = closed_by(self.channels, report);
                self.closed
                    .extend(closed.map(|label| (node.to_owned(), label.to_owned())));
            }
        }
    }

    fn forget_unsigned(&mut self, node: &str, peer: Option<&str>) {
        for ((of, _), updates) in &mut self.under_way {
            if of == node && peer.is_none_or(|peer| peer == updates.peer) {
                updates.forget_unsigned();
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
                    self.htlcs[place].removal_sent.get_or_insert(seq);
                }
            }
            WireMessage::RevokeAndAck {} => {
                for update in self.updates(node, peer, channel).revokes() {
                    if let Update::Removal {
                        place,
                        is_failure: true,
                    } = update
                    {
                        self.htlcs[place].fail_committed = true;
                    }
                    self.progress(update).with_taker.get_or_insert(seq);
                }
            }
            WireMessage::CommitmentSigned { .. } => self.updates(node, peer, channel).signs(),
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
                    self.take(seq, node, peer, channel, Update::Add(place));
                }
            }
            WireMessage::UpdateFulfillHtlc { htlc_id, preimage } => {
                if let Some(place) = self.find(channel, node, *htlc_id) {
                    let htlc = &mut self.htlcs[place];
                    htlc.trace.push(seq);
                    if !htlc.preimages.contains(preimage) {
                        htlc.preimages.push(preimage.clone());
                    }
                    let is_failure = false;
                    let removal = Update::Removal { place, is_failure };
                    self.take(seq, node, peer, channel, removal);
                }
            }
            WireMessage::UpdateFailHtlc { htlc_id }
            | WireMessage::UpdateFailMalformedHtlc { htlc_id, .. } => {
                if let Some(place) = self.find(channel, node, *htlc_id) {
                    self.htlcs[place].trace.push(seq);
                    self.htlcs[place].failed = true;
                    let is_failure = true;
                    let removal = Update::Removal { place, is_failure };
                    self.take(seq, node, peer, channel, removal);
                }
            }
            WireMessage::CommitmentSigned { .. } => {
                self.updates(node, peer, channel).took_signature();
            }
            WireMessage::RevokeAndAck {} => {
                for update in self.updates(node, peer, channel).took_revocation() {
                    self.progress(update).with_both.get_or_insert(seq);
                }
            }
            _ => {}
        }
    }

    fn take(&mut self, seq: u64, node: &str, peer: &str, channel: &str, update: Update) {
        self.progress(update).taken.get_or_insert(seq);
        self.updates(node, peer, channel).taken(update);
    }

    fn progress(&mut self, update: Update) -> &mut Progress {
        match update {
            Update::Add(place) => &mut self.htlcs[place].add,
            Update::Removal { place, .. } => &mut self.htlcs[place].removal,
        }
    }

    /// The updates that the node took from the peer in this channel.
    fn updates(&mut self, node: &str, peer: &str, channel: &str) -> &mut UnderWay<Update> {
        let key = (node.to_owned(), channel.to_owned());
        self.under_way
            .entry(key)
            .or_insert_with(|| UnderWay::of(peer))
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
            add: Progress::default(),
            removal: Progress::default(),
            removal_sent: None,
            trace: vec![seq],
        });
        Some(place)
    }
}

/// The label of the channel that a node says it closed. An attempt that came to nothing is none of the case's
/// channels, though another one may have its label.
pub(super) fn closed_by<'r>(channels: &[OpenedChannel], report: &'r Report) -> Option<&'r str> {
    let Report::Event {
        event:
            UserEvent::ChannelClosed {
                channel,
                channel_id,
                ..
            },
    } = report
    else {
        return None;
    };
    let mut known = channels.iter();
    known
        .any(|opened| opened.label == *channel && opened.channel_id == *channel_id)
        .then_some(channel)
}
