//! Stores with tables that are compressed by Zstd, in builds with it.

use stratalog::fs::SimFs;
use stratalog::{Compression, Db, Options};

use crate::common::{DIR, State, collect, tiny_and_steady};

const KEYS: u64 = 60_000;

/// A record in words that others have, too, so that a dictionary pays.
fn record(number: u64, round: u64) -> (Vec<u8>, Vec<u8>) {
    let id = number.wrapping_mul(104_729) % 1_000_003;
    let value =
        format!("{{\"id\":{id},\"state\":\"round-{round}\",\"owner\":\"user-{}\"}}", id % 999);
    (format!("tenant-{:03}/order/{number:08}", number / 1000).into_bytes(), value.into_bytes())
}

fn open(fs: &SimFs, levels: &[Compression]) -> Db {
    options(fs).compression_by_level(levels).open(DIR).unwrap()
}

/// Tables are large enough for a dictionary: it is trained from their first megabyte.
fn options(fs: &SimFs) -> Options {
    tiny_and_steady(fs).memtable_bytes(4 << 20).table_bytes(8 << 20).block_bytes(4096)
}

fn put(db: &Db, expected: &mut State, round: u64, step: usize) {
    for number in (0..KEYS).step_by(step) {
        let (key, value) = record(number, round);
        db.put(&key, &value).unwrap();
        expected.insert(key, value);
    }
}

#[track_caller]
fn holds(db: &Db, expected: &State) {
    assert!(collect(db.iter()).unwrap() == *expected);
    for (key, value) in expected.iter().step_by(501) {
        assert_eq!(db.get(key).unwrap().unwrap(), *value);
    }
    db.check().unwrap();
}

fn table_bytes(db: &Db) -> u64 {
    db.stats().levels.iter().map(|level| level.bytes).sum()
}

#[test]
fn a_store_with_zstd_by_level_holds_what_was_written() {
    let zstd = Compression::Zstd { level: 3 };
    let mut expected = State::new();
    let fs = SimFs::new();
    for (round, levels) in
        [&[Compression::None, zstd][..], &[zstd], &[Compression::Lz4, zstd, zstd]]
            .iter()
            .enumerate()
    {
        let db = open(&fs, levels);
        put(&db, &mut expected, round as u64, 1 + round);
        db.flush().unwrap();
        holds(&db, &expected);
        db.compact().unwrap();
        holds(&db, &expected);
        db.close().unwrap();
        holds(&open(&fs, &[Compression::Lz4]), &expected);
    }

    // One run, by Zstd with dictionaries, and the same by LZ4.
    let db = open(&fs, &[zstd]);
    put(&db, &mut expected, 9, 1);
    db.compact().unwrap();
    let zstd_bytes = table_bytes(&db);
    db.close().unwrap();
    let db = open(&fs, &[Compression::Lz4]);
    put(&db, &mut expected, 9, 1);
    db.compact().unwrap();
    holds(&db, &expected);
    let lz4_bytes = table_bytes(&db);
    assert!(zstd_bytes * 10 < lz4_bytes * 8, "{zstd_bytes} by Zstd, {lz4_bytes} by LZ4");
}
