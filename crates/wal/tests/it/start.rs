//! A start file that is damaged, or another log's: what each mode makes of it (REC-10), and what becomes of it once
//! the log goes on (FILES-8).

use std::path::Path;

use stratalog_base::Error;
use stratalog_base::fs::{Fs, SimFs};
use stratalog_wal::repair::salvage_into;
use stratalog_wal::start_file::{NAME, Start};
use stratalog_wal::{Durability, Log, RecoveryMode, Wal, inspect, recover};

use crate::support::*;

use RecoveryMode::{PointInTime, Salvage, Strict, TornTail};

/// A log of several small segments, the last two records of which are not durable, and what is to be
/// read of it. Of a cut one, the first segments were removed, and its start file says so.
fn a_log(is_cut: bool) -> (SimFs, Vec<Record>) {
    let fs = SimFs::new();
    let log = create(&fs, options(400));
    let mut written = fill(&log, some_records(25));
    log.sync().unwrap();
    if is_cut {
        log.truncate_before(written[12].0).unwrap();
    }
    written.extend(fill(&log, [b"one", b"two"]));
    drop(log);
    let (records, found) = read_from(&fs, 0, Strict).unwrap();
    assert!(written.ends_with(&records) && is_cut == (records.len() < written.len()));
    assert!(found.segments.len() > 2 && found.durable < records.last().unwrap().0);
    (fs.kill(), records)
}

/// A copy of the directory with another start file.
fn with_start(fs: &SimFs, bytes: &[u8]) -> SimFs {
    let fs = fs.kill();
    fs.write_file(NAME, bytes);
    fs
}

fn bytes_of(start: Start) -> Vec<u8> {
    let fs = SimFs::new();
    start.raise(&fs, Path::new("")).unwrap();
    fs.read_file(NAME)
}

/// Bytes of the start file of another log, which starts at `position`.
fn foreign(position: u64) -> Vec<u8> {
    bytes_of(Start { log_id: LOG_ID + 1, position })
}

/// Calls `check` with logs whose start file is not theirs or cannot be read, and what is to be read of them.
fn each_bad_start(mut check: impl FnMut(&SimFs, &[Record], &str)) {
    for is_cut in [false, true] {
        let (fs, records) = a_log(is_cut);
        let (middle, end) = (records[records.len() / 2].0, records.last().unwrap().0);
        for position in [0, 8, records[0].0, middle, end, end + 1000, u64::MAX] {
            let case = format!("cut: {is_cut}, of another log, at {position}");
            check(&with_start(&fs, &foreign(position)), &records, &case);
        }
        let own = Start { log_id: LOG_ID, position: middle };
        let mut flipped = bytes_of(own);
        flipped[25] ^= 1;
        for bytes in [&b""[..], b"rubbish", &flipped, &[0; 36]] {
            let case = format!("cut: {is_cut}, damaged, {} bytes", bytes.len());
            check(&with_start(&fs, bytes), &records, &case);
        }
    }
}

#[test]
fn a_start_file_that_does_not_count_hides_no_record_from_modes_that_forgive() {
    each_bad_start(|fs, expected, case| {
        for mode in [TornTail, Strict] {
            let opened = Log::open_with(fs.kill().shared(), Path::new(""), options(400), mode);
            for error in [read_from(fs, 0, mode).unwrap_err(), opened.unwrap_err()] {
                let is_named =
                    matches!(&error, Error::Corrupt { path, .. } if path.ends_with(NAME));
                assert!(is_named, "{case}, {mode:?}: {error}");
            }
        }
        for mode in [PointInTime, Salvage] {
            let (records, found) = read_from(fs, 0, mode).unwrap();
            assert_eq!(records, expected, "{case}, {mode:?}");
            let [dropped] = &found.dropped[..] else { panic!("{case}: {:?}", found.dropped) };
            assert_eq!((dropped.file.to_str(), found.log_id), (Some(NAME), Some(LOG_ID)), "{case}");
            let end = read_from(fs, expected[0].0, mode).unwrap().1.end;
            assert_eq!(found.end, end, "{case}: it ends where the segments do");
        }
    });
}

