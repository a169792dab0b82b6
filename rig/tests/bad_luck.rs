//! Bad input and bad luck, at the level of the command: nothing is started for a bad scenario, a
//! failing part is a rig fault, and no process outlives the rig.

mod common;

use std::io::{BufRead, BufReader, Lines};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStderr};

use common::{Logs, workspace};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn a_bad_scenario_is_refused_with_file_line_and_column_and_nothing_is_started() {
    let logs = Logs::new();
    let file = logs.0.path().join("bad.toml");
    let good = std::fs::read_to_string(workspace().join("scenarios/direct.toml")).unwrap();
    std::fs::write(&file, good.replace("to = \"B\"", "to = \"Z\"\ncolour = 3")).unwrap();
    let ended = logs
        .deadbolt(&["run", file.to_str().unwrap()])
        .expect_code(97);
    assert!(ended.stderr.contains("bad.toml:"), "{ended}");
    assert!(ended.stderr.contains("colour"), "{ended}");
    let runs = std::fs::read_dir(logs.0.path()).unwrap().flatten();
    let runs: Vec<_> = runs.filter(|entry| entry.path().is_dir()).collect();
    assert!(runs.is_empty(), "something was started: {runs:?}");
}

#[test]
fn an_unknown_scenario_an_unknown_point_and_an_unknown_node_are_told_apart() {
    let logs = Logs::new();
    let ended = logs.deadbolt(&["run", "forwrad"]).expect_code(97);
    assert!(ended.stderr.contains("forward"), "no hint: {ended}");
    let ended = logs.deadbolt(&["run", "direct", "--kill", "B:persist.nonsense.before@1"]);
    assert_eq!(ended.code, 97, "{ended}");
    let ended = logs.deadbolt(&["run", "direct", "--kill", "Z:persist.manager.before@1"]);
    assert_eq!(ended.code, 97, "{ended}");
}

/// A program that answers `--version` as a good one does and then does not do its work.
fn broken_program(folder: &Path, name: &str, version: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *version*) echo '{version}'; exit 0;; esac\necho 'no space left on device' >&2\nexit 1\n"
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_bitcoind_that_dies_at_once_is_a_rig_fault_with_its_reason() {
    let logs = Logs::new();
    let bitcoind = broken_program(
        logs.0.path(),
        "bitcoind",
        "Bitcoin Core daemon version v30.0.0",
    );
    let mut command = logs.command(&["run", "direct", "--json"]);
    let output = command.env("BITCOIND_EXE", &bitcoind).output().unwrap();
    let ended = common::Ended::of(output).expect_code(100);
    assert!(ended.stderr.contains("bitcoind"), "{ended}");
    assert_eq!(ended.json()["rig_fault"], 1, "{ended}");
}

/// All processes whose environment names this folder: those the rig started for it.
fn processes_of(mark: &str) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else {
            continue;
        };
        if String::from_utf8_lossy(&environment).contains(mark) {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.push((pid, name.trim().to_owned()));
        }
    }
    found
}

/// Waits for the end of a process by its descriptor, at most 20 seconds.
fn wait_gone(pid: i32) {
    let raw = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
    if raw < 0 {
        return;
    }
    // SAFETY: the system call has just made this descriptor for us.
    let fd = unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(raw as i32) };
    let mut poll = nix::libc::pollfd {
        fd: std::os::fd::AsRawFd::as_raw_fd(&fd),
        events: nix::libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one valid entry, and its number is one.
    let ready = unsafe { nix::libc::poll(&raw mut poll, 1, 20_000) };
    assert_eq!(ready, 1, "process {pid} outlives the rig");
}

/// A rig at work, and what it has not said yet.
struct AtWork {
    rig: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl AtWork {
    /// Starts a campaign and waits until nodes and chains are at work: until the first case fails. (So these are
    /// campaigns on stock nodes.)
    fn start(logs: &Logs, arguments: &[&str], mark: &str) -> Self {
        let mut command = logs.command(arguments);
        let mut rig = command.env("DEADBOLT_TEST_MARK", mark).spawn().unwrap();
        let mut lines = BufReader::new(rig.stderr.take().unwrap()).lines();
        let working = lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("FAIL"));
        assert!(working, "the campaign never got going");
        AtWork { rig, lines }
    }

    /// Waits for its end. Its pipe must not block it while it says what it has.
    fn end(self) -> common::Ended {
        let AtWork { rig, lines } = self;
        let rest = std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .fold(String::new(), |said, line| said + &line + "\n")
        });
        let mut ended = common::Ended::of(rig.wait_with_output().unwrap());
        ended.stderr = rest.join().unwrap();
        ended
    }
}

