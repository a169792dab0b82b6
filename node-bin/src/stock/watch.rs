//! What stands between LDK's manager and its monitors: counts the parts of a claim and marks where
//! events are taken out of monitors. Passes everything through unchanged.

use std::sync::Arc;

use bitcoin::secp256k1::PublicKey;
use faults::gate;
use lightning::chain::channelmonitor::{ChannelMonitor, ChannelMonitorUpdate, MonitorEvent};
use lightning::chain::transaction::OutPoint;
use lightning::chain::{ChannelMonitorUpdateStatus, Watch};
use lightning::ln::types::ChannelId;
use lightning::sign::InMemorySigner;

use super::Monitors;
use crate::shared::names::Names;

/// A `Watch` with crash points in front of LDK's `ChainMonitor`.
pub struct PointWatch {
    monitors: Arc<Monitors>,
    names: Arc<Names>,
}

impl PointWatch {
    /// In front of these.
    pub fn new(monitors: Arc<Monitors>, names: Arc<Names>) -> Self {
        PointWatch { monitors, names }
    }
}

/// Whether an update gives the monitor a preimage. LDK does not export an update's steps; their
/// Debug text names them.
fn carries_preimage(update: &ChannelMonitorUpdate) -> bool {
    format!("{update:?}").contains("PaymentPreimage {")
}

fn kind_of(event: &MonitorEvent) -> &'static str {
    match event {
        MonitorEvent::HTLCEvent(_) => "htlc_event",
        MonitorEvent::HolderForceClosedWithInfo { .. } => "holder_force_closed_with_info",
        MonitorEvent::HolderForceClosed(_) => "holder_force_closed",
        MonitorEvent::CommitmentTxConfirmed(()) => "commitment_tx_confirmed",
        MonitorEvent::Completed { .. } => "completed",
    }
}

impl Watch<InMemorySigner> for PointWatch {
    fn watch_channel(
        &self,
        channel_id: ChannelId,
        monitor: ChannelMonitor<InMemorySigner>,
    ) -> Result<ChannelMonitorUpdateStatus, ()> {
        let funding = monitor.get_funding_txo().into_bitcoin_outpoint();
        self.names
            .register(channel_id, &monitor.get_counterparty_node_id(), funding);
        self.monitors.watch_channel(channel_id, monitor)
    }

    fn update_channel(
        &self,
        channel_id: ChannelId,
        update: &ChannelMonitorUpdate,
    ) -> ChannelMonitorUpdateStatus {
        if !gate::HAS_POINTS || !carries_preimage(update) {
            return self.monitors.update_channel(channel_id, update);
        }
        let role = self.names.channel(&channel_id).unwrap_or_default();
        let _ = gate::point("mpp.claim.part.before", &role);
        let status = self.monitors.update_channel(channel_id, update);
        let _ = gate::point("mpp.claim.part.after", &role);
        status
    }

    fn release_pending_monitor_events(
        &self,
    ) -> Vec<(OutPoint, ChannelId, Vec<MonitorEvent>, PublicKey)> {
        let taken = self.monitors.release_pending_monitor_events();
        for (_, channel_id, events, _) in &taken {
            let label = self.names.channel(channel_id).unwrap_or_default();
            for event in events {
                // LDK drains its monitors in one move, so "before" is the moment at which the
                // monitors are empty and the manager has not seen the event yet.
                let role = format!("{label} {}", kind_of(event));
                let _ = gate::point("monitor_event.fetched.before", &role);
                let _ = gate::point("monitor_event.fetched.after", &role);
            }
        }
        taken
    }
}
