//! Watches over one life of a node's process: takes its reports, carries out the plan's faults on
//! it, and notes how it ended. Never starts a process and never talks to its control socket but to
//! release what a fault held.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use faults::{Action, Closing, Condition, Fault, GateOrder, GateReport, PointId};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use node_bin::api::Command;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::closer::Closer;
use super::control::Control;
use super::cutter::Cutter;
use super::live::Live;
use super::recorder::{Heed, Recorder};
use super::rig_fault::RigFault;
use super::scratch::CaseScratch;
use super::settle::is_of_live_payment;
use super::spawner::Spawned;
use crate::evidence::{NodeReport, RigEntry};

/// How much of a line, and how many lines, are worth repeating.
const LINE_CHARACTERS: usize = 300;
const LAST_LINES: usize = 20;

/// Longer than any case: a hold lasts until its condition comes true or the case is over.
const FOR_EVER: Duration = Duration::from_secs(24 * 3_600);

/// What the rig wants of a process, besides the plan's faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// A SIGKILL, as part of the case.
    Kill,
    /// The case is over.
    End,
}

/// One life of a node's process.
pub(super) struct Supervisor {
    pub(super) node: String,
    pub(super) life: u32,
    pub(super) recorder: Arc<Recorder>,
    pub(super) scratch: Arc<CaseScratch>,
    /// The plan's faults for this node in this life.
    pub(super) faults: Vec<Fault>,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    /// Once the rig is connected to it.
    pub(super) control: watch::Receiver<Option<Arc<Control>>>,
    pub(super) stderr: PathBuf,
    /// How long the process may take to be gone once its pipe is closed.
    pub(super) exit_bound: Duration,
    /// Has connections of the node dropped by the other side.
    pub(super) cutter: Cutter,
    /// Has channels of the node closed.
    pub(super) closer: Closer,
}

/// How the watch over a process goes on.
enum Next {
    Watch,
    /// It was sent a SIGKILL, at this point if at one.
    Killed(Option<PointId>),
    /// Its report pipe is closed.
    Closed,
    /// The case is over.
    End,
    Fault(RigFault),
}

impl Supervisor {
    /// Watches until the process is gone, then notes it.
    pub(super) async fn run(mut self, spawned: Spawned) {
        let Spawned { mut child, pipe } = spawned;
        let (reader, mut writer) = pipe.into_split();
        let mut lines = BufReader::new(reader).lines();
        let mut holds = JoinSet::new();
        let mut killed = None;
        loop {
            match self
                .next(&mut lines, &mut writer, &mut child, &mut holds)
                .await
            {
                Next::Watch => {}
                // What it had said before is still in the pipe: read on to its end.
                Next::Killed(point) => {
                    let _ = killed.get_or_insert(point);
                }
                Next::Closed => break,
                Next::End => {
                    // Reaped by the runtime if not here.
                    let _ = tokio::time::timeout(self.exit_bound, child.wait()).await;
                    return;
                }
                Next::Fault(fault) => {
                    self.recorder.fault(fault);
                    let _ = child.start_kill();
                    let _ = tokio::time::timeout(self.exit_bound, child.wait()).await;
                    return;
                }
            }
        }
        holds.abort_all();
        self.bury(child, killed).await;
    }

    async fn next(
        &mut self,
        lines: &mut Lines<BufReader<OwnedReadHalf>>,
        writer: &mut OwnedWriteHalf,
        child: &mut Child,
        holds: &mut JoinSet<()>,
    ) -> Next {
        tokio::select! {
            line = lines.next_line() => match line {
                Ok(Some(line)) => self.take(&line, writer, child, holds).await,
                Ok(None) | Err(_) => Next::Closed,
            },
            Some(order) = self.orders.recv() => obey(order, child, self.frozen_at()),
        }
    }

    fn frozen_at(&self) -> Option<PointId> {
        let look = |live: &Live| live.nodes.get(&self.node)?.frozen.clone();
        self.recorder.look(look)
    }

