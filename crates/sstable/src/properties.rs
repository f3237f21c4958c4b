//! The properties block: what a table holds.
//!
//! # Contents of the block
//! | bytes | field | meaning |
//! |---:|---|---|
//! | varint | flags | 0; unknown bits are refused |
//! | varint, n | comparator | the order of user keys by name: [`COMPARATOR`] |
//! | varint | entries | |
//! | varint | tombstones | entries that are point tombstones |
//! | varint | range tombstones | |
//! | varint | user keys | distinct ones of entries |
//! | varint | key bytes | user keys of all entries, uncompressed |
//! | varint | value bytes | uncompressed |
//! | varint | smallest sequence number | of entries and range tombstones |
//! | varint | largest sequence number | |
//! | varint | prefix bytes | leading bytes of user keys that are in the filters as well; 0: none |
//! | | value refs | as in a [summary](crate::summary) |
//! | varint, n, 8 | smallest key | length and bytes of the user key, trailer, as in a summary |
//! | varint, n, 8 | largest key | as above |

use stratalog_base::codec::{Decoder, Malformed, put_bytes, put_varint};
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::range::Fragments;
use stratalog_base::{InternalKey, KeyRef, Kind, SeqNo};

use crate::ValueHandle;
use crate::summary::{
    TableSummary, ValueRef, put_bound, put_value_refs, take_bound, take_value_refs,
};

/// The only order of user keys so far: that of their bytes.
pub(crate) const COMPARATOR: &[u8] = b"bytewise";

/// What a table holds, counted while it is written or verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Properties {
    pub(crate) entries: u64,
    pub(crate) tombstones: u64,
    pub(crate) range_tombstones: u64,
    pub(crate) user_keys: u64,
    pub(crate) key_bytes: u64,
    pub(crate) value_bytes: u64,
    pub(crate) min_seq: SeqNo,
    pub(crate) max_seq: SeqNo,
    pub(crate) prefix_bytes: u64,
    pub(crate) value_refs: Vec<ValueRef>,
    /// None while nothing was counted.
    pub(crate) bounds: Option<(InternalKey, InternalKey)>,
}

impl Properties {
    pub(crate) fn new() -> Properties {
        Properties {
            entries: 0,
            tombstones: 0,
            range_tombstones: 0,
            user_keys: 0,
            key_bytes: 0,
            value_bytes: 0,
            min_seq: MAX_SEQ_NO,
            max_seq: 0,
            prefix_bytes: 0,
            value_refs: Vec::new(),
            bounds: None,
        }
    }

    /// Counts an entry.
    #[inline]
    pub(crate) fn count(&mut self, key: KeyRef<'_>, new_user_key: bool, value: &[u8]) {
        self.entries += 1;
        self.tombstones += u64::from(key.trailer.kind() == Kind::Delete);
        self.user_keys += u64::from(new_user_key);
        self.key_bytes += key.user.len() as u64;
        self.value_bytes += value.len() as u64;
        self.count_seq(key.trailer.seq());
        if key.trailer.kind() == Kind::Separated {
            self.count_ref(ValueHandle::decode(value).expect("a separated entry holds a handle"));
        }
    }

    fn count_ref(&mut self, ValueHandle { file, bytes, .. }: ValueHandle) {
        match self.value_refs.binary_search_by_key(&file, |it| it.file) {
            Ok(index) => self.value_refs[index].bytes += bytes,
            Err(index) => self.value_refs.insert(index, ValueRef { file, bytes }),
        }
    }

    /// Counts all range tombstones.
    pub(crate) fn count_ranges(&mut self, ranges: &Fragments) {
        self.range_tombstones += ranges.len() as u64;
        ranges.tombstones().for_each(|range| self.count_seq(range.seq));
        if let Some((start, end)) = ranges.bounds() {
            self.widen(KeyRef::before(start), KeyRef::before(end));
        }
    }

    /// Makes the bounds hold all from `smallest` to `largest`.
    pub(crate) fn widen(&mut self, smallest: KeyRef<'_>, largest: KeyRef<'_>) {
        self.bounds = Some(match &self.bounds {
            None => (smallest.to_owned(), largest.to_owned()),
            Some((least, greatest)) => {
                (least.as_ref().min(smallest).to_owned(), greatest.as_ref().max(largest).to_owned())
            }
        });
    }

    #[inline]
    fn count_seq(&mut self, seq: SeqNo) {
        self.min_seq = self.min_seq.min(seq);
        self.max_seq = self.max_seq.max(seq);
    }

