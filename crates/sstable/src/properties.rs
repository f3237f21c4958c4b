//! The properties block: what a table holds, and the summary of it that a manifest keeps.
//!
//! # Contents of the properties block
//! | bytes | field | meaning |
//! |---:|---|---|
//! | varint | flags | 0; unknown bits are refused |
//! | varint | entries | |
//! | varint | tombstones | entries that are point tombstones |
//! | varint | user keys | distinct ones |
//! | varint | key bytes | user keys of all entries, uncompressed |
//! | varint | value bytes | uncompressed |
//! | varint | smallest sequence number | |
//! | varint | largest sequence number | |
//! | varint, n, 8 | smallest key | length and bytes of the user key, trailer |
//! | varint, n, 8 | largest key | as above |
//!
//! # A summary, in a manifest edit
//! The properties without flags, user keys, key bytes and value bytes, behind the table's number and
//! size (varints) and followed by the checksum (8 bytes); in the order of [`TableSummary`]'s fields.

use stratalog_base::codec::{Decoder, Malformed, put_bytes, put_u64, put_varint};
use stratalog_base::key::{MAX_KEY_BYTES, MAX_SEQ_NO};
use stratalog_base::{InternalKey, KeyRef, Kind, SeqNo, Trailer};

/// What the rest of the engine needs to know of a table without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSummary {
    /// The file number, which is in every block's checksum.
    pub id: u64,
    /// The length of the file.
    pub bytes: u64,
    /// Number of entries, tombstones counted.
    pub entries: u64,
    /// Number of point tombstones.
    pub tombstones: u64,
    /// The first entry's key.
    pub smallest: InternalKey,
    /// The last entry's key.
    pub largest: InternalKey,
    /// The smallest sequence number of any entry.
    pub min_seq: SeqNo,
    /// The largest sequence number of any entry.
    pub max_seq: SeqNo,
    /// A digest of the checksums of all blocks. It tells an older or other table of the same number.
    pub checksum: u64,
}

impl TableSummary {
    /// Appends the summary.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.id, self.bytes, self.entries, self.tombstones] {
            put_varint(out, number);
        }
        put_key(out, self.smallest.as_ref());
        put_key(out, self.largest.as_ref());
        put_varint(out, self.min_seq);
        put_varint(out, self.max_seq);
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
            smallest: take_key(decoder)?,
            largest: take_key(decoder)?,
            min_seq: decoder.varint()?,
            max_seq: decoder.varint()?,
            checksum: decoder.u64()?,
        };
        if summary.is_sound() {
            Ok(summary)
        } else {
            Err(Malformed { offset: start, what: "summary contradicts itself" })
        }
    }

    fn is_sound(&self) -> bool {
        let seqs = self.min_seq..=self.max_seq;
        self.max_seq <= MAX_SEQ_NO
            && self.tombstones <= self.entries
            && [&self.smallest, &self.largest].iter().all(|key| seqs.contains(&key.trailer.seq()))
            && match self.smallest.as_ref().cmp(&self.largest.as_ref()) {
                std::cmp::Ordering::Less => self.entries > 1,
                std::cmp::Ordering::Equal => self.entries == 1,
                std::cmp::Ordering::Greater => false,
            }
    }
}

/// Counts what a table holds while it is written or verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Properties {
    pub(crate) entries: u64,
    pub(crate) tombstones: u64,
    pub(crate) user_keys: u64,
    pub(crate) key_bytes: u64,
    pub(crate) value_bytes: u64,
    pub(crate) min_seq: SeqNo,
    pub(crate) max_seq: SeqNo,
}

impl Properties {
    pub(crate) fn new() -> Properties {
        Properties {
            entries: 0,
            tombstones: 0,
            user_keys: 0,
            key_bytes: 0,
            value_bytes: 0,
            min_seq: MAX_SEQ_NO,
            max_seq: 0,
        }
    }

    #[inline]
    pub(crate) fn count(&mut self, key: KeyRef<'_>, new_user_key: bool, value: &[u8]) {
        let seq = key.trailer.seq();
        self.entries += 1;
        self.tombstones += u64::from(key.trailer.kind() == Kind::Delete);
        self.user_keys += u64::from(new_user_key);
        self.key_bytes += key.user.len() as u64;
        self.value_bytes += value.len() as u64;
        self.min_seq = self.min_seq.min(seq);
        self.max_seq = self.max_seq.max(seq);
    }

    /// The contents of the properties block.
    pub(crate) fn encode(&self, smallest: KeyRef<'_>, largest: KeyRef<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, 0);
        for number in [
            self.entries,
            self.tombstones,
            self.user_keys,
            self.key_bytes,
            self.value_bytes,
            self.min_seq,
            self.max_seq,
        ] {
            put_varint(&mut out, number);
        }
        put_key(&mut out, smallest);
        put_key(&mut out, largest);
        out
    }

