//! What is appended is recovered: the same bytes at the same positions, in the same order.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stratalog_base::Error;
use stratalog_base::fs::{Fault, FaultKind, Op, SimFs};
use stratalog_base::sync::{Mutex, spawn};
use stratalog_wal::{
    Backend, Durability, FIRST_POSITION, Log, LogOptions, Place, Progress, Recovered, RecoveryMode,
    Wal, recover_with_progress,
};

use crate::support::*;

const MODES: [RecoveryMode; 3] =
    [RecoveryMode::TornTail, RecoveryMode::Strict, RecoveryMode::PointInTime];

#[test]
fn an_absent_log_is_empty() {
    let (records, found) = read(&SimFs::new(), RecoveryMode::Strict).unwrap();
    assert!(records.is_empty());
    assert_eq!((found.log_id, found.end, found.clean_close), (None, FIRST_POSITION, false));
}

#[test]
fn records_of_all_sizes_come_back_in_every_mode_closed_or_not() {
    let fs = SimFs::new();
    let log = create(&fs, options(500));
    let big = vec![7; 3000];
    let mut written = fill(&log, [&b""[..], b"a", &big, b"", b"after the big one"]);
    written.extend(fill(&log, some_records(60)));
    for mode in MODES {
        let (records, found) = read(&fs, mode).unwrap();
        assert_eq!(records, written);
        assert_eq!((found.log_id, found.clean_close), (Some(LOG_ID), false));
        assert_eq!(found.end, log.watermarks().reserved);
        assert_eq!(found.records, written.len() as u64);
        assert_eq!(found.bytes, written.iter().map(|(_, record)| record.len() as u64).sum());
        assert_eq!(found.dropped, []);
    }
    log.close().unwrap();
    for mode in MODES {
        let (records, found) = read(&fs, mode).unwrap();
        assert_eq!(records, written);
        assert!(found.clean_close);
        assert!(found.segments.len() > 4, "several segments: {:?}", found.segments);
    }
}

#[test]
fn a_record_is_its_parts_in_a_row() {
    let fs = SimFs::new();
    let log = create(&fs, LogOptions::default());
    let parts = [&b"one "[..], b"", b"two ", b"three"].map(IoSlice::new);
    let place = log.append(&parts, Durability::Interval).unwrap().wait().unwrap();
    log.close().unwrap(); // Else its thread may write out the ring while that is being read.
    let expected = [(place.position, b"one two three".to_vec())];
    assert_eq!(read(&fs, RecoveryMode::Strict).unwrap().0, expected);
}

#[test]
fn class_none_takes_positions_and_is_not_logged() {
    let fs = SimFs::new();
    let log = create(&fs, options(1 << 20));
    let ticket = log.append(&[IoSlice::new(&[1; 100])], Durability::None).unwrap();
    assert!(ticket.end() - ticket.position() >= 100);
    let end = ticket.wait().unwrap().end;
    assert!(matches!(log.reserve(1 << 32), Err(Error::InvalidArgument(_))));
    let refused = log.append_batch(&[b"x"], Durability::None, &mut Vec::new());
    assert!(matches!(refused, Err(Error::InvalidArgument(_))));
    assert_eq!(log.watermarks().reserved, end);
    log.close().unwrap();
    assert_eq!(read(&fs, RecoveryMode::Strict).unwrap().0, []);
}

#[test]
fn reservations_take_positions_and_nothing_else() {
    let fs = SimFs::new();
    let log = create(&fs, options(1 << 20));
    let after_header = fs.ops();
    let mut end = FIRST_POSITION;
    for len in [0, 1, 10, 11, 500] {
        let ticket = log.reserve(len).unwrap();
        assert_eq!((ticket.start, ticket.position), (end, end));
        assert!(ticket.end - ticket.position >= len);
        end = ticket.end;
    }
    assert_eq!(fs.ops(), after_header, "nothing is written for them");
    assert_eq!(log.watermarks().logged, FIRST_POSITION);
    let record = append(&log, b"x", Durability::Process).unwrap();
    assert_eq!(record.start, end);
    assert_eq!(log.watermarks().logged, record.end);
    let (records, found) = read(&fs, RecoveryMode::Strict).unwrap();
    assert_eq!(records, [(record.position, b"x".to_vec())]);
    assert_eq!(found.end, record.end);
}

#[test]
fn many_reservations_are_written_from_time_to_time() {
    let fs = SimFs::new();
    let log = create(&fs, options(1 << 20));
    let writes = fs.ops();
    for _ in 0..20_000 {
        log.reserve(1).unwrap();
    }
    assert_eq!(fs.ops() - writes, 4, "320,000 bytes in a buffer of 64 KiB");
    log.close().unwrap();
    assert!(read(&fs, RecoveryMode::Strict).unwrap().1.clean_close);
}

