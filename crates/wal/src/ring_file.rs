//! The ring file: what a kill leaves of the records that were not yet in a segment.
//!
//! | offset | bytes | field | meaning |
//! |---|---|---|---|
//! | 0 | 8 | magic | `STRATRNG` |
//! | 8 | 4 | version | of the format, 1 |
//! | 12 | 4 | – | 0, others are rejected |
//! | 16 | 8 | log id | as in the segments |
//! | 24 | 8 | session | as in the segments |
//! | 32 | 8 | capacity | bytes of the ring, a power of two |
//! | 40 | 20 | – | 0, others are rejected |
//! | 60 | 4 | checksum | CRC-32C of the bytes before |
//! | 64 | 4032 | – | 0 |
//! | 4096 | capacity | ring | the frame at position `p` starts at `p` modulo capacity |
//!
//! Integers are little-endian. A file for each session, made whole, zeros included, before its name is:
//! so the space is there, and no store to the mapping can meet a full disk.

use std::path::Path;
use std::sync::Arc;

use stratalog_base::codec::{Decoder, Malformed, put_u32, put_u64};
use stratalog_base::fs::{File, Fs, read_all};
use stratalog_base::{Error, Result};

use crate::Position;
use crate::frame::Frame;
use crate::scan::{AtBad, Scan, Verdict, scan_segment};
use crate::segment::{self, Header, Link};

/// The file's name.
pub const NAME: &str = "ring.wal";
/// The name that it has until it is whole.
pub const UNREADY_NAME: &str = "ring.wal-new";
/// Bytes before the ring.
pub const HEADER_BYTES: usize = 4096;
const USED_BYTES: usize = 64;
const MAGIC: &[u8; 8] = b"STRATRNG";
const VERSION: u32 = 1;

/// Makes the ring file of a session, all zeros, in the place of an older one, and opens it.
///
/// # Errors
/// If the system refuses; then a leftover may exist, and the older one is in force or the new one.
pub fn create(
    fs: &dyn Fs,
    dir: &Path,
    log_id: u64,
    session: u64,
    capacity: u64,
) -> Result<Arc<dyn File>> {
    let unready = dir.join(UNREADY_NAME);
    if fs.open(&unready).is_ok() {
        fs.remove(&unready)?; // What an attempt left that failed.
    }
    let file = fs.create(&unready)?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + capacity as usize);
    bytes.extend_from_slice(MAGIC);
    put_u32(&mut bytes, VERSION);
    put_u32(&mut bytes, 0);
    for field in [log_id, session, capacity] {
        put_u64(&mut bytes, field);
    }
    bytes.resize(USED_BYTES - 4, 0);
    let checksum = crc32c::crc32c(&bytes);
    put_u32(&mut bytes, checksum);
    bytes.resize(HEADER_BYTES + capacity as usize, 0);
    file.write_at(&bytes, 0)?;
    file.sync()?;
    fs.rename(&unready, &dir.join(NAME))?;
    fs.sync_dir(dir)?;
    Ok(file)
}

/// A ring file as a kill left it.
#[derive(Debug)]
pub struct RingImage {
    /// Whose it is.
    pub log_id: u64,
    /// Of which session.
    pub session: u64,
    bytes: Vec<u8>,
}

impl RingImage {
    /// The ring of the directory, if there is one.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::NewerFormat`], or if it cannot be read.
    pub fn read(fs: &dyn Fs, dir: &Path) -> Result<Option<RingImage>> {
        let path = dir.join(NAME);
        let file = match fs.open(&path) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        RingImage::decode(read_all(&*file)?, &path).map(Some)
    }

