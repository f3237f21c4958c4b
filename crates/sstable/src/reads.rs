//! How a cursor reads: what for, and which entries.

use std::sync::Arc;

use stratalog_base::{Bounds, KeyRef};

/// What a cursor's reads are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadUse {
    /// Someone may want the same entries again: blocks are cached. They are read one by one; from the
    /// third one on that follows its neighbour, two at once, then four, up to 256 KiB.
    Lookup,
    /// Every entry once, as a compaction does: cached blocks are used, others are read 256 KiB at a
    /// time and not cached, so that the sweep does not push out what lookups need.
    Sweep,
}

/// How a cursor reads.
#[derive(Clone, Debug)]
pub struct Reads {
    /// What for.
    pub purpose: ReadUse,
    /// The entries to show; without, all. Blocks beyond are not read.
    pub bounds: Option<Arc<Bounds>>,
    /// Whether values are left alone: a walk then asks for no memory of theirs. A value that is asked
    /// for all the same is there, but has to be waited for.
    pub keys_only: bool,
}

impl From<ReadUse> for Reads {
    fn from(purpose: ReadUse) -> Reads {
        Reads { purpose, bounds: None, keys_only: false }
    }
}

impl Reads {
    /// The lower bound.
    #[inline]
    pub(crate) fn lower(&self) -> Option<KeyRef<'_>> {
        self.bounds.as_ref()?.lower()
    }

    /// The upper bound.
    #[inline]
    pub(crate) fn upper(&self) -> Option<KeyRef<'_>> {
        self.bounds.as_ref()?.upper()
    }
}
