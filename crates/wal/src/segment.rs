//! The segment: one file of the log, `000001.wal` and so on. Who it is, what it continues, then frames.
//!
//! | offset | bytes | field | meaning |
//! |---|---|---|---|
//! | 0 | 8 | magic | `STRATWAL` |
//! | 8 | 4 | version | of the format, 1 |
//! | 12 | 4 | flags | bit 0: made ahead; others are rejected |
//! | 16 | 8 | log id | random, the same in all segments of a log |
//! | 24 | 8 | index | of this segment, the number in its name, at least 1 |
//! | 32 | 28 | – | 0 |
//! | 60 | 4 | checksum | CRC-32C of the bytes before |
//! | 64 | 8 | base | position of the first frame |
//! | 72 | 8 | previous index | of the segment that this one continues, 0 if none |
//! | 80 | 8 | previous end | position where that segment's part of the stream ends, 0 if none |
//! | 88 | 8 | durable | a promise: all of the log below it was durable when this was written |
//! | 96 | 8 | session | index of the first segment that its writer began |
//! | 104 | 20 | – | 0 |
//! | 124 | 4 | checksum | CRC-32C of the bytes from 64 on, continued from the checksum at 60 |
//!
//! Integers are little-endian. The frame at position `p` lies at byte `128 + p - base`. The first half,
//! the [`Identity`], is written when the file is made, ahead of need; the second, the [`Link`], when the
//! segment is begun. Since the link's checksum goes on from the identity's, a link that a recycled file
//! still holds is not valid in its new life.
//!
//! # Invariants
//! - SEG-1: a file has a segment's name only when its identity and that name are durable, so an
//!   identity that cannot be read is damage. A link or a frame is written only after that.
//! - SEG-2: the first segment of a session gets its name with its link and all that it was begun with
//!   durable. Others are made ahead: their link and frames are durable only together, by the next
//!   sync, and they go on in the same session exactly where the one before ends.
//! - SEG-3: `previous end` ≤ `base`, and `durable` ≤ `base`. Positions between previous end and base
//!   went to writes that were never logged.
//! - SEG-4: a file that is not all zeros beyond what was written to it in this life has 8 zero bytes
//!   after its last frame: no recovery takes what is left of an earlier life for a torn tail.

use std::path::Path;
use std::sync::Arc;

use stratalog_base::codec::{Decoder, Malformed, put_u32, put_u64};
use stratalog_base::fs::{File, Fs};
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::{Error, Result};

use crate::Position;
use crate::frame::{ALIGNMENT, StreamId};

/// Bytes of the identity, and of the link.
const HALF_BYTES: usize = 64;
/// Bytes before the first frame.
pub const HEADER_BYTES: usize = 2 * HALF_BYTES;
/// What is wrong with a segment whose link is not valid, though it was begun.
pub const UNLINKED: &str = "segment link mismatch";
const MAGIC: &[u8; 8] = b"STRATWAL";
const VERSION: u32 = 1;

/// The highest index: no log comes so far, and what is above still is a number.
const MAX_INDEX: u64 = u64::MAX >> 1;

/// The name of the segment `index`.
pub fn file_name(index: u64) -> String {
    format!("{index:06}.wal")
}

/// The name that the file of the segment `index` has before (SEG-1).
pub fn unready_name(index: u64) -> String {
    format!("{index:06}.wal-new")
}

/// The name of the file that was the segment `index` and waits to be recycled.
pub fn retired_name(index: u64) -> String {
    format!("{index:06}.wal-old")
}

/// The index of the segment called `name`, if it is a segment's name.
pub fn parse_name(name: &str) -> Option<u64> {
    let index = name.strip_suffix(".wal")?.parse().ok()?;
    ((1..=MAX_INDEX).contains(&index) && file_name(index) == name).then_some(index)
}

/// Whether `name` is that of a file that never was or is no longer a segment.
pub fn is_leftover(name: &str) -> bool {
    let stem = name.strip_suffix("-new").or_else(|| name.strip_suffix("-old"));
    stem.and_then(parse_name).is_some()
}

