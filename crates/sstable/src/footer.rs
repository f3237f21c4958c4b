//! The file: magic number, blocks, footer.
//!
//! | part | bytes | |
//! |---|---:|---|
//! | magic number | 8 | [`MAGIC`] |
//! | data blocks | | one behind another, framed ([`crate::frame`]) |
//! | filter block | | absent if built without a filter |
//! | index block | | |
//! | properties block | | |
//! | footer | 80 | |
//!
//! # Footer
//! | offset | bytes | field | meaning |
//! |---:|---:|---|---|
//! | 0 | 8 | filter offset | where the data blocks end |
//! | 8 | 8 | filter bytes | with its frame; 0 if absent |
//! | 16 | 8 | index bytes | with its frame |
//! | 24 | 8 | properties bytes | with its frame |
//! | 32 | 8 | digest | of the checksums of all blocks in file order, [`digest`] |
//! | 40 | 8 | table number | |
//! | 48 | 4 | key id | 0: not encrypted |
//! | 52 | 4 | dictionary id | 0: none |
//! | 56 | 4 | flags | 0 |
//! | 60 | 4 | reserved | 0 |
//! | 64 | 4 | format version | [`VERSION`] |
//! | 68 | 4 | checksum | CRC-32C of the 68 bytes before |
//! | 72 | 8 | magic number | |
//!
//! # Invariants
//! - TABLE-1: magic numbers, format version, footer length and footer checksum keep their places in
//!   every format version, so that any release can tell a newer file from a damaged one.
//! - TABLE-2: the parts fill the file without a gap.

use stratalog_base::codec::{Decoder, Malformed, put_u32, put_u64};
use stratalog_base::fs::{File, read_exact_at};
use stratalog_base::{Error, Result};

/// At both ends of every table.
pub(crate) const MAGIC: [u8; 8] = *b"stratSST";
/// The format version that this release writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 1;
pub(crate) const FOOTER_BYTES: usize = 80;
const CHECKSUM_AT: usize = 68;

/// Where the parts of a table lie, and its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) filter_offset: u64,
    pub(crate) filter_bytes: u64,
    pub(crate) index_bytes: u64,
    pub(crate) properties_bytes: u64,
    pub(crate) digest: u64,
    pub(crate) table: u64,
}

/// The digest of a table whose blocks so far have the digest `before` (the table's number, if none),
/// continued by a block with this checksum.
#[inline]
pub(crate) fn digest(before: u64, checksum: u32) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(&checksum.to_le_bytes(), before)
}

