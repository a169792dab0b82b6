//! A node's user: hears what the node tells, gives commands, and outlives the node. Owns what it heard, what
//! it asked for and what came back; what it wants is the flow's to say.

use std::collections::{BTreeMap, VecDeque};

use lightning::types::payment::{PaymentHash, PaymentPreimage};

use crate::effect::{CommandError, Done, TellId, UserEvent};
use crate::input::Command;

/// What the user does when a payment is claimable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Claims it at once with this preimage; none: with the one that came with it (keysend).
    Claim(Option<PaymentPreimage>),
    /// Fails it at once.
    Fail,
    /// Waits for the flow.
    Hold,
}

/// Something that the user heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The node's life in which it was told, counted from 0.
    pub life: u32,
    /// What.
    pub event: UserEvent,
    /// The user was done with it and said so before the node died.
    pub handled: bool,
}

/// A command and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What.
    pub command: Command,
    /// Under which id it was given in this life; none: it is to be given.
    pub given: Option<u64>,
    /// What came back.
    pub answer: Option<Result<Done, CommandError>>,
    /// Answers something told in this life; else it waits until the world has recovered.
    pub at_once: bool,
}

impl Order {
    fn is_due(&self, recovering: bool) -> bool {
        self.given.is_none() && (self.at_once || !recovering)
    }
}

/// A node's user.
#[derive(Clone, Debug, Default)]
pub struct User {
    /// What to do about payments, by hash; not listed: nothing.
    pub wishes: BTreeMap<PaymentHash, Wish>,
    /// All that was heard, in order.
    pub heard: Vec<Heard>,
    /// All commands, in order.
    pub orders: Vec<Order>,
    /// It hears, and does not come to handle anything.
    pub is_busy: bool,
    /// Told and not handled yet: places in `heard`.
    inbox: VecDeque<(TellId, usize)>,
}

impl User {
    /// The node tells something.
    pub fn hear(&mut self, life: u32, id: TellId, event: UserEvent) {
        self.inbox.push_back((id, self.heard.len()));
        self.heard.push(Heard {
            life,
            event,
            handled: false,
        });
    }

    /// Whether it comes to handle something now.
    pub fn has_mail(&self) -> bool {
        !self.is_busy && !self.inbox.is_empty()
    }

    /// Handles what was told longest ago. Returns the id that the node waits for.
    pub fn handle(&mut self) -> Option<TellId> {
        let (id, place) = self.inbox.pop_front()?;
        let heard = self.heard.get_mut(place)?;
        heard.handled = true;
        if let UserEvent::PaymentClaimable {
            payment_hash,
            keysend_preimage,
            ..
        } = heard.event
        {
            match self.wishes.get(&payment_hash) {
                Some(Wish::Claim(preimage)) => {
                    if let Some(preimage) = preimage.or(keysend_preimage) {
                        self.reply(Command::Claim { preimage });
                    }
                }
                Some(Wish::Fail) => self.reply(Command::Fail { payment_hash }),
                Some(Wish::Hold) | None => {}
            }
        }
        Some(id)
    }

    /// Wants a command given.
    pub fn order(&mut self, command: Command) {
        self.push(command, false);
    }

    /// Gives a command at once, under this id.
    pub fn order_given(&mut self, command: Command, id: u64) {
        self.push(command, false);
        if let Some(order) = self.orders.last_mut() {
            order.given = Some(id);
        }
    }

    fn reply(&mut self, command: Command) {
        self.push(command, true);
    }

    fn push(&mut self, command: Command, at_once: bool) {
        self.orders.push(Order {
            command,
            given: None,
            answer: None,
            at_once,
        });
    }

    /// Whether a command is to be given; while the world recovers, only answers to what was told since.
    pub fn has_orders(&self, recovering: bool) -> bool {
        self.orders.iter().any(|order| order.is_due(recovering))
    }

    /// Gives the oldest command that is to be given, under this id.
    pub fn give(&mut self, recovering: bool, id: u64) -> Option<Command> {
        let order = self
            .orders
            .iter_mut()
            .find(|order| order.is_due(recovering))?;
        order.given = Some(id);
        Some(order.command.clone())
    }

    /// A command is answered. False if it was never given, or answered before.
    pub fn answered(&mut self, id: u64, answer: Result<Done, CommandError>) -> bool {
        let order = self
            .orders
            .iter_mut()
            .find(|order| order.given == Some(id) && order.answer.is_none());
        match order {
            Some(order) => {
                order.answer = Some(answer);
                true
            }
            None => false,
        }
    }

    /// Commands that were given and not answered.
    pub fn unanswered(&self) -> impl Iterator<Item = &Order> {
        self.orders
            .iter()
            .filter(|order| order.given.is_some() && order.answer.is_none())
    }

    /// The node died: what was not handled will be told again, what was not answered is given again.
    pub fn node_died(&mut self) {
        self.inbox.clear();
        for order in &mut self.orders {
            if order.answer.is_none() {
                order.given = None;
                order.at_once = false;
            }
        }
    }

    /// The node has lost its payments' records, and with them the keys under which a payment is made once:
    /// what was not answered is not asked for again.
    pub fn give_payments_up(&mut self) {
        for order in &mut self.orders {
            if matches!(order.command, Command::Pay(_)) && order.answer.is_none() {
                let why = "given up by its user".to_owned();
                order.given = order.given.or(Some(u64::MAX));
                order.answer = Some(Err(CommandError::Refused(why)));
            }
        }
    }

    /// Events that the user has handled.
    pub fn handled(&self) -> impl Iterator<Item = &UserEvent> {
        self.heard
            .iter()
            .filter(|heard| heard.handled)
            .map(|heard| &heard.event)
    }
}
