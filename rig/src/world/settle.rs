//! After the steps: lets everything come to rest, bounded by blocks and events, and proves the
//! channels that are left alive. Never decides whether what it sees is right.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use node_bin::api::{HtlcDirection, PaymentState, RestView};

use super::live::Live;
use super::payments::has_come;
use super::recorder::Heed;
use super::rig_fault::Stop;
use super::set_up::{ordered, view_of};
use super::stage::Stage;
use crate::evidence::{MadePayment, OpenedChannel, RigEntry};
use crate::scenario::{LIVE_PREFIX, Payment, PaymentKind, PaymentMoment};

/// Blocks mined at once while a claim on chain has nothing to do with an HTLC (a `to_self_delay`
/// of 144 and more): few rounds, and at most one stride more than what is waited for.
const LONG_STRIDE_BLOCKS: u32 = 72;

/// While one has: expiries must not be passed unseen.
const HTLC_STRIDE_BLOCKS: u32 = 3;

/// Of a payment that proves a channel alive, in millisatoshis.
const LIVE_AMOUNT_MSAT: u64 = 1_000_000;

/// What a sender keeps besides the reserve of a hundredth: commitment fee and anchors.
const KEPT_MSAT: u64 = 20_000_000;

/// What keeps a world from being at rest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pending {
    /// In words, with node and place.
    what: Vec<String>,
    /// Transactions wait to be mined.
    mempool: bool,
    /// Somebody is owed something on chain, or a channel is closing.
    on_chain: bool,
    /// An HTLC is concerned.
    htlcs: bool,
}

impl Pending {
    pub(super) fn is_nothing(&self) -> bool {
        self.what.is_empty()
    }

    fn add(&mut self, what: String) {
        self.what.push(what);
    }

    /// How many blocks to mine next; 0 if blocks cannot help.
    pub(super) fn stride_blocks(&self) -> u32 {
        match (self.mempool, self.on_chain, self.htlcs) {
            (true, _, _) => 1,
            (_, true, true) => HTLC_STRIDE_BLOCKS,
            (_, true, false) => LONG_STRIDE_BLOCKS,
            _ => 0,
        }
    }
}

/// What is pending in these views. One that cheated is left out: nobody owes it anything.
pub(super) fn pending_in(
    rests: &BTreeMap<String, RestView>,
    mempool: usize,
    channel_closed: bool,
    cheaters: &BTreeSet<String>,
) -> Pending {
    let mut pending = Pending {
        mempool: mempool > 0,
        ..Pending::default()
    };
    if mempool > 0 {
        pending.add(format!("{mempool} transactions in the mempool"));
    }
    for (name, rest) in rests {
        if cheaters.contains(name) {
            continue;
        }
        for channel in &rest.channels {
            for htlc in &channel.htlcs {
                pending.htlcs = true;
                let hash = &htlc.payment_hash;
                pending.add(format!("an HTLC of {hash} in {} at {name}", channel.label));
            }
        }
        // What an earlier attempt at a channel would be owed keeps nobody from rest: it was never funded.
        let usable = |label: &str| rest.channels.iter().any(|c| c.label == label && c.usable);
        for claim in rest.claims.iter().filter(|c| !usable(&c.channel)) {
            pending.on_chain = true;
            pending.htlcs |= claim.payment_hash.is_some();
            let (kind, sat, of) = (&claim.kind, claim.amount_sat, &claim.channel);
            pending.add(format!("{sat} sat of {of} at {name} ({kind})"));
        }
        if rest.unswept > 0 {
            pending.on_chain = true;
            pending.add(format!("{} unswept outputs at {name}", rest.unswept));
        }
        let undecided = rest.payments.iter().filter(|payment| {
            payment.direction == HtlcDirection::Outbound && payment.state == PaymentState::Pending
        });
        for payment in undecided {
            let hash = payment.payment_hash.as_deref().unwrap_or("unknown hash");
            pending.add(format!("payment {hash} undecided at {name}"));
        }
    }
    // A payment may wait for a channel that is gone from every view but not yet deep enough.
    pending.on_chain |= channel_closed && !pending.is_nothing();
    pending
}

