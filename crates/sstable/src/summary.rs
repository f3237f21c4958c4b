//! The summary of a table that a manifest keeps.
//!
//! # A summary, in a manifest edit
//! | bytes | field | meaning |
//! |---:|---|---|
//! | varint | id | the table's number |
//! | varint | bytes | the length of its file |
//! | varint | entries | |
//! | varint | tombstones | |
//! | varint | range tombstones | |
//! | n + 9 | smallest | length (varint) and bytes of the user key, trailer (8 bytes) |
//! | n + 9 | largest | as above |
//! | varint | smallest sequence number | |
//! | varint | largest sequence number | |
//! | | value refs | their number (varint); for each, in the order of files, file and bytes (varints) |
//! | 8 | checksum | |
//!
//! A bound that a range tombstone sets has the trailer [`Trailer::NEWEST`].

use stratalog_base::codec::{Decoder, Malformed, put_bytes, put_u64, put_varint};
use stratalog_base::key::{MAX_KEY_BYTES, MAX_SEQ_NO};
use stratalog_base::{InternalKey, KeyRef, SeqNo, Trailer};

/// How much of a value file a table's entries refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueRef {
    /// The value file's number.
    pub file: u64,
    /// The bytes of its records that the table's entries lead to, at least 1.
    pub bytes: u64,
}

/// What the rest of the engine needs to know of a table without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSummary {
    /// The file number, which is in every block's checksum.
    pub id: u64,
    /// The length of the file.
    pub bytes: u64,
    /// Number of entries, point tombstones counted.
    pub entries: u64,
    /// Number of point tombstones.
    pub tombstones: u64,
    /// Number of range tombstones. They are no entries.
    pub range_tombstones: u64,
    /// No entry and nothing that a range tombstone covers comes before: the first entry's key, or
    /// [`KeyRef::before`] the first range tombstone's start.
    pub smallest: InternalKey,
    /// No entry and nothing that a range tombstone covers comes behind: the last entry's key, or
    /// [`KeyRef::before`] the greatest end, which is not covered.
    pub largest: InternalKey,
    /// The smallest sequence number of any entry or range tombstone.
    pub min_seq: SeqNo,
    /// The largest sequence number of any entry or range tombstone.
    pub max_seq: SeqNo,
    /// The value files that entries refer to, by ascending number.
    pub value_refs: Vec<ValueRef>,
    /// A digest of the checksums of all blocks. It tells an older or other table of the same number.
    pub checksum: u64,
}

impl TableSummary {
    /// Appends the summary.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.id, self.bytes, self.entries, self.tombstones, self.range_tombstones] {
            put_varint(out, number);
        }
        put_bound(out, self.smallest.as_ref());
        put_bound(out, self.largest.as_ref());
        put_varint(out, self.min_seq);
        put_varint(out, self.max_seq);
        put_value_refs(out, &self.value_refs);
        put_u64(out, self.checksum);
    }

    /// Takes a summary.
    ///
    /// # Errors
    /// If the bytes are none, or contradict each other.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<TableSummary, Malformed> {
        let start = decoder.offset();
        let summary = TableSummary {
            id: decoder.varint()?,
            bytes: decoder.varint()?,
            entries: decoder.varint()?,
            tombstones: decoder.varint()?,
            range_tombstones: decoder.varint()?,
            smallest: take_bound(decoder)?,
            largest: take_bound(decoder)?,
            min_seq: decoder.varint()?,
            max_seq: decoder.varint()?,
            value_refs: take_value_refs(decoder)?,
            checksum: decoder.u64()?,
        };
        if summary.is_sound() {
            Ok(summary)
        } else {
            Err(Malformed { offset: start, what: "summary contradicts itself" })
        }
    }

    pub(crate) fn is_sound(&self) -> bool {
        let seqs = self.min_seq..=self.max_seq;
        let has_ranges = self.range_tombstones > 0;
        let is_bound = |key: &InternalKey| match key.trailer {
            Trailer::NEWEST => has_ranges,
            trailer => self.entries > 0 && seqs.contains(&trailer.seq()),
        };
        self.max_seq <= MAX_SEQ_NO
            && !seqs.is_empty()
            && self.tombstones <= self.entries
            && (self.entries > 0 || self.value_refs.is_empty())
            && is_bound(&self.smallest)
            && is_bound(&self.largest)
            && match self.smallest.as_ref().cmp(&self.largest.as_ref()) {
                std::cmp::Ordering::Less => self.entries > 1 || has_ranges,
                std::cmp::Ordering::Equal => self.entries == 1 && !has_ranges,
                std::cmp::Ordering::Greater => false,
            }
    }
}

pub(crate) fn put_bound(out: &mut Vec<u8>, key: KeyRef<'_>) {
    put_bytes(out, key.user);
    put_u64(out, key.trailer.bits());
}

