//! The on-chain wallet: bdk, fed with whole blocks. It stores nothing: after a restart it is built
//! from the seed and the blocks since the case's base, so that it has no record that could be stale.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bdk_wallet::bitcoin::bip32::Xpriv;
use bdk_wallet::signer::SignersContainer;
use bdk_wallet::template::{Bip84, DescriptorTemplate};
use bdk_wallet::{KeychainKind, SignOptions, Update, Wallet};
use bitcoin::{Amount, Block, FeeRate, Network, OutPoint, Psbt, ScriptBuf, Transaction, TxOut};
use lightning::chain::transaction::TransactionData;
use lightning::chain::{BestBlock, Listen};
use lightning::events::bump_transaction::Utxo;
use lightning::events::bump_transaction::sync::WalletSourceSync;
use lightning::sign::ChangeDestinationSourceSync;

use super::reserve::expect_reserve;
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
    /// Too little would be left for fees.
    #[error(
        "the coins left would pay for the ends of {supported} channels on the chain, and there would be {channels}: give \
         the wallet a coin of {reserve_sat} sat for each one that is missing"
    )]
    Reserve {
        /// With the new one.
        channels: usize,
        /// For how many they suffice.
        supported: u64,
        /// For one.
        reserve_sat: u64,
    },
}

/// What the wallet is made of again after a reorganisation.
#[derive(Default)]
struct Past {
    /// All since the base, with their heights.
    blocks: Vec<(u32, Block)>,
    /// Its own transactions, which may be in none of them.
    paid: Vec<Transaction>,
}

/// The node's coins.
pub struct NodeWallet {
    key: Xpriv,
    base: BestBlock,
    wallet: Mutex<Wallet>,
    past: Mutex<Past>,
    signers: [SignersContainer; 2],
    /// What was signed for claims and is in no block: they may spend a coin in many ways one after the other, but
    /// nothing else may spend it meanwhile.
    bumping: Mutex<Vec<Transaction>>,
    /// What bdk takes for a time: counts what was seen or forgotten, the later the truer.
    moments: AtomicU64,
}

impl NodeWallet {
    /// The wallet of this seed, which looks at nothing up to and including the base block.
    pub fn new(seed: &[u8; 32], base: BestBlock) -> Result<Self, WalletError> {
        let make = |error: String| WalletError::Make(error);
        let key = Xpriv::new_master(Network::Regtest, seed).map_err(|e| make(e.to_string()))?;
        let wallet = empty(key, base)?;
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
            key,
            base,
            wallet: Mutex::new(wallet),
            past: Mutex::default(),
            signers,
            bumping: Mutex::default(),
            moments: AtomicU64::new(0),
        })
    }

    fn next_moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn wallet(&self) -> MutexGuard<'_, Wallet> {
        self.wallet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Taken before the wallet, if both are needed.
    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bumping(&self) -> MutexGuard<'_, Vec<Transaction>> {
        self.bumping.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.past().paid.push(transaction.clone());
        let seen = (transaction.clone(), self.next_moment());
        self.wallet().apply_unconfirmed_txs([seen]);
    }

    /// Takes back the coins of a transaction that will never be published.
    pub fn forget(&self, transaction: &Transaction) {
        let txid = transaction.compute_txid();
        self.past().paid.retain(|paid| paid.compute_txid() != txid);
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

    /// A signed transaction that pays to a script, and whose coins are spoken for from now on. It leaves enough
    /// for the ends of so many channels.
    ///
    /// # Errors
    ///
    /// [`WalletError::Build`] if there is too little; [`WalletError::Reserve`] if there would be too little left.
    pub fn pay_to(
        &self,
        script: ScriptBuf,
        amount: Amount,
        sat_per_kw: u32,
        height: u32,
        channels: usize,
    ) -> Result<Transaction, WalletError> {
        let build = |error: String| WalletError::Build(error);
        let mut past = self.past();
        let mut wallet = self.wallet();
        let mut builder = wallet.build_tx();
        builder
            .add_recipient(script, amount)
            .unspendable(spent_by(&self.bumping()))
            .fee_rate(FeeRate::from_sat_per_kwu(u64::from(sat_per_kw)))
            .current_height(height);
        let mut psbt = builder.finish().map_err(|error| build(error.to_string()))?;
        if let Err(error) = expect_reserve(&coins_after(&wallet, &psbt.unsigned_tx), channels) {
            // Its change address is free again: a restarted wallet looks so many ahead only.
            for output in &psbt.unsigned_tx.output {
                let of = wallet.derivation_of_spk(output.script_pubkey.clone());
                if let Some((keychain, index)) = of {
                    wallet.unmark_used(keychain, index);
                }
            }
            return Err(error);
        }
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
        past.paid.push(transaction.clone());
        Ok(transaction)
    }

    /// Connects a block.
    pub fn connect(&self, block: &Block, height: u32) {
        let mut past = self.past();
        let decided: BTreeSet<OutPoint> = spent_by(&block.txdata).into_iter().collect();
        self.bumping().retain(|waiting| {
            let mut inputs = waiting.input.iter();
            !inputs.any(|input| decided.contains(&input.previous_output))
        });
        match self.wallet().apply_block(block, height) {
            Ok(()) => past.blocks.push((height, block.clone())),
            Err(error) => tracing::error!(%error, height, "the wallet refused a block"),
        }
    }

    /// The wallet as the blocks up to this height make it, and its own transactions.
    fn made_again(&self, past: &Past) -> Result<Wallet, WalletError> {
        let mut wallet = empty(self.key, self.base)?;
        for (height, block) in &past.blocks {
            wallet
                .apply_block(block, *height)
                .map_err(|error| WalletError::Make(error.to_string()))?;
        }
        let paid = past.paid.iter();
        wallet.apply_unconfirmed_txs(paid.map(|paid| (paid.clone(), self.next_moment())));
        Ok(wallet)
    }
}

