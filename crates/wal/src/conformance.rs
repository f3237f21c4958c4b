//! The promises of [`Wal`], as checks that any backend can be put to, also one of your own.
//!
//! A [`Subject`] opens a log on a simulated file system and says what a recovery finds there. [`check`]
//! puts it to all promises; each is a function of its own, too. A broken promise is a panic that names
//! it.
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

use std::future::Future;
use std::io::IoSlice;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use stratalog_base::fs::{Fault, FaultKind, Op, SimFs, SimRng};
use stratalog_base::sync::{Condvar, Instant, Mutex, sleep, spawn};
use stratalog_base::{Error, Result};

use crate::{Durability, Place, Position, Wal};

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
    tickets_end_for_every_class(subject);
    a_limit_ends_a_wait(subject);
    acknowledged_records_survive_a_kill(subject);
    synced_records_survive_a_power_cut(subject);
    sync_makes_everything_durable(subject);
    interval_records_become_durable(subject);
    a_failure_is_told_and_final(subject);
    a_closed_log_is_whole_and_takes_nothing(subject);
    truncation_keeps_what_is_at_or_above(subject);
    readers_read_all_and_follow(subject);
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

/// Records come back: the same bytes at the same positions, which rise, in the same order; and a log
/// that is opened anew goes on behind them.
///
/// # Panics
/// If the promise is broken.
pub fn records_come_back_in_order(subject: &dyn Subject) {
    let mut fs = SimFs::new();
    let mut written: Vec<Found> = Vec::new();
    for life in 0..3 {
        let log = opened(subject, &fs);
        for i in 0..60 {
            let bytes = if i == 30 { vec![life; 3000] } else { record(i) };
            let place = ok(append(&*log, &bytes, CLASSES[i % 3]), "an append succeeds");
            let ordered = place.start <= place.position && place.position < place.end;
            assert!(ordered, "a place is in order: {place:?}");
            let last = written.last().map_or(0, |(position, _)| *position);
            assert!(place.position > last, "positions rise, also from life to life");
            written.push((place.position, bytes));
        }
        drop(log);
        fs = fs.kill();
        assert!(found(subject, &fs) == written, "records come back as they were appended");
    }
}

/// The parts of one append are one record.
///
/// # Panics
/// If the promise is broken.
pub fn parts_are_joined(subject: &dyn Subject) {
    let fs = SimFs::new();
    let log = opened(subject, &fs);
    let parts = [&b"one "[..], b"", b"two ", b"three"].map(IoSlice::new);
    let ticket = ok(log.append(&parts, Durability::Process), "an append succeeds");
    let place = ok(ticket.wait(), "an append succeeds");
    let expected = [(place.position, b"one two three".to_vec())];
    assert_eq!(found(subject, &fs.kill()), expected, "the parts of an append are joined");
}

