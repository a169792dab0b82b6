//! The commands of the control API as far as they are the same on every node program: their points,
//! their roles, the answers that need no Lightning part.

use bitcoin::hashes::{Hash, sha256};
use bitcoin::hex::FromHex;
use faults::gate;
use lightning::ln::types::ChannelId;

use super::control::Process;
use super::host::Host;
use super::names::{Names, PaymentName};
use super::sync::SyncError;
use crate::api::{Command, ErrorCode, Reply, RequestError};

/// Invoices live longer than any run: regtest's clock runs ahead by a second a block.
pub(crate) const INVOICE_EXPIRY_SECONDS: u32 = 7 * 24 * 60 * 60;
/// BOLT 11's `min_final_cltv_expiry_delta`: LDK's own least.
pub(crate) const FINAL_CLTV_EXPIRY_DELTA: u16 = 42;
/// How often a payment by gossip may replace parts that failed.
pub(crate) const ATTEMPTS_BY_GOSSIP: u32 = 3;

/// The request makes no sense.
pub(crate) fn bad(message: impl ToString) -> RequestError {
    RequestError {
        code: ErrorCode::BadRequest,
        message: message.to_string(),
    }
}

/// The node will not do that now.
pub(crate) fn refused(message: impl ToString) -> RequestError {
    RequestError {
        code: ErrorCode::Refused,
        message: message.to_string(),
    }
}

/// There is no such thing.
pub(crate) fn not_found(message: impl ToString) -> RequestError {
    RequestError {
        code: ErrorCode::NotFound,
        message: message.to_string(),
    }
}

impl From<SyncError> for RequestError {
    fn from(error: SyncError) -> Self {
        RequestError {
            code: ErrorCode::Chain,
            message: error.to_string(),
        }
    }
}

/// Reads 64 hexadecimal digits.
pub(crate) fn bytes32(text: &str) -> Result<[u8; 32], RequestError> {
    <[u8; 32]>::from_hex(text).map_err(|_| bad(format!("{text:?} is not 64 hexadecimal digits")))
}

/// What an idempotency key becomes inside a node.
pub(crate) fn key_digest(key: &str) -> [u8; 32] {
    sha256::Hash::hash(key.as_bytes()).to_byte_array()
}

/// Name and role of a command that has points.
fn name_and_role(
    command: &Command,
    names: &Names,
) -> Result<Option<(&'static str, String)>, RequestError> {
    let label = |channel_id: &str| -> Result<String, RequestError> {
        let channel_id = ChannelId::from_bytes(bytes32(channel_id)?);
        Ok(names.channel(&channel_id).unwrap_or_default())
    };
    let key_of = |payment_hash: &str| {
        names
            .incoming(payment_hash)
            .map(|name| name.key)
            .unwrap_or_default()
    };
    Ok(Some(match command {
        Command::Open { key, .. } => ("open", key.clone()),
        Command::Invoice { key, .. } => ("invoice", key.clone()),
        Command::Pay { key, .. } => ("pay", key.clone()),
        Command::Keysend { key, .. } => ("keysend", key.clone()),
        Command::Close { channel_id, .. } => ("close", label(channel_id)?),
        Command::ForceClose { channel_id, .. } => ("force_close", label(channel_id)?),
        Command::Claim { payment_hash } => ("claim", key_of(payment_hash)),
        Command::Fail { payment_hash } => ("fail", key_of(payment_hash)),
        _ => return Ok(None),
    }))
}

/// Carries out every command but `connect`, `disconnect` and `stop`, which are the server's.
pub(crate) fn carry_out<P: Process>(
    process: &mut P,
    command: Command,
) -> Result<Reply, RequestError> {
    let Some((name, role)) = name_and_role(&command, &process.host().names)? else {
        return match answer(process.host(), &command) {
            Some(reply) => reply,
            None => process.answer(command),
        };
    };
    process.host().begin(format!("command {name} {role}"));
    let _ = gate::point(&format!("command.{name}.before"), &role);
    let outcome = process.change(command);
    process.work();
    let _ = gate::point(&format!("command.{name}.after"), &role);
    outcome
}

/// Answers what needs no Lightning part.
fn answer(host: &Host, command: &Command) -> Option<Result<Reply, RequestError>> {
    Some(Ok(match command {
        Command::Hold { payment_hash } => return Some(hold(host, payment_hash)),
        Command::Balance {} => Reply::Balance(host.wallet.balance()),
        Command::Address {} => Reply::Address(host.wallet.address()),
        Command::Graph {} => Reply::Graph(host.graph_view()),
        Command::Arm { points } => {
            gate::arm(points.clone());
            Reply::Done
        }
        _ => return None,
    }))
}

fn hold(host: &Host, payment_hash: &str) -> Result<Reply, RequestError> {
    bytes32(payment_hash)?;
    let key = host.names.incoming(payment_hash).map(|name| name.key);
    let name = PaymentName {
        key: key.unwrap_or_default(),
        hold: true,
    };
    host.names.expect_payment(payment_hash, name);
    Ok(Reply::Done)
}
