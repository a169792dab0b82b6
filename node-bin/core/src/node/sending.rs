//! This node's own payments. The record says what is to be paid; the monitors say what became of each
//! part. The record is written before a part is offered, and a part's end is acknowledged only when the
//! record, or the user, knows of it.
//!
//! BOLT 11 (expiry); BOLT 4, "Basic Multi-Part Payments"; `corrections.md`, 3, 4, 16.

use bitcoin::secp256k1::SecretKey;
use lightning::types::payment::PaymentPreimage;

use crate::channel::{Channel, Outbox, WaitingAdd};
use crate::effect::{CommandError, Content, Done, Effect, Store, UserEvent, Write};
use crate::event::Failure;
use crate::input::PayCommand;
use crate::onion;
use crate::payment::{PartState, PaymentOutcome, PaymentPart, PaymentRecord};
use crate::source::{HtlcSource, PathHop, PaymentId};
use crate::spec::HtlcAdd;

use super::{Node, TellPurpose};

/// How many own payments that are over are kept. A key is good for as long as it is among the last so many.
pub(super) const PAYMENTS_KEPT: usize = 10_000;

/// Why nothing more is offered for an invoice (BOLT 11: a payer should not, after its expiry).
const EXPIRED: &str = "the invoice has expired";

/// What is known of a payment besides its record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sending {
    /// The last write of the record that is durable.
    pub durable: u64,
    /// A way is being looked for.
    pub searching: bool,
    /// The outcome was told in this life.
    pub told: bool,
    /// The node has just started and may not be connected yet: that there is no way now says nothing.
    /// Ends with the first tick.
    pub patient: bool,
}

impl Sending {
    pub fn durable_at(sequence: u64) -> Self {
        Sending {
            durable: sequence,
            patient: true,
            ..Sending::default()
        }
    }
}

/// Why a part failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartFailure {
    pub failed_channel: Option<u64>,
    pub is_permanent: bool,
    pub reason: String,
}

fn part_amount_msat(part: &PaymentPart) -> u64 {
    part.path.last().map_or(0, |hop| hop.fee_msat)
}

impl Node {
    /// Starts a payment, once: its record first, its parts when that is durable.
    pub(super) fn pay(&mut self, id: u64, command: PayCommand, out: &mut Outbox) {
        let payment_id = command.payment_id;
        if self.payments.contains_key(&payment_id) {
            out.after(
                Store::Payment(payment_id),
                Effect::Answer {
                    id,
                    result: Ok(Done::Already),
                },
            );
            return;
        }
        if command.paths.is_empty() && command.route.is_none() {
            let error = CommandError::Refused("a payment needs paths or a way to find some".into());
            out.now(Effect::Answer {
                id,
                result: Err(error),
            });
            return;
        }
        let record = PaymentRecord::asked(&command);
        if record.is_expired(self.surroundings.now_s) {
            let error = CommandError::Refused(EXPIRED.into());
            out.now(Effect::Answer {
                id,
                result: Err(error),
            });
            return;
        }
        self.payments.insert(payment_id, record);
        self.sending.insert(payment_id, Sending::default());
        self.add_parts(payment_id, command.paths);
        self.write_payment(payment_id, out);
        out.after(
            Store::Payment(payment_id),
            Effect::Answer {
                id,
                result: Ok(Done::Begun),
            },
        );
    }

    fn add_parts(&mut self, payment_id: PaymentId, paths: Vec<Vec<PathHop>>) {
        let keys: Vec<SecretKey> = paths.iter().map(|_| self.draw_key()).collect();
        let Some(record) = self.payments.get_mut(&payment_id) else {
            return;
        };
        let next = record
            .parts
            .iter()
            .map(|part| part.part + 1)
            .max()
            .unwrap_or(0);
        for ((path, session_key), part) in paths.into_iter().zip(keys).zip(next..) {
            record.parts.push(PaymentPart {
                part,
                session_key,
                path,
                state: PartState::Pending,
            });
        }
    }

    fn draw_key(&mut self) -> SecretKey {
        loop {
            if let Ok(key) = SecretKey::from_slice(&self.draw_entropy()) {
                return key;
            }
        }
    }