    /// Properties, and a summary of the table numbered `id`, of `bytes` bytes, with this `checksum`.
    pub(crate) fn decode(
        contents: &[u8],
        (id, bytes, checksum): (u64, u64, u64),
    ) -> Result<(Properties, TableSummary), Malformed> {
        let mut decoder = Decoder::new(contents);
        if decoder.varint()? != 0 {
            return Err(Malformed { offset: 0, what: "unknown flags" });
        }
        let properties = Properties {
            entries: decoder.varint()?,
            tombstones: decoder.varint()?,
            user_keys: decoder.varint()?,
            key_bytes: decoder.varint()?,
            value_bytes: decoder.varint()?,
            min_seq: decoder.varint()?,
            max_seq: decoder.varint()?,
        };
        let Properties { entries, tombstones, min_seq, max_seq, .. } = properties;
        let smallest = take_key(&mut decoder)?;
        let largest = take_key(&mut decoder)?;
        decoder.finish()?;
        let summary = TableSummary {
            id,
            bytes,
            entries,
            tombstones,
            smallest,
            largest,
            min_seq,
            max_seq,
            checksum,
        };
        if !summary.is_sound() || !(1..=entries).contains(&properties.user_keys) {
            return Err(Malformed { offset: 0, what: "properties contradict themselves" });
        }
        Ok((properties, summary))
    }
}

fn put_key(out: &mut Vec<u8>, key: KeyRef<'_>) {
    put_bytes(out, key.user);
    put_u64(out, key.trailer.bits());
}

fn take_key(decoder: &mut Decoder<'_>) -> Result<InternalKey, Malformed> {
    let start = decoder.offset();
    let malformed = |what| Malformed { offset: start, what };
    let user = decoder.bytes()?;
    if user.len() > MAX_KEY_BYTES {
        return Err(malformed("key exceeds its limit"));
    }
    let trailer =
        Trailer::from_bits(decoder.u64()?).ok_or_else(|| malformed("unknown kind of entry"))?;
    Ok(KeyRef { user, trailer }.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: KeyRef<'_> = KeyRef { user: b"ada", trailer: Trailer::OLDEST };

    fn properties() -> Properties {
        let mut properties = Properties::new();
        properties.count(SMALLEST, true, b"");
        properties.count(KeyRef::new(b"bob", 200, Kind::Put), true, b"1903");
        properties
    }

    #[test]
    fn properties_have_these_bytes() {
        let encoded = properties().encode(SMALLEST, KeyRef::new(b"bob", 200, Kind::Put));
        let counts = b"\x00\x02\x01\x02\x06\x04\x00\xc8\x01";
        let keys = b"\x03ada\0\0\0\0\0\0\0\0\x03bob\x01\xc8\0\0\0\0\0\0";
        assert_eq!(encoded, [&counts[..], keys].concat());
    }

    #[test]
    fn a_summary_has_these_bytes_and_round_trips() {
        let encoded = properties().encode(SMALLEST, KeyRef::new(b"bob", 200, Kind::Put));
        let (decoded, summary) = Properties::decode(&encoded, (7, 300, 0x1122)).unwrap();
        assert_eq!(decoded, properties());
        let mut out = Vec::new();
        summary.encode(&mut out);
        let counts = b"\x07\xac\x02\x02\x01";
        let keys = b"\x03ada\0\0\0\0\0\0\0\0\x03bob\x01\xc8\0\0\0\0\0\0";
        let rest = b"\x00\xc8\x01\x22\x11\0\0\0\0\0\0";
        assert_eq!(out, [&counts[..], keys, rest].concat());
        let mut decoder = Decoder::new(&out);
        assert_eq!(TableSummary::decode(&mut decoder), Ok(summary));
        assert!(decoder.is_empty());
    }

    #[test]
    fn contradictions_and_unknown_flags_are_refused() {
        let (ada, bob) = (SMALLEST, KeyRef::new(b"bob", 200, Kind::Put));
        let what = |bytes: &[u8]| Properties::decode(bytes, (0, 0, 0)).unwrap_err().what;
        assert_eq!(what(&properties().encode(bob, ada)), "properties contradict themselves");
        let beyond = KeyRef::new(b"bob", 201, Kind::Put);
        assert_eq!(what(&properties().encode(ada, beyond)), "properties contradict themselves");
        let mut flagged = properties().encode(ada, bob);
        flagged[0] = 4;
        assert_eq!(what(&flagged), "unknown flags");
    }
}
