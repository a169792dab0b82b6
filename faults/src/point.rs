//! Names of crash points. Owns how a point is written and read back; never what happens there.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One crash point on one node: a stable dotted name, the role it plays there (which channel, which
/// message caused it, which height) and its ordinal under that name and role, counted from one.
///
/// Written `name[role]@hit`, for example `send.revoke_and_ack.before[A-B]@2`; the brackets are left
/// out where a point needs no role, and `@1` may be left out when read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PointId {
    /// Dotted name as the catalogue lists it, for example `persist.monitor.after`.
    pub name: String,
    /// What tells this point from others of the same name; empty if nothing does.
    pub role: String,
    /// The how manieth hit of this name and role since counting was last reset, from one.
    pub hit: u32,
}

/// A [`PointId`] on a named node, written `NODE:name[role]@hit`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodePoint {
    /// The node's name in the scenario.
    pub node: String,
    /// The point on that node.
    pub point: PointId,
}

/// Why a point could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointParseError {
    /// The text has no `NODE:` in front.
    #[error(
        "{0:?} names no node: write NODE:point[role]@hit, for example B:persist.manager.before@1"
    )]
    NoNode(String),
    /// The dotted name is empty or has characters other than lower-case letters, digits, `_`, `.`.
    #[error("{0:?} is not a point name: see `deadbolt list points`")]
    BadName(String),
    /// A `[` without its `]`.
    #[error("{0:?} opens a role with '[' and does not close it with ']'")]
    BadRole(String),
    /// The ordinal after `@` is not a whole number from one.
    #[error("{0:?} has no whole number from 1 after '@'")]
    BadHit(String),
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.role.is_empty() {
            write!(f, "{}@{}", self.name, self.hit)
        } else {
            write!(f, "{}[{}]@{}", self.name, self.role, self.hit)
        }
    }
}

impl FromStr for PointId {
    type Err = PointParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (head, role, tail) = match text.split_once('[') {
            None => {
                let at = text.find('@').unwrap_or(text.len());
                (&text[..at], "", &text[at..])
            }
            Some((head, rest)) => {
                let (role, tail) = rest
                    .rsplit_once(']')
                    .ok_or_else(|| PointParseError::BadRole(text.to_owned()))?;
                (head, role, tail)
            }
        };
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.';
        if head.is_empty() || !head.chars().all(legal) {
            return Err(PointParseError::BadName(text.to_owned()));
        }
        let hit = match tail.strip_prefix('@') {
            None if tail.is_empty() => 1,
            None => return Err(PointParseError::BadHit(text.to_owned())),
            Some(number) => match number.parse::<u32>() {
                Ok(hit) if hit > 0 => hit,
                _ => return Err(PointParseError::BadHit(text.to_owned())),
            },
        };
        Ok(PointId {
            name: head.to_owned(),
            role: role.to_owned(),
            hit,
        })
    }
}

impl fmt::Display for NodePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.node, self.point)
    }
}

impl FromStr for NodePoint {
    type Err = PointParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (node, point) = text
            .split_once(':')
            .ok_or_else(|| PointParseError::NoNode(text.to_owned()))?;
        if node.is_empty() || node.contains(['[', '@', '.']) {
            return Err(PointParseError::NoNode(text.to_owned()));
        }
        Ok(NodePoint {
            node: node.to_owned(),
            point: point.parse()?,
        })
    }
}

macro_rules! serde_as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}
serde_as_text!(PointId);
serde_as_text!(NodePoint);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_reads_back_as_it_was_written() {
        for text in [
            "persist.manager.before[recv.revoke_and_ack A-B]@3",
            "block.connected.after[+12]@1",
            "x@9",
        ] {
            assert_eq!(text.parse::<PointId>().unwrap().to_string(), text);
        }
        let node: NodePoint = "B:send.shutdown.before[A-B]".parse().unwrap();
        assert_eq!(node.to_string(), "B:send.shutdown.before[A-B]@1");
    }

    #[test]
    fn a_point_that_cannot_be_read_says_what_is_wrong_with_it() {
        assert!(matches!(
            "a.b[c".parse::<PointId>(),
            Err(PointParseError::BadRole(_))
        ));
        assert!(matches!(
            "a.b@0".parse::<PointId>(),
            Err(PointParseError::BadHit(_))
        ));
        assert!(matches!(
            "a.b[c]x".parse::<PointId>(),
            Err(PointParseError::BadHit(_))
        ));
        assert!(matches!(
            "".parse::<PointId>(),
            Err(PointParseError::BadName(_))
        ));
        assert!(matches!(
            "a.b@1".parse::<NodePoint>(),
            Err(PointParseError::NoNode(_))
        ));
    }
}
