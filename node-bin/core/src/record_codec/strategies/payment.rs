//! Payments' records.

use lightning::types::payment::PaymentSecret;
use proptest::collection::vec;

use super::*;
use crate::payment::{PartState, PaymentOutcome, PaymentPart, PaymentRecord, RouteWish};

fn part_state() -> impl Strategy<Value = PartState> {
    prop_oneof![
        Just(PartState::Pending),
        Just(PartState::Failed),
        Just(PartState::Claimed)
    ]
}

prop_compose! {
    fn part()(
        part in any::<u32>(),
        session_key in secret_key(),
        path in path(),
        state in part_state(),
    ) -> PaymentPart {
        PaymentPart { part, session_key, path, state }
    }
}

prop_compose! {
    fn wish()(
        payee in public_key(),
        invoice in text(),
        attempts_left in any::<u32>(),
        failed_channels in vec(any::<u64>(), 0..3),
    ) -> RouteWish {
        RouteWish { payee, invoice, attempts_left, failed_channels }
    }
}

fn outcome() -> impl Strategy<Value = PaymentOutcome> {
    prop_oneof![
        preimage().prop_map(|preimage| PaymentOutcome::Sent { preimage }),
        text().prop_map(|reason| PaymentOutcome::Failed { reason }),
    ]
}

prop_compose! {
    pub(crate) fn payment_record()(
        (sequence, amount_msat) in any::<(u64, u64)>(),
        payment_id in bytes_32(),
        payment_hash in payment_hash(),
        payment_secret in maybe(bytes_32().prop_map(PaymentSecret)),
        keysend_preimage in maybe(preimage()),
        payment_metadata in maybe(vec(any::<u8>(), 0..40)),
        final_cltv_expiry_delta in any::<u32>(),
        route in maybe(wish()),
        parts in vec(part(), 0..3),
        outcome in maybe(outcome()),
        told in any::<bool>(),
        ended_at_s in maybe(any::<u64>()),
        expires_at_s in maybe(any::<u64>()),
    ) -> PaymentRecord {
        PaymentRecord {
            sequence,
            payment_id,
            payment_hash,
            amount_msat,
            payment_secret,
            keysend_preimage,
            payment_metadata,
            final_cltv_expiry_delta,
            route,
            parts,
            outcome,
            told,
            ended_at_s,
            expires_at_s,
        }
    }
}
