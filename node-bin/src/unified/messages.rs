//! The core's messages and LDK's: what came in, and what goes out.

use bitcoin::secp256k1::PublicKey;
use lightning::ln::msgs::{CommitmentUpdate, ErrorAction, MessageSendEvent};
use lightning::ln::types::ChannelId;
use lightning::util::logger::Level;
use node_core::message::Message;

use crate::shared::mailbox::PeerMessage;

/// A peer's message for the core; `None` for those of features that this node does not have.
pub fn incoming(message: PeerMessage) -> Option<Message> {
    Some(match message {
        PeerMessage::OpenChannel(msg) => Message::OpenChannel(msg),
        PeerMessage::AcceptChannel(msg) => Message::AcceptChannel(msg),
        PeerMessage::FundingCreated(msg) => Message::FundingCreated(msg),
        PeerMessage::FundingSigned(msg) => Message::FundingSigned(msg),
        PeerMessage::ChannelReady(msg) => Message::ChannelReady(msg),
        PeerMessage::UpdateAddHtlc(msg) => Message::UpdateAddHtlc(msg),
        PeerMessage::UpdateFulfillHtlc(msg) => Message::UpdateFulfillHtlc(msg),
        PeerMessage::UpdateFailHtlc(msg) => Message::UpdateFailHtlc(msg),
        PeerMessage::UpdateFailMalformedHtlc(msg) => Message::UpdateFailMalformedHtlc(msg),
        PeerMessage::UpdateFee(msg) => Message::UpdateFee(msg),
        PeerMessage::CommitmentSigned(msg) => Message::CommitmentSigned(msg),
        PeerMessage::RevokeAndAck(msg) => Message::RevokeAndAck(msg),
        PeerMessage::ChannelReestablish(msg) => Message::ChannelReestablish(msg),
        PeerMessage::Shutdown(msg) => Message::Shutdown(msg),
        PeerMessage::ClosingSigned(msg) => Message::ClosingSigned(msg),
        PeerMessage::AnnouncementSignatures(msg) => Message::AnnouncementSignatures(msg),
        PeerMessage::ChannelUpdate(msg) => Message::ChannelUpdate(msg),
        PeerMessage::Error(msg) => Message::Error(msg),
        _ => return None,
    })
}

/// An `update_*` or a `commitment_signed` as LDK's transport wants it.
fn update(
    node_id: PublicKey,
    channel_id: ChannelId,
    fill: impl FnOnce(&mut CommitmentUpdate),
) -> MessageSendEvent {
    let mut updates = CommitmentUpdate {
        update_add_htlcs: Vec::new(),
        update_fulfill_htlcs: Vec::new(),
        update_fail_htlcs: Vec::new(),
        update_fail_malformed_htlcs: Vec::new(),
        update_fee: None,
        commitment_signed: Vec::new(),
    };
    fill(&mut updates);
    MessageSendEvent::UpdateHTLCs {
        node_id,
        channel_id,
        updates,
    }
}

/// A message of the core for LDK's transport.
pub fn outgoing(node_id: PublicKey, message: Message) -> MessageSendEvent {
    use MessageSendEvent as Event;
    match message {
        Message::OpenChannel(msg) => Event::SendOpenChannel { node_id, msg },
        Message::AcceptChannel(msg) => Event::SendAcceptChannel { node_id, msg },
        Message::FundingCreated(msg) => Event::SendFundingCreated { node_id, msg },
        Message::FundingSigned(msg) => Event::SendFundingSigned { node_id, msg },
        Message::ChannelReady(msg) => Event::SendChannelReady { node_id, msg },
        Message::UpdateAddHtlc(msg) => update(node_id, msg.channel_id, |updates| {
            updates.update_add_htlcs.push(msg);
        }),
        Message::UpdateFulfillHtlc(msg) => update(node_id, msg.channel_id, |updates| {
            updates.update_fulfill_htlcs.push(msg);
        }),
        Message::UpdateFailHtlc(msg) => update(node_id, msg.channel_id, |updates| {
            updates.update_fail_htlcs.push(msg);
        }),
        Message::UpdateFailMalformedHtlc(msg) => update(node_id, msg.channel_id, |updates| {
            updates.update_fail_malformed_htlcs.push(msg);
        }),
        Message::UpdateFee(msg) => update(node_id, msg.channel_id, |updates| {
            updates.update_fee = Some(msg);
        }),
        Message::CommitmentSigned(msg) => update(node_id, msg.channel_id, |updates| {
            updates.commitment_signed.push(msg);
        }),
        Message::RevokeAndAck(msg) => Event::SendRevokeAndACK { node_id, msg },
        Message::ChannelReestablish(msg) => Event::SendChannelReestablish { node_id, msg },
        Message::Shutdown(msg) => Event::SendShutdown { node_id, msg },
        Message::ClosingSigned(msg) => Event::SendClosingSigned { node_id, msg },
        Message::AnnouncementSignatures(msg) => Event::SendAnnouncementSignatures { node_id, msg },
        Message::ChannelUpdate(msg) => Event::SendChannelUpdate { node_id, msg },
        Message::Error(msg) => Event::HandleError {
            node_id,
            action: ErrorAction::SendErrorMessage { msg },
        },
        Message::Warning(msg) => Event::HandleError {
            node_id,
            action: ErrorAction::SendWarningMessage {
                msg,
                log_level: Level::Warn,
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use lightning::ln::msgs;

    use super::*;
    use crate::shared::wire;

    fn peer() -> PublicKey {
        let text = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        text.parse().unwrap()
    }

    #[test]
    fn a_message_keeps_its_name_and_its_channel_on_the_way_out() {
        let channel_id = ChannelId::from_bytes([3; 32]);
        for message in [
            Message::UpdateFee(msgs::UpdateFee {
                channel_id,
                feerate_per_kw: 253,
            }),
            Message::UpdateFulfillHtlc(msgs::UpdateFulfillHTLC {
                channel_id,
                htlc_id: 4,
                payment_preimage: lightning::types::payment::PaymentPreimage([9; 32]),
                attribution_data: None,
            }),
            Message::Error(msgs::ErrorMessage {
                channel_id,
                data: "gone".into(),
            }),
            Message::Warning(msgs::WarningMessage {
                channel_id,
                data: "look".into(),
            }),
        ] {
            let name = message.name();
            let described = wire::describe(outgoing(peer(), message));
            assert_eq!(described.to, Some(peer()));
            assert_eq!(described.channel, Some(channel_id));
            assert_eq!(described.message.unwrap().name(), name);
        }
    }
}
