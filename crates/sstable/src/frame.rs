//! The frame around every block: compression and the checksum that ties a block to its place.
//!
//! | offset | bytes | field | meaning |
//! |---:|---:|---|---|
//! | 0 | n | stored | the contents or, if compressed, their length (varint) and an LZ4 block |
//! | n | 1 | kind | [`BlockKind`] |
//! | n + 1 | 1 | compression | 0 none, 1 LZ4 |
//! | n + 2 | 4 | checksum | CRC-32C of the n + 2 bytes before, the block's file offset and the table's number (8 bytes each, little-endian) |
//!
//! # Invariants
//! - SEAL-1: a block opens only as the kind, at the offset and in the table it was sealed for.
//! - FRAME-2: opening allocates at most 255 times the stored bytes (the most LZ4 can expand), and not
//!   much more than the longest value.

use std::borrow::Cow;
use std::path::Path;

use stratalog_base::Error;
use stratalog_base::codec::{Decoder, Malformed, put_u32, put_varint};
use stratalog_base::key::MAX_VALUE_BYTES;

use crate::options::Compression;

/// The bytes that a frame adds to what it stores.
pub(crate) const FRAME_BYTES: usize = 6;
/// The most that an LZ4 block expands.
const MAX_EXPANSION: usize = 255;
/// Longer contents, which no data block has, are not compressed. (LZ4 ends at 2 GiB.)
const MAX_PACKED_BYTES: usize = MAX_VALUE_BYTES + (16 << 20);

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BlockKind {
    Data = 1,
    Filter = 2,
    Index = 3,
    Properties = 4,
}

/// Where a block stands: all that its checksum covers beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) table: u64,
    pub(crate) kind: BlockKind,
    pub(crate) offset: u64,
}

impl Place {
    fn checksum(&self, sealed: &[u8]) -> u32 {
        let mut place = [0; 16];
        place[..8].copy_from_slice(&self.offset.to_le_bytes());
        place[8..].copy_from_slice(&self.table.to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c(sealed), &place)
    }

    /// The error for a block at this place that does not open or decode.
    pub(crate) fn corrupt(&self, path: &Path, malformed: Malformed) -> Error {
        let Malformed { offset, what } = malformed;
        let kind = format!("{:?}", self.kind).to_lowercase();
        Error::corrupt(path, self.offset, format!("{kind} block, byte {offset}: {what}"))
    }
}

/// Appends `contents`, framed, to `out`. Returns the checksum.
pub(crate) fn seal(
    out: &mut Vec<u8>,
    contents: &[u8],
    compression: Compression,
    place: Place,
) -> u32 {
    let start = out.len();
    let packed = compression == Compression::Lz4 && pack(out, contents);
    if !packed {
        out.extend_from_slice(contents);
    }
    out.extend_from_slice(&[place.kind as u8, u8::from(packed)]);
    let checksum = place.checksum(&out[start..]);
    put_u32(out, checksum);
    checksum
}

/// Appends `contents` compressed, if that is worth it.
fn pack(out: &mut Vec<u8>, contents: &[u8]) -> bool {
    let start = out.len();
    if contents.is_empty() || contents.len() > MAX_PACKED_BYTES {
        return false;
    }
    put_varint(out, contents.len() as u64);
    let body = out.len();
    out.resize(body + lz4_flex::block::get_maximum_output_size(contents.len()), 0);
    let written = lz4_flex::block::compress_into(contents, &mut out[body..]).unwrap_or(usize::MAX);
    let worth_it = written <= contents.len() - contents.len() / 8;
    out.truncate(if worth_it { body + written } else { start });
    worth_it
}

/// The contents of the block framed as `stored`.
pub(crate) fn open(stored: Cow<'_, [u8]>, place: Place) -> Result<Vec<u8>, Malformed> {
    let malformed = |offset, what| Err(Malformed { offset, what });
    let Some((sealed, claimed)) = stored.split_last_chunk::<4>() else {
        return malformed(0, "shorter than its frame");
    };
    if u32::from_le_bytes(*claimed) != place.checksum(sealed) {
        return malformed(0, "checksum mismatch"); // SEAL-1
    }
    let Some((body, &[kind, compression])) = sealed.split_last_chunk::<2>() else {
        return malformed(0, "shorter than its frame");
    };
    if kind != place.kind as u8 {
        return malformed(body.len(), "a block of another kind");
    }
    match compression {
        0 => {
            let len = body.len();
            let mut contents = stored.into_owned();
            contents.truncate(len);
            Ok(contents)
        }
        1 => unpack(body),
        _ => malformed(body.len() + 1, "unknown compression"),
    }
}

/// The checksum that a framed block claims to have.
#[inline]
pub(crate) fn checksum(stored: &[u8]) -> Option<u32> {
    stored.last_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))
}

/// Puts the right kind and checksum on any bytes, for fuzzing what lies behind them.
pub(crate) fn correct(stored: &mut [u8], place: Place) {
    let Some((sealed, checksum)) = stored.split_last_chunk_mut::<4>() else { return };
    if let Some(kind) = sealed.iter_mut().rev().nth(1) {
        *kind = place.kind as u8;
    }
    *checksum = place.checksum(sealed).to_le_bytes();
}

fn unpack(body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut decoder = Decoder::new(body);
    let max = body.len().saturating_mul(MAX_EXPANSION).min(MAX_PACKED_BYTES);
    let len = decoder.varint_max(max)?; // FRAME-2
    let mut contents = vec![0; len];
    match lz4_flex::block::decompress_into(decoder.rest(), &mut contents) {
        Ok(written) if written == len => Ok(contents),
        _ => Err(decoder.malformed("does not decompress to its length")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { table: 7, kind: BlockKind::Data, offset: 4096 };

    fn sealed(contents: &[u8], compression: Compression) -> Vec<u8> {
        let mut out = Vec::new();
        seal(&mut out, contents, compression, PLACE);
        out
    }

    #[test]
    fn a_frame_has_these_bytes() {
        assert_eq!(sealed(b"ab", Compression::None), [b'a', b'b', 1, 0, 0xb7, 0x4e, 0x2, 0xd4]);
    }

    #[test]
    fn contents_round_trip_and_only_worthwhile_compression_is_kept() {
        let noise: Vec<u8> = (0..300u32).map(|i| ((i * i * 7919) >> 3) as u8).collect();
        for contents in [&b""[..], b"x", &noise, &[5; 10_000]] {
            for compression in [Compression::None, Compression::Lz4] {
                let stored = sealed(contents, compression);
                assert!(stored.len() <= contents.len() + FRAME_BYTES);
                assert_eq!(open(Cow::Borrowed(&stored), PLACE).unwrap(), contents);
                assert_eq!(open(Cow::Owned(stored), PLACE).unwrap(), contents);
            }
        }
        assert!(sealed(&[5; 10_000], Compression::Lz4).len() < 100);
    }

    #[test]
    fn a_block_opens_only_where_it_was_sealed() {
        // SEAL-1
        let stored = sealed(b"contents", Compression::None);
        for elsewhere in [
            Place { table: 8, ..PLACE },
            Place { offset: 0, ..PLACE },
            Place { kind: BlockKind::Index, ..PLACE },
        ] {
            assert!(open(Cow::Borrowed(&stored), elsewhere).is_err());
        }
    }

    #[test]
    fn a_huge_decompressed_length_is_refused_before_allocating() {
        // FRAME-2
        let mut body = Vec::new();
        put_varint(&mut body, 1 << 40);
        body.extend_from_slice(&[0; 20]);
        assert_eq!(unpack(&body).unwrap_err().what, "number exceeds its limit");
    }
}
