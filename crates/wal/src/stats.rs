//! Statistics: what the log has done since it was opened, and how it is now.
//!
//! [`Counters`] is what the log's leaders keep: whoever writes or syncs for all counts once for all. A
//! writer that did not have to wait touches nothing, but for the appends that are sampled.
//!
//! # Invariants
//! - STATS-1: each batch is counted under one cause, and is one write: the batches of all causes
//!   together are the writes, their records and bytes what was written.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use stratalog_base::Error;
use stratalog_base::sync::Padded;

use crate::histogram::{Histogram, Latencies};
use crate::tally::Tally;

/// Why a batch was written when it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A caller waited for one of its records.
    Waiter,
    /// It was full.
    Full,
    /// Its first record had waited long enough.
    Age,
    /// The queue had no room for more.
    Overflow,
    /// The log was closed or went on to another segment.
    Close,
}

impl Cause {
    /// All of them, in the order of [`LogStats::batches`].
    pub const ALL: [Cause; 5] =
        [Cause::Waiter, Cause::Full, Cause::Age, Cause::Overflow, Cause::Close];
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::Waiter => "waiter",
            Cause::Full => "full",
            Cause::Age => "age",
            Cause::Overflow => "overflow",
            Cause::Close => "close",
        })
    }
}

/// How an append fared that found the queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverflowOutcome {
    /// It waited, and then had room.
    Waited,
    /// It waited in vain.
    TimedOut,
    /// It was refused at once.
    Refused,
    /// It wrote the queue itself.
    WroteThrough,
}

/// Appends that found the queue full, by [`OverflowOutcome`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overflows {
    /// Those that waited, and then had room.
    pub waited: u64,
    /// Those that waited in vain.
    pub timed_out: u64,
    /// Those that were refused at once.
    pub refused: u64,
    /// Those that wrote the queue themselves.
    pub wrote_through: u64,
}

impl Overflows {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.waited + self.timed_out + self.refused + self.wrote_through
    }
}

/// The batches that were written for one cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchStats {
    /// The cause.
    pub cause: Cause,
    /// How many there were.
    pub count: u64,
    /// The records in them.
    pub records: u64,
    /// The bytes in them.
    pub bytes: u64,
    /// The records of the batch that had most.
    pub largest_records: u64,
    /// The bytes of the batch that had most.
    pub largest_bytes: u64,
}

impl BatchStats {
    fn none(cause: Cause) -> BatchStats {
        BatchStats { cause, count: 0, records: 0, bytes: 0, largest_records: 0, largest_bytes: 0 }
    }
}

/// How a thread of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It works or waits for work.
    Running,
    /// It has ended as it should.
    Stopped,
    /// It has ended by a panic.
    Dead,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Health::Running => "running",
            Health::Stopped => "stopped",
            Health::Dead => "dead",
        })
    }
}

/// What the log has done since it was opened, and how it is now. The numbers are read one after the
/// other while the log goes on, so they may differ by what happened meanwhile. `Display` shows them
/// in a few lines.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogStats {
    /// What the log writes and syncs with.
    pub backend: &'static str,
    /// Records that wait to be written.
    pub depth_records: u64,
    /// Their bytes.
    pub depth_bytes: u64,
    /// Records that were written or wait to be.
    pub appends: u64,
    /// Their bytes.
    pub appended_bytes: u64,
    /// Batches that were written.
    pub writes: u64,
    /// Syncs.
    pub syncs: u64,
    /// What was written, by cause, in the order of [`Cause::ALL`].
    pub batches: [BatchStats; Cause::ALL.len()],
    /// Appends that found the queue full.
    pub overflows: Overflows,
    /// How long appends took; of a sample.
    pub append_latency: Latencies,
    /// How long writes took.
    pub write_latency: Latencies,
    /// How long syncs took.
    pub sync_latency: Latencies,
    /// How long callers waited for others to write or sync for them.
    pub wait_latency: Latencies,
    /// The log's threads by name.
    pub threads: Vec<(&'static str, Health)>,
    /// Segment files.
    pub segments: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// What ended the log, if something did.
    pub failed: Option<Error>,
    /// Why retention failed when it was last tried, if it did; it is tried again.
    pub retention_failed: Option<Error>,
}

