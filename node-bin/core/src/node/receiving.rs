//! Payments to this node. Parts are gathered from accepts (which stay unacknowledged until the parts are
//! resolved, so that a crash gathers them again), claimed together, and known to be claimed only when
//! every part's preimage is durable and the user has heard of it.
//!
//! The seed's inbound claims of several parts; `corrections.md`, 11; BOLT 4, "Basic Multi-Part Payments".

use bitcoin::hashes::{Hash, sha256};
use lightning::ln::types::ChannelId;
use lightning::types::payment::{PaymentHash, PaymentPreimage, PaymentSecret};

use crate::channel::{Channel, Outbox};
use crate::effect::{CommandError, Done, UserEvent};
use crate::event::{EventKey, EventKind, MppClaim};
use crate::onion::{self, OwnFailure, code};
use crate::source::InboundHtlcId;

use super::{Node, TellPurpose};

/// A payment that cannot be claimed so many blocks before it expires is given back: after that a claim
/// might be too late on chain.
const LEAST_BLOCKS_TO_CLAIM: u32 = 36;
/// Ticks that the rest of a payment may take.
const PARTS_TIMEOUT_TICKS: u32 = 3;

/// A part of a payment that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReceivedPart {
    pub id: InboundHtlcId,
    pub shared_secret: [u8; 32],
    pub amount_msat: u64,
    pub cltv_expiry: u32,
}

/// What the sender meant, by the onion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meant {
    pub payment_hash: PaymentHash,
    pub amount_msat: u64,
    pub total_msat: u64,
    pub cltv_expiry: u32,
    pub payment_secret: Option<PaymentSecret>,
    pub keysend_preimage: Option<PaymentPreimage>,
}

/// A payment that can be claimed, or could if the rest came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claimable {
    pub parts: Vec<ReceivedPart>,
    pub total_msat: u64,
    pub payment_secret: Option<PaymentSecret>,
    pub keysend_preimage: Option<PaymentPreimage>,
    /// The user was told.
    pub complete: bool,
    pub ticks: u32,
}

impl Claimable {
    pub fn has(&self, id: InboundHtlcId) -> bool {
        self.parts.iter().any(|part| part.id == id)
    }

    fn sum_msat(&self) -> u64 {
        let amounts = self.parts.iter().map(|part| part.amount_msat);
        amounts.fold(0, u64::saturating_add)
    }
}

/// Whether that is more than twice what was asked for (BOLT 4: a payer that probes, or a mistake). An
/// invoice for any amount asks for 0.
fn is_far_too_much(amount_msat: u64, asked_msat: Option<u64>) -> bool {
    asked_msat.is_some_and(|asked| asked > 0 && amount_msat > asked.saturating_mul(2))
}

fn claimable_event(payment_hash: PaymentHash, known: &Claimable) -> UserEvent {
    UserEvent::PaymentClaimable {
        payment_hash,
        amount_msat: known.sum_msat(),
        keysend_preimage: known.keysend_preimage,
    }
}

/// How far a claim is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClaimState {
    /// Preimages are being written.
    Writing,
    /// `PaymentClaimed` is on its way to the user.
    Told,
    /// The user has handled it.
    Handled,
}

/// A claim's name. Its first part tells it from others of the same hash: a sender may pay twice, and a
/// crash may bring an earlier claim's event back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClaimId {
    pub payment_hash: PaymentHash,
    first_part: Option<InboundHtlcId>,
}

impl ClaimId {
    pub fn of(claim: &MppClaim) -> Self {
        ClaimId {
            payment_hash: claim.payment_hash,
            first_part: claim.parts.first().copied(),
        }
    }
}

/// A claim under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub claim: MppClaim,
    pub state: ClaimState,
}

