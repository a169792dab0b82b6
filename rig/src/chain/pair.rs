//! One bitcoind with its electrs: start, mine, pay, reorganise, read back. Owns the bounds on
//! every wait and turns a dead process into an error at once. It never decides whether a case
//! passes.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bitcoin::{Amount, Block, BlockHash, Script, ScriptBuf, Transaction, Txid};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::sync::{Mutex, oneshot};

use super::electrum::Electrum;
use super::error::{ChainError, ProcessName};
use super::owner::{self, Addresses, Command, FIRST_BLOCKS, LaunchPlan, Owner};
use super::rpc::RPC_TIMEOUT;
use super::tether::Tether;

/// A pair starts in about a second; a loaded machine may take a while.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Longer than the client's own timeout, which knows better what it waited for.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(RPC_TIMEOUT.as_secs() + 5);

/// How long a broken conversation waits for the news that the process has died.
const DEATH_NOTICE: Duration = Duration::from_secs(2);

const ELECTRS_SYNC_TIMEOUT: Duration = Duration::from_secs(30);

/// electrs drops triggers and block notices while it is busy: remind it this often.
const TRIGGER_SLICE: Duration = Duration::from_millis(250);

/// A port that was free when the launcher looked may be taken when the process binds it.
const PORT_ATTEMPTS: u32 = 4;

/// The end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// Height of the block; the genesis block has 0.
    pub height: u32,
    /// Hash of the block.
    pub hash: BlockHash,
}

/// A running bitcoind and its electrs. Dropping it kills both and removes their data; so does the
/// death of this process, however it comes. All calls take `&self` and are served in order.
pub struct ChainPair {
    commands: Option<mpsc::Sender<Command>>,
    owner: Option<JoinHandle<()>>,
    bitcoind: Tether,
    electrs: Tether,
    addresses: Addresses,
    electrum: Mutex<Option<Electrum>>,
    blocks_mined: AtomicU32,
    reorganised: AtomicBool,
}

impl ChainPair {
    /// Starts both processes, with their logs in `work_dir` (created if need be) and their data in
    /// memory where possible, and mines the rig's first coins. Takes about a second.
    ///
    /// # Errors
    /// Whatever kept them from starting, at once when a process died, else after a minute.
    pub async fn start(
        bitcoind: &Path,
        electrs: &Path,
        work_dir: &Path,
    ) -> Result<Self, ChainError> {
        let mut attempt = 1;
        loop {
            match Self::start_once(bitcoind, electrs, work_dir).await {
                Err(ChainError::PortTaken { .. }) if attempt < PORT_ATTEMPTS => attempt += 1,
                started => return started,
            }
        }
    }

    async fn start_once(
        bitcoind: &Path,
        electrs: &Path,
        work_dir: &Path,
    ) -> Result<Self, ChainError> {
        std::fs::create_dir_all(work_dir).map_err(|error| ChainError::from_io(work_dir, &error))?;
        // The launchers look a bare relative name up in PATH.
        let work_dir = work_dir
            .canonicalize()
            .map_err(|error| ChainError::from_io(work_dir, &error))?;
        let bitcoind = Tether::prepare(ProcessName::Bitcoind, bitcoind, &work_dir)?;
        let electrs = Tether::prepare(ProcessName::Electrs, electrs, &work_dir)?;
        let plan = LaunchPlan {
            bitcoind_script: bitcoind.script().to_path_buf(),
            electrs_script: electrs.script().to_path_buf(),
            work_dir,
        };
        let (commands, inbox) = mpsc::channel();
        let (launched, launch) = oneshot::channel();
        let owner = std::thread::Builder::new()
            .name("chain-owner".to_owned())
            .spawn(move || owner::run(&plan, launched, &inbox))
            .map_err(|error| ChainError::NotStarted {
                what: ProcessName::Bitcoind,
                message: format!("no thread to own it: {error}"),
            })?;
        let outcome = await_launch(launch, &bitcoind, &electrs).await;
        let addresses = match outcome {
            Ok(addresses) => addresses,
            Err(error) => {
                // The launcher may still wait for a process that is dead; its thread ends by
                // itself, for the tethers let nothing be born any more.
                bitcoind.abandon();
                electrs.abandon();
                return Err(error);
            }
        };
        let pair = Self {
            commands: Some(commands),
            owner: Some(owner),
            bitcoind,
            electrs,
            addresses,
            electrum: Mutex::new(None),
            blocks_mined: AtomicU32::new(FIRST_BLOCKS),
            reorganised: AtomicBool::new(false),
        };
        pair.electrs_synced().await?;
        Ok(pair)
    }

