//! Every way to hurt a process: crash points inside it, and signals from outside.
//!
//! A node program links this crate and calls [`gate::point`] in every gap between two effects. The
//! rig arms points over the node's control API and reads what the process reports on its own pipe.
//! This crate knows nothing about Lightning and never decides a verdict.

pub mod catalogue;
pub mod gate;
pub mod plan;
pub mod point;
pub mod process;
pub mod wire;

pub use gate::Outcome;
pub use plan::{Action, Closing, Condition, Fault, FaultPlanError};
pub use point::{NodePoint, PointId, PointParseError};
pub use wire::{ArmedPoint, GateOrder, GateReport, Response};
