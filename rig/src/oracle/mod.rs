//! Oracles: each draws a verdict from evidence alone.
//!
//! They know the node only by what it reports (`node_bin::api`'s types), the chain by its blocks and
//! by electrs, and never a node's code: a bug that node and judge shared would be invisible. A
//! verdict follows from the evidence only, so judging saved evidence again gives the same.

use serde::{Deserialize, Serialize};

use crate::evidence::{Evidence, Verdict};

mod alive;
mod armed;
mod at_rest;
mod bumped;
mod case;
pub mod chain_view;
mod close;
mod conservation;
mod fees;
mod fulfilments;
mod htlc_outputs;
pub mod htlcs;
mod ledger;
mod meant;
mod node_accounts;
pub mod outcome;
mod process;
mod progress;
mod restored;
mod revoked;
mod witnesses;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use case::CaseView;

/// Something an oracle found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Short and stable, for example `unexpected-close`.
    pub code: String,
    /// A sentence with the names and numbers.
    pub message: String,
    /// Numbers of the trace entries that show it.
    pub trace: Vec<u64>,
    /// Lines of evidence to print beside it, for example a log line.
    pub lines: Vec<String>,
}

/// What one oracle says of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The oracle's name.
    pub oracle: String,
    /// `Pass`, `Fail`, or `NotRun` if it could not judge.
    pub verdict: Verdict,
    /// Why, unless it passed.
    pub findings: Vec<Finding>,
    /// Allowances that were used, by name (chain fees, dust, rounding), for the reader.
    pub notes: Vec<String>,
}

/// What is written as `verdict.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdicts {
    /// The case's.
    pub verdict: Verdict,
    /// Every oracle's.
    pub judgements: Vec<Judgement>,
}

/// A judge of one property. Reads evidence, never a node's code.
pub trait Oracle {
    /// Stable name.
    fn name(&self) -> &'static str;
    /// Judges.
    fn judge(&self, case: &CaseView<'_>) -> Judgement;
}

/// Every oracle, in the order in which their words are printed: what explains most comes first.
pub fn oracles() -> Vec<Box<dyn Oracle>> {
    vec![
        Box::new(armed::Armed),
        Box::new(process::Process),
        Box::new(close::Close),
        Box::new(ledger::Ledger),
        Box::new(htlc_outputs::HtlcOutputs),
        Box::new(conservation::Conservation),
        Box::new(at_rest::AtRest),
        Box::new(alive::Alive),
        Box::new(witnesses::Witnesses),
    ]
}

/// Asks every oracle.
pub fn judge_all(evidence: &Evidence) -> Vec<Judgement> {
    let case = CaseView::read(evidence);
    oracles().iter().map(|oracle| oracle.judge(&case)).collect()
}

/// The case's verdict: a fault of the rig beats a failure, that beats one that could not be judged,
/// and that beats a pass. No judgement at all is no pass.
pub fn verdict_of(judgements: &[Judgement]) -> Verdict {
    judgements
        .iter()
        .map(|judgement| judgement.verdict)
        .max()
        .unwrap_or(Verdict::NotRun)
}

/// Asks every oracle and draws the case's verdict.
pub fn judge(evidence: &Evidence) -> Verdicts {
    let judgements = judge_all(evidence);
    Verdicts {
        verdict: verdict_of(&judgements),
        judgements,
    }
}

/// An oracle's findings while it makes them.
#[derive(Debug, Default)]
struct Docket {
    found: Vec<Finding>,
    missing: Vec<Finding>,
    notes: Vec<String>,
}

impl Docket {
    /// Something is wrong.
    fn find(&mut self, code: &str, message: String, trace: Vec<u64>, lines: Vec<String>) {
        self.found.push(Finding {
            code: code.to_owned(),
            message,
            trace,
            lines,
        });
    }

    /// Something cannot be judged. A message that was given before is not repeated.
    fn miss(&mut self, code: &str, message: String) {
        if self
            .missing
            .iter()
            .all(|finding| finding.message != message)
        {
            self.missing.push(Finding {
                code: code.to_owned(),
                message,
                trace: Vec::new(),
                lines: Vec::new(),
            });
        }
    }

    fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// What was found is a failure whatever could not be judged beside it.
    fn close(self, oracle: &dyn Oracle) -> Judgement {
        let verdict = if !self.found.is_empty() {
            Verdict::Fail
        } else if !self.missing.is_empty() {
            Verdict::NotRun
        } else {
            Verdict::Pass
        };
        Judgement {
            oracle: oracle.name().to_owned(),
            verdict,
            findings: self.found.into_iter().chain(self.missing).collect(),
            notes: self.notes,
        }
    }
}
