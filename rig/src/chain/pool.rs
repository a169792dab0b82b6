//! Pairs leased to cases: one case at a time each, replaced before their chain gets old, the next
//! one started ahead of need. It never looks into a case; whoever faulted the chain says so.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::error::{ChainError, ProcessName};
use super::pair::ChainPair;

/// How many pairs may turn out dead before a lease fails.
const DEAD_PAIRS_TOLERATED: u32 = 3;

/// When pairs are replaced, in blocks mined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// From this age on a returned pair is retired.
    pub retire_after_blocks: u32,
    /// From this age on its successor is started.
    pub successor_after_blocks: u32,
}

impl Default for PoolLimits {
    /// Regtest's subsidy is zero from about height 5,000, and checks slow down before.
    fn default() -> Self {
        Self {
            retire_after_blocks: 3_000,
            successor_after_blocks: 2_500,
        }
    }
}

/// Hands out pairs. Cheap to clone; all clones share the pairs.
#[derive(Clone)]
pub struct ChainPool {
    shared: Arc<Shared>,
}

struct Shared {
    bitcoind: PathBuf,
    electrs: PathBuf,
    work_dir: PathBuf,
    limits: PoolLimits,
    runtime: Handle,
    permits: Arc<Semaphore>,
    next_number: AtomicU64,
    shelf: Mutex<Shelf>,
}

/// What is ready and what is coming.
#[derive(Default)]
struct Shelf {
    ready: Vec<Aged>,
    starting: Vec<JoinHandle<Result<ChainPair, ChainError>>>,
}

/// A pair, and whether its successor has been started.
struct Aged {
    pair: ChainPair,
    has_successor: bool,
}

impl ChainPool {
    /// A pool for `size` cases at a time, from these programs, with one folder per pair under
    /// `work_dir`. Starts `size` pairs in the background. Call it inside a tokio runtime.
    pub fn new(bitcoind: &Path, electrs: &Path, size: usize, work_dir: &Path) -> Self {
        Self::with_limits(bitcoind, electrs, size, work_dir, PoolLimits::default())
    }

    /// [`ChainPool::new`] with other limits.
    pub fn with_limits(
        bitcoind: &Path,
        electrs: &Path,
        size: usize,
        work_dir: &Path,
        limits: PoolLimits,
    ) -> Self {
        let shared = Arc::new(Shared {
            bitcoind: bitcoind.to_path_buf(),
            electrs: electrs.to_path_buf(),
            work_dir: work_dir.to_path_buf(),
            limits,
            runtime: Handle::current(),
            permits: Arc::new(Semaphore::new(size)),
            next_number: AtomicU64::new(1),
            shelf: Mutex::new(Shelf::default()),
        });
        for _ in 0..size {
            shared.start_ahead(&mut shared.shelf());
        }
        Self { shared }
    }

    /// A pair for one case, with an empty mempool and electrs at the tip. Waits while all are
    /// leased; starts one if none is ready or coming.
    ///
    /// # Errors
    /// Whatever kept a pair from starting.
    pub async fn lease(&self) -> Result<Lease, ChainError> {
        let permits = Arc::clone(&self.shared.permits);
        // The semaphore is never closed.
        let permit = permits
            .acquire_owned()
            .await
            .map_err(|_| ChainError::OwnerGone {
                what: ProcessName::Bitcoind,
                doing: "lease".to_owned(),
            })?;
        let mut dead_pairs = 0;
        loop {
            let aged = self.next().await?;
            match start_clean(&aged.pair).await {
                Ok(()) => {
                    return Ok(Lease {
                        aged: Some(aged),
                        damaged: AtomicBool::new(false),
                        shared: Arc::clone(&self.shared),
                        _permit: permit,
                    });
                }
                Err(error) => {
                    // One that died on the shelf is replaced; dying again and again is a fault.
                    let died = aged.pair.is_damaged();
                    self.shared.take_back(aged, true);
                    dead_pairs += 1;
                    if !died || dead_pairs >= DEAD_PAIRS_TOLERATED {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn next(&self) -> Result<Aged, ChainError> {
        let coming = {
            let mut shelf = self.shared.shelf();
            if let Some(aged) = shelf.ready.pop() {
                return Ok(aged);
            }
            if shelf.starting.is_empty() {
                self.shared.start_ahead(&mut shelf);
            }
            shelf.starting.remove(0)
        };
        let started = coming.await.map_err(|error| ChainError::NotStarted {
            what: ProcessName::Bitcoind,
            message: format!("the task that starts it ended: {error}"),
        })?;
        Ok(Aged {
            pair: started?,
            has_successor: false,
        })
    }
}

impl Shared {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // The shelf is consistent between any two statements.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_ahead(&self, shelf: &mut Shelf) {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let folder = self.work_dir.join(format!("pair-{number}"));
        let (bitcoind, electrs) = (self.bitcoind.clone(), self.electrs.clone());
        let start = async move { ChainPair::start(&bitcoind, &electrs, &folder).await };
        shelf.starting.push(self.runtime.spawn(start));
    }

    /// Puts a pair back, or retires it. Its successor is started when due.
    fn take_back(&self, mut aged: Aged, damaged: bool) {
        let age = aged.pair.blocks_mined();
        let retired = damaged || aged.pair.is_damaged() || age >= self.limits.retire_after_blocks;
        let due = retired || age >= self.limits.successor_after_blocks;
        let mut shelf = self.shelf();
        if due && !aged.has_successor {
            self.start_ahead(&mut shelf);
            aged.has_successor = true;
        }
        if retired {
            drop(shelf);
            // Stopping takes some milliseconds that no case should wait for.
            self.runtime.spawn_blocking(move || drop(aged));
        } else {
            shelf.ready.push(aged);
        }
    }
}

/// A pair lent to one case; dropping it gives the pair back.
pub struct Lease {
    /// `None` only while being dropped.
    aged: Option<Aged>,
    damaged: AtomicBool,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// Says that the case has faulted the chain: nobody gets this pair again. A dead process or
    /// an invalidated block says so by itself.
    pub fn mark_damaged(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }
}

/// A case before may have left transactions behind, and a process may have died since: every
/// pair is spoken to before it is handed out.
async fn start_clean(pair: &ChainPair) -> Result<(), ChainError> {
    if !pair.mempool().await?.is_empty() {
        pair.mine(1).await?;
    }
    pair.electrs_answers().await?;
    pair.electrs_synced().await.map(drop)
}

impl Deref for Lease {
    type Target = ChainPair;

    fn deref(&self) -> &ChainPair {
        // `aged` is taken only in `drop`, after which nobody can call this.
        &self
            .aged
            .as_ref()
            .expect("a living lease holds its pair")
            .pair
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(aged) = self.aged.take() {
            self.shared
                .take_back(aged, self.damaged.load(Ordering::Relaxed));
        }
    }
}
