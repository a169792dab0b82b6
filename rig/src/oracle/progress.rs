//! How far an update of a channel has come (BOLT 2): taken, signed for, and part of both commitments for good. Owns
//! that alone, for one direction of one channel, as the side tells it that takes the updates.

/// Since which trace entries an update is part of the commitments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whoever takes it has it.
    pub taken: Option<u64>,
    /// The taker revoked its last commitment without it.
    pub with_taker: Option<u64>,
    /// So did the other side, and the taker knows: it is irrevocable.
    pub with_both: Option<u64>,
}

/// The updates that are under way, by numbers of the caller's.
#[derive(Debug, Default)]
pub(super) struct UnderWay<U> {
    /// Whose updates they are.
    pub peer: String,
    unsigned: Vec<U>,
    signed: Vec<U>,
    revoked: Vec<U>,
    answered: Vec<U>,
    /// The taker has signed and the other side has not revoked: what it signs again is a repetition.
    awaits_revocation: bool,
}

impl<U: Copy> UnderWay<U> {
    /// Of this peer, with none yet.
    pub fn of(peer: &str) -> Self {
        UnderWay {
            peer: peer.to_owned(),
            unsigned: Vec::new(),
            signed: Vec::new(),
            revoked: Vec::new(),
            answered: Vec::new(),
            awaits_revocation: false,
        }
    }

    /// The peer's update is taken.
    pub fn taken(&mut self, update: U) {
        self.unsigned.push(update);
    }

    /// The connection is gone, or the taker's process: what no signature covers is forgotten.
    pub fn forget_unsigned(&mut self) {
        self.unsigned.clear();
    }

    /// The taker took a `commitment_signed`.
    pub fn took_signature(&mut self) {
        self.signed.append(&mut self.unsigned);
    }

    /// The taker sends a `revoke_and_ack`: these are part of its commitment for good.
    pub fn revokes(&mut self) -> Vec<U> {
        let revoked = std::mem::take(&mut self.signed);
        self.revoked.extend(&revoked);
        revoked
    }

    /// The taker sends a `commitment_signed`; after a reconnection perhaps the last one again, which covers no more than
    /// it did (BOLT 2).
    pub fn signs(&mut self) {
        if !std::mem::replace(&mut self.awaits_revocation, true) {
            self.answered.append(&mut self.revoked);
        }
    }

    /// The taker took a `revoke_and_ack`: these are part of both commitments for good.
    pub fn took_revocation(&mut self) -> Vec<U> {
        self.awaits_revocation = false;
        std::mem::take(&mut self.answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_is_irrevocable_when_the_peer_has_revoked_for_a_signature_that_covers_it() {
        let mut updates = UnderWay::of("C");
        updates.taken(1);
        updates.took_signature();
        assert_eq!(updates.revokes(), [1]);
        assert!(updates.took_revocation().is_empty());
        updates.signs();
        assert_eq!(updates.took_revocation(), [1]);
        assert!(updates.took_revocation().is_empty());
    }

    #[test]
    fn a_signature_that_is_repeated_covers_nothing_that_came_in_between() {
        let mut updates = UnderWay::of("C");
        updates.signs();
        updates.taken(1);
        updates.took_signature();
        updates.revokes();
        // The connection is lost, and the peer had not got it.
        updates.signs();
        assert!(updates.took_revocation().is_empty());
        updates.signs();
        assert_eq!(updates.took_revocation(), [1]);
    }

    #[test]
    fn what_no_signature_covers_is_forgotten_with_the_connection() {
        let mut updates = UnderWay::of("C");
        updates.taken(1);
        updates.forget_unsigned();
        updates.took_signature();
        assert!(updates.revokes().is_empty());
    }
}
