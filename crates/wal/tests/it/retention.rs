//! Which segments stay, and what becomes of their files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stratalog_base::Error;
use stratalog_base::fs::{Fault, FaultKind, Op, SimFs};
use stratalog_base::sync::{AtomicBool, Instant, Mutex, Ordering, sleep};
use stratalog_wal::{
    Alert, AlertListener, Archive, Durability, Log, LogOptions, RecoveryMode, Retention, Wal,
};

use crate::support::*;

const MODES: [RecoveryMode; 4] = [
    RecoveryMode::TornTail,
    RecoveryMode::Strict,
    RecoveryMode::PointInTime,
    RecoveryMode::Salvage,
];

fn read_all(log: &Log) -> Vec<Record> {
    let mut reader = log.reader(0).unwrap();
    let next = || reader.next().unwrap().map(|it| (it.position, it.bytes.into_owned()));
    std::iter::from_fn(next).collect()
}

/// The records of a log of eight segments or more.
fn a_closed_log(fs: &SimFs, options: &LogOptions) -> Vec<Record> {
    let log = create(fs, options.clone());
    let mut written = Vec::new();
    for _ in 0..8 {
        written.extend(fill(&log, some_records(10)));
        log.sync().unwrap(); // A ring is written as a whole.
    }
    log.close().unwrap();
    written
}

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

