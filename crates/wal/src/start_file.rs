//! The start file: below which position nothing of the log is missed.
//!
//! | offset | bytes | field | meaning |
//! |---|---|---|---|
//! | 0 | 8 | magic | `STRATBEG` |
//! | 8 | 4 | version | of the format, 1 |
//! | 12 | 4 | – | 0, others are rejected |
//! | 16 | 8 | log id | as in the segments |
//! | 24 | 8 | start | a position, others are rejected |
//! | 32 | 4 | checksum | CRC-32C of the bytes before |
//!
//! Integers are little-endian. It is replaced as a whole, and durable, before a segment is removed: so
//! a removed segment can be told from a lost one. A log of which nothing was removed has none, or one with its
//! first position, in the place of one that was not its own.

use std::path::Path;

use stratalog_base::codec::{Decoder, Malformed, put_u32, put_u64};
use stratalog_base::fs::{Fs, read_all};
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::{Error, Result};

use crate::Position;
use crate::frame::ALIGNMENT;

/// The file's name.
pub const NAME: &str = "start.wal";
/// The name that it has until it is whole.
pub const UNREADY_NAME: &str = "start.wal-new";
const BYTES: usize = 36;
const MAGIC: &[u8; 8] = b"STRATBEG";
const VERSION: u32 = 1;

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Whose it is.
    pub log_id: u64,
    /// Segments that lie wholly below may be gone.
    pub position: Position,
}

impl Start {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BYTES);
        out.extend_from_slice(MAGIC);
        put_u32(&mut out, VERSION);
        put_u32(&mut out, 0);
        put_u64(&mut out, self.log_id);
        put_u64(&mut out, self.position);
        let checksum = crc32c::crc32c(&out);
        put_u32(&mut out, checksum);
        out
    }

    /// The file `path`, all of whose bytes are given.
    ///
    /// # Errors
    /// [`Error::Corrupt`] or [`Error::NewerFormat`].
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Start> {
        let mut decoder = Decoder::new(bytes);
        let mut fields = || -> Result<_, Malformed> {
            let (magic, version) = (decoder.take(MAGIC.len())?, decoder.u32()?);
            let rest = decoder.take(4)?;
            Ok((magic, version, rest, decoder.u64()?, decoder.u64()?, decoder.u32()?))
        };
        let (magic, version, rest, log_id, position, checksum) =
            fields().map_err(|malformed| malformed.at(path, 0))?;
        let sound = magic == MAGIC && checksum == crc32c::crc32c(&bytes[..BYTES - 4]);
        if !sound || bytes.len() != BYTES {
            return Err(Error::corrupt(path, 0, "start file checksum mismatch"));
        }
        if version > VERSION {
            let path = path.to_owned();
            return Err(Error::NewerFormat { path, found: version, supported: VERSION });
        }
        let is_position = position.is_multiple_of(ALIGNMENT as u64) && position <= MAX_SEQ_NO;
        if rest != [0; 4] || !is_position {
            return Err(Error::corrupt(path, 0, "start file gives no position"));
        }
        Ok(Start { log_id, position })
    }

    /// The start of the log in `dir`, if it has one.
    ///
    /// # Errors
    /// As [`Start::decode`], or if the file cannot be read.
    pub fn read(fs: &dyn Fs, dir: &Path) -> Result<Option<Start>> {
        let path = dir.join(NAME);
        match fs.open(&path) {
            Ok(file) => Start::decode(&read_all(&*file)?, &path).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts it in the place of a lower one; durable on return. A higher one stays: a power cut may have
    /// brought back some of the segments that were removed for that, and not all.
    ///
    /// # Errors
    /// As [`Start::read`], or if the system refuses; then the older one is in force or this one.
    pub fn raise(&self, fs: &dyn Fs, dir: &Path) -> Result<()> {
        if Start::read(fs, dir)?.is_some_and(|old| old.position >= self.position) {
            return fs.sync_dir(dir); // The one that put it there may have failed in that.
        }
        self.put(fs, dir)
    }

    /// Puts it in the place of one that is damaged or another log's; durable on return. Does nothing if there is none.
    ///
    /// # Errors
    /// [`Error::NewerFormat`], or if the system refuses; then the older one is there or this one.
    pub fn put_unless_same_log(&self, fs: &dyn Fs, dir: &Path) -> Result<()> {
        match Start::read(fs, dir) {
            Ok(Some(old)) if old.log_id != self.log_id => self.put(fs, dir),
            Err(Error::Corrupt { .. }) => self.put(fs, dir),
            read => read.map(|_| ()),
        }
    }

    fn put(&self, fs: &dyn Fs, dir: &Path) -> Result<()> {
        let unready = dir.join(UNREADY_NAME);
        match fs.remove(&unready) {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {} // Left by one that failed.
        }
        let file = fs.create(&unready)?;
        file.write_at(&self.encode(), 0)?;
        file.sync()?;
        fs.rename(&unready, &dir.join(NAME))?;
        fs.sync_dir(dir)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_position_or_not_zero_is_no_start_whatever_its_checksum() {
        let sealed = |mut bytes: Vec<u8>| {
            let checksum = crc32c::crc32c(&bytes[..BYTES - 4]);
            bytes[BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
            Start::decode(&bytes, Path::new(""))
        };
        let of = |position| Start { log_id: 7, position }.encode();
        for position in [0, 8, MAX_SEQ_NO / 8 * 8] {
            assert_eq!(sealed(of(position)).unwrap().position, position);
        }
        for position in [1, 4097, MAX_SEQ_NO, MAX_SEQ_NO + 1, u64::MAX / 8 * 8, u64::MAX] {
            assert!(sealed(of(position)).is_err(), "{position}");
        }
        for at in 12..16 {
            let mut bytes = of(4096);
            bytes[at] = 1;
            assert!(sealed(bytes).is_err(), "byte {at}");
        }
    }

    #[test]
    fn no_flipped_bit_and_no_cut_is_a_start() {
        let start = Start { log_id: 7, position: 4096 };
        let bytes = start.encode();
        assert_eq!(bytes[..8], *MAGIC);
        assert_eq!(Start::decode(&bytes, Path::new("")).unwrap(), start);
        for bit in 0..BYTES * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Start::decode(&flipped, Path::new("")).is_err(), "bit {bit}");
        }
        for len in 0..BYTES {
            assert!(Start::decode(&bytes[..len], Path::new("")).is_err(), "length {len}");
        }
        assert!(Start::decode(&[&bytes[..], &[0]].concat(), Path::new("")).is_err());
    }
}
