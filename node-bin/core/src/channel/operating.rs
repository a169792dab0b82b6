//! The channel at work (BOLT 2, normal operation): what the counterparty's updates do, and signing the
//! holder's. Owns the order add, sign, revoke; checks every limit before anything is written.

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{PublicKey, SecretKey};
use lightning::ln::msgs;

use crate::commitment::{self, Side};
use crate::event::MppClaim;
use crate::keys::Environment;
use crate::message::Message;
use crate::record::{HolderCommitment, OutboundHtlc, Rejection, Resolution};
use crate::spec::{Change, CommitmentSpec, Direction, HtlcAdd, ONION_PACKET_BYTES};
use crate::update::UpdateStep;
use crate::wire;

use super::applying::{ApplyError, removal};
use super::{Channel, ChannelError, Connection, Outbox, WaitingAdd};

/// Expiries from here on would be read as times (BOLT 2).
const CLTV_EXPIRY_LIMIT: u32 = 500_000_000;
/// The least fee rate that relays, in satoshis per 1000 weight units.
pub const LEAST_FEERATE_PER_KW: u32 = 253;
/// The most that an opener may ask for: beyond it its HTLCs would burn.
const MOST_FEERATE_PER_KW: u32 = 250_000;
/// Millisatoshis of trimmed HTLCs that a channel may hold at the most: what a close may cost.
pub(crate) const MAXIMUM_DUST_EXPOSURE_MSAT: u64 = 5_000_000;
/// An opener keeps enough to pay for a commitment at this multiple of the fee rate, so that HTLCs
/// that cross on the wire never leave it short (BOLT 2's fee spike buffer).
const FEE_SPIKE_FACTOR: u32 = 2;

/// Why an HTLC cannot be offered on a channel now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unable {
    /// The counterparty takes no HTLC that small.
    BelowMinimum,
    /// There is not enough, or too much is pending.
    NoRoom,
    /// The channel is closing.
    Closing,
}

fn broken(what: impl Into<String>) -> ChannelError {
    ChannelError::Close(what.into())
}

impl Channel {
    /// Whether updates may be exchanged.
    pub fn is_usable(&self) -> bool {
        self.is_ready() && self.volatile.connection == Connection::Up
    }

    /// Whether `channel_ready` was exchanged and nothing ends the channel.
    pub fn is_ready(&self) -> bool {
        let funding = &self.record.funding;
        funding.holder_ready && funding.counterparty_ready && self.record.closure.is_none()
    }

    /// Whether an HTLC that the peer commits to here may be paid on: the funding is in a block, not only was once
    /// before a reorganisation. What is closed in the meantime is worth no more for it, unless a block has the close.
    pub fn is_backed(&self) -> bool {
        let record = &self.record;
        record.funding.confirmed.is_some() || record.onchain.funding_spend.is_some()
    }

    /// Whether no HTLC may be added any more by the holder.
    pub fn is_shutting_down(&self) -> bool {
        self.record.shutdown.holder.is_some() || self.record.shutdown.counterparty.is_some()
    }

    pub(super) fn expect_usable(&self) -> Result<(), ChannelError> {
        if self.volatile.connection != Connection::Up {
            return Err(ChannelError::Ignore(
                "it came before channel_reestablish".into(),
            ));
        }
        if !self.is_ready() {
            return Err(broken("an update before channel_ready"));
        }
        Ok(())
    }

    /// What the holder's next commitment would be with all that is known.
    fn holder_spec_with(&self, proposed: &[Change]) -> Result<CommitmentSpec, ChannelError> {
        self.record
            .holder
            .spec
            .after(&self.record.holder_changes.acked, proposed)
            .map_err(|error| broken(error.to_string()))
    }

