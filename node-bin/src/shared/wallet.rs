//! The on-chain wallet: bdk, fed with whole blocks. It stores nothing: after a restart it is built
//! from the seed and the blocks since the case's base, so that it has no record that could be stale.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bdk_wallet::bitcoin::bip32::Xpriv;
use bdk_wallet::signer::SignersContainer;
use bdk_wallet::template::{Bip84, DescriptorTemplate};
use bdk_wallet::{KeychainKind, SignOptions, Update, Wallet};
use bitcoin::{Amount, Block, BlockHash, FeeRate, Network, OutPoint, Psbt, ScriptBuf, Transaction};
use lightning::chain::transaction::TransactionData;
use lightning::chain::{BestBlock, Listen};
use lightning::events::bump_transaction::Utxo;
use lightning::events::bump_transaction::sync::WalletSourceSync;
use lightning::sign::ChangeDestinationSourceSync;

use crate::api::Balance;

/// Witness weight of a P2WPKH input: the signature of at most 72 bytes, the key, their lengths and
/// their number.
const P2WPKH_WITNESS_WEIGHT: u64 = 1 + 1 + 72 + 1 + 33;
/// Weight of an input without a witness: its empty script's length byte, four times.
const EMPTY_SCRIPT_SIG_WEIGHT: u64 = 4;

/// The wallet could not do it.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// The keys or the first checkpoint were refused.
    #[error("the wallet could not be made: {0}")]
    Make(String),
    /// No transaction with these outputs.
    #[error("the wallet cannot pay that: {0}")]
    Build(String),
}

/// The node's coins.
pub struct NodeWallet {
    wallet: Mutex<Wallet>,
    signers: [SignersContainer; 2],
    /// What bdk takes for a time: counts what was seen or forgotten, the later the truer.
    moments: AtomicU64,
}

impl NodeWallet {
    /// The wallet of this seed, which looks at nothing up to and including the base block.
    pub fn new(seed: &[u8; 32], base: BestBlock) -> Result<Self, WalletError> {
        let make = |error: String| WalletError::Make(error);
        let key = Xpriv::new_master(Network::Regtest, seed).map_err(|e| make(e.to_string()))?;
        let mut wallet = Wallet::create(
            Bip84(key, KeychainKind::External),
            Bip84(key, KeychainKind::Internal),
        )
        .network(Network::Regtest)
        .create_wallet_no_persist()
        .map_err(|error| make(error.to_string()))?;
        if base.height > 0 {
            let block = bdk_wallet::chain::BlockId {
                height: base.height,
                hash: base.block_hash,
            };
            let chain = wallet.latest_checkpoint().insert(block);
            wallet
                .apply_update(Update {
                    chain: Some(chain),
                    ..Update::default()
                })
                .map_err(|error| make(error.to_string()))?;
        }
        let signers = |keychain| {
            let (descriptor, keys, _) = Bip84(key, keychain)
                .build(Network::Regtest.into())
                .map_err(|error| make(error.to_string()))?;
            Ok(SignersContainer::build(
                keys,
                &descriptor,
                wallet.secp_ctx(),
            ))
        };
        let signers = [
            signers(KeychainKind::External)?,
            signers(KeychainKind::Internal)?,
        ];
        Ok(NodeWallet {
            wallet: Mutex::new(wallet),
            signers,
            moments: AtomicU64::new(0),
        })
    }

    fn next_moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn wallet(&self) -> MutexGuard<'_, Wallet> {
        self.wallet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signers(&self) -> [&SignersContainer; 2] {
        [&self.signers[0], &self.signers[1]]
    }

    /// The last block it has seen.
    pub fn best_block(&self) -> BestBlock {
        let tip = self.wallet().latest_checkpoint();
        BestBlock::new(tip.hash(), tip.height())
    }

    /// An address nobody has paid to yet.
    pub fn address(&self) -> String {
        self.wallet()
            .next_unused_address(KeychainKind::External)
            .address
            .to_string()
    }