#[test]
fn records_below_the_start_are_not_delivered_and_their_segments_not_read() {
    let fs = SimFs::new();
    let log = create(&fs, options(200));
    let written = fill(&log, some_records(60));
    log.close().unwrap();
    let (_, all) = read(&fs, RecoveryMode::Strict).unwrap();
    for from in 0..=all.end + 1 {
        let reads = fs.reads();
        let (records, found) = read_from(&fs, from, RecoveryMode::Strict).unwrap();
        let expected: Vec<_> = written.iter().filter(|(at, _)| *at >= from).cloned().collect();
        assert_eq!(records, expected, "from {from}");
        assert_eq!(found.end, all.end);
        let needed = all.segments.iter().filter(|it| it.end > from).count().max(1) as u64;
        assert_eq!(fs.reads() - reads, 2 * needed, "from {from}: a header and a body each");
    }
}

/// What `run` was told, which must never fall, and must end with all segments and records.
fn progress(run: impl FnOnce(&mut dyn FnMut(Progress)) -> Recovered) -> Vec<Progress> {
    let mut told: Vec<Progress> = Vec::new();
    let found = run(&mut |now| {
        let total = now.segments_total;
        assert!(now.segments <= total && told.iter().all(|before| before.segments_total == total));
        if let Some(before) = told.last() {
            assert!(before.segments <= now.segments && before.records <= now.records);
            assert!(before.bytes < now.bytes);
        }
        told.push(now);
    });
    let last = told.last().expect("told once at least");
    assert_eq!((last.segments, last.records), (last.segments_total, found.records));
    told
}

#[test]
fn progress_is_told_after_each_segment_and_the_ring() {
    for options in all_options(200) {
        let fs = SimFs::new();
        let log = create(&fs, options.clone());
        for _ in 0..5 {
            fill(&log, some_records(20));
            log.sync().unwrap();
        }
        fill(&log, some_records(3));
        let fs = fs.kill();
        let (dir, mode) = (Path::new(""), RecoveryMode::TornTail);
        let recovered = |fs: &SimFs, mode| {
            progress(|tell| {
                recover_with_progress(fs, dir, 0, mode, &mut |_, _| Ok(()), tell).unwrap()
            })
        };
        let files = segment_names(&fs);
        let is_mapped = options.backend == Backend::LockFree && options.ring_mapped;
        let told = recovered(&fs, mode);
        assert_eq!(told.len(), files.len() + usize::from(is_mapped));
        assert!(told.iter().zip(1..).take(files.len()).all(|(it, count)| it.segments == count));
        let bytes = |name: &String| fs.read_file(name).len() as u64;
        let ring_bytes = if is_mapped { options.ring_bytes } else { 0 };
        let last = told.last().unwrap();
        assert_eq!(last.bytes, files.iter().map(bytes).sum::<u64>() + ring_bytes);

        let damaged = fs.kill();
        damaged.corrupt(&files[0], 140, 1);
        let told = recovered(&damaged, RecoveryMode::PointInTime);
        assert_eq!((told.len(), told[0].segments), (1, files.len()), "the rest is left out");

        let shared = fs.shared();
        let opened = progress(|tell| {
            Log::open_with_progress(shared, dir, options.clone(), mode, tell).unwrap().1
        });
        assert_eq!(opened.last().unwrap().segments, files.len());
    }
}

#[test]
fn truncation_removes_exactly_the_segments_below() {
    let fs = SimFs::new();
    let log = create(&fs, options(200));
    let written = fill(&log, some_records(60));
    let (_, all) = read(&fs, RecoveryMode::Strict).unwrap();
    for segment in &all.segments[..all.segments.len() - 1] {
        log.truncate_before(segment.end - 1).unwrap();
        assert!(read_from(&fs, segment.end - 1, RecoveryMode::Strict).is_ok());
        log.truncate_before(segment.end).unwrap();
        let left = fs.crash(1);
        assert_eq!(segment_names(&left).len() as u64, all.segments.len() as u64 - segment.index);
        let (records, _) = read_from(&left, segment.end, RecoveryMode::Strict).unwrap();
        assert!(records.iter().all(|record| written.contains(record)));
    }
    log.truncate_before(u64::MAX).unwrap();
    assert_eq!(segment_names(&fs).len(), 1, "the active segment stays");
    append(&log, b"goes on", Durability::Sync).unwrap();
}

#[test]
fn a_log_goes_on_in_a_fresh_segment_and_never_in_a_replayed_one() {
    let fs = SimFs::new();
    let mut written = fill(&create(&fs, options(300)), some_records(20));
    for life in 1..5 {
        let (records, found) = read(&fs, RecoveryMode::Strict).unwrap();
        assert_eq!(records, written);
        let before = fs.files();
        let at = if life == 2 { found.end + 1000 } else { 0 };
        let log = go_on(&fs, options(300), &found, at).unwrap();
        assert_eq!(log.log_id(), LOG_ID);
        assert_eq!(log.watermarks().durable, found.end.max(at));
        written.extend(fill(&log, some_records(20)));
        if life == 3 {
            log.close().unwrap();
        }
        assert_eq!(fs.files()[..before.len()], before);
    }
}

#[test]
fn an_existing_segment_is_never_overwritten() {
    let fs = SimFs::new();
    drop(create(&fs, options(300)));
    assert!(go_on(&fs, options(300), &Recovered::empty(LOG_ID), 0).is_err());
}

