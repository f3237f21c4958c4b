//! The one unsafe step of this crate: values that stay in their block.
#![expect(unsafe_code, reason = "a slice points into the block that it pins")]

use stratalog_base::Slice;

use crate::block::{Block, Entry};

/// The entry's value, without copying it unless it is short.
#[inline]
pub(crate) fn value(block: &Block, entry: &Entry) -> Slice {
    // SAFETY: SLICE-1: SHARED-1: a block's bytes never change, and stay where they are while a handle lives.
    unsafe { Slice::pinned(block.value(entry), block) }
}
