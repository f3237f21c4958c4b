//! [`Lanes`]: as many writers on their way at once as there are processors.
//!
//! Writes become visible in the order of the log. So a writer that is preempted between its place in the
//! log and being visible holds up all that come after it. If they may all be there, they all go to sleep
//! behind it and are woken together, each in the way of the next: with sixteen threads on two processors
//! hardly any write went by without two context switches. Who waits for a lane has no place yet and holds
//! up nobody; who comes back for its next write finds the lane free as long as it runs.

use stratalog_base::sync::{Mutex, MutexGuard, Padded, parallelism, thread_number};

/// See the module page.
#[derive(Debug)]
pub struct Lanes(Box<[Padded<Mutex<()>>]>);

impl Lanes {
    /// One for each processor.
    pub fn new() -> Lanes {
        Lanes((0..parallelism()).map(|_| Padded::default()).collect())
    }

    /// Waits for this thread's lane, and has it until the guard drops. Not fair to the write, but in the
    /// end to the thread.
    #[inline]
    pub fn enter(&self) -> MutexGuard<'_, ()> {
        self.0[thread_number() % self.0.len()].lock()
    }
}
