//! Value files: large values that lie outside the tables which refer to them.
//!
//! A table entry whose value is large holds a [`ValueHandle`] instead (kind
//! [`Separated`](stratalog_base::Kind::Separated)). Merging tables then moves a few bytes for each such
//! entry and leaves the value where it is: Lu, Pillai, Arpaci-Dusseau and Arpaci-Dusseau, "WiscKey",
//! FAST 2016. Unlike there the value was in the log and in a memtable before, so writes are as durable
//! and as atomic as any.
//!
//! ```text
//! flush ──values──▶ ValueWriter ──handle──▶ TableWriter      get ──▶ Table ──handle──▶ ValueFile ──▶ Slice
//! ```
//!
//! Like a table, a value file is written once and never changed. A value that nobody refers to any more
//! is garbage where it is; who writes the tables says what they refer to
//! ([`TableSummary::value_refs`](crate::TableSummary::value_refs)), so that the garbage of a file is a
//! subtraction.
//!
//! # The file
//! | part | bytes | |
//! |---|---:|---|
//! | magic number | 8 | [`MAGIC`] |
//! | records | | one behind another; each a value, framed ([`crate::frame`]) as a block of its own kind |
//! | index block | | framed; of each record its bytes with the frame (varint) |
//! | footer | 80 | |
//!
//! # Footer
//! | offset | bytes | field | meaning |
//! |---:|---:|---|---|
//! | 0 | 8 | records end | where the index block starts |
//! | 8 | 8 | index bytes | with its frame |
//! | 16 | 8 | records | at least 1 |
//! | 24 | 8 | value bytes | of all values, uncompressed |
//! | 32 | 8 | digest | of the checksums of all frames in file order, [`digest`] |
//! | 40 | 8 | file number | |
//! | 48 | 4 | key id | 0: not encrypted |
//! | 52 | 12 | reserved | 0 |
//! | 64 | 4 | format version | [`VERSION`] |
//! | 68 | 4 | checksum | CRC-32C of the 68 bytes before |
//! | 72 | 8 | magic number | |
//!
//! # Invariants
//! - VALUE-1: a record opens only as a value, at the offset and in the file it was written to (SEAL-1);
//!   a handle that leads anywhere else is damage.
//! - VALUE-2: the records fill the file from the magic number to the index block without a gap.
//! - VALUE-3: magic numbers, format version, footer length and footer checksum keep their places in
//!   every format version; they are those of a table.

mod ahead;
mod handle;
mod reader;
mod summary;
mod writer;

pub use ahead::ValuesAhead;
pub use handle::ValueHandle;
pub use reader::ValueFile;
pub(crate) use reader::{Held, decode_index};
pub use summary::ValueSummary;
pub use writer::ValueWriter;

use stratalog_base::codec::{Decoder, Malformed, put_u32, put_u64};
use stratalog_base::fs::File;
use stratalog_base::key::MAX_VALUE_BYTES;
use stratalog_base::{Error, Result};

use crate::ends::{Ends, FOOTER_BYTES, NUMBER_AT};
use crate::frame::FRAME_BYTES;

/// At both ends of every value file.
pub(crate) const MAGIC: [u8; 8] = *b"stratVAL";
/// The format version that this release writes, and the newest that it reads.
const VERSION: u32 = 1;
/// VALUE-3
const ENDS: Ends = Ends { magic: MAGIC, version: VERSION, name: "a value file" };
/// The longest record: a value that did not compress, in its frame.
const MAX_RECORD_BYTES: usize = MAX_VALUE_BYTES + FRAME_BYTES;

/// Where the parts lie, and what they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    records_end: u64,
    index_bytes: u64,
    records: u64,
    value_bytes: u64,
    digest: u64,
    file: u64,
}

