//! The one contract by which memtables, tables and merges are walked.

use crate::{InternalKey, KeyRef, Result, Slice};

/// A movable place in a sorted set of entries.
///
/// A new cursor is invalid until a seek. Running off either end makes it invalid; only a seek makes
/// it valid again. After an error a cursor is invalid and the error tells why; it never stands on a
/// wrong entry.
///
/// `key` and `value` borrow from the cursor: they hold until it moves. [`Cursor::value_slice`] pins
/// the bytes instead.
pub trait Cursor {
    /// Whether the cursor stands on an entry.
    fn valid(&self) -> bool;

    /// The entry's internal key. May panic if not [`Cursor::valid`].
    fn key(&self) -> KeyRef<'_>;

    /// The entry's value; empty for a tombstone. May panic if not [`Cursor::valid`].
    fn value(&self) -> &[u8];

    /// The entry's value, pinned (or copied, if short) so that it outlives the cursor.
    /// May panic if not [`Cursor::valid`].
    fn value_slice(&self) -> Slice;

    /// Moves to the first entry.
    ///
    /// # Errors
    /// [`crate::Error::Io`] or [`crate::Error::Corrupt`] if what holds the entries cannot be read.
    fn seek_first(&mut self) -> Result<()>;

    /// Moves to the last entry.
    ///
    /// # Errors
    /// As [`Cursor::seek_first`].
    fn seek_last(&mut self) -> Result<()>;

    /// Moves to the first entry ≥ `target`.
    ///
    /// # Errors
    /// As [`Cursor::seek_first`].
    fn seek(&mut self, target: KeyRef<'_>) -> Result<()>;

    /// Moves to the last entry < `target`.
    ///
    /// # Errors
    /// As [`Cursor::seek_first`].
    fn seek_before(&mut self, target: KeyRef<'_>) -> Result<()>;

    /// Moves to the following entry. May panic if not [`Cursor::valid`].
    ///
    /// # Errors
    /// As [`Cursor::seek_first`].
    fn next(&mut self) -> Result<()>;

    /// Moves to the preceding entry. May panic if not [`Cursor::valid`].
    ///
    /// # Errors
    /// As [`Cursor::seek_first`].
    fn prev(&mut self) -> Result<()>;

    /// Takes up to `most` steps of [`Cursor::next`], as far as they need nothing but decoding: no read, no
    /// comparison with another cursor. Shows `seen` the entry that each leads to, and stops there once it
    /// says no. Returns how many were taken; 0 says nothing but that the next step is one for
    /// [`Cursor::next`]. May panic if not [`Cursor::valid`].
    #[inline]
    fn next_while(&mut self, _most: usize, _seen: impl FnMut(KeyRef<'_>, &[u8]) -> bool) -> usize
    where
        Self: Sized,
    {
        0
    }

    /// Does part `part` of a seek to `target`, part 0 first, without waiting for memory. Says whether there
    /// is another part. A merge lets its sources do this in turns, so that they wait together. The cursor
    /// is invalid until [`Cursor::seek`] to the same target, which must follow.
    fn approach(&mut self, _target: KeyRef<'_>, _part: usize) -> bool {
        false
    }

    /// How many steps of [`Cursor::next`] lead to entries before `limit`, as far as the cursor can tell
    /// at little cost: that many or more. A merge takes them without comparing. May panic if not
    /// [`Cursor::valid`].
    fn run_before(&self, _limit: KeyRef<'_>) -> usize {
        0
    }

    /// How many steps of [`Cursor::prev`] lead to entries at or behind `limit`; else as
    /// [`Cursor::run_before`].
    fn run_behind(&self, _limit: KeyRef<'_>) -> usize {
        0
    }
}

/// Which entries a bounded cursor shows: those that are not less than `lower` and less than `upper`. It moves as if
/// there were no others.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// The lower bound, if there is one.
    pub lower: Option<InternalKey>,
    /// The upper bound, if there is one.
    pub upper: Option<InternalKey>,
}

impl Bounds {
    /// The lower bound.
    #[inline]
    pub fn lower(&self) -> Option<KeyRef<'_>> {
        self.lower.as_ref().map(InternalKey::as_ref)
    }

    /// The upper bound.
    #[inline]
    pub fn upper(&self) -> Option<KeyRef<'_>> {
        self.upper.as_ref().map(InternalKey::as_ref)
    }
}
