//! A scripted world for tests: no processes, only the evidence they would have left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use faults::{Fault, GateReport, PointId};
use node_bin::api::{Report, UserEvent};

use super::pairs::recovery_points;
use super::points::ReachedPoint;
use super::runner::{CaseOutcome, CaseScratch, RunCase};
use super::{Campaign, Interrupt, Interrupter, Judge, Keep, Silent};
use crate::evidence::{
    ChainEvidence, Evidence, MadePayment, NodeReport, Phase, RigEntry, Source, TraceEntry, Verdict,
};
use crate::oracle::{Finding, Judgement};
use crate::run_store::{CaseRecord, PLAN_VERSION, RUN_VERSION, RunFolder, RunRecord};
use crate::scenario::{
    ChainKind, Channel, Expectation, Node, NodeKind, PaymentKind, Persist, Plan, Scenario, Step,
    StepKind,
};

/// A–B–C with one quiet step.
pub(crate) fn forward_scenario() -> Scenario {
    let node = Node {
        kind: NodeKind::Stock,
        chain: ChainKind::Bitcoind,
        funds_sat: 20_000_000,
        persist: Persist::Sync,
    };
    let channel = |opener: &str, acceptor: &str| Channel {
        label: format!("{opener}-{acceptor}"),
        opener: opener.to_owned(),
        acceptor: acceptor.to_owned(),
        capacity_sat: 1_000_000,
        push_msat: 500_000_000,
        announce: false,
    };
    Scenario {
        name: "forward".to_owned(),
        about: "A pays C over B.".to_owned(),
        nodes: ["A", "B", "C"]
            .map(|name| (name.to_owned(), node.clone()))
            .into(),
        channels: vec![channel("A", "B"), channel("B", "C")],
        act: vec![Step {
            label: "step-1".to_owned(),
            kind: StepKind::Quiet,
        }],
        expect: Expectation::default(),
        cases: Vec::new(),
        races: Vec::new(),
    }
}

/// A plan of it with kills at these points.
pub(crate) fn forward_plan(kills: &[&str]) -> Plan {
    Plan {
        version: PLAN_VERSION,
        case_id: "case".to_owned(),
        seed: 1,
        scenario: forward_scenario(),
        faults: kills
            .iter()
            .map(|at| Fault::kill(at.parse().unwrap()))
            .collect(),
    }
}

/// A point passed under this input, with nothing but points around it.
pub(crate) fn reached(at: &str, input: u64) -> ReachedPoint {
    ReachedPoint {
        point: at.parse().unwrap(),
        input,
        stretch: 0,
        seq: 0,
    }
}

/// A record with nothing but a name and a verdict.
pub(crate) fn case_record(case_id: &str, verdict: Verdict) -> CaseRecord {
    CaseRecord {
        case_id: case_id.to_owned(),
        points: Vec::new(),
        pair: None,
        varies: false,
        race: None,
        verdict,
        pinned: None,
        findings: Vec::new(),
        rig_fault: (verdict == Verdict::RigFault).then(|| "port taken".to_owned()),
        phase_us: BTreeMap::from([(Phase::SetUp, 200_000), (Phase::Act, 40_000)]),
        wall_us: 240_000,
        ended_us: 240_000,
        evidence_kept: false,
    }
}

/// A run of that scenario.
pub(crate) fn run_record(run_id: &str) -> RunRecord {
    RunRecord {
        version: RUN_VERSION,
        run_id: run_id.to_owned(),
        command: vec!["explore".to_owned(), "forward".to_owned()],
        deadbolt: "0.1.0".to_owned(),
        subject: "forward".to_owned(),
        seed: 1,
        workers: 2,
        parts: BTreeMap::new(),
        pid: 1,
        started: "2026-11-23T17:30:00Z".parse().unwrap(),
    }
}

/// What a scripted world does when a case kills at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twist {
    /// The node closes its channel.
    Close,
    /// The point is not reached.
    Miss,
    /// The rig goes wrong.
    RigFault,
    /// The rig's task panics.
    Panic,
    /// The case never ends.
    Hang,
}

