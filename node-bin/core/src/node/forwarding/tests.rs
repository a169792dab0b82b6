//! Every reason for which an HTLC is not passed on, with BOLT 4's code and data for it, at the edge of each
//! limit.

use bitcoin::ScriptBuf;
use bitcoin::secp256k1::SecretKey;
use lightning::ln::types::ChannelId;
use lightning::types::payment::PaymentHash;

use super::{Forward, Node};
use crate::channel::WaitingAdd;
use crate::effect::UserEvent;
use crate::event::MonitorEvent;
use crate::onion::{OwnFailure, code};
use crate::record::{ChannelRecord, OutboundHtlc};
use crate::sim::setup::POLICY;
use crate::sim::testing::{A, B, C, channel, world};
use crate::source::{HtlcSource, InboundHtlcId};
use crate::spec::{Direction, HtlcAdd, SpecHtlc};

/// What the next hop shall get.
const AMOUNT_MSAT: u64 = 1_000_000;
/// It, with what B asks for: 1,000 and 100 millionths.
const WITH_FEE_MSAT: u64 = AMOUNT_MSAT + 1_000 + 100;
const DELTA: u32 = POLICY.cltv_expiry_delta as u32;
/// Below both dust limits.
const DUST_MSAT: u64 = 250_000;

/// B, and what A wants it to pass on to C.
struct Asked {
    node: Node,
    upstream: ChannelId,
    downstream: ChannelId,
    add: HtlcAdd,
    forward: Forward,
}

fn asked() -> Asked {
    let world = world("forward");
    let node = world.nodes[B].engine.as_ref().unwrap().node.clone();
    let (upstream, downstream) = (channel(&world, A, B), channel(&world, B, C));
    let height = node.best_block.height;
    let next = &node.channels[&downstream];
    let forward = Forward {
        shared_secret: [1; 32],
        onion: Vec::new(),
        short_channel_id: next.short_channel_id().unwrap(),
        amount_msat: AMOUNT_MSAT,
        cltv_expiry: height + 100,
    };
    let add = add(0, WITH_FEE_MSAT, height + 100 + DELTA);
    Asked {
        node,
        upstream,
        downstream,
        add,
        forward,
    }
}

fn add(htlc_id: u64, amount_msat: u64, cltv_expiry: u32) -> HtlcAdd {
    HtlcAdd {
        htlc_id,
        amount_msat,
        payment_hash: PaymentHash([2; 32]),
        cltv_expiry,
        onion: Vec::new(),
    }
}

impl Asked {
    fn height(&self) -> u32 {
        self.node.best_block.height
    }

    fn record(&mut self, channel_id: ChannelId) -> &mut ChannelRecord {
        &mut self.node.channels.get_mut(&channel_id).unwrap().record
    }

    fn next(&mut self) -> &mut ChannelRecord {
        self.record(self.downstream)
    }

    /// The next HTLC is to expire so many blocks from now, and this one the delta later.
    fn expire_in(&mut self, blocks: u32) {
        self.forward.cltv_expiry = self.height() + blocks;
        self.add.cltv_expiry =
            self.forward.cltv_expiry + u32::from(self.node.policy.cltv_expiry_delta);
    }

    fn amount_is(&mut self, amount_msat: u64) {
        self.forward.amount_msat = amount_msat;
        self.add.amount_msat = amount_msat + 1_000 + amount_msat / 10_000;
    }

    /// So many HTLCs below the dust limit are pending upstream.
    fn hold_dust(&mut self, htlcs: u64) {
        let upstream = self.upstream;
        let spec = &mut self.record(upstream).holder.spec;
        for htlc_id in 100..100 + htlcs {
            let htlc = SpecHtlc {
                amount_msat: DUST_MSAT,
                payment_hash: PaymentHash([3; 32]),
                cltv_expiry: 1_000,
            };
            spec.htlcs.insert((Direction::Inbound, htlc_id), htlc);
        }
    }

