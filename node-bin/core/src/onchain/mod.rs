//! Transactions of a channel on the chain: which commitment one is, how an output was spent, and the
//! signed transactions that claim what is the holder's. Pure: no state, and no view of the chain.
//! When to publish, and when to pay more, is decided elsewhere.
//!
//! BOLT 5.

pub mod bumping;
pub mod claims;
pub mod identify;
mod scripts;
pub mod signer;
pub mod spend;

#[cfg(test)]
pub(crate) mod testing;
