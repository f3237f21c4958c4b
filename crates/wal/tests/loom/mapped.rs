//! A ring that outlives the process: a record is logged as soon as it is in the ring with all before it,
//! and whoever waits for that is told by whoever publishes the last of them.

use std::io::IoSlice;

use loom::thread;
use stratalog_base::Error;
use stratalog_base::sync::Instant;
use stratalog_wal::{Backend, Durability, Log, LogOptions, Overflow, Wal};

use crate::disk::{Disk, Fails, log, options};
use crate::model;

fn mapped() -> LogOptions {
    LogOptions { ring_mapped: true, ..options(Backend::LockFree) }
}

/// Nothing writes here and nobody leads: who waits is woken by the one who was stalled between the
/// reservation and the publication of what comes before (see `wait_published` and `after_publish`).
#[test]
fn who_waits_behind_a_stalled_writer_is_woken_by_it() {
    model(|| {
        let disk = Disk::new(Fails::Nothing);
        let log = log(&disk, mapped(), false, false);
        let other = log.clone();
        let other = thread::spawn(move || {
            let _ = other.append(&[], Durability::Process).unwrap();
        });
        let place = log.append(&[], Durability::Process).unwrap().wait().unwrap();
        assert!(log.watermarks().logged >= place.end);
        other.join().unwrap();
    });
}

/// The same with two who wait.
#[test]
fn two_who_wait_for_each_others_frames_are_woken() {
    model(|| {
        let disk = Disk::new(Fails::Nothing);
        let log = log(&disk, mapped(), false, false);
        let appender = || {
            let log = log.clone();
            move || {
                let place = log.append(&[], Durability::Process).unwrap().wait().unwrap();
                assert!(log.watermarks().logged >= place.end);
            }
        };
        let other = thread::spawn(appender());
        appender()();
        other.join().unwrap();
    });
}

/// FOLLOW-1: nobody else writes here, and nobody waits for the record but the reader.
#[test]
fn a_reader_that_follows_is_woken_by_who_publishes() {
    one_follows(|log| {
        let _ = log.append(&[IoSlice::new(b"a")], Durability::Process).unwrap();
    });
}

/// FOLLOW-1: the backend may change while it waits.
#[test]
fn a_reader_that_follows_a_ring_is_woken_by_who_writes_a_queue() {
    one_follows(|log| {
        log.set_backend(Backend::Sync).unwrap();
        log.append(&[IoSlice::new(b"a")], Durability::Process).unwrap().wait().unwrap();
    });
}

/// One waits for the next record while `appends` appends it.
fn one_follows(appends: fn(&Log)) {
    model(move || {
        let disk = Disk::new(Fails::Nothing);
        let log = log(&disk, mapped(), false, false);
        let mut reader = log.reader(0).unwrap();
        let other = log.clone();
        let other = thread::spawn(move || appends(&other));
        assert_eq!(*reader.wait_next(None).unwrap().expect("there is no limit").bytes, *b"a");
        other.join().unwrap();
    });
}

/// What is told to be logged is so: nobody has to wait for it.
#[test]
fn trap_25_a_watermark_has_no_holes() {
    model(|| {
        let disk = Disk::new(Fails::Nothing);
        let log = log(&disk, mapped(), false, false);
        let other = log.clone();
        let other = thread::spawn(move || {
            let _ = other.append(&[], Durability::Process).unwrap();
        });
        let _ = log.append(&[], Durability::Process).unwrap();
        let logged = log.watermarks().logged;
        // In a model, a deadline is over whenever it is looked at.
        assert!(log.wait(logged, Durability::Process, Some(Instant::now())).unwrap());
        other.join().unwrap();
    });
}

/// LOG-1: one waits until its record is synced, and the other publishes what comes before.
#[test]
fn who_leads_waits_for_what_is_not_published_yet() {
    model(|| {
        let disk = Disk::new(Fails::Nothing);
        let log = log(&disk, mapped(), false, false);
        let other = log.clone();
        let other = thread::spawn(move || {
            other.append(&[IoSlice::new(b"a")], Durability::Process).unwrap().wait().unwrap();
        });
        let place = log.append(&[], Durability::Sync).unwrap().wait().unwrap();
        assert!(disk.durable() >= place.end);
        other.join().unwrap();
    });
}

/// LOG-3: of two, one learns that the disk fails; nobody is acknowledged after that, and nobody hangs.
#[test]
fn a_failed_write_stops_those_who_would_not_write() {
    model(|| {
        let disk = Disk::new(Fails::Write);
        let log = log(&disk, mapped(), false, false);
        let early = log.append(&[], Durability::Process).unwrap();
        let other = log.clone();
        let other = thread::spawn(move || {
            match other.append(&[], Durability::Process).and_then(|ticket| ticket.wait()) {
                Ok(place) => assert!(other.watermarks().logged >= place.end),
                Err(error) => assert!(matches!(error, Error::Io { .. } | Error::Poisoned(_))),
            }
        });
        let failed = log.append(&[], Durability::Sync).and_then(|ticket| ticket.wait());
        assert!(failed.is_err());
        assert!(matches!(early.wait(), Err(Error::Poisoned(_))), "LOG-3");
        let late = log.append(&[], Durability::Process).unwrap_err();
        assert!(matches!(late, Error::Poisoned(_)), "LOG-3: {late}");
        other.join().unwrap();
    });
}

/// A frame of more than half the ring is written by its caller, past the ring; what comes behind waits.
#[test]
fn a_big_frame_keeps_its_place_among_others() {
    model(|| {
        let disk = Disk::new(Fails::Nothing);
        let options = LogOptions { ring_bytes: 32, overflow: Overflow::Block, ..mapped() };
        let log = log(&disk, options, false, false);
        let other = log.clone();
        let other = thread::spawn(move || {
            other.append(&[], Durability::Process).unwrap().wait().unwrap().position
        });
        let big = log.append(&[IoSlice::new(b"too long")], Durability::Process).unwrap();
        let big = big.wait().unwrap();
        assert!(disk.written() >= big.end);
        let small = other.join().unwrap();
        log.sync().unwrap();
        let mut expected = [(big.position, b"too long".to_vec()), (small, Vec::new())];
        expected.sort();
        assert_eq!(disk.records(), expected);
    });
}

/// LOG-3: a big frame fails, and what lies behind it is whole in the ring then, but its owner is not acknowledged.
#[test]
fn who_looks_while_a_big_frame_before_it_fails_is_not_acknowledged() {
    model(|| {
        let disk = Disk::new(Fails::Write);
        // So that nobody helps to write, and meets the failure before it looks.
        let options = LogOptions { overflow: Overflow::Fail, ..mapped() };
        let log = log(&disk, options, false, false);
        // As many as a look takes: it goes on from where all is published then, which may be behind the hole.
        let early = [(); 2].map(|()| log.append(&[], Durability::Process).unwrap().end());
        let other = log.clone();
        let other = thread::spawn(move || {
            if let Ok(ticket) = other.append(&[], Durability::Process)
                && let Ok(place) = ticket.wait()
            {
                assert_eq!(place.start, early[1], "not behind the big one");
            }
        });
        let big = log.append(&[IoSlice::new(&[7; 60])], Durability::Process);
        assert!(big.is_err());
        other.join().unwrap();
    });
}
