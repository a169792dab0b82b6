//! Runs many cases, several at once: saves each one's evidence, has it judged, writes its verdict.
//! Nothing that goes wrong with one case stops the others.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use faults::NodePoint;
use tokio::task::{Id, JoinError, JoinSet};

use super::dry_runs::LEAST_DRY_RUNS;
use super::interrupt::Interrupt;
use super::pairs::recovery_points;
use super::runner::{CaseOutcome, Keep, RunCase};
use super::tally::{Progress, Tally};
use crate::evidence::{Evidence, Phase, Verdict};
use crate::oracle::{Judgement, verdict_of};
use crate::run_store::{
    CaseFolder, CaseRecord, FindingRecord, PairRecord, PinRecord, RUN_VERSION, RaceRecord,
    RunFolder, StoreError, VerdictRecord,
};
use crate::scenario::{Case, Plan};

/// Draws every oracle's judgement.
pub type Judge = Arc<dyn Fn(&Evidence) -> Vec<Judgement> + Send + Sync>;

/// A case to run.
#[derive(Clone, Debug)]
pub struct PlannedCase {
    /// Name of its folder.
    pub case_id: String,
    /// What to do.
    pub plan: Plan,
    /// The points it stands for.
    pub points: Vec<NodePoint>,
    /// The verdict and finding it must get, for a pinned case.
    pub pin: Option<Case>,
    /// What it stands for beside `points`, for a case with a second kill.
    pub pair: Option<PairRecord>,
    /// The closes it stands for.
    pub race: Option<RaceRecord>,
    /// How often it is run until its points are reached; once at least. What several nodes do at once
    /// they need not do in the same order again.
    pub attempts: u32,
    /// Whether its points are ones that only some dry runs passed. If no attempt reaches them, nothing is said of it.
    pub varies: bool,
}

/// A case that was run and judged.
pub struct Judged {
    /// What is written of it.
    pub record: CaseRecord,
    /// Its evidence, as far as there is any.
    pub evidence: Option<Evidence>,
}

/// How a campaign ended.
#[derive(Debug, Default)]
pub struct Ran {
    /// The cases that ended, in order of their ids.
    pub records: Vec<CaseRecord>,
    /// Whether the user stopped it.
    pub interrupted: bool,
}

/// A campaign's means. Cloning shares them.
pub struct Campaign<R> {
    /// Runs a case.
    pub runner: Arc<R>,
    /// Judges it.
    pub judge: Judge,
    /// Where it is saved.
    pub folder: Arc<RunFolder>,
    /// Whose evidence stays.
    pub keep: Keep,
    /// How many cases run at once; at least one does.
    pub workers: usize,
    /// Who hears of it.
    pub progress: Arc<dyn Progress>,
    /// How the user stops it.
    pub interrupt: Interrupt,
    /// When the run began.
    pub began: Instant,
}

impl<R> Clone for Campaign<R> {
    fn clone(&self) -> Self {
        Campaign {
            runner: Arc::clone(&self.runner),
            judge: Arc::clone(&self.judge),
            folder: Arc::clone(&self.folder),
            keep: self.keep,
            workers: self.workers,
            progress: Arc::clone(&self.progress),
            interrupt: self.interrupt.clone(),
            began: self.began,
        }
    }
}

impl<R: RunCase> Campaign<R> {
    /// Runs one case and keeps its evidence in memory; `None` if the user stopped it.
    pub async fn run_one(&self, case: PlannedCase) -> Option<Judged> {
        self.progress.begin(1);
        let mut running = JoinSet::new();
        let started = Instant::now();
        let spare = case.clone();
        let campaign = self.clone();
        running.spawn(async move { campaign.run_case(case).await });
        let judged = tokio::select! {
            joined = running.join_next() => match joined {
                Some(Ok(judged)) => judged?,
                Some(Err(error)) => self.broken(&spare, started, &error),
                None => return None,
            },
            () = self.interrupt.wait() => {
                running.shutdown().await;
                return None;
            }
        };
        let tally = Tally::of([&judged.record]);
        self.progress.case_ended(&judged.record, &tally);
        Some(judged)
    }

    /// Runs all cases, `workers` at once.
    pub async fn run_all(&self, cases: Vec<PlannedCase>) -> Ran {
        self.run_all_reading(cases, |_| ()).await.0
    }

