//! Where a command's words go. With `--json` standard output carries the one JSON line and nothing
//! else.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use crate::run_store::SummaryRecord;

/// A command's two outputs.
pub(super) struct Console {
    json: bool,
    terminal: bool,
    out: Mutex<Box<dyn Write + Send>>,
    err: Mutex<Box<dyn Write + Send>>,
}

impl Console {
    /// The process's own.
    pub fn standard(json: bool) -> Console {
        Console {
            json,
            terminal: io::stderr().is_terminal(),
            out: Mutex::new(Box::new(io::stdout())),
            err: Mutex::new(Box::new(io::stderr())),
        }
    }

    /// Two others, for tests.
    #[cfg(test)]
    pub fn captured(json: bool, out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Console {
        Console {
            json,
            terminal: false,
            out: Mutex::new(out),
            err: Mutex::new(err),
        }
    }

    /// Whether somebody may be watching.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Says what the command was asked for.
    pub fn say(&self, text: &str) {
        write(if self.json { &self.err } else { &self.out }, text);
    }

    /// Whether the command was given `--json`.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a result that programs read too, before the line that ends the command.
    pub fn print(&self, text: &str) {
        write(&self.out, text);
    }

    /// Says what goes on meanwhile.
    pub fn note(&self, text: &str) {
        write(&self.err, text);
    }

    /// Says what is wrong.
    pub fn complain(&self, error: &dyn Error) {
        write(&self.err, &format!("error: {error}"));
    }

    /// Ends the command.
    pub fn end(&self, summary: &SummaryRecord) {
        if !self.json {
            return;
        }
        match serde_json::to_string(summary) {
            Ok(line) => write(&self.out, &line),
            Err(error) => self.complain(&error),
        }
    }
}

fn write(stream: &Mutex<Box<dyn Write + Send>>, text: &str) {
    let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
    // A reader that went away (`| head`) is no reason to fail a run.
    let _ = stream.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = stream.write_all(b"\n");
    }
    let _ = stream.flush();
}
