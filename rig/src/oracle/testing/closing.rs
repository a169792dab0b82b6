//! Closes of the tests' worlds: commitments, what becomes of their outputs, closes by agreement.

use std::str::FromStr;

use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{OutPoint, Sequence, Transaction, Txid, Witness};
use node_bin::api::{BroadcastTransaction, Report, UserEvent};

use super::scripts::{
    anchor_script, delayed_script, htlc_script, key, to_remote_script, transaction, wallet_script,
};
use super::{FEE_SAT, World};
use crate::evidence::OpenedChannel;

/// How an HTLC output ends.
#[derive(Clone, Copy, PartialEq)]
pub enum Ending {
    Preimage,
    Timeout,
    Revocation,
    Unspent,
    /// As `Timeout` or `Preimage` by the broadcaster, with the second stage left unspent.
    HalfTimeout,
    /// As `Timeout` by the broadcaster, with the second stage taken as a penalty.
    PunishedTimeout,
    /// As `Timeout` by the broadcaster, with the second stage taken by a script that BOLT 3 does not have.
    StrangeTimeout,
    /// As `Preimage`, with another's preimage.
    Forged,
    /// With a witness that no path of BOLT 3 has.
    Strange,
}

/// An HTLC in a commitment.
#[derive(Clone, Copy)]
pub struct OnChain {
    pub number: u8,
    pub amount_sat: u64,
    /// By whose commitment it is.
    pub offered: bool,
    pub ending: Ending,
}

impl World {
    /// `by` publishes its commitment with these HTLCs; everything is swept, as far as the HTLCs'
    /// endings let it. Wallets follow.
    pub fn force_close(&mut self, label: &str, by: &str, htlcs: &[OnChain]) -> Txid {
        self.close_alone(label, by, htlcs, false)
    }

    /// The same with a commitment that is revoked: the other side takes what is `by`'s balance.
    pub fn cheat(&mut self, label: &str, by: &str, htlcs: &[OnChain]) -> Txid {
        self.close_alone(label, by, htlcs, true)
    }

    fn close_alone(&mut self, label: &str, by: &str, htlcs: &[OnChain], is_punished: bool) -> Txid {
        let channel = self.channel(label);
        let other = if channel.opener == by {
            &channel.acceptor
        } else {
            &channel.opener
        };
        let commitment = self.commitment(&channel, by, htlcs);
        let txid = commitment.compute_txid();
        self.publish(by, &commitment);
        self.mine(vec![commitment.clone()]);
        let delayed = delayed_script();
        let (taker, choice) = match is_punished {
            true => (other.as_str(), vec![1]),
            false => (by, vec![]),
        };
        let local = vec![vec![1; 71], choice, delayed.to_bytes()];
        let fee_sat = self.sweep_fee_sat;
        if is_punished {
            self.sweep_fee_sat = self.penalty_fee_sat;
        }
        self.sweep(
            taker,
            OutPoint::new(txid, 0),
            commitment.output[0].value.to_sat(),
            local,
        );
        self.sweep_fee_sat = fee_sat;
        let remote = vec![vec![1; 71], to_remote_script().to_bytes()];
        self.sweep(
            other,
            OutPoint::new(txid, 1),
            commitment.output[1].value.to_sat(),
            remote,
        );
        for (vout, htlc) in (4..).zip(htlcs) {
            self.end_htlc(by, other, OutPoint::new(txid, vout), *htlc);
        }
        let reasons = ["HolderForceClosed", "CommitmentTxConfirmed"];
        self.closed_events(&channel, [by, other], reasons);
        txid
    }

    /// These users hear that the channel is closed, and why.
    fn closed_events(&mut self, channel: &OpenedChannel, nodes: [&str; 2], reasons: [&str; 2]) {
        self.closed.insert(channel.label.clone());
        for (node, reason) in nodes.into_iter().zip(reasons) {
            self.event(
                node,
                UserEvent::ChannelClosed {
                    channel: channel.label.clone(),
                    channel_id: channel.channel_id.clone(),
                    reason: reason.into(),
                },
            );
        }
    }

    fn commitment(&self, channel: &OpenedChannel, by: &str, htlcs: &[OnChain]) -> Transaction {
        let [mut opener_sat, mut acceptor_sat] =
            self.balances[&channel.label].map(|msat| msat / 1000);
        let by_opener = channel.opener == by;
        for htlc in htlcs {
            let offerer_is_opener = htlc.offered == by_opener;
            *(if offerer_is_opener {
                &mut opener_sat
            } else {
                &mut acceptor_sat
            }) -= htlc.amount_sat;
        }
        opener_sat -= FEE_SAT + 660;
        let (local, remote) = if by_opener {
            (opener_sat, acceptor_sat)
        } else {
            (acceptor_sat, opener_sat)
        };
        let mut outputs = vec![
            (delayed_script().to_p2wsh(), local),
            (to_remote_script().to_p2wsh(), remote),
            (anchor_script(1).to_p2wsh(), 330),
            (anchor_script(2).to_p2wsh(), 330),
        ];
        for htlc in htlcs {
            outputs.push((htlc_script(htlc).to_p2wsh(), htlc.amount_sat));
        }
        let funding = OutPoint::from_str(&channel.funding).unwrap();
        let mut commitment = transaction(&[funding], &outputs);
        commitment.lock_time = LockTime::from_consensus(0x2012_3456);
        commitment.input[0].sequence = Sequence(0x8065_4321);
        commitment
    }