/// The records of a batch lie in a row, whoever else appends, also if it is long.
///
/// # Panics
/// If the promise is broken.
pub fn batches_lie_in_a_row(subject: &dyn Subject) {
    let fs = SimFs::new();
    let log = opened(subject, &fs);
    let threads: Vec<_> = (0..3u8)
        .map(|thread| {
            let log = log.clone();
            let body = move || {
                for i in 0..40u8 {
                    let len = if i == 20 { 400 } else { 5 };
                    let records: Vec<_> =
                        (0..len).map(|n| [&[thread, i], &[n as u8; 9][..]].concat()).collect();
                    let records: Vec<_> = records.iter().map(Vec::as_slice).collect();
                    let mut positions = vec![0];
                    let ticket =
                        log.append_batch(&records, CLASSES[i as usize % 3], &mut positions);
                    let place = ok(ok(ticket, "a batch succeeds").wait(), "a batch succeeds");
                    assert_eq!(
                        positions.len(),
                        1 + len,
                        "a batch adds one position for each record"
                    );
                    assert_eq!(
                        positions[1], place.position,
                        "a batch's place is its first record's"
                    );
                }
            };
            spawn("batches", body).expect("a thread")
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("a batch lies in a row"));
    let records = found(subject, &fs.kill());
    assert_eq!(records.len(), 3 * (39 * 5 + 400), "each record of a batch is there once");
    for batch in records.chunk_by(|(_, one), (_, two)| one[..2] == two[..2]) {
        let whole = batch.len() == if batch[0].1[1] == 20 { 400 } else { 5 };
        let in_order = (0..).zip(batch).all(|(n, (_, record))| record[2] == n as u8);
        assert!(whole && in_order, "the records of a batch lie in a row");
    }
}

/// A record of class `None` takes positions, and no recovery finds it.
///
/// # Panics
/// If the promise is broken.
pub fn class_none_only_takes_positions(subject: &dyn Subject) {
    let fs = SimFs::new();
    let log = opened(subject, &fs);
    let ticket = ok(log.append(&[IoSlice::new(&[1; 50])], Durability::None), "class None is taken");
    let none = ok(ticket.wait(), "class None is done at once");
    assert!(none.end - none.position >= 50, "class None takes positions");
    let reserved = ok(log.reserve(7), "positions can be reserved");
    assert!(reserved.start >= none.end && reserved.end - reserved.position >= 7, "and so many");
    let place = ok(append(&*log, b"logged", Durability::Sync), "an append succeeds");
    assert!(place.start >= reserved.end, "positions are given out once");
    let expected = [(place.position, b"logged".to_vec())];
    assert_eq!(found(subject, &fs.crash(1)), expected, "what is not logged is not found");
    let batch = log.append_batch(&[b"x"], Durability::None, &mut Vec::new()).map(drop);
    let refused = matches!(batch, Err(Error::InvalidArgument(_)));
    assert!(refused, "a batch of class None is refused");
}

/// `durable` ≤ `logged` ≤ `reserved`, none ever falls, and each covers what was acknowledged for it.
///
/// # Panics
/// If the promise is broken.
pub fn watermarks_are_ordered_and_never_fall(subject: &dyn Subject) {
    let log = opened(subject, &SimFs::new());
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let log = log.clone();
            let body = move || {
                let mut last = log.watermarks();
                for i in 0..300 {
                    let class =
                        if (i + thread) % 16 == 0 { Durability::Sync } else { Durability::Process };
                    let end = ok(append(&*log, &record(i), class), "an append succeeds").end;
                    let now = log.watermarks();
                    let ordered = now.durable <= now.logged && now.logged <= now.reserved;
                    assert!(ordered, "watermarks are ordered: {now:?}");
                    let rises = last.durable <= now.durable
                        && last.logged <= now.logged
                        && last.reserved <= now.reserved;
                    assert!(rises, "watermarks never fall: {last:?}, {now:?}");
                    let covered = if class == Durability::Sync { now.durable } else { now.logged };
                    assert!(covered >= end, "a watermark covers what was acknowledged");
                    last = now;
                }
            };
            spawn("watermarks", body).expect("a thread")
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("watermarks are in order"));
}

/// Wakes the thread that polls.
#[derive(Default)]
struct Signal(Mutex<bool>, Condvar);

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        *self.0.lock() = true;
        self.1.notify_one();
    }
}

fn poll_to_end<F: Future>(future: F, promise: &str) -> F::Output {
    let signal = Arc::new(Signal::default());
    let waker = Waker::from(signal.clone());
    let (mut future, deadline) = (pin!(future), Instant::now() + PATIENCE);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut woken = signal.0.lock();
        while !std::mem::take(&mut *woken) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{promise}, but nobody wakes it");
            woken = signal.1.wait_timeout(woken, left).0;
        }
    }
}

