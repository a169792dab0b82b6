//! A channel on the chain: what has been spent, what that means for its HTLCs, and what is the holder's to
//! claim. Everything is read anew from the record and the transactions in it; nothing else is remembered,
//! so that a restart or a reorganisation needs no special case.
//!
//! BOLT 5; `corrections.md`, 8 and 14.

use std::collections::BTreeMap;

use bitcoin::{OutPoint, ScriptBuf, Transaction, Txid};
use lightning::types::payment::{PaymentHash, PaymentPreimage};

use crate::commitment::funding_script;
use crate::keys::Environment;
use crate::onchain::bumping::SecondStage;
use crate::onchain::claims::{Claim, claim_of, second_stage_claim};
use crate::onchain::identify::{FundingSpend, HtlcOutput, OutputKind, identify};
use crate::onchain::spend::{
    SpendPath, possible_preimages, read_delayed_spend, read_spend, second_stage_output,
};
use crate::onion::code;
use crate::record::{Closure, OutboundHtlc, Resolution, SeenTransaction};
use crate::spec::{Direction, HtlcAdd};
use crate::update::UpdateStep;

use super::Channel;

/// Confirmations after which the chain is taken at its word.
pub const ANTI_REORG_DELAY: u32 = 6;
/// Confirmations after which a channel of which nothing is left is forgotten: a reorganisation as deep as one
/// that is taken into account must not need it again.
const FORGETTING_DELAY: u32 = 2 * ANTI_REORG_DELAY;
/// Blocks before an inbound HTLC's expiry at which a channel is closed to claim it on chain.
pub const CLTV_CLAIM_BUFFER: u32 = 18;
/// Blocks after an outbound HTLC's expiry at which a channel is closed to take it back; and blocks before
/// an inbound HTLC's expiry at which it is failed upstream although the chain has not decided.
pub const LATENCY_GRACE_PERIOD_BLOCKS: u32 = 3;

/// What an output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnchainKind {
    /// An output of the commitment.
    Commitment(OutputKind),
    /// The output of a second-stage transaction of whoever published the commitment.
    SecondStage,
}

/// An output that the channel's end has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnchainOutput {
    /// Where it is.
    pub outpoint: OutPoint,
    /// Satoshis.
    pub amount_sat: u64,
    /// Height of its block.
    pub confirmed: u32,
    /// What it is.
    pub kind: OnchainKind,
    /// How it was spent, and the height of that block.
    pub spent: Option<(SpendPath, u32)>,
}

impl OnchainOutput {
    /// The HTLC that it holds, if it is one of the commitment's.
    pub fn htlc(&self) -> Option<&HtlcOutput> {
        match &self.kind {
            OnchainKind::Commitment(OutputKind::Htlc(htlc) | OutputKind::RevokedHtlc(htlc)) => {
                Some(htlc)
            }
            _ => None,
        }
    }
}

/// Where a channel that has ended on the chain stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Whose transaction ended it.
    pub spend: FundingSpend,
    /// Height of that transaction's block.
    pub confirmed: u32,
    /// What it made.
    pub outputs: Vec<OnchainOutput>,
}

impl Position {
    /// The output that an HTLC of the holder's has in what ended the channel.
    fn outbound(&self, htlc_id: u64) -> Option<&OnchainOutput> {
        let is_it = |on: &HtlcOutput| (on.direction, on.htlc_id) == (Direction::Outbound, htlc_id);
        let mut outputs = self.outputs.iter();
        outputs.find(|output| output.htlc().is_some_and(is_it))
    }

    /// Whether an output of as much as the HTLC is worth is there, unspent beyond any reorganisation at this tip.
    fn may_hold(&self, add: &HtlcAdd, tip: u32) -> bool {
        let mut outputs = self.outputs.iter();
        outputs.any(|output| {
            let is_gone = output.spent.is_some_and(|(_, at)| is_final(at, tip));
            output.amount_sat == add.amount_msat / 1_000 && !is_gone
        })
    }
}