/// Its checksum may be right: whoever wrote it was no log.
#[test]
fn a_start_file_that_gives_no_position_is_damage() {
    let (fs, records) = a_log(true);
    let end = records.last().unwrap().0;
    for position in [end + 1001, u64::MAX] {
        let fs = with_start(&fs, &bytes_of(Start { log_id: LOG_ID, position }));
        let error = read_from(&fs, 0, TornTail).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{position}: {error}");
        let (log, found) =
            Log::open_with(fs.shared(), Path::new(""), options(400), PointInTime).unwrap();
        assert_eq!(found.records, records.len() as u64);
        append(&log, b"new", Durability::Sync).unwrap();
        assert_eq!(read_from(&fs, 0, TornTail).unwrap().0.len(), records.len() + 1);
    }
}

/// Whoever reads from a position needs what lies above, whatever the start file fails to say.
#[test]
fn a_lost_segment_is_missed_from_a_position_on_though_the_start_file_says_nothing() {
    let (fs, records) = a_log(false);
    fs.remove(Path::new(&segment_names(&fs)[0])).unwrap();
    let fs = with_start(&fs, &foreign(8));
    let (found, recovered) = read(&fs, PointInTime).unwrap();
    assert_eq!((found, recovered.end), (vec![], 8), "a prefix, with nothing left out before it");
    let (found, _) = read_from(&fs, 0, PointInTime).unwrap();
    assert!(records.ends_with(&found) && found.len() > 10, "as if the first was removed");
}

#[test]
fn a_log_that_goes_on_in_spite_of_its_start_file_has_a_sound_one() {
    each_bad_start(|fs, expected, case| {
        let fs = fs.kill();
        let (log, found) =
            Log::open_with(fs.shared(), Path::new(""), options(400), PointInTime).unwrap();
        assert_eq!(found.records, expected.len() as u64, "{case}");
        let new = (append(&log, b"new", Durability::Sync).unwrap().position, b"new".to_vec());
        let mut expected = [expected, &[new]].concat();
        assert_eq!(read_from(&fs.crash(1), 0, TornTail).unwrap().0, expected, "{case}");
        let mut reader = log.reader(0).unwrap();
        for (position, _) in &expected {
            assert_eq!(reader.next().unwrap().unwrap().position, *position, "{case}");
        }
        log.close().unwrap();
        let start = Start::read(&fs, Path::new("")).unwrap().unwrap();
        assert!(start.log_id == LOG_ID && start.position <= expected[0].0, "{case}: {start:?}");
        let (records, found) = read_from(&fs, 0, Strict).unwrap();
        assert_eq!((&records, found.dropped), (&expected, vec![]), "{case}");
        // It rises again, whatever the other one said.
        let (log, _) = Log::open_with(fs.shared(), Path::new(""), options(400), Strict).unwrap();
        log.truncate_before(expected[9].0).unwrap();
        expected
            .push((append(&log, b"more", Durability::Sync).unwrap().position, b"more".to_vec()));
        let (records, _) = read_from(&fs.crash(1), 0, TornTail).unwrap();
        assert!(records.len() < expected.len() && expected.ends_with(&records), "{case}");
    });
}

