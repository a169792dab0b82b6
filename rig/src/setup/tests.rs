//! Set-up against machines made of shell scripts: every program it may run is a fake in a folder
//! of the test's own, and the real lock, files and processes do the rest.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use super::doctor::doctor_on;
use super::machine::Machine;
use super::{Origin, Parts, SetupError, SilentProgress, ensure_on, find_on};

const GOOD_BITCOIND: &str = "echo 'Bitcoin Core daemon version v30.2.0'; echo 'Copyright 2009'";
const GOOD_ELECTRS: &str = "echo v0.10.10";

struct World {
    folder: tempfile::TempDir,
    variables: Vec<(OsString, OsString)>,
    is_root: bool,
}

impl World {
    /// An empty machine: nothing in PATH, no headers, an empty cache.
    fn new() -> Self {
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
            is_root: false,
        };
        for folder in ["bin", "cache", "system", "workspace"] {
            fs::create_dir(world.path(folder)).unwrap();
        }
        fs::write(world.path("workspace/Cargo.toml"), "").unwrap();
        let (path, cache) = (world.path("bin"), world.path("cache"));
        world
            .with_variable("PATH", &path)
            .with_variable("DEADBOLT_CACHE", &cache)
    }

    /// A machine on which everything for the builds is installed; the builders are fakes that
    /// count how often they built.
    fn with_builders() -> Self {
        let world = Self::new();
        for tool in ["ninja", "g++", "clang"] {
            world.program(tool, "exit 0");
        }
        world.header("boost/version.hpp");
        world.header("rocksdb/c.h");
        world.cmake("v31.99.0-unk", "exit 0");
        world.cargo();
        world
    }

    fn with_variable(mut self, name: &str, value: &Path) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    fn machine(&self) -> Machine {
        Machine::new(
            self.variables.clone(),
            self.is_root,
            self.path("workspace/Cargo.toml"),
            self.path("system"),
        )
    }

    fn ensure(&self) -> Result<Parts, SetupError> {
        ensure_on(&self.machine(), &SilentProgress)
    }

    /// A script written by another process: a file that this one had open for writing could not
    /// be run while another test's child still has it inherited.
    fn script(&self, relative: &str, body: &str) -> PathBuf {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = shell.stdin.take().unwrap();
        write!(
            input,
            "#!/bin/sh\nworld='{}'\nPATH=\"$PATH:/usr/bin:/bin\"\n{body}\n",
            self.folder.path().display()
        )
        .unwrap();
        drop(input);
        assert!(shell.wait().unwrap().success());
        path
    }

    fn program(&self, name: &str, body: &str) -> PathBuf {
        self.script(&format!("bin/{name}"), body)
    }

    fn header(&self, name: &str) {
        let path = self.path("system/usr/include").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    /// A cmake whose compilation leaves a bitcoind of that version and then does `afterwards`.
    fn cmake(&self, version: &str, afterwards: &str) {
        let body = format!(
            "[ \"$1\" = --build ] || {{ echo configured \"$@\" >> \"$world/configured\"; exit 0; }}
            echo '[1/2] Building CXX object a.cpp.o'
            echo compiled >> \"$world/compiled\"
            mkdir -p \"$2/bin\"
            printf '#!/bin/sh\\necho Bitcoin Core daemon version {version}\\n' > \"$2/bin/bitcoind\"
            chmod 755 \"$2/bin/bitcoind\"
            {afterwards}"
        );
        self.program("cmake", &body);
    }

    fn cargo(&self) {
        let source = self.path("source/bitcoin");
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("CMakeLists.txt"), "").unwrap();
        let metadata = serde_json::json!({ "packages": [{
            "name": "libbitcoinkernel-sys",
            "version": "0.4.1",
            "manifest_path": self.path("source/Cargo.toml"),
        }]});
        fs::write(self.path("metadata.json"), metadata.to_string()).unwrap();
        let body = "case \"$1\" in
            metadata) cat \"$world/metadata.json\";;
            install)
                env > \"$world/install-environment\"
                echo \"$@\" >> \"$world/installed\"
                echo '   Compiling electrs v0.10.10' >&2
                while [ \"$1\" != --root ]; do shift; done
                mkdir -p \"$2/bin\"
                printf '#!/bin/sh\\necho v0.10.10\\n' > \"$2/bin/electrs\"
                chmod 755 \"$2/bin/electrs\";;
            *) echo cargo 1.95.0;;
        esac";
        self.program("cargo", body);
    }

    /// An apt-get that brings the packages' programs and headers.
    fn apt_get(&self) {
        self.program(
            "apt-get",
            "echo \"$DEBIAN_FRONTEND apt-get $@\" >> \"$world/apt\"
            for package; do
                case $package in
                    cmake) cp \"$world/spare/cmake\" \"$world/bin/cmake\";;
                    ninja-build) cp \"$world/bin/cargo\" \"$world/bin/ninja\";;
                    g++|clang) cp \"$world/bin/cargo\" \"$world/bin/$package\";;
                    libboost-dev) mkdir -p \"$world/system/usr/include/boost\"
                        : > \"$world/system/usr/include/boost/version.hpp\";;
                    librocksdb-dev) mkdir -p \"$world/system/usr/include/rocksdb\"
                        : > \"$world/system/usr/include/rocksdb/c.h\";;
                esac
            done",
        );
        self.cmake("v31.99.0", "exit 0");
        fs::create_dir(self.path("spare")).unwrap();
        fs::rename(self.path("bin/cmake"), self.path("spare/cmake")).unwrap();
    }

    fn text(&self, relative: &str) -> String {
        fs::read_to_string(self.path(relative)).unwrap_or_default()
    }

    fn cached_binaries(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for part in ["bitcoind", "electrs"] {
            let Ok(keys) = fs::read_dir(self.path("cache").join(part)) else {
                continue;
            };
            found.extend(keys.map(|key| key.unwrap().path().join(part)));
        }
        found
    }
}

