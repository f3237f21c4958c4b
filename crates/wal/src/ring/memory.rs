//! The memory of a ring: words that writers fill and the drain reads as bytes.
//!
//! Every store is one of a whole word and atomic; see RING-4 for why. So a copy takes words together
//! from slices of any length. Positions wrap by themselves.
//!
//! What is here is sound only as the ring uses it (RING-2), so nothing but the making of it is public.
#![expect(unsafe_code, reason = "sees the same memory as atomic words and as bytes")]

use std::io::IoSlice;

use stratalog_base::sync::Ordering;

pub(super) use imp::Part;
pub use imp::RingMemory;

impl RingMemory {
    /// The head at `position`, or 0 if nothing is published there.
    #[inline]
    pub(super) fn head(&self, position: u64) -> u64 {
        u64::from_le(self.load(position, Ordering::Acquire))
    }

    /// Publishes the frame at `position` (RING-3).
    #[inline]
    pub(super) fn store_head(&self, position: u64, head: u64) {
        self.store(position, head.to_le(), Ordering::Release);
    }

    /// Writes the checksum, the parts in a row, and zeros up to the next word.
    #[inline]
    pub(super) fn copy(&self, position: u64, checksum: u32, parts: &[IoSlice<'_>]) {
        let mut at = position;
        let mut put = |word: u64| {
            self.store(at, word.to_le(), Ordering::Relaxed);
            at += 8;
        };
        // The word that is being put together: its lower `bits` are known, the others are 0.
        let (mut word, mut bits) = (u64::from(checksum), 32);
        for part in parts {
            let (chunks, rest) = part.as_chunks::<8>();
            for chunk in chunks {
                let chunk = u64::from_le_bytes(*chunk);
                put(word | chunk << bits);
                word = over(chunk, bits);
            }
            let (more, more_bits) = (gather(rest), 8 * rest.len() as u32);
            word |= more << bits;
            bits += more_bits;
            if bits >= 64 {
                put(word);
                bits -= 64;
                word = more >> (more_bits - bits);
            }
        }
        if bits > 0 {
            put(word);
        }
    }

    /// Clears all from `from` to `to`.
    pub(super) fn zero(&self, from: u64, to: u64) {
        for position in (from..to).step_by(8) {
            self.store(position, 0, Ordering::Relaxed);
        }
    }
}

/// What of `chunk << bits` does not fit in a word.
#[inline]
fn over(chunk: u64, bits: u32) -> u64 {
    // In two steps, since `bits` may be 0.
    chunk >> 1 >> (63 - bits)
}

/// Fewer than 8 bytes as the lower bytes of a word. Reads overlap instead of looping.
#[inline]
fn gather(bytes: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return u64::from(first) | u64::from(last) << (8 * (bytes.len() - 4));
    }
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

#[cfg(not(loom))]
mod imp {
    use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
    use std::fmt;
    use std::ptr::NonNull;

    use stratalog_base::fs::Mapping;
    use stratalog_base::sync::{AtomicU64, Ordering};

    /// A page, the least that a ring has and what its own memory is aligned to.
    const PAGE_BYTES: usize = 4096;

    /// Bytes of the ring.
    pub(in super::super) type Part<'a> = &'a [u8];

    /// Where a ring's frames lie.
    pub struct RingMemory {
        start: NonNull<u8>,
        capacity: usize,
        /// Keeps it alive.
        _owner: Box<dyn Send + Sync>,
    }

    // SAFETY: the owner may move and be shared; the memory is reached by atomic words, and by bytes only
    // while nobody writes those (RING-2).
    unsafe impl Send for RingMemory {}
    // SAFETY: as above.
    unsafe impl Sync for RingMemory {}

    impl RingMemory {
        /// Memory of its own.
        ///
        /// # Panics
        /// If `capacity` is not a power of two of at least 4096.
        pub fn heap(capacity: usize) -> RingMemory {
            assert!(capacity.is_power_of_two() && capacity >= PAGE_BYTES, "{capacity} bytes");
            let layout = Layout::from_size_align(capacity, PAGE_BYTES).expect("a power of two");
            // SAFETY: the layout's size is not zero.
            let start = NonNull::new(unsafe { alloc_zeroed(layout) })
                .unwrap_or_else(|| handle_alloc_error(layout));
            // SAFETY: zeroed, aligned to more than 8, and nobody else's; `Heap` frees it when dropped.
            unsafe {
                RingMemory::from_raw(start.as_ptr(), capacity, Box::new(Heap { start, layout }))
            }
        }

        /// What `mapping` maps from `skip` on: a file that was made for this ring, all zeros, and that
        /// nobody else in this process maps.
        ///
        /// # Panics
        /// If that is no power of two of at least 4096 bytes, or not aligned to 8.
        pub(crate) fn mapped(mapping: Box<dyn Mapping>, skip: usize) -> RingMemory {
            let capacity = mapping.len() - skip;
            // SAFETY: the mapping is as long as it says, and lives until the owner, which it is, drops.
            // The file is this ring's alone: its name is taken exclusively, for each session anew.
            unsafe {
                let start = mapping.as_ptr().add(skip);
                assert!(start.cast::<u64>().is_aligned());
                RingMemory::from_raw(start, capacity, Box::new(mapping))
            }
        }

