//! HTLCs, changes, commitments' contents and sources.

use lightning::{impl_writeable_tlv_based, impl_writeable_tlv_based_enum};

use crate::source::{HtlcSource, InboundHtlcId, InboundPart, PathHop};
use crate::spec::{Change, CommitmentSpec, Direction, HtlcAdd, SpecHtlc};

impl_writeable_tlv_based_enum!(Direction,
    (0, Inbound) => {},
    (2, Outbound) => {},
);

impl_writeable_tlv_based!(HtlcAdd, {
    (0, htlc_id, required),
    (2, amount_msat, required),
    (4, payment_hash, required),
    (6, cltv_expiry, required),
    (8, onion, required),
});

impl_writeable_tlv_based_enum!(Change,
    (0, Fulfill) => {
        (0, htlc_id, required),
        (2, preimage, required),
    },
    (2, Fail) => {
        (0, htlc_id, required),
        (2, reason, required),
    },
    (4, FailMalformed) => {
        (0, htlc_id, required),
        (2, sha256_of_onion, required),
        (4, failure_code, required),
    },
    (6, Fee) => {
        (0, feerate_per_kw, required),
    },
    {8, Add} => (),
);

impl_writeable_tlv_based!(SpecHtlc, {
    (0, amount_msat, required),
    (2, payment_hash, required),
    (4, cltv_expiry, required),
});

impl_writeable_tlv_based!(CommitmentSpec, {
    (0, feerate_per_kw, required),
    (2, holder_msat, required),
    (4, counterparty_msat, required),
    (6, htlcs, required),
});

impl_writeable_tlv_based!(InboundHtlcId, {
    (0, channel_id, required),
    (2, htlc_id, required),
});

impl_writeable_tlv_based!(InboundPart, {
    (0, id, required),
    (2, amount_msat, required),
    (4, cltv_expiry, required),
    (6, shared_secret, required),
});

impl_writeable_tlv_based!(PathHop, {
    (0, node_id, required),
    (2, short_channel_id, required),
    (4, fee_msat, required),
    (6, cltv_expiry_delta, required),
});

impl_writeable_tlv_based_enum!(HtlcSource,
    (0, Forward) => {
        (0, parts, required_vec),
    },
    (2, Own) => {
        (0, payment_id, required),
        (2, part, required),
        (4, session_key, required),
        (6, path, required_vec),
    },
);