#[test]
fn the_variable_wins_over_path_and_path_over_the_cache() {
    let world = World::new();
    let chosen = world.script("chosen", GOOD_BITCOIND);
    let in_path = world.program("bitcoind", GOOD_BITCOIND);
    let cached = "cache/bitcoind/31.99.0+libbitcoinkernel-sys-0.4.1/bitcoind";
    let cached = world.script(cached, GOOD_BITCOIND);
    let world = world.with_variable("BITCOIND_EXE", &chosen);
    let bitcoind = |world: &World| {
        let part = find_on(&world.machine()).unwrap().bitcoind.unwrap();
        (part.path, part.origin)
    };

    assert_eq!(bitcoind(&world), (chosen, Origin::Environment));
    let world = world.with_variable("BITCOIND_EXE", Path::new(""));
    assert_eq!(bitcoind(&world), (in_path.clone(), Origin::Path));
    fs::remove_file(in_path).unwrap();
    assert_eq!(bitcoind(&world), (cached.clone(), Origin::Cache));
    fs::remove_file(cached).unwrap();
    assert_eq!(find_on(&world.machine()).unwrap().bitcoind, None);
}

#[test]
fn a_bitcoind_of_another_source_in_the_cache_is_not_used() {
    let world = World::new();
    let other = "cache/bitcoind/30.0.0+libbitcoinkernel-sys-0.3.0/bitcoind";
    world.script(other, GOOD_BITCOIND);
    assert_eq!(find_on(&world.machine()).unwrap().bitcoind, None);
}

#[test]
fn a_bitcoind_that_is_too_old_is_refused_with_its_path_and_what_to_do() {
    let world = World::new();
    let old = world.program("bitcoind", "echo 'Bitcoin Core version v27.1.0'");
    let error = world.ensure().unwrap_err();
    assert_eq!(error.exit_code(), 96);
    let text = error.to_string();
    assert!(text.contains(&old.display().to_string()), "{text}");
    assert!(text.contains("27.1.0") && text.contains("28.0.0") && text.contains("PATH"));
}

#[test]
fn an_electrs_that_is_too_old_is_refused() {
    let world = World::new();
    world.program("bitcoind", GOOD_BITCOIND);
    world.program("electrs", "echo v0.9.14");
    let error = world.ensure().unwrap_err();
    assert!(matches!(error, SetupError::TooOld { .. }), "{error}");
}

#[test]
fn a_broken_binary_named_by_the_user_is_an_error_and_never_passed_over() {
    let bodies = [
        "echo lost >&2; exit 127",
        "echo hello",
        "echo Bitcoin Core RPC client version v30.0.0",
    ];
    for body in bodies {
        let world = World::with_builders();
        let broken = world.script("broken", body);
        let world = world.with_variable("BITCOIND_EXE", &broken);
        let text = world.ensure().unwrap_err().to_string();
        assert!(text.contains("BITCOIND_EXE"), "{text}");
        assert!(text.contains(&broken.display().to_string()), "{text}");
        assert_eq!(world.text("compiled"), "");
    }
    let world = World::new();
    let missing = world.path("missing");
    let world = world.with_variable("ELECTRS_EXE", &missing);
    let text = find_on(&world.machine()).unwrap_err().to_string();
    assert!(
        text.contains("cannot be run") && text.contains("unset it"),
        "{text}"
    );
}

