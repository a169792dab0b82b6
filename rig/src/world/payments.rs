//! Making payments: the paths they take, asking for them, and telling how far they have come. Used
//! for the scenario's payments and for those at the end that prove a channel alive.

use std::collections::BTreeMap;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::PublicKey;
use node_bin::api::{Command, Hop, Reply, UserEvent};

use super::live::Live;
use super::rig_fault::{RigFault, Stop};
use super::stage::{Answer, Stage, all};
use crate::evidence::{MadePayment, OpenedChannel, RigEntry};
use crate::scenario::{Payment, PaymentKind, PaymentMoment};

/// What a hop takes for forwarding, in millisatoshis: LDK's default base fee. Nothing is taken in
/// proportion.
pub const FORWARD_FEE_MSAT: u64 = 1_000;

/// What a hop adds to the expiry, in blocks: the least that LDK forwards with.
pub const FORWARD_CLTV_DELTA: u32 = 48;

/// What the last hop is given, in blocks: short, so that a timeout on chain does not take long.
pub const FINAL_CLTV_DELTA: u32 = 45;

/// A path as LDK wants it: each hop but the last carries what its node takes for forwarding over
/// the *next* channel, the last one the part's amount.
///
/// # Errors
/// `BadPlan` if the labels do not lead from the sender to the receiver.
pub(super) fn hops(
    payment: &Payment,
    path: &[String],
    part_msat: u64,
    channels: &[OpenedChannel],
    node_ids: &BTreeMap<String, PublicKey>,
) -> Result<Vec<Hop>, RigFault> {
    let bad = |why: String| RigFault::BadPlan(format!("payment {:?}: {why}", payment.id));
    let mut at = payment.from.as_str();
    let mut hops = Vec::with_capacity(path.len());
    for (index, label) in path.iter().enumerate() {
        let channel = channels.iter().find(|channel| channel.label == *label);
        let channel = channel.ok_or_else(|| bad(format!("there is no channel {label:?}")))?;
        at = match (channel.opener == at, channel.acceptor == at) {
            (true, _) => &channel.acceptor,
            (_, true) => &channel.opener,
            _ => return Err(bad(format!("channel {label:?} does not start at {at}"))),
        };
        let is_last = index + 1 == path.len();
        hops.push(Hop {
            node_id: *node_ids
                .get(at)
                .ok_or_else(|| bad(format!("there is no node {at:?}")))?,
            short_channel_id: channel
                .short_channel_id
                .ok_or_else(|| bad(format!("channel {label:?} is not open")))?,
            fee_msat: if is_last { part_msat } else { FORWARD_FEE_MSAT },
            cltv_expiry_delta: if is_last {
                FINAL_CLTV_DELTA
            } else {
                FORWARD_CLTV_DELTA
            },
        });
    }
    match at == payment.to {
        true => Ok(hops),
        false => Err(bad(format!("its path ends at {at}, not at {}", payment.to))),
    }
}

/// The payment id that a node gives a payment with this idempotency key.
pub(super) fn payment_id_of(key: &str) -> String {
    sha256::Hash::hash(key.as_bytes()).to_string()
}

/// Whether a payment has come so far, in whichever life of its nodes.
pub(super) fn has_come(live: &Live, payment: &MadePayment, moment: PaymentMoment) -> bool {
    let (hash, id) = (&payment.payment_hash, &payment.payment_id);
    let told = |name: &str, is_it: &dyn Fn(&UserEvent) -> bool| live.events_of(name).any(is_it);
    let sent = |event: &UserEvent| matches!(event, UserEvent::PaymentSent { payment_id, .. } if payment_id == id);
    let failed = |event: &UserEvent| matches!(event, UserEvent::PaymentFailed { payment_id, .. } if payment_id == id);
    match moment {
        PaymentMoment::Claimable => told(
            &payment.to,
            &|event| matches!(event, UserEvent::PaymentClaimable { payment_hash, .. } if payment_hash == hash),
        ),
        PaymentMoment::Claimed => told(
            &payment.to,
            &|event| matches!(event, UserEvent::PaymentClaimed { payment_hash, .. } if payment_hash == hash),
        ),
        PaymentMoment::Sent => told(&payment.from, &sent),
        PaymentMoment::Failed => told(&payment.from, &failed),
        PaymentMoment::Decided => told(&payment.from, &|event| sent(event) || failed(event)),
    }
}

