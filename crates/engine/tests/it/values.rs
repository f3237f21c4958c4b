//! Values that lie outside the tables: which, how their files come and go, and that no read can tell.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stratalog::fs::{Fault, FaultKind, Fs, Op, SimFs, SimRng};
use stratalog::{Db, Error, Options, Stats};

use crate::common::{DIR, State, collect, tiny_and_steady};

fn options(fs: &SimFs) -> Options {
    tiny_and_steady(fs).separate_values_from(1000)
}

fn open(fs: &SimFs) -> Db {
    options(fs).open(DIR).unwrap()
}

fn value(i: u32, round: u32, len: usize) -> Vec<u8> {
    let mut value = vec![0; len];
    SimRng::new(u64::from(i) << 32 | u64::from(round)).fill(&mut value);
    value
}

/// Puts `count` keys, every second value large enough to be separated.
fn fill(db: &Db, state: &mut State, count: u32, round: u32) {
    for i in 0..count {
        let value = value(i, round, if i.is_multiple_of(2) { 2000 } else { 100 });
        db.put(i.to_be_bytes(), &value).unwrap();
        state.insert(i.to_be_bytes().to_vec(), value);
    }
}

fn value_files(fs: &SimFs) -> BTreeSet<String> {
    let names = fs.list(Path::new(DIR)).unwrap();
    names.into_iter().filter(|name| name.ends_with(".val")).collect()
}

#[test]
fn values_from_the_threshold_on_are_kept_out_of_tables() {
    let table_bytes = |stats: &Stats| stats.levels.iter().map(|level| level.bytes).sum::<u64>();
    let filled = |threshold: usize| {
        let fs = SimFs::new();
        let db = tiny_and_steady(&fs).separate_values_from(threshold).open(DIR).unwrap();
        let mut state = State::new();
        fill(&db, &mut state, 40, 0);
        db.flush().unwrap();
        assert_eq!(collect(db.iter()).unwrap(), state);
        db.stats()
    };
    let (all, none) = (filled(2001), filled(2000));
    assert_eq!((all.value_files, all.value_bytes, all.value_bytes_written), (0, 0, 0));
    assert!(table_bytes(&all) > 42_000);
    assert!(table_bytes(&none) < 6_000 && none.value_bytes > 40_000, "{none:?}");
    assert_eq!(none.value_bytes, none.value_bytes_written);
    let refused = tiny_and_steady(&SimFs::new()).separate_values_from(31).open(DIR);
    assert!(matches!(refused.map(drop), Err(Error::InvalidArgument(_))));
}

#[test]
fn garbage_is_collected_and_obsolete_value_files_are_removed() {
    let fs = SimFs::new();
    let db = open(&fs);
    let mut state = State::new();
    for round in 0..30 {
        fill(&db, &mut state, 60, round);
        db.delete(7u32.to_be_bytes()).unwrap();
        state.remove(&7u32.to_be_bytes()[..]);
        db.wait_idle().unwrap();
        assert_eq!(collect(db.iter()).unwrap(), state, "round {round}");
    }
    let stats = db.stats();
    // 30 values of 2000 bytes are live; tables of level 0 may hold older versions of each.
    assert!(stats.value_bytes < 6 * 60_000, "{stats:?}");
    assert_eq!(value_files(&fs).len(), stats.value_files);
    assert!(stats.value_bytes_written > 10 * 60_000);
    db.check().unwrap();
    db.compact().unwrap();
    let stats = db.stats();
    assert_eq!(stats.value_garbage_bytes, 0, "a full compaction leaves none");
    assert!((60_000..62_000).contains(&stats.value_bytes), "{stats:?}");
    assert_eq!(value_files(&fs).len(), stats.value_files);
    for i in 0..60u32 {
        db.delete(i.to_be_bytes()).unwrap();
    }
    db.compact().unwrap();
    assert_eq!(value_files(&fs), BTreeSet::new());
    assert_eq!(db.check().unwrap().value_files, 0);
}

#[test]
fn who_reads_an_older_view_keeps_its_value_files() {
    let fs = SimFs::new();
    let db = open(&fs);
    let mut state = State::new();
    fill(&db, &mut state, 60, 0);
    db.compact().unwrap();
    let before = value_files(&fs);
    let (mut iter, snapshot, old) = (db.iter(), db.snapshot(), state.clone());
    let first = iter.next().unwrap().unwrap();
    fill(&db, &mut state, 60, 1);
    drop(snapshot);
    db.compact().unwrap();
    assert!(value_files(&fs).is_superset(&before), "the iterator needs them");
    let mut seen: State =
        iter.by_ref().map(|e| e.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap()).collect();
    seen.insert(first.0.to_vec(), first.1.to_vec());
    assert_eq!(seen, old);
    drop(iter);
    db.compact().unwrap();
    assert!(value_files(&fs).is_disjoint(&before));
    assert_eq!(first.1, old[&first.0.to_vec()], "a value outlives its file");
    assert_eq!(collect(db.iter()).unwrap(), state);
}

