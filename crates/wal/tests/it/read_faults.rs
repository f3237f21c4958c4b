//! Every call that reads can fail: that is told with the file's name, nothing is taken for damage or for
//! the end, and once the fault is gone all is there.

use std::path::Path;
use std::time::Duration;

use stratalog_base::fs::{Fault, FaultKind, Fs, On, Op, SimFs};
use stratalog_base::{Error, Result};
use stratalog_wal::repair::salvage_into;
use stratalog_wal::{
    Backend, Durability, Log, LogOptions, Reader, Recovered, RecoveryMode, Wal, recover,
};

use crate::support::*;

const DIR: &str = "";
const REPAIRED: &str = "repaired";
const KINDS: [FaultKind; 2] = [FaultKind::Eio, FaultKind::NoSpace];
const MODES: [RecoveryMode; 4] = [
    RecoveryMode::TornTail,
    RecoveryMode::Strict,
    RecoveryMode::PointInTime,
    RecoveryMode::Salvage,
];

/// The last so many records of a worn log are in the page cache, or the ring, only.
const NOT_DURABLE: usize = 7;

/// A log after three lives: it has segments, a start, perhaps a ring and files made ahead, and something
/// that is not durable; and its records.
fn worn(options: &LogOptions) -> (SimFs, Vec<Record>) {
    let (mut fs, mut written) = (SimFs::new(), Vec::new());
    for life in 0..3 {
        let (log, _) = Log::open(fs.shared(), Path::new(DIR), options.clone()).unwrap();
        written.extend(fill_durably(&log, 20));
        if life == 1 {
            log.truncate_before(written[15].0).unwrap();
        }
        written.extend(fill(&log, some_records(NOT_DURABLE)));
        drop(log);
        fs = fs.kill();
    }
    let (left, _) = read(&fs, RecoveryMode::TornTail).unwrap();
    assert!(written.ends_with(&left) && left.len() < written.len());
    (fs, left)
}

/// `count` records, in segments of a few, whoever writes.
fn fill_durably(log: &Log, count: usize) -> Vec<Record> {
    let synced = |record| {
        let written = fill(log, [record]);
        log.sync().unwrap();
        written
    };
    some_records(count).flat_map(synced).collect()
}

fn each_worn(check: impl Fn(&LogOptions, &SimFs, &[Record])) {
    for ahead in [false, true] {
        for options in all_options(300) {
            let options = LogOptions { segments_ahead: ahead, ..options };
            let (fs, written) = worn(&options);
            check(&options, &fs, &written);
        }
    }
}

/// It is of the kind that was injected, and names a file of the log or its directory.
fn is_told(error: &Error, kind: FaultKind) -> bool {
    let is_named = |path: &Path| {
        [DIR, REPAIRED].map(Path::new).contains(&path) || path.to_string_lossy().contains(".wal")
    };
    match error {
        Error::Io { path, .. } => kind == FaultKind::Eio && is_named(path),
        Error::NoSpace { path, .. } => kind == FaultKind::NoSpace && is_named(path),
        _ => false,
    }
}

/// Calls `run` with each kind of fault and 0, 1, 2, …, until it says that its fault was not met, which must
/// not be before `least`.
fn each_call(least: u64, mut run: impl FnMut(FaultKind, u64) -> bool) {
    for kind in KINDS {
        let mut n = 0;
        while run(kind, n) {
            n += 1;
        }
        assert!(n >= least, "there are enough calls: {n}");
    }
}

/// Calls `run` with a copy of `sound` of which each call fails in turn. `run` gives how it ended.
fn fail_each_on(sound: &SimFs, least: u64, mut run: impl FnMut(&SimFs, &str) -> Result<()>) {
    each_call(least, |kind, n| {
        let fs = sound.kill();
        fs.inject(Fault::new(On::Any, kind).after(n));
        let what = format!("{kind:?} on call {n}");
        let outcome = run(&fs, &what);
        let is_hit = fs.faults_hit() > 0;
        if let Err(error) = &outcome {
            assert!(is_hit && is_told(error, kind), "{what}: {error}");
        }
        is_hit
    });
}

/// REC-4
#[test]
fn a_read_error_of_a_recovery_in_any_mode_is_neither_damage_nor_the_end() {
    each_worn(|_, fs, _| {
        for mode in MODES {
            let whole = read(fs, mode);
            fail_each_on(fs, 10, |fs, what| {
                let outcome = read(fs, mode);
                if fs.faults_hit() > 0 {
                    return outcome
                        .map(|_| panic!("{what}, {mode:?}: a read that failed was needed"));
                }
                // A log that was killed is refused by the strict mode, perhaps.
                assert_eq!(outcome.ok(), whole.clone().ok(), "{what}");
                Ok(())
            });
        }
    });
}

