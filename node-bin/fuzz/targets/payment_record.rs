#![no_main]

use libfuzzer_sys::fuzz_target;
use node_core::record_codec::{Kind, decode_payment, encode_payment};
use node_fuzz::read_record;

fuzz_target!(|bytes: &[u8]| read_record(Kind::Payment, bytes, decode_payment, encode_payment));
