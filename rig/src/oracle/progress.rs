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

    /// The taker sends a `commitment_signed`.
    pub fn signs(&mut self) {
        self.answered.append(&mut self.revoked);
    }

    /// The taker took a `revoke_and_ack`: these are part of both commitments for good.
    pub fn took_revocation(&mut self) -> Vec<U> {
        std::mem::take(&mut self.answered)
    }
}
