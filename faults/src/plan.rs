//! What shall go wrong, where: the rig's side of a fault. Owns the words; the rig carries them out.

use serde::{Deserialize, Serialize};

use crate::point::NodePoint;
use crate::wire::Response;

/// One fault of a plan: when the node reaches the point, the action happens to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "FaultText")]
pub struct Fault {
    /// Where.
    pub at: NodePoint,
    /// What.
    #[serde(flatten)]
    pub action: Action,
    /// In which life of the node's process the point counts: 0 is the process that ran `[setup]`,
    /// 1 the one started after the first kill, and so on.
    pub life: u32,
}

/// A fault as it is read: a flattened enum cannot refuse unknown keys, a plain struct can.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultText {
    at: NodePoint,
    action: ActionName,
    until: Option<Condition>,
    delay_ms: Option<u64>,
    closes: Option<Vec<Closing>>,
    kill: Option<bool>,
    #[serde(default)]
    life: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ActionName {
    Kill,
    Hold,
    Delay,
    Fail,
    Disconnect,
    Close,
}

impl TryFrom<FaultText> for Fault {
    type Error = &'static str;

    fn try_from(text: FaultText) -> Result<Self, Self::Error> {
        if text.action != ActionName::Close && (text.closes.is_some() || text.kill.is_some()) {
            return Err("only a close takes `closes` and `kill`");
        }
        let action = match (text.action, text.until, text.delay_ms) {
            (ActionName::Kill, None, None) => Action::Kill,
            (ActionName::Fail, None, None) => Action::Fail,
            (ActionName::Disconnect, None, None) => Action::Disconnect,
            (ActionName::Hold, Some(until), None) => Action::Hold { until },
            (ActionName::Delay, None, Some(delay_ms)) => Action::Delay { delay_ms },
            (ActionName::Close, None, None) => Action::Close {
                closes: text.closes.unwrap_or_default(),
                kill: text.kill.unwrap_or(false),
            },
            (ActionName::Hold, ..) => return Err("a hold takes `until`, and no `delay_ms`"),
            (ActionName::Delay, ..) => return Err("a delay takes `delay_ms`, and no `until`"),
            _ => return Err("only a hold takes `until`, and only a delay `delay_ms`"),
        };
        if matches!(&action, Action::Close { closes, .. } if closes.is_empty()) {
            return Err("a close takes `closes`, at least one");
        }
        Ok(Fault {
            at: text.at,
            action,
            life: text.life,
        })
    }
}

/// What happens at an armed point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// The process freezes and gets a SIGKILL.
    Kill,
    /// The operation stops until the condition holds; at a point that runs on a thread of its own
    /// (a manager write) the rest of the node goes on, elsewhere the whole process is frozen.
    Hold {
        /// When it goes on. A hold whose condition never comes true ends with the node's life.
        until: Condition,
    },
    /// The whole process is frozen for so long and then goes on.
    Delay {
        /// For how long, in milliseconds.
        delay_ms: u64,
    },
    /// The operation reports failure to its caller without having been done.
    Fail,
    /// The process is frozen, its peer drops the connection that the message goes over once it has
    /// handled all that was sent before, and the process goes on.
    Disconnect,
    /// The process is frozen and channels are force-closed. A peer closes at once, having handled all
    /// that was sent before; the process itself closes as the first thing that it does when it goes
    /// on, or after its next start where it is killed.
    Close {
        /// Which, by whom.
        closes: Vec<Closing>,
        /// Whether the process then gets a SIGKILL instead of going on.
        kill: bool,
    },
}

/// A force close of one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closing {
    /// The channel's label.
    pub channel: String,
    /// Which of its two nodes publishes its commitment.
    pub by: String,
}

/// What a held operation waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Another point was reached, on this node or another.
    Point(NodePoint),
    /// The scenario's step with this label has ended.
    Step(String),
    /// Never: it stays held for the rest of this life of the process.
    Never,
}

