//! Reading a decoded block. It was checked whole (BLOCK-1), so nothing here can fail.

use std::ops::Range;

use stratalog_base::{KeyRef, Trailer};

use super::{Block, Entry, Header};

impl Block {
    /// The entries and what else a walk over many of them needs, looked up once.
    #[inline]
    pub(crate) fn walk(&self) -> Walk<'_> {
        let (front, entries) = self.bytes().split_at(self.entries_at as usize);
        Walk { header: self, column: &front[self.column_at()..], entries }
    }

    /// Number of entries, at least 1.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }

    #[inline]
    fn words_at(&self) -> usize {
        self.words_at as usize
    }

    /// Where the offsets start behind the header.
    #[inline]
    fn offsets_at(&self) -> usize {
        self.words_at() + 4 * self.len()
    }

    /// Where the trailers do.
    #[inline]
    fn column_at(&self) -> usize {
        self.words_at() + 8 * self.len()
    }

    /// The words of entries [`SAMPLED`](super::SAMPLED), twice that and so on, if there are many.
    #[inline]
    pub(crate) fn samples(&self) -> &[[u8; 4]] {
        self.bytes()[..self.words_at()].as_chunks().0
    }

    /// Where offsets and trailers of `entries` lie behind the header.
    #[inline]
    pub(crate) fn places(&self, entries: &Range<usize>) -> [Range<usize>; 2] {
        let part = |at, width| at + width * entries.start..at + width * entries.end;
        [part(self.offsets_at(), 4), part(self.column_at(), self.trailer_bytes.into())]
    }

    /// The four bytes of each user key behind what all keys of the block share, as [`word`], in memory
    /// order.
    #[inline]
    pub(crate) fn words(&self) -> &[[u8; 4]] {
        self.bytes()[self.words_at()..][..4 * self.len()].as_chunks().0
    }

    /// How many leading bytes all user keys of the block share.
    #[inline]
    pub(crate) fn common_bytes(&self) -> usize {
        self.common_bytes as usize
    }

    /// The bytes that all user keys of the block share.
    #[inline]
    pub(crate) fn common(&self) -> &[u8] {
        match self.known.get(..self.common_bytes()) {
            Some(known) => known,
            None => &self.head_key(0)[..self.common_bytes()],
        }
    }

    /// The encoded entries.
    #[inline]
    pub(crate) fn entries(&self) -> &[u8] {
        &self.bytes()[self.entries_at as usize..]
    }

    #[inline]
    pub(crate) fn offset(&self, index: usize) -> usize {
        let offsets = self.bytes()[self.offsets_at()..][..4 * self.len()].as_chunks::<4>().0;
        u32::from_ne_bytes(offsets[index]) as usize
    }

    #[inline]
    pub(crate) fn entry(&self, index: usize) -> Entry {
        self.entry_at(self.offset(index))
    }

    /// The entry that starts at `offset`.
    #[inline]
    pub(crate) fn entry_at(&self, offset: usize) -> Entry {
        Entry::decode(self.entries(), offset).expect("BLOCK-1")
    }

    #[inline]
    pub(crate) fn trailer(&self, index: usize) -> Trailer {
        let delta = self.delta(&self.bytes()[self.column_at()..], index);
        Trailer::from_bits(self.base + delta).expect("BLOCK-1")
    }

    /// The part of the user key that the entry holds itself.
    #[inline]
    pub(crate) fn suffix(&self, entry: &Entry) -> &[u8] {
        &self.entries()[entry.suffix_at..entry.value_at]
    }

    #[inline]
    pub(crate) fn value(&self, entry: &Entry) -> &[u8] {
        &self.entries()[entry.value_at..entry.end]
    }

    /// The whole user key of the head of `index`'s run.
    #[inline]
    pub(crate) fn head_key(&self, index: usize) -> &[u8] {
        self.suffix(&self.entry(index - index % usize::from(self.restart_interval)))
    }

    /// The key of `entry`, which is that at `index`, put together in `user`.
    pub(crate) fn key<'a>(&self, index: usize, entry: &Entry, user: &'a mut Vec<u8>) -> KeyRef<'a> {
        user.clear();
        user.extend_from_slice(&self.head_key(index)[..entry.shared]);
        user.extend_from_slice(self.suffix(entry));
        KeyRef { user, trailer: self.trailer(index) }
    }

    /// The first `len` bytes of the user key at `index`, which its head has, too.
    #[inline]
    pub(crate) fn key_start(&self, index: usize, len: usize) -> &[u8] {
        // Mostly they are what all keys share: then the head's cache line is not touched.
        match self.known[..usize::from(self.known_bytes)].get(..len) {
            Some(known) => known,
            None => &self.head_key(index)[..len],
        }
    }
}

/// The parts of a block that a walk over it reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk<'a> {
    header: &'a Header,
    column: &'a [u8],
    pub(crate) entries: &'a [u8],
}

impl Walk<'_> {
    /// The entry that starts at `offset`.
    #[inline]
    pub(crate) fn entry_at(&self, offset: usize) -> Entry {
        Entry::decode(self.entries, offset).expect("BLOCK-1")
    }

    #[inline]
    pub(crate) fn trailer(&self, index: usize) -> Trailer {
        let bits = self.header.base + self.header.delta(self.column, index);
        Trailer::from_bits(bits).expect("BLOCK-1")
    }
}
