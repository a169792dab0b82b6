//! Every channel that should be open carries a payment at the end, and both sides call it usable.

use node_bin::api::UserEvent;

use super::{CaseView, Docket, Judgement, Oracle};
use crate::evidence::{MadePayment, OpenedChannel};

/// The oracle `alive`. A channel that is closed against the scenario is the oracle `close`'s.
pub(super) struct Alive;

impl Oracle for Alive {
    fn name(&self) -> &'static str {
        "alive"
    }

    fn judge(&self, case: &CaseView<'_>) -> Judgement {
        let mut docket = Docket::default();
        case.miss_what_is_not_there(&mut docket);
        for channel in &case.evidence.channels {
            // One whose funding is nowhere is the oracle `close`'s too.
            let is_channel = !case.is_never_published(&channel.label);
            if is_channel && !case.is_meant_to_close(&channel.label) {
                judge_channel(case, channel, &mut docket);
            }
        }
        docket.close(self)
    }
}

fn judge_channel(case: &CaseView<'_>, channel: &OpenedChannel, docket: &mut Docket) {
    let label = &channel.label;
    let sides = [&channel.opener, &channel.acceptor];
    let views = sides.map(|node| case.channel_at_rest(node, channel));
    let [Some(one), Some(other)] = views else {
        docket.note(format!("{label} is not open on both sides: see `close`"));
        return;
    };
    if case.closure(label).is_closed() {
        docket.note(format!("{label} is closed on chain: see `close`"));
        return;
    }
    for (node, view) in sides.into_iter().zip([one, other]) {
        if !view.usable {
            let message = format!("{node} does not call {label} usable at rest");
            docket.find("dead-channel", message, Vec::new(), Vec::new());
        }
    }
    let mut proofs = case
        .evidence
        .payments
        .iter()
        .filter(|payment| payment.proves.as_deref() == Some(label))
        .peekable();
    if proofs.peek().is_none() {
        let message = format!("no payment was made at the end to prove {label} alive");
        docket.find("dead-channel", message, Vec::new(), Vec::new());
    }
    for payment in proofs {
        judge_proof(case, label, payment, docket);
    }
}

fn judge_proof(case: &CaseView<'_>, label: &str, payment: &MadePayment, docket: &mut Docket) {
    let sent = case.events().any(|told| {
        told.node == payment.from
            && matches!(told.what, UserEvent::PaymentSent { payment_id, .. } if *payment_id == payment.payment_id)
    });
    let claimed = case.events().any(|told| {
        told.node == payment.to
            && matches!(told.what, UserEvent::PaymentClaimed { payment_hash, .. } if *payment_hash == payment.payment_hash)
    });
    let failure = case.events().find_map(|told| match told.what {
        UserEvent::PaymentFailed {
            payment_id, reason, ..
        } if told.node == payment.from && *payment_id == payment.payment_id => {
            Some((told.seq, reason))
        }
        _ => None,
    });
    if sent && claimed {
        return;
    }
    let what = match (&failure, sent) {
        (Some((_, reason)), _) => format!("failed ({reason})"),
        (None, true) => "was sent, but its receiver was never told that it is claimed".to_owned(),
        (None, false) => "was never decided".to_owned(),
    };
    docket.find(
        "dead-channel",
        format!(
            "{label} is open, but the payment of {} msat from {} to {} over it at the end {what}",
            payment.amount_msat, payment.from, payment.to
        ),
        failure.map(|(seq, _)| seq).into_iter().collect(),
        Vec::new(),
    );
}
