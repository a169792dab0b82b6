//! A channel's record.

use std::collections::BTreeMap;

use lightning::io::{Error, Read};
use lightning::ln::msgs::DecodeError;
use lightning::util::ser::{Readable, Writeable, Writer};
use lightning::{impl_writeable_tlv_based, impl_writeable_tlv_based_enum};

use crate::record::{
    ChannelLimits, ChannelParameters, ChannelRecord, Closure, CounterpartyChanges,
    CounterpartyCommitment, FundingState, HolderChanges, HolderCommitment, InboundHtlc,
    OnchainRecord, OutboundHtlc, PendingEvent, Rejection, Resolution, RevokedCommitment,
    RevokedHtlcRecord, RevokedSecrets, SeenTransaction, ShutdownState, SignedCommitment,
};

impl_writeable_tlv_based!(ChannelLimits, {
    (0, dust_limit_sat, required),
    (2, max_htlc_value_in_flight_msat, required),
    (4, reserve_sat, required),
    (6, htlc_minimum_msat, required),
    (8, to_self_delay, required),
    (10, max_accepted_htlcs, required),
});

impl_writeable_tlv_based!(ChannelParameters, {
    (0, channel_id, required),
    (2, user_channel_id, required),
    (4, counterparty_node_id, required),
    (6, keys_id, required),
    (8, is_opener, required),
    (10, capacity_sat, required),
    (12, funding, required),
    (14, announce, required),
    (16, minimum_depth, required),
    (18, counterparty_keys, required),
    (20, holder_limits, required),
    (22, counterparty_limits, required),
    (24, holder_shutdown_script, required),
});

impl_writeable_tlv_based!(HolderCommitment, {
    (0, number, required),
    (2, spec, required),
    (4, signature, required),
    (6, htlc_signatures, required_vec),
});

impl_writeable_tlv_based!(CounterpartyCommitment, {
    (0, number, required),
    (2, spec, required),
    (4, point, required),
});

impl_writeable_tlv_based!(SignedCommitment, {
    (0, commitment, required),
    (2, holder_number, required),
});

impl_writeable_tlv_based!(HolderChanges, {
    (0, signed, required_vec),
    (2, acked, required_vec),
});

impl_writeable_tlv_based!(CounterpartyChanges, {
    (0, acked, required_vec),
    (2, signed, required_vec),
});

impl_writeable_tlv_based_enum!(Rejection,
    (0, Fail) => {
        (0, reason, required),
    },
    (2, Malformed) => {
        (0, sha256_of_onion, required),
        (2, failure_code, required),
    },
);

impl_writeable_tlv_based_enum!(Resolution,
    (0, Claimed) => {
        (0, preimage, required),
    },
    (2, Rejected) => {
        (0, rejection, required),
    },
);

impl_writeable_tlv_based!(InboundHtlc, {
    (0, add, required),
    (2, committed, required),
    (4, resolution, option),
    (6, resolved_by, option),
    (8, removed_by, option),
});

impl_writeable_tlv_based!(OutboundHtlc, {
    (0, add, required),
    (2, source, required),
    (4, added_by, required),
    (6, preimage, option),
    (8, failed_back, required),
});

impl_writeable_tlv_based!(SeenTransaction, {
    (0, transaction, required),
    (2, height, required),
});

impl_writeable_tlv_based!(OnchainRecord, {
    (0, funding_spend, option),
    (2, spends, required_vec),
});

impl_writeable_tlv_based!(PendingEvent, {
    (0, event, required),
    (2, made_by, required),
});

impl_writeable_tlv_based!(FundingState, {
    (0, transaction, option),
    (2, confirmed, option),
    (4, holder_ready, required),
    (6, counterparty_ready, required),
    (8, announcement, option),
    (9, accepted_at, option),
});

impl_writeable_tlv_based_enum!(Closure,
    (0, Cooperative) => {
        (0, transaction, required),
    },
    (2, Forced) => {
        (0, reason, required),
        (2, broadcast, required),
    },
);

impl_writeable_tlv_based!(ShutdownState, {
    (0, holder, option),
    (2, counterparty, option),
});

impl Writeable for RevokedSecrets {
    fn write<W: Writer>(&self, writer: &mut W) -> Result<(), Error> {
        self.0.write(writer)
    }
}

impl Readable for RevokedSecrets {
    fn read<R: Read>(reader: &mut R) -> Result<Self, DecodeError> {
        Ok(RevokedSecrets(Readable::read(reader)?))
    }
}

impl_writeable_tlv_based!(RevokedHtlcRecord, {
    (0, direction, required),
    (2, htlc_id, required),
    (4, payment_hash, required),
    (6, cltv_expiry, required),
    (8, amount_msat, required),
});

impl_writeable_tlv_based!(RevokedCommitment, {
    (0, htlcs, required_vec),
});

impl_writeable_tlv_based!(ChannelRecord, {
    (0, sequence, required),
    (2, parameters, required),
    (4, funding, required),
    (6, holder, required),
    (8, counterparty, required),
    (10, next_counterparty, option),
    (12, counterparty_next_point, option),
    (14, counterparty_secrets, required),
    (16, holder_changes, required),
    (18, counterparty_changes, required),
    (20, next_htlc_id, required),
    (22, next_counterparty_htlc_id, required),
    (24, inbound, required),
    (26, outbound, required),
    (28, events, required_vec),
    (30, shutdown, required),
    (32, closure, option),
    (34, revoked_htlcs, (default_value, BTreeMap::new())),
    (36, onchain, (default_value, OnchainRecord::default())),
});
