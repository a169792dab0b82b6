//! LDK's log: all of it to standard error, warnings and errors to the trace as well.

use faults::gate;
use lightning::util::logger::{Level, Logger, Record};

use crate::api::{LogLevel, Report};

/// Writes LDK's records.
pub struct NodeLogger {
    minimum: Level,
}

impl NodeLogger {
    /// `DEADBOLT_LOG` chooses the least level that standard error gets: `trace`, `debug` or `info`.
    pub fn from_environment() -> Self {
        let minimum = match std::env::var("DEADBOLT_LOG").as_deref() {
            Ok("trace") => Level::Trace,
            Ok("debug") => Level::Debug,
            _ => Level::Info,
        };
        NodeLogger { minimum }
    }
}

impl Logger for NodeLogger {
    fn log(&self, record: Record) {
        if record.level < self.minimum {
            return;
        }
        let message = record.args.to_string();
        eprintln!(
            "{} {}:{} {}",
            record.level, record.module_path, record.line, message
        );
        let level = match record.level {
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
            _ => return,
        };
        gate::emit(&Report::Log {
            level,
            module: record.module_path.to_owned(),
            message,
        });
    }
}
