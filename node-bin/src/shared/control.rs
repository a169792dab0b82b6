//! The control socket and the node's one loop: mail from peers, commands from the rig, one at a time.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::secp256k1::PublicKey;
use faults::gate;
use lightning::ln::msgs::Init;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::commands;
use super::host::Host;
use super::mailbox::{Mail, PeerMessage};
use super::{Peers, wire};
use crate::api::{Command, ErrorCode, Reply, Report, Request, RequestError, Response, WireMessage};

/// How many commands may wait; one rig never has more under way.
const WAITING_COMMANDS: usize = 64;

/// How long a peer's port may take to accept: peers are on the same machine.
const CONNECT_BOUND: Duration = Duration::from_secs(5);

type Answer = oneshot::Sender<Response>;
type Inbox = mpsc::Sender<(Request, Answer)>;

/// A node program, as its one loop drives it. Every input is handled to its end before the next.
pub(crate) trait Process {
    /// What stands around the Lightning part.
    fn host(&self) -> &Host;
    /// A peer's `init` was exchanged. An error ends the connection.
    fn peer_up(&mut self, peer: PublicKey, init: &Init, inbound: bool) -> Result<(), ()>;
    /// A connection is gone.
    fn peer_down(&mut self, peer: PublicKey);
    /// A peer sent a message.
    fn message(&mut self, peer: PublicKey, message: PeerMessage);
    /// A channel's message is about to be handled.
    fn sees_message(&mut self, _label: &str, _message: &WireMessage) {}
    /// Does all that follows from the inputs so far.
    fn work(&mut self);
    /// How many writes wait to be told to be done.
    fn waiting_writes(&self) -> u64 {
        0
    }
    /// Carries out a command that changes something; what follows from it is `work`'s.
    fn change(&mut self, command: Command) -> Result<Reply, RequestError>;
    /// Carries out any other command, with all that follows from it.
    fn answer(&mut self, command: Command) -> Result<Reply, RequestError>;
}

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

struct Server<P> {
    node: P,
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
pub(crate) async fn serve<P: Process>(node: P) -> Result<(), ServeError> {
    let listen = |what: String| move |error| ServeError::Listen(what, error);
    let address = node.host().config.listen;
    let peers = TcpListener::bind(address)
        .await
        .map_err(listen(address.to_string()))?;
    let local = peers.local_addr().map_err(listen(address.to_string()))?;
    node.host().set_address(local.to_string());
    let path = node.host().config.control_socket.clone();
    let control = UnixListener::bind(&path).map_err(listen(path.display().to_string()))?;

    let (inbox, mut commands) = mpsc::channel(WAITING_COMMANDS);
    let (lost, mut lost_connections) = mpsc::unbounded_channel();
    let mailbox = node.host().mailbox.clone();
    let transport = node.host().peers.clone();
    report_idle(&node);
    let mut server = Server {
        node,
        connecting: Vec::new(),
        connections: 0,
        lost,
    };
    loop {
        tokio::select! {
            () = mailbox.arrival() => server.mail(),
            Some(connection) = lost_connections.recv() => server.refuse_connecting(connection),
            Some((request, answer)) = commands.recv() => {
                if server.command(request, answer).await {
                    return Ok(());
                }
            }
            Ok((stream, _)) = peers.accept() => accept_peer(&transport, stream),
            Ok((stream, _)) = control.accept() => {
                tokio::spawn(read_commands(stream, inbox.clone()));
            }
        }
        handle_requests_put_first(&mut server.node);
        report_idle(&server.node);
    }
}

/// The next request that a fault has put before all other inputs.
pub(crate) fn request_put_first() -> Option<Command> {
    let text = gate::take_request()?;
    match serde_json::from_str::<Request>(&text) {
        Ok(request) => Some(request.command),
        Err(error) => {
            tracing::error!(%error, text, "a request of a fault cannot be read");
            None
        }
    }
}

fn report_idle<P: Process>(node: &P) {
    node.host().report_idle(node.waiting_writes());
}

/// Carries them out. Nobody waits for an answer: what came of one shows in what the node does.
fn handle_requests_put_first<P: Process>(node: &mut P) {
    while let Some(command) = request_put_first() {
        if let Err(error) = commands::carry_out(node, command) {
            tracing::warn!(%error, "a request of a fault was refused");
        }
    }
}

fn accept_peer(peers: &Arc<Peers>, stream: tokio::net::TcpStream) {
    match without_delay(stream) {
        Ok(stream) => {
            tokio::spawn(lightning_net_tokio::setup_inbound(peers.clone(), stream));
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
    let mut lines = BufReader::new(read).split(b'\n');
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
    while let Ok(Some(line)) = lines.next_segment().await {
        match Request::read(&line) {
            Err(refusal) => {
                let _ = answers.send(*refusal);
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

/// Handles everything that peers have sent; whose `init` was among it.
fn handle_mail<P: Process>(node: &mut P) -> Vec<PublicKey> {
    let mut connected = Vec::new();
    while let Some(mail) = node.host().mailbox.take() {
        match mail {
            Mail::Up(peer, init, inbound) => {
                let host = node.host();
                let name = host.names.peer(&peer);
                host.begin(format!("peer_up {name}"));
                host.mailbox.set_connected(peer, true);
                gate::emit(&Report::PeerUp { peer: name });
                host.idle_is_news();
                if node.peer_up(peer, &init, inbound).is_err() {
                    node.host().peers.disconnect_by_node_id(peer);
                }
                connected.push(peer);
            }
            Mail::Down(peer) => {
                let host = node.host();
                let name = host.names.peer(&peer);
                host.begin(format!("peer_down {name}"));
                host.mailbox.set_connected(peer, false);
                gate::emit(&Report::PeerDown { peer: name });
                host.idle_is_news();
                node.peer_down(peer);
            }
            Mail::Message(peer, message) => handle_message(node, peer, *message),
        }
        node.work();
        handle_requests_put_first(node);
    }
    connected
}

fn handle_message<P: Process>(node: &mut P, peer: PublicKey, message: PeerMessage) {
    let host = node.host();
    let Some((channel, what)) = wire::received(&message) else {
        host.begin(format!("recv gossip {}", host.names.peer(&peer)));
        node.message(peer, message);
        return;
    };
    let role = match channel {
        Some(id) => host.names.channel_with(&id, &peer),
        None => host.names.peer(&peer),
    };
    let label = channel.and_then(|id| host.names.channel(&id));
    host.begin(format!("recv {} {role}", what.name()));
    if let Some(label) = &label {
        node.sees_message(label, &what);
    }
    gate::emit(&Report::Received {
        peer: node.host().names.peer(&peer),
        channel: label,
        message: what,
    });
    node.message(peer, message);
    node.host().mailbox.count_received(&peer);
}

impl<P: Process> Server<P> {
    fn answer(&mut self, id: u64, answer: Answer, outcome: Result<Reply, RequestError>) {
        handle_requests_put_first(&mut self.node);
        self.node.host().handled(id);
        report_idle(&self.node);
        // A client that went away does not want it any more.
        let _ = answer.send(response(id, outcome));
    }

    fn mail(&mut self) {
        for peer in handle_mail(&mut self.node) {
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
                if self.node.host().is_connected(&node_id) {
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
                        let peers = self.node.host().peers.clone();
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
                self.node.host().peers.disconnect_by_node_id(node_id);
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
                let outcome = commands::carry_out(&mut self.node, command);
                self.answer(id, answer, outcome);
            }
        }
        false
    }
}
