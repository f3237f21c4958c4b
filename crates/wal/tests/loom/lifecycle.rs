//! A log as a whole, while others append: closing, changing the backend, going on after a failure; and
//! its threads.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use loom::thread;
use stratalog_base::Error;
use stratalog_base::fs::{Fault, FaultKind, Op, SimFs};
use stratalog_wal::segment::file_name;
use stratalog_wal::{Backend, Durability, Log, LogOptions, RecoveryMode, Wal, recover};

use crate::disk::{Disk, Fails, log, options};
use crate::model;

/// Either a record lies below the close mark, or its caller is told; nobody hangs.
fn close_while_one_appends(options: LogOptions, class: Durability, writes: bool, syncs: bool) {
    model(move || {
        let disk = Disk::new(Fails::Nothing);
        let log = log(&disk, options.clone(), writes, syncs);
        let other = log.clone();
        let other = thread::spawn(move || match other.append(&[], class) {
            Ok(ticket) => {
                let outcome = ticket.wait();
                assert!(matches!(outcome, Ok(_) | Err(Error::Closed)), "{outcome:?}");
                Some(ticket.end())
            }
            Err(error) => {
                assert!(matches!(error, Error::Closed), "{error}");
                None
            }
        });
        log.close().unwrap();
        let end = disk.durable();
        assert_eq!(end, disk.written());
        if let Some(appended) = other.join().unwrap() {
            assert!(appended < end, "accepted, but not below the close mark");
            assert_eq!(disk.records().len(), 1);
        }
        assert_eq!(disk.durable(), end, "nothing after the close mark");
    });
}

#[test]
fn a_log_closes_while_others_append() {
    close_while_one_appends(options(Backend::Sync), Durability::Process, false, false);
}

#[test]
fn a_log_with_a_ring_closes_while_others_append() {
    close_while_one_appends(options(Backend::LockFree), Durability::Process, false, false);
}

#[test]
fn a_log_with_a_mapped_ring_closes_while_others_append() {
    let options = LogOptions { ring_mapped: true, ..options(Backend::LockFree) };
    close_while_one_appends(options, Durability::Process, false, false);
}

#[test]
fn a_log_whose_thread_writes_closes_while_others_append() {
    close_while_one_appends(options(Backend::SyncThread), Durability::Process, true, false);
}

/// LOG-2: one appends while the other changes who writes. Nothing is lost, or changes its order. (There,
/// a fast path overtook what was waiting, and the older record won.)
fn switch_while_one_appends(from: Backend, to: Backend, ring_mapped: bool) {
    model(move || {
        let disk = Disk::new(Fails::Nothing);
        let options = LogOptions { ring_mapped, ring_bytes: 64, ..options(from) };
        let log = log(&disk, options, false, false);
        let other = log.clone();
        let other = thread::spawn(move || {
            let append = |record| {
                let parts = [IoSlice::new(record)];
                (other.append(&parts, Durability::Process).unwrap().position(), record.to_vec())
            };
            [append(b"a"), append(b"b")]
        });
        log.set_backend(to).unwrap();
        let expected = other.join().unwrap();
        log.sync().unwrap();
        assert!(expected[0].0 < expected[1].0);
        assert_eq!(disk.records(), expected);
    });
}

#[test]
fn trap_26_an_older_record_is_never_written_after_a_newer_one() {
    switch_while_one_appends(Backend::Sync, Backend::LockFree, false);
}

#[test]
fn trap_26_an_older_record_is_never_written_after_a_newer_one_on_the_way_back() {
    switch_while_one_appends(Backend::LockFree, Backend::Sync, false);
}

#[test]
fn no_record_is_lost_when_a_mapped_ring_is_left() {
    switch_while_one_appends(Backend::LockFree, Backend::SyncThread, true);
}

/// LOG-3, and what [`Log::resume`] promises: whoever was told `Ok` finds its record afterwards, whether it
/// came before the failure, between, or after it went on.
fn resume_while_one_appends(options: LogOptions) {
    model(move || {
        let fs = SimFs::new();
        let log = Log::create_with_threads(Arc::new(fs.clone()), options.clone(), false, false);
        let log = Arc::new(log.unwrap());
        // Not that of a file which is being made: then nothing would be written behind the failure.
        fs.inject(Fault::new(Op::Sync, FaultKind::Eio).path(file_name(1)));
        let append = |log: &Log, record: &[u8], class| {
            let ticket = log.append(&[IoSlice::new(record)], class).ok()?;
            ticket.wait().ok().map(|place| (place.position, record.to_vec()))
        };
        // Written, and durable once the last one is.
        let mut acknowledged = vec![append(&log, b"early", Durability::Process).unwrap()];
        let other = log.clone();
        let other = thread::spawn(move || append(&other, b"a", Durability::Sync));
        acknowledged.extend(append(&log, b"b", Durability::Sync));
        log.resume().unwrap();
        acknowledged.push(append(&log, b"c", Durability::Sync).unwrap());
        acknowledged.extend(other.join().unwrap());
        for seed in 0..4 {
            let mut found = Vec::new();
            let (after, dir) = (fs.crash(seed), Path::new(""));
            recover(&after, dir, 0, RecoveryMode::TornTail, &mut |position, record| {
                found.push((position, record.to_vec()));
                Ok(())
            })
            .unwrap();
            for record in &acknowledged {
                assert!(found.contains(record), "{record:?} is not among {found:?}");
            }
        }
    });
}

