//! [`Arena`]: memory that only grows, named by 32-bit offsets, freed all at once.
//!
//! An offset counts units of `UNIT` bytes. Chunk *k* holds the offsets from 2^k to 2^(k+1) - 1, so an
//! offset's highest bit names its chunk, each chunk is twice the one before, and no offset is 0.
//! Allocation is one `fetch_add` on the next free offset; only the first to enter a chunk takes the
//! lock and asks the allocator. An allocation that would straddle two chunks is left unused and tried
//! again behind it. Chunks of 128 KiB and more are mapped from the system and charged as
//! they are touched, 64 KiB at a time; smaller ones come from the allocator and are charged whole.
//!
//! # Invariants
//! - ARENA-1: a chunk, once its pointer is stored, neither moves nor is freed before the arena drops.
//! - ARENA-2: the units of an allocation lie in one chunk, and no other allocation has any of them.
#![expect(unsafe_code, reason = "hands out raw memory that lives as long as the arena")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use stratalog_base::budget::Account;
use stratalog_base::pages;
use stratalog_base::sync::{AtomicPtr, AtomicU64, Mutex, Ordering, Padded};

/// The smallest chunk that is mapped.
const MAPPED_BYTES: usize = 128 << 10;
/// What is charged at a time of a mapped chunk.
const STEP_BYTES: usize = 64 << 10;

/// Memory in units of `UNIT` bytes (a power of two, also their alignment), of which the first chunk
/// has `FIRST` (a power of two).
pub(crate) struct Arena<const UNIT: usize, const FIRST: usize> {
    /// The next offset that nobody has, which every allocation changes: on cache lines that hold nothing
    /// else. Wide enough never to wrap.
    next: Padded<AtomicU64>,
    chunks: [AtomicPtr<u8>; u32::BITS as usize],
    growth: Mutex<()>,
}

impl<const UNIT: usize, const FIRST: usize> Arena<UNIT, FIRST> {
    /// The offset at which the first mapped chunk begins.
    const MAPPED_FROM: u64 = (MAPPED_BYTES / UNIT) as u64;
    const STEP_UNITS: u64 = (STEP_BYTES / UNIT) as u64;

    pub(crate) fn new() -> Self {
        const { assert!(UNIT.is_power_of_two() && FIRST.is_power_of_two()) };
        Arena {
            next: Padded(AtomicU64::new(FIRST as u64)),
            chunks: std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut())),
            growth: Mutex::new(()),
        }
    }

    /// Uninitialised memory for `bytes` (at least one) bytes, and its offset. What had to be taken from the
    /// system is charged to `account`.
    ///
    /// # Panics
    /// If 2^32 units are used up.
    #[inline]
    pub(crate) fn alloc(&self, bytes: usize, account: &Account) -> (u32, NonNull<u8>) {
        let units = bytes.div_ceil(UNIT).max(1) as u64;
        loop {
            // Relaxed: the addition alone makes ARENA-2 hold; whoever publishes the offset orders the
            // bytes.
            let first = self.next.fetch_add(units, Ordering::Relaxed);
            let last = first + units - 1;
            assert!(last <= u64::from(u32::MAX), "a memtable's arena is full");
            if last >= Self::MAPPED_FROM
                && (first - 1) / Self::STEP_UNITS != last / Self::STEP_UNITS
            {
                account.charge(Self::mapped_bytes(last + 1) - Self::mapped_bytes(first));
            }
            if first.ilog2() == last.ilog2() {
                let offset = first as u32;
                // SAFETY: ARENA-2: `offset` lies in the chunk.
                return (offset, unsafe {
                    Self::place(self.chunk(offset.ilog2(), account), offset)
                });
            }
        }
    }

    /// The memory at `offset`.
    ///
    /// # Safety
    /// `offset` was returned by [`Arena::alloc`] of this arena, and that call happened before this one.
    #[inline]
    pub(crate) unsafe fn at(&self, offset: u32) -> NonNull<u8> {
        debug_assert!(offset >= FIRST as u32);
        let chunk = self.chunks[offset.ilog2() as usize].load(Ordering::Acquire);
        debug_assert!(!chunk.is_null());
        // SAFETY: ARENA-1: the call that returned `offset` saw the chunk stored, so it is not null,
        // and `offset` lies in it.
        unsafe { Self::place(NonNull::new_unchecked(chunk), offset) }
    }

    /// `offset`, which an allocation of this arena holds that the caller knows of, with its memory.
    #[inline]
    pub(crate) fn handed_out(&self, offset: u32) -> (u32, NonNull<u8>) {
        let chunk = self.chunks[offset.ilog2() as usize].load(Ordering::Acquire);
        let chunk = NonNull::new(chunk).expect("an allocation has a chunk");
        // SAFETY: ARENA-1, ARENA-2: chunk k holds all the offsets whose highest bit is bit k.
        (offset, unsafe { Self::place(chunk, offset) })
    }

    /// At most so much is the next offset when `bytes` are handed out.
    pub(crate) fn units_for(&self, bytes: usize) -> usize {
        bytes.div_ceil(UNIT).saturating_add(FIRST)
    }

    /// Bytes handed out, with what was left unused at chunk ends.
    pub(crate) fn used_bytes(&self) -> usize {
        (self.next.load(Ordering::Relaxed) as usize - FIRST) * UNIT
    }

    /// Bytes of mapped chunks that may have been touched when `next` is the next offset that nobody has.
    fn mapped_bytes(next: u64) -> usize {
        let units = next.next_multiple_of(Self::STEP_UNITS).saturating_sub(Self::MAPPED_FROM);
        units as usize * UNIT
    }

    /// # Safety
    /// `offset` lies in the chunk that starts at `chunk`.
    #[inline]
    unsafe fn place(chunk: NonNull<u8>, offset: u32) -> NonNull<u8> {
        let index = (offset ^ 1 << offset.ilog2()) as usize;
        // SAFETY: chunk k has 2^k units, and `index` is less.
        unsafe { chunk.add(index * UNIT) }
    }

    #[inline]
    fn chunk(&self, index: u32, account: &Account) -> NonNull<u8> {
        NonNull::new(self.chunks[index as usize].load(Ordering::Acquire))
            .unwrap_or_else(|| self.grow(index, account))
    }

    #[cold]
    fn grow(&self, index: u32, account: &Account) -> NonNull<u8> {
        let _growth = self.growth.lock();
        let slot = &self.chunks[index as usize];
        if let Some(chunk) = NonNull::new(slot.load(Ordering::Relaxed)) {
            return chunk;
        }
        let layout = Self::layout(index);
        let chunk = if layout.size() >= MAPPED_BYTES {
            pages::map(layout.size())
        } else {
            account.charge(layout.size());
            // SAFETY: the layout's size is not zero.
            NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
        };
        slot.store(chunk.as_ptr(), Ordering::Release);
        chunk
    }

    fn layout(index: u32) -> Layout {
        Layout::from_size_align(UNIT << index, UNIT).expect("a chunk is smaller than isize::MAX")
    }

    /// The chunks there are.
    fn layouts(&self) -> impl Iterator<Item = (NonNull<u8>, Layout)> {
        self.chunks.iter().zip(0..).filter_map(|(chunk, index)| {
            Some((NonNull::new(chunk.load(Ordering::Acquire))?, Self::layout(index)))
        })
    }
}

