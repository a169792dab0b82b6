//! How a campaign goes, for whoever watches: a bar with running totals on a terminal, a line now and
//! then elsewhere. Cases that are not well are named as they end.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::evidence::Verdict;
use crate::explore::{Progress, Silent, Tally};
use crate::run_store::CaseRecord;

/// At most one line of totals in this time.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Whatever fits the terminal.
pub(super) fn progress(terminal: bool, wanted: bool) -> Arc<dyn Progress> {
    match (wanted, terminal) {
        (false, _) => Arc::new(Silent),
        (true, true) => Arc::new(Bar::new()),
        (true, false) => Arc::new(Lines::default()),
    }
}

struct Bar {
    bar: ProgressBar,
    began: Instant,
}

impl Bar {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        Bar {
            bar: ProgressBar::new(0).with_style(style),
            began: Instant::now(),
        }
    }
}

impl Progress for Bar {
    fn begin(&self, cases: usize) {
        self.bar.reset();
        self.bar.set_length(cases as u64);
    }

    fn case_ended(&self, record: &CaseRecord, tally: &Tally) {
        if let Some(line) = bad_news(record) {
            self.bar.println(line);
        }
        self.bar.set_position(tally.cases());
        self.bar.set_message(totals(tally, self.began.elapsed()));
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[derive(Default)]
struct Lines {
    state: Mutex<LineState>,
}

#[derive(Default)]
struct LineState {
    cases: usize,
    began: Option<Instant>,
    last: Option<Instant>,
}

impl Progress for Lines {
    fn begin(&self, cases: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.cases = cases;
        state.began = Some(Instant::now());
        state.last = None;
    }

    fn case_ended(&self, record: &CaseRecord, tally: &Tally) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = bad_news(record) {
            print(&line);
        }
        let due = state
            .last
            .is_none_or(|last| last.elapsed() >= LINE_INTERVAL);
        if due || tally.cases() == state.cases as u64 {
            state.last = Some(Instant::now());
            let elapsed = state.began.map(|began| began.elapsed()).unwrap_or_default();
            print(&format!(
                "{}/{} cases: {}",
                tally.cases(),
                state.cases,
                totals(tally, elapsed)
            ));
        }
    }

    fn finish(&self) {}
}

fn bad_news(record: &CaseRecord) -> Option<String> {
    let verdict = match record.counts_as() {
        Verdict::Pass => return None,
        Verdict::Fail => "FAIL",
        Verdict::NotRun => "NOT RUN",
        Verdict::RigFault => "RIG FAULT",
    };
    let why = match &record.rig_fault {
        Some(reason) => reason.clone(),
        None => record.finding_codes().join(", "),
    };
    Some(format!("{verdict} {}: {why}", record.case_id))
}

fn totals(tally: &Tally, elapsed: Duration) -> String {
    let per_minute = tally.cases() as f64 * 60.0 / elapsed.as_secs_f64().max(0.001);
    format!(
        "{} pass, {} fail, {} not run, {} rig faults, {per_minute:.0} cases/min",
        tally.pass, tally.fail, tally.not_run, tally.rig_fault
    )
}

fn print(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
