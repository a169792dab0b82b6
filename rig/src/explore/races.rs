//! Closes at points: which channels, by whom, with or without a SIGKILL, at which classes of points. Owns
//! which such cases a scenario's `[[race]]` entries make and in which order they are drawn.

use std::collections::BTreeSet;

use bitcoin::hashes::{Hash, sha256};
use faults::{Action, Closing, Fault, NodePoint};

use super::classes::{case_id_of, classes_of, unique};
use super::points::ReachedPoint;
use crate::scenario::{NodeKind, Race, Scenario};

/// A class of points with what closes there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaceClass {
    /// Name of the case that stands for it.
    pub case_id: String,
    /// The points in the order they are passed, those that vary last; the first stands for all.
    pub points: Vec<NodePoint>,
    /// What happens there.
    pub action: Action,
    /// Not every dry run passed any of the points.
    pub varies: bool,
}

impl RaceClass {
    /// The fault of the case.
    pub fn fault(&self) -> Fault {
        Fault {
            // A class is made from its first point.
            at: self.points[0].clone(),
            action: self.action.clone(),
            life: 0,
        }
    }
}

/// Who publishes the commitments.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// The node at the point.
    Us,
    /// The other side of each channel.
    Peer,
}

/// The cases of one race, from the points that its node passed. A point that every dry run passed stands for its
/// class where there is one; else the class `varies`.
pub fn race_classes(
    scenario: &Scenario,
    race: &Race,
    reached: &[ReachedPoint],
    varies: impl Fn(&NodePoint) -> bool,
    every_point: bool,
) -> Vec<RaceClass> {
    let mut taken = BTreeSet::new();
    let mut classes = Vec::new();
    for group in &race.close {
        for by in [By::Us, By::Peer] {
            for kill in [false, true] {
                let closes = closes_of(scenario, race, group, by);
                let who = match by {
                    By::Us => "us",
                    By::Peer => "peer",
                };
                let and_killed = if kill { "-kill" } else { "" };
                let suffix = format!(".close-{}-by-{who}{and_killed}", group.join("_"));
                for mut points in grouped(scenario, race, reached, by, kill, every_point) {
                    // Keeps the order of those that are alike.
                    points.sort_by_key(&varies);
                    let id = format!("{}{suffix}", case_id_of(&points[0]));
                    classes.push(RaceClass {
                        case_id: unique(id, &mut taken),
                        varies: varies(&points[0]),
                        points,
                        action: Action::Close {
                            closes: closes.clone(),
                            kill,
                        },
                    });
                }
            }
        }
    }
    classes.sort_by(|one, other| one.case_id.cmp(&other.case_id));
    classes
}

fn closes_of(scenario: &Scenario, race: &Race, group: &[String], by: By) -> Vec<Closing> {
    let closing = |label: &String| {
        let mut channels = scenario.channels.iter();
        let channel = channels.find(|channel| channel.label == *label)?;
        let by = match by {
            By::Us => race.at.clone(),
            By::Peer => channel.peer_of(&race.at)?.to_owned(),
        };
        Some(Closing {
            channel: label.clone(),
            by,
        })
    };
    group.iter().filter_map(closing).collect()
}

/// Points at which such a close meets the same world.
fn grouped(
    scenario: &Scenario,
    race: &Race,
    reached: &[ReachedPoint],
    by: By,
    kill: bool,
    every_point: bool,
) -> Vec<Vec<NodePoint>> {
    if kill || every_point {
        let classes = classes_of(reached, every_point);
        return classes.into_iter().map(|class| class.points).collect();
    }
    let node = scenario.nodes.get(&race.at);
    let is_stock = node.is_none_or(|node| node.kind == NodeKind::Stock);
    let joins = match (by, is_stock) {
        (By::Peer, _) => meets_the_same_peer,
        (By::Us, true) => ends_with_the_same_input,
        (By::Us, false) => ends_with_the_same_effect,
    };
    let mut groups: Vec<Vec<NodePoint>> = Vec::new();
    let mut previous: Option<&ReachedPoint> = None;
    for point in reached {
        match groups.last_mut() {
            Some(group) if previous.is_some_and(|before| joins(before, point)) => {
                group.push(point.point.clone());
            }
            _ => groups.push(vec![point.point.clone()]),
        }
        previous = Some(point);
    }
    groups
}

/// The node goes on as if nothing had been and hears of the peer's close with its next input: what counts
/// is what the peer has heard of it by then.
fn meets_the_same_peer(first: &ReachedPoint, second: &ReachedPoint) -> bool {
    let name = &first.point.point.name;
    let may_leave = name.starts_with("send.") || name.starts_with("broadcast.");
    first.input == second.input && !(may_leave && name.ends_with(".before"))
}

/// A node that takes nothing in before it has done with an input closes when that is done.
fn ends_with_the_same_input(first: &ReachedPoint, second: &ReachedPoint) -> bool {
    first.input == second.input
}

/// One that takes a close in between two effects closes when the one under way is done.
fn ends_with_the_same_effect(first: &ReachedPoint, second: &ReachedPoint) -> bool {
    first.input == second.input && !second.point.point.name.ends_with(".before")
}

/// In the order in which they are drawn: any, but for a seed always the same, and for each case the same
/// whatever others there are, so that a larger budget contains a smaller one.
pub fn drawn(mut case_ids: Vec<String>, seed: u64) -> Vec<String> {
    case_ids.sort_by_cached_key(|case_id| {
        let lot = format!("{seed} {case_id}");
        sha256::Hash::hash(lot.as_bytes()).to_byte_array()
    });
    case_ids
}
