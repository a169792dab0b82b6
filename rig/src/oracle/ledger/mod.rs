//! The ledger: sender's events, every hop's HTLCs on the wire and on chain, receiver's events and
//! both sides' commitment numbers tell one story, and it is the one the scenario expects.

use std::collections::BTreeMap;

use super::htlcs::Htlc;
use super::outcome::{Outcome, Witness, preimage_fits};
use super::{CaseView, Docket, Judgement, Oracle};
use crate::evidence::OpenedChannel;

mod amounts;
mod dust;
mod earned;
mod forwards;
mod payment;
mod upstream;

/// The oracle `ledger`.
pub(super) struct Ledger;

impl Oracle for Ledger {
    fn name(&self) -> &'static str {
        "ledger"
    }

    fn judge(&self, case: &CaseView<'_>) -> Judgement {
        let mut docket = Docket::default();
        case.miss_what_is_not_there(&mut docket);
        case.chain_or_miss(&mut docket);
        for (htlc, outcome) in case.htlcs() {
            judge_htlc(htlc, outcome, &mut docket);
        }
        let by_hash = by_hash(case);
        for (payment_hash, htlcs) in &by_hash {
            let made = &case.evidence.payments;
            if made.iter().any(|made| made.payment_hash == *payment_hash) {
                forwards::judge(case, payment_hash, htlcs, &mut docket);
            } else {
                let message =
                    format!("no payment of the case has the hash {payment_hash} of an HTLC");
                docket.miss("evidence-missing", message);
            }
        }
        for id in case.evidence.plan.scenario.expect.payments.keys() {
            if case
                .evidence
                .payments
                .iter()
                .all(|payment| payment.id != *id)
            {
                let message = format!("payment {id} was never made");
                docket.miss("evidence-missing", message);
            }
        }
        for made in &case.evidence.payments {
            payment::judge(case, made, &mut docket);
        }
        dust::judge(case, &mut docket);
        earned::judge(case, &by_hash, &mut docket);
        for channel in &case.evidence.channels {
            judge_commitment_numbers(case, channel, &mut docket);
        }
        docket.close(self)
    }
}

/// HTLCs with their outcomes.
type Ended<'c> = Vec<(&'c Htlc, Outcome)>;

/// Those of them that the node was offered, and those that it offered.
fn sides<'c, 'h>(node: &str, htlcs: &'h Ended<'c>) -> [Vec<&'h (&'c Htlc, Outcome)>; 2] {
    let of = |is_here: &dyn Fn(&Htlc) -> bool| {
        let here = htlcs.iter().filter(|(htlc, _)| is_here(htlc));
        here.collect::<Vec<_>>()
    };
    [
        of(&|htlc| htlc.receiver == node),
        of(&|htlc| htlc.offerer == node),
    ]
}

fn by_hash<'c>(case: &'c CaseView<'_>) -> BTreeMap<&'c str, Ended<'c>> {
    let mut found: BTreeMap<&str, Ended<'c>> = BTreeMap::new();
    for (htlc, outcome) in case.htlcs() {
        found
            .entry(&htlc.payment_hash)
            .or_default()
            .push((htlc, outcome));
    }
    found
}

/// One HTLC by itself: every preimage fits, and it did not end both ways.
fn judge_htlc(htlc: &Htlc, outcome: Outcome, docket: &mut Docket) {
    for preimage in &htlc.preimages {
        if !preimage_fits(preimage, &htlc.payment_hash) {
            docket.find(
                "wrong-preimage",
                format!(
                    "{} was fulfilled with {preimage}, which does not hash to {}",
                    htlc.name(),
                    htlc.payment_hash
                ),
                htlc.trace.clone(),
                Vec::new(),
            );
        }
    }
    let fulfilled = !htlc.preimages.is_empty();
    let both = if fulfilled && htlc.fail_committed {
        "fulfilled and failed by messages"
    } else if fulfilled && outcome == Outcome::Failed(Witness::Chain) {
        "fulfilled by a message and timed out on chain"
    } else if htlc.fail_committed && outcome == Outcome::Claimed(Witness::Chain) {
        "failed by a message and claimed on chain"
    } else {
        return;
    };
    docket.find(
        "htlc-double-claim",
        format!("{} was {both}", htlc.name()),
        htlc.trace.clone(),
        vec![format!("payment hash {}", htlc.payment_hash)],
    );
}

/// Both sides have to count the same commitments once nothing is under way.
fn judge_commitment_numbers(case: &CaseView<'_>, channel: &OpenedChannel, docket: &mut Docket) {
    let (opener, acceptor) = (&channel.opener, &channel.acceptor);
    let (Some(ours), Some(theirs)) = (
        case.channel_at_rest(opener, channel),
        case.channel_at_rest(acceptor, channel),
    ) else {
        return;
    };
    let pairs = [
        (
            opener,
            ours.holder_commitment_number,
            acceptor,
            theirs.counterparty_commitment_number,
        ),
        (
            acceptor,
            theirs.holder_commitment_number,
            opener,
            ours.counterparty_commitment_number,
        ),
    ];
    for (holder, held, other, counted) in pairs {
        match (held, counted) {
            (Some(held), Some(counted)) if held != counted => docket.find(
                "commitment-numbers-differ",
                format!(
                    "on {} {holder}'s own commitment is number {held}, but {other} counts {counted}",
                    channel.label
                ),
                Vec::new(),
                Vec::new(),
            ),
            (Some(_), Some(_)) => {}
            _ => docket.note(format!(
                "{}: the number of {holder}'s commitment is not known to both sides",
                channel.label
            )),
        }
    }
}
