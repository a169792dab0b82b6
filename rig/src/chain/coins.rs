//! The rig's own coins (its bitcoind has no wallet): which there are, which are ripe, and signed
//! transactions that spend them. Pure bookkeeping: it never talks to bitcoind.

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::key::{CompressedPublicKey, Secp256k1};
use bitcoin::secp256k1::{All, Message, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::{InputWeightPrediction, Version, predict_weight};
use bitcoin::{
    Address, Amount, Block, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut,
    Witness,
};

use super::error::{ChainError, ProcessName};

/// Well above the relay minimum, so that a funding transaction is mined with the next block.
const FEE_RATE_SAT_PER_VB: u64 = 2;

/// Change below this goes to the miner.
const SMALLEST_CHANGE: Amount = Amount::from_sat(1_000);

/// bitcoind refuses chains of 25 unconfirmed transactions; the nodes need some of them.
const LONGEST_UNCONFIRMED_CHAIN: u32 = 20;

const COINBASE_MATURITY_BLOCKS: u32 = 100;

/// A coin of the rig.
#[derive(Debug, Clone, Copy)]
struct Coin {
    outpoint: OutPoint,
    value: Amount,
    /// The height of the chain's tip from which on the coin can be spent.
    ripe_at_height: u32,
    /// How many unconfirmed transactions lead to this coin.
    unconfirmed_chain: u32,
}

/// The coins, and the key that owns them all.
pub(super) struct Coins {
    secp: Secp256k1<All>,
    secret: SecretKey,
    public: CompressedPublicKey,
    script: ScriptBuf,
    coins: Vec<Coin>,
}

/// A signed transaction that is not yet broadcast; [`Coins::commit`] makes it count.
pub(super) struct Draft {
    pub(super) transaction: Transaction,
    spent: Vec<OutPoint>,
    change: Option<Coin>,
}

impl Coins {
    /// No coins yet, and the rig's fixed regtest key.
    pub(super) fn new() -> Result<Self, ChainError> {
        let secp = Secp256k1::new();
        // Regtest money is worth nothing: a fixed key keeps runs repeatable.
        let secret = SecretKey::from_slice(&[0xdb; 32]).map_err(|error| unsignable(&error))?;
        let public = CompressedPublicKey(secret.public_key(&secp));
        let script = ScriptBuf::new_p2wpkh(&public.wpubkey_hash());
        Ok(Self {
            secp,
            secret,
            public,
            script,
            coins: Vec::new(),
        })
    }

    /// Where the rig's first blocks pay to.
    pub(super) fn address(&self) -> Address {
        Address::p2wpkh(&self.public, Network::Regtest)
    }

    /// Where all further blocks pay to: provably nobody. Blocks that take the place of others have a mark of
    /// their own, or an empty one would be the very block that was taken off.
    pub(super) fn burn_address(mark: u32) -> Address {
        let script = bitcoin::script::Builder::new()
            .push_opcode(bitcoin::opcodes::all::OP_RETURN)
            .push_int(i64::from(mark))
            .into_script();
        Address::p2wsh(&script, Network::Regtest)
    }

    /// Notes the coinbase of a block at `height` if it pays the rig.
    pub(super) fn add_coinbase(&mut self, block: &Block, height: u32) {
        let Some(coinbase) = block.txdata.first() else {
            return;
        };
        let txid = coinbase.compute_txid();
        for (index, output) in (0_u32..).zip(&coinbase.output) {
            if output.script_pubkey == self.script {
                self.coins.push(Coin {
                    outpoint: OutPoint::new(txid, index),
                    value: output.value,
                    ripe_at_height: height + COINBASE_MATURITY_BLOCKS - 1,
                    unconfirmed_chain: 0,
                });
            }
        }
    }

    /// Builds and signs a transaction that pays `outputs`, in this order, from index 0 on; change
    /// comes last. `height` is that of the tip.
    pub(super) fn draft(
        &self,
        outputs: &[(ScriptBuf, Amount)],
        height: u32,
    ) -> Result<Draft, ChainError> {
        let mut output: Vec<TxOut> = outputs
            .iter()
            .map(|(script, value)| TxOut {
                script_pubkey: script.clone(),
                value: *value,
            })
            .collect();
        // The cheapest chains first, so that an unripe or long-chained coin is not needed.
        let mut ripe: Vec<Coin> = self
            .coins
            .iter()
            .copied()
            .filter(|coin| {
                coin.ripe_at_height <= height && coin.unconfirmed_chain < LONGEST_UNCONFIRMED_CHAIN
            })
            .collect();
        ripe.sort_by_key(|coin| (coin.unconfirmed_chain, coin.ripe_at_height, coin.outpoint));
        let picked = self.pick(&ripe, &output)?;
        let spent: Vec<OutPoint> = picked.coins.iter().map(|coin| coin.outpoint).collect();
        let chain = 1 + picked
            .coins
            .iter()
            .map(|coin| coin.unconfirmed_chain)
            .sum::<u32>();
        let change_value = (picked.change >= SMALLEST_CHANGE).then_some(picked.change);
        if let Some(value) = change_value {
            output.push(TxOut {
                script_pubkey: self.script.clone(),
                value,
            });
        }
        let change_index = output.len().saturating_sub(1);
        let transaction = self.sign(&picked.coins, output)?;
        let txid = transaction.compute_txid();
        let change = change_value.map(|value| Coin {
            outpoint: OutPoint {
                txid,
                vout: change_index as u32,
            },
            value,
            ripe_at_height: 0,
            unconfirmed_chain: chain,
        });
        Ok(Draft {
            transaction,
            spent,
            change,
        })
    }

    /// As few coins as possible, in the given order.
    fn pick(&self, ripe: &[Coin], output: &[TxOut]) -> Result<Picked, ChainError> {
        let wanted: Amount = output.iter().map(|output| output.value).sum();
        let mut coins = Vec::new();
        let mut sum = Amount::ZERO;
        for coin in ripe {
            // One coin that covers all alone is better than many small ones before it.
            coins.push(*coin);
            sum += coin.value;
            let single = wanted + self.fee(1, output);
            if coin.value >= single {
                return Ok(Picked {
                    change: coin.value - single,
                    coins: vec![*coin],
                });
            }
            let all = wanted + self.fee(coins.len(), output);
            if sum >= all {
                return Ok(Picked {
                    change: sum - all,
                    coins,
                });
            }
        }
        Err(ChainError::OutOfCoins {
            wanted,
            available: sum,
        })
    }

    fn fee(&self, inputs: usize, output: &[TxOut]) -> Amount {
        let lengths = output.iter().map(|output| output.script_pubkey.len());
        let lengths = lengths.chain([self.script.len()]);
        let weight = predict_weight(vec![InputWeightPrediction::P2WPKH_MAX; inputs], lengths);
        Amount::from_sat(weight.to_vbytes_ceil() * FEE_RATE_SAT_PER_VB)
    }

    fn sign(&self, coins: &[Coin], output: Vec<TxOut>) -> Result<Transaction, ChainError> {
        let input = coins
            .iter()
            .map(|coin| TxIn {
                previous_output: coin.outpoint,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                witness: Witness::new(),
            })
            .collect();
        let mut transaction = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input,
            output,
        };
        let mut witnesses = Vec::with_capacity(coins.len());
        let mut cache = SighashCache::new(&transaction);
        for (index, coin) in coins.iter().enumerate() {
            let kind = EcdsaSighashType::All;
            let hash = cache
                .p2wpkh_signature_hash(index, &self.script, coin.value, kind)
                .map_err(|error| unsignable(&error))?;
            let message = Message::from_digest(hash.to_byte_array());
            let signature = self.secp.sign_ecdsa_low_r(&message, &self.secret);
            let signature = bitcoin::ecdsa::Signature {
                signature,
                sighash_type: kind,
            };
            witnesses.push(Witness::p2wpkh(&signature, &self.public.0));
        }
        for (input, witness) in transaction.input.iter_mut().zip(witnesses) {
            input.witness = witness;
        }
        Ok(transaction)
    }

    /// The draft was accepted by bitcoind: its inputs are gone, its change is ours.
    pub(super) fn commit(&mut self, draft: &Draft) {
        self.coins
            .retain(|coin| !draft.spent.contains(&coin.outpoint));
        self.coins.extend(draft.change);
    }

    /// A block with everything in the mempool was mined.
    pub(super) fn confirm_all(&mut self) {
        for coin in &mut self.coins {
            coin.unconfirmed_chain = 0;
        }
    }

    /// A block was taken off the chain: change may be unconfirmed again, so it rests until the
    /// next block that includes the mempool.
    pub(super) fn distrust_change(&mut self) {
        for coin in &mut self.coins {
            if coin.ripe_at_height == 0 {
                coin.unconfirmed_chain = LONGEST_UNCONFIRMED_CHAIN;
            }
        }
    }

    /// The coins of `draft` turned out to be spent or gone.
    pub(super) fn forget_spent(&mut self, draft: &Draft) {
        self.coins
            .retain(|coin| !draft.spent.contains(&coin.outpoint));
    }
}

