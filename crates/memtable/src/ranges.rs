//! [`Ranges`]: range tombstones, read without a lock.
//!
//! They lie in pieces, each an immutable [`Fragments`], in a chain from the newest to the oldest. A new
//! tombstone is a piece of its own, together with those pieces before it that hold no more than it has
//! gathered so far: so each holds more than all that were made after it, `n` tombstones lie in at most
//! `log n + 1` pieces, and each is built in anew `log n` times (the logarithmic method: Bentley and
//! Saxe, 1980). A look-up compares `log² n` keys at most; where numbers rise, the first piece that
//! covers the key ends it.
//!
//! What was replaced stays until the memtable drops, as who reads may stand in it; with `n` tombstones
//! that is half of `log n` times as much memory as they need. It is counted.
//!
//! # Invariants
//! - RANGE-1: a piece never changes; what is reached from `newest` holds every tombstone whose insert
//!   has returned, once.
#![expect(unsafe_code, reason = "follows pointers to pieces that the memtable keeps")]

use std::iter::successors;

use stratalog_base::SeqNo;
use stratalog_base::range::{Fragments, RangeTombstoneRef};
use stratalog_base::sync::{AtomicPtr, Mutex, Ordering, UnsafeCell};

use crate::kept::Kept;

/// See the module page.
pub(crate) struct Ranges {
    newest: AtomicPtr<Piece>,
    /// Every piece that there ever was.
    pieces: Kept<Piece>,
    /// Held by who adds one.
    writer: Mutex<()>,
}

struct Piece {
    /// In a cell because loom then knows when they are read.
    fragments: UnsafeCell<Fragments>,
    older: *const Piece,
}

// SAFETY: RANGE-1: nobody changes a piece, nor what `older` points to.
unsafe impl Send for Piece {}
// SAFETY: as above.
unsafe impl Sync for Piece {}

impl Piece {
    fn fragments(&self) -> &Fragments {
        // SAFETY: RANGE-1.
        self.fragments.with(|fragments| unsafe { &*fragments })
    }
}

impl Ranges {
    pub(crate) fn new() -> Ranges {
        let newest = AtomicPtr::new(std::ptr::null_mut());
        Ranges { newest, pieces: Kept::new(), writer: Mutex::new(()) }
    }

    /// Adds `tombstone`, and returns how many bytes that took. Waits for no reader; amortised `log² n`.
    pub(crate) fn insert(&self, tombstone: RangeTombstoneRef<'_>) -> usize {
        let _writer = self.writer.lock();
        let (mut gathered, mut len) = (Vec::new(), 1);
        let mut rest = self.pieces().peekable();
        while let Some(piece) = rest.next_if(|piece| piece.fragments().len() <= len) {
            len += piece.fragments().len();
            gathered.push(piece.fragments());
        }
        let older = rest.next().map_or(std::ptr::null(), std::ptr::from_ref);
        let before = gathered.iter().flat_map(|fragments| fragments.tombstones());
        let fragments = Fragments::new(before.chain([tombstone]));
        let bytes = fragments.heap_bytes() + Kept::<Piece>::NODE_BYTES;
        let piece = self.pieces.push(Piece { fragments: UnsafeCell::new(fragments), older });
        // Release: RANGE-1: who sees the piece sees it whole.
        self.newest.store(std::ptr::from_ref(piece).cast_mut(), Ordering::Release);
        bytes
    }

    /// The newest tombstone that covers `user` and is not newer than `seq`.
    #[inline]
    pub(crate) fn covering(&self, user: &[u8], seq: SeqNo) -> Option<SeqNo> {
        let newest = self.newest.load(Ordering::Acquire);
        if newest.is_null() { None } else { self.covering_in_pieces(user, seq) }
    }

    fn covering_in_pieces(&self, user: &[u8], seq: SeqNo) -> Option<SeqNo> {
        self.pieces().map(Piece::fragments).fold(None, |found, fragments| {
            // Nothing is newer than `seq`, so what is not newer than what was found is not looked at.
            let hopeless = found >= Some(fragments.newest().min(seq));
            if hopeless { found } else { found.max(fragments.covering(user, seq)) }
        })
    }

    /// All tombstones, in no order.
    pub(crate) fn tombstones(&self) -> impl Iterator<Item = RangeTombstoneRef<'_>> {
        self.pieces().flat_map(|piece| piece.fragments().tombstones())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.pieces().map(|piece| piece.fragments().len()).sum()
    }

    /// The pieces, newest first.
    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        // SAFETY: RANGE-1: null or kept, and seen whole by the Acquire load.
        let newest = unsafe { self.newest.load(Ordering::Acquire).cast_const().as_ref() };
        // SAFETY: RANGE-1: null or kept, and older than what was seen whole.
        successors(newest, |piece| unsafe { piece.older.as_ref() })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_few_and_hold_each_tombstone_once() {
        let ranges = Ranges::new();
        for seq in 1..=1000u64 {
            let (start, end) = (seq.to_be_bytes(), (seq + 3).to_be_bytes());
            ranges.insert(RangeTombstoneRef { start: &start, end: &end, seq });
            let lens: Vec<_> = ranges.pieces().map(|piece| piece.fragments().len()).collect();
            assert!(lens.windows(2).all(|pair| pair[0] < pair[1]), "{lens:?}");
            assert!(lens.len() <= seq.ilog2() as usize + 1, "{lens:?}");
            let mut seqs: Vec<_> = ranges.tombstones().map(|tombstone| tombstone.seq).collect();
            seqs.sort_unstable();
            assert!(seqs.iter().copied().eq(1..=seq), "RANGE-1");
        }
    }
}
