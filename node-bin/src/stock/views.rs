//! What the node tells when asked: channels, payments, claims. Reads LDK's state, changes nothing.

use std::collections::BTreeMap;

use lightning::chain::channelmonitor::Balance as LdkBalance;
use lightning::ln::channel_state::{ChannelDetails, ChannelShutdownState};
use lightning::ln::channelmanager::RecentPaymentDetails;
use lightning::util::sweep::OutputSpendStatus;

use super::node::{Node, signs_commitment};
use crate::api::{
    ChannelView, HtlcDirection, HtlcView, OnchainClaim, PaymentState, PaymentView, RestView,
    WireMessage,
};

/// Commitment numbers by channel label, counted from messages: LDK does not export them.
#[derive(Debug, Default)]
pub struct CommitmentCounts {
    by_label: BTreeMap<String, Numbers>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Numbers {
    holder: Option<u64>,
    counterparty: Option<u64>,
}

impl CommitmentCounts {
    /// A message that this node sends.
    pub fn sent(&mut self, label: &str, message: &WireMessage) {
        let numbers = self.by_label.entry(label.to_owned()).or_default();
        match message {
            // BOLT 2: the number of the next commitment the sender expects to receive.
            WireMessage::ChannelReestablish {
                next_local_commitment_number,
                ..
            } => {
                numbers.holder = next_local_commitment_number.checked_sub(1);
            }
            message if signs_commitment(message) => {
                numbers.counterparty = numbers.counterparty.map(|number| number + 1);
            }
            WireMessage::Other { message } if message == "channel_ready" => numbers.begin(),
            _ => {}
        }
    }

    /// A message that this node handles.
    pub fn received(&mut self, label: &str, message: &WireMessage) {
        let numbers = self.by_label.entry(label.to_owned()).or_default();
        match message {
            WireMessage::ChannelReestablish {
                next_local_commitment_number,
                ..
            } => {
                numbers.counterparty = next_local_commitment_number.checked_sub(1);
            }
            message if signs_commitment(message) => {
                numbers.holder = numbers.holder.map(|number| number + 1);
            }
            WireMessage::Other { message } if message == "channel_ready" => numbers.begin(),
            _ => {}
        }
    }
}

impl Numbers {
    /// A channel that becomes ready without a reestablish before is at its first commitments.
    fn begin(&mut self) {
        self.holder = self.holder.or(Some(0));
        self.counterparty = self.counterparty.or(Some(0));
    }
}

fn state_name(state: Option<impl std::fmt::Debug>) -> String {
    state.map_or_else(|| "unknown".to_owned(), |state| format!("{state:?}"))
}

fn htlcs(channel: &ChannelDetails) -> Vec<HtlcView> {
    let inbound = channel.pending_inbound_htlcs.iter().map(|htlc| HtlcView {
        direction: HtlcDirection::Inbound,
        htlc_id: Some(htlc.htlc_id),
        amount_msat: htlc.amount_msat,
        payment_hash: htlc.payment_hash.to_string(),
        cltv_expiry: htlc.cltv_expiry,
        state: state_name(htlc.state.as_ref()),
    });
    let outbound = channel.pending_outbound_htlcs.iter().map(|htlc| HtlcView {
        direction: HtlcDirection::Outbound,
        htlc_id: htlc.htlc_id,
        amount_msat: htlc.amount_msat,
        payment_hash: htlc.payment_hash.to_string(),
        cltv_expiry: htlc.cltv_expiry,
        state: state_name(htlc.state.as_ref()),
    });
    inbound.chain(outbound).collect()
}

/// Both anchors of a commitment, 330 satoshis each (BOLT 3), which the opener pays for.
const ANCHORS_MSAT: u64 = 2 * 330 * 1_000;

/// LDK tells what can be sent: the balance less the reserve, the HTLCs on their way out and, for the
/// opener, the anchors; and not below zero. So the balance follows unless that is zero.
fn balance_msat(channel: &ChannelDetails) -> Option<u64> {
    if channel.outbound_capacity_msat == 0 {
        return None;
    }
    let reserve_msat = channel.unspendable_punishment_reserve? * 1_000;
    let outbound: u64 = channel
        .pending_outbound_htlcs
        .iter()
        .map(|htlc| htlc.amount_msat)
        .sum();
    let anchors = channel
        .channel_type
        .as_ref()
        .is_some_and(|kind| kind.supports_anchors_zero_fee_htlc_tx());
    let anchors_msat = if channel.is_outbound && anchors {
        ANCHORS_MSAT
    } else {
        0
    };
    Some(channel.outbound_capacity_msat + reserve_msat + outbound + anchors_msat)
}

fn claim(channel: &str, balance: &LdkBalance) -> OnchainClaim {
    let (kind, payment_hash) = match balance {
        LdkBalance::ClaimableOnChannelClose { .. } => ("claimable_on_channel_close", None),
        LdkBalance::ClaimableAwaitingConfirmations { .. } => {
            ("claimable_awaiting_confirmations", None)
        }
        LdkBalance::ContentiousClaimable { payment_hash, .. } => {
            ("contentious_claimable", Some(payment_hash))
        }
        LdkBalance::MaybeTimeoutClaimableHTLC { payment_hash, .. } => {
            ("maybe_timeout_claimable_htlc", Some(payment_hash))
        }
        LdkBalance::MaybePreimageClaimableHTLC { payment_hash, .. } => {
            ("maybe_preimage_claimable_htlc", Some(payment_hash))
        }
        LdkBalance::CounterpartyRevokedOutputClaimable { .. } => {
            ("counterparty_revoked_output_claimable", None)
        }
    };
    OnchainClaim {
        channel: channel.to_owned(),
        kind: kind.to_owned(),
        amount_sat: balance.claimable_amount_satoshis(),
        payment_hash: payment_hash.map(ToString::to_string),
    }
}

impl Node {
    pub(super) fn channel_views(&self) -> Vec<ChannelView> {
        let mut views: Vec<_> = self
            .manager
            .list_channels()
            .iter()
            .map(|channel| self.channel_view(channel))
            .collect();
        views.sort_by(|a, b| a.label.cmp(&b.label));
        views
    }

