//! The one place where everything that happens in a case is written down, in order of arrival, and
//! where tasks wait for it to happen. Owns the trace and its file; decides nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use faults::{Closing, Condition, PointId};
use tokio::sync::{Notify, watch};

use super::live::{Cut, Live};
use super::rig_fault::{RigFault, Stop};
use crate::evidence::{NodeReport, Phase, RigEntry, Source, TraceEntry};

/// What ends a wait besides what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heed {
    /// A dead node, or a connection that was cut: it has to be brought back first.
    Deaths,
    /// Only a fault of the rig.
    FaultsOnly,
}

/// Why a bounded wait came to nothing.
#[derive(Clone, Debug)]
pub(super) enum WaitEnd {
    /// What else ended it.
    Stop(Stop),
    /// The bound.
    Expired,
}

pub(super) struct Recorder {
    inner: Mutex<Inner>,
    /// Number of changes so far; waiting tasks look again at each.
    changed: watch::Sender<u64>,
    /// A phase has looked and not found what it waits for.
    looked: Notify,
    began: Instant,
}

struct Inner {
    trace: Vec<TraceEntry>,
    live: Live,
    file: File,
    path: PathBuf,
    fault: Option<RigFault>,
    /// What was last waited for, in case the whole case runs out of time.
    waiting_for: String,
    /// The phases' waits, by number, and the change each has looked at in vain.
    waits: BTreeMap<u64, Option<u64>>,
    /// Number of the next wait.
    next_wait: u64,
}

/// A wait of a phase, for as long as it lasts.
struct PhaseWait<'a> {
    recorder: &'a Recorder,
    number: u64,
}

impl Drop for PhaseWait<'_> {
    fn drop(&mut self) {
        self.recorder.inner().waits.remove(&self.number);
    }
}

