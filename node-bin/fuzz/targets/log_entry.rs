#![no_main]

use libfuzzer_sys::fuzz_target;
use node_core::record_codec::{Kind, decode_entry, encode_entry};
use node_fuzz::read_record;

fuzz_target!(|bytes: &[u8]| read_record(Kind::Entry, bytes, decode_entry, encode_entry));
