//! What a process and the rig say to each other about points: reports on the process's pipe, orders
//! back on it, and arms over the control API. One JSON value a line.

use serde::{Deserialize, Serialize};

use crate::point::PointId;

/// A point that the process must not simply pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmedPoint {
    /// Which point.
    pub point: PointId,
    /// What the process does there.
    pub response: Response,
}

/// What a process does at an armed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// Report, stop the whole process, and wait for the rig's order.
    Freeze,
    /// Report and stop only the operation, if it has a thread of its own; else as `Freeze`.
    Hold,
    /// The operation fails.
    Fail,
}

/// What the gate reports about a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum GateReport {
    /// The process passed a point.
    Point {
        /// Which.
        point: PointId,
        /// The input it happened under; inputs are numbered from the first `arm` of a process on.
        input: u64,
    },
    /// The process stands at an armed point and is stopped as a whole.
    Frozen {
        /// Which.
        point: PointId,
    },
    /// One operation stands at an armed point; the rest of the process goes on.
    Held {
        /// Which.
        point: PointId,
    },
    /// The operation at an armed point was made to fail.
    Failed {
        /// Which.
        point: PointId,
    },
}

/// The rig's order to a frozen process, sent before the SIGCONT that lets it read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateOrder {
    /// Go on as if nothing had been.
    Continue,
    /// Go on, and take these requests, each in JSON as on the control socket, before any other input;
    /// they are not answered.
    Then(Vec<String>),
    /// Let the operation fail.
    Fail,
}
