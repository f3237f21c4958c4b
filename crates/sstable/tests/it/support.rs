//! Building tables for tests.

use std::path::Path;
use std::sync::Arc;

use stratalog_base::fs::{Fs, SimFs, SimRng};
use stratalog_base::range::RangeTombstone;
use stratalog_base::{InternalKey, KeyRef, Kind, Result};
use stratalog_sstable::{
    BlockCache, Compression, FilterPolicy, Table, TableOptions, TableSummary, TableWriter,
    ValueHandle,
};

pub const PATH: &str = "db/000007.sst";
pub const ID: u64 = 7;

pub type Entries = Vec<(InternalKey, Vec<u8>)>;

pub fn options(block_bytes: usize, restart_interval: usize) -> TableOptions {
    let compression = Compression::None;
    TableOptions { block_bytes, restart_interval, compression, ..TableOptions::default() }
}

#[cfg(not(feature = "zstd"))]
const COMPRESSIONS: &[Compression] = &[Compression::None, Compression::Lz4];
#[cfg(feature = "zstd")]
const COMPRESSIONS: &[Compression] =
    &[Compression::None, Compression::Lz4, Compression::Zstd { level: 1 }];
/// Policies, bits for each key, bytes of prefixes.
const FILTERS: [(FilterPolicy, f64, usize); 4] = [
    (FilterPolicy::Bloom, 0.0, 0),
    (FilterPolicy::Bloom, 10.0, 2),
    (FilterPolicy::Ribbon, 7.5, 0),
    (FilterPolicy::Ribbon, 7.5, 2),
];

/// The options crossed.
pub fn every_options() -> Vec<TableOptions> {
    let mut all = vec![TableOptions::default()];
    for (block_bytes, partition_bytes) in
        [(64, 1), (64, 300), (200, 1), (200, 64 << 10), (4096, 100), (4096, 2000), (65_536, 1)]
    {
        for restart_interval in [1, 2, 16] {
            for (filter, filter_bits_per_key, prefix_bytes) in FILTERS {
                for &compression in COMPRESSIONS {
                    all.push(TableOptions {
                        block_bytes,
                        restart_interval,
                        partition_bytes,
                        filter,
                        filter_bits_per_key,
                        prefix_bytes,
                        compression,
                    });
                }
            }
        }
    }
    all
}

/// How many user keys a table needs for `options` to have their effect: a Ribbon filter of fewer than 512 keys would
/// be a Bloom filter.
pub fn enough_keys(options: &TableOptions, others: u64) -> u64 {
    let is_ribbon = options.filter == FilterPolicy::Ribbon && options.partition_bytes > 10_000;
    if is_ribbon { 1200 } else { others }
}

/// Writes `entries` as table [`ID`] at [`PATH`] of a new file system.
pub fn write(entries: &Entries, options: &TableOptions) -> (SimFs, TableSummary) {
    write_with(entries, &[], options)
}

/// The same with range tombstones, half of them added before the entries.
pub fn write_with(
    entries: &Entries,
    ranges: &[RangeTombstone],
    options: &TableOptions,
) -> (SimFs, TableSummary) {
    let fs = SimFs::new();
    fs.create_dir(Path::new("db")).unwrap();
    let mut writer = TableWriter::new(fs.create(Path::new(PATH)).unwrap(), ID, options);
    let (before, behind) = ranges.split_at(ranges.len() / 2);
    before.iter().for_each(|range| writer.add_range(&range.start, &range.end, range.seq));
    for (key, value) in entries {
        writer.add(key.as_ref(), value).unwrap();
    }
    behind.iter().for_each(|range| writer.add_range(&range.start, &range.end, range.seq));
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
            let separated = kind == Kind::Put && rng.chance(1, 6);
            let kind = if separated { Kind::Separated } else { kind };
            if separated {
                let (file, offset) = (1 + rng.below(300), 8 + rng.below(1 << 30));
                value.clear();
                ValueHandle { file, index: 3, offset, bytes: 1000 }.encode(&mut value);
            }
            entries.push((KeyRef::new(&user, seq, kind).to_owned(), value));
        }
    }
    entries.sort_by(|a, b| a.0.as_ref().cmp(&b.0.as_ref()));
    // One sequence number is one entry.
    entries.dedup_by(|a, b| a.0.user == b.0.user && a.0.trailer.seq() == b.0.trailer.seq());
    entries
}

/// `count` range tombstones whose bounds look like the keys of [`random_entries`], none empty.
pub fn random_ranges(seed: u64, count: u64) -> Vec<RangeTombstone> {
    let mut rng = SimRng::new(seed);
    let mut ranges = Vec::new();
    while (ranges.len() as u64) < count {
        let mut bound = || -> Box<[u8]> {
            let mut user: Vec<u8> = b"key/"[..rng.below(5) as usize].to_vec();
            user.extend((0..rng.below(4)).map(|_| b"abc\0\xff"[rng.below(5) as usize]));
            user.into()
        };
        let (start, end) = (bound(), bound());
        if start < end {
            let seq = 1 + rng.below(1 << 20);
            ranges.push(RangeTombstone { start, end, seq });
        }
    }
    ranges
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