impl Node {
    /// Takes a part of a payment in, if it fits.
    pub(super) fn receive_part(
        &mut self,
        part: ReceivedPart,
        meant: &Meant,
        out: &mut Outbox,
    ) -> Result<(), OwnFailure> {
        let asked_msat = self.check_part(&part, meant)?;
        let hash = meant.payment_hash;
        let known = self.claimables.entry(hash).or_insert_with(|| Claimable {
            parts: Vec::new(),
            total_msat: meant.total_msat,
            payment_secret: meant.payment_secret,
            keysend_preimage: meant.keysend_preimage,
            complete: false,
            ticks: 0,
        });
        let sum_msat = known.sum_msat().saturating_add(part.amount_msat);
        let fits = !is_far_too_much(sum_msat, asked_msat)
            && known.total_msat == meant.total_msat
            && known.payment_secret == meant.payment_secret
            && known.keysend_preimage == meant.keysend_preimage
            && !known.complete;
        if !fits {
            return Err(OwnFailure::incorrect_payment_details(
                part.amount_msat,
                self.best_block.height,
            ));
        }
        known.parts.push(part);
        if known.sum_msat() < known.total_msat {
            return Ok(());
        }
        known.complete = true;
        let event = claimable_event(hash, known);
        self.tell(event, TellPurpose::News, None, out);
        Ok(())
    }

    /// BOLT 4's checks of the final hop. What the invoice asks for, in millisatoshis, if there is one.
    ///
    /// What a start gathers again was found good before: time that has passed since, for the invoice or
    /// for the expiry, takes nothing back that the user may have been told of.
    fn check_part(&self, part: &ReceivedPart, meant: &Meant) -> Result<Option<u64>, OwnFailure> {
        let height = self.best_block.height;
        let refuse = || OwnFailure::incorrect_payment_details(part.amount_msat, height);
        if part.amount_msat < meant.amount_msat {
            return Err(OwnFailure {
                code: code::FINAL_INCORRECT_HTLC_AMOUNT,
                data: part.amount_msat.to_be_bytes().to_vec(),
            });
        }
        if part.cltv_expiry < meant.cltv_expiry {
            return Err(OwnFailure {
                code: code::FINAL_INCORRECT_CLTV_EXPIRY,
                data: part.cltv_expiry.to_be_bytes().to_vec(),
            });
        }
        let least_blocks = match self.starting {
            true => LEAST_BLOCKS_TO_CLAIM / 2,
            false => LEAST_BLOCKS_TO_CLAIM,
        };
        if part.cltv_expiry <= height + least_blocks {
            return Err(refuse());
        }
        // A second payment for a hash that is being claimed would be money for nothing. What a start finds claimed
        // on all its channels may have been over when this was found good.
        let is_under_way = |known: &Claim| {
            let mut parts = known.claim.parts.iter();
            known.claim.payment_hash == meant.payment_hash
                && !(self.starting && parts.all(|part| self.was_claimed(*part)))
        };
        if self.claims.values().any(is_under_way) {
            return Err(refuse());
        }
        match (&meant.keysend_preimage, &meant.payment_secret) {
            (Some(preimage), _) => {
                if sha256::Hash::hash(&preimage.0).to_byte_array() != meant.payment_hash.0 {
                    return Err(refuse());
                }
                Ok(None)
            }
            (None, Some(secret)) => {
                let said =
                    onion::read_payment_secret(&self.environment, &meant.payment_hash, secret);
                let Some((least_msat, expires_at_s)) = said else {
                    return Err(refuse());
                };
                let has_expired = expires_at_s < self.surroundings.now_s && !self.starting;
                if meant.total_msat < least_msat
                    || is_far_too_much(meant.total_msat, Some(least_msat))
                    || has_expired
                {
                    return Err(refuse());
                }
                Ok(Some(least_msat))
            }
            (None, None) => Err(refuse()),
        }
    }

