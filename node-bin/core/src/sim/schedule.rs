//! What can happen next in a world, and which of it does. Deterministic: by a fixed order or by the world's
//! dice.

use bitcoin::secp256k1::rand::Rng;

use crate::effect::Store;
use crate::input::Input;

use super::flow::Step;
use super::judge;
use super::world::{Schedule, World};

/// Ticks given to a world that does not come to rest without.
const TICKS: u32 = 6;

/// Things that may happen before a world is given up.
const ACTIONS: u64 = 200_000;

/// One atomic thing that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A node's next effect is carried out.
    Run(usize),
    /// A node's user handles what it was told.
    Handle(usize),
    /// A node's user gives a command.
    Give(usize),
    /// A node is given the next block.
    Block(usize),
    /// A message that this node sent arrives at the other end of the link.
    Deliver {
        /// Which link.
        link: usize,
        /// Who sent it.
        from: usize,
    },
    /// A node's write becomes durable.
    Complete(usize, Store),
    /// A dead node starts.
    Restart(usize),
    /// Two nodes connect.
    Connect(usize),
    /// The flow's next phase begins.
    Phase,
    /// All nodes' timers tick.
    Tick,
}

impl World {
    /// What happens next; `None`: the world is at rest, or given up.
    pub fn choose(&mut self) -> Option<Action> {
        if self.given_up {
            return None;
        }
        if self.actions >= ACTIONS {
            self.complain(format!("the world does not rest after {ACTIONS} actions"));
            return None;
        }
        if let Some(action) = self.choose_by_itself() {
            return Some(action);
        }
        if self.recovering {
            self.recovering = false;
            if let Some(action) = self.choose_by_itself() {
                return Some(action);
            }
        }
        judge::quiet::look(self);
        if self.phase < self.flow.phases.len() {
            return Some(Action::Phase);
        }
        (self.ticks < TICKS && !self.is_resolved()).then_some(Action::Tick)
    }

    fn choose_by_itself(&mut self) -> Option<Action> {
        let mut chosen = None;
        match self.schedule {
            Schedule::Fixed => {
                self.enabled(&mut |action| {
                    chosen = Some(action);
                    false
                });
            }
            Schedule::Random => {
                let mut all = Vec::with_capacity(16);
                self.enabled(&mut |action| {
                    all.push(action);
                    true
                });
                if !all.is_empty() {
                    chosen = all.get(self.dice.gen_range(0..all.len())).copied();
                }
            }
        }
        chosen
    }

    /// Everything that can happen by itself, in the fixed order, until `visit` has had enough.
    fn enabled(&self, visit: &mut dyn FnMut(Action) -> bool) {
        let _ = self.enabled_alone(visit) && self.enabled_together(visit);
    }

    /// What nodes and their users do alone.
    fn enabled_alone(&self, visit: &mut dyn FnMut(Action) -> bool) -> bool {
        let alive = || {
            let nodes = self.nodes.iter().enumerate();
            nodes.filter(|(_, node)| node.engine.is_some())
        };
        alive().all(|(at, node)| node.pending.is_none() || visit(Action::Run(at)))
            && alive().all(|(at, node)| !node.user.has_mail() || visit(Action::Handle(at)))
            && alive()
                .all(|(at, node)| !node.user.has_orders(self.recovering) || visit(Action::Give(at)))
            && alive().all(|(at, node)| {
                node.seen_height >= self.chain.height() || visit(Action::Block(at))
            })
    }

    fn enabled_together(&self, visit: &mut dyn FnMut(Action) -> bool) -> bool {
        let links = || self.links.iter().enumerate();
        links().all(|(at, link)| {
            link.ends.iter().all(|from| {
                let action = Action::Deliver {
                    link: at,
                    from: *from,
                };
                link.on_the_way(*from) == 0 || visit(action)
            })
        }) && self.nodes.iter().enumerate().all(|(at, node)| {
            node.disk
                .in_flight()
                .all(|(store, _)| visit(Action::Complete(at, store)))
        }) && self
            .nodes
            .iter()
            .enumerate()
            .all(|(at, node)| node.engine.is_some() || node.is_gone || visit(Action::Restart(at)))
            && links().all(|(at, link)| {
                let both_live = link
                    .ends
                    .iter()
                    .all(|end| self.nodes[*end].engine.is_some());
                link.is_up || !both_live || visit(Action::Connect(at))
            })
    }

