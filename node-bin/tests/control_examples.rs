//! CONTROL.md is what other programs are written after: every example in it must be what the code
//! reads and writes.

use faults::{GateOrder, GateReport};
use node_bin::api::{NodeConfig, Report, Request, Response, UserEvent, WireMessage};
use serde_json::Value;

/// Every JSON value in the page's `json` blocks: a block is one value, or one value a line.
fn examples() -> Vec<String> {
    // The page shortens what is long.
    let digits = "0".repeat(64);
    let page = include_str!("../CONTROL.md").replace("<64 digits>", &digits);
    let mut examples = Vec::new();
    for block in page.split("```json\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        match serde_json::from_str::<Value>(block) {
            Ok(_) => examples.push(block.to_owned()),
            Err(_) => examples.extend(
                block
                    .lines()
                    .filter(|l| !l.trim().is_empty())
                    .map(str::to_owned),
            ),
        }
    }
    examples
}

fn means_something(example: &str) -> bool {
    serde_json::from_str::<NodeConfig>(example).is_ok()
        || serde_json::from_str::<Request>(example).is_ok()
        || serde_json::from_str::<Response>(example)
            .is_ok_and(|response| response.result.is_some() || response.error.is_some())
        || serde_json::from_str::<Report>(example).is_ok()
        || serde_json::from_str::<UserEvent>(example).is_ok()
        || serde_json::from_str::<WireMessage>(example).is_ok()
        || serde_json::from_str::<GateReport>(example).is_ok()
        || serde_json::from_str::<GateOrder>(example).is_ok()
}

#[test]
fn every_example_of_the_page_is_read_by_the_code() {
    let examples = examples();
    assert!(
        examples.len() > 20,
        "only {} examples found",
        examples.len()
    );
    let strange: Vec<_> = examples
        .iter()
        .filter(|example| !means_something(example))
        .collect();
    assert!(strange.is_empty(), "{strange:#?}");
}
