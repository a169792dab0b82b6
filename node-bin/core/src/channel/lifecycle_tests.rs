//! Two channels' ends that talk to each other: opening, confirming, announcing, closing.

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::{Message as Digest, SecretKey};
use bitcoin::transaction::Version;
use bitcoin::{Amount, ScriptBuf, Transaction, TxOut, WPubkeyHash};
use lightning::ln::msgs;

use super::opening::{self, OpenRequest, PendingOpen};
use super::{Channel, ChannelError, Connection, Outbox};
use crate::effect::{Content, Effect, Ordered};
use crate::input::PlacedTransaction;
use crate::keys::Environment;
use crate::message::Message;
use crate::node::Policy;
use crate::record::Closure;

mod announcing;
mod limits;

const CAPACITY_SAT: u64 = 1_000_000;
const PUSH_MSAT: u64 = 300_000_000;
const FEERATE: u32 = 1000;
const HEIGHT: u32 = 200;

fn environment(byte: u8) -> Environment {
    let script = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([byte; 20]));
    Environment::new([byte; 32], script)
}

fn policy() -> Policy {
    Policy {
        feerate_per_kw: FEERATE,
        fee_base_msat: 1000,
        fee_proportional_millionths: 10,
        cltv_expiry_delta: 48,
        minimum_depth: 3,
        maximum_unacknowledged_events: 100,
    }
}

/// The messages among these effects, in order.
fn messages(effects: &[Ordered]) -> Vec<Message> {
    let message = |ordered: &Ordered| match &ordered.effect {
        Effect::Send { message, .. } => Some(message.clone()),
        _ => None,
    };
    effects.iter().filter_map(message).collect()
}

fn only_message(out: &mut Outbox) -> Message {
    let mut all = messages(&out.take());
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn broadcasts(effects: &[Ordered]) -> Vec<Transaction> {
    let transactions = |ordered: &Ordered| match &ordered.effect {
        Effect::Broadcast { transactions, .. } => transactions.clone(),
        _ => Vec::new(),
    };
    effects.iter().flat_map(transactions).collect()
}

struct Opener {
    environment: Environment,
    pending: PendingOpen,
}

fn begin(out: &mut Outbox) -> (Opener, msgs::OpenChannel) {
    begin_giving(PUSH_MSAT, out)
}

fn begin_giving(push_msat: u64, out: &mut Outbox) -> (Opener, msgs::OpenChannel) {
    let environment = environment(1);
    let request = OpenRequest {
        peer: self::environment(2).node_id(),
        user_channel_id: [9; 32],
        capacity_sat: CAPACITY_SAT,
        push_msat,
        announce: true,
    };
    let (_, pending) = opening::begin(&environment, &policy(), request, [3; 32], out).unwrap();
    let Message::OpenChannel(open) = only_message(out) else {
        panic!("no open_channel");
    };
    (
        Opener {
            environment,
            pending,
        },
        open,
    )
}

fn accept(
    acceptor: &Environment,
    open: &msgs::OpenChannel,
    out: &mut Outbox,
) -> Result<(PendingOpen, msgs::AcceptChannel), ChannelError> {
    let peer = environment(1).node_id();
    let pending = opening::accept(acceptor, &policy(), peer, open, [4; 32], out)?;
    match only_message(out) {
        Message::AcceptChannel(accept) => Ok((pending, accept)),
        other => panic!("{other:?}"),
    }
}

fn funding_transaction(effects: &[Ordered]) -> Transaction {
    let output = |ordered: &Ordered| match &ordered.effect {
        Effect::Fund {
            script, amount_sat, ..
        } => Some(TxOut {
            value: Amount::from_sat(*amount_sat),
            script_pubkey: script.clone(),
        }),
        _ => None,
    };
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![Default::default()],
        output: effects.iter().filter_map(output).collect(),
    }
}

