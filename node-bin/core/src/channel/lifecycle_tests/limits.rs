//! What an opening may ask for, number by number, just within the limits and just beyond.

use super::*;

#[test]
fn every_limit_of_open_channel_is_checked() {
    let mut out = Outbox::default();
    let (_, open) = begin(&mut out);
    type Spoil = fn(&mut msgs::OpenChannel);
    let spoils: [(&str, Spoil); 25] = [
        ("chain", |m| {
            m.common_fields.chain_hash = bitcoin::constants::ChainHash::BITCOIN;
        }),
        ("no channel type", |m| m.common_fields.channel_type = None),
        ("scid alias", |m| {
            let channel_type = m.common_fields.channel_type.as_mut().unwrap();
            channel_type.set_scid_privacy_required();
        }),
        ("large", |m| {
            m.common_fields.funding_satoshis = 1 << 24;
            m.common_fields.max_htlc_value_in_flight_msat = u64::MAX;
        }),
        ("huge", |m| m.common_fields.funding_satoshis = u64::MAX),
        ("small", |m| m.common_fields.funding_satoshis = 5_000),
        ("push", |m| m.push_msat = CAPACITY_SAT * 1000 + 1),
        ("push too close", |m| {
            m.push_msat = (CAPACITY_SAT - FIRST_COST_SAT - RESERVE_SAT) * 1000 + 1;
        }),
        ("nothing above the reserves", |m| {
            begin_within_reserves(m);
            m.channel_reserve_satoshis += 1;
        }),
        ("no fee rate", |m| {
            m.common_fields.commitment_feerate_sat_per_1000_weight = 0;
        }),
        ("low fee rate", |m| {
            m.common_fields.commitment_feerate_sat_per_1000_weight = 252;
        }),
        ("high fee rate", |m| {
            m.common_fields.commitment_feerate_sat_per_1000_weight = 250_001;
        }),
        ("low dust limit", |m| {
            m.common_fields.dust_limit_satoshis = 353
        }),
        ("high dust limit", |m| {
            m.common_fields.dust_limit_satoshis = 547
        }),
        ("reserve below its dust", |m| {
            m.common_fields.dust_limit_satoshis = 546;
            m.channel_reserve_satoshis = 545;
        }),
        ("reserve below dust", |m| m.channel_reserve_satoshis = 353),
        ("reserve", |m| m.channel_reserve_satoshis = u64::MAX),
        ("large reserve", |m| {
            m.channel_reserve_satoshis = CAPACITY_SAT / 5 + 1
        }),
        ("minimum", |m| {
            m.common_fields.htlc_minimum_msat = SPENDABLE_MSAT
        }),
        ("nothing in flight", |m| {
            m.common_fields.max_htlc_value_in_flight_msat = 0
        }),
        ("little in flight", |m| {
            m.common_fields.max_htlc_value_in_flight_msat = LEAST_IN_FLIGHT_MSAT - 1;
        }),
        ("less in flight than the minimum", |m| {
            m.common_fields.htlc_minimum_msat = 50_000_000;
            m.common_fields.max_htlc_value_in_flight_msat = 49_999_999;
        }),
        ("delay", |m| m.common_fields.to_self_delay = 2017),
        ("HTLCs", |m| m.common_fields.max_accepted_htlcs = 484),
        ("no HTLCs", |m| m.common_fields.max_accepted_htlcs = 0),
    ];
    for (name, spoil) in spoils {
        let mut spoiled = open.clone();
        spoil(&mut spoiled);
        let refused = accept(&environment(2), &spoiled, &mut out);
        assert!(matches!(refused, Err(ChannelError::Close(_))), "{name}");
        assert!(out.take().is_empty(), "{name}");
    }
}

/// What the opener keeps besides what it gives, at the least.
const RESERVE_SAT: u64 = CAPACITY_SAT / 100;
/// Fee and anchors of the first commitment.
const FIRST_COST_SAT: u64 = 1_124 * FEERATE as u64 / 1_000 + 660;
/// What both reserves leave.
const SPENDABLE_MSAT: u64 = (CAPACITY_SAT - 2 * RESERVE_SAT) * 1000;
const LEAST_IN_FLIGHT_MSAT: u64 = CAPACITY_SAT * 10;

/// Fees take so much that the opener begins with one satoshi more than the acceptor has to keep.
fn begin_within_reserves(open: &mut msgs::OpenChannel) {
    open.common_fields.funding_satoshis = 350_000;
    open.common_fields.commitment_feerate_sat_per_1000_weight = 250_000;
    open.push_msat = 0;
    open.channel_reserve_satoshis = 350_000 - 281_000 - 660 - 1;
}

