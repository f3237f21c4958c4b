//! Records on their way to the disk. Without threads of the log's own, unless it is said: callers drive
//! everything then (LOG-4).

use std::io::IoSlice;

use loom::thread;
use stratalog_base::{Error, Result};
use stratalog_wal::{Backend, Durability, Log, LogOptions, Overflow, Place, Wal};

use crate::disk::{Disk, Fails, log, options};
use crate::model;

/// Makes each function a model of its own for each backend.
macro_rules! with_each_backend {
    ($($name:ident)*) => {
        mod sync {
            $(#[test] fn $name() { super::$name(super::Backend::Sync) })*
        }
        mod sync_thread {
            $(#[test] fn $name() { super::$name(super::Backend::SyncThread) })*
        }
        mod lock_free {
            $(#[test] fn $name() { super::$name(super::Backend::LockFree) })*
        }
    };
}

with_each_backend! {
    an_acknowledged_record_is_written
    trap_1_a_sync_covers_only_what_was_written_before_it_began
    a_sync_covers_all_segments
    trap_3_file_order_is_position_order
    a_failed_write_stops_everyone
    a_failed_sync_stops_everyone
    trap_16_room_made_while_a_writer_registers_is_not_missed
    trap_25_a_watermark_has_no_holes
}

/// Appends one record and waits for it. Whoever is told `Ok` finds it on the disk.
fn append(log: &Log, disk: &Disk, record: &[u8], class: Durability) -> Result<Place> {
    let place = log.append(&[IoSlice::new(record)], class)?.wait()?;
    assert!(disk.written() >= place.end, "acknowledged before it was written");
    if class == Durability::Sync {
        assert!(disk.durable() >= place.end, "acknowledged before it was synced");
    }
    Ok(place)
}

/// Two threads append at once, one of them in `class`, the other in class `Sync`.
fn two_append(options: LogOptions, class: Durability, writes: bool, syncs: bool) {
    model(move || {
        let disk = Disk::new(Fails::Nothing);
        let log = log(&disk, options.clone(), writes, syncs);
        let (other_log, other_disk) = (log.clone(), disk.clone());
        let other = thread::spawn(move || append(&other_log, &other_disk, b"a", class).unwrap());
        append(&log, &disk, b"b", Durability::Sync).unwrap();
        other.join().unwrap();
        if writes || syncs {
            log.close().unwrap();
        }
    });
}

/// LOG-4
fn an_acknowledged_record_is_written(backend: Backend) {
    two_append(options(backend), Durability::Process, false, false);
}

/// LOG-1. (There, a sync was said to cover what got its number while it ran.)
fn trap_1_a_sync_covers_only_what_was_written_before_it_began(backend: Backend) {
    model(move || {
        let disk = Disk::with_slow_syncs();
        let log = log(&disk, options(backend), false, false);
        let early = append(&log, &disk, b"a", Durability::Process).unwrap();
        let (other, other_disk) = (log.clone(), disk.clone());
        let other = thread::spawn(move || {
            // Written by itself, maybe while the other syncs.
            let late = other.append(&[], Durability::Process).unwrap().wait().unwrap();
            assert!(other.wait(late.end, Durability::Sync, None).unwrap());
            assert!(other_disk.durable() >= late.end, "LOG-1");
        });
        assert!(log.wait(early.end, Durability::Sync, None).unwrap());
        assert!(disk.durable() >= early.end, "LOG-1");
        other.join().unwrap();
    });
}

/// LOG-1 and FILES-1: each group begins a new segment, and one of the two waits for no sync.
fn a_sync_covers_all_segments(backend: Backend) {
    let options = LogOptions { segment_bytes: 0, ..options(backend) };
    two_append(options, Durability::Process, false, false);
}

/// LOG-2; the disk refuses what is not in order. (There, a number was given before the place in the file.)
fn trap_3_file_order_is_position_order(backend: Backend) {
    model(move || {
        let disk = Disk::new(Fails::Nothing);
        let log = log(&disk, options(backend), false, false);
        let (other_log, other_disk) = (log.clone(), disk.clone());
        let other = thread::spawn(move || {
            append(&other_log, &other_disk, b"a", Durability::Process).unwrap().position
        });
        let mut batch = Vec::new();
        log.append_batch(&[b"b", b"c"], Durability::Process, &mut batch).unwrap().wait().unwrap();
        let alone = other.join().unwrap();
        let mut expected = vec![(alone, b"a".to_vec())];
        expected.extend(batch.into_iter().zip([b"b".to_vec(), b"c".to_vec()]));
        expected.sort();
        assert_eq!(disk.records(), expected);
    });
}

/// LOG-3: whoever was there is told, and whoever comes later.
fn one_failure_stops_two(backend: Backend, fails: Fails, class: Durability) {
    model(move || {
        let disk = Disk::new(fails);
        let log = log(&disk, options(backend), false, false);
        let appender = || {
            let (log, disk) = (log.clone(), disk.clone());
            move || {
                let error = append(&log, &disk, b"a", class).unwrap_err();
                assert!(matches!(error, Error::Io { .. } | Error::Poisoned(_)), "{error}");
                let late = log.append(&[], class).unwrap_err();
                assert!(matches!(late, Error::Poisoned(_)), "LOG-3: {late}");
            }
        };
        let other = thread::spawn(appender());
        appender()();
        other.join().unwrap();
    });
}

fn a_failed_write_stops_everyone(backend: Backend) {
    one_failure_stops_two(backend, Fails::Write, Durability::Process);
}

fn a_failed_sync_stops_everyone(backend: Backend) {
    one_failure_stops_two(backend, Fails::Sync, Durability::Sync);
}

/// A log with room for one record.
fn narrow(backend: Backend) -> LogOptions {
    let overflow = Overflow::Block;
    LogOptions { queue_records: 1, ring_bytes: 32, overflow, ..options(backend) }
}

/// Three records and room for one or two: nobody hangs, and all get there. (There, the count was checked,
/// and what made room between that and the registration was missed.)
fn trap_16_room_made_while_a_writer_registers_is_not_missed(backend: Backend) {
    model(move || {
        let disk = Disk::new(Fails::Nothing);
        let log = log(&disk, narrow(backend), false, false);
        let other = log.clone();
        let other = thread::spawn(move || {
            let first = other.append(&[], Durability::Process).unwrap().end();
            assert!(other.append(&[], Durability::Process).unwrap().position() >= first);
        });
        log.append(&[], Durability::Process).unwrap().wait().unwrap();
        other.join().unwrap();
        log.sync().unwrap();
        assert_eq!(disk.records().len(), 3);
    });
}

/// What is told to be logged or durable is so, and each mark is at most the next. (There, the highest
/// number that was done counted, though a lower one was not.)
fn trap_25_a_watermark_has_no_holes(backend: Backend) {
    model(move || {
        let disk = Disk::new(Fails::Nothing);
        let log = log(&disk, options(backend), false, false);
        let (other_log, other_disk) = (log.clone(), disk.clone());
        let other =
            thread::spawn(move || append(&other_log, &other_disk, b"a", Durability::Sync).unwrap());
        let _ = log.append(&[], Durability::Process).unwrap();
        for _ in 0..2 {
            let marks = log.watermarks();
            assert!(marks.durable <= marks.logged && marks.logged <= marks.reserved, "{marks:?}");
            assert!(marks.logged <= disk.written(), "{marks:?}");
            assert!(marks.durable <= disk.durable(), "{marks:?}");
        }
        other.join().unwrap();
    });
}
