//! A node program for tests of the stage: speaks the API and has crash points, but knows nothing of
//! Lightning. It is this same test executable, started again with a test's name and a manner.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use bitcoin::hashes::{Hash, sha256};
use faults::{GateReport, gate};
use node_bin::api::{
    Balance, Command, ErrorCode, GraphView, NodeConfig, NodeInfo, Reply, Report, Request,
    RequestError, Response, RestView, UserEvent, node_id_of_seed,
};

use super::node_handle::NodePrograms;

/// The command that starts this program in a certain manner: `well`, or one of the ways to misbehave
/// when told to pay.
pub(super) fn programs(manner: &str) -> NodePrograms {
    let test = "world::fake_node::a_fake_node";
    let words = [test, "--exact", "--nocapture", manner].map(OsString::from);
    let mut argv = vec![std::env::current_exe().unwrap().into_os_string()];
    argv.extend(words);
    NodePrograms {
        stock: argv.clone(),
        unified: argv,
    }
}

/// As a test this does nothing; started by a stage it is a node.
#[test]
fn a_fake_node() {
    let arguments: Vec<String> = std::env::args().collect();
    let Some(config) = arguments.last().filter(|last| last.ends_with(".json")) else {
        return;
    };
    let config: NodeConfig = serde_json::from_slice(&std::fs::read(config).unwrap()).unwrap();
    FakeNode {
        manner: arguments[arguments.len() - 2].clone(),
        config,
    }
    .run();
}

/// How long a node that lingers gives a rig that does not wait for it.
const LINGERS: Duration = Duration::from_millis(100);

struct FakeNode {
    manner: String,
    config: NodeConfig,
}

fn idle(handled: u64) {
    idle_with(handled, 0);
}

fn idle_with(handled: u64, waiting_writes: u64) {
    gate::emit(&Report::Idle {
        handled,
        counters: BTreeMap::new(),
        waiting_writes,
    });
}

/// Ends the write that is under way, unless something else is asked for before.
fn linger(reader: &mut BufReader<UnixStream>, handled: u64) {
    reader.get_ref().set_read_timeout(Some(LINGERS)).unwrap();
    let is_asked = reader.fill_buf().is_ok();
    reader.get_ref().set_read_timeout(None).unwrap();
    if !is_asked {
        idle(handled);
    }
}

fn hash(text: &str) -> String {
    sha256::Hash::hash(text.as_bytes()).to_string()
}

impl FakeNode {
    fn run(self) {
        if self.manner == "stillborn" {
            eprintln!("cannot read my own store");
            std::process::exit(4);
        }
        // SAFETY: the rig hands exactly this descriptor to this process.
        gate::open_pipe(unsafe { OwnedFd::from_raw_fd(self.config.report_fd.unwrap()) });
        if let Some(points) = &self.config.armed {
            gate::arm(points.clone());
        }
        let listener = UnixListener::bind(&self.config.control_socket).unwrap();
        idle(0);
        let (socket, _) = listener.accept().unwrap();
        let mut writer = socket.try_clone().unwrap();
        let mut reader = BufReader::new(socket);
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 0 {
            let request: Request = serde_json::from_str(&line).unwrap();
            line.clear();
            let (id, lingers) = (request.id, self.lingers(&request.command));
            self.answer(request, lingers, &mut writer);
            if lingers {
                linger(&mut reader, id);
            }
        }
    }

    /// Carries a request out and answers it; a node that lingers has a write under way then.
    fn answer(&self, request: Request, lingers: bool, writer: &mut UnixStream) {
        gate::begin_input();
        let method = super::stage::method_of(&request.command);
        let key = match &request.command {
            Command::Invoice { key, .. } | Command::Pay { key, .. } => key.clone(),
            _ => String::new(),
        };
        let _ = gate::point(&format!("command.{method}.before"), &key);
        let is_pay = matches!(request.command, Command::Pay { .. });
        if is_pay {
            self.misbehave();
        }
        let result = match is_pay && self.manner == "mute" {
            true => return,
            false => self.carry_out(request.command),
        };
        let _ = gate::point(&format!("command.{method}.after"), &key);
        idle_with(request.id, u64::from(lingers));
        let (result, error) = match result {
            Ok(reply) => (Some(reply), None),
            Err(error) => (None, Some(error)),
        };
        let response = Response {
            id: request.id,
            result,
            error,
        };
        let mut line = serde_json::to_vec(&response).unwrap();
        line.push(b'\n');
        writer.write_all(&line).unwrap();
    }

    fn lingers(&self, command: &Command) -> bool {
        self.manner == "lingers" && matches!(command, Command::Sync {})
    }

    fn misbehave(&self) {
        let is_first = self.config.life == 0;
        match self.manner.as_str() {
            "babbles" => gate::emit(&serde_json::json!({ "type": "nonsense" })),
            "freezes" => {
                let point = "persist.manager.before@1".parse().unwrap();
                gate::emit(&GateReport::Frozen { point });
                nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP).unwrap();
            }
            "quits once" if is_first => self.quit(),
            "quits always" => self.quit(),
            _ => {}
        }
    }

    fn quit(&self) -> ! {
        eprintln!("thread 'main' panicked: no idea what to do");
        std::process::exit(3);
    }

    fn carry_out(&self, command: Command) -> Result<Reply, RequestError> {
        match command {
            Command::Info {} => Ok(Reply::Info(NodeInfo {
                node_id: node_id_of_seed(&self.config.seed).unwrap(),
                kind: "fake".to_owned(),
                version: "0".to_owned(),
                address: "127.0.0.1:9".to_owned(),
                block_height: 0,
                crash_points: true,
            })),
            Command::Arm { points } => {
                gate::arm(points);
                Ok(Reply::Done)
            }
            Command::Sync {} => Ok(Reply::Synced { height: 0 }),
            Command::Tick {} | Command::Write {} => Ok(Reply::Done),
            Command::Graph {} => Ok(Reply::Graph(GraphView {
                channels: vec![],
                nodes: vec![],
            })),
            Command::Rest {} => Ok(Reply::Rest(Box::new(RestView {
                block_height: 0,
                channels: vec![],
                payments: vec![],
                balance: Balance {
                    confirmed_sat: 0,
                    unconfirmed_sat: 0,
                },
                claims: vec![],
                unswept: u32::from(self.manner == "lingers"),
            }))),
            Command::Invoice { key, .. } => Ok(Reply::Invoice {
                invoice: key.clone(),
                payment_hash: hash(&format!("preimage {key}")),
            }),
            Command::Pay { key, invoice, .. } => {
                let payment_hash = hash(&format!("preimage {invoice}"));
                let event = UserEvent::PaymentSent {
                    payment_id: hash(&key),
                    payment_hash: payment_hash.clone(),
                    preimage: String::new(),
                    fee_paid_msat: None,
                };
                gate::emit(&Report::Event { event });
                Ok(Reply::Payment {
                    payment_hash,
                    already: false,
                })
            }
            Command::Claim { .. } => Err(RequestError {
                code: ErrorCode::NotFound,
                message: "no such payment".to_owned(),
            }),
            other => panic!("this fake cannot {other:?}"),
        }
    }
}