/// Of a log that has done nothing.
impl Default for LogStats {
    fn default() -> LogStats {
        LogStats {
            backend: "",
            depth_records: 0,
            depth_bytes: 0,
            appends: 0,
            appended_bytes: 0,
            writes: 0,
            syncs: 0,
            batches: Cause::ALL.map(BatchStats::none),
            overflows: Overflows::default(),
            append_latency: Latencies::default(),
            write_latency: Latencies::default(),
            sync_latency: Latencies::default(),
            wait_latency: Latencies::default(),
            threads: Vec::new(),
            segments: 0,
            file_bytes: 0,
            failed: None,
            retention_failed: None,
        }
    }
}

impl LogStats {
    /// The batches that were written for `cause`.
    pub fn batches_of(&self, cause: Cause) -> &BatchStats {
        &self.batches[cause as usize]
    }
}

impl fmt::Display for LogStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (segments, size) = (self.segments, Bytes(self.file_bytes));
        write!(f, "log      {segments} segments, {size}")?;
        if !self.backend.is_empty() {
            write!(f, ", {}", self.backend)?;
        }
        for (name, health) in &self.threads {
            write!(f, ", {name} {health}")?;
        }
        writeln!(f)?;
        if let Some(error) = &self.failed {
            writeln!(f, "failed   {error}")?;
        }
        if let Some(error) = &self.retention_failed {
            writeln!(f, "stays    what retention does not keep: {error}")?;
        }
        let (depth, appended) = (Bytes(self.depth_bytes), Bytes(self.appended_bytes));
        write!(f, "records  {} ({appended}), of them ", self.appends)?;
        writeln!(f, "{} ({depth}) wait to be written", self.depth_records)?;
        for batches in self.batches.iter().filter(|batches| batches.count > 0) {
            writeln!(f, "batches  {batches}")?;
        }
        let over = &self.overflows;
        if over.total() > 0 {
            write!(f, "overflow {} waited, {} timed out, ", over.waited, over.timed_out)?;
            writeln!(f, "{} refused, {} wrote through", over.refused, over.wrote_through)?;
        }
        writeln!(f, "appends  {} (sampled)", self.append_latency)?;
        writeln!(f, "waits    {}", self.wait_latency)?;
        writeln!(f, "writes   {}", self.write_latency)?;
        write!(f, "syncs    {}", self.sync_latency)
    }
}

impl fmt::Display for BatchStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, bytes) = (self.count, self.bytes);
        let (each, average) = (count.max(1), Bytes(bytes / count.max(1)));
        let records = self.records as f64 / each as f64;
        let (most, longest) = (self.largest_records, Bytes(self.largest_bytes));
        write!(f, "{count} by {}: {records:.1} records, {average} on average, ", self.cause)?;
        write!(f, "at most {most} records, {longest}")
    }
}

/// Shows a number of bytes with a fitting unit.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let unit = self.0.ilog2() / 10;
        let value = self.0 as f64 / (1u64 << (10 * unit)) as f64;
        write!(f, "{value:.1} {}", UNITS[unit as usize - 1])
    }
}

/// What the log counts as it goes; see the module.
#[derive(Debug, Default)]
pub struct Counters {
    batches: [BatchTally; Cause::ALL.len()],
    write_latency: Histogram,
    sync_latency: Histogram,
    overflows: [Tally; 4],
    // Kept by writers, so apart from what leaders keep.
    wait_latency: Padded<Histogram>,
    append_latency: Padded<Histogram>,
}

#[derive(Debug, Default)]
struct BatchTally {
    count: Tally,
    records: Tally,
    bytes: Tally,
    largest_records: Tally,
    largest_bytes: Tally,
}

impl BatchTally {
    fn stats(&self, cause: Cause) -> BatchStats {
        BatchStats {
            cause,
            count: self.count.get(),
            records: self.records.get(),
            bytes: self.bytes.get(),
            largest_records: self.largest_records.get(),
            largest_bytes: self.largest_bytes.get(),
        }
    }
}

impl Counters {
    /// Nothing has happened yet.
    pub fn new() -> Counters {
        Counters::default()
    }

