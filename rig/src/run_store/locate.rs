//! Finds a run, a case or a plan by path, by name, or by the beginning of a name.

use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::folder::{CaseFolder, LATEST, RUN, RunFolder};
use super::index::run_names;

/// How many candidates an ambiguous name is answered with.
const CANDIDATES_SHOWN: usize = 6;

/// What a name stands for.
#[derive(Debug)]
pub enum Located {
    /// A whole run.
    Run(RunFolder),
    /// One plan.
    Plan(PlanPlace),
}

/// A plan and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanPlace {
    /// The file.
    pub plan: PathBuf,
    /// The case's folder, unless the plan lies elsewhere.
    pub folder: Option<CaseFolder>,
    /// The run's folder, if the case lies in one.
    pub run: Option<PathBuf>,
}

/// Finds `wanted`: a path to a plan, to a case's folder or to a run's; or `run`, `run/case` or
/// `case` (of the latest run), each in full or a beginning that only one has. `latest` is a run.
///
/// # Errors
/// Nothing fits, or several do.
pub fn locate(logs: &Path, wanted: &str) -> Result<Located, StoreError> {
    if let Some(found) = by_path(Path::new(wanted)) {
        return Ok(found);
    }
    let wanted_name = wanted.trim_end_matches('/');
    let not_found = || StoreError::NotFound {
        wanted: wanted.to_owned(),
        logs: logs.to_owned(),
    };
    let (run_part, case_part) = match wanted_name.split_once('/') {
        Some((run, case)) => (run, Some(case)),
        None => (wanted_name, None),
    };
    let runs = run_names(logs)?;
    let run_id = if run_part == LATEST {
        latest(logs)
    } else {
        the_one(run_part, &runs, wanted)?
    };
    match (run_id, case_part) {
        (Some(run_id), None) => Ok(Located::Run(RunFolder::open(logs.join(run_id)))),
        (Some(run_id), Some(case)) => {
            case_of(&RunFolder::open(logs.join(run_id)), case, wanted)?.ok_or_else(not_found)
        }
        (None, None) => {
            let run = latest(logs).ok_or_else(not_found)?;
            case_of(&RunFolder::open(logs.join(run)), run_part, wanted)?.ok_or_else(not_found)
        }
        (None, Some(_)) => Err(not_found()),
    }
}

fn by_path(path: &Path) -> Option<Located> {
    if path.is_file() {
        let folder = path
            .parent()
            .filter(|_| path.file_name().is_some_and(|name| name == "plan.json"))
            .map(|parent| CaseFolder::at(parent.to_owned()));
        let run = folder.as_ref().and_then(|folder| run_above(folder.path()));
        return Some(Located::Plan(PlanPlace {
            plan: path.to_owned(),
            folder,
            run,
        }));
    }
    if path.join(RUN).is_file() {
        // `logs/latest` by path: the run's own name is wanted, not the link's.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        return Some(Located::Run(RunFolder::open(path)));
    }
    let folder = CaseFolder::at(path.to_owned());
    folder
        .plan_path()
        .is_file()
        .then(|| Located::Plan(place_of(folder)))
}

fn place_of(folder: CaseFolder) -> PlanPlace {
    PlanPlace {
        plan: folder.plan_path(),
        run: run_above(folder.path()),
        folder: Some(folder),
    }
}

fn run_above(case: &Path) -> Option<PathBuf> {
    let run = case.parent()?.parent()?;
    run.join(RUN).is_file().then(|| run.to_owned())
}

fn latest(logs: &Path) -> Option<String> {
    let target = std::fs::read_link(logs.join(LATEST)).ok()?;
    let name = target.file_name()?.to_string_lossy().into_owned();
    logs.join(&name).join(RUN).exists().then_some(name)
}

fn case_of(run: &RunFolder, case: &str, wanted: &str) -> Result<Option<Located>, StoreError> {
    let found = the_one(case, &run.case_ids()?, wanted)?;
    Ok(found.map(|case_id| Located::Plan(place_of(run.case(&case_id)))))
}

/// The name that is `wanted`, or the only one that begins so.
fn the_one(part: &str, names: &[String], wanted: &str) -> Result<Option<String>, StoreError> {
    if part.is_empty() {
        return Ok(None);
    }
    if names.iter().any(|name| name == part) {
        return Ok(Some(part.to_owned()));
    }
    let fitting: Vec<&String> = names.iter().filter(|name| name.starts_with(part)).collect();
    match fitting.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some((*only).clone())),
        several => Err(StoreError::Ambiguous {
            wanted: wanted.to_owned(),
            candidates: several
                .iter()
                .take(CANDIDATES_SHOWN)
                .map(|name| (*name).clone())
                .collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::testing::{forward_plan, run_record};

    fn logs() -> (tempfile::TempDir, String) {
        let logs = tempfile::tempdir().unwrap();
        let time = "2026-11-23T17:30:00Z".parse().unwrap();
        let run = RunFolder::create(logs.path(), "forward", time).unwrap();
        run.save_run(&run_record(&run.run_id())).unwrap();
        for case in ["B.send.a", "B.send.b", "C.send.a"] {
            run.begin_case(case, &forward_plan(&[])).unwrap();
        }
        let id = run.run_id();
        (logs, id)
    }

    fn case_id(located: Located) -> String {
        match located {
            Located::Plan(place) => place.folder.unwrap().case_id(),
            Located::Run(run) => panic!("a run: {}", run.run_id()),
        }
    }

    #[test]
    fn a_case_is_found_by_path_by_name_and_by_a_beginning() {
        let (logs, run_id) = logs();
        let folder = logs.path().join(&run_id).join("cases/B.send.b");
        for wanted in [
            folder.to_str().unwrap().to_owned(),
            folder.join("plan.json").to_str().unwrap().to_owned(),
            format!("{run_id}/B.send.b"),
            "latest/B.send.b".to_owned(),
            "B.send.b".to_owned(),
            "2026/B.send.b".to_owned(),
        ] {
            assert_eq!(case_id(locate(logs.path(), &wanted).unwrap()), "B.send.b");
        }
        assert_eq!(
            case_id(locate(logs.path(), "latest/C").unwrap()),
            "C.send.a"
        );
    }

    #[test]
    fn a_beginning_that_fits_several_is_answered_with_them() {
        let (logs, _) = logs();
        let message = locate(logs.path(), "latest/B").unwrap_err().to_string();
        assert!(message.contains("B.send.a, B.send.b"), "{message}");
    }

    #[test]
    fn a_name_that_fits_nothing_says_where_to_look() {
        let (logs, _) = logs();
        for wanted in ["latest/Z", "1999", "1999/B", "", "/"] {
            let error = locate(logs.path(), wanted).unwrap_err();
            assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
        }
    }

    #[test]
    fn latest_is_the_run_made_last() {
        let (logs, run_id) = logs();
        let Located::Run(run) = locate(logs.path(), "latest").unwrap() else {
            panic!("no run");
        };
        assert_eq!(run.run_id(), run_id);
    }
}
