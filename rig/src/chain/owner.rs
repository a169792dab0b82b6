//! The thread that owns a pair: it launches bitcoind and electrs (they die with the thread that
//! spawned them, so it must live as long as they do), makes every call to bitcoind, keeps the
//! coins, and in the end stops both. It judges nothing and knows no cases.

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::mpsc;

use bitcoin::{Amount, Block, BlockHash, ScriptBuf, Transaction, Txid};
use bitcoind::{BitcoinD, P2P};
use electrsd::ElectrsD;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::coins::Coins;
use super::error::{ChainError, ProcessName};
use super::rpc::{Rpc, cookie};
use super::scratch::Scratch;

/// The rig's coins: ten coinbases are ripe at once, the rest as cases mine. All before the first
/// halving at block 150.
pub(super) const FIRST_BLOCKS: u32 = 110;

/// How often to try again when another thread's fork held the script open for writing.
const BUSY_RETRIES: u32 = 1_000;

const BITCOIND_ARGS: [&str; 19] = [
    "-regtest",
    "-txindex=1",
    "-rest=0",
    // The default checks on regtest cost up to 13 ms a block as the chain grows.
    "-checkblockindex=0",
    "-checkmempool=0",
    "-persistmempool=0",
    "-acceptnonstdtxn=0",
    "-dbcache=16",
    "-par=1",
    "-rpcthreads=4",
    "-rpcworkqueue=128",
    "-rpcallowip=127.0.0.1",
    "-dnsseed=0",
    "-fixedseeds=0",
    "-discover=0",
    "-listenonion=0",
    "-natpmp=0",
    "-printtoconsole=1",
    "-debuglogfile=0",
];

/// A unit of work for the owner thread.
pub(super) type Command = Box<dyn FnOnce(&mut Owner) + Send>;

/// What the launch needs.
pub(super) struct LaunchPlan {
    pub(super) bitcoind_script: PathBuf,
    pub(super) electrs_script: PathBuf,
    pub(super) work_dir: PathBuf,
}

/// How to reach the two processes.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    pub(super) rpc: SocketAddrV4,
    pub(super) rpc_user: String,
    pub(super) rpc_password: String,
    pub(super) cookie_file: PathBuf,
    pub(super) p2p: SocketAddrV4,
    /// `127.0.0.1:port`
    pub(super) electrum: String,
}

/// The processes and what is known of their chain. Fields drop in order: electrs, bitcoind, and
/// last the folder of both.
pub(super) struct Owner {
    _electrsd: ElectrsD,
    _bitcoind: BitcoinD,
    pub(super) rpc: Rpc,
    coins: Coins,
    /// How often blocks were taken off the chain.
    invalidated: u32,
    _scratch: Scratch,
}

/// Body of the owner thread: launch, answer commands until the pair is dropped, stop.
pub(super) fn run(
    plan: &LaunchPlan,
    launched: oneshot::Sender<Result<Addresses, ChainError>>,
    commands: &mpsc::Receiver<Command>,
) {
    let mut owner = match Owner::launch(plan) {
        Ok((owner, addresses)) => {
            if launched.send(Ok(addresses)).is_err() {
                return; // nobody waits any more; dropping the owner stops both
            }
            owner
        }
        Err(failed) => {
            let _ = launched.send(Err(failed.error.clone()));
            return;
        }
    };
    while let Ok(command) = commands.recv() {
        command(&mut owner);
    }
}

/// A launch that failed. bitcoind, if it runs, is kept until the reason has been told: else its
/// end would look like the reason.
struct FailedLaunch {
    error: ChainError,
    _bitcoind: Option<Box<BitcoinD>>,
}

impl From<ChainError> for FailedLaunch {
    fn from(error: ChainError) -> Self {
        Self {
            error,
            _bitcoind: None,
        }
    }
}

