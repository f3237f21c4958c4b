//! Latencies: how often something took how long, counted in buckets of equal relative width.
//!
//! Each power of two is cut into eight buckets of equal width; below 16 ns a bucket is a single
//! nanosecond. What took 2³⁶ ns (69 s) or more is in one last bucket.
//!
//! # Invariants
//! - LATENCY-1: the buckets are in order of their durations and leave no gap.
//! - LATENCY-2: a percentile is within 1/16 (6.25 %) of the true one, and never above the maximum,
//!   which is exact; a percentile in the last bucket is reported as the maximum.
//! - LATENCY-3: recording takes no lock. It is two additions and a load; only a new maximum may be
//!   retried, and only while others raise it, too.

use std::array;
use std::fmt;
use std::time::Duration;

use crate::tally::Tally;

/// Buckets per power of two.
const SLICES: u64 = 1 << SLICE_BITS;
const SLICE_BITS: u32 = 3;

/// Durations from 2 to the power of this, in nanoseconds, are not told apart.
const LIMIT_BITS: u32 = 36;

/// The index of the bucket for all that is too long for the others.
const LAST: usize = ((LIMIT_BITS - SLICE_BITS + 1) as usize) << SLICE_BITS;

/// Counts durations; see the module. Threads may record and look at the same time.
pub struct Histogram {
    buckets: [Tally; LAST + 1],
    sum_ns: Tally,
    max_ns: Tally,
}

impl Histogram {
    /// One without durations.
    pub fn new() -> Histogram {
        Histogram {
            buckets: array::from_fn(|_| Tally::default()),
            sum_ns: Tally::default(),
            max_ns: Tally::default(),
        }
    }

    /// Counts one that took so long (LATENCY-3).
    #[inline]
    pub fn record(&self, took: Duration) {
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(took_ns)].add(1);
        self.sum_ns.add(took_ns);
        self.max_ns.raise(took_ns);
    }

    /// What has been counted. Of a duration that is recorded meanwhile, any part may be missing.
    pub fn snapshot(&self) -> Latencies {
        let buckets: Vec<u64> = self.buckets.iter().map(Tally::get).collect();
        Latencies {
            count: buckets.iter().sum(),
            sum: Duration::from_nanos(self.sum_ns.get()),
            max: Duration::from_nanos(self.max_ns.get()),
            buckets,
        }
    }
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram::new()
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

/// How often something took how long, at one time.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latencies {
    /// How many were counted.
    pub count: u64,
    /// How long they took together; starts again from 0 after 584 years.
    pub sum: Duration,
    /// The longest.
    pub max: Duration,
    buckets: Vec<u64>,
}

impl Latencies {
    /// The shortest duration that at least `percent` of all did not exceed, within 1/16 of it; the
    /// maximum, for 100, is exact. Zero if nothing was counted. A percentage outside 0 to 100 counts
    /// as the nearer of them.
    pub fn percentile(&self, percent: f64) -> Duration {
        // NaN becomes 0, and with it the shortest.
        let rank = (percent.clamp(0.0, 100.0) * self.count as f64 / 100.0).ceil() as u64;
        if rank >= self.count {
            return self.max;
        }
        let mut left = rank.max(1);
        for (index, &count) in self.buckets.iter().enumerate() {
            if count >= left {
                return middle_of(index).map_or(self.max, |middle| middle.min(self.max));
            }
            left -= count;
        }
        self.max
    }

    /// The arithmetic mean; zero if nothing was counted.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.sum.as_nanos() as u64 / self.count.max(1))
    }
}

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latencies")
            .field("count", &self.count)
            .field("mean", &self.mean())
            .field("p50", &self.percentile(50.0))
            .field("p99", &self.percentile(99.0))
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 0 {
            return f.write_str("none");
        }
        let [p50, p99, p999] = [50.0, 99.0, 99.9].map(|percent| self.percentile(percent));
        write!(f, "{} in {:.1?} on average, ", self.count, self.mean())?;
        write!(f, "p50 {p50:.1?}, p99 {p99:.1?}, p99.9 {p999:.1?}, max {:.1?}", self.max)
    }
}

/// The bucket for a duration (LATENCY-1).
#[inline]
fn bucket_of(ns: u64) -> usize {
    if ns < SLICES {
        return ns as usize;
    }
    let shift = ns.ilog2() - SLICE_BITS;
    // The leading bit of the shifted number is the first slice of its power of two.
    ((u64::from(shift) * SLICES + (ns >> shift)) as usize).min(LAST)
}