impl Stage {
    /// A payment that was asked for before.
    pub(super) fn made(&self, id: &str) -> Result<&MadePayment, RigFault> {
        let unknown = || RigFault::BadPlan(format!("no step before has made payment {id:?}"));
        self.payments
            .iter()
            .find(|made| made.id == id)
            .ok_or_else(unknown)
    }

    /// Notes a payment; a second time it only learns its hash.
    fn note_payment(&mut self, payment: &Payment, payment_hash: &str, proves: Option<&str>) {
        match self.payments.iter_mut().find(|made| made.id == payment.id) {
            Some(made) => payment_hash.clone_into(&mut made.payment_hash),
            None => self.payments.push(MadePayment {
                id: payment.id.clone(),
                from: payment.from.clone(),
                to: payment.to.clone(),
                amount_msat: payment.amount_msat,
                payment_hash: payment_hash.to_owned(),
                payment_id: payment_id_of(&payment.id),
                kind: payment.kind,
                paths: payment.paths.clone(),
                proves: proves.map(str::to_owned),
            }),
        }
    }

    /// Asks for a payment and starts it. Whatever of that is done already is not done again.
    pub(super) async fn pay(
        &mut self,
        payment: &Payment,
        proves: Option<&str>,
    ) -> Result<(), Stop> {
        match self.ask_for(payment, proves).await? {
            None => Ok(()),
            Some(command) => {
                let purpose = format!("pay {}", payment.id);
                let answer = self.once(&purpose, &payment.from, command).await?;
                self.started(payment, proves, answer)
            }
        }
    }

    /// Asks for several payments one after the other, and then starts them all together.
    pub(super) async fn pay_many(&mut self, payments: &[Payment]) -> Result<(), Stop> {
        let mut commands = Vec::new();
        for payment in payments {
            if let Some(command) = self.ask_for(payment, None).await? {
                commands.push((payment, command));
            }
        }
        let stage: &Stage = self;
        let start = commands.into_iter().map(async |(payment, command)| {
            let purpose = format!("pay {}", payment.id);
            let answer = stage.once(&purpose, &payment.from, command).await?;
            Ok((payment, answer))
        });
        for (payment, answer) in all(start).await? {
            self.started(payment, None, answer)?;
        }
        Ok(())
    }

    /// The command that starts a payment; `None`, noted, if it cannot even be asked for.
    async fn ask_for(
        &mut self,
        payment: &Payment,
        proves: Option<&str>,
    ) -> Result<Option<Command>, Stop> {
        if let Some(label) = self.not_open_for(payment).await? {
            self.note_payment(payment, "", proves);
            self.recorder().rig(RigEntry::Refused {
                node: payment.from.clone(),
                method: "pay".to_owned(),
                message: format!("{label} is not open"),
            });
            return Ok(None);
        }
        let paths = self.all_hops(payment)?;
        let key = payment.id.clone();
        Ok(match payment.kind {
            PaymentKind::Invoice => {
                let invoice = self.invoice(payment, proves).await?;
                invoice.map(|invoice| Command::Pay {
                    key,
                    invoice,
                    paths,
                })
            }
            PaymentKind::Keysend => {
                self.note_payment(payment, "", proves);
                Some(Command::Keysend {
                    key,
                    node_id: self.node(&payment.to)?.node_id,
                    amount_msat: payment.amount_msat,
                    paths,
                })
            }
        })
    }

    /// Takes in the sender's answer.
    fn started(
        &mut self,
        payment: &Payment,
        proves: Option<&str>,
        answer: Answer,
    ) -> Result<(), Stop> {
        match answer {
            Ok(Reply::Payment { payment_hash, .. }) => {
                self.note_payment(payment, &payment_hash, proves);
                Ok(())
            }
            Ok(other) => Err(Stage::misfit(&payment.from, "pay", &other)),
            // Noted; the judge misses the payment.
            Err(_) => Ok(()),
        }
    }

