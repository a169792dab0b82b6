//! Whoever opened the channel pays the fees of both sides' commitments (BOLT 2). Dust limits may differ, so an
//! HTLC may have an output, and a fee, in one of both only: each is asked, at the edge of what can be paid.

use lightning::types::payment::PaymentHash;

use super::operating::Unable;
use super::testing::{End, Ends, add};
use super::{Channel, ChannelError};
use crate::commitment::{ANCHORS_SAT, commitment_fee_sat};
use crate::spec::{Change, Direction, SpecHtlc};

const FEERATE: u32 = 500;
const RESERVE_SAT: u64 = 10_000;
/// Between both dust limits.
const AMOUNT_MSAT: u64 = 400_000;
const OTHERS_MSAT: u64 = 500_000_000;
/// Holder's and counterparty's dust limit in satoshis. Two HTLCs of the same size have an output in one, both
/// or no commitment.
const DUST_LIMITS_SAT: [[u64; 2]; 4] = [[354, 546], [546, 354], [354, 354], [546, 546]];

/// How many outputs such an HTLC has in the commitment that has more.
fn outputs(dust_limits_sat: [u64; 2]) -> u64 {
    u64::from(dust_limits_sat.contains(&354))
}

/// Reserve and fee, in millisatoshis.
fn needed_msat(feerate_per_kw: u32, htlc_outputs: u64) -> u64 {
    1_000 * (RESERVE_SAT + commitment_fee_sat(feerate_per_kw, htlc_outputs) + ANCHORS_SAT)
}

fn ask_reserves(end: &mut End) {
    let parameters = &mut end.record().parameters;
    parameters.holder_limits.reserve_sat = RESERVE_SAT;
    parameters.counterparty_limits.reserve_sat = RESERVE_SAT;
}

/// The opener with so much, or the acceptor opposite to it.
fn opener(balance_msat: u64, dust_limits_sat: [u64; 2]) -> End {
    let mut end = Ends::open().opener;
    ask_reserves(&mut end);
    end.set([balance_msat, OTHERS_MSAT], dust_limits_sat);
    end
}

fn acceptor(opener_msat: u64, dust_limits_sat: [u64; 2]) -> End {
    let mut end = Ends::open().acceptor;
    ask_reserves(&mut end);
    end.set([OTHERS_MSAT, opener_msat], dust_limits_sat);
    end
}

/// An HTLC of the opener's is pending in both commitments.
fn hold_htlc(channel: &mut Channel, direction: Direction) {
    let record = &mut channel.record;
    for spec in [&mut record.holder.spec, &mut record.counterparty.spec] {
        let htlc = SpecHtlc {
            amount_msat: AMOUNT_MSAT,
            payment_hash: PaymentHash([1; 32]),
            cltv_expiry: 1_000,
        };
        spec.htlcs.insert((direction, 90), htlc);
    }
}

#[test]
fn a_received_htlc_has_to_be_paid_for_in_both_commitments() {
    for dust in DUST_LIMITS_SAT {
        let enough_msat = AMOUNT_MSAT + needed_msat(FEERATE, outputs(dust));
        let htlc = Change::Add(add(1, 0, AMOUNT_MSAT));
        assert_eq!(
            acceptor(enough_msat, dust).give_change(&htlc),
            Ok(()),
            "{dust:?}"
        );
        let refused = acceptor(enough_msat - 1, dust).give_change(&htlc);
        assert!(matches!(refused, Err(ChannelError::Close(_))), "{dust:?}");
    }
}

#[test]
fn a_received_fee_rate_has_to_be_paid_in_both_commitments() {
    for dust in DUST_LIMITS_SAT {
        let enough_msat = needed_msat(600, outputs(dust));
        let fee = Change::Fee {
            feerate_per_kw: 600,
        };
        let with_htlc = |balance_msat| {
            let mut end = acceptor(balance_msat, dust);
            hold_htlc(&mut end.channel, Direction::Inbound);
            end
        };
        assert_eq!(with_htlc(enough_msat).give_change(&fee), Ok(()), "{dust:?}");
        let refused = with_htlc(enough_msat - 1).give_change(&fee);
        assert!(matches!(refused, Err(ChannelError::Close(_))), "{dust:?}");
    }
}

#[test]
fn an_opener_offers_no_htlc_that_it_could_not_pay_for_in_both_commitments() {
    for dust in DUST_LIMITS_SAT {
        // One more, at twice the fee rate: the fee spike buffer.
        let enough_msat = AMOUNT_MSAT + needed_msat(2 * FEERATE, outputs(dust) + 1);
        assert_eq!(
            opener(enough_msat, dust).offer(1, AMOUNT_MSAT),
            None,
            "{dust:?}"
        );
        let refused = opener(enough_msat - 1, dust).offer(1, AMOUNT_MSAT);
        assert_eq!(refused, Some(Unable::NoRoom), "{dust:?}");
    }
}

#[test]
fn an_acceptor_offers_no_htlc_that_the_opener_could_not_pay_for_in_both_commitments() {
    for dust in DUST_LIMITS_SAT {
        let enough_msat = needed_msat(FEERATE, outputs(dust) + 1);
        assert_eq!(
            acceptor(enough_msat, dust).offer(1, AMOUNT_MSAT),
            None,
            "{dust:?}"
        );
        let refused = acceptor(enough_msat - 1, dust).offer(1, AMOUNT_MSAT);
        assert_eq!(refused, Some(Unable::NoRoom), "{dust:?}");
    }
}

#[test]
fn an_opener_proposes_no_fee_rate_that_it_could_not_pay_in_both_commitments() {
    for dust in DUST_LIMITS_SAT {
        let enough_msat = needed_msat(600, outputs(dust));
        for (balance_msat, is_proposed) in [(enough_msat, true), (enough_msat - 1, false)] {
            let mut end = opener(balance_msat, dust);
            hold_htlc(&mut end.channel, Direction::Outbound);
            end.channel.volatile.fee = Some(600);
            assert!(end.flush().is_empty());
            assert_eq!(!end.sent().is_empty(), is_proposed, "{dust:?}");
        }
    }
}

#[test]
fn what_the_peer_has_proposed_and_not_signed_counts_for_what_an_opener_can_pay() {
    // The peer's HTLC will have an output in the holder's next commitment, beside the one that is offered.
    let offered = |balance_msat| {
        let mut end = opener(balance_msat, [354, 354]);
        end.give_change(&Change::Add(add(2, 0, AMOUNT_MSAT)))
            .unwrap();
        end.offer(1, AMOUNT_MSAT)
    };
    let enough_msat = AMOUNT_MSAT + needed_msat(2 * FEERATE, 3);
    assert_eq!(offered(enough_msat), None);
    assert_eq!(offered(enough_msat - 1), Some(Unable::NoRoom));
}
