//! The holder's keys behind LDK's signer traits, for the one part of LDK that this node uses with
//! them: `BumpTransactionEventHandlerSync`, which adds the wallet's coins to what a holder's
//! commitment needs. Signatures have a low r, by which the handler reckons their weight (debug builds
//! of it panic otherwise: the wallet's must have one too). All else that the traits ask for is refused: this node signs it elsewhere.
//!
//! BOLT 3, "HTLC-Timeout and HTLC-Success Transactions".

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::{All, Message, PublicKey, Secp256k1, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{Amount, Script, ScriptBuf, Transaction, Txid};
use lightning::ln::chan_utils::{
    ChannelPublicKeys, ChannelTransactionParameters, ClosingTransaction, CommitmentTransaction,
    HTLCOutputInCommitment, HolderCommitmentTransaction, derive_private_key,
};
use lightning::ln::msgs::UnsignedChannelAnnouncement;
use lightning::ln::script::ShutdownScript;
use lightning::sign::ecdsa::EcdsaChannelSigner;
use lightning::sign::{ChannelSigner, HTLCDescriptor, SignerProvider};
use lightning::types::payment::PaymentPreimage;

use super::scripts;
use crate::commitment::ANCHORS_SAT;
use crate::keys::{ChannelKeys, Environment, FIRST_COMMITMENT_INDEX};

/// A channel's keys as LDK wants them.
pub struct HolderSigner {
    keys_id: [u8; 32],
    keys: ChannelKeys,
}

impl HolderSigner {
    /// Of the channel with this `keys_id`.
    pub fn new(environment: &Environment, keys_id: [u8; 32]) -> HolderSigner {
        HolderSigner {
            keys_id,
            keys: environment.channel_keys(&keys_id),
        }
    }
}

impl SignerProvider for Environment {
    type EcdsaSigner = HolderSigner;

    /// Never asked for: LDK opens no channels here. Ours come with their own `keys_id`.
    fn generate_channel_keys_id(&self, _inbound: bool, _user_channel_id: u128) -> [u8; 32] {
        [0; 32]
    }

    fn derive_channel_signer(&self, channel_keys_id: [u8; 32]) -> HolderSigner {
        HolderSigner::new(self, channel_keys_id)
    }

    fn get_destination_script(&self, _channel_keys_id: [u8; 32]) -> Result<ScriptBuf, ()> {
        Ok(self.destination_script.clone())
    }

    fn get_shutdown_scriptpubkey(&self) -> Result<ShutdownScript, ()> {
        ShutdownScript::try_from(self.destination_script.clone()).map_err(|_| ())
    }
}

impl ChannelSigner for HolderSigner {
    fn get_per_commitment_point(
        &self,
        idx: u64,
        secp_ctx: &Secp256k1<All>,
    ) -> Result<PublicKey, ()> {
        let number = FIRST_COMMITMENT_INDEX.checked_sub(idx).ok_or(())?;
        Ok(self.keys.commitment_point(number, secp_ctx))
    }

    fn release_commitment_secret(&self, _idx: u64) -> Result<[u8; 32], ()> {
        Err(())
    }

    fn validate_holder_commitment(
        &self,
        _holder_tx: &HolderCommitmentTransaction,
        _outbound_htlc_preimages: Vec<PaymentPreimage>,
    ) -> Result<(), ()> {
        Err(())
    }

    fn validate_counterparty_revocation(&self, _idx: u64, _secret: &SecretKey) -> Result<(), ()> {
        Err(())
    }

    fn pubkeys(&self, secp_ctx: &Secp256k1<All>) -> ChannelPublicKeys {
        self.keys.public(secp_ctx)
    }

    /// The same as ever: channels are not spliced.
    fn new_funding_pubkey(&self, _parent: Txid, secp_ctx: &Secp256k1<All>) -> PublicKey {
        self.keys.funding.public_key(secp_ctx)
    }

    fn channel_keys_id(&self) -> [u8; 32] {
        self.keys_id
    }
}

impl EcdsaChannelSigner for HolderSigner {
    fn sign_counterparty_commitment(
        &self,
        _channel_parameters: &ChannelTransactionParameters,
        _commitment_tx: &CommitmentTransaction,
        _inbound_htlc_preimages: Vec<PaymentPreimage>,
        _outbound_htlc_preimages: Vec<PaymentPreimage>,
        _secp_ctx: &Secp256k1<All>,
    ) -> Result<(Signature, Vec<Signature>), ()> {
        Err(())
    }

    fn sign_holder_commitment(
        &self,
        _channel_parameters: &ChannelTransactionParameters,
        _commitment_tx: &HolderCommitmentTransaction,
        _secp_ctx: &Secp256k1<All>,
    ) -> Result<Signature, ()> {
        Err(())
    }

    fn sign_justice_revoked_output(
        &self,
        _channel_parameters: &ChannelTransactionParameters,
        _justice_tx: &Transaction,
        _input: usize,
        _amount: u64,
        _per_commitment_key: &SecretKey,
        _secp_ctx: &Secp256k1<All>,
    ) -> Result<Signature, ()> {
        Err(())
    }

    fn sign_justice_revoked_htlc(
        &self,
        _channel_parameters: &ChannelTransactionParameters,
        _justice_tx: &Transaction,
        _input: usize,
        _amount: u64,
        _per_commitment_key: &SecretKey,
        _htlc: &HTLCOutputInCommitment,
        _secp_ctx: &Secp256k1<All>,
    ) -> Result<Signature, ()> {
        Err(())
    }

    fn sign_holder_htlc_transaction(
        &self,
        htlc_tx: &Transaction,
        input: usize,
        htlc_descriptor: &HTLCDescriptor,
        secp_ctx: &Secp256k1<All>,
    ) -> Result<Signature, ()> {
        let point = &htlc_descriptor.per_commitment_point;
        let key = derive_private_key(secp_ctx, point, &self.keys.htlc_base);
        let script = htlc_descriptor.witness_script(secp_ctx);
        let amount = htlc_descriptor.htlc.to_bitcoin_amount();
        let message = sighash_all(htlc_tx, input, &script, amount)?;
        Ok(secp_ctx.sign_ecdsa_low_r(&message, &key))
    }

    fn sign_counterparty_htlc_transaction(
        &self,
        _channel_parameters: &ChannelTransactionParameters,
        _htlc_tx: &Transaction,
        _input: usize,
        _amount: u64,
        _per_commitment_point: &PublicKey,
        _htlc: &HTLCOutputInCommitment,
        _secp_ctx: &Secp256k1<All>,
    ) -> Result<Signature, ()> {
        Err(())
    }

    fn sign_closing_transaction(
        &self,
        _channel_parameters: &ChannelTransactionParameters,
        _closing_tx: &ClosingTransaction,
        _secp_ctx: &Secp256k1<All>,
    ) -> Result<Signature, ()> {
        Err(())
    }

    fn sign_holder_keyed_anchor_input(
        &self,
        _channel_parameters: &ChannelTransactionParameters,
        anchor_tx: &Transaction,
        input: usize,
        secp_ctx: &Secp256k1<All>,
    ) -> Result<Signature, ()> {
        let script = scripts::anchor(&self.keys.funding.public_key(secp_ctx));
        let amount = Amount::from_sat(ANCHORS_SAT / 2);
        let message = sighash_all(anchor_tx, input, &script, amount)?;
        Ok(secp_ctx.sign_ecdsa_low_r(&message, &self.keys.funding))
    }

    fn sign_channel_announcement_with_funding_key(
        &self,
        _channel_parameters: &ChannelTransactionParameters,
        _msg: &UnsignedChannelAnnouncement,
        _secp_ctx: &Secp256k1<All>,
    ) -> Result<Signature, ()> {
        Err(())
    }

    /// Never asked for: channels are not spliced. The trait leaves no way to refuse, so this is a
    /// signature of nothing.
    fn sign_splice_shared_input(
        &self,
        _channel_parameters: &ChannelTransactionParameters,
        _tx: &Transaction,
        _input_index: usize,
        secp_ctx: &Secp256k1<All>,
    ) -> Signature {
        secp_ctx.sign_ecdsa(&Message::from_digest([0; 32]), &self.keys.funding)
    }
}

/// The digest that signs all of a transaction for an input that spends a P2WSH output.
fn sighash_all(
    transaction: &Transaction,
    input: usize,
    script: &Script,
    amount: Amount,
) -> Result<Message, ()> {
    let digest = SighashCache::new(transaction)
        .p2wsh_signature_hash(input, script, amount, EcdsaSighashType::All)
        .map_err(|_| ())?;
    Ok(Message::from_digest(digest.to_byte_array()))
}
