//! Damage at rest: every flipped bit, lost file and stale copy is an error, or changes nothing that
//! was promised.

use std::io::IoSlice;
use std::path::Path;

use stratalog_base::Error;
use stratalog_base::fs::{Fs, SimFs};
use stratalog_wal::frame::{Draft, Kind, StreamId, put_promise};
use stratalog_wal::segment::{Header, Identity, Link, Previous};
use stratalog_wal::start_file::{self, Start};
use stratalog_wal::{Backend, Durability, FIRST_POSITION, Log, LogOptions, RecoveryMode, Wal};

use crate::support::*;

use RecoveryMode::{PointInTime, Salvage, Strict, TornTail};

/// Where the frame at position 0 would lie in the first segment.
const OFFSET: u64 = 128 - FIRST_POSITION;

/// A log of several small segments with sync marks in it.
fn several_segments(fs: &SimFs) -> (Log, Vec<Record>) {
    let log = create(fs, options(400));
    let mut written = Vec::new();
    for (i, record) in some_records(25).enumerate() {
        let class = if i % 5 == 2 { Durability::Sync } else { Durability::Process };
        written.push((append(&log, &record, class).unwrap().position, record));
    }
    (log, written)
}

/// Calls `check` with each bit of each file flipped, and its file and byte.
fn flip_each_bit(fs: &SimFs, mut check: impl FnMut(&SimFs, &Path, u64)) {
    for (path, len) in fs.files() {
        for bit in 0..len * 8 {
            fs.flip_bit(&path, bit);
            check(fs, &path, bit / 8);
            fs.flip_bit(&path, bit);
        }
    }
}

#[test]
fn a_flipped_bit_in_a_closed_log_is_an_error_or_changes_no_record() {
    let fs = SimFs::new();
    let (log, written) = several_segments(&fs);
    log.close().unwrap();
    let (mut errors, mut harmless) = (0, 0);
    flip_each_bit(&fs, |fs, path, byte| match read(fs, TornTail) {
        Ok((records, _)) => {
            assert_eq!(records, written, "{} byte {byte}", path.display());
            harmless += 1;
        }
        Err(Error::Corrupt { path: named, .. }) => {
            assert_eq!(named, path, "byte {byte}");
            errors += 1;
        }
        Err(other) => panic!("{} byte {byte}: {other}", path.display()),
    });
    let bits: u64 = fs.files().iter().map(|(_, len)| len * 8).sum();
    let seals_and_close_mark = ((fs.files().len() as u64 - 1) * 32 + 24) * 8;
    assert_eq!((errors, harmless), (bits - seals_and_close_mark, seals_and_close_mark));
}

#[test]
fn a_flipped_bit_in_an_open_log_loses_nothing_that_was_promised() {
    let fs = SimFs::new();
    let (log, mut written) = several_segments(&fs);
    let durable = log.watermarks().durable;
    written.extend(fill(&log, [b"carries the last mark"]));
    let promised = written.iter().filter(|(at, _)| *at < durable).count();
    flip_each_bit(&fs, |fs, path, byte| match read(fs, TornTail) {
        Ok((records, found)) => {
            assert!(written.starts_with(&records), "{} byte {byte}", path.display());
            assert!(records.len() == written.len() || !found.dropped.is_empty());
            // The last mark itself can be lost; then the one before counts.
            assert!(records.len() >= promised - 5, "{} byte {byte}", path.display());
        }
        Err(Error::Corrupt { path: named, .. }) => assert_eq!(named, path, "byte {byte}"),
        Err(other) => panic!("{} byte {byte}: {other}", path.display()),
    });
}

