//! `plan.json`: the unit of replay. Written before a case starts; made to be edited by hand, so it is
//! checked when read.

use std::fs;
use std::path::Path;

use faults::{Condition, NodePoint};
use serde_json::Value;

use super::error::StoreError;
use crate::scenario::Plan;

/// The format of plans this deadbolt writes, and the latest it reads.
pub const PLAN_VERSION: u32 = 1;

/// Writes a plan.
///
/// # Errors
/// The file system refuses.
pub fn write_plan(path: &Path, plan: &Plan) -> Result<(), StoreError> {
    let mut text = serde_json::to_vec_pretty(plan).map_err(|source| StoreError::Malformed {
        path: path.to_owned(),
        line: 1,
        source,
    })?;
    text.push(b'\n');
    fs::write(path, text).map_err(StoreError::io("write", path))
}

/// Reads and checks a plan.
///
/// # Errors
/// It cannot be read, is of a later format, or has a fault at an unknown point or node.
pub fn read_plan(path: &Path) -> Result<Plan, StoreError> {
    let text = fs::read_to_string(path).map_err(StoreError::io("read", path))?;
    let malformed = |source: serde_json::Error| StoreError::Malformed {
        path: path.to_owned(),
        line: source.line(),
        source,
    };
    // The version comes first: a later format need not even have this one's fields.
    let value: Value = serde_json::from_str(&text).map_err(malformed)?;
    match value.get("version").and_then(Value::as_u64) {
        Some(found) if found > u64::from(PLAN_VERSION) => {
            return Err(StoreError::LaterVersion {
                path: path.to_owned(),
                found,
                known: PLAN_VERSION,
            });
        }
        _ => {}
    }
    let plan: Plan = serde_json::from_str(&text).map_err(malformed)?;
    check(&plan).map_err(|problem| StoreError::BadPlan {
        path: path.to_owned(),
        problem,
    })?;
    Ok(plan)
}

/// Checks that a plan's faults can be carried out in its scenario.
fn check(plan: &Plan) -> Result<(), String> {
    for fault in &plan.faults {
        fault.check().map_err(|error| error.to_string())?;
        known_node(plan, &fault.at)?;
        if let faults::Action::Hold { until } = &fault.action {
            match until {
                Condition::Point(point) => known_node(plan, point)?,
                Condition::Step(label)
                    if !plan.scenario.act.iter().any(|step| &step.label == label) =>
                {
                    return Err(format!(
                        "a hold waits for the step {label:?}, which the scenario has not"
                    ));
                }
                Condition::Step(_) | Condition::Never => {}
            }
        }
    }
    Ok(())
}

fn known_node(plan: &Plan, point: &NodePoint) -> Result<(), String> {
    if plan.scenario.nodes.contains_key(&point.node) {
        return Ok(());
    }
    let names: Vec<&str> = plan.scenario.nodes.keys().map(String::as_str).collect();
    Err(format!(
        "{point} names the node {:?}, and the scenario {} has only {}",
        point.node,
        plan.scenario.name,
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::testing::forward_plan;

    #[test]
    fn a_plan_reads_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        let plan = forward_plan(&["B:persist.manager.before[recv.revoke_and_ack A-B]@3"]);
        write_plan(&path, &plan).unwrap();
        assert_eq!(read_plan(&path).unwrap(), plan);
    }

    #[test]
    fn a_plan_of_a_later_format_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        fs::write(&path, r#"{"version":7,"shape":"of the future"}"#).unwrap();
        let message = read_plan(&path).unwrap_err().to_string();
        assert!(message.contains("has format 7"), "{message}");
        assert!(message.contains("up to 1"), "{message}");
    }

    #[test]
    fn an_edited_plan_with_an_unknown_node_or_point_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        for (fault, fragment) in [
            ("Z:persist.manager.before@1", "has only A, B, C"),
            ("B:persist.nonsense.before@1", "no such point"),
        ] {
            write_plan(&path, &forward_plan(&[fault])).unwrap();
            let message = read_plan(&path).unwrap_err().to_string();
            assert!(message.contains(fragment), "{message}");
        }
        fs::write(&path, "{ not json").unwrap();
        let message = read_plan(&path).unwrap_err().to_string();
        assert!(message.contains("line 1"), "{message}");
    }
}
