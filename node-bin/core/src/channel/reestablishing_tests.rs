//! Every answer to `channel_reestablish` (BOLT 2, message retransmission): by the numbers that the peer says
//! and the secret that it shows, what is sent again and in which order, or how the channel fails.

use lightning::ln::msgs;

use super::reestablishing::STALE;
use super::testing::{End, Ends};
use super::{ChannelError, Connection};
use crate::message::Message;
use crate::record::Closure;

/// The secret that the peer shows.
#[derive(Clone, Copy, Debug)]
enum Secret {
    None,
    /// This node's, of its commitment of this number.
    Of(u64),
    Wrong,
}

use Secret::{None as Nothing, Of, Wrong};

/// What is sent again, or words of the error that ends the channel.
type Wanted = Result<&'static [&'static str], &'static str>;

/// The next commitment that the peer expects, the next revocation that it expects, the secret; and what
/// follows.
type Case = (u64, u64, Secret, Wanted);

const CHANNEL_READY: &str = "channel_ready";
const ADD: &str = "update_add_htlc";
const SIGNED: &str = "commitment_signed";
const REVOKED: &str = "revoke_and_ack";
const WRONG_SECRET: &str = "with a wrong secret";
const VERY_OLD: &str = "with a very old commitment";

fn reestablish(end: &End, next: u64, revocation: u64, secret: Secret) -> Message {
    let parameters = &end.channel.record.parameters;
    let keys = end.environment.channel_keys(&parameters.keys_id);
    Message::ChannelReestablish(msgs::ChannelReestablish {
        channel_id: end.id(),
        next_local_commitment_number: next,
        next_remote_commitment_number: revocation,
        your_last_per_commitment_secret: match secret {
            Secret::None => [0; 32],
            Secret::Of(number) => keys.commitment_secret(number),
            Secret::Wrong => [7; 32],
        },
        my_current_per_commitment_point: keys.commitment_point(0, &end.environment.secp),
        next_funding: None,
        my_current_funding_locked: None,
    })
}

fn expect(name: &str, end: &End, cases: &[Case]) {
    for (next, revocation, secret, wanted) in cases {
        let mut end = end.clone();
        end.reconnect();
        let name = format!("{name}: {next}, {revocation}, {secret:?}");
        let mut expected = end.channel.record.clone();
        let message = reestablish(&end, *next, *revocation, *secret);
        match (end.give(&message), wanted) {
            (Ok(()), Ok(wanted)) => {
                let sent: Vec<_> = end.sent().iter().map(Message::name).collect();
                assert_eq!(&sent[..], *wanted, "{name}");
                assert_eq!(end.channel.volatile.connection, Connection::Up, "{name}");
            }
            (Err(ChannelError::Close(words)), Err(wanted)) if words.contains(wanted) => {
                assert!(end.sent().is_empty(), "{name}");
                if words == STALE {
                    let publishes = end.channel.transaction_to_publish(&end.environment);
                    assert_eq!(publishes, None, "{name}");
                    let closure = &end.channel.record.closure;
                    let is_silent = matches!(
                        closure,
                        Some(Closure::Forced {
                            broadcast: false,
                            ..
                        })
                    );
                    assert!(is_silent, "{name}: {closure:?}");
                    // Nothing but the decision.
                    expected.closure = closure.clone();
                    expected.events = end.channel.record.events.clone();
                    expected.sequence += 1;
                }
            }
            (got, wanted) => panic!("{name}: {got:?}, not {wanted:?}"),
        }
        assert_eq!(end.channel.record, expected, "{name}");
    }
}

/// The opener after an HTLC that both have committed: commitment 1 on both sides.
fn traded() -> Ends {
    let mut ends = Ends::open();
    assert_eq!(ends.opener.offer(1, 10_000_000), None);
    ends.settle();
    let numbers = |end: &End| {
        let record = &end.channel.record;
        (record.holder.number, record.counterparty.number)
    };
    assert_eq!(
        (numbers(&ends.opener), numbers(&ends.acceptor)),
        ((1, 1), (1, 1))
    );
    ends
}

/// Gives the acceptor's HTLC and its signature to the opener.
fn give_htlc_of_acceptor(ends: &mut Ends) {
    assert_eq!(ends.acceptor.offer(2, 10_000_000), None);
    for message in ends.acceptor.sent() {
        ends.opener.give(&message).unwrap();
    }
}

#[test]
fn at_the_start_channel_ready_is_said_again() {
    let opener = Ends::open().opener;
    expect(
        "fresh",
        &opener,
        &[
            (1, 0, Nothing, Ok(&[CHANNEL_READY])),
            (
                0,
                0,
                Nothing,
                Err("expects commitment 0, the last one signed was 0"),
            ),
            (
                2,
                0,
                Nothing,
                Err("expects commitment 2, the last one signed was 0"),
            ),
            (1, 1, Nothing, Err(WRONG_SECRET)),
            (1, 1, Of(0), Err(STALE)),
        ],
    );
    let mut unready = opener;
    unready.record().funding.holder_ready = false;
    expect("unready", &unready, &[(1, 0, Nothing, Ok(&[]))]);
}