/// The duration in the middle of a bucket; `None` for the last, which has no end (LATENCY-2).
fn middle_of(index: usize) -> Option<Duration> {
    if index >= LAST {
        return None;
    }
    let (row, slice) = (index as u64 / SLICES, index as u64 % SLICES);
    let shift = row.saturating_sub(1);
    let start = if row == 0 { slice } else { (SLICES + slice) << shift };
    Some(Duration::from_nanos(start + ((1 << shift) - 1) / 2))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use stratalog_base::sync::{AtomicBool, Ordering};

    /// SplitMix64.
    fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn latencies(all_ns: &[u64]) -> Latencies {
        let histogram = Histogram::new();
        all_ns.iter().for_each(|&ns| histogram.record(Duration::from_nanos(ns)));
        histogram.snapshot()
    }

    /// LATENCY-1
    #[test]
    fn buckets_are_in_order_without_gaps() {
        let edges = (0..LIMIT_BITS).flat_map(|bits| {
            let power = 1u64 << bits;
            (0..=SLICES).flat_map(move |slice| {
                let edge = power + power * slice / SLICES;
                [edge - 1, edge, edge + 1]
            })
        });
        let mut edges: Vec<u64> = (0..1 << 16).chain(edges).collect();
        edges.sort_unstable();
        edges.dedup();
        let mut last = 0;
        for ns in edges {
            let bucket = bucket_of(ns);
            assert!(bucket == last || bucket == last + 1, "{ns} ns: {last}, then {bucket}");
            last = bucket;
        }
        assert_eq!(last, LAST);
        assert_eq!(bucket_of((1 << LIMIT_BITS) - 1), LAST - 1);
        assert_eq!(bucket_of(u64::MAX), LAST);
    }

    /// LATENCY-2
    #[test]
    fn the_middle_of_a_bucket_is_in_it_and_near_all_in_it() {
        for index in 0..LAST {
            let middle = middle_of(index).unwrap().as_nanos() as u64;
            assert_eq!(bucket_of(middle), index);
        }
        assert_eq!(middle_of(LAST), None);
        for ns in (0..LIMIT_BITS).flat_map(|bits| [1 << bits, (2 << bits) - 1]) {
            let middle = middle_of(bucket_of(ns)).unwrap().as_nanos() as u64;
            assert!(middle.abs_diff(ns) <= ns / 16, "{ns} ns is told as {middle} ns");
        }
    }

    /// LATENCY-2: against the sorted durations themselves.
    #[test]
    fn percentiles_are_within_a_sixteenth() {
        for seed in 0..40 {
            let mut state = seed;
            let count = 1 + next(&mut state) as usize % 5000;
            // Half of the seeds stay within one power of two, the others spread over all.
            let spread = if seed % 2 == 0 { 1 } else { LIMIT_BITS as u64 };
            let mut all: Vec<u64> = (0..count)
                .map(|_| {
                    let bits = (next(&mut state) % spread + 20) % u64::from(LIMIT_BITS);
                    (1 << bits) + next(&mut state) % (1 << bits)
                })
                .collect();
            let found = latencies(&all);
            all.sort_unstable();
            for permille in [0, 1, 10, 250, 500, 900, 990, 999, 1000] {
                let rank = (permille * count).div_ceil(1000).max(1);
                let exact = all[rank - 1];
                let told = found.percentile(permille as f64 / 10.0).as_nanos() as u64;
                assert!(
                    told.abs_diff(exact) <= exact / 16,
                    "seed {seed}, {permille}/1000 of {count}: {told} for {exact} ns"
                );
            }
            assert_eq!(found.count, count as u64);
            assert_eq!(found.sum.as_nanos() as u64, all.iter().sum::<u64>());
            assert_eq!(found.mean().as_nanos() as u64, all.iter().sum::<u64>() / count as u64);
            assert_eq!(found.max.as_nanos() as u64, all[count - 1]);
        }
    }

    #[test]
    fn nothing_counted_is_all_zero() {
        let empty = Histogram::new().snapshot();
        assert_eq!((empty.count, empty.sum, empty.max), (0, Duration::ZERO, Duration::ZERO));
        assert_eq!(empty.mean(), Duration::ZERO);
        for found in [empty, Latencies::default()] {
            assert_eq!([0.0, 50.0, 100.0].map(|p| found.percentile(p)), [Duration::ZERO; 3]);
            assert_eq!(found.to_string(), "none");
        }
    }

    #[test]
    fn odd_percentages_and_durations_do_no_harm() {
        let found = latencies(&[5, 7, 1 << 40, 1 << 41]);
        assert_eq!(found.percentile(f64::NAN), Duration::from_nanos(5));
        assert_eq!(found.percentile(-1.0), Duration::from_nanos(5));
        assert_eq!(found.percentile(1e9), found.max);
        // The middle of this bucket lies above all that was counted.
        let alike = latencies(&[1024, 1024]);
        assert_eq!(alike.percentile(50.0), alike.max);
        // In the last bucket only the maximum is known.
        assert_eq!(found.percentile(60.0), Duration::from_nanos(1 << 41));
        let histogram = Histogram::new();
        histogram.record(Duration::MAX);
        assert_eq!(histogram.snapshot().max, Duration::from_nanos(u64::MAX));
    }

    /// LATENCY-3: nothing is lost, and what is seen meanwhile never falls.
    #[test]
    fn threads_that_record_at_once_lose_nothing() {
        const THREADS: u64 = 4;
        const EACH: u64 = 50_000;
        let (histogram, done) = (Histogram::new(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let recorders: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let histogram = &histogram;
                    scope.spawn(move || {
                        for i in 0..EACH {
                            histogram.record(Duration::from_nanos(i * THREADS + thread));
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                let mut last = Latencies::default();
                while !done.load(Ordering::Relaxed) {
                    let seen = histogram.snapshot();
                    assert!(seen.count >= last.count && seen.sum >= last.sum);
                    assert!(seen.max >= last.max && seen.percentile(99.0) <= seen.max);
                    last = seen;
                }
            });
            recorders.into_iter().for_each(|recorder| recorder.join().unwrap());
            done.store(true, Ordering::Relaxed);
        });
        let all: Vec<u64> = (0..THREADS * EACH).collect();
        assert_eq!(histogram.snapshot(), latencies(&all));
    }

    #[test]
    fn latencies_read_as_one_line() {
        let text = latencies(&[1000, 1000, 1000, 5_000_000]).to_string();
        assert_eq!(text, "4 in 1.3ms on average, p50 991.0ns, p99 5.0ms, p99.9 5.0ms, max 5.0ms");
    }
}
