//! What the chain's steps do to a channel's record. Events come from HTLCs that are still there: a block
//! that is replayed finds none, and revives nothing.
//!
//! BOLT 5; the seed's HTLCEvent; `corrections.md`, 8 and 14.

use crate::channel::ApplyError;
use crate::event::{Failure, MonitorEvent};
use crate::record::{ChannelRecord, SeenTransaction};
use crate::update::UpdateStep;

/// Applies the step if it is one of these; says whether it was.
pub(super) fn apply_onchain(
    record: &mut ChannelRecord,
    step: &UpdateStep,
) -> Result<bool, ApplyError> {
    match step {
        UpdateStep::FundingSpent {
            transaction,
            height,
        } => {
            record.onchain.funding_spend = Some(SeenTransaction {
                transaction: transaction.clone(),
                height: *height,
            });
            record.raise(MonitorEvent::CommitmentTxConfirmed);
        }
        UpdateStep::OutputsSpent {
            transaction,
            height,
        } => {
            let spends = &mut record.onchain.spends;
            // It may have been in another block before.
            spends.retain(|seen| seen.transaction != *transaction);
            spends.push(SeenTransaction {
                transaction: transaction.clone(),
                height: *height,
            });
        }
        UpdateStep::BlocksDisconnected { height } => {
            let onchain = &mut record.onchain;
            onchain.spends.retain(|seen| seen.height <= *height);
            if onchain
                .funding_spend
                .as_ref()
                .is_some_and(|seen| seen.height > *height)
            {
                onchain.funding_spend = None;
            }
        }
        UpdateStep::OutboundClaimed { htlc_id, preimage } => {
            record.claim_outbound(*htlc_id, *preimage, true)?;
        }
        UpdateStep::OutboundFailed {
            htlc_id,
            failure_code,
            is_final,
        } => fail_outbound(record, *htlc_id, *failure_code, *is_final)?,
        UpdateStep::OutboundGone { htlc_id } => {
            record.outbound.remove(htlc_id);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn fail_outbound(
    record: &mut ChannelRecord,
    htlc_id: u64,
    failure_code: u16,
    is_final: bool,
) -> Result<(), ApplyError> {
    let htlc = record
        .outbound
        .get_mut(&htlc_id)
        .ok_or(ApplyError::Step("no such outbound HTLC is failed"))?;
    let was_told = htlc.failed_back || htlc.preimage.is_some();
    htlc.failed_back = true;
    let event = MonitorEvent::ForwardedHtlcFailed {
        htlc_id,
        payment_hash: htlc.add.payment_hash,
        source: htlc.source.clone(),
        failure: Failure::Local { failure_code },
    };
    if is_final {
        record.outbound.remove(&htlc_id);
    }
    if !was_told {
        record.raise(event);
    }
    Ok(())
}
