//! Channels come and go: openings, confirmations, announcements, closes by agreement.

use bitcoin::Transaction;
use bitcoin::secp256k1::PublicKey;
use lightning::ln::types::ChannelId;

use crate::channel::{ChannelError, Outbox};
use crate::message::Message;

use super::Node;

impl Node {
    pub(super) fn receive_opening(
        &mut self,
        _peer: PublicKey,
        _id: ChannelId,
        _message: &Message,
        _out: &mut Outbox,
    ) -> bool {
        false
    }
    pub(super) fn forget_opens(&mut self, _peer: PublicKey, _out: &mut Outbox) {}
    pub(super) fn funded(
        &mut self,
        _id: ChannelId,
        _transaction: Result<Transaction, String>,
        _out: &mut Outbox,
    ) {
    }
    pub(super) fn receive_lifecycle(
        &mut self,
        _id: ChannelId,
        _message: Message,
        _out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        Ok(())
    }
    pub(super) fn resume_lifecycle(
        &mut self,
        _id: ChannelId,
        _out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        Ok(())
    }
    pub(super) fn depth_reached(
        &mut self,
        _id: ChannelId,
        _out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        Ok(())
    }
}
