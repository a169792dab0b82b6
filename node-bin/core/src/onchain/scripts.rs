//! The scripts of a commitment's outputs, for whoever published it. Never decides anything.
//!
//! BOLT 3, "Commitment Transaction Outputs".

use bitcoin::ScriptBuf;
use bitcoin::secp256k1::PublicKey;
use lightning::ln::chan_utils::{
    ChannelTransactionParameters, HTLCOutputInCommitment, TxCreationKeys, get_htlc_redeemscript,
    get_keyed_anchor_redeemscript, get_revokeable_redeemscript,
    get_to_countersigner_keyed_anchor_redeemscript,
};

use super::identify::HtlcOutput;
use crate::commitment::{self, Side, channel_type, transaction_parameters};
use crate::keys::Environment;
use crate::record::ChannelParameters;
use crate::spec::Direction;

/// What commitments of one side, at one commitment point, are made of.
pub(super) struct CommitmentScripts {
    parameters: ChannelTransactionParameters,
    side: Side,
    /// The keys that belong to the commitment point.
    pub(super) keys: TxCreationKeys,
}

impl CommitmentScripts {
    /// For a commitment of `side` with this commitment point.
    pub(super) fn new(
        environment: &Environment,
        parameters: &ChannelParameters,
        side: Side,
        point: &PublicKey,
    ) -> CommitmentScripts {
        let points = environment.channel_points(&parameters.keys_id);
        let parameters = transaction_parameters(points, parameters);
        let keys = {
            let directed = commitment::directed(&parameters, side);
            TxCreationKeys::from_channel_static_keys(
                point,
                directed.broadcaster_pubkeys(),
                directed.countersignatory_pubkeys(),
                &environment.secp,
            )
        };
        CommitmentScripts {
            parameters,
            side,
            keys,
        }
    }

    /// How many blocks its owner's outputs wait.
    pub(super) fn contest_delay(&self) -> u16 {
        commitment::directed(&self.parameters, self.side).contest_delay()
    }

    /// Its owner's balance, and the outputs of its owner's second-stage transactions: its owner's
    /// after a delay, the other's at once if it is revoked.
    pub(super) fn delayed(&self) -> ScriptBuf {
        get_revokeable_redeemscript(
            &self.keys.revocation_key,
            self.contest_delay(),
            &self.keys.broadcaster_delayed_payment_key,
        )
    }

    /// An HTLC's output.
    pub(super) fn htlc(&self, htlc: &HtlcOutput) -> ScriptBuf {
        let offered = match self.side {
            Side::Holder => htlc.direction == Direction::Outbound,
            Side::Counterparty => htlc.direction == Direction::Inbound,
        };
        let output = HTLCOutputInCommitment {
            offered,
            amount_msat: htlc.amount_msat,
            cltv_expiry: htlc.cltv_expiry,
            payment_hash: htlc.payment_hash,
            transaction_output_index: None,
        };
        get_htlc_redeemscript(&output, &channel_type(), &self.keys)
    }
}

/// The balance of whoever did not publish: spendable one block later (BOLT 3, anchors).
pub(super) fn balance(payment_point: &PublicKey) -> ScriptBuf {
    get_to_countersigner_keyed_anchor_redeemscript(payment_point)
}

/// An anchor: its owner's at once, anybody's after 16 blocks.
pub(super) fn anchor(funding_key: &PublicKey) -> ScriptBuf {
    get_keyed_anchor_redeemscript(funding_key)
}
