//! Records on a disk: what is written is loaded again, in the right order of points.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use node_core::effect::{Content, Store, Write};
use node_core::record::ChannelRecord;
use node_core::update::{EntryContent, LogEntry, Update, UpdateStep};

use super::*;
use crate::api::NodeConfig;

fn names(folder: &std::path::Path) -> Arc<Names> {
    let config = include_str!("../../CONTROL.md")
        .split("```json\n")
        .nth(1)
        .and_then(|text| text.split("```").next())
        .unwrap();
    let mut config: NodeConfig = serde_json::from_str(config).unwrap();
    config.data_dir = folder.to_owned();
    Arc::new(Names::open(&config).unwrap())
}

fn channel() -> ChannelRecord {
    let text = include_str!("../../core/tests/fixtures/record-v1/channel.hex");
    let bytes: Vec<u8> = bitcoin::hex::FromHex::from_hex(text.trim()).unwrap();
    codec::decode_channel(&bytes).unwrap()
}

fn update(record: &ChannelRecord, sequence: u64, step: UpdateStep) -> Write {
    let content = EntryContent::Update(Update { steps: vec![step] });
    entry(record, sequence, content)
}

fn entry(record: &ChannelRecord, sequence: u64, content: EntryContent) -> Write {
    Write {
        store: Store::Monitor(record.parameters.channel_id),
        sequence,
        content: Content::Entry(LogEntry { sequence, content }),
    }
}

fn snapshot(record: &ChannelRecord) -> Write {
    Write {
        store: Store::Monitor(record.parameters.channel_id),
        sequence: record.sequence,
        content: Content::Snapshot(Box::new(record.clone())),
    }
}

fn committed() -> UpdateStep {
    UpdateStep::HtlcIrrevocablyCommitted { htlc_id: 1 }
}

#[test]
fn a_start_finds_what_was_written_with_entries_in_the_order_of_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::new(folder.path().join("store"), names(folder.path()));
    let record = channel();
    records.write(&snapshot(&record)).unwrap();
    for number in [9, 10, 11] {
        let write = update(&record, record.sequence + number, committed());
        records.write(&write).unwrap();
    }
    let stored = records.load().unwrap();
    assert_eq!(stored.channels.len(), 1);
    assert_eq!(stored.channels[0].snapshot, record);
    let sequences: Vec<_> = stored.channels[0]
        .entries
        .iter()
        .map(|entry| entry.sequence - record.sequence)
        .collect();
    assert_eq!(sequences, [9, 10, 11]);

    let id = record.parameters.channel_id;
    records
        .trim(&id, record.sequence + 9, record.sequence + 10)
        .unwrap();
    assert_eq!(records.load().unwrap().channels[0].entries.len(), 1);
    records.archive(&id).unwrap();
    assert!(records.load().unwrap().channels.is_empty());
    assert_eq!(
        KVStoreSync::list(&records, ARCHIVE, "").unwrap(),
        [id.to_string()]
    );
}

/// The rig deletes that folder when a node has to forget.
#[test]
fn payments_lie_where_the_api_says_and_a_start_without_them_finds_the_channels() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::new(folder.path().join("store"), names(folder.path()));
    records.write(&snapshot(&channel())).unwrap();
    let text = include_str!("../../core/tests/fixtures/record-v1/payment-sent.hex");
    let bytes: Vec<u8> = bitcoin::hex::FromHex::from_hex(text.trim()).unwrap();
    let payment = codec::decode_payment(&bytes).unwrap();
    let write = Write {
        store: Store::Payment(payment.payment_id),
        sequence: payment.sequence,
        content: Content::Payment(Box::new(payment)),
    };
    records.write(&write).unwrap();
    assert_eq!(records.load().unwrap().payments.len(), 1);
    std::fs::remove_dir_all(folder.path().join(crate::api::PAYMENT_RECORDS)).unwrap();
    let stored = records.load().unwrap();
    assert_eq!((stored.channels.len(), stored.payments.len()), (1, 0));
}

