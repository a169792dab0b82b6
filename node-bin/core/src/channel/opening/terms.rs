//! The terms of a channel: what this node asks for, and what it puts up with (BOLT 2).

use bitcoin::constants::ChainHash;
use lightning::ln::msgs;

use crate::channel::LEAST_FEERATE_PER_KW;
use crate::commitment::{ANCHORS_SAT, channel_type, commitment_fee_sat};
use crate::record::ChannelLimits;

use super::messages::{terms_of_acceptor, terms_of_opener};

/// This node's dust limit, the least that any segwit output may hold.
const DUST_LIMIT_SAT: u64 = 354;
/// The highest dust limit of others that is put up with: no standard output needs more, and what is
/// below it is lost to fees at a close.
const MAXIMUM_DUST_LIMIT_SAT: u64 = 546;
/// The least reserve that this node asks for.
const MINIMUM_RESERVE_SAT: u64 = 1000;
/// A reserve above the capacity divided by this is too large: it could not be used for anything.
const MOST_RESERVE_DIVISOR: u64 = 5;
/// Less in flight than the capacity divided by this is too small: the channel would be of no use.
const LEAST_IN_FLIGHT_DIVISOR: u64 = 100;
/// Blocks that the other's outputs wait on its commitments.
const TO_SELF_DELAY: u16 = 144;
/// Blocks that this node's outputs may have to wait: two weeks.
const MAXIMUM_TO_SELF_DELAY: u16 = 2016;
/// HTLCs that the other may have pending.
const MAX_ACCEPTED_HTLCS: u16 = 50;
/// BOLT 2's limit: `commitment_signed` has to fit one message.
const HIGHEST_MAX_ACCEPTED_HTLCS: u16 = 483;
/// BOLT 2's limit without `option_support_large_channel`.
const MAXIMUM_CAPACITY_SAT: u64 = (1 << 24) - 1;
/// Nobody pays more; HTLCs would hang on a peer who cannot pay for them.
const MAXIMUM_FEERATE_PER_KW: u32 = 250_000;
/// Confirmations beyond which nobody waits.
const HIGHEST_MINIMUM_DEPTH: u32 = 144;
/// HTLCs whose weight an opener must be able to pay for at the start, so that the channel is of use.
pub(super) const HTLCS_TO_AFFORD: u64 = 4;

/// What this node asks of the other in a channel of this capacity.
pub(super) fn holder_limits(capacity_sat: u64) -> ChannelLimits {
    ChannelLimits {
        dust_limit_sat: DUST_LIMIT_SAT,
        max_htlc_value_in_flight_msat: capacity_sat.saturating_mul(1000),
        reserve_sat: (capacity_sat / 100).max(MINIMUM_RESERVE_SAT),
        htlc_minimum_msat: 1,
        to_self_delay: TO_SELF_DELAY,
        max_accepted_htlcs: MAX_ACCEPTED_HTLCS,
    }
}

/// Checks an `open_channel`; says what is wrong with it.
pub(super) fn check_open(message: &msgs::OpenChannel) -> Result<(), String> {
    let fields = &message.common_fields;
    if fields.chain_hash != ChainHash::REGTEST {
        return Err(format!("chain {} is not ours", fields.chain_hash));
    }
    check_channel_type(fields.channel_type.as_ref())?;
    check_capacity(fields.funding_satoshis)?;
    let feerate_per_kw = fields.commitment_feerate_sat_per_1000_weight;
    if !(LEAST_FEERATE_PER_KW..=MAXIMUM_FEERATE_PER_KW).contains(&feerate_per_kw) {
        return Err(format!(
            "a fee rate of {feerate_per_kw} is not within {LEAST_FEERATE_PER_KW} and {MAXIMUM_FEERATE_PER_KW}"
        ));
    }
    let capacity_sat = fields.funding_satoshis;
    let push_msat = message.push_msat;
    let (holder, limits) = (holder_limits(capacity_sat), terms_of_opener(message).limits);
    check_limits(&limits, &holder, capacity_sat)?;
    check_opener_affords(
        capacity_sat,
        push_msat,
        feerate_per_kw,
        holder.reserve_sat,
        0,
    )?;
    check_first_balances(capacity_sat, push_msat, feerate_per_kw, limits.reserve_sat)
}

/// Checks an `accept_channel` for a channel of so many satoshis, of which so many millisatoshis are given to
/// the acceptor; says what is wrong with it.
pub(super) fn check_accept(
    message: &msgs::AcceptChannel,
    capacity_sat: u64,
    push_msat: u64,
    feerate_per_kw: u32,
) -> Result<(), String> {
    let fields = &message.common_fields;
    check_channel_type(fields.channel_type.as_ref())?;
    if fields.minimum_depth > HIGHEST_MINIMUM_DEPTH {
        return Err(format!(
            "{} confirmations are more than {HIGHEST_MINIMUM_DEPTH}",
            fields.minimum_depth
        ));
    }
    let (holder, limits) = (
        holder_limits(capacity_sat),
        terms_of_acceptor(message).limits,
    );
    check_limits(&limits, &holder, capacity_sat)?;
    // The reserve is the acceptor's to choose, so only now it is known what this side has to keep.
    check_opener_affords(
        capacity_sat,
        push_msat,
        feerate_per_kw,
        limits.reserve_sat,
        0,
    )?;
    check_first_balances(capacity_sat, push_msat, feerate_per_kw, limits.reserve_sat)
}

