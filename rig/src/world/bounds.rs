//! How long anything may take before it counts as a fault. None of these is ever waited out when
//! things go well.

use std::time::Duration;

/// Upper bounds of the waits of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// From the start of a process to its first idle.
    pub start: Duration,
    /// From a command to its answer.
    pub call: Duration,
    /// Until nothing is under way any more, or a report has come.
    pub wait: Duration,
    /// For a scenario's `await`.
    pub awaited: Duration,
    /// Until a node notices by itself that a peer is dead. Then it is told, as a ping without an answer would tell it.
    pub notice: Duration,
    /// From the end of a process's report pipe to its end.
    pub exit: Duration,
    /// For a whole case.
    pub case: Duration,
    /// How many processes a node may have in one case.
    pub lives: u32,
    /// How many blocks are mined to let claims on chain come to their end.
    pub settle_blocks: u32,
    /// How often timers are ticked while nothing else can help. A payee lets go of a payment whose parts do not all
    /// come at the third tick (LDK and the unified node alike).
    pub ticks: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            start: Duration::from_secs(20),
            call: Duration::from_secs(20),
            wait: Duration::from_secs(20),
            awaited: Duration::from_secs(10),
            notice: Duration::from_secs(3),
            exit: Duration::from_secs(5),
            case: Duration::from_secs(120),
            lives: 8,
            settle_blocks: 600,
            ticks: 4,
        }
    }
}