    /// Begins to claim all parts of a payment. Deadlines are looked at now and never again: once one
    /// part is released the rest has to follow.
    pub(super) fn claim(
        &mut self,
        preimage: PaymentPreimage,
        out: &mut Outbox,
    ) -> Result<Done, CommandError> {
        let hash: PaymentHash = preimage.into();
        let known = self.claimables.get(&hash);
        let Some(known) = known.filter(|known| known.complete) else {
            return Ok(Done::Already);
        };
        let is_backed = |part: &ReceivedPart| {
            let channel = self.channels.get(&part.id.channel_id);
            channel.is_none_or(Channel::is_backed)
        };
        if !known.parts.iter().all(is_backed) {
            return Err(CommandError::Refused(
                "a reorganisation took off the funding of a channel that it came over: claim it when that is in a \
                 block again"
                    .into(),
            ));
        }
        let Some(known) = self.claimables.remove(&hash) else {
            return Ok(Done::Already);
        };
        let height = self.best_block.height;
        let too_late = |part: &ReceivedPart| part.cltv_expiry <= height + LEAST_BLOCKS_TO_CLAIM / 2;
        // Dust of a channel that has closed is the miners': nothing is released for it.
        let gone = |part: &ReceivedPart| {
            let channel = self.channels.get(&part.id.channel_id);
            channel.is_none_or(|channel| {
                let is_lost = channel.record.closure.is_some() && channel.is_dust(part.amount_msat);
                is_lost || !channel.record.inbound.contains_key(&part.id.htlc_id)
            })
        };
        if known.parts.iter().any(|part| too_late(part) || gone(part)) {
            self.give_back(
                known,
                &OwnFailure::incorrect_payment_details(0, height),
                out,
            );
            return Err(CommandError::Refused(
                "it is too late to claim this payment safely: it is given back".into(),
            ));
        }
        let claim = MppClaim {
            payment_hash: hash,
            preimage,
            amount_msat: known.sum_msat(),
            parts: known.parts.iter().map(|part| part.id).collect(),
        };
        self.begin_claim(claim, out);
        Ok(Done::Begun)
    }

    /// The funding of a channel is in a block again: whoever was not let claim what came over it hears of it once
    /// more.
    pub(super) fn tell_backed_again(&mut self, channel_id: ChannelId, out: &mut Outbox) {
        let is_of = |known: &Claimable| {
            let mut parts = known.parts.iter();
            known.complete && parts.any(|part| part.id.channel_id == channel_id)
        };
        let waiting: Vec<_> = self
            .claimables
            .iter()
            .filter(|(_, known)| is_of(known))
            .map(|(hash, known)| claimable_event(*hash, known))
            .collect();
        for event in waiting {
            self.tell(event, TellPurpose::News, None, out);
        }
    }

    fn begin_claim(&mut self, claim: MppClaim, out: &mut Outbox) {
        let known = Claim {
            claim: claim.clone(),
            state: ClaimState::Writing,
        };
        self.claims.insert(ClaimId::of(&claim), known);
        for part in &claim.parts {
            let Some(channel) = self.channels.get_mut(&part.channel_id) else {
                continue;
            };
            let written =
                channel.claim_inbound(part.htlc_id, claim.preimage, Some(claim.clone()), out);
            if let Err(error) = written {
                self.handle_channel_error(part.channel_id, error, out);
            }
        }
    }

    /// A start found a part whose preimage was durable: the others are claimed with it. Parts that
    /// are gone or claimed already are done.
    pub(super) fn resume_claim(&mut self, claim: MppClaim, out: &mut Outbox) {
        if !self.claims.contains_key(&ClaimId::of(&claim)) {
            self.begin_claim(claim, out);
        }
    }

    /// Whether the preimage of this part is durable, or the part is gone because it was claimed.
    pub(super) fn is_claimed_part(&self, part: InboundHtlcId) -> bool {
        let Some(channel) = self.channels.get(&part.channel_id) else {
            return true;
        };
        channel.is_resolution_durable(part.htlc_id)
    }

