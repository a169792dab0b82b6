//! What a node's user is told, with the points around it.

use faults::gate;

use super::names::Names;
use crate::api::{Report, UserEvent};

/// An event with the short name and the role of its crash points.
pub(crate) struct Told {
    pub(crate) name: &'static str,
    pub(crate) role: String,
    pub(crate) event: UserEvent,
}

impl Told {
    /// Tells the user and lets it react, between the event's two points.
    pub(crate) fn give(&self, names: &Names, react: impl FnOnce()) {
        let _ = gate::point(&format!("event.{}.given.before", self.name), &self.role);
        names.heard(&self.event);
        gate::emit(&Report::Event {
            event: self.event.clone(),
        });
        react();
        let _ = gate::point(&format!("event.{}.given.after", self.name), &self.role);
    }
}
