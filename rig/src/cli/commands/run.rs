//! `deadbolt run`.

use std::collections::BTreeMap;

use faults::Fault;

use super::super::args::RunArguments;
use super::super::session::{Found, Session};
use super::{CommandError, Context, Ended, Environment};
use crate::explore::{PlannedCase, case_id_of};
use crate::run_store::PLAN_VERSION;
use crate::scenario::{Case, Plan, Scenario};

pub(super) async fn run<E: Environment>(
    context: &Context<'_, E>,
    arguments: &RunArguments,
) -> Result<Ended, CommandError> {
    let scenario = context.scenario(&arguments.scenario)?;
    let faults = faults_of(arguments);
    let cases = if faults.is_empty() && !scenario.cases.is_empty() {
        let pinned = |case: &Case| planned(context, &scenario, case.faults.clone(), Some(case));
        scenario.cases.iter().map(pinned).collect()
    } else {
        check(&scenario, &faults)?;
        vec![planned(context, &scenario, faults, None)]
    };
    let session = Session::begin(context, &scenario.name).await?;
    let ran = session.campaign.run_all(cases).await;
    session.end(context, ran.records, Found::default(), ran.interrupted)
}

/// Kills first. A process dies once, so a node's second kill is meant for its second life.
fn faults_of(arguments: &RunArguments) -> Vec<Fault> {
    let mut lives: BTreeMap<&str, u32> = BTreeMap::new();
    let mut faults = Vec::new();
    for at in &arguments.kills {
        let life = lives.entry(&at.node).or_insert(0);
        faults.push(Fault {
            life: *life,
            ..Fault::kill(at.clone())
        });
        *life += 1;
    }
    faults.extend(arguments.faults.iter().cloned());
    faults
}

fn check(scenario: &Scenario, faults: &[Fault]) -> Result<(), CommandError> {
    for fault in faults {
        fault.check()?;
        if !scenario.nodes.contains_key(&fault.at.node) {
            let known: Vec<&str> = scenario.nodes.keys().map(String::as_str).collect();
            return Err(CommandError::Usage(format!(
                "{}: the scenario {} has no node {:?}; it has {}",
                fault.at,
                scenario.name,
                fault.at.node,
                known.join(", ")
            )));
        }
    }
    Ok(())
}

fn planned<E: Environment>(
    context: &Context<'_, E>,
    scenario: &Scenario,
    faults: Vec<Fault>,
    pin: Option<&Case>,
) -> PlannedCase {
    let case_id = match (pin, faults.first()) {
        (Some(case), _) => slug(&case.name),
        (None, Some(fault)) => case_id_of(&fault.at),
        (None, None) => "no-fault".to_owned(),
    };
    PlannedCase {
        points: faults.iter().map(|fault| fault.at.clone()).collect(),
        plan: Plan {
            version: PLAN_VERSION,
            case_id: case_id.clone(),
            seed: context.arguments.seed,
            scenario: scenario.clone(),
            faults,
        },
        case_id,
        pin: pin.cloned(),
        pair: None,
        race: None,
        attempts: 1,
        varies: false,
    }
}

/// A pinned case's name as a folder's.
fn slug(name: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    name.chars()
        .map(|c| if legal(c) { c } else { '-' })
        .collect()
}
