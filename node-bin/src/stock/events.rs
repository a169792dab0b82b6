//! The node's user: told of every event, it answers the few that want an answer (fund, accept,
//! claim, sweep, bump) and reports the rest.

use lightning::events::{ClosureReason, Event, PaymentPurpose, ReplayEvent};
use lightning::ln::types::ChannelId;
use lightning::routing::router::Path;
use lightning::sign::SpendableOutputDescriptor;
use lightning::types::payment::PaymentPreimage;

use super::node::Node;
use crate::api::{HtlcResolution, UserEvent};
use crate::shared::events::Told;

impl Node {
    /// Handles one event between its two crash points. Never asks for a replay.
    pub(super) fn handle_event(&self, event: Event) -> Result<(), ReplayEvent> {
        let told = self.describe_event(&event);
        told.give(&self.host.names, || self.react(event));
        self.remember_handled(told.name, told.role);
        Ok(())
    }

    fn react(&self, event: Event) {
        match event {
            Event::FundingGenerationReady {
                temporary_channel_id,
                counterparty_node_id,
                channel_value_satoshis,
                output_script,
                ..
            } => {
                let amount = bitcoin::Amount::from_sat(channel_value_satoshis);
                let height = self.manager.current_best_block().height;
                // What has to be left is for whoever embeds LDK to say: unmodified, it keeps nothing back.
                let rate = self.host.fees.get();
                let paid = self
                    .host
                    .wallet
                    .pay_to(output_script, amount, rate, height, 0);
                let funded = paid
                    .map_err(|error| error.to_string())
                    .and_then(|transaction| {
                        self.manager
                            .funding_transaction_generated(
                                temporary_channel_id,
                                counterparty_node_id,
                                transaction,
                            )
                            .map_err(|error| format!("{error:?}"))
                    });
                if let Err(error) = funded {
                    tracing::error!(%error, "a channel could not be funded");
                    let _ = self.manager.force_close_broadcasting_latest_txn(
                        &temporary_channel_id,
                        &counterparty_node_id,
                        "no funding".into(),
                    );
                }
            }
            Event::OpenChannelRequest {
                temporary_channel_id,
                counterparty_node_id,
                ..
            } => {
                let accepted = self.manager.accept_inbound_channel(
                    &temporary_channel_id,
                    &counterparty_node_id,
                    0,
                    None,
                );
                if let Err(error) = accepted {
                    tracing::error!(?error, "a channel could not be accepted");
                }
            }
            Event::PaymentClaimable {
                payment_hash,
                purpose,
                ..
            } => {
                let name = self.host.names.incoming(&payment_hash.to_string());
                match (name, purpose) {
                    (Some(name), _) if name.hold => {}
                    (Some(name), PaymentPurpose::Bolt11InvoicePayment { .. }) => {
                        self.manager
                            .claim_funds(PaymentPreimage(self.host.names.preimage(&name.key)));
                    }
                    (_, PaymentPurpose::SpontaneousPayment(preimage)) => {
                        self.manager.claim_funds(preimage);
                    }
                    (_, purpose) => match purpose.preimage() {
                        Some(preimage) => self.manager.claim_funds(preimage),
                        None => self.manager.fail_htlc_backwards(&payment_hash),
                    },
                }
            }
            Event::SpendableOutputs {
                outputs,
                channel_id,
            } => self.sweep(outputs, channel_id),
            Event::PaymentSent {
                payment_id: Some(payment_id),
                ..
            }
            | Event::PaymentFailed { payment_id, .. } => {
                self.host.names.decide(&payment_id.to_string());
            }
            Event::BumpTransaction(bump) => self.bumper.handle_event(&bump),
            _ => {}
        }
    }

    fn sweep(&self, outputs: Vec<SpendableOutputDescriptor>, channel_id: Option<ChannelId>) {
        let tracked = self
            .sweeper
            .track_spendable_outputs(outputs, channel_id, false, None);
        if tracked.is_err() {
            tracing::error!("spendable outputs could not be stored by the sweeper");
        }
    }

