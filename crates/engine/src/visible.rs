//! [`Visible`]: the watermark below which reads see every write.
//!
//! Writers finish in any order; the watermark moves in the order of the log. A writer of the range
//! `start..end` waits until all before it is published, then publishes its own. Tickets tile the log
//! without holes, and whoever has one publishes it, also when its write failed (nothing is applied in
//! its range then): so the writer of `start` is always on its way.
//!
//! # Invariants
//! - VISIBLE-1: the watermark only rises, and never passes a write that is not in its memtable.
//! - VISIBLE-2: when `publish` returns, the write is visible.

use stratalog_base::SeqNo;
use stratalog_base::sync::{AtomicU64, AtomicUsize, Condvar, Mutex, Ordering, Padded, fence};

/// See the module page.
#[derive(Debug)]
pub struct Visible {
    /// Every write below is visible.
    upto: Padded<AtomicU64>,
    waiters: AtomicUsize,
    lock: Mutex<()>,
    moved: Condvar,
}

impl Visible {
    /// With everything below `start` visible.
    pub fn new(start: SeqNo) -> Visible {
        Visible {
            upto: Padded(AtomicU64::new(start)),
            waiters: AtomicUsize::new(0),
            lock: Mutex::new(()),
            moved: Condvar::new(),
        }
    }

    /// Every write below is visible.
    #[inline]
    pub fn upto(&self) -> SeqNo {
        self.upto.load(Ordering::Acquire)
    }

    /// Makes the applied writes `start..end` visible, once everything below `start` is.
    pub fn publish(&self, start: SeqNo, end: SeqNo) {
        if self.upto() != start {
            self.wait_for(start);
        }
        debug_assert_eq!(self.upto(), start, "VISIBLE-1");
        self.upto.store(end, Ordering::Release);
        // Pairs with the fence in `wait_for`: either we see the waiter, or it sees our store.
        fence(Ordering::SeqCst);
        if self.waiters.load(Ordering::Relaxed) > 0 {
            let _guard = self.lock.lock();
            self.moved.notify_all();
        }
    }

    #[cold]
    fn wait_for(&self, start: SeqNo) {
        let mut guard = self.lock.lock();
        self.waiters.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        while self.upto() != start {
            guard = self.moved.wait(guard);
        }
        self.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}