    fn write_payment(&mut self, payment_id: PaymentId, out: &mut Outbox) {
        let Some(record) = self.payments.get_mut(&payment_id) else {
            return;
        };
        record.sequence += 1;
        out.now(Effect::Persist(Write {
            store: Store::Payment(payment_id),
            sequence: record.sequence,
            content: Content::Payment(Box::new(record.clone())),
        }));
    }

    fn is_written(&self, payment_id: &PaymentId) -> bool {
        let durable = self
            .sending
            .get(payment_id)
            .map_or(0, |sending| sending.durable);
        let record = self.payments.get(payment_id);
        record.is_some_and(|record| record.sequence > 0 && record.sequence <= durable)
    }

    /// Offers every part that is to be sent and that no monitor holds. Nothing is offered that the
    /// record does not durably say. At a start this sends what a crash kept from being sent.
    pub(super) fn drive_payment(&mut self, payment_id: PaymentId, out: &mut Outbox) {
        if !self.is_written(&payment_id) {
            return;
        }
        let Some(record) = self.payments.get(&payment_id) else {
            return;
        };
        if record.outcome.is_some() {
            return;
        }
        let unsent: Vec<_> = record
            .parts
            .iter()
            .filter(|part| part.state == PartState::Pending)
            .filter(|part| !self.is_part_live(&payment_id, part.part))
            .cloned()
            .collect();
        let is_expired = record.is_expired(self.surroundings.now_s);
        for part in unsent {
            match is_expired {
                true => self.part_expired(payment_id, part.part, out),
                false => self.offer_part(payment_id, part, out),
            }
        }
        self.consider(payment_id, out);
    }

    /// Whether a monitor, or a channel's queue, knows this part.
    fn is_part_live(&self, payment_id: &PaymentId, part: u32) -> bool {
        let is_it = |source: &HtlcSource| {
            matches!(source, HtlcSource::Own { payment_id: id, part: p, .. }
                if id == payment_id && *p == part)
        };
        self.channels.values().any(|channel| {
            channel
                .record
                .outbound
                .values()
                .any(|htlc| is_it(&htlc.source))
                || channel
                    .volatile
                    .adds
                    .iter()
                    .any(|waiting| is_it(&waiting.source))
                || channel
                    .record
                    .events
                    .iter()
                    .any(|pending| pending.event.resolved_source().is_some_and(&is_it))
        })
    }

    /// No monitor holds the part, so nobody can claim it: it has failed.
    fn part_expired(&mut self, payment_id: PaymentId, part: u32, out: &mut Outbox) {
        let failure = PartFailure {
            failed_channel: None,
            is_permanent: true,
            reason: EXPIRED.into(),
        };
        self.part_failed(payment_id, part, failure, out);
    }

    fn offer_part(&mut self, payment_id: PaymentId, part: PaymentPart, out: &mut Outbox) {
        let fail = |reason: String| PartFailure {
            failed_channel: part.path.first().map(|hop| hop.short_channel_id),
            is_permanent: false,
            reason,
        };
        let scid = part.path.first().map_or(0, |hop| hop.short_channel_id);
        let Some(record) = self.payments.get(&payment_id) else {
            return;
        };
        let built = onion::build(
            &self.environment,
            record,
            &part.session_key,
            &part.path,
            self.best_block.height,
        );
        let payment_hash = record.payment_hash;
        let bound = self.policy.maximum_unacknowledged_events;
        let channel_id = self
            .channel_by_scid(scid)
            .filter(|channel| channel.events_to_expect() < bound)
            .map(crate::channel::Channel::id);
        match (built, channel_id.and_then(|id| self.channels.get_mut(&id))) {
            (Ok(built), Some(channel)) => channel.offer(WaitingAdd {
                add: HtlcAdd {
                    htlc_id: 0,
                    amount_msat: built.amount_msat,
                    payment_hash,
                    cltv_expiry: built.cltv_expiry,
                    onion: built.onion,
                },
                source: HtlcSource::Own {
                    payment_id,
                    part: part.part,
                    session_key: part.session_key,
                    path: part.path,
                },
            }),
            (Err(error), _) => {
                let failure = PartFailure {
                    is_permanent: true,
                    ..fail(error.to_string())
                };
                self.part_failed(payment_id, part.part, failure, out);
            }
            (Ok(_), None) => {
                let failure = fail("its first channel cannot take it".into());
                self.part_failed(payment_id, part.part, failure, out);
            }
        }
    }