    /// BOLT 2's receiver checks of `update_add_htlc`.
    pub(crate) fn receive_add(
        &mut self,
        message: &msgs::UpdateAddHTLC,
    ) -> Result<(), ChannelError> {
        self.expect_usable()?;
        if self.record.shutdown.counterparty.is_some() {
            return Err(broken("update_add_htlc after shutdown"));
        }
        let added = |change: &&Change| matches!(change, Change::Add(_));
        let pending = self.volatile.proposed.iter().filter(added).count() as u64;
        if message.htlc_id != self.record.next_counterparty_htlc_id + pending {
            return Err(broken(format!(
                "htlc_id {} is not the next",
                message.htlc_id
            )));
        }
        let limits = &self.record.parameters.holder_limits;
        if message.amount_msat == 0 || message.amount_msat < limits.htlc_minimum_msat {
            return Err(broken(format!(
                "an HTLC of {} msat is below the minimum",
                message.amount_msat
            )));
        }
        if message.cltv_expiry >= CLTV_EXPIRY_LIMIT {
            return Err(broken("an expiry that is not a height"));
        }
        let onion = wire::onion_bytes(&message.onion_routing_packet);
        debug_assert_eq!(onion.len(), ONION_PACKET_BYTES);
        let mut proposed = self.volatile.proposed.clone();
        proposed.push(Change::Add(HtlcAdd {
            htlc_id: message.htlc_id,
            amount_msat: message.amount_msat,
            payment_hash: message.payment_hash,
            cltv_expiry: message.cltv_expiry,
            onion,
        }));
        let spec = self.holder_spec_with(&proposed)?;
        let (count, in_flight_msat) = pending_in(&spec, Direction::Inbound);
        if count > u64::from(limits.max_accepted_htlcs) {
            return Err(broken(format!("{count} HTLCs exceed max_accepted_htlcs")));
        }
        if in_flight_msat > limits.max_htlc_value_in_flight_msat {
            return Err(broken(format!(
                "{in_flight_msat} msat exceed max_htlc_value_in_flight_msat"
            )));
        }
        let fee_msat = if self.record.parameters.is_opener {
            0
        } else {
            1_000 * commitment::fee_and_anchors_sat(&self.record.parameters, &spec, 0)
        };
        if spec.counterparty_msat < fee_msat + 1_000 * limits.reserve_sat {
            return Err(broken(
                "an HTLC that its sender cannot pay for beside reserve and fees",
            ));
        }
        self.volatile.proposed = proposed;
        Ok(())
    }

    /// An HTLC that the counterparty may remove: in the holder's commitment, with no removal yet.
    fn removable(&self, htlc_id: u64) -> Result<(), ChannelError> {
        self.expect_usable()?;
        let spec = self.holder_spec_with(&self.volatile.proposed)?;
        let committed = self.record.holder.spec.holds(Direction::Outbound, htlc_id);
        if committed && spec.holds(Direction::Outbound, htlc_id) {
            return Ok(());
        }
        Err(broken(format!("HTLC {htlc_id} is not there to be removed")))
    }

    /// The preimage is written at once, and its event told: nothing is gained by waiting for a
    /// signature, and a crash must not lose it.
    pub(crate) fn receive_fulfill(
        &mut self,
        message: &msgs::UpdateFulfillHTLC,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        // A channel that is closed is never reestablished, and a preimage is worth money on any connection.
        let is_closed = self.record.closure.is_some();
        if !is_closed && self.volatile.connection != Connection::Up {
            return Err(ChannelError::Ignore(
                "it came before channel_reestablish".into(),
            ));
        }
        let htlc_id = message.htlc_id;
        let preimage = message.payment_preimage;
        let known = match self.record.outbound.get(&htlc_id) {
            Some(known) => known,
            // The chain has decided it.
            None if is_closed => return Ok(()),
            None => return Err(broken(format!("HTLC {htlc_id} is not ours"))),
        };
        if sha256::Hash::hash(&preimage.0).to_byte_array() != known.add.payment_hash.0 {
            return Err(broken(format!("a wrong preimage for HTLC {htlc_id}")));
        }
        // Knowing a preimage is for good, whatever becomes of the message that told it.
        if known.preimage.is_none() {
            self.commit(vec![UpdateStep::FulfillHtlc { htlc_id, preimage }], out)?;
        }
        if is_closed {
            return Ok(());
        }
        self.removable(htlc_id)?;
        self.volatile
            .proposed
            .push(Change::Fulfill { htlc_id, preimage });
        Ok(())
    }