pub(crate) fn take_bound(decoder: &mut Decoder<'_>) -> Result<InternalKey, Malformed> {
    let offset = decoder.offset();
    let malformed = |what| Malformed { offset, what };
    let user = decoder.bytes()?;
    if user.len() > MAX_KEY_BYTES {
        return Err(malformed("key exceeds its limit"));
    }
    let bits = decoder.u64()?;
    let trailer = match Trailer::from_bits(bits) {
        Some(trailer) => trailer,
        None if bits == Trailer::NEWEST.bits() => Trailer::NEWEST,
        None => return Err(malformed("unknown kind of entry")),
    };
    Ok(KeyRef { user, trailer }.to_owned())
}

pub(crate) fn put_value_refs(out: &mut Vec<u8>, refs: &[ValueRef]) {
    put_varint(out, refs.len() as u64);
    for &ValueRef { file, bytes } in refs {
        put_varint(out, file);
        put_varint(out, bytes);
    }
}

pub(crate) fn take_value_refs(decoder: &mut Decoder<'_>) -> Result<Vec<ValueRef>, Malformed> {
    let offset = decoder.offset();
    let count = decoder.varint_max(decoder.rest().len() / 2)?;
    let mut refs: Vec<ValueRef> = Vec::with_capacity(count);
    for _ in 0..count {
        let next = ValueRef { file: decoder.varint()?, bytes: decoder.varint()? };
        if next.bytes == 0 || refs.last().is_some_and(|last| last.file >= next.file) {
            return Err(Malformed { offset, what: "value files that do not ascend, or are empty" });
        }
        refs.push(next);
    }
    Ok(refs)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use stratalog_base::Kind;

    fn summary() -> TableSummary {
        TableSummary {
            id: 7,
            bytes: 300,
            entries: 2,
            tombstones: 1,
            range_tombstones: 1,
            smallest: KeyRef::new(b"ada", 5, Kind::Delete).to_owned(),
            largest: KeyRef::before(b"c").to_owned(),
            min_seq: 5,
            max_seq: 200,
            value_refs: vec![ValueRef { file: 3, bytes: 300 }, ValueRef { file: 9, bytes: 1 }],
            checksum: 0x1122,
        }
    }

    fn round_trip(summary: &TableSummary) -> Result<TableSummary, Malformed> {
        let mut out = Vec::new();
        summary.encode(&mut out);
        let mut decoder = Decoder::new(&out);
        let decoded = TableSummary::decode(&mut decoder)?;
        decoder.finish()?;
        Ok(decoded)
    }

    #[test]
    fn a_summary_has_these_bytes_and_round_trips() {
        let mut out = Vec::new();
        summary().encode(&mut out);
        let counts = b"\x07\xac\x02\x02\x01\x01";
        let bounds = b"\x03ada\0\x05\0\0\0\0\0\0\x01c\xff\xff\xff\xff\xff\xff\xff\xff";
        let rest = b"\x05\xc8\x01\x02\x03\xac\x02\x09\x01\x22\x11\0\0\0\0\0\0";
        assert_eq!(out, [&counts[..], bounds, rest].concat());
        assert_eq!(round_trip(&summary()), Ok(summary()));
    }

    #[test]
    fn a_summary_that_contradicts_itself_is_refused() {
        let key = |user: &[u8], seq| KeyRef::new(user, seq, Kind::Put).to_owned();
        let only_ranges = TableSummary {
            entries: 0,
            tombstones: 0,
            smallest: KeyRef::before(b"a").to_owned(),
            value_refs: Vec::new(),
            ..summary()
        };
        assert_eq!(round_trip(&only_ranges), Ok(only_ranges.clone()));
        let one = |user: &[u8]| TableSummary {
            entries: 1,
            tombstones: 0,
            range_tombstones: 0,
            smallest: key(b"a", 9),
            largest: key(user, 9),
            ..summary()
        };
        assert_eq!(round_trip(&one(b"a")), Ok(one(b"a")));
        let value_ref = |file, bytes| ValueRef { file, bytes };
        for wrong in [
            one(b"b"),
            TableSummary { entries: 2, ..one(b"a") },
            TableSummary { tombstones: 3, ..summary() },
            TableSummary { range_tombstones: 0, ..summary() },
            TableSummary { smallest: key(b"ada", 4), ..summary() },
            TableSummary { smallest: key(b"ada", 201), ..summary() },
            TableSummary { largest: key(b"ad", 5), ..summary() },
            TableSummary { max_seq: 4, ..summary() },
            TableSummary { max_seq: MAX_SEQ_NO + 1, ..summary() },
            TableSummary { largest: key(b"c", 5), ..only_ranges.clone() },
            TableSummary { value_refs: vec![value_ref(1, 1)], ..only_ranges },
            TableSummary { value_refs: vec![value_ref(1, 0)], ..summary() },
            TableSummary { value_refs: vec![value_ref(2, 1), value_ref(2, 1)], ..summary() },
        ] {
            assert!(round_trip(&wrong).is_err(), "{wrong:?}");
        }
    }
}
