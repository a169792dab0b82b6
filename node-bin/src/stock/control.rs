//! The control socket and the node's one loop: mail from peers, commands from the rig, one at a time.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::secp256k1::PublicKey;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::node::Node;
use crate::api::{Command, ErrorCode, Reply, Request, RequestError, Response};

/// How many commands may wait; one rig never has more under way.
const WAITING_COMMANDS: usize = 64;

/// How long a peer's port may take to accept: peers are on the same machine.
const CONNECT_BOUND: Duration = Duration::from_secs(5);

type Answer = oneshot::Sender<Response>;
type Inbox = mpsc::Sender<(Request, Answer)>;

/// The loop ended because it had to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A socket could not be made.
    #[error("cannot listen on {0}: {1}")]
    Listen(String, std::io::Error),
}

/// A `connect` that waits for both sides' `init`.
struct Connecting {
    connection: u64,
    peer: PublicKey,
    id: u64,
    answer: Answer,
}

struct Server {
    node: Arc<Node>,
    connecting: Vec<Connecting>,
    connections: u64,
    lost: mpsc::UnboundedSender<u64>,
}

fn response(id: u64, outcome: Result<Reply, RequestError>) -> Response {
    match outcome {
        Ok(reply) => Response {
            id,
            result: Some(reply),
            error: None,
        },
        Err(error) => Response {
            id,
            result: None,
            error: Some(error),
        },
    }
}

/// Serves until `stop`.
pub async fn serve(node: Node) -> Result<(), ServeError> {
    let node = Arc::new(node);
    let listen = |what: String| move |error| ServeError::Listen(what, error);
    let address = node.config.listen;
    let peers = TcpListener::bind(address)
        .await
        .map_err(listen(address.to_string()))?;
    let local = peers.local_addr().map_err(listen(address.to_string()))?;
    node.progress().address = local.to_string();
    let path = node.config.control_socket.clone();
    let control = UnixListener::bind(&path).map_err(listen(path.display().to_string()))?;

    let (inbox, mut commands) = mpsc::channel(WAITING_COMMANDS);
    let (lost, mut lost_connections) = mpsc::unbounded_channel();
    let mut server = Server {
        node: node.clone(),
        connecting: Vec::new(),
        connections: 0,
        lost,
    };
    node.report_idle();
    loop {
        tokio::select! {
            () = node.mailbox.arrival() => server.mail(),
            Some(connection) = lost_connections.recv() => server.refuse_connecting(connection),
            Some((request, answer)) = commands.recv() => {
                if server.command(request, answer).await {
                    return Ok(());
                }
            }
            Ok((stream, _)) = peers.accept() => accept_peer(&node, stream),
            Ok((stream, _)) = control.accept() => {
                tokio::spawn(read_commands(stream, inbox.clone()));
            }
        }
        node.report_idle();
    }
}

fn accept_peer(node: &Node, stream: tokio::net::TcpStream) {
    match without_delay(stream) {
        Ok(stream) => {
            tokio::spawn(lightning_net_tokio::setup_inbound(
                node.peers.clone(),
                stream,
            ));
        }
        Err(error) => tracing::warn!(%error, "a connection was lost before it began"),
    }
}

/// A connection to a peer; `None` if nobody is there.
async fn connect(address: std::net::SocketAddr) -> Option<std::net::TcpStream> {
    let connected = tokio::net::TcpStream::connect(address);
    let stream = tokio::time::timeout(CONNECT_BOUND, connected)
        .await
        .ok()?
        .ok()?;
    without_delay(stream).ok()
}

/// Two small messages in a row would otherwise wait 40 ms for the acknowledgement of the first.
fn without_delay(stream: tokio::net::TcpStream) -> std::io::Result<std::net::TcpStream> {
    stream.set_nodelay(true)?;
    stream.into_std()
}

