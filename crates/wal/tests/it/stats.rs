//! What the log counts and tells adds up, and it goes on when a thread dies.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use stratalog_base::fs::{Fault, FaultKind, Op, SimFs};
use stratalog_base::sync::Mutex;
use stratalog_wal::stats::Cause;
use stratalog_wal::{
    Alert, AlertListener, AlertThresholds, Durability, Health, LogOptions, RecoveryMode, Wal,
};

use crate::support::*;

#[test]
fn numbers_add_up() {
    for options in all_options(1 << 20) {
        let fs = SimFs::new();
        let log = create(&fs, options.clone());
        let syncs = fs.syncs();
        fill(&log, some_records(100));
        for _ in 0..5 {
            append(&log, b"durable", Durability::Sync).unwrap();
        }
        log.sync().unwrap();
        let stats = log.stats();
        assert_eq!(stats.backend, options.backend.name());
        assert_eq!(stats.syncs, fs.syncs() - syncs);
        assert_eq!((stats.depth_records, stats.depth_bytes), (0, 0));
        assert_eq!(stats.appends, 105, "without marks");
        let batches = Cause::ALL.map(|cause| stats.batches_of(cause));
        assert_eq!(batches.iter().map(|it| it.count).sum::<u64>(), stats.writes);
        assert_eq!(batches.iter().map(|it| it.records).sum::<u64>(), stats.appends);
        let bytes = batches.iter().map(|it| it.bytes).sum::<u64>();
        assert_eq!(bytes, log.watermarks().reserved - stratalog_wal::FIRST_POSITION);
        assert_eq!(stats.segments, 1);
        // One append in 64 of a thread is timed, and each wait that was not over at once.
        assert!((1..=2).contains(&stats.append_latency.count), "{}", stats.append_latency);
        assert!((5..=106).contains(&stats.wait_latency.count), "{}", stats.wait_latency);
        assert!(stats.failed.is_none());
    }
}

/// Marks and skips were counted as records: with one thread that waits for syncs, a mark for each.
#[test]
fn records_are_counted_and_nothing_else() {
    for options in all_options(1 << 20) {
        let log = create(&SimFs::new(), options.clone());
        for i in 0..50 {
            append(&log, b"durable", Durability::Sync).unwrap();
            log.reserve(i).unwrap();
        }
        // Each may wait, be written, or both.
        let counts = || (log.stats().appends, log.stats().depth_records);
        assert_eq!(counts(), (50, 0), "{:?}", options.backend);
        _ = log.append(&[IoSlice::new(b"waits")], Durability::Process).unwrap();
        log.reserve(3000).unwrap(); // In a ring it is big: it is written past that.
        _ = log.append(&[], Durability::None).unwrap();
        assert_eq!(log.stats().appends, 51, "{:?}", options.backend);
        let batch: Vec<_> = (0..7).map(|_| &b"one of a batch"[..]).collect();
        log.append_batch(&batch, Durability::Sync, &mut Vec::new()).unwrap().wait().unwrap();
        let big = [7; 3000];
        drop(log.append_batch(&[&big, b"small"], Durability::Process, &mut Vec::new()).unwrap());
        append(&log, b"durable", Durability::Sync).unwrap();
        assert_eq!(counts(), (61, 0), "{:?}", options.backend);
        let stats = log.stats();
        assert_eq!(stats.batches.iter().map(|it| it.records).sum::<u64>(), 61);
    }
}

#[test]
fn the_sync_before_a_truncation_is_counted() {
    let log = create(&SimFs::new(), options(400));
    let written = fill(&log, some_records(100));
    let before = log.stats();
    assert!(before.segments > 1);
    // All but the segment being written.
    log.truncate_before(written[99].0).unwrap();
    let after = log.stats();
    assert_eq!((after.syncs, after.sync_latency.count), (before.syncs + 1, before.syncs + 1));
}