/// Hands out evidence by script.
#[derive(Default)]
pub(crate) struct ScriptedWorld {
    /// What a run passes: node and point, and the input number.
    pub points: Vec<(&'static str, u64)>,
    /// The same of the life after a kill, until it is back.
    pub recovery: Vec<(&'static str, u64)>,
    /// What of it only the first so many runs pass.
    pub fickle: Option<(&'static str, usize)>,
    /// What of it is passed only where nothing is armed there.
    pub shy: Option<&'static str>,
    /// Where the name of the killed point contains this, that happens.
    pub twists: Vec<(&'static str, Twist)>,
    /// A scenario that fails by itself.
    pub sick: bool,
    /// How many cases were started.
    pub started: AtomicUsize,
    /// Rung when a case hangs.
    pub hangs: Option<Interrupter>,
}

/// Writes one file, as a world with processes writes many.
struct OneFile;

impl CaseScratch for OneFile {
    fn keep(&self, folder: &std::path::Path) -> std::io::Result<()> {
        std::fs::write(folder.join("B-stderr.log"), "a line\n")
    }
}

impl RunCase for ScriptedWorld {
    async fn run(&self, plan: &Plan) -> CaseOutcome {
        self.started.fetch_add(1, Ordering::SeqCst);
        let killed = plan.faults.first().map(|fault| fault.at.clone());
        let twist = killed.as_ref().and_then(|at| {
            let text = at.to_string();
            self.twists
                .iter()
                .find(|(part, _)| text.contains(part))
                .map(|(_, twist)| *twist)
        });
        match twist {
            Some(Twist::Panic) => panic!("scripted"),
            Some(Twist::Hang) => {
                if let Some(interrupter) = &self.hangs {
                    interrupter.interrupt();
                }
                std::future::pending::<()>().await;
            }
            _ => {}
        }
        let frozen = killed.filter(|_| twist != Some(Twist::Miss));
        let closes = self.sick || twist == Some(Twist::Close);
        let rig_fault =
            (twist == Some(Twist::RigFault)).then(|| "bitcoind died: start it again".to_owned());
        CaseOutcome {
            evidence: Some(self.evidence(plan, frozen.map(|at| (at.node, at.point)), closes)),
            rig_fault,
            phase_us: BTreeMap::from([(Phase::SetUp, 1_000), (Phase::Settle, 3_000)]),
            scratch: Box::new(OneFile),
        }
    }
}

impl ScriptedWorld {
    /// Points of B that make three classes: {1}, {2, 3}, {4}.
    pub(crate) fn of_forward() -> Self {
        ScriptedWorld {
            points: vec![
                ("B:persist.monitor_update.before[A-B #2]", 1),
                ("B:persist.monitor_update.after[A-B #2]", 1),
                ("B:send.revoke_and_ack.before[A-B]", 1),
                ("B:send.revoke_and_ack.after[A-B]", 1),
            ],
            ..ScriptedWorld::default()
        }
    }

    pub(crate) fn evidence(
        &self,
        plan: &Plan,
        frozen: Option<(String, PointId)>,
        closes: bool,
    ) -> Evidence {
        let mut trace = Trace::default();
        trace.phase(Phase::SetUp);
        trace.passes("A:persist.monitor.before[A-B]", 1);
        trace.phase(Phase::Act);
        for (point, input) in &self.points {
            trace.passes(point, *input);
        }
        if let Some((node, point)) = frozen {
            trace.node(&node, NodeReport::Gate(GateReport::Frozen { point }));
            trace.phase(Phase::Recover);
            trace.life = 1;
            trace.add(Source::Rig {
                did: RigEntry::Started {
                    node,
                    life: 1,
                    pid: 7,
                },
            });
            let started = self.started.load(Ordering::SeqCst);
            for (point, input) in &self.recovery {
                let is_over = |(fickle, runs)| fickle == *point && started > runs;
                let is_shy = self.shy == Some(*point) && plan.faults.len() > 1;
                if !self.fickle.is_some_and(is_over) && !is_shy {
                    trace.passes(point, *input);
                }
            }
        }
        if closes {
            trace.node("B", NodeReport::Node(Report::Event { event: closed() }));
        }
        trace.phase(Phase::Settle);
        trace.passes("B:command.invoice.before[live-A-B-A]", 7);
        trace.passes("B:persist.manager.before[live]", 7);
        Evidence {
            plan: plan.clone(),
            channels: Vec::new(),
            payments: vec![live_payment()],
            trace: trace.entries,
            chain: ChainEvidence::default(),
            start: BTreeMap::new(),
            rest: BTreeMap::new(),
        }
    }
}

#[derive(Default)]
struct Trace {
    entries: Vec<TraceEntry>,
    life: u32,
}

impl Trace {
    fn add(&mut self, source: Source) {
        let seq = self.entries.len() as u64 + 1;
        self.entries.push(TraceEntry {
            seq,
            time_us: seq * 1_000,
            source,
        });
    }

    fn phase(&mut self, phase: Phase) {
        self.add(Source::Rig {
            did: RigEntry::Phase { phase },
        });
    }

    fn node(&mut self, node: &str, report: NodeReport) {
        self.add(Source::Node {
            node: node.to_owned(),
            life: self.life,
            report,
        });
    }

    fn passes(&mut self, at: &str, input: u64) {
        let at: faults::NodePoint = at.parse().unwrap();
        self.node(
            &at.node,
            NodeReport::Gate(GateReport::Point {
                point: at.point,
                input,
            }),
        );
    }
}

fn closed() -> UserEvent {
    UserEvent::ChannelClosed {
        channel: "A-B".to_owned(),
        channel_id: "00".repeat(32),
        reason: "OutdatedChannelManager".to_owned(),
    }
}

fn live_payment() -> MadePayment {
    MadePayment {
        id: "live-A-B-A".to_owned(),
        from: "A".to_owned(),
        to: "B".to_owned(),
        amount_msat: 1_000_000,
        payment_hash: "11".repeat(32),
        payment_id: "22".repeat(32),
        kind: PaymentKind::Invoice,
        paths: vec![vec!["A-B".to_owned()]],
        proves: Some("A-B".to_owned()),
    }
}

/// Whether the way back passes the point of a second kill; a world without one has nothing to miss there.
fn reaches_second(evidence: &Evidence) -> bool {
    let passed = recovery_points(evidence);
    let second = evidence.plan.faults.get(1);
    passed.is_empty()
        || second.is_none_or(|second| passed.iter().any(|reached| reached.point == second.at))
}

/// Finds closed channels, and points that were armed and not reached.
pub(crate) fn scripted_judge() -> Judge {
    Arc::new(|evidence: &Evidence| {
        let is_close = |entry: &&TraceEntry| {
            matches!(
                &entry.source,
                Source::Node {
                    report: NodeReport::Node(Report::Event {
                        event: UserEvent::ChannelClosed { .. }
                    }),
                    ..
                }
            )
        };
        let findings: Vec<Finding> = evidence
            .trace
            .iter()
            .filter(is_close)
            .map(|entry| Finding {
                code: "unexpected-close".to_owned(),
                message: "B closed A-B (OutdatedChannelManager) at update 2".to_owned(),
                trace: vec![entry.seq],
                lines: vec!["ERROR A ChannelManager is stale".to_owned()],
            })
            .collect();
        let reached = evidence.trace.iter().any(|entry| {
            matches!(
                &entry.source,
                Source::Node {
                    report: NodeReport::Gate(GateReport::Frozen { .. }),
                    ..
                }
            )
        });
        let judgement = |oracle: &str, verdict, findings| Judgement {
            oracle: oracle.to_owned(),
            verdict,
            findings,
            notes: Vec::new(),
        };
        let close = if findings.is_empty() {
            Verdict::Pass
        } else {
            Verdict::Fail
        };
        let armed = if (reached && reaches_second(evidence)) || evidence.plan.faults.is_empty() {
            Verdict::Pass
        } else {
            Verdict::NotRun
        };
        let not_reached = Finding {
            code: "point-not-reached".to_owned(),
            message: "the armed point was not reached".to_owned(),
            trace: Vec::new(),
            lines: Vec::new(),
        };
        let unreached = match armed {
            Verdict::NotRun => vec![not_reached],
            _ => Vec::new(),
        };
        vec![
            judgement("close", close, findings),
            judgement("armed", armed, unreached),
        ]
    })
}

/// A campaign of a scripted world in a folder of its own.
pub(crate) fn campaign(
    logs: &std::path::Path,
    world: ScriptedWorld,
    interrupt: Interrupt,
) -> Campaign<ScriptedWorld> {
    let run = run_record("");
    let folder = RunFolder::create(logs, "forward", run.started).unwrap();
    folder.save_run(&run_record(&folder.run_id())).unwrap();
    Campaign {
        runner: Arc::new(world),
        judge: scripted_judge(),
        folder: Arc::new(folder),
        keep: Keep::Failures,
        workers: 2,
        progress: Arc::new(Silent),
        interrupt,
        began: std::time::Instant::now(),
    }
}
