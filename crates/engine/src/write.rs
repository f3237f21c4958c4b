//! Writing: make room, take a place in the log, apply to the memtable, become visible, wait to be
//! durable if asked.

use std::io::IoSlice;
use std::sync::Arc;

use stratalog_base::sync::{Ordering, RwLockReadGuard};
use stratalog_base::{KeyRef, Result, SeqNo};
use stratalog_memtable::Memtable;
use stratalog_wal::{Durability, Place, Wal};

use crate::batch::{Batch, entries};
use crate::store::Store;
use crate::view::{Sealed, View};
use crate::visible::Visible;
use crate::work::Task;

/// Sealed memtables that may wait for their flush; with more, writers wait.
const SEALED_MEMTABLES_MAX: usize = 2;
/// Tables in level 0 at which writers wait for a compaction.
const LEVEL0_TABLES_STOP: usize = 20;

/// A writer's turn to become visible.
struct Turn<'a> {
    visible: &'a Visible,
    place: Place,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.visible.publish(self.place.start, self.place.end);
    }
}

impl Store {
    /// Writes the entries of `batch`, atomically. When this returns they are visible, and survive
    /// what `durability` promises.
    ///
    /// # Errors
    /// If there is no room and none can be made, or of the log. Then nothing was applied, except that
    /// after a failed **sync** the write is visible without being durable; the log takes no more
    /// writes from then on.
    pub fn commit(&self, batch: &Batch, durability: Durability) -> Result<Place> {
        let payload = batch.payload()?;
        let place = {
            let _lane = self.lanes.enter();
            self.check_open()?;
            self.cache.make_room(payload.len());
            let active = self.active_with_room()?;
            let place = match durability {
                Durability::None => {
                    self.unlogged.store(true, Ordering::Relaxed);
                    self.log.reserve(batch.len() as u64)?
                }
                _ => self.log.append(&[IoSlice::new(payload)], durability)?.place(),
            };
            // Publishes when it drops, however this ends: others may wait behind it.
            let _turn = Turn { visible: &self.visible, place };
            // Durable is waited for below, once the write is visible.
            let logged =
                if durability == Durability::Sync { Durability::Process } else { durability };
            self.log.wait(place.end, logged, None)?;
            for (seq, entry) in (place.position..).zip(entries(payload)) {
                let entry = entry.expect("a batch holds what it encoded");
                let inserted = active.insert(KeyRef::new(entry.key, seq, entry.kind), entry.value);
                inserted.expect("STORE-1: a seal replaces the memtable under the lock");
            }
            place // STORE-2: what drops here, drops in reverse order: the turn, `active`, the lane.
        };
        if durability == Durability::Sync {
            self.log.wait(place.end, durability, None)?;
        }
        Ok(place)
    }

    /// The active memtable, held against being sealed, once it is below its size.
    #[inline]
    fn active_with_room(&self) -> Result<RwLockReadGuard<'_, Arc<Memtable>>> {
        loop {
            let active = self.active.read();
            if active.used_bytes() < self.memtable_bytes {
                return Ok(active);
            }
            drop(active);
            self.make_room(self.memtable_bytes)?;
        }
    }

    /// Seals the active memtable if it has at least `bytes`, as soon as there is room for another
    /// sealed one.
    ///
    /// # Errors
    /// Of the job that would have made room; [`stratalog_base::Error::Closed`].
    #[cold]
    pub fn make_room(&self, bytes: usize) -> Result<()> {
        if !self.options.background {
            self.wait_idle()?;
        }
        let mut waited = false;
        let wait = self.finish(Task::Flush, |state| {
            let view = self.view.pin();
            if view.active.used_bytes() < bytes {
                return Ok(true); // Another writer has made room.
            }
            let crowded = view.tree.level(0).len() >= LEVEL0_TABLES_STOP;
            if crowded {
                state.take_failure(Task::Compact)?;
            }
            let room = view.sealed.len() < SEALED_MEMTABLES_MAX && !crowded;
            waited |= !room && bytes > 0; // Else it is no writer.
            Ok(room)
        });
        if waited {
            self.counters.stalls.fetch_add(1, Ordering::Relaxed);
        }
        wait?;
        self.seal(bytes);
        if self.options.background { Ok(()) } else { self.wait_idle() }
    }

    /// Seals the active memtable if it has at least `bytes` and is not empty.
    fn seal(&self, bytes: usize) {
        {
            let mut active = self.active.write(); // STORE-1: no write is on its way.
            if active.is_empty() || active.used_bytes() < bytes {
                return;
            }
            let unlogged = self.unlogged.swap(false, Ordering::Relaxed);
            let sealed = Sealed { memtable: active.clone(), end: self.log_end(), unlogged };
            let fresh = Memtable::with_budget(self.budget().clone(), self.memtable_bytes);
            let fresh = Arc::new(fresh);
            self.view.update(|view| View {
                active: fresh.clone(),
                sealed: [&[sealed], &*view.sealed].concat(),
                tree: view.tree.clone(),
            });
            *active = fresh;
        }
        self.work.notify();
    }

    /// Where the next write will go.
    pub fn log_end(&self) -> SeqNo {
        self.log.watermarks().reserved
    }

    /// Makes every acknowledged write durable.
    ///
    /// # Errors
    /// Of the log, or of the flush that writes of [`Durability::None`] need.
    pub fn sync(&self) -> Result<()> {
        self.check_open()?;
        if self.has_unlogged() { self.flush() } else { self.log.sync() }
    }

    /// Whether a memtable holds writes that the log does not.
    pub fn has_unlogged(&self) -> bool {
        let _no_seal = self.active.read(); // It moves the flag from one place to the other.
        let sealed = self.view.pin().sealed.iter().any(|sealed| sealed.unlogged);
        sealed || self.unlogged.load(Ordering::Relaxed)
    }
}
