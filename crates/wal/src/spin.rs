//! [`Spin`]: how long to look for something before sleeping until it comes.

use std::hint::spin_loop;

use stratalog_base::sync::{AtomicU32, Ordering};

/// Looks before a caller goes to sleep: a few small writes long. Sleeping and waking
/// costs more than the write that is waited for: without looking, two writers on two cores made 260
/// thousand `Process` puts a second, with 64 looks 307, with 400 looks 700.
const SPINS: u32 = 400;

/// Looks once `MAX_MISSES` callers in a row have looked in vain. Where all wait for syncs, looking
/// hardly ever helps and costs more than all else: always looking 400 times, 64 threads with syncs of
/// 100 µs on two cores need 16 µs of processor time a call, and 6 like this. A plain average instead
/// of a row gives up too early where looking helps every third time.
const FEW_SPINS: u32 = 40;
const MAX_MISSES: u32 = 16;

/// Looks for something that is always of the same kind, and learns whether that helps.
#[derive(Debug, Default)]
pub struct Spin {
    /// How many callers in a row have looked in vain. A hint.
    misses: AtomicU32,
}

impl Spin {
    /// Looks for a while. Returns whether it is there.
    pub fn until(&self, mut is_there: impl FnMut() -> bool) -> bool {
        let misses = self.misses.load(Ordering::Relaxed);
        let spins = if misses < MAX_MISSES { SPINS } else { FEW_SPINS };
        let helped = (0..spins).any(|_| {
            spin_loop();
            is_there()
        });
        let now = if helped { 0 } else { MAX_MISSES.min(misses + 1) };
        if now != misses {
            self.misses.store(now, Ordering::Relaxed);
        }
        helped
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn looking_gets_short_after_many_misses_and_long_again_after_a_hit() {
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
        for _ in 0..MAX_MISSES {
            assert_eq!(looks(u32::MAX), SPINS);
        }
        assert_eq!(looks(u32::MAX), FEW_SPINS);
        assert_eq!(looks(7), 7);
        assert_eq!(looks(u32::MAX), SPINS);
    }
}
