//! Coins that have to stay when a channel is opened: each channel may end on the chain, and its commitment and HTLC
//! transactions pay no fees of their own (BOLT 3, anchors). The sums are LDK's.

use lightning::events::bump_transaction::Utxo;
use lightning::util::anchor_channel_reserves::{
    AnchorChannelReserveContext, get_reserve_per_channel, get_supportable_anchor_channels,
};

use super::wallet::WalletError;

/// Whether these coins pay for the ends of so many channels: one coin for each, because claims of several
/// channels are never in one transaction.
///
/// # Errors
///
/// [`WalletError::Reserve`] if they do not.
pub(super) fn expect_reserve(coins: &[Utxo], channels: usize) -> Result<(), WalletError> {
    let context = AnchorChannelReserveContext::default();
    let supported = get_supportable_anchor_channels(&context, coins);
    if supported >= channels as u64 {
        return Ok(());
    }
    Err(WalletError::Reserve {
        channels,
        supported,
        reserve_sat: get_reserve_per_channel(&context).to_sat(),
    })
}
