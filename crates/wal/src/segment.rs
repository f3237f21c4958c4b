//! The segment: one file of the log, `000001.wal` and so on. A header, then frames.
//!
//! | offset | bytes | field | meaning |
//! |---|---|---|---|
//! | 0 | 8 | magic | `STRATWAL` |
//! | 8 | 4 | version | of the format, 1 |
//! | 12 | 4 | flags | 0; others are rejected |
//! | 16 | 8 | log id | random, the same in all segments of a log |
//! | 24 | 8 | index | of this segment, the number in its name, at least 1 |
//! | 32 | 8 | base | position of the first frame |
//! | 40 | 8 | previous index | of the segment that this one continues, 0 if none |
//! | 48 | 8 | previous end | position where that segment's part of the stream ends, 0 if none |
//! | 56 | 4 | – | 0 |
//! | 60 | 4 | checksum | CRC-32C of the bytes before |
//!
//! Integers are little-endian. The frame at position `p` lies at byte `64 + p - base`.
//!
//! # Invariants
//! - SEG-1: a frame is written only after the header and the file's name are durable.
//! - SEG-2: the header is written only after all that lies before `previous end` is durable, here or
//!   elsewhere, so it is a promise like a mark's.
//! - SEG-3: `previous end` ≤ `base`. Positions in between went to writes that were never logged.

use std::path::Path;
use std::sync::Arc;

use stratalog_base::codec::{Decoder, put_u32, put_u64};
use stratalog_base::fs::{File, Fs};
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::{Error, Result};

use crate::Position;

/// Bytes before the first frame.
pub const HEADER_BYTES: usize = 64;
const MAGIC: &[u8; 8] = b"STRATWAL";
const VERSION: u32 = 1;

/// The name of the segment `index`.
pub fn file_name(index: u64) -> String {
    format!("{index:06}.wal")
}

/// The index of the segment called `name`, if it is a segment's name.
pub fn parse_name(name: &str) -> Option<u64> {
    let index = name.strip_suffix(".wal")?.parse().ok()?;
    (0 < index && index < u64::MAX && file_name(index) == name).then_some(index)
}

/// The part of the stream that a segment continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previous {
    /// The segment's index.
    pub index: u64,
    /// Where its part of the stream ends; what its file holds beyond does not count.
    pub end: Position,
}

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The log it belongs to.
    pub log_id: u64,
    /// Its own index.
    pub index: u64,
    /// The position of its first frame.
    pub base: Position,
    /// What it continues.
    pub previous: Option<Previous>,
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let previous = self.previous.unwrap_or(Previous { index: 0, end: 0 });
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(MAGIC);
        put_u32(&mut out, VERSION);
        put_u32(&mut out, 0);
        for field in [self.log_id, self.index, self.base, previous.index, previous.end] {
            put_u64(&mut out, field);
        }
        put_u32(&mut out, 0);
        let checksum = crc32c::crc32c(&out);
        put_u32(&mut out, checksum);
        out
    }

    /// The header at the start of the file `path`, whose first bytes are `input`.
    ///
    /// # Errors
    /// [`Error::NewerFormat`], or [`Error::Corrupt`] with what does not hold.
    pub fn decode(input: &[u8], path: &Path) -> Result<Header> {
        let corrupt = |what: &str| Error::corrupt(path, 0, what);
        let input =
            input.get(..HEADER_BYTES).ok_or_else(|| corrupt("segment header is cut short"))?;
        let mut decoder = Decoder::new(input);
        let mut fields = || -> Result<_, stratalog_base::codec::Malformed> {
            let magic = decoder.take(MAGIC.len())?;
            let version_flags = [decoder.u32()?, decoder.u32()?];
            let mut numbers = [0; 5];
            for number in &mut numbers {
                *number = decoder.u64()?;
            }
            Ok((magic, version_flags, numbers, decoder.u32()?, decoder.u32()?))
        };
        let (magic, [version, flags], numbers, zero, checksum) =
            fields().map_err(|malformed| malformed.at(path, 0))?;
        let [log_id, index, base, previous_index, previous_end] = numbers;
        if magic != MAGIC || checksum != crc32c::crc32c(&input[..HEADER_BYTES - 4]) {
            return Err(corrupt("segment header checksum mismatch"));
        }
        if version > VERSION {
            let path = path.to_owned();
            return Err(Error::NewerFormat { path, found: version, supported: VERSION });
        }
        if version == 0 || flags != 0 || zero != 0 {
            return Err(corrupt("unknown segment version or flags"));
        }
        let previous = match (previous_index, previous_end) {
            (0, 0) => None,
            (index, end) => Some(Previous { index, end }),
        };
        // SEG-3
        if base == 0
            || base > MAX_SEQ_NO
            || previous.is_some_and(|it| it.index == 0 || it.index >= index || it.end > base)
        {
            return Err(corrupt("segment header contradicts itself"));
        }
        Ok(Header { log_id, index, base, previous })
    }

    /// Where in the file the frame at `position` lies.
    pub fn offset(&self, position: Position) -> u64 {
        HEADER_BYTES as u64 + (position - self.base)
    }
}

