//! `--kind` and `--persist` of the command line: what single nodes, or all, are set to over what the
//! file says.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::de::value::{Error as WordError, StrDeserializer};

use super::error::advice;
use super::model::{Node, NodeKind, Persist, Scenario, StepKind};

/// Something about a node that the command line can set.
pub trait Setting: Copy + DeserializeOwned {
    /// The option, with its two dashes.
    const OPTION: &'static str;
    /// Its words, for people.
    const WORDS: &'static str;
    /// Sets it.
    fn set(self, node: &mut Node);
}

impl Setting for NodeKind {
    const OPTION: &'static str = "--kind";
    const WORDS: &'static str = "`stock` or `unified`";

    fn set(self, node: &mut Node) {
        node.kind = self;
    }
}

impl Setting for Persist {
    const OPTION: &'static str = "--persist";
    const WORDS: &'static str = "`sync`, `async`, `async-seeded` or `held`";

    fn set(self, node: &mut Node) {
        node.persist = self;
    }
}

/// Why such an option cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// There is no such word.
    #[error("{option} {word}: write {words}, or NODE= and one of them for one node")]
    UnknownWord {
        /// The option.
        option: &'static str,
        /// As given.
        word: String,
        /// What there is.
        words: &'static str,
    },
    /// The scenario has no such node.
    #[error("{option} {node}=...: scenario {scenario} has no node `{node}`{advice}")]
    UnknownNode {
        /// The option.
        option: &'static str,
        /// As given.
        node: String,
        /// The scenario's name.
        scenario: String,
        /// What there is instead.
        advice: String,
    },
    /// A step asks of a node what its kind cannot do.
    #[error(
        "scenario {scenario}: step {step} has {node} forget its payments, which a stock node cannot: it is nothing \
         without its manager; leave {node} `unified`"
    )]
    CannotForget {
        /// The scenario's name.
        scenario: String,
        /// The step's label.
        step: String,
        /// The node.
        node: String,
    },
}

/// One such option: `stock` for every node, `B=stock` for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override<T> {
    /// The node; `None` for all.
    pub node: Option<String>,
    /// What it is set to.
    pub value: T,
}

impl<T: Setting> FromStr for Override<T> {
    type Err = OverrideError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (node, word) = match text.split_once('=') {
            Some((node, word)) => (Some(node.to_owned()), word),
            None => (None, text),
        };
        match T::deserialize(StrDeserializer::<WordError>::new(word)) {
            Ok(value) => Ok(Override { node, value }),
            Err(_) => Err(OverrideError::UnknownWord {
                option: T::OPTION,
                word: word.to_owned(),
                words: T::WORDS,
            }),
        }
    }
}

impl Scenario {
    /// Sets nodes as these options say. A node's own goes before the one for all; of two alike the
    /// later counts. Changes nothing if one of the named nodes does not exist.
    ///
    /// # Errors
    /// A node that the scenario does not have, or one of a kind that cannot do what a step asks of it.
    pub fn set<T: Setting>(&mut self, overrides: &[Override<T>]) -> Result<(), OverrideError> {
        let mut every = None;
        let mut of_node: BTreeMap<&str, T> = BTreeMap::new();
        for one in overrides {
            match &one.node {
                None => every = Some(one.value),
                Some(node) => {
                    of_node.insert(node, one.value);
                }
            }
        }
        if let Some(node) = of_node.keys().find(|node| !self.nodes.contains_key(**node)) {
            return Err(OverrideError::UnknownNode {
                option: T::OPTION,
                node: (*node).to_owned(),
                scenario: self.name.clone(),
                advice: advice(node, self.nodes.keys().map(String::as_str)),
            });
        }
        let mut nodes = self.nodes.clone();
        for (name, node) in &mut nodes {
            if let Some(value) = of_node.get(name.as_str()).copied().or(every) {
                value.set(node);
            }
        }
        self.check_forgetting(&nodes)?;
        self.nodes = nodes;
        Ok(())
    }

    fn check_forgetting(&self, nodes: &BTreeMap<String, Node>) -> Result<(), OverrideError> {
        for step in &self.act {
            if let StepKind::Forget { node } = &step.kind
                && nodes
                    .get(node)
                    .is_some_and(|node| node.kind == NodeKind::Stock)
            {
                return Err(OverrideError::CannotForget {
                    scenario: self.name.clone(),
                    step: step.label.clone(),
                    node: node.clone(),
                });
            }
        }
        Ok(())
    }
}