    /// A script of its own that never changes: what a record says pays to it is found again after any
    /// restart.
    pub fn destination_script(&self) -> ScriptBuf {
        self.wallet()
            .peek_address(KeychainKind::Internal, 0)
            .script_pubkey()
    }

    /// Its coins that this transaction spends are spoken for, until it or another is in a block. A restarted
    /// wallet knows only blocks: it has to be told of what an earlier life signed.
    pub fn remember(&self, transaction: &Transaction) {
        let seen = (transaction.clone(), self.next_moment());
        self.wallet().apply_unconfirmed_txs([seen]);
    }

    /// Takes back the coins of a transaction that will never be published.
    pub fn forget(&self, transaction: &Transaction) {
        let txid = transaction.compute_txid();
        self.wallet()
            .apply_evicted_txs([(txid, self.next_moment())]);
    }

    /// Its coins.
    pub fn balance(&self) -> Balance {
        let balance = self.wallet().balance();
        let pending = balance.trusted_pending + balance.untrusted_pending;
        Balance {
            confirmed_sat: (balance.confirmed + balance.immature).to_sat(),
            unconfirmed_sat: pending.to_sat(),
        }
    }

    /// A signed transaction that pays to a script, and whose coins are spoken for from now on.
    pub fn pay_to(
        &self,
        script: ScriptBuf,
        amount: Amount,
        sat_per_kw: u32,
        height: u32,
    ) -> Result<Transaction, WalletError> {
        let build = |error: String| WalletError::Build(error);
        let mut wallet = self.wallet();
        let mut builder = wallet.build_tx();
        builder
            .add_recipient(script, amount)
            .fee_rate(FeeRate::from_sat_per_kwu(u64::from(sat_per_kw)))
            .current_height(height);
        let mut psbt = builder.finish().map_err(|error| build(error.to_string()))?;
        let signed = wallet
            .sign_with_signers(&mut psbt, &self.signers(), SignOptions::default())
            .map_err(|error| build(error.to_string()))?;
        if !signed {
            return Err(build("not every input could be signed".into()));
        }
        let transaction = psbt
            .extract_tx()
            .map_err(|error| build(error.to_string()))?;
        wallet.apply_unconfirmed_txs([(transaction.clone(), self.next_moment())]);
        Ok(transaction)
    }

    /// Connects a block.
    pub fn connect(&self, block: &Block, height: u32) {
        if let Err(error) = self.wallet().apply_block(block, height) {
            tracing::error!(%error, height, "the wallet refused a block");
        }
    }
}

impl Listen for NodeWallet {
    fn filtered_block_connected(
        &self,
        _header: &bitcoin::block::Header,
        _txdata: &TransactionData,
        _height: u32,
    ) {
        // Whole blocks come through `block_connected`; nothing in this node filters them.
    }

    fn block_connected(&self, block: &Block, height: u32) {
        self.connect(block, height);
    }

    fn blocks_disconnected(&self, fork_point_block: BestBlock) {
        let mut wallet = self.wallet();
        let tip = wallet.latest_checkpoint();
        let kept: Option<_> = tip
            .iter()
            .find(|point| point.height() <= fork_point_block.height);
        let Some(kept) = kept else { return };
        // A checkpoint that conflicts above the fork makes bdk forget everything above it.
        let invalid = bdk_wallet::chain::BlockId {
            height: kept.height() + 1,
            hash: <BlockHash as bitcoin::hashes::Hash>::all_zeros(),
        };
        let rewound = kept.insert(invalid);
        if let Err(error) = wallet.apply_update(Update {
            chain: Some(rewound),
            ..Update::default()
        }) {
            tracing::error!(%error, "the wallet could not follow a reorganisation");
        }
    }
}

