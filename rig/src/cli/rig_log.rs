//! The rig's own log: JSON lines into the folder of the run, once there is one. `DEADBOLT_LOG`
//! filters it as `RUST_LOG` does elsewhere.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::EnvFilter;

static LOG: Mutex<Option<File>> = Mutex::new(None);

struct RigLog;

impl Write for RigLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &mut *LOG.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(file) => file.write(line),
            None => Ok(line.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts logging. What is logged before [`write_to`] is dropped.
pub(super) fn install() {
    let filter = EnvFilter::try_from_env("DEADBOLT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let installed = tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(|| RigLog)
        .try_init();
    if let Err(error) = installed {
        eprintln!("the rig's own log is not written: {error}");
    }
}

/// Logs into this file from now on; a run without its log is a run nevertheless.
pub(super) fn write_to(path: &Path) {
    match File::create(path) {
        Ok(file) => *LOG.lock().unwrap_or_else(PoisonError::into_inner) = Some(file),
        Err(error) => eprintln!("{} is not written: {error}", path.display()),
    }
}
