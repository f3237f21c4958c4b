//! The frame: what the stream of a log is made of.
//!
//! | offset | bytes | field | meaning |
//! |---|---|---|---|
//! | 0 | 4 | length | bytes of payload |
//! | 4 | 1 | kind | [`Kind`]; never 0, so zeros are no frame |
//! | 5 | 1 | flags | bit 0: the payload is compressed; others are rejected |
//! | 6 | 2 | key | 0; kept for the number of an encryption key, others are rejected |
//! | 8 | 4 | checksum | CRC-32C of the 8 bytes before and the payload, xor the salt |
//! | 12 | length | payload | a record; zeros (skip); promises (mark, close, seal) |
//! | … | 0–7 | padding | zeros, up to a multiple of 8 |
//!
//! Integers are little-endian. Positions are multiples of 8. The first 8 bytes are the *head word*: who
//! reads a ring of frames tells by it, in one atomic load, whether the frame is there.
//!
//! The salt is the upper half of `(stream id xor position) × 0x9E3779B97F4A7C15` modulo 2⁶⁴; the
//! [`StreamId`] stands for the log and the session that wrote the frame. So a frame is valid only in
//! its own log, in its own session, and at its own position: what a recycled file, an older ring or a
//! dropped tail holds is never taken for one.
//!
//! | kind | payload |
//! |---|---|
//! | record, compressed | bytes of the record, 4; then an LZ4 block |
//! | mark, close | the promise, 8 |
//! | seal | the promise, 8; the index of the segment in which the stream goes on, 8 |
//!
//! An encrypted record would carry its key's number in `key` and a tag of 16 bytes at the payload's
//! end, with session and position as nonce, which never repeat.
//!
//! # Invariants
//! - FRAME-1: a promise is a position at or below the frame's own, and every byte of the log below it
//!   was durable when the frame was made.

use std::borrow::Cow;
use std::io::IoSlice;

use stratalog_base::codec::Decoder;
use stratalog_base::{Error, Result};

use crate::Position;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 12;
/// Frames lie at multiples of this.
pub const ALIGNMENT: usize = 8;
/// Bytes of a mark or close.
pub const PROMISE_BYTES: u64 = frame_bytes(8);

const COMPRESSED: u8 = 1;

/// Bytes of the frame of a payload of `payload` bytes.
#[inline]
pub const fn frame_bytes(payload: usize) -> u64 {
    (HEADER_BYTES + payload).next_multiple_of(ALIGNMENT) as u64
}

/// Stands for a log and one of its sessions in checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId(u64);

impl StreamId {
    /// Of the log `log_id` as the session wrote it that began with the segment `session`.
    pub const fn of(log_id: u64, session: u64) -> StreamId {
        StreamId(log_id ^ session.wrapping_mul(0xD6E8_FEB8_6659_FD93))
    }

    #[inline]
    fn salt(self, position: Position) -> u32 {
        ((self.0 ^ position).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
    }
}

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
    /// Promises like a mark, and says in which segment the stream goes on. Takes no positions: that
    /// segment starts at the seal's own.
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
    head: [u8; 8],
    checksum: u32,
    parts: &'a [IoSlice<'a>],
}

