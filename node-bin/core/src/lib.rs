//! The pure core of deadbolt's unified node. It decides and does nothing: no I/O, no clock, no dice, no
//! threads. What happens goes in as [`input::Input`], what is to be done comes out as
//! [`effect::Effect`], and [`engine::Engine`] keeps the order between what is written and what
//! rests on it.

#![warn(missing_docs, clippy::missing_errors_doc)]

pub mod channel;
pub mod commitment;
pub mod dump;
pub mod effect;
pub mod engine;
pub mod event;
pub mod features;
pub mod input;
pub mod keys;
pub mod message;
pub mod node;
pub mod onchain;
pub mod onion;
pub mod payment;
pub mod record;
pub mod record_codec;
pub mod sim;
pub mod source;
pub mod spec;
pub mod update;
pub mod wire;