impl Owner {
    fn launch(plan: &LaunchPlan) -> Result<(Self, Addresses), FailedLaunch> {
        let scratch = Scratch::create(&plan.work_dir)?;
        let bitcoind = launch_bitcoind(plan, &scratch)?;
        match Self::launch_upon(&bitcoind, plan, &scratch) {
            Ok((electrsd, rpc, coins, addresses)) => {
                let owner = Self {
                    _electrsd: electrsd,
                    _bitcoind: bitcoind,
                    rpc,
                    coins,
                    invalidated: 0,
                    _scratch: scratch,
                };
                Ok((owner, addresses))
            }
            Err(error) => Err(FailedLaunch {
                error,
                _bitcoind: Some(Box::new(bitcoind)),
            }),
        }
    }

    /// Everything after bitcoind has started.
    fn launch_upon(
        bitcoind: &BitcoinD,
        plan: &LaunchPlan,
        scratch: &Scratch,
    ) -> Result<(ElectrsD, Rpc, Coins, Addresses), ChainError> {
        let rpc = Rpc::new(&bitcoind.params)?;
        let mut coins = Coins::new()?;
        // Before electrs starts: it stays idle while bitcoind is in initial block download.
        let to = coins.address().to_string();
        let hashes: Vec<BlockHash> =
            rpc.call("generatetoaddress", &[json!(FIRST_BLOCKS), json!(to)])?;
        for (height, block) in (1..).zip(fetch_blocks(&rpc, &hashes)?) {
            coins.add_coinbase(&block, height);
        }
        let electrsd = launch_electrs(plan, scratch, bitcoind)?;
        let (rpc_user, rpc_password) = cookie(&bitcoind.params)?;
        let p2p = bitcoind
            .params
            .p2p_socket
            .ok_or_else(|| ChainError::NotStarted {
                what: ProcessName::Bitcoind,
                message: "the launcher opened no peer-to-peer port".to_owned(),
            })?;
        let addresses = Addresses {
            rpc: bitcoind.params.rpc_socket,
            rpc_user,
            rpc_password,
            cookie_file: bitcoind.params.cookie_file.clone(),
            p2p,
            electrum: electrsd.electrum_url.replace("0.0.0.0:", "127.0.0.1:"),
        };
        Ok((electrsd, rpc, coins, addresses))
    }

