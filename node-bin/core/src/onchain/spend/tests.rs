//! Witnesses that nobody should meet; those of real spends are in the tests of claims.

use bitcoin::Witness;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::onchain::testing::{hash, preimage};
use crate::spec::Direction;

fn htlc() -> OutputKind {
    OutputKind::Htlc(HtlcOutput {
        direction: Direction::Outbound,
        htlc_id: 0,
        payment_hash: hash(1),
        cltv_expiry: 500,
        amount_msat: 20_000_000,
    })
}

fn input(witness: &[Vec<u8>]) -> TxIn {
    TxIn {
        witness: Witness::from_slice(witness),
        ..TxIn::default()
    }
}

#[test]
fn a_preimage_counts_only_if_it_is_the_hashs() {
    let spend = |byte| {
        let preimage = preimage(byte).0.to_vec();
        input(&[vec![0; 72], preimage, vec![0; 136]])
    };
    assert_eq!(
        read_spend(&htlc(), &spend(1)),
        SpendPath::Preimage {
            preimage: preimage(1),
            second_stage: false
        }
    );
    assert_eq!(read_spend(&htlc(), &spend(2)), SpendPath::Unknown);
}

#[test]
fn an_input_without_a_witness_is_unknown() {
    for kind in [
        htlc(),
        OutputKind::HolderDelayed,
        OutputKind::RevokedBalance,
    ] {
        assert_eq!(read_spend(&kind, &input(&[])), SpendPath::Unknown);
    }
}

proptest! {
    #[test]
    fn no_witness_makes_the_reader_panic(
        witness in vec(vec(any::<u8>(), 0..150), 0..7),
    ) {
        let input = input(&witness);
        for kind in [htlc(), OutputKind::HolderDelayed, OutputKind::CounterpartyBalance] {
            read_spend(&kind, &input);
        }
    }
}