/// The wallet's coins when this transaction is in a block.
fn coins_after(wallet: &Wallet, transaction: &Transaction) -> Vec<Utxo> {
    let spent = spent_by(std::slice::from_ref(transaction));
    let kept = wallet
        .list_unspent()
        .filter(|output| !spent.contains(&output.outpoint))
        .map(|output| utxo(output.outpoint, output.txout));
    let txid = transaction.compute_txid();
    let made = (0..).zip(&transaction.output);
    let change = made
        .filter(|(_, output)| wallet.is_mine(output.script_pubkey.clone()))
        .map(|(vout, output)| utxo(OutPoint::new(txid, vout), output.clone()));
    kept.chain(change).collect()
}

fn utxo(outpoint: OutPoint, output: TxOut) -> Utxo {
    Utxo {
        outpoint,
        output,
        satisfaction_weight: EMPTY_SCRIPT_SIG_WEIGHT + P2WPKH_WITNESS_WEIGHT,
    }
}

/// What these transactions spend.
fn spent_by(transactions: &[Transaction]) -> Vec<OutPoint> {
    let inputs = transactions.iter().flat_map(|spending| &spending.input);
    inputs.map(|input| input.previous_output).collect()
}

/// A wallet that has seen nothing since the base block.
fn empty(key: Xpriv, base: BestBlock) -> Result<Wallet, WalletError> {
    let make = |error: String| WalletError::Make(error);
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
    Ok(wallet)
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

    /// bdk takes what a lost block had for waiting in the mempool. But a claim of an output whose parent is gone
    /// for good never comes again, and its coins would be spoken for for ever: so what a lost block had counts
    /// for nothing until a block has it again.
    fn blocks_disconnected(&self, fork_point_block: BestBlock) {
        let mut past = self.past();
        past.blocks
            .retain(|(height, _)| *height <= fork_point_block.height);
        match self.made_again(&past) {
            Ok(wallet) => *self.wallet() = wallet,
            Err(error) => tracing::error!(%error, "the wallet could not follow a reorganisation"),
        }
    }
}