/// Up to `funding_created`: both pending ends and the message.
fn funded(out: &mut Outbox) -> (Opener, Environment, PendingOpen, msgs::FundingCreated) {
    let acceptor = environment(2);
    let (opener, open) = begin(out);
    let (answered, accept) = accept(&acceptor, &open, out).unwrap();
    let pending =
        opening::handle_accept_channel(&opener.environment, opener.pending, &accept, out).unwrap();
    let transaction = funding_transaction(&out.take());
    let pending =
        opening::handle_funded(&opener.environment, pending, Ok(transaction), out).unwrap();
    let Message::FundingCreated(created) = only_message(out) else {
        panic!("no funding_created");
    };
    let opener = Opener { pending, ..opener };
    (opener, acceptor, answered, created)
}

struct Pair {
    opener: Channel,
    opener_environment: Environment,
    acceptor: Channel,
    acceptor_environment: Environment,
    funding: Transaction,
    out: Outbox,
}

fn opened() -> Pair {
    let mut out = Outbox::default();
    let (opener, acceptor_environment, answered, created) = funded(&mut out);
    let acceptor =
        opening::handle_funding_created(&acceptor_environment, answered, &created, 100, &mut out)
            .unwrap();
    let Message::FundingSigned(signed) = only_message(&mut out) else {
        panic!("no funding_signed");
    };
    assert_eq!(opener.pending.channel_id(), Some(signed.channel_id));
    let channel =
        opening::handle_funding_signed(&opener.environment, opener.pending, &signed, &mut out)
            .unwrap();
    let funding = broadcasts(&out.take()).remove(0);
    Pair {
        opener: channel,
        opener_environment: opener.environment,
        acceptor,
        acceptor_environment,
        funding,
        out,
    }
}

impl Pair {
    fn placed(&self) -> PlacedTransaction {
        PlacedTransaction {
            index: 5,
            transaction: self.funding.clone(),
        }
    }

    /// Both sides see the funding in a block and three more, and say `channel_ready`.
    fn ready(mut self) -> Pair {
        let placed = self.placed();
        for (channel, environment) in [
            (&mut self.opener, &self.opener_environment),
            (&mut self.acceptor, &self.acceptor_environment),
        ] {
            channel
                .funding_seen(environment, HEIGHT, &placed, &mut self.out)
                .unwrap();
            channel
                .depth_reached(environment, HEIGHT + 3, &mut self.out)
                .unwrap();
        }
        let sent = messages(&self.out.take());
        let [
            Message::ChannelReady(by_opener),
            Message::ChannelReady(by_acceptor),
        ] = &sent[..]
        else {
            panic!("{sent:?}");
        };
        self.acceptor
            .receive_channel_ready(by_opener, &mut self.out)
            .unwrap();
        self.opener
            .receive_channel_ready(by_acceptor, &mut self.out)
            .unwrap();
        assert!(self.opener.is_ready() && self.acceptor.is_ready());
        self.out.take();
        self
    }

    /// Exchanges `shutdown`, which the acceptor begins.
    fn shut_down(mut self) -> Pair {
        self.acceptor
            .begin_shutdown(&self.acceptor_environment, &mut self.out)
            .unwrap();
        let Message::Shutdown(shutdown) = only_message(&mut self.out) else {
            panic!("no shutdown");
        };
        self.opener
            .receive_shutdown(&self.opener_environment, &shutdown, &mut self.out)
            .unwrap();
        let Message::Shutdown(shutdown) = only_message(&mut self.out) else {
            panic!("no shutdown");
        };
        self.acceptor
            .receive_shutdown(&self.acceptor_environment, &shutdown, &mut self.out)
            .unwrap();
        self.out.take();
        self
    }

    fn first_offer(&mut self) -> msgs::ClosingSigned {
        self.opener
            .continue_closing(&self.opener_environment, FEERATE, &mut self.out)
            .unwrap();
        match only_message(&mut self.out) {
            Message::ClosingSigned(offer) => offer,
            other => panic!("{other:?}"),
        }
    }

