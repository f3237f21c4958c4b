//! Inspection shows every file as it is, damaged or not.

use std::path::Path;

use stratalog_base::fs::{Fs, SimFs};
use stratalog_wal::inspect::{Event, Kind, SegmentState, inspect, start_of};
use stratalog_wal::start_file::Start;
use stratalog_wal::{Backend, FIRST_POSITION, LogOptions, RecoveryMode, Wal};

use crate::support::*;

/// What was told, a line for each event.
fn told(fs: &SimFs) -> Vec<String> {
    let mut lines = Vec::new();
    inspect(fs, Path::new(""), &mut |event| {
        lines.push(match event {
            Event::Start(it) => {
                let state = it.state.as_ref();
                let counts = if state.is_ok_and(|it| !it.counts) { ", does not count" } else { "" };
                format!("start: {:?}{counts}", state.map(|it| it.position))
            }
            Event::Segment(it) => {
                let state = match &it.state {
                    SegmentState::Begun(begun) => {
                        format!("{}..{} {} records", begun.base, begun.end, begun.records)
                    }
                    SegmentState::NotBegun { log_id } => format!("not begun, of {log_id:x}"),
                    SegmentState::Unreadable { why } => why.clone(),
                };
                let counts = if it.counts { "" } else { ", does not count" };
                format!("segment {}: {state}{counts}", it.index)
            }
            Event::Frame(it) => format!("{:?} at {}", it.frame.kind, it.frame.position),
            Event::Bad(it) => format!("{} bad bytes at {}: {}", it.bytes, it.offset, it.why),
            Event::Ring(it) => format!("ring: {:?}", it.owner.as_ref().map(|it| it.counts)),
            Event::Leftover { file, bytes } => format!("{}: {bytes} bytes", file.display()),
        });
        Ok(())
    })
    .unwrap();
    lines
}

#[test]
fn damage_is_shown_and_gone_beyond() {
    let fs = SimFs::new();
    let log = create(&fs, options(1 << 20));
    fill(&log, [b"one", b"two", b"six"]);
    fs.corrupt("000001.wal", 128 + 16 + 12, 1);
    fs.write_file("000002.wal", b"rubbish");
    fs.write_file("000007.wal-old", b"retired");
    let lines = told(&fs);
    assert_eq!(
        lines,
        [
            "segment 1: 8..56 2 records",
            "Record at 8",
            "Record at 40",
            "16 bad bytes at 144: frame checksum mismatch",
            "segment 2: segment header is cut short, does not count",
            "000007.wal-old: 7 bytes",
        ]
    );
}

#[test]
fn what_the_log_dropped_is_shown_as_not_counting() {
    let fs = SimFs::new();
    let log = create(&fs, options(1 << 20));
    let written = fill(&log, [b"one", b"two", b"six"]);
    drop(log);
    fs.corrupt("000001.wal", 128 + 16 + 12, 1);
    let (_, found) = read(&fs, RecoveryMode::TornTail).unwrap();
    go_on(&fs, options(400), &found, 0).unwrap();
    let mut counting = Vec::new();
    inspect(&fs, Path::new(""), &mut |event| {
        if let Event::Frame(it) = event {
            counting.push((it.frame.position, it.counts));
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(counting, [(written[0].0, true), (written[2].0, false)]);
}

#[test]
fn the_ring_is_shown_with_what_only_it_holds() {
    let fs = SimFs::new();
    let log = create(&fs, LogOptions { backend: Backend::LockFree, ..options(1 << 20) });
    let written = fill(&log, some_records(4));
    let fs = fs.kill();
    let (records, found) = read(&fs, RecoveryMode::TornTail).unwrap();
    assert_eq!(records, written);
    let lines = told(&fs);
    let ring = lines.iter().position(|line| line == "ring: Ok(true)").unwrap();
    assert_eq!(lines.len() - ring - 1, found.ring_records as usize);
    assert!(found.ring_records > 0, "the thread that writes sleeps");
    fs.flip_bit("ring.wal", 3);
    assert_eq!(told(&fs).pop().unwrap(), "ring: Err(\"ring header checksum mismatch\")");
}

/// A log whose oldest segments were lost was taken for one that starts later.
#[test]
fn the_start_is_that_of_the_start_file_and_is_shown() {
    let fs = SimFs::new();
    let start = || start_of(&fs, Path::new("")).unwrap();
    assert_eq!(start(), FIRST_POSITION);
    let log = create(&fs, options(200));
    let written = fill(&log, some_records(30));
    fs.remove(Path::new("000001.wal")).unwrap();
    assert_eq!(start(), FIRST_POSITION);
    assert!(!told(&fs).iter().any(|line| line.starts_with("start")));
    log.sync().unwrap();
    log.truncate_before(written[20].0).unwrap();
    let position = start();
    assert!((written[10].0..=written[20].0).contains(&position));
    fs.write_file("start.wal-new", b"half");
    let lines = told(&fs);
    assert_eq!(lines[0], format!("start: Ok({position})"));
    assert_eq!(*lines.last().unwrap(), "start.wal-new: 4 bytes");
    let own = fs.read_file("start.wal");
    fs.remove(Path::new("start.wal")).unwrap();
    Start { log_id: LOG_ID + 1, position: 1 << 20 }.raise(&fs, Path::new("")).unwrap();
    assert_eq!(start(), position, "the base of the oldest");
    assert_eq!(told(&fs)[0], format!("start: Ok({}), does not count", 1 << 20));
    fs.write_file("start.wal", &own);
    fs.flip_bit("start.wal", 3);
    assert_eq!(start(), position, "the base of the oldest");
    assert_eq!(told(&fs)[0], "start: Err(\"start file checksum mismatch\")");
}

#[test]
fn a_close_and_a_seal_are_told() {
    let fs = SimFs::new();
    let log = create(&fs, options(200));
    fill(&log, some_records(10));
    log.close().unwrap();
    let mut ends = Vec::new();
    inspect(&fs, Path::new(""), &mut |event| {
        if let Event::Segment(it) = event {
            let SegmentState::Begun(begun) = &it.state else { panic!("{it:?}") };
            ends.push((begun.next_segment, begun.closed, it.continued_at.is_some()));
        }
        Ok(())
    })
    .unwrap();
    let (last, sealed) = ends.split_last().unwrap();
    assert_eq!(*last, (None, true, false));
    let chained = |(at, end): (usize, &(_, _, _))| *end == (Some(at as u64 + 2), false, true);
    assert!(sealed.iter().enumerate().all(chained) && !sealed.is_empty());
    assert_eq!(fs.list(Path::new("")).unwrap().len(), ends.len());
    assert_eq!(Kind::Seal as u8, 5);
}
