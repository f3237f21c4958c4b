//! Sorted lower bounds and the search for the last one that is not above a key.
//!
//! A separator is the shortest prefix of a block's first user key that exceeds the last one before
//! it. Where two neighbours share a user key, it is that whole key and the trailer says from which
//! version on. That of the first block is empty.
//!
//! # In a block
//! | bytes | field | meaning |
//! |---:|---|---|
//! | varint | 2 × u + f | u: length of the separator; f: 1 if a trailer follows |
//! | u | separator | |
//! | 8 if f | trailer | of the first entry, if its user key began before |
//!
//! # Invariants
//! - SEPARATOR-1: separators ascend strictly in internal order, the first is empty; one without a
//!   trailer stands before all versions of its user key.

use std::cmp::Ordering;

use stratalog_base::codec::{Decoder, Malformed, put_u64, put_varint};
use stratalog_base::key::MAX_KEY_BYTES;
use stratalog_base::{KeyRef, Trailer};

use crate::block::common_prefix;

/// A separator that is being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Separator {
    user: Vec<u8>,
    trailer: Option<Trailer>,
}

impl Separator {
    /// The separator between an entry of `last_user` and the entry `first` that follows it.
    pub(crate) fn between(last_user: &[u8], first: KeyRef<'_>) -> Separator {
        if last_user == first.user {
            return Separator { user: first.user.into(), trailer: Some(first.trailer) };
        }
        let len = common_prefix(last_user, first.user) + 1;
        Separator { user: first.user[..len].into(), trailer: None }
    }

    /// Whether versions of one user key stand on both sides.
    pub(crate) fn splits_a_key(&self) -> bool {
        self.trailer.is_some()
    }

    /// About its encoded length.
    pub(crate) fn bytes(&self) -> usize {
        self.user.len() + if self.trailer.is_some() { 8 } else { 0 }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, (self.user.len() as u64) << 1 | u64::from(self.trailer.is_some()));
        out.extend_from_slice(&self.user);
        if let Some(trailer) = self.trailer {
            put_u64(out, trailer.bits());
        }
    }
}

/// The separators of decoded contents.
///
/// Searched by the eight bytes of each separator that follow what all separators have in common;
/// whole separators are compared only where those are equal.
#[derive(Debug)]
pub(crate) struct Separators {
    contents: Vec<u8>,
    /// Where in `contents` each separator starts, with its length and flag.
    starts: Vec<u32>,
    /// Equal leading bytes of all separators but the first.
    common: Vec<u8>,
    /// Of each separator but the first, the bytes behind `common`, as [`word`].
    words: Vec<u64>,
}

/// Collects separators while their contents are decoded.
#[derive(Debug)]
pub(crate) struct Collector<'a> {
    starts: Vec<u32>,
    previous: Option<KeyRef<'a>>,
}

impl<'a> Collector<'a> {
    /// Makes room for `capacity` separators.
    pub(crate) fn new(capacity: usize) -> Self {
        Collector { starts: Vec::with_capacity(capacity), previous: None }
    }

    /// Takes the next separator, which must follow the last one.
    pub(crate) fn take(&mut self, decoder: &mut Decoder<'a>) -> Result<(), Malformed> {
        let offset = decoder.offset();
        let malformed = |what| Err(Malformed { offset, what });
        let Ok(start) = u32::try_from(offset) else {
            return malformed("separators exceed 4 GiB");
        };
        let separator = take_separator(decoder)?;
        match self.previous {
            None if !separator.user.is_empty() || separator.trailer != Trailer::NEWEST => {
                return malformed("the first separator is not empty");
            }
            Some(previous) if previous >= separator => {
                return malformed("separators do not ascend"); // SEPARATOR-1
            }
            _ => {}
        }
        self.starts.push(start);
        self.previous = Some(separator);
        Ok(())
    }

    /// What was collected, apart from the contents that it lies in.
    pub(crate) fn into_starts(self) -> Vec<u32> {
        self.starts
    }
}

impl Separators {
    /// The separators that start in `contents` at `starts`, as a [`Collector`] found them.
    pub(crate) fn new(contents: Vec<u8>, starts: Vec<u32>) -> Separators {
        let mut separators = Separators { contents, starts, common: Vec::new(), words: Vec::new() };
        let count = separators.len();
        if count > 1 {
            // SEPARATOR-1: what the outermost share, all share.
            let (first, last) = (separators.get(1).user, separators.get(count - 1).user);
            let common = first[..common_prefix(first, last)].to_vec();
            let words = (1..count).map(|i| word(&separators.get(i).user[common.len()..]));
            separators.words = words.collect();
            separators.common = common;
        }
        separators
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The separator numbered `index`.
    pub(crate) fn get(&self, index: usize) -> KeyRef<'_> {
        self.with_rest(index).0
    }

    /// The separator numbered `index`, and a decoder of what follows it.
    pub(crate) fn with_rest(&self, index: usize) -> (KeyRef<'_>, Decoder<'_>) {
        let mut decoder = Decoder::new(&self.contents[self.starts[index] as usize..]);
        (take_separator(&mut decoder).expect("checked when it was collected"), decoder)
    }

    /// The number of the last separator that is ≤ `target`. There is at least one.
    #[inline]
    pub(crate) fn find(&self, target: KeyRef<'_>) -> usize {
        // Comparing with nothing is not free: where an empty `Vec` points there is no memory, and a
        // `memcmp` that masks its loads takes 80 ns to find out.
        if !self.common.is_empty() {
            let start = &target.user[..target.user.len().min(self.common.len())];
            match start.cmp(&self.common) {
                Ordering::Less => return 0,
                Ordering::Greater => return self.len() - 1,
                Ordering::Equal => {}
            }
        }
        let wanted = word(&target.user[self.common.len()..]);
        let mut found = self.words.partition_point(|&word| word < wanted);
        // Ties: one prefix that stands out leaves the words of all others alike.
        let is_tie = self.words.get(found).is_some_and(|&word| word == wanted);
        let ties =
            if is_tie { self.words[found..].partition_point(|&word| word == wanted) } else { 0 };
        let mut end = found + ties;
        while found < end {
            let middle = found.midpoint(end);
            if self.get(middle + 1) <= target {
                found = middle + 1;
            } else {
                end = middle;
            }
        }
        found
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.contents.capacity()
            + self.starts.capacity() * 4
            + self.words.capacity() * 8
            + self.common.capacity()
    }
}

fn take_separator<'a>(decoder: &mut Decoder<'a>) -> Result<KeyRef<'a>, Malformed> {
    let start = decoder.offset();
    let head = decoder.varint_max(MAX_KEY_BYTES << 1 | 1)?;
    let user = decoder.take(head >> 1)?;
    let trailer = match head & 1 {
        0 => Trailer::NEWEST,
        _ => Trailer::from_bits(decoder.u64()?)
            .ok_or(Malformed { offset: start, what: "unknown kind of entry" })?,
    };
    Ok(KeyRef { user, trailer })
}

/// The first eight bytes as a number that orders as they do; missing ones count as zero.
#[inline]
fn word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<8>() {
        Some(chunk) => u64::from_be_bytes(*chunk),
        None => {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            u64::from_be_bytes(padded)
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn words_order_as_the_bytes_do() {
        let sorted: [&[u8]; 6] = [b"", b"\0", b"a", b"a\0b", b"abcdefgh", b"abcdefgi"];
        assert!(sorted.windows(2).all(|pair| word(pair[0]) <= word(pair[1])));
        assert_eq!(word(b"abcdefghi"), 0x6162_6364_6566_6768);
    }
}