/// For so many blocks a commitment may have been kept out of blocks, as far as what it holds is raised for it.
const LONGEST_WAIT_BLOCKS: u32 = 36;

/// The height from which on it has been urgent to take an HTLC's output, which is in a block of this height: from 18 blocks
/// before the peer may take it back, or from when the holder may.
pub fn urgent_since(htlc: &HtlcOutput, confirmed: u32) -> u32 {
    let urgent_since = match htlc.direction {
        Direction::Inbound => htlc.cltv_expiry.saturating_sub(CLTV_CLAIM_BUFFER),
        Direction::Outbound => htlc.cltv_expiry,
    };
    urgent_since.max(confirmed.saturating_sub(LONGEST_WAIT_BLOCKS))
}

/// An HTLC that can go to its second stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueSecondStage {
    /// Which, and how.
    pub stage: SecondStage,
    /// Height from which on it has been urgent.
    pub urgent_since: u32,
    /// What its output holds.
    pub amount_sat: u64,
}

/// Whether a block at this height is beyond any reorganisation at this tip.
fn is_final(confirmed: u32, tip: u32) -> bool {
    is_deep(confirmed, tip, ANTI_REORG_DELAY)
}

/// Whether a block at this height has so many confirmations at this tip.
fn is_deep(confirmed: u32, tip: u32, confirmations: u32) -> bool {
    tip.saturating_add(1) >= confirmed.saturating_add(confirmations)
}

/// What has become of a channel's outbound HTLCs of one hash and as many satoshis: their outputs are as good as one
/// another.
#[derive(Debug, Default)]
struct Ends {
    /// Outputs that the peer took.
    taken: usize,
    /// Of those with an output: claimed upstream, as far as they were not given up there before.
    paid: usize,
    /// Of those with an output: neither claimed nor given up upstream.
    unpaid: Vec<u64>,
    preimage: Option<PaymentPreimage>,
    /// Claimed, and beyond any reorganisation.
    gone: Vec<u64>,
    /// Whether the chain has not decided all of them beyond any reorganisation.
    any_open: bool,
}

fn claimed_in(steps: &[UpdateStep]) -> impl Iterator<Item = (u64, PaymentPreimage)> {
    steps.iter().filter_map(|step| match step {
        UpdateStep::OutboundClaimed { htlc_id, preimage } => Some((*htlc_id, *preimage)),
        _ => None,
    })
}

/// The peer may take the output of one of two HTLCs that nothing tells apart, and the holder has given up that
/// one upstream already: then the preimage pays for the other, though its own output comes back. However it
/// became known: for each output that was taken, one HTLC is claimed upstream.
fn settle_twins(alike: Ends, steps: &mut Vec<UpdateStep>) {
    let Ends { taken, paid, .. } = alike;
    let short = taken.saturating_sub(paid);
    for htlc_id in alike.unpaid.into_iter().take(short) {
        let Some(preimage) = alike.preimage else {
            break;
        };
        // Nothing is failed in the same breath.
        steps.retain(|step| {
            !matches!(step, UpdateStep::OutboundFailed { htlc_id: failed, .. } if *failed == htlc_id)
        });
        steps.push(UpdateStep::OutboundClaimed { htlc_id, preimage });
    }
    // They go together: who is counted must not be missing the next time.
    if !alike.any_open {
        let gone = alike.gone.into_iter();
        steps.extend(gone.map(|htlc_id| UpdateStep::OutboundGone { htlc_id }));
    }
}

impl Channel {
    /// Where the channel stands, once something spends its funding output in a block.
    pub fn position(&self, environment: &Environment) -> Option<Position> {
        let onchain = &self.record.onchain;
        let ended = onchain.funding_spend.as_ref()?;
        let txid = ended.transaction.compute_txid();
        let identified = identify(environment, &self.record, &ended.transaction);
        let mut outputs: Vec<_> = identified
            .outputs
            .iter()
            .map(|output| OnchainOutput {
                outpoint: OutPoint {
                    txid,
                    vout: output.vout,
                },
                amount_sat: output.amount_sat,
                confirmed: ended.height,
                kind: OnchainKind::Commitment(output.kind),
                spent: None,
            })
            .collect();
        // In the order of the chain, whatever order reorganisations brought them in.
        let mut spends: Vec<&SeenTransaction> = onchain.spends.iter().collect();
        spends.sort_by_key(|seen| seen.height);
        for seen in spends {
            note_spends(&mut outputs, &seen.transaction, seen.height);
        }
        Some(Position {
            spend: identified.spend,
            confirmed: ended.height,
            outputs,
        })
    }