/// FILES-8
#[test]
fn a_power_cut_while_the_start_file_is_mended_costs_no_record() {
    let (mut states, mut mended_count) = (0, 0);
    each_bad_start(|sound, expected, case| {
        let durable_count = expected.len() - 2;
        for op in 0.. {
            let fs = sound.kill();
            fs.cut_power_at(fs.ops() + op);
            let outcome = Log::open_with(fs.shared(), Path::new(""), options(400), PointInTime);
            if !fs.power_is_off() {
                outcome.unwrap();
                assert!(op > 8, "{case}: {op} calls");
                break;
            }
            mended_count += usize::from(read_from(&fs.kill(), 0, TornTail).is_ok());
            for fs in (0..4).map(|seed| fs.crash(seed)).chain([fs.kill()]) {
                states += 1;
                let (records, _) = read_from(&fs, 0, PointInTime).unwrap();
                let is_kept = expected.starts_with(&records) && records.len() >= durable_count;
                assert!(is_kept, "{case}, call {op}: {} records", records.len());
                // The start file is mended last, so the log is sound or refused for that alone.
                match read_from(&fs, 0, TornTail) {
                    Ok((found, _)) => assert_eq!(found, records, "{case}, call {op}"),
                    Err(Error::Corrupt { path, .. }) => assert!(path.ends_with(NAME), "{case}"),
                    Err(other) => panic!("{case}, call {op}: {other}"),
                }
                let (log, _) =
                    Log::open_with(fs.shared(), Path::new(""), options(400), PointInTime).unwrap();
                let last = append(&log, b"last", Durability::Sync).unwrap().position;
                let expected = [records, vec![(last, b"last".to_vec())]].concat();
                for mode in [TornTail, Strict] {
                    let (records, _) = read_from(&fs.crash(op), 0, mode).unwrap();
                    assert_eq!(records, expected, "{case}, call {op}, {mode:?}");
                }
            }
        }
    });
    assert!(states > 1_000 && mended_count > 20, "{states} states, {mended_count} mended");
}

#[test]
fn a_log_that_is_created_where_another_left_its_start_file_opens_again() {
    let fs = SimFs::new();
    fs.write_file(NAME, &foreign(4096));
    let written = fill(&create(&fs, options(400)), some_records(3));
    assert_eq!(read_from(&fs, 0, TornTail).unwrap().0, written);
}

/// As an engine does it, which reads from a position only: what it did not read is not missed later.
#[test]
fn a_log_that_goes_on_after_a_read_from_a_position_starts_no_later_than_that() {
    let (fs, records) = a_log(true);
    let fs = with_start(&fs, &foreign(u64::MAX));
    let from = records[9].0;
    let (_, found) = read_from(&fs, from, PointInTime).unwrap();
    let written = fill(&go_on(&fs, options(400), &found, 0).unwrap(), some_records(3));
    let start = Start::read(&fs, Path::new("")).unwrap().unwrap().position;
    assert!(records[0].0 < start && start <= from, "{start}");
    let (after, _) = read_from(&fs, 0, TornTail).unwrap();
    let all = [&records[..], &written].concat();
    assert!(all.ends_with(&after) && after.len() >= records.len() - 9 + written.len());
}

#[test]
fn a_repair_takes_all_whatever_the_start_file_says() {
    each_bad_start(|fs, expected, case| {
        let from = inspect::start_of(fs, Path::new("")).unwrap();
        assert!((8..=expected[0].0).contains(&from), "{case}: {from}");
        let into = Path::new("fresh");
        let repaired = salvage_into(fs, Path::new(""), from, into).unwrap();
        assert_eq!(repaired.found.dropped[0].file.to_str(), Some(NAME), "{case}");
        let mut copied = Vec::new();
        let take = &mut |at, record: &[u8]| {
            copied.push((at, record.to_vec()));
            Ok(())
        };
        let found = recover(fs, into, 0, Strict, take).unwrap();
        assert_eq!((&*copied, found.clean_close), (expected, true), "{case}");
        for name in fs.list(into).unwrap() {
            fs.remove(&into.join(name)).unwrap();
        }
    });
}

/// Then nothing is known of it. Whose start file is whole knows whose log it is, and where that goes on: REC-8.
#[test]
fn a_log_that_lost_all_segments_and_whose_start_file_is_damaged_begins_anew() {
    let fs = SimFs::new();
    fs.write_file(NAME, b"rubbish");
    assert!(matches!(read_from(&fs, 0, TornTail), Err(Error::Corrupt { .. })));
    let (log, found) =
        Log::open_with(fs.shared(), Path::new(""), options(400), PointInTime).unwrap();
    assert_eq!((found.log_id, found.end, found.dropped.len()), (None, 8, 1));
    let written = fill(&log, some_records(3));
    let (records, found) = read_from(&fs, 0, TornTail).unwrap();
    assert_eq!((records, found.log_id), (written, Some(log.log_id())));
}
