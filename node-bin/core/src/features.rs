//! What this node says that it can do (BOLT 9).

use lightning::types::features::{InitFeatures, NodeFeatures};

/// For `init`. LDK's gossip part adds its own (`gossip_queries`).
///
/// Left out on purpose: `option_upfront_shutdown_script` (nobody's script is fixed in advance),
/// `option_scid_alias`, `option_zeroconf`, `option_support_large_channel` and everything newer.
pub fn init_features() -> InitFeatures {
    let mut features = InitFeatures::empty();
    features.set_data_loss_protect_optional();
    features.set_variable_length_onion_required();
    features.set_static_remote_key_required();
    features.set_payment_secret_required();
    features.set_basic_mpp_optional();
    features.set_shutdown_any_segwit_optional();
    features.set_channel_type_required();
    features.set_anchors_zero_fee_htlc_tx_optional();
    features
}

/// For `node_announcement`.
pub fn node_features() -> NodeFeatures {
    let mut features = NodeFeatures::empty();
    features.set_data_loss_protect_optional();
    features.set_variable_length_onion_required();
    features.set_static_remote_key_required();
    features.set_payment_secret_required();
    features.set_basic_mpp_optional();
    features.set_shutdown_any_segwit_optional();
    features.set_channel_type_required();
    features.set_anchors_zero_fee_htlc_tx_optional();
    features.set_keysend_optional();
    features
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_built_is_not_claimed() {
        let (init, node) = (init_features(), node_features());
        assert!(!init.supports_upfront_shutdown_script());
        assert!(!node.supports_upfront_shutdown_script());
        assert!(!init.supports_zero_conf());
        assert!(!init.supports_scid_privacy());
        assert!(!init.supports_wumbo());
        assert!(!init.supports_route_blinding());
    }
}