    /// What follows at this tip for HTLCs that the holder offered on a channel that is closed: by the
    /// chain's decision, or, if there is none yet, because time is up. Time is up at the chain's tip only: the
    /// blocks that are there already may hold the preimage.
    ///
    /// `known` says which preimages the node has: with one, an HTLC of its hash is not given up but claimed, for its
    /// peer can still take it, or the miners have what the peer gave the preimage for.
    pub(crate) fn due_steps(
        &self,
        position: Option<&Position>,
        tip: u32,
        is_chains_tip: bool,
        known: &dyn Fn(&PaymentHash) -> Option<PaymentPreimage>,
    ) -> Vec<UpdateStep> {
        let mut steps = match (position, &self.record.closure) {
            (Some(position), _) => self.decided(position, tip, is_chains_tip),
            (None, Some(_)) if is_chains_tip => self.given_up(tip),
            (None, _) => Vec::new(),
        };
        let found: Vec<_> = claimed_in(&steps).collect();
        for step in &mut steps {
            let UpdateStep::OutboundFailed {
                htlc_id, is_final, ..
            } = *step
            else {
                continue;
            };
            let Some(htlc) = self.record.outbound.get(&htlc_id) else {
                continue;
            };
            // What came back by the chain stays so; but nobody gives back what the miners have.
            let is_lost = position.is_some_and(|position| self.is_lost_in(position, htlc));
            if is_final && !is_lost {
                continue;
            }
            let hash = htlc.add.payment_hash;
            let mut here = found.iter().map(|(_, preimage)| *preimage);
            let here = here.find(|preimage| PaymentHash::from(*preimage) == hash);
            if let Some(preimage) = here.or_else(|| known(&hash)) {
                *step = UpdateStep::OutboundClaimed { htlc_id, preimage };
            }
        }
        steps
    }

    /// Whether what ended the channel had this HTLC without an output for it: the miners have what it was worth. One that
    /// the commitment never had is in a balance.
    fn is_lost_in(&self, position: &Position, htlc: &OutboundHtlc) -> bool {
        self.is_dust(htlc.add.amount_msat)
            && position.outbound(htlc.add.htlc_id).is_none()
            && self.may_have_had(position, htlc.add.htlc_id)
    }

    /// Whether what ended the channel had this HTLC of the holder's, with an output or without, as far as is known.
    fn may_have_had(&self, position: &Position, htlc_id: u64) -> bool {
        let spec = position.spend.spec(&self.record);
        spec.is_none_or(|spec| spec.htlcs.contains_key(&(Direction::Outbound, htlc_id)))
    }

    /// HTLCs whose commitment no block has yet, and that are failed upstream all the same.
    fn given_up(&self, tip: u32) -> Vec<UpdateStep> {
        let outbound = self.record.outbound.iter();
        outbound
            .filter(|(_, htlc)| self.is_to_give_up(htlc, tip))
            .map(|(htlc_id, _)| UpdateStep::OutboundFailed {
                htlc_id: *htlc_id,
                failure_code: code::PERMANENT_CHANNEL_FAILURE,
                is_final: false,
            })
            .collect()
    }