/// A ticket of each class is done in each way: waited for, called back once, awaited.
///
/// # Panics
/// If the promise is broken.
pub fn tickets_end_for_every_class(subject: &dyn Subject) {
    let fs = SimFs::new();
    let log = opened(subject, &fs);
    let place = |class| ok(log.append(&[IoSlice::new(b"ticket")], class), "an append succeeds");
    for class in CLASSES.into_iter().chain([Durability::None]) {
        for _ in 0..10 {
            let ticket = place(class);
            assert_eq!(ticket.durability(), class, "a ticket knows its class");
            assert_eq!(
                ok(ticket.wait(), "a wait ends"),
                ticket.place(),
                "a ticket knows its place"
            );
            let limit = place(class).wait_timeout(PATIENCE);
            assert!(ok(limit, "a wait with a limit ends"), "and says that it is done");
            let (calls, sender) = (Arc::new(Mutex::new(Vec::new())), place(class));
            let callback = calls.clone();
            let end = sender.end();
            sender.then(move |outcome| callback.lock().push(outcome.is_ok()));
            eventually("a callback is called", || !calls.lock().is_empty());
            ok(log.wait(end, class, None), "what was called back for is done");
            ok(poll_to_end(place(class), "an awaited ticket ends"), "an awaited ticket ends");
            assert_eq!(*calls.lock(), [true], "a callback is called once");
        }
    }
    let beyond = log.wait(log.watermarks().reserved + 8, Durability::Sync, None);
    let refused = matches!(beyond, Err(Error::InvalidArgument(_)));
    assert!(refused, "nobody can wait for what has no ticket: {beyond:?}");
}

/// Waiting with a limit ends without the record being done, and later it is done all the same.
///
/// # Panics
/// If the promise is broken.
pub fn a_limit_ends_a_wait(subject: &dyn Subject) {
    let fs = SimFs::new();
    let log = opened(subject, &fs);
    let syncs = fs.syncs();
    fs.inject(Fault::new(Op::Sync, FaultKind::Delay(SLOW)));
    let syncing = log.clone();
    let leader = spawn("leader", move || {
        ok(append(&*syncing, b"first", Durability::Sync), "a slow sync succeeds");
    });
    let leader = leader.expect("a thread");
    eventually("a record of class Sync is synced", || fs.syncs() > syncs);
    let ticket = ok(log.append(&[IoSlice::new(b"second")], Durability::Sync), "an append succeeds");
    let done = ok(ticket.wait_timeout(SLOW / 15), "a wait with a limit ends");
    assert!(!done, "a wait with a limit ends when its time is up, and says so");
    ok(ticket.wait(), "a ticket can be waited for again");
    leader.join().expect("a slow sync succeeds");
}

/// What was acknowledged survives the death of the process, whatever its class.
///
/// # Panics
/// If the promise is broken.
pub fn acknowledged_records_survive_a_kill(subject: &dyn Subject) {
    for class in CLASSES {
        let fs = SimFs::new();
        let log = opened(subject, &fs);
        let mut written = fill(&*log, 40, class);
        for i in 0..20 {
            let place = ok(append(&*log, &record(i), class), "an append succeeds");
            written.push((place.position, record(i)));
            let records = found(subject, &fs.kill());
            assert!(records == written, "a record of class {class:?} survives a kill");
        }
        let killed = fs.kill();
        drop(opened(subject, &killed));
        let records = found(subject, &killed.kill());
        assert!(records == written, "it survives the next kill, too");
    }
}

