//! What the builds have in common: a stage is a program whose whole output goes to a log, whose
//! lines drive the progress, and whose last lines explain a failure.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::error::SetupError;
use super::part::PartKind;
use super::process::Invocation;

/// Enough to show a compiler's complaint.
const LAST_LINES: usize = 15;

/// A stage that has ended.
pub struct Stage {
    success: bool,
    /// How it ended, as the second half of a sentence.
    pub reason: String,
    pub last_lines: String,
}

impl Stage {
    pub fn is_success(&self) -> bool {
        self.success
    }

    /// # Errors
    /// `BuildFailed` when the stage did not succeed.
    pub fn require(self, kind: PartKind, step: &'static str, log: &Path) -> Result<(), SetupError> {
        if self.success {
            return Ok(());
        }
        Err(SetupError::BuildFailed {
            part: kind,
            step,
            reason: self.reason,
            log: log.to_owned(),
            last_lines: self.last_lines,
        })
    }
}

/// Runs one program, logging all it prints.
pub fn run_stage(invocation: &Invocation, log: &mut File, on_line: &mut dyn FnMut(&str)) -> Stage {
    let mut last_lines = VecDeque::with_capacity(LAST_LINES + 1);
    let ended = invocation.run(&mut |_, line| {
        // A full disk shows in the build itself; the log is for its explanation.
        let _ = writeln!(log, "{line}");
        last_lines.push_back(line.to_owned());
        if last_lines.len() > LAST_LINES {
            last_lines.pop_front();
        }
        on_line(line);
    });
    let (success, reason) = match ended {
        Ok(ended) => (ended.is_success(), ended.describe()),
        Err(error) => (false, format!("could not be started: {error}")),
    };
    let last_lines: Vec<_> = last_lines
        .iter()
        .map(|line| format!("    {line}"))
        .collect();
    Stage {
        success,
        reason,
        last_lines: last_lines.join("\n"),
    }
}