    /// Pays each output, in this order from index 0 on, from the rig's own coins, and broadcasts
    /// the transaction at 2 sat/vB. It is not mined yet.
    pub async fn fund(&self, outputs: &[(ScriptBuf, Amount)]) -> Result<Transaction, ChainError> {
        let outputs = outputs.to_vec();
        self.command("fund", move |owner| owner.fund(&outputs))
            .await
    }

    /// Mines blocks with everything in the mempool, paying nobody. Returns their hashes in order.
    pub async fn mine(&self, blocks: u32) -> Result<Vec<BlockHash>, ChainError> {
        let hashes = self
            .command("mine", move |owner| owner.mine(blocks))
            .await?;
        self.blocks_mined.fetch_add(blocks, Ordering::Relaxed);
        Ok(hashes)
    }

    /// Mines blocks that leave the mempool where it is.
    pub async fn mine_empty(&self, blocks: u32) -> Result<Vec<BlockHash>, ChainError> {
        let hashes = self
            .command("mine empty", move |owner| owner.mine_empty(blocks))
            .await?;
        self.blocks_mined.fetch_add(blocks, Ordering::Relaxed);
        Ok(hashes)
    }

    /// Takes a block and all after it off the chain, when electrs has them all: what it had asked for and bitcoind
    /// does not serve any more it would wait for for ever. electrs notices only when another block is
    /// mined. A pool does not lease this pair out again.
    pub async fn invalidate(&self, hash: BlockHash) -> Result<(), ChainError> {
        self.electrs_synced().await?;
        self.reorganised.store(true, Ordering::Relaxed);
        self.command("invalidate", move |owner| owner.invalidate(hash))
            .await
    }

    /// Takes back [`ChainPair::invalidate`].
    pub async fn reconsider(&self, hash: BlockHash) -> Result<(), ChainError> {
        self.reorganised.store(true, Ordering::Relaxed);
        self.command("reconsider", move |owner| owner.reconsider(hash))
            .await
    }

    /// What waits to be mined.
    pub async fn mempool(&self) -> Result<Vec<Txid>, ChainError> {
        self.command("mempool", |owner| owner.rpc.call("getrawmempool", &[]))
            .await
    }

    /// Broadcasts a transaction, at whatever fee rate.
    pub async fn submit(&self, transaction: &Transaction) -> Result<Txid, ChainError> {
        let transaction = transaction.clone();
        self.command("submit", move |owner| owner.submit(&transaction))
            .await
    }

    /// bitcoind's tip.
    pub async fn tip(&self) -> Result<Tip, ChainError> {
        #[derive(serde::Deserialize)]
        struct Info {
            blocks: u32,
            bestblockhash: BlockHash,
        }
        let info: Info = self
            .command("tip", |owner| owner.rpc.call("getblockchaininfo", &[]))
            .await?;
        Ok(Tip {
            height: info.blocks,
            hash: info.bestblockhash,
        })
    }

    /// One block by its hash, on the chain or not.
    pub async fn block(&self, hash: BlockHash) -> Result<Block, ChainError> {
        let fetch = move |owner: &mut Owner| owner::fetch_blocks(&owner.rpc, &[hash]);
        let blocks = self.command("block", fetch).await?;
        blocks
            .into_iter()
            .next()
            .ok_or_else(|| ChainError::UnreadableAnswer {
                what: ProcessName::Bitcoind,
                doing: "getblock".to_owned(),
                message: "no block came back".to_owned(),
            })
    }

    /// The blocks of a range of heights on bitcoind's chain, fetched in few requests.
    ///
    /// # Errors
    /// `Rpc` with code -8 if the range reaches above the tip.
    pub async fn blocks(&self, heights: RangeInclusive<u32>) -> Result<Vec<Block>, ChainError> {
        let (first, last) = heights.into_inner();
        self.command("blocks", move |owner| owner.blocks(first, last))
            .await
    }

    /// Any other call to bitcoind.
    pub async fn rpc(&self, method: &str, params: Vec<Value>) -> Result<Value, ChainError> {
        let method = method.to_owned();
        let doing = method.clone();
        self.command(&doing, move |owner| owner.rpc.call(&method, &params))
            .await
    }

