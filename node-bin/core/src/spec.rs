//! BOLT 2's commitment arithmetic: what a commitment holds, and how changes turn one into the next.
//! Seen from the holder (this node) in both commitments; whose transaction it is decides later.

use std::collections::BTreeMap;

use lightning::types::payment::{PaymentHash, PaymentPreimage};

/// Bytes of an onion routing packet on the wire (BOLT 4).
pub const ONION_PACKET_BYTES: usize = 1 + 33 + 1300 + 32;

/// Which way an HTLC goes, seen from the holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Offered by the counterparty.
    Inbound,
    /// Offered by the holder.
    Outbound,
}

/// An `update_add_htlc` without its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HtlcAdd {
    /// BOLT 2's id: unique among the adds of one side of one channel.
    pub htlc_id: u64,
    /// Millisatoshis.
    pub amount_msat: u64,
    /// The hash that its preimage must have.
    pub payment_hash: PaymentHash,
    /// Absolute height.
    pub cltv_expiry: u32,
    /// The onion as on the wire, [`ONION_PACKET_BYTES`] long.
    pub onion: Vec<u8>,
}

/// One change of the commitments: BOLT 2's `update_*` messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `update_add_htlc`.
    Add(HtlcAdd),
    /// `update_fulfill_htlc`.
    Fulfill {
        /// Which, by its offerer's count.
        htlc_id: u64,
        /// Of its hash.
        preimage: PaymentPreimage,
    },
    /// `update_fail_htlc`.
    Fail {
        /// Which, by its offerer's count.
        htlc_id: u64,
        /// The encrypted failure onion.
        reason: Vec<u8>,
    },
    /// `update_fail_malformed_htlc`.
    FailMalformed {
        /// Which, by its offerer's count.
        htlc_id: u64,
        /// Of the onion that could not be read.
        sha256_of_onion: [u8; 32],
        /// BOLT 4's, with BADONION set.
        failure_code: u16,
    },
    /// `update_fee`.
    Fee {
        /// Satoshis per 1000 weight units.
        feerate_per_kw: u32,
    },
}

impl Change {
    /// The HTLC that this change takes out of the commitments, if any.
    pub fn removes(&self) -> Option<u64> {
        match self {
            Change::Fulfill { htlc_id, .. }
            | Change::Fail { htlc_id, .. }
            | Change::FailMalformed { htlc_id, .. } => Some(*htlc_id),
            Change::Add(_) | Change::Fee { .. } => None,
        }
    }
}

/// An HTLC in a commitment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecHtlc {
    /// Millisatoshis.
    pub amount_msat: u64,
    /// The hash.
    pub payment_hash: PaymentHash,
    /// Absolute height.
    pub cltv_expiry: u32,
}

/// What one commitment transaction holds, before fees and trimming.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitmentSpec {
    /// Satoshis per 1000 weight units.
    pub feerate_per_kw: u32,
    /// The holder's balance outside HTLCs, in millisatoshis.
    pub holder_msat: u64,
    /// The counterparty's balance outside HTLCs, in millisatoshis.
    pub counterparty_msat: u64,
    /// Pending HTLCs by direction and id.
    pub htlcs: BTreeMap<(Direction, u64), SpecHtlc>,
}

/// A change that does not fit the commitment it is applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Nothing is pending under that id.
    #[error("no HTLC {0} is pending in this direction")]
    UnknownHtlc(u64),
    /// An id that is pending already.
    #[error("HTLC {0} is pending already")]
    DuplicateHtlc(u64),
    /// More than its side owns.
    #[error("an HTLC of {amount_msat} msat exceeds its side's balance of {balance_msat} msat")]
    Overdrawn {
        /// What was to be added.
        amount_msat: u64,
        /// What was there.
        balance_msat: u64,
    },
}

impl CommitmentSpec {
    /// The commitment after these changes, the holder's first and then the counterparty's, in order.
    ///
    /// # Errors
    ///
    /// [`SpecError`]: which change does not fit.
    pub fn after(
        &self,
        by_holder: &[Change],
        by_counterparty: &[Change],
    ) -> Result<CommitmentSpec, SpecError> {
        let mut spec = self.clone();
        for (changes, direction) in [
            (by_holder, Direction::Outbound),
            (by_counterparty, Direction::Inbound),
        ] {
            for change in changes {
                spec.apply(direction, change)?;
            }
        }
        Ok(spec)
    }

    /// One change by the side that offers HTLCs in `own` direction.
    fn apply(&mut self, own: Direction, change: &Change) -> Result<(), SpecError> {
        match change {
            Change::Add(add) => {
                let balance = self.balance_mut(own);
                *balance = balance
                    .checked_sub(add.amount_msat)
                    .ok_or(SpecError::Overdrawn {
                        amount_msat: add.amount_msat,
                        balance_msat: *balance,
                    })?;
                let htlc = SpecHtlc {
                    amount_msat: add.amount_msat,
                    payment_hash: add.payment_hash,
                    cltv_expiry: add.cltv_expiry,
                };
                match self.htlcs.insert((own, add.htlc_id), htlc) {
                    None => Ok(()),
                    Some(_) => Err(SpecError::DuplicateHtlc(add.htlc_id)),
                }
            }
            Change::Fulfill { htlc_id, .. } => {
                let amount_msat = self.remove(own.reverse(), *htlc_id)?;
                *self.balance_mut(own) += amount_msat;
                Ok(())
            }
            Change::Fail { htlc_id, .. } | Change::FailMalformed { htlc_id, .. } => {
                let amount_msat = self.remove(own.reverse(), *htlc_id)?;
                *self.balance_mut(own.reverse()) += amount_msat;
                Ok(())
            }
            Change::Fee { feerate_per_kw } => {
                self.feerate_per_kw = *feerate_per_kw;
                Ok(())
            }
        }
    }

    fn remove(&mut self, direction: Direction, htlc_id: u64) -> Result<u64, SpecError> {
        self.htlcs
            .remove(&(direction, htlc_id))
            .map(|htlc| htlc.amount_msat)
            .ok_or(SpecError::UnknownHtlc(htlc_id))
    }

    /// The balance of the side that offers HTLCs in this direction.
    fn balance_mut(&mut self, direction: Direction) -> &mut u64 {
        match direction {
            Direction::Outbound => &mut self.holder_msat,
            Direction::Inbound => &mut self.counterparty_msat,
        }
    }

    /// Whether an HTLC is pending here.
    pub fn holds(&self, direction: Direction, htlc_id: u64) -> bool {
        self.htlcs.contains_key(&(direction, htlc_id))
    }
}

impl Direction {
    /// The other way.
    pub fn reverse(self) -> Direction {
        match self {
            Direction::Inbound => Direction::Outbound,
            Direction::Outbound => Direction::Inbound,
        }
    }
}
