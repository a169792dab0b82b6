//! Whole commands over scripted worlds.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::*;
use crate::evidence::Verdict;
use crate::explore::Judge;
use crate::explore::testing::{ScriptedWorld, Twist, forward_scenario, scripted_judge};
use crate::oracle::Judgement;
use crate::report::RunReport;
use crate::run_store::{RunFolder, SummaryRecord, load_evidence, read_plan};
use crate::scenario::{Case, Scenario};

/// Scripted worlds in a folder of their own.
struct Scripted {
    logs: tempfile::TempDir,
    world: fn() -> ScriptedWorld,
    judge: Judge,
    cases: Vec<Case>,
}

impl Scripted {
    fn new(world: fn() -> ScriptedWorld) -> Self {
        Scripted {
            logs: tempfile::tempdir().unwrap(),
            world,
            judge: scripted_judge(),
            cases: Vec::new(),
        }
    }

    fn latest(&self) -> RunFolder {
        let latest = self.logs.path().join("latest");
        RunFolder::open(latest.canonicalize().unwrap())
    }
}

impl Environment for Scripted {
    type Runner = ScriptedWorld;
    type Parts = ();

    fn default_logs(&self) -> PathBuf {
        self.logs.path().to_owned()
    }

    fn scenario(&self, name: &str) -> Result<Scenario, CommandError> {
        let mut scenario = forward_scenario();
        scenario.cases = self.cases.clone();
        match name {
            "forward" => Ok(scenario),
            other => Err(CommandError::Usage(format!("no scenario `{other}`"))),
        }
    }

    fn scenarios(&self) -> Result<Vec<ListedScenario>, CommandError> {
        Ok(vec![ListedScenario {
            name: "forward".to_owned(),
            about: forward_scenario().about,
        }])
    }

    async fn parts(&self) -> Result<(), CommandError> {
        Ok(())
    }

    fn describe(&self, (): &()) -> BTreeMap<String, String> {
        BTreeMap::from([("bitcoind".to_owned(), "31.99 (scripted)".to_owned())])
    }

    fn start(&self, (): (), _: usize, _: &Path) -> Result<Bench<ScriptedWorld>, CommandError> {
        Ok(Bench {
            runner: Arc::new((self.world)()),
        })
    }

    fn judge(&self) -> Judge {
        Arc::clone(&self.judge)
    }

