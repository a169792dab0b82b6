//! A payment's record.

use lightning::{impl_writeable_tlv_based, impl_writeable_tlv_based_enum};

use crate::payment::{PartState, PaymentOutcome, PaymentPart, PaymentRecord, RouteWish};

impl_writeable_tlv_based_enum!(PartState,
    (0, Pending) => {},
    (2, Failed) => {},
    (4, Claimed) => {},
);

impl_writeable_tlv_based!(PaymentPart, {
    (0, part, required),
    (2, session_key, required),
    (4, path, required_vec),
    (6, state, required),
});

impl_writeable_tlv_based_enum!(PaymentOutcome,
    (0, Sent) => {
        (0, preimage, required),
    },
    (2, Failed) => {
        (0, reason, required),
    },
);

impl_writeable_tlv_based!(RouteWish, {
    (0, payee, required),
    (2, invoice, required),
    (4, attempts_left, required),
    (6, failed_channels, required_vec),
});

impl_writeable_tlv_based!(PaymentRecord, {
    (0, sequence, required),
    (2, payment_id, required),
    (4, payment_hash, required),
    (6, amount_msat, required),
    (8, payment_secret, option),
    (10, keysend_preimage, option),
    (12, payment_metadata, option),
    (14, final_cltv_expiry_delta, required),
    (16, route, option),
    (18, parts, required_vec),
    (20, outcome, option),
    (22, told, required),
    (23, ended_at_s, option),
    (25, expires_at_s, option),
});
