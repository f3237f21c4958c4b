//! After a failed write or sync a log can go on: what was acknowledged stays, in its order, and what
//! is acknowledged later is there, too.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use stratalog_base::fs::{Fault, FaultKind, On, Op, SimFs};
use stratalog_base::sync::{AtomicUsize, JoinHandle, Mutex, Ordering, sleep, spawn, yield_now};
use stratalog_base::{Error, Result};
use stratalog_wal::{Backend, Durability, Log, LogOptions, Position, RecoveryMode, Ticket, Wal};

use crate::support::*;

/// A record that the log has given a place, or was asked to.
struct Tried {
    /// Unknown if the append itself failed.
    position: Option<Position>,
    bytes: Vec<u8>,
    /// Whether it was acknowledged, and as durable.
    acked: bool,
    durable: bool,
}

struct Run<'a> {
    log: &'a Log,
    fs: &'a SimFs,
    tried: Vec<Tried>,
    /// Tickets that are looked at later only.
    open: Vec<(usize, Ticket<'a>)>,
    what: String,
}

impl<'a> Run<'a> {
    fn new(log: &'a Log, fs: &'a SimFs, what: String) -> Run<'a> {
        Run { log, fs, tried: Vec::new(), open: Vec::new(), what }
    }

    /// Appends `count` records of all classes and sizes; of every three tickets one is kept.
    fn append(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let i = self.tried.len();
            let bytes = match i % 13 {
                11 => vec![i as u8; 2500], // More than half the ring.
                _ => [&[i as u8][..], &vec![i as u8 ^ 0x5a; i * 7 % 41]].concat(),
            };
            let class = match i % 4 {
                3 => Durability::Sync,
                1 => Durability::Interval,
                _ => Durability::Process,
            };
            self.tried.push(Tried {
                position: None,
                bytes: bytes.clone(),
                acked: false,
                durable: false,
            });
            let ticket = self.log.append(&[IoSlice::new(&bytes)], class)?;
            self.tried[i].position = Some(ticket.position());
            if i % 3 == 1 {
                self.open.push((i, ticket));
            } else {
                ticket.wait()?;
                self.note(i, class);
            }
        }
        Ok(())
    }

    fn note(&mut self, i: usize, class: Durability) {
        self.tried[i].acked = true;
        self.tried[i].durable |= class == Durability::Sync;
    }

    /// Looks at the tickets that were kept.
    fn settle(&mut self) {
        for (i, ticket) in std::mem::take(&mut self.open) {
            match ticket.wait() {
                Ok(_) => self.note(i, ticket.durability()),
                Err(
                    Error::Closed | Error::Poisoned(_) | Error::Io { .. } | Error::NoSpace { .. },
                ) => {}
                Err(other) => panic!("{}: {other}", self.what),
            }
        }
    }

    /// Resumes the log until that succeeds.
    fn resume(&mut self) {
        for attempt in 0.. {
            assert!(attempt < 6, "{}: still not resumed", self.what);
            let refused = self.log.append(&[], Durability::Process).map(drop);
            assert!(matches!(refused, Err(Error::Poisoned(_))), "{}: {refused:?}", self.what);
            match self.log.resume() {
                Ok(()) => return,
                Err(Error::Io { .. } | Error::NoSpace { .. }) => {}
                Err(other) => panic!("{}: resume: {other}", self.what),
            }
        }
    }

    /// What recovery has to find: in the order tried, each at its position, nothing acknowledged
    /// missing.
    fn check(&self, found: &[Record], must: impl Fn(&Tried) -> bool, when: &str) {
        let mut found = found.iter().peekable();
        for (i, tried) in self.tried.iter().enumerate() {
            let is_there = found.next_if(|(at, bytes)| {
                *bytes == tried.bytes && tried.position.is_none_or(|position| position == *at)
            });
            let lost = is_there.is_none() && must(tried);
            assert!(!lost, "{}, {when}: record {i} at {:?} is lost", self.what, tried.position);
        }
        let extra = found.next();
        assert!(extra.is_none(), "{}, {when}: nobody appended {extra:?} there", self.what);
    }

    fn check_all(&self) {
        let (killed, _) = read(&self.fs.kill(), RecoveryMode::TornTail)
            .unwrap_or_else(|e| panic!("{}, killed: {e}", self.what));
        self.check(&killed, |tried| tried.acked, "killed");
        for seed in 0..6 {
            let (cut, _) = read(&self.fs.crash(seed), RecoveryMode::TornTail)
                .unwrap_or_else(|e| panic!("{}, power cut {seed}: {e}", self.what));
            assert!(killed.starts_with(&cut), "{}, power cut {seed}: a prefix", self.what);
            self.check(&cut, |tried| tried.durable, "power cut");
        }
    }

    /// A reader sees what recovery would.
    fn check_reader(&self) {
        let mut reader = self.log.reader(0).unwrap();
        let mut records = Vec::new();
        loop {
            match reader.next() {
                Ok(Some(record)) => records.push((record.position, record.bytes.into_owned())),
                Ok(None) => break,
                Err(error) => panic!("{}, reader: {error}", self.what),
            }
        }
        let (killed, _) = read(&self.fs.kill(), RecoveryMode::TornTail).unwrap();
        assert_eq!(records, killed, "{}: what a reader sees", self.what);
    }
}