    async fn doctor(&self, _json: bool) -> Result<(String, u8), CommandError> {
        Ok(("electrs: missing".to_owned(), EXIT_SET_UP))
    }
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// What a command left: its exit code and its two outputs.
struct Left {
    code: u8,
    out: String,
    err: String,
}

impl Left {
    fn summary(&self) -> SummaryRecord {
        assert_eq!(self.out.lines().count(), 1, "{}", self.out);
        serde_json::from_str(&self.out).unwrap()
    }
}

async fn deadbolt(environment: &Scripted, line: &[&str]) -> Left {
    let (_interrupter, interrupt) = Interrupter::new();
    interruptible(environment, line, interrupt).await
}

async fn interruptible(environment: &Scripted, line: &[&str], interrupt: Interrupt) -> Left {
    let words = ["deadbolt", "--no-progress"].iter().chain(line);
    let arguments = Arguments::try_parse_from(words).unwrap();
    let (out, err) = (Buffer::default(), Buffer::default());
    let console = Console::captured(arguments.json, Box::new(out.clone()), Box::new(err.clone()));
    let code = command(&arguments, environment, &console, interrupt).await;
    Left {
        code,
        out: out.text(),
        err: err.text(),
    }
}

fn closing() -> ScriptedWorld {
    ScriptedWorld {
        twists: vec![("persist.monitor_update.after", Twist::Close)],
        ..ScriptedWorld::of_forward()
    }
}

const FAILING_CASE: &str = "B.persist.monitor_update.after.A-B-2.1";

#[tokio::test]
async fn an_exploration_that_finds_something_names_it_and_exits_1() {
    let world = Scripted::new(closing);
    let left = deadbolt(&world, &["explore", "forward"]).await;
    assert_eq!(left.code, EXIT_FAIL);
    let run_id = world.latest().run_id();
    for fragment in [
        "unexpected-close (1 case): B closed A-B",
        "| ERROR A ChannelManager is stale",
        &format!("cargo rig replay {run_id}/{FAILING_CASE}"),
        "8 cases: 7 pass, 1 fail, 0 not run, 0 rig faults; 4 of 4 points covered",
    ] {
        assert!(
            left.out.contains(fragment),
            "{fragment} is not in\n{}",
            left.out
        );
    }
    let run = world.latest();
    for file in [
        "run.json",
        "points.json",
        "verdicts.jsonl",
        "summary.json",
        "junit.xml",
        "report.html",
    ] {
        assert!(run.path().join(file).exists(), "{file}");
    }
    let page = std::fs::read_to_string(run.path().join("report.html")).unwrap();
    assert!(page.contains(&format!("timeline of {FAILING_CASE}")));
}

#[tokio::test]
async fn json_ends_with_one_line_of_the_documented_shape() {
    let world = Scripted::new(closing);
    let left = deadbolt(&world, &["explore", "forward", "--json"]).await;
    let line: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&left.out).unwrap();
    let keys: Vec<&str> = line.keys().map(String::as_str).collect();
    let mut expected = vec![
        "run_id",
        "cases",
        "pass",
        "fail",
        "not_run",
        "rig_fault",
        "points_total",
        "points_covered",
        "wall_s",
        "cases_per_min",
    ];
    expected.sort_unstable();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    let summary = left.summary();
    assert_eq!((summary.cases, summary.pass, summary.fail), (8, 7, 1));
    assert_eq!((summary.points_total, summary.points_covered), (4, 4));
    assert!(left.err.contains("unexpected-close"), "{}", left.err);
    assert_eq!((summary.pairs_total, summary.pairs_covered), (None, None));
    // With second kills the line says how many pairs there are.
    let options = [
        "explore", "forward", "--depth", "2", "--budget", "3", "--json",
    ];
    let left = deadbolt(&world, &options).await;
    let summary = left.summary();
    assert_eq!(
        (summary.pairs_total, summary.pairs_covered),
        (Some(0), Some(0))
    );
    // The doctor's own result stands before that line, for programs too.
    let left = deadbolt(&world, &["doctor", "--json"]).await;
    let (said, last) = left.out.trim_end().rsplit_once('\n').unwrap();
    assert!(!said.is_empty());
    let last: SummaryRecord = serde_json::from_str(last).unwrap();
    assert_eq!(last, SummaryRecord::default());
    for command in [vec!["list", "points"], vec!["list", "nodes"]] {
        let mut line = command.clone();
        line.push("--json");
        let left = deadbolt(&world, &line).await;
        assert_eq!(left.summary(), SummaryRecord::default());
    }
}

#[tokio::test]
async fn exit_codes_tell_pass_not_run_rig_fault_and_usage_apart() {
    for (world, expected) in [
        (Scripted::new(ScriptedWorld::of_forward), EXIT_PASS),
        (
            Scripted::new(|| ScriptedWorld {
                twists: vec![("send.", Twist::Miss)],
                ..ScriptedWorld::of_forward()
            }),
            EXIT_NOT_RUN,
        ),
        (
            Scripted::new(|| ScriptedWorld {
                twists: vec![
                    ("send.", Twist::Miss),
                    ("persist.monitor_update.before", Twist::RigFault),
                ],
                ..ScriptedWorld::of_forward()
            }),
            EXIT_RIG_FAULT,
        ),
        (
            Scripted::new(|| ScriptedWorld {
                sick: true,
                ..ScriptedWorld::of_forward()
            }),
            EXIT_FAIL,
        ),
    ] {
        let left = deadbolt(&world, &["explore", "forward"]).await;
        assert_eq!(left.code, expected, "{}", left.out);
    }
    let world = Scripted::new(ScriptedWorld::of_forward);
    for line in [
        vec!["explore", "nonsense"],
        vec!["explore", "forward", "--node", "Z"],
        vec!["explore", "forward", "--point", "zzz"],
        vec!["run", "forward", "--kill", "Z:persist.manager.before"],
        vec!["run", "forward", "--kill", "B:persist.nonsense.before"],
        vec!["explore", "forward", "--kind", "Z=stock"],
        vec!["replay", "nonsense"],
        vec!["judge", "nonsense"],
    ] {
        let left = deadbolt(&world, &line).await;
        assert_eq!(left.code, EXIT_USAGE, "{line:?}: {}", left.err);
        assert!(left.err.starts_with("error: ") || left.err.contains("\nerror: "));
    }
}