#[test]
fn a_threshold_may_change_with_every_open() {
    let fs = SimFs::new();
    let mut state = State::new();
    for (round, threshold) in [usize::MAX, 1000, 50, usize::MAX, 3000, 32].into_iter().enumerate() {
        let db = tiny_and_steady(&fs).separate_values_from(threshold).open(DIR).unwrap();
        assert_eq!(collect(db.iter()).unwrap(), state, "{threshold}");
        fill(&db, &mut state, 30, round as u32);
        if threshold == usize::MAX {
            db.compact().unwrap();
            assert_eq!(value_files(&fs), BTreeSet::new(), "back in tables");
        }
        for (key, value) in &state {
            assert_eq!(db.get(key).unwrap().unwrap(), *value);
        }
        db.check().unwrap();
        db.close().unwrap();
    }
}

#[test]
fn a_failed_read_of_a_value_is_told_and_ends_an_iterator() {
    let fs = SimFs::new();
    let db = open(&fs);
    let mut state = State::new();
    fill(&db, &mut state, 10, 0);
    db.flush().unwrap();
    let key = 4u32.to_be_bytes();
    let fail = || {
        fs.clear_faults();
        fs.inject(Fault::new(Op::Read, FaultKind::Eio).path(".val").for_ever());
    };
    fail();
    assert!(matches!(db.get(key), Err(Error::Io { .. })));
    assert!(db.contains(key).unwrap(), "no value is read for it");
    for backward in [false, true] {
        fail();
        let mut iter = db.range(key..);
        let step = |iter: &mut stratalog::Iter| match backward {
            false => iter.next(),
            true => iter.nth_back(1),
        };
        assert!(matches!(step(&mut iter), Some(Err(Error::Io { .. }))));
        fs.clear_faults();
        assert!(iter.next().is_none() && iter.next_back().is_none());
        let mut iter = db.range(key..);
        fail();
        let lent = match backward {
            false => iter.advance().map(drop),
            true => iter.advance_back().map(drop).and_then(|()| iter.advance_back().map(drop)),
        };
        assert!(matches!(lent, Err(Error::Io { .. })));
        assert!(matches!(iter.advance(), Ok(None)));
    }
    fs.clear_faults();
    assert_eq!(collect(db.iter()).unwrap(), state);
}

#[test]
fn keys_are_walked_though_no_value_can_be_read() {
    let fs = SimFs::new();
    let db = open(&fs);
    let mut state = State::new();
    fill(&db, &mut state, 300, 0);
    db.compact().unwrap();
    fill(&db, &mut state, 20, 1);
    db.flush().unwrap();
    assert!(!value_files(&fs).is_empty());
    fs.inject(Fault::new(Op::Read, FaultKind::Eio).path(".val").for_ever());
    let owned = |keys: &mut dyn Iterator<Item = stratalog::Result<stratalog::Slice>>| {
        keys.map(|key| key.unwrap().to_vec()).collect::<Vec<_>>()
    };
    let expected: Vec<_> = state.keys().cloned().collect();
    assert_eq!(owned(&mut db.iter().keys()), expected);
    assert_eq!(owned(&mut db.snapshot().iter().keys()), expected);
    let mut backwards = owned(&mut db.iter().keys().rev());
    backwards.reverse();
    assert_eq!(backwards, expected);
    let mut keys = db.iter().keys();
    keys.seek(100u32.to_be_bytes());
    assert_eq!(keys.advance().unwrap(), Some(&100u32.to_be_bytes()[..]));
    assert_eq!(keys.advance_back().unwrap(), Some(&299u32.to_be_bytes()[..]));
    assert_eq!(fs.faults_hit(), 0, "nothing was read of a value file");
    db.iter().next().unwrap().unwrap_err();
}