/// Whether a channel may have this capacity.
pub(super) fn check_capacity(capacity_sat: u64) -> Result<(), String> {
    if capacity_sat > MAXIMUM_CAPACITY_SAT {
        return Err(format!(
            "{capacity_sat} sat are more than {MAXIMUM_CAPACITY_SAT}"
        ));
    }
    Ok(())
}

/// Whether the opener can pay a commitment with so many HTLCs and keep its reserve besides.
pub(super) fn check_opener_affords(
    capacity_sat: u64,
    push_msat: u64,
    feerate_per_kw: u32,
    reserve_sat: u64,
    htlcs: u64,
) -> Result<(), String> {
    let Some(opener_msat) = (capacity_sat * 1000).checked_sub(push_msat) else {
        return Err(format!(
            "{push_msat} msat to be given exceed the capacity of {capacity_sat} sat"
        ));
    };
    let needed_sat = commitment_fee_sat(feerate_per_kw, htlcs) + ANCHORS_SAT + reserve_sat;
    if opener_msat / 1000 < needed_sat {
        return Err(format!(
            "the opener's {opener_msat} msat do not pay for fee, anchors and reserve, {needed_sat} sat"
        ));
    }
    Ok(())
}

/// One side at least has to begin with more than the reserve that the other's message asks for, or nobody
/// would have anything to lose (BOLT 2).
fn check_first_balances(
    capacity_sat: u64,
    push_msat: u64,
    feerate_per_kw: u32,
    reserve_sat: u64,
) -> Result<(), String> {
    let opener_sat = (capacity_sat * 1000).saturating_sub(push_msat) / 1000;
    let cost_sat = commitment_fee_sat(feerate_per_kw, 0) + ANCHORS_SAT;
    let opener_sat = opener_sat.saturating_sub(cost_sat);
    if opener_sat <= reserve_sat && push_msat <= reserve_sat * 1000 {
        return Err(format!(
            "both sides begin within the reserve of {reserve_sat} sat"
        ));
    }
    Ok(())
}

fn check_channel_type(
    wanted: Option<&lightning::types::features::ChannelTypeFeatures>,
) -> Result<(), String> {
    match wanted {
        Some(wanted) if *wanted == channel_type() => Ok(()),
        Some(wanted) => Err(format!("channel type {wanted} is not supported")),
        None => Err("the channel type is missing".to_owned()),
    }
}

/// Whether this node can live with what the other asks of it.
fn check_limits(
    limits: &ChannelLimits,
    holder: &ChannelLimits,
    capacity_sat: u64,
) -> Result<(), String> {
    check_amounts(limits, holder, capacity_sat)?;
    if limits.to_self_delay > MAXIMUM_TO_SELF_DELAY {
        return Err(format!(
            "a delay of {} blocks is above {MAXIMUM_TO_SELF_DELAY}",
            limits.to_self_delay
        ));
    }
    if !(1..=HIGHEST_MAX_ACCEPTED_HTLCS).contains(&limits.max_accepted_htlcs) {
        return Err(format!(
            "{} HTLCs are not within 1 and {HIGHEST_MAX_ACCEPTED_HTLCS}",
            limits.max_accepted_htlcs
        ));
    }
    Ok(())
}

fn check_amounts(
    limits: &ChannelLimits,
    holder: &ChannelLimits,
    capacity_sat: u64,
) -> Result<(), String> {
    let dust_limit_sat = limits.dust_limit_sat;
    if !(DUST_LIMIT_SAT..=MAXIMUM_DUST_LIMIT_SAT).contains(&dust_limit_sat) {
        return Err(format!(
            "a dust limit of {dust_limit_sat} sat is not within {DUST_LIMIT_SAT} and {MAXIMUM_DUST_LIMIT_SAT}"
        ));
    }
    // A reserve that may be dust would leave a side with nothing to lose.
    if limits.reserve_sat < dust_limit_sat.max(holder.dust_limit_sat) {
        return Err(format!(
            "a reserve of {} sat is below a dust limit",
            limits.reserve_sat
        ));
    }
    if holder.reserve_sat < dust_limit_sat {
        return Err(format!(
            "a dust limit of {dust_limit_sat} sat is above the reserve of {} sat",
            holder.reserve_sat
        ));
    }
    let spendable_sat = limits
        .reserve_sat
        .checked_add(holder.reserve_sat)
        .and_then(|reserves_sat| capacity_sat.checked_sub(reserves_sat))
        .filter(|spendable_sat| *spendable_sat > 0)
        .ok_or_else(|| {
            format!(
                "reserves of {} and {} sat leave nothing of {capacity_sat} sat",
                limits.reserve_sat, holder.reserve_sat
            )
        })?;
    let most_reserve_sat = (capacity_sat / MOST_RESERVE_DIVISOR).max(MINIMUM_RESERVE_SAT);
    if limits.reserve_sat > most_reserve_sat {
        return Err(format!(
            "a reserve of {} sat is above {most_reserve_sat}",
            limits.reserve_sat
        ));
    }
    if limits.htlc_minimum_msat >= spendable_sat * 1000 {
        return Err(format!(
            "no HTLC can reach {} msat",
            limits.htlc_minimum_msat
        ));
    }
    let least_in_flight_msat =
        (capacity_sat * 1000 / LEAST_IN_FLIGHT_DIVISOR).max(limits.htlc_minimum_msat);
    if limits.max_htlc_value_in_flight_msat < least_in_flight_msat {
        return Err(format!(
            "{} msat in flight are less than {least_in_flight_msat}",
            limits.max_htlc_value_in_flight_msat
        ));
    }
    Ok(())
}