#[tokio::test]
async fn a_failure_is_replayed_with_the_plan_it_had() {
    let world = Scripted::new(closing);
    deadbolt(&world, &["explore", "forward", "--seed", "7"]).await;
    let explored = world.latest();
    let target = format!("{}/{FAILING_CASE}", explored.run_id());
    let left = deadbolt(&world, &["replay", &target, "-n", "3"]).await;
    assert_eq!(left.code, EXIT_FAIL);
    let fidelity = "3 of 3 came out as in its run (Fail: unexpected-close)";
    assert!(left.out.contains(fidelity), "{}", left.out);
    let replayed = world.latest();
    let original = read_plan(&explored.case(FAILING_CASE).plan_path()).unwrap();
    let again = replayed.case(&format!("{FAILING_CASE}+3"));
    assert_eq!(read_plan(&again.plan_path()).unwrap(), original);
    assert_eq!(original.seed, 7);
}

#[tokio::test]
async fn a_whole_run_is_replayed_case_by_case() {
    let world = Scripted::new(closing);
    deadbolt(&world, &["explore", "forward"]).await;
    let left = deadbolt(&world, &["replay", "latest", "--json"]).await;
    let summary = left.summary();
    assert_eq!((summary.cases, summary.pass, summary.fail), (8, 7, 1));
    assert_eq!(left.err.matches("1 of 1 came out as in its run").count(), 8);
}

#[tokio::test]
async fn judging_again_comes_to_the_same_result() {
    let world = Scripted::new(closing);
    deadbolt(&world, &["explore", "forward", "--keep", "all"]).await;
    let run = world.latest();
    let saved = std::fs::read(run.case(FAILING_CASE).path().join("verdict.json")).unwrap();
    let left = deadbolt(&world, &["judge", "latest"]).await;
    assert_eq!(left.code, EXIT_FAIL);
    assert!(
        left.out.contains("8 of 8 cases keep evidence"),
        "{}",
        left.out
    );
    assert!(left.out.contains("0 differ"), "{}", left.out);
    let after = std::fs::read(run.case(FAILING_CASE).path().join("verdict.json")).unwrap();
    assert_eq!(saved, after);
}

#[tokio::test]
async fn a_judge_that_changed_its_mind_is_reported_with_exit_code_100() {
    let mut world = Scripted::new(closing);
    deadbolt(&world, &["explore", "forward"]).await;
    world.judge = Arc::new(|_| {
        vec![Judgement {
            oracle: "close".to_owned(),
            verdict: Verdict::Pass,
            findings: Vec::new(),
            notes: Vec::new(),
        }]
    });
    let left = deadbolt(&world, &["judge", &format!("latest/{FAILING_CASE}")]).await;
    assert_eq!(left.code, EXIT_RIG_FAULT);
    assert!(
        left.out
            .contains("close said Fail and now says Pass; armed is gone"),
        "{}",
        left.out
    );
}

#[tokio::test]
async fn a_run_without_evidence_is_not_judged_green() {
    let world = Scripted::new(ScriptedWorld::of_forward);
    deadbolt(&world, &["explore", "forward"]).await;
    let left = deadbolt(&world, &["judge", "latest"]).await;
    assert_eq!(left.code, EXIT_NOT_RUN, "{}", left.out);
    assert!(
        left.out.contains("0 of 8 cases keep evidence"),
        "{}",
        left.out
    );
}

