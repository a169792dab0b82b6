//! Whether nothing is under way anywhere: exact, from what nodes counted, never from waiting.
//!
//! Each node reports `idle` when all it was given is handled and all that follows is sent, with a
//! count of messages per connection. One look at everybody's last such report is enough. Suppose
//! it shows all connections in balance and all requests handled, and yet some node did something
//! after its report. Take the first such deed in time. A node acts only on a request (all are
//! handled in its report), on a connection made or lost (its report is younger than the last, and
//! both sides agree on it), or on a message. So a message came in after its report, sent by a node
//! which, this being the first deed, had sent it before its own report and counted it there. The
//! receiver had not counted it: the two counts differ, against what was seen. So nobody did
//! anything, and nothing is on its way. Writes that wait to be told to be done are counted in the same report:
//! the world stands still with them, and is quiet without.

use super::live::{Live, NodeLive, Status};

impl Live {
    /// Whether nothing is under way between and in the nodes that run. A node that is held as a
    /// whole is left out, and so are its connections: it may stand there for any time.
    pub(super) fn is_quiet(&self) -> bool {
        self.stands_still() && self.held_writes().next().is_none()
    }

    /// Whether nothing is under way but writes that wait to be told to be done.
    pub(super) fn stands_still(&self) -> bool {
        let awake = || self.nodes.iter().filter(|(_, node)| !self.is_held(node));
        awake().all(|(_, node)| self.is_done(node))
            && awake().all(|(name, node)| {
                awake().all(|(peer, other)| name >= peer || is_balanced(name, node, peer, other))
            })
    }

    /// The nodes that run and have writes waiting, with their lives.
    pub(super) fn held_writes(&self) -> impl Iterator<Item = (&str, u32)> {
        let awake = self.nodes.iter().filter(|(_, node)| {
            node.status == Status::Running && node.frozen.is_none() && !self.is_held(node)
        });
        let waiting = awake.filter(|(_, node)| {
            let idle = node.idle.as_ref();
            idle.is_some_and(|idle| idle.waiting_writes > 0)
        });
        waiting.map(|(name, node)| (name.as_str(), node.life))
    }

    /// Everything asked of this life is done, it knows of no newer connection, and no operation in
    /// it is about to be let go.
    fn is_done(&self, node: &NodeLive) -> bool {
        match node.status {
            Status::Unborn | Status::Dead => true,
            Status::Starting => false,
            Status::Running => {
                let idle = node.settled_idle();
                let mut holding = node.holding.iter();
                node.frozen.is_none()
                    && idle.is_some_and(|idle| idle.handled >= node.last_request)
                    && !holding.any(|(_, until)| self.is_true(until))
            }
        }
    }
}

