//! What can go wrong while finding or building the real parts. Every message ends with what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::part::PartKind;
use super::version::Version;

/// The exit code of any command that stopped because its parts are not there.
pub const SETUP_EXIT_CODE: u8 = 96;

/// A set-up that could not be completed. The operator's fault or the machine's, never a verdict.
#[derive(Debug, Error)]
pub enum SetupError {
    #[error(
        "no folder to keep built programs in: HOME is not set; set DEADBOLT_CACHE to a folder you can write"
    )]
    NoCacheFolder,

    #[error(
        "cannot {action} {path}: {source}; check the permissions and free space, or set DEADBOLT_CACHE to another folder"
    )]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },

    #[error(
        "{folder} has {free_mib} MiB free and a build needs {needed_mib} MiB; free some space or set DEADBOLT_CACHE to a folder on a larger disk"
    )]
    NoSpace {
        folder: PathBuf,
        free_mib: u64,
        needed_mib: u64,
    },

    #[error(
        "another deadbolt setup (process {holder}) has held {path} for {waited:?}; if it hangs, stop it and run `deadbolt setup` again"
    )]
    LockTimeout {
        path: PathBuf,
        holder: String,
        waited: Duration,
    },

    #[error("{path} (from {origin}) cannot be used as {part}: {reason}; {advice}")]
    Unusable {
        part: PartKind,
        path: PathBuf,
        origin: &'static str,
        reason: String,
        advice: String,
    },

    #[error(
        "{path} (from {origin}) is {part} {found}, and deadbolt needs {needed} or newer; {advice}"
    )]
    TooOld {
        part: PartKind,
        path: PathBuf,
        origin: &'static str,
        found: Version,
        needed: Version,
        advice: String,
    },

    #[error(
        "these Debian packages are missing and installing them needs root: {}; run this, then `deadbolt setup` again:\n\n    {command}\n",
        packages.join(" ")
    )]
    NeedsRoot {
        packages: Vec<&'static str>,
        command: String,
    },

    #[error(
        "building needs what Debian ships as {}, and there is no apt-get here; install their equivalents, or set BITCOIND_EXE and ELECTRS_EXE to programs you have",
        packages.join(" ")
    )]
    NoPackageManager { packages: Vec<&'static str> },

    #[error(
        "`{command}` ended, and still missing: {}; the whole output is in {log}, its last lines:\n{last_lines}",
        packages.join(" ")
    )]
    InstallFailed {
        packages: Vec<&'static str>,
        command: String,
        log: PathBuf,
        last_lines: String,
    },

    #[error(
        "cargo is not in PATH; install Rust (https://rustup.rs) or set BITCOIND_EXE and ELECTRS_EXE to programs you have"
    )]
    NoCargo,

    #[error(
        "Bitcoin Core's source was not found: {reason}; run `cargo fetch` in deadbolt's workspace, or set BITCOIND_EXE to a bitcoind you have"
    )]
    NoSource { reason: String },

    #[error(
        "cannot build {part}: {step} {reason}; the whole output is in {log}, its last lines:\n{last_lines}\nset {} to a {part} you have to do without this build",
        part.variable()
    )]
    BuildFailed {
        part: PartKind,
        step: &'static str,
        reason: String,
        log: PathBuf,
        last_lines: String,
    },
}

impl SetupError {
    /// The process exit code this error stands for.
    pub fn exit_code(&self) -> u8 {
        SETUP_EXIT_CODE
    }
}