    async fn take(
        &mut self,
        line: &str,
        writer: &mut OwnedWriteHalf,
        child: &mut Child,
        holds: &mut JoinSet<()>,
    ) -> Next {
        let report = match serde_json::from_str::<NodeReport>(line) {
            Ok(report) => report,
            Err(error) => {
                return Next::Fault(RigFault::UnreadableReport {
                    node: self.node.clone(),
                    life: self.life,
                    line: line.chars().take(LINE_CHARACTERS).collect(),
                    reason: error.to_string(),
                });
            }
        };
        self.recorder.report(&self.node, self.life, report.clone());
        match report {
            NodeReport::Gate(GateReport::Frozen { point }) => {
                self.frozen(point, writer, child).await
            }
            NodeReport::Gate(GateReport::Held { point }) => {
                self.let_go_in_time(point, holds);
                Next::Watch
            }
            _ => Next::Watch,
        }
    }

    fn fault_at(&self, point: &PointId) -> Option<&Fault> {
        self.faults.iter().find(|fault| fault.at.point == *point)
    }

    /// The process stands, or is about to: what does the plan say?
    async fn frozen(
        &mut self,
        point: PointId,
        writer: &mut OwnedWriteHalf,
        child: &mut Child,
    ) -> Next {
        let action = self.fault_at(&point).map(|fault| fault.action.clone());
        if action
            .as_ref()
            .is_some_and(|action| self.is_passed_over(action, &point))
        {
            let (node, life) = (self.node.clone(), self.life);
            self.recorder
                .rig(RigEntry::PassedOver { node, life, point });
            return self.thaw(GateOrder::Continue, writer, child).await;
        }
        match action {
            Some(Action::Kill) => return kill(child, Some(point)),
            Some(Action::Delay { delay_ms }) => {
                let delay = Duration::from_millis(delay_ms);
                tokio::select! {
                    // Bounded by the delay on purpose: the wait for its end is what passes it.
                    gone = tokio::time::timeout(delay, child.wait()) => if gone.is_ok() {
                        return Next::Watch;
                    },
                    Some(order) = self.orders.recv() => return obey(order, child, Some(point)),
                }
            }
            Some(Action::Hold { until }) => {
                self.recorder.held(&self.node, self.life, &until);
                let recorder = Arc::clone(&self.recorder);
                tokio::select! {
                    came = comes_true(&recorder, &until) => if !came {
                        return Next::Watch;
                    },
                    _ = child.wait() => return Next::Watch,
                    Some(order) = self.orders.recv() => return obey(order, child, Some(point)),
                }
            }
            Some(Action::Disconnect) => tokio::select! {
                () = self.cutter.cut(&point) => {}
                _ = child.wait() => return Next::Watch,
                Some(order) = self.orders.recv() => return obey(order, child, Some(point)),
            },
            Some(Action::Close { closes, kill }) => {
                return self.close(point, &closes, kill, writer, child).await;
            }
            Some(Action::Fail) | None => {
                return Next::Fault(RigFault::UnplannedFreeze {
                    node: self.node.clone(),
                    life: self.life,
                    point,
                });
            }
        }
        self.thaw(GateOrder::Continue, writer, child).await
    }

    /// Whether the scenario is over, and with it what a fault that is not about a live payment was meant for. The
    /// point of one that not all runs pass can lie there.
    fn is_passed_over(&self, action: &Action, point: &PointId) -> bool {
        let is_blow = matches!(
            action,
            Action::Kill | Action::Disconnect | Action::Close { .. }
        );
        is_blow && !is_of_live_payment(&point.role) && self.recorder.look(|live| live.is_proving)
    }

    /// The process stands, and channels of it close.
    async fn close(
        &mut self,
        point: PointId,
        closes: &[Closing],
        is_killed: bool,
        writer: &mut OwnedWriteHalf,
        child: &mut Child,
    ) -> Next {
        let requests = tokio::select! {
            closed = self.closer.close(closes) => match closed {
                Ok(requests) => requests,
                Err(fault) => return Next::Fault(fault),
            },
            _ = child.wait() => return Next::Watch,
            Some(order) = self.orders.recv() => return obey(order, child, Some(point)),
        };
        if is_killed {
            let own = closes.iter().filter(|closing| closing.by == self.node);
            self.recorder.close_when_back(own.cloned().collect());
            return kill(child, Some(point));
        }
        self.closer.note_own(closes);
        let order = match requests.is_empty() {
            true => GateOrder::Continue,
            false => GateOrder::Then(requests),
        };
        self.thaw(order, writer, child).await
    }

