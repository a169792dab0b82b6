//! The rig's end of a node's control socket: requests out, answers back, matched by id. Knows
//! nothing of what commands mean.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use node_bin::api::{Command, Request, Response};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// Requests that wait for their answers; `None` once the socket is closed.
type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Result<Response, String>>>>>>;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The node closed the socket: it died, or is about to.
    Closed,
    /// It answered with something that is no answer.
    Unreadable(String),
}

/// A connection to one life of a node.
pub(super) struct Control {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    waiting: Waiting,
    next_id: AtomicU64,
    reader: AbortHandle,
}

impl Control {
    /// Connects to a socket that is there.
    pub(super) async fn connect(path: &Path) -> std::io::Result<Self> {
        let (reader, writer) = UnixStream::connect(path).await?.into_split();
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let reader = tokio::spawn(read_answers(reader, Arc::clone(&waiting))).abort_handle();
        Ok(Control {
            writer: tokio::sync::Mutex::new(writer),
            waiting,
            next_id: AtomicU64::new(1),
            reader,
        })
    }

    /// Sends a command and waits for its answer; as long as it takes, for the caller knows the
    /// bound. `about_to_send` is told the request's id before the node can know of it.
    pub(super) async fn call(
        &self,
        command: Command,
        about_to_send: impl FnOnce(u64),
    ) -> Result<Response, NoAnswer> {
        let (sender, answer) = oneshot::channel();
        {
            let mut writer = self.writer.lock().await;
            // Under the lock, so that ids reach the node in order.
            let id = self.next_id.fetch_add(1, Ordering::Relaxed);
            let request = Request { id, command };
            let mut line = serde_json::to_vec(&request)
                .map_err(|error| NoAnswer::Unreadable(error.to_string()))?;
            line.push(b'\n');
            match &mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(waiting) => waiting.insert(id, sender),
                None => return Err(NoAnswer::Closed),
            };
            about_to_send(id);
            if writer.write_all(&line).await.is_err() {
                return Err(NoAnswer::Closed);
            }
        }
        match answer.await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(line)) => Err(NoAnswer::Unreadable(line)),
            Err(_) => Err(NoAnswer::Closed),
        }
    }
}

/// The connections to all nodes' present lives, for those who have to reach a node from beside another.
#[derive(Default)]
pub(super) struct Controls(Mutex<HashMap<String, (u32, Arc<Control>)>>);

impl Controls {
    /// The connection to this life of a node.
    pub(super) fn set(&self, node: &str, life: u32, control: Arc<Control>) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.insert(node.to_owned(), (life, control));
    }

    /// The newest life that was connected to, and how it is reached.
    pub(super) fn of(&self, node: &str) -> Option<(u32, Arc<Control>)> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.get(node).cloned()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read_answers(reader: OwnedReadHalf, waiting: Waiting) {
    let mut lines = BufReader::new(reader).lines();
    let table = || waiting.lock().unwrap_or_else(PoisonError::into_inner);
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str::<Response>(&line) {
            Ok(response) => {
                let asked = table().as_mut().and_then(|open| open.remove(&response.id));
                // An answer nobody waits for any more is dropped.
                if let Some(asked) = asked {
                    let _ = asked.send(Ok(response));
                }
            }
            // Whose answer it is cannot be known: it is everybody's.
            Err(error) => {
                let told = format!("{error}: {line}");
                for (_, asked) in table().iter_mut().flat_map(HashMap::drain) {
                    let _ = asked.send(Err(told.clone()));
                }
            }
        }
    }
    // Drops all senders: whoever waits learns at once.
    *table() = None;
}
