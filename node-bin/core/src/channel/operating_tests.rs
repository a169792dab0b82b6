//! What BOLT 2 says a receiver must not put up with: each limit at its edge. A message that is refused leaves
//! the channel as it was.

use bitcoin::ScriptBuf;
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::{Message as Digest, Secp256k1, SecretKey};
use lightning::ln::msgs;

use super::testing::{End, Ends, add, preimage};
use super::{ChannelError, Connection};
use crate::commitment::{ANCHORS_SAT, commitment_fee_sat};
use crate::message::Message;
use crate::spec::{Change, HtlcAdd};

/// What the acceptor of these tests asks for.
const MINIMUM_MSAT: u64 = 5_000;
const IN_FLIGHT_MSAT: u64 = 40_000_000;
const MOST_HTLCS: u16 = 3;
const RESERVE_SAT: u64 = 10_000;
/// The ends' fee rate.
const FEERATE: u32 = 500;

/// The acceptor, to whom the opener offers.
fn victim() -> End {
    let mut victim = Ends::open().acceptor;
    let limits = &mut victim.record().parameters.holder_limits;
    limits.htlc_minimum_msat = MINIMUM_MSAT;
    limits.max_htlc_value_in_flight_msat = IN_FLIGHT_MSAT;
    limits.max_accepted_htlcs = MOST_HTLCS;
    limits.reserve_sat = RESERVE_SAT;
    victim
}

/// What a message must come to: taken, or refused with words that hold these.
type Wanted = Result<(), &'static str>;

/// Gives a message and compares. Refused, it must close the channel, which stays as it was until then.
fn expect(name: &str, victim: &mut End, message: &Message, wanted: Wanted) {
    let before = victim.channel.record.clone();
    let proposed = victim.channel.volatile.proposed.clone();
    let got = victim.give(message);
    match (&got, wanted) {
        (Ok(()), Ok(())) => {}
        (Err(ChannelError::Close(words)), Err(wanted)) if words.contains(wanted) => {
            assert_eq!(victim.channel.record, before, "{name}");
            assert_eq!(victim.channel.volatile.proposed, proposed, "{name}");
            assert!(victim.wants_nothing(), "{name}");
        }
        _ => panic!("{name}: {got:?}, not {wanted:?}"),
    }
}

fn expect_change(name: &str, victim: &mut End, change: &Change, wanted: Wanted) {
    let message = crate::wire::change_message(victim.id(), change).unwrap();
    expect(name, victim, &message, wanted);
}

#[test]
fn every_limit_of_update_add_htlc_is_checked() {
    type Spoil = fn(&mut HtlcAdd);
    let spoils: [(&str, Spoil, Wanted); 11] = [
        ("as it should be", |_| {}, Ok(())),
        (
            "an id left out",
            |m| m.htlc_id = 1,
            Err("htlc_id 1 is not the next"),
        ),
        ("no id", |m| m.htlc_id = u64::MAX, Err("is not the next")),
        ("nothing", |m| m.amount_msat = 0, Err("below the minimum")),
        ("minimum", |m| m.amount_msat = MINIMUM_MSAT, Ok(())),
        (
            "below the minimum",
            |m| m.amount_msat = MINIMUM_MSAT - 1,
            Err("below the minimum"),
        ),
        ("last height", |m| m.cltv_expiry = 499_999_999, Ok(())),
        (
            "a time",
            |m| m.cltv_expiry = 500_000_000,
            Err("not a height"),
        ),
        ("in flight", |m| m.amount_msat = IN_FLIGHT_MSAT, Ok(())),
        (
            "too much in flight",
            |m| m.amount_msat = IN_FLIGHT_MSAT + 1,
            Err("exceed max_htlc_value_in_flight_msat"),
        ),
        (
            "overdrawn",
            |m| m.amount_msat = u64::MAX,
            Err("exceeds its side's balance"),
        ),
    ];
    for (name, spoil, wanted) in spoils {
        let mut spoiled = add(1, 0, 1_000_000);
        spoil(&mut spoiled);
        expect_change(name, &mut victim(), &Change::Add(spoiled), wanted);
    }
    // Where everything is welcome, nothing is not.
    let mut generous = victim();
    generous.record().parameters.holder_limits.htlc_minimum_msat = 0;
    let nothing = Change::Add(add(1, 0, 0));
    expect_change("nothing", &mut generous, &nothing, Err("below the minimum"));
}

