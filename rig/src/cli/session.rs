//! One run from its folder's first file to its last: what `run`, `explore` and `replay` share.

use std::sync::Arc;
use std::time::Instant;

use super::commands::{Context, Ended};
use super::environment::Environment;
use super::error::CommandError;
use super::exit::exit_code_of;
use super::progress::progress;
use super::rig_log;
use crate::explore::{Campaign, Tally, Totals};
use crate::report::{RunReport, render_text, shown, write_files};
use crate::run_store::{
    CaseRecord, PairsRecord, PointsRecord, RUN_VERSION, RacesRecord, RunFolder, RunRecord,
    SummaryRecord,
};

/// What an exploration found to cover; nothing for other runs.
#[derive(Default)]
pub(super) struct Found {
    pub points: Option<PointsRecord>,
    pub pairs: Option<PairsRecord>,
    pub races: Option<RacesRecord>,
}

/// A run under way.
pub(super) struct Session<R> {
    /// What runs its cases.
    pub campaign: Campaign<R>,
    run: RunRecord,
    command_options: String,
}

impl<R: crate::explore::RunCase> Session<R> {
    /// Starts the parts and makes the run's folder.
    pub async fn begin<E: Environment<Runner = R>>(
        context: &Context<'_, E>,
        subject: &str,
    ) -> Result<Session<R>, CommandError> {
        let parts = tokio::select! {
            parts = context.environment.parts() => parts?,
            () = context.interrupt.wait() => return Err(CommandError::Interrupted),
        };
        let began = Instant::now();
        let started = chrono::Utc::now();
        let folder = RunFolder::create(&context.logs, subject, started)?;
        let run = RunRecord {
            version: RUN_VERSION,
            run_id: folder.run_id(),
            command: context.command_line.clone(),
            deadbolt: env!("CARGO_PKG_VERSION").to_owned(),
            subject: subject.to_owned(),
            seed: context.arguments.seed,
            workers: context.workers,
            parts: context.environment.describe(&parts),
            pid: std::process::id(),
            started,
        };
        folder.save_run(&run)?;
        let bench = context
            .environment
            .start(parts, context.workers, folder.path())?;
        rig_log::write_to(&folder.path().join("rig.jsonl"));
        tracing::info!(run = run.run_id, subject, "run begins");
        let campaign = Campaign {
            runner: bench.runner,
            judge: context.environment.judge(),
            folder: Arc::new(folder),
            keep: context.arguments.keep,
            workers: context.workers,
            progress: progress(
                context.console.is_terminal(),
                !context.arguments.no_progress,
            ),
            interrupt: context.interrupt.clone(),
            began,
        };
        let command_options = context.command_options();
        Ok(Session {
            campaign,
            run,
            command_options,
        })
    }

    /// Writes the summary and the reports, and prints.
    pub fn end<E: Environment>(
        self,
        context: &Context<'_, E>,
        records: Vec<CaseRecord>,
        found: Found,
        interrupted: bool,
    ) -> Result<Ended, CommandError> {
        self.campaign.progress.finish();
        let tally = Tally::of(&records);
        let Found {
            points,
            pairs,
            races,
        } = found;
        let summary = SummaryRecord {
            interrupted,
            ..tally.summary(
                Some(self.run.run_id.clone()),
                Totals::of(points.as_ref(), pairs.as_ref(), races.as_ref(), &records),
                self.campaign.began.elapsed(),
            )
        };
        let folder = &self.campaign.folder;
        let report = RunReport {
            run: self.run,
            points,
            pairs,
            races,
            records,
            summary: summary.clone(),
            incomplete: interrupted,
            command_options: self.command_options,
            folder: shown(folder.path()),
        };
        context.console.say(&render_text(&report));
        folder.save_summary(&summary)?;
        write_files(&report, folder)?;
        Ok(Ended {
            summary,
            exit_code: exit_code_of(&tally),
        })
    }
}
