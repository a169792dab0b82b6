//! One node of a case over all its lives: its identity, its configuration, and starting it. What
//! becomes of a life is the supervisor's business.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::Arc;

use bitcoin::BlockHash;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::PublicKey;
use faults::{ArmedPoint, Fault};
use node_bin::api::{
    BitcoindAccess, ChainSource, NodeConfig, PeerName, Persistence, WriteOrder, node_id_of_seed,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::bounds::Bounds;
use super::closer::{Closer, KnownChannels};
use super::control::{Control, Controls};
use super::cutter::Cutter;
use super::recorder::Recorder;
use super::rig_fault::RigFault;
use super::scratch::CaseScratch;
use super::spawner::{Launch, ReportPipe, program_line, spawn};
use super::supervisor::{Order, Supervisor};
use crate::scenario::{ChainKind, Node, NodeKind, Persist, Plan};

/// What nodes estimate as the fee rate of everything, in satoshis per 1000 weight units: above
/// bitcoind's least, so that what they broadcast is relayed and mined.
const FEE_RATE_SAT_PER_KW: u32 = 1_000;

/// The commands that start a node program; the path of its configuration file is appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePrograms {
    /// For nodes of kind `stock`.
    pub stock: Vec<OsString>,
    /// For nodes of kind `unified`.
    pub unified: Vec<OsString>,
}

impl NodePrograms {
    /// This same executable with `node stock` or `node unified`.
    ///
    /// # Errors
    /// If the system cannot say where this executable is.
    pub fn built_in() -> Result<Self, RigFault> {
        let rig = std::env::current_exe()
            .map_err(|error| RigFault::machine("find its own executable", &error))?;
        let of = |kind: &str| vec![rig.clone().into(), "node".into(), kind.into()];
        Ok(NodePrograms {
            stock: of("stock"),
            unified: of("unified"),
        })
    }

    fn of(&self, kind: NodeKind) -> &[OsString] {
        match kind {
            NodeKind::Stock => &self.stock,
            NodeKind::Unified => &self.unified,
        }
    }
}

/// What is the same for all nodes of a case.
pub(super) struct Surroundings {
    pub(super) recorder: Arc<Recorder>,
    pub(super) scratch: Arc<CaseScratch>,
    pub(super) programs: NodePrograms,
    pub(super) bounds: Bounds,
    pub(super) peers: Vec<PeerName>,
    pub(super) base_height: u32,
    pub(super) base_hash: BlockHash,
    pub(super) bitcoind: BitcoindAccess,
    pub(super) electrs_url: String,
    pub(super) faults: Vec<Fault>,
    pub(super) controls: Arc<Controls>,
    pub(super) channels: Arc<KnownChannels>,
}

/// A process of the node, from its start to its end.
struct Process {
    orders: mpsc::UnboundedSender<Order>,
    control: watch::Sender<Option<Arc<Control>>>,
    supervisor: JoinHandle<()>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // The task owns the child, which is killed with it.
        self.supervisor.abort();
    }
}

/// One node.
pub(super) struct NodeHandle {
    pub(super) name: String,
    pub(super) node: Node,
    pub(super) node_id: PublicKey,
    seed: String,
    /// Life of the present process; `None` before the first.
    life: Option<u32>,
    process: Option<Process>,
    /// Where this life listens, once it has said so.
    pub(super) address: Option<SocketAddr>,
    /// What the next life estimates as the fee rate of everything.
    pub(super) fee_rate_sat_per_kw: u32,
    /// Whether this life has connected all blocks since it was started.
    pub(super) synced: bool,
}

/// The seed of a node: all it draws follows from the case's seed and its name.
fn seed_of(case_seed: u64, name: &str) -> String {
    sha256::Hash::hash(format!("deadbolt {case_seed} {name}").as_bytes()).to_string()
}

/// The setting as the API has it.
fn persistence_of(persist: Persist) -> Persistence {
    match persist {
        Persist::Sync => Persistence::Sync,
        Persist::Async => Persistence::Async {
            order: WriteOrder::Reversed,
        },
        Persist::AsyncSeeded => Persistence::Async {
            order: WriteOrder::Seeded,
        },
        Persist::Held => Persistence::Held,
    }
}

/// The nodes of a plan, none of them started.
pub(super) fn nodes_of(plan: &Plan) -> Result<BTreeMap<String, NodeHandle>, RigFault> {
    let handle = |(name, node): (&String, &Node)| {
        let seed = seed_of(plan.seed, name);
        let node_id = node_id_of_seed(&seed).map_err(|bad| RigFault::BadPlan(bad.to_string()))?;
        let handle = NodeHandle {
            name: name.clone(),
            node: node.clone(),
            node_id,
            seed,
            life: None,
            process: None,
            address: None,
            fee_rate_sat_per_kw: FEE_RATE_SAT_PER_KW,
            synced: false,
        };
        Ok((name.clone(), handle))
    };
    plan.scenario.nodes.iter().map(handle).collect()
}

impl Surroundings {
    /// What a node has to stop at in one of its lives.
    pub(super) fn armed(&self, name: &str, life: u32) -> Vec<ArmedPoint> {
        let arm = |fault: &Fault| ArmedPoint {
            point: fault.at.point.clone(),
            response: fault.action.response(),
        };
        self.faults_of(name, life).map(arm).collect()
    }

