//! [`Spin`]: how long to look for something before sleeping until it comes.

use std::hint::spin_loop;

use stratalog_base::sync::{AtomicU32, Ordering};

/// Looks before a caller goes to sleep: a few small writes long. Sleeping and waking
/// costs more than the write that is waited for: without looking, two writers on two cores made 260
/// thousand `Process` puts a second, with 64 looks 307, with 400 looks 700.
const SPINS: u32 = 400;

/// Once so many callers in a row have looked in vain, only one in [`PROBE`] looks. Where all wait for syncs, looking
/// hardly ever helps and costs more than all else: 64 threads with syncs of 100 µs on two cores need 16 µs of processor
/// time a call if all look. A plain average instead of a row gives up too early where looking helps every third time.
const MAX_MISSES: u32 = 16;
const PROBE: u32 = 64;

/// Looks for something that is always of the same kind, and learns whether that helps.
#[derive(Debug, Default)]
pub struct Spin {
    /// How many callers in a row have not seen it. A hint.
    misses: AtomicU32,
}

impl Spin {
    /// Whether the caller should look.
    pub fn is_due(&self) -> bool {
        let misses = self.misses.load(Ordering::Relaxed);
        if misses < MAX_MISSES {
            return true;
        }
        self.misses.store(MAX_MISSES + (misses + 1) % PROBE, Ordering::Relaxed);
        misses == MAX_MISSES
    }

    /// Looks for a while. Returns whether it is there.
    pub fn until(&self, mut is_there: impl FnMut() -> bool) -> bool {
        let helped = (0..SPINS).any(|_| {
            spin_loop();
            is_there()
        });
        let misses = self.misses.load(Ordering::Relaxed);
        if helped {
            self.misses.store(0, Ordering::Relaxed);
        } else if misses < MAX_MISSES {
            self.misses.store(misses + 1, Ordering::Relaxed);
        }
        helped
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn looking_gets_rare_after_many_misses_and_frequent_again_after_a_hit() {
        let spin = Spin::default();
        let looks = |hit| {
            let mut looks = 0;
            let helped = spin.until(|| {
                looks += 1;
                looks == hit
            });
            assert_eq!(helped, looks == hit);
            looks
        };
        let due = |callers: u32| (0..callers).filter(|_| spin.is_due()).count();
        for _ in 0..MAX_MISSES {
            assert!(spin.is_due());
            assert_eq!(looks(u32::MAX), SPINS);
        }
        assert_eq!(due(10 * PROBE), 10);
        assert_eq!(looks(u32::MAX), SPINS);
        assert_eq!(due(10 * PROBE), 10);
        assert_eq!(looks(7), 7);
        assert_eq!(due(10), 10);
    }
}
