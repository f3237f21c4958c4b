//! Salvage and repair on a corpus of damaged logs: they invent nothing, keep all that is whole, name
//! what is not, and only read.
//!
//! `STRATALOG_CRASH_STATES` sets how many logs are damaged (default 1,000); a failure prints the seed,
//! and `STRATALOG_CRASH_SEED` runs that one only.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::path::{Path, PathBuf};

use stratalog_base::fs::{Fs, SimFs, SimRng};
use stratalog_wal::inspect::{Event, Kind, inspect, start_of};
use stratalog_wal::repair::salvage_into;
use stratalog_wal::{Backend, Dropped, Durability, Log, LogOptions, Recovered, RecoveryMode, Wal};

use crate::support::*;

const HEADER_BYTES: u64 = 128;
const RING: &str = "ring.wal";

fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match number("STRATALOG_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("STRATALOG_CRASH_STATES").unwrap_or(1_000),
    }
}

/// A frame that counted before the damage.
struct Whole {
    file: PathBuf,
    offset: u64,
    bytes: u64,
    record: Option<Record>,
}

/// A log before it is damaged.
struct Sound {
    fs: SimFs,
    /// All that was ever appended.
    appended: BTreeSet<Record>,
    frames: Vec<Whole>,
    /// Which segment each seal names, by the seal's file.
    sealed: BTreeMap<PathBuf, (u64, PathBuf)>,
}

/// Up to four lives of a log under any backend, ended by kills, power cuts and closes.
fn some_log(rng: &mut SimRng) -> Sound {
    let mut fs = SimFs::new();
    let mut appended = BTreeSet::new();
    for _ in 0..1 + rng.below(4) {
        let options = some_options(rng);
        let (log, _) = Log::open(fs.shared(), Path::new(""), options).unwrap();
        for _ in 0..rng.below(40) {
            let mut record = vec![7; rng.below(120) as usize];
            if rng.chance(1, 2) {
                rng.fill(&mut record);
            }
            let class = if rng.chance(1, 6) { Durability::Sync } else { Durability::Process };
            let place = log.append(&[IoSlice::new(&record)], class).unwrap().wait().unwrap();
            appended.insert((place.position, record));
            if rng.chance(1, 12) {
                log.reserve(rng.below(60)).unwrap();
            }
        }
        if rng.chance(1, 3) {
            log.close().unwrap();
        }
        drop(log);
        fs = if rng.chance(1, 4) { fs.crash(rng.next_u64()) } else { fs.kill() };
    }
    // A power cut leaves a torn tail, which the next life cuts off.
    drop(Log::open(fs.shared(), Path::new(""), some_options(rng)).unwrap());
    fs = fs.kill();
    let (frames, sealed) = whole_frames(&fs);
    Sound { fs, appended, frames, sealed }
}

fn some_options(rng: &mut SimRng) -> LogOptions {
    let all = all_options(200 + rng.below(600));
    let mut options = all[rng.below(all.len() as u64) as usize].clone();
    options.segments_ahead = rng.chance(1, 3);
    options.compress_from_bytes = rng.chance(1, 3).then_some(30);
    options
}

fn whole_frames(fs: &SimFs) -> (Vec<Whole>, BTreeMap<PathBuf, (u64, PathBuf)>) {
    let (mut frames, mut sealed) = (Vec::new(), BTreeMap::new());
    inspect(fs, Path::new(""), &mut |event| {
        let Event::Frame(it) = event else { return Ok(()) };
        if it.counts {
            let frame = &it.frame;
            if let Some(next) = frame.next_segment() {
                let name = PathBuf::from(format!("{next:06}.wal"));
                sealed.insert(name, (it.offset, it.file.to_owned()));
            }
            let record = (frame.kind == Kind::Record)
                .then(|| (frame.position, frame.record().unwrap().into_owned()));
            let (file, offset) = (it.file.to_owned(), it.offset);
            frames.push(Whole { file, offset, bytes: frame.frame_bytes(), record });
        }
        Ok(())
    })
    .unwrap();
    (frames, sealed)
}

/// One to four flipped bits, holes, cuts and losses.
fn damage(fs: &SimFs, rng: &mut SimRng) {
    for _ in 0..1 + rng.below(4) {
        let files: Vec<_> = fs.files().into_iter().filter(|(_, len)| *len > 0).collect();
        let Some((path, len)) = files.get(rng.below(files.len().max(1) as u64) as usize) else {
            return;
        };
        let at = rng.below(*len);
        match rng.below(8) {
            0 => fs.remove(path).unwrap(),
            1 => fs.write_file(path, &fs.read_file(path)[..at as usize]),
            2..=4 => {
                let mut bytes = fs.read_file(path);
                let end = (at + 1 + rng.below(200)).min(*len);
                let hole = &mut bytes[at as usize..end as usize];
                hole.fill(0);
                if rng.chance(1, 2) {
                    rng.fill(hole);
                }
                fs.write_file(path, &bytes);
            }
            _ => fs.flip_bit(path, at * 8 + rng.below(8)),
        }
    }
}

