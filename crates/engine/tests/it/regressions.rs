//! Bugs that were there once. Each test tells the story; none may come back.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use stratalog::fs::{Fault, FaultKind, On, Op, SimFs};
use stratalog::{Db, Durability, Error, RecoveryMode, Result, WriteOptions};

use crate::common::{DIR, collect, tiny, tiny_and_steady};

/// What `run` returns, if it does so in time.
fn in_time<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, outcome) = mpsc::channel();
    thread::spawn(move || done.send(run()));
    outcome.recv_timeout(Duration::from_secs(20)).expect("it hangs")
}

fn tables(fs: &SimFs) -> usize {
    fs.files().iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "sst")).count()
}

/// A write that failed never published its place in the log, so an unlogged write behind it waited for
/// ever, and with it every seal and the close.
#[test]
fn nobody_waits_behind_a_failed_write() {
    let fs = SimFs::new().without_mapping(); // Every write is to be a call.
    let db = tiny(&fs).open(DIR).unwrap();
    // The next write to the log waits until it is let go, and then fails.
    let [inside, go] = std::array::from_fn(|_| Arc::new(AtomicBool::new(false)));
    fs.inject(Fault::new(Op::Write, FaultKind::Eio).path(".wal"));
    let wait = {
        let (inside, go) = (inside.clone(), go.clone());
        move || {
            inside.store(true, Ordering::SeqCst);
            while !go.load(Ordering::SeqCst) {
                thread::yield_now();
            }
        }
    };
    fs.before_calls(move |op, path| {
        if op == Op::Write && path.extension().is_some_and(|it| it == "wal") {
            wait();
        }
    });
    let failing = {
        let db = db.clone();
        thread::spawn(move || db.put("fails", "").map(|_| ()))
    };
    while !inside.load(Ordering::SeqCst) {
        thread::yield_now();
    }
    let behind = {
        let db = db.clone();
        let options = WriteOptions::new().durability(Durability::None);
        thread::spawn(move || db.put_with("behind", "", &options).map(|_| ()))
    };
    go.store(true, Ordering::SeqCst);
    failing.join().unwrap().unwrap_err();
    let _ = in_time(move || behind.join().unwrap());
    assert!(!db.contains("fails").unwrap());
    let _ = in_time(move || db.close());
}

/// `close` waited for the store's own threads only. A compaction in a caller's thread went on, wrote to
/// the manifest of a store that somebody else had opened meanwhile, and removed its tables.
#[test]
fn closing_waits_for_a_compaction_in_a_callers_thread() {
    let fs = SimFs::new();
    let db = tiny(&fs).open(DIR).unwrap();
    for round in 0..3u8 {
        for i in 0..50u8 {
            db.put([i], [round; 100]).unwrap();
        }
        db.flush().unwrap();
    }
    let state = collect(db.iter()).unwrap();
    fs.inject(Fault::new(Op::Sync, FaultKind::Delay(Duration::from_millis(300))).path(".sst"));
    let compaction = {
        let db = db.clone();
        thread::spawn(move || db.compact())
    };
    while tables(&fs) < 4 {
        thread::yield_now(); // Until the compaction has begun its table.
    }
    db.close().unwrap();
    fs.inject(Fault::new(Op::Rename, FaultKind::Delay(Duration::from_millis(500))));
    for _ in 0..2 {
        let db = tiny(&fs).open(DIR).unwrap();
        assert_eq!(collect(db.iter()).unwrap(), state);
        db.close().unwrap();
    }
    let _ = compaction.join().unwrap();
}

/// Without threads, a writer that met a full level 0 waited for a flush that was not due.
#[test]
fn without_threads_a_full_level_0_is_compacted_by_the_writer() {
    let fs = SimFs::new();
    let db = tiny_and_steady(&fs).open(DIR).unwrap();
    for i in 0..20u32 {
        db.put(i.to_be_bytes(), "x").unwrap();
        db.flush().unwrap();
    }
    in_time(move || {
        for i in 0..200u32 {
            db.put(i.to_be_bytes(), [0; 500]).unwrap();
        }
    });
}

/// The same with a table that cannot be read: the writer has to hear of it.
#[test]
fn without_threads_a_damaged_table_is_told_to_the_writer() {
    let fs = SimFs::new();
    let db = tiny_and_steady(&fs).open(DIR).unwrap();
    db.put("k", [1; 300]).unwrap();
    db.flush().unwrap();
    let is_table = |path: &Path| path.extension().is_some_and(|e| e == "sst");
    let (table, _) = fs.files().into_iter().find(|(path, _)| is_table(path)).unwrap();
    fs.corrupt(&table, 20, 0xff);
    let error = in_time(move || (0..6000u32).find_map(|i| db.put(i.to_be_bytes(), [0; 500]).err()));
    assert!(matches!(error, Some(Error::Corrupt { .. })), "{error:?}");
}

