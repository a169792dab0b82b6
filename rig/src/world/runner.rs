//! One case, from its plan to its evidence: lease, phases in order, and an end that leaves no
//! process behind. Knows no oracle.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::bounds::Bounds;
use super::chain_access::ChainAccess;
use super::collect::chain_evidence;
use super::completer::Completer;
use super::node_handle::NodePrograms;
use super::recorder::Recorder;
use super::rig_fault::{RigFault, Stop};
use super::scratch::{CaseScratch, default_root};
use super::stage::Stage;
use crate::chain::ChainPool;
use crate::evidence::{ChainEvidence, Evidence, Phase, RigEntry, Source, TraceEntry};
use crate::scenario::{Persist, Plan};

/// Runs cases, several at once if asked so: each is a world of its own on a chain pair of its own.
#[derive(Clone)]
pub struct CaseRunner {
    pool: ChainPool,
    programs: NodePrograms,
    scratch_root: PathBuf,
    bounds: Bounds,
}

/// What a case leaves.
#[derive(Debug)]
pub struct CaseOutcome {
    /// All that a verdict may be drawn from; partial if the rig is at fault, absent if it could
    /// not even begin.
    pub evidence: Option<Evidence>,
    /// Why there can be no verdict.
    pub rig_fault: Option<RigFault>,
    /// Where the time went, in microseconds.
    pub phase_us: BTreeMap<Phase, u64>,
    /// The case's folder, removed when dropped; absent if it could not be made.
    pub scratch: Option<Arc<CaseScratch>>,
}

impl CaseRunner {
    /// A runner that takes its pairs from `pool`, starts nodes with `programs`, and works in
    /// memory where the machine allows it.
    pub fn new(pool: ChainPool, programs: NodePrograms) -> Self {
        CaseRunner {
            pool,
            programs,
            scratch_root: default_root(),
            bounds: Bounds::default(),
        }
    }

    /// Works in another folder. Keep its path short: Unix sockets are in it.
    #[must_use]
    pub fn with_scratch_root(mut self, root: PathBuf) -> Self {
        self.scratch_root = root;
        self
    }

    /// Waits longer or shorter than usual.
    #[must_use]
    pub fn with_bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Runs one case in a fresh world. Never panics and never takes longer than the bounds: what
    /// goes wrong with the rig is in the outcome.
    pub async fn run(&self, plan: &Plan) -> CaseOutcome {
        let nothing = |fault| CaseOutcome {
            evidence: None,
            rig_fault: Some(fault),
            phase_us: BTreeMap::new(),
            scratch: None,
        };
        let scratch = match CaseScratch::create(&self.scratch_root) {
            Ok(scratch) => Arc::new(scratch),
            Err(fault) => return nothing(fault),
        };
        let lease = match self.pool.lease().await {
            Ok(lease) => Arc::new(ChainAccess::Leased(Box::new(lease))),
            Err(error) => return nothing(error.into()),
        };
        let names = plan.scenario.nodes.keys();
        let recorder = match Recorder::create(&scratch.trace(), names) {
            Ok(recorder) => Arc::new(recorder),
            Err(fault) => return nothing(fault),
        };
        let stage = Stage::new(
            plan,
            lease,
            Arc::clone(&scratch),
            recorder,
            self.programs.clone(),
            self.bounds,
        );
        match stage.await {
            Ok(mut stage) => {
                let fault = stage.play().await.err();
                stage.outcome(fault, scratch).await
            }
            Err(fault) => nothing(fault),
        }
    }
}

impl Stage {
    /// All phases, within the bound of a case and only as long as the chain lives.
    pub(super) async fn play(&mut self) -> Result<(), RigFault> {
        let recorder = Arc::clone(&self.around.recorder);
        let bound = self.around.bounds.case;
        let chain = Arc::clone(&self.chain);
        let completer = Completer {
            recorder: Arc::clone(&self.around.recorder),
            controls: Arc::clone(&self.around.controls),
            seed: self.plan.seed,
            exit_bound: self.around.bounds.exit,
        };
        // Elsewhere it would look at every change for nothing.
        let mut nodes = self.plan.scenario.nodes.values();
        let holds_writes = nodes.any(|node| node.persist == Persist::Held);
        let phases = async {
            tokio::select! {
                played = self.phases() => played,
                never = completer.run(), if holds_writes => match never {},
                death = chain.died() => Err(death.into()),
            }
        };
        let played = match tokio::time::timeout(bound, phases).await {
            Ok(played) => played,
            Err(_) => Err(RigFault::CaseTooLong {
                waited_ms: bound.as_millis() as u64,
                doing: recorder.waiting_for(),
            }),
        };
        // A fault that a task met beside the phases counts too.
        played.and_then(|()| recorder.fault_so_far().map_or(Ok(()), Err))
    }

