//! The node's user: told of every event, it claims what came for it, and reports all.

use lightning::types::payment::PaymentPreimage;
use node_core::effect::UserEvent as CoreEvent;
use node_core::input::Command;
use node_core::node::Node as Core;

use super::records::hex;
use super::views;
use crate::api::{HtlcResolution, UserEvent};
use crate::shared::events::Told;
use crate::shared::names::Names;

/// What the user does about an event: a claim or a refusal of what came in; nothing else wants an answer.
pub fn reaction(names: &Names, event: &CoreEvent) -> Option<Command> {
    let CoreEvent::PaymentClaimable {
        payment_hash,
        keysend_preimage,
        ..
    } = event
    else {
        return None;
    };
    match (names.incoming(&payment_hash.to_string()), keysend_preimage) {
        (Some(name), _) if name.hold => None,
        (_, Some(preimage)) => Some(Command::Claim {
            preimage: *preimage,
        }),
        (Some(name), None) => Some(Command::Claim {
            preimage: PaymentPreimage(names.preimage(&name.key)),
        }),
        (None, None) => Some(Command::Fail {
            payment_hash: *payment_hash,
        }),
    }
}

/// An event as it is told, with the name and the role of its points.
pub fn describe(names: &Names, core: &Core, event: &CoreEvent) -> Told {
    let told = |name, role, event| Told { name, role, event };
    match event {
        CoreEvent::ChannelPending {
            channel_id,
            peer,
            funding,
        } => {
            let channel = names.channel_with(channel_id, peer);
            let event = UserEvent::ChannelPending {
                channel: channel.clone(),
                channel_id: channel_id.to_string(),
                funding: format!("{}:{}", funding.txid, funding.vout),
            };
            told("channel_pending", channel, event)
        }
        CoreEvent::ChannelReady { channel_id, peer } => {
            let channel = names.channel_with(channel_id, peer);
            let event = UserEvent::ChannelReady {
                channel: channel.clone(),
                channel_id: channel_id.to_string(),
            };
            told("channel_ready", channel, event)
        }
        CoreEvent::ChannelClosed { channel_id, reason } => {
            let channel = names.channel(channel_id).unwrap_or_default();
            let event = UserEvent::ChannelClosed {
                channel: channel.clone(),
                channel_id: channel_id.to_string(),
                reason: reason.clone(),
            };
            told("channel_closed", channel, event)
        }
        CoreEvent::PaymentForwarded {
            inbound,
            outbound,
            fee_msat,
            from_onchain,
        } => {
            let label = |id| names.channel(id).unwrap_or_default();
            let (inbound, outbound) = (label(inbound), label(outbound));
            let role = format!("{inbound} {outbound}");
            let event = UserEvent::PaymentForwarded {
                inbound,
                outbound,
                fee_msat: *fee_msat,
                from_onchain: *from_onchain,
            };
            told("payment_forwarded", role, event)
        }
        CoreEvent::HtlcHandlingFailed { inbound, reason } => {
            let inbound = names.channel(inbound).unwrap_or_default();
            let event = UserEvent::HtlcHandlingFailed {
                inbound: inbound.clone(),
                reason: reason.clone(),
            };
            told("htlc_handling_failed", inbound, event)
        }
        _ => describe_payment_event(names, core, event),
    }
}

/// Of payments to this node.
fn describe_payment_event(names: &Names, core: &Core, event: &CoreEvent) -> Told {
    let told = |name, role, event| Told { name, role, event };
    match event {
        CoreEvent::PaymentClaimable {
            payment_hash,
            amount_msat,
            ..
        } => {
            let payment_hash = payment_hash.to_string();
            let role = names.payment_role(None, Some(&payment_hash));
            let amount_msat = *amount_msat;
            let event = UserEvent::PaymentClaimable {
                payment_hash,
                amount_msat,
            };
            told("payment_claimable", role, event)
        }
        CoreEvent::PaymentClaimed {
            payment_hash,
            amount_msat,
        } => {
            let payment_hash = payment_hash.to_string();
            let role = names.payment_role(None, Some(&payment_hash));
            let amount_msat = *amount_msat;
            let event = UserEvent::PaymentClaimed {
                payment_hash,
                amount_msat,
            };
            told("payment_claimed", role, event)
        }
        _ => describe_own_payment_event(names, core, event),
    }
}

/// Of payments by this node.
fn describe_own_payment_event(names: &Names, core: &Core, event: &CoreEvent) -> Told {
    let told = |name, role, event| Told { name, role, event };
    match event {
        CoreEvent::PaymentSent {
            payment_id,
            payment_hash,
            preimage,
            fee_paid_msat,
        } => {
            let payment_id = hex(payment_id);
            let role = names.payment_role(Some(&payment_id), None);
            let event = UserEvent::PaymentSent {
                payment_id,
                payment_hash: payment_hash.to_string(),
                preimage: preimage.to_string(),
                fee_paid_msat: *fee_paid_msat,
            };
            told("payment_sent", role, event)
        }
        CoreEvent::PaymentFailed {
            payment_id,
            payment_hash,
            reason,
        } => {
            let payment_id = hex(payment_id);
            let role = names.payment_role(Some(&payment_id), None);
            let event = UserEvent::PaymentFailed {
                payment_id,
                payment_hash: Some(payment_hash.to_string()),
                reason: reason.clone(),
            };
            told("payment_failed", role, event)
        }
        CoreEvent::PaymentPart {
            payment_id,
            payment_hash,
            claimed,
            path,
        } => {
            let payment_id = hex(payment_id);
            let key = names.payment_role(Some(&payment_id), None);
            let first = path
                .first()
                .and_then(|scid| views::channel_of(core, *scid))
                .and_then(|channel| names.channel(&channel.id()));
            let role = format!("{key} {}", first.unwrap_or_default());
            let (name, resolution) = match claimed {
                true => ("payment_path_successful", HtlcResolution::Claimed),
                false => ("payment_path_failed", HtlcResolution::Failed),
            };
            let event = UserEvent::PaymentPart {
                payment_id,
                payment_hash: Some(payment_hash.to_string()),
                resolution,
                path: path.clone(),
            };
            told(name, role, event)
        }
        other => {
            let event = UserEvent::Other {
                event: format!("{other:?}"),
            };
            told("other", String::new(), event)
        }
    }
}
