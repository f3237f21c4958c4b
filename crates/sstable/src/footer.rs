//! The file: magic number, blocks, footer.
//!
//! | part | bytes | |
//! |---|---:|---|
//! | magic number | 8 | [`MAGIC`] |
//! | data blocks | | one behind another, framed ([`crate::frame`]) |
//! | partitions | | of each: its filter block, absent if built without a filter, and its index block ([`crate::top`]) |
//! | range-tombstone block | | absent if there are none |
//! | dictionary block | | what Zstd compressed blocks with; absent if without ([`crate::compress`]) |
//! | top-index block | | |
//! | properties block | | |
//! | footer | 80 | |
//!
//! # Footer
//! | offset | bytes | field | meaning |
//! |---:|---:|---|---|
//! | 0 | 8 | partitions offset | where the data blocks end |
//! | 8 | 8 | partitions bytes | of all filter and index blocks with their frames |
//! | 16 | 4 | range-tombstone bytes | with its frame; 0 if absent |
//! | 20 | 4 | dictionary bytes | with its frame; 0 if absent |
//! | 24 | 4 | top-index bytes | with its frame |
//! | 28 | 4 | properties bytes | with its frame |
//! | 32 | 8 | digest | of the checksums of all blocks in file order, [`digest`] |
//! | 40 | 8 | table number | |
//! | 48 | 4 | key id | 0: not encrypted |
//! | 52 | 4 | dictionary id | 0: none |
//! | 56 | 4 | flags | bit 0: blocks may be compressed by Zstd; unknown bits are refused |
//! | 60 | 4 | reserved | 0 |
//! | 64 | 4 | format version | [`VERSION`] |
//! | 68 | 4 | checksum | CRC-32C of the 68 bytes before |
//! | 72 | 8 | magic number | |
//!
//! # Invariants
//! - TABLE-1: magic numbers, format version, footer length and footer checksum keep their places in
//!   every format version, so that any release can tell a newer file from a damaged one.
//! - TABLE-2: the parts fill the file without a gap.

use std::ops::Range;

use stratalog_base::codec::{Decoder, Malformed, put_u32, put_u64};
use stratalog_base::fs::File;
use stratalog_base::{Error, Result};

use crate::ends::{Ends, FOOTER_BYTES, NUMBER_AT};

/// At both ends of every table.
pub(crate) const MAGIC: [u8; 8] = *b"stratSST";
/// The format version that this release writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 2;
/// TABLE-1
const ENDS: Ends = Ends { magic: MAGIC, version: VERSION, name: "a table" };
const FLAG_ZSTD: u32 = 1;

/// Where the parts of a table lie, and its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) partitions_offset: u64,
    pub(crate) partitions_bytes: u64,
    pub(crate) ranges_bytes: u32,
    pub(crate) dictionary_bytes: u32,
    pub(crate) top_bytes: u32,
    pub(crate) properties_bytes: u32,
    pub(crate) digest: u64,
    pub(crate) table: u64,
    /// Whether blocks may be compressed by Zstd.
    pub(crate) zstd: bool,
}

