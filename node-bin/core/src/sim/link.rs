//! Connections between two nodes: messages in order, each way. A connection that ends takes what is on its
//! way along.

use std::collections::VecDeque;

use crate::message::Message;

/// A pair of nodes that are, or could be, connected.
#[derive(Clone, Debug)]
pub struct Link {
    /// The two nodes.
    pub ends: [usize; 2],
    /// They are connected.
    pub is_up: bool,
    /// On their way, by the end that sent them.
    queues: [VecDeque<Message>; 2],
}

impl Link {
    /// Between these two, down.
    pub fn new(ends: [usize; 2]) -> Self {
        Link {
            ends,
            is_up: false,
            queues: Default::default(),
        }
    }

    /// Whether this node is one of the two.
    pub fn touches(&self, node: usize) -> bool {
        self.ends.contains(&node)
    }

    /// The end at which this node is; 1 unless it is at 0.
    fn end(&self, node: usize) -> usize {
        usize::from(self.ends[0] != node)
    }

    /// The node at the other end.
    pub fn other(&self, node: usize) -> usize {
        self.ends[1 - self.end(node)]
    }

    /// This node sends a message. False, and it is lost, if the link is down.
    pub fn send(&mut self, from: usize, message: Message) -> bool {
        if self.is_up {
            let end = self.end(from);
            self.queues[end].push_back(message);
        }
        self.is_up
    }

    /// The oldest message on its way from this node arrives.
    pub fn receive(&mut self, from: usize) -> Option<Message> {
        let end = self.end(from);
        self.queues[end].pop_front()
    }

    /// How many messages are on their way from this node.
    pub fn on_the_way(&self, from: usize) -> usize {
        self.queues[self.end(from)].len()
    }

    /// The connection ends.
    pub fn cut(&mut self) {
        self.is_up = false;
        for queue in &mut self.queues {
            queue.clear();
        }
    }
}