struct Picked {
    coins: Vec<Coin>,
    /// What is left after outputs and fee, possibly dust.
    change: Amount,
}

fn unsignable(error: &dyn std::fmt::Display) -> ChainError {
    ChainError::UnreadableAnswer {
        what: ProcessName::Bitcoind,
        doing: "signing with the rig's coins".to_owned(),
        message: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rich(coins: u32) -> Coins {
        let mut rich = Coins::new().unwrap();
        for number in 0..coins {
            let mut block = bitcoin::constants::genesis_block(Network::Regtest);
            block.txdata[0].lock_time = LockTime::from_consensus(number);
            block.txdata[0].output[0].script_pubkey = rich.script.clone();
            rich.add_coinbase(&block, number + 1);
        }
        rich
    }

    fn pay(amount_sat: u64) -> Vec<(ScriptBuf, Amount)> {
        let nobody = ScriptBuf::new_p2wpkh(&bitcoin::WPubkeyHash::all_zeros());
        vec![(nobody, Amount::from_sat(amount_sat))]
    }

    #[test]
    fn a_draft_pays_what_was_asked_and_a_fee_of_two_satoshi_per_vbyte() {
        let coins = rich(1);
        let draft = coins.draft(&pay(1_000_000), 100).unwrap();
        let paid: Amount = draft
            .transaction
            .output
            .iter()
            .map(|output| output.value)
            .sum();
        let fee_sat = (Amount::from_sat(5_000_000_000) - paid).to_sat();
        let vsize = draft.transaction.vsize() as u64;
        assert!(
            fee_sat >= 2 * vsize && fee_sat <= 2 * vsize + 4,
            "{fee_sat} for {vsize}"
        );
        assert_eq!(
            draft.transaction.output[0].value,
            Amount::from_sat(1_000_000)
        );
    }

    #[test]
    fn a_coinbase_is_not_spent_before_it_is_ripe() {
        let coins = rich(1);
        assert!(matches!(
            coins.draft(&pay(1_000), 99),
            Err(ChainError::OutOfCoins { .. })
        ));
        assert!(coins.draft(&pay(1_000), 100).is_ok());
    }

    #[test]
    fn a_long_chain_of_change_moves_on_to_the_next_coin() {
        let mut coins = rich(2);
        let mut first_coins = std::collections::HashSet::new();
        for _ in 0..2 * LONGEST_UNCONFIRMED_CHAIN {
            let draft = coins.draft(&pay(1_000), 200).unwrap();
            first_coins.insert(draft.transaction.input[0].previous_output);
            coins.commit(&draft);
        }
        assert!(
            coins.draft(&pay(1_000), 200).is_err(),
            "both chains are at their limit"
        );
        coins.confirm_all();
        assert!(coins.draft(&pay(1_000), 200).is_ok());
        assert_eq!(first_coins.len(), 2 * LONGEST_UNCONFIRMED_CHAIN as usize);
    }

    #[test]
    fn several_coins_are_combined_for_a_large_payment() {
        let coins = rich(3);
        let draft = coins.draft(&pay(12_000_000_000), 200).unwrap();
        assert_eq!(draft.transaction.input.len(), 3);
    }

    #[test]
    fn more_than_there_is_says_how_much_there_is() {
        let error = rich(1).draft(&pay(6_000_000_000), 200).err().unwrap();
        assert!(error.to_string().contains("50"), "{error}");
        assert!(error.to_string().contains("60"), "{error}");
    }

    #[test]
    fn change_rests_after_a_reorg_until_the_next_block() {
        let mut coins = rich(1);
        let draft = coins.draft(&pay(1_000), 200).unwrap();
        coins.commit(&draft);
        coins.confirm_all();
        coins.distrust_change();
        assert!(coins.draft(&pay(1_000), 200).is_err());
        coins.confirm_all();
        assert!(coins.draft(&pay(1_000), 200).is_ok());
    }

    #[test]
    fn nobody_can_be_paid_nothing_at_all_without_an_error() {
        assert!(rich(0).draft(&[], 200).is_err());
    }
}
