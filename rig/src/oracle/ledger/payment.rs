//! One payment: what its two users were told, what its HTLCs did, and what was expected.

use node_bin::api::UserEvent;

use super::{amounts, dust};
use crate::evidence::{MadePayment, RigEntry};
use crate::oracle::htlcs::Htlc;
use crate::oracle::outcome::{Outcome, Witness, preimage_fits};
use crate::oracle::{CaseView, Docket};
use crate::scenario::ExpectedPayment;

/// What the users were told, in any life.
#[derive(Default)]
pub(super) struct ToldUsers {
    pub sent: Option<u64>,
    pub failed: Option<(u64, String)>,
    pub claimed: Option<u64>,
    /// Amounts that the receiver's user was told, with where.
    pub amounts_msat: Vec<(u64, u64)>,
    /// Fees that the sender's user was told, with where.
    pub fees_msat: Vec<(u64, u64)>,
    wrong_preimages: Vec<(u64, String)>,
}

impl ToldUsers {
    fn read(case: &CaseView<'_>, made: &MadePayment) -> Self {
        let mut users = ToldUsers::default();
        for told in case.events() {
            match told.what {
                UserEvent::PaymentSent {
                    payment_id,
                    payment_hash,
                    preimage,
                    fee_paid_msat,
                } if told.node == made.from && *payment_id == made.payment_id => {
                    users.sent.get_or_insert(told.seq);
                    let fee_msat = fee_paid_msat.map(|fee_msat| (told.seq, fee_msat));
                    users.fees_msat.extend(fee_msat);
                    let fits = preimage_fits(preimage, &made.payment_hash);
                    if !fits || *payment_hash != made.payment_hash {
                        users.wrong_preimages.push((told.seq, preimage.clone()));
                    }
                }
                UserEvent::PaymentFailed {
                    payment_id, reason, ..
                } if told.node == made.from && *payment_id == made.payment_id => {
                    users.failed.get_or_insert((told.seq, reason.clone()));
                }
                UserEvent::PaymentClaimable {
                    payment_hash,
                    amount_msat,
                } if told.node == made.to && *payment_hash == made.payment_hash => {
                    users.amounts_msat.push((told.seq, *amount_msat));
                }
                UserEvent::PaymentClaimed {
                    payment_hash,
                    amount_msat,
                } if told.node == made.to && *payment_hash == made.payment_hash => {
                    users.claimed.get_or_insert(told.seq);
                    users.amounts_msat.push((told.seq, *amount_msat));
                }
                _ => {}
            }
        }
        users
    }

    fn trace(&self) -> Vec<u64> {
        let failed = self.failed.as_ref().map(|(seq, _)| *seq);
        let mut trace: Vec<u64> = self
            .sent
            .into_iter()
            .chain(failed)
            .chain(self.claimed)
            .collect();
        trace.sort_unstable();
        trace
    }
}

/// What HTLCs of the payment did at one end of it.
#[derive(Default)]
pub(super) struct End {
    pub claimed_msat: u64,
    pub dust_msat: u64,
    htlcs: usize,
    pub pending: usize,
    on_chain: bool,
    pub lines: Vec<String>,
}

impl End {
    fn read(case: &CaseView<'_>, made: &MadePayment, is_here: impl Fn(&Htlc) -> bool) -> Self {
        let mut end = End::default();
        let here = case
            .htlcs()
            .filter(|(htlc, _)| htlc.payment_hash == made.payment_hash && is_here(htlc));
        for (htlc, outcome) in here {
            end.htlcs += 1;
            match outcome {
                Outcome::Claimed(_) => {
                    end.claimed_msat = end.claimed_msat.saturating_add(htlc.amount_msat)
                }
                Outcome::Dust => end.dust_msat = end.dust_msat.saturating_add(htlc.amount_msat),
                Outcome::Pending => end.pending += 1,
                Outcome::Failed(_) | Outcome::Forgotten | Outcome::Penalty => {}
            }
            end.on_chain |= matches!(
                outcome,
                Outcome::Claimed(Witness::Chain) | Outcome::Failed(Witness::Chain)
            );
            end.lines.push(format!("{}: {outcome:?}", htlc.name()));
        }
        end
    }
}

