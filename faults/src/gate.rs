//! The process's side of crash points: counts hits, reports them, and stops where it was told to.
//!
//! Owns the process's report pipe (every other report goes through [`emit`] so that lines never
//! mix). Without the `crash-points` feature [`point`] is an empty inline function and no point name
//! is in the binary; the pipe works all the same.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, OnceLock, PoisonError};

use serde::Serialize;

/// What the caller of a point has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an operation that was told to fail must not be done"]
pub enum Outcome {
    /// Go on.
    Continue,
    /// Return an error in place of doing it.
    Fail,
}

static PIPE: OnceLock<Mutex<UnixStream>> = OnceLock::new();

/// Takes over the report pipe that the rig handed to this process. Only the first call counts.
pub fn open_pipe(pipe: OwnedFd) {
    // Nothing is lost by a second call: the first pipe stays.
    let _ = PIPE.set(Mutex::new(UnixStream::from(pipe)));
}

/// Writes one report line, in order with all others. Without a pipe (a node run by hand) it is
/// dropped. A rig that has gone away takes its nodes with it, so a write error is nobody's news.
pub fn emit(report: &impl Serialize) {
    let Some(pipe) = PIPE.get() else { return };
    let Ok(mut line) = serde_json::to_vec(report) else {
        return;
    };
    line.push(b'\n');
    let mut pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = pipe.write_all(&line);
}

#[cfg(feature = "crash-points")]
pub use armed::{arm, begin_input, point, point_on_own_thread, release, take_request};

#[cfg(not(feature = "crash-points"))]
pub use absent::{arm, begin_input, point, point_on_own_thread, release, take_request};

#[cfg(feature = "crash-points")]
mod armed {
    use std::collections::{HashMap, VecDeque};
    use std::fmt::Display;
    use std::io::{BufRead, BufReader};
    use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

    use super::{Outcome, PIPE, emit};
    use crate::point::PointId;
    use crate::wire::{ArmedPoint, GateOrder, GateReport, Response};

    #[derive(Default)]
    struct Gate {
        counting: bool,
        input: u64,
        hits: HashMap<(String, String), u32>,
        armed: Vec<ArmedPoint>,
        held: Vec<PointId>,
    }

    static GATE: Mutex<Option<Gate>> = Mutex::new(None);
    static RELEASED: Condvar = Condvar::new();
    /// Requests that came with an order to go on.
    static REQUESTS: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

    fn gate() -> MutexGuard<'static, Option<Gate>> {
        GATE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts counting from nothing with these points armed, in place of all earlier ones. Until
    /// the first call no point is counted or reported.
    pub fn arm(points: Vec<ArmedPoint>) {
        let mut guard = gate();
        let input = guard.as_ref().map_or(0, |gate| gate.input);
        // What an earlier arming holds is armed no more.
        RELEASED.notify_all();
        *guard = Some(Gate {
            counting: true,
            input,
            armed: points,
            ..Gate::default()
        });
    }

    /// Says that the process begins to handle its next input (a message, a command, a block).
    pub fn begin_input() {
        if let Some(gate) = gate().as_mut() {
            gate.input += 1;
        }
    }

    /// Lets a held operation go on; `true` if one was held there.
    pub fn release(point: &PointId) -> bool {
        let mut guard = gate();
        let Some(gate) = guard.as_mut() else {
            return false;
        };
        let before = gate.held.len();
        gate.held.retain(|held| held != point);
        let found = gate.held.len() < before;
        RELEASED.notify_all();
        found
    }

    /// The next request that a fault has put before all other inputs, in JSON.
    pub fn take_request() -> Option<String> {
        let mut requests = REQUESTS.lock().unwrap_or_else(PoisonError::into_inner);
        requests.pop_front()
    }

    fn hit(name: &str, role: &dyn Display) -> Option<(PointId, Option<Response>)> {
        let mut guard = gate();
        let gate = guard.as_mut().filter(|gate| gate.counting)?;
        let role = role.to_string();
        let hits = gate
            .hits
            .entry((name.to_owned(), role.clone()))
            .or_insert(0);
        *hits += 1;
        let point = PointId {
            name: name.to_owned(),
            role,
            hit: *hits,
        };
        let response = gate
            .armed
            .iter()
            .find(|armed| armed.point == point)
            .map(|a| a.response);
        if response == Some(Response::Hold) {
            gate.held.push(point.clone());
        }
        emit(&GateReport::Point {
            point: point.clone(),
            input: gate.input,
        });
        Some((point, response))
    }

