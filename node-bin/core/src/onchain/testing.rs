//! Two ends of one channel with HTLCs both ways, and a chain that checks scripts.

use std::collections::BTreeMap;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::PublicKey;
use bitcoin::{OutPoint, ScriptBuf, Transaction, TxOut, WPubkeyHash};
use lightning::chain::transaction::OutPoint as FundingOutPoint;
use lightning::ln::chan_utils::CounterpartyCommitmentSecrets;
use lightning::ln::types::ChannelId;
use lightning::types::payment::{PaymentHash, PaymentPreimage};

use crate::commitment::{
    funding_script, holder_commitment_transaction, sign_counterparty_commitment,
};
use crate::keys::{Environment, secret_index};
use crate::record::{
    ChannelLimits, ChannelParameters, ChannelRecord, CounterpartyChanges, CounterpartyCommitment,
    FundingState, HolderChanges, HolderCommitment, RevokedSecrets, ShutdownState,
};
use crate::sim::chain::check_script;
use crate::spec::{CommitmentSpec, Direction, SpecHtlc};
use crate::update::{EntryContent, LogEntry, Update, UpdateStep};

pub const CAPACITY_SAT: u64 = 1_000_000;
pub const DELAY_OF_A: u16 = 144;
pub const DELAY_OF_B: u16 = 720;
/// The number of the commitments at first.
pub const NUMBER: u64 = 5;

pub fn preimage(byte: u8) -> PaymentPreimage {
    PaymentPreimage([byte; 32])
}

pub fn hash(byte: u8) -> PaymentHash {
    PaymentHash(sha256::Hash::hash(&preimage(byte).0).to_byte_array())
}

fn htlc(byte: u8, amount_sat: u64, cltv_expiry: u32) -> SpecHtlc {
    SpecHtlc {
        amount_msat: amount_sat * 1000 + 7,
        payment_hash: hash(byte),
        cltv_expiry,
    }
}

/// A's view: three outbound HTLCs, two of them alike, one more that is dust, and two inbound.
pub fn spec() -> CommitmentSpec {
    CommitmentSpec {
        feerate_per_kw: 253,
        holder_msat: 500_000_000,
        counterparty_msat: 400_899_958,
        htlcs: BTreeMap::from([
            ((Direction::Outbound, 0), htlc(1, 20_000, 500)),
            ((Direction::Outbound, 1), htlc(1, 20_000, 500)),
            ((Direction::Outbound, 2), htlc(2, 20_000, 510)),
            ((Direction::Outbound, 3), htlc(3, 100, 510)),
            ((Direction::Inbound, 0), htlc(4, 15_000, 520)),
            ((Direction::Inbound, 1), htlc(5, 24_000, 530)),
        ]),
    }
}

fn turned_round(spec: &CommitmentSpec) -> CommitmentSpec {
    let turned = |((direction, id), htlc): (&(Direction, u64), &SpecHtlc)| {
        ((direction.reverse(), *id), htlc.clone())
    };
    CommitmentSpec {
        feerate_per_kw: spec.feerate_per_kw,
        holder_msat: spec.counterparty_msat,
        counterparty_msat: spec.holder_msat,
        htlcs: spec.htlcs.iter().map(turned).collect(),
    }
}

/// One end.
pub struct End {
    pub environment: Environment,
    pub record: ChannelRecord,
}

/// Both ends.
pub struct Pair {
    pub a: End,
    pub b: End,
}

fn environment(byte: u8) -> Environment {
    let script = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([byte; 20]));
    Environment::new([byte; 32], script)
}

fn keys_id(byte: u8) -> [u8; 32] {
    [byte; 32]
}

fn limits(dust_limit_sat: u64, to_self_delay: u16) -> ChannelLimits {
    ChannelLimits {
        dust_limit_sat,
        max_htlc_value_in_flight_msat: 1_000_000_000,
        reserve_sat: 10_000,
        htlc_minimum_msat: 1,
        to_self_delay,
        max_accepted_htlcs: 50,
    }
}

fn point(environment: &Environment, keys_id: [u8; 32], number: u64) -> PublicKey {
    let keys = environment.channel_keys(&keys_id);
    keys.commitment_point(number, &environment.secp)
}

fn parameters(own: (&Environment, u8), other: (&Environment, u8), is_a: bool) -> ChannelParameters {
    // A's outputs wait as long as B said.
    let (of_a, of_b) = (limits(354, DELAY_OF_B), limits(546, DELAY_OF_A));
    let (holder_limits, counterparty_limits) = match is_a {
        true => (of_a, of_b),
        false => (of_b, of_a),
    };
    ChannelParameters {
        channel_id: ChannelId([9; 32]),
        user_channel_id: [0; 32],
        counterparty_node_id: other.0.node_id(),
        keys_id: keys_id(own.1),
        is_opener: is_a,
        capacity_sat: CAPACITY_SAT,
        funding: FundingOutPoint {
            txid: bitcoin::Txid::from_byte_array([7; 32]),
            index: 1,
        },
        announce: false,
        minimum_depth: 3,
        counterparty_keys: other.0.channel_points(&keys_id(other.1)),
        holder_limits,
        counterparty_limits,
        holder_shutdown_script: own.0.destination_script.clone(),
    }
}