    fn faults_of<'a>(&'a self, name: &'a str, life: u32) -> impl Iterator<Item = &'a Fault> {
        let faults = self.faults.iter();
        faults.filter(move |fault| fault.at.node == name && fault.life == life)
    }
}

impl NodeHandle {
    /// Life of the present process; 0 before the first.
    pub(super) fn life(&self) -> u32 {
        self.life.unwrap_or(0)
    }

    /// The command that starts it, for people.
    pub(super) fn program(&self, around: &Surroundings) -> String {
        program_line(around.programs.of(self.node.kind))
    }

    /// Starts the node's next life. It is not ready before its first idle.
    pub(super) async fn start(&mut self, around: &Surroundings) -> Result<(), RigFault> {
        let life = self.life.map_or(0, |life| life + 1);
        let folder = around.scratch.node(&self.name);
        let data_dir = around.scratch.data(&self.name);
        std::fs::create_dir_all(&data_dir).map_err(|error| RigFault::folder(&data_dir, &error))?;
        let pipe = ReportPipe::new()?;
        let config = self.config(around, life, pipe.child_fd())?;
        let config_path = folder.join(format!("config-{life}.json"));
        serde_json::to_vec_pretty(&config)
            .map_err(std::io::Error::from)
            .and_then(|text| std::fs::write(&config_path, text))
            .map_err(|error| RigFault::folder(&config_path, &error))?;
        let mut argv = around.programs.of(self.node.kind).to_vec();
        argv.push(config_path.into());
        let stderr = folder.join(format!("stderr-{life}.log"));
        let spawned = spawn(Launch {
            node: self.name.clone(),
            argv,
            folder: around.scratch.path().to_path_buf(),
            stdout: folder.join(format!("stdout-{life}.log")),
            stderr: stderr.clone(),
            pipe,
        })
        .await?;
        let pid = spawned.child.id().unwrap_or_default();
        around.recorder.started(&self.name, life, pid);
        let (orders, inbox) = mpsc::unbounded_channel();
        let control = watch::Sender::new(None);
        let supervisor = Supervisor {
            node: self.name.clone(),
            life,
            recorder: Arc::clone(&around.recorder),
            scratch: Arc::clone(&around.scratch),
            faults: around.faults_of(&self.name, life).cloned().collect(),
            orders: inbox,
            control: control.subscribe(),
            stderr,
            exit_bound: around.bounds.exit,
            cutter: Cutter {
                node: self.name.clone(),
                node_id: self.node_id,
                recorder: Arc::clone(&around.recorder),
                controls: Arc::clone(&around.controls),
                bounds: around.bounds,
            },
            closer: Closer {
                node: self.name.clone(),
                peers: around.peers.clone(),
                channels: Arc::clone(&around.channels),
                recorder: Arc::clone(&around.recorder),
                controls: Arc::clone(&around.controls),
                bounds: around.bounds,
            },
        };
        self.life = Some(life);
        self.address = None;
        self.synced = false;
        self.process = Some(Process {
            orders,
            control,
            supervisor: tokio::spawn(supervisor.run(spawned)),
        });
        Ok(())
    }

    fn config(
        &self,
        around: &Surroundings,
        life: u32,
        report_fd: i32,
    ) -> Result<NodeConfig, RigFault> {
        Ok(NodeConfig {
            name: self.name.clone(),
            data_dir: around.scratch.data(&self.name),
            control_socket: around.scratch.socket(&self.name, life)?,
            report_fd: Some(report_fd),
            seed: self.seed.clone(),
            life,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            peers: self.others(&around.peers),
            base_height: around.base_height,
            base_hash: around.base_hash,
            bitcoind: around.bitcoind.clone(),
            chain_source: match self.node.chain {
                ChainKind::Bitcoind => ChainSource::Bitcoind,
                ChainKind::Electrs => ChainSource::Electrs {
                    url: around.electrs_url.clone(),
                },
            },
            // The first life is armed when the scenario's steps begin; a later one is in the
            // midst of them.
            armed: (life > 0).then(|| around.armed(&self.name, life)),
            fee_rate_sat_per_kw: self.fee_rate_sat_per_kw,
            persistence: persistence_of(self.node.persist),
        })
    }

    fn others(&self, peers: &[PeerName]) -> Vec<PeerName> {
        let others = peers.iter().filter(|peer| peer.name != self.name);
        others.cloned().collect()
    }

    /// The connection to this life's control socket, once made.
    pub(super) fn control(&self) -> Option<Arc<Control>> {
        self.process.as_ref()?.control.borrow().clone()
    }

    /// Connects to the control socket of a life that has been idle once.
    pub(super) async fn connect_control(&self, around: &Surroundings) -> std::io::Result<()> {
        let life = self.life();
        let path = around
            .scratch
            .socket(&self.name, life)
            .map_err(std::io::Error::other)?;
        let control = Arc::new(Control::connect(&path).await?);
        around.controls.set(&self.name, life, Arc::clone(&control));
        if let Some(process) = &self.process {
            process.control.send_replace(Some(control));
        }
        Ok(())
    }

    /// Kills the present process as part of the case.
    pub(super) fn kill(&self) {
        if let Some(process) = &self.process {
            // A process that is gone needs no order.
            let _ = process.orders.send(Order::Kill);
        }
    }

    /// Ends the present process because the case is over, and waits until it is gone.
    pub(super) async fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.orders.send(Order::End);
            let _ = (&mut process.supervisor).await;
        }
    }
}
