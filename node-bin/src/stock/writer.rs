//! The manager's writer: a thread of its own, so that one manager write can hang while the node goes
//! on, as it does in the field on a slow disk. The node waits for every write that does not hang.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use faults::{Outcome, gate};
use lightning::util::persist::{
    CHANNEL_MANAGER_PERSISTENCE_KEY, CHANNEL_MANAGER_PERSISTENCE_PRIMARY_NAMESPACE,
    CHANNEL_MANAGER_PERSISTENCE_SECONDARY_NAMESPACE, KVStoreSync,
};

use super::store::PointStore;
use crate::api::Report;

struct Write {
    bytes: Vec<u8>,
    role: String,
}

enum Answer {
    Durable,
    Failed(String),
    Held,
}

/// What came of handing a manager to the writer.
#[derive(Debug, PartialEq, Eq)]
pub enum ManagerWrite {
    /// It is durable.
    Durable,
    /// This write, or one before it, hangs; nothing newer is durable.
    Hangs,
}

/// The node's end of the writer thread.
pub struct ManagerWriter {
    writes: Sender<Write>,
    answers: Receiver<Answer>,
    hangs: bool,
}

/// Ends the process: the thread is gone, or the store refused the manager. A node that went on
/// without its record would lose money at its next start.
fn die(reason: &str) -> ! {
    eprintln!("deadbolt node: the manager could not be written: {reason}; see the store's disk");
    std::process::abort();
}

impl ManagerWriter {
    /// Starts the thread.
    pub fn start(store: Arc<PointStore>) -> std::io::Result<Self> {
        let (writes, inbox) = channel::<Write>();
        let (outbox, answers) = channel();
        std::thread::Builder::new()
            .name("manager-writer".into())
            .spawn(move || {
                while let Ok(write) = inbox.recv() {
                    if outbox.send(write_one(&store, write, &outbox)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(ManagerWriter {
            writes,
            answers,
            hangs: false,
        })
    }

    fn wait(&mut self) -> ManagerWrite {
        match self.answers.recv() {
            Ok(Answer::Durable) => {
                self.hangs = false;
                ManagerWrite::Durable
            }
            Ok(Answer::Held) => {
                self.hangs = true;
                ManagerWrite::Hangs
            }
            Ok(Answer::Failed(reason)) => die(&reason),
            Err(_) => die("its thread is gone"),
        }
    }

    /// Writes a manager. While an earlier write hangs nothing is written: the caller keeps in mind
    /// that its newest state is not durable.
    pub fn write(&mut self, bytes: Vec<u8>, role: String) -> ManagerWrite {
        if self.hangs {
            return ManagerWrite::Hangs;
        }
        if self.writes.send(Write { bytes, role }).is_err() {
            die("its thread is gone");
        }
        self.wait()
    }

    /// Waits for the write that hung and has just been released.
    pub fn finish_released(&mut self) {
        while self.hangs {
            self.wait();
        }
    }
}

fn write_one(store: &PointStore, write: Write, outbox: &Sender<Answer>) -> Answer {
    let held = || {
        // The node is told first, so that it goes on; if it is gone so is this process.
        let _ = outbox.send(Answer::Held);
    };
    if gate::point_on_own_thread("persist.manager.before", &write.role, held) == Outcome::Fail {
        return Answer::Failed("the rig made this write fail".into());
    }
    let bytes = write.bytes.len() as u64;
    let written = KVStoreSync::write(
        store.without_points(),
        CHANNEL_MANAGER_PERSISTENCE_PRIMARY_NAMESPACE,
        CHANNEL_MANAGER_PERSISTENCE_SECONDARY_NAMESPACE,
        CHANNEL_MANAGER_PERSISTENCE_KEY,
        write.bytes,
    );
    if let Err(error) = written {
        return Answer::Failed(error.to_string());
    }
    gate::emit(&Report::Stored {
        key: CHANNEL_MANAGER_PERSISTENCE_KEY.into(),
        bytes,
    });
    let _ = gate::point_on_own_thread("persist.manager.after", &write.role, held);
    Answer::Durable
}