/// The segment that is being written.
#[derive(Debug)]
pub struct Segment {
    /// Its file.
    pub file: Arc<dyn File>,
    /// Its header.
    pub header: Header,
    /// Where the next frame goes.
    pub end: Position,
}

impl Segment {
    /// Creates the file and makes its header and name durable (SEG-1).
    ///
    /// # Errors
    /// If the file exists or the system refuses; then the file may exist.
    pub fn create(fs: &dyn Fs, dir: &Path, header: Header) -> Result<Segment> {
        let file = fs.create(&dir.join(file_name(header.index)))?;
        file.write_at(&header.encode(), 0)?;
        file.sync()?;
        fs.sync_dir(dir)?;
        Ok(Segment { file, header, end: header.base })
    }

    /// Bytes of the file, header included.
    pub fn len(&self) -> u64 {
        self.header.offset(self.end)
    }

    /// Whether it holds a frame.
    pub fn is_empty(&self) -> bool {
        self.end == self.header.base
    }

    /// Writes whole frames at the end.
    ///
    /// # Errors
    /// As [`File::write_at`]; then the segment must take no more.
    pub fn append(&mut self, frames: &[u8]) -> Result<()> {
        self.file.write_at(frames, self.len())?;
        self.end += frames.len() as u64;
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        log_id: 0x0123_4567_89AB_CDEF,
        index: 7,
        base: 1000,
        previous: Some(Previous { index: 6, end: 990 }),
    };

    fn decode(bytes: &[u8]) -> Result<Header> {
        Header::decode(bytes, Path::new("000007.wal"))
    }

    /// `HEADER` with one field changed and the checksum made right.
    fn changed(at: usize, bytes: &[u8]) -> Result<Header> {
        let mut header = HEADER.encode();
        header[at..at + bytes.len()].copy_from_slice(bytes);
        let checksum = crc32c::crc32c(&header[..60]);
        header[60..].copy_from_slice(&checksum.to_le_bytes());
        decode(&header)
    }

    #[test]
    fn a_header_has_these_bytes() {
        let bytes = HEADER.encode();
        assert_eq!(bytes.len(), HEADER_BYTES);
        let golden = [
            &b"STRATWAL"[..],
            b"\x01\0\0\0",
            b"\0\0\0\0",
            b"\xef\xcd\xab\x89\x67\x45\x23\x01",
            b"\x07\0\0\0\0\0\0\0",
            b"\xe8\x03\0\0\0\0\0\0",
            b"\x06\0\0\0\0\0\0\0",
            b"\xde\x03\0\0\0\0\0\0",
            b"\0\0\0\0",
            b"\x71\x25\x19\x92",
        ];
        assert_eq!(bytes, golden.concat());
        assert_eq!(decode(&bytes).unwrap(), HEADER);
        let first = Header { previous: None, ..HEADER };
        assert_eq!(decode(&first.encode()).unwrap(), first);
    }

    #[test]
    fn no_flipped_bit_and_no_cut_is_a_header() {
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = HEADER.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode(&bytes), Err(Error::Corrupt { .. })), "bit {bit}");
        }
        for len in 0..HEADER_BYTES {
            assert!(decode(&HEADER.encode()[..len]).is_err(), "length {len}");
        }
    }

    #[test]
    fn a_newer_version_says_so_and_contradictions_are_refused() {
        assert!(matches!(changed(8, &[2]), Err(Error::NewerFormat { found: 2, .. })));
        let contradictions: [(usize, &[u8]); 6] =
            [(12, &[1]), (32, &[0; 8]), (32, &[0xff; 8]), (40, &[0]), (40, &[7]), (48, &[0xff; 2])];
        for (at, bytes) in contradictions {
            assert!(matches!(changed(at, bytes), Err(Error::Corrupt { .. })), "{at}: {bytes:?}");
        }
    }

    #[test]
    fn only_canonical_names_are_segments() {
        assert_eq!(parse_name("000042.wal"), Some(42));
        assert_eq!(parse_name("1234567.wal"), Some(1_234_567));
        for name in ["42.wal", "0000042.wal", "000000.wal", "+00042.wal", "000042.log", ".wal"] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}
