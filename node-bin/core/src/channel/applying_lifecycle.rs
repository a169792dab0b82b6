//! What the steps of a channel's life (funding, ready, announced, shut down) do to its record.

use crate::record::{ChannelRecord, Closure};
use crate::update::UpdateStep;

use super::ApplyError;

/// Applies a step if it is one of these; `false` if it is not.
pub(super) fn apply_lifecycle(
    record: &mut ChannelRecord,
    step: &UpdateStep,
) -> Result<bool, ApplyError> {
    let _ = (record, step);
    Ok(false)
}