#[test]
fn positions_beyond_the_format_are_refused() {
    let fs = SimFs::new();
    let refused = go_on(&fs, options(300), &Recovered::empty(LOG_ID), 1 << 56);
    assert!(matches!(refused, Err(Error::InvalidArgument(_))));
    assert!(fs.files().is_empty());
}

#[test]
fn tickets_of_many_threads_tile_the_stream_and_the_file_has_their_order() {
    let fs = SimFs::new();
    let log = Arc::new(create(&fs, options(4000)));
    let tickets = Arc::new(Mutex::new(Vec::<(Place, Option<Vec<u8>>)>::new()));
    let threads: Vec<_> = (0..4u8)
        .map(|thread| {
            let (log, tickets) = (log.clone(), tickets.clone());
            let body = move || {
                for i in 0..500u32 {
                    let record = [&[thread][..], &i.to_le_bytes()].concat();
                    let (ticket, record) = match i % 10 {
                        0 => (log.reserve(3).unwrap(), None),
                        1 => (append(&*log, &record, Durability::Sync).unwrap(), Some(record)),
                        _ => (append(&*log, &record, Durability::Process).unwrap(), Some(record)),
                    };
                    let marks = log.watermarks();
                    assert!(marks.durable <= marks.logged && marks.logged <= marks.reserved);
                    assert!(record.is_none() || marks.logged >= ticket.end);
                    tickets.lock().push((ticket, record));
                }
            };
            spawn("appender", body).unwrap()
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    log.close().unwrap();

    let mut tickets = std::mem::take(&mut *tickets.lock());
    tickets.sort_by_key(|(ticket, _)| ticket.start);
    let mut end = FIRST_POSITION;
    for (ticket, _) in &tickets {
        assert_eq!(ticket.start, end);
        assert!(ticket.position >= ticket.start);
        end = ticket.end;
    }
    let expected: Vec<_> = tickets
        .into_iter()
        .filter_map(|(ticket, record)| Some((ticket.position, record?)))
        .collect();
    assert_eq!(read(&fs, RecoveryMode::Strict).unwrap().0, expected);
}

#[test]
fn a_closed_log_takes_nothing_and_closes_again() {
    let fs = SimFs::new();
    let log = create(&fs, options(300));
    let ticket = append(&log, b"x", Durability::Process).unwrap();
    log.close().unwrap();
    let ops = fs.ops();
    log.close().unwrap();
    log.wait(ticket.end, Durability::Sync, None).unwrap();
    assert!(matches!(append(&log, b"y", Durability::Process), Err(Error::Closed)));
    assert!(matches!(log.reserve(1), Err(Error::Closed)));
    assert!(matches!(log.sync(), Err(Error::Closed)));
    assert!(matches!(log.truncate_before(1), Err(Error::Closed)));
    assert_eq!(fs.ops(), ops);
}

#[test]
fn a_closed_log_has_got_as_far_as_its_last_ticket() {
    for options in all_options(300) {
        let log = create(&SimFs::new(), options);
        let end = append(&log, b"x", Durability::Process).unwrap().end;
        log.close().unwrap();
        let marks = log.watermarks();
        assert_eq!((marks.reserved, marks.logged, marks.durable), (end, end, end));
    }
}

#[test]
fn options_that_would_never_rest_are_refused() {
    let options = LogOptions { segment_age: Some(Duration::ZERO), ..options(300) };
    let outcome = go_on(&SimFs::new(), options, &Recovered::empty(LOG_ID), 0);
    assert!(matches!(outcome, Err(Error::InvalidArgument(_))));
}

/// A log that is never to rotate says so with a length that no disk has.
#[test]
fn segments_longer_than_a_disk_are_not_made_ahead() {
    for segment_bytes in [1 << 40, u64::MAX] {
        let fs = SimFs::new();
        let log = create(&fs, LogOptions { segments_ahead: true, ..options(segment_bytes) });
        // As if there were room for so many writes.
        fs.inject(Fault::new(Op::Write, FaultKind::NoSpace).after(60).for_ever());
        for _ in 0..30 {
            append(&log, &[1; 100_000], Durability::Process).unwrap();
        }
        log.close().unwrap();
        let bytes: u64 = fs.files().iter().map(|(_, len)| len).sum();
        assert!(bytes < 4_000_000, "{bytes} bytes for 3,000,000");
    }
}

/// The closing goes on in the background, and a drop leaves it to that.
#[test]
fn a_log_that_is_dropped_while_it_closes_is_closed() {
    for options in all_options(300) {
        for _ in 0..20 {
            let fs = SimFs::new();
            let log = create(&fs, options.clone());
            fs.inject(Fault::new(Op::Sync, FaultKind::Delay(Duration::from_millis(1))));
            append(&log, b"x", Durability::Process).unwrap();
            assert!(!log.close_within(Duration::ZERO).unwrap());
            drop(log);
            eventually("it is closed", || {
                let found = read(&fs.crash(1), RecoveryMode::Strict);
                found.is_ok_and(|(records, found)| found.clean_close && records.len() == 1)
            });
        }
    }
}
