//! The Debian packages that builds need. Owns finding out which are missing and installing them;
//! it asks for the tool or header itself rather than for the package, so that a machine that has
//! them from elsewhere needs nothing.

use std::path::PathBuf;
use std::time::Duration;

use super::build::{Stage, run_stage};
use super::cache::Cache;
use super::error::SetupError;
use super::machine::Machine;
use super::part::PartKind;
use super::process::Invocation;
use super::progress::Progress;

const UPDATE_LIMIT: Duration = Duration::from_secs(10 * 60);
const INSTALL_LIMIT: Duration = Duration::from_secs(30 * 60);
const SUDO_LIMIT: Duration = Duration::from_secs(20);
/// Debian keeps dpkg's own tools here; a trimmed PATH of root's may lack it.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

struct Requirement {
    package: &'static str,
    evidence: Evidence,
}

enum Evidence {
    Command(&'static str),
    /// Relative to the root of the system.
    File(&'static str),
}

const CMAKE: Requirement = command("cmake", "cmake");
const NINJA: Requirement = command("ninja-build", "ninja");
const COMPILER: Requirement = command("g++", "g++");
const BOOST: Requirement = file("libboost-dev", "usr/include/boost/version.hpp");
const ROCKSDB: Requirement = file("librocksdb-dev", "usr/include/rocksdb/c.h");
/// For libclang, by which the build of electrs reads RocksDB's header.
const CLANG: Requirement = command("clang", "clang");

const fn command(package: &'static str, name: &'static str) -> Requirement {
    Requirement {
        package,
        evidence: Evidence::Command(name),
    }
}

const fn file(package: &'static str, path: &'static str) -> Requirement {
    Requirement {
        package,
        evidence: Evidence::File(path),
    }
}

fn requirements(kind: PartKind) -> &'static [Requirement] {
    match kind {
        PartKind::Bitcoind => &[CMAKE, NINJA, COMPILER, BOOST],
        PartKind::Electrs => &[COMPILER, ROCKSDB, CLANG],
    }
}

/// The packages that building these parts needs and this machine lacks.
pub fn missing(machine: &Machine, kinds: &[PartKind]) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for requirement in kinds.iter().flat_map(|kind| requirements(*kind)) {
        let present = match requirement.evidence {
            Evidence::Command(name) => machine.search(name).is_some(),
            Evidence::File(path) => machine.system_file(path).is_file(),
        };
        if !present && !packages.contains(&requirement.package) {
            packages.push(requirement.package);
        }
    }
    packages
}

/// Installs what building these parts lacks, as root or through a sudo that asks no password.
///
/// # Errors
/// `NeedsRoot` with the one command to run, `NoPackageManager`, or `InstallFailed`.
pub fn install_missing(
    machine: &Machine,
    kinds: &[PartKind],
    cache: &Cache,
    progress: &dyn Progress,
) -> Result<(), SetupError> {
    let packages = missing(machine, kinds);
    if packages.is_empty() {
        return Ok(());
    }
    let Some(apt_get) = machine.search("apt-get") else {
        return Err(SetupError::NoPackageManager { packages });
    };
    let Some(rights) = Rights::of(machine) else {
        let command = command_for_the_user(machine, &packages);
        return Err(SetupError::NeedsRoot { packages, command });
    };
    let (log, mut log_file) = cache.create_log("packages")?;
    progress.step("updating Debian's package lists");
    let update = rights.apt_get(machine, &apt_get, &["update"], UPDATE_LIMIT);
    // Old lists may do; if they do not, the install says so.
    let updated = run_stage(&update, &mut log_file, &mut |_| ());
    if !updated.is_success() {
        progress.note(&format!("apt-get update {}", updated.reason));
    }
    progress.step(&format!(
        "installing Debian packages: {}",
        packages.join(" ")
    ));
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(&packages);
    let install = rights.apt_get(machine, &apt_get, &arguments, INSTALL_LIMIT);
    let mut lines: u64 = 0;
    let installed = run_stage(&install, &mut log_file, &mut |line| {
        lines += 1;
        progress.advance(lines, None, line);
    });
    verdict(machine, kinds, installed, log, &packages)
}

fn verdict(
    machine: &Machine,
    kinds: &[PartKind],
    installed: Stage,
    log: PathBuf,
    wanted: &[&'static str],
) -> Result<(), SetupError> {
    let still_missing = missing(machine, kinds);
    if still_missing.is_empty() {
        return Ok(());
    }
    Err(SetupError::InstallFailed {
        packages: still_missing,
        command: format!("apt-get install {}", wanted.join(" ")),
        log,
        last_lines: installed.last_lines,
    })
}

/// The way in which this process may install packages.
enum Rights {
    Root,
    Sudo(PathBuf),
}

impl Rights {
    fn of(machine: &Machine) -> Option<Self> {
        if machine.is_root() {
            return Some(Self::Root);
        }
        let sudo = machine.search("sudo")?;
        let ended = Invocation::new(&sudo, SUDO_LIMIT)
            .arguments(["-n", "true"])
            .environment(machine.tool_environment())
            .run(&mut |_, _| ());
        // A sudo that cannot even be run is as good as none.
        let works = ended.is_ok_and(super::process::Ended::is_success);
        works.then_some(Self::Sudo(sudo))
    }

    fn apt_get(
        &self,
        machine: &Machine,
        apt_get: &std::path::Path,
        arguments: &[&str],
        limit: Duration,
    ) -> Invocation {
        let invocation = match self {
            Self::Root => Invocation::new(apt_get, limit),
            // sudo drops the environment, so the variable goes by way of env.
            Self::Sudo(sudo) => Invocation::new(sudo, limit)
                .arguments(["-n", "env", "DEBIAN_FRONTEND=noninteractive"])
                .arguments([apt_get]),
        };
        let path = machine
            .variable("PATH")
            .map_or_else(String::new, |path| format!("{}:", path.to_string_lossy()));
        invocation
            // Another installation may be under way; wait for it rather than fail.
            .arguments(["-o", "DPkg::Lock::Timeout=300"])
            .arguments(arguments)
            .environment(machine.tool_environment())
            .variable("DEBIAN_FRONTEND", "noninteractive")
            .variable("PATH", format!("{path}{SYSTEM_PATH}"))
            .outlives_us()
    }
}

/// The one command that installs the packages, for someone with more rights.
fn command_for_the_user(machine: &Machine, packages: &[&str]) -> String {
    let packages = packages.join(" ");
    let install = "apt-get install -y --no-install-recommends";
    if machine.search("sudo").is_some() {
        format!("sudo apt-get update && sudo {install} {packages}")
    } else {
        format!("su -c 'apt-get update && {install} {packages}'")
    }
}