impl Stage {
    /// Lets the world come to rest, then makes the live payments and takes everybody's last view.
    pub(super) async fn settle(&mut self) -> Result<(), Stop> {
        self.recorder().stop_none();
        loop {
            match self.settle_once().await {
                Err(Stop::Interrupted) => {
                    self.recorder().proving(false);
                    self.recover().await?;
                }
                // Ended at the beginning of the next attempt.
                Err(Stop::NodeHeld) => self.recorder().proving(false),
                done => return done,
            }
        }
    }

    async fn settle_once(&mut self) -> Result<(), Stop> {
        self.end_holds().await?;
        self.come_to_rest().await?;
        self.recorder().proving(true);
        // No block is mined any more: electrs can catch up meanwhile. If it cannot, collecting the
        // evidence says why.
        let chain = Arc::clone(&self.chain);
        let (lived, _) = tokio::join!(self.live_payments(), chain.electrs_synced());
        lived?;
        self.quiet().await?;
        // One that came meanwhile would be missing among the last views.
        self.end_holds().await?;
        self.rest = self.rest_all().await?;
        Ok(())
    }

    async fn come_to_rest(&mut self) -> Result<(), Stop> {
        loop {
            self.connect_wanted().await?;
            self.quiet().await?;
            let rests = self.rest_all().await?;
            self.learn_channels(&rests);
            if self.want_links_of_open_channels(&rests) {
                continue;
            }
            let pending = self.pending(&rests).await?;
            if pending.is_nothing() {
                if !self.is_a_channel_on_its_way(&rests) {
                    return Ok(());
                }
                self.progress.ready_blocks += 1;
                self.mine_and_follow(1).await?;
                continue;
            }
            let left = self
                .bounds()
                .settle_blocks
                .saturating_sub(self.progress.settle_blocks);
            let blocks = pending.stride_blocks().min(left);
            if blocks > 0 {
                self.mine_and_follow(blocks).await?;
            } else if self.progress.ticks < self.bounds().ticks {
                self.progress.ticks += 1;
                self.tick_all().await?;
            } else {
                let missing = format!("rest: still pending are {}", pending.what.join("; "));
                self.recorder().rig(RigEntry::WaitEnded { missing });
                return Ok(());
            }
        }
    }

    async fn mine_and_follow(&mut self, blocks: u32) -> Result<(), Stop> {
        self.progress.settle_blocks += blocks;
        self.mine(blocks).await?;
        self.sync_all().await?;
        self.tick_all().await
    }

    /// What is pending now. A transaction of the mempool counts whoever sent it: the pair is ours.
    async fn pending(&self, rests: &BTreeMap<String, RestView>) -> Result<Pending, Stop> {
        let mempool = self.chain.mempool().await?.len();
        let closed = self.recorder().look(Live::any_channel_closed);
        let revoked = &self.plan.scenario.expect.revoked;
        let cheaters = revoked.values().cloned().collect();
        Ok(pending_in(rests, mempool, closed, &cheaters))
    }

    /// How many blocks, at most so many, could bring what is being waited for; 0 if none can.
    pub(super) async fn blocks_that_help(&self, limit: u32) -> Result<u32, Stop> {
        let rests = self.rest_all().await?;
        Ok(self.pending(&rests).await?.stride_blocks().min(limit))
    }

    /// Where a channel is open, its sides get connected again, whatever the scenario did before.
    fn want_links_of_open_channels(&mut self, rests: &BTreeMap<String, RestView>) -> bool {
        if std::mem::replace(&mut self.progress.links_restored, true) {
            return false;
        }
        let before = self.wanted.len();
        self.progress.given_up.clear();
        for channel in &self.channels {
            let mut views = rests.values();
            if views.any(|rest| view_of(rest, &channel.label).is_some()) {
                self.wanted
                    .insert(ordered(&channel.opener, &channel.acceptor));
            }
        }
        self.wanted.len() > before
    }