    /// As [`Campaign::run_all`]; `read` gets each case's evidence before it goes, and what it made of it
    /// comes back by the case's id.
    pub async fn run_all_reading<T: Send + 'static>(
        &self,
        cases: Vec<PlannedCase>,
        read: fn(&Evidence) -> T,
    ) -> (Ran, BTreeMap<String, T>) {
        let mut found = BTreeMap::new();
        self.progress.begin(cases.len());
        let mut waiting = VecDeque::from(cases);
        let mut running = JoinSet::new();
        let mut at_work: HashMap<Id, (PlannedCase, Instant)> = HashMap::new();
        let mut ran = Ran::default();
        let mut tally = Tally::default();
        loop {
            while running.len() < self.workers.max(1) && !self.interrupt.is_set() {
                let Some(case) = waiting.pop_front() else {
                    break;
                };
                let campaign = self.clone();
                let spare = case.clone();
                let handle = running.spawn(async move {
                    let judged = campaign.run_case(case).await?;
                    let read = judged.evidence.as_ref().map(read);
                    Some((judged.record, read))
                });
                at_work.insert(handle.id(), (spare, Instant::now()));
            }
            let joined = tokio::select! {
                joined = running.join_next_with_id() => joined,
                () = self.interrupt.wait() => {
                    ran.interrupted = true;
                    // Dropping a case's future kills its processes.
                    running.shutdown().await;
                    break;
                }
            };
            let record = match joined {
                None => break,
                Some(Ok((id, None))) => {
                    at_work.remove(&id);
                    continue;
                }
                Some(Ok((id, Some((record, read))))) => {
                    at_work.remove(&id);
                    found.extend(read.map(|read| (record.case_id.clone(), read)));
                    record
                }
                Some(Err(error)) => match at_work.remove(&error.id()) {
                    Some((case, started)) => self.broken(&case, started, &error).record,
                    None => continue,
                },
            };
            tally.add(&record);
            self.progress.case_ended(&record, &tally);
            ran.records.push(record);
        }
        ran.interrupted |= self.interrupt.is_set();
        ran.records.sort_by(|a, b| a.case_id.cmp(&b.case_id));
        (ran, found)
    }

    /// `None` if it misses points that vary in every attempt. Whether the point of a second kill varies is found
    /// out when it is missed: the first kill has been made once by itself, which tells nothing of that.
    async fn run_case(&self, case: PlannedCase) -> Option<Judged> {
        let started = Instant::now();
        let folder = match self.folder.begin_case(&case.case_id, &case.plan) {
            Ok(folder) => folder,
            Err(error) => return Some(self.faulted(&case, started, error.to_string())),
        };
        let folder = Arc::new(folder);
        let mut left = case.attempts.max(1);
        let (mut varies, mut is_known) = (case.varies, case.pair.is_none());
        loop {
            left = left.saturating_sub(1);
            let outcome = self.runner.run(&case.plan).await;
            let (campaign, folder, judged_case) = (self.clone(), Arc::clone(&folder), case.clone());
            // Saving and judging block; the other cases' processes must not wait for that.
            let may_miss = left > 0 || varies || !is_known;
            let ended = tokio::task::spawn_blocking(move || {
                campaign.save_and_judge(&judged_case, &folder, outcome, started, may_miss)
            });
            match ended.await {
                Ok(Some(judged)) => return Some(judged),
                Ok(None) => tracing::info!(case = case.case_id, left, "point missed"),
                Err(error) => return Some(self.broken(&case, started, &error)),
            }
            if left == 0 && !is_known {
                (varies, is_known) = (self.second_point_varies(&case.plan).await, true);
            }
            if left == 0 && varies {
                // Its plan stays, as every case's does.
                return match self.folder.case(&case.case_id).drop_evidence() {
                    Ok(()) => None,
                    Err(error) => Some(self.faulted(&case, started, error.to_string())),
                };
            }
        }
    }

    /// Whether a life after the first kill of this plan need not pass the point of the second one. The same
    /// question as of the points of dry runs, asked of as many runs.
    async fn second_point_varies(&self, plan: &Plan) -> bool {
        let [first, second, ..] = &plan.faults[..] else {
            return false;
        };
        let once = Plan {
            faults: vec![first.clone()],
            ..plan.clone()
        };
        for _ in 0..LEAST_DRY_RUNS {
            let outcome = self.runner.run(&once).await;
            let Some(evidence) = outcome.evidence.filter(|_| outcome.rig_fault.is_none()) else {
                continue;
            };
            let passed = recovery_points(&evidence);
            // A run that misses the first point tells nothing of the second.
            if !passed.is_empty() && passed.iter().all(|reached| reached.point != second.at) {
                return true;
            }
        }
        false
    }

    /// Saves first and judges afterwards, so that a verdict can always be drawn again. `None` if the case
    /// missed its point and `may_miss`.
    fn save_and_judge(
        &self,
        case: &PlannedCase,
        folder: &CaseFolder,
        outcome: CaseOutcome,
        started: Instant,
        may_miss: bool,
    ) -> Option<Judged> {
        let judging = Instant::now();
        let mut rig_fault = outcome.rig_fault;
        let mut evidence_kept = false;
        if let Some(evidence) = &outcome.evidence {
            match folder.save_evidence(evidence) {
                Ok(()) => evidence_kept = true,
                Err(error) => note_fault(&mut rig_fault, &error.to_string()),
            }
        }
        let verdict = match (&outcome.evidence, rig_fault) {
            (Some(evidence), None) => judge_evidence(&self.judge, evidence),
            (None, None) => fault_verdict("the case ended without evidence".to_owned()),
            (_, Some(reason)) => fault_verdict(reason),
        };
        let mut phase_us = outcome.phase_us;
        let mut record = record_of(case, &verdict);
        if may_miss && record.missed_its_point() {
            return None;
        }
        let keeps = self.keep == Keep::All || verdict.verdict != Verdict::Pass;
        let kept = if keeps {
            folder
                .save_verdict(&verdict)
                .and_then(|()| {
                    outcome
                        .scratch
                        .keep(folder.path())
                        .map_err(|source| StoreError::Io {
                            doing: "keep the files of the nodes in",
                            path: folder.path().to_owned(),
                            source,
                        })
                })
                // The world's own trace may go on behind the evidence: what was judged is what is kept.
                .and_then(|()| match &outcome.evidence {
                    Some(evidence) => folder.save_evidence(evidence),
                    None => Ok(()),
                })
        } else {
            evidence_kept = false;
            folder.drop_evidence()
        };
        if let Err(error) = kept {
            record.verdict = Verdict::RigFault;
            note_fault(&mut record.rig_fault, &error.to_string());
        }
        record.evidence_kept = evidence_kept;
        phase_us.insert(Phase::Judge, micros(judging));
        record.phase_us = phase_us;
        self.write_verdict(&mut record, started);
        Some(Judged {
            record,
            evidence: outcome.evidence,
        })
    }

    /// A case whose task panicked: the rig's fault, and no other case's.
    fn broken(&self, case: &PlannedCase, started: Instant, error: &JoinError) -> Judged {
        self.faulted(
            case,
            started,
            format!("the rig broke off: {error}; please report this with the run's rig.jsonl"),
        )
    }

    fn faulted(&self, case: &PlannedCase, started: Instant, reason: String) -> Judged {
        let verdict = fault_verdict(reason);
        let folder = self.folder.case(&case.case_id);
        if let Err(error) = folder.save_verdict(&verdict) {
            tracing::warn!(case = case.case_id, %error, "a verdict was not saved");
        }
        let mut record = record_of(case, &verdict);
        record.evidence_kept = folder.has_evidence();
        self.write_verdict(&mut record, started);
        Judged {
            record,
            evidence: None,
        }
    }

    fn write_verdict(&self, record: &mut CaseRecord, started: Instant) {
        record.wall_us = micros(started);
        record.ended_us = micros(self.began);
        if let Err(error) = self.folder.add_verdict(record) {
            // The line is lost, the report of this run is not: it has the record.
            record.verdict = Verdict::RigFault;
            note_fault(&mut record.rig_fault, &error.to_string());
        }
        tracing::info!(
            case = record.case_id,
            verdict = ?record.verdict,
            rig_fault = record.rig_fault,
            wall_us = record.wall_us,
            "case ended"
        );
    }
}

