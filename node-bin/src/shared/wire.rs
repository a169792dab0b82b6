//! What a message says, for the trace: both ways. Owns the split of LDK's send events into single
//! wire messages; sends nothing.

use bitcoin::secp256k1::PublicKey;
use lightning::ln::msgs::{CommitmentUpdate, ErrorAction, MessageSendEvent};
use lightning::ln::types::ChannelId;

use super::mailbox::PeerMessage;
use crate::api::WireMessage;

/// One outgoing message: the event that carries it and nothing else.
pub struct Outgoing {
    /// For LDK's transport.
    pub event: MessageSendEvent,
    /// To whom; `None` for gossip that goes to everybody.
    pub to: Option<PublicKey>,
    /// The channel, for channel messages.
    pub channel: Option<ChannelId>,
    /// What it says; `None` for gossip and other events that are not counted and have no points.
    pub message: Option<WireMessage>,
}

fn other(name: &str) -> WireMessage {
    WireMessage::Other {
        message: name.to_owned(),
    }
}

fn add(msg: &lightning::ln::msgs::UpdateAddHTLC) -> WireMessage {
    WireMessage::UpdateAddHtlc {
        htlc_id: msg.htlc_id,
        amount_msat: msg.amount_msat,
        payment_hash: msg.payment_hash.to_string(),
        cltv_expiry: msg.cltv_expiry,
    }
}

fn fulfill(msg: &lightning::ln::msgs::UpdateFulfillHTLC) -> WireMessage {
    let preimage = msg.payment_preimage.to_string();
    WireMessage::UpdateFulfillHtlc {
        htlc_id: msg.htlc_id,
        preimage,
    }
}

fn reestablish(msg: &lightning::ln::msgs::ChannelReestablish) -> WireMessage {
    WireMessage::ChannelReestablish {
        next_local_commitment_number: msg.next_local_commitment_number,
        next_remote_commitment_number: msg.next_remote_commitment_number,
    }
}

/// Splits an event into one event a message, in the order in which LDK would send them.
pub fn split(event: MessageSendEvent) -> Vec<MessageSendEvent> {
    let MessageSendEvent::UpdateHTLCs {
        node_id,
        channel_id,
        updates,
    } = event
    else {
        return vec![event];
    };
    let empty = || CommitmentUpdate {
        update_add_htlcs: vec![],
        update_fulfill_htlcs: vec![],
        update_fail_htlcs: vec![],
        update_fail_malformed_htlcs: vec![],
        update_fee: None,
        commitment_signed: vec![],
    };
    let mut parts = Vec::new();
    for msg in updates.update_add_htlcs {
        parts.push(CommitmentUpdate {
            update_add_htlcs: vec![msg],
            ..empty()
        });
    }
    for msg in updates.update_fulfill_htlcs {
        parts.push(CommitmentUpdate {
            update_fulfill_htlcs: vec![msg],
            ..empty()
        });
    }
    for msg in updates.update_fail_htlcs {
        parts.push(CommitmentUpdate {
            update_fail_htlcs: vec![msg],
            ..empty()
        });
    }
    for msg in updates.update_fail_malformed_htlcs {
        parts.push(CommitmentUpdate {
            update_fail_malformed_htlcs: vec![msg],
            ..empty()
        });
    }
    if let Some(msg) = updates.update_fee {
        parts.push(CommitmentUpdate {
            update_fee: Some(msg),
            ..empty()
        });
    }
    if !updates.commitment_signed.is_empty() {
        // A batch (for a splice) is one message to BOLT 2 and stays together.
        parts.push(CommitmentUpdate {
            commitment_signed: updates.commitment_signed,
            ..empty()
        });
    }
    let event = |updates| MessageSendEvent::UpdateHTLCs {
        node_id,
        channel_id,
        updates,
    };
    parts.into_iter().map(event).collect()
}

fn update_message(updates: &CommitmentUpdate) -> WireMessage {
    if let Some(msg) = updates.update_add_htlcs.first() {
        return add(msg);
    }
    if let Some(msg) = updates.update_fulfill_htlcs.first() {
        return fulfill(msg);
    }
    if let Some(msg) = updates.update_fail_htlcs.first() {
        return WireMessage::UpdateFailHtlc {
            htlc_id: msg.htlc_id,
        };
    }
    if let Some(msg) = updates.update_fail_malformed_htlcs.first() {
        return WireMessage::UpdateFailMalformedHtlc {
            htlc_id: msg.htlc_id,
            failure_code: msg.failure_code,
        };
    }
    if let Some(msg) = &updates.update_fee {
        return WireMessage::UpdateFee {
            feerate_per_kw: msg.feerate_per_kw,
        };
    }
    let signatures: usize = updates
        .commitment_signed
        .iter()
        .map(|msg| msg.htlc_signatures.len())
        .sum();
    WireMessage::CommitmentSigned {
        htlc_signatures: u32::try_from(signatures).unwrap_or(u32::MAX),
    }
}

