//! Commands to a node and its answers.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use bitcoin::secp256k1::PublicKey;
use faults::{ArmedPoint, PointId};

use super::view::{Balance, ChannelView, GraphView, NodeInfo, PaymentView, RestView};

/// One line to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Repeated in the answer.
    pub id: u64,
    /// What to do.
    #[serde(flatten)]
    pub command: Command,
}

impl Request {
    /// Reads one line of the control socket.
    ///
    /// # Errors
    ///
    /// The answer to the line, which says what is wrong with it: under the line's own id if it has one, else under 0.
    pub fn read(line: &[u8]) -> Result<Request, Box<Response>> {
        serde_json::from_slice(line).map_err(|error| {
            let id = serde_json::from_slice::<serde_json::Value>(line)
                .ok()
                .and_then(|value| value.get("id")?.as_u64());
            let error = RequestError {
                code: ErrorCode::BadRequest,
                message: format!("cannot read the request: {error}"),
            };
            Box::new(Response {
                id: id.unwrap_or(0),
                result: None,
                error: Some(error),
            })
        })
    }
}

/// One line back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The request's.
    pub id: u64,
    /// What came of it, if it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Reply>,
    /// Why it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RequestError>,
}

/// What a node can be told to do. Commands that move money carry a `key`: a command given again
/// under the same key does nothing twice and answers as the first did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", content = "params", rename_all = "snake_case")]
pub enum Command {
    /// Who are you: id, address, height.
    Info {},
    /// Connect to a peer; answered once both `init`s have been handled.
    Connect {
        /// The peer.
        node_id: PublicKey,
        /// Where it listens.
        address: SocketAddr,
    },
    /// Drop the connection to a peer.
    Disconnect {
        /// The peer.
        node_id: PublicKey,
    },
    /// Open a channel. Answered when the request is on its way; `channel_pending` tells the rest.
    Open {
        /// Idempotency key.
        key: String,
        /// The peer, which has to be connected.
        node_id: PublicKey,
        /// The channel's size.
        capacity_sat: u64,
        /// Given to the peer from the start.
        push_msat: u64,
        /// Whether gossip may tell of it.
        announce: bool,
    },
    /// Close a channel together with the peer.
    Close {
        /// 64 hexadecimal digits.
        channel_id: String,
        /// The peer.
        node_id: PublicKey,
    },
    /// Publish our commitment.
    ForceClose {
        /// 64 hexadecimal digits.
        channel_id: String,
        /// The peer.
        node_id: PublicKey,
    },
    /// Make a BOLT 11 invoice.
    Invoice {
        /// Idempotency key: the preimage follows from the node's seed and this.
        key: String,
        /// Amount in millisatoshis.
        amount_msat: u64,
        /// `true`: the payment is held until `claim` or `fail`. `false`: claimed at once.
        hold: bool,
    },
    /// Pay an invoice.
    Pay {
        /// Idempotency key; the payment id is its SHA-256.
        key: String,
        /// The invoice.
        invoice: String,
        /// The paths to take, each with its part of the amount; empty: find a route by gossip.
        paths: Vec<Vec<Hop>>,
    },
    /// Pay without an invoice (keysend).
    Keysend {
        /// Idempotency key; the payment id is its SHA-256, the preimage follows from it and the seed.
        key: String,
        /// Who gets it.
        node_id: PublicKey,
        /// Amount in millisatoshis.
        amount_msat: u64,
        /// As in `pay`.
        paths: Vec<Vec<Hop>>,
    },
    /// Claim a held payment.
    Claim {
        /// 64 hexadecimal digits.
        payment_hash: String,
    },
    /// Fail a held payment back.
    Fail {
        /// 64 hexadecimal digits.
        payment_hash: String,
    },
    /// Hold a payment that comes for this hash instead of claiming it, from now on.
    Hold {
        /// 64 hexadecimal digits.
        payment_hash: String,
    },
    /// All channels, open and closing.
    Channels {},
    /// All payments sent that the node still knows of.
    Payments {},
    /// On-chain balance.
    Balance {},
    /// An address of the on-chain wallet.
    Address {},
    /// What gossip has told the node.
    Graph {},
    /// Channels, payments, balances and claims in one answer, for the verdict.
    Rest {},
    /// Connect blocks up to the chain's tip; answered when everything that follows is done.
    Sync {},
    /// One tick of every timer: manager, peers, rebroadcasts, sweeper.
    Tick {},
    /// Do one of the writes that wait, and all that it lets go; nothing if none does.
    Write {},
    /// Set the fee rate the node estimates, in satoshis per 1000 weight units.
    FeeRate {
        /// The rate.
        sat_per_kw: u32,
    },
    /// Count points from nothing with these armed, in place of all earlier ones.
    Arm {
        /// The points.
        points: Vec<ArmedPoint>,
    },
    /// Let a held operation go on.
    Release {
        /// Where it is held.
        point: PointId,
    },
    /// Store everything whose write does not hang, and exit.
    Stop {},
}

/// One hop of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hop {
    /// The node the hop leads to.
    pub node_id: PublicKey,
    /// The channel it goes over.
    pub short_channel_id: u64,
    /// What this node keeps for forwarding to the next; for the last hop the part's amount. In
    /// millisatoshis.
    pub fee_msat: u64,
    /// What this node adds to the expiry towards the next; for the last hop the final delta. In
    /// blocks.
    pub cltv_expiry_delta: u32,
}

/// What a command answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Nothing to tell.
    Done,
    /// To `info`.
    Info(NodeInfo),
    /// To `invoice`.
    Invoice {
        /// The invoice.
        invoice: String,
        /// 64 hexadecimal digits.
        payment_hash: String,
    },
    /// To `pay` and `keysend`.
    Payment {
        /// 64 hexadecimal digits.
        payment_hash: String,
        /// `true` if the payment had been started under this key before.
        already: bool,
    },
    /// To `channels`.
    Channels(Vec<ChannelView>),
    /// To `payments`.
    Payments(Vec<PaymentView>),
    /// To `balance`.
    Balance(Balance),
    /// To `address`.
    Address(String),
    /// To `graph`.
    Graph(GraphView),
    /// To `rest`.
    Rest(Box<RestView>),
    /// To `sync`.
    Synced {
        /// The height reached.
        height: u32,
    },
    /// To `release`.
    Released {
        /// Whether something was held there.
        was_held: bool,
    },
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct RequestError {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
}

/// Kinds of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request could not be read, or a value in it is impossible.
    BadRequest,
    /// No such channel, payment or peer.
    NotFound,
    /// The node knows better than to do that now (no route, not connected, not enough funds).
    Refused,
    /// The chain source or bitcoind did not answer.
    Chain,
    /// The node's own fault.
    Internal,
}