/// Who a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The log it belongs to.
    pub log_id: u64,
    /// Its own index.
    pub index: u64,
    /// Whether it had its name before it had a link (SEG-2).
    pub is_ahead: bool,
}

/// The part of the stream that a segment continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previous {
    /// The segment's index.
    pub index: u64,
    /// Where its part of the stream ends; what its file holds beyond does not count.
    pub end: Position,
}

/// What a segment continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The position of its first frame.
    pub base: Position,
    /// The segment before.
    pub previous: Option<Previous>,
    /// All below it was durable when the segment was begun.
    pub durable: Position,
    /// The first segment of the session that wrote it.
    pub session: u64,
}

/// A begun segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Who it is.
    pub id: Identity,
    /// What it continues.
    pub link: Link,
}

fn corrupt(path: &Path, offset: usize, what: &str) -> Error {
    Error::corrupt(path, offset as u64, what)
}

impl Identity {
    /// The first half of the header.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HALF_BYTES);
        out.extend_from_slice(MAGIC);
        put_u32(&mut out, VERSION);
        put_u32(&mut out, u32::from(self.is_ahead));
        put_u64(&mut out, self.log_id);
        put_u64(&mut out, self.index);
        out.resize(HALF_BYTES - 4, 0);
        let checksum = crc32c::crc32c(&out);
        put_u32(&mut out, checksum);
        out
    }

    /// The identity at the start of the file `path`, whose first bytes are `input`.
    ///
    /// # Errors
    /// [`Error::NewerFormat`], or [`Error::Corrupt`] with what does not hold.
    pub fn decode(input: &[u8], path: &Path) -> Result<Identity> {
        let cut_short = || corrupt(path, 0, "segment header is cut short");
        let input = input.get(..HALF_BYTES).ok_or_else(cut_short)?;
        let mut decoder = Decoder::new(input);
        let mut fields = || -> Result<_, Malformed> {
            let magic = decoder.take(MAGIC.len())?;
            let version_flags = [decoder.u32()?, decoder.u32()?];
            let numbers = [decoder.u64()?, decoder.u64()?];
            Ok((magic, version_flags, numbers, decoder.take(28)?, decoder.u32()?))
        };
        let (magic, [version, flags], [log_id, index], rest, checksum) =
            fields().map_err(|malformed| malformed.at(path, 0))?;
        if magic != MAGIC || checksum != crc32c::crc32c(&input[..HALF_BYTES - 4]) {
            return Err(corrupt(path, 0, "segment header checksum mismatch"));
        }
        if version > VERSION {
            let path = path.to_owned();
            return Err(Error::NewerFormat { path, found: version, supported: VERSION });
        }
        if version == 0 || flags > 1 || rest.iter().any(|&byte| byte != 0) {
            return Err(corrupt(path, 0, "unknown segment version or flags"));
        }
        Ok(Identity { log_id, index, is_ahead: flags == 1 })
    }

    fn checksum(&self) -> u32 {
        crc32c::crc32c(&self.encode()[..HALF_BYTES - 4])
    }
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let Link { base, previous, durable, session } = self.link;
        let previous = previous.unwrap_or(Previous { index: 0, end: 0 });
        let mut out = self.id.encode();
        for field in [base, previous.index, previous.end, durable, session] {
            put_u64(&mut out, field);
        }
        out.resize(HEADER_BYTES - 4, 0);
        let checksum = crc32c::crc32c_append(self.id.checksum(), &out[HALF_BYTES..]);
        put_u32(&mut out, checksum);
        out
    }

    /// The header of the file `path`, whose first bytes are `input`: its identity, and its link unless
    /// it has no valid one.
    ///
    /// # Errors
    /// As [`Identity::decode`]; [`Error::Corrupt`] if a valid link contradicts itself.
    pub fn decode(input: &[u8], path: &Path) -> Result<(Identity, Option<Link>)> {
        let id = Identity::decode(input, path)?;
        let Some(half) = input.get(HALF_BYTES..HEADER_BYTES) else { return Ok((id, None)) };
        let mut decoder = Decoder::new(half);
        let mut fields = || -> Result<_, Malformed> {
            let mut numbers = [0; 5];
            for number in &mut numbers {
                *number = decoder.u64()?;
            }
            Ok((numbers, decoder.take(20)?, decoder.u32()?))
        };
        let (numbers, rest, checksum) = fields().map_err(|it| it.at(path, HALF_BYTES as u64))?;
        let expected = crc32c::crc32c_append(id.checksum(), &half[..HALF_BYTES - 4]);
        if checksum != expected {
            return Ok((id, None));
        }
        let [base, previous_index, previous_end, durable, session] = numbers;
        let previous = match (previous_index, previous_end) {
            (0, 0) => None,
            (index, end) => Some(Previous { index, end }),
        };
        // SEG-3
        let sound = (1..=MAX_SEQ_NO).contains(&base)
            && base.is_multiple_of(ALIGNMENT as u64)
            && durable <= base
            && (1..=id.index).contains(&session)
            && rest.iter().all(|&byte| byte == 0)
            && previous.is_none_or(|it| (1..id.index).contains(&it.index) && it.end <= base);
        if !sound {
            return Err(corrupt(path, HALF_BYTES, "segment header contradicts itself"));
        }
        Ok((id, Some(Link { base, previous, durable, session })))
    }

    /// Where in the file the frame at `position` lies.
    pub fn offset(&self, position: Position) -> u64 {
        HEADER_BYTES as u64 + (position - self.link.base)
    }

    /// Whose frames it holds.
    pub fn stream(&self) -> StreamId {
        StreamId::of(self.id.log_id, self.link.session)
    }
}