    fn give_acceptor(&mut self, offer: &msgs::ClosingSigned) -> Result<Vec<Ordered>, ChannelError> {
        let environment = &self.acceptor_environment;
        self.acceptor
            .receive_closing_signed(environment, FEERATE, offer, &mut self.out)?;
        Ok(self.out.take())
    }

    fn give_opener(&mut self, offer: &msgs::ClosingSigned) -> Result<Vec<Ordered>, ChannelError> {
        let environment = &self.opener_environment;
        self.opener
            .receive_closing_signed(environment, FEERATE, offer, &mut self.out)?;
        Ok(self.out.take())
    }
}

fn closing_signed(effects: &[Ordered]) -> msgs::ClosingSigned {
    match &messages(effects)[..] {
        [Message::ClosingSigned(offer)] => offer.clone(),
        other => panic!("{other:?}"),
    }
}

fn wrong_signature() -> Signature {
    let secp = bitcoin::secp256k1::Secp256k1::new();
    let key = SecretKey::from_slice(&[5; 32]).unwrap();
    secp.sign_ecdsa(&Digest::from_digest([6; 32]), &key)
}

#[test]
fn an_opening_gives_both_sides_the_same_channel() {
    let pair = opened();
    let (opener, acceptor) = (&pair.opener.record, &pair.acceptor.record);
    assert_eq!(pair.opener.id(), pair.acceptor.id());
    assert_eq!(opener.holder.spec.counterparty_msat, PUSH_MSAT);
    assert_eq!(acceptor.holder.spec.holder_msat, PUSH_MSAT);
    assert_eq!(
        opener.parameters.holder_limits,
        acceptor.parameters.counterparty_limits
    );
    assert_eq!(
        opener.parameters.counterparty_limits,
        acceptor.parameters.holder_limits
    );
    assert_eq!(opener.parameters.user_channel_id, [9; 32]);
    assert_eq!(acceptor.parameters.user_channel_id, [0; 32]);
    assert_eq!(opener.funding.transaction.as_ref(), Some(&pair.funding));
}

#[test]
fn the_funding_transaction_waits_for_the_openers_record() {
    let mut out = Outbox::default();
    let (opener, acceptor, answered, created) = funded(&mut out);
    let channel =
        opening::handle_funding_created(&acceptor, answered, &created, 100, &mut out).unwrap();
    let effects = out.take();
    let Effect::Persist(write) = &effects[0].effect else {
        panic!("{effects:?}");
    };
    assert!(matches!(write.content, Content::Snapshot(_)));
    assert_eq!(write.sequence, 1);
    assert_eq!(effects[1].waits_for, [channel.store()]);
    let [Message::FundingSigned(signed)] = &messages(&effects)[..] else {
        panic!("{effects:?}");
    };
    opening::handle_funding_signed(&opener.environment, opener.pending, signed, &mut out).unwrap();
    let effects = out.take();
    assert!(matches!(effects[0].effect, Effect::Persist(_)));
    assert!(matches!(effects[1].effect, Effect::Broadcast { .. }));
    assert_eq!(effects[1].waits_for, [channel.store()]);
}

#[test]
fn a_wrong_funding_signature_ends_the_opening_and_frees_the_coins() {
    let mut out = Outbox::default();
    let (opener, acceptor, answered, mut created) = funded(&mut out);
    created.signature = wrong_signature();
    let refused = opening::handle_funding_created(&acceptor, answered, &created, 100, &mut out);
    assert!(matches!(refused, Err(ChannelError::Close(_))));
    let signed = msgs::FundingSigned {
        channel_id: opener.pending.channel_id().unwrap(),
        signature: wrong_signature(),
    };
    let refused =
        opening::handle_funding_signed(&opener.environment, opener.pending, &signed, &mut out);
    assert!(matches!(refused, Err(ChannelError::Close(_))));
    let effects = out.take();
    assert!(matches!(
        effects[..],
        [Ordered {
            effect: Effect::Unfund { .. },
            ..
        }]
    ));
}

