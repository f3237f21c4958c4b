//! The suite `log-limits`: what an append takes, and what the log takes besides, with each of its backends.
//!
//! | case | step | is | figure |
//! |---|---|---|---|
//! | `append` | `1 thread` to `16 threads` | each appends 128 B, class `Process`, 64 records a call, and does nothing else; two sealed segments are kept | processor time of the log's own threads, in ns a record |
//! | `threads` | `50 k/s` | one thread appends 128 B, class `Process`, 50,000 due a second | processor time of the log's own threads, in per cent of a core |
//! | `overload` | `flat out` | two threads append 1 KiB, class `Process`, as fast as they may, and do not wait; a write by the log takes as long as on a disk of 20 MB/s | memory beyond that before the step, in MiB |
//! | `wake-up` | `1 thread` to `64 threads` | each appends 128 B, class `Sync`, and waits | microseconds from the return of the last sync to that of the wait |
//!
//! `append` keeps the log as short as a store keeps its own: else the time that the kernel takes to find
//! ever new memory for a growing file is measured, too.
//!
//! `overload` offers far more than ten times what the log can write: see the rates of the suite `wal`.
//! What waits is bounded by the queue's 64 MiB and 10,000 records, or the ring's 8 MiB.
//!
//! In `wake-up` the baseline [`raw`] shows what waking costs by itself.
//!
//! `wake-up` takes the last sync for the one that was waited for. A wait that outlasts a whole further
//! sync, about 100 µs, would so count as a short one; many waits that nearly do would show.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use stratalog_wal::{Backend, Durability, Log, LogOptions, Retention, Wal};

use crate::Outcome;
use crate::counting_fs::CountingFs;
use crate::engine;
use crate::log::Log as _;
use crate::log::raw::{self, Raw};
use crate::measure::Measure;
use crate::meter::{resident_bytes, threads_cpu_time};
use crate::plan::Plan;
use crate::record::Step;
use crate::subjects::OURS;
use crate::suite::{Case, Cell, Suite, threads_named};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "log-limits",
    about: "what an append takes, and the log besides: its threads, its memory, the way from a sync to who waits for it",
    cases,
    run,
};

const RECORD_BYTES: usize = 128;
/// Records of a call whose time is taken, so that the clock counts little.
const APPENDS_A_CALL: u64 = 64;
const APPENDERS: [usize; 3] = [1, 2, 16];
const PACE_PER_SECOND: f64 = 50_000.0;
const OVERLOAD_RECORD_BYTES: usize = 1 << 10;
const OVERLOAD_THREADS: usize = 2;
const OVERLOAD_BYTES_PER_SECOND: f64 = 20e6;
const WAITERS: [usize; 4] = [1, 2, 16, 64];
/// Room for the records of a step of `raw`: for twice as many as two processors were seen to make durable.
const RAW_BYTES: u64 = 128 << 20;

fn cases(_: &Plan) -> Vec<Case> {
    vec![
        Case::of_ours(APPEND, "128 B, `Process`, threads that do nothing else"),
        Case::of_ours(THREADS, "128 B, `Process`, one thread, 50,000 due a second"),
        Case::of_ours(
            OVERLOAD,
            "1 KiB, `Process`, two threads that do not wait, a disk of 20 MB/s",
        ),
        Case {
            subjects: vec![OURS.to_owned(), raw::NAME.to_owned()],
            ..Case::of_ours(WAKE_UP, "128 B, `Sync`, each record waited for")
        },
    ]
}

const APPEND: &str = "append";
const THREADS: &str = "threads";
const OVERLOAD: &str = "overload";
const WAKE_UP: &str = "wake-up";

fn run(cell: &mut Cell) -> Outcome<()> {
    if cell.subject == raw::NAME {
        return raw_wake_up(cell);
    }
    let run = match cell.case {
        APPEND => append,
        THREADS => threads,
        OVERLOAD => overload,
        _ => wake_up,
    };
    Backend::ALL.into_iter().try_for_each(|backend| run(cell, backend))
}

fn open(cell: &Cell, backend: Backend, fs: &CountingFs) -> Outcome<Arc<Log>> {
    let dir = cell.dir.join("log");
    std::fs::create_dir(&dir)?;
    let retention = Retention::Segments(2);
    let options = LogOptions { backend, retention, ..LogOptions::default() };
    Ok(Arc::new(Log::open(Arc::new(fs.clone()), &dir, options)?.0))
}

fn close(cell: &mut Cell, log: &Log, step: Step) -> Outcome<()> {
    log.close()?;
    cell.steps.push(step);
    Ok(std::fs::remove_dir_all(cell.dir.join("log"))?)
}

fn measure<'a>(cell: &'a Cell, step: &str, backend: Backend) -> Measure<'a> {
    cell.measure(format!("{step}, {}", backend.name())).unit("record")
}

