//! What the chain decided about every HTLC that had an output: for each output of each confirmed
//! commitment, which path spent it and who took it, by bitcoind's blocks, by electrs's histories and by
//! what both nodes told.
//!
//! Paths are read from scripts and witnesses by `chain_view::witness`, not by the node's library: a path
//! that both read wrongly alike would be invisible.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::{OutPoint, Txid};
use node_bin::api::UserEvent;

use super::chain_view::ChainView;
use super::chain_view::commitment::{Closure, Commitment, Output, OutputSpend};
use super::chain_view::witness::{OutputKind, SpendPath, read};
use super::htlcs::Htlc;
use super::outcome::{outputs_of, preimage_fits};
use super::{CaseView, Docket, Judgement, Oracle};
use crate::evidence::{MadePayment, OpenedChannel};

/// The oracle `htlc-outputs`.
pub(super) struct HtlcOutputs;

impl Oracle for HtlcOutputs {
    fn name(&self) -> &'static str {
        "htlc-outputs"
    }

    fn judge(&self, case: &CaseView<'_>) -> Judgement {
        let mut docket = Docket::default();
        case.miss_what_is_not_there(&mut docket);
        if let Some(chain) = case.chain_or_miss(&mut docket) {
            let witnesses = Witnesses::read(case);
            for channel in &case.evidence.channels {
                if let Closure::Commitment(commitment) = case.closure(&channel.label) {
                    let judge = Judge {
                        case,
                        chain,
                        witnesses: &witnesses,
                        channel,
                        commitment,
                    };
                    judge.judge(&mut docket);
                }
            }
        }
        docket.close(self)
    }
}

/// Who published what, and what electrs knows of which script.
struct Witnesses<'a> {
    published: BTreeMap<&'a str, BTreeSet<&'a str>>,
    electrs: BTreeMap<&'a str, BTreeSet<(&'a str, i32)>>,
}

impl<'a> Witnesses<'a> {
    fn read(case: &CaseView<'a>) -> Self {
        let mut published: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for told in case.published() {
            let nodes = published.entry(&told.what.txid).or_default();
            nodes.insert(told.node);
        }
        let mut electrs: BTreeMap<&str, BTreeSet<(&str, i32)>> = BTreeMap::new();
        for history in &case.evidence.chain.histories {
            let entries = history.entries.iter();
            let known = electrs.entry(&history.script).or_default();
            known.extend(entries.map(|(txid, height)| (txid.as_str(), *height)));
        }
        Witnesses { published, electrs }
    }

    fn publishers(&self, txid: &Txid) -> BTreeSet<&'a str> {
        let known = self.published.get(txid.to_string().as_str());
        known.cloned().unwrap_or_default()
    }
}

/// One closed channel.
struct Judge<'j, 'e> {
    case: &'j CaseView<'e>,
    chain: &'j ChainView,
    witnesses: &'j Witnesses<'e>,
    channel: &'j OpenedChannel,
    commitment: &'j Commitment,
}

impl Judge<'_, '_> {
    fn judge(&self, docket: &mut Docket) {
        let label = &self.channel.label;
        let here: Vec<&Htlc> = self
            .case
            .htlcs()
            .map(|(htlc, _)| htlc)
            .filter(|htlc| htlc.channel == *label)
            .collect();
        let mut of_outpoint: BTreeMap<OutPoint, &Htlc> = BTreeMap::new();
        for (htlc, output) in here.iter().zip(outputs_of(&here, self.commitment)) {
            if let Some(output) = output {
                of_outpoint.insert(output.outpoint, htlc);
            }
        }
        for output in &self.commitment.outputs {
            let OutputKind::Htlc { offered, .. } = output.kind else {
                continue;
            };
            match of_outpoint.get(&output.outpoint) {
                Some(htlc) => self.judge_output(htlc, output, offered, docket),
                None => docket.find(
                    "unknown-htlc-output",
                    format!(
                        "output {} ({} sat) of the commitment that closed {label} is an HTLC that no \
                         message offered",
                        output.outpoint, output.value_sat
                    ),
                    Vec::new(),
                    Vec::new(),
                ),
            }
        }
    }

