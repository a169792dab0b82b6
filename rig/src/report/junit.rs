//! `junit.xml`, as CI servers read it.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::RunReport;
use crate::evidence::Verdict;
use crate::run_store::{CaseRecord, StoreError};

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The file system refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The XML writer refused.
    #[error("junit.xml cannot be written: {0}; please report this with the run's folder")]
    Junit(#[from] quick_junit::SerializeError),
}

/// The run as one test suite; a case that was not judged is an error, so that no server shows it
/// green.
///
/// # Errors
/// The XML writer refuses.
pub fn render_junit(report: &RunReport) -> Result<String, ReportError> {
    let mut suite = TestSuite::new(report.run.subject.clone());
    suite.set_timestamp(report.run.started.fixed_offset());
    for record in &report.records {
        suite.add_test_case(test_case(report, record));
    }
    let mut junit = Report::new("deadbolt");
    junit.set_time(Duration::from_secs_f64(report.summary.wall_s.max(0.0)));
    junit.add_test_suite(suite);
    Ok(junit.to_string()?)
}

fn test_case(report: &RunReport, record: &CaseRecord) -> TestCase {
    let status = match record.counts_as() {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::NotRun | Verdict::RigFault => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    let mut case = TestCase::new(record.case_id.clone(), status);
    case.set_classname(format!("deadbolt.{}", report.run.subject));
    case.set_time(Duration::from_micros(record.wall_us));
    if record.counts_as() != Verdict::Pass {
        let mut codes = record.finding_codes().join(", ");
        if codes.is_empty() {
            codes = match &record.rig_fault {
                Some(reason) => reason.clone(),
                None => format!("{:?}", record.verdict),
            };
        }
        let mut text = String::new();
        for found in &record.findings {
            text.push_str(&format!(
                "{}: {}\n",
                found.finding.code, found.finding.message
            ));
            for line in &found.finding.lines {
                text.push_str(&format!("    {line}\n"));
            }
        }
        text.push_str(&report.replay_command(&record.case_id));
        case.status.set_message(codes);
        case.status.set_description(text);
    }
    case
}
