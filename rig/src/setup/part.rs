//! The two real parts, where each may come from, and the check that a program is what it should
//! be. It runs a candidate's `--version` and nothing else; it never builds.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::cache::Cache;
use super::error::SetupError;
use super::machine::Machine;
use super::process::{Invocation, Stream};
use super::version::Version;
use super::{bitcoind, electrs};

/// A program that does not answer `--version` in this time is broken, even on a busy machine.
const VERSION_LIMIT: Duration = Duration::from_secs(30);

/// A program found or built, that has answered `--version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Absolute, unless the user's variable or PATH was not.
    pub path: PathBuf,
    /// `major.minor.patch`.
    pub version: String,
    pub origin: Origin,
}

/// Where a part came from, in order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// `BITCOIND_EXE` or `ELECTRS_EXE`.
    Environment,
    Path,
    Cache,
    /// Built by this very call; the next finds it in the cache.
    Built,
}

/// Which of the two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    Bitcoind,
    Electrs,
}

impl PartKind {
    pub const ALL: [Self; 2] = [Self::Bitcoind, Self::Electrs];

    /// The name of the program, of its cache folder and of its log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bitcoind => "bitcoind",
            Self::Electrs => "electrs",
        }
    }

    /// The variable by which the user names one.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Bitcoind => "BITCOIND_EXE",
            Self::Electrs => "ELECTRS_EXE",
        }
    }

    fn oldest(self) -> Version {
        match self {
            Self::Bitcoind => Version::new(28, 0, 0),
            Self::Electrs => Version::new(0, 10, 0),
        }
    }

    fn cached_key_end(self) -> String {
        match self {
            Self::Bitcoind => bitcoind::key_end(),
            Self::Electrs => electrs::VERSION.to_owned(),
        }
    }

    /// What the user named, else what PATH has, else what the cache has. `None` means that it has
    /// to be built; a cached binary that no longer works (a library is gone) counts as absent.
    ///
    /// # Errors
    /// The user's own program is broken or too old. It is not passed over in silence: the run
    /// would use another than the user believes.
    pub fn locate(self, machine: &Machine) -> Result<Option<Part>, SetupError> {
        if let Some(path) = machine.variable(self.variable()) {
            return self
                .examine(machine, Path::new(path), Origin::Environment)
                .map(Some);
        }
        if let Some(path) = machine.search(self.name()) {
            return self.examine(machine, &path, Origin::Path).map(Some);
        }
        let cached = Cache::of(machine)?.binaries(self, &self.cached_key_end());
        Ok(cached
            .iter()
            .find_map(|path| self.examine(machine, path, Origin::Cache).ok()))
    }

    /// Asks a program for its version and judges the answer.
    ///
    /// # Errors
    /// `Unusable` or `TooOld`, naming the file and what to do.
    pub fn examine(
        self,
        machine: &Machine,
        path: &Path,
        origin: Origin,
    ) -> Result<Part, SetupError> {
        let found = self
            .ask_version(machine, path)
            .map_err(|reason| SetupError::Unusable {
                part: self,
                path: path.to_owned(),
                origin: self.origin_name(origin),
                reason,
                advice: self.advice(origin),
            })?;
        if found < self.oldest() {
            return Err(SetupError::TooOld {
                part: self,
                path: path.to_owned(),
                origin: self.origin_name(origin),
                found,
                needed: self.oldest(),
                advice: self.advice(origin),
            });
        }
        Ok(Part {
            path: path.to_owned(),
            version: found.to_string(),
            origin,
        })
    }

    fn ask_version(self, machine: &Machine, path: &Path) -> Result<Version, String> {
        let mut answer = None;
        let mut complaint = None;
        let ended = Invocation::new(path, VERSION_LIMIT)
            .arguments(["--version"])
            .environment(machine.environment())
            .run(&mut |stream, line| {
                // The first line says it; bitcoind's licence text follows.
                let first = match stream {
                    Stream::Out => &mut answer,
                    Stream::Err => &mut complaint,
                };
                first.get_or_insert_with(|| line.to_owned());
            })
            .map_err(|error| format!("it cannot be run: {error}"))?;
        if !ended.is_success() {
            let complaint = complaint.map_or_else(String::new, |line| format!(" saying `{line}`"));
            return Err(format!("`--version` {}{complaint}", ended.describe()));
        }
        let answer = answer.unwrap_or_default();
        Version::first_in(&answer)
            .filter(|_| self.is_answer_of(&answer))
            .ok_or_else(|| format!("`--version` answered `{answer}`, which is no {self}"))
    }

    /// bitcoin-cli and its kin answer with a version too.
    fn is_answer_of(self, answer: &str) -> bool {
        match self {
            Self::Bitcoind => answer.contains("Bitcoin") && !answer.contains("RPC client"),
            Self::Electrs => !answer.contains("Bitcoin"),
        }
    }

    fn origin_name(self, origin: Origin) -> &'static str {
        match origin {
            Origin::Environment => self.variable(),
            other => other.name(),
        }
    }

    fn advice(self, origin: Origin) -> String {
        let (oldest, variable) = (self.oldest(), self.variable());
        match origin {
            Origin::Environment => format!(
                "set {variable} to {self} {oldest} or newer, or unset it to have `deadbolt setup` find or build one"
            ),
            Origin::Path => format!(
                "upgrade it, take it out of PATH to have `deadbolt setup` build one, or set {variable} to {self} {oldest} or newer"
            ),
            Origin::Cache | Origin::Built => "remove it and run `deadbolt setup` again".to_owned(),
        }
    }
}

impl fmt::Display for PartKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Origin {
    fn name(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Path => "PATH",
            Self::Cache => "cache",
            Self::Built => "built now",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
