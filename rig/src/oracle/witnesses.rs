//! bitcoind's blocks and electrs's histories tell the same story.

use super::chain_view::{Disagreement, disagreements};
use super::{CaseView, Docket, Judgement, Oracle};

/// The oracle `witnesses`.
pub(super) struct Witnesses;

impl Oracle for Witnesses {
    fn name(&self) -> &'static str {
        "witnesses"
    }

    fn judge(&self, case: &CaseView<'_>) -> Judgement {
        let mut docket = Docket::default();
        if let Some(view) = case.chain_or_miss(&mut docket) {
            for disagreement in disagreements(view, &case.evidence.chain) {
                say(disagreement, &mut docket);
            }
        }
        docket.close(self)
    }
}

fn say(disagreement: Disagreement, docket: &mut Docket) {
    match disagreement {
        Disagreement::NotAsked { script } => docket.miss(
            "evidence-missing",
            format!("electrs was not asked for the history of script {script}"),
        ),
        Disagreement::Differs {
            script,
            missing,
            extra,
        } => {
            let message = format!(
                "electrs's history of script {script} lacks {} and has {} that the blocks do not have",
                missing.len(),
                extra.len()
            );
            let lines = missing
                .into_iter()
                .map(|entry| format!("only in bitcoind's blocks: {entry}"))
                .chain(
                    extra
                        .into_iter()
                        .map(|entry| format!("only from electrs: {entry}")),
                )
                .collect();
            docket.find("electrs-disagrees", message, Vec::new(), lines);
        }
    }
}