#[test]
fn a_damaged_record_is_named_and_refused() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::new(folder.path().join("store"), names(folder.path()));
    let record = channel();
    records.write(&snapshot(&record)).unwrap();
    let id = record.parameters.channel_id.to_string();
    let file = folder.path().join("store").join(MONITORS).join(&id);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let error = records.load().unwrap_err().to_string();
    assert!(error.contains(&id), "{error}");
}

/// These bytes, as a release of format 9 would write them that format 1 cannot read.
fn of_format_9(kind: codec::Kind, mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - 4);
    bytes[..2].copy_from_slice(&[9, 9]);
    codec::with_checksum(kind, bytes)
}

#[test]
fn a_record_of_a_later_release_is_named_with_its_channel_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let records = Records::new(store.clone(), names(folder.path()));
    let record = channel();
    let id = record.parameters.channel_id.to_string();
    records.write(&snapshot(&record)).unwrap();
    let write = update(&record, record.sequence + 1, committed());
    records.write(&write).unwrap();
    let refused = |what: &str| {
        let error = records.load().unwrap_err().to_string();
        for part in [what, &id, "format 9", "start the release that wrote it"] {
            assert!(error.contains(part), "{error}");
        }
    };

    let Content::Entry(entry) = &write.content else {
        panic!("no entry");
    };
    let key = (record.sequence + 1).to_string();
    let file = store.join(UPDATES).join(&id).join(&key);
    let bytes = of_format_9(codec::Kind::Entry, codec::encode_entry(entry));
    std::fs::write(file, bytes).unwrap();
    refused(&format!("entry {key}"));

    let bytes = of_format_9(codec::Kind::Channel, codec::encode_channel(&record));
    std::fs::write(store.join(MONITORS).join(&id), bytes).unwrap();
    refused("channel");
}

/// The points that pass while this is done, and nothing else the pipe says.
fn points(pipe: &mut BufReader<UnixStream>, done: impl FnOnce()) -> Vec<String> {
    done();
    let mut points = Vec::new();
    let mut line = String::new();
    // Whatever was passed is in the socket by now; the bound ends the reading.
    while pipe.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        if let Some(point) = value["point"].as_str() {
            points.push(point.to_owned());
        }
        line.clear();
    }
    points
}

#[test]
fn every_stage_of_a_write_is_a_point() {
    if !gate::HAS_POINTS {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let names = names(folder.path());
    let record = channel();
    names.register(
        record.parameters.channel_id,
        &record.parameters.counterparty_node_id,
        record.parameters.funding.into_bitcoin_outpoint(),
    );
    let label = names.channel(&record.parameters.channel_id).unwrap();
    let records = Records::new(folder.path().join("store"), names);
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    gate::open_pipe(OwnedFd::from(ours));
    gate::arm(Vec::new());
    let mut pipe = BufReader::new(theirs);

    let stages = |family: &str, role: &str| -> Vec<String> {
        ["before", "written", "synced", "renamed", "after"]
            .map(|stage| format!("{family}.{stage}[{role}]@1"))
            .to_vec()
    };
    let passed = points(&mut pipe, || records.write(&snapshot(&record)).unwrap());
    // Other tests of this program may pass points of their own meanwhile.
    let of_this_test = |points: Vec<String>| -> Vec<String> {
        let ours = format!("[{label}");
        points
            .into_iter()
            .filter(|point| point.contains(&ours))
            .collect()
    };
    assert_eq!(of_this_test(passed), stages("persist.monitor", &label));

    let acks = entry(&record, 3, EntryContent::Acks(Vec::new()));
    let passed = points(&mut pipe, || records.write(&acks).unwrap());
    assert_eq!(of_this_test(passed), stages("persist.monitor_ack", &label));

    let preimage = UpdateStep::PaymentPreimage {
        htlc_id: 1,
        preimage: lightning::types::payment::PaymentPreimage([1; 32]),
        claim: None,
    };
    let claim = update(&record, 4, preimage);
    let passed = points(&mut pipe, || records.write(&claim).unwrap());
    let mut wanted = vec![format!("mpp.claim.part.before[{label}]@1")];
    wanted.extend(stages("persist.monitor_update", &label));
    wanted.push(format!("mpp.claim.part.after[{label}]@1"));
    assert_eq!(of_this_test(passed), wanted);
}
