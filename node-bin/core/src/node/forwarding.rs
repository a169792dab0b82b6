//! Deciding what an accepted HTLC becomes: an HTLC on another channel, a part of a payment to this node,
//! or a failure with the code that BOLT 4 asks for.

use lightning::ln::types::ChannelId;

use crate::channel::{MAXIMUM_DUST_EXPOSURE_MSAT, Outbox, Unable, WaitingAdd};
use crate::onion::{self, OwnFailure, Peeled, code};
use crate::record::Rejection;
use crate::source::{HtlcSource, InboundHtlcId, InboundPart};
use crate::spec::HtlcAdd;

use super::Node;

#[cfg(test)]
mod tests;

/// An HTLC that expires within so many blocks is too late to be passed on: there has to be time to
/// claim it on chain.
pub(crate) const LEAST_BLOCKS_TO_EXPIRY: u32 = 39;
/// An HTLC that expires later than so many blocks locks up funds for nothing (BOLT 4: about 2 weeks).
const MOST_BLOCKS_TO_EXPIRY: u32 = 2_016;

struct Forward {
    shared_secret: [u8; 32],
    onion: Vec<u8>,
    short_channel_id: u64,
    amount_msat: u64,
    cltv_expiry: u32,
}

impl Node {
    pub(super) fn accept(&mut self, inbound: InboundHtlcId, add: &HtlcAdd, out: &mut Outbox) {
        let peeled = onion::peel(&self.environment, add);
        match peeled {
            Peeled::Forward {
                shared_secret,
                onion,
                short_channel_id,
                amount_msat,
                cltv_expiry,
            } => {
                let forward = Forward {
                    shared_secret,
                    onion,
                    short_channel_id,
                    amount_msat,
                    cltv_expiry,
                };
                if let Err(failure) = self.forward(inbound, add, forward) {
                    let why = "cannot be forwarded";
                    self.reject_with(inbound, &shared_secret, &failure, why, out);
                }
            }
            Peeled::Receive {
                shared_secret,
                amount_msat,
                total_msat,
                cltv_expiry,
                payment_secret,
                keysend_preimage,
            } => {
                let part = super::receiving::ReceivedPart {
                    id: inbound,
                    shared_secret,
                    amount_msat: add.amount_msat,
                    cltv_expiry: add.cltv_expiry,
                };
                let meant = super::receiving::Meant {
                    payment_hash: add.payment_hash,
                    amount_msat,
                    total_msat,
                    cltv_expiry,
                    payment_secret,
                    keysend_preimage,
                };
                self.receive_or_reject(part, &meant, out);
            }
            Peeled::Malformed {
                sha256_of_onion,
                failure_code,
            } => {
                let rejection = Rejection::Malformed {
                    sha256_of_onion,
                    failure_code,
                };
                self.reject(inbound, rejection, "has an onion that cannot be read", out);
            }
            Peeled::Refused {
                shared_secret,
                failure,
            } => {
                let why = "asks for what cannot be";
                self.reject_with(inbound, &shared_secret, &failure, why, out);
            }
        }
    }

    fn receive_or_reject(
        &mut self,
        part: super::receiving::ReceivedPart,
        meant: &super::receiving::Meant,
        out: &mut Outbox,
    ) {
        let (inbound, shared_secret) = (part.id, part.shared_secret);
        if !self.starting && self.is_exposed_by(inbound, part.amount_msat) {
            let failure = OwnFailure::update(code::TEMPORARY_CHANNEL_FAILURE, &[]);
            let why = "is more dust than a close may cost";
            self.reject_with(inbound, &shared_secret, &failure, why, out);
        } else if let Err(failure) = self.receive_part(part, meant, out) {
            self.reject_with(inbound, &shared_secret, &failure, "is not expected", out);
        }
    }

    /// Refuses an inbound HTLC with a failure of this node's own.
    pub(super) fn reject_with(
        &mut self,
        inbound: InboundHtlcId,
        shared_secret: &[u8; 32],
        failure: &OwnFailure,
        why: &str,
        out: &mut Outbox,
    ) {
        let reason = onion::wrap_own_failure(shared_secret, failure);
        let why = format!("{why}: failure code {:#06x}", failure.code);
        self.reject(inbound, Rejection::Fail { reason }, &why, out);
    }

