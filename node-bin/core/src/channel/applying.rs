//! What log entries do to a channel's record: the same alive and at a start. Makes the events.

use crate::record::ChannelRecord;
use crate::update::LogEntry;

/// An entry that does not fit the record it is applied to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// An entry is missing, or came twice.
    #[error(
        "entry {found} follows entry {last}: the log has a gap; a file of the store is missing"
    )]
    Gap {
        /// The record's.
        last: u64,
        /// The entry's.
        found: u64,
    },
    /// A change that does not fit the commitments.
    #[error(transparent)]
    Spec(#[from] crate::spec::SpecError),
    /// A step that does not fit the record.
    #[error("a step does not fit the channel: {0}")]
    Step(&'static str),
}

impl ChannelRecord {
    /// Applies an entry, as a whole or not at all.
    pub fn apply(&mut self, _entry: &LogEntry) -> Result<(), ApplyError> {
        unimplemented!()
    }
}