fn end(own: (Environment, u8), other: (&Environment, u8), spec: &CommitmentSpec) -> End {
    let is_a = own.1 == 1;
    let parameters = parameters((&own.0, own.1), other, is_a);
    let signed = CounterpartyCommitment {
        number: NUMBER,
        spec: turned_round(spec),
        point: point(&own.0, keys_id(own.1), NUMBER),
    };
    let of_other = self::parameters(other, (&own.0, own.1), !is_a);
    let (signature, htlc_signatures) = sign_counterparty_commitment(other.0, &of_other, &signed);
    let mut secrets = CounterpartyCommitmentSecrets::new();
    let other_keys = other.0.channel_keys(&keys_id(other.1));
    for number in 0..NUMBER {
        secrets
            .provide_secret(secret_index(number), other_keys.commitment_secret(number))
            .unwrap();
    }
    let record = ChannelRecord {
        sequence: 1,
        parameters,
        funding: FundingState::default(),
        holder: HolderCommitment {
            number: NUMBER,
            spec: spec.clone(),
            signature,
            htlc_signatures,
        },
        counterparty: CounterpartyCommitment {
            number: NUMBER,
            spec: spec.clone(),
            point: point(other.0, keys_id(other.1), NUMBER),
        },
        next_counterparty: None,
        counterparty_next_point: Some(point(other.0, keys_id(other.1), NUMBER + 1)),
        counterparty_secrets: RevokedSecrets(secrets),
        revoked_htlcs: BTreeMap::new(),
        holder_changes: HolderChanges::default(),
        counterparty_changes: CounterpartyChanges::default(),
        next_htlc_id: 10,
        next_counterparty_htlc_id: 10,
        inbound: BTreeMap::new(),
        outbound: BTreeMap::new(),
        events: Vec::new(),
        shutdown: ShutdownState::default(),
        closure: None,
        onchain: crate::record::OnchainRecord::default(),
    };
    End {
        environment: own.0,
        record,
    }
}

/// Both ends of a channel that A opened; `spec` is A's view.
pub fn pair(spec: &CommitmentSpec) -> Pair {
    Pair {
        a: end((environment(1), 1), (&environment(2), 2), spec),
        b: end(
            (environment(2), 2),
            (&environment(1), 1),
            &turned_round(spec),
        ),
    }
}

impl End {
    pub fn parameters(&self) -> &ChannelParameters {
        &self.record.parameters
    }

    pub fn commitment_transaction(&self) -> Transaction {
        holder_commitment_transaction(
            &self.environment,
            &self.record.parameters,
            &self.record.holder,
        )
    }

    fn apply(&mut self, step: UpdateStep) {
        let entry = LogEntry {
            sequence: self.record.sequence + 1,
            content: EntryContent::Update(Update { steps: vec![step] }),
        };
        self.record.apply(&entry).unwrap();
    }

    /// Signs the other's next commitment, with nothing changed in it.
    pub fn sign_next(&mut self) {
        self.apply(UpdateStep::LatestCounterpartyCommitment {
            number: self.record.counterparty.number + 1,
            changes: Vec::new(),
            sources: Vec::new(),
        });
    }

    /// The other revokes its last commitment.
    pub fn take_revocation(&mut self, other: &End) {
        let keys = other.environment.channel_keys(&other.parameters().keys_id);
        let number = self.record.counterparty.number;
        self.apply(UpdateStep::CommitmentSecret {
            number,
            secret: keys.commitment_secret(number),
            next_point: keys.commitment_point(number + 2, &self.environment.secp),
        });
    }
}

impl Pair {
    /// B's commitment, which A then holds revoked.
    pub fn cheat(&mut self) -> Transaction {
        let transaction = self.b.commitment_transaction();
        self.a.sign_next();
        self.a.take_revocation(&self.b);
        transaction
    }
}

/// Outputs that may be spent.
#[derive(Default)]
pub struct Chain {
    outputs: BTreeMap<OutPoint, TxOut>,
}

impl Chain {
    /// With the channel's funding output.
    pub fn funded(pair: &Pair) -> Chain {
        let parameters = pair.a.parameters();
        let holder = pair.a.environment.channel_points(&parameters.keys_id);
        let script = funding_script(
            &holder.funding_pubkey,
            &parameters.counterparty_keys.funding_pubkey,
        );
        let mut chain = Chain::default();
        chain.outputs.insert(
            parameters.funding.into_bitcoin_outpoint(),
            TxOut {
                value: bitcoin::Amount::from_sat(CAPACITY_SAT),
                script_pubkey: script.to_p2wsh(),
            },
        );
        chain
    }

    /// An output that was always there.
    pub fn add_output(&mut self, outpoint: OutPoint, output: TxOut) {
        self.outputs.insert(outpoint, output);
    }

    /// Checks every input's script, that no money is made, and takes the outputs in.
    pub fn accept(&mut self, transaction: &Transaction) {
        let mut total_sat = 0;
        for (index, input) in transaction.input.iter().enumerate() {
            let spent = self.outputs.remove(&input.previous_output).unwrap();
            total_sat += spent.value.to_sat();
            check_script(transaction, index, &spent);
        }
        let paid_sat: u64 = transaction.output.iter().map(|o| o.value.to_sat()).sum();
        assert!(paid_sat <= total_sat, "{transaction:?}");
        let txid = transaction.compute_txid();
        for (vout, output) in (0u32..).zip(&transaction.output) {
            self.outputs.insert(OutPoint { txid, vout }, output.clone());
        }
    }
}