#[test]
fn what_is_acknowledged_around_a_failure_is_there_after_it() {
    resume_while_one_appends(options(Backend::Sync));
}

#[test]
fn what_is_acknowledged_around_a_failure_of_a_log_with_a_ring_is_there_after_it() {
    resume_while_one_appends(options(Backend::LockFree));
}

/// CARRY-1: what is carried over lies in several segments.
#[test]
fn what_is_acknowledged_in_several_segments_around_a_failure_is_there_after_it() {
    resume_while_one_appends(LogOptions { segment_bytes: 0, ..options(Backend::Sync) });
}

/// LOG-3: the log fails again as soon as it goes on. Then nobody sleeps over what will not come.
fn fail_again_while_it_goes_on(options: LogOptions) {
    model(move || {
        let fs = SimFs::new();
        let log = Log::create_with_threads(Arc::new(fs.clone()), options.clone(), false, false);
        let log = Arc::new(log.unwrap());
        fs.inject(Fault::new(Op::Sync, FaultKind::Eio).path(file_name(1)));
        let early = log.append(&[], Durability::Sync).and_then(|ticket| ticket.wait());
        assert!(early.is_err());
        let (other, disk) = (log.clone(), fs.clone());
        let other = thread::spawn(move || {
            // Refused, or let in again.
            let Ok(ticket) = other.append(&[], Durability::Process) else { return };
            disk.inject(Fault::new(Op::Write, FaultKind::Eio).for_ever());
            assert!(ticket.wait().is_err());
        });
        log.resume().unwrap();
        other.join().unwrap();
        if log.stats().failed.is_some() {
            let mut reader = log.reader(0).unwrap().durable_only();
            while reader.wait_next(None).is_ok() {}
        }
    });
}

#[test]
fn a_failure_while_the_log_goes_on_is_told_to_everyone() {
    fail_again_while_it_goes_on(options(Backend::Sync));
}

#[test]
fn a_failure_while_a_log_with_a_ring_goes_on_is_told_to_everyone() {
    fail_again_while_it_goes_on(options(Backend::LockFree));
}

/// LOG-4: nobody waits, and the thread writes all the same.
fn the_thread_writes(options: LogOptions) {
    model(move || {
        let disk = Disk::new(Fails::Nothing);
        let log = log(&disk, options.clone(), true, false);
        let end = log.append(&[], Durability::Process).unwrap().wait().unwrap().end;
        assert!(log.watermarks().logged >= end);
        log.close().unwrap();
        assert_eq!(disk.records().len(), 1);
    });
}

#[test]
fn the_writing_thread_and_a_waiter_share_the_work() {
    the_thread_writes(options(Backend::SyncThread));
}

#[test]
fn the_thread_that_drains_and_a_waiter_share_the_work() {
    the_thread_writes(options(Backend::LockFree));
}

/// Who finds no room waits for the thread: it alone makes room. Of records of class `Sync` it is not told
/// by who appends them.
fn the_thread_makes_room(backend: Backend) {
    model(move || {
        let disk = Disk::new(Fails::Nothing);
        let options = LogOptions { queue_records: 1, ring_bytes: 32, ..options(backend) };
        let log = log(&disk, options, true, false);
        let mut ends = Vec::new();
        for _ in 0..3 {
            ends.push(log.append(&[], Durability::Sync).unwrap().end());
        }
        assert!(ends.is_sorted());
        log.close().unwrap();
        assert_eq!(disk.records().len(), 3);
    });
}

#[test]
fn the_writing_thread_makes_room_for_those_who_wait() {
    the_thread_makes_room(Backend::SyncThread);
}

#[test]
fn the_thread_that_drains_makes_room_for_those_who_wait() {
    the_thread_makes_room(Backend::LockFree);
}

/// LOG-1, where a thread syncs what nobody waits for. (There, the set of those who wait was taken after
/// the sync, and whoever had come during it was told.)
#[test]
fn trap_2_what_comes_during_a_sync_waits_for_the_next() {
    model(|| {
        let disk = Disk::new(Fails::Nothing);
        let log = log(&disk, options(Backend::Sync), false, true);
        let early = log.append(&[], Durability::Interval).unwrap().wait().unwrap();
        assert!(disk.written() >= early.end);
        // Written by itself, maybe while the thread syncs.
        let late = log.append(&[], Durability::Process).unwrap().wait().unwrap();
        assert!(log.wait(late.end, Durability::Sync, None).unwrap());
        assert!(disk.durable() >= late.end);
        log.close().unwrap();
    });
}
