//! A bitcoind that changes its chain while it is read.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bitcoin::block::{Header, Version};
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hashes::Hash;
use bitcoin::{Block, BlockHash, CompactTarget, Network, TxMerkleNode};
use jsonrpc::{Request, Response, Transport};
use lightning::chain::transaction::TransactionData;
use lightning::chain::{BestBlock, Listen};
use serde_json::{Value, json};

use super::{ChainSync, Follower, SyncError};
use crate::shared::names::Names;
use crate::shared::rpc::Bitcoind;

/// Blocks of one chain from the genesis block on; `salt` makes it another chain above `fork`.
fn chain(fork: usize, salt: u32, length: usize) -> Vec<Block> {
    let mut blocks = vec![bitcoin::constants::genesis_block(Network::Regtest)];
    while blocks.len() < length {
        let nonce = if blocks.len() > fork { salt } else { 0 };
        let header = Header {
            version: Version::TWO,
            prev_blockhash: blocks[blocks.len() - 1].block_hash(),
            merkle_root: TxMerkleNode::all_zeros(),
            time: blocks.len() as u32,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce,
        };
        let txdata = Vec::new();
        blocks.push(Block { header, txdata });
    }
    blocks
}

/// Has two chains, and changes from one to the other when it has answered this; or says of the first that it is the
/// active one, and answers with the other.
struct Changing {
    chains: [Vec<Block>; 2],
    active: Arc<AtomicUsize>,
    at: &'static str,
    is_honest: bool,
}

impl Changing {
    fn answer(&self, request: &Request<'_>) -> Response {
        let now = self.active.load(Ordering::Relaxed);
        let active = match (self.is_honest, request.method) {
            (true, _) | (_, "getblockheader") => &self.chains[now],
            (false, _) => &self.chains[1],
        };
        let params: Value = request
            .params
            .map_or(Value::Null, |raw| serde_json::from_str(raw.get()).unwrap());
        let hash = || params[0].as_str().unwrap().parse::<BlockHash>().unwrap();
        let find = |hash: BlockHash| {
            let mut all = self
                .chains
                .iter()
                .flat_map(|chain| chain.iter().enumerate());
            all.find(|(_, block)| block.block_hash() == hash).unwrap()
        };
        let result = match request.method {
            "getblockchaininfo" => json!({ "blocks": active.len() - 1 }),
            "getblockhash" => json!(active[params[0].as_u64().unwrap() as usize].block_hash()),
            "getblock" => json!(serialize_hex(find(hash()).1)),
            "getblockheader" => {
                let (height, block) = find(hash());
                let is_active = active.get(height) == Some(block);
                json!({
                    "height": height,
                    "confirmations": if is_active { 1 } else { -1 },
                    "previousblockhash": block.header.prev_blockhash,
                })
            }
            other => panic!("nobody asks for {other}"),
        };
        if request.method == self.at {
            self.active.store(1, Ordering::Relaxed);
        }
        Response {
            result: Some(serde_json::value::to_raw_value(&result).unwrap()),
            error: None,
            id: request.id.clone(),
            jsonrpc: Some("2.0".into()),
        }
    }
}

impl Transport for Changing {
    fn send_request(&self, request: Request<'_>) -> Result<Response, jsonrpc::Error> {
        Ok(self.answer(&request))
    }

    fn send_batch(&self, requests: &[Request<'_>]) -> Result<Vec<Response>, jsonrpc::Error> {
        Ok(requests
            .iter()
            .map(|request| self.answer(request))
            .collect())
    }

    fn fmt_target(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a test")
    }
}

/// Notes what it is told, and that it fits.
#[derive(Default)]
struct Listener(Mutex<Vec<BlockHash>>);

impl Listen for Listener {
    fn filtered_block_connected(&self, _: &Header, _: &TransactionData, _: u32) {}

    fn block_connected(&self, block: &Block, height: u32) {
        let mut seen = self.0.lock().unwrap();
        assert_eq!(seen.len(), height as usize);
        assert_eq!(seen.last(), Some(&block.header.prev_blockhash));
        seen.push(block.block_hash());
    }

    fn blocks_disconnected(&self, fork: BestBlock) {
        let mut seen = self.0.lock().unwrap();
        seen.truncate(fork.height as usize + 1);
        assert_eq!(seen.last(), Some(&fork.block_hash));
    }
}

/// Follows one chain to its end, or not yet, and then the other while bitcoind changes to it.
fn follow(
    at: &'static str,
    is_honest: bool,
    is_new: bool,
) -> (Result<(), SyncError>, Vec<BlockHash>) {
    let chains = [chain(2, 1, 5), chain(2, 2, 8)];
    let genesis = chains[0][0].block_hash();
    let active = Arc::new(AtomicUsize::new(0));
    let listener = Listener(Mutex::new(vec![genesis]));
    let mut followers = [Follower {
        best: BestBlock::new(genesis, 0),
        listener: &listener,
    }];
    let mut follow = |at, is_honest| {
        let bitcoind = Changing {
            chains: chains.clone(),
            active: active.clone(),
            at,
            is_honest,
        };
        let names = Arc::new(Names::of_nobody());
        let base = BestBlock::new(genesis, 0);
        let chain = ChainSync::new(Arc::new(Bitcoind::over(bitcoind)), None, base, names);
        chain
            .follow(&mut followers, &|_| (), &mut || ())
            .map(|_| ())
    };
    if !is_new {
        follow("", true).unwrap();
    }
    let mut followed = follow(at, is_honest);
    active.store(1, Ordering::Relaxed);
    if is_honest {
        followed = followed.and_then(|()| follow("", true));
    }
    let seen = listener.0.lock().unwrap().clone();
    (followed, seen)
}

#[test]
fn a_chain_that_changes_at_any_question_while_it_is_read_is_seen_whole() {
    let whole: Vec<_> = chain(2, 2, 8).iter().map(Block::block_hash).collect();
    for at in [
        "getblockheader",
        "getblockchaininfo",
        "getblockhash",
        "getblock",
    ] {
        for is_new in [false, true] {
            let (followed, seen) = follow(at, true, is_new);
            followed.unwrap();
            assert_eq!(seen, whole, "changed at {at}, new: {is_new}");
        }
    }
}

#[test]
fn a_bitcoind_that_does_not_agree_with_itself_is_given_up_with_what_to_do() {
    let (followed, _) = follow("", false, false);
    let error = followed.unwrap_err().to_string();
    assert!(error.contains("sync again"), "{error}");
}