    /// A batch was written (STATS-1).
    pub fn wrote(&self, records: u64, bytes: u64, cause: Cause, took: Duration) {
        let batches = &self.batches[cause as usize];
        batches.count.add(1);
        batches.records.add(records);
        batches.bytes.add(bytes);
        batches.largest_records.raise(records);
        batches.largest_bytes.raise(bytes);
        self.write_latency.record(took);
    }

    /// A sync has ended.
    pub fn synced(&self, took: Duration) {
        self.sync_latency.record(took);
    }

    /// A caller waited for another to write or sync for it.
    pub fn waited(&self, took: Duration) {
        self.wait_latency.record(took);
    }

    /// An append took so long. For those that [`is_sampled`] draws.
    pub fn appended(&self, took: Duration) {
        self.append_latency.record(took);
    }

    /// An append found the queue full.
    pub fn overflowed(&self, outcome: OverflowOutcome) {
        self.overflows[outcome as usize].add(1);
    }

    /// What has been counted, with the queue's depth as of shortly before. What else the log knows,
    /// the caller fills in: backend, threads, segments, their bytes, and the failure.
    pub fn stats(&self, depth_records: u64, depth_bytes: u64) -> LogStats {
        let batches = Cause::ALL.map(|cause| self.batches[cause as usize].stats(cause));
        let overflows = |outcome: OverflowOutcome| self.overflows[outcome as usize].get();
        let sync_latency = self.sync_latency.snapshot();
        LogStats {
            depth_records,
            depth_bytes,
            appends: batches.iter().map(|batches| batches.records).sum::<u64>() + depth_records,
            appended_bytes: batches.iter().map(|batches| batches.bytes).sum::<u64>() + depth_bytes,
            writes: batches.iter().map(|batches| batches.count).sum(),
            syncs: sync_latency.count,
            batches,
            overflows: Overflows {
                waited: overflows(OverflowOutcome::Waited),
                timed_out: overflows(OverflowOutcome::TimedOut),
                refused: overflows(OverflowOutcome::Refused),
                wrote_through: overflows(OverflowOutcome::WroteThrough),
            },
            append_latency: self.append_latency.snapshot(),
            write_latency: self.write_latency.snapshot(),
            sync_latency,
            wait_latency: self.wait_latency.snapshot(),
            ..LogStats::default()
        }
    }
}

/// One append in so many is timed, for two looks at the clock would be a good part of its cost.
const SAMPLE_EVERY: u32 = 64;