    pub(super) fn part_claimed(
        &mut self,
        payment_id: PaymentId,
        part: u32,
        preimage: PaymentPreimage,
        _amount_msat: u64,
        out: &mut Outbox,
    ) {
        let Some(record) = self.payments.get_mut(&payment_id) else {
            return;
        };
        let mut is_news = false;
        let payment_hash = record.payment_hash;
        let mut path = Vec::new();
        for known in record.parts.iter_mut().filter(|known| known.part == part) {
            is_news |= known.state != PartState::Claimed;
            known.state = PartState::Claimed;
            path = known.path.iter().map(|hop| hop.short_channel_id).collect();
        }
        if !matches!(record.outcome, Some(PaymentOutcome::Sent { .. })) {
            // A claim beats a failure, even one that the user was told of: the money is gone.
            record.outcome = Some(PaymentOutcome::Sent { preimage });
            record.ended_at_s = Some(self.surroundings.now_s);
            record.told = false;
            if let Some(sending) = self.sending.get_mut(&payment_id) {
                sending.told = false;
            }
            is_news = true;
        }
        if is_news {
            self.write_payment(payment_id, out);
            let event = UserEvent::PaymentPart {
                payment_id,
                payment_hash,
                claimed: true,
                path,
            };
            let store = Store::Payment(payment_id);
            self.tell(event, TellPurpose::News, Some(store), out);
        }
        self.tell_outcome(payment_id, out);
    }

    /// Tells the user how a payment ended, once in a life, when its record says so durably.
    pub(super) fn tell_outcome(&mut self, payment_id: PaymentId, out: &mut Outbox) {
        let Some(record) = self.payments.get(&payment_id) else {
            return;
        };
        let Some(outcome) = &record.outcome else {
            return;
        };
        let sending = self.sending.entry(payment_id).or_default();
        if record.told || sending.told {
            return;
        }
        sending.told = true;
        let payment_hash = record.payment_hash;
        let event = match outcome {
            PaymentOutcome::Sent { preimage } => UserEvent::PaymentSent {
                payment_id,
                payment_hash,
                preimage: *preimage,
                fee_paid_msat: fee_paid_msat(record),
            },
            PaymentOutcome::Failed { reason } => UserEvent::PaymentFailed {
                payment_id,
                payment_hash,
                reason: reason.clone(),
            },
        };
        let purpose = TellPurpose::Outcome {
            payment_id,
            sent: matches!(outcome, PaymentOutcome::Sent { .. }),
        };
        self.tell(event, purpose, Some(Store::Payment(payment_id)), out);
    }

    /// The user has handled an outcome; an older one than the record's counts for nothing.
    pub(super) fn outcome_handled(&mut self, payment_id: PaymentId, sent: bool, out: &mut Outbox) {
        let current = self
            .sending
            .get(&payment_id)
            .is_some_and(|sending| sending.told);
        if let Some(record) = self.payments.get_mut(&payment_id)
            && current
            && matches!(record.outcome, Some(PaymentOutcome::Sent { .. })) == sent
            && !record.told
        {
            record.told = true;
            self.write_payment(payment_id, out);
        }
    }

    pub(super) fn read_failure(
        &self,
        session_key: &SecretKey,
        path: &[PathHop],
        failure: &Failure,
    ) -> PartFailure {
        match failure {
            Failure::Onion(reason) => {
                let read = onion::decode_failure(&self.environment, session_key, path, reason);
                PartFailure {
                    failed_channel: read.failed_channel,
                    is_permanent: read.is_permanent,
                    reason: match (read.hop, read.code) {
                        (Some(hop), Some(code)) => format!("hop {hop} failed it: {code:#06x}"),
                        _ => "nobody on its path can have made its failure".into(),
                    },
                }
            }
            Failure::Malformed { failure_code, .. } | Failure::Local { failure_code } => {
                PartFailure {
                    failed_channel: path.first().map(|hop| hop.short_channel_id),
                    is_permanent: false,
                    reason: format!("the first hop failed it: {failure_code:#06x}"),
                }
            }
        }
    }

