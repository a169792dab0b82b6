//! Messages as bytes and back, with LDK's own readers, which its transport calls in a real process. (The
//! table of types is private there.)

use lightning::ln::msgs::{self, DecodeError};
use lightning::util::ser::{LengthReadable, Writeable};
use node_core::message::Message;

macro_rules! messages {
    ($($variant:ident($type:ident) = $number:literal,)*) => {
        /// Reads a message from its type and its fields. `None`: it is of a type that is passed over.
        pub fn read(bytes: &[u8]) -> Option<Result<Message, DecodeError>> {
            let (number, mut fields) = bytes.split_first_chunk()?;
            match u16::from_be_bytes(*number) {
                $($number => {
                    let read = msgs::$type::read_from_fixed_length_buffer(&mut fields);
                    Some(read.map(Message::$variant))
                })*
                _ => None,
            }
        }

        /// A message with its type in front.
        pub fn write(message: &Message) -> Vec<u8> {
            match message {
                $(Message::$variant(fields) => {
                    let number: u16 = $number;
                    [&number.to_be_bytes()[..], &fields.encode()].concat()
                })*
            }
        }

        /// The types that are read.
        pub const TYPES: &[u16] = &[$($number,)*];
    };
}

messages! {
    Warning(WarningMessage) = 1,
    Error(ErrorMessage) = 17,
    OpenChannel(OpenChannel) = 32,
    AcceptChannel(AcceptChannel) = 33,
    FundingCreated(FundingCreated) = 34,
    FundingSigned(FundingSigned) = 35,
    ChannelReady(ChannelReady) = 36,
    Shutdown(Shutdown) = 38,
    ClosingSigned(ClosingSigned) = 39,
    UpdateAddHtlc(UpdateAddHTLC) = 128,
    UpdateFulfillHtlc(UpdateFulfillHTLC) = 130,
    UpdateFailHtlc(UpdateFailHTLC) = 131,
    CommitmentSigned(CommitmentSigned) = 132,
    RevokeAndAck(RevokeAndACK) = 133,
    UpdateFee(UpdateFee) = 134,
    UpdateFailMalformedHtlc(UpdateFailMalformedHTLC) = 135,
    ChannelReestablish(ChannelReestablish) = 136,
    ChannelUpdate(ChannelUpdate) = 258,
    AnnouncementSignatures(AnnouncementSignatures) = 259,
}
