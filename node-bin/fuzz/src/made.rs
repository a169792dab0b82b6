//! Messages that are right in their form, with fields near to what a node expects of its peer and far from it.

use bitcoin::ScriptBuf;
use bitcoin::constants::ChainHash;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::{PublicKey, SecretKey};
use lightning::ln::msgs;
use lightning::ln::types::ChannelId;
use lightning::types::payment::{PaymentHash, PaymentPreimage};
use node_core::channel::Channel;
use node_core::commitment::channel_type;
use node_core::message::Message;
use node_core::sim::hostile::next_htlc_id;
use node_core::sim::world::World;
use node_core::wire::{fail_malformed_message, fail_message, onion_packet};

use crate::peer::{Bytes, VICTIM};

/// Makes messages for one channel.
pub struct Maker<'a> {
    /// Where.
    pub world: &'a World,
    /// Who sends.
    pub attacker: usize,
    /// About which channel.
    pub channel_id: ChannelId,
}

impl Maker<'_> {
    fn victims(&self) -> Option<&Channel> {
        self.world.side(VICTIM, &self.channel_id)
    }

    /// One of all kinds; `None`: this one cannot be made here.
    pub fn make(&self, bytes: &mut Bytes<'_>) -> Option<Message> {
        let channel_id = self.channel_id;
        Some(match bytes.byte() % 17 {
            0..=2 => self.add(bytes)?,
            3 => Message::UpdateFulfillHtlc(msgs::UpdateFulfillHTLC {
                channel_id,
                htlc_id: u64::from(bytes.byte() % 4),
                payment_preimage: self.preimage(bytes),
                attribution_data: None,
            }),
            4 => {
                let htlc_id = u64::from(bytes.byte() % 4);
                let length = usize::from(bytes.byte()) * 3;
                Message::UpdateFailHtlc(fail_message(channel_id, htlc_id, bytes.some(length)).ok()?)
            }
            5 => {
                let htlc_id = u64::from(bytes.byte() % 4);
                let code = bytes.number() as u16;
                let hash = [bytes.byte(); 32];
                let message = fail_malformed_message(channel_id, htlc_id, &hash, code);
                Message::UpdateFailMalformedHtlc(message.ok()?)
            }
            6 => Message::UpdateFee(msgs::UpdateFee {
                channel_id,
                feerate_per_kw: bytes.number() as u32,
            }),
            7 => Message::CommitmentSigned(msgs::CommitmentSigned {
                channel_id,
                signature: self.signature(bytes)?,
                htlc_signatures: vec![self.signature(bytes)?; usize::from(bytes.byte() % 4)],
                funding_txid: None,
            }),
            8 => Message::RevokeAndAck(msgs::RevokeAndACK {
                channel_id,
                per_commitment_secret: self.secret(bytes),
                next_per_commitment_point: self.point(bytes)?,
                release_htlc_message_paths: Vec::new(),
            }),
            9 => Message::ChannelReestablish(self.reestablish(bytes)?),
            10 => Message::ChannelReady(msgs::ChannelReady {
                channel_id,
                next_per_commitment_point: self.point(bytes)?,
                short_channel_id_alias: None,
            }),
            11 => Message::Shutdown(msgs::Shutdown {
                channel_id,
                scriptpubkey: self.script(bytes),
            }),
            rare => self.make_rare(rare, bytes)?,
        })
    }

    fn make_rare(&self, kind: u8, bytes: &mut Bytes<'_>) -> Option<Message> {
        let channel_id = self.channel_id;
        Some(match kind {
            12 => self.closing_signed(bytes)?,
            13 => Message::OpenChannel(self.open(bytes)?),
            14 => Message::FundingCreated(msgs::FundingCreated {
                temporary_channel_id: ChannelId([bytes.byte() % 4; 32]),
                funding_txid: Hash::from_byte_array([bytes.byte(); 32]),
                funding_output_index: u16::from(bytes.byte()),
                signature: self.signature(bytes)?,
            }),
            15 => Message::AnnouncementSignatures(msgs::AnnouncementSignatures {
                channel_id,
                short_channel_id: bytes.number(),
                node_signature: self.signature(bytes)?,
                bitcoin_signature: self.signature(bytes)?,
            }),
            _ => Message::Error(msgs::ErrorMessage {
                channel_id: match bytes.byte() {
                    0 => ChannelId([0; 32]),
                    _ => channel_id,
                },
                data: String::from_utf8_lossy(bytes.some(20)).into_owned(),
            }),
        })
    }

    fn add(&self, bytes: &mut Bytes<'_>) -> Option<Message> {
        let next = self.victims().map_or(0, next_htlc_id);
        let onion = [bytes.some(2), &[7; 1366]].concat();
        let payment = self.world.flow.payments.first()?;
        let height = self.world.chain.height();
        Some(Message::UpdateAddHtlc(msgs::UpdateAddHTLC {
            channel_id: self.channel_id,
            htlc_id: next + u64::from(bytes.byte() / 250),
            amount_msat: bytes.number(),
            payment_hash: match bytes.byte() {
                0..=127 => payment.payment_hash,
                other => PaymentHash([other; 32]),
            },
            cltv_expiry: match bytes.byte() {
                255 => bytes.number() as u32,
                near => height + u32::from(near),
            },
            skimmed_fee_msat: None,
            onion_routing_packet: self.onion(bytes, &onion[..1366])?,
            blinding_point: None,
            hold_htlc: None,
        }))
    }

    /// An onion that is meant for the node, taken from what it has pending, or one that is nobody's.
    fn onion(&self, bytes: &mut Bytes<'_>, otherwise: &[u8]) -> Option<msgs::OnionPacket> {
        let known = self.victims().and_then(|channel| {
            let mut inbound = channel.record.inbound.values();
            inbound.next().map(|htlc| htlc.add.onion.clone())
        });
        match (bytes.byte(), known) {
            (0..=127, Some(onion)) => onion_packet(&onion).ok(),
            _ => onion_packet(otherwise).ok(),
        }
    }

    fn preimage(&self, bytes: &mut Bytes<'_>) -> PaymentPreimage {
        let which = usize::from(bytes.byte());
        match self.world.flow.payments.get(which) {
            Some(payment) => payment.preimage,
            None => PaymentPreimage([bytes.byte(); 32]),
        }
    }

    fn key(&self, bytes: &mut Bytes<'_>) -> Option<SecretKey> {
        let digest = sha256::Hash::hash(&[bytes.byte()]);
        SecretKey::from_slice(digest.as_byte_array()).ok()
    }

    fn point(&self, bytes: &mut Bytes<'_>) -> Option<PublicKey> {
        let secp = &self.world.nodes[VICTIM].environment.secp;
        Some(self.key(bytes)?.public_key(secp))
    }

    fn signature(&self, bytes: &mut Bytes<'_>) -> Option<Signature> {
        let secp = &self.world.nodes[VICTIM].environment.secp;
        let message = bitcoin::secp256k1::Message::from_digest([bytes.byte(); 32]);
        Some(secp.sign_ecdsa(&message, &self.key(bytes)?))
    }

    /// A number near this one, or any.
    fn near(&self, number: u64, bytes: &mut Bytes<'_>) -> u64 {
        match bytes.byte() {
            at @ 0..=6 => (number + 3).wrapping_sub(u64::from(at)),
            255 => bytes.number(),
            _ => number,
        }
    }

    fn secret(&self, bytes: &mut Bytes<'_>) -> [u8; 32] {
        let Some(channel) = self.victims() else {
            return [bytes.byte(); 32];
        };
        let number = self.near(channel.record.counterparty.number, bytes);
        match self.world.side(self.attacker, &self.channel_id) {
            Some(own) => {
                let environment = &self.world.nodes[self.attacker].environment;
                let keys = environment.channel_keys(&own.record.parameters.keys_id);
                keys.commitment_secret(number)
            }
            None => [bytes.byte(); 32],
        }
    }

    fn reestablish(&self, bytes: &mut Bytes<'_>) -> Option<msgs::ChannelReestablish> {
        let record = &self.victims()?.record;
        let environment = &self.world.nodes[VICTIM].environment;
        let revocation = self.near(record.holder.number, bytes);
        let keys = environment.channel_keys(&record.parameters.keys_id);
        let secret = match bytes.byte() {
            0..=200 => keys.commitment_secret(revocation.saturating_sub(1)),
            other => [other; 32],
        };
        Some(msgs::ChannelReestablish {
            channel_id: self.channel_id,
            next_local_commitment_number: self.near(record.counterparty.number + 1, bytes),
            next_remote_commitment_number: revocation,
            your_last_per_commitment_secret: secret,
            my_current_per_commitment_point: self.point(bytes)?,
            next_funding: None,
            my_current_funding_locked: None,
        })
    }

    fn script(&self, bytes: &mut Bytes<'_>) -> ScriptBuf {
        match bytes.byte() {
            0..=127 => self.world.nodes[self.attacker]
                .environment
                .destination_script
                .clone(),
            length => ScriptBuf::from_bytes(bytes.some(usize::from(length) - 120).to_vec()),
        }
    }

    fn closing_signed(&self, bytes: &mut Bytes<'_>) -> Option<Message> {
        let fee_range = match bytes.byte() {
            0..=127 => None,
            _ => Some(msgs::ClosingSignedFeeRange {
                min_fee_satoshis: bytes.number(),
                max_fee_satoshis: bytes.number(),
            }),
        };
        Some(Message::ClosingSigned(msgs::ClosingSigned {
            channel_id: self.channel_id,
            fee_satoshis: bytes.number(),
            signature: self.signature(bytes)?,
            fee_range,
        }))
    }

    fn open(&self, bytes: &mut Bytes<'_>) -> Option<msgs::OpenChannel> {
        let mut or = |usual: u64| match bytes.byte() {
            0..=200 => usual,
            _ => bytes.number(),
        };
        let (funding_satoshis, push_msat) = (or(1_000_000), or(0));
        let (reserve, dust_limit_satoshis) = (or(10_000), or(354));
        let (most, least) = (or(1_000_000_000), or(1));
        let feerate = or(500) as u32;
        let (delay, htlcs) = (or(144) as u16, or(50) as u16);
        Some(msgs::OpenChannel {
            common_fields: msgs::CommonOpenChannelFields {
                chain_hash: ChainHash::REGTEST,
                temporary_channel_id: ChannelId([bytes.byte() % 4; 32]),
                funding_satoshis,
                dust_limit_satoshis,
                max_htlc_value_in_flight_msat: most,
                htlc_minimum_msat: least,
                commitment_feerate_sat_per_1000_weight: feerate,
                to_self_delay: delay,
                max_accepted_htlcs: htlcs,
                funding_pubkey: self.point(bytes)?,
                revocation_basepoint: self.point(bytes)?,
                payment_basepoint: self.point(bytes)?,
                delayed_payment_basepoint: self.point(bytes)?,
                htlc_basepoint: self.point(bytes)?,
                first_per_commitment_point: self.point(bytes)?,
                channel_flags: bytes.byte(),
                shutdown_scriptpubkey: match bytes.byte() {
                    0..=127 => None,
                    _ => Some(self.script(bytes)),
                },
                channel_type: match bytes.byte() {
                    255 => None,
                    _ => Some(channel_type()),
                },
            },
            push_msat,
            channel_reserve_satoshis: reserve,
        })
    }
}