impl WalletSourceSync for NodeWallet {
    fn list_confirmed_utxos(&self) -> Result<Vec<Utxo>, ()> {
        let wallet = self.wallet();
        Ok(wallet
            .list_unspent()
            .filter(|output| output.chain_position.is_confirmed())
            .map(|output| utxo(output.outpoint, output.txout))
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
        let transaction = psbt.extract_tx_unchecked_fee_rate();
        let spent = |transaction: &Transaction| spent_by(std::slice::from_ref(transaction));
        let mut bumping = self.bumping();
        bumping.retain(|waiting| spent(waiting) != spent(&transaction));
        bumping.push(transaction.clone());
        Ok(transaction)
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
    use bitcoin::block::{Header, Version as BlockVersion};
    use bitcoin::hashes::Hash;
    use bitcoin::transaction::Version;
    use bitcoin::{BlockHash, CompactTarget, Sequence, TxIn, TxMerkleNode, TxOut, Txid};

    use super::*;

    const BASE_HEIGHT: u32 = 100;

    fn base() -> BestBlock {
        BestBlock::new(BlockHash::from_byte_array([1; 32]), BASE_HEIGHT)
    }

    fn block(parent: BlockHash, nonce: u32, txdata: Vec<Transaction>) -> Block {
        let header = Header {
            version: BlockVersion::TWO,
            prev_blockhash: parent,
            merkle_root: TxMerkleNode::all_zeros(),
            time: 1_700_000_000,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce,
        };
        Block { header, txdata }
    }

    fn spending(inputs: &[OutPoint], script: ScriptBuf, sat: u64) -> Transaction {
        let input = |outpoint: &OutPoint| TxIn {
            previous_output: *outpoint,
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            ..TxIn::default()
        };
        Transaction {
            version: Version::TWO,
            lock_time: bitcoin::absolute::LockTime::ZERO,
            input: inputs.iter().map(input).collect(),
            output: vec![TxOut {
                value: Amount::from_sat(sat),
                script_pubkey: script,
            }],
        }
    }

    fn foreign(number: u8) -> OutPoint {
        OutPoint::new(Txid::from_byte_array([number; 32]), 0)
    }

    /// A wallet with a coin of 500,000 sat, that coin, and the block that has it.
    fn with_coin() -> (NodeWallet, OutPoint, Block) {
        let wallet = NodeWallet::new(&[7; 32], base()).unwrap();
        let paid = spending(&[foreign(1)], wallet.destination_script(), 500_000);
        let coin = OutPoint::new(paid.compute_txid(), 0);
        let first = block(base().block_hash, 1, vec![paid]);
        wallet.connect(&first, BASE_HEIGHT + 1);
        (wallet, coin, first)
    }

    fn sats(wallet: &NodeWallet) -> (u64, u64) {
        let balance = wallet.balance();
        (balance.confirmed_sat, balance.unconfirmed_sat)
    }

    #[test]
    fn a_claim_that_a_reorganisation_takes_for_good_gives_its_coin_back() {
        let (wallet, coin, first) = with_coin();
        // The other input is of a commitment that loses against another one.
        let claim = spending(&[foreign(2), coin], wallet.destination_script(), 498_899);
        let lost = block(first.block_hash(), 2, vec![claim.clone()]);
        wallet.connect(&lost, BASE_HEIGHT + 2);
        assert_eq!(sats(&wallet), (498_899, 0));

        let fork = BestBlock::new(first.block_hash(), BASE_HEIGHT + 1);
        wallet.blocks_disconnected(fork);
        assert_eq!(wallet.best_block(), fork);
        let empty = block(first.block_hash(), 3, Vec::new());
        wallet.connect(&empty, BASE_HEIGHT + 2);
        assert_eq!(sats(&wallet), (500_000, 0));
        assert_eq!(wallet.list_confirmed_utxos().unwrap().len(), 1);

        let again = block(empty.block_hash(), 4, vec![claim]);
        wallet.connect(&again, BASE_HEIGHT + 3);
        assert_eq!(sats(&wallet), (498_899, 0));
    }

    #[test]
    fn coins_of_a_payment_that_waits_stay_spoken_for_through_a_reorganisation() {
        let (wallet, coin, first) = with_coin();
        let script = ScriptBuf::new_op_return([1; 20]);
        let paid = wallet
            .pay_to(script, Amount::from_sat(100_000), 253, BASE_HEIGHT + 1, 0)
            .unwrap();
        assert_eq!(paid.input[0].previous_output, coin);
        let left = sats(&wallet);
        assert!(left.1 < 400_000, "{left:?}");
        let second = block(first.block_hash(), 2, Vec::new());
        wallet.connect(&second, BASE_HEIGHT + 2);
        wallet.blocks_disconnected(BestBlock::new(first.block_hash(), BASE_HEIGHT + 1));
        assert_eq!(sats(&wallet), left);
        wallet.forget(&paid);
        assert_eq!(sats(&wallet), (500_000, 0));
    }

    #[test]
    fn a_coin_that_pays_for_a_claim_opens_no_channel_until_the_claim_is_decided() {
        let (wallet, coin, first) = with_coin();
        let claim = spending(&[foreign(2), coin], wallet.destination_script(), 498_899);
        let mut psbt = Psbt::from_unsigned_tx(claim).unwrap();
        let paid = &first.txdata[0].output[0];
        psbt.inputs[1].witness_utxo = Some(paid.clone());
        wallet.sign_psbt(psbt).unwrap();
        let open = || {
            let script = ScriptBuf::new_op_return([1; 20]);
            wallet.pay_to(script, Amount::from_sat(100_000), 253, BASE_HEIGHT + 1, 0)
        };
        assert!(open().is_err());
        // Whoever signs again for the claim is offered the coin.
        assert_eq!(wallet.list_confirmed_utxos().unwrap().len(), 1);

        let rival = spending(&[foreign(2)], ScriptBuf::new(), 1_000);
        let second = block(first.block_hash(), 2, vec![rival]);
        wallet.connect(&second, BASE_HEIGHT + 2);
        assert_eq!(open().unwrap().input[0].previous_output, coin);
    }

    #[test]
    fn a_restarted_wallet_does_not_offer_the_coins_of_what_its_earlier_life_signed() {
        let (before, _, first) = with_coin();
        let script = ScriptBuf::new_op_return([1; 20]);
        let amount = Amount::from_sat(100_000);
        let signed = before.pay_to(script, amount, 1_000, BASE_HEIGHT + 1, 0);
        let signed = signed.unwrap();
        assert!(before.list_confirmed_utxos().unwrap().is_empty());

        let restarted = NodeWallet::new(&[7; 32], base()).unwrap();
        restarted.remember(&signed);
        restarted.connect(&first, BASE_HEIGHT + 1);
        assert!(restarted.list_confirmed_utxos().unwrap().is_empty());
        restarted.forget(&signed);
        assert_eq!(restarted.list_confirmed_utxos().unwrap().len(), 1);
    }

    #[test]
    fn a_restarted_wallet_keeps_the_coins_of_a_confirmed_funding_that_a_reorganisation_takes_off() {
        let (before, _, first) = with_coin();
        let script = ScriptBuf::new_op_return([1; 20]);
        let amount = Amount::from_sat(100_000);
        let funding = before.pay_to(script, amount, 1_000, BASE_HEIGHT + 1, 0);
        let funding = funding.unwrap();
        let second = block(first.block_hash(), 2, vec![funding.clone()]);

        let restarted = NodeWallet::new(&[7; 32], base()).unwrap();
        restarted.remember(&funding);
        restarted.connect(&first, BASE_HEIGHT + 1);
        restarted.connect(&second, BASE_HEIGHT + 2);
        assert_eq!(restarted.list_confirmed_utxos().unwrap().len(), 1);
        restarted.blocks_disconnected(BestBlock::new(first.block_hash(), BASE_HEIGHT + 1));
        assert!(restarted.list_confirmed_utxos().unwrap().is_empty());
    }

    #[test]
    fn a_channel_is_opened_only_if_a_coin_is_left_for_the_end_of_each() {
        let (wallet, _, first) = with_coin();
        let open = |amount_sat: u64, channels: usize| {
            let script = ScriptBuf::new_op_return([1; 20]);
            let amount = Amount::from_sat(amount_sat);
            wallet.pay_to(script, amount, 253, BASE_HEIGHT + 2, channels)
        };
        let refused = open(400_000, 1).unwrap_err().to_string();
        assert!(
            refused.contains("for the ends of 0 channels on the chain, and there would be 1"),
            "{refused}"
        );
        // Nothing is spoken for by what came to nothing, however often: its change address is free again.
        for _ in 0..30 {
            assert!(open(400_000, 1).is_err());
        }
        assert_eq!(wallet.list_confirmed_utxos().unwrap().len(), 1);
        let paid = spending(&[foreign(3)], wallet.destination_script(), 500_000);
        wallet.connect(&block(first.block_hash(), 2, vec![paid]), BASE_HEIGHT + 2);
        assert!(open(400_000, 2).is_err());
        let paid = open(400_000, 1).unwrap();
        let restarted = NodeWallet::new(&[7; 32], base()).unwrap();
        let change = paid
            .output
            .iter()
            .find(|output| !output.script_pubkey.is_op_return());
        let change = change.unwrap().script_pubkey.clone();
        assert!(restarted.wallet().is_mine(change));
        // The change of what was opened before counts, once.
        assert!(open(100_000, 2).is_err());
    }
}
