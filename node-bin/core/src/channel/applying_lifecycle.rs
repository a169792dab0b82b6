//! What the steps of a channel's life do to its record: funding, readiness, announcement, shutdown,
//! cooperative close. Commitments and HTLCs are not touched.
//!
//! BOLT 2, "Channel Establishment v1" and "Channel Close".

use crate::channel::ApplyError;
use crate::record::{ChannelRecord, Closure};
use crate::update::UpdateStep;

/// Applies the step if it is one of these; says whether it was.
pub(super) fn apply_lifecycle(
    record: &mut ChannelRecord,
    step: &UpdateStep,
) -> Result<bool, ApplyError> {
    match step {
        UpdateStep::FundingConfirmed {
            height,
            transaction_index,
        } => {
            // The transaction is kept: should a reorganisation take it out and the mempools forget it, nobody
            // else has it, and no commitment is worth anything without it.
            record.funding.confirmed = Some((*height, *transaction_index));
            // It came in time. If a reorganisation takes it out, it may come again, and there may be money in it.
            record.funding.accepted_at = None;
        }
        UpdateStep::FundingUnconfirmed => {
            record.funding.confirmed = None;
            // They sign a short channel id that may be another when it comes back.
            record.funding.announcement = None;
        }
        UpdateStep::HolderReady => record.funding.holder_ready = true,
        UpdateStep::CounterpartyReady { next_point } => {
            // Later points come with revocations; an old one must not take their place.
            if record.funding.counterparty_ready {
                return Err(ApplyError::Step("channel_ready came twice"));
            }
            record.funding.counterparty_ready = true;
            record.counterparty_next_point = Some(*next_point);
        }
        UpdateStep::Announced {
            node_signature,
            bitcoin_signature,
        } => record.funding.announcement = Some((*node_signature, *bitcoin_signature)),
        UpdateStep::HolderShutdown { script } => record.shutdown.holder = Some(script.clone()),
        UpdateStep::CounterpartyShutdown { script } => {
            record.shutdown.counterparty = Some(script.clone());
        }
        UpdateStep::CooperativelyClosed { transaction } => {
            if record.closure.is_some() {
                return Err(ApplyError::Step("a closed channel cannot close again"));
            }
            record.closure = Some(Closure::Cooperative {
                transaction: transaction.clone(),
            });
        }
        _ => return Ok(false),
    }
    Ok(true)
}
