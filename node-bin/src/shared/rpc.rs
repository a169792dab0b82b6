//! The node's line to bitcoind: blocks and broadcasts, over JSON-RPC with a kept connection.

use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::{Block, BlockHash, Transaction};
use jsonrpc::simple_http::SimpleHttpTransport;
use jsonrpc::{Client, arg};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::BitcoindAccess;

/// No limit: what an HTLC is worth to pay the node knows. bitcoind's own holds for each transaction of a package alone, and a
/// small child may pay for a large commitment.
const ANY_FEE_RATE: u32 = 0;

/// bitcoind could not be asked, or said no.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The address is no address.
    #[error("{0:?} is no address of bitcoind: {1}")]
    Address(String, String),
    /// The call failed.
    #[error("bitcoind: {method}: {source}; see whether it runs and its cookie is current")]
    Call {
        /// The method.
        method: &'static str,
        /// The reason.
        source: jsonrpc::Error,
    },
    /// The answer is no block.
    #[error("bitcoind: {0} answered with something that is no block")]
    NoBlock(&'static str),
}

/// A block's place in the chain.
#[derive(Debug, Deserialize)]
pub struct HeaderInfo {
    /// Its height.
    pub height: u32,
    /// Below zero: not in the active chain.
    pub confirmations: i64,
    /// The block before.
    #[serde(rename = "previousblockhash")]
    pub previous: Option<BlockHash>,
}

#[derive(Deserialize)]
struct ChainInfo {
    blocks: u32,
}

/// How many blocks are asked for in one request: enough to save round trips, few enough to hold.
const BLOCKS_PER_BATCH: u32 = 100;

/// A connection to bitcoind.
pub struct Bitcoind {
    client: Client,
}

impl Bitcoind {
    /// Connects lazily.
    pub fn new(access: &BitcoindAccess) -> Result<Self, RpcError> {
        let transport = SimpleHttpTransport::builder()
            .url(&access.url)
            .map_err(|error| RpcError::Address(access.url.clone(), error.to_string()))?
            .auth(access.user.clone(), Some(access.password.clone()))
            .build();
        Ok(Bitcoind {
            client: Client::with_transport(transport),
        })
    }

    /// Over any transport.
    #[cfg(test)]
    pub(crate) fn over(transport: impl jsonrpc::Transport) -> Self {
        Bitcoind {
            client: Client::with_transport(transport),
        }
    }

    fn call<R: for<'a> Deserialize<'a>>(
        &self,
        method: &'static str,
        params: Option<&RawValue>,
    ) -> Result<R, RpcError> {
        self.client
            .call(method, params)
            .map_err(|source| RpcError::Call { method, source })
    }

    /// Height of the active chain.
    pub fn height(&self) -> Result<u32, RpcError> {
        Ok(self.call::<ChainInfo>("getblockchaininfo", None)?.blocks)
    }

    /// Hash of the active chain's block at a height.
    pub fn hash(&self, height: u32) -> Result<BlockHash, RpcError> {
        self.call("getblockhash", Some(&arg([height])))
    }

    /// Where a block stands.
    pub fn header(&self, hash: &BlockHash) -> Result<HeaderInfo, RpcError> {
        self.call("getblockheader", Some(&arg([hash.to_string()])))
    }

    fn batch<R: for<'a> Deserialize<'a>>(
        &self,
        method: &'static str,
        params: &[Box<RawValue>],
    ) -> Result<Vec<R>, RpcError> {
        let fail = |source| RpcError::Call { method, source };
        let requests: Vec<_> = params
            .iter()
            .map(|param| self.client.build_request(method, Some(param)))
            .collect();
        let answers = self.client.send_batch(&requests).map_err(fail)?;
        let read = |answer: Option<jsonrpc::Response>| {
            answer
                .ok_or(RpcError::NoBlock(method))?
                .result()
                .map_err(fail)
        };
        answers.into_iter().map(read).collect()
    }

    /// The active chain's blocks `from..=to`, with their heights.
    pub fn blocks(&self, from: u32, to: u32) -> Result<Vec<(u32, Block)>, RpcError> {
        let mut blocks = Vec::new();
        let mut next = from;
        while next <= to {
            let last = to.min(next + BLOCKS_PER_BATCH - 1);
            let heights: Vec<_> = (next..=last).map(|height| arg([height])).collect();
            let hashes: Vec<BlockHash> = self.batch("getblockhash", &heights)?;
            let wanted: Vec<_> = hashes
                .iter()
                .map(|hash| arg((hash.to_string(), 0)))
                .collect();
            let texts: Vec<String> = self.batch("getblock", &wanted)?;
            for (height, text) in (next..=last).zip(texts) {
                let block = deserialize_hex(&text).map_err(|_| RpcError::NoBlock("getblock"))?;
                blocks.push((height, block));
            }
            next = last + 1;
        }
        Ok(blocks)
    }

    /// Hands transactions over; several are one package. What is known already is no error.
    pub fn broadcast(&self, transactions: &[&Transaction]) -> Result<(), String> {
        let raw: Vec<String> = transactions.iter().map(|tx| serialize_hex(*tx)).collect();
        if let [single] = raw.as_slice() {
            let single = (single, ANY_FEE_RATE);
            return match self.call::<String>("sendrawtransaction", Some(&arg(single))) {
                Ok(_) => Ok(()),
                Err(error) if is_known_already(&error) => Ok(()),
                Err(error) => Err(error.to_string()),
            };
        }
        let answer: serde_json::Value = self
            .call("submitpackage", Some(&arg((raw, ANY_FEE_RATE))))
            .map_err(|error| error.to_string())?;
        match answer["package_msg"].as_str() {
            Some("success") => Ok(()),
            _ => Err(answer.to_string()),
        }
    }
}

fn is_known_already(error: &RpcError) -> bool {
    let text = error.to_string();
    text.contains("txn-already-in-mempool")
        || text.contains("txn-already-known")
        || text.contains("already in block chain")
        || text.contains("already in utxo set")
}