    /// One payment each way over every channel that both sides call usable.
    async fn live_payments(&mut self) -> Result<(), Stop> {
        let mut rests = self.rest_all().await?;
        let channels = self.channels.clone();
        let stuck = |rests: &BTreeMap<String, RestView>| {
            let mut channels = channels.iter();
            channels.any(|channel| is_listed(rests, channel) && !is_usable(rests, channel))
        };
        if stuck(&rests) && self.progress.ticks == 0 {
            self.progress.ticks = 1;
            self.tick_all().await?;
            rests = self.rest_all().await?;
        }
        // First all one way, then all the other way: channels side by side, a channel's own
        // payments one after the other.
        for forth in [true, false] {
            let mut made = Vec::new();
            for channel in &channels {
                let (from, to) = match forth {
                    true => (&channel.opener, &channel.acceptor),
                    false => (&channel.acceptor, &channel.opener),
                };
                let payment = live_payment(channel, from, to);
                let is_usable = is_usable(&rests, channel);
                // A kill may have come between noting one and asking its sender for it, and the channel may be
                // closed since: the sender is asked all the same, and says what becomes of it.
                let is_made = self.payments.iter().any(|made| made.id == payment.id);
                if is_made || (is_usable && can_send(&rests, channel, from)) {
                    self.pay(&payment, Some(&channel.label)).await?;
                    made.extend(is_usable.then_some(payment.id));
                }
            }
            self.wait_for_live_payments(&made).await?;
        }
        Ok(())
    }

    /// Waits until these are sent and claimed, or nothing is under way; then ticks once more.
    async fn wait_for_live_payments(&self, ids: &[String]) -> Result<(), Stop> {
        let asked: BTreeSet<&String> = ids.iter().collect();
        let made = self.payments.iter().filter(|made| asked.contains(&made.id));
        let made: Vec<MadePayment> = made.cloned().collect();
        for last in [false, true] {
            let seen = |live: &Live| {
                let open: Vec<String> = unfinished(live, &made);
                (open.is_empty() || live.is_quiet()).then_some(open)
            };
            let what = "the live payments";
            let bound = self.bounds().wait;
            let open = self
                .recorder()
                .wait(bound, what, Heed::Deaths, seen)
                .await?;
            if open.is_empty() {
                break;
            }
            if last {
                let missing = format!("live payments {}", open.join(", "));
                self.recorder().rig(RigEntry::WaitEnded { missing });
            } else {
                self.tick_all().await?;
            }
        }
        self.quiet().await
    }
}

fn unfinished(live: &Live, made: &[MadePayment]) -> Vec<String> {
    let open = made.iter().filter(|payment| {
        !has_come(live, payment, PaymentMoment::Sent)
            || !has_come(live, payment, PaymentMoment::Claimed)
    });
    open.map(|payment| payment.id.clone()).collect()
}

fn views<'a>(
    rests: &'a BTreeMap<String, RestView>,
    channel: &'a OpenedChannel,
) -> impl Iterator<Item = Option<&'a node_bin::api::ChannelView>> {
    let sides = [&channel.opener, &channel.acceptor].into_iter();
    sides.map(|name| {
        rests
            .get(name)
            .and_then(|rest| view_of(rest, &channel.label))
    })
}

fn is_listed(rests: &BTreeMap<String, RestView>, channel: &OpenedChannel) -> bool {
    views(rests, channel).any(|view| view.is_some())
}

fn is_usable(rests: &BTreeMap<String, RestView>, channel: &OpenedChannel) -> bool {
    views(rests, channel).all(|view| view.is_some_and(|view| view.usable))
}

