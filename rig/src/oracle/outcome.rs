//! How every HTLC ended: on the wire, or by the output it has in a confirmed commitment. Owns the
//! matching of HTLCs to outputs; blames nobody.

use bitcoin::hashes::{Hash, ripemd160, sha256};
use bitcoin::hex::FromHex;
use node_bin::api::RestView;

use super::chain_view::commitment::{Closure, Commitment, Output};
use super::chain_view::witness::{OutputKind, SpendPath};
use super::htlcs::Htlc;

/// No HTLC below this is sure to have an output: BOLT 3's largest dust limit, for any script.
pub const DUST_SAT: u64 = 546;

/// Who tells how an HTLC ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// A message that the offerer took.
    Wire,
    /// A spend in a block.
    Chain,
}

/// How an HTLC ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With the preimage: the receiver has the money.
    Claimed(Witness),
    /// Without: the offerer has it back.
    Failed(Witness),
    /// It had no output when its channel went on chain, being too small: the miner has it, or the
    /// offerer, but not the receiver.
    Dust,
    /// It was never committed to, as far as what is left of its channel tells.
    Forgotten,
    /// Taken as a penalty.
    Penalty,
    /// Not decided.
    Pending,
}

impl Outcome {
    /// Whether the receiver has the money.
    pub fn is_claimed(self) -> bool {
        matches!(self, Outcome::Claimed(_))
    }

    /// Whether the offerer has the money, for good.
    pub fn is_refunded(self) -> bool {
        matches!(self, Outcome::Failed(_) | Outcome::Forgotten)
    }
}

/// Whether the preimage (64 hexadecimal digits) belongs to the hash (likewise).
pub fn preimage_fits(preimage: &str, payment_hash: &str) -> bool {
    match (
        <[u8; 32]>::from_hex(preimage),
        <[u8; 32]>::from_hex(payment_hash),
    ) {
        (Ok(preimage), Ok(hash)) => sha256::Hash::hash(&preimage).to_byte_array() == hash,
        _ => false,
    }
}

/// The outcomes of a channel's HTLCs, in their order. A revoked commitment tells of an old state only:
/// what messages had decided before stays decided.
pub fn of_channel(
    htlcs: &[&Htlc],
    closure: &Closure,
    rest: [Option<&RestView>; 2],
    channel_id: &str,
    is_revoked: bool,
) -> Vec<Outcome> {
    let Closure::Commitment(commitment) = closure else {
        return htlcs
            .iter()
            .map(|htlc| by_wire(htlc, rest, channel_id))
            .collect();
    };
    let mut outputs: Vec<&Output> = commitment.outputs.iter().collect();
    let spent: Vec<Option<&Output>> = htlcs
        .iter()
        .map(|htlc| take_output(htlc, &mut outputs))
        .collect();
    htlcs
        .iter()
        .zip(spent)
        .map(|(htlc, output)| match output {
            Some(_) if is_revoked && !htlc.preimages.is_empty() => Outcome::Claimed(Witness::Wire),
            Some(_) if is_revoked && htlc.failed => Outcome::Failed(Witness::Wire),
            Some(output) => by_output(output),
            None => without_output(htlc, commitment, &mut outputs),
        })
        .collect()
}

/// The outputs of the commitment that are these HTLCs', in their order.
pub fn outputs_of<'c>(htlcs: &[&Htlc], commitment: &'c Commitment) -> Vec<Option<&'c Output>> {
    let mut outputs: Vec<&Output> = commitment.outputs.iter().collect();
    htlcs
        .iter()
        .map(|htlc| take_output(htlc, &mut outputs))
        .collect()
}

fn by_wire(htlc: &Htlc, rest: [Option<&RestView>; 2], channel_id: &str) -> Outcome {
    let listed = rest.iter().flatten().any(|view| {
        view.channels
            .iter()
            .filter(|channel| channel.channel_id == channel_id)
            .flat_map(|channel| &channel.htlcs)
            .any(|pending| {
                pending.payment_hash == htlc.payment_hash && same_id(htlc, pending.htlc_id)
            })
    });
    if htlc.replaced {
        Outcome::Forgotten
    } else if !htlc.preimages.is_empty() {
        Outcome::Claimed(Witness::Wire)
    } else if htlc.failed {
        Outcome::Failed(Witness::Wire)
    } else if listed {
        Outcome::Pending
    } else {
        Outcome::Forgotten
    }
}

fn same_id(htlc: &Htlc, listed: Option<u64>) -> bool {
    listed.is_none_or(|id| id == htlc.htlc_id)
}

/// Takes the spent output that is this HTLC's; several of the same hash and amount are told apart by
/// the expiry where the script has it.
fn take_output<'a>(htlc: &Htlc, outputs: &mut Vec<&'a Output>) -> Option<&'a Output> {
    if htlc.replaced {
        return None;
    }
    let hash160 = <[u8; 32]>::from_hex(&htlc.payment_hash)
        .map(|hash| ripemd160::Hash::hash(&hash).to_byte_array())
        .ok()?;
    let fits = |output: &Output, exact: bool| match output.kind {
        OutputKind::Htlc {
            payment_hash160,
            cltv_expiry,
            ..
        } => {
            payment_hash160 == hash160
                && output.value_sat == htlc.amount_msat / 1000
                && (!exact || cltv_expiry == Some(htlc.cltv_expiry))
        }
        _ => false,
    };
    let place = outputs
        .iter()
        .position(|output| fits(output, true))
        .or_else(|| outputs.iter().position(|output| fits(output, false)))?;
    Some(outputs.remove(place))
}

fn by_output(output: &Output) -> Outcome {
    match output.spend.map(|spend| spend.path) {
        Some(SpendPath::Preimage(_)) => Outcome::Claimed(Witness::Chain),
        Some(SpendPath::Timeout) => Outcome::Failed(Witness::Chain),
        Some(SpendPath::Revocation) => Outcome::Penalty,
        Some(SpendPath::Owner | SpendPath::Unknown) | None => Outcome::Pending,
    }
}

fn without_output(htlc: &Htlc, commitment: &Commitment, outputs: &mut Vec<&Output>) -> Outcome {
    if htlc.replaced {
        return Outcome::Forgotten;
    }
    let value_sat = htlc.amount_msat / 1000;
    let is_dust = value_sat < DUST_SAT && htlc.arrived && !commitment.outputs.is_empty();
    // Whoever forgot what it was told never revoked a commitment that had the HTLC: the wire decided nothing. The
    // chain may have told it again.
    let is_forgotten = htlc.preimages_forgotten && !is_shown_by(commitment, &htlc.payment_hash);
    if !(is_dust && is_forgotten) {
        if !htlc.preimages.is_empty() {
            return Outcome::Claimed(Witness::Wire);
        }
        if htlc.failed {
            return Outcome::Failed(Witness::Wire);
        }
    }
    let unspent = outputs.iter().position(|output| {
        output.kind == OutputKind::Unknown
            && output.spend.is_none()
            && output.value_sat == value_sat
    });
    if let Some(place) = unspent {
        outputs.remove(place);
        return Outcome::Pending;
    }
    if is_dust {
        return Outcome::Dust;
    }
    Outcome::Forgotten
}

/// Whether a spend of the commitment shows the preimage of this hash.
fn is_shown_by(commitment: &Commitment, payment_hash: &str) -> bool {
    let mut spends = commitment.outputs.iter().filter_map(|output| output.spend);
    spends.any(|spend| match spend.path {
        SpendPath::Preimage(preimage) => sha256::Hash::hash(&preimage).to_string() == payment_hash,
        _ => false,
    })
}