        /// Memory that `owner` keeps alive.
        ///
        /// # Safety
        /// The `capacity` bytes at `start` are zero and aligned to 8. Until `owner` is dropped they can be
        /// read and written, and nobody else in this process does.
        ///
        /// # Panics
        /// If `capacity` is not a power of two of at least 4096.
        pub unsafe fn from_raw(
            start: *mut u8,
            capacity: usize,
            owner: Box<dyn Send + Sync>,
        ) -> RingMemory {
            assert!(capacity.is_power_of_two() && capacity >= PAGE_BYTES, "{capacity} bytes");
            let start = NonNull::new(start).expect("memory that can be written");
            debug_assert!(start.cast::<u64>().is_aligned());
            RingMemory { start, capacity, _owner: owner }
        }

        #[inline]
        pub(in super::super) fn capacity(&self) -> u64 {
            self.capacity as u64
        }

        #[inline]
        fn offset(&self, position: u64) -> usize {
            position as usize & (self.capacity - 1)
        }

        #[inline]
        fn word(&self, position: u64) -> &AtomicU64 {
            let offset = self.offset(position) & !7;
            // SAFETY: the offset is below the capacity and a multiple of 8, so the word is aligned and in
            // the memory, which lives as long as `self`. All stores are atomic and of whole words, and
            // while bytes are lent there are none to them (RING-2).
            unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset).cast()) }
        }

        #[inline]
        pub(super) fn load(&self, position: u64, order: Ordering) -> u64 {
            self.word(position).load(order)
        }

        #[inline]
        pub(super) fn store(&self, position: u64, word: u64, order: Ordering) {
            self.word(position).store(word, order);
        }

        /// All from `from` to `to`, which nobody may write while they are lent (RING-2).
        pub(in super::super) fn bytes(&self, from: u64, to: u64) -> [Part<'_>; 2] {
            let bytes = (to - from) as usize;
            assert!(bytes <= self.capacity, "more than there is");
            let first = bytes.min(self.capacity - self.offset(from));
            let slice = |position, bytes| {
                // SAFETY: the bytes are initialised and in the memory, which lives as long as `self`: the
                // first ones end where it does or before, the others start where it does. RING-2: the
                // drain alone lends them, below `published`, and writes them only when the loan is over;
                // others only load there.
                unsafe {
                    let start = self.start.as_ptr().add(self.offset(position));
                    std::slice::from_raw_parts(start.cast_const(), bytes)
                }
            };
            [slice(from, first), slice(from + first as u64, bytes - first)]
        }
    }

    impl fmt::Debug for RingMemory {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "RingMemory({} bytes)", self.capacity)
        }
    }

    /// Memory from the allocator.
    struct Heap {
        start: NonNull<u8>,
        layout: Layout,
    }

    // SAFETY: it does nothing but free the memory.
    unsafe impl Send for Heap {}
    // SAFETY: as above.
    unsafe impl Sync for Heap {}

    impl Drop for Heap {
        fn drop(&mut self) {
            // SAFETY: `heap` allocated it with this layout, and the ring that used it is gone.
            unsafe { dealloc(self.start.as_ptr(), self.layout) };
        }
    }
}

/// The same for models, where each word knows who is allowed to touch it.
#[cfg(loom)]
mod imp {
    use std::borrow::Cow;

    use stratalog_base::fs::Mapping;
    use stratalog_base::sync::{AtomicU64, Ordering, UnsafeCell};

    pub(in super::super) type Part<'a> = Cow<'a, [u8]>;

    #[derive(Debug)]
    pub struct RingMemory(Vec<Word>);

    #[derive(Debug)]
    struct Word {
        value: AtomicU64,
        /// Stored as a write, lent as a read, so that loom finds whoever stores what is lent (RING-2);
        /// loads by walks are let through.
        turn: UnsafeCell<()>,
    }

    // SAFETY: the cells hold nothing.
    unsafe impl Sync for RingMemory {}
    // SAFETY: as above.
    unsafe impl Send for RingMemory {}

    impl RingMemory {
        /// As much as `mapping` maps from `skip` on, but on the heap: a model has no processes that die.
        pub(crate) fn mapped(mapping: Box<dyn Mapping>, skip: usize) -> RingMemory {
            RingMemory::heap(mapping.len() - skip)
        }

        pub fn heap(capacity: usize) -> RingMemory {
            assert!(capacity.is_power_of_two() && capacity >= 32);
            let word = |_| Word { value: AtomicU64::new(0), turn: UnsafeCell::new(()) };
            RingMemory((0..capacity / 8).map(word).collect())
        }

        pub(in super::super) fn capacity(&self) -> u64 {
            8 * self.0.len() as u64
        }

        fn word(&self, position: u64) -> &Word {
            &self.0[position as usize / 8 % self.0.len()]
        }

        pub(super) fn load(&self, position: u64, order: Ordering) -> u64 {
            self.word(position).value.load(order)
        }

        pub(super) fn store(&self, position: u64, word: u64, order: Ordering) {
            self.word(position).turn.with_mut(|_| ());
            self.word(position).value.store(word, order);
        }

        pub(in super::super) fn bytes(&self, from: u64, to: u64) -> [Part<'_>; 2] {
            let bytes = (from..to).step_by(8).flat_map(|position| {
                self.word(position).turn.with(|_| ());
                self.load(position, Ordering::Relaxed).to_ne_bytes()
            });
            [Cow::Owned(bytes.collect()), Cow::Borrowed(&[])]
        }
    }
}
