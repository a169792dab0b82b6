//! The protocol messages that the core takes and gives, one type for both directions.
//!
//! BOLT 1, 2 and 7.

use bitcoin::secp256k1::PublicKey;
use lightning::ln::msgs;
use lightning::ln::types::ChannelId;

/// A channel message of BOLT 1, 2 or 7.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // one variant a BOLT message, by its name
#[allow(clippy::large_enum_variant)] // it is boxed wherever it waits
pub enum Message {
    OpenChannel(msgs::OpenChannel),
    AcceptChannel(msgs::AcceptChannel),
    FundingCreated(msgs::FundingCreated),
    FundingSigned(msgs::FundingSigned),
    ChannelReady(msgs::ChannelReady),
    UpdateAddHtlc(msgs::UpdateAddHTLC),
    UpdateFulfillHtlc(msgs::UpdateFulfillHTLC),
    UpdateFailHtlc(msgs::UpdateFailHTLC),
    UpdateFailMalformedHtlc(msgs::UpdateFailMalformedHTLC),
    UpdateFee(msgs::UpdateFee),
    CommitmentSigned(msgs::CommitmentSigned),
    RevokeAndAck(msgs::RevokeAndACK),
    ChannelReestablish(msgs::ChannelReestablish),
    Shutdown(msgs::Shutdown),
    ClosingSigned(msgs::ClosingSigned),
    AnnouncementSignatures(msgs::AnnouncementSignatures),
    /// For the peer only: how to route over an unannounced channel, or before the announcement.
    ChannelUpdate(msgs::ChannelUpdate),
    Error(msgs::ErrorMessage),
    Warning(msgs::WarningMessage),
}

impl Message {
    /// The channel (or the temporary channel) that the message is about.
    pub fn channel_id(&self) -> Option<ChannelId> {
        match self {
            Message::OpenChannel(m) => Some(m.common_fields.temporary_channel_id),
            Message::AcceptChannel(m) => Some(m.common_fields.temporary_channel_id),
            Message::FundingCreated(m) => Some(m.temporary_channel_id),
            Message::FundingSigned(m) => Some(m.channel_id),
            Message::ChannelReady(m) => Some(m.channel_id),
            Message::UpdateAddHtlc(m) => Some(m.channel_id),
            Message::UpdateFulfillHtlc(m) => Some(m.channel_id),
            Message::UpdateFailHtlc(m) => Some(m.channel_id),
            Message::UpdateFailMalformedHtlc(m) => Some(m.channel_id),
            Message::UpdateFee(m) => Some(m.channel_id),
            Message::CommitmentSigned(m) => Some(m.channel_id),
            Message::RevokeAndAck(m) => Some(m.channel_id),
            Message::ChannelReestablish(m) => Some(m.channel_id),
            Message::Shutdown(m) => Some(m.channel_id),
            Message::ClosingSigned(m) => Some(m.channel_id),
            Message::AnnouncementSignatures(m) => Some(m.channel_id),
            Message::ChannelUpdate(_) => None,
            Message::Error(m) => Some(m.channel_id),
            Message::Warning(m) => Some(m.channel_id),
        }
    }

    /// BOLT's name of the message.
    pub fn name(&self) -> &'static str {
        match self {
            Message::OpenChannel(_) => "open_channel",
            Message::AcceptChannel(_) => "accept_channel",
            Message::FundingCreated(_) => "funding_created",
            Message::FundingSigned(_) => "funding_signed",
            Message::ChannelReady(_) => "channel_ready",
            Message::UpdateAddHtlc(_) => "update_add_htlc",
            Message::UpdateFulfillHtlc(_) => "update_fulfill_htlc",
            Message::UpdateFailHtlc(_) => "update_fail_htlc",
            Message::UpdateFailMalformedHtlc(_) => "update_fail_malformed_htlc",
            Message::UpdateFee(_) => "update_fee",
            Message::CommitmentSigned(_) => "commitment_signed",
            Message::RevokeAndAck(_) => "revoke_and_ack",
            Message::ChannelReestablish(_) => "channel_reestablish",
            Message::Shutdown(_) => "shutdown",
            Message::ClosingSigned(_) => "closing_signed",
            Message::AnnouncementSignatures(_) => "announcement_signatures",
            Message::ChannelUpdate(_) => "channel_update",
            Message::Error(_) => "error",
            Message::Warning(_) => "warning",
        }
    }
}

/// A message with its addressee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// To whom.
    pub peer: PublicKey,
    /// What.
    pub message: Message,
}