    /// Nothing is told before the removal is irrevocable: until then the counterparty may still claim.
    pub(crate) fn receive_fail(
        &mut self,
        htlc_id: u64,
        reason: Vec<u8>,
    ) -> Result<(), ChannelError> {
        self.removable(htlc_id)?;
        self.volatile
            .proposed
            .push(Change::Fail { htlc_id, reason });
        Ok(())
    }

    /// As [`Self::receive_fail`].
    pub(crate) fn receive_fail_malformed(
        &mut self,
        htlc_id: u64,
        sha256_of_onion: [u8; 32],
        failure_code: u16,
    ) -> Result<(), ChannelError> {
        self.removable(htlc_id)?;
        if failure_code & crate::onion::code::BADONION == 0 {
            return Err(broken("update_fail_malformed_htlc without BADONION"));
        }
        self.volatile.proposed.push(Change::FailMalformed {
            htlc_id,
            sha256_of_onion,
            failure_code,
        });
        Ok(())
    }

    /// BOLT 2's receiver checks of `update_fee`.
    pub(crate) fn receive_fee(&mut self, feerate_per_kw: u32) -> Result<(), ChannelError> {
        self.expect_usable()?;
        if self.record.parameters.is_opener {
            return Err(broken("update_fee by the side that does not pay it"));
        }
        if !(LEAST_FEERATE_PER_KW..=MOST_FEERATE_PER_KW).contains(&feerate_per_kw) {
            return Err(broken(format!("a fee rate of {feerate_per_kw} sat per kw")));
        }
        let mut proposed = self.volatile.proposed.clone();
        // The last one counts; without this a peer could pile them up and never sign.
        proposed.retain(|change| !matches!(change, Change::Fee { .. }));
        proposed.push(Change::Fee { feerate_per_kw });
        let spec = self.holder_spec_with(&proposed)?;
        let fee_sat = commitment::fee_and_anchors_sat(&self.record.parameters, &spec, 0);
        let reserve_sat = self.record.parameters.holder_limits.reserve_sat;
        if spec.counterparty_msat < 1_000 * (fee_sat + reserve_sat) {
            return Err(broken("a fee rate that its sender cannot pay"));
        }
        self.volatile.proposed = proposed;
        Ok(())
    }

    /// Checks and writes the holder's next commitment; then revokes the one before.
    pub(crate) fn receive_commitment_signed(
        &mut self,
        message: &msgs::CommitmentSigned,
        environment: &Environment,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        self.expect_usable()?;
        let next = HolderCommitment {
            number: self.record.holder.number + 1,
            spec: self.holder_spec_with(&self.volatile.proposed)?,
            signature: message.signature,
            htlc_signatures: message.htlc_signatures.clone(),
        };
        commitment::verify_holder_commitment(environment, &self.record.parameters, &next)
            .map_err(|error| broken(error.to_string()))?;
        let changes = std::mem::take(&mut self.volatile.proposed);
        let step = UpdateStep::LatestHolderCommitment {
            number: next.number,
            signature: next.signature,
            htlc_signatures: next.htlc_signatures,
            changes,
        };
        self.commit(vec![step], out)?;
        self.send_revocation(environment, out);
        Ok(())
    }

    /// Reveals the secret of the holder's last commitment but one.
    pub(super) fn send_revocation(&self, environment: &Environment, out: &mut Outbox) {
        let keys = environment.channel_keys(&self.record.parameters.keys_id);
        let number = self.record.holder.number;
        let Some(revoked) = number.checked_sub(1) else {
            return;
        };
        let message = msgs::RevokeAndACK {
            channel_id: self.id(),
            per_commitment_secret: keys.commitment_secret(revoked),
            next_per_commitment_point: keys.commitment_point(number + 1, &environment.secp),
            release_htlc_message_paths: Vec::new(),
        };
        self.send(Message::RevokeAndAck(message), out);
    }