/// A file that can become a segment: its identity and its name are durable.
#[derive(Debug)]
pub struct Spare {
    /// The file.
    pub file: Arc<dyn File>,
    /// Who it is.
    pub id: Identity,
    /// Whether it is all zeros after the header, or holds what is left of an earlier life (SEG-4).
    pub zeros: bool,
}

impl Spare {
    /// Gives `file`, whose name is [`unready_name`], its identity and the segment's name (SEG-1), with
    /// `start` as all that is written so far.
    fn name(
        fs: &dyn Fs,
        dir: &Path,
        file: Arc<dyn File>,
        id: Identity,
        start: &[u8],
        zeros: bool,
    ) -> Result<Spare> {
        file.write_at(start, 0)?;
        file.sync()?;
        drop(file);
        let path = dir.join(file_name(id.index));
        match fs.open(&path) {
            Ok(_) => {
                let exists = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
                return Err(Error::io("create", &path, exists));
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        fs.rename(&dir.join(unready_name(id.index)), &path)?;
        fs.sync_dir(dir)?;
        Ok(Spare { file: fs.open_write(&path)?, id, zeros })
    }

    /// Makes a new file, filled with zeros up to `len`.
    ///
    /// # Errors
    /// If the system refuses; then a leftover may exist.
    pub fn create(fs: &dyn Fs, dir: &Path, id: Identity, len: u64) -> Result<Spare> {
        let file = fs.create(&dir.join(unready_name(id.index)))?;
        fill(&*file, len)?;
        Spare::name(fs, dir, file, id, &id.encode(), true)
    }

    /// Makes one of the file that was the segment `retired`.
    ///
    /// # Errors
    /// If the system refuses; then a leftover may exist.
    pub fn recycle(fs: &dyn Fs, dir: &Path, id: Identity, retired: u64) -> Result<Spare> {
        let path = dir.join(unready_name(id.index));
        fs.rename(&dir.join(retired_name(retired)), &path)?;
        fs.sync_dir(dir)?; // Its old name must not come back with the new identity.
        let file = fs.open_write(&path)?;
        let mut start = id.encode();
        start.resize(HEADER_BYTES + ALIGNMENT, 0);
        Spare::name(fs, dir, file, id, &start, false)
    }
}

/// Writes zeros behind where the header goes, up to `len`.
fn fill(file: &dyn File, len: u64) -> Result<()> {
    const STEP_BYTES: usize = 1 << 20;
    let zeros = vec![0; STEP_BYTES.min(len as usize)];
    let mut at = HEADER_BYTES as u64;
    while at < len {
        let step = (len - at).min(STEP_BYTES as u64);
        file.write_at(&zeros[..step as usize], at)?;
        at += step;
    }
    Ok(())
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
    /// See [`Spare::zeros`].
    zeros: bool,
}

impl Segment {
    /// Creates the first segment of a session, which starts with `frames` (SEG-2) and is filled with
    /// zeros up to `filled`.
    ///
    /// # Errors
    /// If the system refuses; then a leftover may exist.
    pub fn first(
        fs: &dyn Fs,
        dir: &Path,
        header: Header,
        frames: &[u8],
        filled: u64,
    ) -> Result<Segment> {
        let file = fs.create(&dir.join(unready_name(header.id.index)))?;
        fill(&*file, filled)?;
        let start = [&header.encode(), frames].concat();
        let Spare { file, zeros, .. } = Spare::name(fs, dir, file, header.id, &start, true)?;
        Ok(Segment { file, header, end: header.link.base + frames.len() as u64, zeros })
    }

    /// Begins the segment that `spare` becomes.
    ///
    /// # Errors
    /// As [`File::write_at`].
    pub fn begin(spare: Spare, link: Link) -> Result<Segment> {
        let header = Header { id: spare.id, link };
        spare.file.write_at(&header.encode()[HALF_BYTES..], HALF_BYTES as u64)?;
        Ok(Segment { file: spare.file, header, end: link.base, zeros: spare.zeros })
    }

    /// Bytes of the file that are in use, header included.
    pub fn len(&self) -> u64 {
        self.header.offset(self.end)
    }

    /// Whether it holds a frame.
    pub fn is_empty(&self) -> bool {
        self.end == self.header.link.base
    }

    /// Writes whole frames at the end.
    ///
    /// # Errors
    /// As [`File::write_at`]; then the segment must take no more.
    pub fn append(&mut self, frames: &[u8]) -> Result<()> {
        self.append_parts(&[frames, &[]])
    }

    /// Writes the parts, whole frames in a row, at the end.
    ///
    /// # Errors
    /// As [`Segment::append`].
    pub fn append_parts(&mut self, parts: &[&[u8]; 2]) -> Result<()> {
        let terminator: &[u8] = if self.zeros { &[] } else { &[0; ALIGNMENT] }; // SEG-4
        let slices = [parts[0], parts[1], terminator].map(std::io::IoSlice::new);
        self.file.write_parts_at(&slices, self.len())?;
        self.end += (parts[0].len() + parts[1].len()) as u64;
        Ok(())
    }

    /// Writes the seal, the last frame.
    ///
    /// # Errors
    /// As [`File::write_at`].
    pub fn seal(&self, durable: Position, next: u64) -> Result<()> {
        let mut seal = Vec::new();
        crate::frame::put_seal(durable, next, self.header.stream(), self.end, &mut seal);
        self.file.write_at(&seal, self.len())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        id: Identity { log_id: 0x0123_4567_89AB_CDEF, index: 7, is_ahead: false },
        link: Link {
            base: 1000,
            previous: Some(Previous { index: 6, end: 992 }),
            durable: 984,
            session: 5,
        },
    };

    fn decode(bytes: &[u8]) -> Result<(Identity, Option<Link>)> {
        Header::decode(bytes, Path::new("000007.wal"))
    }

    /// `HEADER` with one field changed and the checksums made right.
    fn changed(at: usize, bytes: &[u8]) -> Result<(Identity, Option<Link>)> {
        let mut header = HEADER.encode();
        header[at..at + bytes.len()].copy_from_slice(bytes);
        let checksum = crc32c::crc32c(&header[..60]);
        header[60..64].copy_from_slice(&checksum.to_le_bytes());
        let id_checksum = match Identity::decode(&header, Path::new("")) {
            Ok(id) => id.checksum(),
            Err(error) => return Err(error),
        };
        let checksum = crc32c::crc32c_append(id_checksum, &header[64..124]);
        header[124..].copy_from_slice(&checksum.to_le_bytes());
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
            &[0; 28],
            b"\x82\x51\x8c\xd3",
            b"\xe8\x03\0\0\0\0\0\0",
            b"\x06\0\0\0\0\0\0\0",
            b"\xe0\x03\0\0\0\0\0\0",
            b"\xd8\x03\0\0\0\0\0\0",
            b"\x05\0\0\0\0\0\0\0",
            &[0; 20],
            b"\xe4\x80\x95\x6e",
        ];
        assert_eq!(bytes, golden.concat());
        assert_eq!(decode(&bytes).unwrap(), (HEADER.id, Some(HEADER.link)));
        let first = Header { link: Link { previous: None, ..HEADER.link }, ..HEADER };
        assert_eq!(decode(&first.encode()).unwrap(), (first.id, Some(first.link)));
        let ahead = Header { id: Identity { is_ahead: true, ..HEADER.id }, ..HEADER };
        assert_eq!(decode(&ahead.encode()).unwrap(), (ahead.id, Some(ahead.link)));
    }

    #[test]
    fn no_flipped_bit_and_no_cut_is_a_header() {
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = HEADER.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            match decode(&bytes) {
                Err(Error::Corrupt { .. }) => assert!(bit < HALF_BYTES * 8, "bit {bit}"),
                other => {
                    assert_eq!(other.unwrap(), (HEADER.id, None));
                    assert!(bit >= HALF_BYTES * 8, "bit {bit}");
                }
            }
        }
        for len in 0..HALF_BYTES {
            assert!(decode(&HEADER.encode()[..len]).is_err(), "length {len}");
        }
        for len in HALF_BYTES..HEADER_BYTES {
            assert_eq!(decode(&HEADER.encode()[..len]).unwrap(), (HEADER.id, None));
        }
    }

