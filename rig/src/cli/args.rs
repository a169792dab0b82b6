//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use faults::{Fault, NodePoint};

use super::exit::EXIT_CODES_HELP;
use crate::explore::{Depth, ExploreFault, Keep, Partition};
use crate::scenario::{NodeKind, Override, Persist};

/// A crash-test rig for Lightning nodes: real bitcoind, real nodes, one exact SIGKILL, one verdict.
#[derive(Debug, Parser)]
#[command(name = "deadbolt", version, after_help = EXIT_CODES_HELP)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub command: Command,

    /// End with one line of JSON on standard output; everything else goes to standard error.
    #[arg(long, global = true)]
    pub json: bool,

    /// Which program the nodes run: `stock`, `unified`, or `B=stock` for one node. Repeatable.
    #[arg(long = "kind", global = true, value_name = "[NODE=]KIND")]
    pub kinds: Vec<Override<NodeKind>>,

    /// When the nodes' writes are done: `sync` (at once), `async` (when nothing else is to do, the last
    /// store first), `async-seeded` (any store), `held` (when no node has anything else to do), or `B=async` for
    /// one node. Repeatable.
    #[arg(long = "persist", global = true, value_name = "[NODE=]MODE")]
    pub persists: Vec<Override<Persist>>,

    /// How many cases run at once [default: twice the number of cores].
    #[arg(long, global = true, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,

    /// Seed of all keys and random bytes.
    #[arg(long, global = true, default_value_t = 1)]
    pub seed: u64,

    /// Folder of the runs [default: logs in the repository].
    #[arg(long, global = true, value_name = "DIR")]
    pub logs: Option<PathBuf>,

    /// Whose evidence stays in the run's folder.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub keep: Keep,

    /// No progress bar.
    #[arg(long, global = true)]
    pub no_progress: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Find bitcoind and electrs, or build them.
    Setup,
    /// Say which bitcoind and electrs are used, their versions and where they come from.
    Doctor,
    /// List what there is.
    List {
        /// Of what.
        #[arg(value_enum)]
        what: Listing,
    },
    /// Run one case of a scenario, or the cases that its file pins.
    Run(RunArguments),
    /// Crash a node at every point of a scenario, each in a fresh world, and judge what came of it.
    Explore(ExploreArguments),
    /// Explore a scenario on two kinds of node, and tell case by case what differs.
    Compare(CompareArguments),
    /// Run saved plans again.
    Replay(ReplayArguments),
    /// Judge saved evidence again, offline, and write the run's reports anew.
    Judge {
        /// A run, RUN/CASE, a path to either, or `latest`.
        target: String,
    },
    /// Be a node.
    #[command(hide = true)]
    Node {
        /// Which.
        #[arg(value_enum)]
        program: NodeProgram,
        /// Its configuration, a JSON file.
        config: PathBuf,
    },
}

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Listing {
    /// The scenarios that can be run.
    Scenarios,
    /// The families of crash points.
    Points,
    /// The node programs.
    Nodes,
    /// The runs saved so far.
    Runs,
}

/// A node program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum NodeProgram {
    /// Unmodified LDK.
    Stock,
    /// Our own.
    Unified,
}

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// Its name, as `deadbolt list scenarios` prints it, or a path to a .toml file.
    pub scenario: String,

    /// SIGKILL a node at a point, as in B:persist.manager.before@1. Repeatable; a second kill of
    /// the same node counts its points from its restart on.
    #[arg(long = "kill", value_name = "NODE:POINT@HIT")]
    pub kills: Vec<NodePoint>,

    /// Any fault, as in {"at":"B:persist.manager.before@1","action":"delay","delay_ms":50}.
    /// Repeatable.
    #[arg(long = "fault", value_name = "JSON", value_parser = parse_fault)]
    pub faults: Vec<Fault>,
}

#[derive(Debug, Args)]
pub(super) struct ExploreArguments {
    /// Its name, as `deadbolt list scenarios` prints it, that of a folder of scenarios, or a path to a
    /// .toml file.
    pub scenario: String,

    /// Run a case for every point, not one for all points with no effect between them.
    #[arg(long)]
    pub every_point: bool,

    /// Crash this node only.
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,

    /// Crash at these points only: `*` and `?`, against the name or name[role]@hit.
    #[arg(long, value_name = "GLOB")]
    pub point: Option<String>,

    /// Run no more cases than this, besides the dry run.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,

    /// What happens at the points: a SIGKILL, or at those of messages a lost connection, or closes of
    /// channels as the scenario's [[race]] entries say [default: close if it has any, else kill].
    #[arg(long, value_enum)]
    pub fault: Option<ExploreFault>,

    /// 2: kill each killed node once more while it comes back.
    #[arg(long, value_enum, default_value_t)]
    pub depth: Depth,

    /// Run no more cases with a second kill, or with closes, than this, drawn by the seed.
    #[arg(long, value_name = "N")]
    pub budget: Option<usize>,

    /// Run a share of the cases, for several machines: slice:m/n.
    #[arg(long, value_name = "slice:m/n")]
    pub partition: Option<Partition>,
}

#[derive(Debug, Args)]
pub(super) struct CompareArguments {
    #[command(flatten)]
    pub explore: ExploreArguments,

    /// What is looked at: the kind of every node that no `--kind NODE=KIND` names.
    #[arg(long, value_name = "KIND", value_parser = parse_kind)]
    pub subject: NodeKind,

    /// What it is compared with.
    #[arg(long, value_name = "KIND", value_parser = parse_kind)]
    pub control: NodeKind,

    /// Take a run that was made before, of `explore` or `compare` with the same options, for the subject's.
    #[arg(long, value_name = "RUN")]
    pub subject_run: Option<String>,

    /// The same for the control's: a release that does not change is explored once.
    #[arg(long, value_name = "RUN")]
    pub control_run: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ReplayArguments {
    /// A case (RUN/CASE), a whole run, `latest`, or a path to a plan.json.
    pub target: String,

    /// Run each plan so many times and tell how often it came out the same.
    #[arg(short = 'n', default_value_t = 1, value_name = "TIMES",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub times: u32,
}

fn parse_kind(text: &str) -> Result<NodeKind, String> {
    match text.parse::<Override<NodeKind>>() {
        Ok(Override { node: None, value }) => Ok(value),
        Ok(Override { node: Some(_), .. }) | Err(_) => Err("write `stock` or `unified`".to_owned()),
    }
}

fn parse_fault(text: &str) -> Result<Fault, String> {
    serde_json::from_str(text).map_err(|error| {
        format!(
            "{error}; write for example {{\"at\":\"B:persist.manager.before@1\",\"action\":\"kill\"}}"
        )
    })
}
