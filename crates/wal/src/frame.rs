//! The frame: what the stream of a log is made of.
//!
//! | offset | bytes | field | meaning |
//! |---|---|---|---|
//! | 0 | 4 | checksum | CRC-32C of all that follows, xor the salt |
//! | 4 | 4 | length | bytes of payload |
//! | 8 | 1 | kind | [`Kind`]; never 0, so zeros are no frame |
//! | 9 | 1 | flags | 0; others are kept for compression and encryption, and rejected |
//! | 10 | length | payload | a record; zeros (skip); a promise, 8 bytes (mark, close, seal) |
//!
//! Integers are little-endian. The salt is the upper half of
//! `(log id xor position) × 0x9E3779B97F4A7C15` modulo 2⁶⁴, so a frame is valid only in its own log
//! and at its own position.
//!
//! # Invariants
//! - FRAME-1: a promise is a position at or below the frame's own, and every byte of the log below it
//!   was durable when the frame was made.

use std::io::IoSlice;

use stratalog_base::codec::{Decoder, put_u32};
use stratalog_base::{Error, Result};

use crate::Position;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 10;
/// Bytes of a frame that promises: mark, close or seal.
pub const PROMISE_BYTES: usize = HEADER_BYTES + 8;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A caller's bytes.
    Record = 1,
    /// Positions taken by a write that is not logged.
    Skip = 2,
    /// Promises that all below a position is durable.
    Mark = 3,
    /// Promises the same of all before it, and that the log ends here.
    Close = 4,
    /// Promises the same of all before it, and that the stream goes on in the next segment, which
    /// exists. Takes no positions: the next segment starts at the seal's own.
    Seal = 5,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        [Kind::Record, Kind::Skip, Kind::Mark, Kind::Close, Kind::Seal]
            .into_iter()
            .find(|&kind| kind as u8 == byte)
    }

    /// Whether its payload is a promise.
    pub fn promises(self) -> bool {
        matches!(self, Kind::Mark | Kind::Close | Kind::Seal)
    }

    /// Whether nothing follows it in its segment.
    pub fn is_last(self) -> bool {
        matches!(self, Kind::Close | Kind::Seal)
    }
}

/// A frame that has no position yet: everything that can be computed before it has one.
#[derive(Debug)]
pub struct Draft<'a> {
    head: [u8; 6],
    frame_bytes: u64,
    checksum: u32,
    parts: &'a [IoSlice<'a>],
}

impl<'a> Draft<'a> {
    /// A frame whose payload is the parts in a row.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if they exceed 4 GiB.
    #[inline]
    pub fn new(kind: Kind, parts: &'a [IoSlice<'a>]) -> Result<Draft<'a>> {
        let payload: usize = parts.iter().map(|part| part.len()).sum();
        let Ok(length) = u32::try_from(payload) else {
            return Err(Error::InvalidArgument(format!("a record of {payload} bytes")));
        };
        let mut head = [0; 6];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4] = kind as u8;
        let checksum =
            parts.iter().fold(crc32c::crc32c(&head), |crc, part| crc32c::crc32c_append(crc, part));
        Ok(Draft { head, frame_bytes: (HEADER_BYTES + payload) as u64, checksum, parts })
    }

    /// Bytes of the whole frame.
    #[inline]
    pub fn frame_bytes(&self) -> u64 {
        self.frame_bytes
    }

    /// Appends the frame as it is at `position`.
    #[inline]
    pub fn encode(&self, log_id: u64, position: Position, out: &mut Vec<u8>) {
        out.reserve(self.frame_bytes as usize);
        put_u32(out, self.checksum ^ salt(log_id, position));
        out.extend_from_slice(&self.head);
        for part in self.parts {
            out.extend_from_slice(part);
        }
    }
}

/// Appends the mark, close or seal at `position`, which promises that all below `durable` is durable.
pub fn put_promise(
    kind: Kind,
    durable: Position,
    log_id: u64,
    position: Position,
    out: &mut Vec<u8>,
) {
    debug_assert!(kind.promises() && durable <= position, "FRAME-1");
    let payload = durable.to_le_bytes();
    let parts = [IoSlice::new(&payload)];
    let draft = Draft::new(kind, &parts).expect("8 bytes are not too long");
    draft.encode(log_id, position, out);
}