/// Batches are promised like single records: what was synced is not taken for a torn tail. So are big ones, but in a
/// ring of which they are more than half.
#[test]
fn damage_to_a_log_of_synced_batches_is_told_from_a_torn_tail() {
    let (small, big) = ([5; 30], [6; 3000]);
    let batches = [vec![&small[..]; 4], vec![&small; 40], vec![&small, &big], vec![&big]];
    let all = all_options(1 << 20);
    let cases = all.iter().flat_map(|options| batches.iter().map(move |batch| (options, batch)));
    for (options, batch) in cases {
        let bytes: usize = batch.iter().map(|record| record.len() + 18).sum();
        if options.backend == Backend::LockFree && bytes > 2048 {
            continue;
        }
        let case = format!("{:?}, {} records", options.backend, batch.len());
        let fs = SimFs::new();
        let log = create(&fs, options.clone());
        let (mut positions, mut end) = (Vec::new(), FIRST_POSITION);
        for _ in 0..5 {
            let ticket = log.append_batch(batch, Durability::Sync, &mut positions).unwrap();
            let place = ticket.wait().unwrap();
            assert_eq!(place.start, end, "{case}: places lie side by side");
            end = place.end;
        }
        drop(log);
        let fs = fs.kill();
        let (records, found) = read(&fs, TornTail).unwrap();
        assert_eq!(records.iter().map(|(at, _)| *at).collect::<Vec<_>>(), positions, "{case}");
        assert!(found.durable >= positions[3 * batch.len()], "{case}: {}", found.durable);
        for position in [positions[0], positions[3 * batch.len()]] {
            let bit = (OFFSET + position + 12) * 8;
            fs.flip_bit("000001.wal", bit);
            let outcome = read(&fs, TornTail);
            let is_found = matches!(outcome, Err(Error::Corrupt { .. }));
            assert_eq!(is_found, position < found.durable, "{case}, at {position}: {outcome:?}");
            fs.flip_bit("000001.wal", bit);
        }
    }
}

#[test]
fn strict_accepts_a_flipped_bit_only_where_nothing_counts() {
    let fs = SimFs::new();
    let (log, written) = several_segments(&fs);
    log.close().unwrap();
    let (_, found) = read(&fs, Strict).unwrap();
    flip_each_bit(&fs, |fs, path, byte| {
        if let Ok((records, _)) = read(fs, Strict) {
            let seal = fs.read_file(path).len() as u64 - 32;
            assert!(byte >= seal && !path.ends_with(found_name(found.segments.len())));
            assert_eq!(records, written);
        }
    });
}

fn found_name(index: usize) -> String {
    format!("{index:06}.wal")
}

#[test]
fn point_in_time_keeps_the_longest_valid_prefix_and_reports_the_rest() {
    let fs = SimFs::new();
    let (log, written) = several_segments(&fs);
    log.close().unwrap();
    flip_each_bit(&fs, |fs, path, byte| {
        let (records, found) = read(fs, PointInTime).unwrap();
        assert!(written.starts_with(&records), "{} byte {byte}", path.display());
        if records.len() < written.len() {
            assert!(found.dropped.iter().any(|it| it.file == path), "{found:?}");
            // Whatever lies in the segments before is there.
            let index: u64 = path.display().to_string()[..6].parse().unwrap();
            let before = found.segments.iter().filter(|it| it.index < index);
            let before = before.map(|it| it.end).max().unwrap_or(0);
            let kept = written.iter().filter(|(at, _)| *at < before).count();
            assert!(records.len() >= kept, "{} byte {byte}", path.display());
        }
    });
}

#[test]
fn a_log_cut_at_damage_goes_on_and_opens_strictly_ever_after() {
    let fs = SimFs::new();
    let (log, _) = several_segments(&fs);
    log.close().unwrap();
    fs.flip_bit("000003.wal", 8 * 150);
    assert!(read(&fs, TornTail).is_err());
    let (mut kept, found) = read(&fs, PointInTime).unwrap();
    let log = go_on(&fs, options(400), &found, 0).unwrap();
    kept.extend(fill(&log, some_records(10)));
    log.close().unwrap();
    assert_eq!(read(&fs, Strict).unwrap().0, kept, "what was dropped stays so");
    let log = {
        let (_, found) = read(&fs, Strict).unwrap();
        go_on(&fs, options(400), &found, 0).unwrap()
    };
    log.truncate_before(u64::MAX).unwrap();
    assert_eq!(segment_names(&fs).len(), 1, "the dropped segments go with the others");
}