    /// What the chain has decided about HTLCs that the holder offered, at this tip.
    fn decided(&self, position: &Position, tip: u32, is_chains_tip: bool) -> Vec<UpdateStep> {
        let mut steps = Vec::new();
        let mut ends: BTreeMap<(PaymentHash, u64), Ends> = BTreeMap::new();
        for (htlc_id, htlc) in &self.record.outbound {
            let htlc_id = *htlc_id;
            let output = position.outbound(htlc_id);
            let (found, is_over) = match output.map(|output| output.spent) {
                Some(None) => (None, false),
                Some(Some((SpendPath::Preimage { preimage, .. }, at))) => {
                    (Some(preimage), is_final(at, tip))
                }
                Some(Some((_, at))) => (None, is_final(at, tip)),
                None => self.decided_without_output(position, &htlc.add, tip, is_chains_tip),
            };
            let alike = (htlc.add.payment_hash, htlc.add.amount_msat / 1_000);
            let alike = ends.entry(alike).or_default();
            alike.any_open |= !is_over;
            if let (Some(_), Some(preimage)) = (output, found) {
                alike.taken += 1;
                alike.preimage = Some(preimage);
            }
            if let (Some(preimage), None) = (found, htlc.preimage) {
                steps.push(UpdateStep::OutboundClaimed { htlc_id, preimage });
            }
            let is_claimed = found.is_some() || htlc.preimage.is_some();
            match (output.is_some() && !htlc.failed_back, is_claimed) {
                (true, true) => alike.paid += 1,
                (true, false) => alike.unpaid.push(htlc_id),
                (false, _) => {}
            }
            if is_over && is_claimed {
                alike.gone.push(htlc_id);
            } else if is_over || (!is_claimed && is_chains_tip && self.is_to_give_up(htlc, tip)) {
                steps.push(UpdateStep::OutboundFailed {
                    htlc_id,
                    failure_code: code::PERMANENT_CHANNEL_FAILURE,
                    is_final: is_over,
                });
            }
        }
        for alike in ends.into_values() {
            settle_twins(alike, &mut steps);
        }
        steps
    }

    /// An HTLC that has no output in what ended the channel: trimmed, or never in it, and then it is in the holder's
    /// balance. For one that was trimmed a preimage is looked for in every spend: another HTLC of the same hash may have been taken with it, in a block that was not looked at yet; so
    /// nothing is over before all blocks that are there were. A commitment that the record does not know may hold
    /// the HTLC all the same, and then nobody but the peer can ever take it: with a preimage, at any time.
    fn decided_without_output(
        &self,
        position: &Position,
        add: &HtlcAdd,
        tip: u32,
        is_chains_tip: bool,
    ) -> (Option<PaymentPreimage>, bool) {
        let spends = self.record.onchain.spends.iter();
        let preimage = spends
            .filter(|_| self.may_have_had(position, add.htlc_id))
            .flat_map(|seen| possible_preimages(&seen.transaction))
            .find(|preimage| PaymentHash::from(*preimage) == add.payment_hash);
        let is_over = is_chains_tip
            && is_final(position.confirmed, tip)
            && match position.spend {
                FundingSpend::Unknown { .. } => !position.may_hold(add, tip),
                _ => true,
            };
        (preimage, is_over)
    }

    /// Whether an inbound HTLC that pays for this one is about to expire, and nobody has claimed this one:
    /// it has to be failed upstream, or the upstream channel is lost too.
    fn is_to_give_up(&self, htlc: &OutboundHtlc, tip: u32) -> bool {
        let is_too_late = htlc
            .source
            .parts()
            .iter()
            .any(|part| part.cltv_expiry <= tip.saturating_add(LATENCY_GRACE_PERIOD_BLOCKS));
        htlc.preimage.is_none() && !htlc.failed_back && is_too_late
    }

    /// Everything unspent that is the holder's and needs no second stage, with the height of its output.
    pub fn claims(&self, position: &Position) -> Vec<(Claim, u32)> {
        position
            .outputs
            .iter()
            .filter(|output| output.spent.is_none())
            .filter_map(|output| {
                let claim = match output.kind {
                    OnchainKind::SecondStage => {
                        second_stage_claim(&position.spend, output.outpoint, output.amount_sat)
                    }
                    OnchainKind::Commitment(kind) => {
                        let preimage = output.htlc().and_then(|htlc| self.inbound_preimage(htlc));
                        let of = crate::onchain::identify::CommitmentOutput {
                            vout: output.outpoint.vout,
                            amount_sat: output.amount_sat,
                            kind,
                        };
                        claim_of(&position.spend, output.outpoint.txid, &of, preimage)
                    }
                };
                claim.map(|claim| (claim, output.confirmed))
            })
            .collect()
    }