/// `sync` looked for unlogged writes in sealed memtables, then in the active one; a seal between the two
/// looks hid them.
#[test]
fn sync_finds_unlogged_writes_while_others_seal() {
    let fs = SimFs::new();
    let db = tiny(&fs).open(DIR).unwrap();
    let unlogged = WriteOptions::new().durability(Durability::None);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for i in (0..u32::MAX).take_while(|_| !done.load(Ordering::Relaxed)) {
                db.put((i % 1000).to_be_bytes(), [0; 2000]).unwrap();
            }
        });
        for round in 0..40u32 {
            db.put_with("k", round.to_be_bytes(), &unlogged).unwrap();
            db.sync().unwrap();
            let after = tiny_and_steady(&fs.crash(u64::from(round))).open(DIR).unwrap();
            assert_eq!(after.get("k").unwrap().as_deref(), Some(&round.to_be_bytes()[..]), "D4");
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// `stats` waited for the manifest's lock with a view pinned; enough of them stopped every seal.
#[test]
fn asking_for_statistics_holds_nobody_up() {
    let fs = SimFs::new();
    let db = tiny(&fs).open(DIR).unwrap();
    db.put("k", "v").unwrap();
    let delay = FaultKind::Delay(Duration::from_millis(500));
    fs.inject(Fault::new(Op::Sync, delay).path("MANIFEST"));
    let flush = {
        let db = db.clone();
        thread::spawn(move || db.flush())
    };
    for _ in 0..1000 {
        let db = db.clone();
        in_time(move || db.stats());
    }
    flush.join().unwrap().unwrap();
}

/// A killed store whose first log segment was emptied opened without the writes in it.
#[test]
fn an_emptied_first_segment_is_missed() {
    let fs = SimFs::new();
    let db = tiny(&fs).durability(Durability::Sync).open(DIR).unwrap();
    db.put("k", "v").unwrap();
    let killed = fs.kill();
    killed.write_file(Path::new(DIR).join("000001.wal"), b"");
    let error = tiny(&killed).open(DIR).map(drop).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

/// Each failed flush, and each failed open, left a whole table behind: on a full disk the retries ate
/// whatever was freed.
#[test]
fn failed_flushes_and_opens_leave_no_tables() {
    let full = || Fault::new(On::Mutating, FaultKind::NoSpace).path("MANIFEST").for_ever();
    let fs = SimFs::new();
    let db = tiny_and_steady(&fs).open(DIR).unwrap();
    for i in 0..50u8 {
        db.put([i], [i; 100]).unwrap();
    }
    let killed = fs.kill();
    fs.inject(full());
    (0..10).for_each(|_| drop(db.flush().unwrap_err()));
    fs.clear_faults();
    db.flush().unwrap();
    db.compact().unwrap();
    assert_eq!(tables(&fs), 1);

    killed.inject(full());
    (0..10).for_each(|_| drop(tiny_and_steady(&killed).open(DIR).unwrap_err()));
    assert_eq!(tables(&killed), 0);
    killed.clear_faults();
    assert_eq!(collect(tiny_and_steady(&killed).open(DIR).unwrap().iter()).unwrap().len(), 50);
}

/// A lone table in level 0 was moved down as it was, tombstones and all.
#[test]
fn compact_drops_what_nobody_needs_also_from_a_lone_table() {
    let db = tiny(&SimFs::new()).open(DIR).unwrap();
    for i in 0..50u8 {
        db.delete([i]).unwrap();
    }
    db.compact().unwrap();
    assert_eq!(db.stats().levels.iter().map(|level| level.tables).sum::<usize>(), 0);
}

/// The note of a clean close was held against a log that recovery was asked to cut.
#[test]
fn a_damaged_log_of_a_closed_store_opens_as_of_the_damage_if_asked() {
    let fs = SimFs::new();
    let db = tiny(&fs).durability(Durability::Sync).open(DIR).unwrap();
    for i in 0..10u8 {
        db.put([i], [i; 50]).unwrap();
    }
    db.close().unwrap();
    fs.corrupt(Path::new(DIR).join("000001.wal"), 400, 0xff);
    assert!(matches!(tiny(&fs).open(DIR), Err(Error::Corrupt { .. })));
    let db = tiny(&fs).recovery(RecoveryMode::PointInTime).open(DIR).unwrap();
    let found: Vec<_> = collect(db.iter()).unwrap().into_keys().collect();
    assert!((1..10).contains(&found.len()), "R3: {found:?}");
    assert!(found.iter().enumerate().all(|(i, key)| *key == [i as u8]), "R3: a prefix");
    assert_eq!(db.recovery().dropped.len(), 1);
}

/// `flush` sealed without asking for room, so memory grew with every flush that failed.
#[test]
fn failing_flushes_do_not_pile_up_memtables() {
    let fs = SimFs::new();
    let db = tiny(&fs).open(DIR).unwrap();
    fs.inject(Fault::new(On::Mutating, FaultKind::NoSpace).path(".sst").for_ever());
    for round in 0..50u32 {
        for i in 0..60u32 {
            let _ = db.put((round * 100 + i).to_be_bytes(), [0; 900]);
        }
        db.flush().unwrap_err();
    }
    let stats = db.stats();
    assert!(stats.sealed_memtables <= 2, "{stats:?}");
    assert!(stats.memtable_bytes < 4 * (64 << 10), "{stats:?}");
}

/// After a failure of the log, a flush that had succeeded was reported as failed.
#[test]
fn a_flush_succeeds_after_the_log_has_failed() {
    let fs = SimFs::new();
    let db = tiny_and_steady(&fs).open(DIR).unwrap();
    db.put("k", "v").unwrap();
    fs.inject(Fault::new(Op::Sync, FaultKind::Eio).path(".wal"));
    db.sync().unwrap_err();
    db.flush().unwrap();
    assert!(matches!(db.put("l", "v"), Err(Error::Poisoned(_))));
    drop(db);
    assert!(tiny_and_steady(&fs.crash(1)).open(DIR).unwrap().contains("k").unwrap());
}

/// The back end ignored where the front end had been sent.
#[test]
fn the_back_end_stops_where_the_front_end_was_sent() {
    let db = tiny(&SimFs::new()).open(DIR).unwrap();
    for key in ["a", "b", "c", "d"] {
        db.put(key, "").unwrap();
    }
    let back = |iter: stratalog::Iter| -> Vec<_> {
        iter.rev().map(|entry| entry.unwrap().0.to_vec()).collect()
    };
    let mut iter = db.iter();
    iter.seek("c");
    assert_eq!(back(iter), [b"d", b"c"]);
    let mut iter = db.iter();
    iter.seek("z");
    assert!(iter.next().is_none());
    assert!(back(iter).is_empty());
}

/// A back end that had stopped at an entry without returning it took that entry from a front end that was
/// sent back.
#[test]
fn an_entry_that_no_end_returned_is_still_there_after_a_seek() {
    let db = tiny(&SimFs::new()).open(DIR).unwrap();
    for key in 1..=5u8 {
        db.put([key], "").unwrap();
    }
    let key = |entry: Option<Result<(stratalog::Slice, stratalog::Slice)>>| {
        entry.map(|entry| entry.unwrap().0[0])
    };
    let sent_back = || {
        let mut iter = db.iter();
        iter.seek([4]);
        let back: Vec<_> = std::iter::from_fn(|| key(iter.next_back())).collect();
        assert_eq!(back, [5, 4]);
        iter.seek([1]);
        iter
    };
    assert_eq!(key(sent_back().next_back()), Some(3));
    let mut iter = sent_back();
    let front: Vec<_> = std::iter::from_fn(|| key(iter.next())).collect();
    assert_eq!(front, [1, 2, 3]);
}

/// An empty path made the search for its parent directory go on for ever.
#[test]
fn an_empty_path_is_refused() {
    assert!(matches!(Db::open(""), Err(Error::Io { .. })));
}

/// A file with the last possible number left none for the next one.
#[test]
fn files_with_the_last_number_are_not_ours() {
    for name in ["18446744073709551615.sst", "18446744073709551615.wal"] {
        let fs = SimFs::new();
        tiny(&fs).open(DIR).unwrap().close().unwrap();
        fs.write_file(Path::new(DIR).join(name), b"");
        let db = tiny(&fs).open(DIR).unwrap();
        db.put("k", "v").unwrap();
        db.flush().unwrap();
        drop(db);
        assert!(tiny(&fs).open(DIR).unwrap().contains("k").unwrap());
    }
}
