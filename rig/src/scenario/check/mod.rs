//! Turns a file as written into a scenario, or says all that is impossible about it. Owns the
//! order of checking; the rules are in the modules below. Never starts anything.

mod balances;
mod groups;
mod outcome;
mod payments;
mod races;
mod route;
mod steps;
mod topology;

use toml::Spanned;

use super::error::Complaints;
use super::keys::Word;
use super::model::{NodeKind, Scenario};
use super::raw::RawScenario;
use groups::Groups;
use outcome::Outcomes;
pub use payments::LIVE_PREFIX;
use races::Ground;
use topology::Topology;

/// What a node runs unless the file or the command line says otherwise.
pub const DEFAULT_KIND: NodeKind = NodeKind::Unified;

/// Below this a part has no output of its own in a commitment transaction: LDK's dust limit, in
/// satoshis.
const DUST_LIMIT_SAT: u64 = 354;

/// Checks a whole file. What it returns is to be used only if there were no complaints.
pub(super) fn check(
    raw: RawScenario,
    name: &str,
    complaints: &mut Complaints<'_>,
) -> Option<Scenario> {
    if raw.about.get_ref().trim().is_empty() {
        complaints.at(
            raw.about.span(),
            "say in a sentence what the scenario shows",
        );
    }
    if raw.nodes.is_empty() {
        complaints.at(0..0, "a scenario needs nodes: write [nodes] with A = {}");
    }
    if raw.act.is_empty() {
        complaints.at(0..0, "a scenario needs at least one step: write [[act]]");
    }
    let topology = Topology::check(raw.nodes, raw.channels, complaints);
    let groups = Groups::of(&raw.act, complaints);
    let outcomes = Outcomes::read(raw.expect, &topology, &groups, complaints);
    let known = steps::Known {
        topology: &topology,
        outcomes: &outcomes,
        groups: &groups,
    };
    let (act, labels) = steps::check(raw.act, known, complaints);
    let cases = outcome::check_cases(raw.cases, &topology, &labels, complaints);
    let kinds = act.iter().map(|step| &step.kind);
    let races = Ground::new(&topology, &outcomes, &labels, kinds).check(raw.races, complaints);
    Some(Scenario {
        name: name.to_owned(),
        about: raw.about.into_inner(),
        expect: outcomes.into_expectation(),
        nodes: topology.nodes,
        channels: topology
            .channels
            .into_iter()
            .map(|known| known.channel)
            .collect(),
        act,
        cases,
        races,
    })
}

/// Complains of a name that could not be a file name's or a key's part.
fn check_name(name: &Word, what: &str, complaints: &mut Complaints<'_>) {
    let text = name.get_ref();
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || text.len() > 40 || !text.chars().all(legal) {
        let message =
            format!("{text:?} cannot name {what}: use 1 to 40 letters, digits, `-` and `_`");
        complaints.at(name.span(), message);
    }
}

/// The index of the first one that stands earlier in the list under the same name.
fn is_repeated(earlier: &[&Word], name: &Word) -> bool {
    earlier
        .iter()
        .any(|other| Spanned::get_ref(other) == name.get_ref())
}

impl Scenario {
    /// What is possible but worth knowing before a run: amounts that leave no trace on chain.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for payment in self.act.iter().flat_map(|step| step.payments()) {
            let whole = [payment.amount_msat];
            let parts = match payment.parts_msat.as_slice() {
                [] => &whole[..],
                parts => parts,
            };
            for part_msat in parts.iter().filter(|msat| **msat < DUST_LIMIT_SAT * 1_000) {
                notes.push(format!(
                    "payment {}: a part of {part_msat} msat is dust (below {DUST_LIMIT_SAT} sat) \
                     in every commitment: it has no output on chain, and a close loses it",
                    payment.id
                ));
            }
        }
        notes
    }
}
