//! Records of more than half the ring, which their callers write past it, when that fails: the log comes to
//! rest, says the truth, and can go on.

use std::io::IoSlice;
use std::sync::Arc;

use stratalog_base::Error;
use stratalog_base::fs::{Fault, FaultKind, Op, SimFs};
use stratalog_base::sync::{AtomicBool, AtomicU64, Ordering, spawn};
use stratalog_wal::{Backend, Durability, Log, LogOptions, RecoveryMode, Wal};

use crate::support::*;

const BIG: &str = "writes a big record";

/// With a ring of 4 KiB, mapped and not.
fn with_a_ring() -> [LogOptions; 2] {
    [true, false].map(|ring_mapped| LogOptions {
        backend: Backend::LockFree,
        ring_mapped,
        ..options(1 << 20)
    })
}

fn is_here(thread: &str) -> bool {
    std::thread::current().name() == Some(thread)
}

/// Goes on after a failure; what was appended until then is there, and what comes.
fn go_on_with(log: &Log, fs: &SimFs, mut written: Vec<Record>) {
    log.resume().unwrap();
    assert_eq!(read(&fs.kill(), RecoveryMode::TornTail).unwrap().0, written);
    written.extend(fill(log, some_records(30)));
    written.extend(fill(log, [vec![8; 3000]]));
    assert_eq!(read(&fs.kill(), RecoveryMode::TornTail).unwrap().0, written);
    log.close().unwrap();
    assert_eq!(read(fs, RecoveryMode::Strict).unwrap().0, written);
}

#[test]
fn a_big_record_that_is_written_while_a_sync_fails_has_its_place_and_is_acknowledged_later() {
    for options in with_a_ring() {
        let fs = SimFs::new();
        let log = Arc::new(create(&fs, options));
        let mut written = fill(&*log, [b"early"]);
        let early_ends = log.watermarks().reserved;
        // Who follows has it written.
        assert!(log.reader(0).unwrap().wait_next(None).unwrap().is_some());
        let (holds, is_held) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let hook = (holds.clone(), is_held.clone());
        fs.before_calls(move |op, _| {
            if op == Op::Write && is_here(BIG) {
                hook.1.store(true, Ordering::Release);
                eventually("the sync has failed", || !hook.0.load(Ordering::Acquire));
            }
        });
        let (big_log, big) = (log.clone(), vec![7; 3000]);
        let (bytes, position) = (big.clone(), Arc::new(AtomicU64::new(0)));
        let position_there = position.clone();
        let thread = spawn(BIG, move || {
            let ticket = big_log.append(&[IoSlice::new(&bytes)], Durability::Process).unwrap();
            let told = ticket.wait().unwrap_err();
            assert!(matches!(told, Error::Poisoned(_) | Error::Io { .. }), "LOG-3: {told}");
            position_there.store(ticket.position(), Ordering::Release);
        });
        let thread = thread.unwrap();
        eventually("it is being written", || is_held.load(Ordering::Acquire));
        fs.inject(Fault::new(Op::Sync, FaultKind::Eio));
        assert!(log.wait(early_ends, Durability::Sync, None).is_err());
        holds.store(false, Ordering::Release);
        eventually("the append returns", || thread.is_finished());
        thread.join().unwrap();
        written.push((position.load(Ordering::Acquire), big));
        go_on_with(&log, &fs, written);
    }
}

/// Its caller dies in the midst of writing it, or what comes before it.
#[test]
fn a_log_comes_to_rest_if_the_writer_of_a_big_record_dies() {
    for options in with_a_ring() {
        for waiting in [0, 3] {
            let fs = SimFs::new();
            let log = Arc::new(create(&fs, options.clone()));
            let mut written = fill(&*log, some_records(5));
            log.sync().unwrap();
            for record in some_records(waiting) {
                let ticket = log.append(&[IoSlice::new(&record)], Durability::Process).unwrap();
                written.push((ticket.position(), record));
            }
            fs.before_calls(|op, _| {
                if op == Op::Write && is_here(BIG) {
                    std::panic::resume_unwind(Box::new("on purpose"));
                }
            });
            let big_log = log.clone();
            let thread = spawn(BIG, move || {
                _ = big_log.append(&[IoSlice::new(&[7; 3000])], Durability::Process);
            });
            let thread = thread.unwrap();
            eventually("its caller is dead", || thread.is_finished());
            assert!(thread.join().is_err());
            let late = append(&*log, b"late", Durability::Process);
            assert!(matches!(late, Err(Error::Poisoned(_))), "{late:?}");
            go_on_with(&log, &fs, written);
        }
    }
}

#[test]
fn what_lies_behind_a_big_record_that_was_not_written_is_not_logged() {
    for options in with_a_ring() {
        let fs = SimFs::new();
        let log = create(&fs, options);
        let written = fill(&log, [b"early"]);
        let early_ends = log.watermarks().reserved;
        fs.inject(Fault::new(Op::Write, FaultKind::Eio));
        assert!(log.append(&[IoSlice::new(&[7; 3000])], Durability::Process).is_err());
        let marks = log.watermarks();
        assert!(marks.reserved > early_ends && marks.logged == early_ends, "{marks:?}");
        go_on_with(&log, &fs, written);
    }
}

/// Of several in one place, the first are stored.
#[test]
fn a_log_goes_on_after_a_part_of_a_big_batch_was_written() {
    for options in with_a_ring() {
        for short in 0..8 {
            let fs = SimFs::new();
            let log = create(&fs, options.clone());
            let mut written = fill(&log, [b"early"]);
            let records = [vec![1; 40 * short], vec![2; 40], vec![3; 3000 - 40 * short]];
            let batch: Vec<&[u8]> = records.iter().map(|it| &**it).collect();
            fs.inject(Fault::new(Op::Write, FaultKind::ShortWrite));
            let refused = log.append_batch(&batch, Durability::Process, &mut Vec::new());
            assert!(refused.is_err());
            log.resume().unwrap();
            let found = read(&fs.kill(), RecoveryMode::TornTail).unwrap().0;
            assert!(found.starts_with(&written));
            let kept = found[1..].iter().map(|(_, bytes)| bytes);
            assert!(kept.eq(&records[..found.len() - 1]), "the first ones, or none");
            written = found;
            written.extend(fill(&log, some_records(30)));
            log.close().unwrap();
            assert_eq!(read(&fs, RecoveryMode::Strict).unwrap().0, written);
        }
    }
}

#[test]
fn big_records_are_synced_in_the_background_as_others_are() {
    for options in with_a_ring() {
        let log = create(&SimFs::new(), LogOptions { sync_every_bytes: 1000, ..options });
        let big = vec![7; 3000];
        let end = log.append(&[IoSlice::new(&big)], Durability::Process).unwrap().end();
        eventually("it is durable", || log.watermarks().durable >= end);
    }
}