fn error_message(action: &ErrorAction) -> Option<(ChannelId, WireMessage)> {
    let error = |msg: &lightning::ln::msgs::ErrorMessage| {
        (
            msg.channel_id,
            WireMessage::Error {
                data: msg.data.clone(),
            },
        )
    };
    match action {
        ErrorAction::SendErrorMessage { msg } => Some(error(msg)),
        ErrorAction::DisconnectPeer { msg: Some(msg) } => Some(error(msg)),
        ErrorAction::DisconnectPeerWithWarning { msg }
        | ErrorAction::SendWarningMessage { msg, .. } => Some((
            msg.channel_id,
            WireMessage::Warning {
                data: msg.data.clone(),
            },
        )),
        _ => None,
    }
}

macro_rules! plain_events {
    ($event:expr; $($variant:ident = $name:literal,)* ; $($early:ident = $early_name:literal,)*) => {
        match $event {
            $(MessageSendEvent::$variant { node_id, msg } => {
                Some((*node_id, Some(msg.channel_id), other($name)))
            })*
            $(MessageSendEvent::$early { node_id, .. } => Some((*node_id, None, other($early_name))),)*
            MessageSendEvent::SendRevokeAndACK { node_id, msg } => {
                Some((*node_id, Some(msg.channel_id), WireMessage::RevokeAndAck {}))
            }
            MessageSendEvent::SendChannelReestablish { node_id, msg } => {
                Some((*node_id, Some(msg.channel_id), reestablish(msg)))
            }
            MessageSendEvent::UpdateHTLCs { node_id, channel_id, updates } => {
                Some((*node_id, Some(*channel_id), update_message(updates)))
            }
            MessageSendEvent::HandleError { node_id, action } => {
                error_message(action).map(|(id, message)| (*node_id, Some(id), message))
            }
            _ => None,
        }
    };
}

/// Describes an event that [`split`] returned.
pub fn describe(event: MessageSendEvent) -> Outgoing {
    let known = plain_events! { &event;
        SendFundingSigned = "funding_signed",
        SendChannelReady = "channel_ready",
        SendAnnouncementSignatures = "announcement_signatures",
        SendClosingSigned = "closing_signed",
        SendShutdown = "shutdown",
        SendTxAbort = "tx_abort",
        SendStfu = "stfu",
        ;
        SendOpenChannel = "open_channel",
        SendAcceptChannel = "accept_channel",
        SendFundingCreated = "funding_created",
    };
    match known {
        Some((to, channel, message)) => Outgoing {
            event,
            to: Some(to),
            channel,
            message: Some(message),
        },
        None => Outgoing {
            event,
            to: None,
            channel: None,
            message: None,
        },
    }
}

/// Describes a message of a peer; `None` for gossip, which is not counted.
pub fn received(message: &PeerMessage) -> Option<(Option<ChannelId>, WireMessage)> {
    use PeerMessage as P;
    let described = match message {
        P::UpdateAddHtlc(msg) => (Some(msg.channel_id), add(msg)),
        P::UpdateFulfillHtlc(msg) => (Some(msg.channel_id), fulfill(msg)),
        P::UpdateFailHtlc(msg) => (
            Some(msg.channel_id),
            WireMessage::UpdateFailHtlc {
                htlc_id: msg.htlc_id,
            },
        ),
        P::UpdateFailMalformedHtlc(msg) => (
            Some(msg.channel_id),
            WireMessage::UpdateFailMalformedHtlc {
                htlc_id: msg.htlc_id,
                failure_code: msg.failure_code,
            },
        ),
        P::UpdateFee(msg) => (
            Some(msg.channel_id),
            WireMessage::UpdateFee {
                feerate_per_kw: msg.feerate_per_kw,
            },
        ),
        P::CommitmentSigned(msg) => {
            let htlc_signatures = u32::try_from(msg.htlc_signatures.len()).unwrap_or(u32::MAX);
            (
                Some(msg.channel_id),
                WireMessage::CommitmentSigned { htlc_signatures },
            )
        }
        P::CommitmentSignedBatch(channel_id, batch) => {
            let signatures: usize = batch.iter().map(|msg| msg.htlc_signatures.len()).sum();
            let htlc_signatures = u32::try_from(signatures).unwrap_or(u32::MAX);
            (
                Some(*channel_id),
                WireMessage::CommitmentSigned { htlc_signatures },
            )
        }
        P::RevokeAndAck(msg) => (Some(msg.channel_id), WireMessage::RevokeAndAck {}),
        P::ChannelReestablish(msg) => (Some(msg.channel_id), reestablish(msg)),
        P::Error(msg) => (
            Some(msg.channel_id),
            WireMessage::Error {
                data: msg.data.clone(),
            },
        ),
        P::OpenChannel(_) => (None, other("open_channel")),
        P::AcceptChannel(_) => (None, other("accept_channel")),
        P::FundingCreated(_) => (None, other("funding_created")),
        P::FundingSigned(msg) => (Some(msg.channel_id), other("funding_signed")),
        P::ChannelReady(msg) => (Some(msg.channel_id), other("channel_ready")),
        P::AnnouncementSignatures(msg) => (Some(msg.channel_id), other("announcement_signatures")),
        P::Shutdown(msg) => (Some(msg.channel_id), other("shutdown")),
        P::ClosingSigned(msg) => (Some(msg.channel_id), other("closing_signed")),
        P::TxAbort(msg) => (Some(msg.channel_id), other("tx_abort")),
        P::Stfu(msg) => (Some(msg.channel_id), other("stfu")),
        _ => return None,
    };
    Some(described)
}