    /// Spends an output to a wallet.
    pub fn sweep(&mut self, node: &str, outpoint: OutPoint, value_sat: u64, witness: Vec<Vec<u8>>) {
        let left_sat = value_sat - self.sweep_fee_sat;
        let mut sweep = transaction(&[outpoint], &[(wallet_script(node), left_sat)]);
        sweep.input[0].witness = Witness::from_slice(&witness);
        *self.wallets.get_mut(node).unwrap() += left_sat;
        self.publish(node, &sweep);
        self.mine(vec![sweep]);
    }

    /// A node publishes a commitment of its own with these HTLCs, and no block takes it.
    pub fn publish_commitment(&mut self, label: &str, by: &str, htlcs: &[OnChain]) {
        let commitment = self.commitment(&self.channel(label), by, htlcs);
        self.publish(by, &commitment);
    }

    /// A node publishes a spend of an output to its wallet for this fee, and no block takes it.
    pub fn publish_spend(&mut self, node: &str, outpoint: OutPoint, value_sat: u64, fee_sat: u64) {
        let spend = transaction(&[outpoint], &[(wallet_script(node), value_sat - fee_sat)]);
        self.publish(node, &spend);
    }

    /// The node says that it published this.
    fn publish(&mut self, node: &str, transaction: &Transaction) {
        let made = BroadcastTransaction {
            txid: transaction.compute_txid().to_string(),
            role: "test".into(),
            raw: serialize_hex(transaction),
        };
        self.report(
            node,
            Report::Broadcast {
                transactions: vec![made],
                error: None,
            },
        );
    }

    fn end_htlc(&mut self, by: &str, other: &str, outpoint: OutPoint, htlc: OnChain) {
        let choice = match htlc.ending {
            Ending::Unspent => return,
            Ending::Preimage => vec![htlc.number; 32],
            Ending::Timeout
            | Ending::HalfTimeout
            | Ending::PunishedTimeout
            | Ending::StrangeTimeout => vec![],
            Ending::Revocation => key(9).to_vec(),
            Ending::Forged => vec![htlc.number + 1; 32],
            Ending::Strange => vec![9; 5],
        };
        let script = htlc_script(&htlc).to_bytes();
        let by_preimage = matches!(htlc.ending, Ending::Preimage | Ending::Forged);
        let own = htlc.offered != by_preimage && htlc.ending != Ending::Revocation;
        if !own {
            let witness = vec![vec![1; 71], choice, script];
            self.sweep(other, outpoint, htlc.amount_sat, witness);
            return;
        }
        let delayed = delayed_script();
        let mut second = transaction(&[outpoint], &[(delayed.to_p2wsh(), htlc.amount_sat)]);
        second.input[0].witness =
            Witness::from_slice(&[vec![], vec![1; 71], vec![1; 71], choice, script]);
        let outpoint = OutPoint::new(second.compute_txid(), 0);
        self.publish(by, &second);
        self.mine(vec![second]);
        let (taker, choice, script) = match htlc.ending {
            Ending::HalfTimeout => return,
            Ending::PunishedTimeout => (other, vec![1], delayed.to_bytes()),
            Ending::StrangeTimeout => (by, vec![], vec![0x51]),
            _ => (by, vec![], delayed.to_bytes()),
        };
        let witness = vec![vec![1; 71], choice, script];
        self.sweep(taker, outpoint, htlc.amount_sat, witness);
    }

    /// Both sides close together.
    pub fn close_together(&mut self, label: &str) {
        let channel = self.channel(label);
        let [opener_sat, acceptor_sat] = self.balances[label].map(|msat| msat / 1000);
        let opener_sat = opener_sat - FEE_SAT;
        let funding = OutPoint::from_str(&channel.funding).unwrap();
        let close = transaction(
            &[funding],
            &[
                (wallet_script(&channel.opener), opener_sat),
                (wallet_script(&channel.acceptor), acceptor_sat),
            ],
        );
        *self.wallets.get_mut(&channel.opener).unwrap() += opener_sat;
        *self.wallets.get_mut(&channel.acceptor).unwrap() += acceptor_sat;
        self.mine(vec![close]);
        let nodes = [channel.opener.as_str(), channel.acceptor.as_str()];
        self.closed_events(&channel, nodes, ["CooperativeClosure"; 2]);
    }
}