/// A sound log, and what became of it.
struct Case<'a> {
    sound: &'a Sound,
    damaged: BTreeMap<PathBuf, Vec<u8>>,
}

impl Case<'_> {
    fn of(sound: &Sound, fs: SimFs) -> Case<'_> {
        let files = fs.files().into_iter();
        Case { sound, damaged: files.map(|(path, _)| (path.clone(), fs.read_file(path))).collect() }
    }

    fn is_same(&self, file: &Path, start: u64, bytes: u64) -> bool {
        let range = start as usize..(start + bytes) as usize;
        let now = self.damaged.get(file).and_then(|it| it.get(range.clone()));
        now.is_some() && now == self.sound.fs.read_file(file).get(range)
    }

    /// Whether `frame` and the header of its segment are as they were.
    fn is_whole(&self, frame: &Whole) -> bool {
        if frame.file == Path::new(RING) {
            // It is read from the place where the segments end.
            let newest = self.sound.frames.iter().rfind(|it| it.file != frame.file);
            let newest = newest.map(|it| &it.file).into_iter().chain([&frame.file]);
            return newest.into_iter().all(|file| {
                self.damaged.get(file).is_some_and(|it| *it == self.sound.fs.read_file(file))
            });
        }
        self.is_same(&frame.file, 0, HEADER_BYTES)
            && self.is_same(&frame.file, frame.offset, frame.bytes)
    }

    /// Whether no newer segment tells where the one in `file` ends.
    fn is_last(&self, file: &Path) -> bool {
        let newer = self.damaged.keys().filter(|it| *it != Path::new(RING) && it.as_path() > file);
        newer.into_iter().all(|newer| !self.is_same(newer, 0, HEADER_BYTES))
    }

    /// Whether a loss of `frame` cannot be told from a frame that was never written: nothing whole
    /// follows, and zeros are where the loss begins.
    fn looks_unwritten(&self, frame: &Whole) -> bool {
        let Some(now) = self.damaged.get(&frame.file) else {
            let seal = self.sound.sealed.get(&frame.file);
            let sealed = seal.is_some_and(|(at, file)| {
                self.is_same(file, 0, HEADER_BYTES) && self.is_same(file, *at, 32)
            });
            return self.is_last(&frame.file) && !sealed;
        };
        if frame.file == Path::new(RING) {
            return true; // The ring holds what an earlier round left, too.
        }
        let of_file = self.sound.frames.iter().filter(|it| it.file == frame.file);
        let tail: Vec<_> = of_file.rev().take_while(|it| !self.is_whole(it)).collect();
        let Some(first) = tail.last().filter(|it| it.offset <= frame.offset) else { return false };
        let from = |offset: u64| now[(offset as usize).min(now.len())..].iter();
        let blank = from(first.offset).take(8).all(|&byte| byte == 0)
            || from(frame.offset).all(|&byte| byte == 0);
        blank && self.is_last(&frame.file)
    }

    fn is_reported(&self, frame: &Whole, dropped: &[Dropped]) -> bool {
        let Some(now) = self.damaged.get(&frame.file) else {
            let named = dropped.iter().any(|it| it.file == frame.file);
            // Its neighbours may be lost, too.
            return named || dropped.iter().any(|it| it.file > frame.file) || {
                let older = self.sound.sealed.get(&frame.file);
                older.is_none_or(|(_, older)| dropped.iter().any(|it| it.file <= *older))
            };
        };
        dropped.iter().any(|it| {
            let reaches = frame.offset < it.offset + it.bytes || frame.offset >= now.len() as u64;
            it.file == frame.file && it.offset <= frame.offset + frame.bytes && reaches
        })
    }

    fn check(&self, records: &[Record], found: &Recovered) {
        assert!(records.iter().all(|it| self.sound.appended.contains(it)), "nothing is invented");
        assert!(records.windows(2).all(|pair| pair[0].0 < pair[1].0), "the order is kept");
        for frame in &self.sound.frames {
            let Some(record) = &frame.record else { continue };
            let delivered = records.contains(record);
            let place = format!("{} byte {}: {found:?}", frame.file.display(), frame.offset);
            assert!(delivered || !self.is_whole(frame), "lost though whole: {place}");
            assert!(
                delivered || self.is_reported(frame, &found.dropped) || self.looks_unwritten(frame),
                "lost without a word: {place}"
            );
        }
    }
}