/// Reads one client's commands, and writes each answer when it is there.
async fn read_commands(stream: UnixStream, inbox: Inbox) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let (answers, mut outbox) = mpsc::unbounded_channel::<Response>();
    tokio::spawn(async move {
        while let Some(answer) = outbox.recv().await {
            let Ok(mut line) = serde_json::to_vec(&answer) else {
                continue;
            };
            line.push(b'\n');
            if write.write_all(&line).await.is_err() {
                return;
            }
        }
    });
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str::<Request>(&line) {
            Err(error) => {
                let id = serde_json::from_str::<serde_json::Value>(&line)
                    .ok()
                    .and_then(|value| value.get("id")?.as_u64())
                    .unwrap_or(0);
                let message = format!("cannot read the request: {error}");
                let error = RequestError {
                    code: ErrorCode::BadRequest,
                    message,
                };
                let _ = answers.send(response(id, Err(error)));
            }
            Ok(request) => {
                let (answer, answered) = oneshot::channel();
                if inbox.send((request, answer)).await.is_err() {
                    return;
                }
                let answers = answers.clone();
                tokio::spawn(async move {
                    if let Ok(response) = answered.await {
                        let _ = answers.send(response);
                    }
                });
            }
        }
    }
}

impl Server {
    fn answer(&self, id: u64, answer: Answer, outcome: Result<Reply, RequestError>) {
        {
            let mut progress = self.node.progress();
            progress.handled_request = progress.handled_request.max(id);
        }
        self.node.report_idle();
        // A client that went away does not want it any more.
        let _ = answer.send(response(id, outcome));
    }

    fn mail(&mut self) {
        for peer in self.node.handle_mail() {
            let (up, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.connecting)
                .into_iter()
                .partition(|connecting| connecting.peer == peer);
            self.connecting = waiting;
            for connecting in up {
                self.answer(connecting.id, connecting.answer, Ok(Reply::Done));
            }
        }
    }

    /// The end of a connection refuses the `connect` that made it, and no later one.
    fn refuse_connecting(&mut self, connection: u64) {
        let place = self
            .connecting
            .iter()
            .position(|connecting| connecting.connection == connection);
        let Some(place) = place else { return };
        let connecting = self.connecting.swap_remove(place);
        let message = "the connection ended before both sides had said init".to_owned();
        let error = RequestError {
            code: ErrorCode::Refused,
            message,
        };
        self.answer(connecting.id, connecting.answer, Err(error));
    }

    /// Carries out a command; `true` if it was the last.
    async fn command(&mut self, request: Request, answer: Answer) -> bool {
        let id = request.id;
        match request.command {
            Command::Connect { node_id, address } => {
                if self.node.mailbox.is_connected(&node_id) {
                    self.answer(id, answer, Ok(Reply::Done));
                    return false;
                }
                match connect(address).await {
                    None => {
                        let message = format!("nobody listens on {address}");
                        let error = RequestError {
                            code: ErrorCode::Refused,
                            message,
                        };
                        self.answer(id, answer, Err(error));
                    }
                    Some(stream) => {
                        let peers = self.node.peers.clone();
                        let connection =
                            lightning_net_tokio::setup_outbound(peers, node_id, stream);
                        self.connections += 1;
                        let number = self.connections;
                        self.connecting.push(Connecting {
                            connection: number,
                            peer: node_id,
                            id,
                            answer,
                        });
                        let lost = self.lost.clone();
                        tokio::spawn(async move {
                            connection.await;
                            let _ = lost.send(number);
                        });
                    }
                }
            }
            Command::Disconnect { node_id } => {
                self.node.peers.disconnect_by_node_id(node_id);
                self.mail();
                self.answer(id, answer, Ok(Reply::Done));
            }
            Command::Stop {} => {
                self.node.work();
                let _ = answer.send(response(id, Ok(Reply::Done)));
                // Lets the answer out before the runtime ends.
                tokio::task::yield_now().await;
                return true;
            }
            command => {
                let outcome = self.node.carry_out(command);
                self.answer(id, answer, outcome);
            }
        }
        false
    }
}
