//! The range-tombstone block.
//!
//! Tombstones share their ends: each distinct end stands once, tombstones name two of them. So what
//! is decoded is no larger than what was read, give or take a factor.
//!
//! # Contents of the block
//! | bytes | field | meaning |
//! |---:|---|---|
//! | varint | m | number of bounds |
//! | each bound: varint, n | bound | length and bytes; they ascend |
//! | each tombstone: varint | start | number of the bound where it starts, less that of the tombstone before |
//! | varint | spans | how many bounds further it ends, at least 1 |
//! | varint | sequence number | |
//!
//! Tombstones are sorted by start, then end, then newest first. No two are equal, and every bound is
//! one of a tombstone. So the same tombstones have the same bytes.

use stratalog_base::codec::{Decoder, Malformed, put_bytes, put_varint};
use stratalog_base::key::{MAX_KEY_BYTES, MAX_SEQ_NO};
use stratalog_base::range::{Fragments, RangeTombstoneRef};

/// The contents of the block.
pub(crate) fn encode(ranges: &Fragments) -> Vec<u8> {
    let mut bounds: Vec<&[u8]> = ranges.tombstones().flat_map(|t| [t.start, t.end]).collect();
    bounds.sort_unstable();
    bounds.dedup();
    let mut out = Vec::new();
    put_varint(&mut out, bounds.len() as u64);
    for bound in &bounds {
        put_bytes(&mut out, bound);
    }
    let number = |key| bounds.binary_search(&key).expect("the ends are among the bounds");
    let mut last = 0;
    for RangeTombstoneRef { start, end, seq } in ranges.tombstones() {
        let (start, end) = (number(start), number(end));
        for number in [start - last, end - start] {
            put_varint(&mut out, number as u64);
        }
        put_varint(&mut out, seq);
        last = start;
    }
    out
}

/// Takes the contents of the block apart.
pub(crate) fn decode(contents: &[u8]) -> Result<Fragments, Malformed> {
    let mut decoder = Decoder::new(contents);
    let bounds = take_bounds(&mut decoder)?;
    let mut used = vec![false; bounds.len()];
    let mut tombstones: Vec<RangeTombstoneRef<'_>> = Vec::with_capacity(decoder.rest().len() / 3);
    let (mut start, mut last) = (0, None);
    while !decoder.is_empty() {
        let offset = decoder.offset();
        let malformed = |what| Malformed { offset, what };
        let impossible = || malformed("a tombstone without its bounds");
        start += decoder.varint_max(bounds.len())?;
        let end = start + decoder.varint_max(bounds.len())?;
        let seq = decoder.varint()?;
        if start >= end || seq > MAX_SEQ_NO {
            return Err(impossible());
        }
        let [from, to] = [start, end].map(|number| bounds.get(number));
        let (from, to) = from.zip(to).ok_or_else(impossible)?;
        let order = (start, end, MAX_SEQ_NO - seq);
        if last.is_some_and(|last| last >= order) {
            return Err(malformed("tombstones do not ascend"));
        }
        last = Some(order);
        (used[start], used[end]) = (true, true);
        tombstones.push(RangeTombstoneRef { start: from, end: to, seq });
    }
    if used.contains(&false) || tombstones.is_empty() {
        return Err(decoder.malformed("bounds of no tombstone"));
    }
    Ok(Fragments::new(tombstones))
}

fn take_bounds<'a>(decoder: &mut Decoder<'a>) -> Result<Vec<&'a [u8]>, Malformed> {
    let count = decoder.varint_max(decoder.rest().len())?;
    let mut bounds: Vec<&[u8]> = Vec::with_capacity(count);
    for _ in 0..count {
        let offset = decoder.offset();
        let bound = decoder.bytes()?;
        if bound.len() > MAX_KEY_BYTES || bounds.last().is_some_and(|last| *last >= bound) {
            return Err(Malformed {
                offset,
                what: "bounds do not ascend, or exceed a key's limit",
            });
        }
        bounds.push(bound);
    }
    Ok(bounds)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const RANGES: [RangeTombstoneRef<'_>; 4] = [
        RangeTombstoneRef { start: b"ada", end: b"bob", seq: 9 },
        RangeTombstoneRef { start: b"ada", end: b"bob", seq: 300 },
        RangeTombstoneRef { start: b"b", end: b"c", seq: 4 },
        RangeTombstoneRef { start: b"", end: b"b", seq: 5 },
    ];

    #[test]
    fn range_tombstones_have_these_bytes_in_any_order_and_round_trip() {
        let bounds = b"\x05\x00\x03ada\x01b\x03bob\x01c";
        let tombstones = b"\x00\x02\x05\x01\x02\xac\x02\x00\x02\x09\x01\x02\x04";
        let expected = [&bounds[..], tombstones].concat();
        for turn in 0..RANGES.len() {
            let mut turned = RANGES;
            turned.rotate_left(turn);
            let encoded = encode(&Fragments::new(turned));
            assert_eq!(encoded, expected);
            let decoded = decode(&encoded).unwrap();
            assert!(decoded.tombstones().eq(Fragments::new(RANGES).tombstones()));
            assert_eq!(decoded.covering(b"b", 400), Some(300));
        }
    }

    #[test]
    fn malformed_range_tombstones_are_refused() {
        let refused = |bytes: &[u8], what: &str| {
            assert_eq!(decode(bytes).unwrap_err().what, what);
        };
        let bounds = "bounds do not ascend, or exceed a key's limit";
        refused(b"\x02\x01b\x01b\x00\x01\x05", bounds);
        refused(b"\x02\x01b\x01a\x00\x01\x05", bounds);
        refused(b"\x00", "bounds of no tombstone");
        refused(b"\x03\x01a\x01b\x01c\x00\x01\x05", "bounds of no tombstone");
        refused(b"\x02\x01a\x01b\x00\x00\x05", "a tombstone without its bounds");
        refused(b"\x02\x01a\x01b\x01\x01\x05", "a tombstone without its bounds");
        refused(b"\x02\x01a\x01b\x00\x01\x05\x00\x01\x05", "tombstones do not ascend");
        refused(b"\x02\x01a\x01b\x00\x01\x05\x00\x01\x06", "tombstones do not ascend");
        refused(b"\x7f", "number exceeds its limit");
    }
}