    /// Lets a frozen process go on.
    async fn thaw(&self, order: GateOrder, writer: &mut OwnedWriteHalf, child: &Child) -> Next {
        let Some(pid) = child.id() else {
            return Next::Watch;
        };
        // It reports first and stops then: a signal to go on that came between would be lost.
        let stands = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let stood =
            tokio::task::spawn_blocking(move || waitid(Id::Pid(Pid::from_raw(pid as i32)), stands));
        let _ = stood.await;
        let Ok(mut order) = serde_json::to_vec(&order) else {
            return Next::Watch;
        };
        order.push(b'\n');
        self.recorder.thawed(&self.node, self.life);
        // A process that has died meanwhile closes its pipe, and that is seen next.
        let _ = writer.write_all(&order).await;
        let _ = faults::process::resume(pid);
        Next::Watch
    }

    /// One operation is held: releases it when the plan's condition comes true.
    fn let_go_in_time(&self, point: PointId, holds: &mut JoinSet<()>) {
        let Some(Action::Hold { until }) = self.fault_at(&point).map(|fault| &fault.action) else {
            return;
        };
        let (until, recorder) = (until.clone(), Arc::clone(&self.recorder));
        let held_at = point.clone();
        let (node, life, mut control) = (self.node.clone(), self.life, self.control.clone());
        recorder.holding(&node, life, &point, &until);
        holds.spawn(async move {
            if !comes_true(&recorder, &until).await {
                return;
            }
            let connected = match control.wait_for(Option::is_some).await {
                Ok(connected) => connected.clone(),
                Err(_) => return,
            };
            if let Some(control) = connected {
                // In this order: at no moment does it seem that nothing is under way.
                let sent = |id| {
                    recorder.request_sent(&node, life, id);
                    recorder.let_go(&node, life, &held_at);
                };
                // The trace shows whether it went on; a dead process needs no release.
                let _ = control.call(Command::Release { point }, sent).await;
            }
        });
    }

    /// The pipe is closed: waits for the process's end and notes it.
    async fn bury(self, mut child: Child, killed: Option<Option<PointId>>) {
        let status = match tokio::time::timeout(self.exit_bound, child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => format!("unknown ({error})"),
            Err(_) => {
                self.recorder.fault(RigFault::HungUp {
                    node: self.node,
                    what: "report pipe",
                });
                let _ = child.kill().await;
                return;
            }
        };
        // Before anybody can know of the death and start it again.
        if let Err(fault) = self.scratch.snapshot(&self.node, self.life, "before") {
            self.recorder.fault(fault);
        }
        match killed {
            Some(point) => self.recorder.killed(&self.node, self.life, point),
            None => {
                let last_lines = last_lines(&self.stderr);
                self.recorder
                    .exited(&self.node, self.life, status, last_lines);
            }
        }
    }
}

fn kill(child: &mut Child, point: Option<PointId>) -> Next {
    // Not reaped yet, so the pid is still its own; one that is gone already is as good.
    let _ = child.start_kill();
    Next::Killed(point)
}

fn obey(order: Order, child: &mut Child, point: Option<PointId>) -> Next {
    match (order, kill(child, point)) {
        (Order::Kill, killed) => killed,
        (Order::End, _) => Next::End,
    }
}

/// Waits for a hold's condition; `false` if the case ended first.
async fn comes_true(recorder: &Recorder, until: &Condition) -> bool {
    let seen = |live: &Live| live.is_true(until).then_some(());
    let what = "the condition of a hold";
    let waited = recorder.try_wait(FOR_EVER, what, Heed::FaultsOnly, seen);
    waited.await.is_ok()
}

/// The last lines of a file, or none if there is none.
fn last_lines(path: &Path) -> Vec<String> {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LAST_LINES);
    lines[from..].iter().map(|&line| line.to_owned()).collect()
}
