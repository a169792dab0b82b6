//! `deadbolt replay`: saved plans again, and how often they come out the same.

use super::super::args::ReplayArguments;
use super::super::session::{Found, Session};
use super::{CommandError, Context, Ended, Environment};
use crate::evidence::Verdict;
use crate::explore::PlannedCase;
use crate::run_store::{CaseRecord, Located, PlanPlace, RunFolder, StoreError, locate, read_plan};
use crate::scenario::Plan;

/// A plan to run again, and what came of it the first time.
struct Replayed {
    case_id: String,
    plan: Plan,
    before: Option<CaseRecord>,
}

pub(super) async fn replay<E: Environment>(
    context: &Context<'_, E>,
    arguments: &ReplayArguments,
) -> Result<Ended, CommandError> {
    let originals = find(context, &arguments.target)?;
    if !context.arguments.kinds.is_empty() {
        return Err(CommandError::Usage(
            "a replay runs the plan as it is: edit the kinds in its plan.json, or `run` the \
             scenario with --kind"
                .to_owned(),
        ));
    }
    let subject = format!("replay-{}", originals[0].plan.scenario.name);
    let cases = originals
        .iter()
        .flat_map(|original| copies(original, arguments.times))
        .collect();
    let session = Session::begin(context, &subject).await?;
    let ran = session.campaign.run_all(cases).await;
    let fidelity: Vec<String> = originals
        .iter()
        .filter_map(|original| fidelity(original, &ran.records))
        .collect();
    let ended = session.end(context, ran.records, Found::default(), ran.interrupted)?;
    context.console.say(&fidelity.join("\n"));
    Ok(ended)
}

/// The plans that a target stands for; at least one.
fn find<E: Environment>(
    context: &Context<'_, E>,
    target: &str,
) -> Result<Vec<Replayed>, CommandError> {
    let originals = match locate(&context.logs, target)? {
        Located::Plan(place) => vec![of_place(&place)?],
        Located::Run(run) => {
            let records = run.verdicts()?;
            let mut all = Vec::new();
            for case_id in run.case_ids()? {
                all.push(Replayed {
                    plan: read_plan(&run.case(&case_id).plan_path())?,
                    before: records.iter().find(|r| r.case_id == case_id).cloned(),
                    case_id,
                });
            }
            all
        }
    };
    if originals.is_empty() {
        return Err(CommandError::Usage(format!(
            "the run {target:?} has no case to replay: it ended before its first"
        )));
    }
    Ok(originals)
}

fn of_place(place: &PlanPlace) -> Result<Replayed, StoreError> {
    let plan = read_plan(&place.plan)?;
    let case_id = match &place.folder {
        Some(folder) => folder.case_id(),
        None => plan.case_id.clone(),
    };
    let before = match &place.run {
        Some(run) => RunFolder::open(run.clone())
            .verdicts()?
            .into_iter()
            .find(|record| record.case_id == case_id),
        None => None,
    };
    Ok(Replayed {
        case_id,
        plan,
        before,
    })
}

/// The plan itself stays as it is, whatever its copy's folder is called.
fn copies(original: &Replayed, times: u32) -> Vec<PlannedCase> {
    (1..=times)
        .map(|number| PlannedCase {
            case_id: copy_id(&original.case_id, number, times),
            plan: original.plan.clone(),
            points: original
                .plan
                .faults
                .iter()
                .map(|fault| fault.at.clone())
                .collect(),
            pin: None,
            pair: None,
            race: None,
            attempts: 1,
            varies: false,
        })
        .collect()
}

fn copy_id(case_id: &str, number: u32, times: u32) -> String {
    match times {
        1 => case_id.to_owned(),
        _ => {
            let width = times.to_string().len();
            format!("{case_id}+{number:0width$}")
        }
    }
}

/// How many came out as the first time; as the first copy, where no first time is known.
fn fidelity(original: &Replayed, records: &[CaseRecord]) -> Option<String> {
    let copies: Vec<&CaseRecord> = records
        .iter()
        .filter(|record| {
            record.case_id == original.case_id
                || record
                    .case_id
                    .strip_prefix(&original.case_id)
                    .is_some_and(|rest| rest.starts_with('+'))
        })
        .collect();
    let reference = original.before.as_ref().or(copies.first().copied())?;
    let same = copies
        .iter()
        .filter(|copy| outcome(copy) == outcome(reference))
        .count();
    let than = match original.before {
        Some(_) => "as in its run",
        None => "as the first time",
    };
    let (verdict, codes) = outcome(reference);
    let codes = match codes.is_empty() {
        true => String::new(),
        false => format!(": {}", codes.join(", ")),
    };
    Some(format!(
        "{}: {same} of {} came out {than} ({verdict:?}{codes})",
        original.case_id,
        copies.len()
    ))
}

fn outcome(record: &CaseRecord) -> (Verdict, Vec<&str>) {
    (record.verdict, record.finding_codes())
}