/// A log whose `n`-th call fails, `times` in a row, and which goes on then. Returns whether there was
/// such a call.
fn fail_and_go_on(options: &LogOptions, kind: FaultKind, n: u64, times: u64) -> bool {
    let fs = SimFs::new();
    let log = create(&fs, options.clone());
    let what = format!(
        "{} mapped {:?} ahead {} {kind:?} on {times} calls from {n} on",
        options.backend.name(),
        options.ring_mapped,
        options.segments_ahead
    );
    fs.inject(Fault::new(On::Mutating, kind).after(n).times(times));
    let mut run = Run::new(&log, &fs, what);
    while run.tried.len() < 30 {
        let left = 30 - run.tried.len();
        if run.append(left).is_err() {
            run.check_all();
            run.resume();
            run.check_all();
        }
    }
    if log.sync().is_err() {
        run.resume();
    }
    let is_hit = fs.faults_hit() > 0;
    fs.clear_faults();
    // The thread for files may have met the last of them.
    if log.sync().is_err() {
        run.resume();
    }
    run.settle();
    run.tried.iter_mut().for_each(|tried| tried.durable |= tried.acked);
    run.check_all();
    run.check_reader();
    assert!(run.append(3).is_ok(), "{}: goes on", run.what);
    run.settle();
    log.close().unwrap_or_else(|e| panic!("{}: {e}", run.what));
    run.tried.iter_mut().for_each(|tried| tried.durable |= tried.acked);
    run.check_all();
    is_hit
}

fn fail_each_call(kind: FaultKind) {
    for ahead in [false, true] {
        for options in all_options(300) {
            let options = LogOptions { segments_ahead: ahead, ..options };
            for times in [1, 3] {
                let mut n = 0;
                while fail_and_go_on(&options, kind, n, times) {
                    n += 1;
                }
                assert!(ahead || n > 15, "the run makes enough calls: {n}");
            }
        }
    }
}

#[test]
fn a_log_goes_on_after_an_io_error_of_any_call() {
    fail_each_call(FaultKind::Eio);
}

#[test]
fn a_log_goes_on_after_a_late_io_error_of_any_call() {
    fail_each_call(FaultKind::EioAfter);
}

#[test]
fn a_log_goes_on_after_a_full_disk() {
    fail_each_call(FaultKind::NoSpace);
}

#[test]
fn a_log_goes_on_after_a_short_write() {
    fail_each_call(FaultKind::ShortWrite);
}

/// The same, but it is going on that fails, at its `n`-th call of any kind.
fn fail_to_go_on(options: &LogOptions, kind: FaultKind, n: u64) -> bool {
    let fs = SimFs::new();
    let log = create(&fs, options.clone());
    let backend = options.backend.name();
    let mut run = Run::new(&log, &fs, format!("{backend} {kind:?} on call {n} of resuming"));
    run.append(20).unwrap();
    fs.inject(Fault::new(Op::Write, FaultKind::ShortWrite).for_ever());
    while run.append(30).is_ok() {}
    fs.clear_faults();
    let hits = fs.faults_hit();
    fs.inject(Fault::new(On::Any, kind).after(n));
    run.resume();
    let is_hit = fs.faults_hit() > hits;
    fs.clear_faults();
    run.check_all();
    run.append(3).unwrap();
    run.settle();
    run.check_all();
    run.check_reader();
    is_hit
}

#[test]
fn a_log_goes_on_after_an_error_of_any_call_of_going_on() {
    for ahead in [false, true] {
        for options in all_options(300) {
            let options = LogOptions { segments_ahead: ahead, ..options };
            for kind in [FaultKind::Eio, FaultKind::NoSpace] {
                let mut n = 0;
                while fail_to_go_on(&options, kind, n) {
                    n += 1;
                }
                assert!(n > 10, "there are enough calls: {n}");
            }
        }
    }
}

