//! Events, their keys, and what they carry.

use lightning::{impl_writeable_tlv_based, impl_writeable_tlv_based_enum};

use crate::event::{EventKey, EventKind, Failure, MonitorEvent, MppClaim};

impl_writeable_tlv_based_enum!(EventKind,
    (0, Accepted) => {},
    (2, Claimed) => {},
    (4, Failed) => {},
    (6, MppClaim) => {},
    (8, HolderForceClosed) => {},
    (10, CommitmentTxConfirmed) => {},
);

impl_writeable_tlv_based!(EventKey, {
    (0, kind, required),
    (2, htlc_id, required),
});

impl_writeable_tlv_based!(MppClaim, {
    (0, payment_hash, required),
    (2, preimage, required),
    (4, amount_msat, required),
    (6, parts, required_vec),
});

impl_writeable_tlv_based_enum!(Failure,
    (0, Malformed) => {
        (0, sha256_of_onion, required),
        (2, failure_code, required),
    },
    (2, Local) => {
        (0, failure_code, required),
    },
    {4, Onion} => (),
);

impl_writeable_tlv_based_enum!(MonitorEvent,
    (0, HtlcAccepted) => {
        (0, add, required),
    },
    (2, ForwardedHtlcClaimed) => {
        (0, htlc_id, required),
        (2, preimage, required),
        (4, amount_msat, required),
        (6, source, required),
        (8, from_onchain, required),
    },
    (4, ForwardedHtlcFailed) => {
        (0, htlc_id, required),
        (2, payment_hash, required),
        (4, source, required),
        (6, failure, required),
    },
    (6, InboundMppClaimPersisted) => {
        (0, htlc_id, required),
        (2, claim, required),
    },
    (8, HolderForceClosed) => {
        (0, reason, required),
    },
    (10, CommitmentTxConfirmed) => {},
);
