//! The node processes of deadbolt: the control API that every node program speaks, and the programs.

pub mod api;
pub mod stock;