fn heard() -> (AlertListener, Arc<Mutex<Vec<Alert>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sender = heard.clone();
    (AlertListener::new(move |alert| sender.lock().push(alert.clone())), heard)
}

#[test]
fn what_needs_attention_is_told() {
    for base in all_options(400) {
        let (listener, heard) = heard();
        let thresholds =
            AlertThresholds { depth_records: 5, sync: Duration::from_millis(5), log_bytes: 500 };
        let fs = SimFs::new();
        let options = LogOptions {
            alert_listener: Some(listener),
            alert_thresholds: thresholds,
            segments_ahead: true,
            queue_records: 8,
            ..base.clone()
        };
        let log = create(&fs, options);
        fs.inject(Fault::new(Op::Sync, FaultKind::Delay(Duration::from_millis(10))).for_ever());
        for _ in 0..300 {
            _ = log.append(&[IoSlice::new(&[1; 20])], Durability::Process).unwrap();
        }
        log.sync().unwrap();
        let told = |what: fn(&Alert) -> bool| heard.lock().iter().any(what);
        eventually("a slow sync", || told(|it| matches!(it, Alert::SlowSync { .. })));
        eventually("a long log", || told(|it| matches!(it, Alert::LogSize { .. })));
        eventually("a deep queue", || told(|it| matches!(it, Alert::Depth { .. })));
    }
}

/// Nobody looked, since nothing else needed the thread that does.
#[test]
fn a_long_log_is_told_also_if_nothing_is_made_ahead_or_removed() {
    for base in all_options(400) {
        let (listener, heard) = heard();
        let alert_thresholds = AlertThresholds { log_bytes: 10_000, ..AlertThresholds::default() };
        let options = LogOptions { alert_listener: Some(listener), alert_thresholds, ..base };
        let log = create(&SimFs::new(), options);
        let told = || heard.lock().iter().any(|it| matches!(it, Alert::LogSize { .. }));
        fill(&log, some_records(20));
        assert!(!told());
        fill(&log, some_records(600));
        log.sync().unwrap();
        eventually("a long log", told);
    }
}

#[test]
fn a_log_whose_thread_has_died_goes_on() {
    for base in all_options(1000) {
        for class in [Durability::Process, Durability::Sync] {
            let (listener, heard) = heard();
            let soon = Duration::from_millis(1);
            let fs = SimFs::new();
            let log = create(
                &fs,
                LogOptions {
                    alert_listener: Some(listener),
                    interval: soon,
                    batch_delay: soon,
                    ..base.clone()
                },
            );
            // Nobody hears of the panic but the log.
            let bomb = log.append(&[IoSlice::new(b"bomb")], class).unwrap();
            let here = std::thread::current().id();
            bomb.then(move |_| {
                if std::thread::current().id() != here {
                    std::panic::resume_unwind(Box::new("bomb"));
                }
            });
            let died = || log.stats().threads.iter().any(|(_, health)| *health == Health::Dead);
            if class == Durability::Sync {
                eventually("the thread has died", died);
                let is_death = |it: &Alert| matches!(it, Alert::ThreadDied { .. });
                eventually("its death is told", || heard.lock().iter().any(is_death));
            }
            let what = format!("{:?} {class:?} {:?}", base.backend, log.stats().failed);
            let written = fill(&log, some_records(200));
            let end = append(&log, b"soon", Durability::Interval).expect(&what).end;
            eventually("it is synced all the same", || log.watermarks().durable >= end);
            let called = Arc::new(Mutex::new(0));
            for class in [Durability::Process, Durability::Sync] {
                let called = called.clone();
                let ticket = log.append(&[IoSlice::new(b"late")], class).unwrap();
                ticket.then(move |outcome| *called.lock() += i32::from(outcome.is_ok()));
            }
            eventually("callbacks are called", || *called.lock() == 2);
            log.close().unwrap();
            let (records, found) = read(&fs, RecoveryMode::Strict).unwrap();
            assert!(found.clean_close && records[1..=200] == written);
        }
    }
}