#[test]
fn with_nothing_signed_a_lost_revocation_is_sent_again() {
    let opener = traded().opener;
    expect(
        "traded",
        &opener,
        &[
            (2, 1, Of(0), Ok(&[])),
            (2, 0, Nothing, Ok(&[REVOKED])),
            (2, 1, Wrong, Err(WRONG_SECRET)),
            (2, 1, Nothing, Err(WRONG_SECRET)),
            (2, 1, Of(1), Err(WRONG_SECRET)),
            (
                1,
                1,
                Of(0),
                Err("expects commitment 1, the last one signed was 1"),
            ),
            (
                3,
                1,
                Of(0),
                Err("expects commitment 3, the last one signed was 1"),
            ),
            (u64::MAX, 1, Of(0), Err("expects commitment")),
            (2, 2, Of(1), Err(STALE)),
            (2, 2, Of(0), Err(WRONG_SECRET)),
            // Whatever else it says: who proves it is believed.
            (9, 9, Of(8), Err(STALE)),
            (2, u64::MAX, Wrong, Err(WRONG_SECRET)),
            (2, (1 << 48) + 1, Nothing, Err(WRONG_SECRET)),
        ],
    );
}

#[test]
fn a_signed_commitment_is_sent_again_with_its_updates_if_it_was_lost() {
    let mut ends = traded();
    assert_eq!(ends.opener.offer(2, 10_000_000), None);
    expect(
        "signed",
        &ends.opener,
        &[
            (3, 1, Of(0), Ok(&[])),
            (2, 1, Of(0), Ok(&[ADD, SIGNED])),
            (
                1,
                1,
                Of(0),
                Err("expects commitment 1, the last one signed was 2"),
            ),
            (
                4,
                1,
                Of(0),
                Err("expects commitment 4, the last one signed was 2"),
            ),
            // The revocation was sent before it signed.
            (3, 0, Nothing, Ok(&[REVOKED])),
            (2, 0, Nothing, Ok(&[REVOKED, ADD, SIGNED])),
        ],
    );
}

#[test]
fn what_was_signed_before_the_revocation_is_sent_again_before_it() {
    let mut ends = traded();
    assert_eq!(ends.opener.offer(2, 10_000_000), None);
    give_htlc_of_acceptor(&mut ends);
    let next = ends.opener.channel.record.next_counterparty.as_ref();
    assert_eq!(next.map(|next| next.holder_number), Some(1));
    expect(
        "signed, then revoked",
        &ends.opener,
        &[
            (2, 1, Of(0), Ok(&[ADD, SIGNED, REVOKED])),
            (3, 1, Of(0), Ok(&[REVOKED])),
            (2, 2, Of(1), Ok(&[ADD, SIGNED])),
            (3, 2, Of(1), Ok(&[])),
            (3, 0, Nothing, Err(VERY_OLD)),
            (2, 0, Nothing, Err(VERY_OLD)),
            (3, 3, Of(2), Err(STALE)),
        ],
    );
}

#[test]
fn what_was_signed_after_the_revocation_is_sent_again_after_it() {
    let mut ends = traded();
    give_htlc_of_acceptor(&mut ends);
    assert_eq!(ends.opener.flush(), []);
    let next = ends.opener.channel.record.next_counterparty.as_ref();
    assert_eq!(next.map(|next| next.holder_number), Some(2));
    expect(
        "revoked, then signed",
        &ends.opener,
        &[
            (2, 1, Of(0), Ok(&[REVOKED, SIGNED])),
            (3, 1, Of(0), Ok(&[REVOKED])),
            (2, 2, Of(1), Ok(&[SIGNED])),
            (3, 2, Of(1), Ok(&[])),
            (2, 0, Nothing, Err(VERY_OLD)),
        ],
    );
}

#[test]
fn a_second_channel_reestablish_is_warned_of_and_changes_nothing() {
    let mut opener = traded().opener;
    opener.reconnect();
    let message = reestablish(&opener, 2, 0, Nothing);
    opener.give(&message).unwrap();
    let before = opener.channel.record.clone();
    opener.sent();
    let got = opener.give(&message);
    assert!(matches!(got, Err(ChannelError::Warn(_))), "{got:?}");
    assert!(opener.wants_nothing());
    assert_eq!(opener.channel.record, before);
}

#[test]
fn a_channel_whose_end_is_in_a_block_answers_nothing() {
    let mut opener = traded().opener;
    opener.reconnect();
    let commitment = crate::commitment::holder_commitment_transaction(
        &opener.environment,
        &opener.channel.record.parameters,
        &opener.channel.record.holder,
    );
    opener.record().onchain.funding_spend = Some(crate::record::SeenTransaction {
        transaction: commitment,
        height: 1_000,
    });
    for (next, revocation, secret) in [(2, 0, Nothing), (2, 1, Wrong), (0, 0, Nothing)] {
        let message = reestablish(&opener, next, revocation, secret);
        let got = opener.give(&message);
        assert!(matches!(got, Err(ChannelError::Ignore(_))), "{got:?}");
        assert!(opener.wants_nothing());
    }
}

#[test]
fn a_proof_on_a_channel_that_is_closed_already_takes_back_that_it_may_be_published() {
    let mut out = super::Outbox::default();
    let mut opener = traded().opener;
    let environment = opener.environment.clone();
    opener
        .channel
        .force_close(&environment, "a test", true, &mut out);
    assert!(
        opener
            .channel
            .transaction_to_publish(&environment)
            .is_some()
    );
    let proof = |secret| match reestablish(&opener, 2, 2, secret) {
        Message::ChannelReestablish(message) => message,
        other => panic!("{other:?}"),
    };
    let (wrong, right) = (proof(Wrong), proof(Of(1)));
    let heeded = opener.channel.heed_proof(&wrong, &environment, &mut out);
    assert_eq!(heeded, Ok(()));
    assert!(
        opener
            .channel
            .transaction_to_publish(&environment)
            .is_some()
    );
    let heeded = opener.channel.heed_proof(&right, &environment, &mut out);
    assert_eq!(heeded, Err(ChannelError::Close(STALE.into())));
    assert_eq!(opener.channel.transaction_to_publish(&environment), None);
}
