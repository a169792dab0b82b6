//! `deadbolt doctor`: says which parts a run would use, where they come from and what the machine
//! offers. It builds and installs nothing.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::cache::{Cache, free_mib};
use super::error::SETUP_EXIT_CODE;
use super::machine::Machine;
use super::packages;
use super::part::{Part, PartKind};
use super::process::{Invocation, Stream};

const TOOL_LIMIT: Duration = Duration::from_secs(30);
/// Where runs keep their data: memory, unless a case is about the disk.
const WORK_FOLDER: &str = "/dev/shm";

/// What `doctor` has to say and how the process should end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoctorReport {
    /// A table, or one line of JSON; ends without a line break.
    pub text: String,
    /// 0 when both parts can be used as they are, else 96.
    pub exit_code: u8,
}

#[derive(Serialize)]
struct Diagnosis {
    bitcoind: PartState,
    electrs: PartState,
    /// Packages that building the missing parts would install.
    missing_packages: Vec<&'static str>,
    cargo: Option<String>,
    rustc: Option<String>,
    cores: usize,
    memory_total_mib: Option<u64>,
    memory_available_mib: Option<u64>,
    cache: Folder,
    work: Folder,
}

/// Exactly one is set, except that both are empty for a part that has to be built.
#[derive(Serialize)]
struct PartState {
    #[serde(flatten)]
    part: Option<Part>,
    problem: Option<String>,
}

#[derive(Serialize)]
struct Folder {
    path: Option<PathBuf>,
    free_mib: Option<u64>,
}

/// Looks at this machine; `json` asks for one line of JSON in place of a table.
pub fn doctor(json: bool) -> DoctorReport {
    doctor_on(&Machine::current(), json)
}

pub(super) fn doctor_on(machine: &Machine, json: bool) -> DoctorReport {
    let diagnosis = Diagnosis::of(machine);
    let complete = diagnosis.bitcoind.part.is_some() && diagnosis.electrs.part.is_some();
    let text = if json {
        // Strings, numbers and options only: nothing in there can fail to serialise.
        serde_json::to_string(&diagnosis)
            .unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    } else {
        diagnosis.table()
    };
    DoctorReport {
        text,
        exit_code: if complete { 0 } else { SETUP_EXIT_CODE },
    }
}

impl Diagnosis {
    fn of(machine: &Machine) -> Self {
        let bitcoind = PartState::of(machine, PartKind::Bitcoind);
        let electrs = PartState::of(machine, PartKind::Electrs);
        let mut to_build = Vec::new();
        for (kind, state) in PartKind::ALL.iter().zip([&bitcoind, &electrs]) {
            if state.part.is_none() && state.problem.is_none() {
                to_build.push(*kind);
            }
        }
        let cargo = machine.cargo().ok();
        Self {
            missing_packages: packages::missing(machine, &to_build),
            cargo: cargo.and_then(|path| tool_version(machine, &path)),
            rustc: machine
                .search("rustc")
                .and_then(|path| tool_version(machine, &path)),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_total_mib: memory_mib("MemTotal"),
            memory_available_mib: memory_mib("MemAvailable"),
            cache: Folder::of(
                Cache::of(machine)
                    .ok()
                    .map(|cache| cache.folder().to_owned()),
            ),
            work: Folder::of(Some(PathBuf::from(WORK_FOLDER))),
            bitcoind,
            electrs,
        }
    }

    fn table(&self) -> String {
        let mut rows = vec![
            self.bitcoind.row("bitcoind"),
            self.electrs.row("electrs"),
            tool_row("cargo", self.cargo.as_deref()),
            tool_row("rustc", self.rustc.as_deref()),
            [
                "cores".to_owned(),
                self.cores.to_string(),
                String::new(),
                String::new(),
            ],
            [
                "memory".to_owned(),
                gib(self.memory_total_mib),
                String::new(),
                format!("{} available", gib(self.memory_available_mib)),
            ],
            self.cache.row("cache folder"),
            self.work.row("work folder"),
        ];
        if !self.missing_packages.is_empty() {
            rows.push([
                "packages".to_owned(),
                "missing".to_owned(),
                String::new(),
                format!(
                    "`deadbolt setup` would install {}",
                    self.missing_packages.join(" ")
                ),
            ]);
        }
        aligned(&rows)
    }
}

impl PartState {
    fn of(machine: &Machine, kind: PartKind) -> Self {
        match kind.locate(machine) {
            Ok(part) => Self {
                part,
                problem: None,
            },
            Err(error) => Self {
                part: None,
                problem: Some(error.to_string()),
            },
        }
    }

    fn row(&self, name: &str) -> [String; 4] {
        let [version, origin, place] = match (&self.part, &self.problem) {
            (Some(part), _) => [
                part.version.clone(),
                part.origin.to_string(),
                part.path.display().to_string(),
            ],
            (None, Some(problem)) => ["unusable".to_owned(), String::new(), problem.clone()],
            (None, None) => [
                "missing".to_owned(),
                String::new(),
                "`deadbolt setup` builds it".to_owned(),
            ],
        };
        [name.to_owned(), version, origin, place]
    }
}

impl Folder {
    /// The folder may not exist yet: its nearest parent that does is asked for the space.
    fn of(path: Option<PathBuf>) -> Self {
        let existing = path
            .as_deref()
            .and_then(|path| path.ancestors().find(|folder| folder.is_dir()));
        Self {
            free_mib: existing.and_then(free_mib),
            path,
        }
    }

    fn row(&self, name: &str) -> [String; 4] {
        let place = self.path.as_deref().map_or_else(
            || "none: set HOME or DEADBOLT_CACHE".to_owned(),
            |path| path.display().to_string(),
        );
        let free = format!("{} free", gib(self.free_mib));
        [name.to_owned(), free, String::new(), place]
    }
}

fn tool_row(name: &str, version: Option<&str>) -> [String; 4] {
    let version = version.unwrap_or("missing").to_owned();
    [name.to_owned(), version, String::new(), String::new()]
}

/// The second word of `cargo 1.95.0 (f2d3ce0bd 2026-03-21)`.
fn tool_version(machine: &Machine, path: &Path) -> Option<String> {
    let mut answer = None;
    let ended = Invocation::new(path, TOOL_LIMIT)
        .arguments(["--version"])
        .environment(machine.tool_environment())
        .run(&mut |stream, line| {
            if stream == Stream::Out {
                answer.get_or_insert_with(|| line.to_owned());
            }
        });
    ended.ok().filter(|ended| ended.is_success())?;
    Some(answer?.split_whitespace().nth(1)?.to_owned())
}

fn memory_mib(field: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

fn gib(mib: Option<u64>) -> String {
    mib.map_or_else(
        || "unknown".to_owned(),
        |mib| format!("{}.{} GiB", mib / 1024, mib % 1024 * 10 / 1024),
    )
}

/// The columns padded to their widest cell; the last one runs free.
fn aligned(rows: &[[String; 4]]) -> String {
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let (first, second, third) = (width(0), width(1), width(2));
    let mut text = String::new();
    for [name, value, origin, place] in rows {
        let line = format!("{name:first$}  {value:second$}  {origin:third$}  {place}");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.trim_end().to_owned()
}
