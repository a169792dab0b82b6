//! Oracles: each draws a verdict from evidence alone.

use serde::{Deserialize, Serialize};

use crate::evidence::{Evidence, Verdict};

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

/// A judge of one property. Reads evidence, never a node's code.
pub trait Oracle {
    /// Stable name.
    fn name(&self) -> &'static str;
    /// Judges.
    fn judge(&self, evidence: &Evidence) -> Judgement;
}
