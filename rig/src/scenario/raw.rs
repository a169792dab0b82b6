//! A scenario file as written, every value with its place. Owns which keys there are; never what
//! their values mean together.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use faults::{Action, Closing, Condition};
use serde::Deserialize;
use toml::Spanned;
use toml::de::DeTable;

use super::error::{Complaints, advice};
use super::keys::{Keys, Word};
use super::model::{
    Bumped, ChainKind, ExpectedPayment, NodeKind, PaymentKind, PaymentMoment, Persist, Verdict,
};

pub(super) struct RawScenario {
    pub(super) about: Spanned<String>,
    pub(super) nodes: Vec<RawNode>,
    pub(super) channels: Vec<RawChannel>,
    pub(super) act: Vec<RawStep>,
    pub(super) expect: RawExpect,
    pub(super) cases: Vec<RawCase>,
    pub(super) races: Vec<RawRace>,
}

pub(super) struct RawNode {
    pub(super) name: Word,
    pub(super) kind: Option<NodeKind>,
    pub(super) chain: Option<ChainKind>,
    pub(super) funds_sat: Option<Spanned<u64>>,
    pub(super) persist: Option<Persist>,
}

pub(super) struct RawChannel {
    pub(super) between: [Word; 2],
    pub(super) capacity_sat: Spanned<u64>,
    pub(super) push_msat: Option<Spanned<u64>>,
    pub(super) announce: bool,
}

pub(super) struct RawStep {
    /// The place of the value of `do`.
    pub(super) span: Range<usize>,
    pub(super) label: Option<Word>,
    pub(super) kind: RawStepKind,
}

#[derive(Clone)]
pub(super) enum RawStepKind {
    Pay(RawPayment),
    Await {
        payment: Word,
        until: Spanned<PaymentMoment>,
    },
    Claim(Word),
    Fail(Word),
    Disconnect([Word; 2]),
    Connect([Word; 2]),
    Open(Word),
    Close {
        channel: Word,
        by: Word,
    },
    ForceClose {
        channel: Word,
        by: Word,
    },
    Mine {
        blocks: Spanned<u32>,
        empty: bool,
    },
    Reorg(Spanned<u32>),
    Snapshot {
        node: Word,
        name: Word,
    },
    Restore {
        node: Word,
        snapshot: Word,
    },
    Stop(Word),
    Start(Word),
    Quiet,
    Tick,
    FeeRate {
        node: Word,
        sat_per_kw: Spanned<u32>,
    },
    Restart(Word),
    Forget(Word),
}

#[derive(Clone)]
pub(super) struct RawPayment {
    pub(super) id: Word,
    /// So many of them at once, if more than one.
    pub(super) count: Option<Spanned<u32>>,
    pub(super) from: Word,
    pub(super) to: Word,
    pub(super) amount_msat: Spanned<u64>,
    pub(super) kind: PaymentKind,
    pub(super) hold: bool,
    pub(super) route: RawRoute,
    pub(super) parts_msat: Option<Spanned<Vec<Spanned<u64>>>>,
}

#[derive(Clone)]
pub(super) enum RawRoute {
    /// Nothing is said: the direct channel.
    Direct,
    /// Names of nodes.
    Via(Spanned<Vec<Spanned<Vec<Word>>>>),
    /// Labels of channels.
    Paths(Spanned<Vec<Spanned<Vec<Word>>>>),
    /// The sender finds one.
    Gossip(Range<usize>),
}

#[derive(Default)]
pub(super) struct RawExpect {
    pub(super) payments: Vec<(Word, Spanned<ExpectedPayment>)>,
    pub(super) closed: Vec<Word>,
    pub(super) revoked: Option<Spanned<BTreeMap<String, String>>>,
    pub(super) bumped: Option<Spanned<BTreeMap<String, BTreeSet<Bumped>>>>,
}

pub(super) struct RawCase {
    pub(super) name: Word,
    pub(super) faults: Vec<RawFault>,
    pub(super) verdict: Spanned<Verdict>,
    pub(super) finding: Option<Word>,
}

pub(super) struct RawRace {
    pub(super) at: Word,
    pub(super) from: Option<Word>,
    pub(super) close: Spanned<Vec<Spanned<Vec<Word>>>>,
}

pub(super) struct RawFault {
    pub(super) at: Word,
    pub(super) action: Spanned<Action>,
    pub(super) life: u32,
}

fn plain<T>(value: Option<Spanned<T>>) -> Option<T> {
    value.map(Spanned::into_inner)
}