/// The file ranges of a table's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) data: Range<u64>,
    pub(crate) partitions: Range<u64>,
    pub(crate) ranges: Range<u64>,
    pub(crate) dictionary: Range<u64>,
    pub(crate) top: Range<u64>,
    pub(crate) properties: Range<u64>,
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
        put_u64(&mut out, self.partitions_offset);
        put_u64(&mut out, self.partitions_bytes);
        for number in
            [self.ranges_bytes, self.dictionary_bytes, self.top_bytes, self.properties_bytes]
        {
            put_u32(&mut out, number);
        }
        put_u64(&mut out, self.digest);
        put_u64(&mut out, self.table);
        let flags = if self.zstd { FLAG_ZSTD } else { 0 };
        for number in [0, 0, flags, 0] {
            put_u32(&mut out, number);
        }
        ENDS.close(&mut out);
        out
    }

    /// Takes apart the fields before the checksum, which has been compared.
    pub(crate) fn decode(fields: &[u8]) -> Result<Footer, Malformed> {
        let mut decoder = Decoder::new(fields);
        let mut footer = Footer {
            partitions_offset: decoder.u64()?,
            partitions_bytes: decoder.u64()?,
            ranges_bytes: decoder.u32()?,
            dictionary_bytes: decoder.u32()?,
            top_bytes: decoder.u32()?,
            properties_bytes: decoder.u32()?,
            digest: decoder.u64()?,
            table: decoder.u64()?,
            zstd: false,
        };
        if decoder.u32()? != 0 {
            return Err(decoder.malformed("encrypted with a key, which this release cannot read"));
        }
        if decoder.u32()? != 0 {
            return Err(
                decoder.malformed("needs another file's dictionary, which there is none of")
            );
        }
        let flags = decoder.u32()?;
        if flags & !FLAG_ZSTD != 0 || decoder.u32()? != 0 {
            return Err(decoder.malformed("unknown flags"));
        }
        footer.zstd = flags & FLAG_ZSTD != 0;
        if footer.dictionary_bytes != 0 && !footer.zstd {
            return Err(decoder.malformed("a dictionary that nothing is compressed with"));
        }
        Ok(footer)
    }

    /// Puts this release's version, the table's number and the right checksum on any footer, for
    /// fuzzing what lies behind them.
    pub(crate) fn correct(footer: &mut [u8], table: u64) {
        footer[NUMBER_AT..][..8].copy_from_slice(&table.to_le_bytes());
        ENDS.correct(footer);
    }

    /// Where the parts lie; `None` if they overflow.
    pub(crate) fn parts(&self) -> Option<Parts> {
        let mut at = MAGIC.len() as u64;
        let mut next = |end: Option<u64>| {
            let start = at;
            at = end.filter(|end| *end >= start)?;
            Some(start..at)
        };
        let data = next(Some(self.partitions_offset))?;
        let partitions = next(data.end.checked_add(self.partitions_bytes))?;
        let ranges = next(partitions.end.checked_add(self.ranges_bytes.into()))?;
        let dictionary = next(ranges.end.checked_add(self.dictionary_bytes.into()))?;
        let top = next(dictionary.end.checked_add(self.top_bytes.into()))?;
        let properties = next(top.end.checked_add(self.properties_bytes.into()))?;
        Some(Parts { data, partitions, ranges, dictionary, top, properties })
    }

    /// Reads the footer of `file`, which should hold the table numbered `table`.
    pub(crate) fn read(file: &dyn File, table: u64) -> Result<Footer> {
        let (fields, start) = ENDS.read(file)?;
        let corrupt = |at, what: String| Error::corrupt(file.path(), at, what);
        let footer = Footer::decode(&fields).map_err(|e| e.at(file.path(), start))?;
        if footer.table != table {
            let what = format!("this is table {}, not {table}", footer.table);
            return Err(corrupt(start + NUMBER_AT as u64, what));
        }
        if footer.parts().map(|parts| parts.properties.end) != Some(start) {
            return Err(corrupt(start, "the parts do not fill the file".to_owned())); // TABLE-2
        }
        Ok(footer)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const FOOTER: Footer = Footer {
        partitions_offset: 0x1000,
        partitions_bytes: 0x47,
        ranges_bytes: 0x10,
        dictionary_bytes: 0,
        top_bytes: 0x20,
        properties_bytes: 0x30,
        digest: 0x0102_0304_0506_0708,
        table: 7,
        zstd: false,
    };

    #[test]
    fn a_footer_has_these_bytes() {
        let encoded = FOOTER.encode();
        let parts = b"\0\x10\0\0\0\0\0\0\x47\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\x20\0\0\0\x30\0\0\0";
        assert_eq!(encoded[..32], *parts);
        assert_eq!(encoded[32..48], *b"\x08\x07\x06\x05\x04\x03\x02\x01\x07\0\0\0\0\0\0\0");
        assert_eq!(encoded[48..68], *b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0");
        assert_eq!(encoded[68..72], crc32c::crc32c(&encoded[..68]).to_le_bytes());
        assert_eq!(encoded[72..], *b"stratSST");
        assert_eq!(Footer::decode(&encoded[..64]), Ok(FOOTER));
        let parts = Parts {
            data: 8..0x1000,
            partitions: 0x1000..0x1047,
            ranges: 0x1047..0x1057,
            dictionary: 0x1057..0x1057,
            top: 0x1057..0x1077,
            properties: 0x1077..0x10a7,
        };
        assert_eq!(FOOTER.parts(), Some(parts));
        assert_eq!(Footer { partitions_offset: 7, ..FOOTER }.parts(), None);
        assert_eq!(Footer { partitions_bytes: u64::MAX, ..FOOTER }.parts(), None);
        assert_eq!(digest(7, 0x0403_0201), 0x0f93_f3aa_ca8c_539a);
    }

    #[test]
    fn a_dictionary_is_for_zstd() {
        let zstd = Footer { zstd: true, dictionary_bytes: 0x20, ..FOOTER };
        assert_eq!(zstd.encode()[56..60], [1, 0, 0, 0]);
        assert_eq!(Footer::decode(&zstd.encode()[..64]), Ok(zstd.clone()));
        assert!(Footer::decode(&Footer { zstd: false, ..zstd }.encode()[..64]).is_err());
    }

    #[test]
    fn what_this_release_does_not_know_is_refused() {
        for at in (20..24).chain(48..64) {
            let mut fields = FOOTER.encode();
            fields[at] = 2;
            assert!(Footer::decode(&fields[..64]).is_err(), "byte {at}");
        }
    }
}
