//! What the trace amounts to at this moment: who lives, who is connected, how far each node has
//! come. Derived from reports alone; never waits and never acts.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write;

use faults::{Closing, Condition, GateReport, NodePoint, PointId};
use node_bin::api::{Counters, Report, UserEvent};

use crate::evidence::NodeReport;

/// Whether a node's process can be talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Not started yet in this case.
    Unborn,
    /// Started, its control socket not there yet.
    Starting,
    /// It has reported its first idle.
    Running,
    /// Killed or ended by itself, and not started again.
    Dead,
}

/// The last report of having nothing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Idle {
    pub(super) seq: u64,
    pub(super) handled: u64,
    pub(super) counters: BTreeMap<String, Counters>,
    /// Writes that wait to be told to be done.
    pub(super) waiting_writes: u64,
}

/// One side's view of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) up: bool,
    /// The trace entry that said so.
    pub(super) seq: u64,
}

/// One node, as its present life told.
#[derive(Clone, Debug)]
pub(super) struct NodeLive {
    pub(super) life: u32,
    pub(super) status: Status,
    /// The whole process stands at this point.
    pub(super) frozen: Option<PointId>,
    /// It stands there for a hold, until this comes true.
    pub(super) held: Option<Condition>,
    /// Operations that are held while the rest of the process goes on, and until when.
    pub(super) holding: Vec<(PointId, Condition)>,
    pub(super) idle: Option<Idle>,
    /// Id of the last request sent to this life; 0 before the first.
    pub(super) last_request: u64,
    pub(super) links: BTreeMap<String, Link>,
    /// Messages handed to each peer since the connection is up.
    pub(super) sent: BTreeMap<String, u64>,
}

impl NodeLive {
    fn unborn() -> Self {
        NodeLive {
            life: 0,
            status: Status::Unborn,
            frozen: None,
            held: None,
            holding: Vec::new(),
            idle: None,
            last_request: 0,
            links: BTreeMap::new(),
            sent: BTreeMap::new(),
        }
    }

    /// Whether this side counts the peer as connected.
    pub(super) fn is_up(&self, peer: &str) -> bool {
        self.status != Status::Dead && self.links.get(peer).is_some_and(|link| link.up)
    }

    /// The last idle, if nothing about connections was reported after it.
    pub(super) fn settled_idle(&self) -> Option<&Idle> {
        let idle = self.idle.as_ref()?;
        let newest = self.links.values().map(|link| link.seq).max();
        (newest.unwrap_or(0) < idle.seq).then_some(idle)
    }

    /// How far this life has handled its requests.
    pub(super) fn handled(&self) -> u64 {
        self.idle.as_ref().map_or(0, |idle| idle.handled)
    }
}

/// A user event, from whichever life.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) node: String,
    pub(super) event: UserEvent,
}

/// The whole world.
#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    /// Number of the last trace entry.
    pub(super) seq: u64,
    pub(super) nodes: BTreeMap<String, NodeLive>,
    /// User events in order of arrival.
    pub(super) told: Vec<Told>,
    /// Labels of the scenario's steps that have ended.
    pub(super) steps_ended: BTreeSet<String>,
    /// Points that were passed or stood at, in any life.
    pub(super) reached: HashSet<NodePoint>,
    /// Connections that faults have cut and the rig has not made again.
    pub(super) cuts: Vec<Cut>,
    /// Nodes that are to stay down.
    pub(super) stopped: BTreeSet<String>,
    /// What killed nodes are to close when they are back.
    pub(super) to_close: Vec<Closing>,
    /// A fault has closed a channel, so that payments may end otherwise than planned.
    pub(super) closed_by_fault: bool,
    /// Only the payments that prove channels alive are left.
    pub(super) is_proving: bool,
}

/// A connection that a fault has cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Who stood at the point and was not told.
    pub(super) node: String,
    /// Who was told to drop it.
    pub(super) peer: String,
    /// The trace entry.
    pub(super) seq: u64,
}