    /// The counterparty revoked. Secret, irrevocable adds and irrevocable removals are one update.
    pub(crate) fn receive_revocation(
        &mut self,
        message: &msgs::RevokeAndACK,
        environment: &Environment,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        self.expect_usable()?;
        if self.record.next_counterparty.is_none() {
            return Err(broken("revoke_and_ack without a commitment to revoke"));
        }
        let secret = SecretKey::from_slice(&message.per_commitment_secret)
            .map_err(|_| broken("a revocation secret that is no key"))?;
        let revealed = PublicKey::from_secret_key(&environment.secp, &secret);
        if revealed != self.record.counterparty.point {
            return Err(broken("a revocation secret that does not fit its point"));
        }
        let mut steps = vec![UpdateStep::CommitmentSecret {
            number: self.record.counterparty.number,
            secret: message.per_commitment_secret,
            next_point: message.next_per_commitment_point,
        }];
        for change in &self.record.counterparty_changes.signed {
            if let Change::Add(add) = change {
                let htlc_id = add.htlc_id;
                steps.push(UpdateStep::HtlcIrrevocablyCommitted { htlc_id });
            }
        }
        self.volatile.unanswered_ticks = 0;
        self.commit(steps, out)
    }

    /// Decides that an inbound HTLC is claimed. Sent when the channel's turn comes. Nothing happens
    /// if it is decided so already, or gone.
    pub(crate) fn claim_inbound(
        &mut self,
        htlc_id: u64,
        preimage: lightning::types::payment::PaymentPreimage,
        claim: Option<MppClaim>,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        match self.record.inbound.get(&htlc_id) {
            Some(htlc) if htlc.preimage().is_none() => {
                let step = UpdateStep::PaymentPreimage {
                    htlc_id,
                    preimage,
                    claim,
                };
                self.volatile.claims_due = true;
                self.commit(vec![step], out)
            }
            _ => Ok(()),
        }
    }

    /// Decides that an inbound HTLC is refused, unless it is decided already.
    pub(crate) fn reject_inbound(
        &mut self,
        htlc_id: u64,
        rejection: Rejection,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        match self.record.inbound.get(&htlc_id) {
            Some(htlc) if htlc.resolution.is_none() => {
                self.commit(vec![UpdateStep::RejectHtlc { htlc_id, rejection }], out)
            }
            _ => Ok(()),
        }
    }

    /// Queues an HTLC to be offered.
    pub(crate) fn offer(&mut self, add: WaitingAdd) {
        self.volatile.adds.push(add);
    }

    /// Signs all that waits, if it is the holder's turn: one commitment for everything. Returns the
    /// HTLCs that cannot be offered.
    pub(crate) fn flush(
        &mut self,
        environment: &Environment,
        out: &mut Outbox,
    ) -> Result<Vec<(WaitingAdd, Unable)>, ChannelError> {
        let mut unable = Vec::new();
        if self.is_shutting_down() || self.record.closure.is_some() {
            let adds = std::mem::take(&mut self.volatile.adds);
            unable.extend(adds.into_iter().map(|add| (add, Unable::Closing)));
        }
        if !self.is_usable() || self.record.next_counterparty.is_some() {
            return Ok(unable);
        }
        let mut changes: Vec<Change> = self
            .record
            .inbound
            .iter()
            .filter(|(_, htlc)| htlc.committed && htlc.removed_by.is_none())
            .filter_map(|(id, htlc)| htlc.resolution.as_ref().map(|r| removal(*id, r)))
            .collect();
        let mut sources = Vec::new();
        for mut waiting in std::mem::take(&mut self.volatile.adds) {
            let adds = sources.len() as u64;
            waiting.add.htlc_id = self.record.next_htlc_id + adds;
            match self.room_for(&changes, &waiting.add) {
                Ok(()) => {
                    sources.push((waiting.add.htlc_id, waiting.source));
                    changes.push(Change::Add(waiting.add));
                }
                Err(reason) => unable.push((waiting, reason)),
            }
        }
        self.add_fee_change(&mut changes);
        if changes.is_empty() && self.record.counterparty_changes.acked.is_empty() {
            return Ok(unable);
        }
        let number = self.record.counterparty.number + 1;
        let step = UpdateStep::LatestCounterpartyCommitment {
            number,
            changes,
            sources,
        };
        self.commit(vec![step], out)?;
        self.send_commitment(environment, out)?;
        Ok(unable)
    }

