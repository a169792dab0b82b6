//! Announcements and policies: who hears what of a channel, and when.

use super::*;

/// What this side publishes.
fn published(effects: &[Ordered]) -> Vec<(msgs::ChannelAnnouncement, u8)> {
    let announcement = |ordered: &Ordered| match &ordered.effect {
        Effect::AnnounceChannel {
            announcement,
            update,
        } => Some(((**announcement).clone(), update.contents.channel_flags)),
        _ => None,
    };
    effects.iter().filter_map(announcement).collect()
}

impl Pair {
    fn opener_announces(&mut self, height: u32) -> Vec<Ordered> {
        let environment = &self.opener_environment;
        self.opener
            .continue_announcing(environment, &policy(), height, 1_000, &mut self.out)
            .unwrap();
        self.out.take()
    }

    fn acceptor_announces(&mut self, height: u32) -> Vec<Ordered> {
        let environment = &self.acceptor_environment;
        self.acceptor
            .continue_announcing(environment, &policy(), height, 1_000, &mut self.out)
            .unwrap();
        self.out.take()
    }
}

fn signatures(effects: &[Ordered]) -> msgs::AnnouncementSignatures {
    let is_signatures = |message: Message| match message {
        Message::AnnouncementSignatures(signatures) => Some(signatures),
        _ => None,
    };
    messages(effects)
        .into_iter()
        .find_map(is_signatures)
        .unwrap()
}

#[test]
fn the_peer_hears_the_policy_once_a_connection_and_the_signatures_after_six_confirmations() {
    let mut pair = opened().ready();
    let sent = messages(&pair.opener_announces(HEIGHT + 4));
    let [Message::ChannelUpdate(update)] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!(
        Some(update.contents.short_channel_id),
        pair.opener.short_channel_id()
    );
    let sent = messages(&pair.opener_announces(HEIGHT + 5));
    assert!(matches!(sent[..], [Message::AnnouncementSignatures(_)]));
    assert!(pair.opener_announces(HEIGHT + 6).is_empty());
    pair.opener.peer_down();
    pair.opener.volatile.connection = Connection::Up;
    assert_eq!(messages(&pair.opener_announces(HEIGHT + 6)).len(), 2);
}

#[test]
fn both_sides_publish_the_same_announcement_once() {
    let mut pair = opened().ready();
    let by_opener = signatures(&pair.opener_announces(HEIGHT + 5));
    pair.acceptor
        .receive_announcement_signatures(&pair.acceptor_environment, &by_opener, &mut pair.out)
        .unwrap();
    assert!(published(&pair.acceptor_announces(HEIGHT + 4)).is_empty());
    let effects = pair.acceptor_announces(HEIGHT + 5);
    let by_acceptor = published(&effects);
    pair.opener
        .receive_announcement_signatures(
            &pair.opener_environment,
            &signatures(&effects),
            &mut pair.out,
        )
        .unwrap();
    pair.out.take();
    let by_opener = published(&pair.opener_announces(HEIGHT + 5));
    assert_eq!(by_acceptor[0].0, by_opener[0].0);
    assert_eq!(by_acceptor[0].1 ^ by_opener[0].1, 1);
    lightning::routing::gossip::verify_channel_announcement(
        &by_opener[0].0,
        &pair.opener_environment.secp,
    )
    .unwrap();
    assert!(pair.opener_announces(HEIGHT + 6).is_empty());
}

/// An opener whose channel everybody knows.
fn announced() -> Pair {
    let mut pair = opened().ready();
    let by_acceptor = signatures(&pair.acceptor_announces(HEIGHT + 5));
    pair.opener
        .receive_announcement_signatures(&pair.opener_environment, &by_acceptor, &mut pair.out)
        .unwrap();
    assert_eq!(published(&pair.opener_announces(HEIGHT + 5)).len(), 1);
    pair
}

impl Pair {
    /// What the opener tells everybody at its next tick: timestamp and flags.
    fn opener_ticks(&mut self, now_s: u64) -> Option<(u32, u8)> {
        let environment = &self.opener_environment;
        self.opener
            .tick_announcing(environment, &policy(), now_s, &mut self.out);
        let told = self.out.take();
        let told = told.iter().find_map(|ordered| match &ordered.effect {
            Effect::AnnouncePolicy { update } => Some(&update.contents),
            _ => None,
        });
        told.map(|update| (update.timestamp, update.channel_flags & 2))
    }
}

#[test]
fn everybody_hears_once_when_the_peer_stays_away_and_when_it_is_back() {
    let mut pair = announced();
    assert_eq!(pair.opener_ticks(1_000), None);
    pair.opener.peer_down();
    for _ in 0..9 {
        assert_eq!(pair.opener_ticks(1_000), None);
    }
    assert_eq!(pair.opener_ticks(1_000), Some((1_001, 2)));
    assert_eq!(pair.opener_ticks(1_100), None);
    pair.opener.volatile.connection = Connection::Up;
    for _ in 0..2 {
        assert_eq!(pair.opener_ticks(1_200), None);
    }
    assert_eq!(pair.opener_ticks(1_200), Some((1_200, 0)));
    assert_eq!(pair.opener_ticks(1_200), None);
}

#[test]
fn a_peer_that_is_back_in_time_was_never_away_for_others() {
    let mut pair = announced();
    for _ in 0..3 {
        pair.opener.peer_down();
        for _ in 0..9 {
            assert_eq!(pair.opener_ticks(1_000), None);
        }
        pair.opener.volatile.connection = Connection::Up;
        assert_eq!(pair.opener_ticks(1_000), None);
    }
}

#[test]
fn a_policy_is_published_again_each_day_and_a_closing_channel_is_disabled_at_once() {
    let mut pair = announced();
    let day_s = 24 * 60 * 60;
    assert_eq!(pair.opener_ticks(1_000 + day_s - 1), None);
    assert_eq!(pair.opener_ticks(1_000 + day_s), Some((1_000 + 86_400, 0)));
    assert_eq!(pair.opener_ticks(1_000 + day_s), None);
    pair.opener.record.shutdown.holder = Some(bitcoin::ScriptBuf::new());
    let told = pair.opener_ticks(1_000 + day_s);
    assert_eq!(told, Some((1_001 + 86_400, 2)));
    assert_eq!(pair.opener_ticks(1_000 + day_s), None);
}

#[test]
fn a_channel_that_was_never_published_has_no_policy_to_change() {
    let mut pair = opened().ready();
    pair.opener.peer_down();
    for _ in 0..20 {
        assert_eq!(pair.opener_ticks(1_000_000), None);
    }
}

#[test]
fn a_peer_that_lost_the_signatures_gets_them_again() {
    let mut pair = opened().ready();
    let by_opener = signatures(&pair.opener_announces(HEIGHT + 5));
    for _ in 0..2 {
        pair.acceptor.peer_down();
        pair.acceptor.volatile.connection = Connection::Up;
        pair.acceptor
            .receive_announcement_signatures(&pair.acceptor_environment, &by_opener, &mut pair.out)
            .unwrap();
        signatures(&pair.acceptor_announces(HEIGHT + 5));
    }
}

#[test]
fn an_announcement_with_a_wrong_signature_closes_the_channel() {
    let mut pair = opened().ready();
    let mut wrong = signatures(&pair.opener_announces(HEIGHT + 5));
    wrong.bitcoin_signature = wrong_signature();
    let refused = pair.acceptor.receive_announcement_signatures(
        &pair.acceptor_environment,
        &wrong,
        &mut pair.out,
    );
    assert!(matches!(refused, Err(ChannelError::Close(_))));
}