    /// Whether a start found this part claimed, or gone because it was: whatever it has written since.
    fn was_claimed(&self, part: InboundHtlcId) -> bool {
        let channel = self.channels.get(&part.channel_id);
        let known =
            channel.is_some_and(|channel| channel.record.inbound.contains_key(&part.htlc_id));
        !known || self.is_claimed_part(part)
    }

    /// Tells the user of every claim that is durable on all its channels.
    pub(super) fn finish_claims(&mut self, out: &mut Outbox) {
        let finished: Vec<_> = self
            .claims
            .values()
            .filter(|known| known.state == ClaimState::Writing)
            .filter(|known| {
                known
                    .claim
                    .parts
                    .iter()
                    .all(|part| self.is_claimed_part(*part))
            })
            .map(|known| (ClaimId::of(&known.claim), known.claim.amount_msat))
            .collect();
        for (id, amount_msat) in finished {
            if let Some(known) = self.claims.get_mut(&id) {
                known.state = ClaimState::Told;
            }
            let event = UserEvent::PaymentClaimed {
                payment_hash: id.payment_hash,
                amount_msat,
            };
            self.tell(event, TellPurpose::Claimed(id), None, out);
        }
    }

    /// A claim is forgotten when none of its parts has an event left.
    pub(super) fn forget_claims(&mut self) {
        let has = |part: &InboundHtlcId, kind| {
            let key = EventKey {
                kind,
                htlc_id: part.htlc_id,
            };
            let channel = self.channels.get(&part.channel_id);
            channel.is_some_and(|channel| channel.record.has_event(key))
        };
        let over: Vec<_> = self
            .claims
            .values()
            .filter(|known| known.state == ClaimState::Handled)
            .filter(|known| {
                !known
                    .claim
                    .parts
                    .iter()
                    .any(|part| has(part, EventKind::MppClaim))
            })
            .map(|known| ClaimId::of(&known.claim))
            .collect();
        for id in over {
            self.claims.remove(&id);
        }
    }

    /// The user does not want a payment.
    pub(super) fn fail(
        &mut self,
        payment_hash: PaymentHash,
        out: &mut Outbox,
    ) -> Result<Done, CommandError> {
        let Some(known) = self.claimables.remove(&payment_hash) else {
            return Ok(Done::Already);
        };
        let failure =
            OwnFailure::incorrect_payment_details(known.sum_msat(), self.best_block.height);
        self.give_back(known, &failure, out);
        Ok(Done::Begun)
    }

    fn give_back(&mut self, known: Claimable, failure: &OwnFailure, out: &mut Outbox) {
        for part in known.parts {
            self.reject_with(part.id, &part.shared_secret, failure, "is given back", out);
        }
    }

    /// Payments whose rest does not come are given back.
    pub(super) fn tick_claimables(&mut self, out: &mut Outbox) {
        let mut over = Vec::new();
        for (hash, known) in &mut self.claimables {
            if !known.complete {
                known.ticks += 1;
                if known.ticks >= PARTS_TIMEOUT_TICKS {
                    over.push(*hash);
                }
            }
        }
        for hash in over {
            if let Some(known) = self.claimables.remove(&hash) {
                self.give_back(known, &OwnFailure::bare(code::MPP_TIMEOUT), out);
            }
        }
    }

    /// Payments that nobody has claimed in time are given back before they expire.
    pub(super) fn expire_claimables(&mut self, out: &mut Outbox) {
        let height = self.best_block.height;
        let is_over = |part: &ReceivedPart| part.cltv_expiry <= height + LEAST_BLOCKS_TO_CLAIM / 2;
        let over: Vec<_> = self
            .claimables
            .iter()
            .filter(|(_, known)| known.parts.iter().any(is_over))
            .map(|(hash, _)| *hash)
            .collect();
        for hash in over {
            if let Some(known) = self.claimables.remove(&hash) {
                let failure = OwnFailure::incorrect_payment_details(known.sum_msat(), height);
                self.give_back(known, &failure, out);
            }
        }
    }
}
