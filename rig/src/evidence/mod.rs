//! Evidence: all that a verdict may be drawn from, as it is saved and as oracles read it.
//!
//! Nothing here decides anything, and nothing here knows a node's code: only its reports.

use std::collections::BTreeMap;

use faults::{GateReport, PointId};
use node_bin::api::{Report, RestView};
use serde::{Deserialize, Serialize};

use crate::scenario::{PaymentKind, Plan};

/// A case's verdict, or an oracle's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every oracle could judge and found nothing.
    Pass,
    /// The armed point was never reached, or an oracle could not judge. Never green.
    NotRun,
    /// An oracle found something.
    Fail,
    /// The rig itself went wrong.
    RigFault,
}

/// All evidence of one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What was to be done.
    pub plan: Plan,
    /// Channels as they were opened.
    pub channels: Vec<OpenedChannel>,
    /// Payments as they were made, live payments of the end included.
    pub payments: Vec<MadePayment>,
    /// Everything that happened, in order of arrival at the rig.
    pub trace: Vec<TraceEntry>,
    /// The chain from the case's base on.
    pub chain: ChainEvidence,
    /// Every node after `[setup]`.
    pub start: BTreeMap<String, RestView>,
    /// Every node at the end.
    pub rest: BTreeMap<String, RestView>,
}

/// A channel of the case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedChannel {
    /// As in the scenario.
    pub label: String,
    /// Who opened it.
    pub opener: String,
    /// The other side.
    pub acceptor: String,
    /// Size in satoshis.
    pub capacity_sat: u64,
    /// Given to the acceptor, in millisatoshis.
    pub push_msat: u64,
    /// `txid:index`.
    pub funding: String,
    /// 64 hexadecimal digits.
    pub channel_id: String,
    /// Short channel id; none if its funding was never deep enough.
    pub short_channel_id: Option<u64>,
}

/// A payment of the case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadePayment {
    /// As in the scenario, or `live-<channel label>-<sender>` for those at the end.
    pub id: String,
    /// Sender.
    pub from: String,
    /// Receiver.
    pub to: String,
    /// What the receiver gets in all, in millisatoshis.
    pub amount_msat: u64,
    /// 64 hexadecimal digits.
    pub payment_hash: String,
    /// 64 hexadecimal digits: SHA-256 of the idempotency key.
    pub payment_id: String,
    /// How it was asked for.
    pub kind: PaymentKind,
    /// The parts' paths as channel labels, sender first; empty if gossip chose.
    pub paths: Vec<Vec<String>>,
    /// One of those payments at the end that prove a channel alive: the channel.
    pub proves: Option<String>,
}

/// One line of `trace.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceEntry {
    /// From one, without gaps.
    pub seq: u64,
    /// Microseconds since the case began, by the rig's clock.
    pub time_us: u64,
    /// What.
    #[serde(flatten)]
    pub source: Source,
}

/// Where a trace entry comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum Source {
    /// A node's report.
    Node {
        /// Which.
        node: String,
        /// Which life of its process: 0 is the first.
        life: u32,
        /// What it said.
        report: NodeReport,
    },
    /// The rig's own doing.
    Rig {
        /// What it did.
        did: RigEntry,
    },
}

/// A line of a node's report pipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NodeReport {
    /// About crash points.
    Gate(GateReport),
    /// About everything else.
    Node(Report),
}

/// Where a case's time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nodes, coins, channels.
    SetUp,
    /// The scenario's steps up to the kill, or to their end.
    Act,
    /// From a kill until the killed node is connected again.
    Recover,
    /// Until nothing moves any more, live payments included.
    Settle,
    /// Saving and judging.
    Judge,
}

/// A block that is in the chain no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenOff {
    /// Its height.
    pub height: u32,
    /// Its transactions but for the coinbase, 64 hexadecimal digits each.
    pub txids: Vec<String>,
}

/// What the rig did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RigEntry {
    /// A phase begins (and the one before ends).
    Phase {
        /// Which.
        phase: Phase,
    },
    /// A node's process was started.
    Started {
        /// Which.
        node: String,
        /// Life of its process.
        life: u32,
        /// Process id.
        pid: u32,
    },
    /// A node's process was killed on purpose.
    Killed {
        /// Which.
        node: String,
        /// Life of its process.
        life: u32,
        /// Where it stood, if at an armed point.
        point: Option<PointId>,
    },
    /// A node's process ended by itself.
    Exited {
        /// Which.
        node: String,
        /// Life of its process.
        life: u32,
        /// How.
        status: String,
        /// The last lines it wrote to its standard error.
        last_lines: Vec<String>,
    },
    /// A node was told to drop a connection, as a fault at a point of the other side.
    Cut {
        /// The node that stood at the point.
        node: String,
        /// The one that dropped the connection.
        peer: String,
    },
    /// A node was told to publish its commitment, as a fault at a point.
    ForceClosed {
        /// The node.
        node: String,
        /// The channel's label.
        channel: String,
    },
    /// A node stood at the point of a fault when only live payments were left, which are no part of the scenario:
    /// it went on, and nothing was done to it.
    PassedOver {
        /// The node.
        node: String,
        /// Life of its process.
        life: u32,
        /// The point.
        point: PointId,
    },
    /// A step begins.
    StepBegun {
        /// Its label.
        label: String,
    },
    /// A step ended.
    StepEnded {
        /// Its label.
        label: String,
    },
    /// A command that a kill left unanswered was given again.
    Reissued {
        /// To which node.
        node: String,
        /// The command's name.
        method: String,
    },
    /// A command was refused by a node and the refusal was taken as an answer.
    Refused {
        /// By which node.
        node: String,
        /// The command's name.
        method: String,
        /// The refusal.
        message: String,
    },
    /// Blocks were mined.
    Mined {
        /// Height after it.
        height: u32,
        /// How many.
        blocks: u32,
    },
    /// Blocks were taken off the chain, and one more put in their place, all of them empty.
    Reorged {
        /// Height after it.
        height: u32,
        /// How many were taken off.
        blocks: u32,
        /// Those of them that had more than a coinbase.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        taken_off: Vec<TakenOff>,
    },
    /// An old copy of a node's data was put in place while it was down: what it does from now on is a
    /// cheat's doing.
    Restored {
        /// The node.
        node: String,
    },
    /// A unified node's records of payments were deleted while it was down.
    Forgot {
        /// The node.
        node: String,
    },
    /// A wait ended without what it waited for; the case goes on to be judged.
    WaitEnded {
        /// What was missing.
        missing: String,
    },
}

/// The chain as the two witnesses saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainEvidence {
    /// Height of the block before the case's first.
    pub base_height: u32,
    /// The case's blocks from bitcoind, without coinbases; only those with transactions are listed.
    pub blocks: Vec<BlockEvidence>,
    /// Height at the end.
    pub tip_height: u32,
    /// electrs's history of every output script of every transaction in `blocks`, up to the tip.
    pub histories: Vec<ScriptHistory>,
    /// Transactions in the mempool at the end.
    pub mempool: Vec<String>,
}

/// One block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockEvidence {
    /// Height.
    pub height: u32,
    /// Hash.
    pub hash: String,
    /// Transactions but the coinbase, in hexadecimal.
    pub transactions: Vec<String>,
}

/// What electrs says of a script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptHistory {
    /// The script in hexadecimal.
    pub script: String,
    /// Transaction ids and heights.
    pub entries: Vec<(String, i32)>,
}
