//! What the documentation promises of each call.

use std::path::Path;
use std::time::Duration;

use stratalog::fs::{Fault, FaultKind, Fs, Op, SimFs};
use stratalog::{Batch, Compression, Db, Durability, Error, FilterPolicy, Options, WriteOptions};

use crate::common::{DIR, State, collect, tiny, tiny_and_steady};

fn open(fs: &SimFs) -> Db {
    tiny_and_steady(fs).open(DIR).unwrap()
}

fn keys(db: &Db) -> Vec<Vec<u8>> {
    collect(db.iter()).unwrap().into_keys().collect()
}

#[test]
fn a_value_is_what_was_put_last_and_empty_is_not_absent() {
    let db = open(&SimFs::new());
    db.put("k", "1").unwrap();
    db.put("k", "").unwrap();
    for flushed in [false, true] {
        assert_eq!(db.get("k").unwrap().as_deref(), Some(&b""[..]), "flushed: {flushed}");
        assert!(!db.contains("absent").unwrap());
        db.flush().unwrap();
    }
    db.delete("k").unwrap();
    db.delete("never there").unwrap();
    assert_eq!(db.get("k").unwrap(), None);
    db.compact().unwrap();
    assert_eq!(db.get("k").unwrap(), None);
    assert_eq!(db.stats().levels.iter().map(|level| level.entries).sum::<u64>(), 0);
}

#[test]
fn a_batch_applies_in_order_and_the_later_entry_wins() {
    let db = open(&SimFs::new());
    let mut batch = Batch::new();
    batch.put("a", "1").delete("a").put("b", "1").put("b", "2");
    assert_eq!(batch.len(), 4);
    let commit = db.write(&batch, &WriteOptions::new()).unwrap();
    assert!(commit.seq() > 0);
    assert_eq!(keys(&db), [b"b"]);
    assert_eq!(db.get("b").unwrap().as_deref(), Some(&b"2"[..]));
    batch.clear();
    assert!(matches!(db.write(&batch, &WriteOptions::new()), Err(Error::InvalidArgument(_))));
}

#[test]
fn keys_and_values_have_limits() {
    let db = open(&SimFs::new());
    let longest = vec![b'k'; 64 << 10];
    db.put(&longest, "v").unwrap();
    db.flush().unwrap();
    assert!(db.contains(&longest).unwrap());
    let longer = vec![b'k'; (64 << 10) + 1];
    assert!(matches!(db.put(&longer, "v"), Err(Error::InvalidArgument(_))));
    assert!(matches!(db.delete(&longer), Err(Error::InvalidArgument(_))));
    let huge = vec![0; (1 << 30) + 1];
    assert!(matches!(db.put("k", &huge), Err(Error::InvalidArgument(_))));
    assert!(db.get(&longer).unwrap().is_none());
    assert_eq!(keys(&db), [longest], "a refused write changes nothing");
}

#[test]
fn a_large_value_passes_through_log_memtable_and_table() {
    let fs = SimFs::new();
    let value: Vec<u8> = (0..3 << 20).map(|i: u32| (i >> 3) as u8).collect();
    let db = open(&fs);
    db.put("large", &value).unwrap();
    assert_eq!(db.get("large").unwrap().unwrap(), value);
    drop(db);
    let db = open(&fs);
    assert_eq!(db.get("large").unwrap().unwrap(), value, "replayed");
    db.compact().unwrap();
    assert_eq!(db.get("large").unwrap().unwrap(), value, "from a table");
}