/// Whether both sides agree that the connection is down, or on every message sent over it.
fn is_balanced(name: &str, node: &NodeLive, peer: &str, other: &NodeLive) -> bool {
    match (node.is_up(peer), other.is_up(name)) {
        (false, false) => true,
        (true, true) => {
            let ours = node.settled_idle().and_then(|idle| idle.counters.get(peer));
            let theirs = other
                .settled_idle()
                .and_then(|idle| idle.counters.get(name));
            match (ours, theirs) {
                (Some(ours), Some(theirs)) => {
                    ours.sent == theirs.received && theirs.sent == ours.received
                }
                _ => false,
            }
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use faults::{Condition, GateReport};
    use node_bin::api::{Counters, Report};

    use super::*;
    use crate::evidence::NodeReport;

    /// A hand-made trace: two nodes, one line after the other.
    struct Trace {
        live: Live,
        lives: BTreeMap<&'static str, u32>,
    }

    impl Trace {
        fn of_two() -> Self {
            let mut trace = Trace {
                live: Live::new(&["A".to_owned(), "B".to_owned()]),
                lives: BTreeMap::from([("A", 0), ("B", 0)]),
            };
            for name in ["A", "B"] {
                trace.live.node_started(name, 0);
                trace.idle(name, 0, &[]);
            }
            trace
        }

        fn connected() -> Self {
            let mut trace = Trace::of_two();
            trace.up("A", "B").up("B", "A");
            trace
                .idle("A", 0, &[("B", 0, 0)])
                .idle("B", 0, &[("A", 0, 0)]);
            trace
        }

        fn say(&mut self, name: &'static str, report: NodeReport) -> &mut Self {
            self.live.seq += 1;
            let seq = self.live.seq;
            self.live.take(seq, name, self.lives[name], &report);
            self
        }

        fn up(&mut self, name: &'static str, peer: &str) -> &mut Self {
            let peer = peer.to_owned();
            self.say(name, NodeReport::Node(Report::PeerUp { peer }))
        }

        fn down(&mut self, name: &'static str, peer: &str) -> &mut Self {
            let peer = peer.to_owned();
            self.say(name, NodeReport::Node(Report::PeerDown { peer }))
        }

        fn idle(
            &mut self,
            name: &'static str,
            handled: u64,
            counted: &[(&str, u64, u64)],
        ) -> &mut Self {
            let counters = counted
                .iter()
                .map(|&(peer, sent, received)| (peer.to_owned(), Counters { sent, received }))
                .collect();
            let waiting_writes = 0;
            let idle = Report::Idle {
                handled,
                counters,
                waiting_writes,
            };
            self.say(name, NodeReport::Node(idle))
        }

        fn request(&mut self, name: &str, id: u64) -> &mut Self {
            self.live.nodes.get_mut(name).unwrap().last_request = id;
            self
        }

        fn die(&mut self, name: &str) -> &mut Self {
            self.live.node_died(name, self.lives[name]);
            self
        }

        fn start_again(&mut self, name: &'static str) -> &mut Self {
            *self.lives.get_mut(name).unwrap() += 1;
            self.live.node_started(name, self.lives[name]);
            self
        }
    }

    #[test]
    fn nodes_that_never_met_are_quiet() {
        assert!(Trace::of_two().live.is_quiet());
    }

    #[test]
    fn a_node_that_is_not_ready_is_not_quiet() {
        let mut trace = Trace::of_two();
        trace.die("B").start_again("B");
        assert!(!trace.live.is_quiet());
        trace.idle("B", 0, &[]);
        assert!(trace.live.is_quiet());
    }

    #[test]
    fn a_message_that_the_other_side_has_not_counted_is_under_way() {
        let mut trace = Trace::connected();
        assert!(trace.live.is_quiet());
        trace.idle("A", 0, &[("B", 1, 0)]);
        assert!(!trace.live.is_quiet());
        trace.idle("B", 0, &[("A", 0, 1)]);
        assert!(trace.live.is_quiet());
        trace.idle("B", 0, &[("A", 1, 1)]);
        assert!(!trace.live.is_quiet());
    }

    #[test]
    fn an_idle_from_before_the_connection_is_stale() {
        let mut trace = Trace::of_two();
        trace.up("A", "B").up("B", "A");
        assert!(!trace.live.is_quiet(), "no idle since");
        trace.idle("A", 0, &[("B", 0, 0)]);
        assert!(!trace.live.is_quiet(), "only one side has said so");
        trace.idle("B", 0, &[("A", 0, 0)]);
        assert!(trace.live.is_quiet());
    }

    #[test]
    fn a_request_that_is_sent_and_not_yet_handled_is_under_way() {
        let mut trace = Trace::connected();
        trace.request("A", 1);
        assert!(!trace.live.is_quiet());
        trace.idle("A", 1, &[("B", 0, 0)]);
        assert!(trace.live.is_quiet());
    }

    #[test]
    fn a_dead_node_is_quiet_once_its_peers_have_noticed() {
        let mut trace = Trace::connected();
        trace.die("B");
        assert!(!trace.live.is_quiet(), "A still counts on the connection");
        trace.down("A", "B");
        assert!(
            !trace.live.is_quiet(),
            "A may have something to do about it"
        );
        trace.idle("A", 0, &[]);
        assert!(trace.live.is_quiet());
    }

    #[test]
    fn counters_of_the_old_connection_do_not_count_after_a_reconnect() {
        let mut trace = Trace::connected();
        trace
            .idle("A", 0, &[("B", 3, 0)])
            .idle("B", 0, &[("A", 0, 3)]);
        assert!(trace.live.is_quiet());
        trace
            .die("B")
            .down("A", "B")
            .idle("A", 0, &[])
            .start_again("B");
        trace.idle("B", 0, &[]).up("A", "B").up("B", "A");
        trace.idle("A", 0, &[("B", 1, 0)]);
        assert!(!trace.live.is_quiet());
        trace.idle("B", 0, &[("A", 0, 0)]);
        assert!(!trace.live.is_quiet(), "A's reestablish is on its way");
        trace.idle("B", 0, &[("A", 1, 1)]);
        assert!(!trace.live.is_quiet(), "and B's back");
        trace.idle("A", 0, &[("B", 1, 1)]);
        assert!(trace.live.is_quiet());
    }

    #[test]
    fn a_connection_that_one_side_has_lost_is_not_quiet() {
        let mut trace = Trace::connected();
        trace.down("A", "B").idle("A", 0, &[]);
        assert!(!trace.live.is_quiet());
        trace.down("B", "A").idle("B", 0, &[]);
        assert!(trace.live.is_quiet());
    }

    #[test]
    fn a_report_of_a_life_that_is_over_changes_nothing() {
        let mut trace = Trace::connected();
        trace
            .die("B")
            .down("A", "B")
            .idle("A", 0, &[])
            .start_again("B");
        trace.idle("B", 0, &[]);
        let late = NodeReport::Node(Report::PeerUp {
            peer: "A".to_owned(),
        });
        trace.live.take(99, "B", 0, &late);
        assert!(trace.live.is_quiet());
    }

    #[test]
    fn a_frozen_node_is_not_quiet_and_a_held_one_is_left_out() {
        let mut trace = Trace::connected();
        let point = "persist.manager.before@1".parse().unwrap();
        trace.say("B", NodeReport::Gate(GateReport::Frozen { point }));
        assert!(!trace.live.is_quiet());
        trace.live.nodes.get_mut("B").unwrap().held = Some(Condition::Never);
        trace.idle("A", 0, &[("B", 1, 0)]);
        assert!(trace.live.is_quiet());
    }

    #[test]
    fn a_hold_whose_condition_is_true_is_not_quiet_before_it_is_let_go() {
        let point: faults::PointId = "persist.manager.before@1".parse().unwrap();
        let until = Condition::Step("paid".to_owned());
        let mut whole = Trace::connected();
        whole.say(
            "B",
            NodeReport::Gate(GateReport::Frozen {
                point: point.clone(),
            }),
        );
        whole.live.nodes.get_mut("B").unwrap().held = Some(until.clone());
        let mut part = Trace::connected();
        part.live.nodes.get_mut("B").unwrap().holding = vec![(point, until)];
        for mut trace in [whole, part] {
            assert!(trace.live.is_quiet());
            trace.live.steps_ended.insert("paid".to_owned());
            assert!(!trace.live.is_quiet());
        }
    }
}