impl Footer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        for number in [
            self.filter_offset,
            self.filter_bytes,
            self.index_bytes,
            self.properties_bytes,
            self.digest,
            self.table,
        ] {
            put_u64(&mut out, number);
        }
        for number in [0, 0, 0, 0, VERSION] {
            put_u32(&mut out, number);
        }
        let checksum = crc32c::crc32c(&out);
        put_u32(&mut out, checksum);
        out.extend_from_slice(&MAGIC);
        debug_assert_eq!(out.len(), FOOTER_BYTES);
        out
    }

    /// Takes apart the fields before the checksum, which has been compared.
    pub(crate) fn decode(fields: &[u8]) -> Result<Footer, Malformed> {
        let mut decoder = Decoder::new(fields);
        let footer = Footer {
            filter_offset: decoder.u64()?,
            filter_bytes: decoder.u64()?,
            index_bytes: decoder.u64()?,
            properties_bytes: decoder.u64()?,
            digest: decoder.u64()?,
            table: decoder.u64()?,
        };
        if decoder.u32()? != 0 {
            return Err(decoder.malformed("encrypted with a key, which this release cannot read"));
        }
        if decoder.u32()? != 0 {
            return Err(decoder.malformed("needs a dictionary, which this release cannot read"));
        }
        if decoder.u64()? != 0 {
            return Err(decoder.malformed("unknown flags"));
        }
        Ok(footer)
    }

    /// Where index, properties and footer start; `None` if the parts overflow.
    pub(crate) fn bounds(&self) -> Option<[u64; 3]> {
        let index = self.filter_offset.checked_add(self.filter_bytes)?;
        let properties = index.checked_add(self.index_bytes)?;
        Some([index, properties, properties.checked_add(self.properties_bytes)?])
    }

    /// Reads the footer of `file`, which should hold the table numbered `table`.
    pub(crate) fn read(file: &dyn File, table: u64) -> Result<Footer> {
        let len = file.len()?;
        let corrupt = |at, what: String| Error::corrupt(file.path(), at, what);
        let Some(start) = len.checked_sub(FOOTER_BYTES as u64) else {
            return Err(corrupt(0, format!("{len} bytes are too few for a table")));
        };
        let mut bytes = [0; FOOTER_BYTES];
        read_exact_at(file, &mut bytes, start)?;
        let (fields, rest) = bytes.split_at(CHECKSUM_AT);
        let intact = rest[..4] == crc32c::crc32c(fields).to_le_bytes();
        if rest[4..] != MAGIC && !intact {
            let mut magic = [0; MAGIC.len()];
            read_exact_at(file, &mut magic, 0)?;
            if magic != MAGIC {
                let why = "a table starts and ends with its magic number".to_owned();
                return Err(Error::NotOurs { path: file.path().to_owned(), why });
            }
        }
        if rest[4..] != MAGIC || !intact {
            return Err(corrupt(start, "footer damaged, or cut off".to_owned()));
        }
        let (fields, version) = fields.split_last_chunk::<4>().expect("the footer is longer");
        let version = u32::from_le_bytes(*version); // TABLE-1
        if version > VERSION {
            let path = file.path().to_owned();
            return Err(Error::NewerFormat { path, found: version, supported: VERSION });
        }
        if version < VERSION {
            return Err(corrupt(start + 64, format!("there was no format version {version}")));
        }
        let footer = Footer::decode(fields).map_err(|e| e.at(file.path(), start))?;
        if footer.table != table {
            let what = format!("this is table {}, not {table}", footer.table);
            return Err(corrupt(start + 40, what));
        }
        if footer.bounds().map(|[.., end]| end) != Some(start)
            || footer.filter_offset < MAGIC.len() as u64
        {
            return Err(corrupt(start, "the parts do not fill the file".to_owned())); // TABLE-2
        }
        Ok(footer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOOTER: Footer = Footer {
        filter_offset: 0x1000,
        filter_bytes: 0x47,
        index_bytes: 0x20,
        properties_bytes: 0x30,
        digest: 0x0102_0304_0506_0708,
        table: 7,
    };

    #[test]
    fn a_footer_has_these_bytes() {
        let encoded = FOOTER.encode();
        let parts = b"\0\x10\0\0\0\0\0\0\x47\0\0\0\0\0\0\0\x20\0\0\0\0\0\0\0\x30\0\0\0\0\0\0\0";
        assert_eq!(encoded[..32], *parts);
        assert_eq!(encoded[32..48], *b"\x08\x07\x06\x05\x04\x03\x02\x01\x07\0\0\0\0\0\0\0");
        assert_eq!(encoded[48..68], *b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0");
        assert_eq!(encoded[68..72], crc32c::crc32c(&encoded[..68]).to_le_bytes());
        assert_eq!(encoded[72..], *b"stratSST");
        assert_eq!(Footer::decode(&encoded[..64]), Ok(FOOTER));
        assert_eq!(FOOTER.bounds(), Some([0x1047, 0x1067, 0x1097]));
        assert_eq!(digest(7, 0x0403_0201), 0x0f93_f3aa_ca8c_539a);
    }

    #[test]
    fn what_this_release_does_not_know_is_refused() {
        for at in 48..64 {
            let mut fields = FOOTER.encode();
            fields[at] = 1;
            assert!(Footer::decode(&fields[..64]).is_err(), "byte {at}");
        }
    }
}