#[test]
fn a_message_at_a_wrong_time_ends_the_opening() {
    let mut out = Outbox::default();
    let (opener, acceptor, answered, created) = funded(&mut out);
    let late = opening::handle_funding_created(&acceptor, opener.pending, &created, 100, &mut out);
    assert!(matches!(late, Err(ChannelError::Close(_))));
    let effects = out.take();
    assert!(matches!(
        effects[..],
        [Ordered {
            effect: Effect::Unfund { .. },
            ..
        }]
    ));
    let strange = opening::handle_funded(&acceptor, answered, Err("no coins".into()), &mut out);
    assert_eq!(strange, Err(ChannelError::Close("no coins".into())));
}

#[test]
fn an_opener_that_could_not_pay_its_commitment_does_not_begin() {
    let mut out = Outbox::default();
    let request = OpenRequest {
        peer: environment(2).node_id(),
        user_channel_id: [9; 32],
        capacity_sat: 20_000,
        push_msat: 18_000_000,
        announce: false,
    };
    let refused = opening::begin(&environment(1), &policy(), request, [3; 32], &mut out);
    assert!(refused.is_err());
    assert!(out.take().is_empty());
}

#[test]
fn channel_ready_waits_for_the_depth_and_is_sent_once() {
    let mut pair = opened();
    let placed = pair.placed();
    let channel = &mut pair.opener;
    let environment = &pair.opener_environment;
    channel
        .funding_seen(environment, HEIGHT, &placed, &mut pair.out)
        .unwrap();
    channel
        .depth_reached(environment, HEIGHT + 1, &mut pair.out)
        .unwrap();
    assert!(messages(&pair.out.take()).is_empty());
    for _ in 0..2 {
        channel
            .depth_reached(environment, HEIGHT + 2, &mut pair.out)
            .unwrap();
    }
    assert!(matches!(
        only_message(&mut pair.out),
        Message::ChannelReady(_)
    ));
    assert_eq!(
        channel.short_channel_id(),
        Some(u64::from(HEIGHT) << 40 | 5 << 16)
    );
    channel.publish_funding(&mut pair.out);
    assert!(pair.out.take().is_empty());
    channel.funding_unseen(HEIGHT, &mut pair.out).unwrap();
    assert!(channel.short_channel_id().is_some());
    channel.funding_unseen(HEIGHT - 1, &mut pair.out).unwrap();
    assert_eq!(channel.short_channel_id(), None);
    assert!(channel.record.funding.holder_ready);
}

#[test]
fn a_funding_that_a_reorganisation_took_out_is_published_again_by_its_opener() {
    let mut pair = opened();
    let placed = pair.placed();
    let (opener, acceptor) = (&mut pair.opener, &mut pair.acceptor);
    let out = &mut pair.out;
    opener
        .funding_seen(&pair.opener_environment, HEIGHT, &placed, out)
        .unwrap();
    acceptor
        .funding_seen(&pair.acceptor_environment, HEIGHT, &placed, out)
        .unwrap();
    out.take();
    for channel in [&mut *opener, &mut *acceptor] {
        channel.publish_funding(out);
        assert!(out.take().is_empty());
        channel.funding_unseen(HEIGHT - 1, out).unwrap();
        out.take();
    }
    opener.publish_funding(out);
    let published = out.take();
    let [ordered] = &published[..] else {
        panic!("{published:?}");
    };
    assert!(matches!(
        &ordered.effect,
        Effect::Broadcast { transactions, .. } if transactions[..] == [placed.transaction.clone()]
    ));
    acceptor.publish_funding(out);
    assert!(out.take().is_empty());
}

#[test]
fn a_coinbase_that_funds_a_channel_has_to_be_spendable_before_channel_ready() {
    let mut pair = opened();
    let placed = PlacedTransaction {
        index: 0,
        ..pair.placed()
    };
    let (channel, environment) = (&mut pair.acceptor, &pair.acceptor_environment);
    channel
        .funding_seen(environment, HEIGHT, &placed, &mut pair.out)
        .unwrap();
    channel
        .depth_reached(environment, HEIGHT + 98, &mut pair.out)
        .unwrap();
    assert!(messages(&pair.out.take()).is_empty());
    channel
        .depth_reached(environment, HEIGHT + 99, &mut pair.out)
        .unwrap();
    assert!(matches!(
        only_message(&mut pair.out),
        Message::ChannelReady(_)
    ));
}