    #[test]
    fn a_link_of_an_earlier_life_is_not_valid() {
        let mut bytes = HEADER.encode();
        let id = Identity { index: 9, ..HEADER.id };
        bytes[..HALF_BYTES].copy_from_slice(&id.encode());
        assert_eq!(decode(&bytes).unwrap(), (id, None));
    }

    #[test]
    fn a_newer_version_says_so_and_contradictions_are_refused() {
        assert!(matches!(changed(8, &[2]), Err(Error::NewerFormat { found: 2, .. })));
        let contradictions: [(usize, &[u8]); 11] = [
            (12, &[2]),
            (40, &[1]),
            (64, &[0; 8]),
            (64, &[0xff; 8]),
            (64, &[1]),
            (72, &[0]),
            (72, &[7]),
            (80, &[0xff; 2]),
            (88, &[0xff; 2]),
            (96, &[8]),
            (110, &[1]),
        ];
        for (at, bytes) in contradictions {
            assert!(matches!(changed(at, bytes), Err(Error::Corrupt { .. })), "{at}: {bytes:?}");
        }
    }

    #[test]
    fn only_canonical_names_are_segments() {
        assert_eq!(parse_name("000042.wal"), Some(42));
        assert_eq!(parse_name("1234567.wal"), Some(1_234_567));
        assert_eq!(parse_name(&file_name(MAX_INDEX)), Some(MAX_INDEX));
        for index in [0, MAX_INDEX + 1, u64::MAX - 1, u64::MAX] {
            assert_eq!(parse_name(&file_name(index)), None, "{index}");
        }
        for name in ["42.wal", "0000042.wal", "000000.wal", "+00042.wal", "000042.log", ".wal"] {
            assert_eq!(parse_name(name), None, "{name}");
        }
        assert!(is_leftover(&unready_name(3)) && is_leftover(&retired_name(3)));
        for name in ["000042.wal", "42.wal-new", "000042.wal-new2", "000042.tbl-old"] {
            assert!(!is_leftover(name), "{name}");
        }
    }
}
