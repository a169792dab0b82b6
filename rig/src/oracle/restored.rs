//! A node that was put back to old data publishes no commitment that it has revoked since, unless it is meant to
//! cheat. What the chain shows is not enough: a commitment that came second is in no block.

use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{OutPoint, Transaction};
use node_bin::api::{Report, WireMessage};

use super::chain_view::commitment::is_commitment_spending;
use super::{CaseView, Docket};
use crate::evidence::{OpenedChannel, RigEntry};
use crate::scenario::StepKind;

pub(super) fn judge(case: &CaseView<'_>, docket: &mut Docket) {
    for (restored, entry) in case.rig_entries() {
        let RigEntry::Restored { node } = entry else {
            continue;
        };
        let copied = copied_at(case, restored);
        let channels = case.evidence.channels.iter();
        let its = channels.filter(|channel| channel.opener == *node || channel.acceptor == *node);
        for channel in its {
            let is_cheat = case.cheater_of(&channel.label) == Some(node.as_str());
            if !is_cheat && has_revoked(case, node, channel, copied..restored) {
                judge_published(case, node, channel, restored, docket);
            }
        }
    }
}

/// Where in the trace the copy was made that was put in place here; the beginning if that is not known.
fn copied_at(case: &CaseView<'_>, restored: u64) -> u64 {
    let steps = &case.evidence.plan.scenario.act;
    let begun = case.rig_entries().filter_map(|(seq, entry)| match entry {
        RigEntry::StepBegun { label } if seq < restored => Some(label),
        _ => None,
    });
    let restoring = begun.last().and_then(|label| {
        let mut steps = steps.iter();
        steps.find(|step| step.label == *label)
    });
    let Some(StepKind::Restore { snapshot, .. }) = restoring.map(|step| &step.kind) else {
        return 0;
    };
    let is_copying =
        |kind: &StepKind| matches!(kind, StepKind::Snapshot { name, .. } if name == snapshot);
    let copying = steps.iter().find(|step| is_copying(&step.kind));
    let ended = case.rig_entries().find_map(|(seq, entry)| match entry {
        RigEntry::StepEnded { label } if copying.is_some_and(|step| step.label == *label) => {
            Some(seq)
        }
        _ => None,
    });
    ended.unwrap_or(0)
}

fn has_revoked(
    case: &CaseView<'_>,
    node: &str,
    channel: &OpenedChannel,
    between: std::ops::Range<u64>,
) -> bool {
    case.reports().any(|told| {
        let label = match told.what {
            Report::Sent {
                channel: Some(label),
                message: WireMessage::RevokeAndAck {},
                ..
            } => label,
            _ => return false,
        };
        told.node == node && *label == channel.label && between.contains(&told.seq)
    })
}

fn judge_published(
    case: &CaseView<'_>,
    node: &str,
    channel: &OpenedChannel,
    restored: u64,
    docket: &mut Docket,
) {
    let Ok(funding) = channel.funding.parse::<OutPoint>() else {
        return;
    };
    let is_commitment = |raw: &str| {
        deserialize_hex::<Transaction>(raw)
            .is_ok_and(|transaction| is_commitment_spending(&transaction, &funding))
    };
    // Whether the network took it does not matter: it was given out.
    let stale = case
        .reports()
        .filter(|told| told.node == node && told.seq > restored)
        .find_map(|told| match told.what {
            Report::Broadcast { transactions, .. } => {
                let mut made = transactions.iter();
                let made = made.find(|made| is_commitment(&made.raw))?;
                Some((told.seq, made))
            }
            _ => None,
        });
    if let Some((seq, made)) = stale {
        docket.find(
            "stale-commitment",
            format!(
                "{node} was put back to old data, and then published {}, a commitment of {} that it had revoked",
                made.txid, channel.label
            ),
            vec![seq],
            Vec::new(),
        );
    }
}
