//! Log entries.

use proptest::collection::vec;

use super::*;
use crate::update::{EntryContent, LogEntry, Update, UpdateStep};

fn commitment_step() -> impl Strategy<Value = UpdateStep> {
    prop_oneof![
        (any::<u64>(), signature(), vec(signature(), 0..3), changes()).prop_map(
            |(number, signature, htlc_signatures, changes)| UpdateStep::LatestHolderCommitment {
                number,
                signature,
                htlc_signatures,
                changes,
            }
        ),
        (any::<u64>(), changes(), vec((any::<u64>(), source()), 0..3)).prop_map(
            |(number, changes, sources)| {
                UpdateStep::LatestCounterpartyCommitment {
                    number,
                    changes,
                    sources,
                }
            }
        ),
        (any::<u64>(), bytes_32(), public_key()).prop_map(|(number, secret, next_point)| {
            UpdateStep::CommitmentSecret {
                number,
                secret,
                next_point,
            }
        }),
        any::<u64>().prop_map(|htlc_id| UpdateStep::HtlcIrrevocablyCommitted { htlc_id }),
        (any::<u64>(), preimage())
            .prop_map(|(htlc_id, preimage)| UpdateStep::FulfillHtlc { htlc_id, preimage }),
        (any::<u64>(), preimage(), maybe(mpp_claim())).prop_map(|(htlc_id, preimage, claim)| {
            UpdateStep::PaymentPreimage {
                htlc_id,
                preimage,
                claim,
            }
        }),
        (any::<u64>(), super::channel::rejection())
            .prop_map(|(htlc_id, rejection)| { UpdateStep::RejectHtlc { htlc_id, rejection } }),
    ]
}

fn life_step() -> impl Strategy<Value = UpdateStep> {
    prop_oneof![
        any::<(u32, u32)>().prop_map(|(height, transaction_index)| {
            UpdateStep::FundingConfirmed {
                height,
                transaction_index,
            }
        }),
        Just(UpdateStep::FundingUnconfirmed),
        Just(UpdateStep::HolderReady),
        public_key().prop_map(|next_point| UpdateStep::CounterpartyReady { next_point }),
        (signature(), signature()).prop_map(|(node_signature, bitcoin_signature)| {
            UpdateStep::Announced {
                node_signature,
                bitcoin_signature,
            }
        }),
        script().prop_map(|script| UpdateStep::HolderShutdown { script }),
        script().prop_map(|script| UpdateStep::CounterpartyShutdown { script }),
        transaction().prop_map(|transaction| UpdateStep::CooperativelyClosed { transaction }),
        (text(), any::<bool>())
            .prop_map(|(reason, broadcast)| UpdateStep::ChannelForceClosed { reason, broadcast }),
    ]
}

fn chain_step() -> impl Strategy<Value = UpdateStep> {
    prop_oneof![
        (transaction(), any::<u32>()).prop_map(|(transaction, height)| {
            UpdateStep::FundingSpent {
                transaction,
                height,
            }
        }),
        (transaction(), any::<u32>()).prop_map(|(transaction, height)| {
            UpdateStep::OutputsSpent {
                transaction,
                height,
            }
        }),
        any::<u32>().prop_map(|height| UpdateStep::BlocksDisconnected { height }),
        (any::<u64>(), preimage())
            .prop_map(|(htlc_id, preimage)| UpdateStep::OutboundClaimed { htlc_id, preimage }),
        any::<(u64, u16, bool)>().prop_map(|(htlc_id, failure_code, is_final)| {
            UpdateStep::OutboundFailed {
                htlc_id,
                failure_code,
                is_final,
            }
        }),
        any::<u64>().prop_map(|htlc_id| UpdateStep::OutboundGone { htlc_id }),
    ]
}

fn content() -> impl Strategy<Value = EntryContent> {
    let step = prop_oneof![commitment_step(), life_step(), chain_step()];
    prop_oneof![
        3 => vec(step, 0..4).prop_map(|steps| EntryContent::Update(Update { steps })),
        1 => vec(event_key(), 0..4).prop_map(EntryContent::Acks),
    ]
}

prop_compose! {
    pub(crate) fn log_entry()(sequence in any::<u64>(), content in content()) -> LogEntry {
        LogEntry { sequence, content }
    }
}
