//! Nothing vanishes and nothing appears: every open channel holds what its HTLCs say, to the
//! millisatoshi, and wallets, channels, fees and what is left on chain add up, to the satoshi.
//!
//! Channel balances are before commitment fees and count a pending HTLC as its offerer's.

use std::collections::BTreeMap;
use std::str::FromStr;

use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{OutPoint, Transaction};
use node_bin::api::RestView;

use super::chain_view::commitment::ANCHOR_SAT;
use super::chain_view::{ChainView, Confirmed};
use super::{CaseView, Docket, Judgement, Oracle};
use super::{fees, node_accounts};
use crate::evidence::OpenedChannel;

/// The oracle `conservation`.
pub(super) struct Conservation;

impl Oracle for Conservation {
    fn name(&self) -> &'static str {
        "conservation"
    }

    fn judge(&self, case: &CaseView<'_>) -> Judgement {
        let mut docket = Docket::default();
        case.miss_what_is_not_there(&mut docket);
        if let Some(chain) = case.chain_or_miss(&mut docket) {
            let sound: Vec<bool> = case
                .evidence
                .channels
                .iter()
                .map(|channel| judge_channel(case, channel, &mut docket))
                .collect();
            if let Some(books) = Books::read(case, chain, &mut docket) {
                fees::judge(case, &books.chain, books.start_height, &mut docket);
                let balanced = books.judge(&mut docket);
                if balanced && sound.iter().all(|sound| *sound) {
                    node_accounts::judge(case, &books, &mut docket);
                }
            }
        }
        docket.close(self)
    }
}

/// Judges an open channel; whether nothing was found.
fn judge_channel(case: &CaseView<'_>, channel: &OpenedChannel, docket: &mut Docket) -> bool {
    let label = &channel.label;
    if case.closure(label).is_closed() || case.is_never_published(label) {
        return true;
    }
    let sides = [&channel.opener, &channel.acceptor];
    let views = sides.map(|node| case.channel_at_rest(node, channel));
    let [Some(opener_view), Some(acceptor_view)] = views else {
        let message = format!("{label} is unspent on chain but not listed by both sides at rest");
        docket.miss("not-judged", message);
        return true;
    };
    let capacity_msat = i128::from(channel.capacity_sat) * 1000;
    let (opener_msat, acceptor_msat) = expected_msat(case, channel);
    let mut sound = true;
    let expected = [opener_msat, acceptor_msat];
    for ((node, view), expected) in sides
        .into_iter()
        .zip([opener_view, acceptor_view])
        .zip(expected)
    {
        match view.balance_msat {
            Some(balance) if i128::from(balance) != expected => {
                sound = false;
                docket.find(
                    "channel-balance",
                    format!(
                        "{node} has {balance} msat in {label}; its HTLCs say {expected} msat ({:+} msat)",
                        i128::from(balance) - expected
                    ),
                    Vec::new(),
                    Vec::new(),
                );
            }
            Some(_) => {}
            None => {
                let message = format!("{node} cannot tell its exact balance in {label}");
                docket.miss("not-judged", message);
            }
        }
    }
    let balances = [opener_view, acceptor_view].map(|view| view.balance_msat.map(i128::from));
    if let [Some(one), Some(other)] = balances
        && one + other != capacity_msat
    {
        sound = false;
        docket.find(
            "channel-sum",
            format!(
                "{label} holds {capacity_msat} msat, but {} has {one} and {} has {other} msat of it ({:+} msat)",
                channel.opener,
                channel.acceptor,
                one + other - capacity_msat
            ),
            Vec::new(),
            Vec::new(),
        );
    }
    sound
}

/// What opener and acceptor must have, by the push and the claimed HTLCs.
fn expected_msat(case: &CaseView<'_>, channel: &OpenedChannel) -> (i128, i128) {
    let mut acceptor_msat = i128::from(channel.push_msat);
    for (htlc, outcome) in case
        .htlcs()
        .filter(|(htlc, _)| htlc.channel == channel.label)
    {
        if outcome.is_claimed() {
            let amount_msat = i128::from(htlc.amount_msat);
            acceptor_msat += if htlc.offerer == channel.opener {
                amount_msat
            } else {
                -amount_msat
            };
        }
    }
    (
        i128::from(channel.capacity_sat) * 1000 - acceptor_msat,
        acceptor_msat,
    )
}

/// What happened on chain between the views at the start and those at rest, in satoshis.
pub(super) struct Books {
    /// The chain with what nodes broadcast and is in the mempool on top.
    pub chain: ChainView,
    /// Views at the start were taken at this height.
    pub start_height: u32,
    wallets_start_sat: u128,
    wallets_rest_sat: u128,
    channels_start_sat: u128,
    channels_rest_sat: u128,
    fees_sat: u128,
    fee_payers: usize,
    anchors_sat: u128,
    others_sat: u128,
    leftovers: Vec<String>,
    unswept: u64,
}