impl WalletSourceSync for NodeWallet {
    fn list_confirmed_utxos(&self) -> Result<Vec<Utxo>, ()> {
        let wallet = self.wallet();
        let utxo = |output: bdk_wallet::LocalOutput| Utxo {
            outpoint: OutPoint {
                txid: output.outpoint.txid,
                vout: output.outpoint.vout,
            },
            output: output.txout,
            satisfaction_weight: EMPTY_SCRIPT_SIG_WEIGHT + P2WPKH_WITNESS_WEIGHT,
        };
        Ok(wallet
            .list_unspent()
            .filter(|output| output.chain_position.is_confirmed())
            .map(utxo)
            .collect())
    }

    fn get_change_script(&self) -> Result<ScriptBuf, ()> {
        Ok(self
            .wallet()
            .next_unused_address(KeychainKind::Internal)
            .script_pubkey())
    }

    fn sign_psbt(&self, mut psbt: Psbt) -> Result<Transaction, ()> {
        let options = SignOptions {
            trust_witness_utxo: true,
            ..SignOptions::default()
        };
        let signed = self
            .wallet()
            .sign_with_signers(&mut psbt, &self.signers(), options);
        signed.map_err(|error| {
            tracing::error!(%error, "the wallet could not sign");
        })?;
        // The other inputs are LDK's to sign, so the whole cannot be checked for its fee here.
        Ok(psbt.extract_tx_unchecked_fee_rate())
    }
}

impl ChangeDestinationSourceSync for NodeWallet {
    fn get_change_destination_script(&self) -> Result<ScriptBuf, ()> {
        Ok(self
            .wallet()
            .next_unused_address(KeychainKind::Internal)
            .script_pubkey())
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::hashes::Hash;
    use bitcoin::{CompactTarget, TxMerkleNode, TxOut, block, transaction};

    use super::*;

    const BASE_HEIGHT: u32 = 100;

    fn base() -> BestBlock {
        BestBlock::new(BlockHash::all_zeros(), BASE_HEIGHT)
    }

    fn wallet() -> NodeWallet {
        NodeWallet::new(&[7; 32], base()).unwrap()
    }

    /// The block after the base, which pays one coin to the wallet.
    fn block_with_a_coin() -> Block {
        let payment = Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: Vec::new(),
            output: vec![TxOut {
                value: Amount::from_sat(1_000_000),
                script_pubkey: wallet().destination_script(),
            }],
        };
        Block {
            header: block::Header {
                version: block::Version::TWO,
                prev_blockhash: base().block_hash,
                merkle_root: TxMerkleNode::all_zeros(),
                time: 0,
                bits: CompactTarget::from_consensus(0),
                nonce: 0,
            },
            txdata: vec![payment],
        }
    }

    #[test]
    fn a_restarted_wallet_does_not_offer_the_coins_of_what_its_earlier_life_signed() {
        let block = block_with_a_coin();
        let before = wallet();
        before.connect(&block, BASE_HEIGHT + 1);
        assert_eq!(before.list_confirmed_utxos().unwrap().len(), 1);
        let somebody = ScriptBuf::new_p2wsh(&bitcoin::WScriptHash::all_zeros());
        let amount = Amount::from_sat(500_000);
        let signed = before.pay_to(somebody.clone(), amount, 1_000, BASE_HEIGHT + 1);
        let signed = signed.unwrap();
        assert!(before.list_confirmed_utxos().unwrap().is_empty());

        let forgetful = wallet();
        forgetful.connect(&block, BASE_HEIGHT + 1);
        assert_eq!(forgetful.list_confirmed_utxos().unwrap().len(), 1);
        let restarted = wallet();
        restarted.remember(&signed);
        restarted.connect(&block, BASE_HEIGHT + 1);
        assert!(restarted.list_confirmed_utxos().unwrap().is_empty());
        // What it never publishes gives them back.
        restarted.forget(&signed);
        assert_eq!(restarted.list_confirmed_utxos().unwrap().len(), 1);
    }
}
