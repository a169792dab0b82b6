//! Faults that end channels, or replace blocks: which of them are worth a case at a moment.

use crate::sim::chain::Fate;
use crate::sim::fault::Fault;
use crate::sim::plan::Plan;
use crate::sim::schedule::Action;
use crate::sim::world::World;

use super::Worker;

/// The deepest reorganisation that is tried: beyond it nothing is promised.
const DEEPEST_REORG: u32 = 6;

/// Which of them are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endings {
    /// Every channel is closed by force, by either side.
    pub closes: bool,
    /// Blocks are replaced.
    pub reorgs: bool,
    /// A node publishes a commitment that it has revoked.
    pub cheats: bool,
}

impl Endings {
    /// All of them.
    pub const ALL: Endings = Endings {
        closes: true,
        reorgs: true,
        cheats: true,
    };

    /// Whatever can happen now.
    pub fn possible(self, world: &World) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.closes {
            faults.extend(possible_closes(world));
        }
        if self.reorgs {
            faults.extend(possible_reorgs(world));
        }
        // One at a time.
        if self.cheats && world.cheats.is_empty() {
            faults.extend(possible_cheats(world));
        }
        faults
    }
}

impl Worker<'_> {
    /// All of them that are possible before this action. A node takes nothing up while it has effects to
    /// carry out, so that moments between these are one.
    pub(super) fn endings(&mut self, world: &World, plan: &Plan, crashes: usize, action: Action) {
        let endings = self.options.endings;
        if endings == Endings::default() || matches!(action, Action::Run(_)) {
            return;
        }
        if !self.claim(plan, (world.actions, usize::MAX, false)) {
            return;
        }
        for fault in endings.possible(world) {
            self.fork(world, plan, crashes, &fault, None);
        }
        self.pass(plan);
    }
}

fn possible_closes(world: &World) -> Vec<Fault> {
    let mut found = Vec::new();
    for opened in &world.flow.opened {
        for node in opened.pair {
            let engine = world.nodes[node].engine.as_ref();
            let channel = engine.and_then(|engine| engine.node.channels.get(&opened.channel_id));
            if channel.is_none_or(|channel| channel.record.closure.is_some()) {
                continue;
            }
            // Where the flow goes on, a block may come before it does.
            let goes_on = world.phase < world.flow.phases.len();
            for is_mined in [false, true] {
                if !is_mined || goes_on {
                    found.push(Fault::Close {
                        node,
                        pair: opened.pair,
                        at: world.actions,
                        is_mined,
                    });
                }
            }
        }
    }
    found
}

fn possible_reorgs(world: &World) -> Vec<Fault> {
    let mut found = Vec::new();
    let most = world.chain.height().saturating_sub(world.first_height);
    for depth in world.chain.busy_depths(DEEPEST_REORG.min(most) as usize) {
        for fate in [Fate::Kept, Fate::Lost, Fate::Rivals] {
            // Six confirmations are taken at their word: what was failed upstream by then may be claimed after all, in
            // place of the timeout or because a claim pays more than the timeout that waits again. And who cheats
            // and is gone publishes nothing again.
            let may_lose = fate == Fate::Rivals || world.chain.is_contested(depth);
            let is_too_deep = may_lose && depth >= DEEPEST_REORG;
            if is_too_deep || (fate != Fate::Kept && !world.cheats.is_empty()) {
                continue;
            }
            found.push(Fault::Reorg {
                depth,
                fate,
                at: world.actions,
            });
        }
    }
    found
}

fn possible_cheats(world: &World) -> Vec<Fault> {
    let mut found = Vec::new();
    let channels = |node: usize| {
        let opened = world.flow.opened.iter();
        opened.filter(|opened| opened.pair.contains(&node)).count()
    };
    for opened in &world.flow.opened {
        let is_forced = world.flow.forces.contains(&opened.pair);
        for node in opened.pair {
            // Whoever is gone leaves its other channels to themselves.
            if is_forced || channels(node) > 1 || world.nodes[node].engine.is_none() {
                continue;
            }
            for number in world.revoked_commitments(node, opened) {
                for is_late in [false, true] {
                    found.push(Fault::Cheat {
                        node,
                        pair: opened.pair,
                        number,
                        is_late,
                        at: world.actions,
                    });
                }
            }
        }
    }
    found
}
