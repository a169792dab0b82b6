//! Closing by force: the holder's commitment goes to the chain.
//!
//! BOLT 5, "Failing a Channel"; the seed's HolderForceClosed.

use bitcoin::Transaction;

use crate::commitment;
use crate::keys::Environment;
use crate::record::Closure;
use crate::update::UpdateStep;

use super::{Channel, Outbox};

impl Channel {
    /// Decides that the channel ends with a commitment, if it has not ended already. The decision is
    /// written first; its event lets the node publish, so that a crash in between publishes later.
    pub(crate) fn force_close(
        &mut self,
        _environment: &Environment,
        reason: &str,
        broadcast: bool,
        out: &mut Outbox,
    ) {
        if self.record.closure.is_some() {
            return;
        }
        let step = UpdateStep::ChannelForceClosed {
            reason: reason.to_owned(),
            broadcast,
        };
        // A forced close fits any record.
        let _ = self.commit(vec![step], out);
    }

    /// The holder's commitment if the channel ended with it and it may be published.
    pub fn transaction_to_publish(&self, environment: &Environment) -> Option<Transaction> {
        let record = &self.record;
        let closure = record.closure.as_ref();
        closure.is_some_and(Closure::is_published).then(|| {
            let (parameters, holder) = (&record.parameters, &record.holder);
            commitment::holder_commitment_transaction(environment, parameters, holder)
        })
    }
}