    fn forward(
        &mut self,
        inbound: InboundHtlcId,
        add: &HtlcAdd,
        forward: Forward,
    ) -> Result<(), OwnFailure> {
        // Its HTLC may be dust in the commitment that closed the channel: never paid on.
        let channel = self.channels.get(&inbound.channel_id);
        if channel.is_none_or(|channel| channel.record.closure.is_some()) {
            return Ok(());
        }
        let outbound = self.check_forward(inbound, add, &forward)?;
        let part = InboundPart {
            id: inbound,
            amount_msat: add.amount_msat,
            cltv_expiry: add.cltv_expiry,
            shared_secret: forward.shared_secret,
        };
        let waiting = WaitingAdd {
            add: HtlcAdd {
                htlc_id: 0,
                amount_msat: forward.amount_msat,
                payment_hash: add.payment_hash,
                cltv_expiry: forward.cltv_expiry,
                onion: forward.onion,
            },
            source: HtlcSource::Forward { parts: vec![part] },
        };
        if let Some(channel) = self.channels.get_mut(&outbound) {
            channel.offer(waiting);
        }
        Ok(())
    }

    /// BOLT 4's and BOLT 7's checks of a forward. The channel to forward over.
    fn check_forward(
        &self,
        inbound: InboundHtlcId,
        add: &HtlcAdd,
        forward: &Forward,
    ) -> Result<lightning::ln::types::ChannelId, OwnFailure> {
        let with_amount = |code, msat: u64| OwnFailure::update(code, &msat.to_be_bytes());
        let Some(channel) = self.channel_by_scid(forward.short_channel_id) else {
            return Err(OwnFailure::bare(code::UNKNOWN_NEXT_PEER));
        };
        if channel.is_shutting_down() {
            return Err(OwnFailure::update(code::CHANNEL_DISABLED, &[0, 0]));
        }
        let proportional =
            u128::from(forward.amount_msat) * u128::from(self.policy.fee_proportional_millionths);
        let fee_msat = u128::from(self.policy.fee_base_msat) + proportional / 1_000_000;
        if u128::from(add.amount_msat) < u128::from(forward.amount_msat) + fee_msat {
            return Err(with_amount(code::FEE_INSUFFICIENT, add.amount_msat));
        }
        let delta = u32::from(self.policy.cltv_expiry_delta);
        if add.cltv_expiry < forward.cltv_expiry.saturating_add(delta) {
            let data = add.cltv_expiry.to_be_bytes();
            return Err(OwnFailure::update(code::INCORRECT_CLTV_EXPIRY, &data));
        }
        let height = self.best_block.height;
        if forward.cltv_expiry <= height + 1 || add.cltv_expiry <= height + LEAST_BLOCKS_TO_EXPIRY {
            return Err(OwnFailure::update(code::EXPIRY_TOO_SOON, &[]));
        }
        if add.cltv_expiry > height + MOST_BLOCKS_TO_EXPIRY {
            return Err(OwnFailure::bare(code::EXPIRY_TOO_FAR));
        }
        let minimum_msat = channel
            .record
            .parameters
            .counterparty_limits
            .htlc_minimum_msat;
        if forward.amount_msat < minimum_msat {
            return Err(with_amount(code::AMOUNT_BELOW_MINIMUM, forward.amount_msat));
        }
        // The outbound channel looks at its own dust when the HTLC's turn comes.
        let bound = self.policy.maximum_unacknowledged_events;
        if channel.events_to_expect() >= bound || self.is_exposed_by(inbound, add.amount_msat) {
            return Err(OwnFailure::update(code::TEMPORARY_CHANNEL_FAILURE, &[]));
        }
        Ok(channel.id())
    }

    /// Whether this inbound HTLC of so many millisatoshis is dust on a channel that holds too much of it.
    fn is_exposed_by(&self, inbound: InboundHtlcId, amount_msat: u64) -> bool {
        let channel = self.channels.get(&inbound.channel_id);
        channel.is_some_and(|channel| {
            channel.is_dust(amount_msat)
                && channel.dust_exposure_msat() > MAXIMUM_DUST_EXPOSURE_MSAT
        })
    }