#[test]
fn a_missing_part_is_built_once_and_then_found_in_the_cache() {
    let world = World::with_builders();
    let built = world.ensure().unwrap();
    assert_eq!(built.bitcoind.origin, Origin::Built);
    assert_eq!(built.bitcoind.version, "31.99.0");
    assert_eq!(
        built.bitcoind.path,
        world.path("cache/bitcoind/31.99.0+libbitcoinkernel-sys-0.4.1/bitcoind")
    );
    assert_eq!(
        built.electrs.path,
        world.path("cache/electrs/0.10.10/electrs")
    );
    let found = world.ensure().unwrap();
    assert_eq!(found.bitcoind.origin, Origin::Cache);
    assert_eq!(found.electrs.path, built.electrs.path);
    assert_eq!(world.text("compiled"), "compiled\n");
    assert!(world.text("configured").contains("-DENABLE_WALLET=OFF"));
    assert_eq!(
        fs::read_dir(world.path("cache/scratch")).unwrap().count(),
        0
    );
}

#[test]
fn electrs_is_built_for_debians_rocksdb_in_a_target_folder_of_its_own() {
    let world = World::with_builders()
        .with_variable("CARGO_TARGET_DIR", Path::new("/outer"))
        .with_variable("RUSTFLAGS", Path::new("-g"));
    world.ensure().unwrap();
    let environment = world.text("install-environment");
    let include = world.path("system/usr/include");
    assert!(environment.contains(&format!("ROCKSDB_INCLUDE_DIR={}", include.display())));
    assert!(environment.contains("ROCKSDB_LIB_DIR="));
    assert!(environment.contains("/scratch/electrs-"), "{environment}");
    assert!(!environment.contains("/outer") && !environment.contains("RUSTFLAGS"));
    assert!(
        world
            .text("installed")
            .starts_with("install electrs --version 0.10.10 --locked")
    );
}

#[test]
fn several_setups_at_once_build_once() {
    let world = World::with_builders();
    thread::scope(|scope| {
        let setups: Vec<_> = (0..4).map(|_| scope.spawn(|| world.ensure())).collect();
        for setup in setups {
            let parts = setup.join().unwrap().unwrap();
            assert!(parts.bitcoind.path.is_file() && parts.electrs.path.is_file());
        }
    });
    assert_eq!(world.text("compiled").lines().count(), 1);
    assert_eq!(world.text("installed").lines().count(), 1);
}

#[test]
fn an_interrupted_build_leaves_no_binary_in_the_cache_and_the_next_one_succeeds() {
    let world = World::with_builders();
    world.cmake("v31.99.0", "kill -9 $$");
    let error = world.ensure().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("was ended by signal 9"), "{text}");
    assert!(
        text.contains("a.cpp.o") && text.contains("log/bitcoind.log"),
        "{text}"
    );
    assert_eq!(world.cached_binaries(), Vec::<PathBuf>::new());
    assert_eq!(
        fs::read_dir(world.path("cache/scratch")).unwrap().count(),
        0
    );
    world.cmake("v31.99.0", "exit 0");
    assert_eq!(world.ensure().unwrap().bitcoind.origin, Origin::Built);
}

#[test]
fn a_build_whose_result_does_not_answer_is_not_published() {
    let world = World::with_builders();
    world.cmake("of no number", "exit 0");
    let error = world.ensure().unwrap_err();
    assert!(matches!(error, SetupError::Unusable { .. }), "{error}");
    assert_eq!(world.cached_binaries(), Vec::<PathBuf>::new());
}

#[test]
fn a_cached_binary_that_stopped_working_is_built_again() {
    let world = World::with_builders();
    let electrs = world.ensure().unwrap().electrs.path;
    world.script("cache/electrs/0.10.10/electrs", "exit 127");
    let again = world.ensure().unwrap().electrs;
    assert_eq!((again.path, again.origin), (electrs, Origin::Built));
    assert_eq!(world.text("compiled").lines().count(), 1);
}

