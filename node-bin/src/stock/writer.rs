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

/// The thread is gone, or the store refused the manager: the node must not go on.
#[derive(Debug, thiserror::Error)]
#[error("the manager could not be written: {0}; a node that goes on without would lose money")]
pub struct ManagerNotWritten(String);

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

    fn wait(&mut self) -> Result<ManagerWrite, ManagerNotWritten> {
        match self.answers.recv() {
            Ok(Answer::Durable) => {
                self.hangs = false;
                Ok(ManagerWrite::Durable)
            }
            Ok(Answer::Held) => {
                self.hangs = true;
                Ok(ManagerWrite::Hangs)
            }
            Ok(Answer::Failed(reason)) => Err(ManagerNotWritten(reason)),
            Err(_) => Err(ManagerNotWritten("its thread is gone".into())),
        }
    }

    /// Writes a manager. While an earlier write hangs nothing is written: the caller keeps in mind
    /// that its newest state is not durable.
    pub fn write(
        &mut self,
        bytes: Vec<u8>,
        role: String,
    ) -> Result<ManagerWrite, ManagerNotWritten> {
        if self.hangs {
            return Ok(ManagerWrite::Hangs);
        }
        self.writes
            .send(Write { bytes, role })
            .map_err(|_| ManagerNotWritten("its thread is gone".into()))?;
        self.wait()
    }

    /// Waits for the write that hung and has just been released.
    pub fn finish_released(&mut self) -> Result<(), ManagerNotWritten> {
        while self.hangs {
            self.wait()?;
        }
        Ok(())
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