    fn first_channel(&self, path: &Path) -> String {
        let scid = path.hops.first().map(|hop| hop.short_channel_id);
        let channels = self.manager.list_channels();
        let channel = channels
            .iter()
            .find(|channel| channel.short_channel_id == scid);
        channel
            .and_then(|channel| self.host.names.channel(&channel.channel_id))
            .unwrap_or_default()
    }

    fn describe_event(&self, event: &Event) -> Told {
        match event {
            Event::ChannelPending {
                channel_id,
                counterparty_node_id,
                funding_txo,
                ..
            } => {
                let channel = self
                    .host
                    .names
                    .channel_with(channel_id, counterparty_node_id);
                let event = UserEvent::ChannelPending {
                    channel: channel.clone(),
                    channel_id: channel_id.to_string(),
                    funding: format!("{}:{}", funding_txo.txid, funding_txo.vout),
                };
                Told {
                    name: "channel_pending",
                    role: channel,
                    event,
                }
            }
            Event::ChannelReady {
                channel_id,
                counterparty_node_id,
                ..
            } => {
                let channel = self
                    .host
                    .names
                    .channel_with(channel_id, counterparty_node_id);
                let channel_id = channel_id.to_string();
                let event = UserEvent::ChannelReady {
                    channel: channel.clone(),
                    channel_id,
                };
                Told {
                    name: "channel_ready",
                    role: channel,
                    event,
                }
            }
            Event::ChannelClosed {
                channel_id, reason, ..
            } => {
                let channel = self.host.names.channel(channel_id).unwrap_or_default();
                let event = UserEvent::ChannelClosed {
                    channel: channel.clone(),
                    channel_id: channel_id.to_string(),
                    reason: reason_text(reason),
                };
                Told {
                    name: "channel_closed",
                    role: channel,
                    event,
                }
            }
            Event::PaymentForwarded {
                prev_channel_id,
                next_channel_id,
                total_fee_earned_msat,
                claim_from_onchain_tx,
                ..
            } => {
                let label = |id: &Option<_>| {
                    id.as_ref()
                        .and_then(|id| self.host.names.channel(id))
                        .unwrap_or_default()
                };
                let (inbound, outbound) = (label(prev_channel_id), label(next_channel_id));
                let role = format!("{inbound} {outbound}");
                let event = UserEvent::PaymentForwarded {
                    inbound,
                    outbound,
                    fee_msat: *total_fee_earned_msat,
                    from_onchain: *claim_from_onchain_tx,
                };
                Told {
                    name: "payment_forwarded",
                    role,
                    event,
                }
            }
            Event::HTLCHandlingFailed {
                prev_channel_id,
                failure_type,
                failure_reason,
            } => {
                let inbound = self.host.names.channel(prev_channel_id).unwrap_or_default();
                let reason = format!("{failure_type:?} {failure_reason:?}");
                let event = UserEvent::HtlcHandlingFailed {
                    inbound: inbound.clone(),
                    reason,
                };
                Told {
                    name: "htlc_handling_failed",
                    role: inbound,
                    event,
                }
            }
            Event::SpendableOutputs {
                outputs,
                channel_id,
            } => {
                let channel = channel_id
                    .as_ref()
                    .and_then(|id| self.host.names.channel(id));
                let role = channel.clone().unwrap_or_default();
                let count = u32::try_from(outputs.len()).unwrap_or(u32::MAX);
                let event = UserEvent::SpendableOutputs { count, channel };
                Told {
                    name: "spendable_outputs",
                    role,
                    event,
                }
            }
            _ => self.describe_payment_event(event),
        }
    }

