//! Reads BOLT 3's scripts and witnesses. Owns the recognition of an output's kind and of the path it
//! was spent by; decides nothing about who was entitled to it.

use bitcoin::opcodes::all as op;
use bitcoin::script::Instruction;
use bitcoin::{Opcode, Script, TxIn};

/// What an output of a commitment transaction, or of one that spends its HTLCs, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// 330 satoshis to bump the fee with.
    Anchor,
    /// The broadcaster's balance, or an HTLC's second stage: delayed and revocable.
    Delayed,
    /// The other side's balance.
    ToRemote,
    /// An HTLC.
    Htlc {
        /// Offered by whose commitment it is, rather than received.
        offered: bool,
        /// RIPEMD-160 of the payment hash.
        payment_hash160: [u8; 20],
        /// Where the script tells it (received HTLCs).
        cltv_expiry: Option<u32>,
    },
    /// Unspent, so that no script is known.
    Unknown,
}

/// Which way out of a script was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpendPath {
    /// With the preimage.
    Preimage([u8; 32]),
    /// After the expiry.
    Timeout,
    /// As a penalty.
    Revocation,
    /// After the delay, or by the key alone: the ordinary way.
    Owner,
    /// None of those that BOLT 3 knows.
    Unknown,
}

/// What a revealed witness script says of its output.
pub fn kind_of(script: &Script) -> OutputKind {
    // Longest of BOLT 3's scripts is far below this; anything longer is none of them.
    let parts: Vec<Instruction<'_>> = script
        .instructions()
        .take(64)
        .filter_map(Result::ok)
        .collect();
    match (parts.first(), parts.get(1), parts.get(2)) {
        (Some(Instruction::Op(op::OP_DUP)), Some(Instruction::Op(op::OP_HASH160)), _) => {
            htlc(&parts)
        }
        (Some(Instruction::Op(op::OP_IF)), Some(key), Some(Instruction::Op(op::OP_ELSE)))
            if is_key(key) =>
        {
            OutputKind::Delayed
        }
        (Some(key), Some(Instruction::Op(op::OP_CHECKSIGVERIFY)), Some(_)) if is_key(key) => {
            OutputKind::ToRemote
        }
        (
            Some(key),
            Some(Instruction::Op(op::OP_CHECKSIG)),
            Some(Instruction::Op(op::OP_IFDUP)),
        ) if is_key(key) => OutputKind::Anchor,
        _ => OutputKind::Unknown,
    }
}

fn htlc(parts: &[Instruction<'_>]) -> OutputKind {
    // The first 20 bytes are the hash of the revocation key, the second that of the payment hash.
    let second = parts
        .iter()
        .filter_map(|part| part.push_bytes())
        .filter_map(|bytes| <[u8; 20]>::try_from(bytes.as_bytes()).ok())
        .nth(1);
    let Some(payment_hash160) = second else {
        return OutputKind::Unknown;
    };
    let has = |code: Opcode| parts.iter().any(|part| part.opcode() == Some(code));
    let cltv_expiry = parts
        .windows(2)
        .find(|pair| pair[1].opcode() == Some(op::OP_CLTV))
        .and_then(|pair| pair[0].script_num())
        .and_then(|number| u32::try_from(number).ok());
    OutputKind::Htlc {
        offered: has(op::OP_NOTIF),
        payment_hash160,
        cltv_expiry,
    }
}

fn is_key(part: &Instruction<'_>) -> bool {
    part.push_bytes().is_some_and(|bytes| bytes.len() == 33)
}

/// What the input tells of the output that it spends, and the path it took.
pub fn read(input: &TxIn) -> (OutputKind, SpendPath) {
    let items: Vec<&[u8]> = input.witness.iter().collect();
    let [.., choice, script] = items.as_slice() else {
        return (OutputKind::Unknown, SpendPath::Unknown);
    };
    let kind = kind_of(Script::from_bytes(script));
    let path = match kind {
        OutputKind::Htlc { .. } => htlc_path(choice),
        // `<sig> 1` takes OP_IF, the penalty's branch; `<sig> <>` the delayed one.
        OutputKind::Delayed if choice.is_empty() => SpendPath::Owner,
        OutputKind::Delayed => SpendPath::Revocation,
        OutputKind::Anchor | OutputKind::ToRemote => SpendPath::Owner,
        OutputKind::Unknown => SpendPath::Unknown,
    };
    (kind, path)
}

fn htlc_path(choice: &[u8]) -> SpendPath {
    if let Ok(preimage) = <[u8; 32]>::try_from(choice) {
        return SpendPath::Preimage(preimage);
    }
    match choice.len() {
        0 => SpendPath::Timeout,
        33 => SpendPath::Revocation,
        _ => SpendPath::Unknown,
    }
}
