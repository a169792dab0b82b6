//! Explorations of one run: of one scenario, or of all that form a family. Owns the order: all dry runs,
//! then all cases, then second kills; and what is written down of them as a whole.

use std::collections::{BTreeMap, BTreeSet};

use faults::NodePoint;

use super::campaign::{Campaign, PlannedCase, Ran};
use super::classes::PointClass;
use super::exploration::{Begun, Depth, Exploration, ExploreError, record_pair, record_race};
use super::pairs::{PointPair, drawn as drawn_pairs, pairs_of, recovery_points};
use super::points::ReachedPoint;
use super::races::{RaceClass, drawn as drawn_races};
use super::runner::RunCase;
use crate::run_store::{
    CaseRecord, PairClassRecord, PairsRecord, PointClassRecord, PointsRecord, RaceClassRecord,
    RacesRecord,
};

/// What explorations came to.
#[derive(Debug)]
pub struct Explored {
    /// The dry runs, as far as the user let them come.
    pub dry_runs: Vec<CaseRecord>,
    /// What they reached.
    pub points: PointsRecord,
    /// The pairs of kills, if second ones were asked for.
    pub pairs: Option<PairsRecord>,
    /// The closes, if those were tried.
    pub races: Option<RacesRecord>,
    /// The cases.
    pub ran: Ran,
}

/// Makes all dry runs, and runs the chosen cases of those that pass.
///
/// # Errors
/// Nothing is chosen, or what was found cannot be saved.
pub async fn explore_all<R: RunCase>(
    explorations: &[Exploration],
    campaign: &Campaign<R>,
) -> Result<Explored, ExploreError> {
    for exploration in explorations {
        exploration.check()?;
    }
    let mut explored = Explored {
        dry_runs: Vec::new(),
        points: PointsRecord::default(),
        pairs: None,
        races: None,
        ran: Ran::default(),
    };
    let mut begun = Vec::new();
    for exploration in explorations {
        match exploration.begin(campaign).await {
            Some(one) => begun.push((exploration, one)),
            None => explored.ran.interrupted = true,
        }
        if explored.ran.interrupted {
            break;
        }
    }
    explored.dry_runs = begun
        .iter()
        .flat_map(|(_, one)| one.dry_runs.clone())
        .collect();
    let raced = races_of(&begun);
    explored.points = record_points(&begun, &raced.selected_classes);
    campaign.folder.save_points(&explored.points)?;
    if let Some(record) = &raced.record {
        campaign.folder.save_races(record)?;
    }
    explored.races = raced.record;
    if explored.ran.interrupted {
        return Ok(explored);
    }
    let is_empty = begun.iter().all(|(_, one)| one.is_choice_empty);
    if is_empty && !begun.is_empty() {
        let reached = explored.points.points.len();
        return Err(ExploreError::NothingChosen { reached });
    }
    let kills = begun.iter().flat_map(|(exploration, one)| {
        let chosen = one.chosen.iter();
        chosen.map(|class| exploration.case(class))
    });
    let cases: Vec<PlannedCase> = kills.chain(raced.cases).collect();
    let second = explorations
        .iter()
        .any(|exploration| exploration.options.depth == Depth::Two);
    if !second {
        explored.ran = campaign.run_all(cases).await;
        return Ok(explored);
    }
    let (ran, recoveries) = campaign.run_all_reading(cases, recovery_points).await;
    explored.ran = ran;
    second_kills(campaign, &mut explored, &begun, &recoveries).await?;
    Ok(explored)
}

/// The closes of a run, drawn.
struct Raced {
    cases: Vec<PlannedCase>,
    record: Option<RacesRecord>,
    /// First points of the classes that a chosen case stands for.
    selected_classes: BTreeSet<(String, NodePoint)>,
}

