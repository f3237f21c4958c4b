//! A thread of the log dies: appends go on without it, the health says so, and nothing is lost.

use std::io::IoSlice;
use std::sync::Arc;

use stratalog_base::Error;
use stratalog_base::fs::{Op, SimFs};
use stratalog_base::sync::Mutex;
use stratalog_wal::{
    Alert, AlertListener, Archive, Backend, Durability, Health, Log, LogOptions, Overflow,
    RecoveryMode, Retention, Wal,
};

use crate::support::*;

const WRITE: &str = "stratalog-wal-write";
const FILES: &str = "stratalog-wal-files";

/// Panics without a word, in the thread of that name alone.
fn die_in(thread: &str) {
    if std::thread::current().name() == Some(thread) {
        std::panic::resume_unwind(Box::new("on purpose"));
    }
}

fn is_dead(log: &Log, name: &str) -> bool {
    log.stats().threads.contains(&(name, Health::Dead))
}

/// The deaths that are told of.
fn deaths() -> (AlertListener, Arc<Mutex<Vec<&'static str>>>) {
    let deaths = Arc::new(Mutex::new(Vec::new()));
    let listener = deaths.clone();
    let tell = move |alert: &Alert| {
        if let Alert::ThreadDied { thread } = alert {
            listener.lock().push(*thread);
        }
    };
    (AlertListener::new(tell), deaths)
}

/// The backends with a thread without which a record of class `Process` is not written. (In a mapped
/// ring it is logged without being written.)
fn with_a_write_thread(segment_bytes: u64) -> [LogOptions; 2] {
    [Backend::SyncThread, Backend::LockFree].map(|backend| LogOptions {
        backend,
        ring_mapped: false,
        queue_records: 10,
        overflow: Overflow::Block,
        ..options(segment_bytes)
    })
}

#[test]
fn appends_go_on_without_the_write_thread() {
    for options in with_a_write_thread(2000) {
        let (listener, deaths) = deaths();
        let fs = SimFs::new();
        let log = create(&fs, LogOptions { alert_listener: Some(listener), ..options });
        let mut written = fill(&log, some_records(5));
        let early = log.append(&[IoSlice::new(b"early")], Durability::Process).unwrap();
        written.push((early.position(), b"early".to_vec()));
        early.then(|_| die_in(WRITE));
        eventually("the thread dies of a callback", || is_dead(&log, WRITE));
        eventually("it is told", || *deaths.lock() == [WRITE]);
        // Also those who wait for nothing find room, for more than there is.
        for record in some_records(300) {
            let ticket = log.append(&[IoSlice::new(&record)], Durability::Process).unwrap();
            written.push((ticket.position(), record));
        }
        written.extend(fill(&log, [b"waits"]));
        assert_eq!(read(&fs.kill(), RecoveryMode::TornTail).unwrap().0, written);
        assert!(log.stats().failed.is_none() && is_dead(&log, WRITE));
        log.close().unwrap();
        assert_eq!(read(&fs, RecoveryMode::Strict).unwrap().0, written);
    }
}

#[test]
fn who_appends_writes_what_fills_the_ring_before_it_is_full_if_no_thread_does() {
    let fs = SimFs::new();
    let [_, options] = with_a_write_thread(20_000);
    let log = create(&fs, options);
    let early = log.append(&[IoSlice::new(b"early")], Durability::Process).unwrap();
    let mut written = vec![(early.position(), b"early".to_vec())];
    early.then(|_| die_in(WRITE));
    eventually("the thread dies of a callback", || is_dead(&log, WRITE));
    for record in some_records(300) {
        let ticket = log.append(&[IoSlice::new(&record)], Durability::Process).unwrap();
        written.push((ticket.position(), record));
    }
    assert_eq!(log.stats().overflows.total(), 0);
    log.close().unwrap();
    assert_eq!(read(&fs, RecoveryMode::Strict).unwrap().0, written);
}