    /// Downstream there are an event, an HTLC that will make one, one that has made its own (which was
    /// acknowledged), and one that waits.
    fn expect_events(&mut self, bound: usize) {
        self.node.policy.maximum_unacknowledged_events = bound;
        let downstream = self.downstream;
        let source = HtlcSource::Own {
            payment_id: [1; 32],
            part: 0,
            session_key: SecretKey::from_slice(&[1; 32]).unwrap(),
            path: Vec::new(),
        };
        let record = self.record(downstream);
        record.raise(MonitorEvent::HtlcAccepted {
            add: add(0, 1_000, 1_000),
        });
        for (htlc_id, preimage) in [
            (0, None),
            (1, Some(lightning::types::payment::PaymentPreimage([1; 32]))),
        ] {
            let htlc = OutboundHtlc {
                add: add(htlc_id, 1_000, 1_000),
                source: source.clone(),
                added_by: 1,
                preimage,
                failed_back: false,
            };
            record.outbound.insert(htlc_id, htlc);
        }
        let channel = self.node.channels.get_mut(&downstream).unwrap();
        channel.offer(WaitingAdd {
            add: add(0, 1_000, 1_000),
            source,
        });
    }

    fn check(&self) -> Result<ChannelId, OwnFailure> {
        let inbound = InboundHtlcId {
            channel_id: self.upstream,
            htlc_id: self.add.htlc_id,
        };
        self.node.check_forward(inbound, &self.add, &self.forward)
    }
}

/// The failure's code and what comes before the empty `channel_update`.
fn update(code: u16, fields: &[u8]) -> Option<OwnFailure> {
    Some(OwnFailure::update(code, fields))
}

