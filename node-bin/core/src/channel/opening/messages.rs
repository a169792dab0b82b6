//! `open_channel` and `accept_channel`: made from this node's terms, read into the other's.
//!
//! BOLT 2, "The `open_channel` Message" and "The `accept_channel` Message".

use bitcoin::ScriptBuf;
use bitcoin::constants::ChainHash;
use lightning::ln::chan_utils::ChannelPublicKeys;
use lightning::ln::msgs;

use crate::commitment::channel_type;
use crate::keys::Environment;
use crate::record::ChannelLimits;

use super::terms::holder_limits;
use super::{CounterpartyTerms, Terms};

/// What the opener says of itself.
pub(super) fn terms_of_opener(message: &msgs::OpenChannel) -> CounterpartyTerms {
    let fields = &message.common_fields;
    CounterpartyTerms {
        keys: ChannelPublicKeys {
            funding_pubkey: fields.funding_pubkey,
            revocation_basepoint: fields.revocation_basepoint.into(),
            payment_point: fields.payment_basepoint,
            delayed_payment_basepoint: fields.delayed_payment_basepoint.into(),
            htlc_basepoint: fields.htlc_basepoint.into(),
        },
        limits: ChannelLimits {
            dust_limit_sat: fields.dust_limit_satoshis,
            max_htlc_value_in_flight_msat: fields.max_htlc_value_in_flight_msat,
            reserve_sat: message.channel_reserve_satoshis,
            htlc_minimum_msat: fields.htlc_minimum_msat,
            to_self_delay: fields.to_self_delay,
            max_accepted_htlcs: fields.max_accepted_htlcs,
        },
        first_point: fields.first_per_commitment_point,
    }
}

/// What the acceptor says of itself.
pub(super) fn terms_of_acceptor(message: &msgs::AcceptChannel) -> CounterpartyTerms {
    let fields = &message.common_fields;
    CounterpartyTerms {
        keys: ChannelPublicKeys {
            funding_pubkey: fields.funding_pubkey,
            revocation_basepoint: fields.revocation_basepoint.into(),
            payment_point: fields.payment_basepoint,
            delayed_payment_basepoint: fields.delayed_payment_basepoint.into(),
            htlc_basepoint: fields.htlc_basepoint.into(),
        },
        limits: ChannelLimits {
            dust_limit_sat: fields.dust_limit_satoshis,
            max_htlc_value_in_flight_msat: fields.max_htlc_value_in_flight_msat,
            reserve_sat: message.channel_reserve_satoshis,
            htlc_minimum_msat: fields.htlc_minimum_msat,
            to_self_delay: fields.to_self_delay,
            max_accepted_htlcs: fields.max_accepted_htlcs,
        },
        first_point: fields.first_per_commitment_point,
    }
}

/// `open_channel` with these terms.
pub(super) fn open_channel(
    environment: &Environment,
    terms: &Terms,
    limits: &ChannelLimits,
) -> msgs::OpenChannel {
    let keys = environment.channel_keys(&terms.keys_id);
    let points = environment.channel_points(&terms.keys_id);
    msgs::OpenChannel {
        common_fields: msgs::CommonOpenChannelFields {
            chain_hash: ChainHash::REGTEST,
            temporary_channel_id: terms.temporary_channel_id,
            funding_satoshis: terms.request.capacity_sat,
            dust_limit_satoshis: limits.dust_limit_sat,
            max_htlc_value_in_flight_msat: limits.max_htlc_value_in_flight_msat,
            htlc_minimum_msat: limits.htlc_minimum_msat,
            commitment_feerate_sat_per_1000_weight: terms.feerate_per_kw,
            to_self_delay: limits.to_self_delay,
            max_accepted_htlcs: limits.max_accepted_htlcs,
            funding_pubkey: points.funding_pubkey,
            revocation_basepoint: points.revocation_basepoint.to_public_key(),
            payment_basepoint: points.payment_point,
            delayed_payment_basepoint: points.delayed_payment_basepoint.to_public_key(),
            htlc_basepoint: points.htlc_basepoint.to_public_key(),
            first_per_commitment_point: keys.commitment_point(0, &environment.secp),
            channel_flags: u8::from(terms.request.announce),
            shutdown_scriptpubkey: Some(ScriptBuf::new()),
            channel_type: Some(channel_type()),
        },
        push_msat: terms.request.push_msat,
        channel_reserve_satoshis: limits.reserve_sat,
    }
}

/// `accept_channel` with these terms.
pub(super) fn accept_channel(environment: &Environment, terms: &Terms) -> msgs::AcceptChannel {
    let keys = environment.channel_keys(&terms.keys_id);
    let points = environment.channel_points(&terms.keys_id);
    let limits = holder_limits(terms.request.capacity_sat);
    msgs::AcceptChannel {
        common_fields: msgs::CommonAcceptChannelFields {
            temporary_channel_id: terms.temporary_channel_id,
            dust_limit_satoshis: limits.dust_limit_sat,
            max_htlc_value_in_flight_msat: limits.max_htlc_value_in_flight_msat,
            htlc_minimum_msat: limits.htlc_minimum_msat,
            minimum_depth: terms.minimum_depth,
            to_self_delay: limits.to_self_delay,
            max_accepted_htlcs: limits.max_accepted_htlcs,
            funding_pubkey: points.funding_pubkey,
            revocation_basepoint: points.revocation_basepoint.to_public_key(),
            payment_basepoint: points.payment_point,
            delayed_payment_basepoint: points.delayed_payment_basepoint.to_public_key(),
            htlc_basepoint: points.htlc_basepoint.to_public_key(),
            first_per_commitment_point: keys.commitment_point(0, &environment.secp),
            shutdown_scriptpubkey: Some(ScriptBuf::new()),
            channel_type: Some(channel_type()),
        },
        channel_reserve_satoshis: limits.reserve_sat,
    }
}