fn a_signal_leaves_no_process(signal: Signal, mark: &str) -> Logs {
    let logs = Logs::new();
    let arguments = ["explore", "direct", "--kind", "stock", "--json"];
    let at_work = AtWork::start(&logs, &arguments, mark);
    let children = processes_of(mark);
    assert!(
        children
            .iter()
            .any(|(_, name)| name.contains("bitcoin") || name.contains("b-")),
        "{children:?}"
    );
    kill(Pid::from_raw(at_work.rig.id() as i32), signal).unwrap();
    at_work.end();
    for (pid, _) in children {
        wait_gone(pid);
    }
    let left = processes_of(mark);
    assert!(left.is_empty(), "left behind: {left:?}");
    logs
}

fn evidence_so_far_is_readable(logs: &Logs) {
    let run = std::fs::read_dir(logs.0.path()).unwrap().flatten();
    let run = run
        .map(|entry| entry.path())
        .find(|path| path.join("run.json").exists());
    let run = run.expect("the run's folder");
    let verdicts = std::fs::read_to_string(run.join("verdicts.jsonl")).unwrap();
    let whole: Vec<serde_json::Value> = verdicts
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert!(!whole.is_empty(), "no verdict was saved");
    let name = run.file_name().unwrap().to_str().unwrap();
    let judged = logs.deadbolt(&["judge", name, "--json"]);
    assert!(judged.code == 1, "{judged}");
}

#[test]
fn a_sigkill_of_the_rig_leaves_no_process_and_its_evidence_readable() {
    let logs = a_signal_leaves_no_process(Signal::SIGKILL, "mark-sigkill-7f3a");
    evidence_so_far_is_readable(&logs);
}

#[test]
fn ctrl_c_leaves_no_process_and_the_evidence_so_far_readable() {
    let logs = a_signal_leaves_no_process(Signal::SIGINT, "mark-sigint-91c2");
    evidence_so_far_is_readable(&logs);
}

#[test]
fn a_bitcoind_killed_in_mid_campaign_costs_at_most_its_cases_and_the_campaign_goes_on() {
    let logs = Logs::new();
    let mark = "mark-bitcoind-5be0";
    let arguments = [
        "explore",
        "direct",
        "--kind",
        "stock",
        "--node",
        "A",
        "--json",
        "--workers",
        "2",
    ];
    let at_work = AtWork::start(&logs, &arguments, mark);
    let chains = processes_of(mark);
    let bitcoinds = chains.iter().filter(|(_, name)| name == "bitcoind");
    for (pid, _) in bitcoinds {
        kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
    }
    let ended = at_work.end().expect_code(1);
    let summary = ended.json();
    // A pair that dies between two cases is replaced and costs none.
    let number = |key: &str| summary[key].as_u64().unwrap();
    assert!(number("rig_fault") <= 4, "{ended}");
    assert!(number("pass") > 5, "{ended}");
    let ends = number("pass") + number("fail") + number("not_run") + number("rig_fault");
    assert_eq!(ends, number("cases"), "{ended}");
    assert!(number("cases") > 20, "the campaign broke off: {ended}");
}

/// Whether a process is stopped, as a frozen node is.
fn is_stopped(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_some_and(|rest| rest.starts_with('T'))
}

#[test]
fn a_bitcoind_killed_in_mid_case_is_a_rig_fault_with_its_reason() {
    let logs = Logs::new();
    let mark = "mark-midcase-c41d";
    // The node stands still long enough for the kill to come in the middle of the case.
    let fault =
        r#"{"at":"B:persist.monitor_update.before[A-B]@2","action":"delay","delay_ms":8000}"#;
    let mut command = logs.command(&["run", "direct", "--json", "--fault", fault]);
    let rig = command.env("DEADBOLT_TEST_MARK", mark).spawn().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let processes = loop {
        let processes = processes_of(mark);
        if processes.iter().any(|(pid, _)| is_stopped(*pid)) {
            break processes;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "no node was frozen: {processes:?}"
        );
        std::thread::yield_now();
    };
    for (pid, _) in processes.iter().filter(|(_, name)| name == "bitcoind") {
        kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
    }
    let ended = common::Ended::of(rig.wait_with_output().unwrap()).expect_code(100);
    assert_eq!(ended.json()["rig_fault"], 1, "{ended}");
    assert!(
        ended.stderr.contains("bitcoind"),
        "no reason given: {ended}"
    );
}
