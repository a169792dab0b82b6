//! Broadcasts: to bitcoind at once, with a crash point on both sides, and into the trace.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bitcoin::Transaction;
use bitcoin::consensus::encode::serialize_hex;
use faults::{Outcome, gate};
use lightning::chain::chaininterface::{
    BroadcasterInterface, ConfirmationTarget, FEERATE_FLOOR_SATS_PER_KW, FeeEstimator,
};

use super::names::Names;
use super::rpc::Bitcoind;
use crate::api::{BroadcastTransaction, Report};

/// LDK's broadcaster.
pub struct Broadcaster {
    bitcoind: Arc<Bitcoind>,
    names: Arc<Names>,
    asked: AtomicU64,
}

impl Broadcaster {
    /// How many broadcasts it was asked for, whatever became of them.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Broadcasts through this bitcoind.
    pub fn new(bitcoind: Arc<Bitcoind>, names: Arc<Names>) -> Self {
        Broadcaster {
            bitcoind,
            names,
            asked: AtomicU64::new(0),
        }
    }
}

impl BroadcasterInterface for Broadcaster {
    fn broadcast_transactions(&self, txs: &[&Transaction]) {
        let Some(first) = txs.first() else { return };
        self.asked.fetch_add(1, Ordering::Relaxed);
        let role = self.names.transaction(first);
        if gate::point("broadcast.before", &role) == Outcome::Fail {
            return;
        }
        let error = self.bitcoind.broadcast(txs).err();
        let transactions = txs
            .iter()
            .map(|tx| BroadcastTransaction {
                txid: tx.compute_txid().to_string(),
                role: self.names.transaction(tx),
                raw: serialize_hex(*tx),
            })
            .collect();
        gate::emit(&Report::Broadcast {
            transactions,
            error,
        });
        let _ = gate::point("broadcast.after", &role);
    }
}

/// LDK's fee estimator: one rate for everything, which the rig sets.
pub struct Fees {
    sat_per_kw: AtomicU32,
}

impl Fees {
    /// Estimates this rate, in satoshis per 1000 weight units.
    pub fn new(sat_per_kw: u32) -> Self {
        Fees {
            sat_per_kw: AtomicU32::new(sat_per_kw),
        }
    }

    /// Estimates this rate from now on.
    pub fn set(&self, sat_per_kw: u32) {
        self.sat_per_kw.store(sat_per_kw, Ordering::Relaxed);
    }

    /// The rate.
    pub fn get(&self) -> u32 {
        self.sat_per_kw
            .load(Ordering::Relaxed)
            .max(FEERATE_FLOOR_SATS_PER_KW)
    }
}

impl FeeEstimator for Fees {
    fn get_est_sat_per_1000_weight(&self, target: ConfirmationTarget) -> u32 {
        match target {
            // What a peer's fee may be at the least must not follow our own rate up: the peer's
            // estimate changes at another moment than ours.
            ConfirmationTarget::MinAllowedAnchorChannelRemoteFee
            | ConfirmationTarget::MinAllowedNonAnchorChannelRemoteFee => FEERATE_FLOOR_SATS_PER_KW,
            ConfirmationTarget::MaximumFeeEstimate => self.get().saturating_mul(10),
            _ => self.get(),
        }
    }
}