/// Whether this append of this thread is to be timed.
#[inline]
pub fn is_sampled() -> bool {
    thread_local!(static APPENDS: Cell<u32> = const { Cell::new(0) });
    let count = APPENDS.with(|count| count.replace(count.get().wrapping_add(1)));
    count.is_multiple_of(SAMPLE_EVERY)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn busy() -> Counters {
        let counters = Counters::new();
        counters.wrote(3, 300, Cause::Waiter, MS);
        counters.wrote(1, 5000, Cause::Waiter, MS);
        counters.wrote(100, 1 << 20, Cause::Full, 2 * MS);
        counters.synced(4 * MS);
        counters.waited(3 * MS);
        counters.waited(3 * MS);
        counters.appended(MS / 1000);
        counters.overflowed(OverflowOutcome::Refused);
        counters.overflowed(OverflowOutcome::Refused);
        counters.overflowed(OverflowOutcome::WroteThrough);
        counters
    }

    /// STATS-1
    #[test]
    fn batches_are_counted_by_cause() {
        let stats = busy().stats(0, 0);
        let waiter = BatchStats {
            cause: Cause::Waiter,
            count: 2,
            records: 4,
            bytes: 5300,
            largest_records: 3,
            largest_bytes: 5000,
        };
        assert_eq!(*stats.batches_of(Cause::Waiter), waiter);
        assert_eq!(stats.batches_of(Cause::Full).largest_bytes, 1 << 20);
        assert_eq!(*stats.batches_of(Cause::Age), BatchStats::none(Cause::Age));
        for (cause, batches) in Cause::ALL.into_iter().zip(&stats.batches) {
            assert_eq!((batches.cause, stats.batches_of(cause).cause), (cause, cause));
        }
    }

    /// STATS-1
    #[test]
    fn appends_are_what_was_written_and_what_waits() {
        let stats = busy().stats(7, 70);
        assert_eq!((stats.depth_records, stats.depth_bytes), (7, 70));
        assert_eq!((stats.appends, stats.appended_bytes), (111, 5300 + (1 << 20) + 70));
        assert_eq!((stats.writes, stats.write_latency.count), (3, 3));
        assert_eq!((stats.syncs, stats.sync_latency.max), (1, 4 * MS));
        assert_eq!((stats.wait_latency.count, stats.wait_latency.max), (2, 3 * MS));
        assert_eq!((stats.append_latency.count, stats.append_latency.max), (1, MS / 1000));
    }

    #[test]
    fn each_outcome_of_an_overflow_has_its_own_count() {
        use OverflowOutcome::{Refused, TimedOut, Waited, WroteThrough};
        let counters = Counters::new();
        for (times, outcome) in (1..).zip([Waited, TimedOut, Refused, WroteThrough]) {
            (0..times).for_each(|_| counters.overflowed(outcome));
        }
        let expected = Overflows { waited: 1, timed_out: 2, refused: 3, wrote_through: 4 };
        let found = counters.stats(0, 0).overflows;
        assert_eq!((found, found.total()), (expected, 10));
    }

    #[test]
    fn leaders_that_count_at_once_lose_nothing() {
        let counters = Counters::new();
        std::thread::scope(|scope| {
            for cause in [Cause::Waiter, Cause::Waiter, Cause::Age, Cause::Close] {
                let counters = &counters;
                scope.spawn(move || {
                    (1..=1000).for_each(|records| counters.wrote(records, 1, cause, MS));
                });
            }
        });
        let stats = counters.stats(0, 0);
        assert_eq!((stats.writes, stats.appended_bytes), (4000, 4000));
        assert_eq!((stats.appends, stats.write_latency.count), (4 * 500_500, 4000));
        assert_eq!(stats.batches_of(Cause::Waiter).largest_records, 1000);
    }

    #[test]
    fn stats_read_as_a_few_lines() {
        let stats = LogStats {
            backend: "files",
            threads: vec![("wal-sync", Health::Running), ("wal-write", Health::Dead)],
            segments: 2,
            file_bytes: 65 << 20,
            failed: Some(Error::Closed),
            retention_failed: Some(Error::Full),
            ..busy().stats(7, 70)
        };
        let expected = "\
log      2 segments, 65.0 MiB, files, wal-sync running, wal-write dead
failed   the handle is closed
stays    what retention does not keep: the log has no room: its queue is full
records  111 (1.0 MiB), of them 7 (70 B) wait to be written
batches  2 by waiter: 2.0 records, 2.6 KiB on average, at most 3 records, 4.9 KiB
batches  1 by full: 100.0 records, 1.0 MiB on average, at most 100 records, 1.0 MiB
overflow 0 waited, 0 timed out, 2 refused, 1 wrote through
appends  1 in 1.0µs on average, p50 1.0µs, p99 1.0µs, p99.9 1.0µs, max 1.0µs (sampled)
waits    2 in 3.0ms on average, p50 3.0ms, p99 3.0ms, p99.9 3.0ms, max 3.0ms
writes   3 in 1.3ms on average, p50 1.0ms, p99 2.0ms, p99.9 2.0ms, max 2.0ms
syncs    1 in 4.0ms on average, p50 4.0ms, p99 4.0ms, p99.9 4.0ms, max 4.0ms";
        assert_eq!(stats.to_string(), expected);
        let idle = "\
log      0 segments, 0 B
records  0 (0 B), of them 0 (0 B) wait to be written
appends  none (sampled)
waits    none
writes   none
syncs    none";
        assert_eq!(LogStats::default().to_string(), idle);
    }

    #[test]
    fn bytes_have_a_fitting_unit() {
        let texts = [0, 1023, 1024, 1536, 1 << 30, u64::MAX].map(|bytes| Bytes(bytes).to_string());
        assert_eq!(texts, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 GiB", "16.0 EiB"]);
    }
}
