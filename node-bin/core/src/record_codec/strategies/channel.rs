//! Channels' records.

use lightning::chain::transaction::OutPoint;
use lightning::ln::chan_utils::{
    ChannelPublicKeys, CounterpartyCommitmentSecrets, build_commitment_secret,
};
use lightning::ln::channel_keys::{DelayedPaymentBasepoint, HtlcBasepoint, RevocationBasepoint};
use proptest::collection::{btree_map, vec};

use super::*;
use crate::record::*;

prop_compose! {
    fn limits()(
        dust_limit_sat in any::<u64>(),
        max_htlc_value_in_flight_msat in any::<u64>(),
        reserve_sat in any::<u64>(),
        htlc_minimum_msat in any::<u64>(),
        to_self_delay in any::<u16>(),
        max_accepted_htlcs in any::<u16>(),
    ) -> ChannelLimits {
        ChannelLimits {
            dust_limit_sat,
            max_htlc_value_in_flight_msat,
            reserve_sat,
            htlc_minimum_msat,
            to_self_delay,
            max_accepted_htlcs,
        }
    }
}

prop_compose! {
    fn public_keys()(keys in [public_key(), public_key(), public_key(), public_key(), public_key()])
        -> ChannelPublicKeys
    {
        let [funding_pubkey, revocation, payment_point, delayed_payment, htlc] = keys;
        ChannelPublicKeys {
            funding_pubkey,
            revocation_basepoint: RevocationBasepoint(revocation),
            payment_point,
            delayed_payment_basepoint: DelayedPaymentBasepoint(delayed_payment),
            htlc_basepoint: HtlcBasepoint(htlc),
        }
    }
}

prop_compose! {
    fn parameters()(
        (channel_id, user_channel_id, keys_id) in (channel_id(), bytes_32(), bytes_32()),
        counterparty_node_id in public_key(),
        (is_opener, announce) in any::<(bool, bool)>(),
        capacity_sat in any::<u64>(),
        (txid, index) in (bytes_32(), any::<u16>()),
        minimum_depth in any::<u32>(),
        counterparty_keys in public_keys(),
        holder_limits in limits(),
        counterparty_limits in limits(),
        holder_shutdown_script in script(),
    ) -> ChannelParameters {
        ChannelParameters {
            channel_id,
            user_channel_id,
            counterparty_node_id,
            keys_id,
            is_opener,
            capacity_sat,
            funding: OutPoint { txid: Txid::from_byte_array(txid), index },
            announce,
            minimum_depth,
            counterparty_keys,
            holder_limits,
            counterparty_limits,
            holder_shutdown_script,
        }
    }
}

prop_compose! {
    fn funding()(
        transaction in maybe(transaction()),
        confirmed in maybe(any::<(u32, u32)>()),
        (holder_ready, counterparty_ready) in any::<(bool, bool)>(),
        announcement in maybe((signature(), signature())),
        accepted_at in maybe(any::<u32>()),
    ) -> FundingState {
        FundingState {
            transaction, confirmed, holder_ready, counterparty_ready, announcement, accepted_at,
        }
    }
}

prop_compose! {
    fn holder()(
        number in any::<u64>(),
        spec in spec(),
        signature in signature(),
        htlc_signatures in vec(signature(), 0..3),
    ) -> HolderCommitment {
        HolderCommitment { number, spec, signature, htlc_signatures }
    }
}

prop_compose! {
    fn counterparty()(number in any::<u64>(), spec in spec(), point in public_key())
        -> CounterpartyCommitment
    {
        CounterpartyCommitment { number, spec, point }
    }
}

prop_compose! {
    fn signed()(commitment in counterparty(), holder_number in any::<u64>()) -> SignedCommitment {
        SignedCommitment { commitment, holder_number }
    }
}

prop_compose! {
    fn revoked()(seed in bytes_32(), count in 0u64..6) -> RevokedSecrets {
        let mut secrets = CounterpartyCommitmentSecrets::new();
        for number in 0..count {
            let index = (1 << 48) - 1 - number;
            secrets.provide_secret(index, build_commitment_secret(&seed, index)).unwrap();
        }
        RevokedSecrets(secrets)
    }
}