impl Books {
    /// Takes them; after a word to the docket, `None` where something is missing.
    fn read(case: &CaseView<'_>, chain: &ChainView, docket: &mut Docket) -> Option<Self> {
        let start_height = start_height(case, chain, docket)?;
        let chain = with_mempool(case, chain, docket)?;
        let fundings = fundings(case);
        let (mut channels_start_sat, mut channels_rest_sat) = (0, 0);
        for (channel, funding) in &fundings {
            let funded = chain.transaction(&funding.txid).map(|made| made.height);
            let spent = chain.spend_of(funding).map(|spend| spend.by.height);
            let was_open = funded.is_some_and(|height| height <= start_height)
                && spent.is_none_or(|height| height > start_height);
            let capacity_sat = u128::from(channel.capacity_sat);
            channels_start_sat += if was_open { capacity_sat } else { 0 };
            let is_open = funded.is_some() && spent.is_none();
            channels_rest_sat += if is_open { capacity_sat } else { 0 };
        }
        let wallets = |views: &BTreeMap<String, RestView>| views.values().map(wallet_sat).sum();
        let mut books = Books {
            start_height,
            wallets_start_sat: wallets(&case.evidence.start),
            wallets_rest_sat: wallets(&case.evidence.rest),
            channels_start_sat,
            channels_rest_sat,
            fees_sat: 0,
            fee_payers: 0,
            anchors_sat: 0,
            others_sat: 0,
            leftovers: Vec::new(),
            unswept: case
                .evidence
                .rest
                .values()
                .map(|view| u64::from(view.unswept))
                .sum(),
            chain,
        };
        books.read_fees(docket)?;
        books.read_leftovers(&fundings);
        Some(books)
    }

    fn read_fees(&mut self, docket: &mut Docket) -> Option<()> {
        for confirmed in self.chain.transactions() {
            if confirmed.height <= self.start_height {
                continue;
            }
            let Some(fee_sat) = self.chain.fee_sat(confirmed) else {
                let message = format!(
                    "transaction {} at height {} spends an output from before the case",
                    confirmed.txid, confirmed.height
                );
                docket.miss("not-judged", message);
                return None;
            };
            self.fees_sat += u128::from(fee_sat);
            self.fee_payers += 1;
        }
        Some(())
    }

    /// Outputs of closed channels that lie there still: they pay to script hashes, wallets do not.
    fn read_leftovers(&mut self, fundings: &[(&OpenedChannel, OutPoint)]) {
        let roots: Vec<OutPoint> = fundings.iter().map(|(_, funding)| *funding).collect();
        let after: Vec<&Confirmed> = self.chain.descendants(&roots);
        for confirmed in after
            .into_iter()
            .filter(|made| made.height > self.start_height)
        {
            for (outpoint, output) in confirmed.outpoints() {
                let left = output.script_pubkey.is_p2wsh()
                    && self.chain.spend_of(&outpoint).is_none()
                    && !roots.contains(&outpoint);
                if !left {
                    continue;
                }
                let value_sat = output.value.to_sat();
                if value_sat == ANCHOR_SAT {
                    self.anchors_sat += u128::from(value_sat);
                } else {
                    self.others_sat += u128::from(value_sat);
                    self.leftovers
                        .push(format!("unspent {outpoint}: {value_sat} sat"));
                }
            }
        }
    }

    /// Whether the channel of this funding was opened after the views at the start.
    pub fn is_opened_since(&self, funding: &OutPoint) -> bool {
        let made = self.chain.transaction(&funding.txid);
        made.is_none_or(|made| made.height > self.start_height)
    }

    /// What a funding transaction left to the miner, in satoshis.
    pub fn funding_fee_sat(&self, funding: &OutPoint) -> u128 {
        let made = self.chain.transaction(&funding.txid);
        u128::from(made.and_then(|made| self.chain.fee_sat(made)).unwrap_or(0))
    }

    /// Fees and leftovers of everything after these fundings, in satoshis: what the sides of these
    /// channels can have lost to the chain. What penalties cost counts only for a cheater: others pay it out of what
    /// they take.
    pub fn lost_after_sat(&self, fundings: &[OutPoint], is_cheater: bool) -> u128 {
        self.chain
            .descendants(fundings)
            .into_iter()
            .filter(|made| made.height > self.start_height)
            .map(|made| {
                let left: u128 = made
                    .outpoints()
                    .filter(|(outpoint, output)| {
                        output.script_pubkey.is_p2wsh() && self.chain.spend_of(outpoint).is_none()
                    })
                    .map(|(_, output)| u128::from(output.value.to_sat()))
                    .sum();
                let is_won = !is_cheater && fees::is_penalty(&made.transaction);
                let fee_sat = self.chain.fee_sat(made).filter(|_| !is_won);
                u128::from(fee_sat.unwrap_or(0)) + left
            })
            .sum()
    }

