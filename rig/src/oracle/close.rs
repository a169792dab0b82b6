//! Channels close if, and only if, the scenario says so; and never with a revoked commitment. A channel
//! that a step opens is there at the end; an attempt at it whose funding was never published is none.

use node_bin::api::{LogLevel, Report, UserEvent, WireMessage};

use super::case::Told;
use super::chain_view::commitment::{Closure, Commitment};
use super::chain_view::witness::{OutputKind, SpendPath, read};
use super::{CaseView, Docket, Judgement, Oracle, bumped, meant, restored, revoked};
use crate::evidence::OpenedChannel;

/// Log lines printed beside a close at most.
const LINES_MAX: usize = 12;

/// The oracle `close`.
pub(super) struct Close;

impl Oracle for Close {
    fn name(&self) -> &'static str {
        "close"
    }

    fn judge(&self, case: &CaseView<'_>) -> Judgement {
        let mut docket = Docket::default();
        case.miss_what_is_not_there(&mut docket);
        let chain_known = case.chain_or_miss(&mut docket).is_some();
        for channel in &case.evidence.channels {
            if !case.is_meant_to_close(&channel.label) {
                judge_open(case, channel, &mut docket);
            } else if case.is_never_published(&channel.label) {
                // Said below.
            } else if chain_known && !case.closure(&channel.label).is_closed() {
                docket.find(
                    "missing-close",
                    format!(
                        "{} should be closed, but its funding {} is unspent",
                        channel.label, channel.funding
                    ),
                    Vec::new(),
                    Vec::new(),
                );
            } else if chain_known {
                meant::judge(case, channel, &mut docket);
            }
            judge_penalty(case, channel, &mut docket);
        }
        judge_opened(case, &mut docket);
        restored::judge(case, &mut docket);
        revoked::judge(case, &mut docket);
        bumped::judge(case, &mut docket);
        docket.close(self)
    }
}

/// The steps' channels: each is funded at the end, however often it had to be asked for.
fn judge_opened(case: &CaseView<'_>, docket: &mut Docket) {
    let channels = case.evidence.plan.scenario.channels.iter();
    for channel in channels.filter(|channel| case.is_never_published(&channel.label)) {
        let label = &channel.label;
        let how = match case.opened(label) {
            Some(opened) => format!("its funding {} is in no block", opened.funding),
            None => format!(
                "neither {} nor {} ever listed it",
                channel.opener, channel.acceptor
            ),
        };
        docket.find(
            "missing-channel",
            format!("{label} should have been opened, but {how}"),
            Vec::new(),
            Vec::new(),
        );
    }
}

/// A channel's close as its first witness tells it.
struct Noticed<'a> {
    node: Option<&'a str>,
    life: u32,
    seq: u64,
    how: String,
}

fn judge_open(case: &CaseView<'_>, channel: &OpenedChannel, docket: &mut Docket) {
    if case.is_never_published(&channel.label) {
        return;
    }
    let closing = case.closure(&channel.label).closing();
    let Some(noticed) = first_event(case, channel).or_else(|| without_event(case, channel)) else {
        return;
    };
    let on_chain = match closing {
        Some((txid, height)) => format!("; spent by {txid} at height {height}"),
        None => "; its funding is unspent".to_owned(),
    };
    let mut trace: Vec<u64> = (noticed.seq > 0)
        .then_some(noticed.seq)
        .into_iter()
        .collect();
    let (mut lines, told) = explanation(case, channel, &noticed);
    trace.extend(told);
    let (errors, told) = error_messages(case, channel);
    lines.extend(errors);
    trace.extend(told);
    trace.sort_unstable();
    trace.dedup();
    docket.find(
        "unexpected-close",
        format!(
            "{} closed unexpectedly: {}{on_chain}",
            channel.label, noticed.how
        ),
        trace,
        lines,
    );
}

fn first_event<'a>(case: &CaseView<'a>, channel: &OpenedChannel) -> Option<Noticed<'a>> {
    case.events().find_map(|told| match told.what {
        UserEvent::ChannelClosed {
            channel: label,
            channel_id,
            reason,
        } if (*label == channel.label || *channel_id == channel.channel_id)
            && (!case.is_opened_by_step(&channel.label) || case.is_funded(channel_id)) =>
        {
            Some(Noticed {
                node: Some(told.node),
                life: told.life,
                seq: told.seq,
                how: format!("{} says {reason}", told.node),
            })
        }
        _ => None,
    })
}

/// No user was told of a close, yet there is one.
fn without_event<'a>(case: &CaseView<'a>, channel: &'a OpenedChannel) -> Option<Noticed<'a>> {
    let silent = |node, how| Noticed {
        node,
        life: u32::MAX,
        seq: 0,
        how,
    };
    if case.closure(&channel.label).is_closed() {
        return Some(silent(None, "no node told its user".to_owned()));
    }
    [&channel.opener, &channel.acceptor]
        .into_iter()
        .find(|node| case.rest(node).is_some() && case.channel_at_rest(node, channel).is_none())
        .map(|node| {
            silent(
                Some(node.as_str()),
                format!("{node} does not list it at rest, and no node told its user"),
            )
        })
}

