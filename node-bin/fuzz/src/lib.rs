//! What the fuzz targets share: reading a record twice, a node, a hostile peer.

pub mod made;
pub mod peer;
pub mod wire;

use bitcoin::ScriptBuf;
use node_core::keys::Environment;
use node_core::record_codec::{CodecError, Kind, with_checksum};

/// Reads these bytes as a record, as they are and behind the right checksum. What can be read must come
/// out the same when it is written and read again.
pub fn read_record<T: PartialEq + std::fmt::Debug>(
    kind: Kind,
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, CodecError>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    for bytes in [bytes.to_vec(), with_checksum(kind, bytes.to_vec())] {
        if let Ok(record) = decode(&bytes) {
            assert_eq!(decode(&encode(&record)), Ok(record));
        }
    }
}

/// A node whose secrets all follow from one byte.
pub fn environment(byte: u8) -> Environment {
    Environment::new([byte; 32], ScriptBuf::new())
}
