//! Every fault of the plan happened: its point was reached in the life it was meant for.

use faults::{Fault, GateReport};

use super::{CaseView, Docket, Judgement, Oracle};
use crate::evidence::{NodeReport, RigEntry, Source};

/// The oracle `armed`. It never fails a case: a point that is not reached leaves it unjudged.
pub(super) struct Armed;

impl Oracle for Armed {
    fn name(&self) -> &'static str {
        "armed"
    }

    fn judge(&self, case: &CaseView<'_>) -> Judgement {
        let mut docket = Docket::default();
        for fault in &case.evidence.plan.faults {
            if !was_reached(case, fault) {
                docket.miss(
                    "point-not-reached",
                    format!("{} was not reached in life {}", fault.at, fault.life),
                );
            }
        }
        docket.close(self)
    }
}

/// One that was only reached among the live payments was passed over: it is as good as not reached.
fn was_reached(case: &CaseView<'_>, fault: &Fault) -> bool {
    let mut entries = case.rig_entries();
    let is_passed_over = entries.any(|(_, entry)| {
        matches!(entry, RigEntry::PassedOver { node, life, point }
            if *node == fault.at.node && *life == fault.life && *point == fault.at.point)
    });
    if is_passed_over {
        return false;
    }
    case.evidence.trace.iter().any(|entry| match &entry.source {
        Source::Node {
            node,
            life,
            report: NodeReport::Gate(report),
        } if *node == fault.at.node && *life == fault.life => match report {
            GateReport::Frozen { point }
            | GateReport::Held { point }
            | GateReport::Failed { point } => *point == fault.at.point,
            GateReport::Point { .. } => false,
        },
        _ => false,
    })
}
