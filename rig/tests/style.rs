//! The rules of ARCHITECTURE.md that a program can check: no fixed sleeps, files and functions of a
//! readable length, and oracles that know nothing of the nodes they judge.

use std::fs;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

const LINES_A_FILE: usize = 1_000;
const LINES_A_FUNCTION: usize = 70;

/// Functions that are longer, as `file: function`. This list may only shrink.
const LONG_FUNCTIONS: &[&str] = &[
    "node-bin/src/stock/events.rs: describe_event",
    "node-bin/src/stock/events.rs: describe_payment_event",
    "node-bin/src/stock/events.rs: react",
    "node-bin/src/stock/start.rs: start",
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Every Rust file below these folders, with its path from the workspace.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let root = workspace();
    let mut waiting: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut files = Vec::new();
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "no sources below {folders:?}");
    files
}

#[test]
fn nothing_in_the_rig_waits_by_sleeping() {
    // In two halves, or this test would find itself.
    let calls = [concat!("sle", "ep("), concat!("sleep", "_until(")];
    let mut found = Vec::new();
    for (name, text) in sources(&["rig", "faults"]) {
        for (number, line) in text.lines().enumerate() {
            if calls.iter().any(|call| line.contains(call)) {
                found.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "wait for the event instead: {found:#?}");
}

#[test]
fn no_file_is_longer_than_a_thousand_lines() {
    let long: Vec<String> = sources(&["rig", "faults", "node-bin"])
        .into_iter()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_A_FILE)
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "split them: {long:#?}");
}

#[test]
fn oracles_know_nothing_of_a_node_but_its_api() {
    let mut found = Vec::new();
    let is_judge = |name: &str| !name.contains("/tests/") && !name.ends_with("/testing.rs");
    let all = sources(&["rig/src/oracle"]);
    for (name, text) in all.into_iter().filter(|(name, _)| is_judge(name)) {
        for (number, line) in text.lines().enumerate() {
            let outside_api = line
                .match_indices("node_bin")
                .any(|(at, _)| !line[at..].starts_with("node_bin::api"));
            let starts_things = ["crate::world", "crate::chain::", "crate::explore"]
                .iter()
                .any(|module| line.contains(module));
            if outside_api || starts_things {
                found.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Finds functions longer than they should be.
struct LongFunctions {
    file: String,
    found: Vec<(String, usize)>,
}

impl LongFunctions {
    fn measure(&mut self, name: &syn::Ident, block: &syn::Block) {
        let span = block.span();
        let lines = span.end().line - span.start().line + 1;
        if lines > LINES_A_FUNCTION {
            self.found.push((format!("{}: {name}", self.file), lines));
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute
            .path()
            .segments
            .last()
            .is_some_and(|segment| segment.ident == "test")
    })
}

impl<'ast> Visit<'ast> for LongFunctions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        // A test's length is its data's.
        if !is_test(&function.attrs) {
            self.measure(&function.sig.ident, &function.block);
        }
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(&function.sig.ident, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.measure(&function.sig.ident, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[test]
fn functions_are_under_seventy_lines_and_the_list_of_exceptions_only_shrinks() {
    let mut long = Vec::new();
    for (name, text) in sources(&["rig", "faults", "node-bin"]) {
        let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut visitor = LongFunctions {
            file: name,
            found: Vec::new(),
        };
        visitor.visit_file(&file);
        long.extend(visitor.found);
    }
    let new: Vec<&(String, usize)> = long
        .iter()
        .filter(|(name, _)| !LONG_FUNCTIONS.contains(&name.as_str()))
        .collect();
    assert!(new.is_empty(), "split them: {new:#?}");
    let gone: Vec<&&str> = LONG_FUNCTIONS
        .iter()
        .filter(|exception| !long.iter().any(|(name, _)| name == *exception))
        .collect();
    assert!(gone.is_empty(), "take these off the list: {gone:#?}");
}