#[test]
fn every_reason_to_refuse_a_forward_has_its_code_and_its_edge() {
    type Change = fn(&mut Asked);
    type Wanted = fn(&Asked) -> Option<OwnFailure>;
    let passed: Wanted = |_| None;
    let cases: [(&str, Change, Wanted); 25] = [
        ("as it should be", |_| {}, passed),
        (
            "unknown channel",
            |a| a.forward.short_channel_id += 1,
            |_| Some(OwnFailure::bare(code::UNKNOWN_NEXT_PEER)),
        ),
        (
            "a channel that is not ready",
            |a| a.next().funding.counterparty_ready = false,
            |_| Some(OwnFailure::bare(code::UNKNOWN_NEXT_PEER)),
        ),
        (
            "shut down by the holder",
            |a| a.next().shutdown.holder = Some(ScriptBuf::new()),
            |_| update(code::CHANNEL_DISABLED, &[0, 0]),
        ),
        (
            "shut down by the peer",
            |a| a.next().shutdown.counterparty = Some(ScriptBuf::new()),
            |_| update(code::CHANNEL_DISABLED, &[0, 0]),
        ),
        (
            "fee",
            |a| a.add.amount_msat -= 1,
            |a| update(code::FEE_INSUFFICIENT, &a.add.amount_msat.to_be_bytes()),
        ),
        ("more than the fee", |a| a.add.amount_msat += 1, passed),
        (
            "no fee",
            |a| a.add.amount_msat = AMOUNT_MSAT,
            |a| update(code::FEE_INSUFFICIENT, &a.add.amount_msat.to_be_bytes()),
        ),
        (
            "more than there is",
            |a| a.forward.amount_msat = u64::MAX,
            |a| update(code::FEE_INSUFFICIENT, &a.add.amount_msat.to_be_bytes()),
        ),
        (
            "delta",
            |a| a.add.cltv_expiry -= 1,
            |a| {
                update(
                    code::INCORRECT_CLTV_EXPIRY,
                    &a.add.cltv_expiry.to_be_bytes(),
                )
            },
        ),
        ("more than the delta", |a| a.add.cltv_expiry += 1, passed),
        (
            "no time at all",
            |a| a.forward.cltv_expiry = u32::MAX,
            |a| {
                update(
                    code::INCORRECT_CLTV_EXPIRY,
                    &a.add.cltv_expiry.to_be_bytes(),
                )
            },
        ),
        (
            "next expires now",
            |a| a.expire_in(1),
            |_| update(code::EXPIRY_TOO_SOON, &[]),
        ),
        ("next expires soon", |a| a.expire_in(2), passed),
        (
            "expires too soon to be claimed",
            |a| {
                a.node.policy.cltv_expiry_delta = 10;
                a.expire_in(29);
            },
            |_| update(code::EXPIRY_TOO_SOON, &[]),
        ),
        (
            "expires just late enough",
            |a| {
                a.node.policy.cltv_expiry_delta = 10;
                a.expire_in(30);
            },
            passed,
        ),
        ("far", |a| a.expire_in(2_016 - DELTA), passed),
        (
            "too far",
            |a| a.expire_in(2_017 - DELTA),
            |_| Some(OwnFailure::bare(code::EXPIRY_TOO_FAR)),
        ),
        ("minimum", |a| set_minimum(a, AMOUNT_MSAT), passed),
        (
            "below the minimum",
            |a| set_minimum(a, AMOUNT_MSAT + 1),
            |a| {
                let amount_msat = a.forward.amount_msat.to_be_bytes();
                update(code::AMOUNT_BELOW_MINIMUM, &amount_msat)
            },
        ),
        ("events within the bound", |a| a.expect_events(4), passed),
        (
            "events at the bound",
            |a| a.expect_events(3),
            |_| update(code::TEMPORARY_CHANNEL_FAILURE, &[]),
        ),
        (
            "as much dust as a close may cost",
            |a| {
                a.amount_is(DUST_MSAT);
                a.hold_dust(20);
            },
            passed,
        ),
        (
            "more dust than a close may cost",
            |a| {
                a.amount_is(DUST_MSAT);
                a.hold_dust(21);
            },
            |_| update(code::TEMPORARY_CHANNEL_FAILURE, &[]),
        ),
        ("what is no dust beside dust", |a| a.hold_dust(21), passed),
    ];
    for (name, change, wanted) in cases {
        let mut asked = asked();
        change(&mut asked);
        let wanted = match wanted(&asked) {
            Some(failure) => Err(failure),
            None => Ok(asked.downstream),
        };
        assert_eq!(asked.check(), wanted, "{name}");
    }
}

fn set_minimum(asked: &mut Asked, htlc_minimum_msat: u64) {
    let downstream = asked.downstream;
    let parameters = &mut asked.record(downstream).parameters;
    parameters.counterparty_limits.htlc_minimum_msat = htlc_minimum_msat;
}

#[test]
fn what_the_next_channel_cannot_take_when_its_turn_comes_is_failed_with_the_code_for_it() {
    type Change = fn(&mut ChannelRecord);
    let cases: [(&str, Change); 3] = [
        ("0x1007", |record| {
            record
                .parameters
                .counterparty_limits
                .max_htlc_value_in_flight_msat = 0;
        }),
        ("0x1007", |record| {
            record.parameters.counterparty_limits.max_accepted_htlcs = 0;
        }),
        ("0x1007", |record| {
            record.parameters.counterparty_limits.reserve_sat = 10_000_000;
        }),
    ];
    for (failure_code, change) in cases {
        let mut world = world("forward");
        let downstream = channel(&world, B, C);
        let engine = world.nodes[B].engine.as_mut().unwrap();
        change(&mut engine.node.channels.get_mut(&downstream).unwrap().record);
        world.run_to_rest();
        let mut heard = world.nodes[A].user.handled();
        let is_it = |event: &UserEvent| matches!(event, UserEvent::PaymentFailed { reason, .. } if reason.contains(failure_code));
        assert!(heard.any(is_it));
    }
}
