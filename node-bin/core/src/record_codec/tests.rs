use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::strategies::{channel_record, log_entry, payment_record};
use super::*;

/// As whatever kind: the answer does not matter, that there is one does.
fn decode_all(unchecked: &[u8]) {
    let framed = |kind| with_checksum(kind, unchecked.to_vec());
    let _ = decode_channel(&framed(Kind::Channel));
    let _ = decode_entry(&framed(Kind::Entry));
    let _ = decode_payment(&framed(Kind::Payment));
}

fn without_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - CHECKSUM_BYTES);
    bytes
}

fn is_damaged<T>(result: Result<T, CodecError>) -> bool {
    matches!(result, Err(CodecError::Damaged(_)))
}

proptest! {
    #[test]
    fn a_channel_is_read_as_it_was_written(record in channel_record()) {
        prop_assert_eq!(decode_channel(&encode_channel(&record)), Ok(record));
    }

    #[test]
    fn an_entry_is_read_as_it_was_written(entry in log_entry()) {
        prop_assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
    }

    #[test]
    fn a_payment_is_read_as_it_was_written(record in payment_record()) {
        prop_assert_eq!(decode_payment(&encode_payment(&record)), Ok(record));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..400)) {
        prop_assert!(is_damaged(decode_channel(&bytes)));
        prop_assert!(is_damaged(decode_entry(&bytes)));
        prop_assert!(is_damaged(decode_payment(&bytes)));
        decode_all(&bytes);
        decode_all(&[&[FORMAT, LEAST_FORMAT], bytes.as_slice()].concat());
    }

    #[test]
    fn a_bit_that_flips_is_noticed(
        record in channel_record(),
        entry in log_entry(),
        payment in payment_record(),
        place in any::<Index>(),
        bit in 0u8..8,
    ) {
        let flipped = |mut bytes: Vec<u8>| {
            let place = place.index(bytes.len());
            bytes[place] ^= 1u8 << bit;
            bytes
        };
        let (channel, entry, payment) =
            (encode_channel(&record), encode_entry(&entry), encode_payment(&payment));
        prop_assert!(is_damaged(decode_channel(&flipped(channel.clone()))));
        prop_assert!(is_damaged(decode_entry(&flipped(entry.clone()))));
        prop_assert!(is_damaged(decode_payment(&flipped(payment.clone()))));
        for bytes in [channel, entry, payment] {
            decode_all(&flipped(without_checksum(bytes)));
        }
    }

    #[test]
    fn a_record_that_is_cut_off_is_damaged(record in payment_record(), place in any::<Index>()) {
        let mut bytes = encode_payment(&record);
        bytes.truncate(place.index(bytes.len()));
        prop_assert!(is_damaged(decode_payment(&bytes)));
        decode_all(&bytes);
    }

    #[test]
    fn bytes_after_a_record_are_damage(record in payment_record(), extra in any::<u8>()) {
        let mut bytes = without_checksum(encode_payment(&record));
        bytes.push(extra);
        let bytes = with_checksum(Kind::Payment, bytes);
        prop_assert!(is_damaged(decode_payment(&bytes)));
    }

    #[test]
    fn no_kind_is_read_as_another(record in payment_record()) {
        let bytes = encode_payment(&record);
        prop_assert!(is_damaged(decode_channel(&bytes)));
        prop_assert!(is_damaged(decode_entry(&bytes)));
    }
}

fn acks() -> LogEntry {
    LogEntry {
        sequence: 7,
        content: crate::update::EntryContent::Acks(Vec::new()),
    }
}

fn with_versions(written: u8, least: u8) -> Result<LogEntry, CodecError> {
    let mut bytes = without_checksum(encode_entry(&acks()));
    bytes[..2].copy_from_slice(&[written, least]);
    decode_entry(&with_checksum(Kind::Entry, bytes))
}

#[test]
fn a_record_of_a_later_format_is_read_if_it_says_so_and_named_if_not() {
    assert_eq!(with_versions(1, 1), Ok(acks()));
    assert_eq!(with_versions(9, 1), Ok(acks()));
    let error = with_versions(9, 2).unwrap_err();
    assert_eq!(error, CodecError::FromTheFuture { found: 9, known: 1 });
    assert!(
        error
            .to_string()
            .contains("start the release that wrote it")
    );
    assert!(is_damaged(with_versions(1, 0)));
    assert!(is_damaged(with_versions(0, 1)));
}

#[test]
fn fields_of_later_releases_are_passed_over_if_odd_and_refused_if_even() {
    let with_field = |field: u8| {
        let mut bytes = without_checksum(encode_entry(&acks()));
        bytes[2] += 3; // the stream's length
        bytes.extend_from_slice(&[field, 1, 0xaa]);
        decode_entry(&with_checksum(Kind::Entry, bytes))
    };
    assert_eq!(with_field(33), Ok(acks()));
    assert!(is_damaged(with_field(32)));
}

#[test]
fn an_unknown_even_field_of_a_later_format_is_from_the_future_and_no_damage() {
    let with_field = |written: u8, field: u8| {
        let mut bytes = without_checksum(encode_entry(&acks()));
        bytes[0] = written;
        bytes[2] += 3; // the stream's length
        bytes.extend_from_slice(&[field, 1, 0xaa]);
        decode_entry(&with_checksum(Kind::Entry, bytes))
    };
    let future = CodecError::FromTheFuture { found: 2, known: 1 };
    assert_eq!(with_field(2, 32), Err(future));
    assert_eq!(with_field(2, 33), Ok(acks()));
    assert!(is_damaged(with_field(1, 32)));
}

#[test]
fn a_length_that_lies_takes_no_memory() {
    // From ever another place on, all lengths in the record are as large as they can be.
    let bytes = without_checksum(encode_channel(&super::fixtures::channel()));
    for place in (2..bytes.len()).step_by(7) {
        let mut lying = bytes.clone();
        lying[place..].fill(0xff);
        decode_all(&lying);
    }
}