    fn channel_view(&self, channel: &ChannelDetails) -> ChannelView {
        let label = self
            .host
            .names
            .channel_with(&channel.channel_id, &channel.counterparty.node_id);
        let numbers = self
            .progress()
            .commitments
            .by_label
            .get(&label)
            .copied()
            .unwrap_or_default();
        let closing = !matches!(
            channel.channel_shutdown_state,
            None | Some(ChannelShutdownState::NotShuttingDown)
        );
        ChannelView {
            channel_id: channel.channel_id.to_string(),
            funding: channel
                .funding_txo
                .map(|txo| format!("{}:{}", txo.txid, txo.index)),
            short_channel_id: channel.short_channel_id,
            peer: channel.counterparty.node_id,
            opener: channel.is_outbound,
            capacity_sat: channel.channel_value_satoshis,
            balance_msat: if closing { None } else { balance_msat(channel) },
            ready: channel.is_channel_ready,
            usable: channel.is_usable,
            htlcs: htlcs(channel),
            holder_commitment_number: numbers.holder,
            counterparty_commitment_number: numbers.counterparty,
            label,
        }
    }

    pub(super) fn payment_views(&self) -> Vec<PaymentView> {
        let view = |payment| {
            let (payment_id, payment_hash, state) = match payment {
                RecentPaymentDetails::AwaitingInvoice { payment_id } => {
                    (payment_id, None, PaymentState::Pending)
                }
                RecentPaymentDetails::Pending {
                    payment_id,
                    payment_hash,
                    ..
                } => (payment_id, Some(payment_hash), PaymentState::Pending),
                RecentPaymentDetails::Fulfilled {
                    payment_id,
                    payment_hash,
                } => (payment_id, payment_hash, PaymentState::Succeeded),
                // Given up, but not every part of it has come back yet.
                RecentPaymentDetails::Abandoned {
                    payment_id,
                    payment_hash,
                } => (payment_id, Some(payment_hash), PaymentState::Pending),
            };
            PaymentView {
                payment_id: Some(payment_id.to_string()),
                payment_hash: payment_hash.map(|hash| hash.to_string()),
                direction: HtlcDirection::Outbound,
                state,
            }
        };
        self.manager
            .list_recent_payments()
            .into_iter()
            .map(view)
            .collect()
    }

    fn onchain_claims(&self) -> Vec<OnchainClaim> {
        let open: Vec<_> = self
            .manager
            .list_channels()
            .iter()
            .map(|channel| channel.channel_id)
            .collect();
        let mut claims = Vec::new();
        for channel_id in self.monitors.list_monitors() {
            if open.contains(&channel_id) {
                continue;
            }
            let Ok(monitor) = self.monitors.get_monitor(channel_id) else {
                continue;
            };
            let label = self.host.names.channel(&channel_id).unwrap_or_default();
            claims.extend(
                monitor
                    .get_claimable_balances()
                    .iter()
                    .map(|b| claim(&label, b)),
            );
        }
        claims.sort_by(|a, b| (&a.channel, &a.kind).cmp(&(&b.channel, &b.kind)));
        claims
    }

    pub(super) fn rest_view(&self) -> RestView {
        let unswept = self
            .sweeper
            .tracked_spendable_outputs()
            .iter()
            .filter(|output| {
                !matches!(
                    output.status,
                    OutputSpendStatus::PendingThresholdConfirmations { .. }
                )
            })
            .count();
        RestView {
            block_height: self.manager.current_best_block().height,
            channels: self.channel_views(),
            payments: self.payment_views(),
            balance: self.host.wallet.balance(),
            claims: self.onchain_claims(),
            unswept: u32::try_from(unswept).unwrap_or(u32::MAX),
        }
    }
}
