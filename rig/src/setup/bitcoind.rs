//! Builds bitcoind from the Bitcoin Core source that a crate of the lock file ships. Owns where
//! the source is, how it is configured, and the key under which the result is cached.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::build::run_stage;
use super::cache::{CacheLock, Scratch};
use super::error::SetupError;
use super::machine::Machine;
use super::part::{Origin, Part, PartKind};
use super::process::{Ended, Invocation, Stream};
use super::progress::Progress;

/// The crate that ships the source, as the workspace pins it.
const SOURCE_CRATE: &str = "libbitcoinkernel-sys";
const SOURCE_CRATE_VERSION: &str = "0.4.1";
const METADATA_LIMIT: Duration = Duration::from_secs(20 * 60);
const CONFIGURE_LIMIT: Duration = Duration::from_secs(10 * 60);
const COMPILE_LIMIT: Duration = Duration::from_secs(60 * 60);
const NEEDED_MIB: u64 = 256;

/// No wallet (the crate leaves its source out; the rig keeps its own coins) and nothing that would
/// need a library besides Boost's headers.
const CONFIGURATION: [&str; 10] = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_DAEMON=ON",
    "-DBUILD_CLI=ON",
    "-DBUILD_BITCOIN_BIN=OFF",
    "-DBUILD_TESTS=OFF",
    "-DENABLE_WALLET=OFF",
    "-DENABLE_EXTERNAL_SIGNER=OFF",
    "-DENABLE_IPC=OFF",
    "-DWITH_EMBEDDED_ASMAP=OFF",
    "-DINSTALL_MAN=OFF",
];

/// How the cache key of a bitcoind built by this deadbolt ends; in front stands what it answers to
/// `--version`.
pub fn key_end() -> String {
    format!("+{SOURCE_CRATE}-{SOURCE_CRATE_VERSION}")
}

/// Builds bitcoind into the cache. About five minutes on two cores.
pub fn build(
    machine: &Machine,
    lock: &CacheLock,
    progress: &dyn Progress,
) -> Result<Part, SetupError> {
    let kind = PartKind::Bitcoind;
    progress.step("finding the source of bitcoind");
    let source = source_folder(machine)?;
    let scratch = lock.scratch(kind, NEEDED_MIB)?;
    let built = compile(machine, lock, &scratch, &source, progress)?;
    let part = kind.examine(machine, &built, Origin::Built)?;
    let key = format!("{}{}", part.version, key_end());
    let path = lock.publish(&built, kind, &key)?;
    Ok(Part { path, ..part })
}

fn compile(
    machine: &Machine,
    lock: &CacheLock,
    scratch: &Scratch,
    source: &Path,
    progress: &dyn Progress,
) -> Result<PathBuf, SetupError> {
    let kind = PartKind::Bitcoind;
    let (log, mut log_file) = lock.cache().create_log(kind.name())?;
    // Looked up again because it may just have been installed; cargo's PATH has no say here.
    let cmake = machine.search("cmake").unwrap_or_else(|| "cmake".into());
    let build = scratch.folder().join("build");
    let stage = |limit: Duration| {
        Invocation::new(&cmake, limit)
            .environment(machine.tool_environment())
            .folder(scratch.folder())
    };

    progress.step("configuring bitcoind");
    let configure = stage(CONFIGURE_LIMIT)
        .arguments(["-G", "Ninja", "-S"])
        .arguments([source])
        .arguments(["-B"])
        .arguments([&build])
        .arguments(CONFIGURATION);
    run_stage(&configure, &mut log_file, &mut |line| {
        progress.advance(0, None, line);
    })
    .require(kind, "cmake's configuration", &log)?;

    progress.step("compiling bitcoind");
    let compile = stage(COMPILE_LIMIT)
        .arguments(["--build"])
        .arguments([&build])
        .arguments(["--target", "bitcoind"]);
    run_stage(&compile, &mut log_file, &mut |line| {
        if let Some((done, total, what)) = ninja_progress(line) {
            progress.advance(done, Some(total), what);
        }
    })
    .require(kind, "the compilation", &log)?;
    Ok(build.join("bin/bitcoind"))
}

/// `[12/480] Building CXX object a.cpp.o` as done, total and the last word.
fn ninja_progress(line: &str) -> Option<(u64, u64, &str)> {
    let (count, what) = line.strip_prefix('[')?.split_once(']')?;
    let (done, total) = count.split_once('/')?;
    let file = what.rsplit(['/', ' ']).next().unwrap_or(what);
    Some((done.parse().ok()?, total.parse().ok()?, file))
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    manifest_path: PathBuf,
}

/// Where cargo keeps the source; cargo fetches and checks it first if it is not there.
fn source_folder(machine: &Machine) -> Result<PathBuf, SetupError> {
    let manifest = machine.manifest();
    let no_source = |reason: String| SetupError::NoSource { reason };
    if !manifest.is_file() {
        let manifest = manifest.display();
        return Err(no_source(format!(
            "the workspace this deadbolt was built in is no longer there (no {manifest})"
        )));
    }
    let mut answer = String::new();
    let mut complaints = Vec::new();
    let ended = Invocation::new(machine.cargo()?, METADATA_LIMIT)
        .arguments(["metadata", "--format-version", "1", "--locked"])
        .arguments(["--manifest-path"])
        .arguments([manifest])
        .environment(machine.tool_environment())
        .run(&mut |stream, line| match stream {
            Stream::Out => answer.push_str(line),
            Stream::Err => complaints.push(line.to_owned()),
        })
        .map_err(|error| no_source(format!("cargo could not be started: {error}")))?;
    if !Ended::is_success(ended) {
        let (end, complaints) = (ended.describe(), complaints.join("\n"));
        return Err(no_source(format!("cargo metadata {end}: {complaints}")));
    }
    let metadata: Metadata = serde_json::from_str(&answer)
        .map_err(|error| no_source(format!("cargo metadata answered something else: {error}")))?;
    source_in(&metadata).map_err(no_source)
}

fn source_in(metadata: &Metadata) -> Result<PathBuf, String> {
    let package = metadata
        .packages
        .iter()
        .find(|package| package.name == SOURCE_CRATE && package.version == SOURCE_CRATE_VERSION)
        .ok_or_else(|| {
            format!("the lock file does not have {SOURCE_CRATE} {SOURCE_CRATE_VERSION}")
        })?;
    let source = package.manifest_path.with_file_name("bitcoin");
    if source.join("CMakeLists.txt").is_file() {
        Ok(source)
    } else {
        Err(format!("{} has no CMakeLists.txt", source.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_source_is_the_one_of_the_workspace() {
        let manifest = include_str!("../../../Cargo.toml");
        let pin = format!("{SOURCE_CRATE} = \"={SOURCE_CRATE_VERSION}\"");
        assert!(manifest.contains(&pin), "no `{pin}` in Cargo.toml");
    }

    #[test]
    fn ninja_lines_become_a_count_and_a_file() {
        assert_eq!(
            ninja_progress("[12/480] Building CXX object src/node.dir/chain.cpp.o"),
            Some((12, 480, "chain.cpp.o"))
        );
        assert_eq!(ninja_progress("ninja: no work to do."), None);
        assert_eq!(ninja_progress("[a/b] nonsense"), None);
    }
}