/// Reads the whole file; `None` if some entry could not be read.
pub(super) fn read(
    document: Spanned<DeTable<'_>>,
    complaints: &mut Complaints<'_>,
) -> Option<RawScenario> {
    let mut keys = Keys::new(document, "a scenario");
    let about = keys.required("about", "what it shows, in a sentence", complaints);
    let nodes = match keys.table("nodes", "[nodes]", complaints) {
        Some(table) => table
            .entries()
            .into_iter()
            .filter_map(|(name, value)| {
                let keys = Keys::of(value, "a node", complaints)?;
                Some(read_node(name, keys, complaints))
            })
            .collect(),
        None => Vec::new(),
    };
    let channels = keys
        .tables("channels", "a channel", complaints)
        .into_iter()
        .filter_map(|keys| read_channel(keys, complaints))
        .collect();
    let act = keys
        .tables("act", "a step", complaints)
        .into_iter()
        .filter_map(|keys| read_step(keys, complaints))
        .collect();
    let expect = keys
        .table("expect", "[expect]", complaints)
        .map(|keys| read_expect(keys, complaints))
        .unwrap_or_default();
    let cases = keys
        .tables("case", "a case", complaints)
        .into_iter()
        .filter_map(|keys| read_case(keys, complaints))
        .collect();
    let races = keys
        .tables("race", "a race", complaints)
        .into_iter()
        .filter_map(|keys| read_race(keys, complaints))
        .collect();
    keys.finish(complaints);
    if complaints.entry_lost() {
        return None;
    }
    Some(RawScenario {
        about: about?,
        nodes,
        channels,
        act,
        expect,
        cases,
        races,
    })
}

fn read_node(name: Word, mut keys: Keys<'_>, complaints: &mut Complaints<'_>) -> RawNode {
    let node = RawNode {
        name,
        kind: plain(keys.optional("kind", complaints)),
        chain: plain(keys.optional("chain", complaints)),
        funds_sat: keys.optional("funds_sat", complaints),
        persist: plain(keys.optional("persist", complaints)),
    };
    keys.finish(complaints);
    node
}

fn read_channel(mut keys: Keys<'_>, complaints: &mut Complaints<'_>) -> Option<RawChannel> {
    let between = keys.pair(complaints);
    let capacity_sat = keys.required("capacity_sat", "its size in satoshis", complaints);
    let push_msat = keys.optional("push_msat", complaints);
    let announce = keys.optional("announce", complaints);
    keys.finish(complaints);
    Some(RawChannel {
        between: between?,
        capacity_sat: capacity_sat?,
        push_msat,
        announce: plain(announce).unwrap_or(false),
    })
}

const STEPS: [&str; 20] = [
    "pay",
    "await",
    "claim",
    "fail",
    "disconnect",
    "connect",
    "open",
    "close",
    "force_close",
    "mine",
    "quiet",
    "tick",
    "fee_rate",
    "restart",
    "reorg",
    "snapshot",
    "restore",
    "stop",
    "start",
    "forget",
];

fn read_step(mut keys: Keys<'_>, complaints: &mut Complaints<'_>) -> Option<RawStep> {
    let action: Word = keys.required("do", "what the step does", complaints)?;
    let label = keys.optional("label", complaints);
    let name = action.get_ref().clone();
    keys.what = format!("a `{name}` step");
    let which = "the payment's id";
    let kind = match name.as_str() {
        "pay" => read_payment(&mut keys, complaints).map(RawStepKind::Pay),
        "await" => {
            let payment = keys.required("payment", which, complaints);
            let until = keys.required("until", "how far it has to come", complaints);
            payment
                .zip(until)
                .map(|(payment, until)| RawStepKind::Await { payment, until })
        }
        "claim" => keys
            .required("payment", which, complaints)
            .map(RawStepKind::Claim),
        "fail" => keys
            .required("payment", which, complaints)
            .map(RawStepKind::Fail),
        "disconnect" => keys.pair(complaints).map(RawStepKind::Disconnect),
        "connect" => keys.pair(complaints).map(RawStepKind::Connect),
        "open" => keys
            .required("channel", CHANNEL, complaints)
            .map(RawStepKind::Open),
        "close" => read_close(&mut keys, complaints)
            .map(|(channel, by)| RawStepKind::Close { channel, by }),
        "force_close" => read_close(&mut keys, complaints)
            .map(|(channel, by)| RawStepKind::ForceClose { channel, by }),
        _ if STEPS.contains(&name.as_str()) => {
            read_step_of_chain_or_node(&name, &mut keys, complaints)
        }
        _ => {
            let known = advice(&name, STEPS);
            complaints.lost_entry_at(action.span(), format!("no step does `{name}`{known}"));
            return None;
        }
    };
    keys.finish(complaints);
    Some(RawStep {
        span: action.span(),
        label,
        kind: kind?,
    })
}

