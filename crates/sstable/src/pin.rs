//! The one unsafe step of this crate: values that stay in their block.
#![expect(unsafe_code, reason = "a slice points into the block that it pins")]

use std::sync::Arc;

use stratalog_base::Slice;

use crate::block::{Block, Entry};

/// The entry's value, without copying it unless it is short.
#[inline]
pub(crate) fn value(block: &Arc<Block>, entry: &Entry) -> Slice {
    // SAFETY: SLICE-1: a `Block` owns its contents, has no method that changes them and no interior
    // mutability, and the `Arc` neither moves nor frees it while a clone lives.
    unsafe { Slice::pinned(block.value(entry), block) }
}
