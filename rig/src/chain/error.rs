//! What can go wrong with the chain, each with what to do about it. All of these are faults of
//! the rig or its machine, never of a node under test.

use std::fmt;
use std::path::PathBuf;

use bitcoin::{Amount, BlockHash};

/// Of a dead process's log, the lines that are shown.
const LINES_SHOWN: usize = 20;

/// One of the two processes of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessName {
    /// Bitcoin Core's daemon.
    Bitcoind,
    /// The Electrum server.
    Electrs,
}

impl fmt::Display for ProcessName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Bitcoind => "bitcoind",
            Self::Electrs => "electrs",
        })
    }
}

/// A failure of the chain under the rig. `Clone`, so that one failure can be told to every case
/// that waits for it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChainError {
    /// Another program holds a port the process wanted; the rig has already retried with others.
    #[error(
        "{what} found its port taken ({line}); the rig tried other ports too: \
         see what listens on 127.0.0.1 (`ss -ltnp`) and stop it, or run fewer workers"
    )]
    PortTaken { what: ProcessName, line: String },

    /// The file system under the data or the log is full.
    #[error(
        "{what} has no space left on its disk ({line}); \
         free some space (`df -h /dev/shm .`) or run fewer workers"
    )]
    DiskFull { what: ProcessName, line: String },

    /// The process ended although nobody asked it to.
    #[error(
        "{what} died ({status}); the end of its log {}:\n  {}\n\
         if this was not a fault on purpose, run the case again; the log says why it ended",
        log.display(), log_tail.join("\n  ")
    )]
    ProcessDied {
        what: ProcessName,
        status: String,
        log: PathBuf,
        log_tail: Vec<String>,
    },

    /// The process lives but did not answer in time.
    #[error(
        "{what} did not answer within {waited_ms} ms ({missing}); \
         look at its log, and whether the machine is out of memory or the process is stopped"
    )]
    NotAnswering {
        what: ProcessName,
        waited_ms: u64,
        missing: String,
    },

    /// bitcoind refused a call.
    #[error(
        "bitcoind refused {method}: {message} (code {code}); \
         `bitcoin-cli help {method}` explains what it expects"
    )]
    Rpc {
        method: String,
        message: String,
        code: i32,
    },

    /// A call did not get through, though the process is alive.
    #[error("no conversation with {what} ({doing}): {message}; look at its log, then run again")]
    Transport {
        what: ProcessName,
        doing: String,
        message: String,
    },

    /// An answer that could not be understood: the wrong version of a program, most likely.
    #[error(
        "{what} answered {doing} with something the rig cannot read: {message}; \
         check its version with `deadbolt doctor`"
    )]
    UnreadableAnswer {
        what: ProcessName,
        doing: String,
        message: String,
    },

    /// electrs refused a request.
    #[error("electrs refused {method}: {message}; check its version with `deadbolt doctor`")]
    Electrum { method: String, message: String },

    /// electrs stayed behind bitcoind.
    #[error(
        "after {waited_ms} ms electrs is at {} {}, bitcoind at {} {}; \
         after an invalidated block mine at least one, for electrs follows headers only; \
         else look at electrs's log",
        electrs.0, electrs.1, bitcoind.0, bitcoind.1
    )]
    ElectrsBehind {
        waited_ms: u64,
        electrs: (u32, BlockHash),
        bitcoind: (u32, BlockHash),
    },

    /// The process could not even be started.
    #[error("{what} could not be started: {message}; `deadbolt doctor` says which file is used")]
    NotStarted { what: ProcessName, message: String },

    /// A file or folder of the pair could not be written.
    #[error("{}: {message}; check that the folder exists, is writable and has space", path.display())]
    Folder { path: PathBuf, message: String },

    /// The rig's own coins do not cover what was asked for.
    #[error(
        "the rig's coins cover {available}, {wanted} was asked for; \
         mine more blocks so that more coinbases mature, or ask for less"
    )]
    OutOfCoins { wanted: Amount, available: Amount },

    /// The thread that owns the pair is gone: a bug of the rig.
    #[error(
        "the thread that owns {what} has ended ({doing}): please report this as a bug of deadbolt"
    )]
    OwnerGone { what: ProcessName, doing: String },
}

impl ChainError {
    /// Turns the death of a process into the most telling error: its log may name the cause, and many lines
    /// of its shutdown after that.
    pub(super) fn from_death(
        what: ProcessName,
        status: String,
        log: PathBuf,
        mut log_tail: Vec<String>,
    ) -> Self {
        const DISK: [&str; 3] = [
            "No space left on device",
            "Disk space is too low",
            "disk full",
        ];
        const PORT: [&str; 3] = ["Unable to bind to", "Address already in use", "AddrInUse"];
        let line_with = |signs: &[&str]| {
            log_tail
                .iter()
                .find(|line| signs.iter().any(|sign| line.contains(sign)))
                .cloned()
        };
        if let Some(line) = line_with(&DISK) {
            return Self::DiskFull { what, line };
        }
        if let Some(line) = line_with(&PORT) {
            return Self::PortTaken { what, line };
        }
        log_tail.drain(..log_tail.len().saturating_sub(LINES_SHOWN));
        Self::ProcessDied {
            what,
            status,
            log,
            log_tail,
        }
    }

    /// A failed file operation of the rig's own.
    pub(super) fn from_io(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::Folder {
            path: path.to_path_buf(),
            message: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn death_with(line: &str) -> ChainError {
        let tail = vec!["started".to_owned(), line.to_owned()];
        ChainError::from_death(
            ProcessName::Bitcoind,
            "exit code 1".to_owned(),
            PathBuf::from("bitcoind.log"),
            tail,
        )
    }

    #[test]
    fn a_taken_port_is_told_apart_from_any_other_death() {
        let error = death_with("Error: Unable to bind to 127.0.0.1:18444 on this computer.");
        assert!(matches!(error, ChainError::PortTaken { .. }), "{error}");
        assert!(error.to_string().contains("ss -ltnp"), "{error}");
    }

    #[test]
    fn a_taken_port_is_found_before_all_that_is_logged_while_the_process_ends() {
        let mut log = vec!["Error: Unable to bind to 127.0.0.1:18444 on this computer.".to_owned()];
        log.extend((0..50).map(|thread| format!("thread {thread} exit")));
        let error = ChainError::from_death(
            ProcessName::Bitcoind,
            "exit code 1".to_owned(),
            PathBuf::from("bitcoind.log"),
            log,
        );
        assert!(matches!(error, ChainError::PortTaken { .. }), "{error}");
    }

    #[test]
    fn a_full_disk_is_told_apart_from_any_other_death() {
        let error = death_with("Fatal LevelDB error: IO error: No space left on device");
        assert!(matches!(error, ChainError::DiskFull { .. }), "{error}");
    }

    #[test]
    fn any_other_death_carries_the_end_of_the_log() {
        let error = death_with("Assertion failed: nonsense");
        assert!(matches!(error, ChainError::ProcessDied { .. }), "{error}");
        assert!(
            error.to_string().contains("Assertion failed: nonsense"),
            "{error}"
        );
        assert!(error.to_string().contains("bitcoind.log"), "{error}");
    }
}
