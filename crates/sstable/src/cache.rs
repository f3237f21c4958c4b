//! The block cache: every table keeps a slot for each of its data blocks and each of its partitions,
//! and one clock for all tables decides which slots stay filled.
//!
//! A cached block is found by its number in the table: no hash, no lock, no count. A reader enters the
//! cache's [`Grace`] once, and then each slot is one plain load. A hit marks the block as referenced,
//! if it is not yet, and writes nothing else that is shared.
//!
//! A fill goes through the clock, which has two queues of filled slots. Blocks that somebody looked
//! for enter the `hot` one; blocks that a scan runs over are on `probation`. While there are more bytes
//! than the limit, the oldest slot is emptied: that on probation if these hold more than a sixteenth
//! of what is cached, else the hot one. If it was referenced since it was queued or last spared, it is spared
//! and queued as hot. So a scan pushes out what scans brought, and no more of the rest than that
//! sixteenth, but a small range that is scanned again and again stays.
//!
//! # Invariants
//! - CACHE-1: `cached_bytes` is the sum over the filled slots of all living tables.
//! - CACHE-2: with what is reserved for free cells, `cached_bytes` is at most the limit.
//! - CACHE-3: a filled slot of a living table has exactly one place in the clock.
//! - CACHE-4: a slot is filled and emptied only under the clock's lock, or by the drop of its table.
//! - CACHE-5: a filled slot holds one handle, which is dropped only after a grace period (GRACE-1).
//! - CACHE-6: a block that came to [`BlockCache::insert`] is charged to the budget from then on until it is freed,
//!   wherever its handles are: with the whole slab that it lies in, or by itself. While less than a quarter of the
//!   spare part is free, slots are not filled beyond as much as that part.
//!
//! Who wants a block for longer than a look takes a handle of its own, which outlives the eviction.
//!
//! # Within a budget
//! What others have charged to the budget leaves that much less for the cache. The last part of the budget, a
//! thirty-second, is spare: slots leave it to what is charged before anybody can look, which is a block that was
//! just read, evicted ones until their grace period is over, and memory that others take in steps. Who takes much
//! calls [`BlockCache::make_room`] first. When half of the spare part is in use, what was evicted is freed by force.
//! If readers stop inside, it cannot be; then nothing is cached any more, nor evicted, until they leave (CACHE-6).
//!
//! # Slabs
//! What is evicted from a slab is a free cell, and no memory that others have ([`crate::slab`]). A thirty-second of the
//! limit or of the budget, whichever is less, is reserved for free cells. If there are more, and too little for
//! others or for the limit, the emptiest slabs are closed: the clock is gone through once, and blocks in them are moved
//! to free cells elsewhere. Readers find the old copy or the new one; the old one is garbage as if it were evicted.
//!
//! Whatever others have charged, slots may hold as much as the spare part: else each read would read index and
//! filter anew.

mod slots;

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use stratalog_base::budget::{Account, Budget, Charge};
use stratalog_base::sync::{AtomicUsize, Mutex, Ordering, yield_now};

use self::slots::Clocked;
pub use self::slots::{Cached, Slots};
use crate::grace::{Garbage, Grace, Reader};
use crate::shared::Shared;
use crate::slab::Slabs;

/// Blocks on probation may hold this part of what is cached.
const PROBATION_SHARE: usize = 16;
/// The part of the budget that slots leave to others.
const SPARE_SHARE: usize = 32;
/// Evicted bytes that are freed together, if there is room for them.
const GARBAGE_BYTES: usize = if cfg!(loom) { 0 } else { 64 << 10 };
/// How often to let others run for the end of a grace period: a few milliseconds if all processors are taken.
const GRACE_YIELDS: usize = 1000;

/// Why a block is brought in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// For itself.
    Lookup,
    /// Because a scan runs over it.
    Scan,
}

