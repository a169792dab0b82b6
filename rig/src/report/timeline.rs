//! A case's trace as lines for a reader: who did what when, without bookkeeping.

use faults::GateReport;
use node_bin::api::Report;

use crate::evidence::{Evidence, NodeReport, RigEntry, Source};

/// Most lines a timeline has; the beginning and the end are kept.
const LINES_MAX: usize = 400;

/// The lines, each with its trace number, its time since the case's start in milliseconds, and the
/// node with the life of its process.
pub fn timeline_of(evidence: &Evidence) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in &evidence.trace {
        let (who, what) = match &entry.source {
            Source::Rig { did } => ("rig".to_owned(), Some(rig_line(did))),
            Source::Node { node, life, report } => (format!("{node}/{life}"), node_line(report)),
        };
        if let Some(what) = what {
            let at_ms = entry.time_us as f64 / 1000.0;
            lines.push(format!("{:>6} {at_ms:>9.1} {who:<4} {what}", entry.seq));
        }
    }
    if lines.len() > LINES_MAX {
        let left_out = lines.len() - LINES_MAX;
        let note = format!("       ... {left_out} lines are left out here; trace.jsonl has them");
        lines.splice(LINES_MAX / 2..LINES_MAX / 2 + left_out, [note]);
    }
    lines
}

fn rig_line(did: &RigEntry) -> String {
    match did {
        RigEntry::Phase { phase } => format!("phase {phase:?}"),
        RigEntry::Started { node, life, pid } => format!("starts {node}/{life} (pid {pid})"),
        RigEntry::Killed { node, life, point } => match point {
            Some(point) => format!("SIGKILLs {node}/{life} at {point}"),
            None => format!("SIGKILLs {node}/{life}"),
        },
        RigEntry::Exited {
            node,
            life,
            status,
            last_lines,
        } => format!("{node}/{life} exited: {status}: {}", last_lines.join(" | ")),
        RigEntry::Cut { node, peer } => format!("lets {peer} drop its connection to {node}"),
        RigEntry::ForceClosed { node, channel } => format!("has {node} force-close {channel}"),
        RigEntry::PassedOver { node, life, point } => {
            format!("lets {node}/{life} go on at {point}: only live payments are left")
        }
        RigEntry::StepBegun { label } => format!("step {label} begins"),
        RigEntry::StepEnded { label } => format!("step {label} ends"),
        RigEntry::Reissued { node, method } => format!("gives {method} to {node} again"),
        RigEntry::Refused {
            node,
            method,
            message,
        } => format!("{node} refuses {method}: {message}"),
        RigEntry::Reorged { height, blocks, .. } => {
            format!("takes {blocks} blocks off; the chain is at {height} without them")
        }
        RigEntry::Forgot { node } => format!("deletes {node}'s records of payments"),
        RigEntry::Restored { node } => format!("puts old data of {node} in place"),
        RigEntry::Mined { height, blocks } => format!("mines {blocks} blocks up to {height}"),
        RigEntry::WaitEnded { missing } => format!("waited in vain for {missing}"),
    }
}

fn node_line(report: &NodeReport) -> Option<String> {
    let report = match report {
        NodeReport::Gate(GateReport::Point { .. }) => return None,
        NodeReport::Gate(GateReport::Frozen { point }) => {
            return Some(format!("is frozen at {point}"));
        }
        NodeReport::Gate(GateReport::Held { point }) => return Some(format!("is held at {point}")),
        NodeReport::Gate(GateReport::Failed { point }) => {
            return Some(format!("was made to fail at {point}"));
        }
        NodeReport::Node(report) => report,
    };
    let channel_of = |channel: &Option<String>| {
        channel
            .as_ref()
            .map(|label| format!(" on {label}"))
            .unwrap_or_default()
    };
    match report {
        Report::Idle { .. } | Report::Block { .. } => None,
        Report::Sent {
            peer,
            channel,
            message,
        } => Some(format!(
            "{} -> {peer}{}",
            message.name(),
            channel_of(channel)
        )),
        Report::Received {
            peer,
            channel,
            message,
        } => Some(format!(
            "{} <- {peer}{}",
            message.name(),
            channel_of(channel)
        )),
        Report::PeerUp { peer } => Some(format!("{peer} is connected")),
        Report::PeerDown { peer } => Some(format!("{peer} is gone")),
        Report::Event { event } => Some(format!("tells its user {event:?}")),
        Report::Stored { key, bytes } => Some(format!("stored {key} ({bytes} bytes)")),
        Report::Broadcast {
            transactions,
            error,
        } => {
            let roles: Vec<&str> = transactions.iter().map(|tx| tx.role.as_str()).collect();
            let refusal = error
                .as_ref()
                .map(|error| format!(", refused: {error}"))
                .unwrap_or_default();
            Some(format!("broadcasts {}{refusal}", roles.join(", ")))
        }
        Report::Log {
            level,
            module,
            message,
        } => Some(format!("{level:?} {module}: {message}")),
    }
}