#[test]
fn missing_packages_without_root_or_sudo_end_with_96_and_the_command_to_run() {
    let world = World::new();
    world.cargo();
    world.apt_get();
    let install = "apt-get install -y --no-install-recommends \
                   cmake ninja-build g++ libboost-dev librocksdb-dev clang";
    let error = world.ensure().unwrap_err();
    assert_eq!(error.exit_code(), 96);
    let command = format!("su -c 'apt-get update && {install}'");
    assert!(error.to_string().contains(&command), "{error}");

    world.program("sudo", "echo a password is required >&2; exit 1");
    let error = world.ensure().unwrap_err();
    let command = format!("sudo apt-get update && sudo {install}");
    assert!(error.to_string().contains(&command), "{error}");
    assert_eq!(world.text("apt"), "");
}

#[test]
fn only_the_packages_of_the_missing_part_are_asked_for() {
    let world = World::new();
    world.program("bitcoind", GOOD_BITCOIND);
    world.cargo();
    world.apt_get();
    let text = world.ensure().unwrap_err().to_string();
    assert!(text.contains("g++ librocksdb-dev clang"), "{text}");
    assert!(!text.contains("cmake"), "{text}");
}

#[test]
fn root_installs_the_missing_packages_without_questions_and_builds() {
    let mut world = World::new();
    world.is_root = true;
    world.cargo();
    world.apt_get();
    assert_eq!(world.ensure().unwrap().electrs.origin, Origin::Built);
    let apt = world.text("apt");
    let lines: Vec<_> = apt.lines().collect();
    assert_eq!(lines.len(), 2, "{apt}");
    assert!(lines[0].starts_with("noninteractive apt-get") && lines[0].ends_with(" update"));
    assert!(lines[1].ends_with("cmake ninja-build g++ libboost-dev librocksdb-dev clang"));
}

#[test]
fn a_sudo_that_asks_no_password_is_used() {
    let world = World::new();
    world.cargo();
    world.apt_get();
    world.program("sudo", "shift; echo \"$@\" >> \"$world/sudo\"; exec \"$@\"");
    assert_eq!(world.ensure().unwrap().bitcoind.origin, Origin::Built);
    assert!(
        world
            .text("sudo")
            .contains("env DEBIAN_FRONTEND=noninteractive")
    );
}

#[test]
fn an_installation_that_fails_shows_its_last_lines() {
    let mut world = World::new();
    world.is_root = true;
    world.cargo();
    world.program(
        "apt-get",
        "echo 'E: Unable to fetch some archives' >&2; exit 100",
    );
    let text = world.ensure().unwrap_err().to_string();
    assert!(text.contains("E: Unable to fetch some archives"), "{text}");
    assert!(text.contains("cache/log/packages.log"), "{text}");
}

#[test]
fn a_system_without_apt_get_is_told_what_to_install() {
    let text = World::new().ensure().unwrap_err().to_string();
    assert!(
        text.contains("no apt-get") && text.contains("libboost-dev"),
        "{text}"
    );
}

#[test]
fn a_deadbolt_that_lost_its_workspace_says_so() {
    let world = World::with_builders();
    fs::remove_file(world.path("workspace/Cargo.toml")).unwrap();
    let text = world.ensure().unwrap_err().to_string();
    assert!(
        text.contains("no longer there") && text.contains("BITCOIND_EXE"),
        "{text}"
    );
}

#[test]
fn doctor_builds_nothing_and_ends_with_96_while_a_part_is_missing() {
    let world = World::with_builders();
    world.program("electrs", GOOD_ELECTRS);
    let report = doctor_on(&world.machine(), false);
    assert_eq!(report.exit_code, 96);
    assert!(
        report.text.contains("bitcoind      missing"),
        "{}",
        report.text
    );
    assert_eq!(world.text("compiled"), "");
    assert_eq!(fs::read_dir(world.path("cache")).unwrap().count(), 0);

    world.program("bitcoind", GOOD_BITCOIND);
    assert_eq!(doctor_on(&world.machine(), false).exit_code, 0);
}

#[test]
fn doctors_json_is_one_line_with_path_version_and_origin() {
    let world = World::with_builders();
    let electrs = world.program("electrs", GOOD_ELECTRS);
    world.program("bitcoind", "exit 1");
    let report = doctor_on(&world.machine(), true);
    assert_eq!((report.exit_code, report.text.lines().count()), (96, 1));
    let json: serde_json::Value = serde_json::from_str(&report.text).unwrap();
    assert_eq!(json["electrs"]["path"], electrs.display().to_string());
    assert_eq!(json["electrs"]["version"], "0.10.10");
    assert_eq!(json["electrs"]["origin"], "path");
    let problem = json["bitcoind"]["problem"].as_str().unwrap();
    assert!(problem.contains("exit code 1"), "{problem}");
}
