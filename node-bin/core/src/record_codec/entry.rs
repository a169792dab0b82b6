//! A channel's log entries.

use lightning::io::{Error, Read};
use lightning::ln::msgs::DecodeError;
use lightning::util::ser::{Readable, Writeable, Writer};
use lightning::{impl_writeable_tlv_based, impl_writeable_tlv_based_enum};

use crate::event::EventKey;
use crate::update::{EntryContent, LogEntry, Update, UpdateStep};

impl_writeable_tlv_based_enum!(UpdateStep,
    (0, LatestHolderCommitment) => {
        (0, number, required),
        (2, signature, required),
        (4, htlc_signatures, required_vec),
        (6, changes, required_vec),
    },
    (2, LatestCounterpartyCommitment) => {
        (0, number, required),
        (2, changes, required_vec),
        (4, sources, required_vec),
    },
    (4, CommitmentSecret) => {
        (0, number, required),
        (2, secret, required),
        (4, next_point, required),
    },
    (6, HtlcIrrevocablyCommitted) => {
        (0, htlc_id, required),
    },
    (8, FulfillHtlc) => {
        (0, htlc_id, required),
        (2, preimage, required),
    },
    (10, PaymentPreimage) => {
        (0, htlc_id, required),
        (2, preimage, required),
        (4, claim, option),
    },
    (30, RejectHtlc) => {
        (0, htlc_id, required),
        (2, rejection, required),
    },
    (12, FundingConfirmed) => {
        (0, height, required),
        (2, transaction_index, required),
    },
    (14, FundingUnconfirmed) => {},
    (16, HolderReady) => {},
    (18, CounterpartyReady) => {
        (0, next_point, required),
    },
    (20, Announced) => {
        (0, node_signature, required),
        (2, bitcoin_signature, required),
    },
    (22, HolderShutdown) => {
        (0, script, required),
    },
    (24, CounterpartyShutdown) => {
        (0, script, required),
    },
    (26, CooperativelyClosed) => {
        (0, transaction, required),
    },
    (32, FundingSpent) => {
        (0, transaction, required),
        (2, height, required),
    },
    (34, OutputsSpent) => {
        (0, transaction, required),
        (2, height, required),
    },
    (36, BlocksDisconnected) => {
        (0, height, required),
    },
    (38, OutboundClaimed) => {
        (0, htlc_id, required),
        (2, preimage, required),
    },
    (40, OutboundFailed) => {
        (0, htlc_id, required),
        (2, failure_code, required),
        (4, is_final, required),
    },
    (42, OutboundGone) => {
        (0, htlc_id, required),
    },
    (28, ChannelForceClosed) => {
        (0, reason, required),
        (2, broadcast, required),
    },
);

impl_writeable_tlv_based!(Update, {
    (0, steps, required_vec),
});

/// LDK's macros know no list in a variant without names.
struct Acks {
    keys: Vec<EventKey>,
}

impl_writeable_tlv_based!(Acks, {
    (0, keys, required_vec),
});

const UPDATE: u8 = 0;
const ACKS: u8 = 2;

impl Writeable for EntryContent {
    fn write<W: Writer>(&self, writer: &mut W) -> Result<(), Error> {
        match self {
            EntryContent::Update(update) => {
                UPDATE.write(writer)?;
                update.write(writer)
            }
            EntryContent::Acks(keys) => {
                ACKS.write(writer)?;
                Acks { keys: keys.clone() }.write(writer)
            }
        }
    }
}

impl Readable for EntryContent {
    fn read<R: Read>(reader: &mut R) -> Result<Self, DecodeError> {
        match Readable::read(reader)? {
            UPDATE => Ok(EntryContent::Update(Readable::read(reader)?)),
            ACKS => {
                let acks: Acks = Readable::read(reader)?;
                Ok(EntryContent::Acks(acks.keys))
            }
            _ => Err(DecodeError::UnknownRequiredFeature),
        }
    }
}

impl_writeable_tlv_based!(LogEntry, {
    (0, sequence, required),
    (2, content, required),
});
