//! Signals from outside: the rig's hands on a process it started.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Sends SIGKILL. A process that is already gone is what was wanted.
pub fn kill_now(pid: u32) -> Result<(), Errno> {
    match kill(Pid::from_raw(pid as i32), Signal::SIGKILL) {
        Err(Errno::ESRCH) | Ok(()) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Lets a stopped process go on.
pub fn resume(pid: u32) -> Result<(), Errno> {
    kill(Pid::from_raw(pid as i32), Signal::SIGCONT)
}

/// Makes the calling process die with the thread that started it. For use between fork and exec;
/// async-signal-safe.
pub fn die_with_parent() -> std::io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(std::io::Error::from)
}