    /// HTLCs of the holder's own commitment that a second-stage transaction can take at this tip, each with the
    /// height from which on it has been urgent, and its satoshis.
    pub fn second_stages(&self, position: &Position, tip: u32) -> Vec<DueSecondStage> {
        if !matches!(position.spend, FundingSpend::Holder { .. }) {
            return Vec::new();
        }
        let unspent = position
            .outputs
            .iter()
            .filter(|output| output.spent.is_none());
        unspent
            .filter_map(|output| {
                let htlc = output.htlc()?;
                let preimage = match htlc.direction {
                    Direction::Inbound => Some(self.inbound_preimage(htlc)?),
                    Direction::Outbound if tip >= htlc.cltv_expiry => None,
                    Direction::Outbound => return None,
                };
                Some(DueSecondStage {
                    stage: SecondStage {
                        direction: htlc.direction,
                        htlc_id: htlc.htlc_id,
                        preimage,
                    },
                    urgent_since: urgent_since(htlc, position.confirmed),
                    amount_sat: output.amount_sat,
                })
            })
            .collect()
    }

    fn inbound_preimage(&self, htlc: &HtlcOutput) -> Option<PaymentPreimage> {
        if htlc.direction != Direction::Inbound {
            return None;
        }
        match &self.record.inbound.get(&htlc.htlc_id)?.resolution {
            Some(Resolution::Claimed { preimage }) => Some(*preimage),
            _ => None,
        }
    }

    /// Why the channel has to be closed now, if it has: an HTLC of the holder's that the peer should have
    /// returned long ago, or one that is the holder's and would be lost.
    pub(crate) fn deadline(&self, tip: u32) -> Option<String> {
        if self.record.closure.is_some() {
            return None;
        }
        let overdue = self
            .record
            .outbound
            .values()
            .find(|htlc| htlc.add.cltv_expiry + LATENCY_GRACE_PERIOD_BLOCKS <= tip);
        if let Some(htlc) = overdue {
            let id = htlc.add.htlc_id;
            return Some(format!("HTLCsTimedOut: outbound HTLC {id} has expired"));
        }
        let claimed = self.record.inbound.values().find(|htlc| {
            htlc.preimage().is_some() && htlc.add.cltv_expiry <= tip + CLTV_CLAIM_BUFFER
        });
        claimed.map(|htlc| {
            let id = htlc.add.htlc_id;
            format!("HTLCsTimedOut: inbound HTLC {id} has to be claimed on chain")
        })
    }

    /// Whether nothing of a channel's end is left to wait for, at this tip.
    pub(crate) fn is_settled(&self, position: &Position, tip: u32) -> bool {
        self.unburied(position, tip) == 0
    }

    /// How many outputs of the channel's end, of those that matter to the holder, are not spent beyond any
    /// reorganisation at this tip.
    pub fn unburied(&self, position: &Position, tip: u32) -> usize {
        let is_over = |output: &OnchainOutput| match output.spent {
            Some((_, at)) => is_deep(at, tip, FORGETTING_DELAY),
            None => false,
        };
        let matters = |output: &&OnchainOutput| match output.kind {
            OnchainKind::SecondStage => {
                second_stage_claim(&position.spend, output.outpoint, output.amount_sat).is_some()
            }
            OnchainKind::Commitment(kind) => !matches!(
                kind,
                OutputKind::CounterpartyBalance
                    | OutputKind::HolderAnchor
                    | OutputKind::CounterpartyAnchor
                    | OutputKind::Unknown
            ),
        };
        let outputs = position.outputs.iter().filter(matters);
        outputs.filter(|output| !is_over(output)).count()
    }