/// A step that speaks of blocks or of a node as a whole.
fn read_step_of_chain_or_node(
    name: &str,
    keys: &mut Keys<'_>,
    complaints: &mut Complaints<'_>,
) -> Option<RawStepKind> {
    match name {
        "mine" => {
            let blocks = keys.required("blocks", "how many", complaints);
            let empty = plain(keys.optional("empty", complaints)).unwrap_or(false);
            blocks.map(|blocks| RawStepKind::Mine { blocks, empty })
        }
        "reorg" => keys
            .required("blocks", "how many are taken off", complaints)
            .map(RawStepKind::Reorg),
        "snapshot" => {
            let node = keys.required("node", "whose data is copied", complaints);
            let name = keys.required("name", "a name for `restore`", complaints);
            node.zip(name)
                .map(|(node, name)| RawStepKind::Snapshot { node, name })
        }
        "restore" => {
            let node = keys.required("node", "whose data is put back", complaints);
            let snapshot = keys.required("snapshot", "the name of the copy", complaints);
            node.zip(snapshot)
                .map(|(node, snapshot)| RawStepKind::Restore { node, snapshot })
        }
        "stop" => keys
            .required("node", "which one", complaints)
            .map(RawStepKind::Stop),
        "start" => keys
            .required("node", "which one", complaints)
            .map(RawStepKind::Start),
        "quiet" => Some(RawStepKind::Quiet),
        "tick" => Some(RawStepKind::Tick),
        "fee_rate" => read_fee_rate(keys, complaints),
        "restart" => keys
            .required("node", "which one", complaints)
            .map(RawStepKind::Restart),
        "forget" => keys
            .required("node", "which one", complaints)
            .map(RawStepKind::Forget),
        // All others are `read_step`'s.
        _ => None,
    }
}

const CHANNEL: &str = "its label, such as \"A-B\"";

fn read_fee_rate(keys: &mut Keys<'_>, complaints: &mut Complaints<'_>) -> Option<RawStepKind> {
    let node = keys.required("node", "whose estimate changes", complaints);
    let sat_per_kw = keys.required("sat_per_kw", "satoshis per 1000 weight units", complaints);
    node.zip(sat_per_kw)
        .map(|(node, sat_per_kw)| RawStepKind::FeeRate { node, sat_per_kw })
}

fn read_close(keys: &mut Keys<'_>, complaints: &mut Complaints<'_>) -> Option<(Word, Word)> {
    let channel = keys.required("channel", CHANNEL, complaints);
    let by = keys.required("by", "the node that asks for it", complaints);
    channel.zip(by)
}

/// The only value of `route`.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RouteBy {
    Gossip,
}

fn read_payment(keys: &mut Keys<'_>, complaints: &mut Complaints<'_>) -> Option<RawPayment> {
    let id = keys.required("id", "a name for later steps and [expect]", complaints);
    let from = keys.required("from", "the sender", complaints);
    let to = keys.required("to", "the receiver", complaints);
    let amount_msat = keys.required("amount_msat", "millisatoshis in all", complaints);
    let kind = keys.optional("kind", complaints);
    let hold = keys.optional("hold", complaints);
    let count = keys.optional("count", complaints);
    let parts_msat = keys.optional("parts_msat", complaints);
    let via: Option<Spanned<Vec<_>>> = keys.optional("via", complaints);
    let paths: Option<Spanned<Vec<_>>> = keys.optional("paths", complaints);
    let route: Option<Spanned<RouteBy>> = keys.optional("route", complaints);
    let mut ways: Vec<_> = [
        via.as_ref().map(Spanned::span),
        paths.as_ref().map(Spanned::span),
        route.as_ref().map(Spanned::span),
    ]
    .into_iter()
    .flatten()
    .collect();
    ways.sort_by_key(|span| span.start);
    if let Some(second) = ways.get(1) {
        complaints.at(
            second.clone(),
            "a payment goes by one of `via`, `paths` and `route`: leave out the others",
        );
    }
    Some(RawPayment {
        id: id?,
        count,
        from: from?,
        to: to?,
        amount_msat: amount_msat?,
        kind: plain(kind).unwrap_or(PaymentKind::Invoice),
        hold: plain(hold).unwrap_or(false),
        route: match (via, paths, route) {
            (Some(via), _, _) => RawRoute::Via(via),
            (_, Some(paths), _) => RawRoute::Paths(paths),
            (_, _, Some(route)) => RawRoute::Gossip(route.span()),
            (None, None, None) => RawRoute::Direct,
        },
        parts_msat,
    })
}