/// Judges evidence and draws the case's verdict.
pub(crate) fn judge_evidence(judge: &Judge, evidence: &Evidence) -> VerdictRecord {
    let judgements = judge(evidence);
    VerdictRecord {
        version: RUN_VERSION,
        verdict: verdict_of(&judgements),
        judgements,
        rig_fault: None,
    }
}

fn fault_verdict(reason: String) -> VerdictRecord {
    VerdictRecord {
        version: RUN_VERSION,
        verdict: Verdict::RigFault,
        judgements: Vec::new(),
        rig_fault: Some(reason),
    }
}

/// The record of a case with this verdict; its times come later.
pub(crate) fn record_of(case: &PlannedCase, verdict: &VerdictRecord) -> CaseRecord {
    let findings: Vec<FindingRecord> = verdict
        .judgements
        .iter()
        .flat_map(|judgement| {
            judgement.findings.iter().map(|finding| FindingRecord {
                oracle: judgement.oracle.clone(),
                finding: finding.clone(),
            })
        })
        .collect();
    let pinned = case.pin.as_ref().map(|pin| PinRecord {
        verdict: pin.verdict,
        finding: pin.finding.clone(),
        met: verdict.verdict == pin.verdict
            && pin
                .finding
                .as_ref()
                .is_none_or(|code| findings.iter().any(|found| &found.finding.code == code)),
    });
    CaseRecord {
        case_id: case.case_id.clone(),
        points: case.points.clone(),
        pair: case.pair.clone(),
        varies: case.varies,
        race: case.race.clone(),
        verdict: verdict.verdict,
        pinned,
        findings,
        rig_fault: verdict.rig_fault.clone(),
        phase_us: BTreeMap::new(),
        wall_us: 0,
        ended_us: 0,
        evidence_kept: false,
    }
}

fn note_fault(fault: &mut Option<String>, more: &str) {
    *fault = Some(match fault.take() {
        None => more.to_owned(),
        Some(first) => format!("{first}; and then {more}"),
    });
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
