//! Damaged, lost, swapped and foreign files (F6, F8, F9, R2, R4): a typed error that names the file, or
//! the right answer.

use std::path::{Path, PathBuf};

use stratalog::fs::{Fs, SimFs};
use stratalog::{Compression, Db, Error, RecoveryMode, Result};

use crate::common::{DIR, State, collect, tiny_and_steady};

/// A store with two tables, each with a value file, edits in its manifest and records in its log.
fn store(close: bool) -> (SimFs, State) {
    let fs = SimFs::new();
    let mut state = State::new();
    let db = open(&fs).unwrap();
    for round in 0..3u8 {
        for i in 0..12u8 {
            let (key, value) =
                (vec![b'k', i, round % 2], vec![round ^ i; 30 + usize::from(i % 2) * 10]);
            db.put(&key, &value).unwrap();
            state.insert(key, value);
        }
        db.delete([b'k', 3, 0]).unwrap();
        state.remove(&[b'k', 3, 0][..]);
        if round < 2 {
            db.flush().unwrap();
        }
    }
    if close {
        db.close().unwrap();
        (fs, state)
    } else {
        (fs.kill(), state)
    }
}

fn open(fs: &SimFs) -> Result<Db> {
    tiny_and_steady(fs).compression(Compression::None).separate_values_from(40).open(DIR)
}

/// Reads everything in every way there is: all of it right, or an error that is about damage.
fn read(fs: &SimFs, state: &State) -> Result<()> {
    let db = open(fs)?;
    for (key, value) in state {
        assert_eq!(db.get(key)?.as_deref(), Some(&**value), "a wrong value for {key:?}");
    }
    assert_eq!(db.get([b'k', 3, 0])?, None, "a deleted key came back");
    assert_eq!(collect(db.iter())?, *state);
    let back: State =
        db.iter().rev().map(|e| e.map(|(k, v)| (k.to_vec(), v.to_vec()))).collect::<Result<_>>()?;
    assert_eq!(back, *state);
    db.check()?;
    db.compact()?;
    assert_eq!(collect(db.iter())?, *state);
    Ok(())
}

fn is_damage(error: &Error) -> bool {
    matches!(error, Error::Corrupt { .. } | Error::NotOurs { .. } | Error::NewerFormat { .. })
}

fn data_files(fs: &SimFs) -> Vec<(PathBuf, u64)> {
    let mut files = fs.files();
    files.retain(|(path, _)| !path.ends_with("LOCK"));
    files
}

#[test]
fn any_flipped_byte_of_a_closed_store_is_noticed_or_harmless() {
    let (whole, state) = store(true);
    assert_eq!(data_files(&whole).len(), 6, "manifest, log, two tables, two value files");
    let (mut noticed, mut harmless) = (0, 0);
    for (path, len) in data_files(&whole) {
        for offset in 0..len {
            for mask in [0xff, 1 << (offset % 8)] {
                let fs = whole.kill();
                fs.corrupt(&path, offset, mask);
                match read(&fs, &state) {
                    Ok(()) => harmless += 1,
                    Err(error) => {
                        assert!(is_damage(&error), "{path:?} at {offset}: {error:?}");
                        assert!(error.to_string().contains(DIR), "{error} names no file");
                        noticed += 1;
                    }
                }
            }
        }
    }
    eprintln!("{noticed} flips noticed, {harmless} harmless");
    assert!(noticed > 20 * harmless, "{noticed} noticed, {harmless} harmless");
}

#[test]
fn a_flipped_byte_of_an_open_log_costs_at_most_what_was_never_promised() {
    let (whole, state) = store(false);
    let db = open(&whole.kill()).unwrap();
    assert_eq!(collect(db.iter()).unwrap(), state);
    let logs = data_files(&whole)
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|e| e == "wal"));
    for (path, len) in logs {
        for offset in 0..len {
            let fs = whole.kill();
            fs.corrupt(&path, offset, 0x55);
            match open(&fs) {
                Err(error) => assert!(is_damage(&error), "{error:?}"),
                // The flushed rounds are there whatever the log says.
                Ok(db) => {
                    let found = collect(db.iter()).unwrap();
                    assert!(found.len() >= 23, "at {offset}: {} entries", found.len());
                    assert!(
                        found == state || !db.recovery().dropped.is_empty(),
                        "at {offset}: silent"
                    );
                }
            }
        }
    }
}