    /// The contents of the properties block.
    ///
    /// # Panics
    /// If nothing was counted.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, 0);
        put_bytes(&mut out, COMPARATOR);
        for number in [
            self.entries,
            self.tombstones,
            self.range_tombstones,
            self.user_keys,
            self.key_bytes,
            self.value_bytes,
            self.min_seq,
            self.max_seq,
            self.prefix_bytes,
        ] {
            put_varint(&mut out, number);
        }
        put_value_refs(&mut out, &self.value_refs);
        let (smallest, largest) = self.bounds.as_ref().expect("something was counted");
        put_bound(&mut out, smallest.as_ref());
        put_bound(&mut out, largest.as_ref());
        out
    }

    /// The name of the order that the table's keys are in, from the contents of the block.
    pub(crate) fn comparator(contents: &[u8]) -> Result<&[u8], Malformed> {
        let mut decoder = Decoder::new(contents);
        if decoder.varint()? != 0 {
            return Err(Malformed { offset: 0, what: "unknown flags" });
        }
        decoder.bytes()
    }

    /// Takes the contents of the block apart.
    pub(crate) fn decode(contents: &[u8]) -> Result<Properties, Malformed> {
        let mut decoder = Decoder::new(contents);
        if decoder.varint()? != 0 {
            return Err(Malformed { offset: 0, what: "unknown flags" });
        }
        if decoder.bytes()? != COMPARATOR {
            return Err(Malformed { offset: 1, what: "unknown order of keys" });
        }
        let mut properties = Properties {
            entries: decoder.varint()?,
            tombstones: decoder.varint()?,
            range_tombstones: decoder.varint()?,
            user_keys: decoder.varint()?,
            key_bytes: decoder.varint()?,
            value_bytes: decoder.varint()?,
            min_seq: decoder.varint()?,
            max_seq: decoder.varint()?,
            prefix_bytes: decoder.varint()?,
            value_refs: take_value_refs(&mut decoder)?,
            bounds: None,
        };
        properties.bounds = Some((take_bound(&mut decoder)?, take_bound(&mut decoder)?));
        decoder.finish()?;
        let least_user_keys = properties.entries.min(1);
        if !properties.summary(0, 0, 0).is_sound()
            || !(least_user_keys..=properties.entries).contains(&properties.user_keys)
        {
            return Err(Malformed { offset: 0, what: "properties contradict themselves" });
        }
        Ok(properties)
    }

    /// The summary of the table numbered `id`, of `bytes` bytes, with this `checksum`.
    ///
    /// # Panics
    /// If nothing was counted.
    pub(crate) fn summary(&self, id: u64, bytes: u64, checksum: u64) -> TableSummary {
        let (smallest, largest) = self.bounds.clone().expect("something was counted");
        TableSummary {
            id,
            bytes,
            entries: self.entries,
            tombstones: self.tombstones,
            range_tombstones: self.range_tombstones,
            smallest,
            largest,
            min_seq: self.min_seq,
            max_seq: self.max_seq,
            value_refs: self.value_refs.clone(),
            checksum,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use stratalog_base::Trailer;
    use stratalog_base::range::RangeTombstoneRef;

    const ADA: KeyRef<'_> = KeyRef { user: b"ada", trailer: Trailer::OLDEST };

    fn bob() -> KeyRef<'static> {
        KeyRef::new(b"bob", 200, Kind::Put)
    }

    fn properties() -> Properties {
        let mut properties = Properties::new();
        properties.count(ADA, true, b"");
        properties.count(bob(), true, b"1903");
        properties.widen(ADA, bob());
        properties
    }

    #[test]
    fn properties_have_these_bytes_and_round_trip() {
        let mut properties = properties();
        let range = RangeTombstoneRef { start: b"b", end: b"c", seq: 300 };
        properties.count_ranges(&Fragments::new([range]));
        properties.prefix_bytes = 3;
        properties.value_refs = vec![ValueRef { file: 5, bytes: 9 }];
        let counts = b"\x00\x08bytewise\x02\x01\x01\x02\x06\x04\x00\xac\x02\x03\x01\x05\x09";
        let bounds = b"\x03ada\0\0\0\0\0\0\0\0\x01c\xff\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(properties.encode(), [&counts[..], bounds].concat());
        assert_eq!(Properties::decode(&properties.encode()), Ok(properties.clone()));
        assert_eq!(Properties::comparator(&properties.encode()), Ok(COMPARATOR));
    }

    #[test]
    fn range_tombstones_widen_bounds_and_sequence_range() {
        let mut properties = properties();
        let range = |start, end, seq| RangeTombstoneRef { start, end, seq };
        properties
            .count_ranges(&Fragments::new([range(b"ada", b"b", 7), range(b"a", b"bob", 400)]));
        let summary = properties.summary(1, 2, 3);
        assert_eq!((summary.min_seq, summary.max_seq, summary.range_tombstones), (0, 400, 2));
        // The end is not covered, so an entry of that key is greater.
        assert_eq!(summary.smallest.as_ref(), KeyRef::before(b"a"));
        assert_eq!(summary.largest.as_ref(), bob());
    }

    #[test]
    fn contradictions_and_what_is_unknown_are_refused() {
        let what = |bytes: &[u8]| Properties::decode(bytes).unwrap_err().what;
        let bounds = |least: KeyRef<'_>, greatest: KeyRef<'_>| {
            let bounds = Some((least.to_owned(), greatest.to_owned()));
            Properties { bounds, ..properties() }.encode()
        };
        assert_eq!(what(&bounds(bob(), ADA)), "properties contradict themselves");
        let beyond = KeyRef::new(b"bob", 201, Kind::Put);
        assert_eq!(what(&bounds(ADA, beyond)), "properties contradict themselves");
        let no_keys = Properties { user_keys: 0, ..properties() }.encode();
        assert_eq!(what(&no_keys), "properties contradict themselves");
        let mut other = properties().encode();
        other[2] = b'B';
        assert_eq!(what(&other), "unknown order of keys");
        other[0] = 4;
        assert_eq!(what(&other), "unknown flags");
    }
}
