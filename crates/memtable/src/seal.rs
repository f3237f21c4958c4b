//! [`Seal`]: the sequence number at which a memtable ends.
//!
//! Sealing stops no writer. Who seals makes the next memtable reachable, and calls
//! [`crate::Memtable::seal`], which takes the end from where sequence numbers come from: below it all have
//! been handed out, from it on none. Inserts below the end are still taken, however late they come;
//! those from the end on are refused, and belong in the next memtable. So memtables divide history
//! exactly, whatever the order in which writers get to them. When all numbers below the end have been
//! published, which whoever publishes them knows, the memtable is complete.
//!
//! # Invariants
//! - END-1: `SEALING` is stored before the end is taken. The end is taken by an operation that whoever takes a
//!   number synchronises with (a read-modify-write of the same counter, or the same lock): who took a
//!   number from the end on sees `SEALING` or the end, and who sees neither has a number below.

use std::fmt;

use stratalog_base::SeqNo;
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::sync::{AtomicU64, Ordering, yield_now};

/// Takes every number.
const OPEN: u64 = u64::MAX;
/// The end is being taken.
const SEALING: u64 = u64::MAX - 1;

/// An insert was refused: its sequence number is at or behind the memtable's end.
///
/// Insert the same entry into the memtable that was made for what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The first sequence number that the memtable does not take.
    pub end: SeqNo,
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the memtable ends at sequence number {}", self.end)
    }
}

impl std::error::Error for Sealed {}

/// See the module page.
pub(crate) struct Seal {
    end: AtomicU64,
}

impl Seal {
    pub(crate) fn new() -> Seal {
        Seal { end: AtomicU64::new(OPEN) }
    }

    /// Seals at what `take_end` returns, and returns it; once sealed, returns the end there is.
    pub(crate) fn seal(&self, take_end: impl FnOnce() -> SeqNo) -> SeqNo {
        let sealing = self.end.compare_exchange(OPEN, SEALING, Ordering::AcqRel, Ordering::Acquire);
        if sealing.is_err() {
            return self.known_end();
        }
        let end = take_end(); // END-1
        assert!(end <= MAX_SEQ_NO, "a memtable that ends at {end}");
        self.end.store(end, Ordering::Release);
        end
    }

    /// The end, once there is one.
    pub(crate) fn end(&self) -> Option<SeqNo> {
        let end = self.end.load(Ordering::Acquire);
        (end < SEALING).then_some(end)
    }

    /// Whether an insert of number `seq` is still taken.
    #[inline]
    pub(crate) fn admit(&self, seq: SeqNo) -> Result<(), Sealed> {
        match self.end.load(Ordering::Acquire) {
            OPEN => Ok(()), // END-1
            _ => self.admit_below_end(seq),
        }
    }

    #[cold]
    fn admit_below_end(&self, seq: SeqNo) -> Result<(), Sealed> {
        let end = self.known_end();
        if seq < end { Ok(()) } else { Err(Sealed { end }) }
    }

    /// The end, which another thread is just taking if it is not there.
    fn known_end(&self) -> SeqNo {
        loop {
            if let Some(end) = self.end() {
                return end;
            }
            yield_now();
        }
    }
}