/// A record of class `Sync` survives a power cut once it is acknowledged, at any call; and what is
/// left is always a prefix of what was appended.
///
/// # Panics
/// If the promise is broken.
pub fn synced_records_survive_a_power_cut(subject: &dyn Subject) {
    for seed in 0..POWER_CUTS {
        let rng = &mut SimRng::new(seed);
        let fs = SimFs::new();
        let log = opened(subject, &fs);
        fs.cut_power_at(fs.ops() + rng.below(60));
        let (mut tried, mut durable_count) = (Vec::new(), 0);
        for i in 0..60 {
            let class = CLASSES[rng.below(3) as usize];
            tried.push(record(i));
            let Ok(ticket) = log.append(&[IoSlice::new(&record(i))], class) else { break };
            if rng.chance(1, 2) {
                match ticket.wait() {
                    // Before the look at the power: it may go any moment.
                    Ok(_) if class == Durability::Sync => durable_count = tried.len(),
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        }
        drop(log);
        for cut in 0..POWER_CUTS / 10 {
            let cut = fs.crash(seed * POWER_CUTS + cut);
            let records = found(subject, &cut);
            let bytes: Vec<_> = records.iter().map(|(_, bytes)| bytes.clone()).collect();
            let count = records.len();
            assert!(tried.starts_with(&bytes), "after a power cut a prefix is left (seed {seed})");
            let kept = count >= durable_count;
            assert!(
                kept,
                "a record of class Sync survives a power cut (seed {seed}): {count} of {durable_count}"
            );
            drop(opened(subject, &cut));
            let again = found(subject, &cut.crash(seed));
            assert!(
                again == records,
                "what an opened log holds survives the next power cut (seed {seed})"
            );
        }
    }
}

/// After `sync` all that had a ticket survives a power cut.
///
/// # Panics
/// If the promise is broken.
pub fn sync_makes_everything_durable(subject: &dyn Subject) {
    let fs = SimFs::new();
    let log = opened(subject, &fs);
    let mut written = Vec::new();
    for i in 0..40 {
        let ticket = log.append(&[IoSlice::new(&record(i))], CLASSES[i % 2]);
        written.push((ok(ticket, "an append succeeds").position(), record(i)));
    }
    ok(log.sync(), "a sync succeeds");
    let marks = log.watermarks();
    assert_eq!(marks.durable, marks.reserved, "a sync raises the watermark");
    for seed in 0..POWER_CUTS {
        let records = found(subject, &fs.crash(seed));
        assert!(records == written, "a sync makes durable all that had a ticket");
    }
}

/// A record of class `Interval` becomes durable without being asked for.
///
/// # Panics
/// If the promise is broken.
pub fn interval_records_become_durable(subject: &dyn Subject) {
    let fs = SimFs::new();
    let log = opened(subject, &fs);
    let end = ok(append(&*log, b"soon", Durability::Interval), "an append succeeds").end;
    let durable = || log.watermarks().durable >= end;
    eventually("a record of class Interval becomes durable by itself", durable);
    let count = found(subject, &fs.crash(0)).len();
    assert_eq!(count, 1, "a record of class Interval survives a power cut after a while");
}

/// A failed write or sync is told to whoever waits, is never acknowledged later, and stops the log.
///
/// # Panics
/// If the promise is broken.
pub fn a_failure_is_told_and_final(subject: &dyn Subject) {
    for (op, kind) in [
        (Op::Sync, FaultKind::Eio),
        (Op::Sync, FaultKind::EioAfter),
        (Op::Write, FaultKind::NoSpace),
        (Op::Write, FaultKind::ShortWrite),
    ] {
        let fs = SimFs::new();
        let log = opened(subject, &fs);
        let written = fill(&*log, 5, Durability::Sync);
        let told = Arc::new(Mutex::new(Vec::new()));
        fs.inject(Fault::new(op, kind).for_ever());
        let place = || log.append(&[IoSlice::new(b"doomed")], Durability::Sync);
        let ticket = ok(place(), "an append only takes a place");
        if let Ok(other) = place() {
            let told = told.clone();
            other.then(move |outcome| told.lock().push(outcome.is_ok()));
        } else {
            told.lock().push(false);
        }
        let durable = log.watermarks().durable;
        assert!(ticket.wait().is_err(), "a failed {op:?} is told to who waits");
        eventually("a failure is told to callbacks", || !told.lock().is_empty());
        fs.clear_faults();
        let poisoned = |outcome: Result<()>, what: &str| {
            let told = matches!(outcome, Err(Error::Poisoned(_)));
            assert!(told, "after a failed {op:?}, {what} says so: {outcome:?}");
        };
        poisoned(ticket.wait().map(drop), "a second wait");
        poisoned(place().map(drop), "an append");
        poisoned(
            log.append_batch(&[b"x"], Durability::Process, &mut Vec::new()).map(drop),
            "a batch",
        );
        poisoned(log.sync(), "a sync");
        assert_eq!(*told.lock(), [false], "a failure is told to callbacks, once");
        assert_eq!(log.watermarks().durable, durable, "after a failure nothing is acknowledged");
        drop(log);
        let records = found(subject, &fs.crash(1));
        assert!(records.starts_with(&written), "what was durable before a failure stays so");
    }
}

/// Closing makes all durable; a closed log takes nothing, and closes again.
///
/// # Panics
/// If the promise is broken.
pub fn a_closed_log_is_whole_and_takes_nothing(subject: &dyn Subject) {
    let fs = SimFs::new();
    let log = opened(subject, &fs);
    let written = fill(&*log, 30, Durability::Process);
    ok(log.close(), "a log closes");
    ok(log.close(), "a closed log closes again");
    let ops = fs.ops();
    let closed = |outcome: Result<()>, what: &str| {
        assert!(
            matches!(outcome, Err(Error::Closed)),
            "{what} on a closed log says so: {outcome:?}"
        );
    };
    closed(append(&*log, b"late", Durability::Process).map(drop), "an append");
    closed(log.append_batch(&[b"x"], Durability::Process, &mut Vec::new()).map(drop), "a batch");
    closed(log.reserve(1).map(drop), "a reservation");
    closed(log.sync(), "a sync");
    closed(log.truncate_before(0), "a truncation");
    assert_eq!(fs.ops(), ops, "a closed log changes nothing");
    let all_there = (0..POWER_CUTS).all(|seed| found(subject, &fs.crash(seed)) == written);
    assert!(all_there, "closing makes all durable");
}

/// Truncation keeps all at or above the position, lets something go below it, and is durable.
///
/// # Panics
/// If the promise is broken.
pub fn truncation_keeps_what_is_at_or_above(subject: &dyn Subject) {
    let fs = SimFs::new();
    let log = opened(subject, &fs);
    let mut written = fill(&*log, 300, Durability::Process);
    for i in [0, 1, 80, 150, 299] {
        let position = written[i].0;
        ok(log.truncate_before(position), "a truncation succeeds");
        let records = found(subject, &fs.kill());
        assert!(written.ends_with(&records), "truncation takes from the front only");
        let kept = records.len() >= written.len() - i;
        assert!(kept, "truncation keeps what is at or above its position");
    }
    let left = found(subject, &fs.kill());
    assert!(left.len() < written.len(), "truncation lets whole segments go");
    written.extend(fill(&*log, 20, Durability::Sync));
    for seed in 0..POWER_CUTS {
        let records = found(subject, &fs.crash(seed));
        let stays = records.len() == left.len() + 20 && written.ends_with(&records);
        assert!(stays, "what was truncated does not come back, what was not stays");
    }
}

/// A reader gives all records from its position on, then those that come, and waits for them.
///
/// # Panics
/// If the promise is broken.
pub fn readers_read_all_and_follow(subject: &dyn Subject) {
    let fs = SimFs::new();
    let log = opened(subject, &fs);
    let written = fill(&*log, 60, Durability::Process);
    let mut reader = ok(log.reader(0), "a log can be read");
    let mut from_middle = ok(log.reader(written[30].0), "a log can be read from a record on");
    let mut next = |promise| {
        let record = ok(reader.wait_next(Some(Duration::from_millis(5))), promise);
        record.map(|record| (record.position, record.bytes.into_owned()))
    };
    let all: Vec<_> = std::iter::from_fn(|| next("a reader reads")).collect();
    assert!(all == written, "a reader gives all records in order, then none until its time is up");
    let half = || {
        let record = ok(from_middle.next(), "a reader reads")?;
        Some((record.position, record.bytes.into_owned()))
    };
    let half: Vec<_> = std::iter::from_fn(half).collect();
    assert!(half == written[30..], "a reader begins at its position");

    let mut reader = ok(log.reader(log.watermarks().reserved), "a log can be read from its end on");
    let mut durable = ok(log.reader(0), "a log can be read").durable_only();
    let writer = log.clone();
    let body = move || {
        sleep(Duration::from_millis(20));
        _ = fill(&*writer, 50, Durability::Sync);
    };
    let writer = spawn("writer", body).expect("a thread");
    for i in 0..50 {
        let record = ok(reader.wait_next(Some(PATIENCE)), "a reader waits for what comes");
        let record = record.expect("a reader is woken by what comes");
        assert_eq!(&*record.bytes, &*self::record(i), "a reader follows in order");
    }
    writer.join().expect("a thread");
    let mut count = 0;
    while let Some(record) = ok(durable.next(), "a reader reads") {
        let position = record.position;
        assert!(position < log.watermarks().durable, "a durable-only reader gives what is durable");
        count += 1;
    }
    assert_eq!(count, 110, "a durable-only reader gives all that is durable");
}
