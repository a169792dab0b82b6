//! The machine as set-up sees it: variables, search path, rights, and where the workspace is.
//! Everything read from the process's surroundings comes through here, so that tests can hand in
//! another machine. It changes nothing.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::error::SetupError;

/// Variables that `cargo run` and `cargo test` export, and builders' own: they would change what
/// or where an inner cargo builds.
const DROPPED_VARIABLES: [&str; 9] = [
    "CARGO",
    "MAKEFLAGS",
    "MFLAGS",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "LD_LIBRARY_PATH",
];
/// The `CARGO_` variables that say where things come from: without them a build behind a mirror
/// or a proxy fails.
const KEPT_CARGO_VARIABLES: [&str; 6] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
];

/// What set-up needs to know of the machine it runs on.
#[derive(Clone, Debug)]
pub struct Machine {
    variables: BTreeMap<OsString, OsString>,
    is_root: bool,
    manifest: PathBuf,
    system_root: PathBuf,
}

impl Machine {
    /// This machine and this process's environment.
    pub fn current() -> Self {
        Self::new(
            std::env::vars_os(),
            nix::unistd::geteuid().is_root(),
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"),
            PathBuf::from("/"),
        )
    }

    /// A machine described by hand: `manifest` is the workspace's Cargo.toml, `system_root` the
    /// folder under which `usr/include` is looked for.
    pub fn new(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        is_root: bool,
        manifest: PathBuf,
        system_root: PathBuf,
    ) -> Self {
        Self {
            variables: variables.into_iter().collect(),
            is_root,
            manifest,
            system_root,
        }
    }

    pub fn is_root(&self) -> bool {
        self.is_root
    }

    /// The Cargo.toml whose lock file pins the source of bitcoind.
    pub fn manifest(&self) -> &Path {
        &self.manifest
    }

    /// A file of the system, such as `usr/include/rocksdb/c.h`.
    pub fn system_file(&self, relative: &str) -> PathBuf {
        self.system_root.join(relative)
    }

    /// A variable's value; an empty one counts as unset.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        let value = self.variables.get(OsStr::new(name))?;
        (!value.is_empty()).then_some(value.as_os_str())
    }

    /// The first executable file of that name in PATH.
    pub fn search(&self, name: &str) -> Option<PathBuf> {
        which::which_in(name, self.variable("PATH"), "/").ok()
    }

    /// The cargo to build with: the one that runs us, if any, else the one in PATH.
    ///
    /// # Errors
    /// `NoCargo` when there is neither.
    pub fn cargo(&self) -> Result<PathBuf, SetupError> {
        self.variable("CARGO")
            .map(PathBuf::from)
            .filter(|path| path.is_file())
            .or_else(|| self.search("cargo"))
            .ok_or(SetupError::NoCargo)
    }

    /// The whole environment, for a program that the user chose.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        self.variables.clone().into_iter().collect()
    }

    /// The environment for the builders that set-up runs.
    pub fn tool_environment(&self) -> Vec<(OsString, OsString)> {
        let kept = self.variables.iter().filter(|(name, _)| is_kept(name));
        kept.map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

fn is_kept(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    if name.starts_with("CARGO_") {
        return name == "CARGO_BUILD_JOBS"
            || KEPT_CARGO_VARIABLES
                .iter()
                .any(|kept| name.starts_with(kept));
    }
    !DROPPED_VARIABLES.contains(&name.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(variables: &[(&str, &str)]) -> Machine {
        let variables = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Machine::new(variables, false, PathBuf::new(), PathBuf::new())
    }

    #[test]
    fn tools_do_not_see_what_the_outer_cargo_exports_but_keep_the_way_to_the_registry() {
        let machine = machine(&[
            ("CARGO", "/cargo"),
            ("CARGO_ENCODED_RUSTFLAGS", "-g"),
            ("CARGO_HTTP_CAINFO", "/ca.pem"),
            ("CARGO_MANIFEST_DIR", "/rig"),
            ("CARGO_REGISTRIES_MIRROR_INDEX", "sparse"),
            ("CARGO_TARGET_DIR", "/target"),
            ("HOME", "/home/me"),
            ("RUSTC_WRAPPER", "sccache"),
            ("RUSTFLAGS", "-g"),
            ("RUSTUP_TOOLCHAIN", "stable"),
        ]);
        let kept: Vec<_> = machine
            .tool_environment()
            .into_iter()
            .map(|(name, _)| name.into_string().unwrap())
            .collect();
        assert_eq!(
            kept,
            [
                "CARGO_HTTP_CAINFO",
                "CARGO_REGISTRIES_MIRROR_INDEX",
                "HOME",
                "RUSTUP_TOOLCHAIN"
            ]
        );
    }

    #[test]
    fn an_empty_variable_counts_as_unset_and_no_path_finds_nothing() {
        let machine = machine(&[("BITCOIND_EXE", "")]);
        assert_eq!(machine.variable("BITCOIND_EXE"), None);
        assert_eq!(machine.search("sh"), None);
        assert!(matches!(machine.cargo(), Err(SetupError::NoCargo)));
    }
}