    /// Waits until electrs is at the same tip as bitcoind, and returns its height. What electrs
    /// says of confirmed transactions is complete from then on; unconfirmed ones may come later.
    pub async fn electrs_synced(&self) -> Result<u32, ChainError> {
        let started = Instant::now();
        let mut guard = self.electrum.lock().await;
        // Taken out while in use: a cancelled or failed conversation is not resumed.
        let mut electrum = self.connected(guard.take()).await?;
        loop {
            let wanted = self.tip().await?;
            let wanted = (wanted.height, wanted.hash);
            if electrum.tip() == wanted {
                *guard = Some(electrum);
                return Ok(wanted.0);
            }
            if started.elapsed() > ELECTRS_SYNC_TIMEOUT {
                return Err(ChainError::ElectrsBehind {
                    waited_ms: started.elapsed().as_millis() as u64,
                    electrs: electrum.tip(),
                    bitcoind: wanted,
                });
            }
            self.electrs.signal(Signal::SIGUSR1);
            let notice = tokio::time::timeout(TRIGGER_SLICE, electrum.next_tip()).await;
            if let Ok(Err(error)) = notice {
                return Err(self.explained(error).await);
            }
        }
    }

    /// Asks electrs for a sign of life.
    pub(super) async fn electrs_answers(&self) -> Result<(), ChainError> {
        let mut guard = self.electrum.lock().await;
        let mut electrum = self.connected(guard.take()).await?;
        match electrum.ping().await {
            Ok(()) => {
                *guard = Some(electrum);
                Ok(())
            }
            Err(error) => Err(self.explained(error).await),
        }
    }

    /// What electrs knows of the transactions that touch a script: id and height, 0 or -1 when
    /// unconfirmed. Call [`ChainPair::electrs_synced`] first.
    pub async fn history(&self, script: &Script) -> Result<Vec<(Txid, i32)>, ChainError> {
        let histories = self.histories(&[script.to_owned()]).await?;
        Ok(histories.into_iter().next().unwrap_or_default())
    }

    /// [`ChainPair::history`] for many scripts in one go, in the same order.
    pub async fn histories(
        &self,
        scripts: &[ScriptBuf],
    ) -> Result<Vec<Vec<(Txid, i32)>>, ChainError> {
        let mut guard = self.electrum.lock().await;
        let mut electrum = self.connected(guard.take()).await?;
        match electrum.histories(scripts).await {
            Ok(histories) => {
                *guard = Some(electrum);
                Ok(histories)
            }
            Err(error) => Err(self.explained(error).await),
        }
    }

    /// Where nodes reach electrs: `127.0.0.1:port`.
    pub fn electrs_url(&self) -> String {
        self.addresses.electrum.clone()
    }

    /// Where nodes reach bitcoind's RPC: `http://127.0.0.1:port`.
    pub fn rpc_url(&self) -> String {
        format!("http://{}", self.addresses.rpc)
    }

    /// Host and port of bitcoind's RPC, for clients that take them apart.
    pub fn rpc_socket(&self) -> std::net::SocketAddrV4 {
        self.addresses.rpc
    }

    /// Where bitcoind talks to its peers.
    pub fn p2p_socket(&self) -> std::net::SocketAddrV4 {
        self.addresses.p2p
    }

    /// User and password of bitcoind's RPC.
    pub fn cookie(&self) -> (String, String) {
        (
            self.addresses.rpc_user.clone(),
            self.addresses.rpc_password.clone(),
        )
    }

    /// The file bitcoind wrote [`ChainPair::cookie`] to.
    pub fn cookie_file(&self) -> &Path {
        &self.addresses.cookie_file
    }

    /// The pid of a process, for whoever wants to hurt it; `None` once it is dead.
    pub fn pid(&self, what: ProcessName) -> Option<i32> {
        self.tether(what).pid()
    }

    /// The file with the output of a process.
    pub fn log(&self, what: ProcessName) -> &Path {
        self.tether(what).log()
    }

    /// All blocks ever mined here, on the chain or not: the age of the pair.
    pub fn blocks_mined(&self) -> u32 {
        self.blocks_mined.load(Ordering::Relaxed)
    }

    /// Whether the next case could not rely on this pair: a process died or a block was taken off
    /// the chain.
    pub fn is_damaged(&self) -> bool {
        self.reorganised.load(Ordering::Relaxed)
            || self.bitcoind.death().is_some()
            || self.electrs.death().is_some()
    }