#[tokio::test]
async fn pinned_cases_pass_when_each_gets_its_verdict_and_finding() {
    let pin = |name: &str, at: &str, verdict, finding: Option<&str>| Case {
        name: name.to_owned(),
        faults: vec![faults::Fault::kill(at.parse().unwrap())],
        verdict,
        finding: finding.map(str::to_owned),
    };
    let stale = "B:persist.monitor_update.after[A-B #2]";
    let control = "B:persist.monitor_update.before[A-B #2]";
    let mut world = Scripted::new(closing);
    world.cases = vec![
        pin("stale", stale, Verdict::Fail, Some("unexpected-close")),
        pin("control", control, Verdict::Pass, None),
    ];
    let left = deadbolt(&world, &["run", "forward", "--json"]).await;
    assert_eq!(
        (left.code, left.summary().pass),
        (EXIT_PASS, 2),
        "{}",
        left.err
    );
    // The failing one keeps its evidence although it is as pinned.
    let run = world.latest();
    assert!(load_evidence(run.case("stale").path()).is_ok());
    world.cases[0].finding = Some("forwarder-loss".to_owned());
    world.cases[1].verdict = Verdict::Fail;
    let left = deadbolt(&world, &["run", "forward"]).await;
    assert_eq!(left.code, EXIT_FAIL);
    assert!(left.out.contains("0 pass, 2 fail"), "{}", left.out);
    assert!(left.out.contains("not-as-pinned"), "{}", left.out);
}

#[tokio::test]
async fn one_kill_is_one_case_and_a_second_of_the_same_node_counts_from_its_restart() {
    let world = Scripted::new(ScriptedWorld::of_forward);
    let left = deadbolt(
        &world,
        &[
            "run",
            "forward",
            "--kill",
            "B:persist.manager.before@2",
            "--kill",
            "B:block.connected.after[+3]",
            "--fault",
            r#"{"at":"A:broadcast.before@1","action":"fail"}"#,
            "--json",
        ],
    )
    .await;
    assert_eq!((left.code, left.summary().cases), (EXIT_PASS, 1));
    let run = world.latest();
    let plan = read_plan(&run.case("B.persist.manager.before.2").plan_path()).unwrap();
    let lives: Vec<u32> = plan.faults.iter().map(|fault| fault.life).collect();
    assert_eq!(lives, [0, 1, 0]);
}

#[tokio::test]
async fn an_interrupted_run_writes_what_is_there_and_exits_130() {
    let world = Scripted::new(ScriptedWorld::of_forward);
    deadbolt(&world, &["run", "forward"]).await;
    let before = world.latest().run_id();
    let (interrupter, interrupt) = Interrupter::new();
    // The user is quicker than the first case.
    interrupter.interrupt();
    let left = interruptible(&world, &["explore", "forward", "--json"], interrupt).await;
    assert_eq!(left.code, EXIT_INTERRUPTED);
    let run = world.latest();
    if run.run_id() != before {
        assert!(run.summary().unwrap().unwrap().interrupted);
        assert!(RunReport::read(&run).unwrap().incomplete);
    }
}

#[tokio::test]
async fn lists_show_scenarios_points_nodes_and_runs() {
    let world = Scripted::new(closing);
    deadbolt(&world, &["explore", "forward"]).await;
    for (what, fragment) in [
        ("scenarios", "A pays C over B."),
        ("points", "persist.monitor_update"),
        ("nodes", "deadbolt node stock"),
        ("runs", "complete"),
    ] {
        let left = deadbolt(&world, &["list", what]).await;
        assert_eq!(left.code, EXIT_PASS);
        assert!(left.out.contains(fragment), "{}", left.out);
    }
}

#[test]
fn the_help_documents_every_exit_code() {
    let help = <Arguments as clap::CommandFactory>::command()
        .render_help()
        .to_string();
    for code in [
        EXIT_PASS,
        EXIT_FAIL,
        EXIT_NOT_RUN,
        EXIT_SET_UP,
        EXIT_USAGE,
        EXIT_RIG_FAULT,
        EXIT_INTERRUPTED,
    ] {
        assert!(help.contains(&format!("{code:>5}  ")), "{code}\n{help}");
    }
    <Arguments as clap::CommandFactory>::command().debug_assert();
}
