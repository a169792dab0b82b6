//! Whether electrs tells the same story as bitcoind's blocks, script by script.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bitcoin::{PublicKey, ScriptBuf, TxIn};

use super::ChainView;
use crate::evidence::ChainEvidence;

/// Something that one of the two witnesses says and the other does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disagreement {
    /// No history of a script that the blocks use was taken: nothing can be said.
    NotAsked {
        /// In hexadecimal.
        script: String,
    },
    /// electrs lists other transactions than the blocks imply, or at other heights.
    Differs {
        /// In hexadecimal.
        script: String,
        /// `txid at height`, in the blocks only.
        missing: Vec<String>,
        /// `txid at height`, from electrs only.
        extra: Vec<String>,
    },
}

type Implied = BTreeMap<ScriptBuf, BTreeSet<(String, i32)>>;

/// Compares the histories with the blocks, both ways.
pub fn disagreements(view: &ChainView, chain: &ChainEvidence) -> Vec<Disagreement> {
    let (implied, unsure) = implied_by_blocks(view);
    let mut told: HashMap<&str, BTreeSet<(String, i32)>> = HashMap::new();
    for history in &chain.histories {
        let entries = told.entry(history.script.as_str()).or_default();
        entries.extend(history.entries.iter().cloned());
    }
    let base = i32::try_from(chain.base_height).unwrap_or(i32::MAX);
    let mut found = Vec::new();
    let mut known_scripts = BTreeSet::new();
    // electrs does not index what can never be spent.
    for (script, expected) in implied.iter().filter(|(script, _)| !script.is_op_return()) {
        let hex = script.to_hex_string();
        match told.get(hex.as_str()) {
            None => found.push(Disagreement::NotAsked {
                script: hex.clone(),
            }),
            Some(entries) => found.extend(compare(&hex, expected, entries, base, chain, &unsure)),
        }
        known_scripts.insert(hex);
    }
    // A history of a script that no block uses has to be empty above the base.
    let none = BTreeSet::new();
    let mut others: Vec<_> = told
        .iter()
        .filter(|(script, _)| !known_scripts.contains(**script))
        .collect();
    others.sort();
    for (script, entries) in others {
        found.extend(compare(script, &none, entries, base, chain, &unsure));
    }
    found
}

fn compare(
    script: &str,
    expected: &BTreeSet<(String, i32)>,
    entries: &BTreeSet<(String, i32)>,
    base: i32,
    chain: &ChainEvidence,
    unsure: &BTreeSet<(String, i32)>,
) -> Option<Disagreement> {
    let spell = |(txid, height): &(String, i32)| format!("{txid} at {height}");
    let missing: Vec<String> = expected.difference(entries).map(spell).collect();
    let extra: Vec<String> = entries
        .difference(expected)
        .filter(|entry| {
            let (txid, height) = entry;
            match height {
                // In the mempool, where -1 has unconfirmed parents.
                0 | -1 => !chain.mempool.contains(txid),
                // Older than the case.
                height if *height > 0 && *height <= base => false,
                // It spends something from before the case, perhaps under this script.
                _ => !unsure.contains(*entry),
            }
        })
        .map(spell)
        .collect();
    (!missing.is_empty() || !extra.is_empty()).then(|| Disagreement::Differs {
        script: script.to_owned(),
        missing,
        extra,
    })
}

/// What each script's history must be, and the transactions that may belong to further scripts
/// because they spend outputs from before the case.
fn implied_by_blocks(view: &ChainView) -> (Implied, BTreeSet<(String, i32)>) {
    let mut implied = Implied::new();
    let mut unsure = BTreeSet::new();
    for confirmed in view.transactions() {
        let height = i32::try_from(confirmed.height).unwrap_or(i32::MAX);
        let entry = (confirmed.txid.to_string(), height);
        for output in &confirmed.transaction.output {
            let script = output.script_pubkey.clone();
            implied.entry(script).or_default().insert(entry.clone());
        }
        for input in &confirmed.transaction.input {
            let spent = view.output(&input.previous_output);
            match spent {
                Some(output) => {
                    let script = output.script_pubkey.clone();
                    implied.entry(script).or_default().insert(entry.clone());
                }
                None => {
                    unsure.insert(entry.clone());
                }
            }
        }
    }
    // A script that is used in the blocks may also be spent from before them; where the witness
    // reveals it, the spend must be listed too.
    for confirmed in view.transactions() {
        let height = i32::try_from(confirmed.height).unwrap_or(i32::MAX);
        for input in &confirmed.transaction.input {
            if view.output(&input.previous_output).is_some() {
                continue;
            }
            if let Some(entries) =
                key_hash_script(input).and_then(|script| implied.get_mut(&script))
            {
                entries.insert((confirmed.txid.to_string(), height));
            }
        }
    }
    (implied, unsure)
}

/// The script that a `<signature> <key>` witness spends.
fn key_hash_script(input: &TxIn) -> Option<ScriptBuf> {
    let plain = input.witness.len() == 2 && input.script_sig.is_empty();
    let key = input.witness.nth(1).filter(|_| plain)?;
    let key = PublicKey::from_slice(key).ok()?;
    Some(ScriptBuf::new_p2wpkh(&key.wpubkey_hash().ok()?))
}