    async fn phases(&mut self) -> Result<(), RigFault> {
        self.enter(Phase::SetUp);
        let ended = self.set_up_act_settle().await;
        match ended {
            Ok(()) | Err(Stop::Judge | Stop::GaveUp) => {}
            // A node that is held in set-up or at the end cannot be waited for.
            Err(Stop::NodeHeld | Stop::Interrupted) => {
                let missing = "the nodes to be at work for the last questions".to_owned();
                self.recorder().rig(RigEntry::WaitEnded { missing });
            }
            Err(Stop::Fault(fault)) => return Err(fault),
        }
        if self.rest.is_empty() {
            // Given up: what those say that still live.
            self.rest = self.last_words().await;
        }
        Ok(())
    }

    async fn set_up_act_settle(&mut self) -> Result<(), Stop> {
        if let Err(stop) = self.set_up().await {
            return Err(self.died_in_set_up(stop));
        }
        self.enter(Phase::Act);
        self.act().await?;
        self.enter(Phase::Settle);
        self.settle().await
    }

    /// Set-up is not taken up again: nothing was to be hurt there, so a death is for the judge.
    fn died_in_set_up(&self, stop: Stop) -> Stop {
        if !matches!(stop, Stop::Interrupted) {
            return stop;
        }
        let missing = "the end of [setup]: a node died although nothing was armed".to_owned();
        self.recorder().rig(RigEntry::WaitEnded { missing });
        Stop::Judge
    }

    /// Views of the nodes that still run, as far as they give them.
    async fn last_words(&self) -> BTreeMap<String, node_bin::api::RestView> {
        use node_bin::api::{Command, Reply};
        let mut rests = BTreeMap::new();
        for name in self.awake() {
            if let Ok(Ok(Reply::Rest(rest))) = self.call(&name, Command::Rest {}).await {
                rests.insert(name, *rest);
            }
        }
        rests
    }

    /// Collects the evidence and ends all processes.
    pub(super) async fn outcome(
        mut self,
        fault: Option<RigFault>,
        scratch: Arc<CaseScratch>,
    ) -> CaseOutcome {
        self.recorder().phase(Phase::Judge);
        let base_height = self.around.base_height;
        let (chain, fault) = match (fault, self.chain_evidence().await) {
            (None, Err(error)) => (ChainEvidence::default(), Some(error.into())),
            (fault, chain) => (chain.unwrap_or_default(), fault),
        };
        let trace = self.recorder().trace();
        let phase_us = phases_of(&trace, self.recorder().elapsed_us());
        if fault.is_some() {
            self.chain.mark_damaged();
        }
        for handle in self.nodes.values_mut() {
            handle.end().await;
        }
        let evidence = Evidence {
            plan: self.plan,
            channels: self.channels,
            payments: self.payments,
            trace,
            chain: ChainEvidence {
                base_height,
                ..chain
            },
            start: self.start,
            rest: self.rest,
        };
        CaseOutcome {
            evidence: Some(evidence),
            rig_fault: fault,
            phase_us,
            scratch: Some(scratch),
        }
    }

    async fn chain_evidence(&self) -> Result<ChainEvidence, crate::chain::ChainError> {
        tokio::select! {
            evidence = chain_evidence(&self.chain, self.around.base_height) => evidence,
            error = self.chain.died() => Err(error),
        }
    }
}

/// Time per phase, from the entries that begin them to the end.
fn phases_of(trace: &[TraceEntry], end_us: u64) -> BTreeMap<Phase, u64> {
    let begins = trace.iter().filter_map(|entry| match &entry.source {
        Source::Rig {
            did: RigEntry::Phase { phase },
        } => Some((*phase, entry.time_us)),
        _ => None,
    });
    let begins: Vec<(Phase, u64)> = begins.collect();
    let ends = begins
        .iter()
        .skip(1)
        .map(|(_, begin)| *begin)
        .chain([end_us]);
    let mut phase_us = BTreeMap::new();
    for ((phase, begin_us), end_us) in begins.iter().zip(ends) {
        *phase_us.entry(*phase).or_default() += end_us.saturating_sub(*begin_us);
    }
    phase_us
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_that_comes_back_after_a_recovery_adds_up() {
        let phase = |seq, time_us, phase| TraceEntry {
            seq,
            time_us,
            source: Source::Rig {
                did: RigEntry::Phase { phase },
            },
        };
        let trace = [
            phase(1, 0, Phase::SetUp),
            phase(2, 100, Phase::Act),
            phase(3, 150, Phase::Recover),
            phase(4, 250, Phase::Act),
            phase(5, 260, Phase::Judge),
        ];
        let expected = [
            (Phase::SetUp, 100),
            (Phase::Act, 60),
            (Phase::Recover, 100),
            (Phase::Judge, 40),
        ];
        assert_eq!(phases_of(&trace, 300), BTreeMap::from(expected));
    }
}
