//! Records as bytes: TLV streams behind a version, readable by later versions.

use crate::payment::PaymentRecord;
use crate::record::ChannelRecord;
use crate::update::LogEntry;

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Written by a later release.
    #[error(
        "the record has format {found}, this release reads formats up to {known}: start the release that wrote it, or a later one"
    )]
    FromTheFuture {
        /// In the record.
        found: u8,
        /// Ours.
        known: u8,
    },
    /// Not what was written.
    #[error("the record is damaged: {0}")]
    Damaged(String),
}

/// A channel's snapshot as bytes.
pub fn encode_channel(_record: &ChannelRecord) -> Vec<u8> {
    unimplemented!()
}
/// And back.
pub fn decode_channel(_bytes: &[u8]) -> Result<ChannelRecord, CodecError> {
    unimplemented!()
}
/// A log entry as bytes.
pub fn encode_entry(_entry: &LogEntry) -> Vec<u8> {
    unimplemented!()
}
/// And back.
pub fn decode_entry(_bytes: &[u8]) -> Result<LogEntry, CodecError> {
    unimplemented!()
}
/// A payment's record as bytes.
pub fn encode_payment(_record: &PaymentRecord) -> Vec<u8> {
    unimplemented!()
}
/// And back.
pub fn decode_payment(_bytes: &[u8]) -> Result<PaymentRecord, CodecError> {
    unimplemented!()
}