impl Recorder {
    /// Starts an empty trace in this file.
    pub(super) fn create<'a>(
        path: &Path,
        names: impl IntoIterator<Item = &'a String>,
    ) -> Result<Self, RigFault> {
        let file = File::create(path).map_err(|error| RigFault::folder(path, &error))?;
        Ok(Recorder {
            inner: Mutex::new(Inner {
                trace: Vec::new(),
                live: Live::new(names),
                file,
                path: path.to_path_buf(),
                fault: None,
                waiting_for: "its beginning".to_owned(),
                waits: BTreeMap::new(),
                next_wait: 0,
            }),
            changed: watch::Sender::new(0),
            looked: Notify::new(),
            began: Instant::now(),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Consistent between any two statements.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }

    fn add(&self, inner: &mut Inner, source: Source) -> u64 {
        inner.live.seq += 1;
        let entry = TraceEntry {
            seq: inner.live.seq,
            time_us: self.began.elapsed().as_micros() as u64,
            source,
        };
        // One write a line, so that what is there can be read even after a SIGKILL of the rig.
        let written = serde_json::to_vec(&entry)
            .map_err(std::io::Error::from)
            .and_then(|mut line| {
                line.push(b'\n');
                inner.file.write_all(&line)
            });
        if let Err(error) = written {
            let fault = RigFault::folder(&inner.path, &error);
            inner.fault.get_or_insert(fault);
        }
        inner.trace.push(entry);
        inner.live.seq
    }

    /// Notes something the rig did.
    pub(super) fn rig(&self, did: RigEntry) {
        let mut inner = self.inner();
        match &did {
            RigEntry::StepEnded { label } => {
                inner.live.steps_ended.insert(label.clone());
            }
            RigEntry::ForceClosed { .. } => inner.live.closed_by_fault = true,
            _ => {}
        }
        self.add(&mut inner, Source::Rig { did });
        drop(inner);
        self.notify();
    }

    /// Notes that a phase begins.
    pub(super) fn phase(&self, phase: Phase) {
        self.rig(RigEntry::Phase { phase });
    }

    /// Notes what a node said.
    pub(super) fn report(&self, node: &str, life: u32, report: NodeReport) {
        let mut inner = self.inner();
        let source = Source::Node {
            node: node.to_owned(),
            life,
            report: report.clone(),
        };
        let seq = self.add(&mut inner, source);
        inner.live.take(seq, node, life, &report);
        drop(inner);
        self.notify();
    }

    /// Notes that a node's process was started.
    pub(super) fn started(&self, node: &str, life: u32, pid: u32) {
        let mut inner = self.inner();
        inner.live.node_started(node, life);
        let node = node.to_owned();
        let did = RigEntry::Started { node, life, pid };
        self.add(&mut inner, Source::Rig { did });
        drop(inner);
        self.notify();
    }

    /// Notes that a node's process was killed on purpose.
    pub(super) fn killed(&self, node: &str, life: u32, point: Option<PointId>) {
        let name = node.to_owned();
        let did = RigEntry::Killed {
            node: name,
            life,
            point,
        };
        self.died(node, life, did);
    }

    /// Notes that a node's process ended by itself.
    pub(super) fn exited(&self, node: &str, life: u32, status: String, last_lines: Vec<String>) {
        let did = RigEntry::Exited {
            node: node.to_owned(),
            life,
            status,
            last_lines,
        };
        self.died(node, life, did);
    }

    fn died(&self, node: &str, life: u32, did: RigEntry) {
        let mut inner = self.inner();
        inner.live.node_died(node, life);
        self.add(&mut inner, Source::Rig { did });
        drop(inner);
        self.notify();
    }

    /// Notes that a request is about to be sent: from now on the node is not quiet until it has
    /// handled it.
    pub(super) fn request_sent(&self, node: &str, life: u32, id: u64) {
        if let Some(node) = self.inner().live.of_life(node, life) {
            node.last_request = node.last_request.max(id);
        }
    }

    /// Notes that a frozen process is held for as long as its condition takes.
    pub(super) fn held(&self, node: &str, life: u32, until: &Condition) {
        if let Some(node) = self.inner().live.of_life(node, life) {
            node.held = Some(until.clone());
        }
        self.notify();
    }

    /// Notes that one operation is held for as long as its condition takes.
    pub(super) fn holding(&self, node: &str, life: u32, point: &PointId, until: &Condition) {
        if let Some(node) = self.inner().live.of_life(node, life) {
            node.holding.push((point.clone(), until.clone()));
        }
        self.notify();
    }

    /// Notes that a held operation is told to go on.
    pub(super) fn let_go(&self, node: &str, life: u32, point: &PointId) {
        if let Some(node) = self.inner().live.of_life(node, life) {
            node.holding.retain(|(held, _)| held != point);
        }
        self.notify();
    }

    /// Notes that a frozen process goes on.
    pub(super) fn thawed(&self, node: &str, life: u32) {
        if let Some(node) = self.inner().live.of_life(node, life) {
            node.frozen = None;
            node.held = None;
        }
        self.notify();
    }

    /// Notes whether only the live payments are left.
    pub(super) fn proving(&self, is_proving: bool) {
        self.inner().live.is_proving = is_proving;
    }

    /// Notes that a fault has cut a connection, which is to be made again.
    pub(super) fn cut(&self, node: &str, peer: &str) {
        let mut inner = self.inner();
        let (node, peer) = (node.to_owned(), peer.to_owned());
        let did = RigEntry::Cut {
            node: node.clone(),
            peer: peer.clone(),
        };
        let seq = self.add(&mut inner, Source::Rig { did });
        inner.live.cuts.push(Cut { node, peer, seq });
        drop(inner);
        self.notify();
    }

    /// The connections that were cut; they are about to be made again.
    pub(super) fn take_cuts(&self) -> Vec<Cut> {
        std::mem::take(&mut self.inner().live.cuts)
    }

    /// Notes whether a node is to stay down once it is dead.
    pub(super) fn set_stopped(&self, node: &str, stopped: bool) {
        let mut inner = self.inner();
        match stopped {
            true => inner.live.stopped.insert(node.to_owned()),
            false => inner.live.stopped.remove(node),
        };
        drop(inner);
        self.notify();
    }

    /// Notes that no node is to stay down any more.
    pub(super) fn stop_none(&self) {
        self.inner().live.stopped.clear();
        self.notify();
    }

    /// Notes what a node that is about to be killed is to close as the first thing of its next life.
    pub(super) fn close_when_back(&self, closes: Vec<Closing>) {
        self.inner().live.to_close.extend(closes);
    }

    /// What this node is to close now that it is back.
    pub(super) fn take_closes(&self, node: &str) -> Vec<Closing> {
        let mut inner = self.inner();
        let all = std::mem::take(&mut inner.live.to_close);
        let (its, others) = all.into_iter().partition(|closing| closing.by == node);
        inner.live.to_close = others;
        its
    }

    /// Notes that the rig is at fault; the first such counts. Everybody who waits is told.
    pub(super) fn fault(&self, fault: RigFault) {
        self.inner().fault.get_or_insert(fault);
        self.notify();
    }

    /// Looks at the present state.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Live) -> T) -> T {
        look(&self.inner().live)
    }

    /// The trace so far.
    pub(super) fn trace(&self) -> Vec<TraceEntry> {
        self.inner().trace.clone()
    }

    /// Microseconds since the case began.
    pub(super) fn elapsed_us(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    /// Notes what is being waited for, in case it is the last thing in this case.
    pub(super) fn now_waiting_for(&self, what: &str) {
        what.clone_into(&mut self.inner().waiting_for);
    }

    /// What was last waited for.
    pub(super) fn waiting_for(&self) -> String {
        self.inner().waiting_for.clone()
    }

    /// The fault of the rig, if there is one.
    pub(super) fn fault_so_far(&self) -> Option<RigFault> {
        self.inner().fault.clone()
    }

    /// Waits until `seen` sees what it wants. It is asked again at every change, and only then.
    pub(super) async fn try_wait<T>(
        &self,
        bound: Duration,
        what: &str,
        heed: Heed,
        mut seen: impl FnMut(&Live) -> Option<T>,
    ) -> Result<T, WaitEnd> {
        let mut changes = self.changed.subscribe();
        let deadline = tokio::time::Instant::now() + bound;
        let mut phase_wait = None;
        if heed == Heed::Deaths {
            self.now_waiting_for(what);
            phase_wait = Some(self.begin_phase_wait());
        }
        loop {
            let change = *changes.borrow_and_update();
            {
                let mut inner = self.inner();
                if let Some(fault) = &inner.fault {
                    return Err(WaitEnd::Stop(Stop::Fault(fault.clone())));
                }
                if heed == Heed::Deaths && inner.live.is_interrupted() {
                    return Err(WaitEnd::Stop(Stop::Interrupted));
                }
                if let Some(found) = seen(&inner.live) {
                    return Ok(found);
                }
                if let Some(wait) = &phase_wait {
                    inner.waits.insert(wait.number, Some(change));
                    self.looked.notify_one();
                }
            }
            // The sender is a field of `self`, so the change always comes.
            if tokio::time::timeout_at(deadline, changes.changed())
                .await
                .is_err()
            {
                return Err(WaitEnd::Expired);
            }
        }
    }

    fn begin_phase_wait(&self) -> PhaseWait<'_> {
        let mut inner = self.inner();
        let number = inner.next_wait;
        inner.next_wait += 1;
        inner.waits.insert(number, None);
        PhaseWait {
            recorder: self,
            number,
        }
    }

    /// Waits until a phase of the case waits, has looked at all there is in vain, and `seen` sees what it
    /// wants: so nobody else is about to act. For one task only.
    pub(super) async fn while_a_phase_waits<T>(
        &self,
        mut seen: impl FnMut(&Live) -> Option<T>,
    ) -> T {
        loop {
            {
                let inner = self.inner();
                let last = Some(*self.changed.borrow());
                let in_vain = inner.waits.values().all(|looked_at| *looked_at == last);
                if in_vain
                    && !inner.waits.is_empty()
                    && let Some(found) = seen(&inner.live)
                {
                    return found;
                }
            }
            self.looked.notified().await;
        }
    }

    /// As [`Recorder::try_wait`]; running out of time is a fault of the rig that says what was
    /// missing and where every node stood.
    pub(super) async fn wait<T>(
        &self,
        bound: Duration,
        what: &str,
        heed: Heed,
        seen: impl FnMut(&Live) -> Option<T>,
    ) -> Result<T, Stop> {
        match self.try_wait(bound, what, heed, seen).await {
            Ok(found) => Ok(found),
            Err(WaitEnd::Stop(stop)) => Err(stop),
            Err(WaitEnd::Expired) => Err(Stop::Fault(RigFault::NothingCame {
                missing: what.to_owned(),
                waited_ms: bound.as_millis() as u64,
                standing: self.look(Live::describe),
            })),
        }
    }
}