#[test]
fn ranges_and_prefixes_have_their_bounds_in_both_directions() {
    let db = open(&SimFs::new());
    for key in ["", "a", "b", "ba", "bb", "c", "\u{7f}"] {
        db.put(key, key).unwrap();
    }
    db.put([0xff], "").unwrap();
    db.put([0xff, 0xff], "").unwrap();
    for _ in 0..2 {
        let found = |iter: stratalog::Iter| collect(iter).unwrap().into_keys().collect::<Vec<_>>();
        assert_eq!(found(db.range("a".."b")), [b"a"]);
        assert_eq!(found(db.range("a"..="b")), [b"a", b"b"]);
        assert_eq!(found(db.range(..="")), [b""]);
        assert_eq!(found(db.prefix("b")), [&b"b"[..], b"ba", b"bb"]);
        assert_eq!(found(db.prefix([0xff])), [&[0xff][..], &[0xff, 0xff]]);
        assert_eq!(found(db.range("c".."a")), Vec::<Vec<u8>>::new(), "an empty range");
        let mut back: Vec<_> = db.range("a".."c").rev().map(|e| e.unwrap().0.to_vec()).collect();
        back.reverse();
        assert_eq!(back, found(db.range("a".."c")));
        let mut iter = db.prefix("b");
        assert_eq!(iter.next_back().unwrap().unwrap().0, b"bb");
        assert_eq!(iter.next().unwrap().unwrap().0, b"b");
        assert_eq!(iter.next_back().unwrap().unwrap().0, b"ba");
        assert!(iter.next().is_none() && iter.next_back().is_none(), "the ends have met");
        db.flush().unwrap();
    }
}

#[test]
fn an_iterator_seeks_and_lends() {
    let db = open(&SimFs::new());
    for i in 0..1000u32 {
        db.put(i.to_be_bytes(), i.to_le_bytes()).unwrap();
    }
    let mut iter = db.range(10u32.to_be_bytes()..20u32.to_be_bytes());
    let next = |iter: &mut stratalog::Iter| {
        iter.advance().unwrap().map(|(key, _)| u32::from_be_bytes(key.try_into().unwrap()))
    };
    iter.seek(15u32.to_be_bytes());
    assert_eq!(next(&mut iter), Some(15));
    iter.seek(3u32.to_be_bytes());
    assert_eq!(next(&mut iter), Some(10), "not before the range");
    assert_eq!(next(&mut iter), Some(11));
    iter.seek(20u32.to_be_bytes());
    assert_eq!(next(&mut iter), None, "nor behind it");
    iter.seek(19u32.to_be_bytes());
    assert_eq!(next(&mut iter), Some(19));
    let (key, value) = iter.advance_back().unwrap().map(|(k, v)| (k.to_vec(), v.to_vec())).unzip();
    assert_eq!((key, value), (None::<Vec<u8>>, None::<Vec<u8>>), "the ends have met");
}

#[test]
fn keys_go_on_where_the_entries_stood_and_seek() {
    let db = open(&SimFs::new());
    for i in 0..1000u32 {
        db.put(i.to_be_bytes(), [7; 300]).unwrap();
    }
    let number = |key: Option<&[u8]>| key.map(|key| u32::from_be_bytes(key.try_into().unwrap()));
    for flushed in [false, true] {
        let mut entries = db.range(10u32.to_be_bytes()..990u32.to_be_bytes());
        entries.advance().unwrap();
        entries.next_back().unwrap().unwrap();
        let mut keys = entries.keys();
        assert_eq!(number(keys.advance().unwrap()), Some(11));
        assert_eq!(number(keys.advance_back().unwrap()), Some(988));
        keys.seek(3u32.to_be_bytes());
        assert_eq!(number(keys.next().unwrap().ok().as_deref()), Some(10), "not before the range");
        keys.seek(987u32.to_be_bytes());
        assert_eq!(number(keys.next_back().unwrap().ok().as_deref()), Some(987));
        assert!(keys.next().is_none() && keys.next_back().is_none(), "the ends have met");
        let prefix = db.snapshot().prefix([0, 0, 1]).keys();
        assert_eq!(prefix.map(Result::unwrap).count(), 256);
        if !flushed {
            db.flush().unwrap();
        }
    }
    let mut late = db.range::<&[u8]>(..).keys();
    db.close().unwrap();
    assert_eq!(late.by_ref().count(), 1000);
    assert!(matches!(late.advance(), Ok(None)));
}

