//! The command as its users run it, on real parts, with its runs in a folder of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The executable under test.
pub const DEADBOLT: &str = env!("CARGO_BIN_EXE_deadbolt");

/// The repository.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

/// A folder for runs, removed with it.
pub struct Logs(pub tempfile::TempDir);

/// What a command left.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Logs {
    pub fn new() -> Self {
        Logs(tempfile::tempdir().expect("a folder for the runs"))
    }

    /// The command with these arguments, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(DEADBOLT);
        command
            .args(arguments)
            .arg("--logs")
            .arg(self.0.path())
            .arg("--no-progress")
            .current_dir(workspace())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the command to its end.
    pub fn deadbolt(&self, arguments: &[&str]) -> Ended {
        let output = self.command(arguments).output().expect("deadbolt starts");
        Ended::of(output)
    }
}

impl Ended {
    pub fn of(output: Output) -> Self {
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The line of `--json`.
    pub fn json(&self) -> Value {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON at the end: {self}"))
    }

    /// Fails with all that was printed unless the exit code is this one.
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {}\n{}\n{}", self.code, self.stdout, self.stderr)
    }
}
