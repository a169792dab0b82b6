//! Records as bytes: TLV streams behind a version, readable by later versions. Owns the frame; the
//! types' own encodings are in the files below, by LDK's macros and LDK's rules: fields with even
//! numbers must be understood, odd ones may be passed over. Numbers are never used twice.
//!
//! The frame, for every version there will be: the format that wrote the record, the oldest format
//! that can read it (a byte each), the TLV stream, a checksum. Reading never panics, and takes no more
//! memory beyond what it is given than some megabytes (a witness's index in `bitcoin`).
//!
//! BOLT 1, "Type-Length-Value Format".

use bitcoin::hashes::{Hash, HashEngine, sha256};
use lightning::ln::msgs::DecodeError;
use lightning::util::ser::{Readable, Writeable};

use crate::payment::PaymentRecord;
use crate::record::ChannelRecord;
use crate::update::LogEntry;

// LDK's macros drop what needs no dropping, to end a borrow.
#[allow(clippy::drop_non_drop)]
mod channel;
#[allow(clippy::drop_non_drop)]
mod entry;
#[allow(clippy::drop_non_drop)]
mod event;
#[allow(clippy::drop_non_drop)]
mod htlc;
#[allow(clippy::drop_non_drop)]
mod payment;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
pub(crate) mod strategies;
#[cfg(test)]
mod tests;

/// What this release writes.
const FORMAT: u8 = 1;

/// The oldest format that can read what this release writes.
const LEAST_FORMAT: u8 = 1;

/// A prefix of a SHA-256: against bad disks, not against people.
const CHECKSUM_BYTES: usize = 4;

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
pub fn encode_channel(record: &ChannelRecord) -> Vec<u8> {
    frame(Kind::Channel, record)
}

/// A channel's snapshot from its bytes.
///
/// # Errors
///
/// [`CodecError`]: it was written by a later release, or is not what was written.
pub fn decode_channel(bytes: &[u8]) -> Result<ChannelRecord, CodecError> {
    unframe(Kind::Channel, bytes)
}

/// A log entry as bytes.
pub fn encode_entry(entry: &LogEntry) -> Vec<u8> {
    frame(Kind::Entry, entry)
}

/// A log entry from its bytes.
///
/// # Errors
///
/// [`CodecError`]: it was written by a later release, or is not what was written.
pub fn decode_entry(bytes: &[u8]) -> Result<LogEntry, CodecError> {
    unframe(Kind::Entry, bytes)
}

/// A payment's record as bytes.
pub fn encode_payment(record: &PaymentRecord) -> Vec<u8> {
    frame(Kind::Payment, record)
}

/// A payment's record from its bytes.
///
/// # Errors
///
/// [`CodecError`]: it was written by a later release, or is not what was written.
pub fn decode_payment(bytes: &[u8]) -> Result<PaymentRecord, CodecError> {
    unframe(Kind::Payment, bytes)
}

/// What a record is of; part of its checksum, so that no kind can be read as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`ChannelRecord`].
    Channel,
    /// [`LogEntry`].
    Entry,
    /// [`PaymentRecord`].
    Payment,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Channel => "channel",
            Kind::Entry => "entry",
            Kind::Payment => "payment",
        }
    }
}

/// Puts the right checksum behind a version and a TLV stream, whatever they are worth: tests of
/// damaged records would end at the checksum without it.
pub fn with_checksum(kind: Kind, mut unchecked: Vec<u8>) -> Vec<u8> {
    let sum = checksum(kind, &unchecked);
    unchecked.extend_from_slice(&sum);
    unchecked
}

fn frame(kind: Kind, record: &impl Writeable) -> Vec<u8> {
    let mut bytes = vec![FORMAT, LEAST_FORMAT];
    bytes.extend_from_slice(&record.encode());
    with_checksum(kind, bytes)
}

fn unframe<T: Readable>(kind: Kind, bytes: &[u8]) -> Result<T, CodecError> {
    let damaged = |what: &str| CodecError::Damaged(format!("{}: {what}", kind.name()));
    let (unchecked, sum) = bytes
        .split_last_chunk::<CHECKSUM_BYTES>()
        .ok_or_else(|| damaged("it is too short"))?;
    if *sum != checksum(kind, unchecked) {
        return Err(damaged("its checksum is wrong"));
    }
    let ([written, least], mut stream) = unchecked
        .split_first_chunk()
        .ok_or_else(|| damaged("it is too short"))?;
    let from_the_future = CodecError::FromTheFuture {
        found: *written,
        known: FORMAT,
    };
    if *least > FORMAT {
        return Err(from_the_future);
    }
    if *least == 0 || written < least {
        return Err(damaged("its format is none"));
    }
    let record = T::read(&mut stream).map_err(|error| match error {
        // Whoever wrote it meant it to be read, and was wrong about that: the checksum says that it is whole.
        DecodeError::UnknownVersion | DecodeError::UnknownRequiredFeature if *written > FORMAT => {
            from_the_future
        }
        error => damaged(reason(&error)),
    })?;
    if !stream.is_empty() {
        return Err(damaged("bytes follow it"));
    }
    Ok(record)
}

fn checksum(kind: Kind, unchecked: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut engine = sha256::Hash::engine();
    engine.input(kind.name().as_bytes());
    engine.input(unchecked);
    let [a, b, c, d, ..] = sha256::Hash::from_engine(engine).to_byte_array();
    [a, b, c, d]
}

fn reason(error: &DecodeError) -> &'static str {
    match error {
        DecodeError::UnknownVersion => "a version in it is unknown",
        DecodeError::UnknownRequiredFeature => "a field or a kind in it is unknown",
        DecodeError::InvalidValue => "a value in it is impossible",
        DecodeError::ShortRead => "it ends too early",
        DecodeError::BadLengthDescriptor => "a length in it is wrong",
        _ => "it cannot be read",
    }
}