/// A ticket that nobody has looked at before the log went on says the truth.
#[test]
fn a_ticket_from_before_a_failure_is_not_done_without_its_record() {
    for options in all_options(1 << 20) {
        let fs = SimFs::new();
        let log = create(&fs, options.clone());
        let mut run = Run::new(&log, &fs, format!("{options:?}"));
        let (first, second) = (b"first", b"second");
        let tickets = [
            log.append(&[IoSlice::new(first)], Durability::Sync).unwrap(),
            log.append(&[IoSlice::new(second)], Durability::Process).unwrap(),
        ];
        fs.inject(Fault::new(Op::Write, FaultKind::Eio));
        assert!(log.sync().is_err());
        log.resume().unwrap();
        for (ticket, bytes) in tickets.into_iter().zip([&first[..], second]) {
            let (position, acked) = (Some(ticket.position()), ticket.wait().is_ok());
            run.tried.push(Tried { position, bytes: bytes.to_vec(), acked, durable: acked });
        }
        run.check_all();
    }
}

#[test]
fn resuming_a_healthy_log_does_nothing() {
    for options in all_options(300) {
        let fs = SimFs::new();
        let log = create(&fs, options);
        fill(&log, some_records(5));
        let (ops, marks) = (fs.ops(), log.watermarks());
        log.resume().unwrap();
        assert_eq!((fs.ops(), log.watermarks()), (ops, marks));
    }
}

#[test]
fn a_closed_log_is_not_resumed() {
    for options in all_options(300) {
        let fs = SimFs::new();
        let log = create(&fs, options);
        fill(&log, some_records(5));
        log.close().unwrap();
        assert!(matches!(log.resume(), Err(Error::Closed)));
    }
}

#[test]
fn a_log_whose_closing_failed_is_not_resumed() {
    for options in all_options(300) {
        let fs = SimFs::new();
        let log = create(&fs, options);
        fill(&log, some_records(5));
        fs.inject(Fault::new(Op::Sync, FaultKind::Eio));
        assert!(log.close().is_err());
        assert!(matches!(log.resume(), Err(Error::Closed)), "its threads have ended");
        assert!(append(&log, b"late", Durability::Process).is_err());
    }
}

#[test]
fn threads_that_append_go_on_after_each_failure() {
    go_on_after_each_failure(4, 400, 8);
}

/// So many wait for the same sync that most sleep with a crew.
#[test]
fn many_who_wait_for_a_sync_go_on_after_each_failure() {
    go_on_after_each_failure(24, 60, 1);
}

/// Each thread appends so many records, one in `sync_each` of class `Sync`.
fn go_on_after_each_failure(threads: u8, records: u32, sync_each: u32) {
    for (round, options) in all_options(2000).into_iter().enumerate() {
        let options = LogOptions { batch_delay: Duration::from_micros(300), ..options };
        let fs = SimFs::new();
        fs.before_calls(|op, _| {
            if op == Op::Sync {
                sleep(Duration::from_micros(50)); // Others come meanwhile.
            }
        });
        let log = Arc::new(create(&fs, options));
        let acked: Arc<Mutex<Vec<(Record, bool)>>> = Arc::default();
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                let (log, acked) = (log.clone(), acked.clone());
                let append =
                    move || append_through_failures(&log, thread, records, sync_each, &acked);
                spawn("appender", append).unwrap()
            })
            .collect();
        let mut seed = round as u64;
        while threads.iter().any(|thread| !thread.is_finished()) {
            seed += 1;
            let (op, kind) = match seed % 3 {
                0 => (On::Op(Op::Sync), FaultKind::Eio),
                1 => (On::Op(Op::Write), FaultKind::ShortWrite),
                _ => (On::Mutating, FaultKind::EioAfter),
            };
            fs.inject(Fault::new(op, kind).after(seed * 7 % 5).times(1 + seed % 2));
            let (hits, done) = (fs.faults_hit(), || threads.iter().all(JoinHandle::is_finished));
            // Or the one before, which may come twice.
            let failed = || log.stats().failed.is_some();
            eventually("somebody meets it", || fs.faults_hit() > hits || failed() || done());
            while let Err(error) = log.resume() {
                let expected = matches!(error, Error::Io { .. } | Error::NoSpace { .. });
                assert!(expected, "{error}");
            }
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let (killed, _) = read(&fs.kill(), RecoveryMode::TornTail).unwrap();
        let (cut, _) = read(&fs.crash(seed), RecoveryMode::TornTail).unwrap();
        assert!(killed.starts_with(&cut), "a prefix");
        for (record, durable) in acked.lock().iter() {
            let is_there = |list: &[Record]| {
                list.binary_search_by_key(&record.0, |(at, _)| *at)
                    .is_ok_and(|index| list[index] == *record)
            };
            assert!(is_there(&killed), "{record:?} was acknowledged");
            assert!(!durable || is_there(&cut), "{record:?} was acknowledged as durable");
        }
    }
}

