//! Explores crashes in simulated worlds.
//!
//!     cargo run --release -p node-core --example sim -- forward --depth 2 --threads 2
//!     cargo run --release -p node-core --example sim -- random --cases 10000 --seed 1
//!     cargo run --release -p node-core --example sim -- replay forward sync fixed seed=0 crash=B@40
//!     cargo run --release -p node-core --example sim -- setup line
//!
//! Exit code 1: a case failed. 2: the command line is wrong, or no world came about.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use node_core::sim::campaign::Campaign;
use node_core::sim::explore::{Options, Report, Scope, explore};
use node_core::sim::flows::FLOWS;
use node_core::sim::judge::judge_alive;
use node_core::sim::plan::Plan;
use node_core::sim::setup::{Topology, set_up};
use node_core::sim::world::{Persistence, Schedule};

const USAGE: &str = "sim FLOW|all [--depth N] [--threads N] [--seconds N] [--seed N] [--async] [--random-order] [--everyone] [--cuts] [--closes] [--reorgs] [--cheats] [--within N] [--lost-acks] [--lost-payments] [--show N]
sim random [FLOW...] [--cases N] [--seed N] [--seconds N] [--threads N] [--show N]
sim replay PLAN
sim setup pair|line|diamond";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match words.first().map(String::as_str) {
        Some("replay") => replay(&words[1..].join(" ")),
        Some("setup") => show_setup(words.get(1).map_or("", String::as_str)),
        Some("random") => Arguments::read(&words[1..]).and_then(|arguments| random(&arguments)),
        Some(_) => Arguments::read(&words).and_then(|arguments| explore_flows(&arguments)),
        None => Err(format!("{USAGE}\nflows: {}", flow_names().join(" "))),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

fn flow_names() -> Vec<&'static str> {
    FLOWS.iter().map(|(name, _, _)| *name).collect()
}

/// The command line.
struct Arguments {
    flows: Vec<String>,
    options: Options,
    persistence: Persistence,
    schedule: Schedule,
    seed: u64,
    cases: u64,
    show: usize,
}

impl Arguments {
    fn read(words: &[String]) -> Result<Self, String> {
        let mut arguments = Arguments {
            flows: Vec::new(),
            options: Options::default(),
            persistence: Persistence::Synchronous,
            schedule: Schedule::Fixed,
            seed: 0,
            cases: 1_000,
            show: 3,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut number = || -> Result<u64, String> {
                let value = words.next().ok_or(format!("{word} needs a number"))?;
                value.parse().map_err(|_| format!("{word} {value}?"))
            };
            match word.as_str() {
                "--depth" => arguments.options.depth = number()? as usize,
                "--threads" => arguments.options.threads = number()? as usize,
                "--seconds" => {
                    arguments.options.time_limit = Some(Duration::from_secs(number()?));
                }
                "--seed" => arguments.seed = number()?,
                "--cases" => arguments.cases = number()?,
                "--show" => arguments.show = number()? as usize,
                "--async" => arguments.persistence = Persistence::Asynchronous,
                "--random-order" => arguments.schedule = Schedule::Random,
                "--everyone" => arguments.options.scope = Scope::Everyone,
                "--cuts" => arguments.options.cuts = true,
                "--lost-payments" => arguments.options.lost_payments = true,
                "--closes" => arguments.options.endings.closes = true,
                "--reorgs" => arguments.options.endings.reorgs = true,
                "--cheats" => arguments.options.endings.cheats = true,
                "--within" => arguments.options.within = Some(number()?),
                "--lost-acks" => arguments.options.lost_acks = true,
                "all" => arguments
                    .flows
                    .extend(flow_names().iter().map(|name| (*name).to_owned())),
                flow if flow_names().contains(&flow) => arguments.flows.push(flow.to_owned()),
                other => return Err(format!("{other}?\n{USAGE}")),
            }
        }
        Ok(arguments)
    }
}

fn explore_flows(arguments: &Arguments) -> Result<bool, String> {
    let mut all_passed = true;
    for flow in &arguments.flows {
        let plan = Plan::new(
            flow,
            arguments.persistence,
            arguments.schedule,
            arguments.seed,
        );
        let started = Instant::now();
        let report = explore(&plan, arguments.options).map_err(|error| error.to_string())?;
        print(&plan.to_string(), &report, started.elapsed(), arguments);
        all_passed &= report.failed == 0;
    }
    Ok(all_passed)
}

fn random(arguments: &Arguments) -> Result<bool, String> {
    let flows = match arguments.flows.is_empty() {
        true => flow_names().iter().map(|name| (*name).to_owned()).collect(),
        false => arguments.flows.clone(),
    };
    let campaign = Campaign {
        flows,
        seed: arguments.seed,
        cases: arguments.cases,
        time_limit: arguments.options.time_limit,
        endings: arguments.options.endings,
        threads: arguments.options.threads,
    };
    let started = Instant::now();
    let report = campaign.run().map_err(|error| error.to_string())?;
    let title = format!("random from seed {}", arguments.seed);
    print(&title, &report, started.elapsed(), arguments);
    Ok(report.failed == 0)
}

fn print(title: &str, report: &Report, took: Duration, arguments: &Arguments) {
    for failure in report.failures.iter().take(arguments.show) {
        println!("FAIL {}", failure.plan);
        for complaint in &failure.complaints {
            println!("     {complaint}");
        }
    }
    let per_minute = report.cases as f64 * 60.0 / took.as_secs_f64();
    let each_us = |spent: Duration| spent.as_micros() as u64 / report.cases.max(1);
    println!(
        "{title}: depth {}, {} actions, {} of {} moments, {} cases, {} failed, {} payments ended otherwise{}; {:.1} s, {per_minute:.0} cases/min, a case {} us: fork {} run {} judge {}",
        arguments.options.depth,
        report.actions,
        report.moments,
        report.moments + report.moments_missed,
        report.cases,
        report.failed,
        report.ended_otherwise,
        if report.is_cut_short {
            " (cut short)"
        } else {
            ""
        },
        took.as_secs_f64(),
        each_us(report.forking + report.running + report.judging),
        each_us(report.forking),
        each_us(report.running),
        each_us(report.judging),
    );
}

fn replay(text: &str) -> Result<bool, String> {
    let plan: Plan = text.parse().map_err(|error| format!("{error}"))?;
    let mut world = plan.replay(true).map_err(|error| error.to_string())?;
    for line in world.trace.take().unwrap_or_default() {
        println!("{line}");
    }
    let verdict = judge_alive(&mut world);
    for complaint in &verdict.complaints {
        println!("FAIL {complaint}");
    }
    println!(
        "{plan}: {} complaints, {} payments ended otherwise",
        verdict.complaints.len(),
        verdict.ended_otherwise
    );
    Ok(verdict.complaints.is_empty())
}

fn show_setup(topology: &str) -> Result<bool, String> {
    let topology = match topology {
        "pair" => Topology::Pair,
        "line" => Topology::Line,
        "diamond" => Topology::Diamond,
        other => return Err(format!("{other}?\n{USAGE}")),
    };
    let world = set_up(topology, 0, Some(Vec::new())).map_err(|error| error.to_string())?;
    for line in world.trace.unwrap_or_default() {
        println!("{line}");
    }
    Ok(true)
}