#[test]
fn a_repeated_channel_ready_changes_nothing() {
    let mut pair = opened().ready();
    let before = pair.opener.record.clone();
    let again = msgs::ChannelReady {
        channel_id: pair.opener.id(),
        next_per_commitment_point: environment(7).node_id(),
        short_channel_id_alias: None,
    };
    pair.opener
        .receive_channel_ready(&again, &mut pair.out)
        .unwrap();
    assert_eq!(pair.opener.record, before);
    assert!(pair.out.take().is_empty());
}

#[test]
fn a_funding_that_pays_something_else_closes_the_channel() {
    let mut pair = opened();
    let mut placed = pair.placed();
    placed.transaction.output[0].value = Amount::from_sat(CAPACITY_SAT - 1);
    let seen =
        pair.acceptor
            .funding_seen(&pair.acceptor_environment, HEIGHT, &placed, &mut pair.out);
    assert!(matches!(seen, Err(ChannelError::Close(_))));
}

#[test]
fn a_close_is_agreed_on_in_one_round() {
    let mut pair = opened().ready().shut_down();
    let offer = pair.first_offer();
    let by_acceptor = pair.give_acceptor(&offer).unwrap();
    let by_opener = pair.give_opener(&closing_signed(&by_acceptor)).unwrap();
    assert!(messages(&by_opener).is_empty());
    assert_eq!(broadcasts(&by_acceptor), broadcasts(&by_opener));
    let closing = broadcasts(&by_opener).remove(0);
    let total_sat: u64 = closing.output.iter().map(|out| out.value.to_sat()).sum();
    assert_eq!(total_sat + offer.fee_satoshis, CAPACITY_SAT);
    assert!(
        closing
            .output
            .iter()
            .any(|out| out.value.to_sat() * 1000 == PUSH_MSAT)
    );
    let paid_per_kw = offer.fee_satoshis * 1000 / closing.weight().to_wu();
    assert!((FEERATE as u64 - 10..=FEERATE as u64 + 20).contains(&paid_per_kw));
    // Durable first, then told to the peer, then published.
    assert!(matches!(by_acceptor[0].effect, Effect::Persist(_)));
    assert_eq!(by_acceptor[1].waits_for, [pair.acceptor.store()]);
    assert_eq!(by_acceptor[2].waits_for, [pair.acceptor.store()]);
    for channel in [&pair.opener, &pair.acceptor] {
        let wanted = Closure::Cooperative {
            transaction: closing.clone(),
        };
        assert_eq!(channel.record.closure, Some(wanted));
    }
}

#[test]
fn a_peer_that_missed_the_agreement_gets_it_again_after_a_reconnection() {
    let mut pair = opened().ready().shut_down();
    let offer = pair.first_offer();
    pair.give_acceptor(&offer).unwrap();
    let record = pair.acceptor.record.clone();
    pair.opener.volatile.closing = Default::default();
    pair.acceptor.volatile.closing = Default::default();
    let offer = pair.first_offer();
    let answer = pair.give_acceptor(&offer).unwrap();
    assert!(broadcasts(&answer).is_empty());
    assert_eq!(pair.acceptor.record, record);
    let by_opener = pair.give_opener(&closing_signed(&answer)).unwrap();
    assert_eq!(broadcasts(&by_opener).len(), 1);
}