fn append_through_failures(
    log: &Log,
    thread: u8,
    records: u32,
    sync_each: u32,
    acked: &Mutex<Vec<(Record, bool)>>,
) {
    for i in 0..records {
        let class = if i % sync_each == 0 { Durability::Sync } else { Durability::Process };
        let bytes = [&[thread][..], &i.to_le_bytes()].concat();
        loop {
            let placed = log.append(&[IoSlice::new(&bytes)], class);
            match placed.and_then(|ticket| ticket.wait()) {
                Ok(place) => {
                    acked.lock().push(((place.position, bytes), class == Durability::Sync));
                    break;
                }
                Err(Error::Poisoned(_) | Error::Io { .. } | Error::NoSpace { .. }) => {
                    yield_now();
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

/// Whoever waits for a sync that hangs is told when the log fails meanwhile, also those who were there before it began.
#[test]
fn many_who_wait_for_a_sync_that_hangs_are_told_of_a_failure() {
    const THREADS: usize = 24;
    for options in all_options(2000) {
        let fs = SimFs::new();
        let log = Arc::new(create(&fs, options));
        let (begun, allowed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (syncs, gate) = (begun.clone(), allowed.clone());
        fs.before_calls(move |op, _| {
            if op == Op::Sync {
                let number = syncs.fetch_add(1, Ordering::AcqRel);
                while number >= gate.load(Ordering::Acquire) {
                    sleep(Duration::from_micros(100));
                }
            }
        });
        let back = Arc::new(AtomicUsize::new(0));
        let commit = |_| {
            let (log, back) = (log.clone(), back.clone());
            let commit = move || {
                _ = append(&*log, b"x", Durability::Sync); // The first sync may cover it.
                back.fetch_add(1, Ordering::AcqRel);
            };
            spawn("committer", commit).unwrap()
        };
        let threads: Vec<_> = (0..THREADS).map(commit).collect();
        eventually("all have a place", || log.stats().appends == THREADS as u64);
        sleep(Duration::from_millis(20)); // Most sleep by now, for the second sync.
        allowed.store(1, Ordering::Release);
        eventually("it begins", || begun.load(Ordering::Acquire) == 2);
        fs.inject(Fault::new(Op::Write, FaultKind::Eio));
        assert!(fill_until_it_fails(&log));
        eventually("all but who syncs are back", || back.load(Ordering::Acquire) == THREADS - 1);
        allowed.store(usize::MAX, Ordering::Release);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// Whether the log fails: a ring that is mapped writes nothing to a file before it is half full.
fn fill_until_it_fails(log: &Log) -> bool {
    (0..1000).any(|_| append(log, &[7; 100], Durability::Process).is_err())
}

/// What a failure left open does not hang those who await it, and the threads work again afterwards.
#[test]
fn callbacks_and_the_background_sync_work_after_a_failure() {
    for options in all_options(300) {
        let interval = Duration::from_millis(1);
        let options = LogOptions { interval, batch_delay: interval, ..options };
        let fs = SimFs::new();
        let log = create(&fs, options);
        for _ in 0..5 {
            let told = Arc::new(Mutex::new(Vec::new()));
            fs.inject(Fault::new(Op::Sync, FaultKind::Eio));
            for class in [Durability::Process, Durability::Sync] {
                let told = told.clone();
                let ticket = log.append(&[IoSlice::new(b"x")], class);
                ticket.unwrap().then(move |outcome| told.lock().push(outcome.is_ok()));
            }
            eventually("both are told", || told.lock().len() == 2);
            assert!(told.lock().contains(&false), "the sync has failed");
            eventually("the log has stopped", || log.stats().failed.is_some());
            log.resume().unwrap();
            assert!(log.stats().failed.is_none());
            let end = append(&log, b"y", Durability::Interval).unwrap().end;
            eventually("the background syncs", || log.watermarks().durable >= end);
        }
        assert!(log.backend() != Backend::LockFree || log.is_ring_mapped().is_some());
    }
}
