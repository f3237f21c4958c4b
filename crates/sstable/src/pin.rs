//! Values that stay in their block, or where the cache holds them.
#![expect(unsafe_code, reason = "a slice points into the block that it pins")]

use stratalog_base::Slice;

use crate::block::{Block, Entry};
use crate::shared::Shared;
use crate::value_file::Held;

/// The entry's value, without copying it unless it is short.
#[inline]
pub(crate) fn value(block: &Block, entry: &Entry) -> Slice {
    // SAFETY: SLICE-1: SHARED-1: a block's bytes never change, and stay where they are while a handle lives.
    unsafe { Slice::pinned(block.value(entry), block) }
}

/// A value that was kept out of tables. It keeps its place in the cache's count (CACHE-6).
#[inline]
pub(crate) fn separated(held: &Shared<Held>) -> Slice {
    // SAFETY: SLICE-1: SHARED-1: what is held never changes, and its bytes stay where they are.
    unsafe { Slice::pinned(&held.value, held) }
}
