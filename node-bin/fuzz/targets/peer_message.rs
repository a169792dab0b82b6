#![no_main]

//! A peer that sends whatever it likes: raw messages, right ones with wrong fields, and wrong ones with right
//! signatures. See `node_fuzz::peer`.

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| node_fuzz::peer::play(bytes));
