//! How much each side of each channel can send at each step. Owns the arithmetic of reserves; it is
//! generous (routing fees and HTLC counts are left out), so it refuses only the impossible.

use std::collections::HashMap;

use super::topology::Topology;

/// What an opener cannot send because it pays for the commitment and its anchors, in satoshis.
pub(super) const OPENER_FEES_SAT: u64 = 5_000;

/// A channel's reserve for each side, in satoshis: one hundredth, at least 1,000.
fn reserve_sat(capacity_sat: u64) -> u64 {
    (capacity_sat / 100).max(1_000)
}

struct Sides {
    opener: String,
    capacity_sat: u64,
    opener_msat: u64,
    acceptor_msat: u64,
}

/// Balances as they would be after the steps so far if all went as expected.
pub(super) struct Balances(HashMap<String, Sides>);

impl Balances {
    pub(super) fn at_start(topology: &Topology) -> Self {
        let sides = topology.channels.iter().filter(|known| known.sound);
        Balances(
            sides
                .map(|known| {
                    let channel = &known.channel;
                    let sides = Sides {
                        opener: channel.opener.clone(),
                        capacity_sat: channel.capacity_sat,
                        opener_msat: channel.capacity_sat * 1_000 - channel.push_msat,
                        acceptor_msat: channel.push_msat,
                    };
                    (channel.label.clone(), sides)
                })
                .collect(),
        )
    }

    /// What this node can send over the channel now, in millisatoshis; `None` if the channel's own
    /// amounts are impossible.
    pub(super) fn sendable_msat(&self, label: &str, node: &str) -> Option<u64> {
        let sides = self.0.get(label)?;
        let reserve_sat = reserve_sat(sides.capacity_sat);
        Some(if sides.opener == node {
            let kept_msat = (reserve_sat + OPENER_FEES_SAT) * 1_000;
            sides.opener_msat.saturating_sub(kept_msat)
        } else {
            sides.acceptor_msat.saturating_sub(reserve_sat * 1_000)
        })
    }

    /// Moves an amount from this node's side to the other.
    pub(super) fn send(&mut self, label: &str, node: &str, amount_msat: u64) {
        let Some(sides) = self.0.get_mut(label) else {
            return;
        };
        let (from, to) = if sides.opener == node {
            (&mut sides.opener_msat, &mut sides.acceptor_msat)
        } else {
            (&mut sides.acceptor_msat, &mut sides.opener_msat)
        };
        let moved_msat = amount_msat.min(*from);
        *from -= moved_msat;
        *to += moved_msat;
    }
}
