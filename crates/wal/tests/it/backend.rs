//! The backend can change while threads append, and nothing is lost, doubled or out of order.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use stratalog_base::Error;
use stratalog_base::fs::{Fault, FaultKind, Op, SimFs};
use stratalog_base::sync::{AtomicBool, Mutex, Ordering, sleep, spawn};
use stratalog_wal::{Backend, Durability, LogOptions, RecoveryMode, Wal};

use crate::support::*;

#[test]
fn no_record_is_lost_or_moved_while_the_backend_changes() {
    for options in all_options(2000) {
        let options = LogOptions { batch_delay: Duration::from_micros(200), ..options };
        let fs = SimFs::new();
        let log = Arc::new(create(&fs, options));
        let acked: Arc<Mutex<Vec<Record>>> = Arc::default();
        let done = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..4u8)
            .map(|thread| {
                let (log, acked, done) = (log.clone(), acked.clone(), done.clone());
                let body = move || {
                    for i in 0u32.. {
                        if done.load(Ordering::Acquire) {
                            break;
                        }
                        let record = [&[thread][..], &i.to_le_bytes()].concat();
                        let class =
                            if i % 16 == 0 { Durability::Sync } else { Durability::Process };
                        let ticket = log.append(&[IoSlice::new(&record)], class).unwrap();
                        let place =
                            if i % 3 == 0 { ticket.place() } else { ticket.wait().unwrap() };
                        acked.lock().push((place.position, record));
                    }
                };
                spawn("appender", body).unwrap()
            })
            .collect();
        for _ in 0..5 {
            for from in Backend::ALL {
                for to in Backend::ALL {
                    log.set_backend(from).unwrap();
                    let before = acked.lock().len();
                    eventually("others append", || acked.lock().len() > before + 8);
                    log.set_backend(to).unwrap();
                    assert_eq!(log.backend(), to);
                }
            }
        }
        done.store(true, Ordering::Release);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        log.sync().unwrap();
        let mut acked = std::mem::take(&mut *acked.lock());
        acked.sort();
        assert!(read(&fs.kill(), RecoveryMode::Strict).unwrap().0 == acked);
        assert!(read(&fs.crash(1), RecoveryMode::TornTail).unwrap().0 == acked);
        for thread in 0..4 {
            let of_thread = acked.iter().filter(|(_, record)| record[0] == thread);
            let numbers = of_thread.map(|(_, record)| &record[1..]);
            assert!(numbers.zip(0u32..).all(|(found, number)| found == number.to_le_bytes()));
        }
    }
}

#[test]
fn the_backend_changes_at_the_border_of_a_segment_too() {
    let fs = SimFs::new();
    let log = create(&fs, options(100));
    let mut written = Vec::new();
    for to in [Backend::LockFree, Backend::Sync, Backend::SyncThread, Backend::LockFree] {
        log.set_backend(to).unwrap();
        written.extend(fill(&log, [vec![1; 80], Vec::new(), vec![2; 500]]));
        log.set_backend(to).unwrap();
    }
    log.close().unwrap();
    assert_eq!(read(&fs, RecoveryMode::Strict).unwrap().0, written);
    assert!(matches!(log.set_backend(Backend::Sync), Err(Error::Closed)));
}

#[test]
fn a_change_that_fails_leaves_the_backend_as_it_was() {
    let changes = [(Backend::Sync, Backend::LockFree), (Backend::LockFree, Backend::Sync)];
    for (from, to) in changes {
        for n in 0.. {
            let fs = SimFs::new();
            let log = create(&fs, LogOptions { backend: from, ..options(300) });
            let mut written = fill(&log, some_records(5));
            let last = log.append(&[IoSlice::new(b"not written")], Durability::Process).unwrap();
            fs.inject(Fault::new(stratalog_base::fs::On::Mutating, FaultKind::Eio).after(n));
            let changed = log.set_backend(to);
            if fs.faults_hit() == 0 {
                assert!(n > 1);
                changed.unwrap();
                break;
            }
            assert!(changed.is_err());
            fs.clear_faults();
            log.resume().unwrap();
            assert_eq!(log.backend(), from, "call {n}");
            last.wait().unwrap();
            written.push((last.position(), b"not written".to_vec()));
            log.set_backend(to).unwrap();
            written.extend(fill(&log, [b"goes on"]));
            assert_eq!(read(&fs.kill(), RecoveryMode::TornTail).unwrap().0, written, "call {n}");
        }
    }
}

#[test]
fn a_ring_that_cannot_be_mapped_is_private() {
    let fs = SimFs::new().without_mapping();
    let log = create(&fs, LogOptions { backend: Backend::LockFree, ..options(300) });
    assert_eq!(log.is_ring_mapped(), Some(false));
    let ticket = log.append(&[IoSlice::new(b"memory")], Durability::Process).unwrap();
    assert!(log.watermarks().logged < ticket.end(), "memory does not survive");
    let position = ticket.wait().unwrap().position;
    let expected = [(position, b"memory".to_vec())];
    assert_eq!(read(&fs.kill(), RecoveryMode::Strict).unwrap().0, expected);
}

#[test]
fn an_idle_log_makes_no_calls() {
    for options in all_options(300) {
        let soon = Duration::from_millis(1);
        let fs = SimFs::new();
        let log = create(
            &fs,
            LogOptions { segments_ahead: true, interval: soon, batch_delay: soon, ..options },
        );
        let end = append(&log, b"x", Durability::Interval).unwrap().end;
        eventually("the interval is over", || log.watermarks().durable >= end);
        sleep(Duration::from_millis(20));
        let calls = (fs.ops(), fs.reads());
        sleep(Duration::from_millis(30));
        assert_eq!((fs.ops(), fs.reads()), calls);
    }
}

#[test]
fn a_failing_sync_during_a_change_loses_nothing() {
    let fs = SimFs::new();
    let log = create(&fs, options(300));
    let written = fill(&log, some_records(5));
    fs.inject(Fault::new(Op::Sync, FaultKind::Eio));
    assert!(log.set_backend(Backend::LockFree).is_err());
    assert_eq!(read(&fs.kill(), RecoveryMode::TornTail).unwrap().0, written);
}
