//! The promises of [`Wal`], as checks that any backend can be put to, also one of your own.
//!
//! A [`Subject`] opens a log on a simulated file system and says what a recovery finds there. [`check`]
//! puts it to all promises; each is a function of its own, too. A broken promise is a panic that names
//! it. A backend may share everything with [`crate::Log`] or nothing; but it must keep its files on the
//! [`SimFs`], for that is what is killed, loses power and fails.
//!
//! ```
//! use std::path::Path;
//! use stratalog_base::{Result, fs::SimFs};
//! use stratalog_wal::conformance::{Subject, check};
//! use stratalog_wal::{Log, LogOptions, Position, RecoveryMode, Wal, recover};
//!
//! struct Mine;
//!
//! impl Subject for Mine {
//!     fn open(&self, fs: &SimFs) -> Result<Box<dyn Wal>> {
//!         let options = LogOptions { segment_bytes: 1000, ..LogOptions::default() };
//!         Ok(Box::new(Log::open(fs.shared(), Path::new(""), options)?.0))
//!     }
//!
//!     fn records(&self, fs: &SimFs) -> Result<Vec<(Position, Vec<u8>)>> {
//!         let mut records = Vec::new();
//!         recover(fs, Path::new(""), 0, RecoveryMode::TornTail, &mut |position, record| {
//!             records.push((position, record.to_vec()));
//!             Ok(())
//!         })?;
//!         Ok(records)
//!     }
//! }
//!
//! check(&Mine);
//! ```

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use stratalog_base::Result;
use stratalog_base::fs::SimFs;
use stratalog_base::sync::{Instant, sleep};

use crate::{Durability, Place, Position, Wal};

mod order;
mod survival;
mod waits;

pub use order::*;
pub use survival::*;
pub use waits::*;

/// How long something may take that has to happen; only turns a hang into a failure.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a sync takes while a test looks at those who wait for it.
const SLOW: Duration = Duration::from_millis(150);
/// The classes that are logged.
const CLASSES: [Durability; 3] = [Durability::Process, Durability::Interval, Durability::Sync];
/// Power cuts tried of one state, at least.
const POWER_CUTS: u64 = 40;

/// A recovered record: its position and its bytes.
pub type Found = (Position, Vec<u8>);

/// What is put to the test.
pub trait Subject {
    /// The log on `fs`, which is empty or as a kill or power cut left it. Its segments should be small,
    /// of some hundred bytes: some promises are about their borders.
    ///
    /// # Errors
    /// If the log cannot be opened.
    fn open(&self, fs: &SimFs) -> Result<Box<dyn Wal>>;

    /// The records that a recovery finds, in its order.
    ///
    /// # Errors
    /// If it fails.
    fn records(&self, fs: &SimFs) -> Result<Vec<Found>>;
}

/// Puts `subject` to all promises.
///
/// # Panics
/// With a sentence that names the first promise that it breaks.
pub fn check(subject: &dyn Subject) {
    records_come_back_in_order(subject);
    parts_are_joined(subject);
    batches_lie_in_a_row(subject);
    class_none_only_takes_positions(subject);
    watermarks_are_ordered_and_never_fall(subject);
    acknowledged_records_survive_a_kill(subject);
    synced_records_survive_a_power_cut(subject);
    sync_makes_everything_durable(subject);
    interval_records_become_durable(subject);
    a_failure_is_told_and_final(subject);
    a_closed_log_is_whole_and_takes_nothing(subject);
    truncation_keeps_what_is_at_or_above(subject);
    readers_read_all_and_follow(subject);
    tickets_end_for_every_class(subject);
    a_limit_ends_a_wait(subject);
}

fn ok<T>(outcome: Result<T>, promise: &str) -> T {
    outcome.unwrap_or_else(|error| panic!("{promise}, but it failed: {error}"))
}

fn eventually(promise: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{promise}, but not after {PATIENCE:?}");
        sleep(Duration::from_micros(100));
    }
}

fn opened(subject: &dyn Subject, fs: &SimFs) -> Arc<dyn Wal> {
    Arc::from(ok(subject.open(fs), "a log opens"))
}

fn found(subject: &dyn Subject, fs: &SimFs) -> Vec<Found> {
    let records = ok(subject.records(fs), "a log recovers");
    let rise = records.windows(2).all(|pair| pair[0].0 < pair[1].0);
    assert!(rise, "positions rise, also those recovered");
    records
}

/// The `i`-th record: different bytes and lengths, up to 40 bytes, some empty.
fn record(i: usize) -> Vec<u8> {
    vec![i as u8 ^ 0x5a; i * 7 % 41]
}

fn append(log: &dyn Wal, record: &[u8], class: Durability) -> Result<Place> {
    log.append(&[IoSlice::new(record)], class)?.wait()
}

/// Appends `count` records and waits for each; what a recovery must find.
fn fill(log: &dyn Wal, count: usize, class: Durability) -> Vec<Found> {
    let one = |i| (ok(append(log, &record(i), class), "an append succeeds").position, record(i));
    (0..count).map(one).collect()
}
