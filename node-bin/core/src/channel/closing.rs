//! Closing by agreement (BOLT 2, `shutdown` and `closing_signed`).

/// Negotiation of the closing fee.
#[derive(Clone, Debug, Default)]
pub struct Negotiation {}