/// LOG-4: who may not wait writes what fills the room, if nobody else does.
#[test]
fn appends_that_do_not_wait_go_on_without_the_write_thread() {
    let threaded = with_a_write_thread(20_000);
    let mapped = LogOptions { ring_mapped: true, ..threaded[1].clone() };
    for options in threaded.into_iter().chain([mapped]) {
        let (listener, deaths) = deaths();
        let (fs, alert_listener) = (SimFs::new(), Some(listener));
        let overflow = Overflow::Fail;
        let log = create(&fs, LogOptions { overflow, batch_records: 5, alert_listener, ..options });
        fs.before_calls(|op, _| {
            if op == Op::Write {
                die_in(WRITE);
            }
        });
        eventually("the thread dies of a write", || {
            _ = log.append(&[IoSlice::new(b"lost or not")], Durability::Process);
            is_dead(&log, WRITE)
        });
        eventually("it has done the last for others", || *deaths.lock() == [WRITE]);
        log.resume().unwrap();
        let refused = log.stats().overflows.total();
        let count = |records: Vec<Record>| records.iter().filter(|it| it.1 == b"kept").count();
        for class in [Durability::Process, Durability::Interval, Durability::Sync] {
            for _ in 0..300 {
                _ = log.append(&[IoSlice::new(b"kept")], class).expect("there is room");
            }
        }
        assert_eq!(log.stats().overflows.total(), refused, "nobody was refused");
        log.close().unwrap();
        assert_eq!(count(read(&fs, RecoveryMode::Strict).unwrap().0), 900);
    }
}

#[test]
fn appends_go_on_without_the_files_thread() {
    for base in all_options(2000) {
        let (listener, deaths) = deaths();
        let archive = Archive::new(|_| {
            die_in(FILES);
            Ok(())
        });
        let fs = SimFs::new();
        let options = LogOptions {
            segments_ahead: true,
            retention: Retention::Segments(1),
            archive: Some(archive),
            alert_listener: Some(listener),
            ..base
        };
        let log = create(&fs, options);
        let mut written = Vec::new();
        while !is_dead(&log, FILES) {
            written.extend(fill(&log, some_records(40)));
            log.sync().unwrap();
        }
        eventually("it is told", || *deaths.lock() == [FILES]);
        written.extend(fill(&log, some_records(300)));
        let killed = read(&fs.kill(), RecoveryMode::TornTail).unwrap().0;
        assert!(killed.len() >= 300 && written.ends_with(&killed), "but for what need not be kept");
        // What the thread did not remove, a caller can.
        let from = written.len() - 100;
        log.truncate_before(written[from].0).unwrap();
        written.extend(fill(&log, some_records(100)));
        assert!(log.stats().failed.is_none() && is_dead(&log, FILES));
        log.close().unwrap();
        let left = read_from(&fs, written[from].0, RecoveryMode::Strict).unwrap().0;
        assert!(left == written[from..]);
    }
}

/// LOG-3: what it had in hand is a failed write, of which everyone is told.
#[test]
fn a_thread_that_dies_in_the_midst_of_a_write_stops_the_log_until_it_is_resumed() {
    let threaded = with_a_write_thread(2000);
    let mapped = LogOptions { ring_mapped: true, ..threaded[1].clone() };
    for options in threaded.into_iter().chain([mapped]) {
        let fs = SimFs::new();
        let log = create(&fs, options);
        let mut written = fill(&log, some_records(50));
        fs.before_calls(|op, _| {
            if op == Op::Write {
                die_in(WRITE);
            }
        });
        // So much that the thread has to write, and nobody else does.
        let refused = loop {
            match log.append(&[IoSlice::new(b"not waited for")], Durability::Process) {
                Ok(ticket) => written.push((ticket.position(), b"not waited for".to_vec())),
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, Error::Poisoned(_) | Error::Io { .. }), "{refused}");
        eventually("the thread is dead", || is_dead(&log, WRITE));
        assert!(log.stats().failed.is_some());
        let late = append(&log, b"late", Durability::Process);
        assert!(matches!(late, Err(Error::Poisoned(_))), "{late:?}");
        let killed = read(&fs.kill(), RecoveryMode::TornTail).unwrap().0;
        assert!(killed.len() >= 50 && written.starts_with(&killed));

        // The health stays what it is, and callers do the work.
        log.resume().unwrap();
        written.extend(fill(&log, some_records(300)));
        assert!(log.stats().failed.is_none() && is_dead(&log, WRITE));
        log.close().unwrap();
        assert_eq!(read(&fs, RecoveryMode::Strict).unwrap().0, written);
    }
}
