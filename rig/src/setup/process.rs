//! Runs one program to its end, line by line and within a limit. Owns the child's life: it is
//! reaped on every path and can be made to die with us. It never decides what an output means.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, getpid, getppid};

/// How long output may still come from a grandchild once the program itself has ended.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// How long a program that was told to end may take before it is killed.
const TERMINATE_LIMIT: Duration = Duration::from_secs(10);

/// One program to run. Its environment is exactly `environment`: nothing is inherited.
pub struct Invocation {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    limit: Duration,
    dies_with_us: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Out,
    Err,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Exit(ExitStatus),
    /// It was still running at its limit and has been stopped.
    TimedOut(Duration),
}

enum Event {
    Line(Stream, String),
    Closed,
    Exited,
}

impl Invocation {
    /// A program that may run for `limit` and is stopped if this process dies first.
    pub fn new(program: impl Into<PathBuf>, limit: Duration) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: None,
            limit,
            dies_with_us: true,
        }
    }

    pub fn arguments<I, A>(mut self, arguments: I) -> Self
    where
        I: IntoIterator<Item = A>,
        A: AsRef<OsStr>,
    {
        let arguments = arguments.into_iter();
        self.arguments
            .extend(arguments.map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub fn environment(mut self, environment: Vec<(OsString, OsString)>) -> Self {
        self.environment = environment;
        self
    }

    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.retain(|(present, _)| present != name);
        self.environment.push((name.into(), value.into()));
        self
    }

    pub fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// For a package manager: stopping it half-way would leave the machine's packages broken.
    pub fn outlives_us(mut self) -> Self {
        self.dies_with_us = false;
        self
    }

    /// Runs the program and hands every line of its output to `on_line`, on this thread.
    ///
    /// # Errors
    /// The program could not be started. How it ended is the value, not an error.
    pub fn run(&self, on_line: &mut dyn FnMut(Stream, &str)) -> io::Result<Ended> {
        let mut child = self.spawn()?;
        let (sender, events) = mpsc::channel();
        if let Some(output) = child.stdout.take() {
            read_lines(output, Stream::Out, sender.clone());
        }
        if let Some(output) = child.stderr.take() {
            read_lines(output, Stream::Err, sender.clone());
        }
        announce_exit(&child, sender);
        let exited = follow(&events, Instant::now() + self.limit, on_line);
        if exited {
            return Ok(Ended::Exit(child.wait()?));
        }
        stop(child, &events)?;
        Ok(Ended::TimedOut(self.limit))
    }

    fn spawn(&self) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        if self.dies_with_us {
            let parent = getpid();
            // SAFETY: the closure makes two system calls and allocates nothing, so it is sound
            // between fork and exec even when other threads hold locks.
            unsafe {
                command.pre_exec(move || {
                    prctl::set_pdeathsig(Signal::SIGTERM)?;
                    // The parent may have died before the request was in place.
                    if getppid() == parent {
                        Ok(())
                    } else {
                        Err(io::Error::from(io::ErrorKind::BrokenPipe))
                    }
                });
            }
        }
        command.spawn()
    }
}

impl Ended {
    pub fn is_success(self) -> bool {
        matches!(self, Self::Exit(status) if status.success())
    }

    /// The end as the second half of a sentence: `ended with exit code 2`.
    pub fn describe(self) -> String {
        match self {
            Self::TimedOut(limit) => format!("did not end within {limit:?} and was stopped"),
            Self::Exit(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("ended with exit code {code}"),
                (None, Some(signal)) => format!("was ended by signal {signal}"),
                (None, None) => "ended for an unknown reason".to_owned(),
            },
        }
    }
}

fn read_lines(output: impl Read + Send + 'static, stream: Stream, sender: Sender<Event>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(output);
        let mut bytes = Vec::new();
        while matches!(reader.read_until(b'\n', &mut bytes), Ok(count) if count > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            if sender.send(Event::Line(stream, line)).is_err() {
                return;
            }
            bytes.clear();
        }
        // The receiver is gone when nobody cares for the rest.
        let _ = sender.send(Event::Closed);
    });
}

/// Announces the exit without reaping, so that the pid stays the child's until `wait` is called.
fn announce_exit(child: &Child, sender: Sender<Event>) {
    let pid = pid_of(child);
    thread::spawn(move || {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(pid), flags) == Err(nix::errno::Errno::EINTR) {}
        let _ = sender.send(Event::Exited);
    });
}

/// Hands on lines until the program has ended and its output is complete; false at the deadline.
fn follow(
    events: &Receiver<Event>,
    deadline: Instant,
    on_line: &mut dyn FnMut(Stream, &str),
) -> bool {
    let mut deadline = deadline;
    let mut exited = false;
    let mut open_streams = 2;
    while !exited || open_streams > 0 {
        match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Line(stream, line)) => on_line(stream, &line),
            Ok(Event::Closed) => open_streams -= 1,
            Ok(Event::Exited) => {
                exited = true;
                deadline = deadline.min(Instant::now() + DRAIN_LIMIT);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return exited,
        }
    }
    exited
}

fn stop(mut child: Child, events: &Receiver<Event>) -> io::Result<()> {
    // Asked first, because ninja and cargo then end the compilers they started. A failure means
    // that it has just ended.
    let _ = kill(pid_of(&child), Signal::SIGTERM);
    if !follow(events, Instant::now() + TERMINATE_LIMIT, &mut |_, _| ()) {
        child.kill()?;
        follow(events, Instant::now() + TERMINATE_LIMIT, &mut |_, _| ());
    }
    child.wait().map(drop)
}

fn pid_of(child: &Child) -> Pid {
    // Linux pids are below 2^22, so the cast is lossless.
    Pid::from_raw(child.id() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Invocation {
        Invocation::new("/bin/sh", limit).arguments(["-c", script])
    }

    #[test]
    fn lines_of_both_streams_and_the_exit_code_arrive() {
        let mut lines = Vec::new();
        let ended = shell("echo out; echo err >&2; exit 3", Duration::from_secs(20))
            .run(&mut |stream, line| lines.push((stream, line.to_owned())))
            .unwrap();
        assert_eq!(ended.describe(), "ended with exit code 3");
        assert!(lines.contains(&(Stream::Out, "out".to_owned())));
        assert!(lines.contains(&(Stream::Err, "err".to_owned())));
    }

    #[test]
    fn a_program_that_never_ends_is_stopped_at_its_limit() {
        let mut pid = String::new();
        let ended = shell(
            "echo $$; exec /usr/bin/tail -f /dev/null",
            Duration::from_millis(300),
        )
        .run(&mut |_, line| pid = line.to_owned())
        .unwrap();
        assert!(!ended.is_success());
        assert!(ended.describe().contains("did not end within"));
        assert!(!Path::new("/proc").join(pid).exists());
    }

    #[test]
    fn a_program_sees_only_the_environment_it_was_given() {
        let mut lines = Vec::new();
        Invocation::new("/usr/bin/env", Duration::from_secs(20))
            .variable("ONLY", "this")
            .run(&mut |_, line| lines.push(line.to_owned()))
            .unwrap();
        assert_eq!(lines, ["ONLY=this"]);
    }

    #[test]
    fn a_program_that_cannot_be_started_is_an_error() {
        let missing = Invocation::new("/does/not/exist", Duration::from_secs(1));
        assert_eq!(
            missing.run(&mut |_, _| ()).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
