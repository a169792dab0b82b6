//! Has held writes done: whenever a phase waits and no node has anything else to do, one write of one node, drawn
//! by the case's seed. Never starts or stops a process.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::hashes::{Hash, sha256};
use node_bin::api::Command;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::control::{Control, Controls};
use super::live::Live;
use super::recorder::{Heed, Recorder};

/// Completes the writes of all nodes of a case.
pub(super) struct Completer {
    pub(super) recorder: Arc<Recorder>,
    pub(super) controls: Arc<Controls>,
    pub(super) seed: u64,
    /// How long a node that has hung up may take to be dead.
    pub(super) exit_bound: Duration,
}

/// Which of so many is next.
fn draw(seed: u64, count: u64, among: usize) -> Option<usize> {
    let digest = sha256::Hash::hash(format!("deadbolt {seed} write {count}").as_bytes());
    let (start, _) = digest.as_byte_array().split_first_chunk::<8>()?;
    let below = u64::try_from(among).ok().filter(|among| *among > 0)?;
    usize::try_from(u64::from_be_bytes(*start) % below).ok()
}

impl Completer {
    /// Does so until the case is over.
    pub(super) async fn run(&self) -> Infallible {
        let mut calls = JoinSet::new();
        let mut count = 0;
        loop {
            let (node, life, control) = self
                .recorder
                .while_a_phase_waits(|live| self.next(live, count))
                .await;
            count += 1;
            let (sender, sent) = oneshot::channel();
            let recorder = Arc::clone(&self.recorder);
            let name = node.clone();
            calls.spawn(async move {
                let about_to_send = |id| {
                    recorder.request_sent(&name, life, id);
                    // The loop goes on once the node counts as busy.
                    let _ = sender.send(());
                };
                // It may stand at a point in the midst of the write, for as long as a fault says: the loop
                // does not wait for the answer.
                let _ = control.call(Command::Write {}, about_to_send).await;
            });
            if sent.await.is_err() {
                self.await_end(&node, life).await;
            }
            while calls.try_join_next().is_some() {}
        }
    }

    /// The node whose turn it is, if all stand still.
    fn next(&self, live: &Live, count: u64) -> Option<(String, u32, Arc<Control>)> {
        if !live.stands_still() {
            return None;
        }
        let waiting: Vec<(&str, u32)> = live.held_writes().collect();
        let (node, life) = *waiting.get(draw(self.seed, count, waiting.len())?)?;
        // A life that nobody has connected to yet says more before long.
        let (_, control) = self
            .controls
            .of(node)
            .filter(|(connected, _)| *connected == life)?;
        Some((node.to_owned(), life, control))
    }

    /// Its socket is closed, so it is dead or will be at once; if not, others find that out.
    async fn await_end(&self, node: &str, life: u32) {
        let over = |live: &Live| live.is_over(node, life).then_some(());
        let what = format!("the end of {node}");
        let bound = self.exit_bound;
        let _ = self
            .recorder
            .try_wait(bound, &what, Heed::FaultsOnly, over)
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::draw;

    #[test]
    fn the_seed_draws_the_same_again_and_every_node_has_its_turn() {
        let drawn = |seed| {
            (0..64)
                .map(|count| draw(seed, count, 3))
                .collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        for node in 0..3 {
            assert!(drawn(1).contains(&Some(node)), "{node}");
        }
        assert_eq!(draw(1, 0, 0), None);
    }
}
