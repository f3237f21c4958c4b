//! What an append does that finds no room.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use stratalog_base::Error;
use stratalog_base::fs::{Fault, FaultKind, Op, SimFs};
use stratalog_base::sync::{AtomicBool, Instant, Ordering, spawn};
use stratalog_wal::{Backend, Durability, LogOptions, Overflow, RecoveryMode, Wal};

use crate::support::*;

/// Room for little, and nobody who makes more unless asked.
fn small(options: LogOptions, overflow: Overflow) -> LogOptions {
    LogOptions { queue_records: 10, overflow, ..options }
}

/// Appends until there is no room; how many had it.
fn fill_up(log: &dyn Wal) -> usize {
    (0..10_000)
        .take_while(|_| match log.append(&[IoSlice::new(&[1; 20])], Durability::Process) {
            Ok(_) => true,
            Err(Error::Full) => false,
            Err(other) => panic!("{other}"),
        })
        .count()
}

/// A log whose writes take so long that it stays full: who writes is in the midst of it.
fn slow(fs: &SimFs) {
    fs.inject(Fault::new(Op::Write, FaultKind::Delay(Duration::from_millis(3))).for_ever());
}

#[test]
fn fail_refuses_at_once_and_changes_nothing() {
    for options in all_options(1 << 20) {
        // The ring is drained once it is half full: not while a slow write goes on.
        let fs = SimFs::new();
        let log = create(&fs, small(options.clone(), Overflow::Fail));
        slow(&fs);
        let count = fill_up(&log);
        assert!(count < 10_000, "{:?}", options.backend);
        assert!(log.stats().overflows.refused >= 1);
        log.sync().unwrap();
        let (records, _) = read(&fs.kill(), RecoveryMode::Strict).unwrap();
        assert_eq!(records.len(), count, "what was refused left no trace");
        append(&log, b"room again", Durability::Sync).unwrap();
    }
}

/// Who is refused need not wait for anything to find room again.
#[test]
fn what_was_refused_has_room_later() {
    for options in all_options(1 << 20) {
        let fs = SimFs::new();
        let log = create(&fs, small(options, Overflow::Fail));
        slow(&fs);
        fill_up(&log);
        eventually("there is room", || {
            log.append(&[IoSlice::new(b"again")], Durability::Process).is_ok()
        });
    }
}

/// A batch of more than the queue holds needs all of it, however many pass by.
#[test]
fn a_batch_longer_than_the_queue_gets_its_turn_among_many() {
    for backend in [Backend::Sync, Backend::SyncThread] {
        let fs = SimFs::new();
        let base = LogOptions { backend, batch_records: 1, ..options(1 << 20) };
        let log = Arc::new(create(&fs, small(base, Overflow::Block)));
        fs.inject(Fault::new(Op::Write, FaultKind::Delay(Duration::from_micros(200))).for_ever());
        let is_over = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (log, is_over) = (log.clone(), is_over.clone());
                let body = move || {
                    while !is_over.load(Ordering::Relaxed) {
                        _ = log.append(&[IoSlice::new(b"passes")], Durability::Process).unwrap();
                    }
                };
                spawn("appender", body).unwrap()
            })
            .collect();
        let records = [&b"batch"[..]; 20];
        let batch_log = log.clone();
        let batch = spawn("batch", move || {
            for _ in 0..20 {
                let mut positions = Vec::new();
                _ = batch_log.append_batch(&records, Durability::Process, &mut positions).unwrap();
            }
        })
        .unwrap();
        eventually("the batches are in", || batch.is_finished());
        is_over.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        log.sync().unwrap();
    }
}

#[test]
fn wait_gives_up_when_its_time_is_up() {
    for backend in [Backend::SyncThread, Backend::LockFree] {
        let limit = Duration::from_millis(20);
        let fs = SimFs::new();
        let options = LogOptions { backend, ..options(1 << 20) };
        let log = create(&fs, small(options, Overflow::Wait(limit)));
        let delay = FaultKind::Delay(Duration::from_millis(150));
        fs.inject(Fault::new(Op::Write, delay).for_ever());
        let began = Instant::now();
        fill_up(&log);
        assert!(began.elapsed() >= limit);
        assert_eq!(log.stats().overflows.timed_out, 1);
        log.sync().unwrap();
    }
}

#[test]
fn block_and_write_through_find_room_for_ten_times_as_much() {
    for overflow in [Overflow::Block, Overflow::WriteThrough] {
        for options in all_options(1 << 20) {
            let fs = SimFs::new();
            let log = Arc::new(create(&fs, small(options.clone(), overflow)));
            if options.backend == Backend::LockFree {
                slow(&fs); // Else those who append drain it in time.
            }
            let threads: Vec<_> = (0..4u8)
                .map(|thread| {
                    let log = log.clone();
                    let body = move || {
                        for i in 0..500u32 {
                            let record = [&[thread][..], &i.to_le_bytes(), &[0; 50]].concat();
                            let ticket = log.append(&[IoSlice::new(&record)], Durability::Process);
                            assert!(ticket.is_ok());
                            let stats = log.stats();
                            let is_ring = log.backend() == Backend::LockFree;
                            assert!(
                                is_ring || stats.depth_records <= 10,
                                "{}",
                                stats.depth_records
                            );
                            assert!(!is_ring || stats.depth_bytes <= 4096 + 80);
                        }
                    };
                    spawn("appender", body).unwrap()
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            log.sync().unwrap();
            let overflows = log.stats().overflows;
            match overflow {
                Overflow::Block => assert_eq!(overflows.total(), overflows.waited),
                _ => assert_eq!(overflows.total(), overflows.wrote_through),
            }
            assert!(overflows.total() > 0);
            let (records, _) = read(&fs.kill(), RecoveryMode::Strict).unwrap();
            assert_eq!(records.len(), 2000);
            for thread in 0..4 {
                let of_thread = records.iter().filter(|(_, record)| record[0] == thread);
                let in_order =
                    of_thread.zip(0u32..).all(|((_, it), i)| it[1..5] == i.to_le_bytes());
                assert!(in_order, "each thread's records keep their order");
            }
        }
    }
}

#[test]
fn records_and_batches_bigger_than_the_ring_or_queue_have_room() {
    for overflow in [Overflow::Block, Overflow::Fail, Overflow::WriteThrough] {
        for options in all_options(1 << 20) {
            let fs = SimFs::new();
            let log = create(&fs, small(options, overflow));
            let mut written = fill(&log, [vec![1; 2100], vec![2; 20_000], vec![3; 10]]);
            log.sync().unwrap();
            let records = vec![vec![4; 100]; 200];
            let records: Vec<_> = records.iter().map(Vec::as_slice).collect();
            let mut positions = Vec::new();
            let ticket = log.append_batch(&records, Durability::Sync, &mut positions).unwrap();
            assert_eq!(ticket.position(), positions[0]);
            ticket.wait().unwrap();
            written.extend(positions.into_iter().map(|at| (at, vec![4; 100])));
            assert_eq!(read(&fs.crash(1), RecoveryMode::TornTail).unwrap().0, written);
        }
    }
}