fn salvage_one(seed: u64) {
    let rng = &mut SimRng::new(seed);
    let sound = some_log(rng);
    let (expected, healthy) = read(&sound.fs, RecoveryMode::Salvage).unwrap();
    let all: Vec<_> = sound.frames.iter().filter_map(|it| it.record.clone()).collect();
    assert_eq!(expected, all, "of a sound log: {healthy:?}");

    let fs = sound.fs.kill();
    damage(&fs, rng);
    let case = Case::of(&sound, fs.kill());
    let ops = fs.ops();
    let (records, found) = read(&fs, RecoveryMode::Salvage).unwrap();
    assert_eq!(fs.ops(), ops, "a salvage only reads");
    case.check(&records, &found);

    let into = Path::new("fresh");
    let repaired = salvage_into(&fs, Path::new(""), 0, into).unwrap();
    assert_eq!(repaired.found, found);
    for (path, bytes) in &case.damaged {
        assert_eq!(fs.read_file(path), *bytes, "REPAIR-1");
    }
    let fresh = fs.files().into_iter().filter(|(path, _)| path.starts_with(into)).count();
    assert_eq!(fs.files().len(), case.damaged.len() + fresh);
    let mut copied = Vec::new();
    let fs = fs.crash(seed);
    let after = stratalog_wal::recover(&fs, into, 0, RecoveryMode::Strict, &mut |at, record| {
        copied.push((at, record.to_vec()));
        Ok(())
    })
    .unwrap();
    assert_eq!(copied, records, "REPAIR-2");
    assert_eq!((after.dropped.len(), after.log_id), (0, found.log_id));
    assert_eq!((after.clean_close, after.end), (fresh > 0, repaired.end));
    assert!(after.end >= found.end);
    // It goes on.
    let strict = RecoveryMode::Strict;
    let (log, _) = Log::open_with(fs.shared(), into, options(400), strict).unwrap();
    append(&log, b"more", Durability::Sync).unwrap();
}

#[test]
fn a_salvage_keeps_what_is_whole_and_names_the_rest_and_a_repair_copies_it() {
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| salvage_one(seed));
        assert!(outcome.is_ok(), "STRATALOG_CRASH_SEED={seed}");
    }
}

#[test]
fn a_repair_writes_into_no_directory_that_holds_files() {
    let fs = SimFs::new();
    fill(&create(&fs, options(400)), some_records(10));
    fs.write_file("taken/file", b"");
    let refused = salvage_into(&fs, Path::new(""), 0, Path::new("taken"));
    assert!(matches!(refused, Err(stratalog_base::Error::InvalidArgument(_))));
    assert_eq!(fs.read_file("taken/file"), b"");
}

#[test]
fn a_repair_skips_wide_gaps_without_writing_them() {
    let fs = SimFs::new();
    let mut written = fill(&create(&fs, options(400)), some_records(3));
    let (_, found) = read(&fs, RecoveryMode::Strict).unwrap();
    written.extend(fill(&go_on(&fs, options(400), &found, 1 << 40).unwrap(), some_records(3)));
    salvage_into(&fs, Path::new(""), 0, Path::new("fresh")).unwrap();
    let fresh = fs.files().into_iter().filter(|(path, _)| path.starts_with("fresh"));
    assert!(fresh.map(|(_, len)| len).sum::<u64>() < 1_000);
    let mut copied = Vec::new();
    let mut take = |at, record: &[u8]| {
        copied.push((at, record.to_vec()));
        Ok(())
    };
    stratalog_wal::recover(&fs, Path::new("fresh"), 0, RecoveryMode::Strict, &mut take).unwrap();
    assert_eq!(copied, written);
}

#[test]
fn a_damaged_ring_is_gone_once_a_log_went_on_without_it() {
    let fs = SimFs::new();
    let ringed = LogOptions { backend: Backend::LockFree, ..options(400) };
    drop(create(&fs, ringed));
    fs.flip_bit(RING, 3);
    assert!(read(&fs, RecoveryMode::TornTail).is_err());
    let mode = RecoveryMode::PointInTime;
    let (log, _) = Log::open_with(fs.shared(), Path::new(""), options(400), mode).unwrap();
    let place = append(&log, b"goes on", Durability::Sync).unwrap();
    let (records, _) = read(&fs.crash(1), RecoveryMode::TornTail).unwrap();
    assert_eq!(records, [(place.position, b"goes on".to_vec())]);
}

#[test]
fn a_truncated_log_starts_where_its_start_file_says() {
    let fs = SimFs::new();
    assert_eq!(start_of(&fs, Path::new("")).unwrap(), 8);
    let log = create(&fs, options(300));
    let written = fill(&log, some_records(30));
    log.truncate_before(written[20].0).unwrap();
    let start = start_of(&fs, Path::new("")).unwrap();
    assert!(8 < start && start <= written[20].0);
    let (records, _) = read_from(&fs, start, RecoveryMode::Strict).unwrap();
    assert!(written.ends_with(&records) && records.len() >= 10);
    fs.flip_bit(&fs.files()[0].0, 100);
    assert_eq!(start_of(&fs, Path::new("")).unwrap(), start);
    fs.flip_bit("start.wal", 100);
    assert_eq!(start_of(&fs, Path::new("")).unwrap(), 8, "damage hides it");
}