    /// Sends the changes and the signatures of the counterparty's next commitment: the first time, and
    /// again after a reconnection.
    pub(super) fn send_commitment(
        &self,
        environment: &Environment,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        let Some(next) = &self.record.next_counterparty else {
            return Ok(());
        };
        for change in &self.record.holder_changes.signed {
            let message = wire::change_message(self.id(), change)
                .map_err(|error| broken(error.to_string()))?;
            self.send(message, out);
        }
        let (signature, htlc_signatures) = commitment::sign_counterparty_commitment(
            environment,
            &self.record.parameters,
            &next.commitment,
        );
        let message = msgs::CommitmentSigned {
            channel_id: self.id(),
            signature,
            htlc_signatures,
            funding_txid: None,
        };
        self.send(Message::CommitmentSigned(message), out);
        Ok(())
    }

    fn add_fee_change(&mut self, changes: &mut Vec<Change>) {
        let Some(feerate_per_kw) = self.volatile.fee.take() else {
            return;
        };
        if !self.record.parameters.is_opener
            || self.is_shutting_down()
            || self.record.counterparty.spec.feerate_per_kw == feerate_per_kw
        {
            return;
        }
        changes.push(Change::Fee { feerate_per_kw });
        if !self.can_pay_fees(changes) {
            changes.pop();
        }
    }

    fn can_pay_fees(&self, changes: &[Change]) -> bool {
        let parameters = &self.record.parameters;
        let reserve_sat = parameters.counterparty_limits.reserve_sat;
        let pays = |spec: &CommitmentSpec| {
            let fee_sat = commitment::fee_and_anchors_sat(parameters, spec, 0);
            spec.holder_msat >= 1_000 * (fee_sat + reserve_sat)
        };
        self.next_specs(changes)
            .is_ok_and(|specs| specs.iter().all(pays))
    }

    /// The next commitments with these changes of the holder: the counterparty's, and the holder's, which
    /// may have more in it, as the counterparty has proposed it.
    fn next_specs(&self, changes: &[Change]) -> Result<[CommitmentSpec; 2], ApplyError> {
        let theirs = self.record.next_counterparty_commitment(changes)?.spec;
        let mut own = self.record.holder_changes.acked.clone();
        own.extend_from_slice(changes);
        let proposed = &self.volatile.proposed;
        let ours = self.record.holder.spec.after(&own, proposed)?;
        Ok([theirs, ours])
    }

    /// BOLT 2's sender checks of `update_add_htlc`, with all that is known to be pending.
    fn room_for(&self, changes: &[Change], add: &HtlcAdd) -> Result<(), Unable> {
        let parameters = &self.record.parameters;
        let limits = &parameters.counterparty_limits;
        if add.amount_msat < limits.htlc_minimum_msat.max(1) {
            return Err(Unable::BelowMinimum);
        }
        if self.is_dust(add.amount_msat) {
            let waiting = changes.iter().map(|change| match change {
                Change::Add(other) if self.is_dust(other.amount_msat) => other.amount_msat,
                _ => 0,
            });
            let exposure_msat = self.dust_exposure_msat() + waiting.sum::<u64>() + add.amount_msat;
            if exposure_msat > MAXIMUM_DUST_EXPOSURE_MSAT {
                return Err(Unable::NoRoom);
            }
        }
        let mut changes = changes.to_vec();
        changes.push(Change::Add(add.clone()));
        let specs = self.next_specs(&changes).map_err(|_| Unable::NoRoom)?;
        let (count, in_flight_msat) = pending_in(&specs[0], Direction::Outbound);
        if count > u64::from(limits.max_accepted_htlcs)
            || in_flight_msat > limits.max_htlc_value_in_flight_msat
        {
            return Err(Unable::NoRoom);
        }
        match specs.iter().all(|spec| self.is_affordable(spec)) {
            true => Ok(()),
            false => Err(Unable::NoRoom),
        }
    }

