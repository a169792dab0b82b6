//! `deadbolt compare`: the same exploration on two kinds of node, and what differs case by case. A side that was
//! explored before need not be again.

use super::super::args::{CompareArguments, ExploreArguments};
use super::super::exit::{EXIT_FAIL, EXIT_NOT_RUN, EXIT_PASS, EXIT_RIG_FAULT};
use super::super::session::Session;
use super::earlier::earlier;
use super::explore::{explorations, parts_of, subject as name_of};
use super::{CommandError, Context, Ended, Environment};
use crate::evidence::Verdict;
use crate::explore::{
    Change, ComparedCase, ComparedRecord, Counts, Exploration, MatchedBy, compare, explore_all,
};
use crate::run_store::{CaseRecord, SummaryRecord};
use crate::scenario::{NodeKind, Override, Scenario};

/// One side's run.
pub(super) struct Side {
    pub run_id: String,
    pub records: Vec<CaseRecord>,
    pub summary: SummaryRecord,
    pub interrupted: bool,
}

/// One side before anything is run.
enum Planned {
    Explore(NodeKind, Vec<Exploration>),
    Explored(Box<Side>),
}

pub(super) async fn run<E: Environment>(
    context: &Context<'_, E>,
    arguments: &CompareArguments,
) -> Result<Ended, CommandError> {
    // Both are read before either is run, so that a wrong option costs nothing.
    let control = planned(
        context,
        arguments,
        arguments.control,
        &arguments.control_run,
    )?;
    let subject = planned(
        context,
        arguments,
        arguments.subject,
        &arguments.subject_run,
    )?;
    let control = side(context, arguments, control).await?;
    if control.interrupted {
        return Err(CommandError::Interrupted);
    }
    let subject = side(context, arguments, subject).await?;
    let lines = compare(&control.records, &subject.records);
    let mut totals = ComparedRecord {
        subject: word(arguments.subject).to_owned(),
        control: word(arguments.control).to_owned(),
        subject_run: subject.run_id.clone(),
        control_run: control.run_id.clone(),
        ..ComparedRecord::default()
    };
    totals.count(&lines);
    context.console.say(&table(&lines, &totals));
    if subject.interrupted {
        return Err(CommandError::Interrupted);
    }
    let exit_code = exit_code(&totals, [&control, &subject]);
    Ok(Ended {
        summary: SummaryRecord {
            compared: Some(totals),
            ..subject.summary
        },
        exit_code,
    })
}

fn planned<E: Environment>(
    context: &Context<'_, E>,
    arguments: &CompareArguments,
    kind: NodeKind,
    explored: &Option<String>,
) -> Result<Planned, CommandError> {
    let family = scenarios(context, &arguments.explore, kind)?;
    let explorations = explorations(context.arguments.seed, &arguments.explore, family);
    for exploration in &explorations {
        exploration.check()?;
    }
    match explored {
        Some(wanted) => earlier(context, wanted, &explorations)
            .map(Box::new)
            .map(Planned::Explored),
        None => Ok(Planned::Explore(kind, explorations)),
    }
}

/// The scenarios with every node of this kind but those that the command line gives a kind by name.
fn scenarios<E: Environment>(
    context: &Context<'_, E>,
    arguments: &ExploreArguments,
    kind: NodeKind,
) -> Result<Vec<Scenario>, CommandError> {
    let mut kinds = context.arguments.kinds.clone();
    kinds.push(Override {
        node: None,
        value: kind,
    });
    let mut family = context.family(&arguments.scenario)?;
    for scenario in &mut family {
        scenario.set(&kinds)?;
    }
    Ok(family)
}

async fn side<E: Environment>(
    context: &Context<'_, E>,
    arguments: &CompareArguments,
    planned: Planned,
) -> Result<Side, CommandError> {
    let (kind, explorations) = match planned {
        Planned::Explored(side) => return Ok(*side),
        Planned::Explore(kind, explorations) => (kind, explorations),
    };
    let subject = format!(
        "{}-{}",
        name_of(&arguments.explore, &explorations),
        word(kind)
    );
    let session = Session::begin(context, &subject).await?;
    let run_id = session.campaign.folder.run_id();
    let explored = explore_all(&explorations, &session.campaign).await?;
    let interrupted = explored.ran.interrupted;
    let (records, found) = parts_of(explored);
    let ended = session.end(context, records.clone(), found, interrupted)?;
    Ok(Side {
        run_id,
        records,
        summary: ended.summary,
        interrupted,
    })
}

fn word(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Stock => "stock",
        NodeKind::Unified => "unified",
    }
}

fn exit_code(totals: &ComparedRecord, sides: [&Side; 2]) -> u8 {
    let is_any = |verdict| {
        let mut records = sides.into_iter().flat_map(|side| &side.records);
        records.any(|record| record.counts_as() == verdict)
    };
    if totals.regressed + totals.only_subject_fail > 0 {
        EXIT_FAIL
    } else if is_any(Verdict::RigFault) {
        EXIT_RIG_FAULT
    } else if is_any(Verdict::NotRun) {
        EXIT_NOT_RUN
    } else {
        EXIT_PASS
    }
}

/// A line a case, then the totals.
fn table(lines: &[ComparedCase], totals: &ComparedRecord) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str(&format!(
            "{:<12} {} ({} {}, {} {})\n",
            change_word(line),
            line.name,
            totals.control,
            counted(line.matched_by, line.control),
            totals.subject,
            counted(line.matched_by, line.subject),
        ));
    }
    text.push_str(&format!(
        "\n{} against {}: {} same ({} fail on both), {} fixed, {} regressed, {} not judged; only {}: {} \
         ({} fail), only {}: {} ({} fail)\nThe runs: {} and {}",
        totals.subject,
        totals.control,
        totals.same,
        totals.same_fail,
        totals.fixed,
        totals.regressed,
        totals.not_judged,
        totals.subject,
        totals.only_subject,
        totals.only_subject_fail,
        totals.control,
        totals.only_control,
        totals.only_control_fail,
        totals.control_run,
        totals.subject_run,
    ));
    text
}

fn change_word(line: &ComparedCase) -> &'static str {
    match line.change {
        Change::Regressed => "regressed",
        Change::Fixed => "fixed",
        Change::Same => "same",
        Change::NotJudged => "not judged",
        Change::OnlySubject => "only subject",
        Change::OnlyControl => "only control",
    }
}

fn counted(matched_by: MatchedBy, counts: Counts) -> String {
    match matched_by {
        MatchedBy::Case => match counts {
            Counts { fail: 1.., .. } => "fails".to_owned(),
            Counts {
                not_judged: 1.., ..
            } => "is not judged".to_owned(),
            Counts { .. } => "passes".to_owned(),
        },
        MatchedBy::Kind => match counts {
            Counts {
                pass: 0,
                fail: 0,
                not_judged: 0,
            } => "none".to_owned(),
            Counts {
                pass,
                fail,
                not_judged,
            } => format!("{pass} pass, {fail} fail, {not_judged} not judged"),
        },
    }
}
