//! [`Slots`]: where the cached blocks of one table are found. Filled and emptied by [`BlockCache`] alone, on whose
//! page the invariants stand.
#![expect(unsafe_code, reason = "slots hold handles as pointers, by CACHE-5")]

use std::fmt::Debug;
use std::marker::PhantomData;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use stratalog_base::slice::{Kept, Owner};
use stratalog_base::sync::{AtomicPtr, Ordering};

use super::BlockCache;
use crate::grace::Reader;
use crate::shared::{Borrowed, Shared, prefetch};
use crate::slab::Slabs;

/// What slots can hold, as the header of a [`Shared`].
pub trait Cached: Debug + Send + Sync + Sized + 'static {
    /// Lines to ask for before the first is looked at.
    const PREFETCH_LINES: usize;

    /// Heap and own bytes.
    fn memory_bytes(shared: &Shared<Self>) -> usize;

    /// A copy elsewhere, in a cell of `slabs` if that has one. `None` for what never lies in a slab.
    fn moved(_shared: &Shared<Self>, _slabs: &Arc<Slabs>) -> Option<Shared<Self>> {
        None
    }
}

/// Slots as the clock sees them, whatever they hold.
pub(super) trait Clocked: Debug + Send + Sync {
    /// Empties the filled slot `index` and returns what it held; `None` if that was referenced and
    /// `may_spare`: then it counts as referenced no longer.
    fn empty(&self, index: usize, may_spare: bool) -> Option<Kept>;

    /// Puts a copy in the place of what the filled slot `index` holds.
    fn relocate(&self, index: usize) -> Option<Moved>;
}

/// A block that lies elsewhere now.
pub(super) struct Moved {
    /// What the slot held.
    pub(super) old: Kept,
    /// Of what it holds now.
    pub(super) bytes: usize,
    pub(super) slab: Option<usize>,
}

/// A table's slots, one for each data block, or for each partition.
#[derive(Debug)]
pub struct Slots<T: Cached> {
    /// Handles as pointers; null if empty.
    slots: Box<[AtomicPtr<()>]>,
    cache: Arc<BlockCache>,
    _held: PhantomData<Shared<T>>,
}

impl<T: Cached> Slots<T> {
    /// `count` empty ones.
    pub fn new(count: usize, cache: Arc<BlockCache>) -> Arc<Slots<T>> {
        let slots = (0..count).map(|_| AtomicPtr::new(null_mut())).collect();
        Arc::new(Slots { slots, cache, _held: PhantomData })
    }

    /// The cache that the slots belong to.
    #[inline]
    pub fn cache(&self) -> &BlockCache {
        &self.cache
    }

    /// The slots themselves, without the blocks in them.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    /// The block, if cached, for as long as the reader is inside. `reader` is one of this cache's.
    #[inline]
    pub fn get<'a>(&'a self, index: usize, reader: &'a Reader<'_>) -> Option<Borrowed<'a, T>> {
        let block = self.peek(index, reader)?;
        block.reference();
        Some(block)
    }

    /// The same for who does not want the block kept.
    #[inline]
    pub fn peek<'a>(&'a self, index: usize, reader: &'a Reader<'_>) -> Option<Borrowed<'a, T>> {
        assert!(reader.is_of(&self.cache.grace), "a reader of another cache");
        let held = NonNull::new(self.slots[index].load(Ordering::SeqCst))?;
        prefetch(held.as_ptr(), T::PREFETCH_LINES);
        // SAFETY: CACHE-5: the slot's handle stays counted until this reader leaves (GRACE-1), or, if the
        // table drops it, until the borrow of `self` ends.
        Some(unsafe { Shared::borrow_raw(held) })
    }

    /// Asks for the first lines of the block, if it is cached.
    #[inline]
    pub fn prefetch(&self, index: usize) {
        if let Some(slot) = self.slots.get(index) {
            // No reader is needed: the pointer is not followed.
            prefetch(slot.load(Ordering::Relaxed), T::PREFETCH_LINES);
        }
    }

    /// A handle of the block in slot `index`. The caller holds the clock's lock.
    pub(super) fn held(&self, index: usize) -> Option<Shared<T>> {
        let held = NonNull::new(self.slots[index].load(Ordering::SeqCst))?;
        // SAFETY: CACHE-4: nobody empties the slot meanwhile.
        Some(unsafe { Shared::<T>::borrow_raw(held) }.share())
    }

    /// Fills the empty slot `index`. The caller holds the clock's lock.
    pub(super) fn fill(&self, index: usize, block: Shared<T>) {
        self.slots[index].store(block.into_raw().as_ptr(), Ordering::SeqCst);
    }

    /// Empties slot `index` and returns what it held.
    fn take(&self, index: usize) -> Option<Shared<T>> {
        let held = NonNull::new(self.slots[index].swap(null_mut(), Ordering::SeqCst))?;
        // SAFETY: the slot's own handle, which it no longer holds.
        Some(unsafe { Shared::from_raw(held) })
    }
}

impl<T: Cached> Clocked for Slots<T> {
    fn empty(&self, index: usize, may_spare: bool) -> Option<Kept> {
        if may_spare && self.held(index).expect("CACHE-3").take_reference() {
            return None;
        }
        Some(Kept::new(self.take(index).expect("CACHE-3")))
    }

    fn relocate(&self, index: usize) -> Option<Moved> {
        let block = self.held(index).expect("CACHE-3");
        let moved = T::moved(&block, &self.cache.slabs)?;
        let bytes = T::memory_bytes(&moved);
        let moved = self.cache.charge_block(moved, bytes);
        if block.take_reference() {
            moved.reference();
        }
        let slab = moved.slab();
        let old = self.slots[index].swap(moved.into_raw().as_ptr(), Ordering::SeqCst);
        let old = NonNull::new(old).expect("CACHE-4");
        // SAFETY: the slot's own handle, which it no longer holds.
        let old = Kept::new(unsafe { Shared::<T>::from_raw(old) });
        Some(Moved { old, bytes, slab })
    }
}

impl<T: Cached> Drop for Slots<T> {
    fn drop(&mut self) {
        // CACHE-1: nobody can reach the slots any more; their places in the clock are dead.
        let (mut places, mut bytes) = (0, 0);
        for index in 0..self.slots.len() {
            if let Some(block) = self.take(index) {
                places += 1;
                bytes += T::memory_bytes(&block);
            }
        }
        self.cache.dead_places.fetch_add(places, Ordering::Relaxed);
        self.cache.cached_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