prop_compose! {
    fn revoked_htlc()(
        direction in direction(),
        (htlc_id, amount_msat) in any::<(u64, u64)>(),
        payment_hash in bytes_32(),
        cltv_expiry in any::<u32>(),
    ) -> RevokedHtlcRecord {
        let payment_hash = PaymentHash(payment_hash);
        RevokedHtlcRecord { direction, htlc_id, payment_hash, cltv_expiry, amount_msat }
    }
}

prop_compose! {
    fn revoked_commitment()(htlcs in vec(revoked_htlc(), 0..3)) -> RevokedCommitment {
        RevokedCommitment { htlcs }
    }
}

prop_compose! {
    fn inbound()(
        add in htlc_add(),
        committed in any::<bool>(),
        resolution in maybe(resolution()),
        resolved_by in maybe(any::<u64>()),
        removed_by in maybe(any::<u64>()),
    ) -> InboundHtlc {
        InboundHtlc { add, committed, resolution, resolved_by, removed_by }
    }
}

pub(crate) fn rejection() -> impl Strategy<Value = Rejection> {
    prop_oneof![
        vec(any::<u8>(), 0..40).prop_map(|reason| Rejection::Fail { reason }),
        (bytes_32(), any::<u16>()).prop_map(|(sha256_of_onion, failure_code)| {
            Rejection::Malformed {
                sha256_of_onion,
                failure_code,
            }
        }),
    ]
}

fn resolution() -> impl Strategy<Value = Resolution> {
    prop_oneof![
        preimage().prop_map(|preimage| Resolution::Claimed { preimage }),
        rejection().prop_map(|rejection| Resolution::Rejected { rejection }),
    ]
}

prop_compose! {
    fn outbound()(
        add in htlc_add(),
        source in source(),
        added_by in any::<u64>(),
        preimage in maybe(preimage()),
        failed_back in any::<bool>(),
    ) -> OutboundHtlc {
        OutboundHtlc { add, source, added_by, preimage, failed_back }
    }
}

prop_compose! {
    fn pending()(event in monitor_event(), made_by in any::<u64>()) -> PendingEvent {
        PendingEvent { event, made_by }
    }
}

fn seen() -> impl Strategy<Value = SeenTransaction> {
    (transaction(), any::<u32>()).prop_map(|(transaction, height)| SeenTransaction {
        transaction,
        height,
    })
}

fn onchain() -> impl Strategy<Value = OnchainRecord> {
    (maybe(seen()), vec(seen(), 0..3)).prop_map(|(funding_spend, spends)| OnchainRecord {
        funding_spend,
        spends,
    })
}

fn closure() -> impl Strategy<Value = Closure> {
    prop_oneof![
        transaction().prop_map(|transaction| Closure::Cooperative { transaction }),
        (text(), any::<bool>())
            .prop_map(|(reason, broadcast)| Closure::Forced { reason, broadcast }),
    ]
}

prop_compose! {
    pub(crate) fn channel_record()(
        (sequence, next_htlc_id, next_counterparty_htlc_id) in any::<(u64, u64, u64)>(),
        (parameters, funding) in (parameters(), funding()),
        (holder, counterparty, next_counterparty) in (holder(), counterparty(), maybe(signed())),
        counterparty_next_point in maybe(public_key()),
        counterparty_secrets in revoked(),
        revoked_htlcs in btree_map(any::<u64>(), revoked_commitment(), 0..3),
        [signed, acked, their_acked, their_signed] in [changes(), changes(), changes(), changes()],
        inbound in btree_map(any::<u64>(), inbound(), 0..3),
        outbound in btree_map(any::<u64>(), outbound(), 0..3),
        events in vec(pending(), 0..4),
        (ours, theirs) in (maybe(script()), maybe(script())),
        closure in maybe(closure()),
        onchain in onchain(),
    ) -> ChannelRecord {
        ChannelRecord {
            sequence,
            parameters,
            funding,
            holder,
            counterparty,
            next_counterparty,
            counterparty_next_point,
            counterparty_secrets,
            revoked_htlcs,
            holder_changes: HolderChanges { signed, acked },
            counterparty_changes: CounterpartyChanges { acked: their_acked, signed: their_signed },
            next_htlc_id,
            next_counterparty_htlc_id,
            inbound,
            outbound,
            events,
            shutdown: ShutdownState { holder: ours, counterparty: theirs },
            closure,
            onchain,
        }
    }
}