    /// Does it.
    pub fn perform(&mut self, action: Action) {
        match action {
            Action::Run(node) => self.run(node),
            Action::Handle(node) => self.handle(node),
            Action::Give(node) => self.give(node),
            Action::Block(node) => self.connect_block(node),
            Action::Deliver { link, from } => self.deliver(link, from),
            Action::Complete(node, store) => self.complete(node, store),
            Action::Restart(node) => self.restart(node),
            Action::Connect(link) => self.connect(link),
            Action::Phase => self.begin_phase(),
            Action::Tick => self.tick(),
        }
        self.actions += 1;
    }

    /// Does one thing. False: the world is at rest.
    pub fn advance(&mut self) -> bool {
        match self.choose() {
            Some(action) => {
                self.perform(action);
                true
            }
            None => false,
        }
    }

    /// Goes on until the world is at rest.
    pub fn run_to_rest(&mut self) {
        while self.advance() {}
    }

    fn handle(&mut self, node: usize) {
        if let Some(id) = self.nodes[node].user.handle() {
            self.note(|world| format!("{} has handled {}", world.nodes[node].name, id.0));
            self.input(node, Input::Told { id });
        }
    }

    fn give(&mut self, node: usize) {
        let id = self.next_command_id;
        self.next_command_id += 1;
        let recovering = self.recovering;
        if let Some(command) = self.nodes[node].user.give(recovering, id) {
            self.note(|world| world.names.command(world.nodes[node].name, &command));
            self.input(node, Input::Command { id, command });
        }
    }

    fn connect_block(&mut self, node: usize) {
        let height = self.nodes[node].seen_height + 1;
        let Some(block) = self.chain.block(height).cloned() else {
            return;
        };
        self.nodes[node].seen_height = height;
        self.note(|world| format!("{} sees block {height}", world.nodes[node].name));
        let input = Input::BlockConnected {
            height,
            hash: block.hash,
            is_tip: height == self.chain.height(),
            transactions: block.transactions.clone(),
        };
        self.input(node, input);
    }

    fn deliver(&mut self, link: usize, from: usize) {
        let to = self.links[link].other(from);
        if let Some(message) = self.links[link].receive(from) {
            self.note(|world| {
                let (from, to) = (world.nodes[from].name, world.nodes[to].name);
                format!("{from} -> {to} {}", world.names.message(&message))
            });
            let peer = self.nodes[from].node_id;
            self.input(to, Input::Message { peer, message });
        }
    }

    fn connect(&mut self, link: usize) {
        let ends = self.links[link].ends;
        self.links[link].is_up = true;
        self.note(|world| {
            let [one, other] = ends.map(|end| world.nodes[end].name);
            format!("{one} = {other}")
        });
        for (end, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            let peer = self.nodes[other].node_id;
            self.input(end, Input::PeerUp { peer });
        }
    }

    fn begin_phase(&mut self) {
        let flow = self.flow.clone();
        self.note(|world| format!("phase {}", world.phase));
        if let Some(steps) = flow.phases.get(self.phase) {
            for step in steps {
                match step {
                    // The phase comes again until it is over.
                    Step::Settle if !self.settle() => return,
                    Step::Settle => {}
                    Step::Order { node, command } => {
                        self.nodes[*node].user.order(command.clone());
                    }
                    Step::Mine { blocks } => (0..*blocks).for_each(|_| self.chain.mine()),
                    Step::Censor { pair, is_censored } => self.censor(*pair, *is_censored),
                }
            }
        }
        self.phase += 1;
    }

    fn tick(&mut self) {
        self.ticks += 1;
        self.note(|_| "tick".to_owned());
        for node in 0..self.nodes.len() {
            self.input(node, Input::Tick);
        }
    }

    /// Whether nothing is under way any more, as far as a glance tells.
    fn is_resolved(&self) -> bool {
        self.nodes.iter().filter(|node| !node.is_gone).all(|node| {
            node.user.unanswered().next().is_none()
                && node.disk.durable().channels.values().all(|record| {
                    record.events.is_empty()
                        && record.inbound.is_empty()
                        && record.outbound.is_empty()
                })
                && node
                    .disk
                    .durable()
                    .payments
                    .values()
                    .all(|payment| payment.outcome.is_some())
        })
    }
}