    /// Whether a commitment with a new HTLC of the holder's leaves both their reserves, and the opener
    /// enough for fees and one more HTLC, whichever side's commitment it is.
    fn is_affordable(&self, spec: &CommitmentSpec) -> bool {
        let parameters = &self.record.parameters;
        let fee_msat =
            |spec: &CommitmentSpec| 1_000 * commitment::fee_and_anchors_sat(parameters, spec, 1);
        let reserve_msat = 1_000 * parameters.counterparty_limits.reserve_sat;
        if parameters.is_opener {
            let mut spiked = spec.clone();
            spiked.feerate_per_kw = spiked.feerate_per_kw.saturating_mul(FEE_SPIKE_FACTOR);
            spec.holder_msat >= reserve_msat + fee_msat(&spiked)
        } else {
            let their_reserve_msat = 1_000 * parameters.holder_limits.reserve_sat;
            spec.holder_msat >= reserve_msat
                && spec.counterparty_msat >= their_reserve_msat + fee_msat(spec)
        }
    }

    /// Whether an HTLC of so many millisatoshis has no output in one of both commitments.
    pub(crate) fn is_dust(&self, amount_msat: u64) -> bool {
        let parameters = &self.record.parameters;
        let limits = [&parameters.holder_limits, &parameters.counterparty_limits];
        limits
            .iter()
            .any(|limits| amount_msat / 1_000 < limits.dust_limit_sat)
    }

    /// Millisatoshis in trimmed HTLCs in the commitments that would be published, at the most.
    pub fn dust_exposure_msat(&self) -> u64 {
        let parameters = &self.record.parameters;
        let of = |spec, side| commitment::dust_exposure_msat(parameters, spec, side);
        let theirs = match &self.record.next_counterparty {
            Some(next) => &next.commitment.spec,
            None => &self.record.counterparty.spec,
        };
        of(&self.record.holder.spec, Side::Holder).max(of(theirs, Side::Counterparty))
    }

    /// How many unacknowledged events there are and will be: every HTLC that is offered or waits to be makes
    /// one, when its preimage is known or its removal is irrevocable.
    pub(crate) fn events_to_expect(&self) -> usize {
        let is_undecided = |htlc: &&OutboundHtlc| htlc.preimage.is_none();
        let undecided = self.record.outbound.values().filter(is_undecided).count();
        self.record.events.len() + undecided + self.volatile.adds.len()
    }

    /// Whether what was decided of an inbound HTLC survives a crash; true too if the HTLC is gone.
    pub(crate) fn is_resolution_durable(&self, htlc_id: u64) -> bool {
        match self.record.inbound.get(&htlc_id) {
            None => self.is_durable(),
            Some(htlc) => htlc
                .resolved_by
                .is_some_and(|sequence| sequence <= self.volatile.durable),
        }
    }

    /// Whether an inbound HTLC is refused for good by what is written.
    pub(crate) fn resolution(&self, htlc_id: u64) -> Option<&Resolution> {
        self.record
            .inbound
            .get(&htlc_id)
            .and_then(|htlc| htlc.resolution.as_ref())
    }
}

/// How many HTLCs go this way in a commitment, and what they are worth in millisatoshis.
fn pending_in(spec: &CommitmentSpec, way: Direction) -> (u64, u64) {
    spec.htlcs
        .iter()
        .filter(|((direction, _), _)| *direction == way)
        .fold((0, 0), |(count, sum), (_, htlc)| {
            (count + 1, sum + htlc.amount_msat)
        })
}
