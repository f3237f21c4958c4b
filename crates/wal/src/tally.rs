//! A tally: a number that is only ever told to people.
//!
//! All accesses are relaxed: nothing may be concluded from one tally about another, or about memory.
//! They order nothing, so a model of the log has the same outcomes without them, and far fewer steps:
//! under loom a tally holds nothing and reads as 0. Whatever decides something is an atomic of
//! [`stratalog_base::sync`], not a tally.

#[cfg(not(loom))]
mod imp {
    use stratalog_base::sync::{AtomicU64, Ordering};

    /// A tally; see the module.
    #[derive(Debug, Default)]
    pub struct Tally(AtomicU64);

    impl Tally {
        /// Adds `more`; wraps at 2⁶⁴.
        #[inline]
        pub fn add(&self, more: u64) {
            self.0.fetch_add(more, Ordering::Relaxed);
        }

        /// Raises it to `value`, if it is lower.
        #[inline]
        pub fn raise(&self, value: u64) {
            // Most values are no maximum: they leave the cache line shared.
            if value > self.get() {
                self.0.fetch_max(value, Ordering::Relaxed);
            }
        }

        /// The number.
        #[inline]
        pub fn get(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }
}

#[cfg(loom)]
mod imp {
    /// A tally that nobody counts; see the module.
    #[derive(Debug, Default)]
    pub struct Tally {}

    impl Tally {
        /// Does nothing.
        pub fn add(&self, _more: u64) {}

        /// Does nothing.
        pub fn raise(&self, _value: u64) {}

        /// 0.
        pub fn get(&self) -> u64 {
            0
        }
    }
}

pub use imp::Tally;

#[cfg(all(test, not(loom)))]
pub use tests::side_by_side;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use stratalog_base::sync::{AtomicUsize, Ordering, yield_now};

    /// Two threads go through the same things side by side. They wait for each other before every few
    /// of them, spinning, since they would wake too far apart to meet.
    pub fn side_by_side<T: Sync>(things: &[T], work: [&(dyn Fn(&T) + Sync); 2]) {
        let arrived = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for work in work {
                let arrived = &arrived;
                scope.spawn(move || {
                    for (round, few) in (1..).zip(things.chunks(8)) {
                        arrived.fetch_add(1, Ordering::AcqRel);
                        let mut spins = 0;
                        while arrived.load(Ordering::Acquire) < 2 * round {
                            spins += 1;
                            // The other may need this processor.
                            if spins % 1000 == 0 {
                                yield_now();
                            }
                        }
                        few.iter().for_each(work);
                    }
                });
            }
        });
    }

    #[test]
    fn threads_that_count_at_once_lose_nothing() {
        let tallies: Vec<Tally> = (0..100_000).map(|_| Tally::default()).collect();
        let add = |tally: &Tally| (0..20).for_each(|_| tally.add(1));
        side_by_side(&tallies, [&add, &add]);
        assert_eq!(tallies.iter().filter(|tally| tally.get() != 40).count(), 0);
        side_by_side(&tallies, [&|tally| tally.raise(50), &|tally| tally.raise(51)]);
        assert_eq!(tallies.iter().filter(|tally| tally.get() != 51).count(), 0);
    }

    #[test]
    fn a_tally_is_not_lowered() {
        let tally = Tally::default();
        for value in [3, 1, 3, 4, 0] {
            tally.raise(value);
        }
        assert_eq!(tally.get(), 4);
    }
}
