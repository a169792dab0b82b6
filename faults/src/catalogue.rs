//! The catalogue of crash points: one line a family. `deadbolt list points` prints it, a plan is
//! checked against it, and a test holds the nodes to it.

/// What a node whose store shows them passes between a write's `before` and `after`, in this order: a
/// temporary file holds the record; it is synced; it has the record's name. Then its folder is synced.
pub const STAGES: [&str; 3] = ["written", "synced", "renamed"];

/// A family of points: `name` with `*` for one part of the name that varies, hit `before` and `after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// The dotted name without `.before`/`.after`; `*` stands for one variable part.
    pub name: &'static str,
    /// What the role in brackets is.
    pub role: &'static str,
    /// What happens between `before` and `after`.
    pub about: &'static str,
    /// Whether the operation can be made to fail at its `.before`.
    pub can_fail: bool,
    /// Whether a hold stops only this operation while the rest of the node goes on.
    pub own_thread: bool,
    /// Whether a node may pass the [`STAGES`] in between.
    pub stages: bool,
}

const fn family(name: &'static str, role: &'static str, about: &'static str) -> Family {
    Family {
        name,
        role,
        about,
        can_fail: false,
        own_thread: false,
        stages: false,
    }
}

const fn write(name: &'static str, role: &'static str, about: &'static str) -> Family {
    Family {
        can_fail: true,
        ..family(name, role, about)
    }
}

/// The write of a record, which may show its stages.
const fn persist(name: &'static str, role: &'static str, about: &'static str) -> Family {
    Family {
        stages: true,
        ..write(name, role, about)
    }
}

/// Every family there is.
pub const FAMILIES: &[Family] = &[
    persist(
        "persist.monitor",
        "channel",
        "a full ChannelMonitor is written",
    ),
    persist(
        "persist.monitor_update",
        "channel, and of a stock node #update id",
        "one ChannelMonitorUpdate is written",
    ),
    persist(
        "persist.monitor_ack",
        "channel",
        "the acknowledgement of a MonitorEvent is written",
    ),
    persist(
        "persist.payment",
        "payment",
        "the record of an own payment is written",
    ),
    Family {
        own_thread: true,
        ..write(
            "persist.manager",
            "the input that caused it",
            "the ChannelManager is written",
        )
    },
    persist(
        "persist.sweeper",
        "the input that caused it",
        "the OutputSweeper's record is written",
    ),
    persist(
        "persist.graph",
        "the input that caused it",
        "the network graph is written",
    ),
    persist(
        "persist.scorer",
        "the input that caused it",
        "the scorer is written",
    ),
    persist("persist.other", "store key", "anything else is written"),
    write(
        "archive.monitor",
        "channel",
        "a monitor is moved to the archive",
    ),
    write(
        "remove.monitor_update",
        "channel #update id",
        "a consolidated monitor update is removed",
    ),
    write(
        "remove.payment",
        "payment",
        "the record of an own payment that is over is removed",
    ),
    write("remove.other", "store key", "any other record is removed"),
    family(
        "mpp.claim.part",
        "channel",
        "the monitor update with a preimage is applied: part k of n",
    ),
    family(
        "monitor_event.fetched",
        "channel kind",
        "events are taken out of a monitor",
    ),
    family(
        "event.*.given",
        "payment or channel",
        "a user event is handed to the user's handler and handled",
    ),
    family(
        "event.*.durable",
        "payment or channel",
        "the manager without the handled event is written",
    ),
    family(
        "send.*",
        "channel",
        "a protocol message goes to the transport; after: process_events has returned",
    ),
    write(
        "broadcast",
        "what the transaction is",
        "a transaction is sent to bitcoind",
    ),
    family(
        "block.connected",
        "+height above the base",
        "a block is connected to everything that watches the chain",
    ),
    family(
        "block.disconnected",
        "+height above the base",
        "a block is disconnected",
    ),
    family(
        "command.*",
        "idempotency key",
        "a command of the user is carried out",
    ),
    family(
        "fund",
        "the input that caused it",
        "the wallet makes a funding transaction",
    ),
    family(
        "unfund",
        "the input that caused it",
        "the wallet forgets a funding transaction that will never be published",
    ),
    family("find_route", "payment", "ways for a payment are looked for"),
    family("disconnect", "peer", "the node itself ends a connection"),
];

/// The family that a point's full dotted name belongs to, if any.
pub fn family_of(point_name: &str) -> Option<&'static Family> {
    let (stem, moment) = point_name.rsplit_once('.')?;
    FAMILIES
        .iter()
        .find(|family| family.has_moment(moment) && family.has_operation(stem))
}

impl Family {
    /// Whether its operations hand a message to a connection.
    pub fn is_send(&self) -> bool {
        self.name == "send.*"
    }

    /// Whether its operations have a point of this name's last part.
    fn has_moment(&self, moment: &str) -> bool {
        matches!(moment, "before" | "after") || self.stages && STAGES.contains(&moment)
    }

    fn has_operation(&self, stem: &str) -> bool {
        match self.name.split_once('*') {
            None => self.name == stem,
            Some((head, tail)) => stem
                .strip_prefix(head)
                .and_then(|rest| rest.strip_suffix(tail))
                .is_some_and(|part| !part.is_empty() && !part.contains('.')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_name_belongs_to_one_family() {
        for (name, family) in [
            ("persist.monitor.after", "persist.monitor"),
            ("persist.monitor_update.before", "persist.monitor_update"),
            ("persist.monitor_update.renamed", "persist.monitor_update"),
            ("persist.monitor_ack.written", "persist.monitor_ack"),
            ("persist.payment.synced", "persist.payment"),
            ("send.revoke_and_ack.before", "send.*"),
            ("event.payment_sent.given.after", "event.*.given"),
            ("broadcast.before", "broadcast"),
        ] {
            assert_eq!(family_of(name).unwrap().name, family);
        }
        assert!(family_of("send..before").is_none());
        assert!(family_of("persist.monitor").is_none());
        assert!(family_of("persist.monitor.torn").is_none());
    }

    #[test]
    fn only_the_writing_of_a_record_has_stages() {
        for name in [
            "send.shutdown.written",
            "remove.other.synced",
            "broadcast.renamed",
        ] {
            assert!(family_of(name).is_none(), "{name}");
        }
    }
}