    /// Waits until one of the two processes dies; for ever if none does.
    pub async fn died(&self) -> ChainError {
        tokio::select! {
            error = self.bitcoind.died() => error,
            error = self.electrs.died() => error,
        }
    }

    fn tether(&self, what: ProcessName) -> &Tether {
        match what {
            ProcessName::Bitcoind => &self.bitcoind,
            ProcessName::Electrs => &self.electrs,
        }
    }

    async fn connected(&self, kept: Option<Electrum>) -> Result<Electrum, ChainError> {
        if let Some(error) = self.electrs.death() {
            return Err(error);
        }
        if let Some(electrum) = kept {
            return Ok(electrum);
        }
        match Electrum::connect(&self.addresses.electrum).await {
            Ok(electrum) => Ok(electrum),
            Err(error) => Err(self.explained(error).await),
        }
    }

    /// Runs `work` on the owner thread.
    async fn command<T: Send + 'static>(
        &self,
        doing: &str,
        work: impl FnOnce(&mut Owner) -> Result<T, ChainError> + Send + 'static,
    ) -> Result<T, ChainError> {
        if let Some(error) = self.bitcoind.death() {
            return Err(error);
        }
        let (reply, answer) = oneshot::channel();
        let command: Command = Box::new(move |owner| {
            let _ = reply.send(work(owner));
        });
        let gone = || ChainError::OwnerGone {
            what: ProcessName::Bitcoind,
            doing: doing.to_owned(),
        };
        let commands = self.commands.as_ref().ok_or_else(gone)?;
        commands.send(command).map_err(|_| gone())?;
        tokio::select! {
            biased;
            answered = tokio::time::timeout(COMMAND_TIMEOUT, answer) => match answered {
                Ok(Ok(Ok(value))) => Ok(value),
                Ok(Ok(Err(error))) => Err(self.explained(error).await),
                Ok(Err(_)) => Err(gone()),
                Err(_) => Err(ChainError::NotAnswering {
                    what: ProcessName::Bitcoind,
                    waited_ms: COMMAND_TIMEOUT.as_millis() as u64,
                    missing: format!("the answer to \"{doing}\""),
                }),
            },
            death = self.bitcoind.died() => Err(death),
        }
    }

    /// A broken conversation usually means that the process is dying: then its death is the
    /// better error, and the news of it is on its way.
    async fn explained(&self, error: ChainError) -> ChainError {
        let ChainError::Transport { what, .. } = &error else {
            return error;
        };
        let died = self.tether(*what).died();
        tokio::time::timeout(DEATH_NOTICE, died)
            .await
            .unwrap_or(error)
    }
}

impl Drop for ChainPair {
    fn drop(&mut self) {
        // First the processes: an owner thread that waits for a stopped bitcoind is freed by it.
        self.electrs.abandon();
        self.bitcoind.abandon();
        self.commands = None;
        if let Some(owner) = self.owner.take() {
            let _ = owner.join();
        }
    }
}

/// Waits for the launch, or for the death of a process in its course.
async fn await_launch(
    launch: oneshot::Receiver<Result<Addresses, ChainError>>,
    bitcoind: &Tether,
    electrs: &Tether,
) -> Result<Addresses, ChainError> {
    let launched = async {
        tokio::select! {
            biased;
            launched = launch => launched.unwrap_or_else(|_| Err(ChainError::OwnerGone {
                what: ProcessName::Bitcoind,
                doing: "launch".to_owned(),
            })),
            death = bitcoind.died() => Err(death),
        }
    };
    match tokio::time::timeout(START_TIMEOUT, launched).await {
        // The launchers tell little; the last words of the process tell more.
        Ok(Err(ChainError::NotStarted { what, message })) => {
            let tether = if what == ProcessName::Electrs {
                electrs
            } else {
                bitcoind
            };
            Err(tether
                .death()
                .unwrap_or(ChainError::NotStarted { what, message }))
        }
        Ok(outcome) => outcome,
        Err(_) => {
            let what = match bitcoind.pid().is_some() && electrs.pid().is_some() {
                true => ProcessName::Electrs,
                false => ProcessName::Bitcoind,
            };
            let tether = if what == ProcessName::Electrs {
                electrs
            } else {
                bitcoind
            };
            let last = tether
                .log_tail()
                .pop()
                .unwrap_or_else(|| "its log is empty".to_owned());
            Err(ChainError::NotAnswering {
                what,
                waited_ms: START_TIMEOUT.as_millis() as u64,
                missing: format!("it did not get ready; last log line: {last}"),
            })
        }
    }
}
