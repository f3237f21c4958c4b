//! [`Pinned`]: an immutable object that readers pin without a lock and a writer replaces.
//!
//! A few slots each hold a value and a count of pins (in several parts, so that threads that read at the
//! same time do not fight for one cache line). `current` names the slot in force. A reader
//! raises the count of the current slot and looks once more whether it is still current; if so, the
//! value stays until the reader lowers the count. The writer fills a free slot, makes it current,
//! and empties the old one once nobody pins it.
//!
//! # Invariants
//! - PIN-1: a slot's value is written or dropped only under the `update` lock, only while the slot is
//!   not current, and only after its count was seen to be zero since it was last current.
//! - PIN-2: a value is read only between raising the slot's count and lowering it, and only if the
//!   slot was current after the raise.
//!
//! Why that suffices: raise-then-look by the reader and switch-then-look by the writer, with a full
//! fence between the two steps of each, cannot both miss each other. Either the writer sees the raised
//! count and leaves the slot alone, or the reader sees that the slot is not current and retreats
//! without touching the value. A reader that comes late to a slot that was refilled and is current
//! again simply pins the new value.
#![expect(unsafe_code, reason = "readers share a slot's value without a lock, by PIN-1 and PIN-2")]

use std::ops::Deref;
use std::sync::Arc;

use stratalog_base::sync::{
    AtomicUsize, Mutex, Ordering, Padded, UnsafeCell, fence, thread_number, yield_now,
};

/// Enough that a writer seldom waits for a slow reader of an older value.
const SLOTS: usize = if cfg!(loom) { 2 } else { 8 };

/// See the module page.
pub struct Pinned<T> {
    current: AtomicUsize,
    slots: [Slot<T>; SLOTS],
    update: Mutex<()>,
}

/// Parts of a slot's count. Each thread uses one; how threads are spread matters to speed only.
const SHARDS: usize = if cfg!(loom) { 1 } else { 8 };

struct Slot<T> {
    pins: [Padded<AtomicUsize>; SHARDS],
    value: UnsafeCell<Option<Arc<T>>>,
}

// SAFETY: PIN-1 and PIN-2 keep writes and reads of a slot's value apart; the values are shared
// between threads as `Arc<T>`s are.
unsafe impl<T: Send + Sync> Sync for Pinned<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Send for Pinned<T> {}

impl<T> Pinned<T> {
    /// Holding `value`.
    pub fn new(value: Arc<T>) -> Pinned<T> {
        let mut value = Some(value);
        let slots = std::array::from_fn(|_| Slot {
            pins: std::array::from_fn(|_| Padded(AtomicUsize::new(0))),
            value: UnsafeCell::new(value.take()),
        });
        Pinned { current: AtomicUsize::new(0), slots, update: Mutex::new(()) }
    }

    /// Pins the value in force. Never blocks. Keep it short: hold [`Pin::share`]'s `Arc` instead for
    /// anything longer than a read.
    #[inline]
    pub fn pin(&self) -> Pin<'_, T> {
        let shard = thread_number() % SHARDS;
        loop {
            let index = self.current.load(Ordering::Acquire);
            let slot = &self.slots[index];
            let pins = &slot.pins[shard];
            pins.fetch_add(1, Ordering::AcqRel);
            fence(Ordering::SeqCst);
            if self.current.load(Ordering::Acquire) == index {
                // SAFETY: PIN-2: the count is raised and the slot was current after that, so by PIN-1
                // the value is there and nobody writes it until the pin drops.
                let value = slot.value.with(|value| unsafe { &*value });
                let value = value.as_ref().expect("PIN-1: the current slot is filled");
                return Pin { value, pins };
            }
            pins.fetch_sub(1, Ordering::Release);
        }
    }

    /// Puts `next(value in force)` in its place. Writers take turns.
    pub fn update(&self, next: impl FnOnce(&T) -> T) {
        let _turn = self.update.lock();
        let next = Arc::new(next(&self.pin()));
        let old = self.current.load(Ordering::Acquire);
        let free = self.free_slot(old);
        // SAFETY: PIN-1: we hold `update`, the slot is not current, and nobody pins it.
        self.slots[free].value.with_mut(|value| unsafe { *value = Some(next) });
        self.current.store(free, Ordering::Release);
        fence(Ordering::SeqCst);
        self.empty(old);
    }

    /// Drops replaced values that were still pinned when they were replaced and no longer are.
    pub fn tidy(&self) {
        let _turn = self.update.lock();
        let current = self.current.load(Ordering::Acquire);
        for index in (0..SLOTS).filter(|&index| index != current) {
            self.empty(index);
        }
    }

    /// A slot that is not current and not pinned. Waits for readers only if every slot is pinned.
    fn free_slot(&self, current: usize) -> usize {
        loop {
            for index in (0..SLOTS).filter(|&index| index != current) {
                if self.empty(index) {
                    return index;
                }
            }
            yield_now();
        }
    }

    /// Drops the value of a slot that is not current, unless it is pinned. The caller holds `update`.
    fn empty(&self, index: usize) -> bool {
        let pins = &self.slots[index].pins;
        let free = pins.iter().all(|pins| pins.load(Ordering::Acquire) == 0);
        if free {
            // SAFETY: PIN-1: `update` is held, the slot is not current, its count was zero since.
            drop(self.slots[index].value.with_mut(|value| unsafe { (*value).take() }));
        }
        free
    }
}

impl<T> std::fmt::Debug for Pinned<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pinned").finish_non_exhaustive()
    }
}

/// A pinned value; see [`Pinned::pin`].
pub struct Pin<'a, T> {
    value: &'a Arc<T>,
    pins: &'a AtomicUsize,
}

impl<T> Pin<'_, T> {
    /// The value for as long as one likes.
    pub fn share(&self) -> Arc<T> {
        self.value.clone()
    }
}

impl<T> Deref for Pin<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> Drop for Pin<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.pins.fetch_sub(1, Ordering::Release);
    }
}
