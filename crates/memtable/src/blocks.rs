//! [`Blocks`]: an arena's memory in blocks, so that threads seldom meet.
//!
//! Neighbouring allocations of two threads would share a cache line, and all of them the arena's frontier:
//! on two cores whose caches are apart, each such line costs a write more than the allocation
//! itself. So each thread has a shard (threads beyond the eighth share one) with a block of its own to
//! allocate from.
//!
//! # Invariants
//! - SHARD-1: the units between a shard's `next` and `end` belong to a block that the arena handed out, and to
//!   nobody yet; who moves `next` over some of them has them.

use std::ptr::NonNull;

use stratalog_base::budget::Account;
use stratalog_base::sync::{AtomicU64, Ordering, Padded, thread_number};

use crate::arena::Arena;

/// Bytes of a block. What is left of it when an allocation does not fit is not used: in the mean half an
/// entry in 4 KiB.
const BLOCK_BYTES: usize = if cfg!(loom) { 256 } else { 4 << 10 };
/// Allocations of more do not come from a block.
const SMALL_BYTES: usize = if cfg!(loom) { 100 } else { BLOCK_BYTES / 4 };
const SHARDS: usize = if cfg!(loom) { 1 } else { 8 };

/// An arena of units of `UNIT` bytes with a shard for each thread.
pub(crate) struct Blocks<const UNIT: usize, const FIRST: usize> {
    arena: Arena<UNIT, FIRST>,
    shards: [Padded<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    /// The next free offset of the shard's block in the low half, the block's end in the high half.
    block: AtomicU64,
    allocations: AtomicU64,
}

impl<const UNIT: usize, const FIRST: usize> Blocks<UNIT, FIRST> {
    pub(crate) fn new() -> Self {
        Blocks { arena: Arena::new(), shards: std::array::from_fn(|_| Padded::default()) }
    }

    /// What they are blocks of.
    #[inline]
    pub(crate) fn arena(&self) -> &Arena<UNIT, FIRST> {
        &self.arena
    }

    /// As [`Arena::alloc`].
    #[inline]
    pub(crate) fn alloc(&self, bytes: usize, account: &Account) -> (u32, NonNull<u8>) {
        let shard = &self.shards[thread_number() % SHARDS];
        shard.allocations.fetch_add(1, Ordering::Relaxed);
        if bytes > SMALL_BYTES {
            return self.arena.alloc(bytes, account);
        }
        let units = bytes.div_ceil(UNIT).max(1) as u64;
        let mut block = shard.block.load(Ordering::Acquire);
        loop {
            let (next, end) = (block & u64::from(u32::MAX), block >> 32);
            if next + units > end {
                return self.alloc_block(shard, block, units, account);
            }
            // Acquire, also above: who began the block has seen its chunk. Changes in between pass that on, as
            // they are read-modify-writes.
            match shard.block.compare_exchange_weak(
                block,
                block + units,
                Ordering::Relaxed,
                Ordering::Acquire,
            ) {
                Ok(_) => return self.arena.handed_out(next as u32), // SHARD-1
                Err(now) => block = now,
            }
        }
    }

    /// Takes `units` from a new block, the rest of which becomes the shard's, if it still has the block `old`.
    #[cold]
    fn alloc_block(
        &self,
        shard: &Shard,
        old: u64,
        units: u64,
        account: &Account,
    ) -> (u32, NonNull<u8>) {
        let (offset, start) = self.arena.alloc(BLOCK_BYTES, account);
        let (first, end) = (u64::from(offset), u64::from(offset) + (BLOCK_BYTES / UNIT) as u64);
        // An end behind the last offset does not fit in half a word: that block is not shared.
        if end <= u64::from(u32::MAX) {
            let block = end << 32 | (first + units);
            // If another thread has begun a block meanwhile, or taken from the old one, the rest of this one is not used.
            let _ = shard.block.compare_exchange(old, block, Ordering::AcqRel, Ordering::Relaxed);
        }
        (offset, start)
    }

    /// Calls of [`Blocks::alloc`].
    pub(crate) fn allocations(&self) -> usize {
        let count = |shard: &Padded<Shard>| shard.allocations.load(Ordering::Relaxed) as usize;
        self.shards.iter().map(count).sum()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn allocations_of_many_threads_are_apart() {
        let (blocks, account) = (Blocks::<8, 16>::new(), Account::default());
        let mut taken: Vec<(usize, usize)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..12)
                .map(|thread: usize| {
                    let (blocks, account) = (&blocks, &account);
                    scope.spawn(move || {
                        let bytes = (0..2_000).map(|at| 1 + (at * 37 + thread) % 1500);
                        let alloc = |bytes| (blocks.alloc(bytes, account).1.addr().get(), bytes);
                        bytes.map(alloc).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(blocks.allocations(), taken.len());
        taken.sort_unstable();
        assert!(taken.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "SHARD-1");
        assert!(taken.iter().all(|(start, _)| start % 8 == 0));
    }
}