/// Keeps data blocks and partitions of all tables that share it in memory, up to a limit.
#[derive(Debug)]
pub struct BlockCache {
    limit_bytes: usize,
    /// Changed under the clock's lock, but for the subtraction when a table drops.
    cached_bytes: AtomicUsize,
    /// Blocks that were read to be cached, until they are freed, and all slabs.
    blocks: Arc<Account>,
    slabs: Arc<Slabs>,
    /// What tables take beside their blocks.
    tables: Arc<Account>,
    /// Upper bound of the places in the clock whose table is gone.
    dead_places: AtomicUsize,
    grace: Grace,
    clock: Mutex<Clock>,
}

#[derive(Debug, Default)]
struct Clock {
    hot: VecDeque<Place>,
    probation: VecDeque<Place>,
    /// Of the blocks whose places are on probation, dead ones included.
    probation_bytes: usize,
    garbage: Garbage,
}

/// A filled slot's place in the clock.
#[derive(Debug)]
struct Place {
    slots: Weak<dyn Clocked>,
    index: usize,
    bytes: usize,
    /// Where the block lies, if in a slab.
    slab: Option<usize>,
}

impl Clock {
    fn len(&self) -> usize {
        self.hot.len() + self.probation.len()
    }

    fn forget_dead(&mut self) {
        let alive = |place: &Place| place.slots.strong_count() > 0;
        self.hot.retain(alive);
        self.probation.retain(alive);
        self.probation_bytes = self.probation.iter().map(|place| place.bytes).sum();
    }

    /// The next place to look at, of `cached_bytes` in all.
    fn pop(&mut self, cached_bytes: usize) -> Option<Place> {
        if self.probation_bytes > cached_bytes / PROBATION_SHARE || self.hot.is_empty() {
            let place = self.probation.pop_front()?;
            self.probation_bytes -= place.bytes;
            return Some(place);
        }
        self.hot.pop_front()
    }
}

impl BlockCache {
    /// A cache of up to `limit_bytes` of decoded blocks; 0 keeps none.
    pub fn new(limit_bytes: usize) -> Arc<BlockCache> {
        BlockCache::charged(limit_bytes, Arc::default())
    }

    /// The same, which charges to `budget` what it holds and what was taken from it and is still held, and
    /// holds no more than `budget` leaves to it.
    pub fn charged(limit_bytes: usize, budget: Arc<Budget>) -> Arc<BlockCache> {
        let blocks = Arc::new(Account::new(budget.clone()));
        Arc::new(BlockCache {
            limit_bytes,
            cached_bytes: AtomicUsize::new(0),
            slabs: Slabs::new(blocks.clone(), limit_bytes.min(budget.limit_bytes())),
            blocks,
            tables: Arc::new(Account::new(budget)),
            dead_places: AtomicUsize::new(0),
            grace: Grace::default(),
            clock: Mutex::default(),
        })
    }

    /// The bytes of all cached blocks, with what was allocated for them, and of free cells between blocks.
    pub fn used_bytes(&self) -> usize {
        self.cached_bytes() + self.slabs.unused_bytes()
    }

    #[inline]
    fn cached_bytes(&self) -> usize {
        self.cached_bytes.load(Ordering::Relaxed)
    }

    /// The bytes of blocks that are not cached, or not any more: slices and cursors hold them, or they wait for
    /// readers to leave.
    pub fn pinned_bytes(&self) -> usize {
        self.blocks.bytes().saturating_sub(self.used_bytes())
    }

    /// The bytes of tables and value files beside their blocks, for as long as they are open.
    pub fn tables_bytes(&self) -> usize {
        self.tables.bytes()
    }

    /// What all of this is charged to.
    #[inline]
    pub fn budget(&self) -> &Arc<Budget> {
        self.blocks.budget()
    }

    /// Where blocks are decoded that are to be cached.
    pub(crate) fn slabs(&self) -> &Arc<Slabs> {
        &self.slabs
    }