#[test]
fn strict_recovery_accepts_only_a_log_that_ends_cleanly() {
    let strict = |fs: &SimFs| tiny_and_steady(fs).recovery(RecoveryMode::Strict).open(DIR);
    let (closed, state) = store(true);
    assert_eq!(collect(strict(&closed).unwrap().iter()).unwrap(), state);
    let (torn, _) = store(false);
    let (log, len) = data_files(&torn)
        .into_iter()
        .find(|(path, _)| path.extension().is_some_and(|e| e == "wal"))
        .unwrap();
    torn.corrupt(&log, len - 5, 0xff);
    let error = strict(&torn.kill()).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert!(open(&torn.kill()).is_ok(), "the default cuts the torn tail");
}

#[test]
fn a_lost_file_is_named_and_never_an_emptier_store() {
    let (whole, state) = store(true);
    for (path, _) in data_files(&whole) {
        let fs = whole.kill();
        fs.remove(&path).unwrap();
        let error = open(&fs).map(drop).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "without {path:?}: {error}");
    }
    read(&whole, &state).unwrap();
}

#[test]
fn the_only_log_of_a_killed_store_is_missed() {
    let fs = SimFs::new();
    let db = open(&fs).unwrap();
    db.put("k", "v").unwrap();
    let killed = fs.kill();
    killed.remove(&Path::new(DIR).join("000001.wal")).unwrap();
    let error = open(&killed).map(drop).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

#[test]
fn a_truncated_file_is_noticed_or_harmless() {
    let (whole, state) = store(true);
    for (path, len) in data_files(&whole) {
        for cut_to in [0, 1, len / 2, len - 1] {
            let fs = whole.kill();
            let bytes = fs.read_file(&path);
            fs.write_file(&path, &bytes[..cut_to as usize]);
            match read(&fs, &state) {
                Err(error) => assert!(is_damage(&error), "{path:?} cut to {cut_to}: {error:?}"),
                // A manifest may end with a torn edit, and a log with a torn note of its close.
                Ok(()) => {
                    let is_spared = path.ends_with("MANIFEST") && cut_to > 1
                        || path.extension().is_some_and(|e| e == "wal") && cut_to == len - 1;
                    assert!(is_spared, "{path:?} cut to {cut_to}");
                }
            }
        }
    }
}

#[test]
fn a_file_under_another_name_is_refused() {
    let (whole, _) = store(true);
    let files: Vec<_> = data_files(&whole).into_iter().map(|(path, _)| path).collect();
    for kind in ["sst", "val"] {
        let files: Vec<_> =
            files.iter().filter(|path| path.extension().is_some_and(|e| e == kind)).collect();
        let [a, b] = files[..] else { panic!("two of {kind}") };
        let fs = whole.kill();
        let (first, second) = (fs.read_file(a), fs.read_file(b));
        fs.write_file(a, &second);
        fs.write_file(b, &first);
        assert!(is_damage(&open(&fs).map(drop).unwrap_err()));
    }
}

#[test]
fn an_older_manifest_is_refused() {
    let (older, _) = store(true);
    let newer = older.kill();
    let db = open(&newer).unwrap();
    for i in 0..200u8 {
        db.put([i], [i; 100]).unwrap();
    }
    db.compact().unwrap();
    db.close().unwrap();
    let manifest = Path::new(DIR).join("MANIFEST");
    newer.write_file(&manifest, &older.read_file(&manifest));
    let error = open(&newer).map(drop).unwrap_err();
    assert!(is_damage(&error), "{error}");
}

#[test]
fn a_newer_format_is_named_as_such_and_an_older_one_too() {
    let (whole, _) = store(true);
    let manifest = Path::new(DIR).join("MANIFEST");
    let mut bytes = whole.read_file(&manifest);
    let mut error_of = |version| {
        bytes[8] = version;
        let checksum = crc32c::crc32c(&bytes[..20]);
        bytes[20..24].copy_from_slice(&checksum.to_le_bytes());
        whole.write_file(&manifest, &bytes);
        open(&whole).map(drop).unwrap_err()
    };
    let newer = error_of(9);
    assert!(matches!(newer, Error::NewerFormat { found: 9, supported: 2, .. }), "{newer}");
    let older = error_of(1).to_string();
    assert!(older.contains("format version 1 was never released"), "{older}");
}