    pub(super) fn part_failed(
        &mut self,
        payment_id: PaymentId,
        part: u32,
        failure: PartFailure,
        out: &mut Outbox,
    ) {
        let Some(record) = self.payments.get_mut(&payment_id) else {
            return;
        };
        let payment_hash = record.payment_hash;
        let Some(known) = record.parts.iter_mut().find(|known| known.part == part) else {
            return;
        };
        if known.state == PartState::Pending {
            known.state = PartState::Failed;
            let path = known.path.iter().map(|hop| hop.short_channel_id).collect();
            if let Some(route) = &mut record.route {
                route.failed_channels.extend(failure.failed_channel);
                if failure.is_permanent {
                    route.attempts_left = 0;
                }
            }
            self.write_payment(payment_id, out);
            let event = UserEvent::PaymentPart {
                payment_id,
                payment_hash,
                claimed: false,
                path,
            };
            let store = Store::Payment(payment_id);
            self.tell(event, TellPurpose::News, Some(store), out);
        }
        self.consider_with(payment_id, &failure.reason, out);
    }

    fn consider(&mut self, payment_id: PaymentId, out: &mut Outbox) {
        self.consider_with(payment_id, "there is no way", out);
    }

    /// Looks for more ways, or gives up, if parts are missing. `reason` is why, if it gives up.
    fn consider_with(&mut self, payment_id: PaymentId, reason: &str, out: &mut Outbox) {
        let is_connected = self
            .channels
            .values()
            .any(crate::channel::Channel::is_usable);
        let Some(record) = self.payments.get_mut(&payment_id) else {
            return;
        };
        let sending = self.sending.entry(payment_id).or_default();
        if record.outcome.is_some() || sending.searching {
            return;
        }
        let pending = |part: &&PaymentPart| part.state == PartState::Pending;
        let on_its_way: u64 = record
            .parts
            .iter()
            .filter(pending)
            .map(part_amount_msat)
            .fold(0, u64::saturating_add);
        let is_expired = record.is_expired(self.surroundings.now_s);
        // A record that was rebuilt from a failure alone knows no amount.
        if on_its_way > 0 && on_its_way >= record.amount_msat {
            return;
        }
        if let Some(route) = record
            .route
            .as_mut()
            .filter(|route| route.attempts_left > 0 && !is_expired)
        {
            if sending.patient && !is_connected {
                return;
            }
            route.attempts_left -= 1;
            sending.searching = true;
            let effect = Effect::FindRoute {
                payment_id,
                amount_msat: record.amount_msat - on_its_way,
                final_cltv_expiry_delta: record.final_cltv_expiry_delta,
                wish: route.clone(),
            };
            out.now(effect);
            return;
        }
        // Whatever it carries: a part that may still be claimed keeps the payment from having failed.
        if record.parts.iter().any(|part| pending(&part)) {
            return;
        }
        let reason = match is_expired && reason != EXPIRED {
            true => format!("{reason}, and {EXPIRED}"),
            false => reason.to_owned(),
        };
        record.outcome = Some(PaymentOutcome::Failed { reason });
        record.ended_at_s = Some(self.surroundings.now_s);
        self.write_payment(payment_id, out);
        self.tell_outcome(payment_id, out);
    }

    pub(super) fn route_found(
        &mut self,
        payment_id: PaymentId,
        paths: Vec<Vec<PathHop>>,
        out: &mut Outbox,
    ) {
        let Some(sending) = self.sending.get_mut(&payment_id) else {
            return;
        };
        sending.searching = false;
        if paths.is_empty() && sending.patient {
            // Tried again with the next channel that is reestablished, or with the first tick.
            let record = self.payments.get_mut(&payment_id);
            if let Some(route) = record.and_then(|record| record.route.as_mut()) {
                route.attempts_left += 1;
            }
            return;
        }
        if paths.is_empty() {
            if let Some(route) = self
                .payments
                .get_mut(&payment_id)
                .and_then(|p| p.route.as_mut())
            {
                route.attempts_left = 0;
            }
            self.consider_with(payment_id, "no way was found", out);
            return;
        }
        self.add_parts(payment_id, paths);
        self.write_payment(payment_id, out);
    }