    /// The receiver's invoice; `None` if it refuses.
    async fn invoice(
        &mut self,
        payment: &Payment,
        proves: Option<&str>,
    ) -> Result<Option<String>, Stop> {
        let command = Command::Invoice {
            key: payment.id.clone(),
            amount_msat: payment.amount_msat,
            hold: payment.hold,
        };
        let purpose = format!("invoice {}", payment.id);
        let answer: Answer = self.once(&purpose, &payment.to, command).await?;
        match answer {
            Ok(Reply::Invoice {
                invoice,
                payment_hash,
            }) => {
                self.note_payment(payment, &payment_hash, proves);
                Ok(Some(invoice))
            }
            Ok(other) => Err(Stage::misfit(&payment.to, "invoice", &other)),
            Err(_) => Ok(None),
        }
    }

    fn all_hops(&self, payment: &Payment) -> Result<Vec<Vec<Hop>>, RigFault> {
        let ids = self
            .nodes
            .iter()
            .map(|(name, handle)| (name.clone(), handle.node_id));
        let ids: BTreeMap<String, PublicKey> = ids.collect();
        if payment.paths.len() != payment.parts_msat.len() && !payment.paths.is_empty() {
            return Err(RigFault::BadPlan(format!(
                "payment {:?} has {} paths and {} parts",
                payment.id,
                payment.paths.len(),
                payment.parts_msat.len()
            )));
        }
        let parts = payment.paths.iter().zip(&payment.parts_msat);
        parts
            .map(|(path, part)| hops(payment, path, *part, &self.channels, &ids))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(label: &str, opener: &str, acceptor: &str, short_channel_id: u64) -> OpenedChannel {
        OpenedChannel {
            label: label.to_owned(),
            opener: opener.to_owned(),
            acceptor: acceptor.to_owned(),
            capacity_sat: 1_000_000,
            push_msat: 0,
            funding: String::new(),
            channel_id: String::new(),
            short_channel_id: Some(short_channel_id),
        }
    }

    fn world() -> (Vec<OpenedChannel>, BTreeMap<String, PublicKey>) {
        let channels = vec![channel("A-B", "A", "B", 1), channel("B-C", "C", "B", 2)];
        let id = |name: &str| {
            let seed = sha256::Hash::hash(name.as_bytes()).to_string();
            (
                name.to_owned(),
                node_bin::api::node_id_of_seed(&seed).unwrap(),
            )
        };
        (channels, ["A", "B", "C"].map(id).into())
    }

    fn payment(from: &str, to: &str) -> Payment {
        Payment {
            id: "p".to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            amount_msat: 50_000,
            kind: PaymentKind::Invoice,
            hold: false,
            paths: Vec::new(),
            parts_msat: Vec::new(),
        }
    }

    #[test]
    fn the_middle_hop_takes_a_fee_and_the_last_one_the_amount() {
        let (channels, ids) = world();
        let path = ["A-B".to_owned(), "B-C".to_owned()];
        let hops = hops(&payment("A", "C"), &path, 50_000, &channels, &ids).unwrap();
        let shape: Vec<_> = hops
            .iter()
            .map(|hop| {
                (
                    hop.node_id,
                    hop.short_channel_id,
                    hop.fee_msat,
                    hop.cltv_expiry_delta,
                )
            })
            .collect();
        assert_eq!(
            shape,
            [
                (ids["B"], 1, 1_000, 48),
                (ids["C"], 2, 50_000, FINAL_CLTV_DELTA)
            ]
        );
    }

    #[test]
    fn a_channel_is_walked_either_way() {
        let (channels, ids) = world();
        let path = ["B-C".to_owned(), "A-B".to_owned()];
        let hops = hops(&payment("C", "A"), &path, 7, &channels, &ids).unwrap();
        assert_eq!(hops[0].node_id, ids["B"]);
        assert_eq!(hops[1].node_id, ids["A"]);
        assert_eq!(hops[1].fee_msat, 7);
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_a_bad_plan_that_says_where() {
        let (channels, ids) = world();
        let fails = |from, to, path: &[&str]| {
            let path: Vec<String> = path.iter().map(|&label| label.to_owned()).collect();
            hops(&payment(from, to), &path, 7, &channels, &ids)
                .unwrap_err()
                .to_string()
        };
        assert!(fails("A", "C", &["A-B"]).contains("ends at B"));
        assert!(fails("A", "C", &["B-C"]).contains("does not start at A"));
        assert!(fails("A", "C", &["A-C"]).contains("no channel \"A-C\""));
    }
}