    /// What the record says of the chain: transactions, and in which heights it saw them. What is not there
    /// any more was taken out by a reorganisation.
    pub fn seen_on_chain(&self) -> Vec<(u32, Txid)> {
        let record = &self.record;
        let funding = record.funding.confirmed;
        let funding = funding.map(|(height, _)| (height, record.parameters.funding.txid));
        let ends = record.onchain.funding_spend.iter();
        let spends = ends.chain(&record.onchain.spends);
        let spends = spends.map(|seen| (seen.height, seen.transaction.compute_txid()));
        funding.into_iter().chain(spends).collect()
    }

    /// Outputs whose spending concerns the channel, with their scripts.
    pub fn watched_outputs(&self, environment: &Environment) -> Vec<(OutPoint, ScriptBuf)> {
        let record = &self.record;
        let parameters = &record.parameters;
        let holder = environment.channel_points(&parameters.keys_id);
        let script = funding_script(
            &holder.funding_pubkey,
            &parameters.counterparty_keys.funding_pubkey,
        );
        let mut watched = vec![(
            parameters.funding.into_bitcoin_outpoint(),
            script.to_p2wsh(),
        )];
        let ends = record.onchain.funding_spend.iter();
        for seen in ends.chain(&record.onchain.spends) {
            let txid = seen.transaction.compute_txid();
            for (vout, output) in (0..).zip(&seen.transaction.output) {
                watched.push((OutPoint { txid, vout }, output.script_pubkey.clone()));
            }
        }
        watched
    }

    /// Whether it is worth asking [`Channel::is_settled`].
    pub(crate) fn may_be_settled(&self, tip: u32) -> bool {
        let spend = &self.record.onchain.funding_spend;
        let is_deep = |seen: &SeenTransaction| is_deep(seen.height, tip, FORGETTING_DELAY);
        spend.as_ref().is_some_and(is_deep) && self.record.outbound.is_empty()
    }

    /// The height from which on it has been urgent that the holder's commitment is in a block: an HTLC runs
    /// out. The record alone says so, after a restart too.
    pub(crate) fn urgent_since(&self) -> Option<u32> {
        let record = &self.record;
        let overdue = record.outbound.values().map(|htlc| {
            let expiry = htlc.add.cltv_expiry;
            expiry.saturating_add(LATENCY_GRACE_PERIOD_BLOCKS)
        });
        let claimed = record.inbound.values().filter(|h| h.preimage().is_some());
        let to_claim = claimed.map(|htlc| htlc.add.cltv_expiry.saturating_sub(CLTV_CLAIM_BUFFER));
        overdue.chain(to_claim).min()
    }

    /// Whether the holder's commitment is to be published, and is not in a block yet.
    pub(crate) fn is_to_publish(&self) -> bool {
        let closure = self.record.closure.as_ref();
        closure.is_some_and(Closure::is_published) && self.record.onchain.funding_spend.is_none()
    }
}

/// Marks what a transaction in a block spends, and adds what its second stages make.
fn note_spends(outputs: &mut Vec<OnchainOutput>, transaction: &Transaction, height: u32) {
    for (index, input) in (0u32..).zip(&transaction.input) {
        let found = outputs
            .iter_mut()
            .find(|output| output.outpoint == input.previous_output);
        let Some(output) = found else { continue };
        let path = match &output.kind {
            OnchainKind::Commitment(kind) => read_spend(kind, input),
            OnchainKind::SecondStage => read_delayed_spend(input),
        };
        output.spent = Some((path, height));
        let is_second_stage = matches!(
            path,
            SpendPath::Preimage {
                second_stage: true,
                ..
            } | SpendPath::Timeout { second_stage: true }
        );
        if let (true, Some((outpoint, amount_sat))) =
            (is_second_stage, second_stage_output(transaction, index))
        {
            outputs.push(OnchainOutput {
                outpoint,
                amount_sat,
                confirmed: height,
                kind: OnchainKind::SecondStage,
                spent: None,
            });
        }
    }
}
