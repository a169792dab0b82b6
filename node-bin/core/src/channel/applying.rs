//! What log entries do to a channel's record: the same alive and at a start. Events are made here and
//! nowhere else, each under an identity of its own, so that applying twice cannot make two.
//!
//! The seed's monitor updates and events; `corrections.md`, 5, 6, 9.

use lightning::types::payment::PaymentPreimage;

use crate::commitment::{self, Side};
use crate::event::{EventKey, EventKind, Failure, MonitorEvent};
use crate::keys::secret_index;
use crate::record::{
    ChannelRecord, Closure, CounterpartyCommitment, HolderCommitment, InboundHtlc, OutboundHtlc,
    PendingEvent, Rejection, Resolution, RevokedCommitment, RevokedHtlcRecord, SignedCommitment,
};
use crate::spec::{Change, SpecError};
use crate::update::{EntryContent, LogEntry, UpdateStep};

use super::applying_lifecycle::apply_lifecycle;
use super::applying_onchain::apply_onchain;

/// An entry that does not fit the record it is applied to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// An entry is missing, or came twice.
    #[error(
        "entry {found} follows entry {last}: the log has a gap; a file of the store is missing"
    )]
    Gap {
        /// The record's.
        last: u64,
        /// The entry's.
        found: u64,
    },
    /// A change that does not fit the commitments.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A step that does not fit the record.
    #[error("a step does not fit the channel: {0}")]
    Step(&'static str),
}

impl ChannelRecord {
    /// Applies an entry, as a whole or not at all.
    ///
    /// # Errors
    ///
    /// [`ApplyError`]: the entry is not the next one, or a step of it does not fit. The record is then as before.
    pub fn apply(&mut self, entry: &LogEntry) -> Result<(), ApplyError> {
        if entry.sequence != self.sequence + 1 {
            return Err(ApplyError::Gap {
                last: self.sequence,
                found: entry.sequence,
            });
        }
        match &entry.content {
            EntryContent::Acks(keys) => {
                self.sequence = entry.sequence;
                self.events
                    .retain(|pending| !keys.contains(&pending.event.key()));
            }
            EntryContent::Update(update) => {
                let mut next = self.clone();
                next.sequence = entry.sequence;
                for step in &update.steps {
                    next.apply_step(step)?;
                }
                *self = next;
            }
        }
        Ok(())
    }

    fn apply_step(&mut self, step: &UpdateStep) -> Result<(), ApplyError> {
        match step {
            UpdateStep::LatestHolderCommitment {
                number,
                signature,
                htlc_signatures,
                changes,
            } => self.apply_holder_commitment(*number, *signature, htlc_signatures, changes),
            UpdateStep::LatestCounterpartyCommitment {
                number,
                changes,
                sources,
            } => self.apply_counterparty_commitment(*number, changes, sources),
            UpdateStep::CommitmentSecret {
                number,
                secret,
                next_point,
            } => self.apply_secret(*number, *secret, *next_point),
            UpdateStep::HtlcIrrevocablyCommitted { htlc_id } => {
                let htlc = self
                    .inbound
                    .get_mut(htlc_id)
                    .ok_or(ApplyError::Step("no such inbound HTLC is committed"))?;
                htlc.committed = true;
                let add = htlc.add.clone();
                self.raise(MonitorEvent::HtlcAccepted { add });
                Ok(())
            }
            UpdateStep::FulfillHtlc { htlc_id, preimage } => {
                self.claim_outbound(*htlc_id, *preimage, false)
            }
            UpdateStep::PaymentPreimage {
                htlc_id,
                preimage,
                claim,
            } => {
                self.resolve(
                    *htlc_id,
                    Resolution::Claimed {
                        preimage: *preimage,
                    },
                )?;
                if let Some(claim) = claim {
                    self.raise(MonitorEvent::InboundMppClaimPersisted {
                        htlc_id: *htlc_id,
                        claim: claim.clone(),
                    });
                }
                Ok(())
            }
            UpdateStep::RejectHtlc { htlc_id, rejection } => {
                let rejection = rejection.clone();
                self.resolve(*htlc_id, Resolution::Rejected { rejection })
            }
            UpdateStep::ChannelForceClosed { reason, broadcast } => {
                self.force_closed(reason, *broadcast);
                Ok(())
            }
            other => match apply_lifecycle(self, other)? || apply_onchain(self, other)? {
                true => Ok(()),
                false => Err(ApplyError::Step("no part of this release knows it")),
            },
        }
    }