#[test]
fn htlcs_are_counted_and_summed_up_with_those_that_are_not_signed_yet() {
    let mut crowded = victim();
    for htlc_id in 0..u64::from(MOST_HTLCS) {
        let change = Change::Add(add(1, htlc_id, 1_000_000));
        expect_change("within the count", &mut crowded, &change, Ok(()));
    }
    let change = Change::Add(add(1, MOST_HTLCS.into(), 1_000_000));
    let refused = Err("4 HTLCs exceed max_accepted_htlcs");
    expect_change("one more", &mut crowded, &change, refused);
    for (more, wanted) in [
        (0, Ok(())),
        (1, Err("exceed max_htlc_value_in_flight_msat")),
    ] {
        let mut rich = victim();
        let first = Change::Add(add(1, 0, IN_FLIGHT_MSAT - 7_000));
        expect_change("first", &mut rich, &first, Ok(()));
        let second = Change::Add(add(2, 1, 7_000 + more));
        expect_change("second", &mut rich, &second, wanted);
    }
}

#[test]
fn an_htlc_that_its_sender_cannot_pay_for_beside_reserve_and_fees_is_refused() {
    let refused = Err("cannot pay for beside reserve and fees");
    let fee_sat = commitment_fee_sat(FEERATE, 1) + ANCHORS_SAT;
    for (left_sat, is_acceptor) in [(RESERVE_SAT + fee_sat, true), (RESERVE_SAT, false)] {
        for (more_msat, wanted) in [(0, Ok(())), (1, refused)] {
            let ends = Ends::open();
            // The acceptor pays no fees, so it may go down to its reserve.
            let mut victim = if is_acceptor {
                ends.acceptor
            } else {
                ends.opener
            };
            let parameters = &mut victim.record().parameters;
            assert_eq!(parameters.is_opener, !is_acceptor);
            parameters.holder_limits.reserve_sat = RESERVE_SAT;
            let balance_msat = victim.channel.record.holder.spec.counterparty_msat;
            let amount_msat = balance_msat - 1_000 * left_sat + more_msat;
            let change = Change::Add(add(1, 0, amount_msat));
            expect_change("at its edge", &mut victim, &change, wanted);
        }
    }
}

#[test]
fn updates_before_the_channel_is_ready_or_up_or_after_shutdown_do_nothing() {
    let fee = Change::Fee {
        feerate_per_kw: 600,
    };
    let htlc = Change::Add(add(1, 0, 1_000_000));
    for change in [&htlc, &fee] {
        let mut unready = victim();
        unready.record().funding.counterparty_ready = false;
        let early = Err("an update before channel_ready");
        expect_change("unready", &mut unready, change, early);
        let mut away = victim();
        away.channel.volatile.connection = Connection::Reestablishing;
        let got = away.give_change(change);
        assert!(matches!(got, Err(ChannelError::Ignore(_))), "{got:?}");
        assert!(away.channel.volatile.proposed.is_empty());
    }
    let mut ending = victim();
    ending.record().shutdown.counterparty = Some(ScriptBuf::new());
    expect_change("after shutdown", &mut ending, &htlc, Err("after shutdown"));
    expect_change("a fee after shutdown", &mut ending, &fee, Ok(()));
}

/// The opener, whose HTLC 0 is committed on both sides.
fn payer() -> End {
    let mut ends = Ends::open();
    assert_eq!(ends.opener.offer(1, 10_000_000), None);
    ends.settle();
    ends.opener.wants_nothing();
    ends.opener
}