    /// CACHE-6
    fn charge_block<T>(&self, block: Shared<T>, bytes: usize) -> Shared<T> {
        match block.slab() {
            Some(_) => block, // SLAB-4
            None => block.charged(Charge::new(self.blocks.clone(), bytes)),
        }
    }

    /// Counts what an open table takes beside its blocks.
    pub(crate) fn charge_table(&self, bytes: usize) -> Charge {
        Charge::new(self.tables.clone(), bytes)
    }

    /// The limit given to [`BlockCache::new`].
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Announces a reader, for [`Slots::get`]. No block is read from a file meanwhile.
    #[inline]
    pub fn enter(&self) -> Reader<'_> {
        self.grace.enter()
    }

    /// Fills a slot with `block`, emptying others as needed. Returns the block that the slot held
    /// already, if another reader was faster, else `block`. A block that does not fit is not kept.
    ///
    /// # Panics
    /// If there are other handles of `block`.
    pub fn insert<T: Cached>(
        &self,
        slots: &Arc<Slots<T>>,
        index: usize,
        block: Shared<T>,
        wanted: Wanted,
    ) -> Shared<T> {
        let bytes = T::memory_bytes(&block);
        let block = self.charge_block(block, bytes);
        if bytes > self.limit_bytes {
            return block;
        }
        let mut clock = self.clock.lock();
        if let Some(faster) = slots.held(index) {
            return faster;
        }
        // The budget has it already.
        self.evict(&mut clock, self.limit_bytes - bytes, 0);
        let is_least = self.cached_bytes() + bytes <= self.spare_bytes();
        if self.free_bytes() < self.unfilled_bytes() && !is_least {
            return block; // CACHE-6
        }
        slots.fill(index, block.clone()); // CACHE-4
        self.cached_bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.dead_places.load(Ordering::Relaxed) > clock.len() / 2 {
            self.dead_places.store(0, Ordering::Relaxed);
            clock.forget_dead();
        }
        let weak: Weak<Slots<T>> = Arc::downgrade(slots);
        let place = Place { slots: weak, index, bytes, slab: block.slab() };
        match wanted {
            Wanted::Lookup => clock.hot.push_back(place),
            Wanted::Scan => {
                clock.probation_bytes += bytes;
                clock.probation.push_back(place);
            }
        }
        block
    }

    /// Has `bytes` more fit in the budget before somebody takes them, as far as emptying slots can do that. If readers
    /// are inside, it waits a little for them: they are about to leave, unless their threads were stopped.
    #[inline]
    pub fn make_room(&self, bytes: usize) {
        if self.is_crowded(bytes) {
            self.make_room_slowly(bytes);
        }
    }

    #[cold]
    fn make_room_slowly(&self, bytes: usize) {
        for _ in 0..GRACE_YIELDS {
            let evicted = {
                let mut clock = self.clock.lock();
                self.evict(&mut clock, self.limit_bytes, bytes);
                clock.garbage.bytes()
            };
            if evicted == 0 || self.free_bytes() >= bytes.saturating_add(self.unfilled_bytes()) {
                return;
            }
            yield_now();
        }
    }

    /// Whether `bytes` more would take half of the spare part of the budget.
    #[inline]
    fn is_crowded(&self, bytes: usize) -> bool {
        self.free_bytes() < bytes.saturating_add(self.spare_bytes() / 2)
    }

    /// What of the spare part slots leave free even if the rest of it holds what was evicted.
    #[inline]
    fn unfilled_bytes(&self) -> usize {
        self.spare_bytes() / 4
    }

    /// Bytes of the budget that nobody uses.
    #[inline]
    fn free_bytes(&self) -> usize {
        self.budget().limit_bytes().saturating_sub(self.budget().used_bytes())
    }

    /// Bytes of the budget that others find free once all that was evicted is freed.
    #[inline]
    fn spare_bytes(&self) -> usize {
        self.budget().limit_bytes() / SPARE_SHARE
    }

    /// Empties slots until those that are filled have at most `most_bytes`, and `more_bytes` fit in the budget.
    fn evict(&self, clock: &mut Clock, most_bytes: usize, more_bytes: usize) {
        let budget = self.budget();
        let goal = (budget.limit_bytes() - self.spare_bytes()).saturating_sub(more_bytes);
        let is_much = |clock: &Clock| {
            let (cached, reserved) = (self.cached_bytes(), self.slabs.reserved_bytes());
            let unused = clock.garbage.bytes() + self.slabs.free_bytes();
            let is_over = budget.used_bytes().saturating_sub(unused) + reserved > goal;
            cached + reserved > most_bytes || is_over && cached > self.spare_bytes()
        };
        // Readers may mark slots as fast as they are spared: one round, then no mercy.
        let mut mercies = clock.len();
        while is_much(clock) {
            let Some(place) = clock.pop(self.cached_bytes()) else { break };
            let Some(slots) = place.slots.upgrade() else { continue };
            match slots.empty(place.index, mercies > 0) {
                Some(block) => {
                    self.cached_bytes.fetch_sub(place.bytes, Ordering::Relaxed);
                    clock.garbage.add(block, place.bytes); // CACHE-5
                }
                None => {
                    mercies -= 1;
                    clock.hot.push_back(place);
                }
            }
        }
        clock.garbage.free(&self.grace, GARBAGE_BYTES);
        if self.slabs.excess_bytes() > 0 {
            let is_over = budget.used_bytes().saturating_sub(clock.garbage.bytes()) > goal;
            if is_over || self.cached_bytes() + self.slabs.free_bytes() > most_bytes {
                self.empty_slabs(clock);
            }
        }
        // Two grace periods free all there is, if nobody is inside.
        for _ in 0..2 {
            if clock.garbage.bytes() > 0 && self.is_crowded(more_bytes) {
                clock.garbage.free(&self.grace, 0);
            }
        }
    }

    /// Moves blocks so that some slabs can be given back.
    #[cold]
    fn empty_slabs(&self, clock: &mut Clock) {
        let closed = self.slabs.close();
        clock.garbage.add_bytes(closed.free_bytes);
        if !closed.slabs.is_empty() {
            let is_closed = |slab| closed.slabs.binary_search(&slab).is_ok();
            self.relocate(clock, |slab| slab.is_some_and(is_closed));
        }
        self.slabs.closed();
    }

    /// Moves all blocks, for the models.
    #[cfg(loom)]
    pub fn relocate_all(&self) {
        let mut clock = self.clock.lock();
        self.relocate(&mut clock, |_| true);
        clock.garbage.free(&self.grace, GARBAGE_BYTES);
    }

    /// Moves all blocks out of those slabs.
    fn relocate(&self, clock: &mut Clock, is_left: impl Fn(Option<usize>) -> bool) {
        let Clock { hot, probation, probation_bytes, garbage } = clock;
        let in_hot = hot.len();
        for (at, place) in hot.iter_mut().chain(probation).enumerate() {
            if !is_left(place.slab) {
                continue;
            }
            let Some(moved) = place.slots.upgrade().and_then(|slots| slots.relocate(place.index))
            else {
                continue;
            };
            garbage.add(moved.old, place.bytes); // CACHE-5
            self.cached_bytes.fetch_add(moved.bytes, Ordering::Relaxed);
            self.cached_bytes.fetch_sub(place.bytes, Ordering::Relaxed); // CACHE-1
            if at >= in_hot {
                *probation_bytes = *probation_bytes + moved.bytes - place.bytes;
            }
            (place.bytes, place.slab) = (moved.bytes, moved.slab);
        }
    }
}

impl Drop for BlockCache {
    fn drop(&mut self) {
        self.slabs.retire();
    }
}
