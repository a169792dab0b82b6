//! What a close may cost by HTLCs that have no output: the one loss besides fees that nobody can prevent, and
//! bounded by what nodes let a channel hold of it.

use super::{CaseView, Docket};
use crate::evidence::{MadePayment, OpenedChannel};
use crate::oracle::htlcs::Htlc;
use crate::oracle::outcome::Outcome;
use crate::scenario::NodeKind;

/// The most that a unified node lets a channel hold in dust HTLCs, in millisatoshis.
const MAXIMUM_EXPOSURE_MSAT: u64 = 5_000_000;

/// The same of LDK as the stock node runs it: 10,000 times the satoshis per 1000 weight units that it must reckon with,
/// which is ten times its first estimate.
const MAXIMUM_EXPOSURE_STOCK_MSAT: u64 = 100_000_000;

/// Judges what each channel's close cost by dust.
pub(super) fn judge(case: &CaseView<'_>, docket: &mut Docket) {
    for channel in &case.evidence.channels {
        let maximum_msat = maximum_exposure_msat(case, channel);
        let (mut dust_msat, mut lines, mut trace) = (0_u64, Vec::new(), Vec::new());
        for htlc in dust_of(case, |htlc| htlc.channel == channel.label) {
            dust_msat = dust_msat.saturating_add(htlc.amount_msat);
            lines.push(htlc.name());
            trace.extend(&htlc.trace);
        }
        if dust_msat > maximum_msat {
            docket.find(
                "dust-above-limit",
                format!(
                    "{dust_msat} msat of dust HTLCs had no output when {} closed: nodes may let it hold \
                     {maximum_msat} msat",
                    channel.label
                ),
                trace,
                lines,
            );
        }
    }
}

/// The larger of both sides' limits: a side refuses what is above its own only once it is committed.
fn maximum_exposure_msat(case: &CaseView<'_>, channel: &OpenedChannel) -> u64 {
    let sides = [&channel.opener, &channel.acceptor];
    let of = |node: &String| match case.evidence.plan.scenario.nodes.get(node)?.kind {
        NodeKind::Unified => Some(MAXIMUM_EXPOSURE_MSAT),
        NodeKind::Stock => Some(MAXIMUM_EXPOSURE_STOCK_MSAT),
    };
    let limits = sides.into_iter().filter_map(of);
    limits.max().unwrap_or(MAXIMUM_EXPOSURE_MSAT)
}

/// Whether what the receiver claimed was dust in a channel that closed on the way; that is noted.
pub(super) fn is_lost(
    case: &CaseView<'_>,
    made: &MadePayment,
    claimed_msat: u64,
    docket: &mut Docket,
) -> bool {
    let on_the_way = dust_of(case, |htlc| htlc.payment_hash == made.payment_hash);
    let dust_msat: u64 = on_the_way.map(|htlc| htlc.amount_msat).sum();
    let is_dust = dust_msat >= claimed_msat;
    if is_dust {
        docket.note(format!(
            "{}: {dust_msat} msat of dust HTLCs had no output on the way when their channel closed",
            made.id
        ));
    }
    is_dust
}

/// Those of these HTLCs that ended as dust.
fn dust_of<'c>(
    case: &'c CaseView<'_>,
    is_meant: impl Fn(&Htlc) -> bool,
) -> impl Iterator<Item = &'c Htlc> {
    case.htlcs()
        .filter(move |(htlc, outcome)| *outcome == Outcome::Dust && is_meant(htlc))
        .map(|(htlc, _)| htlc)
}
