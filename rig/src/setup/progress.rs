//! How set-up tells what it is doing: a live bar on a terminal, plain lines elsewhere, or nothing.
//! Owns the display only; what is reported is driven by what the builders print.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// At most one plain line of progress in this time.
pub(super) const LINE_INTERVAL: Duration = Duration::from_secs(20);
const REDRAW_INTERVAL: Duration = Duration::from_millis(120);

/// Where set-up reports to. Calls come from one thread at a time.
pub trait Progress: Send + Sync {
    /// A new step begins, such as `compiling bitcoind`.
    fn step(&self, text: &str);
    /// The step moved on: `done` units out of `total`, where known, and what is being done.
    fn advance(&self, done: u64, total: Option<u64>, text: &str);
    /// A line to keep on the screen.
    fn note(&self, text: &str);
    /// All steps ended; the display is taken down.
    fn finish(&self);
}

/// A live bar when standard error is a terminal, plain lines when it is not.
pub fn progress_on_stderr() -> Box<dyn Progress> {
    if io::stderr().is_terminal() {
        Box::new(LiveProgress::new())
    } else {
        Box::new(LineProgress::new(io::stderr(), LINE_INTERVAL))
    }
}

/// Reports nothing.
pub struct SilentProgress;

impl Progress for SilentProgress {
    fn step(&self, _: &str) {}
    fn advance(&self, _: u64, _: Option<u64>, _: &str) {}
    fn note(&self, _: &str) {}
    fn finish(&self) {}
}

/// A spinner with the elapsed time, and a bar where the total is known.
struct LiveProgress {
    bar: ProgressBar,
    with_total: ProgressStyle,
    without_total: ProgressStyle,
}

impl LiveProgress {
    fn new() -> Self {
        let style = |template: &str| {
            // A template of our own that does not parse would only cost the looks.
            ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_spinner())
        };
        Self {
            bar: ProgressBar::no_length(),
            with_total: style(
                "{spinner} [{elapsed}] {prefix} {bar:30} {pos}/{len} {wide_msg:.dim}",
            ),
            without_total: style("{spinner} [{elapsed}] {prefix} {wide_msg:.dim}"),
        }
    }
}

impl Progress for LiveProgress {
    fn step(&self, text: &str) {
        self.bar.reset();
        self.bar.unset_length();
        self.bar.set_style(self.without_total.clone());
        self.bar.set_message("");
        self.bar.set_prefix(text.to_owned());
        self.bar.enable_steady_tick(REDRAW_INTERVAL);
    }

    fn advance(&self, done: u64, total: Option<u64>, text: &str) {
        if let Some(total) = total {
            if self.bar.length() != Some(total) {
                self.bar.set_style(self.with_total.clone());
                self.bar.set_length(total);
            }
            self.bar.set_position(done);
        }
        self.bar.set_message(text.to_owned());
    }

    fn note(&self, text: &str) {
        self.bar.println(text);
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// One line a step, and a line of progress now and then.
struct LineProgress<W> {
    state: Mutex<LineState<W>>,
    interval: Duration,
}

struct LineState<W> {
    output: W,
    step: String,
    began: Instant,
    printed: Instant,
}

impl<W: Write> LineProgress<W> {
    fn new(output: W, interval: Duration) -> Self {
        let now = Instant::now();
        let state = Mutex::new(LineState {
            output,
            step: String::new(),
            began: now,
            printed: now,
        });
        Self { state, interval }
    }

    fn with_state(&self, change: impl FnOnce(&mut LineState<W>)) {
        // A panic elsewhere must not silence progress.
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl<W: Write> LineState<W> {
    fn print(&mut self, text: &str) {
        // A closed standard error is no reason to stop a build.
        let _ = writeln!(self.output, "setup: {text}");
    }
}

impl<W: Write + Send> Progress for LineProgress<W> {
    fn step(&self, text: &str) {
        self.with_state(|state| {
            state.step = text.to_owned();
            state.began = Instant::now();
            state.printed = state.began;
            state.print(text);
        });
    }

    fn advance(&self, done: u64, total: Option<u64>, text: &str) {
        self.with_state(|state| {
            if state.printed.elapsed() < self.interval {
                return;
            }
            state.printed = Instant::now();
            let count = total.map_or_else(String::new, |total| format!(" {done}/{total}"));
            let elapsed_s = state.began.elapsed().as_secs();
            let line = format!("{}:{count} {text} ({elapsed_s} s)", state.step);
            state.print(&line);
        });
    }

    fn note(&self, text: &str) {
        self.with_state(|state| state.print(text));
    }

    fn finish(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(interval: Duration) -> Vec<String> {
        let progress = LineProgress::new(Vec::new(), interval);
        progress.step("compiling bitcoind");
        progress.advance(1, Some(3), "a.cpp");
        progress.advance(2, None, "b.cpp");
        progress.note("done");
        let state = progress.state.into_inner().unwrap();
        let text = String::from_utf8(state.output).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn plain_progress_prints_one_line_a_step_and_counts_now_and_then() {
        assert_eq!(
            printed(Duration::ZERO),
            [
                "setup: compiling bitcoind",
                "setup: compiling bitcoind: 1/3 a.cpp (0 s)",
                "setup: compiling bitcoind: b.cpp (0 s)",
                "setup: done"
            ]
        );
    }

    #[test]
    fn plain_progress_keeps_quiet_within_its_interval() {
        assert_eq!(
            printed(LINE_INTERVAL),
            ["setup: compiling bitcoind", "setup: done"]
        );
    }
}
