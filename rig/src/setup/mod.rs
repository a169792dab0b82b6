//! Finds bitcoind and electrs, or builds them. Owns the order in which places are searched and
//! that two set-ups at once build once; it never starts a part for more than its `--version`.

mod bitcoind;
mod build;
mod cache;
mod doctor;
mod electrs;
mod error;
mod machine;
mod packages;
mod part;
mod process;
mod progress;
#[cfg(test)]
mod tests;
mod version;

pub use doctor::{DoctorReport, doctor};
pub use error::{SETUP_EXIT_CODE, SetupError};
pub use part::{Origin, Part, PartKind};
pub use progress::{Progress, SilentProgress, progress_on_stderr};
pub use version::Version;

use std::time::Instant;

use cache::Cache;
use machine::Machine;

/// Both real parts, ready to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    pub bitcoind: Part,
    pub electrs: Part,
}

/// What is there without building; `None` means that [`ensure`] would build it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub bitcoind: Option<Part>,
    pub electrs: Option<Part>,
}

/// Finds both parts, building what is missing. Blocks, for minutes when it builds, so call it
/// from a thread that may block. Safe to call from several processes at once: one builds, the
/// others wait and use the result.
///
/// # Errors
/// The user's own program is broken or too old, packages are missing and may not be installed, or
/// a build failed. The error says what to do; its exit code is 96.
pub fn ensure(progress: &dyn Progress) -> Result<Parts, SetupError> {
    ensure_on(&Machine::current(), progress)
}

/// Finds both parts and builds nothing.
///
/// # Errors
/// The user's own program is broken or too old, or there is no cache folder to look in.
pub fn find() -> Result<Found, SetupError> {
    find_on(&Machine::current())
}

fn find_on(machine: &Machine) -> Result<Found, SetupError> {
    Ok(Found {
        bitcoind: PartKind::Bitcoind.locate(machine)?,
        electrs: PartKind::Electrs.locate(machine)?,
    })
}

fn ensure_on(machine: &Machine, progress: &dyn Progress) -> Result<Parts, SetupError> {
    if let Found {
        bitcoind: Some(bitcoind),
        electrs: Some(electrs),
    } = find_on(machine)?
    {
        return Ok(Parts { bitcoind, electrs });
    }
    let parts = build_missing(machine, progress);
    progress.finish();
    parts
}

fn build_missing(machine: &Machine, progress: &dyn Progress) -> Result<Parts, SetupError> {
    let cache = Cache::of(machine)?;
    let lock = cache.lock(progress)?;
    // Whoever held the lock before may have built what we lack.
    let found = find_on(machine)?;
    let mut missing = Vec::new();
    if found.bitcoind.is_none() {
        missing.push(PartKind::Bitcoind);
    }
    if found.electrs.is_none() {
        missing.push(PartKind::Electrs);
    }
    packages::install_missing(machine, &missing, &cache, progress)?;
    let bitcoind = match found.bitcoind {
        Some(part) => part,
        None => timed(progress, || bitcoind::build(machine, &lock, progress))?,
    };
    let electrs = match found.electrs {
        Some(part) => part,
        None => timed(progress, || electrs::build(machine, &lock, progress))?,
    };
    Ok(Parts { bitcoind, electrs })
}

/// Leaves a line that says what was built, where it is and how long it took.
fn timed(
    progress: &dyn Progress,
    build: impl FnOnce() -> Result<Part, SetupError>,
) -> Result<Part, SetupError> {
    let began = Instant::now();
    let part = build()?;
    progress.note(&format!(
        "built {} ({}) in {} s",
        part.path.display(),
        part.version,
        began.elapsed().as_secs()
    ));
    Ok(part)
}