#[test]
fn an_opener_takes_the_fee_that_the_peer_picks_in_its_range() {
    let mut pair = opened().ready().shut_down();
    let offer = pair.first_offer();
    let range = offer.fee_range.clone().unwrap();
    assert!(range.min_fee_satoshis < range.max_fee_satoshis);
    let scripts = pair.acceptor.record.shutdown.clone();
    let picked = pair.acceptor.signed_close_for_tests(
        &pair.acceptor_environment,
        (&scripts.holder.unwrap(), &scripts.counterparty.unwrap()),
        range.min_fee_satoshis,
    );
    let answer = msgs::ClosingSigned {
        channel_id: pair.opener.id(),
        fee_satoshis: range.min_fee_satoshis,
        signature: picked,
        fee_range: Some(range.clone()),
    };
    let by_opener = pair.give_opener(&answer).unwrap();
    assert_eq!(
        closing_signed(&by_opener).fee_satoshis,
        range.min_fee_satoshis
    );
    assert_eq!(broadcasts(&by_opener).len(), 1);
}

#[test]
fn closing_signed_is_refused_when_it_is_early_wrong_or_beyond_the_balance() {
    let mut pair = opened().ready();
    let offer = msgs::ClosingSigned {
        channel_id: pair.opener.id(),
        fee_satoshis: 500,
        signature: wrong_signature(),
        fee_range: None,
    };
    assert!(matches!(
        pair.give_acceptor(&offer),
        Err(ChannelError::Close(_))
    ));
    let mut pair = pair.shut_down();
    assert!(matches!(
        pair.give_opener(&offer),
        Err(ChannelError::Close(_))
    ));
    assert!(matches!(
        pair.give_acceptor(&offer),
        Err(ChannelError::Close(_))
    ));
    let mut beyond = pair.first_offer();
    beyond.fee_satoshis = u64::MAX;
    assert!(matches!(
        pair.give_acceptor(&beyond),
        Err(ChannelError::Close(_))
    ));
}

#[test]
fn an_opener_cannot_close_without_the_acceptors_output_by_paying_a_high_fee() {
    let mut pair = opened().ready().shut_down();
    let scripts = &pair.opener.record.shutdown;
    let (opener, acceptor) = (
        scripts.holder.clone().unwrap(),
        scripts.counterparty.clone().unwrap(),
    );
    // The acceptor's balance would be dust if it were the one to pay this.
    let fee_satoshis = PUSH_MSAT / 1000 - 1;
    let signature = pair.opener.signed_robbery_for_tests(
        &pair.opener_environment,
        (&opener, &acceptor),
        fee_satoshis,
    );
    let offer = msgs::ClosingSigned {
        channel_id: pair.opener.id(),
        fee_satoshis,
        signature,
        fee_range: None,
    };
    assert!(matches!(
        pair.give_acceptor(&offer),
        Err(ChannelError::Close(_))
    ));
    assert!(pair.acceptor.record.closure.is_none());
}

#[test]
fn shutdown_is_said_once_and_its_script_cannot_change() {
    let mut pair = opened().ready().shut_down();
    pair.opener
        .begin_shutdown(&pair.opener_environment, &mut pair.out)
        .unwrap();
    assert!(pair.out.take().is_empty());
    let mut again = msgs::Shutdown {
        channel_id: pair.opener.id(),
        scriptpubkey: pair.acceptor_environment.destination_script.clone(),
    };
    pair.opener
        .receive_shutdown(&pair.opener_environment, &again, &mut pair.out)
        .unwrap();
    assert!(pair.out.take().is_empty());
    again.scriptpubkey = pair.opener_environment.destination_script.clone();
    let changed = pair
        .opener
        .receive_shutdown(&pair.opener_environment, &again, &mut pair.out);
    assert!(matches!(changed, Err(ChannelError::Warn(_))));
}

#[test]
fn a_shutdown_without_a_connection_is_kept_and_sent_later() {
    let mut pair = opened().ready();
    pair.opener.volatile.connection = Connection::Down;
    pair.opener
        .begin_shutdown(&pair.opener_environment, &mut pair.out)
        .unwrap();
    assert!(messages(&pair.out.take()).is_empty());
    pair.opener.volatile.connection = Connection::Up;
    pair.opener.send_shutdown(&mut pair.out);
    assert!(matches!(only_message(&mut pair.out), Message::Shutdown(_)));
}
