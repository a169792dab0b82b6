//! The case's blocks as transactions, with an index of who spent what. Owns the reading of
//! [`ChainEvidence`]; knows nothing of channels beyond what [`commitment`] reads out of scripts, and
//! never asks a node.

use std::collections::{BTreeSet, HashMap};

use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{OutPoint, Transaction, TxOut, Txid};

use crate::evidence::ChainEvidence;

pub mod commitment;
mod histories;
pub mod witness;

pub use histories::{Disagreement, disagreements};

/// Why the chain's evidence could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainViewError {
    /// A transaction is no transaction.
    #[error(
        "transaction {index} of block {height} in the evidence cannot be read ({reason}): \
         take the case's evidence again, or replay the case"
    )]
    BadTransaction {
        /// The block's height.
        height: u32,
        /// Place among the block's listed transactions.
        index: usize,
        /// The decoder's words.
        reason: String,
    },
    /// A block is listed that cannot be one of the case's.
    #[error(
        "the evidence lists block {height}, which is not above the base {base} and up to the tip {tip}: \
         it mixes two cases, replay this one"
    )]
    BlockOutside {
        /// The block's height.
        height: u32,
        /// The case's base.
        base: u32,
        /// The case's tip.
        tip: u32,
    },
}

/// A transaction in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// Its id.
    pub txid: Txid,
    /// Its block's height.
    pub height: u32,
    /// The whole.
    pub transaction: Transaction,
}

/// Who spent an output.
#[derive(Clone, Copy, Debug)]
pub struct Spend<'a> {
    /// The spending transaction.
    pub by: &'a Confirmed,
    /// Which of its inputs.
    pub input: usize,
}

/// All transactions of the case's blocks, indexed.
#[derive(Clone, Debug, Default)]
pub struct ChainView {
    transactions: Vec<Confirmed>,
    by_txid: HashMap<Txid, usize>,
    spends: HashMap<OutPoint, (usize, usize)>,
}

impl ChainView {
    /// Reads the blocks.
    pub fn read(chain: &ChainEvidence) -> Result<Self, ChainViewError> {
        let mut view = ChainView::default();
        for block in &chain.blocks {
            if block.height <= chain.base_height || block.height > chain.tip_height {
                return Err(ChainViewError::BlockOutside {
                    height: block.height,
                    base: chain.base_height,
                    tip: chain.tip_height,
                });
            }
            for (index, raw) in block.transactions.iter().enumerate() {
                let transaction: Transaction =
                    deserialize_hex(raw).map_err(|error| ChainViewError::BadTransaction {
                        height: block.height,
                        index,
                        reason: error.to_string(),
                    })?;
                view.add(transaction, block.height);
            }
        }
        Ok(view)
    }

    fn add(&mut self, transaction: Transaction, height: u32) {
        let place = self.transactions.len();
        for (input, spent) in transaction.input.iter().enumerate() {
            self.spends.insert(spent.previous_output, (place, input));
        }
        let txid = transaction.compute_txid();
        self.by_txid.insert(txid, place);
        self.transactions.push(Confirmed {
            txid,
            height,
            transaction,
        });
    }

    /// A view with these transactions on top, as if the next block had them.
    pub fn with_unconfirmed(&self, transactions: Vec<Transaction>, height: u32) -> Self {
        let mut view = self.clone();
        for transaction in transactions {
            view.add(transaction, height);
        }
        view
    }

    /// Every transaction, in the chain's order.
    pub fn transactions(&self) -> &[Confirmed] {
        &self.transactions
    }

    /// The transaction with this id, if the case's blocks have it.
    pub fn transaction(&self, txid: &Txid) -> Option<&Confirmed> {
        self.by_txid
            .get(txid)
            .map(|place| &self.transactions[*place])
    }

    /// The output, if the case's blocks made it.
    pub fn output(&self, outpoint: &OutPoint) -> Option<&TxOut> {
        let index = usize::try_from(outpoint.vout).ok()?;
        self.transaction(&outpoint.txid)?
            .transaction
            .output
            .get(index)
    }

    /// Who spent the output, if the case's blocks did.
    pub fn spend_of(&self, outpoint: &OutPoint) -> Option<Spend<'_>> {
        self.spends.get(outpoint).map(|(place, input)| Spend {
            by: &self.transactions[*place],
            input: *input,
        })
    }

    /// What the transaction left to the miner, in satoshis; `None` if it spends an output from before
    /// the case.
    pub fn fee_sat(&self, confirmed: &Confirmed) -> Option<u64> {
        let mut inputs_sat = 0_u64;
        for input in &confirmed.transaction.input {
            let spent = self.output(&input.previous_output)?;
            inputs_sat = inputs_sat.checked_add(spent.value.to_sat())?;
        }
        let mut left_sat = inputs_sat;
        for output in &confirmed.transaction.output {
            left_sat = left_sat.checked_sub(output.value.to_sat())?;
        }
        Some(left_sat)
    }

    /// Everything that spends one of these outputs, or an output of something that does.
    pub fn descendants(&self, roots: &[OutPoint]) -> Vec<&Confirmed> {
        let mut places = BTreeSet::new();
        let mut open: Vec<OutPoint> = roots.to_vec();
        while let Some(outpoint) = open.pop() {
            let Some((place, _)) = self.spends.get(&outpoint) else {
                continue;
            };
            if places.insert(*place) {
                open.extend(
                    self.transactions[*place]
                        .outpoints()
                        .map(|(outpoint, _)| outpoint),
                );
            }
        }
        places
            .into_iter()
            .map(|place| &self.transactions[place])
            .collect()
    }
}

impl Confirmed {
    /// Its outputs with their outpoints.
    pub fn outpoints(&self) -> impl Iterator<Item = (OutPoint, &TxOut)> {
        (0_u32..)
            .zip(&self.transaction.output)
            .map(|(vout, output)| (OutPoint::new(self.txid, vout), output))
    }
}
