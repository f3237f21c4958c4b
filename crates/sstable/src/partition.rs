//! A partition in memory: the index of a stretch of the table, and its filter.

use std::convert::Infallible;

use crate::cache::Cached;
use crate::filter::Filter;
use crate::index::Index;
use crate::shared::Shared;

/// Index and filter of a stretch of data blocks.
#[derive(Debug)]
pub struct Partition {
    pub(crate) index: Index,
    pub(crate) filter: Option<Filter>,
}

impl Partition {
    /// Whether an entry with the key of this hash may be here; `false` is certain.
    #[inline]
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.may_contain(hash))
    }

    /// A counted handle.
    pub(crate) fn share(self) -> Shared<Partition> {
        Shared::build(self, 0, |_, _| Ok::<_, Infallible>(()))
            .unwrap_or_else(|never| match never {})
    }
}

impl Cached for Partition {
    const PREFETCH_LINES: usize = 3;

    fn memory_bytes(shared: &Shared<Partition>) -> usize {
        let filter = shared.filter.as_ref().map_or(0, Filter::memory_bytes);
        shared.allocated_bytes() + shared.index.memory_bytes() + filter
    }
}
