//! Ties a process that a launcher crate starts to this rig: the launcher is handed a small script
//! which makes the process die with the thread that spawned it, tells its pid over a pipe, sends
//! its output to a log file, keeps it on loopback, and only then becomes the real program. A
//! watcher thread reports birth and death as events. Never starts or reaps a process itself: the
//! launcher does.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, mkfifo};
use tokio::sync::watch;

use super::error::{ChainError, ProcessName};

const LOG_TAIL_BYTES: u64 = 32 * 1024;

/// The largest file a process may write, in the shell's blocks of 512 bytes: 128 MiB, far more than
/// any file of a regtest pair. RocksDB reserves 280 MB for each new write-ahead log, which a disk
/// grants for nothing, but a folder in memory fills with zeros, and for electrs starts one at every
/// sync. Beyond the limit the reservation fails, and RocksDB does without.
const FILE_LIMIT_BLOCKS: &[u8] = b"262144";

/// Where a tethered process is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Life {
    Unborn,
    Alive { pid: i32 },
    Dead { status: String },
}

/// The script, log and watcher of one process.
pub(super) struct Tether {
    what: ProcessName,
    script: PathBuf,
    log: PathBuf,
    pipe: PathBuf,
    life: watch::Receiver<Life>,
    births: File,
}

impl Tether {
    /// Writes the script for `program` into `work_dir` and starts watching for its birth.
    pub(super) fn prepare(
        what: ProcessName,
        program: &Path,
        work_dir: &Path,
    ) -> Result<Self, ChainError> {
        let script = work_dir.join(format!("{what}.sh"));
        let log = work_dir.join(format!("{what}.log"));
        let pipe = work_dir.join(format!("{what}.births"));
        if let Err(error) = fs::remove_file(&pipe)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(ChainError::from_io(&pipe, &error));
        }
        File::create(&log).map_err(|error| ChainError::from_io(&log, &error))?;
        mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|errno| ChainError::from_io(&pipe, &errno.into()))?;
        // Read and write: opening waits for nobody, and reading never meets an end of file.
        let births = OpenOptions::new().read(true).write(true).open(&pipe);
        let births = births.map_err(|error| ChainError::from_io(&pipe, &error))?;
        let text = script_text(program, &log, &pipe);
        fs::write(&script, text)
            .and_then(|()| fs::set_permissions(&script, fs::Permissions::from_mode(0o700)))
            .map_err(|error| ChainError::from_io(&script, &error))?;
        let (sender, life) = watch::channel(Life::Unborn);
        let reader = births
            .try_clone()
            .map_err(|error| ChainError::from_io(&pipe, &error))?;
        std::thread::Builder::new()
            .name(format!("{what}-watch"))
            .spawn(move || watch_lives(reader, &sender))
            .map_err(|error| not_started(what, &error))?;
        Ok(Self {
            what,
            script,
            log,
            pipe,
            life,
            births,
        })
    }

    /// What to hand to the launcher in place of the program.
    pub(super) fn script(&self) -> &Path {
        &self.script
    }

    /// The pid while the process lives.
    pub(super) fn pid(&self) -> Option<i32> {
        match *self.life.borrow() {
            Life::Alive { pid } => Some(pid),
            Life::Unborn | Life::Dead { .. } => None,
        }
    }

    /// The error to report if the process has died.
    pub(super) fn death(&self) -> Option<ChainError> {
        let status = match &*self.life.borrow() {
            Life::Dead { status } => status.clone(),
            Life::Unborn | Life::Alive { .. } => return None,
        };
        Some(ChainError::from_death(
            self.what,
            status,
            self.log.clone(),
            self.log_tail(),
        ))
    }

    /// Waits until the process has died; for ever if it does not.
    pub(super) async fn died(&self) -> ChainError {
        let mut life = self.life.clone();
        // The sender lives in the watcher thread, which ends only when this tether is dropped.
        let _ = life
            .wait_for(|life| matches!(life, Life::Dead { .. }))
            .await;
        match self.death() {
            Some(error) => error,
            None => ChainError::OwnerGone {
                what: self.what,
                doing: "watching it".to_owned(),
            },
        }
    }

    /// Sends a signal to the living process. Safe against pids used anew: the launcher reaps the
    /// process only when the pair is dropped.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // A process that is just dying is reported by the watcher.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Kills the process, and takes the script away so that no launcher starts another.
    pub(super) fn abandon(&self) {
        let _ = fs::remove_file(&self.script);
        self.signal(Signal::SIGKILL);
    }

    /// The last 32 KiB of the process's output, in lines.
    pub(super) fn log_tail(&self) -> Vec<String> {
        log_tail(&self.log)
    }

    pub(super) fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Tether {
    fn drop(&mut self) {
        // No signal from here on: the launcher may have reaped the process, its pid may be anew.
        let _ = fs::remove_file(&self.script);
        let _ = fs::remove_file(&self.pipe);
        // Ends the watcher, once a process it still waits for is dead.
        let _ = self.births.write_all(b"end\n");
    }
}

fn not_started(what: ProcessName, error: &dyn std::fmt::Display) -> ChainError {
    ChainError::NotStarted {
        what,
        message: error.to_string(),
    }
}

/// Reads pids from the births pipe and waits for each to die, without reaping it.
fn watch_lives(births: File, life: &watch::Sender<Life>) {
    for line in BufReader::new(births).lines() {
        let Some(pid) = line.ok().and_then(|line| line.trim().parse::<i32>().ok()) else {
            return; // "end", or a broken pipe: nobody will be born any more
        };
        life.send_replace(Life::Alive { pid });
        let status = wait_unreaped(pid);
        life.send_replace(Life::Dead { status });
    }
}