/// The log lines that explain a close, with their trace entries: of the node that noticed it, in
/// that life and up to the event; of those the ones that speak of closing or of the channel, and the
/// line after each of them. If none does, the last few.
fn explanation(
    case: &CaseView<'_>,
    channel: &OpenedChannel,
    noticed: &Noticed<'_>,
) -> (Vec<String>, Vec<u64>) {
    let logged: Vec<(u64, String, bool)> = case
        .reports()
        .filter(|told| noticed.node.is_none_or(|node| node == told.node))
        .filter(|told| noticed.life == u32::MAX || noticed.life == told.life)
        .filter(|told| noticed.seq == 0 || told.seq < noticed.seq)
        .filter_map(|told| log_line(&told, channel))
        .collect();
    let mut chosen: Vec<usize> = Vec::new();
    for (place, (_, _, speaks)) in logged.iter().enumerate() {
        if *speaks || place.checked_sub(1).is_some_and(|before| logged[before].2) {
            chosen.push(place);
        }
    }
    if chosen.is_empty() {
        chosen = (logged.len().saturating_sub(5)..logged.len()).collect();
    }
    // Those nearest the close are the ones that explain it.
    let chosen = chosen.split_off(chosen.len().saturating_sub(LINES_MAX));
    chosen
        .into_iter()
        .map(|place| (logged[place].1.clone(), logged[place].0))
        .unzip()
}

fn log_line(told: &Told<'_, Report>, channel: &OpenedChannel) -> Option<(u64, String, bool)> {
    let Report::Log {
        level,
        module,
        message,
    } = told.what
    else {
        return None;
    };
    let level = match level {
        LogLevel::Warn => "WARN",
        LogLevel::Error => "ERROR",
    };
    let small = message.to_lowercase();
    let speaks = [
        "stale",
        "clos",
        "force",
        "outdated",
        channel.channel_id.as_str(),
    ]
    .iter()
    .any(|word| !word.is_empty() && small.contains(word));
    let line = format!(
        "{} (life {}) {level} {module}: {message}",
        told.node, told.life
    );
    Some((told.seq, line, speaks))
}

/// What the two sides wrote to each other in `error` messages.
fn error_messages(case: &CaseView<'_>, channel: &OpenedChannel) -> (Vec<String>, Vec<u64>) {
    let sides = [&channel.opener, &channel.acceptor];
    let mut lines: Vec<String> = Vec::new();
    let mut trace = Vec::new();
    for told in case.reports() {
        let (Report::Sent {
            peer,
            channel: label,
            message: WireMessage::Error { data },
        }
        | Report::Received {
            peer,
            channel: label,
            message: WireMessage::Error { data },
        }) = told.what
        else {
            continue;
        };
        let ours = match label {
            Some(label) => *label == channel.label,
            None => sides.iter().any(|s| *s == told.node) && sides.contains(&peer),
        };
        if !ours {
            continue;
        }
        let (from, to) = match told.what {
            Report::Sent { .. } => (told.node, peer.as_str()),
            _ => (peer.as_str(), told.node),
        };
        let line = format!("error from {from} to {to}: {data}");
        if !lines.contains(&line) {
            lines.push(line);
            trace.push(told.seq);
        }
    }
    (lines, trace)
}

/// A commitment that was meant to be a revoked one: all that is in it is the other side's.
fn judge_punishment(
    case: &CaseView<'_>,
    channel: &OpenedChannel,
    commitment: &Commitment,
    cheater: &str,
    docket: &mut Docket,
) {
    let Some(chain) = case.chain_or_miss(docket) else {
        return;
    };
    let mut left = Vec::new();
    for output in &commitment.outputs {
        let Some(spend) = output.spend else { continue };
        let is_punished = match (output.kind, output.second_stage(chain)) {
            (OutputKind::Htlc { .. }, Some((second, _))) => {
                chain.spend_of(&second).is_some_and(|spend| {
                    let (_, path) = read(&spend.by.transaction.input[spend.input]);
                    path == SpendPath::Revocation
                })
            }
            // Taken from the commitment itself: only the other side can.
            (OutputKind::Htlc { .. }, None) => true,
            (OutputKind::Delayed, _) => spend.path == SpendPath::Revocation,
            _ => true,
        };
        if !is_punished {
            let (outpoint, value_sat) = (output.outpoint, output.value_sat);
            left.push(format!(
                "{outpoint}: {value_sat} sat, spent by {}",
                spend.txid
            ));
        }
    }
    let was_revoked = commitment.outputs.iter().any(|output| {
        let path = output.spend.map(|spend| spend.path);
        path == Some(SpendPath::Revocation)
    });
    if !left.is_empty() || !was_revoked {
        docket.find(
            "unpunished-output",
            format!(
                "{cheater} closed {} with the revoked commitment {} at height {}, and {} of its outputs were \
                 not taken from it",
                channel.label,
                commitment.txid,
                commitment.height,
                if was_revoked { left.len().to_string() } else { "all".to_owned() }
            ),
            Vec::new(),
            left,
        );
    } else {
        docket.note(format!(
            "{cheater} closed {} with the revoked commitment {} and lost all that was in it",
            channel.label, commitment.txid
        ));
    }
}

fn judge_penalty(case: &CaseView<'_>, channel: &OpenedChannel, docket: &mut Docket) {
    let Closure::Commitment(commitment) = case.closure(&channel.label) else {
        return;
    };
    let penalty = commitment
        .outputs
        .iter()
        .filter_map(|output| output.spend)
        .find(|spend| spend.path == SpendPath::Revocation);
    if let Some(cheater) = case.cheater_of(&channel.label) {
        judge_punishment(case, channel, commitment, cheater, docket);
    } else if let Some(penalty) = penalty {
        docket.find(
            "revoked-commitment",
            format!(
                "{} was closed by the revoked commitment {} at height {}, punished by {} at height {}",
                channel.label, commitment.txid, commitment.height, penalty.txid, penalty.height
            ),
            Vec::new(),
            Vec::new(),
        );
    }
}
