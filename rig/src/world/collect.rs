//! What the chain's two witnesses say at the end of a case. Reads only, and interprets nothing.

use std::collections::BTreeSet;

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Block, ScriptBuf};

use super::chain_access::ChainAccess;
use crate::chain::ChainError;
use crate::evidence::{BlockEvidence, ChainEvidence, ScriptHistory};

/// The case's part of the chain, from above `base_height` to the tip.
pub(super) async fn chain_evidence(
    chain: &ChainAccess,
    base_height: u32,
) -> Result<ChainEvidence, ChainError> {
    let tip_height = chain.tip().await?.height;
    let blocks = match tip_height > base_height {
        true => chain.blocks(base_height + 1..=tip_height).await?,
        false => Vec::new(),
    };
    let scripts = scripts_of(&blocks);
    chain.electrs_synced().await?;
    let histories = chain.histories(&scripts).await?;
    let mempool = chain.mempool().await?;
    let history = |(script, entries): (ScriptBuf, Vec<(bitcoin::Txid, i32)>)| ScriptHistory {
        script: script.to_hex_string(),
        entries: entries
            .iter()
            .map(|(txid, height)| (txid.to_string(), *height))
            .collect(),
    };
    Ok(ChainEvidence {
        base_height,
        blocks: (base_height + 1..)
            .zip(&blocks)
            .filter_map(block_evidence)
            .collect(),
        tip_height,
        histories: scripts.into_iter().zip(histories).map(history).collect(),
        mempool: mempool.iter().map(ToString::to_string).collect(),
    })
}

/// Output scripts of all transactions but the coinbases.
fn scripts_of(blocks: &[Block]) -> Vec<ScriptBuf> {
    let transactions = blocks.iter().flat_map(|block| block.txdata.iter().skip(1));
    let outputs = transactions.flat_map(|transaction| &transaction.output);
    let scripts: BTreeSet<ScriptBuf> = outputs.map(|output| output.script_pubkey.clone()).collect();
    scripts.into_iter().collect()
}

fn block_evidence((height, block): (u32, &Block)) -> Option<BlockEvidence> {
    let transactions: Vec<String> = block.txdata.iter().skip(1).map(serialize_hex).collect();
    (!transactions.is_empty()).then(|| BlockEvidence {
        height,
        hash: block.block_hash().to_string(),
        transactions,
    })
}
