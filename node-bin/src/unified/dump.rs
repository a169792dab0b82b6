//! `deadbolt-node dump FILE`: a stored record of the unified node as JSON, for people and for evidence. It
//! only reads.

use std::path::Path;
use std::process::ExitCode;

use node_core::dump::{dump_channel, dump_entry, dump_payment};
use node_core::record_codec::{self as codec, CodecError};
use serde_json::Value;

/// Prints the record in this file.
pub fn main(file: &Path) -> ExitCode {
    let printed = std::fs::read(file)
        .map_err(|error| error.to_string())
        .and_then(|bytes| record(&bytes).map_err(|error| error.to_string()))
        .and_then(|value| print(&value).map_err(|error| error.to_string()));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("deadbolt node: {}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}

/// A record says what it is: its checksum is another for each kind.
fn record(bytes: &[u8]) -> Result<Value, CodecError> {
    let channel = || codec::decode_channel(bytes).map(|record| dump_channel(&record));
    let entry = || codec::decode_entry(bytes).map(|entry| dump_entry(&entry));
    let payment = || codec::decode_payment(bytes).map(|record| dump_payment(&record));
    channel().or_else(|error| entry().or_else(|_| payment()).map_err(|_| error))
}

fn print(value: &Value) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(text: &str) -> Vec<u8> {
        bitcoin::hex::FromHex::from_hex(text.trim()).unwrap()
    }

    #[test]
    fn every_kind_of_record_is_known_by_itself() {
        for text in [
            include_str!("../../core/tests/fixtures/record-v1/channel.hex"),
            include_str!("../../core/tests/fixtures/record-v1/entry-update.hex"),
            include_str!("../../core/tests/fixtures/record-v1/payment-sent.hex"),
        ] {
            assert!(record(&fixture(text)).unwrap().is_object());
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let mut bytes = fixture(include_str!(
            "../../core/tests/fixtures/record-v1/channel.hex"
        ));
        bytes.truncate(bytes.len() / 2);
        for bytes in [bytes, Vec::new(), b"no record".to_vec()] {
            assert!(record(&bytes).is_err());
        }
    }
}