fn removals(htlc_id: u64) -> [Change; 3] {
    [
        Change::Fulfill {
            htlc_id,
            preimage: preimage(1),
        },
        Change::Fail {
            htlc_id,
            reason: vec![1; 292],
        },
        Change::FailMalformed {
            htlc_id,
            sha256_of_onion: [1; 32],
            failure_code: crate::onion::code::INVALID_ONION_HMAC,
        },
    ]
}

#[test]
fn only_a_committed_htlc_is_removed_and_only_once() {
    let payer = payer();
    for change in removals(0) {
        expect_change("as it should be", &mut payer.clone(), &change, Ok(()));
    }
    for change in removals(7) {
        let words = match change {
            Change::Fulfill { .. } => "HTLC 7 is not ours",
            _ => "HTLC 7 is not there to be removed",
        };
        expect_change("missing", &mut payer.clone(), &change, Err(words));
    }
    for first in removals(0) {
        for second in removals(0) {
            let mut payer = payer.clone();
            expect_change("first", &mut payer, &first, Ok(()));
            // That a preimage is kept, whatever becomes of its message, is tested below.
            if let (Change::Fulfill { .. }, true) = (&second, first != second) {
                continue;
            }
            payer.wants_nothing();
            let twice = Err("HTLC 0 is not there to be removed");
            expect_change("second", &mut payer, &second, twice);
        }
    }
}

#[test]
fn a_wrong_preimage_and_a_malformed_without_badonion_are_refused() {
    let mut payer = payer();
    let htlc_id = 0;
    let wrong = Change::Fulfill {
        htlc_id,
        preimage: preimage(2),
    };
    let words = "a wrong preimage for HTLC 0";
    expect_change("preimage", &mut payer, &wrong, Err(words));
    let without = Change::FailMalformed {
        htlc_id,
        sha256_of_onion: [1; 32],
        failure_code: crate::onion::code::TEMPORARY_CHANNEL_FAILURE,
    };
    let words = "update_fail_malformed_htlc without BADONION";
    expect_change("malformed", &mut payer, &without, Err(words));
}

#[test]
fn a_preimage_that_comes_too_early_is_an_error_and_is_kept_all_the_same() {
    let mut opener = Ends::open().opener;
    assert_eq!(opener.offer(1, 10_000_000), None);
    for change in &removals(0)[1..] {
        let words = Err("HTLC 0 is not there to be removed");
        opener.wants_nothing();
        expect_change("not signed by its payee", &mut opener, change, words);
    }
    let got = opener.give_change(&removals(0)[0]);
    assert!(matches!(got, Err(ChannelError::Close(_))), "{got:?}");
    let known = &opener.channel.record.outbound[&0];
    assert_eq!(known.preimage, Some(preimage(1)));
    assert!(opener.channel.volatile.proposed.is_empty());
}

#[test]
fn a_preimage_that_comes_after_a_close_is_kept_on_any_connection() {
    let closed = || {
        let mut opener = Ends::open().opener;
        assert_eq!(opener.offer(1, 10_000_000), None);
        opener.wants_nothing();
        opener.force_close();
        opener.channel.volatile.connection = Connection::Reestablishing;
        opener
    };
    let mut opener = closed();
    let got = opener.give_change(&removals(0)[0]);
    assert!(got.is_ok(), "{got:?}");
    let known = &opener.channel.record.outbound[&0];
    assert_eq!(known.preimage, Some(preimage(1)));

    let mut decided = closed();
    decided.record().outbound.clear();
    let got = decided.give_change(&removals(0)[0]);
    assert!(got.is_ok(), "{got:?}");
}

