//! [`Grace`]: readers announce themselves by a count; what others take away is freed once every reader
//! that may have seen it has left.
//!
//! A reader of a cached block raises a count of its own thread's once and then follows plain pointers,
//! whatever their number. To count references of each block instead costs a locked write on a line that
//! other readers use, and it would have to be fetched before the block's contents can be.
//!
//! There are two sets of counts, and `phase` names the one that readers use who enter now, so that the
//! other one comes to rest. What is taken away waits in `pending` until the other set is at rest. Then
//! the phase is switched, and it waits for the set that readers used till then.
//!
//! # Invariants
//! - GRACE-1: what a reader finds behind a pointer stays until it leaves, if pointers are loaded with
//!   `SeqCst` after [`Grace::enter`], and emptied with `SeqCst` before [`Garbage::add`].
//! - GRACE-2: garbage is freed only when each count of both sets was seen to be zero after it was added.
//!
//! Why GRACE-1 holds: a reader raises a count, then loads the pointer; a writer empties the pointer, then
//! looks at the counts; all of it in the one order of `SeqCst`. A reader that loaded the pointer before
//! it was emptied had raised its count before that, in either set, and the writer sees it until the
//! reader leaves. Which set a reader took matters to how soon the other one is at rest, only.

use stratalog_base::slice::Kept;
use stratalog_base::sync::{AtomicUsize, Ordering, Padded, fence, thread_number};

/// Parts of a count. How threads are spread over them matters to speed only.
const SHARDS: usize = if cfg!(loom) { 1 } else { 16 };

/// The counts of readers.
#[derive(Debug)]
pub struct Grace {
    phase: AtomicUsize,
    readers: [[Padded<AtomicUsize>; SHARDS]; 2],
}

impl Default for Grace {
    /// Without readers.
    fn default() -> Grace {
        let shards = || std::array::from_fn(|_| Padded(AtomicUsize::new(0)));
        Grace { phase: AtomicUsize::new(0), readers: [shards(), shards()] }
    }
}

impl Grace {
    /// Announces a reader, until the value drops. Never blocks. Keep it short: all that is taken away
    /// meanwhile stays in memory.
    #[inline]
    pub fn enter(&self) -> Reader<'_> {
        let shard = thread_number() % SHARDS;
        let phase = self.phase.load(Ordering::Relaxed);
        let count = &*self.readers[phase & 1][shard];
        count.fetch_add(1, Ordering::SeqCst);
        total_order();
        Reader { count }
    }

    /// Switches the phase if the set that readers do not enter is at rest.
    fn switch(&self) -> bool {
        total_order();
        let phase = self.phase.load(Ordering::Relaxed);
        let at_rest =
            self.readers[!phase & 1].iter().all(|count| count.load(Ordering::SeqCst) == 0);
        if at_rest {
            self.phase.store(phase.wrapping_add(1), Ordering::Relaxed);
        }
        at_rest
    }
}

/// loom knows a total order of fences, not of accesses.
#[inline]
fn total_order() {
    if cfg!(loom) {
        fence(Ordering::SeqCst);
    }
}

/// A reader that is inside.
#[derive(Debug)]
pub struct Reader<'a> {
    count: &'a AtomicUsize,
}

impl Reader<'_> {
    /// Whether it is counted there.
    #[inline]
    pub fn is_of(&self, grace: &Grace) -> bool {
        let (count, counts) = (&raw const *self.count, &raw const grace.readers);
        count.addr().wrapping_sub(counts.addr()) < size_of_val(&grace.readers)
    }
}

impl Drop for Reader<'_> {
    #[inline]
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Release);
    }
}

/// What has been taken away and not been freed. Its owner serialises the calls.
#[derive(Debug, Default)]
pub struct Garbage {
    pending: Vec<Kept>,
    pending_bytes: usize,
    /// Was added before the last switch.
    waiting: Vec<Kept>,
    waiting_bytes: usize,
}

impl Garbage {
    /// Notes `bytes` that no pointer leads to any more.
    pub fn add(&mut self, kept: Kept, bytes: usize) {
        self.pending.push(kept);
        self.pending_bytes += bytes;
    }

    /// Notes `bytes` that come free with what was added so far.
    pub fn add_bytes(&mut self, bytes: usize) {
        self.pending_bytes += bytes;
    }

    /// Bytes that were noted and not freed.
    pub fn bytes(&self) -> usize {
        self.pending_bytes + self.waiting_bytes
    }

    /// Frees what no reader can be using, once there are at least `bytes` pending.
    pub fn free(&mut self, grace: &Grace, bytes: usize) {
        if self.pending_bytes < bytes {
            return;
        }
        if grace.switch() {
            // GRACE-2: this set was seen at rest, the other one before the last switch.
            self.waiting.clear();
            std::mem::swap(&mut self.waiting, &mut self.pending);
            self.waiting_bytes = std::mem::take(&mut self.pending_bytes);
        }
    }
}
