//! From a file's text to a checked scenario. Owns the order: syntax, form, meaning.

use std::path::Path;

use toml::de::DeTable;

use super::check;
use super::error::{Complaints, ScenarioError, ScenarioErrors};
use super::library::{file_name, scenario_name};
use super::model::Scenario;
use super::raw;

/// Reads and checks the scenario file at `path`. Its name is its path below `root`'s `scenarios/`
/// folder without `.toml`, or its bare name if it lies elsewhere.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn load(path: &Path, root: &Path) -> Result<Scenario, ScenarioErrors> {
    let shown = file_name(path, root);
    let text = std::fs::read_to_string(path).map_err(|error| {
        ScenarioErrors(vec![ScenarioError {
            file: shown.clone(),
            place: None,
            message: format!(
                "cannot be read: {error}; `deadbolt list scenarios` prints those there are"
            ),
        }])
    })?;
    parse(&text, &shown, &scenario_name(path, root))
}

/// Reads and checks a scenario; `file_name` is what errors call it.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file. A file that is not TOML, or with
/// values that cannot be read, is not checked any further.
pub fn parse(text: &str, file_name: &str, scenario_name: &str) -> Result<Scenario, ScenarioErrors> {
    let mut complaints = Complaints::new(file_name, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let is_toml = errors.is_empty();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        complaints.at(span, format!("this is not TOML: {}", error.message()));
    }
    let scenario = is_toml
        .then(|| raw::read(document, &mut complaints))
        .flatten()
        .and_then(|raw| check::check(raw, scenario_name, &mut complaints));
    complaints.finish(scenario)
}