#[test]
fn a_log_opens_after_an_error_of_any_call_of_opening_it() {
    each_worn(|options, fs, written| {
        fail_each_on(fs, 15, |fs, what| {
            let opened = Log::open(fs.shared(), Path::new(DIR), options.clone());
            let outcome = opened.as_ref().map(drop).map_err(Clone::clone);
            drop(opened);
            fs.clear_faults();
            let owed = written.len() - if outcome.is_ok() { 0 } else { NOT_DURABLE };
            for seed in 0..4 {
                let (cut, _) = read(&fs.crash(seed), RecoveryMode::TornTail).unwrap();
                let is_kept = written.starts_with(&cut) && cut.len() >= owed;
                assert!(is_kept, "{what}: {} of {owed} records", cut.len());
            }
            let (log, _) = Log::open(fs.shared(), Path::new(DIR), options.clone()).unwrap();
            assert_eq!(rest(&mut log.reader(0).unwrap()), written, "{what}");
            append(&log, b"goes on", Durability::Sync).unwrap();
            assert_eq!(
                read(&fs.crash(1), RecoveryMode::TornTail).unwrap().0.len(),
                written.len() + 1
            );
            outcome
        });
    });
}

/// Reads what there is, by `next` or by `wait_next`; what was read before an error is in `read`.
fn read_on(reader: &mut Reader, waits: bool, read: &mut Vec<Record>) -> Result<()> {
    loop {
        let next = match waits {
            true => reader.wait_next(Some(Duration::ZERO))?,
            false => reader.next()?,
        };
        let Some(record) = next else { return Ok(()) };
        read.push((record.position, record.bytes.into_owned()));
    }
}

fn rest(reader: &mut Reader) -> Vec<Record> {
    let mut read = Vec::new();
    read_on(reader, false, &mut read).unwrap();
    read
}

/// 20 short records, two that are longer than what is read at once, and 10 short ones.
fn short_and_long() -> impl Iterator<Item = Vec<u8>> {
    let long = [vec![3; 200 << 10], vec![4; 200 << 10]];
    some_records(20).chain(long).chain(some_records(10))
}

/// It took the place of what it had not read for what it had: zeros, or older bytes.
#[test]
fn a_reader_stays_where_it_is_when_a_read_fails_and_goes_on_later() {
    for options in all_options(300) {
        let fs = SimFs::new();
        let log = create(&fs, options);
        let written = fill(&log, short_and_long());
        log.sync().unwrap();
        each_call(8, |kind, n| {
            let hits = fs.faults_hit();
            fs.inject(Fault::new(On::Any, kind).after(n));
            let opened = log.reader(0);
            if let Err(error) = &opened {
                assert!(is_told(error, kind), "{error}");
            }
            let mut reader = opened.or_else(|_| log.reader(0)).unwrap();
            let mut read = Vec::new();
            if let Err(error) = read_on(&mut reader, false, &mut read) {
                assert!(is_told(&error, kind), "{error}");
                let last = read.last().map_or(0, |(at, _)| *at);
                let next = written[read.len()].0;
                assert!((last..=next).contains(&reader.position()), "it stays");
                read_on(&mut reader, false, &mut read).unwrap();
            }
            assert!(read == written, "{kind:?} {n}: what was written, in order");
            fs.clear_faults();
            fs.faults_hit() > hits
        });
    }
}

#[test]
fn a_reader_that_follows_stays_where_it_is_when_a_read_fails_and_goes_on_later() {
    for options in all_options(300) {
        let fs = SimFs::new();
        let log = create(&fs, options);
        let mut readers = [log.reader(0).unwrap(), log.reader(0).unwrap().durable_only()];
        each_call(8, |kind, n| {
            let written = fill(&log, short_and_long());
            log.sync().unwrap();
            let hits = fs.faults_hit();
            for reader in &mut readers {
                fs.inject(Fault::new(On::Any, kind).after(n));
                let mut read = Vec::new();
                if let Err(error) = read_on(reader, true, &mut read) {
                    assert!(is_told(&error, kind), "{error}");
                    read_on(reader, true, &mut read).unwrap();
                }
                assert!(read == written, "{kind:?} {n}: what was written, in order");
                fs.clear_faults();
            }
            log.truncate_before(written[30].0).unwrap();
            fs.faults_hit() > hits
        });
    }
}

