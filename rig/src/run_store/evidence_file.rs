//! Saved evidence: `plan.json`, `evidence.json` and `trace.jsonl` of a case's folder, and back.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::plan_file::{read_plan, write_plan};
use super::record::RUN_VERSION;
use crate::evidence::{ChainEvidence, Evidence, MadePayment, OpenedChannel, TraceEntry};
use node_bin::api::RestView;

pub(super) const PLAN: &str = "plan.json";
pub(super) const EVIDENCE: &str = "evidence.json";
pub(super) const TRACE: &str = "trace.jsonl";

/// `evidence.json`: evidence without what has a file of its own.
#[derive(Serialize, Deserialize)]
struct EvidenceRecord {
    version: u32,
    channels: Vec<OpenedChannel>,
    payments: Vec<MadePayment>,
    chain: ChainEvidence,
    start: BTreeMap<String, RestView>,
    rest: BTreeMap<String, RestView>,
}

/// Saves a case's evidence in its folder.
///
/// # Errors
/// The file system refuses.
pub fn save_evidence(folder: &Path, evidence: &Evidence) -> Result<(), StoreError> {
    write_plan(&folder.join(PLAN), &evidence.plan)?;
    let record = EvidenceRecord {
        version: RUN_VERSION,
        channels: evidence.channels.clone(),
        payments: evidence.payments.clone(),
        chain: evidence.chain.clone(),
        start: evidence.start.clone(),
        rest: evidence.rest.clone(),
    };
    write_json(&folder.join(EVIDENCE), &record)?;
    let path = folder.join(TRACE);
    let mut file = BufWriter::new(File::create(&path).map_err(StoreError::io("write", &path))?);
    for entry in &evidence.trace {
        write_line(&mut file, entry, &path)?;
    }
    file.flush().map_err(StoreError::io("write", &path))
}

/// Reads a case's evidence back.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn load_evidence(folder: &Path) -> Result<Evidence, StoreError> {
    let path = folder.join(EVIDENCE);
    if !path.exists() {
        return Err(StoreError::NoEvidence(folder.to_owned()));
    }
    let record: EvidenceRecord = read_json(&path)?;
    if record.version > RUN_VERSION {
        return Err(StoreError::LaterVersion {
            path,
            found: u64::from(record.version),
            known: RUN_VERSION,
        });
    }
    let trace: Vec<TraceEntry> = read_lines(&folder.join(TRACE), LastLine::MustBeWhole)?;
    Ok(Evidence {
        plan: read_plan(&folder.join(PLAN))?,
        channels: record.channels,
        payments: record.payments,
        trace,
        chain: record.chain,
        start: record.start,
        rest: record.rest,
    })
}

/// Writes one pretty JSON value.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|source| StoreError::Malformed {
        path: path.to_owned(),
        line: 1,
        source,
    })?;
    text.push(b'\n');
    fs::write(path, text).map_err(StoreError::io("write", path))
}

/// Reads one JSON value.
pub(super) fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, StoreError> {
    let text = fs::read_to_string(path).map_err(StoreError::io("read", path))?;
    serde_json::from_str(&text).map_err(|source| StoreError::Malformed {
        path: path.to_owned(),
        line: source.line(),
        source,
    })
}

/// Writes one value and a line feed, in one call so that a line is whole or not there.
pub(super) fn write_line(
    file: &mut impl Write,
    value: &impl Serialize,
    path: &Path,
) -> Result<(), StoreError> {
    let mut line = serde_json::to_vec(value).map_err(|source| StoreError::Malformed {
        path: path.to_owned(),
        line: 1,
        source,
    })?;
    line.push(b'\n');
    file.write_all(&line).map_err(StoreError::io("write", path))
}

/// What a last line without its line feed means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LastLine {
    /// Damage.
    MustBeWhole,
    /// The writer was killed in the middle of it: it is left out.
    MayBeCut,
}

/// Reads a file of one JSON value a line.
pub(super) fn read_lines<T: for<'de> Deserialize<'de>>(
    path: &Path,
    last: LastLine,
) -> Result<Vec<T>, StoreError> {
    // A cut line may end in the middle of a character.
    let bytes = fs::read(path).map_err(StoreError::io("read", path))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut values = Vec::new();
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if last == LastLine::MayBeCut && !line.ends_with('\n') {
            break;
        }
        let value = serde_json::from_str(line).map_err(|source| StoreError::Malformed {
            path: path.to_owned(),
            line: number + 1,
            source,
        })?;
        values.push(value);
    }
    Ok(values)
}
