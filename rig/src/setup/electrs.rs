//! Builds electrs with `cargo install`. Owns its version and the way to Debian's RocksDB.

use std::path::PathBuf;
use std::time::Duration;

use super::build::run_stage;
use super::cache::CacheLock;
use super::error::SetupError;
use super::machine::Machine;
use super::part::{Origin, Part, PartKind};
use super::process::Invocation;
use super::progress::Progress;

/// The release that is built, and its key in the cache.
pub const VERSION: &str = "0.10.10";
const COMPILE_LIMIT: Duration = Duration::from_secs(60 * 60);
const NEEDED_MIB: u64 = 768;

/// Builds electrs into the cache. About two minutes on two cores.
pub fn build(
    machine: &Machine,
    lock: &CacheLock,
    progress: &dyn Progress,
) -> Result<Part, SetupError> {
    let kind = PartKind::Electrs;
    let scratch = lock.scratch(kind, NEEDED_MIB)?;
    let (log, mut log_file) = lock.cache().create_log(kind.name())?;
    let root = scratch.folder().join("root");
    let mut install = Invocation::new(machine.cargo()?, COMPILE_LIMIT)
        .arguments(["install", "electrs", "--version", VERSION, "--locked"])
        .arguments(["--root"])
        .arguments([&root])
        .environment(machine.tool_environment())
        .variable("CARGO_TARGET_DIR", scratch.folder().join("target"))
        .folder(scratch.folder());
    // Linking Debian's library spares compiling RocksDB, the longest part by far.
    if machine.variable("ROCKSDB_LIB_DIR").is_none() {
        install = install
            .variable("ROCKSDB_INCLUDE_DIR", machine.system_file("usr/include"))
            .variable("ROCKSDB_LIB_DIR", library_folder(machine));
    }
    progress.step("compiling electrs");
    let mut crates: u64 = 0;
    run_stage(&install, &mut log_file, &mut |line| {
        if let Some(name) = line.trim_start().strip_prefix("Compiling ") {
            crates += 1;
            progress.advance(crates, None, &format!("crate {crates}: {name}"));
        }
    })
    .require(kind, "`cargo install electrs`", &log)?;
    let built = root.join("bin/electrs");
    let part = kind.examine(machine, &built, Origin::Built)?;
    let path = lock.publish(&built, kind, VERSION)?;
    Ok(Part { path, ..part })
}

/// Where the system keeps `librocksdb.so`: Debian's folder for this architecture, else the
/// places of other systems.
fn library_folder(machine: &Machine) -> PathBuf {
    let multiarch = format!("usr/lib/{}", multiarch_triple(std::env::consts::ARCH));
    let folders = [multiarch.as_str(), "usr/lib64", "usr/lib"];
    folders
        .iter()
        .map(|folder| machine.system_file(folder))
        .find(|folder| folder.join("librocksdb.so").exists())
        .unwrap_or_else(|| machine.system_file(&multiarch))
}

/// Debian's name for an architecture that Rust calls otherwise.
fn multiarch_triple(architecture: &str) -> String {
    match architecture {
        "x86" => "i386-linux-gnu".to_owned(),
        "arm" => "arm-linux-gnueabihf".to_owned(),
        "powerpc64" => "powerpc64le-linux-gnu".to_owned(),
        other => format!("{other}-linux-gnu"),
    }
}