fn append(cell: &mut Cell, backend: Backend) -> Outcome<()> {
    for threads in APPENDERS {
        let log = open(cell, backend, &CountingFs::default())?;
        let measure = measure(cell, &threads_named(threads), backend).threads(threads);
        let before = threads_cpu_time(OWN_THREADS)?;
        let mut step = measure.class(engine::Durability::Process).run(|_| {
            let (log, record) = (&log, [1; RECORD_BYTES]);
            move |_| {
                for _ in 1..APPENDS_A_CALL {
                    drop(log.append(&[IoSlice::new(&record)], Durability::Process)?);
                }
                log.append(&[IoSlice::new(&record)], Durability::Process)?.wait()?;
                Ok(APPENDS_A_CALL)
            }
        })?;
        let own = threads_cpu_time(OWN_THREADS)?.saturating_sub(before);
        step.figure("own threads, ns a record", own.as_secs_f64() * 1e9 / step.ops as f64);
        close(cell, &log, step)?;
    }
    Ok(())
}

fn threads(cell: &mut Cell, backend: Backend) -> Outcome<()> {
    let log = open(cell, backend, &CountingFs::default())?;
    let (class, paced) = (engine::Durability::Process, Some(PACE_PER_SECOND));
    let before = threads_cpu_time(OWN_THREADS)?;
    let mut step = measure(cell, "50 k/s", backend).class(class).pace(paced).run(|_| {
        let (log, record) = (&log, [1; RECORD_BYTES]);
        move |_| {
            log.append(&[IoSlice::new(&record)], Durability::Process)?.wait()?;
            Ok(1)
        }
    })?;
    let own = threads_cpu_time(OWN_THREADS)?.saturating_sub(before);
    step.figure("own threads, % of a core", own.as_secs_f64() / step.seconds * 100.0);
    close(cell, &log, step)
}

/// How the names of the log's threads begin, as the kernel keeps them.
const OWN_THREADS: &str = "stratalog-wal-";

fn overload(cell: &mut Cell, backend: Backend) -> Outcome<()> {
    let log = open(cell, backend, &CountingFs::slowed(OVERLOAD_BYTES_PER_SECOND))?;
    let class = engine::Durability::Process;
    let before = resident_bytes()?;
    let measure = measure(cell, "flat out", backend).class(class).threads(OVERLOAD_THREADS);
    let mut step = measure.run(|_| {
        let (log, record) = (&log, [1; OVERLOAD_RECORD_BYTES]);
        move |_| {
            drop(log.append(&[IoSlice::new(&record)], Durability::Process)?);
            Ok(1)
        }
    })?;
    let beyond = step.peak_bytes.saturating_sub(before);
    step.figure("memory beyond before, MiB", beyond as f64 / f64::from(1 << 20));
    let depth = log.stats().depth_bytes;
    step.figure("waiting at the end, MiB", depth as f64 / f64::from(1 << 20));
    close(cell, &log, step)
}

fn wake_up(cell: &mut Cell, backend: Backend) -> Outcome<()> {
    for threads in WAITERS {
        let fs = CountingFs::default();
        let log = open(cell, backend, &fs)?;
        let measure = measure(cell, &threads_named(threads), backend).threads(threads);
        let step = timed_from_sync(measure, &fs, |record| {
            log.append(&[IoSlice::new(record)], Durability::Sync)?.wait()?;
            Ok(())
        })?;
        close(cell, &log, step)?;
    }
    Ok(())
}

fn raw_wake_up(cell: &mut Cell) -> Outcome<()> {
    for threads in WAITERS {
        let (fs, dir) = (CountingFs::default(), cell.dir.join("log"));
        std::fs::create_dir(&dir)?;
        let log = Raw::create(&fs, &dir, engine::Durability::Sync, RAW_BYTES)?;
        let measure = cell.measure(threads_named(threads)).unit("record").threads(threads);
        let step = timed_from_sync(measure, &fs, |record| log.append(record))?;
        cell.steps.push(step);
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(())
}

/// Measures `append`, which waits for a sync, and how long ago that was when it returned.
fn timed_from_sync(
    measure: Measure<'_>,
    fs: &CountingFs,
    append: impl Fn(&[u8]) -> Outcome<()> + Sync,
) -> Outcome<Step> {
    let waits = Mutex::new(Vec::new());
    let mut step = measure.class(engine::Durability::Sync).run(|_| {
        let append = &append;
        let mut own = Waits { all: &waits, own: Vec::new() };
        move |_| {
            append(&[1; RECORD_BYTES])?;
            own.own.push(fs.since_sync());
            Ok(1)
        }
    })?;
    let mut waits = waits.into_inner().unwrap_or_else(PoisonError::into_inner);
    waits.sort_unstable();
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let at = ((waits.len().max(1) - 1) as f64 * share) as usize;
        let wait = waits.get(at).copied().unwrap_or_default();
        step.figure(&format!("after the sync, {name} µs"), wait.as_secs_f64() * 1e6);
    }
    Ok(step)
}

/// What a thread has seen, added to `all` when it ends.
struct Waits<'a> {
    all: &'a Mutex<Vec<Duration>>,
    own: Vec<Duration>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.own);
    }
}