#[test]
fn an_iterator_outlives_its_store_and_its_thread() {
    let fs = SimFs::new();
    let db = open(&fs);
    let mut state = State::new();
    for i in 0..500u32 {
        db.put(i.to_be_bytes(), vec![i as u8; 300]).unwrap();
        state.insert(i.to_be_bytes().to_vec(), vec![i as u8; 300]);
    }
    let iter = db.iter();
    let value = db.get(7u32.to_be_bytes()).unwrap().unwrap();
    db.put("later", "").unwrap();
    db.compact().unwrap();
    db.close().unwrap();
    let found = std::thread::spawn(move || collect(iter).unwrap()).join().unwrap();
    assert_eq!(found, state);
    assert_eq!(value, [7; 300]);
}

#[test]
fn a_snapshot_sees_its_moment_through_flush_and_compaction() {
    let db = open(&SimFs::new());
    for i in 0..300u32 {
        db.put(i.to_be_bytes(), b"old").unwrap();
    }
    let snapshot = db.snapshot();
    for i in 0..300u32 {
        match i % 3 {
            0 => db.put(i.to_be_bytes(), b"new").map(drop),
            1 => db.delete(i.to_be_bytes()).map(drop),
            _ => Ok(()),
        }
        .unwrap();
    }
    for _ in 0..3 {
        assert_eq!(collect(snapshot.iter()).unwrap().len(), 300);
        assert_eq!(snapshot.get(0u32.to_be_bytes()).unwrap().unwrap(), b"old");
        assert_eq!(db.get(0u32.to_be_bytes()).unwrap().unwrap(), b"new");
        assert_eq!(db.get(1u32.to_be_bytes()).unwrap(), None);
        db.compact().unwrap();
    }
    assert_eq!(db.stats().snapshots, 1);
    drop(snapshot);
    db.compact().unwrap();
    let left: u64 = db.stats().levels.iter().map(|level| level.entries).sum();
    assert_eq!(left, 200, "what only the snapshot saw is gone");
}

#[test]
fn a_closed_store_says_so_and_lets_its_directory_go() {
    let fs = SimFs::new();
    let db = open(&fs);
    db.put("k", "v").unwrap();
    let (clone, snapshot) = (db.clone(), db.snapshot());
    assert!(matches!(tiny(&fs).open(DIR), Err(Error::Locked { .. })));
    db.close().unwrap();
    assert!(matches!(clone.put("k", "w"), Err(Error::Closed)));
    assert!(matches!(clone.get("k"), Err(Error::Closed)));
    assert!(matches!(clone.flush(), Err(Error::Closed)));
    assert!(matches!(clone.sync(), Err(Error::Closed)));
    assert!(matches!(clone.iter().next(), Some(Err(Error::Closed))));
    clone.clone().close().unwrap();
    assert_eq!(snapshot.get("k").unwrap().unwrap(), b"v", "snapshots go on");
    assert_eq!(collect(snapshot.iter()).unwrap().len(), 1);
    let db = open(&fs);
    assert!(db.recovery().clean_close && !db.recovery().created);
    drop(db);
    drop(open(&fs)); // The drop let the directory go, too.
}

#[test]
fn a_missing_store_is_created_only_if_wanted() {
    let fs = SimFs::new();
    let error = tiny(&fs).create(false).open(DIR).unwrap_err();
    assert!(matches!(&error, Error::NotOurs { .. }), "{error}");
    assert!(fs.list(Path::new(DIR)).is_err(), "nothing was created");
    fs.create_dir(Path::new(DIR)).unwrap();
    assert!(matches!(tiny(&fs).create(false).open(DIR), Err(Error::NotOurs { .. })));
    assert!(fs.list(Path::new(DIR)).unwrap().is_empty(), "not even a lock file");
    drop(open(&fs));
    tiny(&fs).create(false).open(DIR).unwrap();
}

