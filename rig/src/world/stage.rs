//! The stage a case plays on: its nodes, its chain, its records, and the few moves that every phase
//! is made of (ask a node, wait until quiet, mine, connect). Knows no phase and no scenario step.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use node_bin::api::{Command, ErrorCode, PeerName, Reply, RequestError, Response, RestView};

use super::bounds::Bounds;
use super::chain_access::ChainAccess;
use super::control::NoAnswer;
use super::live::{Live, Status};
use super::node_handle::{NodeHandle, NodePrograms, Surroundings, nodes_of};
use super::recorder::{Heed, Recorder};
use super::rig_fault::{RigFault, Stop};
use super::scratch::CaseScratch;
use crate::evidence::{MadePayment, OpenedChannel, Phase, RigEntry};
use crate::scenario::Plan;

/// What a node says to a command, if it says anything.
pub(super) type Answer = Result<Reply, RequestError>;

/// Two nodes' names; the first makes the connection.
pub(super) type Pair = (String, String);

/// How often a connection is tried before it is left to the judge.
const CONNECT_ATTEMPTS: u32 = 4;

pub(super) struct Stage {
    pub(super) plan: Plan,
    pub(super) chain: Arc<ChainAccess>,
    pub(super) around: Surroundings,
    pub(super) nodes: BTreeMap<String, NodeHandle>,
    /// Connections that should be up.
    pub(super) wanted: BTreeSet<Pair>,
    pub(super) channels: Vec<OpenedChannel>,
    pub(super) payments: Vec<MadePayment>,
    pub(super) start: BTreeMap<String, RestView>,
    pub(super) rest: BTreeMap<String, RestView>,
    pub(super) progress: Progress,
    height: AtomicU32,
    /// Answers to commands that are given once, by what they are for; `None` while unanswered.
    answers: Mutex<HashMap<String, Option<Answer>>>,
}

/// What must not be done twice when work is taken up again after a kill.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The phase that a recovery goes back to.
    pub(super) phase: Option<Phase>,
    /// Labels of `mine` steps whose blocks are mined, of `restart` steps whose kill is done, and of
    /// channels that a step has asked for.
    pub(super) done: BTreeSet<String>,
    /// Blocks mined to let the chain settle.
    pub(super) settle_blocks: u32,
    /// Of them, those for channels that steps opened to become ready.
    pub(super) ready_blocks: u32,
    /// How often timers were ticked because something was still pending.
    pub(super) ticks: u32,
    /// Connections between all nodes with an open channel are wanted again.
    pub(super) links_restored: bool,
    /// Connections that were given up.
    pub(super) given_up: BTreeSet<Pair>,
}

impl Stage {
    /// An empty stage: no process is started yet.
    pub(super) async fn new(
        plan: &Plan,
        chain: Arc<ChainAccess>,
        scratch: Arc<CaseScratch>,
        recorder: Arc<Recorder>,
        programs: NodePrograms,
        bounds: Bounds,
    ) -> Result<Self, RigFault> {
        let nodes = nodes_of(plan)?;
        let base = chain.tip().await?;
        let peer = |handle: &NodeHandle| PeerName {
            name: handle.name.clone(),
            node_id: handle.node_id,
        };
        let around = Surroundings {
            recorder,
            scratch,
            programs,
            bounds,
            peers: nodes.values().map(peer).collect(),
            base_height: base.height,
            base_hash: base.hash,
            bitcoind: chain.bitcoind(),
            electrs_url: chain.electrs_url(),
            faults: plan.faults.clone(),
            controls: Arc::default(),
            channels: Arc::default(),
        };
        Ok(Stage {
            plan: plan.clone(),
            chain,
            around,
            nodes,
            wanted: BTreeSet::new(),
            channels: Vec::new(),
            payments: Vec::new(),
            start: BTreeMap::new(),
            rest: BTreeMap::new(),
            progress: Progress::default(),
            height: AtomicU32::new(base.height),
            answers: Mutex::new(HashMap::new()),
        })
    }

    pub(super) fn recorder(&self) -> &Recorder {
        &self.around.recorder
    }

    pub(super) fn bounds(&self) -> &Bounds {
        &self.around.bounds
    }