#[test]
fn every_limit_of_update_fee_is_checked() {
    let out_of_range = Err("a fee rate of");
    for (feerate_per_kw, wanted) in [
        (252, out_of_range),
        (253, Ok(())),
        (250_000, Ok(())),
        (250_001, out_of_range),
        (u32::MAX, out_of_range),
    ] {
        let fee = Change::Fee { feerate_per_kw };
        expect_change("range", &mut victim(), &fee, wanted);
    }
    let fee = Change::Fee {
        feerate_per_kw: 600,
    };
    let words = "update_fee by the side that does not pay it";
    expect_change("payee", &mut Ends::open().opener, &fee, Err(words));
    let needed_msat = 1_000 * (RESERVE_SAT + commitment_fee_sat(600, 0) + ANCHORS_SAT);
    let refused = Err("a fee rate that its sender cannot pay");
    for (balance_msat, wanted) in [(needed_msat, Ok(())), (needed_msat - 1, refused)] {
        let mut victim = victim();
        victim.set([500_000_000, balance_msat], [354, 354]);
        expect_change("affordable", &mut victim, &fee, wanted);
    }
}

fn wrong_signature() -> Signature {
    let key = SecretKey::from_slice(&[5; 32]).unwrap();
    Secp256k1::new().sign_ecdsa(&Digest::from_digest([6; 32]), &key)
}

#[test]
fn wrong_signatures_of_a_commitment_or_of_its_htlcs_are_refused() {
    let mut ends = Ends::open();
    assert_eq!(ends.opener.offer(1, 10_000_000), None);
    let sent = ends.opener.sent();
    let [htlc, Message::CommitmentSigned(signed)] = &sent[..] else {
        panic!("{sent:?}");
    };
    let mut victim = ends.acceptor;
    victim.give(htlc).unwrap();
    type Spoil = fn(&mut msgs::CommitmentSigned);
    let spoils: [(&str, Spoil); 5] = [
        ("the commitment's signature is wrong", |m| {
            m.signature = wrong_signature()
        }),
        ("the commitment's signature is wrong", |m| {
            m.signature = m.htlc_signatures[0]
        }),
        ("0 HTLC signatures for 1 HTLC outputs", |m| {
            m.htlc_signatures.clear()
        }),
        ("2 HTLC signatures for 1 HTLC outputs", |m| {
            m.htlc_signatures.push(wrong_signature());
        }),
        ("the signature of HTLC output 0 is wrong", |m| {
            m.htlc_signatures[0] = wrong_signature();
        }),
    ];
    for (words, spoil) in spoils {
        let mut spoiled = signed.clone();
        spoil(&mut spoiled);
        let spoiled = Message::CommitmentSigned(spoiled);
        expect(words, &mut victim, &spoiled, Err(words));
    }
    expect("as signed", &mut victim, &sent[1], Ok(()));
    assert_eq!(victim.channel.record.holder.number, 1);
}

#[test]
fn a_revocation_without_cause_or_with_a_wrong_secret_is_refused() {
    let mut ends = Ends::open();
    assert_eq!(ends.opener.offer(1, 10_000_000), None);
    for message in ends.opener.sent() {
        ends.acceptor.give(&message).unwrap();
    }
    let sent = ends.acceptor.sent();
    let [Message::RevokeAndAck(revocation)] = &sent[..] else {
        panic!("{sent:?}");
    };
    let mut victim = ends.opener;
    for (secret, words) in [
        ([0; 32], "a revocation secret that is no key"),
        ([0xff; 32], "a revocation secret that is no key"),
        ([1; 32], "a revocation secret that does not fit its point"),
    ] {
        let mut spoiled = revocation.clone();
        spoiled.per_commitment_secret = secret;
        let spoiled = Message::RevokeAndAck(spoiled);
        expect(words, &mut victim, &spoiled, Err(words));
    }
    expect("as it should be", &mut victim, &sent[0], Ok(()));
    victim.wants_nothing();
    let words = "revoke_and_ack without a commitment to revoke";
    expect(words, &mut victim, &sent[0], Err(words));
}