    /// Builds, signs and broadcasts a payment from the rig's coins. A coin that a reorg has taken
    /// away is forgotten and the next one tried.
    pub(super) fn fund(
        &mut self,
        outputs: &[(ScriptBuf, Amount)],
    ) -> Result<Transaction, ChainError> {
        /// "missing inputs" and "transaction already in the chain"
        const COIN_IS_GONE: [i32; 2] = [-25, -27];
        let height: u32 = self.rpc.call("getblockcount", &[])?;
        loop {
            let draft = self.coins.draft(outputs, height)?;
            match self.submit(&draft.transaction) {
                Ok(_) => {
                    self.coins.commit(&draft);
                    return Ok(draft.transaction);
                }
                Err(ChainError::Rpc { code, .. }) if COIN_IS_GONE.contains(&code) => {
                    self.coins.forget_spent(&draft);
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn submit(&self, transaction: &Transaction) -> Result<Txid, ChainError> {
        let hex = bitcoin::consensus::encode::serialize_hex(transaction);
        // 0: any fee rate; a node's fee bump may be dear on purpose.
        self.rpc.call("sendrawtransaction", &[json!(hex), json!(0)])
    }

    pub(super) fn mine(&mut self, blocks: u32) -> Result<Vec<BlockHash>, ChainError> {
        let to = Coins::burn_address(self.invalidated).to_string();
        let hashes = self
            .rpc
            .call("generatetoaddress", &[json!(blocks), json!(to)])?;
        if blocks > 0 {
            self.coins.confirm_all();
        }
        Ok(hashes)
    }

    pub(super) fn mine_empty(&self, blocks: u32) -> Result<Vec<BlockHash>, ChainError> {
        #[derive(serde::Deserialize)]
        struct Generated {
            hash: BlockHash,
        }
        let to = Coins::burn_address(self.invalidated).to_string();
        let call: Vec<Value> = vec![json!(to), json!([])];
        let generated: Vec<Generated> = self
            .rpc
            .batch("generateblock", &vec![call; blocks as usize])?;
        Ok(generated.into_iter().map(|block| block.hash).collect())
    }

    pub(super) fn invalidate(&mut self, hash: BlockHash) -> Result<(), ChainError> {
        self.coins.distrust_change();
        self.invalidated += 1;
        self.rpc
            .call::<Value>("invalidateblock", &[json!(hash)])
            .map(drop)
    }

    pub(super) fn reconsider(&mut self, hash: BlockHash) -> Result<(), ChainError> {
        self.coins.distrust_change();
        self.rpc
            .call::<Value>("reconsiderblock", &[json!(hash)])
            .map(drop)
    }

    pub(super) fn blocks(&self, first: u32, last: u32) -> Result<Vec<Block>, ChainError> {
        let heights: Vec<Vec<Value>> = (first..=last).map(|height| vec![json!(height)]).collect();
        let hashes: Vec<BlockHash> = self.rpc.batch("getblockhash", &heights)?;
        fetch_blocks(&self.rpc, &hashes)
    }
}

/// The blocks with these hashes, in this order.
pub(super) fn fetch_blocks(rpc: &Rpc, hashes: &[BlockHash]) -> Result<Vec<Block>, ChainError> {
    let calls: Vec<Vec<Value>> = hashes
        .iter()
        .map(|hash| vec![json!(hash), json!(0)])
        .collect();
    let all_hex: Vec<String> = rpc.batch("getblock", &calls)?;
    all_hex
        .iter()
        .map(|hex| {
            bitcoin::consensus::encode::deserialize_hex(hex).map_err(|error| {
                ChainError::UnreadableAnswer {
                    what: ProcessName::Bitcoind,
                    doing: "getblock".to_owned(),
                    message: error.to_string(),
                }
            })
        })
        .collect()
}

fn launch_bitcoind(plan: &LaunchPlan, scratch: &Scratch) -> Result<BitcoinD, ChainError> {
    let mut conf = bitcoind::Conf::default();
    conf.args = BITCOIND_ARGS.to_vec();
    conf.p2p = P2P::Yes;
    conf.tmpdir = Some(scratch.path().to_path_buf());
    conf.wallet = None;
    // The launcher waits 15 s for a process that has died; the tether knows at once, and the pair
    // does its own retries.
    conf.attempts = 1;
    retry_while_busy(ProcessName::Bitcoind, || {
        BitcoinD::with_conf(&plan.bitcoind_script, &conf)
    })
}

fn launch_electrs(
    plan: &LaunchPlan,
    scratch: &Scratch,
    bitcoind: &BitcoinD,
) -> Result<ElectrsD, ChainError> {
    let mut conf = electrsd::Conf::default();
    // A user's own electrs configuration must not leak in. The wait is only the last resort:
    // every sync is triggered.
    conf.args = vec!["--skip-default-conf-files", "--wait-duration-secs", "1"];
    conf.tmpdir = Some(scratch.path().to_path_buf());
    retry_while_busy(ProcessName::Electrs, || {
        ElectrsD::with_conf(&plan.electrs_script, bitcoind, &conf)
    })
}

/// Runs a launcher, again when the script was "busy": a thread that forked while we wrote it
/// holds it open until its child executes, a matter of microseconds.
fn retry_while_busy<T>(
    what: ProcessName,
    launch: impl Fn() -> Result<T, bitcoind::anyhow::Error>,
) -> Result<T, ChainError> {
    let mut retries = 0;
    loop {
        match launch() {
            Ok(launched) => return Ok(launched),
            Err(error) if retries < BUSY_RETRIES && is_busy(&error) => {
                retries += 1;
                std::thread::yield_now();
            }
            Err(error) => {
                return Err(ChainError::NotStarted {
                    what,
                    message: format!("{error:#}"),
                });
            }
        }
    }
}

fn is_busy(error: &bitcoind::anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::ExecutableFileBusy)
}
