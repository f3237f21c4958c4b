//! [`Arena`]: memory that only grows, named by 32-bit offsets, freed all at once.
//!
//! An offset counts units of `UNIT` bytes. Chunk *k* holds the offsets from 2^k to 2^(k+1) - 1, so an
//! offset's highest bit names its chunk, each chunk is twice the one before, and no offset is 0.
//! Allocation is one `fetch_add` on the next free offset; only the first to enter a chunk takes the
//! lock and asks the allocator. An allocation that would straddle two chunks is left unused and tried
//! again behind it.
//!
//! # Invariants
//! - ARENA-1: a chunk, once its pointer is stored, neither moves nor is freed before the arena drops.
//! - ARENA-2: the units of an allocation lie in one chunk, and no other allocation has any of them.
#![expect(unsafe_code, reason = "hands out raw memory that lives as long as the arena")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use stratalog_base::sync::{AtomicPtr, AtomicU64, Mutex, Ordering, Padded};

/// Memory in units of `UNIT` bytes (a power of two, also their alignment), of which the first chunk
/// has `FIRST` (a power of two).
pub(crate) struct Arena<const UNIT: usize, const FIRST: usize> {
    /// What every allocation changes, on cache lines that hold nothing else.
    frontier: Padded<Frontier>,
    chunks: [AtomicPtr<u8>; u32::BITS as usize],
    growth: Mutex<()>,
}

struct Frontier {
    /// The next offset that nobody has. Wide enough never to wrap.
    next: AtomicU64,
    allocations: AtomicU64,
}

impl<const UNIT: usize, const FIRST: usize> Arena<UNIT, FIRST> {
    pub(crate) fn new() -> Self {
        const { assert!(UNIT.is_power_of_two() && FIRST.is_power_of_two()) };
        Arena {
            frontier: Padded(Frontier {
                next: AtomicU64::new(FIRST as u64),
                allocations: AtomicU64::new(0),
            }),
            chunks: std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut())),
            growth: Mutex::new(()),
        }
    }

    /// Uninitialised memory for `bytes` (at least one) bytes, and its offset.
    ///
    /// # Panics
    /// If 2^32 units are used up.
    #[inline]
    pub(crate) fn alloc(&self, bytes: usize) -> (u32, NonNull<u8>) {
        let units = bytes.div_ceil(UNIT).max(1) as u64;
        self.frontier.allocations.fetch_add(1, Ordering::Relaxed);
        loop {
            // Relaxed: the addition alone makes ARENA-2 hold; whoever publishes the offset orders the
            // bytes.
            let first = self.frontier.next.fetch_add(units, Ordering::Relaxed);
            let last = first + units - 1;
            assert!(last <= u64::from(u32::MAX), "a memtable's arena is full");
            if first.ilog2() == last.ilog2() {
                let offset = first as u32;
                // SAFETY: ARENA-2: `offset` lies in the chunk.
                return (offset, unsafe { Self::place(self.chunk(offset.ilog2()), offset) });
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

    /// Asks for the first `lines` cache lines at `offset`, which need not be an allocation of this arena.
    #[inline]
    pub(crate) fn prefetch(&self, offset: u32, lines: usize) {
        #[cfg(all(target_arch = "x86_64", not(loom)))]
        if let Some(index) = offset.checked_ilog2() {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let chunk = self.chunks[index as usize].load(Ordering::Relaxed);
            for line in 0..lines {
                let start = chunk.wrapping_add((offset ^ 1 << index) as usize * UNIT + line * 64);
                // SAFETY: a prefetch reads nothing, whatever the address.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(start.cast_const().cast()) };
            }
        }
        #[cfg(not(all(target_arch = "x86_64", not(loom))))]
        let _ = (offset, lines);
    }

    /// Calls of [`Arena::alloc`].
    pub(crate) fn allocations(&self) -> usize {
        self.frontier.allocations.load(Ordering::Relaxed) as usize
    }

    /// Bytes handed out, with what was left unused at chunk ends.
    pub(crate) fn used_bytes(&self) -> usize {
        (self.frontier.next.load(Ordering::Relaxed) as usize - FIRST) * UNIT
    }

    /// Bytes taken from the allocator.
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.layouts().map(|(_, layout)| layout.size()).sum()
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
    fn chunk(&self, index: u32) -> NonNull<u8> {
        NonNull::new(self.chunks[index as usize].load(Ordering::Acquire))
            .unwrap_or_else(|| self.grow(index))
    }

    #[cold]
    fn grow(&self, index: u32) -> NonNull<u8> {
        let _growth = self.growth.lock();
        let slot = &self.chunks[index as usize];
        if let Some(chunk) = NonNull::new(slot.load(Ordering::Relaxed)) {
            return chunk;
        }
        let layout = Self::layout(index);
        // SAFETY: the layout's size is not zero.
        let chunk =
            NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
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
            // SAFETY: ARENA-1: `grow` allocated it with this layout, and nobody reaches it any more.
            unsafe { dealloc(chunk.as_ptr(), layout) };
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_apart_and_aligned_and_found_by_their_offset() {
        let arena = Arena::<8, 16>::new();
        assert_eq!((arena.used_bytes(), arena.allocated_bytes()), (0, 0));
        let mut taken: Vec<(usize, usize)> = Vec::new();
        for bytes in (1..200).chain([1000, 70_000, 8]) {
            let (offset, start) = arena.alloc(bytes);
            assert!(start.cast::<u64>().is_aligned());
            // SAFETY: the arena returned the offset just now.
            assert_eq!(start, unsafe { arena.at(offset) });
            // SAFETY: ARENA-2: the memory is ours alone.
            unsafe { start.write_bytes(0xaa, bytes) };
            taken.push((start.addr().get(), start.addr().get() + bytes));
        }
        taken.sort_unstable();
        assert!(taken.windows(2).all(|pair| pair[0].1 <= pair[1].0), "ARENA-2");
        assert!(arena.used_bytes() <= arena.allocated_bytes() + 70_000 * 2);
    }
}