#[test]
fn a_directory_with_foreign_files_is_left_alone() {
    let fs = SimFs::new();
    fs.create_dir(Path::new(DIR)).unwrap();
    fs.create(&Path::new(DIR).join("letters.txt")).unwrap();
    let error = tiny(&fs).open(DIR).unwrap_err();
    assert!(matches!(&error, Error::NotOurs { .. }), "{error}");
    assert_eq!(fs.list(Path::new(DIR)).unwrap(), ["letters.txt"]);
}

#[test]
fn an_unreadable_directory_or_file_is_told_as_such() {
    let fs = SimFs::new();
    let db = open(&fs);
    db.put("k", "v").unwrap();
    db.flush().unwrap();
    db.close().unwrap();
    for (op, path) in
        [(Op::List, DIR), (Op::Open, "MANIFEST"), (Op::Open, ".sst"), (Op::Open, ".wal")]
    {
        let fs = fs.kill();
        fs.inject(Fault::new(op, FaultKind::Eio).path(path));
        let error = tiny(&fs).open(DIR).unwrap_err();
        assert!(matches!(&error, Error::Io { .. }), "{op:?} {path}: {error}");
        assert!(error.to_string().contains(path), "{error}");
        assert!(open(&fs).contains("k").unwrap(), "nothing was changed");
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    let fs = SimFs::new();
    let bad = [
        tiny(&fs).memtable_bytes(1000),
        tiny(&fs).block_bytes(10),
        tiny(&fs).block_bytes(2 << 20),
        tiny(&fs).table_bytes(100),
        tiny(&fs).filter_bits_per_key(32.5),
        tiny(&fs).prefix_bytes(1 << 16),
        // Out of its range, and without the feature not there at all.
        tiny(&fs).compression_by_level(&[Compression::Lz4, Compression::Zstd { level: 23 }]),
        tiny(&fs).sync_interval(Duration::ZERO),
        Options::new().fs(fs.shared()).memory_bytes(500 << 10),
        tiny(&fs).memory_bytes(1 << 20).memtable_bytes(257 << 10),
    ];
    for options in bad {
        let text = format!("{options:?}");
        assert!(matches!(options.open(DIR), Err(Error::InvalidArgument(_))), "{text}");
    }
}

#[test]
fn an_iterator_over_a_prefix_passes_over_tables_without_it() {
    let reads = |prefix_bytes: usize| {
        let fs = SimFs::new();
        let db = tiny_and_steady(&fs).cache_bytes(0).prefix_bytes(prefix_bytes).open(DIR).unwrap();
        for table in 0..3u32 {
            for group in 0..60 {
                let key = format!("group-{:03}/{table}", group * 3 + table);
                db.put(key, [b'v'; 40]).unwrap();
            }
            db.flush().unwrap();
        }
        let before = fs.reads();
        for group in 0..180 {
            let prefix = format!("group-{group:03}/");
            assert_eq!(collect(db.prefix(prefix)).unwrap().len(), 1);
        }
        fs.reads() - before
    };
    let (without, with) = (reads(0), reads(10));
    assert!(with * 2 < without, "{with} reads with prefixes in filters, {without} without");
}

/// What a store looks like after the same writes under different settings.
fn stats_with(change: impl Fn(Options) -> Options) -> (stratalog::Stats, u64) {
    let fs = SimFs::new();
    let db = change(tiny_and_steady(&fs)).open(DIR).unwrap();
    for i in 0..4000u32 {
        db.put(i.wrapping_mul(0x9e37_79b9).to_be_bytes(), [b'v'; 60]).unwrap();
    }
    db.wait_idle().unwrap();
    for i in 0..4000u32 {
        assert!(db.contains(i.wrapping_mul(0x9e37_79b9).to_be_bytes()).unwrap());
        assert!(!db.contains(i.to_le_bytes()).unwrap() || i == 0);
    }
    (db.stats(), fs.syncs())
}

#[test]
fn every_setting_changes_what_the_store_does() {
    let bytes =
        |stats: &stratalog::Stats| stats.levels.iter().map(|level| level.bytes).sum::<u64>();
    let tables =
        |stats: &stratalog::Stats| stats.levels.iter().map(|level| level.tables).sum::<usize>();
    let (base, base_syncs) = stats_with(|options| options);
    let (memtable, _) = stats_with(|options| options.memtable_bytes(128 << 10));
    assert!(memtable.flushes < base.flushes);
    let (table, _) = stats_with(|options| options.table_bytes(4 << 10));
    assert!(tables(&table) > tables(&base));
    let (block, _) = stats_with(|options| options.block_bytes(4096));
    assert!(block.index_bytes < base.index_bytes);
    let (cache, _) = stats_with(|options| options.cache_bytes(0));
    assert!(cache.cache_bytes == 0 && base.cache_bytes > 0);
    let (memory, _) = stats_with(|options| options.memory_bytes(512 << 10).cache_bytes(None));
    assert!(memory.memory_bytes == 512 << 10 && memory.cache_bytes > base.cache_bytes);
    let (filter, _) = stats_with(|options| options.filter_bits_per_key(0.0));
    assert!(bytes(&filter) < bytes(&base) && filter.index_bytes < base.index_bytes);
    let (plain, _) = stats_with(|options| options.compression(Compression::None));
    assert!(bytes(&plain) > bytes(&base));
    let levels = [Compression::Lz4, Compression::None];
    let (by_level, _) = stats_with(|options| options.compression_by_level(&levels));
    assert!(bytes(&by_level) > bytes(&base));
    let (prefixes, _) = stats_with(|options| options.prefix_bytes(3));
    assert!(bytes(&prefixes) > bytes(&base));
    let ribbon = |options: Options| options.table_bytes(1 << 20).filter(FilterPolicy::Ribbon);
    let (bloom, _) = stats_with(|options| options.table_bytes(1 << 20));
    assert_ne!(bytes(&stats_with(ribbon).0), bytes(&bloom));
    let (_, sync_syncs) = stats_with(|options| options.durability(Durability::Sync));
    assert!(sync_syncs > base_syncs + 3000);
}

#[test]
fn interval_writes_become_durable_by_themselves() {
    let fs = SimFs::new();
    let options =
        tiny(&fs).durability(Durability::Interval).sync_interval(Duration::from_millis(1));
    let db = options.open(DIR).unwrap();
    let before = db.stats().durable;
    let end = db.put("k", "v").unwrap().seq() + 1;
    assert!(before < end);
    // Ends by itself only if the background sync comes.
    while db.stats().durable < end {
        std::thread::yield_now();
    }
    assert!(tiny(&fs.crash(3)).open(DIR).unwrap().contains("k").unwrap());
}

#[test]
fn waiting_for_a_commit_makes_it_durable() {
    for durability in [Durability::None, Durability::Process] {
        let fs = SimFs::new();
        let db = open(&fs);
        let options = WriteOptions::new().durability(durability);
        db.put_with("k", "v", &options).unwrap().wait_durable().unwrap();
        for seed in 0..20 {
            let db = open(&fs.crash(seed));
            assert!(db.contains("k").unwrap(), "{durability:?}, seed {seed}");
        }
    }
}

#[test]
fn recovery_reports_what_it_did() {
    let fs = SimFs::new();
    let db = open(&fs);
    assert!(db.recovery().created);
    db.put("a", "1").unwrap();
    db.put("b", "2").unwrap();
    let fs = fs.kill();
    let orphan = Path::new(DIR).join("000099.sst");
    fs.create(&orphan).unwrap();
    let db = open(&fs);
    let report = db.recovery();
    assert!(!report.created && !report.clean_close);
    assert_eq!((report.records, report.tables), (2, 1));
    assert_eq!(report.orphans, ["000099.sst"]);
    assert!(report.dropped.is_empty());
    assert!(fs.open(&orphan).is_err(), "it is gone");
    drop(db);
    assert_eq!(open(&fs).recovery().records, 0, "nothing is replayed twice");
}