fn races_of(begun: &[(&Exploration, Begun)]) -> Raced {
    let mut by_id: BTreeMap<&str, (&Exploration, &RaceClass)> = BTreeMap::new();
    for (exploration, one) in begun {
        for race in &one.races {
            by_id.insert(&race.case_id, (exploration, race));
        }
    }
    let mut varying: BTreeSet<(&str, &NodePoint)> = BTreeSet::new();
    for (exploration, one) in begun {
        let classes = one.classes.iter().filter(|class| class.varies);
        let points = classes.flat_map(|class| &class.points);
        varying.extend(points.map(|point| (exploration.prefix.as_str(), point)));
    }
    let mut raced = Raced {
        cases: Vec::new(),
        record: None,
        selected_classes: BTreeSet::new(),
    };
    let Some((first, _)) = by_id.values().next() else {
        return raced;
    };
    let options = &first.options;
    let ids: Vec<String> = by_id.keys().map(|id| (*id).to_owned()).collect();
    let order = match options.budget {
        Some(_) => drawn_races(ids, first.seed),
        None => ids,
    };
    let most = options.budget.unwrap_or(usize::MAX);
    let most = most.min(options.limit.unwrap_or(usize::MAX));
    let mut record = RacesRecord::default();
    let mut counted: BTreeSet<(&str, &NodePoint)> = BTreeSet::new();
    for (place, id) in order.iter().enumerate() {
        let Some((exploration, race)) = by_id.get(id.as_str()) else {
            continue;
        };
        let selected = place < most;
        record.races.push(RaceClassRecord {
            case_id: race.case_id.clone(),
            race: record_race(race),
            selected,
            varies: race.varies,
        });
        if selected {
            let scenario = exploration.prefix.as_str();
            let fresh = race
                .points
                .iter()
                .filter(|point| varying.contains(&(scenario, *point)) == race.varies)
                .filter(|point| counted.insert((scenario, point)));
            let fresh: Vec<NodePoint> = fresh.cloned().collect();
            for point in &race.points {
                let key = (exploration.prefix.clone(), point.clone());
                raced.selected_classes.insert(key);
            }
            raced.cases.push(exploration.race_case(race, fresh));
        }
    }
    raced.record = Some(record);
    raced
}

/// Draws pairs, and runs a case for each.
async fn second_kills<R: RunCase>(
    campaign: &Campaign<R>,
    explored: &mut Explored,
    begun: &[(&Exploration, Begun)],
    recoveries: &BTreeMap<String, Vec<ReachedPoint>>,
) -> Result<(), ExploreError> {
    let mut owners: BTreeMap<String, &Exploration> = BTreeMap::new();
    let mut pairs: Vec<PointPair> = Vec::new();
    for (exploration, one) in begun {
        let covered = |case_id: &str| {
            let mut records = explored.ran.records.iter();
            records.any(|record| record.case_id == case_id && record.covers())
        };
        let first_kills: Vec<(PointClass, Vec<ReachedPoint>)> = one
            .chosen
            .iter()
            .filter(|class| covered(&class.case_id))
            .filter_map(|class| {
                let recovery = recoveries.get(&class.case_id)?;
                Some((class.clone(), recovery.clone()))
            })
            .collect();
        for pair in pairs_of(&first_kills, exploration.options.every_point) {
            owners.insert(pair.case_id.clone(), exploration);
            pairs.push(pair);
        }
    }
    let Some((first, _)) = begun.first() else {
        return Ok(());
    };
    let pairs = drawn_pairs(pairs, first.seed);
    let budget = first.options.budget.unwrap_or(usize::MAX);
    let record = record_pairs(&pairs, budget);
    campaign.folder.save_pairs(&record)?;
    explored.pairs = Some(record);
    if explored.ran.interrupted {
        return Ok(());
    }
    let cases = pairs.iter().take(budget).filter_map(|pair| {
        let owner = owners.get(&pair.case_id)?;
        Some(owner.pair_case(pair))
    });
    let second = campaign.run_all(cases.collect()).await;
    explored.ran.records.extend(second.records);
    explored.ran.interrupted |= second.interrupted;
    Ok(())
}

fn record_pairs(pairs: &[PointPair], budget: usize) -> PairsRecord {
    let record = |(place, pair): (usize, &PointPair)| PairClassRecord {
        case_id: pair.case_id.clone(),
        pair: record_pair(pair),
        selected: place < budget,
    };
    PairsRecord {
        pairs: pairs.iter().enumerate().map(record).collect(),
    }
}

fn record_points(
    begun: &[(&Exploration, Begun)],
    raced: &BTreeSet<(String, NodePoint)>,
) -> PointsRecord {
    let mut record = PointsRecord::default();
    for (exploration, one) in begun {
        let of = |varies: bool| {
            let classes = one.classes.iter().filter(|class| class.varies == varies);
            let points = classes.flat_map(|class| class.points.iter().cloned());
            let mut points: Vec<NodePoint> = points.collect();
            points.sort_unstable();
            points.dedup();
            points
        };
        record.points.extend(of(false));
        record.varying.extend(of(true));
        for class in &one.classes {
            let is_chosen = one
                .chosen
                .iter()
                .any(|other| other.case_id == class.case_id);
            let is_raced = class.points.iter().any(|point| {
                let key = (exploration.prefix.clone(), point.clone());
                raced.contains(&key)
            });
            record.classes.push(PointClassRecord {
                case_id: class.case_id.clone(),
                points: class.points.clone(),
                selected: is_chosen || is_raced,
            });
        }
    }
    record
}