/// Nothing went before a segment of the new session was full.
#[test]
fn what_need_not_stay_goes_when_a_quiet_log_is_opened() {
    let age = Duration::from_millis(50);
    for base in all_options(200) {
        for (retention, stay) in [(Retention::Segments(3), 4), (Retention::Age(age), 1)] {
            let fs = SimFs::new();
            let written = a_closed_log(&fs, &base);
            let options = LogOptions { retention, ..base.clone() };
            let opened = Instant::now();
            let (log, _) = Log::open(fs.shared(), Path::new(""), options).unwrap();
            eventually("the rest goes", || log.stats().segments == stay);
            let is_by_age = retention == Retention::Age(age);
            assert!(!is_by_age || opened.elapsed() >= age, "found, not sealed, so long ago");
            let left = read_all(&log);
            assert!(written.ends_with(&left) && left.is_empty() == is_by_age);
        }
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
    let written = fill(&log, some_records(60));
    let before = segment_names(&fs);
    assert!(matches!(log.truncate_before(u64::MAX), Err(Error::Full)));
    assert_eq!(segment_names(&fs), before);
    // The start was raised before: nobody found what was there.
    assert_eq!(read_all(&log), written);
    for mode in MODES {
        assert_eq!(read(&fs.crash(1), mode).unwrap().0, written, "{mode:?}");
    }
    fails.store(false, Ordering::Release);
    log.truncate_before(u64::MAX).unwrap();
    assert_eq!(*seen.lock(), before[..before.len() - 1]);
    assert_eq!(segment_names(&fs), before[before.len() - 1..]);
}

/// Files by name.
type Archived = Vec<(String, Vec<u8>)>;

/// An archive in memory, the first `failures` calls of which fail: its files, as they came, and the hook.
fn an_archive(fs: &SimFs, failures: u32) -> (Arc<Mutex<Archived>>, Archive) {
    let archived = Arc::new(Mutex::new(Vec::new()));
    let (fs, files, left) = (fs.clone(), archived.clone(), Mutex::new(failures));
    let hook = move |path: &Path| {
        let mut left = left.lock();
        if *left > 0 {
            *left -= 1;
            return Err(Error::Full);
        }
        files.lock().push((path.display().to_string(), fs.read_file(path)));
        Ok(())
    };
    (archived, Archive::new(hook))
}

/// It was tried again when the next segment was full, and nobody was told.
#[test]
fn what_retention_cannot_archive_stays_is_told_and_goes_later() {
    for base in all_options(200) {
        let fs = SimFs::new();
        let written = a_closed_log(&fs, &base);
        let (archived, hook) = an_archive(&fs, 2);
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = {
            let (told, fs, written) = (told.clone(), fs.clone(), written.clone());
            AlertListener::new(move |alert| {
                if let Alert::RetentionFailed { why } = alert {
                    assert_eq!(read_from(&fs, 0, RecoveryMode::TornTail).unwrap().0, written);
                    told.lock().push(why.clone());
                }
            })
        };
        let options = LogOptions {
            retention: Retention::Segments(1),
            archive: Some(hook),
            alert_listener: Some(listener),
            ..base
        };
        let before: BTreeMap<_, _> =
            segment_names(&fs).into_iter().map(|name| (name.clone(), fs.read_file(name))).collect();
        let (log, _) = Log::open(fs.shared(), Path::new(""), options).unwrap();
        eventually("it is told by the statistics", || {
            log.stats().retention_failed.is_some() || log.stats().segments <= 2
        });
        eventually("it goes", || {
            log.stats().segments <= 2 && log.stats().retention_failed.is_none()
        });
        assert_eq!(told.lock().len(), 1, "once for failures in a row");
        let left = read_all(&log);
        assert!(written.ends_with(&left) && left.len() < written.len());
        // All that the log has lost is in the archive, as it was.
        let archived = archived.lock();
        assert!(archived.iter().all(|(name, bytes)| before[name] == *bytes));
        let all = SimFs::new();
        archived.iter().for_each(|(name, bytes)| all.write_file(name, bytes));
        let found = read_from(&all, 0, RecoveryMode::Salvage).unwrap().0;
        assert!(written.starts_with(&found) && found.len() + left.len() >= written.len());
    }
}

/// FILES-7
#[test]
fn a_power_cut_leaves_each_record_in_the_log_or_in_the_archive() {
    let mut cuts = 0;
    for cut in 0.. {
        let fs = SimFs::new();
        let (archived, hook) = an_archive(&fs, 0);
        let log = create(&fs, LogOptions { archive: Some(hook), ..options(200) });
        let written = fill(&log, some_records(20));
        log.sync().unwrap();
        fs.cut_power_at(fs.ops() + cut);
        let outcome = log.truncate_before(u64::MAX);
        for seed in 0..8 {
            let left = fs.crash(seed);
            let (found, recovered) = read_from(&left, 0, RecoveryMode::TornTail).unwrap();
            let archive = SimFs::new();
            archived.lock().iter().for_each(|(name, bytes)| archive.write_file(name, bytes));
            let mut all = read_from(&archive, 0, RecoveryMode::Salvage).unwrap().0;
            let in_both = all.len() + found.len() - written.len();
            all.extend_from_slice(&found[in_both..]);
            assert_eq!(all, written, "cut {cut} seed {seed}");
            assert!(recovered.end >= written[19].0);
        }
        cuts += 1;
        if outcome.is_ok() {
            break;
        }
    }
    assert!(cuts > 20, "{cuts}");
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

/// A spare whose predecessor can't be sealed is not forgotten, and goes when files are no longer needed.
#[test]
fn a_failed_rotation_leaves_no_file_behind_once_the_log_goes_on() {
    for n in 0.. {
        let fs = SimFs::new();
        let log = create(&fs, LogOptions { segments_ahead: true, ..options(4096) });
        append(&log, &[1; 3000], Durability::Sync).unwrap();
        eventually("a spare is there", || segment_names(&fs).len() == 2);
        fs.inject(Fault::new(Op::Write, FaultKind::Eio).after(n));
        let failed = (0..3).any(|_| append(&log, &[1; 3000], Durability::Process).is_err());
        let was_hit = fs.faults_hit() > 0;
        let old = if failed { segment_names(&fs) } else { vec![] };
        fs.clear_faults();
        log.resume().unwrap();
        for _ in 0..8 {
            append(&log, &[2; 3000], Durability::Sync).unwrap();
            log.truncate_before(u64::MAX).unwrap();
        }
        let is_old = |name: &String| old.contains(name);
        eventually("none of before is needed", || !segment_names(&fs).iter().any(is_old));
        if !was_hit {
            assert!(!failed && n > 5, "call {n}");
            return;
        }
    }
}