fn wait_unreaped(pid: i32) -> String {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    loop {
        return match waitid(Id::Pid(Pid::from_raw(pid)), flags) {
            Err(Errno::EINTR) => continue,
            Ok(WaitStatus::Exited(_, code)) => format!("exit code {code}"),
            Ok(WaitStatus::Signaled(_, signal, _)) => format!("killed by {signal}"),
            Ok(other) => format!("{other:?}"),
            Err(_) => "exit status already collected".to_owned(),
        };
    }
}

fn log_tail(log: &Path) -> Vec<String> {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(str::to_owned).collect()
}

/// The script. It runs twice: first to tie itself to the spawning thread, then, tied, to check
/// that this thread is still there (it may have died in between), and to become the program. A
/// session of its own keeps Ctrl-C in the terminal from reaching the chain before the rig has
/// saved its evidence.
fn script_text(program: &Path, log: &Path, pipe: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    let mut line = |parts: &[&[u8]]| {
        text.extend(parts.concat());
        text.push(b'\n');
    };
    let rig = std::process::id().to_string();
    line(&[b"#!/bin/sh"]);
    line(&[b"# Written by deadbolt: runs the program below, tied to the rig."]);
    line(&[b"exec >>", &quoted(log), b" 2>&1"]);
    line(&[b"if [ \"$DEADBOLT_TIED\" != yes ]; then"]);
    line(&[b"    DEADBOLT_TIED=yes exec setsid setpriv --pdeathsig KILL -- /bin/sh \"$0\" \"$@\""]);
    line(&[b"fi"]);
    line(&[b"unset DEADBOLT_TIED"]);
    line(&[b"if [ \"$PPID\" != ", rig.as_bytes(), b" ]; then"]);
    line(&[b"    echo 'the rig is gone, so this process ends too'"]);
    line(&[b"    exit 97"]);
    line(&[b"fi"]);
    // The electrs launcher listens on every interface; the rig stays on loopback.
    line(&[b"for argument do"]);
    line(&[b"    shift"]);
    line(&[b"    case \"$argument\" in"]);
    line(&[b"        0.0.0.0:*) argument=\"127.0.0.1:${argument#0.0.0.0:}\" ;;"]);
    line(&[b"    esac"]);
    line(&[b"    set -- \"$@\" \"$argument\""]);
    line(&[b"done"]);
    // Without the trap the limit's signal would end the process.
    line(&[b"trap '' XFSZ"]);
    line(&[b"ulimit -f ", FILE_LIMIT_BLOCKS, b" || :"]);
    line(&[b"echo $$ >", &quoted(pipe)]);
    line(&[b"exec ", &quoted(program), b" \"$@\""]);
    text
}

/// A path as one word of the shell, whatever bytes it holds.
fn quoted(path: &Path) -> Vec<u8> {
    let mut word = vec![b'\''];
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'\'' => word.extend(b"'\\''"),
            _ => word.push(byte),
        }
    }
    word.push(b'\'');
    word
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn folder() -> bitcoind::tempfile::TempDir {
        bitcoind::tempfile::Builder::new()
            .prefix("it's a folder ")
            .tempdir()
            .unwrap()
    }

    #[tokio::test]
    async fn a_process_is_reported_at_birth_and_at_death_with_the_end_of_its_log() {
        let folder = folder();
        let mut tether =
            Tether::prepare(ProcessName::Electrs, Path::new("/bin/sh"), folder.path()).unwrap();
        let mut child = Command::new(tether.script())
            .args([
                "-c",
                "echo \"listening on $0\"; read line; exit 3",
                "0.0.0.0:99",
            ])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        tether
            .life
            .wait_for(|life| matches!(life, Life::Alive { .. }))
            .await
            .unwrap();
        assert_eq!(tether.pid(), Some(child.id() as i32));
        assert!(tether.death().is_none());
        drop(child.stdin.take());
        let error = tether.died().await;
        let ChainError::ProcessDied {
            status, log_tail, ..
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!(status, "exit code 3");
        assert_eq!(log_tail, &["listening on 127.0.0.1:99"]);
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_missing_program_is_a_death_that_says_so() {
        let folder = folder();
        let program = folder.path().join("no-such-program");
        let tether = Tether::prepare(ProcessName::Bitcoind, &program, folder.path()).unwrap();
        let mut child = Command::new(tether.script()).spawn().unwrap();
        let error = tether.died().await;
        assert!(error.to_string().contains("exit code 127"), "{error}");
        assert!(error.to_string().contains("no-such-program"), "{error}");
        child.wait().unwrap();
    }

    #[test]
    fn a_reservation_of_hundreds_of_megabytes_is_refused_and_the_process_lives() {
        let folder = folder();
        let tether =
            Tether::prepare(ProcessName::Electrs, Path::new("/bin/sh"), folder.path()).unwrap();
        // Only in memory, where pairs live, does a reservation that keeps the size count against the limit; and it
        // makes no file.
        let memory = bitcoind::tempfile::tempdir_in("/dev/shm").unwrap();
        let file = memory.path().join("log");
        let reserve = ": > \"$0\"; fallocate --keep-size --length 280MB \"$0\"; echo alive";
        let status = Command::new(tether.script())
            .args(["-c", reserve])
            .arg(&file)
            .status();
        assert!(status.unwrap().success());
        let log = fs::read_to_string(&tether.log).unwrap();
        assert!(log.contains("File too large"), "{log}");
        assert!(log.ends_with("alive\n"), "{log}");
    }

    #[test]
    fn an_abandoned_process_is_not_started_again() {
        let folder = folder();
        let tether =
            Tether::prepare(ProcessName::Electrs, Path::new("/bin/true"), folder.path()).unwrap();
        tether.abandon();
        let error = Command::new(tether.script()).status().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        assert_eq!(tether.pid(), None);
    }
}