/// Judges a payment.
pub(super) fn judge(case: &CaseView<'_>, made: &MadePayment, docket: &mut Docket) {
    let users = ToldUsers::read(case, made);
    let first = End::read(case, made, |htlc| htlc.offerer == made.from);
    let last = End::read(case, made, |htlc| htlc.receiver == made.to);
    for (seq, preimage) in &users.wrong_preimages {
        docket.find(
            "wrong-preimage",
            format!(
                "{} was told that {} is paid with {preimage}, which does not belong to {}",
                made.from, made.id, made.payment_hash
            ),
            vec![*seq],
            Vec::new(),
        );
    }
    judge_terminal(case, made, &users, &first, docket);
    judge_sender(made, &users, &first, docket);
    judge_receiver(case, made, &users, &first, &last, docket);
    amounts::judge(case, made, &users, &first, &last, docket);
}

/// The sender's user was told one end, and the expected one.
fn judge_terminal(
    case: &CaseView<'_>,
    made: &MadePayment,
    users: &ToldUsers,
    first: &End,
    docket: &mut Docket,
) {
    let expected = case.expected_payment(&made.id);
    let id = &made.id;
    let mut outcome = |message: String| {
        docket.find(
            "payment-outcome",
            message,
            users.trace(),
            [first.lines.clone(), closes(case, made)].concat(),
        );
    };
    match (&users.sent, &users.failed) {
        (Some(_), Some((_, reason))) => docket.find(
            "terminal-flip",
            format!(
                "{} was told both that {id} is paid and that it failed ({reason})",
                made.from
            ),
            users.trace(),
            first.lines.clone(),
        ),
        (Some(_), None) if expected == Some(ExpectedPayment::Failed) => {
            outcome(format!("{id} should have failed and was sent"));
        }
        (None, Some((_, reason))) if expected == Some(ExpectedPayment::Sent) => {
            outcome(format!("{id} should have been sent and failed ({reason})"));
        }
        (Some(_), None) | (None, Some(_)) => {}
        (None, None) => match refusal(case, made, first) {
            Some((seq, message)) if expected == Some(ExpectedPayment::Sent) => docket.find(
                "payment-outcome",
                format!("{id} should have been sent and was refused: {message}"),
                vec![seq],
                Vec::new(),
            ),
            Some((_, message)) => docket.note(format!("{id} was refused: {message}")),
            None => docket.find(
                "payment-undecided",
                format!(
                    "{} was never told whether {id} is paid or failed",
                    made.from
                ),
                users.trace(),
                first.lines.clone(),
            ),
        },
    }
}

/// Why channels that its HTLCs came through were closed, by what users were told: what ended a payment otherwise
/// than expected is most often that, though a scenario may have meant the close.
fn closes(case: &CaseView<'_>, made: &MadePayment) -> Vec<String> {
    let is_on_its_way = |label: &String| {
        let mut htlcs = case.htlcs();
        htlcs.any(|(htlc, _)| htlc.payment_hash == made.payment_hash && htlc.channel == *label)
    };
    let told = case.events().filter_map(|told| match told.what {
        UserEvent::ChannelClosed {
            channel, reason, ..
        } if is_on_its_way(channel) => {
            let (node, life) = (told.node, told.life);
            Some(format!(
                "{channel} was closed: {node} (life {life}) says {reason}"
            ))
        }
        _ => None,
    });
    told.collect()
}

/// A payment that was refused and never offered an HTLC needs no event.
fn refusal<'a>(case: &CaseView<'a>, made: &MadePayment, first: &End) -> Option<(u64, &'a str)> {
    if first.htlcs > 0 {
        return None;
    }
    case.rig_entries().find_map(|(seq, entry)| match entry {
        RigEntry::Refused {
            node,
            method,
            message,
        } if *node == made.from && (method == "pay" || method == "keysend") => {
            Some((seq, message.as_str()))
        }
        _ => None,
    })
}

