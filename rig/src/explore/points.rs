//! The points a dry run passed between the scenario's first step and the first live payment.

use std::collections::{BTreeMap, BTreeSet};

use faults::{GateReport, NodePoint};
use node_bin::api::{Report, UserEvent, WireMessage};

use crate::evidence::{Evidence, NodeReport, Phase, RigEntry, Source, TraceEntry};

/// A point that a node passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReachedPoint {
    /// Which, on which node.
    pub point: NodePoint,
    /// Under which of the node's inputs.
    pub input: u64,
    /// How often, before it, something happened that is no point: the node reported something else
    /// than that it is idle or a line of its log, or the rig mined. Points alike in this have nothing
    /// but points between them.
    pub stretch: u64,
    /// The trace entry.
    pub seq: u64,
}

/// Every point of every node's first life from the first step of `[act]` on, in order of arrival.
///
/// It ends where the first live payment begins: those payments are the rig's proof that a channel is
/// alive, not the scenario.
pub fn points_of(evidence: &Evidence) -> Vec<ReachedPoint> {
    let live = LivePayments::of(evidence);
    let mut acting = false;
    let mut points = Vec::new();
    let mut stretches = Stretches::default();
    for entry in &evidence.trace {
        match phase_begun(entry) {
            Some(Phase::SetUp) => acting = false,
            Some(Phase::Judge) => break,
            Some(Phase::Act) => acting = true,
            Some(Phase::Recover | Phase::Settle) | None => {}
        }
        if !acting {
            continue;
        }
        if live.begin_at(entry) {
            break;
        }
        stretches.pass(&entry.source);
        if let Source::Node {
            node,
            life: 0,
            report: NodeReport::Gate(GateReport::Point { point, input }),
        } = &entry.source
        {
            points.push(ReachedPoint {
                point: NodePoint {
                    node: node.clone(),
                    point: point.clone(),
                },
                input: *input,
                stretch: stretches.of(node),
                seq: entry.seq,
            });
        }
    }
    points
}

/// The trace entry with which a step began; `None` if it never did.
pub fn step_began(evidence: &Evidence, step: &str) -> Option<u64> {
    let mut entries = evidence.trace.iter();
    let begun = entries.find(|entry| {
        matches!(&entry.source, Source::Rig { did: RigEntry::StepBegun { label } } if label == step)
    });
    begun.map(|entry| entry.seq)
}

/// Counts for each node what happened besides points.
#[derive(Default)]
pub(super) struct Stretches<'a> {
    mined: u64,
    reported: BTreeMap<&'a str, u64>,
}

impl<'a> Stretches<'a> {
    pub(super) fn pass(&mut self, source: &'a Source) {
        match source {
            Source::Rig {
                did: RigEntry::Mined { .. } | RigEntry::Reorged { .. },
            } => self.mined += 1,
            Source::Node {
                report: NodeReport::Node(Report::Idle { .. } | Report::Log { .. }),
                ..
            } => {}
            Source::Node {
                node,
                report: NodeReport::Node(_),
                ..
            } => *self.reported.entry(node).or_default() += 1,
            _ => {}
        }
    }

    pub(super) fn of(&self, node: &str) -> u64 {
        self.mined + self.reported.get(node).copied().unwrap_or(0)
    }
}

/// The points alone, sorted: what two dry runs of the same scenario must agree on.
pub fn canonical(points: &[ReachedPoint]) -> Vec<NodePoint> {
    let mut sorted: Vec<NodePoint> = points.iter().map(|reached| reached.point.clone()).collect();
    sorted.sort_unstable();
    sorted
}

pub(super) fn phase_begun(entry: &TraceEntry) -> Option<Phase> {
    match &entry.source {
        Source::Rig {
            did: RigEntry::Phase { phase },
        } => Some(*phase),
        _ => None,
    }
}

/// The payments that prove channels alive, by their names and their hashes.
struct LivePayments<'a> {
    ids: BTreeSet<&'a str>,
    hashes: BTreeSet<&'a str>,
}

impl<'a> LivePayments<'a> {
    fn of(evidence: &'a Evidence) -> Self {
        let live = || {
            evidence
                .payments
                .iter()
                .filter(|payment| payment.proves.is_some())
        };
        LivePayments {
            ids: live().map(|payment| payment.id.as_str()).collect(),
            hashes: live()
                .map(|payment| payment.payment_hash.as_str())
                .collect(),
        }
    }

    /// Whether this entry is of one of them; the first such is the command that asks for its invoice,
    /// whose role is the idempotency key, which holds the payment's name.
    fn begin_at(&self, entry: &TraceEntry) -> bool {
        match &entry.source {
            Source::Rig {
                did: RigEntry::StepBegun { label },
            } => self.ids.contains(label.as_str()),
            Source::Rig { .. } => false,
            Source::Node { report, .. } => match report {
                NodeReport::Gate(GateReport::Point { point, .. }) => self.named_in(&point.role),
                NodeReport::Gate(_) => false,
                NodeReport::Node(report) => {
                    hash_of(report).is_some_and(|payment_hash| self.hashes.contains(payment_hash))
                }
            },
        }
    }

    fn named_in(&self, role: &str) -> bool {
        role.split_whitespace().any(|word| self.ids.contains(word))
    }
}

fn hash_of(report: &Report) -> Option<&str> {
    match report {
        Report::Sent {
            message: WireMessage::UpdateAddHtlc { payment_hash, .. },
            ..
        }
        | Report::Event {
            event:
                UserEvent::PaymentClaimable { payment_hash, .. }
                | UserEvent::PaymentClaimed { payment_hash, .. },
        } => Some(payment_hash),
        _ => None,
    }
}