impl<'a> Draft<'a> {
    /// A frame whose payload is the parts in a row.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if they exceed 4 GiB - 20 B.
    #[inline]
    pub fn new(kind: Kind, parts: &'a [IoSlice<'a>]) -> Result<Draft<'a>> {
        Draft::with_flags(kind, 0, parts)
    }

    /// A record whose payload was compressed by [`compress`].
    ///
    /// # Errors
    /// As [`Draft::new`].
    pub fn compressed(parts: &'a [IoSlice<'a>]) -> Result<Draft<'a>> {
        Draft::with_flags(Kind::Record, COMPRESSED, parts)
    }

    #[inline]
    fn with_flags(kind: Kind, flags: u8, parts: &'a [IoSlice<'a>]) -> Result<Draft<'a>> {
        let payload: usize = parts.iter().map(|part| part.len()).sum();
        let length = u32::try_from(frame_bytes(payload)).map(|_| payload as u32);
        let Ok(length) = length else {
            return Err(Error::InvalidArgument(format!("a record of {payload} bytes")));
        };
        let head = (u64::from(length) | u64::from(kind as u8) << 32 | u64::from(flags) << 40)
            .to_le_bytes();
        let checksum =
            parts.iter().fold(crc32c::crc32c(&head), |crc, part| crc32c::crc32c_append(crc, part));
        Ok(Draft { head, checksum, parts })
    }

    /// Bytes of the whole frame.
    #[inline]
    pub fn frame_bytes(&self) -> u64 {
        frame_bytes(
            u32::from_le_bytes([self.head[0], self.head[1], self.head[2], self.head[3]]) as usize
        )
    }

    /// Whether it is a record.
    #[inline]
    pub fn is_record(&self) -> bool {
        self.head[4] == Kind::Record as u8
    }

    /// The head word.
    #[inline]
    pub fn head(&self) -> u64 {
        u64::from_le_bytes(self.head)
    }

    /// The checksum as it is at `position`.
    #[inline]
    pub fn checksum(&self, stream: StreamId, position: Position) -> u32 {
        self.checksum ^ stream.salt(position)
    }

    /// The payload.
    #[inline]
    pub fn parts(&self) -> &'a [IoSlice<'a>] {
        self.parts
    }

    /// Appends the frame as it is at `position`.
    #[inline]
    pub fn encode(&self, stream: StreamId, position: Position, out: &mut Vec<u8>) {
        debug_assert!(position.is_multiple_of(ALIGNMENT as u64));
        let end = out.len() + self.frame_bytes() as usize;
        out.reserve(end - out.len());
        out.extend_from_slice(&self.head);
        out.extend_from_slice(&self.checksum(stream, position).to_le_bytes());
        for part in self.parts {
            out.extend_from_slice(part);
        }
        out.resize(end, 0);
    }
}

/// Appends the mark or close at `position`, which promises that all below `durable` is durable.
pub fn put_promise(
    kind: Kind,
    durable: Position,
    stream: StreamId,
    position: Position,
    out: &mut Vec<u8>,
) {
    put_promises(kind, &[durable], stream, position, out);
}

/// Appends the seal at `position`, which promises that all below `durable` is durable and that the
/// stream goes on in the segment `next`.
pub fn put_seal(
    durable: Position,
    next: u64,
    stream: StreamId,
    position: Position,
    out: &mut Vec<u8>,
) {
    put_promises(Kind::Seal, &[durable, next], stream, position, out);
}

fn put_promises(
    kind: Kind,
    payload: &[u64],
    stream: StreamId,
    position: Position,
    out: &mut Vec<u8>,
) {
    debug_assert!(kind.promises() && payload[0] <= position, "FRAME-1");
    let payload: Vec<u8> = payload.iter().flat_map(|word| word.to_le_bytes()).collect();
    let parts = [IoSlice::new(&payload)];
    let draft = Draft::new(kind, &parts).expect("a few bytes are not too long");
    draft.encode(stream, position, out);
}

/// A valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Where it starts.
    pub position: Position,
    /// What it is for.
    pub kind: Kind,
    /// Whether the payload is compressed.
    pub compressed: bool,
    /// What it carries.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame at the start of `input`, if it is valid at `position` of `stream`.
    ///
    /// # Errors
    /// What does not hold.
    #[inline]
    pub fn decode(
        input: &'a [u8],
        stream: StreamId,
        position: Position,
    ) -> Result<Frame<'a>, &'static str> {
        let cut_short = |_| "a frame is cut short";
        let mut decoder = Decoder::new(input);
        let length = decoder.u32().map_err(cut_short)? as usize;
        let kind = Kind::from_byte(decoder.u8().map_err(cut_short)?).ok_or("unknown frame kind")?;
        let flags = decoder.u8().map_err(cut_short)?;
        if flags & !COMPRESSED != 0 || flags != 0 && kind != Kind::Record {
            return Err("unknown frame flags");
        }
        if decoder.take(2).map_err(cut_short)? != [0, 0] {
            return Err("unknown frame key");
        }
        let checksum = decoder.u32().map_err(cut_short)?;
        let payload = decoder.take(length).map_err(cut_short)?;
        let padding = decoder.take(frame_bytes(length) as usize - HEADER_BYTES - length);
        if padding.map_err(cut_short)?.iter().any(|&byte| byte != 0) {
            return Err("frame padding is not zero");
        }
        let expected = crc32c::crc32c_append(crc32c::crc32c(&input[..8]), payload);
        if checksum != expected ^ stream.salt(position) {
            return Err("frame checksum mismatch");
        }
        let frame = Frame { position, kind, compressed: flags == COMPRESSED, payload };
        match frame.promise() {
            Some(promise) if promise > position => Err("a mark promises what follows it"),
            None if kind.promises() => Err("a mark of a wrong length"),
            _ => Ok(frame),
        }
    }

    /// Bytes of the whole frame.
    #[inline]
    pub fn frame_bytes(&self) -> u64 {
        frame_bytes(self.payload.len())
    }

    /// The position after it.
    #[inline]
    pub fn end(&self) -> Position {
        match self.kind {
            Kind::Seal => self.position,
            _ => self.position + self.frame_bytes(),
        }
    }

    /// Up to where it promises that everything is durable (FRAME-1).
    pub fn promise(&self) -> Option<Position> {
        match (self.kind, self.payload.len()) {
            (Kind::Mark | Kind::Close, 8) | (Kind::Seal, 16) => Some(self.word(0)),
            _ => None,
        }
    }

    /// The segment in which the stream goes on, if it is a seal.
    pub fn next_segment(&self) -> Option<u64> {
        (self.kind == Kind::Seal).then(|| self.word(8))
    }

    fn word(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.payload[at..at + 8].try_into().expect("8 bytes"))
    }

    /// The record, decompressed if need be.
    ///
    /// # Errors
    /// If it does not decompress to what it says.
    #[inline]
    pub fn record(&self) -> Result<Cow<'a, [u8]>, &'static str> {
        if self.compressed {
            decompress(self.payload).map(Cow::Owned)
        } else {
            Ok(self.payload.into())
        }
    }

    /// Whether `input` could start with a frame that promises: cheap, to be asked at every place.
    #[inline]
    pub fn may_promise(input: &[u8]) -> bool {
        matches!(input, [8 | 16, 0, 0, 0, 3..=5, 0, 0, 0, ..])
    }
}

