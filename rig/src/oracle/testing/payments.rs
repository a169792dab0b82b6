//! Payments of the tests' worlds.

use bitcoin::hashes::{Hash, sha256};
use node_bin::api::UserEvent;

use super::{World, payment_hash, preimage};
use crate::evidence::MadePayment;
use crate::scenario::{ExpectedPayment, PaymentKind};

impl World {
    /// Notes a payment as made, without anything of it happening.
    pub fn made(&mut self, id: &str, nodes: &[&str], number: u8, amount_msat: u64) -> MadePayment {
        let made = MadePayment {
            id: id.into(),
            from: nodes[0].into(),
            to: nodes[nodes.len() - 1].into(),
            amount_msat,
            payment_hash: payment_hash(number),
            payment_id: sha256::Hash::hash(id.as_bytes()).to_string(),
            kind: PaymentKind::Invoice,
            paths: vec![
                nodes
                    .windows(2)
                    .map(|pair| self.label(pair[0], pair[1]))
                    .collect(),
            ],
            proves: None,
        };
        self.evidence.payments.push(made.clone());
        made
    }

    pub fn expect(&mut self, id: &str, expected: ExpectedPayment) {
        let expect = &mut self.evidence.plan.scenario.expect;
        expect.payments.insert(id.into(), expected);
    }

    pub fn sent_event(&mut self, made: &MadePayment, number: u8) -> u64 {
        self.failed.remove(&made.payment_id);
        self.event(
            &made.from,
            UserEvent::PaymentSent {
                payment_id: made.payment_id.clone(),
                payment_hash: made.payment_hash.clone(),
                preimage: preimage(number),
                fee_paid_msat: None,
            },
        )
    }

    pub fn failed_event(&mut self, made: &MadePayment) -> u64 {
        self.failed.insert(made.payment_id.clone());
        self.event(
            &made.from,
            UserEvent::PaymentFailed {
                payment_id: made.payment_id.clone(),
                payment_hash: Some(made.payment_hash.clone()),
                reason: "RetriesExhausted".into(),
            },
        )
    }

    pub fn claimed_event(&mut self, made: &MadePayment) -> u64 {
        self.event(
            &made.to,
            UserEvent::PaymentClaimed {
                payment_hash: made.payment_hash.clone(),
                amount_msat: made.amount_msat,
            },
        )
    }

    /// A payment along these nodes that succeeds; forwarders take 1000 msat each.
    pub fn pay(&mut self, id: &str, nodes: &[&str], number: u8, amount_msat: u64) -> MadePayment {
        let made = self.made(id, nodes, number, amount_msat);
        let hops: Vec<(&str, &str)> = nodes.windows(2).map(|pair| (pair[0], pair[1])).collect();
        let last = hops.len() - 1;
        let amount = |hop: usize| amount_msat + 1000 * (last - hop) as u64;
        let mut ids = Vec::new();
        for (place, (from, to)) in hops.iter().enumerate() {
            ids.push(self.add(from, to, number, amount(place)));
        }
        for (place, (from, to)) in hops.iter().enumerate().rev() {
            self.fulfil(from, to, ids[place], number, amount(place));
        }
        self.claimed_event(&made);
        self.sent_event(&made, number);
        made
    }

    /// A payment along these nodes that the receiver fails.
    pub fn pay_in_vain(
        &mut self,
        id: &str,
        nodes: &[&str],
        number: u8,
        amount_msat: u64,
    ) -> MadePayment {
        let made = self.made(id, nodes, number, amount_msat);
        let hops: Vec<(&str, &str)> = nodes.windows(2).map(|pair| (pair[0], pair[1])).collect();
        let mut ids = Vec::new();
        for (from, to) in &hops {
            ids.push(self.add(from, to, number, amount_msat));
        }
        for ((from, to), id) in hops.iter().zip(ids).rev() {
            self.fail(from, to, id);
        }
        self.failed_event(&made);
        made
    }

    /// A live payment through every channel that is open.
    pub fn live(&mut self) {
        for (number, channel) in (200_u8..).zip(self.evidence.channels.clone()) {
            if self.closed.contains(&channel.label) {
                continue;
            }
            let id = format!("live-{}-{}", channel.label, channel.opener);
            let nodes = [channel.opener.as_str(), channel.acceptor.as_str()];
            self.pay(&id, &nodes, number, 10_000);
            self.evidence.payments.last_mut().unwrap().proves = Some(channel.label.clone());
        }
    }
}