#[test]
fn what_is_just_within_the_limits_of_open_channel_is_accepted() {
    let mut out = Outbox::default();
    let (_, open) = begin(&mut out);
    type Change = fn(&mut msgs::OpenChannel);
    let changes: [(&str, Change); 14] = [
        ("large", |m| {
            m.common_fields.funding_satoshis = (1 << 24) - 1
        }),
        ("push", |m| {
            m.push_msat = (CAPACITY_SAT - FIRST_COST_SAT - RESERVE_SAT) * 1000;
        }),
        ("above the reserves", begin_within_reserves),
        ("low fee rate", |m| {
            m.common_fields.commitment_feerate_sat_per_1000_weight = 253;
        }),
        ("high fee rate", |m| {
            m.common_fields.commitment_feerate_sat_per_1000_weight = 250_000;
        }),
        ("low dust limit and reserve", |m| {
            m.common_fields.dust_limit_satoshis = 354;
            m.channel_reserve_satoshis = 354;
        }),
        ("high dust limit and its reserve", |m| {
            m.common_fields.dust_limit_satoshis = 546;
            m.channel_reserve_satoshis = 546;
        }),
        ("large reserve", |m| {
            m.channel_reserve_satoshis = CAPACITY_SAT / 5
        }),
        ("minimum", |m| {
            m.common_fields.htlc_minimum_msat = SPENDABLE_MSAT - 1;
        }),
        ("no minimum", |m| m.common_fields.htlc_minimum_msat = 0),
        ("little in flight", |m| {
            m.common_fields.max_htlc_value_in_flight_msat = LEAST_IN_FLIGHT_MSAT;
        }),
        ("delay", |m| m.common_fields.to_self_delay = 2016),
        ("HTLCs", |m| m.common_fields.max_accepted_htlcs = 483),
        ("one HTLC", |m| m.common_fields.max_accepted_htlcs = 1),
    ];
    for (name, change) in changes {
        let mut changed = open.clone();
        change(&mut changed);
        let accepted = accept(&environment(2), &changed, &mut out);
        assert!(accepted.is_ok(), "{name}: {accepted:?}");
    }
}

#[test]
fn a_reserve_that_an_opener_could_not_keep_from_the_start_is_refused() {
    // The acceptor asks for more than the opener has left, which is more than an acceptor usually asks for.
    let left_sat = RESERVE_SAT + 5_000;
    let push_msat = (CAPACITY_SAT - FIRST_COST_SAT - left_sat) * 1000;
    for (reserve_sat, is_taken) in [(left_sat, true), (left_sat + 1, false)] {
        let mut out = Outbox::default();
        let (opener, open) = begin_giving(push_msat, &mut out);
        let (_, mut answer) = accept(&environment(2), &open, &mut out).unwrap();
        answer.channel_reserve_satoshis = reserve_sat;
        let (pending, environment) = (opener.pending, &opener.environment);
        let got = opening::handle_accept_channel(environment, pending, &answer, &mut out);
        assert_eq!(got.is_ok(), is_taken, "{reserve_sat}: {got:?}");
    }
}

#[test]
fn every_limit_of_accept_channel_is_checked() {
    let mut out = Outbox::default();
    let (opener, open) = begin(&mut out);
    let (_, answer) = accept(&environment(2), &open, &mut out).unwrap();
    type Spoil = fn(&mut msgs::AcceptChannel);
    let spoils: [(&str, Spoil); 16] = [
        ("no channel type", |m| m.common_fields.channel_type = None),
        ("scid alias", |m| {
            let channel_type = m.common_fields.channel_type.as_mut().unwrap();
            channel_type.set_scid_privacy_required();
        }),
        ("depth", |m| m.common_fields.minimum_depth = 145),
        ("low dust limit", |m| {
            m.common_fields.dust_limit_satoshis = 353
        }),
        ("high dust limit", |m| {
            m.common_fields.dust_limit_satoshis = 547
        }),
        ("reserve below its dust", |m| {
            m.common_fields.dust_limit_satoshis = 546;
            m.channel_reserve_satoshis = 545;
        }),
        ("reserve below dust", |m| m.channel_reserve_satoshis = 353),
        ("reserve", |m| m.channel_reserve_satoshis = CAPACITY_SAT),
        ("large reserve", |m| {
            m.channel_reserve_satoshis = CAPACITY_SAT / 5 + 1
        }),
        ("minimum", |m| {
            m.common_fields.htlc_minimum_msat = SPENDABLE_MSAT
        }),
        ("nothing in flight", |m| {
            m.common_fields.max_htlc_value_in_flight_msat = 0
        }),
        ("little in flight", |m| {
            m.common_fields.max_htlc_value_in_flight_msat = LEAST_IN_FLIGHT_MSAT - 1;
        }),
        ("less in flight than the minimum", |m| {
            m.common_fields.htlc_minimum_msat = 50_000_000;
            m.common_fields.max_htlc_value_in_flight_msat = 49_999_999;
        }),
        ("delay", |m| m.common_fields.to_self_delay = 2017),
        ("HTLCs", |m| m.common_fields.max_accepted_htlcs = 484),
        ("no HTLCs", |m| m.common_fields.max_accepted_htlcs = 0),
    ];
    for (name, spoil) in spoils {
        let mut spoiled = answer.clone();
        spoil(&mut spoiled);
        let pending = opener.pending.clone();
        let refused =
            opening::handle_accept_channel(&opener.environment, pending, &spoiled, &mut out);
        assert!(matches!(refused, Err(ChannelError::Close(_))), "{name}");
        assert!(out.take().is_empty(), "{name}");
    }
}