    fn judge_output(&self, htlc: &Htlc, output: &Output, offered: bool, docket: &mut Docket) {
        let owner = if offered {
            &htlc.offerer
        } else {
            &htlc.receiver
        };
        self.judge_owner(htlc, owner, docket);
        // That it is unspent is the oracle `at-rest`'s.
        let Some(spend) = output.spend else { return };
        let (taker, how) = match spend.path {
            SpendPath::Preimage(preimage) => {
                self.judge_preimage(htlc, &preimage, docket);
                (&htlc.receiver, "with the preimage")
            }
            SpendPath::Timeout => (&htlc.offerer, "after its expiry"),
            SpendPath::Revocation => (self.other(owner), "as a penalty"),
            SpendPath::Owner | SpendPath::Unknown => {
                return find_unknown_path(htlc, &htlc.name(), &spend.txid, docket);
            }
        };
        docket.note(format!(
            "{}: taken by {taker} {how} at height {}",
            htlc.name(),
            spend.height
        ));
        self.judge_taker(htlc, taker, how, &spend.txid, docket);
        self.judge_electrs(htlc, output, &spend, docket);
        self.judge_second_stage(htlc, output, owner, docket);
        // Of an old state nobody was told, and nobody needs to be.
        let is_of_now = self.case.cheater_of(&self.channel.label).is_none();
        match spend.path {
            SpendPath::Preimage(_) if is_of_now => self.judge_paid(htlc, docket),
            SpendPath::Timeout if is_of_now => self.judge_taken_back(htlc, docket),
            _ => {}
        }
    }