    fn apply_holder_commitment(
        &mut self,
        number: u64,
        signature: bitcoin::secp256k1::ecdsa::Signature,
        htlc_signatures: &[bitcoin::secp256k1::ecdsa::Signature],
        changes: &[Change],
    ) -> Result<(), ApplyError> {
        if number != self.holder.number + 1 {
            return Err(ApplyError::Step("not the holder's next commitment"));
        }
        let spec = self
            .holder
            .spec
            .after(&self.holder_changes.acked, changes)?;
        for change in changes {
            if let Change::Add(add) = change {
                if add.htlc_id != self.next_counterparty_htlc_id {
                    return Err(ApplyError::Step("not the counterparty's next HTLC"));
                }
                self.next_counterparty_htlc_id += 1;
                let htlc = InboundHtlc {
                    add: add.clone(),
                    committed: false,
                    resolution: None,
                    resolved_by: None,
                    removed_by: None,
                };
                self.inbound.insert(add.htlc_id, htlc);
            }
        }
        // The holder's removals are now in both commitments: those HTLCs are history.
        for change in std::mem::take(&mut self.holder_changes.acked) {
            if let Some(htlc_id) = change.removes() {
                self.inbound.remove(&htlc_id);
            }
        }
        self.counterparty_changes.acked.extend_from_slice(changes);
        self.holder = HolderCommitment {
            number,
            spec,
            signature,
            htlc_signatures: htlc_signatures.to_vec(),
        };
        Ok(())
    }

    fn apply_counterparty_commitment(
        &mut self,
        number: u64,
        changes: &[Change],
        sources: &[(u64, crate::source::HtlcSource)],
    ) -> Result<(), ApplyError> {
        let commitment = self.next_counterparty_commitment(changes)?;
        if number != commitment.number {
            return Err(ApplyError::Step("not the counterparty's next commitment"));
        }
        for change in changes {
            if let Change::Add(add) = change {
                let source = sources
                    .iter()
                    .find(|(htlc_id, _)| *htlc_id == add.htlc_id)
                    .ok_or(ApplyError::Step("an HTLC is added without its source"))?;
                if add.htlc_id != self.next_htlc_id {
                    return Err(ApplyError::Step("not the holder's next HTLC"));
                }
                self.next_htlc_id += 1;
                let htlc = OutboundHtlc {
                    add: add.clone(),
                    source: source.1.clone(),
                    added_by: self.sequence,
                    preimage: None,
                    failed_back: false,
                };
                self.outbound.insert(add.htlc_id, htlc);
            } else if let Some(htlc_id) = change.removes() {
                let htlc = self
                    .inbound
                    .get_mut(&htlc_id)
                    .ok_or(ApplyError::Step("no such inbound HTLC is removed"))?;
                htlc.removed_by = Some(self.sequence);
            }
        }
        self.holder_changes.signed = changes.to_vec();
        self.counterparty_changes.signed = std::mem::take(&mut self.counterparty_changes.acked);
        self.next_counterparty = Some(SignedCommitment {
            commitment,
            holder_number: self.holder.number,
        });
        Ok(())
    }

    /// The counterparty's commitment that these changes of the holder would lead to.
    pub(crate) fn next_counterparty_commitment(
        &self,
        changes: &[Change],
    ) -> Result<CounterpartyCommitment, ApplyError> {
        if self.next_counterparty.is_some() {
            return Err(ApplyError::Step("the last commitment is not revoked yet"));
        }
        let point = self
            .counterparty_next_point
            .ok_or(ApplyError::Step("the counterparty's point is not known"))?;
        Ok(CounterpartyCommitment {
            number: self.counterparty.number + 1,
            spec: self
                .counterparty
                .spec
                .after(changes, &self.counterparty_changes.acked)?,
            point,
        })
    }

    fn apply_secret(
        &mut self,
        number: u64,
        secret: [u8; 32],
        next_point: bitcoin::secp256k1::PublicKey,
    ) -> Result<(), ApplyError> {
        if number != self.counterparty.number {
            return Err(ApplyError::Step(
                "not the counterparty's commitment to revoke",
            ));
        }
        let next = self
            .next_counterparty
            .take()
            .ok_or(ApplyError::Step("nothing was signed that revokes"))?;
        self.counterparty_secrets
            .0
            .provide_secret(secret_index(number), secret)
            .map_err(|()| ApplyError::Step("the secret does not follow from the ones before"))?;
        let revoked = std::mem::replace(&mut self.counterparty, next.commitment);
        self.keep_htlcs_of_revoked(&revoked);
        self.counterparty_next_point = Some(next_point);
        let acked = std::mem::take(&mut self.holder_changes.signed);
        self.holder_changes.acked.extend(acked);
        for change in std::mem::take(&mut self.counterparty_changes.signed) {
            self.remove_outbound(change);
        }
        Ok(())
    }

    /// A revoked commitment's HTLC outputs can only be told, and taken, by who knows their HTLCs.
    fn keep_htlcs_of_revoked(&mut self, revoked: &CounterpartyCommitment) {
        let htlcs = commitment::untrimmed(&self.parameters, &revoked.spec, Side::Counterparty)
            .map(|((direction, htlc_id), htlc)| RevokedHtlcRecord {
                direction: *direction,
                htlc_id: *htlc_id,
                payment_hash: htlc.payment_hash,
                cltv_expiry: htlc.cltv_expiry,
                amount_msat: htlc.amount_msat,
            })
            .collect::<Vec<_>>();
        if !htlcs.is_empty() {
            let revoked_htlcs = RevokedCommitment { htlcs };
            self.revoked_htlcs.insert(revoked.number, revoked_htlcs);
        }
    }

