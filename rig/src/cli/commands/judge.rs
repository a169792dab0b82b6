//! `deadbolt judge`: saved evidence again, offline; says whether the result is the same.

use std::time::Instant;

use super::super::exit::{EXIT_NOT_RUN, EXIT_RIG_FAULT, exit_code_of};
use super::{CommandError, Context, Ended, Environment};
use crate::evidence::Verdict;
use crate::explore::{Judge, PlannedCase, Tally, Totals, judge_evidence, record_of};
use crate::report::{RunReport, render_text, write_files};
use crate::run_store::{
    CaseFolder, CaseRecord, Located, RunFolder, StoreError, VerdictRecord, load_evidence, locate,
};

/// A case judged again.
struct Rejudged {
    record: CaseRecord,
    /// What is different, if anything is.
    difference: Option<String>,
}

pub(super) fn judge<E: Environment>(
    context: &Context<'_, E>,
    target: &str,
) -> Result<Ended, CommandError> {
    let began = Instant::now();
    let (run, folders) = match locate(&context.logs, target)? {
        Located::Run(run) => {
            let ids = run.case_ids()?;
            let folders: Vec<CaseFolder> = ids.iter().map(|id| run.case(id)).collect();
            (Some(run), folders)
        }
        Located::Plan(place) => match place.folder {
            Some(folder) if folder.has_evidence() => (None, vec![folder]),
            Some(folder) => return Err(StoreError::NoEvidence(folder.path().to_owned()).into()),
            None => return Err(StoreError::NoEvidence(place.plan).into()),
        },
    };
    let judge = context.environment.judge();
    let mut rejudged = Vec::new();
    for folder in folders.iter().filter(|folder| folder.has_evidence()) {
        rejudged.push(judge_again(folder, &judge)?);
    }
    let tally = Tally::of(rejudged.iter().map(|again| &again.record));
    let differing = say(context, &rejudged);
    context.console.say(&format!(
        "{} of {} cases keep evidence; judged again: {} pass, {} fail, {} not run, {} rig faults; \
         {} differ from the run's own verdicts",
        rejudged.len(),
        folders.len(),
        tally.pass,
        tally.fail,
        tally.not_run,
        tally.rig_fault,
        differing
    ));
    let run_id = run.as_ref().map(RunFolder::run_id);
    if let Some(run) = &run {
        render_again(context, run)?;
    }
    let points = rejudged
        .iter()
        .map(|again| again.record.points.len() as u64);
    let totals = Totals {
        points: points.sum(),
        varying: 0,
        pairs: None,
        closes: None,
    };
    Ok(Ended {
        summary: tally.summary(run_id, totals, began.elapsed()),
        exit_code: match (differing, rejudged.len()) {
            (1.., _) => EXIT_RIG_FAULT,
            // Nothing was judged, and that is never green.
            (0, 0) => EXIT_NOT_RUN,
            (0, _) => exit_code_of(&tally),
        },
    })
}

fn judge_again(folder: &CaseFolder, judge: &Judge) -> Result<Rejudged, StoreError> {
    let evidence = load_evidence(folder.path())?;
    let before = folder.verdict()?;
    // A rig fault is no oracle's to take back: its evidence is not whole.
    let now = match &before {
        Some(before) if before.verdict == Verdict::RigFault => before.clone(),
        _ => judge_evidence(judge, &evidence),
    };
    let plan = &evidence.plan;
    let mut pinned = plan.scenario.cases.iter();
    let pin = pinned
        .find(|pin| pin.name == plan.case_id && pin.faults == plan.faults)
        .cloned();
    let case = PlannedCase {
        case_id: folder.case_id(),
        points: evidence.plan.faults.iter().map(|f| f.at.clone()).collect(),
        plan: evidence.plan,
        pin,
        pair: None,
        race: None,
        attempts: 1,
        varies: false,
    };
    Ok(Rejudged {
        record: record_of(&case, &now),
        difference: before.and_then(|before| difference(&before, &now)),
    })
}

fn difference(before: &VerdictRecord, now: &VerdictRecord) -> Option<String> {
    if before == now {
        return None;
    }
    let mut differing: Vec<String> = Vec::new();
    for judgement in &now.judgements {
        let known = before
            .judgements
            .iter()
            .find(|other| other.oracle == judgement.oracle);
        match known {
            None => differing.push(format!("{} is new", judgement.oracle)),
            Some(known) if known != judgement => differing.push(format!(
                "{} said {:?} and now says {:?}",
                judgement.oracle, known.verdict, judgement.verdict
            )),
            Some(_) => {}
        }
    }
    for judgement in &before.judgements {
        if !now
            .judgements
            .iter()
            .any(|other| other.oracle == judgement.oracle)
        {
            differing.push(format!("{} is gone", judgement.oracle));
        }
    }
    Some(format!(
        "was {:?}, is {:?}: {}",
        before.verdict,
        now.verdict,
        differing.join("; ")
    ))
}

/// Prints each case; how many differ.
fn say<E: Environment>(context: &Context<'_, E>, rejudged: &[Rejudged]) -> usize {
    let mut differing = 0;
    for again in rejudged {
        let record = &again.record;
        let codes = record.finding_codes().join(", ");
        let same = match &again.difference {
            None => "the same as saved".to_owned(),
            Some(difference) => {
                differing += 1;
                format!("NOT the same as saved: {difference}")
            }
        };
        context.console.say(&format!(
            "{}: {:?} ({codes}), {same}",
            record.case_id, record.verdict
        ));
    }
    differing
}

/// Prints and writes the run's reports from what is saved.
fn render_again<E: Environment>(
    context: &Context<'_, E>,
    run: &RunFolder,
) -> Result<(), CommandError> {
    let mut report = RunReport::read(run)?;
    report.command_options = context.command_options();
    context.console.say(&format!(
        "\nAs the run itself judged:\n\n{}",
        render_text(&report)
    ));
    write_files(&report, run)?;
    Ok(())
}