fn read_in(fs: &SimFs, dir: &Path, mode: RecoveryMode) -> Result<(Vec<Record>, Recovered)> {
    let mut records = Vec::new();
    let found = recover(fs, dir, 0, mode, &mut |position, record| {
        records.push((position, record.to_vec()));
        Ok(())
    })?;
    Ok((records, found))
}

/// REPAIR-1, REPAIR-3
#[test]
fn a_repair_that_fails_at_any_call_leaves_the_log_and_no_whole_copy_and_can_be_repeated() {
    each_worn(|_, fs, written| {
        let (first, second) = (Path::new(REPAIRED), Path::new("again"));
        fail_each_on(fs, 25, |fs, what| {
            let before: Vec<_> = fs.files().iter().map(|(path, _)| fs.read_file(path)).collect();
            let outcome = salvage_into(fs, Path::new(DIR), 0, first).map(drop);
            fs.clear_faults();
            if outcome.is_err() && fs.list(first).is_ok() {
                let copy = read_in(fs, first, RecoveryMode::TornTail);
                // It may fail once all is done.
                let is_told = copy.is_err()
                    || copy.is_ok_and(|(records, found)| !found.clean_close || records == written);
                assert!(is_told, "{what}: it seems whole");
            }
            salvage_into(fs, Path::new(DIR), 0, second).unwrap();
            let (copied, _) = read_in(fs, second, RecoveryMode::Strict).unwrap();
            assert_eq!(copied, written, "{what}");
            let files = fs.files().into_iter();
            let in_log = files.filter(|(path, _)| path.parent() == Some(Path::new(DIR)));
            let after: Vec<_> = in_log.map(|(path, _)| fs.read_file(path)).collect();
            assert_eq!(after, before, "{what}: the log is only read");
            outcome
        });
    });
}

#[test]
fn a_truncation_that_fails_at_any_call_is_told_and_can_be_repeated() {
    for options in all_options(300) {
        each_call(5, |kind, n| {
            let fs = SimFs::new();
            let log = create(&fs, options.clone());
            let written = fill_durably(&log, 40);
            log.truncate_before(written[10].0).unwrap();
            let middle = written[30].0;
            fs.inject(Fault::new(On::Any, kind).after(n));
            if let Err(error) = log.truncate_before(middle) {
                assert!(is_told(&error, kind), "{error}");
            }
            let is_hit = fs.faults_hit() > 0;
            fs.clear_faults();
            append(&log, b"goes on", Durability::Sync).unwrap();
            for fs in [fs.kill(), fs.crash(n)] {
                let (left, _) = read(&fs, RecoveryMode::TornTail).unwrap();
                assert!(left.len() > 10 && left[..left.len() - 1].ends_with(&written[30..]));
            }
            log.truncate_before(middle).unwrap();
            let (left, _) = read(&fs.kill(), RecoveryMode::TornTail).unwrap();
            assert!(left[0].0 > written[20].0, "what was below is gone");
            is_hit
        });
    }
}

/// All that a log does; what was acknowledged goes to `acked`.
fn run(fs: &SimFs, options: &LogOptions, acked: &mut Vec<Record>) -> Result<()> {
    let (log, _) = Log::open(fs.shared(), Path::new(DIR), options.clone())?;
    for (i, record) in some_records(40).enumerate() {
        let class = if i % 4 == 3 { Durability::Sync } else { Durability::Process };
        acked.push((append(&log, &record, class)?.position, record));
        if i % 10 == 9 {
            log.set_backend(Backend::ALL[i / 10 % 3])?;
        }
    }
    log.close()
}

/// The calls that change something are failed in [`crate::faults`].
#[test]
fn a_failed_call_that_changes_nothing_loses_nothing() {
    for ahead in [false, true] {
        for options in all_options(300) {
            let options = LogOptions { segments_ahead: ahead, ..options };
            for op in [Op::Open, Op::Map, Op::List, Op::Read, Op::Len] {
                each_call(0, |kind, n| {
                    let fs = SimFs::new();
                    fs.inject(Fault::new(op, kind).after(n));
                    let mut acked = Vec::new();
                    if let Err(error) = run(&fs, &options, &mut acked) {
                        assert!(is_told(&error, kind), "{op:?} {kind:?} {n}: {error}");
                    }
                    let (found, _) = read(&fs.kill(), RecoveryMode::TornTail).unwrap();
                    assert!(found.starts_with(&acked), "{op:?} {kind:?} {n}");
                    fs.faults_hit() > 0
                });
            }
        }
    }
}
