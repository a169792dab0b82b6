//! The node processes of deadbolt: the control API that every node program speaks, and the programs.

#![warn(missing_docs, clippy::missing_errors_doc)]

pub mod api;
pub(crate) mod shared;
pub mod stock;
pub mod unified;