impl Live {
    pub(super) fn new<'a>(names: impl IntoIterator<Item = &'a String>) -> Self {
        let nodes = names.into_iter();
        Live {
            nodes: nodes
                .map(|name| (name.clone(), NodeLive::unborn()))
                .collect(),
            ..Live::default()
        }
    }

    /// A new process of the node: nothing of the old one's standing holds for it.
    pub(super) fn node_started(&mut self, name: &str, life: u32) {
        let fresh = NodeLive {
            life,
            status: Status::Starting,
            ..NodeLive::unborn()
        };
        self.nodes.insert(name.to_owned(), fresh);
    }

    /// The node's process is gone.
    pub(super) fn node_died(&mut self, name: &str, life: u32) {
        if let Some(node) = self.of_life(name, life) {
            node.status = Status::Dead;
            node.frozen = None;
            node.held = None;
            node.holding.clear();
        }
    }

    /// The node's state, if it is still in this life.
    pub(super) fn of_life(&mut self, name: &str, life: u32) -> Option<&mut NodeLive> {
        self.nodes.get_mut(name).filter(|node| node.life == life)
    }

    /// Takes in one report, which is trace entry `seq`.
    pub(super) fn take(&mut self, seq: u64, name: &str, life: u32, report: &NodeReport) {
        match report {
            NodeReport::Gate(gate) => self.take_gate(name, life, gate),
            NodeReport::Node(Report::Event { event }) => self.told.push(Told {
                node: name.to_owned(),
                event: event.clone(),
            }),
            NodeReport::Node(report) => {
                let Some(node) = self.of_life(name, life) else {
                    return;
                };
                match report {
                    Report::PeerUp { peer } => {
                        node.links.insert(peer.clone(), Link { up: true, seq });
                        node.sent.insert(peer.clone(), 0);
                    }
                    Report::Sent { peer, .. } => {
                        *node.sent.entry(peer.clone()).or_default() += 1;
                    }
                    Report::PeerDown { peer } => {
                        node.links.insert(peer.clone(), Link { up: false, seq });
                    }
                    Report::Idle {
                        handled,
                        counters,
                        waiting_writes,
                    } => {
                        if node.status == Status::Starting {
                            node.status = Status::Running;
                        }
                        node.idle = Some(Idle {
                            seq,
                            handled: *handled,
                            counters: counters.clone(),
                            waiting_writes: *waiting_writes,
                        });
                    }
                    _ => {}
                }
            }
        }
    }

    fn take_gate(&mut self, name: &str, life: u32, gate: &GateReport) {
        let point = match gate {
            GateReport::Point { point, .. }
            | GateReport::Held { point }
            | GateReport::Failed { point } => point,
            GateReport::Frozen { point } => {
                if let Some(node) = self.of_life(name, life) {
                    node.frozen = Some(point.clone());
                }
                point
            }
        };
        self.reached.insert(NodePoint {
            node: name.to_owned(),
            point: point.clone(),
        });
    }

    /// Whether a hold's condition is true by now.
    pub(super) fn is_true(&self, until: &Condition) -> bool {
        match until {
            Condition::Point(point) => self.reached.contains(point),
            Condition::Step(label) => self.steps_ended.contains(label),
            Condition::Never => false,
        }
    }

    /// Whether the whole process is held and stays so for now. One whose condition is true is
    /// about to go on, even if nobody has told it yet.
    pub(super) fn is_held(&self, node: &NodeLive) -> bool {
        let until = node.held.as_ref();
        until.is_some_and(|until| !self.is_true(until))
    }

    /// Whether a node is dead and has to be started again before work can go on.
    pub(super) fn someone_died(&self) -> bool {
        let mut nodes = self.nodes.iter();
        nodes.any(|(name, node)| node.status == Status::Dead && !self.stopped.contains(name))
    }

    /// Whether something has to be mended before work can go on: a node, or a connection.
    pub(super) fn is_interrupted(&self) -> bool {
        !self.cuts.is_empty() || self.someone_died()
    }

    /// Whether the peer has handled all that the node has sent it.
    pub(super) fn has_arrived(&self, name: &str, peer: &str) -> bool {
        let sent = self.nodes.get(name).and_then(|node| node.sent.get(peer));
        let idle = self.nodes.get(peer).and_then(NodeLive::settled_idle);
        let received = idle.and_then(|idle| idle.counters.get(name));
        received.is_some_and(|counters| Some(&counters.received) == sent)
    }

    /// Whether the node has noticed that a connection is cut: `Some(false)` if it has done all it had to do
    /// and still counts it as up.
    pub(super) fn has_noticed(&self, cut: &Cut) -> Option<bool> {
        let node = self.nodes.get(&cut.node)?;
        let idle_since = node.idle.as_ref().is_some_and(|idle| idle.seq > cut.seq);
        match node.is_up(&cut.peer) {
            false => Some(true),
            true => (idle_since && node.frozen.is_none()).then_some(false),
        }
    }

    /// Who runs and still counts the connection to a dead node as up: the node, and who is dead.
    pub(super) fn unnoticed_deaths(&self) -> Vec<(String, String)> {
        let nodes = || self.nodes.iter();
        let dead = nodes().filter(|(_, node)| node.status == Status::Dead);
        let missed = dead.flat_map(|(dead, _)| {
            let others = nodes().filter(|(_, other)| {
                other.status == Status::Running && !self.is_held(other) && other.is_up(dead)
            });
            others.map(|(name, _)| (name.clone(), dead.clone()))
        });
        missed.collect()
    }

    /// Whether this life of the node is over.
    pub(super) fn is_over(&self, name: &str, life: u32) -> bool {
        self.nodes
            .get(name)
            .is_none_or(|node| node.life != life || node.status == Status::Dead)
    }

    /// Whether both sides count the connection as up.
    pub(super) fn is_link_up(&self, one: &str, other: &str) -> bool {
        self.side_is_up(one, other) && self.side_is_up(other, one)
    }

    /// Whether both sides count the connection as down.
    pub(super) fn is_link_down(&self, one: &str, other: &str) -> bool {
        !self.side_is_up(one, other) && !self.side_is_up(other, one)
    }

    /// Whether this side counts the connection as up.
    pub(super) fn side_is_up(&self, name: &str, peer: &str) -> bool {
        self.nodes.get(name).is_some_and(|node| node.is_up(peer))
    }

    /// The events told to this node's user, of all its lives.
    pub(super) fn events_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a UserEvent> {
        let told = self.told.iter().filter(move |told| told.node == name);
        told.map(|told| &told.event)
    }

    /// Whether any node's user was told that a channel is closed.
    pub(super) fn any_channel_closed(&self) -> bool {
        let mut told = self.told.iter();
        told.any(|told| matches!(told.event, UserEvent::ChannelClosed { .. }))
    }

    /// Where every node stands, a line each, for people.
    pub(super) fn describe(&self) -> String {
        let mut text = String::new();
        for (name, node) in &self.nodes {
            let _ = write!(
                text,
                "  {name} (life {}): {:?}, has handled request {} of {}",
                node.life,
                node.status,
                node.handled(),
                node.last_request
            );
            if let Some(point) = &node.frozen {
                let _ = write!(text, ", frozen at {point}");
            }
            for (peer, link) in &node.links {
                let counted = node.idle.as_ref().and_then(|idle| idle.counters.get(peer));
                let _ = match (link.up, counted) {
                    (false, _) => write!(text, "; {peer} is down"),
                    (true, None) => write!(text, "; {peer} is up, not idle since"),
                    (true, Some(counted)) => write!(
                        text,
                        "; {peer} is up, sent {} received {}",
                        counted.sent, counted.received
                    ),
                };
            }
            text.push('\n');
        }
        text
    }
}