/// REC-8: what was appended then lay below the start, where no recovery looked for it; or was of another
/// log than the start.
#[test]
fn a_log_that_is_damaged_below_its_start_goes_on_at_that() {
    let fs = SimFs::new();
    let (log, written) = several_segments(&fs);
    log.sync().unwrap();
    log.truncate_before(written[12].0).unwrap();
    drop(log);
    let segments = segment_names(&fs);
    let start = u64::from_le_bytes(*fs.read_file(start_file::NAME)[24..].first_chunk().unwrap());
    // All segments are lost; or they end in the first, before the start that a later one has left.
    for is_lost in [true, false] {
        let fs = fs.kill();
        let at = if is_lost { start } else { written[24].0 };
        if is_lost {
            segments.iter().for_each(|name| fs.remove(Path::new(name)).unwrap());
        } else {
            fs.remove(Path::new(start_file::NAME)).unwrap();
            Start { log_id: LOG_ID, position: at }.raise(&fs, Path::new("")).unwrap();
            let newest = segments.last().unwrap();
            fs.write_file(newest, &fs.read_file(newest)[..140]);
        }
        assert!(!is_lost || matches!(read(&fs, TornTail), Err(Error::Corrupt { .. })));
        let (log, found) =
            Log::open_with(fs.shared(), Path::new(""), options(400), PointInTime).unwrap();
        assert_eq!((found.end, found.log_id), (at, Some(LOG_ID)));
        let new = fill(&log, some_records(40));
        assert!(new[0].0 >= at);
        let (records, _) = read(&fs.kill(), TornTail).unwrap();
        assert!(records.ends_with(&new), "{is_lost}");
        log.sync().unwrap();
        assert!(read(&fs.crash(1), TornTail).unwrap().0.ends_with(&new), "{is_lost}");
    }
}

