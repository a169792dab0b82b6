//! The rig-node API: how a node program is configured, commanded, and heard.
//!
//! Three channels, all of them one JSON value a line (CONTROL.md documents them for other programs):
//! the configuration file named on the command line, requests and responses on a Unix socket, and
//! reports on an inherited pipe. Types only; nothing here runs a node.

mod config;
mod keys;
mod report;
mod request;
mod view;

pub use config::{
    BitcoindAccess, ChainSource, NodeConfig, PAYMENT_RECORDS, PeerName, Persistence, WriteOrder,
};
pub use keys::{BadSeed, node_id_of_seed, seed_bytes};
pub use report::{
    BroadcastTransaction, Counters, HtlcResolution, LogLevel, Report, UserEvent, WireMessage,
};
pub use request::{Command, ErrorCode, Hop, Reply, Request, RequestError, Response};
pub use view::{
    Balance, ChannelView, GraphView, HtlcDirection, HtlcView, NodeInfo, OnchainClaim, PaymentState,
    PaymentView, RestView,
};