    /// Whether a claimed part's event may go: the outcome is durable and the user has handled it.
    pub(super) fn is_claim_known(&self, payment_id: &PaymentId) -> bool {
        let record = self.payments.get(payment_id);
        self.is_written(payment_id)
            && record.is_some_and(|record| {
                record.told && matches!(record.outcome, Some(PaymentOutcome::Sent { .. }))
            })
    }

    /// Whether a failed part's event may go: a replacement is durable, or the outcome is known to the
    /// user.
    pub(super) fn is_failure_known(&self, payment_id: &PaymentId, part: u32) -> bool {
        if !self.is_written(payment_id) {
            return false;
        }
        self.payments.get(payment_id).is_none_or(|record| {
            let is_marked = record
                .parts
                .iter()
                .any(|known| known.part == part && known.state != PartState::Pending);
            let is_replaced = record.parts.iter().any(|known| known.part > part);
            is_marked && (record.told || (is_replaced && record.route.is_some()))
        })
    }

    /// What a start could not do for want of connections is done now, or given up.
    pub(super) fn tick_payments(&mut self, out: &mut Outbox) {
        let patient = self.sending.iter_mut().filter(|(_, known)| known.patient);
        let waiting: Vec<_> = patient
            .map(|(payment_id, sending)| {
                sending.patient = false;
                *payment_id
            })
            .collect();
        for payment_id in waiting {
            self.drive_payment(payment_id, out);
        }
    }

    /// Forgets the oldest of the own payments that are over: told, and with nothing of them left in any
    /// monitor. The last [`PAYMENTS_KEPT`] are kept, so that what is asked for again under their keys is
    /// not paid again.
    pub(super) fn tick_ended_payments(&mut self, out: &mut Outbox) {
        let is_over = |record: &&PaymentRecord| {
            record.outcome.is_some() && record.told && self.is_written(&record.payment_id)
        };
        let over = self.payments.values().filter(is_over);
        let mut ended: Vec<_> = over
            .map(|record| (record.ended_at_s, record.payment_id))
            .collect();
        let surplus = ended.len().saturating_sub(PAYMENTS_KEPT);
        // An acknowledgement that a crash takes back brings its event again, for whatever has the key by then.
        let is_settled = self.channels.values().all(Channel::is_durable);
        if surplus == 0 || !is_settled {
            return;
        }
        ended.sort_unstable();
        ended.truncate(surplus);
        for (_, payment_id) in ended {
            if self.has_live_parts(&payment_id) {
                continue;
            }
            self.payments.remove(&payment_id);
            self.sending.remove(&payment_id);
            let effect = Effect::ForgetPayment { payment_id };
            out.after(Store::Payment(payment_id), effect);
        }
    }

    fn has_live_parts(&self, payment_id: &PaymentId) -> bool {
        let record = self.payments.get(payment_id);
        let mut parts = record.iter().flat_map(|record| &record.parts);
        parts.any(|part| self.is_part_live(payment_id, part.part))
    }

    /// Parts that wait for a channel whose peer is away are given up.
    pub(super) fn tick_waiting(&mut self, out: &mut Outbox) {
        let mut given_up = Vec::new();
        for channel in self.channels.values_mut() {
            if !channel.is_usable() {
                given_up.append(&mut channel.volatile.adds);
            }
        }
        for waiting in given_up {
            self.cannot_offer(waiting, crate::channel::Unable::NoRoom, out);
        }
    }
}

/// What a payment has cost beside its amount, as far as its claimed parts tell.
fn fee_paid_msat(record: &PaymentRecord) -> Option<u64> {
    // Rebuilt from monitors, it knows only the parts that were still there.
    if record.sequence == 0 || record.final_cltv_expiry_delta == 0 {
        return None;
    }
    let claimed = |part: &&PaymentPart| part.state != PartState::Failed;
    let fees = record.parts.iter().filter(claimed).map(|part| {
        let hops = part.path.len().saturating_sub(1);
        part.path
            .iter()
            .take(hops)
            .map(|hop| hop.fee_msat)
            .sum::<u64>()
    });
    Some(fees.sum())
}
