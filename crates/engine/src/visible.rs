//! [`Visible`]: the watermark below which reads see every write.
//!
//! Writers finish in any order; the watermark moves in the order of the log. A writer whose
//! predecessors are all published moves it over its own range. One that is early leaves its range
//! behind and sleeps; whoever moves the watermark to where such a range begins takes it along, and
//! wakes its writer and nobody else. Tickets tile the log without holes, and whoever has one publishes
//! it, also when its write failed (nothing is applied in its range then): so the writer of what is
//! missing is always on its way.
//!
//! # Invariants
//! - VISIBLE-1: the watermark only rises, and never passes a write that is not in its memtable.
//! - VISIBLE-2: when `publish` returns, the write is visible.
//! - VISIBLE-3: only the writer of the range that begins at the watermark moves it, or, if that one
//!   sleeps, who finds its range under the lock. So there is one at a time.

use std::collections::BTreeMap;
use std::hint::spin_loop;
use std::sync::Arc;

use stratalog_base::SeqNo;
use stratalog_base::sync::{AtomicU64, AtomicUsize, Condvar, Mutex, Ordering, Padded, fence};

/// Looks at the watermark before a writer goes to sleep: about as long as an insert takes.
const SPINS: u32 = if cfg!(loom) { 0 } else { 64 };

/// See the module page.
#[derive(Debug)]
pub struct Visible {
    /// Every write below is visible.
    upto: Padded<AtomicU64>,
    /// Writers that sleep, or are about to.
    early_count: AtomicUsize,
    /// Their ranges, by where they begin.
    early: Mutex<BTreeMap<SeqNo, Early>>,
}

/// An applied range whose predecessors are not all published.
#[derive(Debug)]
struct Early {
    end: SeqNo,
    published: Arc<Signal>,
}

/// Wakes one writer.
#[derive(Debug, Default)]
struct Signal {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn set(&self) {
        *self.set.lock() = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut set = self.set.lock();
        while !*set {
            set = self.changed.wait(set);
        }
    }
}

impl Visible {
    /// With everything below `start` visible.
    pub fn new(start: SeqNo) -> Visible {
        Visible {
            upto: Padded(AtomicU64::new(start)),
            early_count: AtomicUsize::new(0),
            early: Mutex::new(BTreeMap::new()),
        }
    }

    /// Every write below is visible.
    #[inline]
    pub fn upto(&self) -> SeqNo {
        self.upto.load(Ordering::Acquire)
    }

    /// Makes the applied writes `start..end` visible, once everything below `start` is.
    #[inline]
    pub fn publish(&self, start: SeqNo, end: SeqNo) {
        if self.upto() == start {
            self.advance(end);
        } else {
            self.publish_early(start, end);
        }
    }

    /// Moves the watermark, at which the caller's range begins, to its end, and takes along what waits
    /// there.
    #[inline]
    fn advance(&self, end: SeqNo) {
        self.upto.store(end, Ordering::Release); // VISIBLE-3
        // Pairs with the fence in `publish_early`: either we see the early writer, or it sees our store.
        fence(Ordering::SeqCst);
        if self.early_count.load(Ordering::Relaxed) > 0 {
            self.take_along();
        }
    }

    #[cold]
    fn take_along(&self) {
        let mut early = self.early.lock();
        while let Some(next) = early.remove(&self.upto()) {
            self.upto.store(next.end, Ordering::Release); // VISIBLE-3
            self.early_count.fetch_sub(1, Ordering::Relaxed);
            next.published.set();
        }
    }

    #[cold]
    fn publish_early(&self, start: SeqNo, end: SeqNo) {
        for _ in 0..SPINS {
            spin_loop();
            if self.upto() == start {
                return self.advance(end);
            }
        }
        let published = Arc::new(Signal::default());
        {
            let mut early = self.early.lock();
            self.early_count.fetch_add(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if self.upto() == start {
                self.early_count.fetch_sub(1, Ordering::Relaxed);
                drop(early);
                return self.advance(end);
            }
            early.insert(start, Early { end, published: published.clone() });
        }
        published.wait();
        debug_assert!(self.upto() >= end, "VISIBLE-2");
    }
}