    /// Begins a phase.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.progress.phase = Some(phase);
        self.recorder().phase(phase);
    }

    pub(super) fn node(&self, name: &str) -> Result<&NodeHandle, RigFault> {
        let unknown =
            || RigFault::BadPlan(format!("it speaks of a node {name:?} it does not have"));
        self.nodes.get(name).ok_or_else(unknown)
    }

    /// Names of the nodes that can be talked to.
    pub(super) fn awake(&self) -> Vec<String> {
        self.recorder().look(|live| {
            let nodes = live.nodes.iter();
            let awake =
                nodes.filter(|(_, node)| node.status == Status::Running && !live.is_held(node));
            awake.map(|(name, _)| name.clone()).collect()
        })
    }

    /// Gives a command and waits for the answer, and for the trace to contain all that came of it.
    pub(super) async fn call(&self, name: &str, command: Command) -> Result<Answer, Stop> {
        let handle = self.node(name)?;
        let life = handle.life();
        let Some(control) = handle.control() else {
            return Err(Stop::Interrupted);
        };
        let method = method_of(&command);
        self.recorder()
            .now_waiting_for(&format!("{name} to answer `{method}`"));
        let mut id = 0;
        let sent = |request| {
            id = request;
            self.recorder().request_sent(name, life, request);
        };
        let bound = self.bounds().call;
        let answered = tokio::select! {
            answered = tokio::time::timeout(bound, control.call(command, sent)) => answered,
            held = self.until_held(name, life) => return Err(held),
        };
        let not_answering = |missing: &str| RigFault::NotAnswering {
            node: name.to_owned(),
            method: method.clone(),
            waited_ms: bound.as_millis() as u64,
            missing: missing.to_owned(),
        };
        let response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(NoAnswer::Closed)) => return Err(self.after_hang_up(name, life).await),
            Ok(Err(NoAnswer::Unreadable(answer))) => {
                let node = name.to_owned();
                return Err(RigFault::UnreadableAnswer {
                    node,
                    method,
                    answer,
                }
                .into());
            }
            Err(_) => return Err(not_answering("its answer").into()),
        };
        // Answers and reports come on two ways: the report that goes with the answer may be later.
        let what = format!("the report that {name} has handled `{method}`");
        let seen = |live: &Live| {
            let over = live.is_over(name, life);
            let handled = live.nodes.get(name).map_or(0, |node| node.handled());
            (over || handled >= id).then_some(())
        };
        self.recorder()
            .wait(bound, &what, Heed::FaultsOnly, seen)
            .await?;
        self.read_answer(name, method, response)
    }

    /// Waits until a fault holds the node as a whole, which no call survives.
    async fn until_held(&self, name: &str, life: u32) -> Stop {
        let what = format!("an answer of {name}");
        let seen = |live: &Live| {
            let node = live.nodes.get(name)?;
            (node.life == life && live.is_held(node)).then_some(())
        };
        // Never the first to run out.
        let bound = self.bounds().case * 2;
        match self
            .recorder()
            .wait(bound, &what, Heed::FaultsOnly, seen)
            .await
        {
            Ok(()) => Stop::NodeHeld,
            Err(stop) => stop,
        }
    }

    /// The socket is closed: the process is gone, or will be at once.
    async fn after_hang_up(&self, name: &str, life: u32) -> Stop {
        let seen = |live: &Live| live.is_over(name, life).then_some(());
        let bound = self.bounds().exit;
        let what = format!("the end of {name}");
        match self
            .recorder()
            .wait(bound, &what, Heed::FaultsOnly, seen)
            .await
        {
            Ok(()) => Stop::Interrupted,
            Err(Stop::Fault(RigFault::NothingCame { .. })) => Stop::Fault(RigFault::HungUp {
                node: name.to_owned(),
                what: "control socket",
            }),
            Err(stop) => stop,
        }
    }

    fn read_answer(&self, name: &str, method: String, response: Response) -> Result<Answer, Stop> {
        let node = name.to_owned();
        match (response.result, response.error) {
            (Some(reply), None) => Ok(Ok(reply)),
            (None, Some(error)) if error.code == ErrorCode::BadRequest => {
                let message = error.message;
                Err(RigFault::Refused {
                    node,
                    method,
                    message,
                }
                .into())
            }
            (None, Some(error)) => Ok(Err(error)),
            _ => {
                let answer = "neither a result nor an error, or both".to_owned();
                Err(RigFault::UnreadableAnswer {
                    node,
                    method,
                    answer,
                }
                .into())
            }
        }
    }

    /// A command that has to work: a refusal is a fault of the rig.
    pub(super) async fn ask(&self, name: &str, command: Command) -> Result<Reply, Stop> {
        let method = method_of(&command);
        self.call(name, command).await?.map_err(|error| {
            Stop::Fault(RigFault::Refused {
                node: name.to_owned(),
                method,
                message: error.to_string(),
            })
        })
    }

    /// A command of the scenario, given under a purpose. Once answered it is never given again; a
    /// command that a kill left unanswered is. A refusal is noted and is an answer.
    pub(super) async fn once(
        &self,
        purpose: &str,
        name: &str,
        command: Command,
    ) -> Result<Answer, Stop> {
        let method = method_of(&command);
        let given = {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            let given = answers.get(purpose).cloned();
            answers.entry(purpose.to_owned()).or_insert(None);
            given
        };
        match given {
            Some(Some(answer)) => return Ok(answer),
            Some(None) => self.recorder().rig(RigEntry::Reissued {
                node: name.to_owned(),
                method: method.clone(),
            }),
            None => {}
        }
        let answer = self.call(name, command).await?;
        if let Err(refusal) = &answer {
            self.refused(name, &method, refusal);
        }
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(purpose.to_owned(), Some(answer.clone()));
        Ok(answer)
    }

    /// Notes a refusal that the judge decides about.
    pub(super) fn refused(&self, name: &str, method: &str, refusal: &RequestError) {
        self.recorder().rig(RigEntry::Refused {
            node: name.to_owned(),
            method: method.to_owned(),
            message: refusal.to_string(),
        });
    }

    /// An answer of another kind than the command's.
    pub(super) fn misfit(name: &str, method: &str, reply: &Reply) -> Stop {
        Stop::Fault(RigFault::UnreadableAnswer {
            node: name.to_owned(),
            method: method.to_owned(),
            answer: format!("{reply:?}"),
        })
    }

    /// Gives all nodes that can be talked to a command that has to work, side by side. A node that
    /// is held meanwhile is left out.
    pub(super) async fn ask_all(&self, command: &Command) -> Result<Vec<(String, Reply)>, Stop> {
        let ask = |name: String| async move {
            match self.ask(&name, command.clone()).await {
                Ok(reply) => Ok(Some((name, reply))),
                Err(Stop::NodeHeld) => Ok(None),
                Err(stop) => Err(stop),
            }
        };
        let replies = all(self.awake().into_iter().map(ask)).await?;
        Ok(replies.into_iter().flatten().collect())
    }

    /// Everybody's state for the verdict.
    pub(super) async fn rest_all(&self) -> Result<BTreeMap<String, RestView>, Stop> {
        let mut rests = BTreeMap::new();
        for (name, reply) in self.ask_all(&Command::Rest {}).await? {
            match reply {
                Reply::Rest(rest) => rests.insert(name, *rest),
                other => return Err(Stage::misfit(&name, "rest", &other)),
            };
        }
        Ok(rests)
    }

    /// Lets everybody connect blocks up to the tip.
    pub(super) async fn sync_all(&self) -> Result<(), Stop> {
        self.electrs_ready().await?;
        self.ask_all(&Command::Sync {}).await.map(drop)
    }

    /// Lets one node connect blocks up to the tip.
    pub(super) async fn sync(&self, name: &str) -> Result<(), Stop> {
        self.electrs_ready().await?;
        self.ask(name, Command::Sync {}).await.map(drop)
    }

    async fn electrs_ready(&self) -> Result<(), Stop> {
        use crate::scenario::ChainKind;
        let mut nodes = self.nodes.values();
        if nodes.any(|handle| handle.node.chain == ChainKind::Electrs) {
            self.chain.electrs_synced().await?;
        }
        Ok(())
    }

    /// Mines, and nothing more.
    pub(super) async fn mine(&self, blocks: u32) -> Result<(), Stop> {
        self.chain.mine(blocks).await?;
        let height = self.height.fetch_add(blocks, Ordering::Relaxed) + blocks;
        self.recorder().rig(RigEntry::Mined { height, blocks });
        Ok(())
    }

    /// Mines blocks that leave everything out.
    pub(super) async fn mine_empty(&self, blocks: u32) -> Result<(), Stop> {
        self.chain.mine_empty(blocks).await?;
        let height = self.height.fetch_add(blocks, Ordering::Relaxed) + blocks;
        self.recorder().rig(RigEntry::Mined { height, blocks });
        Ok(())
    }

    /// Takes blocks off the chain and puts one more in their place, all empty.
    pub(super) async fn reorganise(&self, blocks: u32) -> Result<(), Stop> {
        let taken_off = self.chain.reorganise(blocks).await?;
        let height = self.height.fetch_add(1, Ordering::Relaxed) + 1;
        self.recorder().rig(RigEntry::Reorged {
            height,
            blocks,
            taken_off,
        });
        Ok(())
    }

    /// Waits until nothing is under way anywhere.
    pub(super) async fn quiet(&self) -> Result<(), Stop> {
        let quiet = |live: &Live| live.is_quiet().then_some(());
        let what = "all nodes to have nothing under way";
        let bound = self.bounds().wait;
        self.recorder().wait(bound, what, Heed::Deaths, quiet).await
    }

    /// One tick of everybody's timers, and all that follows. Timers are as long as a minute: what is under way arrives
    /// before. A node whose peer owes it an answer at two ticks hangs up (LDK's
    /// `DISCONNECT_PEER_AWAITING_RESPONSE_TICKS`).
    pub(super) async fn tick_all(&self) -> Result<(), Stop> {
        self.quiet().await?;
        self.ask_all(&Command::Tick {}).await?;
        self.quiet().await
    }

    /// Waits until both sides of a connection agree, and says whether it is up.
    pub(super) async fn agreed(&self, one: &str, other: &str) -> Result<bool, Stop> {
        let seen = |live: &Live| {
            let up = live.is_link_up(one, other);
            (up || live.is_link_down(one, other)).then_some(up)
        };
        let what = format!("{one} and {other} to agree whether they are connected");
        let bound = self.bounds().wait;
        self.recorder().wait(bound, &what, Heed::Deaths, seen).await
    }

    /// Connects two nodes; `false` if they will not.
    pub(super) async fn connect(&self, pair: &Pair) -> Result<bool, Stop> {
        let (mut from, mut to) = (pair.0.as_str(), pair.1.as_str());
        for _ in 0..CONNECT_ATTEMPTS {
            if self.agreed(from, to).await? {
                return Ok(true);
            }
            let peer = self.node(to)?;
            let Some(address) = peer.address else {
                return Err(Stop::Interrupted);
            };
            let node_id = peer.node_id;
            match self
                .call(from, Command::Connect { node_id, address })
                .await?
            {
                Ok(_) => {}
                Err(refusal) => {
                    self.refused(from, "connect", &refusal);
                    std::mem::swap(&mut from, &mut to);
                }
            }
        }
        self.agreed(from, to).await
    }

    /// How far a connection is from the nearest receiver of a payment that goes over it.
    fn hops_to_receiver(&self, pair: &Pair) -> usize {
        let mut nearest = usize::MAX;
        let steps = self.plan.scenario.act.iter();
        for payment in steps.flat_map(|step| step.payments()) {
            for path in &payment.paths {
                for (hops, label) in path.iter().rev().enumerate() {
                    let channels = &self.plan.scenario.channels;
                    let joins = channels.iter().any(|channel| {
                        let ends = (channel.opener.as_str(), channel.acceptor.as_str());
                        let (one, other) = (pair.0.as_str(), pair.1.as_str());
                        channel.label == *label && (ends == (one, other) || ends == (other, one))
                    });
                    if joins {
                        nearest = nearest.min(hops);
                    }
                }
            }
        }
        nearest
    }

    /// Makes all wanted connections between nodes that can be talked to. One that cannot be made is
    /// left to the judge.
    pub(super) async fn connect_wanted(&mut self) -> Result<(), Stop> {
        let awake = self.awake();
        let is_awake = |name: &String| awake.contains(name);
        let wanted = self
            .wanted
            .iter()
            .filter(|(one, other)| is_awake(one) && is_awake(other));
        let mut wanted: Vec<Pair> = wanted.cloned().collect();
        // A node that gets its payers back before its payees refuses what it should forward, as it
        // may: BOLT 4's temporary_channel_failure. That would be the rig's doing, not the crash's.
        wanted.sort_by_key(|pair| self.hops_to_receiver(pair));
        for pair in wanted {
            if self.progress.given_up.contains(&pair) {
                continue;
            }
            if self.connect(&pair).await? {
                self.quiet().await?;
                continue;
            }
            let missing = format!("a connection between {} and {}", pair.0, pair.1);
            self.recorder().rig(RigEntry::WaitEnded { missing });
            self.progress.given_up.insert(pair);
        }
        Ok(())
    }
}

/// The command's name on the wire.
pub(super) fn method_of(command: &Command) -> String {
    let value = serde_json::to_value(command).unwrap_or_default();
    let name = value.get("method").and_then(|name| name.as_str());
    name.unwrap_or("unknown").to_owned()
}

/// Runs all to their end; the worst reason to stop counts.
pub(super) async fn all<T>(
    tasks: impl Iterator<Item = impl Future<Output = Result<T, Stop>>>,
) -> Result<Vec<T>, Stop> {
    let mut done = Vec::new();
    let mut stopped = None;
    for result in join_all(tasks).await {
        match (result, &stopped) {
            (Ok(value), _) => done.push(value),
            (Err(_), Some(Stop::Fault(_))) => {}
            (Err(stop @ Stop::Fault(_)), _) | (Err(stop), None) => stopped = Some(stop),
            (Err(_), Some(_)) => {}
        }
    }
    match stopped {
        None => Ok(done),
        Some(stop) => Err(stop),
    }
}
