//! Building tables for tests.

use std::path::Path;
use std::sync::Arc;

use stratalog_base::fs::{Fs, SimFs, SimRng};
use stratalog_base::{InternalKey, KeyRef, Kind, Result};
use stratalog_sstable::{BlockCache, Compression, Table, TableOptions, TableSummary, TableWriter};

pub const PATH: &str = "db/000007.sst";
pub const ID: u64 = 7;

pub type Entries = Vec<(InternalKey, Vec<u8>)>;

pub fn options(block_bytes: usize, restart_interval: usize) -> TableOptions {
    let compression = Compression::None;
    TableOptions { block_bytes, restart_interval, compression, ..TableOptions::default() }
}

/// Writes `entries` as table [`ID`] at [`PATH`] of a new file system.
pub fn write(entries: &Entries, options: &TableOptions) -> (SimFs, TableSummary) {
    let fs = SimFs::new();
    fs.create_dir(Path::new("db")).unwrap();
    let mut writer = TableWriter::new(fs.create(Path::new(PATH)).unwrap(), ID, options);
    for (key, value) in entries {
        writer.add(key.as_ref(), value).unwrap();
    }
    assert!(!writer.is_empty());
    let summary = writer.finish().unwrap();
    fs.sync_dir(Path::new("db")).unwrap();
    (fs, summary)
}

pub fn open(fs: &SimFs, cache: &Arc<BlockCache>) -> Result<Arc<Table>> {
    Table::open(fs.open(Path::new(PATH))?, ID, cache.clone())
}

/// `count` user keys of up to `versions` versions each, short and long keys and values mixed.
pub fn random_entries(seed: u64, count: u64, versions: u64) -> Entries {
    let mut rng = SimRng::new(seed);
    let mut entries = Vec::new();
    for _ in 0..count {
        // Few distinct leading bytes, so that keys share prefixes and are prefixes of each other.
        let mut user: Vec<u8> = b"key/"[..rng.below(5) as usize].to_vec();
        user.extend((0..rng.below(6)).map(|_| b"abc\0\xff"[rng.below(5) as usize]));
        if rng.chance(1, 20) {
            user.extend(vec![b'z'; rng.below(400) as usize]);
        }
        for _ in 0..=rng.below(versions) {
            let kind = if rng.chance(1, 4) { Kind::Delete } else { Kind::Put };
            let len = if rng.chance(1, 10) { rng.below(1000) } else { rng.below(40) };
            let mut value = vec![0; if kind == Kind::Put { len as usize } else { 0 }];
            rng.fill(&mut value);
            if rng.chance(1, 2) {
                value.fill(7);
            }
            let bits = 8 + rng.below(32);
            let seq = 1 + rng.below(1 << bits);
            entries.push((KeyRef::new(&user, seq, kind).to_owned(), value));
        }
    }
    entries.sort_by(|a, b| a.0.as_ref().cmp(&b.0.as_ref()));
    // One sequence number is one entry.
    entries.dedup_by(|a, b| a.0.user == b.0.user && a.0.trailer.seq() == b.0.trailer.seq());
    entries
}

/// Three keys with five versions among them.
pub fn tiny() -> Entries {
    let entry = |user: &[u8], seq, kind, value: &[u8]| {
        (KeyRef::new(user, seq, kind).to_owned(), value.to_vec())
    };
    vec![
        entry(b"ada", 9, Kind::Delete, b""),
        entry(b"ada", 3, Kind::Put, b"1815"),
        entry(b"adder", 4, Kind::Put, &[7; 40]),
        entry(b"bob", 300, Kind::Put, b"1903"),
        entry(b"bob", 2, Kind::Put, b""),
    ]
}
