//! Tells running work that the user wants to stop.

use tokio::sync::watch;

/// The side that asks to stop.
#[derive(Debug)]
pub struct Interrupter(watch::Sender<bool>);

/// The side that is asked; cheap to clone.
#[derive(Clone, Debug)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupter {
    /// A connected pair.
    pub fn new() -> (Interrupter, Interrupt) {
        let (sender, receiver) = watch::channel(false);
        (Interrupter(sender), Interrupt(receiver))
    }

    /// Asks to stop.
    pub fn interrupt(&self) {
        self.0.send_replace(true);
    }
}

impl Interrupt {
    /// Whether it was asked to stop.
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Ends when it is asked to stop, and never if nobody can ask any more.
    pub async fn wait(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|set| *set).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
