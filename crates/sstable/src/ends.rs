//! [`Ends`]: what files of both kinds, tables and value files, begin and end with.
//!
//! A file begins with its kind's magic number and ends with 80 bytes: 64 of fields, which are the kind's
//! own but for the file's number at byte 40, then format version (4), checksum (4, CRC-32C of the 68 bytes
//! before) and the magic number (8).

use stratalog_base::codec::put_u32;
use stratalog_base::fs::{File, read_exact_at};
use stratalog_base::{Error, Result};

/// Bytes of a footer.
pub(crate) const FOOTER_BYTES: usize = 80;
/// Where in a footer the file's number stands, in eight bytes.
pub(crate) const NUMBER_AT: usize = 40;
const FIELDS_BYTES: usize = 64;
const CHECKSUM_AT: usize = 68;

/// A kind of file.
pub(crate) struct Ends {
    /// At both ends.
    pub(crate) magic: [u8; 8],
    /// The format version that this release writes, and the newest that it reads.
    pub(crate) version: u32,
    /// As errors call it, with its article.
    pub(crate) name: &'static str,
}

impl Ends {
    /// Makes `out`, the fields, a footer.
    pub(crate) fn close(&self, out: &mut Vec<u8>) {
        debug_assert_eq!(out.len(), FIELDS_BYTES);
        put_u32(out, self.version);
        let checksum = crc32c::crc32c(out);
        put_u32(out, checksum);
        out.extend_from_slice(&self.magic);
    }

    /// Puts this release's version and the right checksum and magic number on any footer, for fuzzing
    /// what lies behind them.
    pub(crate) fn correct(&self, footer: &mut [u8]) {
        let mut right = footer[..FIELDS_BYTES].to_vec();
        self.close(&mut right);
        footer.copy_from_slice(&right);
    }

    /// The fields of the footer of `file`, and where it starts.
    ///
    /// # Errors
    /// [`Error::NotOurs`], [`Error::NewerFormat`]; [`Error::Corrupt`] if it is damaged, or of a version
    /// that no release wrote; of reading.
    pub(crate) fn read(&self, file: &dyn File) -> Result<([u8; FIELDS_BYTES], u64)> {
        let (len, path) = (file.len()?, file.path());
        let Some(start) = len.checked_sub(FOOTER_BYTES as u64) else {
            let what = format!("{len} bytes are too few for {}", self.name);
            return Err(Error::corrupt(path, 0, what));
        };
        let mut bytes = [0; FOOTER_BYTES];
        read_exact_at(file, &mut bytes, start)?;
        let (sealed, rest) = bytes.split_at(CHECKSUM_AT);
        let intact = rest[..4] == crc32c::crc32c(sealed).to_le_bytes();
        if rest[4..] != self.magic && !intact {
            let mut magic = [0; 8];
            read_exact_at(file, &mut magic, 0)?;
            if magic != self.magic {
                let why = format!("{} starts and ends with its magic number", self.name);
                return Err(Error::NotOurs { path: path.to_owned(), why });
            }
        }
        if rest[4..] != self.magic || !intact {
            return Err(Error::corrupt(path, start, "footer damaged, or cut off"));
        }
        let (fields, version) = sealed.split_first_chunk().expect("the checksum lies behind");
        let version = u32::from_le_bytes(*version.first_chunk().expect("it fills what is between"));
        if version > self.version {
            let (path, supported) = (path.to_owned(), self.version);
            return Err(Error::NewerFormat { path, found: version, supported });
        }
        if version < self.version {
            let what = format!("format version {version}, which no release wrote");
            return Err(Error::corrupt(path, start + FIELDS_BYTES as u64, what));
        }
        Ok((*fields, start))
    }
}
