//! Starts node processes, all from one thread that lives as long as the rig: a process that asks
//! to die with its parent dies with the *thread* that started it. Never watches or kills them.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::rig_fault::RigFault;

/// The two ends of a node's report pipe. Both are closed on exec; the child opens its own up
/// between fork and exec, so that no other child that is started meanwhile inherits it.
pub(super) struct ReportPipe {
    ours: UnixStream,
    theirs: OwnedFd,
}

impl ReportPipe {
    pub(super) fn new() -> Result<Self, RigFault> {
        let pair = UnixStream::pair().and_then(|(ours, theirs)| {
            ours.set_nonblocking(true)?;
            Ok(ReportPipe {
                ours,
                theirs: theirs.into(),
            })
        });
        pair.map_err(|error| RigFault::machine("make a report pipe", &error))
    }

    /// The descriptor's number in the child.
    pub(super) fn child_fd(&self) -> i32 {
        self.theirs.as_raw_fd()
    }
}

/// What to start.
pub(super) struct Launch {
    /// The node's name, for errors.
    pub(super) node: String,
    /// Program and arguments.
    pub(super) argv: Vec<OsString>,
    /// Working folder.
    pub(super) folder: PathBuf,
    /// File for standard output.
    pub(super) stdout: PathBuf,
    /// File for standard error.
    pub(super) stderr: PathBuf,
    /// Its report pipe.
    pub(super) pipe: ReportPipe,
}

/// A started process, and the rig's end of its report pipe.
pub(super) struct Spawned {
    pub(super) child: Child,
    pub(super) pipe: tokio::net::UnixStream,
}

type Job = Box<dyn FnOnce() + Send>;

static THREAD: Mutex<Option<mpsc::Sender<Job>>> = Mutex::new(None);

/// The thread's inbox; the first call starts the thread.
fn inbox() -> Result<mpsc::Sender<Job>, RigFault> {
    let mut thread = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(inbox) = &*thread {
        return Ok(inbox.clone());
    }
    let (inbox, jobs) = mpsc::channel::<Job>();
    std::thread::Builder::new()
        .name("spawner".to_owned())
        .spawn(move || jobs.iter().for_each(|job| job()))
        .map_err(|error| RigFault::machine("start its spawning thread", &error))?;
    *thread = Some(inbox.clone());
    Ok(inbox)
}

/// Starts a process that dies with the rig.
pub(super) async fn spawn(launch: Launch) -> Result<Spawned, RigFault> {
    let program = program_line(&launch.argv);
    let node = launch.node.clone();
    let not_started = |reason: &dyn std::fmt::Display| RigFault::NotStarted {
        node: node.clone(),
        program: program.clone(),
        reason: reason.to_string(),
    };
    let runtime = Handle::current();
    let (sender, started) = oneshot::channel();
    let job = Box::new(move || {
        let _inside = runtime.enter();
        // A case that has been given up does not wait for its process, which dies with `Child`.
        let _ = sender.send(start(launch));
    });
    let gone = "the spawning thread is gone";
    inbox()?.send(job).map_err(|_| not_started(&gone))?;
    let started = started.await.map_err(|_| not_started(&gone))?;
    started.map_err(|error| not_started(&error))
}

/// The command as a person would type it.
pub(super) fn program_line(argv: &[OsString]) -> String {
    let words: Vec<_> = argv.iter().map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

fn start(launch: Launch) -> std::io::Result<Spawned> {
    let (program, arguments) = launch
        .argv
        .split_first()
        .ok_or_else(|| std::io::Error::other("no program is configured for this kind of node"))?;
    let fd = launch.pipe.child_fd();
    let rig = std::process::id();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(&launch.folder)
        .stdin(Stdio::null())
        .stdout(File::create(&launch.stdout)?)
        .stderr(File::create(&launch.stderr)?)
        // A Ctrl-C in the terminal is the rig's to handle.
        .process_group(0)
        .kill_on_drop(true);
    // SAFETY: between fork and exec only async-signal-safe calls are made (prctl, getppid, fcntl),
    // and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            faults::process::die_with_parent()?;
            // The rig may have died just before that call.
            if nix::unistd::getppid().as_raw() as u32 != rig {
                return Err(std::io::Error::from_raw_os_error(nix::libc::ESRCH));
            }
            let theirs = BorrowedFd::borrow_raw(fd);
            fcntl(theirs, FcntlArg::F_SETFD(FdFlag::empty()))?;
            Ok(())
        });
    }
    let child = command.spawn()?;
    let pipe = tokio::net::UnixStream::from_std(launch.pipe.ours)?;
    Ok(Spawned { child, pipe })
}