    fn other<'o>(&'o self, node: &str) -> &'o String {
        match self.channel.opener == node {
            true => &self.channel.acceptor,
            false => &self.channel.opener,
        }
    }

    /// The script says by whose commitment the HTLC was offered; that one published it.
    fn judge_owner(&self, htlc: &Htlc, owner: &str, docket: &mut Docket) {
        let published = self.witnesses.publishers(&self.commitment.txid);
        if !published.is_empty() && !published.contains(owner) {
            docket.find(
                "wrong-owner",
                format!(
                    "{} stands in the commitment {} as in one of {owner}, but {} published it",
                    htlc.name(),
                    self.commitment.txid,
                    names(&published)
                ),
                htlc.trace.clone(),
                Vec::new(),
            );
        }
    }

    fn judge_preimage(&self, htlc: &Htlc, preimage: &[u8; 32], docket: &mut Docket) {
        use bitcoin::hex::DisplayHex;
        let preimage = preimage.to_lower_hex_string();
        if !preimage_fits(&preimage, &htlc.payment_hash) {
            docket.find(
                "wrong-preimage",
                format!(
                    "{} was taken on chain with {preimage}, which does not hash to {}",
                    htlc.name(),
                    htlc.payment_hash
                ),
                htlc.trace.clone(),
                Vec::new(),
            );
        }
    }

    /// Whoever may take the output is the one who said that it published the spend.
    fn judge_taker(&self, htlc: &Htlc, taker: &str, how: &str, txid: &Txid, docket: &mut Docket) {
        let published = self.witnesses.publishers(txid);
        if published.is_empty() {
            docket.miss(
                "not-judged",
                format!(
                    "{} was taken {how} by {txid}, which no node says that it published",
                    htlc.name()
                ),
            );
        } else if !published.contains(taker) {
            docket.find(
                "wrong-taker",
                format!(
                    "{} was taken {how}, as only {taker} may, but {} published {txid}",
                    htlc.name(),
                    names(&published)
                ),
                htlc.trace.clone(),
                Vec::new(),
            );
        }
    }

    /// electrs has the commitment and the spend in the history of the output's script, at these heights.
    fn judge_electrs(
        &self,
        htlc: &Htlc,
        output: &Output,
        spend: &OutputSpend,
        docket: &mut Docket,
    ) {
        let Some(made) = self.chain.output(&output.outpoint) else {
            return;
        };
        let script = made.script_pubkey.to_hex_string();
        let Some(known) = self.witnesses.electrs.get(script.as_str()) else {
            docket.miss(
                "evidence-missing",
                format!("electrs was not asked for the history of {}", htlc.name()),
            );
            return;
        };
        let said = [
            (self.commitment.txid, self.commitment.height),
            (spend.txid, spend.height),
        ];
        for (txid, height) in said {
            let height = i32::try_from(height).unwrap_or(i32::MAX);
            if !known.contains(&(txid.to_string().as_str(), height)) {
                docket.find(
                    "electrs-disagrees",
                    format!(
                        "bitcoind has {txid} at height {height} in the story of {}, electrs has not",
                        htlc.name()
                    ),
                    Vec::new(),
                    Vec::new(),
                );
            }
        }
    }

    /// What the commitment's owner took through an HTLC transaction is its own after the delay, unless the
    /// commitment was revoked.
    fn judge_second_stage(&self, htlc: &Htlc, output: &Output, owner: &str, docket: &mut Docket) {
        let second = output.second_stage(self.chain);
        let Some(spend) = second.and_then(|(second, _)| self.chain.spend_of(&second)) else {
            return;
        };
        let (_, path) = read(&spend.by.transaction.input[spend.input]);
        let (taker, how) = match path {
            SpendPath::Owner => (owner, "after the delay"),
            SpendPath::Revocation => (self.other(owner).as_str(), "as a penalty"),
            SpendPath::Preimage(_) | SpendPath::Timeout | SpendPath::Unknown => {
                let what = format!("the second stage of {}", htlc.name());
                return find_unknown_path(htlc, &what, &spend.by.txid, docket);
            }
        };
        docket.note(format!(
            "{}: its second stage went to {taker} {how}",
            htlc.name()
        ));
        self.judge_taker(htlc, taker, how, &spend.by.txid, docket);
    }

    fn payments_of(&self, htlc: &Htlc) -> impl Iterator<Item = &MadePayment> {
        let payments = self.case.evidence.payments.iter();
        payments.filter(|made| made.payment_hash == htlc.payment_hash)
    }

    fn is_told(&self, node: &str, is_it: &dyn Fn(&UserEvent) -> bool) -> bool {
        let mut events = self.case.events();
        events.any(|told| told.node == node && is_it(told.what))
    }

    /// Who takes back on chain what it paid is told how the payment ended, or at least this part of it. What a forwarder
    /// takes back it fails upstream, which the ledger judges.
    fn judge_taken_back(&self, htlc: &Htlc, docket: &mut Docket) {
        for made in self
            .payments_of(htlc)
            .filter(|made| htlc.offerer == made.from)
        {
            let ended = |event: &UserEvent| match event {
                UserEvent::PaymentFailed { payment_id, .. }
                | UserEvent::PaymentSent { payment_id, .. }
                | UserEvent::PaymentPart { payment_id, .. } => *payment_id == made.payment_id,
                _ => false,
            };
            if !self.is_told(&made.from, &ended) {
                docket.find(
                    "chain-disagrees-with-events",
                    format!(
                        "{} was taken back on chain after its expiry, but {} was never told of an end of {}",
                        htlc.name(),
                        made.from,
                        made.id
                    ),
                    htlc.trace.clone(),
                    Vec::new(),
                );
            }
        }
    }

    /// Who is paid on chain, and who pays, is told so.
    fn judge_paid(&self, htlc: &Htlc, docket: &mut Docket) {
        for made in self.payments_of(htlc) {
            let claimed = |event: &UserEvent| matches!(event, UserEvent::PaymentClaimed { payment_hash, .. } if *payment_hash == made.payment_hash);
            let sent = |event: &UserEvent| matches!(event, UserEvent::PaymentSent { payment_id, .. } if *payment_id == made.payment_id);
            let mut find = |node: &str, what: &str| {
                docket.find(
                    "chain-disagrees-with-events",
                    format!(
                        "{} was taken on chain with the preimage, but {node} was never told that {} is {what}",
                        htlc.name(),
                        made.id
                    ),
                    htlc.trace.clone(),
                    Vec::new(),
                );
            };
            if htlc.receiver == made.to && !self.is_told(&made.to, &claimed) {
                find(&made.to, "claimed");
            }
            if htlc.offerer == made.from && !self.is_told(&made.from, &sent) {
                find(&made.from, "paid");
            }
        }
    }
}

fn find_unknown_path(htlc: &Htlc, what: &str, txid: &Txid, docket: &mut Docket) {
    docket.find(
        "unknown-path",
        format!("{what} was spent by {txid} in a way that BOLT 3 does not know"),
        htlc.trace.clone(),
        Vec::new(),
    );
}

fn names(nodes: &BTreeSet<&str>) -> String {
    let names: Vec<&str> = nodes.iter().copied().collect();
    names.join(" and ")
}
