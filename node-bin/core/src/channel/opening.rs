//! Opening (BOLT 2, channel establishment v1), as opener and as acceptor. Until the funding is signed
//! nothing is durable: a crash or a disconnection forgets it.

use bitcoin::secp256k1::PublicKey;
use lightning::ln::types::ChannelId;

use super::{Channel, ChannelError, Outbox};
use crate::keys::Environment;
use crate::node::Policy;

/// stub
pub struct OpenRequest {
    pub peer: PublicKey,
    pub user_channel_id: [u8; 32],
    pub capacity_sat: u64,
    pub push_msat: u64,
    pub announce: bool,
}
/// stub
#[derive(Clone)]
pub struct PendingOpen;
impl PendingOpen {
    /// stub
    pub fn user_channel_id(&self) -> [u8; 32] {
        [0; 32]
    }
}
/// stub
pub fn begin(
    _: &Environment,
    _: &Policy,
    _: OpenRequest,
    _: [u8; 32],
    _: &mut Outbox,
) -> Result<(ChannelId, PendingOpen), ChannelError> {
    unimplemented!()
}
impl Channel {
    /// stub
    pub fn short_channel_id(&self) -> Option<u64> {
        unimplemented!()
    }
    pub(crate) fn funding_seen(
        &mut self,
        _height: u32,
        _index: u32,
        _out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        Ok(())
    }
    pub(crate) fn send_channel_ready(&self, _: &Environment, _: &mut Outbox) {}
    pub(crate) fn begin_shutdown(
        &mut self,
        _: &Environment,
        _: &mut Outbox,
    ) -> Result<(), ChannelError> {
        Ok(())
    }
}