/// Why a fault cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultPlanError {
    /// The point is in no family of the catalogue.
    #[error("no such point {0:?}: `deadbolt list points` prints the catalogue")]
    UnknownPoint(String),
    /// The family's operation cannot report failure.
    #[error("nothing can fail at {0:?}: only store writes and broadcasts can, at their `.before`")]
    CannotFail(String),
    /// No message goes anywhere at the point.
    #[error("no connection belongs to {0:?}: a disconnect happens at a message, at `send.*`")]
    NoConnection(String),
}

impl Action {
    /// What the node itself has to do when it reaches the point.
    pub fn response(&self) -> Response {
        match self {
            Action::Kill | Action::Delay { .. } | Action::Disconnect | Action::Close { .. } => {
                Response::Freeze
            }
            Action::Hold { .. } => Response::Hold,
            Action::Fail => Response::Fail,
        }
    }
}

impl Fault {
    /// A SIGKILL at this point in the node's first life.
    pub fn kill(at: NodePoint) -> Self {
        Fault {
            at,
            action: Action::Kill,
            life: 0,
        }
    }

    /// Checks the fault against the catalogue.
    pub fn check(&self) -> Result<(), FaultPlanError> {
        let name = &self.at.point.name;
        let family = crate::catalogue::family_of(name)
            .ok_or_else(|| FaultPlanError::UnknownPoint(name.clone()))?;
        if self.action == Action::Fail && !(family.can_fail && name.ends_with(".before")) {
            return Err(FaultPlanError::CannotFail(name.clone()));
        }
        if self.action == Action::Disconnect && !family.is_send() {
            return Err(FaultPlanError::NoConnection(name.clone()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_back_as_it_was_written() {
        let text = r#"{"at":"B:persist.manager.before@1","action":"hold","until":{"step":"paid"},"life":0}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!(
            fault.action,
            Action::Hold {
                until: Condition::Step("paid".into())
            }
        );
        assert_eq!(serde_json::to_string(&fault).unwrap(), text);
    }

    #[test]
    fn a_kill_reads_back_as_it_was_written_and_unknown_keys_are_refused() {
        let fault = Fault::kill("B:persist.manager.before@1".parse().unwrap());
        let text = serde_json::to_string(&fault).unwrap();
        assert_eq!(serde_json::from_str::<Fault>(&text).unwrap(), fault);
        for wrong in [
            r#"{"at":"B:broadcast.before@1","action":"kill","when":1}"#,
            r#"{"at":"B:broadcast.before@1","action":"kill","delay_ms":1}"#,
            r#"{"at":"B:broadcast.before@1","action":"hold"}"#,
        ] {
            assert!(serde_json::from_str::<Fault>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_close_reads_back_as_it_was_written_and_closes_something() {
        let text = r#"{"at":"B:broadcast.before@1","action":"close","closes":[{"channel":"A-B","by":"A"}],"kill":true,"life":0}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&fault).unwrap(), text);
        assert_eq!(fault.action.response(), Response::Freeze);
        for wrong in [
            r#"{"at":"B:broadcast.before@1","action":"close"}"#,
            r#"{"at":"B:broadcast.before@1","action":"close","closes":[]}"#,
            r#"{"at":"B:broadcast.before@1","action":"kill","kill":true}"#,
            r#"{"at":"B:broadcast.before@1","action":"close","closes":[{"channel":"A-B"}]}"#,
        ] {
            assert!(serde_json::from_str::<Fault>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fault_at_a_point_that_is_not_in_the_catalogue_is_refused() {
        let fault = Fault::kill("B:persist.nonsense.before@1".parse().unwrap());
        assert!(matches!(
            fault.check(),
            Err(FaultPlanError::UnknownPoint(_))
        ));
        let fail = Fault {
            at: "B:send.shutdown.before[A-B]@1".parse().unwrap(),
            action: Action::Fail,
            life: 0,
        };
        assert!(matches!(fail.check(), Err(FaultPlanError::CannotFail(_))));
        let disconnect = |at: &str| Fault {
            at: at.parse().unwrap(),
            action: Action::Disconnect,
            life: 0,
        };
        assert!(disconnect("B:send.shutdown.before[A-B]").check().is_ok());
        assert!(matches!(
            disconnect("B:persist.manager.before@1").check(),
            Err(FaultPlanError::NoConnection(_))
        ));
    }
}
