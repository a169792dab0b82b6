//! `--kind` of the command line: which program each node runs, over what the file says.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::error::advice;
use super::model::{NodeKind, Scenario};

/// Why a `--kind` cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KindOverrideError {
    /// There is no such program.
    #[error("no node kind {0:?}: write `--kind stock`, `--kind unified` or `--kind NODE=KIND`")]
    UnknownKind(String),
    /// The scenario has no such node.
    #[error("--kind {node}=...: scenario {scenario} has no node `{node}`{advice}")]
    UnknownNode {
        /// As given.
        node: String,
        /// The scenario's name.
        scenario: String,
        /// What there is instead.
        advice: String,
    },
}

/// One `--kind`: `stock` for every node, `B=stock` for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindOverride {
    /// The node; `None` for all.
    pub node: Option<String>,
    /// What it runs.
    pub kind: NodeKind,
}

impl FromStr for KindOverride {
    type Err = KindOverrideError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (node, kind) = match text.split_once('=') {
            Some((node, kind)) => (Some(node.to_owned()), kind),
            None => (None, text),
        };
        let kind = match kind {
            "stock" => NodeKind::Stock,
            "unified" => NodeKind::Unified,
            other => return Err(KindOverrideError::UnknownKind(other.to_owned())),
        };
        Ok(KindOverride { node, kind })
    }
}

/// All `--kind`s together. A node's own goes before the one for all; of two alike the later counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindOverrides {
    every: Option<NodeKind>,
    of_node: BTreeMap<String, NodeKind>,
}

impl FromIterator<KindOverride> for KindOverrides {
    fn from_iter<I: IntoIterator<Item = KindOverride>>(overrides: I) -> Self {
        let mut all = KindOverrides::default();
        for KindOverride { node, kind } in overrides {
            match node {
                None => all.every = Some(kind),
                Some(node) => {
                    all.of_node.insert(node, kind);
                }
            }
        }
        all
    }
}

impl Scenario {
    /// Decides every node's kind. Changes nothing if one of the named nodes does not exist.
    ///
    /// # Errors
    /// A node that the scenario does not have.
    pub fn with_kinds(&mut self, overrides: &KindOverrides) -> Result<(), KindOverrideError> {
        let unknown = overrides
            .of_node
            .keys()
            .find(|node| !self.nodes.contains_key(*node));
        if let Some(node) = unknown {
            return Err(KindOverrideError::UnknownNode {
                node: node.clone(),
                scenario: self.name.clone(),
                advice: advice(node, self.nodes.keys().map(String::as_str)),
            });
        }
        for (name, node) in &mut self.nodes {
            let kind = overrides.of_node.get(name).copied().or(overrides.every);
            node.kind = kind.unwrap_or(node.kind);
        }
        Ok(())
    }
}
