//! What can go wrong with the rig itself, each with what to do about it. Never a verdict about a
//! node: a fault of this kind ends the case without one.

use std::path::{Path, PathBuf};

use faults::PointId;

use crate::chain::ChainError;

/// Why a case could not be run to its end. `Clone`, so that every task that waits can be told.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RigFault {
    /// bitcoind or electrs failed.
    #[error(transparent)]
    Chain(#[from] ChainError),

    /// A node program could not be started.
    #[error(
        "the program of node {node} could not be started: `{program}`: {reason}; \
         check that it exists and may be executed"
    )]
    NotStarted {
        /// Which node.
        node: String,
        /// The command that was run.
        program: String,
        /// The system's words.
        reason: String,
    },

    /// A node program ended again and again before it was ready for the first time.
    #[error(
        "the program of node {node} ends before it is ready ({status}); its last lines:\n  {}\n\
         run `{program}` by hand to see why", last_lines.join("\n  ")
    )]
    NeverReady {
        /// Which node.
        node: String,
        /// The command that was run.
        program: String,
        /// How it ended.
        status: String,
        /// The end of its standard error.
        last_lines: Vec<String>,
    },

    /// A node lives but does not answer a command.
    #[error(
        "node {node} did not answer `{method}` within {waited_ms} ms ({missing}); \
         see its output under nodes/{node} in the case's folder"
    )]
    NotAnswering {
        /// Which node.
        node: String,
        /// The command's name.
        method: String,
        /// The bound, in milliseconds.
        waited_ms: u64,
        /// What did not come.
        missing: String,
    },

    /// Something the rig waited for did not come, though nothing died.
    #[error("waited {waited_ms} ms in vain for {missing}; the nodes stood so:\n{standing}")]
    NothingCame {
        /// What.
        missing: String,
        /// The bound, in milliseconds.
        waited_ms: u64,
        /// Where every node stood.
        standing: String,
    },

    /// The whole case took too long.
    #[error(
        "the case did not end within {waited_ms} ms; it was waiting for {doing}; \
         run it alone (`--workers 1`) if the machine is busy"
    )]
    CaseTooLong {
        /// The bound, in milliseconds.
        waited_ms: u64,
        /// The last thing waited for.
        doing: String,
    },

    /// A line on a node's report pipe that is no report.
    #[error(
        "node {node} (life {life}) reported a line the rig cannot read ({reason}): {line:?}; \
         the node program must speak the API of this rig's version"
    )]
    UnreadableReport {
        /// Which node.
        node: String,
        /// Which life of it.
        life: u32,
        /// The line, or its beginning.
        line: String,
        /// What is wrong with it.
        reason: String,
    },

    /// An answer that is none, or not to what was asked.
    #[error(
        "node {node} answered `{method}` with something the rig cannot use: {answer}; \
         the node program must speak the API of this rig's version"
    )]
    UnreadableAnswer {
        /// Which node.
        node: String,
        /// The command's name.
        method: String,
        /// The answer, or what is wrong with it.
        answer: String,
    },

    /// A node closed its report pipe or its control socket and lives on.
    #[error("node {node} closed its {what} and lives on; see its output in the case's folder")]
    HungUp {
        /// Which node.
        node: String,
        /// Which of the two.
        what: &'static str,
    },

    /// A process froze where nothing was armed.
    #[error("node {node} (life {life}) froze at {point}, where the plan has no fault for it")]
    UnplannedFreeze {
        /// Which node.
        node: String,
        /// Which life of it.
        life: u32,
        /// Where.
        point: PointId,
    },

    /// A command of `[setup]`, or one that has to work at any time, was refused.
    #[error(
        "node {node} refused `{method}`, which has to work: {message}; \
         check the scenario's amounts and topology"
    )]
    Refused {
        /// Which node.
        node: String,
        /// The command's name.
        method: String,
        /// The refusal.
        message: String,
    },

    /// The plan names something that is not there.
    #[error("the plan cannot be carried out: {0}; check its scenario")]
    BadPlan(String),

    /// A file or folder of the case.
    #[error(
        "{}: {message}; check that the folder is writable and the disk not full (`df -h`)",
        path.display()
    )]
    Folder {
        /// Which.
        path: PathBuf,
        /// The system's words.
        message: String,
    },

    /// The machine is short of something.
    #[error("the rig could not {doing}: {message}; run fewer workers")]
    Machine {
        /// What it wanted to do.
        doing: &'static str,
        /// The system's words.
        message: String,
    },
}

impl RigFault {
    /// A failed file operation.
    pub(super) fn folder(path: &Path, error: &std::io::Error) -> Self {
        RigFault::Folder {
            path: path.to_path_buf(),
            message: error.to_string(),
        }
    }

    /// Something the system did not let the rig do.
    pub(super) fn machine(doing: &'static str, error: &dyn std::fmt::Display) -> Self {
        RigFault::Machine {
            doing,
            message: error.to_string(),
        }
    }
}

/// Why a piece of work on the stage did not come to its end.
#[derive(Clone, Debug)]
pub(super) enum Stop {
    /// A node is dead and has to be started again; then the work is done again.
    Interrupted,
    /// A node is held as a whole by a fault and cannot answer.
    NodeHeld,
    /// What was waited for will not come: the rest of the steps is left out.
    GaveUp,
    /// A node cannot be kept alive: the case is judged as it stands.
    Judge,
    /// The rig itself is at fault.
    Fault(RigFault),
}

impl From<RigFault> for Stop {
    fn from(fault: RigFault) -> Self {
        Stop::Fault(fault)
    }
}

impl From<ChainError> for Stop {
    fn from(error: ChainError) -> Self {
        Stop::Fault(RigFault::Chain(error))
    }
}