    pub(super) fn channel_by_scid(
        &self,
        short_channel_id: u64,
    ) -> Option<&crate::channel::Channel> {
        self.channels.values().find(|channel| {
            channel.is_ready() && channel.short_channel_id() == Some(short_channel_id)
        })
    }

    /// Signs whatever waits on any channel whose turn it is. Whether anything could not be offered.
    pub(super) fn flush(&mut self, out: &mut Outbox) -> bool {
        let mut any = false;
        let ids: Vec<_> = self.channels.keys().copied().collect();
        for channel_id in ids {
            any |= self.give_up_waiting(channel_id, out);
            let Some(channel) = self.channels.get_mut(&channel_id) else {
                continue;
            };
            match channel.flush(&self.environment, out) {
                Ok(unable) => {
                    any |= !unable.is_empty();
                    for (waiting, why) in unable {
                        self.cannot_offer(waiting, why, out);
                    }
                }
                Err(error) => self.handle_channel_error(channel_id, error, out),
            }
        }
        any
    }

    /// Gives up HTLCs that have waited too long: whose inbound channel has closed in the meantime (the
    /// HTLC that pays for it may be dust there) or has lost its funding to a reorganisation, or that are about to
    /// expire. Whether there was any.
    fn give_up_waiting(&mut self, channel_id: ChannelId, out: &mut Outbox) -> bool {
        let Some(channel) = self.channels.get_mut(&channel_id) else {
            return false;
        };
        if channel.volatile.adds.is_empty() {
            return false;
        }
        let adds = std::mem::take(&mut channel.volatile.adds);
        let (kept, given_up): (Vec<_>, Vec<_>) = adds
            .into_iter()
            .partition(|add| self.is_worth_offering(add));
        if let Some(channel) = self.channels.get_mut(&channel_id) {
            channel.volatile.adds = kept;
        }
        let any = !given_up.is_empty();
        for waiting in given_up {
            self.cannot_offer(waiting, Unable::NoRoom, out);
        }
        any
    }

    fn is_worth_offering(&self, waiting: &WaitingAdd) -> bool {
        let height = self.best_block.height;
        let is_alive = |part: &InboundPart| {
            let channel = self.channels.get(&part.id.channel_id);
            part.cltv_expiry > height.saturating_add(LEAST_BLOCKS_TO_EXPIRY)
                && channel.is_some_and(|channel| {
                    channel.record.closure.is_none()
                        && channel.is_backed()
                        && channel.record.inbound.contains_key(&part.id.htlc_id)
                        && channel.resolution(part.id.htlc_id).is_none()
                })
        };
        waiting.add.cltv_expiry > height.saturating_add(1)
            && waiting.source.parts().iter().all(is_alive)
    }

    /// An HTLC that was to be offered cannot be: whoever pays for it gets it back.
    pub(super) fn cannot_offer(&mut self, waiting: WaitingAdd, why: Unable, out: &mut Outbox) {
        let failure = match why {
            Unable::BelowMinimum => OwnFailure::update(
                code::AMOUNT_BELOW_MINIMUM,
                &waiting.add.amount_msat.to_be_bytes(),
            ),
            Unable::NoRoom => OwnFailure::update(code::TEMPORARY_CHANNEL_FAILURE, &[]),
            Unable::Closing => OwnFailure::bare(code::PERMANENT_CHANNEL_FAILURE),
        };
        match waiting.source {
            HtlcSource::Forward { parts } => {
                for part in parts {
                    let why = "finds no room downstream";
                    self.reject_with(part.id, &part.shared_secret, &failure, why, out);
                }
            }
            HtlcSource::Own {
                payment_id,
                part,
                path,
                ..
            } => {
                let failed = super::sending::PartFailure {
                    failed_channel: path.first().map(|hop| hop.short_channel_id),
                    is_permanent: false,
                    reason: format!("its first channel cannot take it now: {why:?}"),
                };
                self.part_failed(payment_id, part, failed, out);
            }
        }
    }
}