    /// The counterparty's removal of an outbound HTLC has become irrevocable.
    fn remove_outbound(&mut self, change: Change) {
        let Some(htlc) = change.removes().and_then(|id| self.outbound.remove(&id)) else {
            return;
        };
        // A preimage once known wins over any failure: its event is there already.
        if htlc.preimage.is_some() {
            return;
        }
        let htlc_id = htlc.add.htlc_id;
        let failure = match change {
            Change::Fail { reason, .. } => Failure::Onion(reason),
            Change::FailMalformed {
                sha256_of_onion,
                failure_code,
                ..
            } => Failure::Malformed {
                sha256_of_onion,
                failure_code,
            },
            Change::Fulfill { preimage, .. } => {
                self.raise(MonitorEvent::ForwardedHtlcClaimed {
                    htlc_id,
                    preimage,
                    amount_msat: htlc.add.amount_msat,
                    source: htlc.source,
                    from_onchain: false,
                });
                return;
            }
            Change::Add(_) | Change::Fee { .. } => return,
        };
        self.raise(MonitorEvent::ForwardedHtlcFailed {
            htlc_id,
            payment_hash: htlc.add.payment_hash,
            source: htlc.source,
            failure,
        });
    }

    fn resolve(&mut self, htlc_id: u64, resolution: Resolution) -> Result<(), ApplyError> {
        let sequence = self.sequence;
        let htlc = self
            .inbound
            .get_mut(&htlc_id)
            .ok_or(ApplyError::Step("no such inbound HTLC is resolved"))?;
        let claims = matches!(resolution, Resolution::Claimed { .. });
        let replaces = match &htlc.resolution {
            None => true,
            Some(Resolution::Rejected { .. }) => claims,
            Some(Resolution::Claimed { .. }) => false,
        };
        if replaces {
            htlc.resolution = Some(resolution);
            htlc.resolved_by = Some(sequence);
        }
        Ok(())
    }

    /// The first reason stays; but what is known to be stale is never published any more.
    fn force_closed(&mut self, reason: &str, is_to_publish: bool) {
        match &mut self.closure {
            None => {}
            Some(Closure::Forced { broadcast, .. }) => {
                *broadcast &= is_to_publish;
                return;
            }
            Some(Closure::Cooperative { .. }) => return,
        }
        let broadcast = is_to_publish;
        let reason = reason.to_owned();
        self.closure = Some(Closure::Forced {
            reason: reason.clone(),
            broadcast,
        });
        self.raise(MonitorEvent::HolderForceClosed { reason });
    }

    /// The preimage of an outbound HTLC is known, for good. Nothing happens if it was known before.
    pub(super) fn claim_outbound(
        &mut self,
        htlc_id: u64,
        preimage: PaymentPreimage,
        from_onchain: bool,
    ) -> Result<(), ApplyError> {
        let htlc = self
            .outbound
            .get_mut(&htlc_id)
            .ok_or(ApplyError::Step("no such outbound HTLC is claimed"))?;
        if htlc.preimage.is_some() {
            return Ok(());
        }
        htlc.preimage = Some(preimage);
        // Failed upstream too early, perhaps: a claim wins as long as it can.
        let failed = EventKey {
            kind: EventKind::Failed,
            htlc_id,
        };
        let event = MonitorEvent::ForwardedHtlcClaimed {
            htlc_id,
            preimage,
            amount_msat: htlc.add.amount_msat,
            source: htlc.source.clone(),
            from_onchain,
        };
        self.events.retain(|pending| pending.event.key() != failed);
        self.raise(event);
        Ok(())
    }

    /// Whether this event is there and not acknowledged.
    pub fn has_event(&self, key: EventKey) -> bool {
        self.events.iter().any(|pending| pending.event.key() == key)
    }

    pub(crate) fn raise(&mut self, event: MonitorEvent) {
        if self.has_event(event.key()) {
            return;
        }
        self.events.push(PendingEvent {
            event,
            made_by: self.sequence,
        });
    }
}

/// The change that carries out a resolution.
pub(crate) fn removal(htlc_id: u64, resolution: &Resolution) -> Change {
    match resolution {
        Resolution::Claimed { preimage } => Change::Fulfill {
            htlc_id,
            preimage: *preimage,
        },
        Resolution::Rejected {
            rejection: Rejection::Fail { reason },
        } => Change::Fail {
            htlc_id,
            reason: reason.clone(),
        },
        Resolution::Rejected {
            rejection:
                Rejection::Malformed {
                    sha256_of_onion,
                    failure_code,
                },
        } => Change::FailMalformed {
            htlc_id,
            sha256_of_onion: *sha256_of_onion,
            failure_code: *failure_code,
        },
    }
}
