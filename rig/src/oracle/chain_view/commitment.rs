//! How a channel's funding output was spent, and what became of every output of a commitment. Owns
//! the classification; whether a close was wanted is for the oracles.

use bitcoin::{OutPoint, Transaction, TxIn, Txid};

use super::witness::{self, OutputKind, SpendPath};
use super::{ChainView, Spend};

/// BOLT 3: an anchor's value.
pub const ANCHOR_SAT: u64 = 330;

/// What the chain says of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closure {
    /// The case's blocks do not have the funding transaction.
    Unfunded,
    /// The funding output is unspent.
    Open,
    /// Spent by a transaction that both sides agreed on.
    Cooperative {
        /// It.
        txid: Txid,
        /// Height of its block.
        height: u32,
    },
    /// Spent by a commitment.
    Commitment(Commitment),
}

/// A confirmed commitment transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commitment {
    /// It.
    pub txid: Txid,
    /// Height of its block.
    pub height: u32,
    /// Its outputs.
    pub outputs: Vec<Output>,
}

/// An output of a commitment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Where.
    pub outpoint: OutPoint,
    /// Satoshis.
    pub value_sat: u64,
    /// What it is.
    pub kind: OutputKind,
    /// Who spent it, and how.
    pub spend: Option<OutputSpend>,
}

/// The spend of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputSpend {
    /// The transaction.
    pub txid: Txid,
    /// Height of its block.
    pub height: u32,
    /// The path.
    pub path: SpendPath,
}

impl Output {
    /// Where the HTLC transaction that spent this output paid to, and how many satoshis. BOLT 3's HTLC
    /// transactions pay the delayed output at the index of the input they spend the HTLC with; direct
    /// claims pay to something else than a script hash.
    pub fn second_stage(&self, chain: &ChainView) -> Option<(OutPoint, u64)> {
        if !matches!(self.kind, OutputKind::Htlc { .. }) {
            return None;
        }
        let spend = chain.spend_of(&self.outpoint)?;
        let (outpoint, second) = spend.by.outpoints().nth(spend.input)?;
        second
            .script_pubkey
            .is_p2wsh()
            .then(|| (outpoint, second.value.to_sat()))
    }
}

impl Closure {
    /// Classifies what spent the funding output.
    pub fn read(chain: &ChainView, funding: &OutPoint) -> Self {
        if chain.output(funding).is_none() {
            return Closure::Unfunded;
        }
        let Some(spend) = chain.spend_of(funding) else {
            return Closure::Open;
        };
        let (txid, height) = (spend.by.txid, spend.by.height);
        if !is_commitment(&spend) {
            return Closure::Cooperative { txid, height };
        }
        let outputs = spend
            .by
            .outpoints()
            .map(|(outpoint, output)| {
                let spent = chain.spend_of(&outpoint);
                let (kind, path) = match &spent {
                    Some(spent) => witness::read(&spent.by.transaction.input[spent.input]),
                    None => (OutputKind::Unknown, SpendPath::Unknown),
                };
                let value_sat = output.value.to_sat();
                Output {
                    outpoint,
                    value_sat,
                    // Without a script: HTLCs and both balances are above 330 by the dust limit, and
                    // a balance that is no script hash is the other side's (no anchors).
                    kind: match kind {
                        OutputKind::Unknown if value_sat == ANCHOR_SAT => OutputKind::Anchor,
                        OutputKind::Unknown if !output.script_pubkey.is_p2wsh() => {
                            OutputKind::ToRemote
                        }
                        known => known,
                    },
                    spend: spent.map(|spent| OutputSpend {
                        txid: spent.by.txid,
                        height: spent.by.height,
                        path,
                    }),
                }
            })
            .collect();
        Closure::Commitment(Commitment {
            txid,
            height,
            outputs,
        })
    }

    /// Whether the funding output is spent.
    pub fn is_closed(&self) -> bool {
        matches!(self, Closure::Cooperative { .. } | Closure::Commitment(_))
    }

    /// `(txid, height)` of what spent the funding output.
    pub fn closing(&self) -> Option<(Txid, u32)> {
        match self {
            Closure::Unfunded | Closure::Open => None,
            Closure::Cooperative { txid, height } => Some((*txid, *height)),
            Closure::Commitment(commitment) => Some((commitment.txid, commitment.height)),
        }
    }
}

fn is_commitment(spend: &Spend<'_>) -> bool {
    let transaction = &spend.by.transaction;
    is_numbered(transaction, &transaction.input[spend.input])
}

/// BOLT 3: a commitment hides its number in the lower three bytes of lock time and sequence, under
/// 0x20 and 0x80.
fn is_numbered(transaction: &Transaction, input: &TxIn) -> bool {
    let sequence = input.sequence.to_consensus_u32();
    transaction.lock_time.to_consensus_u32() >> 24 == 0x20 && sequence >> 24 == 0x80
}

/// Whether the transaction is a commitment of the channel with this funding output.
pub fn is_commitment_spending(transaction: &Transaction, funding: &OutPoint) -> bool {
    let mut inputs = transaction.input.iter();
    inputs.any(|input| input.previous_output == *funding && is_numbered(transaction, input))
}
