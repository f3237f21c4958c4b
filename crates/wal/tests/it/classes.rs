//! Each durability class costs the syncs that it promises, and no more, under each backend.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use stratalog_base::Error;
use stratalog_base::fs::{Fault, FaultKind, Op, SimFs};
use stratalog_base::sync::{Instant, spawn};
use stratalog_wal::{Durability, FIRST_POSITION, LogOptions, Wal};

use crate::support::*;

#[test]
fn process_appends_never_sync() {
    for options in all_options(1 << 20) {
        let fs = SimFs::new();
        let log = create(&fs, options);
        let syncs = fs.syncs();
        fill(&log, some_records(500));
        assert_eq!(fs.syncs(), syncs);
        assert_eq!(log.watermarks().durable, FIRST_POSITION);
    }
}

#[test]
fn sync_appends_are_durable_on_return() {
    for options in all_options(1 << 20) {
        let fs = SimFs::new();
        let log = create(&fs, options);
        for record in some_records(50) {
            let syncs = fs.syncs();
            let ticket = append(&log, &record, Durability::Sync).unwrap();
            assert_eq!(log.watermarks().durable, ticket.end);
            assert_eq!(fs.syncs(), syncs + 1);
            log.wait(ticket.end, Durability::Sync, None).unwrap();
            log.sync().unwrap();
            assert_eq!(fs.syncs(), syncs + 1, "what is durable is not synced again");
        }
    }
}

#[test]
fn threads_share_syncs() {
    for options in all_options(1 << 20) {
        let fs = SimFs::new();
        fs.inject(Fault::new(Op::Sync, FaultKind::Delay(Duration::from_micros(300))).for_ever());
        let log = Arc::new(create(&fs, options));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let log = log.clone();
                let body = move || fill_durably(&*log, 50);
                spawn("committer", body).unwrap()
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(fs.syncs() < 300, "{} syncs for 400 durable appends", fs.syncs());
    }
}

fn fill_durably(log: &impl Wal, count: usize) {
    for _ in 0..count {
        let place = log.append(&[], Durability::Sync).unwrap().wait().unwrap();
        assert!(log.watermarks().durable >= place.end);
    }
}

#[test]
fn interval_appends_become_durable_by_themselves() {
    for options in all_options(1 << 20) {
        let fs = SimFs::new();
        let log = create(&fs, LogOptions { interval: Duration::from_millis(1), ..options });
        for _ in 0..3 {
            let syncs = fs.syncs();
            let ticket = append(&log, b"soon", Durability::Interval).unwrap();
            eventually("a sync follows", || log.watermarks().durable >= ticket.end);
            assert_eq!(fs.syncs(), syncs + 1, "and only one");
        }
    }
}

/// A ticket that is dropped changes nothing: who reads what is durable would wait for ever, and a kill would lose what
/// waits in memory.
#[test]
fn sync_appends_that_nobody_waits_for_become_durable_by_themselves() {
    for options in all_options(1 << 20) {
        let fs = SimFs::new();
        let log = create(&fs, LogOptions { interval: Duration::from_millis(1), ..options });
        let mut reader = log.reader(0).unwrap().durable_only();
        for _ in 0..3 {
            let syncs = fs.syncs();
            let end = log.append(&[IoSlice::new(b"dropped")], Durability::Sync).unwrap().end();
            let read = reader.wait_next(Some(Duration::from_secs(20))).unwrap();
            assert!(read.is_some_and(|record| &*record.bytes == b"dropped"));
            assert!(log.watermarks().durable >= end);
            assert_eq!(fs.syncs(), syncs + 1, "and only one");
        }
        _ = log.append_batch(&[b"a", b"batch"], Durability::Sync, &mut Vec::new()).unwrap();
        let end = log.watermarks().reserved;
        eventually("a sync follows", || log.watermarks().durable >= end);
    }
}

#[test]
fn what_was_waited_for_is_not_synced_again_when_the_interval_is_over() {
    for options in all_options(1 << 20) {
        let fs = SimFs::new();
        let log = create(&fs, LogOptions { interval: Duration::from_millis(20), ..options });
        let syncs = fs.syncs();
        append(&log, b"waited for", Durability::Sync).unwrap();
        std::thread::sleep(Duration::from_millis(60)); // That nothing comes is no event.
        assert_eq!(fs.syncs(), syncs + 1);
    }
}

#[test]
fn many_interval_appends_share_a_sync() {
    for options in all_options(1 << 20) {
        let fs = SimFs::new();
        let log = create(&fs, LogOptions { interval: Duration::from_millis(200), ..options });
        let (syncs, started) = (fs.syncs(), Instant::now());
        for _ in 0..1000 {
            append(&log, b"soon", Durability::Interval).unwrap();
        }
        let intervals = started.elapsed().as_millis() as u64 / 200;
        assert!(fs.syncs() - syncs <= intervals + 1);
    }
}

#[test]
fn much_unsynced_data_is_synced_without_being_asked() {
    for options in all_options(1 << 20) {
        let fs = SimFs::new();
        let log = create(&fs, LogOptions { sync_every_bytes: 1000, ..options });
        // More than half the ring: its thread writes then.
        let written = fill(&log, [[1; 1000]; 3]);
        eventually("a sync follows", || log.watermarks().durable > written[0].0);
    }
}

#[test]
fn a_failed_background_sync_poisons_the_log() {
    for options in all_options(1 << 20) {
        let fs = SimFs::new();
        let log = create(&fs, LogOptions { interval: Duration::ZERO, ..options });
        fs.inject(Fault::new(Op::Sync, FaultKind::Eio));
        let ticket = log.append(&[], Durability::Interval).unwrap();
        // The sync may fail before or after the write is waited for.
        _ = ticket.wait();
        eventually("appends are refused", || {
            matches!(append(&log, b"late", Durability::Process), Err(Error::Poisoned(_)))
        });
    }
}

#[test]
fn dropping_a_log_ends_its_thread_whatever_is_due() {
    for options in all_options(1 << 20) {
        for _ in 0..50 {
            let fs = SimFs::new();
            let log = create(&fs, options.clone());
            append(&log, b"x", Durability::Interval).unwrap();
            drop(log);
            assert_eq!(read(&fs, Default::default()).unwrap().0.len(), 1);
        }
    }
}