impl Footer {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        for number in [
            self.records_end,
            self.index_bytes,
            self.records,
            self.value_bytes,
            self.digest,
            self.file,
        ] {
            put_u64(&mut out, number);
        }
        for number in [0; 4] {
            put_u32(&mut out, number);
        }
        ENDS.close(&mut out);
        out
    }

    /// Takes apart the fields before the version, whose checksum has been compared.
    pub(crate) fn decode(fields: &[u8]) -> Result<Footer, Malformed> {
        let mut decoder = Decoder::new(fields);
        let footer = Footer {
            records_end: decoder.u64()?,
            index_bytes: decoder.u64()?,
            records: decoder.u64()?,
            value_bytes: decoder.u64()?,
            digest: decoder.u64()?,
            file: decoder.u64()?,
        };
        if decoder.u32()? != 0 {
            return Err(decoder.malformed("encrypted with a key, which this release cannot read"));
        }
        if decoder.u32()? != 0 || decoder.u64()? != 0 {
            return Err(decoder.malformed("unknown flags"));
        }
        let record_bytes = footer.records_end.saturating_sub(MAGIC.len() as u64);
        let least = footer.records.saturating_mul(FRAME_BYTES as u64);
        if footer.records == 0 || least > record_bytes {
            return Err(Malformed { offset: 0, what: "footer contradicts itself" });
        }
        Ok(footer)
    }

    /// Reads the footer of `file`, which should hold the value file numbered `id`.
    fn read(file: &dyn File, id: u64) -> Result<Footer> {
        let (fields, start) = ENDS.read(file)?;
        let corrupt = |at, what: String| Error::corrupt(file.path(), at, what);
        let footer = Footer::decode(&fields).map_err(|e| e.at(file.path(), start))?;
        if footer.file != id {
            let what = format!("this is value file {}, not {id}", footer.file);
            return Err(corrupt(start + NUMBER_AT as u64, what));
        }
        if footer.records_end.checked_add(footer.index_bytes) != Some(start) {
            return Err(corrupt(start, "the parts do not fill the file".to_owned())); // VALUE-2
        }
        Ok(footer)
    }

    /// What manifests keep of the file.
    fn summary(&self) -> ValueSummary {
        ValueSummary {
            id: self.file,
            bytes: self.records_end + self.index_bytes + FOOTER_BYTES as u64,
            records: self.records,
            record_bytes: self.records_end - MAGIC.len() as u64,
            checksum: self.digest,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const FOOTER: Footer = Footer {
        records_end: 0x1000,
        index_bytes: 0x47,
        records: 0x20,
        value_bytes: 0x3000,
        digest: 0x0102_0304_0506_0708,
        file: 7,
    };

    #[test]
    fn a_footer_has_these_bytes() {
        let encoded = FOOTER.encode();
        let parts = b"\0\x10\0\0\0\0\0\0\x47\0\0\0\0\0\0\0\x20\0\0\0\0\0\0\0\0\x30\0\0\0\0\0\0";
        assert_eq!(encoded[..32], *parts);
        assert_eq!(encoded[32..48], *b"\x08\x07\x06\x05\x04\x03\x02\x01\x07\0\0\0\0\0\0\0");
        assert_eq!(encoded[48..68], *b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0");
        assert_eq!(encoded[68..72], crc32c::crc32c(&encoded[..68]).to_le_bytes());
        assert_eq!(encoded[72..], *b"stratVAL");
        assert_eq!(Footer::decode(&encoded[..64]), Ok(FOOTER));
    }

    #[test]
    fn what_this_release_does_not_know_is_refused() {
        for at in 48..64 {
            let mut fields = FOOTER.encode();
            fields[at] = 1;
            assert!(Footer::decode(&fields[..64]).is_err(), "byte {at}");
        }
        for footer in [
            Footer { records: 0, ..FOOTER },
            Footer { records: 0x1000, ..FOOTER },
            Footer { records: u64::MAX, ..FOOTER },
            Footer { records_end: 7, records: 1, ..FOOTER },
        ] {
            assert!(Footer::decode(&footer.encode()[..64]).is_err(), "{footer:?}");
        }
    }
}