impl<const UNIT: usize, const FIRST: usize> Drop for Arena<UNIT, FIRST> {
    fn drop(&mut self) {
        for (chunk, layout) in self.layouts() {
            // SAFETY: ARENA-1: `grow` took it by this layout, and nobody reaches it any more.
            unsafe {
                if layout.size() >= MAPPED_BYTES {
                    pages::unmap(chunk, layout.size());
                } else {
                    dealloc(chunk.as_ptr(), layout);
                }
            }
        }
    }
}

/// Has the first `bytes` from `start` on, a multiple of a cache line's, on their way.
#[inline]
pub(crate) fn prefetch(start: NonNull<u8>, bytes: usize) {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    for at in (0..bytes).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = start.as_ptr().wrapping_add(at);
        // SAFETY: a prefetch reads nothing, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.cast_const().cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    let _ = (start, bytes);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_apart_and_aligned_and_found_by_their_offset() {
        let (arena, account) = (Arena::<8, 16>::new(), Account::default());
        assert_eq!((arena.used_bytes(), account.bytes()), (0, 0));
        let mut taken: Vec<(usize, usize)> = Vec::new();
        for bytes in (1..200).chain([1000, 70_000, 8]) {
            let (offset, start) = arena.alloc(bytes, &account);
            assert!(start.cast::<u64>().is_aligned());
            // SAFETY: the arena returned the offset just now.
            assert_eq!(start, unsafe { arena.at(offset) });
            // SAFETY: ARENA-2: the memory is ours alone.
            unsafe { start.write_bytes(0xaa, bytes) };
            taken.push((start.addr().get(), start.addr().get() + bytes));
        }
        taken.sort_unstable();
        assert!(taken.windows(2).all(|pair| pair[0].1 <= pair[1].0), "ARENA-2");
        let chunks = || arena.layouts().map(|(_, layout)| layout.size());
        assert_eq!(account.bytes(), chunks().sum::<usize>());
        while arena.used_bytes() < 3 * MAPPED_BYTES {
            arena.alloc(100_000, &account);
            let small: usize = chunks().filter(|bytes| *bytes < MAPPED_BYTES).sum();
            let next = arena.used_bytes() + 16 * 8;
            let mapped = next.next_multiple_of(STEP_BYTES).saturating_sub(MAPPED_BYTES);
            assert_eq!(account.bytes(), small + mapped, "of mapped chunks, the steps begun");
        }
    }
}