/// A valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Where it starts.
    pub position: Position,
    /// What it is for.
    pub kind: Kind,
    /// What it carries.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame at the start of `input`, if it is valid at `position` of the log `log_id`.
    ///
    /// # Errors
    /// What does not hold.
    pub fn decode(
        input: &'a [u8],
        log_id: u64,
        position: Position,
    ) -> Result<Frame<'a>, &'static str> {
        let cut_short = |_| "a frame is cut short";
        let mut decoder = Decoder::new(input);
        let checksum = decoder.u32().map_err(cut_short)?;
        let length = decoder.u32().map_err(cut_short)? as usize;
        let kind = Kind::from_byte(decoder.u8().map_err(cut_short)?).ok_or("unknown frame kind")?;
        if decoder.u8().map_err(cut_short)? != 0 {
            return Err("unknown frame flags");
        }
        let payload = decoder.take(length).map_err(cut_short)?;
        if checksum != crc32c::crc32c(&input[4..decoder.offset()]) ^ salt(log_id, position) {
            return Err("frame checksum mismatch");
        }
        let frame = Frame { position, kind, payload };
        match frame.promise() {
            Some(promise) if promise > position => Err("a mark promises what follows it"),
            None if kind.promises() => Err("a mark of a wrong length"),
            _ => Ok(frame),
        }
    }

    /// Bytes of the whole frame.
    pub fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    /// The position after it.
    pub fn end(&self) -> Position {
        match self.kind {
            Kind::Seal => self.position,
            _ => self.position + self.frame_bytes() as u64,
        }
    }

    /// Up to where it promises that everything is durable (FRAME-1).
    pub fn promise(&self) -> Option<Position> {
        let payload = self.payload.try_into().ok().filter(|_| self.kind.promises())?;
        Some(u64::from_le_bytes(payload))
    }

    /// Whether `input` could start with a frame that promises: cheap, to be asked of every byte.
    pub fn may_promise(input: &[u8]) -> bool {
        matches!(input, [_, _, _, _, 8, 0, 0, 0, 3..=5, 0, ..])
    }
}

#[inline]
fn salt(log_id: u64, position: Position) -> u32 {
    ((log_id ^ position).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const LOG_ID: u64 = 0x0123_4567_89AB_CDEF;

    fn encoded(kind: Kind, parts: &[&[u8]], position: Position) -> Vec<u8> {
        let parts: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut out = Vec::new();
        Draft::new(kind, &parts).expect("short").encode(LOG_ID, position, &mut out);
        out
    }

    #[test]
    fn frames_have_these_bytes() {
        let record = encoded(Kind::Record, &[b"he", b"llo"], 1);
        assert_eq!(record, b"\x90\xbf\xe3\xb2\x05\0\0\0\x01\0hello");
        assert_eq!(encoded(Kind::Skip, &[], 16), b"\x2b\x0f\x64\x80\0\0\0\0\x02\0");
        let mut mark = Vec::new();
        put_promise(Kind::Mark, 16, LOG_ID, 26, &mut mark);
        assert_eq!(mark, b"\x99\x01\x09\xc0\x08\0\0\0\x03\0\x10\0\0\0\0\0\0\0");
        assert_eq!(mark.len(), PROMISE_BYTES);
        assert!(Frame::may_promise(&mark));
        assert_eq!(Frame::decode(&mark, LOG_ID, 26).unwrap().promise(), Some(16));
    }

    #[test]
    fn a_frame_is_valid_only_in_its_log_and_at_its_position() {
        let bytes = encoded(Kind::Record, &[b"hello"], 77);
        let frame = Frame::decode(&bytes, LOG_ID, 77).unwrap();
        assert_eq!((frame.kind, frame.payload, frame.end()), (Kind::Record, &b"hello"[..], 92));
        assert!(Frame::decode(&bytes, LOG_ID, 78).is_err());
        assert!(Frame::decode(&bytes, LOG_ID + 1, 77).is_err());
    }

    #[test]
    fn no_flipped_bit_and_no_cut_is_a_frame() {
        let bytes = encoded(Kind::Record, &[b"some payload"], 5);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode(&flipped, LOG_ID, 5).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Frame::decode(&bytes[..len], LOG_ID, 5).is_err(), "length {len}");
        }
        assert!(Frame::decode(&[0; 64], 0, 0).is_err());
    }

    #[test]
    fn a_mark_cannot_promise_what_follows_it() {
        // FRAME-1
        let bytes = encoded(Kind::Mark, &[&101u64.to_le_bytes()], 100);
        assert_eq!(Frame::decode(&bytes, LOG_ID, 100), Err("a mark promises what follows it"));
        let bytes = encoded(Kind::Close, &[b"1234567"], 100);
        assert_eq!(Frame::decode(&bytes, LOG_ID, 100), Err("a mark of a wrong length"));
    }
}
