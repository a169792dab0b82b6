//! The words of a scenario and of a plan. Owns their shape; reading and checking are elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use faults::Fault;
use serde::{Deserialize, Serialize};

pub use crate::evidence::Verdict;

/// Everything one file under `scenarios/` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// The file's name without `.toml`, with its folder for those in one (`regression/ldk-4286`).
    pub name: String,
    /// What it shows, in a sentence.
    pub about: String,
    /// The nodes by name.
    pub nodes: BTreeMap<String, Node>,
    /// The channels, in order; the set-up opens those that no step does.
    pub channels: Vec<Channel>,
    /// What happens, in order; faults are explored here.
    pub act: Vec<Step>,
    /// What must have come of it.
    pub expect: Expectation,
    /// Pinned cases, each with the verdict it must get; empty for scenarios to explore.
    pub cases: Vec<Case>,
    /// Closes to try at every point of a node, by `explore`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub races: Vec<Race>,
}

/// Channels to close at every point of a node, by it and by its peers, with and without a SIGKILL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Race {
    /// The node at whose points they are closed.
    pub at: String,
    /// Label of the step that the points begin with; those of all steps if absent.
    pub from: Option<String>,
    /// Groups of channels that close together, by label.
    pub close: Vec<Vec<String>>,
}

/// A node of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Which program, unless the command line says otherwise.
    pub kind: NodeKind,
    /// Where it takes blocks from.
    pub chain: ChainKind,
    /// What its wallet gets at the start, in satoshis, in two equal coins.
    pub funds_sat: u64,
    /// When its writes are done; the stock node's are always done at once.
    #[serde(default)]
    pub persist: Persist,
}

/// When a node's writes are done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Persist {
    /// At once.
    #[default]
    Sync,
    /// When the node has nothing else to do, the store's first that was written to last.
    Async,
    /// When the node has nothing else to do, in an order that follows from the seed.
    AsyncSeeded,
    /// When no node has anything else to do, one at a time, in an order that follows from the seed.
    Held,
}

/// Which node program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// Unmodified LDK.
    Stock,
    /// Our own.
    Unified,
}

/// Which chain source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainKind {
    /// Blocks from bitcoind.
    Bitcoind,
    /// Transactions from electrs.
    Electrs,
}

/// A channel to open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// The two names in order with `-`, then `.2` for a second one between the same two, and so on.
    pub label: String,
    /// Who opens and funds it.
    pub opener: String,
    /// The other side.
    pub acceptor: String,
    /// Size in satoshis.
    pub capacity_sat: u64,
    /// Given to the acceptor, in millisatoshis.
    pub push_msat: u64,
    /// Whether it is announced, and waited for in every graph.
    pub announce: bool,
}

/// One step of `[[act]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Name for conditions and the trace; given or `step-1`, `step-2`, ...
    pub label: String,
    /// What.
    #[serde(flatten)]
    pub kind: StepKind,
}

/// What a step does. Payments are named by `id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum StepKind {
    /// Start a payment and go on at once.
    Pay(Payment),
    /// Start several payments at once: all are asked for first, then all are given out together.
    PayMany {
        /// They.
        payments: Vec<Payment>,
    },
    /// Wait until a payment has come so far.
    Await {
        /// The payment.
        payment: String,
        /// How far.
        until: PaymentMoment,
    },
    /// The receiver claims a held payment.
    Claim {
        /// The payment.
        payment: String,
    },
    /// The receiver fails a held payment.
    Fail {
        /// The payment.
        payment: String,
    },
    /// Drop a connection.
    Disconnect {
        /// The two nodes; the first acts.
        between: [String; 2],
    },
    /// Make it again.
    Connect {
        /// The two nodes; the first acts.
        between: [String; 2],
    },
    /// Open a channel that the set-up left out, and wait until both sides know its funding.
    Open {
        /// Label.
        channel: String,
    },
    /// Close a channel cooperatively.
    Close {
        /// Label.
        channel: String,
        /// Who asks for it.
        by: String,
    },
    /// Publish a commitment.
    ForceClose {
        /// Label.
        channel: String,
        /// Whose.
        by: String,
    },
    /// Mine blocks; all nodes that run follow.
    Mine {
        /// How many.
        blocks: u32,
        /// They leave out what waits in the mempool.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        empty: bool,
    },
    /// Take the last blocks off the chain and put one more, all empty, in their place; what they
    /// had confirmed waits to be mined again.
    Reorg {
        /// How many are taken off.
        blocks: u32,
    },
    /// Copy a node's data at rest.
    Snapshot {
        /// Which.
        node: String,
        /// A name for the copy.
        name: String,
    },
    /// Kill a node at rest, put an old copy of its data in place, and start it again without connections.
    Restore {
        /// Which.
        node: String,
        /// The copy.
        snapshot: String,
    },
    /// SIGKILL a node at rest and leave it down.
    Stop {
        /// Which.
        node: String,
    },
    /// Start a node that was stopped.
    Start {
        /// Which.
        node: String,
    },
    /// Wait until no message is under way anywhere.
    Quiet,
    /// Tick the timers of all nodes.
    Tick,
    /// Change the fee rate that a node estimates.
    FeeRate {
        /// Which.
        node: String,
        /// Satoshis per 1000 weight units.
        sat_per_kw: u32,
    },
    /// SIGKILL a node at rest and start it again.
    Restart {
        /// Which.
        node: String,
    },
    /// SIGKILL a unified node at rest, delete its records of payments, and start it again.
    Forget {
        /// Which.
        node: String,
    },
}

