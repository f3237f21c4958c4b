//! Which segments stay, and what becomes of their files.

use std::sync::Arc;
use std::time::Duration;

use stratalog_base::Error;
use stratalog_base::fs::{Fault, FaultKind, Op, SimFs};
use stratalog_base::sync::{AtomicBool, Mutex, Ordering, sleep};
use stratalog_wal::{Archive, Durability, LogOptions, RecoveryMode, Retention, Wal};

use crate::support::*;

#[test]
fn so_many_segments_stay() {
    for base in all_options(200) {
        let fs = SimFs::new();
        let log = create(&fs, LogOptions { retention: Retention::Segments(3), ..base.clone() });
        let mut written = Vec::new();
        for _ in 0..5 {
            written.extend(fill(&log, some_records(40)));
            log.sync().unwrap();
        }
        append(&log, &[1; 300], Durability::Sync).unwrap();
        append(&log, b"rotates", Durability::Sync).unwrap();
        eventually("the rest goes", || log.stats().segments <= 4);
        drop(log);
        assert!(!read_from(&fs.kill(), 0, RecoveryMode::TornTail).unwrap().0.is_empty());
        let (log, _) =
            stratalog_wal::Log::open(fs.kill().shared(), std::path::Path::new(""), base).unwrap();
        append(&log, b"a log opens after its oldest segments went", Durability::Sync).unwrap();
    }
}

#[test]
fn segments_go_by_age_and_are_sealed_by_age() {
    let fs = SimFs::new();
    let age = Duration::from_millis(10);
    let retention = Retention::Age(age);
    let log = create(&fs, LogOptions { retention, segment_age: Some(age), ..options(1 << 20) });
    for _ in 0..3 {
        append(&log, b"old", Durability::Sync).unwrap();
        eventually("it is sealed", || log.stats().segments > 1);
        append(&log, b"in the next", Durability::Sync).unwrap();
        eventually("it goes", || log.stats().segments <= 2);
    }
    eventually("all that is old goes", || log.stats().segments == 1);
    let newest = segment_names(&fs).last().cloned();
    sleep(3 * age);
    assert_eq!(log.stats().segments, 1);
    assert_eq!(segment_names(&fs).last().cloned(), newest, "an empty segment is not sealed");
}

#[test]
fn a_segment_is_archived_before_it_goes_or_stays() {
    let fs = SimFs::new();
    let (seen, fails) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(true)));
    let archive = {
        let (fs, seen, fails) = (fs.clone(), seen.clone(), fails.clone());
        Archive::new(move |path| {
            if fails.load(Ordering::Acquire) {
                return Err(Error::Full);
            }
            assert!(!fs.read_file(path).is_empty(), "it is still there");
            seen.lock().push(path.display().to_string());
            Ok(())
        })
    };
    let log = create(&fs, LogOptions { archive: Some(archive), ..options(200) });
    fill(&log, some_records(60));
    let before = segment_names(&fs);
    assert!(matches!(log.truncate_before(u64::MAX), Err(Error::Full)));
    assert_eq!(segment_names(&fs), before);
    fails.store(false, Ordering::Release);
    log.truncate_before(u64::MAX).unwrap();
    assert_eq!(*seen.lock(), before[..before.len() - 1]);
    assert_eq!(segment_names(&fs), before[before.len() - 1..]);
}

#[test]
fn files_are_recycled_and_do_not_pile_up() {
    for base in all_options(4000) {
        let fs = SimFs::new();
        let log = create(&fs, LogOptions { segments_ahead: true, ..base.clone() });
        let mut last = Vec::new();
        for _ in 0..40 {
            last = fill(&log, some_records(150));
            log.truncate_before(last[0].0).unwrap();
            // Three segments of records, two whose next link is not durable, a spare, a late one, one being made, two
            // retired, the ring and the start. Forty rounds that left one behind each would show.
            let files = fs.files().len();
            assert!(files <= 12, "{files} files");
        }
        let left = read_from(&fs.kill(), last[0].0, RecoveryMode::TornTail).unwrap().0;
        assert_eq!(left, last);
        drop(log);
    }
}

/// What a failed step left stayed until the log was opened again.
#[test]
fn a_file_that_cannot_be_recycled_is_removed() {
    for base in all_options(4000) {
        for op in [Op::Rename, Op::Open, Op::Write, Op::Sync] {
            // A leader that finds no file made ahead makes one, and may meet the fault itself.
            let met_by_thread = (0..100).any(|_| recycling_fails(&base, op));
            assert!(met_by_thread, "{op:?}");
        }
    }
}

/// Whether the background thread has met a fault of `op` while it recycled a file, and nothing is left of
/// that; false if a leader met it.
fn recycling_fails(base: &LogOptions, op: Op) -> bool {
    let names = |fs: &SimFs, end: &str| {
        let paths = fs.files().into_iter().map(|(path, _)| path.display().to_string());
        paths.filter(|name| name.ends_with(end)).count()
    };
    let fs = SimFs::new();
    let log = create(&fs, LogOptions { segments_ahead: true, ..base.clone() });
    let put = || append(&log, &[7; 100], Durability::Sync);
    while names(&fs, "-old") == 0 {
        (0..40).for_each(|_| _ = put().unwrap());
        log.truncate_before(put().unwrap().position).unwrap();
        eventually("the next is made ahead", || {
            put().unwrap();
            segment_names(&fs).len() as u64 > log.stats().segments
        });
    }
    // The one that waits is due once a quarter of the next segment is used.
    let segments = log.stats().segments;
    let part = if op == Op::Rename { "-old" } else { "-new" };
    fs.inject(Fault::new(op, FaultKind::Eio).path(part));
    while log.stats().segments == segments {
        if put().is_err() {
            return false;
        }
    }
    if (0..10).any(|_| put().is_err()) {
        return false;
    }
    eventually("recycling fails", || fs.faults_hit() == 1);
    // What waits to be recycled is used up, as nothing is removed any more; what was forgotten would stay.
    eventually("nothing is left of it", || {
        put().unwrap();
        names(&fs, "-old") == 0 && names(&fs, "-new") == 0
    });
    (0..200).for_each(|_| _ = put().unwrap());
    assert_eq!(log.close().map_err(|error| error.to_string()), Ok(()));
    true
}

#[test]
fn compressed_records_come_back_and_take_less_room() {
    for base in all_options(1 << 20) {
        let lens = [None, Some(100)].map(|compress_from_bytes| {
            let fs = SimFs::new();
            let log = create(&fs, LogOptions { compress_from_bytes, ..base.clone() });
            let mut written = fill(&log, [vec![7; 1000], vec![8; 99], (0..=255).collect()]);
            let records = [&[9; 500][..], b"short"];
            let mut at = Vec::new();
            log.append_batch(&records, Durability::Sync, &mut at).unwrap().wait().unwrap();
            written.extend(at.into_iter().zip(records.map(<[u8]>::to_vec)));
            assert_eq!(read(&fs.crash(3), RecoveryMode::TornTail).unwrap().0, written);
            let mut reader = log.reader(0).unwrap();
            assert_eq!(*reader.next().unwrap().unwrap().bytes, [7; 1000]);
            log.watermarks().reserved
        });
        assert!(lens[1] + 1200 < lens[0], "{lens:?}");
    }
}
