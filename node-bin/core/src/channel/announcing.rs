//! Announcing (BOLT 7): announcement signatures, the announcement, this node's channel updates.

use super::{Channel, ChannelError, Outbox};
use crate::keys::Environment;
use crate::node::Policy;

impl Channel {
    pub(crate) fn continue_announcing(
        &mut self,
        _: &Environment,
        _: &Policy,
        _height: u32,
        _now_s: u64,
        _: &mut Outbox,
    ) -> Result<(), ChannelError> {
        Ok(())
    }
    pub(crate) fn receive_announcement_signatures(
        &mut self,
        _: &Environment,
        _: &lightning::ln::msgs::AnnouncementSignatures,
        _: &mut Outbox,
    ) -> Result<(), ChannelError> {
        Ok(())
    }
}
