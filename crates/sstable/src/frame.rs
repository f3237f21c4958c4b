//! The frame around every block: compression and the checksum that ties a block to its place.
//!
//! | offset | bytes | field | meaning |
//! |---:|---:|---|---|
//! | 0 | n | stored | the contents, packed as [`crate::compress`] says |
//! | n | 1 | kind | [`BlockKind`] |
//! | n + 1 | 1 | compression | 0 none, 1 LZ4, 2 Zstd |
//! | n + 2 | 4 | checksum | CRC-32C of the n + 2 bytes before, the block's file offset and the file's number (8 bytes each, little-endian) |
//!
//! # Invariants
//! - SEAL-1: a block opens only as the kind, at the offset and in the file it was sealed for.
//! - SEAL-2: opening allocates no more than PACK-1 allows.

use std::borrow::Cow;
use std::path::Path;

use stratalog_base::Error;
use stratalog_base::codec::{Malformed, put_u32};

use crate::compress::{Packer, Unpacker};

/// The bytes that a frame adds to what it stores.
pub(crate) const FRAME_BYTES: usize = 6;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BlockKind {
    Data = 1,
    FilterPartition = 2,
    IndexPartition = 3,
    Properties = 4,
    TopIndex = 5,
    RangeTombstones = 6,
    Dictionary = 7,
    /// A record of a value file.
    Value = 16,
    /// The index block of a value file.
    ValueIndex = 17,
}

impl BlockKind {
    /// As errors call it.
    fn name(self) -> &'static str {
        match self {
            BlockKind::Data => "data block",
            BlockKind::FilterPartition => "filter partition",
            BlockKind::IndexPartition => "index partition",
            BlockKind::Properties => "properties block",
            BlockKind::TopIndex => "top-index block",
            BlockKind::RangeTombstones => "range-tombstone block",
            BlockKind::Dictionary => "dictionary block",
            BlockKind::Value => "value",
            BlockKind::ValueIndex => "index of values",
        }
    }
}

/// Where a block stands: all that its checksum covers beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The file's number.
    pub(crate) file: u64,
    pub(crate) kind: BlockKind,
    pub(crate) offset: u64,
}

impl Place {
    fn checksum(&self, sealed: &[u8]) -> u32 {
        let mut place = [0; 16];
        place[..8].copy_from_slice(&self.offset.to_le_bytes());
        place[8..].copy_from_slice(&self.file.to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c(sealed), &place)
    }

    /// The error for a block at this place that does not open or decode.
    pub(crate) fn corrupt(&self, path: &Path, malformed: Malformed) -> Error {
        let Malformed { offset, what } = malformed;
        let kind = self.kind.name();
        Error::corrupt(path, self.offset, format!("{kind}, byte {offset}: {what}"))
    }
}

/// Appends `contents`, framed, to `out`: as they are, or by a `packer`. Returns the checksum.
pub(crate) fn seal(
    out: &mut Vec<u8>,
    contents: &[u8],
    packer: Option<&mut Packer>,
    place: Place,
) -> u32 {
    let start = out.len();
    let code = packer.unwrap_or(&mut Packer::Plain).pack(out, contents);
    out.extend_from_slice(&[place.kind as u8, code]);
    let checksum = place.checksum(&out[start..]);
    put_u32(out, checksum);
    checksum
}

/// The contents of the block framed as `stored`. Copied only if they are compressed.
pub(crate) fn open<'a>(
    stored: Cow<'a, [u8]>,
    place: Place,
    unpacker: &Unpacker,
) -> Result<Cow<'a, [u8]>, Malformed> {
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
    if let Some(contents) = unpacker.unpack(compression, body)? {
        return Ok(Cow::Owned(contents)); // SEAL-2
    }
    let len = body.len();
    Ok(match stored {
        Cow::Borrowed(stored) => Cow::Borrowed(&stored[..len]),
        Cow::Owned(mut stored) => {
            stored.truncate(len);
            Cow::Owned(stored)
        }
    })
}

/// The code of the compression that a framed block claims to have; 0 if it is too short for one.
pub(crate) fn compression(stored: &[u8]) -> u8 {
    stored.iter().nth_back(4).copied().unwrap_or(0)
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const PLACE: Place = Place { file: 7, kind: BlockKind::Data, offset: 4096 };

    fn sealed(contents: &[u8], packer: Option<&mut Packer>) -> Vec<u8> {
        let mut out = Vec::new();
        seal(&mut out, contents, packer, PLACE);
        out
    }

    #[test]
    fn a_frame_has_these_bytes() {
        assert_eq!(sealed(b"ab", None), [b'a', b'b', 1, 0, 0xb7, 0x4e, 0x2, 0xd4]);
        let packed = b"\x28\x1f\x07\x01\x00\x0e\x60\x07\x07\x07\x07\x07\x07\x01\x01";
        assert_eq!(sealed(&[7; 40], Some(&mut Packer::Lz4))[..15], *packed);
    }

    #[test]
    fn contents_round_trip() {
        let unpacker = Unpacker::default();
        for contents in [&b""[..], b"x", &[5; 10_000]] {
            for packer in [None, Some(&mut Packer::Lz4)] {
                let stored = sealed(contents, packer);
                assert!(stored.len() <= contents.len() + FRAME_BYTES);
                assert_eq!(open(Cow::Borrowed(&stored), PLACE, &unpacker).unwrap(), contents);
                assert_eq!(open(Cow::Owned(stored), PLACE, &unpacker).unwrap(), contents);
            }
        }
    }

    #[test]
    fn a_block_opens_only_where_it_was_sealed() {
        // SEAL-1
        let stored = sealed(b"contents", None);
        for elsewhere in [
            Place { file: 8, ..PLACE },
            Place { offset: 0, ..PLACE },
            Place { kind: BlockKind::TopIndex, ..PLACE },
        ] {
            assert!(open(Cow::Borrowed(&stored), elsewhere, &Unpacker::default()).is_err());
        }
    }
}