impl Step {
    /// The payments that it starts.
    pub fn payments(&self) -> &[Payment] {
        match &self.kind {
            StepKind::Pay(payment) => std::slice::from_ref(payment),
            StepKind::PayMany { payments } => payments,
            _ => &[],
        }
    }
}

impl Scenario {
    /// Whether a step opens this channel, so that the set-up does not.
    pub fn is_opened_by_step(&self, label: &str) -> bool {
        let mut steps = self.act.iter();
        steps.any(|step| matches!(&step.kind, StepKind::Open { channel } if channel == label))
    }
}

/// A payment to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// Name.
    pub id: String,
    /// Sender.
    pub from: String,
    /// Receiver.
    pub to: String,
    /// What the receiver gets in all, in millisatoshis.
    pub amount_msat: u64,
    /// Invoice or keysend.
    pub kind: PaymentKind,
    /// The receiver waits for `claim` or `fail`.
    pub hold: bool,
    /// One path a part, as channel labels from sender to receiver; empty: a route by gossip.
    pub paths: Vec<Vec<String>>,
    /// Each part's share in millisatoshis, as many as paths; the shares add up to `amount_msat`.
    pub parts_msat: Vec<u64>,
}

/// How a payment is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentKind {
    /// BOLT 11.
    Invoice,
    /// Spontaneous.
    Keysend,
}

/// A moment in a payment's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentMoment {
    /// The receiver can claim it.
    Claimable,
    /// The receiver's user was told that it is claimed.
    Claimed,
    /// The sender's user was told that it is paid.
    Sent,
    /// The sender's user was told that it failed.
    Failed,
    /// Sent or failed.
    Decided,
}

/// What must have come of a scenario, with and without faults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// Each payment's outcome.
    pub payments: BTreeMap<String, ExpectedPayment>,
    /// Labels of the channels that are closed at the end; all others are open and work.
    pub closed: Vec<String>,
    /// Of them, those that a revoked commitment closes, each with the node that publishes it. The other
    /// side has to take all that is in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub revoked: BTreeMap<String, String>,
    /// Nodes that have to publish a spend of an output of a channel's close once more, for a higher fee: one of
    /// each of these kinds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bumped: BTreeMap<String, BTreeSet<Bumped>>,
}

/// A kind of output of a commitment whose spend is to be published for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bumped {
    /// An anchor: the child pays for the commitment itself (BOLT 3, "to_local_anchor and to_remote_anchor Output").
    Anchor,
    /// An HTLC: its second stage, or a direct claim of the other side's.
    Htlc,
    /// Either side's balance, as a penalty or a sweep.
    Balance,
}

/// A payment's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpectedPayment {
    /// Sent and claimed.
    Sent,
    /// Failed, and nothing claimed.
    Failed,
    /// One of the two, but the same on every edge.
    Either,
}

/// A pinned case of a regression scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Name.
    pub name: String,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// The verdict it must get.
    pub verdict: Verdict,
    /// The finding that must be among those that made it fail, for example `unexpected-close`.
    pub finding: Option<String>,
}

/// The unit of replay: a scenario, fully expanded, with its faults. Written as `plan.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Format of this file; readers refuse a later one.
    pub version: u32,
    /// Which case of its run this is.
    pub case_id: String,
    /// All keys and random bytes of the case follow from it.
    pub seed: u64,
    /// The scenario with every default written out and every node's kind decided.
    pub scenario: Scenario,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}