#[test]
fn keys_of_an_iterator_that_has_shown_entries_are_all_visited() {
    let fs = SimFs::new();
    let db = open(&fs);
    let mut state = State::new();
    fill(&db, &mut state, 100, 0);
    db.flush().unwrap();
    for shown in 0..4 {
        let mut entries = db.iter();
        (0..shown).for_each(|_| assert!(entries.advance().unwrap().is_some()));
        let mut visited = Vec::new();
        let seen = |key: &[u8]| {
            visited.push(key.to_vec());
            ControlFlow::<()>::Continue(())
        };
        assert_eq!(entries.keys().visit(seen).unwrap(), None);
        assert!(visited.iter().eq(state.keys().skip(shown)), "{}", visited.len());
    }
}

#[test]
fn scans_read_many_values_at_once_in_both_directions() {
    let fs = SimFs::new();
    let db = options(&fs).table_bytes(1 << 20).cache_bytes(0).open(DIR).unwrap();
    let mut state = State::new();
    for i in 0..2000u32 {
        let value = value(i, 0, 2000);
        db.put(i.to_be_bytes(), &value).unwrap();
        state.insert(i.to_be_bytes().to_vec(), value);
    }
    db.compact().unwrap();
    let count = |read: &dyn Fn() -> u64| {
        let before = fs.reads();
        let seen = read();
        (seen, fs.reads() - before)
    };
    let (keys, reads_of_keys) = count(&|| db.iter().keys().count() as u64);
    for backward in [false, true] {
        let (seen, reads) = count(&|| {
            let (mut iter, mut seen) = (db.iter(), 0);
            loop {
                let entry = if backward { iter.advance_back() } else { iter.advance() };
                let Some((key, value)) = entry.unwrap() else { return seen };
                assert!(state[key] == value);
                seen += 1;
            }
        });
        assert_eq!((keys, seen), (2000, 2000));
        // 500 values a file: 1, 1, 2, 4 … 64 of them at once, then 128.
        assert!(reads < reads_of_keys + 60, "{reads}, {reads_of_keys} of them for keys");
    }
}

#[test]
fn a_check_reads_each_value_file_once_from_front_to_back() {
    let fs = SimFs::new();
    let db = options(&fs).table_bytes(1 << 20).open(DIR).unwrap();
    let mut state = State::new();
    // In an order that is not that of the keys.
    for i in (0..1000).map(|i| i * 7919 % 1000) {
        let value = value(i, 0, 2000);
        db.put(i.to_be_bytes(), &value).unwrap();
        state.insert(i.to_be_bytes().to_vec(), value);
    }
    db.compact().unwrap();
    let stats = db.stats();
    let reads = Arc::new(AtomicU64::new(0));
    let counted = reads.clone();
    fs.before_calls(move |op, path| {
        let is_counted = op == Op::Read && path.extension().is_some_and(|it| it == "val");
        counted.fetch_add(u64::from(is_counted), Ordering::Relaxed);
    });
    let report = db.check().unwrap();
    assert_eq!(report.value_files, stats.value_files);
    assert_eq!((report.entries, stats.value_garbage_bytes), (1000, 0));
    // Of 2 MB, up to 256 KiB at once; and of each file the magic number and the index.
    let (reads, files) = (reads.load(Ordering::Relaxed), report.value_files as u64);
    assert!((8 + 2 * files..100).contains(&reads), "{reads} reads of {files} files");
}

#[test]
fn value_files_that_nothing_names_are_swept_and_their_numbers_not_given_out_again() {
    let fs = SimFs::new();
    drop(open(&fs));
    fs.write_file(Path::new(DIR).join("000099.val"), b"left by a crash");
    let db = open(&fs);
    assert_eq!(db.recovery().orphans, ["000099.val"]);
    assert_eq!(value_files(&fs), BTreeSet::new());
    fill(&db, &mut State::new(), 10, 0);
    db.flush().unwrap();
    assert!(value_files(&fs).iter().all(|name| &**name > "000099.val"));
}

#[test]
fn a_lost_or_older_value_file_is_named() {
    let fs = SimFs::new();
    let db = open(&fs);
    fill(&db, &mut State::new(), 10, 0);
    db.flush().unwrap();
    db.close().unwrap();
    let names = value_files(&fs);
    let name = names.first().unwrap();
    let path = Path::new(DIR).join(name);
    let lost = fs.kill();
    lost.remove(&path).unwrap();
    let error = options(&lost).open(DIR).map(drop).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { path: at, .. } if *at == path), "{error}");
    // The same number, but of another store.
    let other = SimFs::new();
    let db = open(&other);
    fill(&db, &mut State::new(), 12, 5);
    db.flush().unwrap();
    db.close().unwrap();
    assert_eq!(value_files(&other), names);
    fs.write_file(&path, &other.read_file(&path));
    let error = options(&fs).open(DIR).map(drop).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { path: at, .. } if *at == path), "{error}");
}