/// The sender's user against the HTLCs that the sender offered.
fn judge_sender(made: &MadePayment, users: &ToldUsers, first: &End, docket: &mut Docket) {
    let undecided = first.pending > 0;
    if users.sent.is_some() && first.claimed_msat == 0 && !undecided && first.dust_msat == 0 {
        let code = if first.on_chain {
            "chain-disagrees-with-events"
        } else {
            "paid-not-claimed"
        };
        docket.find(
            code,
            format!(
                "{} was told that {} is paid, but none of its HTLCs was claimed",
                made.from, made.id
            ),
            users.trace(),
            first.lines.clone(),
        );
    }
    if users.failed.is_some() && users.sent.is_none() && first.claimed_msat > 0 {
        let code = if first.on_chain {
            "chain-disagrees-with-events"
        } else {
            "claimed-not-paid"
        };
        docket.find(
            code,
            format!(
                "{} was told that {} failed, but {} msat of it was claimed: {} lost {} msat",
                made.from, made.id, first.claimed_msat, made.from, first.claimed_msat
            ),
            users.trace(),
            first.lines.clone(),
        );
    }
}

/// The receiver's user against the HTLCs that the receiver was offered, and against the sender.
fn judge_receiver(
    case: &CaseView<'_>,
    made: &MadePayment,
    users: &ToldUsers,
    first: &End,
    last: &End,
    docket: &mut Docket,
) {
    let (id, to, amount_msat) = (&made.id, &made.to, made.amount_msat);
    let claimed_msat = last.claimed_msat;
    // If the sender's own HTLCs were claimed, the loss is the sender's and has been named.
    let failed = users.failed.is_some() && users.sent.is_none() && first.claimed_msat == 0;
    let is_lost = failed && claimed_msat > 0 && !dust::is_lost(case, made, claimed_msat, docket);
    let mut find = |code: &str, message: String| {
        docket.find(code, message, users.trace(), last.lines.clone());
    };
    if users.sent.is_some() && claimed_msat == 0 && users.claimed.is_none() {
        find(
            "paid-not-claimed",
            format!(
                "{} was told that {id} is paid, but {to} never claimed it: {amount_msat} msat are lost",
                made.from
            ),
        );
    } else if users.sent.is_some() && users.claimed.is_none() {
        find(
            "paid-not-claimed",
            format!("{to} has {claimed_msat} msat of {id}, but its user was never told"),
        );
    }
    if is_lost {
        find(
            "claimed-not-paid",
            format!(
                "{to} claimed {claimed_msat} msat of {id}, but {} was told that it failed: \
                 {claimed_msat} msat are lost on the way",
                made.from
            ),
        );
    }
    judge_amount(made, users, last, docket);
}

/// The receiver has all of it, or nothing, and never more.
fn judge_amount(made: &MadePayment, users: &ToldUsers, last: &End, docket: &mut Docket) {
    let (id, to, amount_msat) = (&made.id, &made.to, made.amount_msat);
    let claimed_msat = last.claimed_msat;
    let mut find = |code: &str, message: String| {
        docket.find(code, message, users.trace(), last.lines.clone());
    };
    if claimed_msat > amount_msat {
        find(
            "overpaid",
            format!(
                "{to} claimed {claimed_msat} msat of {id}, which is for {amount_msat}: {} paid it more than once",
                made.from
            ),
        );
    }
    // The chain may keep dust, and what is pending is for `at-rest` to say.
    let accounted_msat = claimed_msat.saturating_add(last.dust_msat);
    if last.pending > 0 || accounted_msat >= amount_msat {
        if last.dust_msat > 0 {
            docket.note(format!(
                "{id}: {} msat of dust HTLCs had no output when their channel closed",
                last.dust_msat
            ));
        }
        return;
    }
    if claimed_msat > 0 {
        find(
            "mpp-partial",
            format!(
                "{to} claimed {claimed_msat} of {amount_msat} msat of {id}: the other parts were not claimed"
            ),
        );
    } else if users.claimed.is_some() {
        let code = if last.on_chain {
            "chain-disagrees-with-events"
        } else {
            "claimed-not-paid"
        };
        find(
            code,
            format!(
                "{to} was told that {id} is claimed, but none of its HTLCs was: {to} lost {amount_msat} msat"
            ),
        );
    }
}
