//! The block cache: every table keeps a slot for each of its data blocks, and one clock for all
//! tables decides which slots stay filled.
//!
//! A cached block is found by its number in the table: no hash, no lock but the slot's own byte. A
//! hit marks its slot as referenced and touches nothing shared. A fill goes through the clock, a
//! queue of filled slots: while there are more bytes than the limit, the oldest slot is emptied,
//! unless it was referenced since it was queued or last spared; then it is spared once more.
//!
//! # Invariants
//! - CACHE-1: `used_bytes` is the sum over the filled slots of all living tables.
//! - CACHE-2: when [`BlockCache::insert`] returns, `used_bytes` is at most the limit.
//! - CACHE-3: a filled slot of a living table has exactly one place in the clock.
//! - CACHE-4: locks are taken in the order clock, slot.
//!
//! Readers pin a block by its `Arc`; a pinned block outlives its eviction and counts no longer.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use stratalog_base::sync::{AtomicUsize, Mutex, Ordering};

use crate::block::Block;

/// Keeps data blocks of all tables that share it in memory, up to a limit.
#[derive(Debug)]
pub struct BlockCache {
    limit_bytes: usize,
    /// Changed under the clock's lock, but for the subtraction when a table drops.
    used_bytes: AtomicUsize,
    /// Upper bound of the places in the clock whose table is gone.
    dead_places: AtomicUsize,
    clock: Mutex<VecDeque<Place>>,
}

/// A filled slot's place in the clock.
#[derive(Debug)]
struct Place {
    slots: Weak<Slots>,
    index: usize,
}

impl BlockCache {
    /// A cache of up to `limit_bytes` of decoded blocks; 0 keeps none.
    pub fn new(limit_bytes: usize) -> Arc<BlockCache> {
        Arc::new(BlockCache {
            limit_bytes,
            used_bytes: AtomicUsize::new(0),
            dead_places: AtomicUsize::new(0),
            clock: Mutex::new(VecDeque::new()),
        })
    }

    /// The bytes of all cached blocks, with what was allocated for them.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// The limit given to [`BlockCache::new`].
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Fills a slot with `block`, emptying others as needed. Returns the block that the slot held
    /// already, if another reader was faster, else `block`. A block beyond the limit is not kept.
    pub(crate) fn insert(&self, slots: &Arc<Slots>, index: usize, block: Arc<Block>) -> Arc<Block> {
        let bytes = block.memory_bytes();
        if bytes > self.limit_bytes {
            return block;
        }
        let mut clock = self.clock.lock();
        {
            let mut slot = slots.slots[index].lock(); // CACHE-4
            if let Some(faster) = &slot.block {
                return faster.clone();
            }
            *slot = Slot { block: Some(block.clone()), referenced: false };
        }
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.dead_places.load(Ordering::Relaxed) > clock.len() / 2 {
            self.dead_places.store(0, Ordering::Relaxed);
            clock.retain(|place| place.slots.strong_count() > 0);
        }
        clock.push_back(Place { slots: Arc::downgrade(slots), index });
        self.evict(&mut clock);
        block
    }

    fn evict(&self, clock: &mut VecDeque<Place>) {
        // Readers may mark slots as fast as they are spared: one round, then no mercy.
        let mut mercies = clock.len();
        while self.used_bytes() > self.limit_bytes {
            let Some(place) = clock.pop_front() else { return };
            let Some(slots) = place.slots.upgrade() else { continue };
            let mut slot = slots.slots[place.index].lock();
            if slot.referenced && mercies > 0 {
                slot.referenced = false;
                mercies -= 1;
                clock.push_back(place);
                continue;
            }
            let block = slot.block.take().expect("CACHE-3");
            self.used_bytes.fetch_sub(block.memory_bytes(), Ordering::Relaxed);
        }
    }
}

/// A table's place for one block.
#[derive(Debug, Default)]
struct Slot {
    block: Option<Arc<Block>>,
    referenced: bool,
}

/// A table's slots, one for each data block.
#[derive(Debug)]
pub(crate) struct Slots {
    slots: Box<[Mutex<Slot>]>,
    cache: Arc<BlockCache>,
}

impl Slots {
    pub(crate) fn new(count: usize, cache: Arc<BlockCache>) -> Arc<Slots> {
        let slots = (0..count).map(|_| Mutex::new(Slot::default())).collect();
        Arc::new(Slots { slots, cache })
    }

    pub(crate) fn cache(&self) -> &BlockCache {
        &self.cache
    }

    /// The slots themselves, without the blocks in them.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    /// The block, if cached.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<Arc<Block>> {
        let mut slot = self.slots[index].lock();
        let block = slot.block.clone()?;
        slot.referenced = true;
        Some(block)
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // CACHE-1: nobody can reach the slots any more; their places in the clock are dead.
        let (mut places, mut bytes) = (0, 0);
        for slot in &self.slots {
            if let Some(block) = &slot.lock().block {
                places += 1;
                bytes += block.memory_bytes();
            }
        }
        self.cache.dead_places.fetch_add(places, Ordering::Relaxed);
        self.cache.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