#[test]
fn every_cut_of_an_open_log_is_a_torn_tail_or_damage() {
    let fs = SimFs::new();
    let log = create(&fs, options(1 << 20));
    let mut written = fill(&log, some_records(5));
    log.sync().unwrap();
    let durable = log.watermarks().durable;
    written.extend(fill(&log, some_records(5)));
    drop(log);
    let bytes = fs.read_file("000001.wal");
    for len in 0..bytes.len() {
        fs.write_file("000001.wal", &bytes[..len]);
        if len < 128 {
            assert!(matches!(read(&fs, TornTail), Err(Error::Corrupt { .. })), "length {len}");
        } else {
            let (records, found) = read(&fs, TornTail).unwrap();
            assert!(written.starts_with(&records));
            let unread = &bytes[(OFFSET + found.end) as usize..len];
            let all_used = unread.iter().all(|&byte| byte == 0);
            assert!(all_used || !found.dropped.is_empty(), "length {len}: {found:?}");
            assert_eq!(read(&fs, Strict).is_ok(), all_used, "length {len}");
        }

        // A hole with the rest behind it, where the mark that promises `durable` is whole or not.
        let hole = len..(len + 3).min(bytes.len());
        let mark = (OFFSET + durable) as usize;
        let mut holed = bytes.clone();
        holed[hole.clone()].fill(0xee);
        fs.write_file("000001.wal", &holed);
        match read(&fs, TornTail) {
            Ok((records, _)) => {
                assert!(hole.start >= 128 && hole.end > mark, "{hole:?}");
                assert!(written.starts_with(&records));
            }
            Err(Error::Corrupt { offset, .. }) => {
                assert!(offset <= hole.start as u64 && (hole.start < 128 || hole.end <= mark));
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn good_frames_after_a_bad_one_are_a_tail_where_nothing_was_promised() {
    let fs = SimFs::new();
    let log = create(&fs, options(1 << 20));
    let written = fill(&log, some_records(10));
    let bad = written[4].0;
    fs.corrupt("000001.wal", OFFSET + bad + 3, 0xff);
    let (records, found) = read(&fs, TornTail).unwrap();
    assert_eq!(records, written[..4]);
    assert_eq!(found.end, bad);
    assert_eq!(found.dropped[0].offset, OFFSET + bad);
    assert_eq!(found.dropped[0].bytes, log.watermarks().logged - bad);
    assert!(
        matches!(read(&fs, Strict), Err(Error::Corrupt { offset, .. }) if offset == OFFSET + bad)
    );
}

#[test]
fn zeros_after_the_last_frame_are_space_not_yet_used() {
    let fs = SimFs::new();
    let (log, written) = several_segments(&fs);
    let last = segment_names(&fs).pop().unwrap();
    for closed in [false, true] {
        if closed {
            log.close().unwrap();
        }
        let mut bytes = fs.read_file(&last);
        bytes.resize(bytes.len() + 5000, 0);
        let padded = fs.kill();
        padded.write_file(&last, &bytes);
        for mode in [TornTail, Strict, PointInTime] {
            let (records, found) = read(&padded, mode).unwrap();
            assert_eq!((records, found.clean_close), (written.clone(), closed));
            assert_eq!(found.dropped, []);
        }
        // What lies behind zeros, or behind the close mark, may be left of a recycled file.
        *bytes.last_mut().unwrap() = 1;
        padded.write_file(&last, &bytes);
        let (records, found) = read(&padded, Strict).unwrap();
        assert_eq!((records, found.clean_close), (written.clone(), closed));
        let end = bytes.len() - 5000;
        bytes[end] = 1;
        padded.write_file(&last, &bytes);
        assert_eq!(read(&padded, TornTail).unwrap().1.clean_close, closed);
        assert_eq!(read(&padded, Strict).is_ok(), closed);
    }
}

#[test]
fn a_segment_whose_link_was_cut_short_is_dropped_and_the_log_goes_on() {
    let fs = SimFs::new();
    let (log, written) = several_segments(&fs);
    let (_, found) = read(&fs, Strict).unwrap();
    drop(log);
    let newest = found.segments.len() as u64;
    let (index, next) = (newest + 1, found_name(found.segments.len() + 1));
    let id = Identity { log_id: LOG_ID, index, is_ahead: true };
    let previous = Some(Previous { index: newest, end: found.end });
    let link = Link { base: found.end, previous, durable: found.durable, session: 1 };
    let header = Header { id, link };
    let (mut record, mut mark) = (Vec::new(), Vec::new());
    Draft::new(Kind::Record, &[]).unwrap().encode(header.stream(), link.base, &mut record);
    put_promise(Kind::Mark, link.base + 8, header.stream(), link.base + 16, &mut mark);
    for len in 64..128 {
        let with = |frames: &[&[u8]]| {
            let mut bytes = header.encode();
            bytes[len..].fill(0);
            let fs = fs.kill();
            fs.write_file(&next, &[&bytes[..], &frames.concat()].concat());
            fs
        };
        for (frames, dropped) in [(&[][..], 0), (&[&record[..]], 1)] {
            let fs = with(frames);
            let (records, found) = read(&fs, TornTail).unwrap();
            assert_eq!((&records, found.dropped.len()), (&written, dropped));
            assert_eq!(read(&fs, Strict).is_ok(), dropped == 0);
            let log = go_on(&fs, options(400), &found, 0).unwrap();
            let more = fill(&log, some_records(3));
            let expected = [&written[..], &more].concat();
            assert_eq!(read(&fs, Strict).unwrap().0, expected, "the leftover is in nobody's way");
        }
        // Something in it was durable, so its link was.
        let damaged = read(&with(&[&record, &mark]), TornTail);
        assert!(matches!(damaged, Err(Error::Corrupt { path, .. }) if path == Path::new(&next)));
    }
    // One that was not made ahead had its link from the first.
    let first = Header { id: Identity { is_ahead: false, ..id }, link };
    let mut bytes = first.encode();
    bytes[100] ^= 1;
    fs.write_file(&next, &bytes);
    let damaged = read(&fs, TornTail);
    assert!(matches!(damaged, Err(Error::Corrupt { path, .. }) if path == Path::new(&next)));
}

#[test]
fn files_that_never_became_segments_are_swept() {
    let fs = SimFs::new();
    for name in ["000001.wal-new", "000007.wal-old", "ring.wal-new"] {
        fs.write_file(name, b"leftover");
    }
    assert_eq!(read(&fs, Strict).unwrap().0, []);
    create(&fs, options(400));
    assert_eq!(segment_names(&fs), ["000001.wal"]);
}

#[test]
fn a_lost_segment_is_an_error_that_names_it() {
    let fs = SimFs::new();
    let (log, _) = several_segments(&fs);
    log.close().unwrap();
    let names = segment_names(&fs);
    assert!(names.len() > 3);
    for lost in &names {
        let fs = fs.kill();
        stratalog_base::fs::Fs::remove(&fs, Path::new(lost)).unwrap();
        for mode in [TornTail, Strict] {
            match read(&fs, mode) {
                Err(Error::Corrupt { path, .. }) => assert_eq!(path, Path::new(lost)),
                other => panic!("{lost}: {other:?}"),
            }
        }
        let (records, found) = read(&fs, PointInTime).unwrap();
        assert!(!found.dropped.is_empty(), "{lost}: {records:?}");
    }
}

#[test]
fn a_segment_under_anothers_name_or_of_another_log_or_stale_is_refused() {
    let fs = SimFs::new();
    let log = create(&fs, options(400));
    fill(&log, some_records(4));
    let stale = fs.read_file("000001.wal");
    fill(&log, some_records(20));
    log.close().unwrap();
    let foreign = SimFs::new();
    let after = stratalog_wal::Recovered::empty(LOG_ID + 1);
    let log = go_on(&foreign, options(400), &after, 0).unwrap();
    fill(&log, some_records(24));
    log.close().unwrap();

    let names = segment_names(&fs);
    for name in &names {
        for other in names.iter().filter(|other| *other != name) {
            let fs = fs.kill();
            fs.write_file(name, &fs.read_file(other));
            assert!(matches!(read(&fs, TornTail), Err(Error::Corrupt { .. })), "{other} as {name}");
        }
        let fs = fs.kill();
        fs.write_file(name, &foreign.read_file(name));
        assert!(matches!(read(&fs, TornTail), Err(Error::Corrupt { .. })), "foreign {name}");
    }
    fs.write_file("000001.wal", &stale);
    assert!(matches!(read(&fs, TornTail), Err(Error::Corrupt { .. })), "an older copy");
}

#[test]
fn other_files_in_the_directory_are_left_alone() {
    let fs = SimFs::new();
    for name in ["1.wal", "0000001.wal", "000001.wal.tmp", "CURRENT", "000009.tbl"] {
        fs.write_file(name, b"not ours");
    }
    let log = create(&fs, options(400));
    let written = fill(&log, some_records(20));
    assert_eq!(read(&fs, Strict).unwrap().0, written);
    log.truncate_before(u64::MAX).unwrap();
    assert_eq!(fs.files().len(), 7, "and ours: a segment and the start");
}

/// A whole file by hand: one record, then a mark at any place.
#[test]
fn a_promise_is_found_at_any_place_and_only_where_it_is_genuine() {
    let id = Identity { log_id: LOG_ID, index: 1, is_ahead: false };
    let link = Link { base: 8, previous: None, durable: 8, session: 1 };
    let header = Header { id, link };
    let stream = header.stream();
    for gap in (8..400).step_by(8) {
        let mut bytes = header.encode();
        Draft::new(Kind::Record, &[]).unwrap().encode(stream, 8, &mut bytes);
        bytes.extend(vec![0xaa; gap]);
        let position = 24 + gap as u64;
        for (stream, at, promise, damaged) in [
            (stream, position, position, true),
            (stream, position, 32, true),
            (stream, position, 24, false),
            (stream, position + 8, position, false),
            (StreamId::of(LOG_ID + 1, 1), position, position, false),
            (StreamId::of(LOG_ID, 2), position, position, false),
        ] {
            let mut bytes = bytes.clone();
            put_promise(Kind::Mark, promise, stream, at, &mut bytes);
            let fs = SimFs::new();
            fs.write_file("000001.wal", &bytes);
            let outcome = read(&fs, TornTail);
            assert_eq!(outcome.is_err(), damaged, "gap {gap}, promise {promise}: {outcome:?}");
        }
    }
}

/// Makes the compressed record whose frame starts at `offset` of `file` one that does not decompress, with the right
/// checksum: as a writer with bad memory could.
fn spoil(fs: &SimFs, file: &str, offset: u64, position: u64, session: u64) {
    let mut bytes = fs.read_file(file);
    let frame = &mut bytes[offset as usize..];
    let len = u32::from_le_bytes(frame[..4].try_into().unwrap()) as usize;
    assert_eq!(frame[4..6], [Kind::Record as u8, 1], "a compressed record");
    let mut payload = frame[12..12 + len].to_vec();
    payload[0] ^= 1; // One byte more or less than there are.
    let mut spoilt = Vec::new();
    let parts = [IoSlice::new(&payload)];
    Draft::compressed(&parts).unwrap().encode(StreamId::of(LOG_ID, session), position, &mut spoilt);
    frame[..spoilt.len()].copy_from_slice(&spoilt);
    fs.write_file(file, &bytes);
}

/// REC-9: in the mode that ends the log at what is bad, this was an error.
#[test]
fn a_record_that_does_not_decompress_is_damage_in_every_mode() {
    let compress = |base| LogOptions { compress_from_bytes: Some(100), ..base };
    // Promised or not, with more behind it or not, in a segment that is followed by others or the last one.
    for (class, count, segment_bytes) in [
        (Durability::Process, 1, 1 << 20),
        (Durability::Process, 3, 1 << 20),
        (Durability::Sync, 3, 1 << 20),
        (Durability::Sync, 9, 200),
    ] {
        let fs = SimFs::new();
        let log = create(&fs, compress(options(segment_bytes)));
        let mut written = fill(&log, [&b"first"[..], &[7; 500]]);
        for _ in 1..count {
            let place = append(&log, &[8; 50], class).unwrap();
            written.push((place.position, vec![8; 50]));
        }
        drop(log);
        let (bad, offset) = (written[1].0, OFFSET + written[1].0);
        spoil(&fs, "000001.wal", offset, bad, 1);
        for mode in [TornTail, Strict] {
            let opened = Log::open_with(fs.kill().shared(), Path::new(""), options(200), mode);
            for error in [read(&fs, mode).unwrap_err(), opened.unwrap_err()] {
                let Error::Corrupt { path, offset: at, what } = error else { panic!("{error}") };
                assert_eq!((path.to_str().unwrap(), at), ("000001.wal", offset));
                assert_eq!(what, "a compressed record does not decompress");
            }
        }
        let (records, found) = read(&fs, PointInTime).unwrap();
        assert_eq!((&records[..], found.end), (&written[..1], bad));
        let first = &found.dropped[0];
        assert_eq!((first.offset, &*first.why).0, offset);
        assert!(first.why.starts_with("a compressed record does not decompress"), "{first:?}");
        let (records, found) = read(&fs, Salvage).unwrap();
        assert_eq!(records, [&written[..1], &written[2..]].concat());
        assert_eq!((found.dropped.len(), found.dropped[0].offset), (1, offset));

        // The log goes on in its place, and is whole from then on.
        let (log, _) =
            Log::open_with(fs.shared(), Path::new(""), options(200), PointInTime).unwrap();
        let next = append(&log, b"next", Durability::Sync).unwrap();
        assert_eq!(next.start, bad);
        log.close().unwrap();
        let expected = [written[0].clone(), (next.position, b"next".to_vec())];
        assert_eq!(read(&fs, Strict).unwrap().0, expected);
        // What is not asked for is not looked at.
        assert_eq!(read_from(&fs, next.position, Strict).unwrap().0, expected[1..]);
    }
}

/// REC-9, in the ring.
#[test]
fn a_record_that_does_not_decompress_ends_a_ring() {
    let fs = SimFs::new();
    let base = LogOptions { backend: Backend::LockFree, ..options(1 << 20) };
    let log = create(&fs, LogOptions { compress_from_bytes: Some(100), ..base });
    let written = fill(&log, [&b"first"[..], &[7; 500], b"third"]);
    let fs = fs.kill();
    let bad = written[1].0;
    spoil(&fs, "ring.wal", 4096 + bad, bad, 1);
    for mode in [TornTail, Strict] {
        let error = read(&fs, mode).unwrap_err();
        assert!(
            matches!(&error, Error::Corrupt { path, offset, .. }
                if path.ends_with("ring.wal") && *offset == 4096 + bad),
            "{error}"
        );
    }
    let (records, found) = read(&fs, PointInTime).unwrap();
    assert_eq!((&records[..], found.end), (&written[..1], bad));
    let [dropped] = &found.dropped[..] else { panic!("{:?}", found.dropped) };
    let end = log.watermarks().reserved;
    assert_eq!((dropped.offset, dropped.bytes), (4096 + bad, end - bad), "with what follows");
    let (records, found) = read(&fs, Salvage).unwrap();
    assert_eq!(records, [&written[..1], &written[2..]].concat());
    assert_eq!((found.dropped.len(), found.ring_records), (1, 2));
}
