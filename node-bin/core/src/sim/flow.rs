//! What a world plays: payments with their expected ends, and commands in phases. A phase begins when nothing
//! of the one before is left to happen.

use bitcoin::OutPoint;
use lightning::ln::types::ChannelId;
use lightning::types::payment::{PaymentHash, PaymentPreimage};

use crate::effect::UserEvent;
use crate::input::Command;
use crate::source::{PathHop, PaymentId};

use super::user::Wish;
use super::world::World;

/// How a payment ends when nothing goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Sent and claimed.
    Sent,
    /// Failed.
    Failed,
}

/// A payment's part: its way and what is to arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedPart {
    /// Nodes, the payer first and the payee last.
    pub nodes: Vec<usize>,
    /// What each channel on the way carries, in millisatoshis.
    pub amounts_msat: Vec<u64>,
}

/// A payment of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedPayment {
    /// Who pays.
    pub payer: usize,
    /// Who is paid.
    pub payee: usize,
    /// Its id.
    pub payment_id: PaymentId,
    /// Its hash.
    pub payment_hash: PaymentHash,
    /// Its preimage.
    pub preimage: PaymentPreimage,
    /// All of it, in millisatoshis.
    pub amount_msat: u64,
    /// Its parts.
    pub parts: Vec<PlannedPart>,
    /// What the payee's user does at once.
    pub wish: Wish,
    /// How it ends when nothing goes wrong.
    pub end: End,
    /// What its node's searches for ways come to: the first of these that avoids what failed.
    pub ways: Vec<Vec<PathHop>>,
}

/// A step of a phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A user gives a command.
    Order {
        /// Whose.
        node: usize,
        /// What.
        command: Command,
    },
    /// Blocks are mined.
    Mine {
        /// How many.
        blocks: u32,
    },
    /// From now on no miner takes what spends an output of the commitment that closed this pair's channel, or any
    /// does again: of what was refused meanwhile, the best.
    Censor {
        /// Whose channel.
        pair: [usize; 2],
        /// Whether none does.
        is_censored: bool,
    },
    /// Blocks are mined until all that is left of the channels on the chain is in wallets: claims, expiries,
    /// delays.
    Settle,
}

/// A flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Its name.
    pub name: String,
    /// Every payment ends as planned, whatever else happens.
    pub is_certain: bool,
    /// All payments in it.
    pub payments: Vec<PlannedPayment>,
    /// Phases.
    pub phases: Vec<Vec<Step>>,
    /// Pairs whose channel ends closed by agreement.
    pub closes: Vec<[usize; 2]>,
    /// Pairs whose channel ends on the chain, with a commitment.
    pub forces: Vec<[usize; 2]>,
    /// Pairs between which a channel is opened.
    pub opens: Vec<[usize; 2]>,
    /// All channels that are open at the start.
    pub opened: Vec<OpenedChannel>,
}

/// A channel as the flow finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedChannel {
    /// Its id.
    pub channel_id: ChannelId,
    /// Its funding output.
    pub funding: OutPoint,
    /// Its nodes.
    pub pair: [usize; 2],
    /// What each of them owns, in millisatoshis.
    pub balances_msat: [u64; 2],
}

impl Flow {
    /// The channel between these two.
    pub fn channel(&self, one: usize, other: usize) -> Option<ChannelId> {
        let opened = self
            .opened
            .iter()
            .find(|channel| channel.pair == [one, other] || channel.pair == [other, one]);
        opened.map(|channel| channel.channel_id)
    }
}

impl Flow {
    /// Whether a payment's claim on the chain may come too late, because no miner takes it in time.
    pub fn is_contested(&self, payment: &PlannedPayment) -> bool {
        let mut steps = self.phases.iter().flatten();
        steps.any(|step| match step {
            Step::Censor { pair, .. } => {
                let mut ways = payment.parts.iter().map(|part| &part.nodes);
                ways.any(|nodes| nodes.windows(2).any(|hop| hop == pair))
            }
            _ => false,
        })
    }

    /// Whether this channel is to end on the chain.
    pub fn is_forced(&self, channel_id: &ChannelId) -> bool {
        let mut opened = self.opened.iter();
        opened.any(|o| o.channel_id == *channel_id && self.forces.contains(&o.pair))
    }
}

impl PlannedPayment {
    /// Whether it went through, as far as users were told: by the payer, or, if the payer lost its
    /// records or is gone, and was not told since that it failed, by the payee.
    pub fn was_sent(&self, world: &World) -> bool {
        let payer = &world.nodes[self.payer];
        let is_sent = payer.user.handled().any(|event| {
            matches!(event, UserEvent::PaymentSent { payment_id, .. }
                if *payment_id == self.payment_id)
        });
        let is_failed = payer.user.handled().any(|event| {
            matches!(event, UserEvent::PaymentFailed { payment_id, .. }
                if *payment_id == self.payment_id)
        });
        let payee = &world.nodes[self.payee];
        let is_claimed = payee.user.handled().any(|event| {
            matches!(event, UserEvent::PaymentClaimed { payment_hash, .. }
                if *payment_hash == self.payment_hash)
        });
        let is_silent = (payer.has_lost_payments || payer.is_gone) && !is_failed;
        is_sent || (is_silent && is_claimed)
    }

    /// What the payer gives for fees, in millisatoshis.
    pub fn fee_msat(&self) -> u64 {
        let first: u64 = self
            .parts
            .iter()
            .filter_map(|part| part.amounts_msat.first())
            .sum();
        first.saturating_sub(self.amount_msat)
    }
}