    /// Start and rest must differ by fees and leftovers exactly; whether they do.
    fn judge(&self, docket: &mut Docket) -> bool {
        let before_sat = self.wallets_start_sat + self.channels_start_sat;
        let after_sat = self.wallets_rest_sat
            + self.channels_rest_sat
            + self.fees_sat
            + self.anchors_sat
            + self.others_sat;
        if self.fee_payers > 0 {
            docket.note(format!(
                "chain fees: {} sat in {} transactions",
                self.fees_sat, self.fee_payers
            ));
        }
        if self.anchors_sat > 0 {
            docket.note(format!("anchors left on chain: {} sat", self.anchors_sat));
        }
        if self.others_sat > 0 {
            docket.note(format!(
                "other outputs left on chain: {} sat",
                self.others_sat
            ));
        }
        if before_sat == after_sat {
            return true;
        }
        let (code, difference_sat) = if after_sat < before_sat {
            ("value-vanished", before_sat - after_sat)
        } else {
            ("value-created", after_sat - before_sat)
        };
        let mut lines = vec![
            format!(
                "at the start: wallets {} sat, channels {} sat",
                self.wallets_start_sat, self.channels_start_sat
            ),
            format!(
                "at rest: wallets {} sat, channels {} sat",
                self.wallets_rest_sat, self.channels_rest_sat
            ),
            format!(
                "chain fees {} sat in {} transactions",
                self.fees_sat, self.fee_payers
            ),
            format!(
                "left on chain: anchors {} sat, others {} sat",
                self.anchors_sat, self.others_sat
            ),
        ];
        lines.extend(self.leftovers.iter().cloned());
        if self.unswept > 0 && code == "value-vanished" {
            // They are no wallet's yet, and their scripts do not tell them from a wallet's.
            docket.miss(
                "not-judged",
                format!(
                    "{difference_sat} sat are in no wallet while {} outputs are unswept",
                    self.unswept
                ),
            );
            return false;
        }
        docket.find(
            code,
            format!("wallets, channels, fees and leftovers: {before_sat} sat at the start, {after_sat} sat at rest: {difference_sat} sat differ"),
            Vec::new(),
            lines,
        );
        false
    }
}

/// Confirmed and not.
pub(super) fn wallet_sat(view: &RestView) -> u128 {
    u128::from(view.balance.confirmed_sat) + u128::from(view.balance.unconfirmed_sat)
}

/// The case's channels with their funding outputs.
pub(super) fn fundings<'a>(case: &CaseView<'a>) -> Vec<(&'a OpenedChannel, OutPoint)> {
    case.evidence
        .channels
        .iter()
        .filter_map(|channel| Some((channel, OutPoint::from_str(&channel.funding).ok()?)))
        .collect()
}

/// The height of the views at the start, unless something happened between one and another, or
/// after the views at rest.
fn start_height(case: &CaseView<'_>, chain: &ChainView, docket: &mut Docket) -> Option<u32> {
    for node in case.evidence.plan.scenario.nodes.keys() {
        if !case.evidence.start.contains_key(node) {
            let message = format!("there is no view of {node} after the set-up");
            docket.miss("evidence-missing", message);
            return None;
        }
    }
    let heights = |views: &BTreeMap<String, RestView>| {
        let heights = views.values().map(|view| view.block_height);
        (
            heights.clone().min().unwrap_or(0),
            heights.max().unwrap_or(0),
        )
    };
    let (start_first, start_last) = heights(&case.evidence.start);
    let (rest_first, _) = heights(&case.evidence.rest);
    let between = |above: u32, upto: u32| {
        let mut made = chain.transactions().iter();
        made.any(|confirmed| confirmed.height > above && confirmed.height <= upto)
    };
    if between(start_first, start_last) || between(rest_first, u32::MAX) {
        docket.miss(
            "not-judged",
            "a node had not seen every transaction when its view was taken".to_owned(),
        );
        return None;
    }
    Some(start_last)
}

/// Wallets count what they see in the mempool, so the books do too.
fn with_mempool(case: &CaseView<'_>, chain: &ChainView, docket: &mut Docket) -> Option<ChainView> {
    let mut waiting: BTreeMap<&str, Option<Transaction>> = BTreeMap::new();
    for txid in &case.evidence.chain.mempool {
        waiting.insert(txid, None);
    }
    if waiting.is_empty() {
        return Some(chain.clone());
    }
    for told in case.published() {
        if let Some(known) = waiting.get_mut(told.what.txid.as_str()) {
            *known = deserialize_hex(&told.what.raw).ok();
        }
    }
    let unknown = waiting.values().filter(|known| known.is_none()).count();
    if unknown > 0 {
        let message = format!("{unknown} transactions in the mempool were broadcast by no node");
        docket.miss("not-judged", message);
        return None;
    }
    let known = waiting.into_values().flatten().collect();
    Some(chain.with_unconfirmed(known, case.evidence.chain.tip_height.saturating_add(1)))
}
