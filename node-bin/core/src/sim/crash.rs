//! Crashes: what a node's death leaves, and its next life.

use crate::effect::Store;
use crate::engine::Engine;
use crate::input::Input;
use crate::node::Node;

use super::disk::Durable;
use super::judge;
use super::node::surroundings;
use super::world::World;

/// What exactly is left when a node dies at a given moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Of the writes on their way, how many became durable, by store in order.
    pub kept: Vec<usize>,
    /// What the dead node had sent arrives before its peers notice; else it is lost.
    pub messages_arrive: bool,
    /// The acknowledgements at the end of every log are lost.
    pub acks_lost: bool,
    /// The records of own payments are lost: HTLCs have to be resolved all the same.
    pub payments_lost: bool,
}

/// Images of one crash point above which only some are looked at.
const IMAGES: usize = 64;

impl World {
    /// All images that a crash of this node can leave now.
    pub fn images(&self, node: usize) -> Vec<Image> {
        let mut all = vec![Image::default()];
        for (_, count) in self.nodes[node].disk.in_flight() {
            all = all
                .into_iter()
                .flat_map(|image| (0..=count).map(move |keep| image.and_keep(keep)))
                .collect();
            let step = all.len().div_ceil(IMAGES);
            all = all.into_iter().step_by(step).collect();
        }
        let on_the_way = self
            .links
            .iter()
            .any(|link| link.touches(node) && link.on_the_way(node) > 0);
        if on_the_way {
            let arriving: Vec<Image> = all
                .iter()
                .map(|image| Image {
                    messages_arrive: true,
                    ..image.clone()
                })
                .collect();
            all.extend(arriving);
        }
        all
    }

    /// Kills a node.
    pub fn crash(&mut self, node: usize, image: &Image) {
        self.note(|world| format!("{} dies, {image:?}", world.nodes[node].name));
        let stores: Vec<Store> = self.nodes[node]
            .disk
            .in_flight()
            .map(|(store, _)| store)
            .collect();
        for (store, keep) in stores.iter().zip(&image.kept) {
            for _ in 0..*keep {
                self.land(node, *store);
            }
        }
        let dead = &mut self.nodes[node];
        dead.engine = None;
        dead.pending = None;
        dead.disk.lose_writes();
        dead.user.node_died();
        dead.life += 1;
        if image.acks_lost
            && let Err(error) = dead.disk.lose_last_acks()
        {
            self.complain(format!("the log cannot be cut: {error}"));
        }
        if image.payments_lost {
            self.nodes[node].disk.lose_payments();
            self.nodes[node].has_lost_payments = true;
            self.nodes[node].user.give_payments_up();
        }
        for link in 0..self.links.len() {
            if self.links[link].touches(node) && self.links[link].is_up {
                self.tear(link, node, image.messages_arrive);
            }
        }
        self.recovering = true;
        judge::durable::image(self);
    }

    /// A dead node's link goes down.
    fn tear(&mut self, link: usize, dead: usize, messages_arrive: bool) {
        let peer = self.links[link].other(dead);
        while messages_arrive && self.links[link].on_the_way(dead) > 0 {
            let message = self.links[link].receive(dead);
            if let Some(message) = message {
                let from = self.nodes[dead].node_id;
                self.input(
                    peer,
                    Input::Message {
                        peer: from,
                        message,
                    },
                );
            }
        }
        self.links[link].cut();
        self.hear_of_cut(peer, dead);
    }

    /// Starts a dead node from its bytes.
    pub(super) fn restart(&mut self, node: usize) {
        self.note(|world| format!("{} starts again", world.nodes[node].name));
        let dead = &self.nodes[node];
        let name = dead.name;
        let stored = match dead.disk.stored() {
            Ok(stored) => stored,
            Err(error) => return self.give_up(format!("{name} cannot read: {error}")),
        };
        match Durable::read(&stored) {
            Ok(durable) if durable == *dead.disk.durable() => {}
            Ok(_) => self.complain(format!("{name}'s bytes are not what it wrote")),
            Err(error) => self.complain(format!("{name} cannot read: {error}")),
        }
        let dead = &self.nodes[node];
        let best_block = self.chain.best_at(dead.settled_height);
        let loaded = Node::load(
            dead.environment.clone(),
            dead.policy.clone(),
            stored,
            best_block,
            surroundings(&mut self.dice),
        );
        match loaded {
            Ok((core, start, durable)) => {
                let reborn = &mut self.nodes[node];
                reborn.engine = Some(Engine::new(core, start, durable));
                reborn.seen_height = reborn.settled_height;
                reborn.refill(&mut self.dice);
            }
            Err(error) => self.give_up(format!("{name} cannot start: {error}")),
        }
    }

    /// The node will not live again: the world ends here.
    fn give_up(&mut self, complaint: String) {
        self.complain(complaint);
        self.given_up = true;
    }
}

impl Image {
    fn and_keep(&self, keep: usize) -> Image {
        let mut image = self.clone();
        image.kept.push(keep);
        image
    }
}