    fn describe_payment_event(&self, event: &Event) -> Told {
        match event {
            Event::PaymentClaimable {
                payment_hash,
                amount_msat,
                ..
            } => {
                let payment_hash = payment_hash.to_string();
                let role = self.host.names.payment_role(None, Some(&payment_hash));
                let amount_msat = *amount_msat;
                let event = UserEvent::PaymentClaimable {
                    payment_hash,
                    amount_msat,
                };
                Told {
                    name: "payment_claimable",
                    role,
                    event,
                }
            }
            Event::PaymentClaimed {
                payment_hash,
                amount_msat,
                ..
            } => {
                let payment_hash = payment_hash.to_string();
                let role = self.host.names.payment_role(None, Some(&payment_hash));
                let amount_msat = *amount_msat;
                let event = UserEvent::PaymentClaimed {
                    payment_hash,
                    amount_msat,
                };
                Told {
                    name: "payment_claimed",
                    role,
                    event,
                }
            }
            Event::PaymentSent {
                payment_id,
                payment_preimage,
                payment_hash,
                fee_paid_msat,
                ..
            } => {
                let payment_id = payment_id.map(|id| id.to_string()).unwrap_or_default();
                let role = self.host.names.payment_role(Some(&payment_id), None);
                let event = UserEvent::PaymentSent {
                    payment_id,
                    payment_hash: payment_hash.to_string(),
                    preimage: payment_preimage.to_string(),
                    fee_paid_msat: *fee_paid_msat,
                };
                Told {
                    name: "payment_sent",
                    role,
                    event,
                }
            }
            Event::PaymentFailed {
                payment_id,
                payment_hash,
                reason,
            } => {
                let payment_id = payment_id.to_string();
                let role = self.host.names.payment_role(Some(&payment_id), None);
                let event = UserEvent::PaymentFailed {
                    payment_id,
                    payment_hash: payment_hash.map(|hash| hash.to_string()),
                    reason: format!("{reason:?}"),
                };
                Told {
                    name: "payment_failed",
                    role,
                    event,
                }
            }
            Event::PaymentPathSuccessful {
                payment_id,
                payment_hash,
                path,
                ..
            } => {
                let hash = payment_hash.map(|hash| hash.to_string());
                self.part(&payment_id.to_string(), hash, path, HtlcResolution::Claimed)
            }
            Event::PaymentPathFailed {
                payment_id,
                payment_hash,
                path,
                ..
            } => {
                let id = payment_id.map(|id| id.to_string()).unwrap_or_default();
                self.part(
                    &id,
                    Some(payment_hash.to_string()),
                    path,
                    HtlcResolution::Failed,
                )
            }
            _ => other(event),
        }
    }

    fn part(
        &self,
        payment_id: &str,
        payment_hash: Option<String>,
        path: &Path,
        resolution: HtlcResolution,
    ) -> Told {
        let key = self.host.names.payment_role(Some(payment_id), None);
        let role = format!("{key} {}", self.first_channel(path));
        let name = match resolution {
            HtlcResolution::Claimed => "payment_path_successful",
            HtlcResolution::Failed => "payment_path_failed",
        };
        let event = UserEvent::PaymentPart {
            payment_id: payment_id.to_owned(),
            payment_hash,
            resolution,
            path: path.hops.iter().map(|hop| hop.short_channel_id).collect(),
        };
        Told { name, role, event }
    }
}

fn reason_text(reason: &ClosureReason) -> String {
    let text = format!("{reason:?}");
    // The variant's name first, as it is searched for, then what LDK says of it.
    format!("{text}: {reason}")
}

fn other(event: &Event) -> Told {
    let name = match event {
        Event::FundingGenerationReady { .. } => "funding_generation_ready",
        Event::OpenChannelRequest { .. } => "open_channel_request",
        Event::BumpTransaction(_) => "bump_transaction",
        Event::DiscardFunding { .. } => "discard_funding",
        Event::FundingTxBroadcastSafe { .. } => "funding_tx_broadcast_safe",
        Event::ConnectionNeeded { .. } => "connection_needed",
        _ => "other",
    };
    Told {
        name,
        role: String::new(),
        event: UserEvent::Other {
            event: name.to_owned(),
        },
    }
}