/// Whether the balance is clearly enough; where the node cannot tell, it is tried.
fn can_send(rests: &BTreeMap<String, RestView>, channel: &OpenedChannel, from: &str) -> bool {
    let view = rests
        .get(from)
        .and_then(|rest| view_of(rest, &channel.label));
    let reserve_msat = channel.capacity_sat * 1_000 / 100;
    let needed_msat = LIVE_AMOUNT_MSAT + reserve_msat + KEPT_MSAT;
    let balance_msat = view.and_then(|view| view.balance_msat);
    balance_msat.is_none_or(|balance_msat| balance_msat >= needed_msat)
}

/// Whether the role of a point names a live payment.
pub(super) fn is_of_live_payment(role: &str) -> bool {
    role.split_whitespace()
        .any(|word| word.starts_with(LIVE_PREFIX))
}

fn live_payment(channel: &OpenedChannel, from: &str, to: &str) -> Payment {
    Payment {
        id: format!("{LIVE_PREFIX}{}-{from}", channel.label),
        from: from.to_owned(),
        to: to.to_owned(),
        amount_msat: LIVE_AMOUNT_MSAT,
        kind: PaymentKind::Invoice,
        hold: false,
        paths: vec![vec![channel.label.clone()]],
        parts_msat: vec![LIVE_AMOUNT_MSAT],
    }
}

#[cfg(test)]
mod tests {
    use node_bin::api::{Balance, OnchainClaim, PaymentView};

    use super::*;

    fn at_rest() -> RestView {
        RestView {
            block_height: 100,
            channels: Vec::new(),
            payments: Vec::new(),
            balance: Balance {
                confirmed_sat: 0,
                unconfirmed_sat: 0,
            },
            claims: Vec::new(),
            unswept: 0,
        }
    }

    fn claim(payment_hash: Option<&str>) -> OnchainClaim {
        OnchainClaim {
            channel: "A-B".to_owned(),
            kind: "claimable".to_owned(),
            amount_sat: 5,
            payment_hash: payment_hash.map(str::to_owned),
        }
    }

    fn stride(rest: RestView, mempool: usize, closed: bool) -> u32 {
        let rests = BTreeMap::from([("A".to_owned(), rest)]);
        pending_in(&rests, mempool, closed, &BTreeSet::new()).stride_blocks()
    }

    #[test]
    fn a_world_with_nothing_pending_is_at_rest_even_after_a_close() {
        let rests = BTreeMap::from([("A".to_owned(), at_rest())]);
        assert!(pending_in(&rests, 0, true, &BTreeSet::new()).is_nothing());
    }

    #[test]
    fn blocks_come_one_by_one_while_transactions_wait_and_in_strides_while_claims_ripen() {
        assert_eq!(stride(at_rest(), 1, false), 1);
        assert_eq!(
            stride(
                RestView {
                    claims: vec![claim(None)],
                    ..at_rest()
                },
                0,
                true
            ),
            LONG_STRIDE_BLOCKS
        );
        assert_eq!(
            stride(
                RestView {
                    claims: vec![claim(Some("aa"))],
                    ..at_rest()
                },
                0,
                true
            ),
            3
        );
        assert_eq!(
            stride(
                RestView {
                    unswept: 1,
                    ..at_rest()
                },
                0,
                true
            ),
            LONG_STRIDE_BLOCKS
        );
    }

    #[test]
    fn an_undecided_payment_is_no_reason_to_mine_unless_a_channel_is_closed() {
        let payment = PaymentView {
            payment_id: None,
            payment_hash: None,
            direction: HtlcDirection::Outbound,
            state: PaymentState::Pending,
        };
        let undecided = || RestView {
            payments: vec![payment.clone()],
            ..at_rest()
        };
        assert_eq!(stride(undecided(), 0, false), 0);
        assert_eq!(stride(undecided(), 0, true), LONG_STRIDE_BLOCKS);
    }
}