fn read_expect(mut keys: Keys<'_>, complaints: &mut Complaints<'_>) -> RawExpect {
    let closed = keys.optional("closed", complaints);
    let revoked = keys.optional("revoked", complaints);
    let bumped = keys.optional("bumped", complaints);
    let mut payments = Vec::new();
    if let Some(table) = keys.table("payments", "[expect.payments]", complaints) {
        for (id, value) in table.entries() {
            let place = value.span();
            match ExpectedPayment::deserialize(toml::de::ValueDeserializer::from(value)) {
                Ok(outcome) => payments.push((id, Spanned::new(place, outcome))),
                Err(error) => complaints.lost_entry_at(place, error.message()),
            }
        }
    }
    keys.finish(complaints);
    RawExpect {
        payments,
        closed: plain(closed).unwrap_or_default(),
        revoked,
        bumped,
    }
}

fn read_case(mut keys: Keys<'_>, complaints: &mut Complaints<'_>) -> Option<RawCase> {
    let name = keys.required("name", "a name for the report", complaints);
    let verdict = keys.required("verdict", "`pass` or `fail`", complaints);
    let finding = keys.optional("finding", complaints);
    let faults = keys
        .tables("faults", "a fault", complaints)
        .into_iter()
        .filter_map(|keys| read_fault(keys, complaints))
        .collect();
    keys.finish(complaints);
    Some(RawCase {
        name: name?,
        faults,
        verdict: verdict?,
        finding,
    })
}

fn read_race(mut keys: Keys<'_>, complaints: &mut Complaints<'_>) -> Option<RawRace> {
    let at = keys.required("at", "the node at whose points channels close", complaints);
    let from = keys.optional("from", complaints);
    let close = keys.required(
        "close",
        "groups of channels, as [[\"A-B\"], [\"A-B\", \"B-C\"]]",
        complaints,
    );
    keys.finish(complaints);
    Some(RawRace {
        at: at?,
        from,
        close: close?,
    })
}

const ACTIONS: [&str; 6] = ["kill", "hold", "delay", "fail", "disconnect", "close"];

fn read_fault(mut keys: Keys<'_>, complaints: &mut Complaints<'_>) -> Option<RawFault> {
    let at = keys.required("at", "where, as \"NODE:point[role]@hit\"", complaints);
    let life = keys.optional("life", complaints);
    let word: Word = keys.required(
        "action",
        "`kill`, `hold`, `delay`, `fail`, `disconnect` or `close`",
        complaints,
    )?;
    let span = word.span();
    keys.what = format!("a `{}` fault", word.get_ref());
    let action = match word.get_ref().as_str() {
        "kill" => Some(Action::Kill),
        "hold" => keys
            .required::<Condition>("until", "when it goes on", complaints)
            .map(|until| Action::Hold {
                until: until.into_inner(),
            }),
        "delay" => keys
            .required("delay_ms", "for how long, in milliseconds", complaints)
            .map(|delay: Spanned<u64>| Action::Delay {
                delay_ms: delay.into_inner(),
            }),
        "fail" => Some(Action::Fail),
        "disconnect" => Some(Action::Disconnect),
        "close" => {
            let closes: Option<Spanned<Vec<Closing>>> = keys.required(
                "closes",
                "which channels, as [{ channel = \"A-B\", by = \"A\" }]",
                complaints,
            );
            let kill = plain(keys.optional("kill", complaints)).unwrap_or(false);
            closes.map(|closes| Action::Close {
                closes: closes.into_inner(),
                kill,
            })
        }
        other => {
            let known = advice(other, ACTIONS);
            complaints.lost_entry_at(span, format!("no fault does `{other}`{known}"));
            return None;
        }
    };
    keys.finish(complaints);
    Some(RawFault {
        at: at?,
        action: Spanned::new(span, action?),
        life: plain(life).unwrap_or(0),
    })
}