    /// The ring file `path`, all of whose bytes are given.
    ///
    /// # Errors
    /// [`Error::Corrupt`] or [`Error::NewerFormat`].
    pub fn decode(bytes: Vec<u8>, path: &Path) -> Result<RingImage> {
        let corrupt = |what: &str| Error::corrupt(path, 0, what);
        let header = bytes.get(..USED_BYTES).ok_or_else(|| corrupt("ring header is cut short"))?;
        let mut decoder = Decoder::new(header);
        let mut fields = || -> Result<_, Malformed> {
            let magic = decoder.take(MAGIC.len())?;
            let (version, rest) = (decoder.u32()?, decoder.take(4)?);
            let numbers = [decoder.u64()?, decoder.u64()?, decoder.u64()?];
            Ok((magic, version, numbers, [rest, decoder.take(20)?]))
        };
        let (magic, version, [log_id, session, capacity], rest) =
            fields().map_err(|malformed| malformed.at(path, 0))?;
        let checksum = crc32c::crc32c(&header[..USED_BYTES - 4]).to_le_bytes();
        if magic != MAGIC || header[USED_BYTES - 4..] != checksum {
            return Err(corrupt("ring header checksum mismatch"));
        }
        if version > VERSION {
            let path = path.to_owned();
            return Err(Error::NewerFormat { path, found: version, supported: VERSION });
        }
        if rest.concat().iter().any(|&byte| byte != 0) {
            return Err(corrupt("unknown fields in the ring header"));
        }
        let len = (bytes.len() - USED_BYTES.min(bytes.len())) as u64;
        if !capacity.is_power_of_two() || len != capacity + (HEADER_BYTES - USED_BYTES) as u64 {
            return Err(corrupt("the ring has another length than its header says"));
        }
        Ok(RingImage { log_id, session, bytes })
    }

    /// Bytes of the ring.
    pub fn capacity(&self) -> u64 {
        (self.bytes.len() - HEADER_BYTES) as u64
    }

    /// Where in the file the frame at `position` starts.
    pub fn offset(&self, position: Position) -> u64 {
        HEADER_BYTES as u64 + position % self.capacity()
    }

    /// Whether it is of the log and session of the segment `newest`.
    pub fn is_of(&self, newest: &Header) -> bool {
        (self.log_id, self.session) == (newest.id.log_id, newest.link.session)
    }

    /// The ring's bytes in the order of positions, the byte at `position` first.
    pub fn from(&self, position: Position) -> Vec<u8> {
        let ring = &self.bytes[HEADER_BYTES..];
        let (before, after) = ring.split_at((position % ring.len() as u64) as usize);
        [after, before].concat()
    }

    /// Calls `on_frame` with the frames from `start` on, in the log and session of `newest`.
    ///
    /// # Errors
    /// Those of `on_frame`.
    pub fn scan<V: Into<Verdict>>(
        &self,
        newest: &Header,
        start: Position,
        at_bad: AtBad,
        on_frame: &mut dyn FnMut(Frame<'_>) -> Result<V>,
    ) -> Result<Scan> {
        let header = Header { link: Link { base: start, ..newest.link }, ..*newest };
        let bytes = [vec![0; segment::HEADER_BYTES], self.from(start)].concat();
        scan_segment(&bytes, &header, None, at_bad, &mut |frame| on_frame(frame))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use stratalog_base::fs::SimFs;

    use super::*;

    #[test]
    fn a_header_with_unknown_fields_is_refused_whatever_its_checksum() {
        let fs = SimFs::new();
        create(&fs, Path::new(""), 1, 2, 4096).unwrap();
        let sound = fs.read_file(NAME);
        let image = RingImage::decode(sound.clone(), Path::new(NAME)).unwrap();
        assert_eq!((image.log_id, image.session, image.capacity()), (1, 2, 4096));
        for at in (12..16).chain(40..USED_BYTES - 4) {
            let mut bytes = sound.clone();
            bytes[at] = 1;
            let checksum = crc32c::crc32c(&bytes[..USED_BYTES - 4]);
            bytes[USED_BYTES - 4..USED_BYTES].copy_from_slice(&checksum.to_le_bytes());
            let outcome = RingImage::decode(bytes, Path::new(NAME));
            assert!(matches!(outcome, Err(Error::Corrupt { .. })), "byte {at}");
        }
    }
}
