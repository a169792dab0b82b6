//! Closes that are meant: how, when, and whom they are told. A scenario that has a channel closed excuses no other
//! close of it: not a force-close in place of an agreed one, and not one that comes before anybody had a reason.

use node_bin::api::UserEvent;

use super::chain_view::commitment::Closure;
use super::{CaseView, Docket};
use crate::evidence::OpenedChannel;
use crate::scenario::StepKind;

/// Judges a channel that is closed and was meant to be.
pub(super) fn judge(case: &CaseView<'_>, channel: &OpenedChannel, docket: &mut Docket) {
    let closure = case.closure(&channel.label);
    if !closure.is_closed() {
        return;
    }
    if !case.is_closed_by_a_fault(&channel.label) {
        judge_kind(case, channel, closure, docket);
        judge_time(case, channel, docket);
    }
    for node in [&channel.opener, &channel.acceptor] {
        judge_told(case, channel, node, docket);
    }
}

/// Users who close a channel by agreement get a closing transaction that both have signed.
fn judge_kind(
    case: &CaseView<'_>,
    channel: &OpenedChannel,
    closure: &Closure,
    docket: &mut Docket,
) {
    let is_agreed = case.has_step(
        |kind| matches!(kind, StepKind::Close { channel: label, .. } if *label == channel.label),
    );
    if let (true, Closure::Commitment(commitment)) = (is_agreed, closure) {
        docket.find(
            "forced-close",
            format!(
                "{} should have been closed by agreement, and the commitment {} closed it at height {}",
                channel.label, commitment.txid, commitment.height
            ),
            told_of(case, channel).iter().map(|told| told.0).collect(),
            Vec::new(),
        );
    }
}

/// Nobody closes a channel before a step asks for it, or, if none does, before a block or old data give a reason.
fn judge_time(case: &CaseView<'_>, channel: &OpenedChannel, docket: &mut Docket) {
    let label = &channel.label;
    let is_asked = |kind: &StepKind| match kind {
        StepKind::Close { channel, .. } | StepKind::ForceClose { channel, .. } => channel == label,
        _ => false,
    };
    let gives_a_reason = |kind: &StepKind| {
        matches!(
            kind,
            StepKind::Mine { .. } | StepKind::Reorg { .. } | StepKind::Restore { .. }
        )
    };
    let first = match (case.has_step(is_asked), case.has_step(gives_a_reason)) {
        (true, _) => case.first_begun(is_asked),
        (false, true) => case.first_begun(gives_a_reason),
        (false, false) => return,
    };
    let mut told = told_of(case, channel).into_iter();
    let early = told.find(|(seq, ..)| first.is_none_or(|first| *seq < first));
    if let Some((seq, whose, reason)) = early {
        docket.find(
            "early-close",
            format!("{label} was closed before anything in the scenario closes it: {whose} says {reason}"),
            vec![seq],
            Vec::new(),
        );
    }
}

/// Both users hear that their channel is closed, and none still has it for use.
fn judge_told(case: &CaseView<'_>, channel: &OpenedChannel, node: &str, docket: &mut Docket) {
    if case.rest(node).is_none() || case.was_put_back(node) {
        return;
    }
    let told = told_of(case, channel);
    if !told.iter().any(|(_, whose, _)| *whose == node) {
        docket.find(
            "close-not-told",
            format!(
                "{} is closed, and {node} never told its user",
                channel.label
            ),
            Vec::new(),
            Vec::new(),
        );
    }
    let listed = case.channel_at_rest(node, channel);
    if listed.is_some_and(|listed| listed.usable) {
        docket.find(
            "closed-and-usable",
            format!(
                "{} is closed, and {node} still lists it for use",
                channel.label
            ),
            Vec::new(),
            Vec::new(),
        );
    }
}

/// Who was told of the channel's close, in order: where in the trace, whose user, and the reason.
fn told_of<'a>(case: &CaseView<'a>, channel: &OpenedChannel) -> Vec<(u64, &'a str, &'a str)> {
    let told = case.events().filter_map(|told| match told.what {
        UserEvent::ChannelClosed {
            channel_id, reason, ..
        } if *channel_id == channel.channel_id => Some((told.seq, told.node, reason.as_str())),
        _ => None,
    });
    told.collect()
}