    /// Passes a crash point on the thread that runs the node.
    pub fn point(name: &str, role: &dyn Display) -> Outcome {
        match hit(name, role) {
            None | Some((_, None)) => Outcome::Continue,
            Some((point, Some(Response::Fail))) => {
                emit(&GateReport::Failed { point });
                Outcome::Fail
            }
            Some((point, Some(Response::Freeze | Response::Hold))) => freeze(point),
        }
    }

    /// Passes a crash point on a thread of its own, where a hold stops that thread only.
    /// `on_held` is called once if it is held, before it waits.
    pub fn point_on_own_thread(name: &str, role: &dyn Display, on_held: impl FnOnce()) -> Outcome {
        match hit(name, role) {
            None | Some((_, None)) => Outcome::Continue,
            Some((point, Some(Response::Fail))) => {
                emit(&GateReport::Failed { point });
                Outcome::Fail
            }
            Some((point, Some(Response::Freeze))) => freeze(point),
            Some((point, Some(Response::Hold))) => {
                on_held();
                emit(&GateReport::Held {
                    point: point.clone(),
                });
                let mut guard = gate();
                while guard
                    .as_ref()
                    .is_some_and(|gate| gate.held.contains(&point))
                {
                    guard = RELEASED.wait(guard).unwrap_or_else(PoisonError::into_inner);
                }
                Outcome::Continue
            }
        }
    }

    /// Stops the whole process, all threads of it, until the rig's SIGCONT; then obeys its order.
    fn freeze(point: PointId) -> Outcome {
        emit(&GateReport::Frozen { point });
        // With no rig to wake it up a stopped process would stand for ever.
        let Some(pipe) = PIPE.get() else {
            return Outcome::Continue;
        };
        if nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP).is_err() {
            std::process::abort();
        }
        let reader = {
            let pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner);
            pipe.try_clone()
        };
        let mut line = String::new();
        let read = reader.and_then(|pipe| BufReader::with_capacity(1, pipe).read_line(&mut line));
        match (read, serde_json::from_str::<GateOrder>(&line)) {
            (Ok(_), Ok(GateOrder::Continue)) => Outcome::Continue,
            (Ok(_), Ok(GateOrder::Then(requests))) => {
                let mut waiting = REQUESTS.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.extend(requests);
                Outcome::Continue
            }
            (Ok(_), Ok(GateOrder::Fail)) => Outcome::Fail,
            // The rig is gone, or speaks another language: a frozen process must not run on alone.
            _ => std::process::abort(),
        }
    }
}

#[cfg(not(feature = "crash-points"))]
mod absent {
    use std::fmt::Display;

    use super::Outcome;
    use crate::point::PointId;
    use crate::wire::ArmedPoint;

    /// Does nothing: this build has no points.
    #[inline(always)]
    pub fn arm(_points: Vec<ArmedPoint>) {}

    /// Does nothing: this build has no points.
    #[inline(always)]
    pub fn begin_input() {}

    /// Does nothing: this build has no points.
    #[inline(always)]
    pub fn release(_point: &PointId) -> bool {
        false
    }

    /// None: this build has no points.
    #[inline(always)]
    pub fn take_request() -> Option<String> {
        None
    }

    /// Goes on: this build has no points.
    #[inline(always)]
    pub fn point(_name: &str, _role: &dyn Display) -> Outcome {
        Outcome::Continue
    }

    /// Goes on: this build has no points.
    #[inline(always)]
    pub fn point_on_own_thread(
        _name: &str,
        _role: &dyn Display,
        _on_held: impl FnOnce(),
    ) -> Outcome {
        Outcome::Continue
    }
}

/// Whether this build has crash points at all.
pub const HAS_POINTS: bool = cfg!(feature = "crash-points");
