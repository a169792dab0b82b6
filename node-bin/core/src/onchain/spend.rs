//! How an output of a commitment was spent, read from the witness that the chain accepted.
//!
//! BOLT 3, "Commitment Transaction Outputs"; BOLT 5, "HTLC Output Handling".

use bitcoin::hashes::{Hash, sha256};
use bitcoin::{OutPoint, Transaction, TxIn};
use lightning::types::payment::PaymentPreimage;

use super::identify::{HtlcOutput, OutputKind};

/// How an output was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpendPath {
    /// An HTLC by who receives it, with its preimage.
    Preimage {
        /// It, checked against the HTLC's hash.
        preimage: PaymentPreimage,
        /// By who published the commitment: the money waits in a second-stage output. Otherwise it
        /// is gone.
        second_stage: bool,
    },
    /// An HTLC by who offered it, after it expired.
    Timeout {
        /// By who published the commitment: the money waits in a second-stage output. Otherwise it
        /// is gone.
        second_stage: bool,
    },
    /// By the revocation key: the commitment was revoked.
    Revocation,
    /// A balance by who published the commitment, after the delay.
    Delayed,
    /// A balance by who did not publish the commitment.
    Balance,
    /// An anchor, by whoever wanted it.
    Anchor,
    /// None that is known.
    Unknown,
}

/// Everything in a transaction's witnesses that could be a preimage: whose hash is asked for tells whether it is.
pub fn possible_preimages(transaction: &Transaction) -> impl Iterator<Item = PaymentPreimage> {
    let inputs = transaction.input.iter();
    let witnesses = inputs.flat_map(|input| input.witness.iter());
    let bytes = witnesses.filter_map(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.map(PaymentPreimage)
}

/// Tells how `input` spends an output of this kind. Never fails: what makes no sense is
/// [`SpendPath::Unknown`].
pub fn read_spend(kind: &OutputKind, input: &TxIn) -> SpendPath {
    match kind {
        OutputKind::Htlc(htlc) | OutputKind::RevokedHtlc(htlc) => read_htlc_spend(htlc, input),
        OutputKind::HolderDelayed | OutputKind::RevokedBalance => read_delayed_spend(input),
        // In the holder's commitment by the counterparty's fixed key, in the counterparty's own after
        // the delay: the script tells.
        OutputKind::CounterpartyBalance => match input.witness.len() {
            2 => SpendPath::Balance,
            _ => read_delayed_spend(input),
        },
        OutputKind::HolderBalance => SpendPath::Balance,
        OutputKind::HolderAnchor | OutputKind::CounterpartyAnchor => SpendPath::Anchor,
        OutputKind::Unknown => SpendPath::Unknown,
    }
}

/// Tells how `input` spends a balance in its owner's commitment, or a second-stage output.
pub fn read_delayed_spend(input: &TxIn) -> SpendPath {
    // <signature> <selector> <script>
    match (input.witness.len(), input.witness.second_to_last()) {
        (3, Some([])) => SpendPath::Delayed,
        (3, Some([1])) => SpendPath::Revocation,
        _ => SpendPath::Unknown,
    }
}

/// Bytes of the revocation key in a witness.
const KEY_BYTES: usize = 33;
/// `0 <signature> <signature> <selector> <script>`, which only both sides' signatures make: a second stage.
const SECOND_STAGE_ELEMENTS: usize = 5;
/// `<signature> <selector> <script>`.
const DIRECT_ELEMENTS: usize = 3;

/// Scripts take any selector that is no preimage for a timeout's (they look at its length, and drop it): a
/// peer that writes an odd one must not get past whoever watches for its second stage.
fn read_htlc_spend(htlc: &HtlcOutput, input: &TxIn) -> SpendPath {
    let Some(selector) = input.witness.second_to_last() else {
        return SpendPath::Unknown;
    };
    let preimage = <[u8; 32]>::try_from(selector).ok();
    match (input.witness.len(), preimage) {
        (SECOND_STAGE_ELEMENTS, Some(bytes)) => read_preimage(htlc, bytes, true),
        (SECOND_STAGE_ELEMENTS, None) => SpendPath::Timeout { second_stage: true },
        (DIRECT_ELEMENTS, Some(bytes)) => read_preimage(htlc, bytes, false),
        (DIRECT_ELEMENTS, None) if selector.len() == KEY_BYTES => SpendPath::Revocation,
        (DIRECT_ELEMENTS, None) => SpendPath::Timeout {
            second_stage: false,
        },
        _ => SpendPath::Unknown,
    }
}

fn read_preimage(htlc: &HtlcOutput, bytes: [u8; 32], second_stage: bool) -> SpendPath {
    if sha256::Hash::hash(&bytes).to_byte_array() != htlc.payment_hash.0 {
        return SpendPath::Unknown;
    }
    SpendPath::Preimage {
        preimage: PaymentPreimage(bytes),
        second_stage,
    }
}

/// The output that an input with a second-stage path pays to, with its satoshis: the one at the same
/// place, which the other side's `SIGHASH_SINGLE` signature fixed. A transaction may hold several.
pub fn second_stage_output(transaction: &Transaction, input_index: u32) -> Option<(OutPoint, u64)> {
    let output = transaction.output.get(input_index as usize)?;
    let outpoint = OutPoint {
        txid: transaction.compute_txid(),
        vout: input_index,
    };
    Some((outpoint, output.value.to_sat()))
}

#[cfg(test)]
mod tests;