/// Moving frames from one stream to another, at the same positions.
pub mod carry_frame {
    use super::*;

    /// Appends `frame` as `stream` has it.
    pub fn append(frame: &Frame<'_>, stream: StreamId, out: &mut Vec<u8>) {
        let parts = [IoSlice::new(frame.payload)];
        let flags = if frame.compressed { COMPRESSED } else { 0 };
        let draft = Draft::with_flags(frame.kind, flags, &parts).expect("it was a frame");
        draft.encode(stream, frame.position, out);
    }

    /// Makes whole frames in a row, the first at `position`, those of `to` instead of `from`.
    pub fn move_all(frames: &mut [u8], mut position: Position, from: StreamId, to: StreamId) {
        let mut rest = frames;
        while let Some((head, _)) = rest.split_first_chunk::<4>() {
            let bytes = frame_bytes(u32::from_le_bytes(*head) as usize);
            let (frame, after) = rest.split_at_mut(bytes as usize);
            let salt = (from.salt(position) ^ to.salt(position)).to_le_bytes();
            for (byte, salt) in frame[8..HEADER_BYTES].iter_mut().zip(salt) {
                *byte ^= salt;
            }
            position += bytes;
            rest = after;
        }
    }
}

/// Appends to `out` the payload of a compressed record; whether that is shorter than the record. Leaves alone what is
/// too long for a record.
pub fn compress(parts: &[IoSlice<'_>], out: &mut Vec<u8>) -> bool {
    let Ok(length) = u32::try_from(parts.iter().map(|part| part.len()).sum::<usize>()) else {
        return false;
    };
    let joined;
    let record: &[u8] = match parts {
        [one] => one,
        parts => {
            joined = parts.iter().flat_map(|part| part.iter().copied()).collect::<Vec<u8>>();
            &joined
        }
    };
    let start = out.len();
    out.extend_from_slice(&length.to_le_bytes());
    let block = out.len();
    out.resize(block + lz4_flex::block::get_maximum_output_size(record.len()), 0);
    let written = lz4_flex::block::compress_into(record, &mut out[block..]).unwrap_or(usize::MAX);
    out.truncate(block.saturating_add(written));
    out.len() - start < record.len()
}

/// An LZ4 block gives at most so many times its own bytes.
const MAX_EXPANSION: usize = 255;

fn decompress(payload: &[u8]) -> Result<Vec<u8>, &'static str> {
    let what = "a compressed record does not decompress";
    let (length, block) = payload.split_first_chunk::<4>().ok_or(what)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > block.len().saturating_mul(MAX_EXPANSION) {
        return Err(what);
    }
    let mut record = vec![0; length];
    match lz4_flex::block::decompress_into(block, &mut record) {
        Ok(written) if written == length => Ok(record),
        _ => Err(what),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const STREAM: StreamId = StreamId(0x0123_4567_89AB_CDEF);

    fn encoded(kind: Kind, parts: &[&[u8]], position: Position) -> Vec<u8> {
        let parts: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut out = Vec::new();
        Draft::new(kind, &parts).expect("short").encode(STREAM, position, &mut out);
        out
    }

    #[test]
    fn frames_have_these_bytes() {
        let record = encoded(Kind::Record, &[b"he", b"llo"], 8);
        assert_eq!(record, b"\x05\0\0\0\x01\0\0\0\xcf\xbe\x2b\x7ehello\0\0\0\0\0\0\0");
        assert_eq!(encoded(Kind::Skip, &[], 16), b"\0\0\0\0\x02\0\0\0\x44\xd2\x44\xc3\0\0\0\0");
        let mut mark = Vec::new();
        put_promise(Kind::Mark, 16, STREAM, 32, &mut mark);
        assert_eq!(mark, b"\x08\0\0\0\x03\0\0\0\xae\xb0\xd5\x59\x10\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(mark.len() as u64, PROMISE_BYTES);
        assert!(Frame::may_promise(&mark));
        assert_eq!(Frame::decode(&mark, STREAM, 32).unwrap().promise(), Some(16));
        let mut seal = Vec::new();
        put_seal(16, 9, STREAM, 32, &mut seal);
        assert!(Frame::may_promise(&seal));
        let seal = Frame::decode(&seal, STREAM, 32).unwrap();
        assert_eq!((seal.promise(), seal.next_segment(), seal.end()), (Some(16), Some(9), 32));
    }

    #[test]
    fn a_frame_is_valid_only_in_its_log_and_session_and_at_its_position() {
        let bytes = encoded(Kind::Record, &[b"hello"], 80);
        let frame = Frame::decode(&bytes, STREAM, 80).unwrap();
        assert_eq!((frame.kind, frame.payload, frame.end()), (Kind::Record, &b"hello"[..], 104));
        assert!(Frame::decode(&bytes, STREAM, 88).is_err());
        assert!(Frame::decode(&bytes, StreamId(STREAM.0 + 1), 80).is_err());
        let of = StreamId::of;
        assert!(of(1, 1) != of(1, 2) && of(1, 1) != of(2, 1));
    }

    #[test]
    fn no_flipped_bit_and_no_cut_is_a_frame() {
        let bytes = encoded(Kind::Record, &[b"some payload"], 8);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode(&flipped, STREAM, 8).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Frame::decode(&bytes[..len], STREAM, 8).is_err(), "length {len}");
        }
        assert!(Frame::decode(&[0; 64], StreamId(0), 0).is_err());
    }

    #[test]
    fn a_mark_cannot_promise_what_follows_it() {
        // FRAME-1
        let bytes = encoded(Kind::Mark, &[&104u64.to_le_bytes()], 96);
        assert_eq!(Frame::decode(&bytes, STREAM, 96), Err("a mark promises what follows it"));
        let bytes = encoded(Kind::Close, &[b"1234567"], 96);
        assert_eq!(Frame::decode(&bytes, STREAM, 96), Err("a mark of a wrong length"));
    }

    #[test]
    fn compressed_records_come_back_and_lies_about_their_length_do_not() {
        let record = b"again and again and again and again and again".repeat(20);
        let (first, second) = record.split_at(100);
        let mut payload = Vec::new();
        assert!(compress(&[IoSlice::new(first), IoSlice::new(second)], &mut payload));
        assert!(payload.len() < record.len() / 4);
        let mut bytes = Vec::new();
        Draft::compressed(&[IoSlice::new(&payload)]).unwrap().encode(STREAM, 8, &mut bytes);
        let frame = Frame::decode(&bytes, STREAM, 8).unwrap();
        assert_eq!(frame.record().unwrap(), record);
        for length in [0, record.len() - 1, record.len() + 1, u32::MAX as usize] {
            payload[..4].copy_from_slice(&(length as u32).to_le_bytes());
            assert!(Frame { payload: &payload, ..frame }.record().is_err(), "length {length}");
        }
        assert!(!compress(&[IoSlice::new(b"short")], &mut Vec::new()));
    }

    #[test]
    fn a_record_of_4_gib_is_refused_whether_or_not_it_compresses() {
        let mib = vec![0; 1 << 20];
        let parts = vec![IoSlice::new(&mib); 1 << 12];
        let mut payload = Vec::new();
        assert!(!compress(&parts, &mut payload) && payload.is_empty());
        assert!(matches!(Draft::new(Kind::Record, &parts), Err(Error::InvalidArgument(_))));
    }
}
