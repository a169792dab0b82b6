//! No node's process ends by itself.

use super::{CaseView, Docket, Judgement, Oracle};
use crate::evidence::RigEntry;

/// The oracle `process`.
pub(super) struct Process;

impl Oracle for Process {
    fn name(&self) -> &'static str {
        "process"
    }

    fn judge(&self, case: &CaseView<'_>) -> Judgement {
        let mut docket = Docket::default();
        if case.evidence.trace.is_empty() {
            docket.miss("evidence-missing", "the trace is empty".to_owned());
        }
        for (seq, entry) in case.rig_entries() {
            if let RigEntry::Exited {
                node,
                life,
                status,
                last_lines,
            } = entry
            {
                docket.find(
                    "node-died",
                    format!("{node} ended by itself in life {life}: {status}"),
                    vec![seq],
                    last_lines.clone(),
                );
            }
        }
        docket.close(self)
    }
}
