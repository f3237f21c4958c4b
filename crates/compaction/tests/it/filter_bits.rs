//! Filter bits by level, measured: reads of missing keys in a tree of four levels.

use std::path::Path;
use std::sync::Arc;

use stratalog_base::fs::{Fs, SimFs};
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::{KeyRef, Kind};
use stratalog_compaction::{LEVELS, Runs, filter_bits};
use stratalog_sstable::{
    BlockCache, FilterPolicy, MAX_PARTITION_BYTES, Table, TableOptions, TableSummary, TableWriter,
    key_hash,
};

/// Two tables in level 0, and levels that grow by ten.
const LEVEL_ENTRIES: [(u64, u64); 4] = [(2, 2000), (1, 3000), (1, 30_000), (1, 300_000)];
const MISSING: u64 = 100_000;

fn key(i: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&key_hash(&i.to_le_bytes()).to_be_bytes());
    key[8..].copy_from_slice(&i.to_be_bytes());
    key
}

fn write(fs: &SimFs, id: u64, from: u64, entries: u64, options: &TableOptions) -> Arc<Table> {
    let path = format!("{id}.sst");
    let path = Path::new(&path);
    let mut keys: Vec<_> = (from..from + entries).map(key).collect();
    keys.sort_unstable();
    let mut writer = TableWriter::new(fs.create(path).unwrap(), id, options);
    for key in keys {
        writer.add(KeyRef::new(&key, 1, Kind::Put), b"value").unwrap();
    }
    let _: TableSummary = writer.finish().unwrap();
    Table::open(fs.open(path).unwrap(), id, BlockCache::new(0)).unwrap()
}

/// Bytes of all tables, and blocks that reads of missing keys touch.
fn measure(policy: FilterPolicy, bits: [f64; LEVELS]) -> (u64, u64) {
    let fs = SimFs::new();
    let (mut tables, mut from) = (Vec::new(), 0);
    for (&(count, entries), bits) in LEVEL_ENTRIES.iter().zip(bits) {
        // One partition, which stays in memory, so that only data blocks are read.
        let options = TableOptions {
            partition_bytes: MAX_PARTITION_BYTES,
            filter: policy,
            filter_bits_per_key: bits,
            ..TableOptions::default()
        };
        for _ in 0..count {
            let id = tables.len() as u64;
            tables.push(write(&fs, id, from, entries / count, &options));
            from += entries / count;
        }
    }
    let before = fs.reads();
    for i in from..from + MISSING {
        let key = key(i);
        for table in &tables {
            assert!(table.get(&key, key_hash(&key), MAX_SEQ_NO).unwrap().is_none());
        }
    }
    (tables.iter().map(|table| table.summary().bytes).sum(), fs.reads() - before)
}

#[test]
fn bits_by_level_touch_fewer_blocks_with_no_more_memory() {
    let mut runs = [Runs::default(); LEVELS];
    for (runs, (count, entries)) in runs.iter_mut().zip(LEVEL_ENTRIES) {
        *runs = Runs { count, entries };
    }
    for (policy, average) in [(FilterPolicy::Bloom, 10.0), (FilterPolicy::Ribbon, 7.5)] {
        let (equal_bytes, equal_reads) = measure(policy, [average; LEVELS]);
        let (bytes, reads) = measure(policy, filter_bits(&runs, policy, average));
        println!("{policy:?}: {equal_reads} reads with equal bits, {reads} by level");
        assert!(bytes <= equal_bytes + 64 * 5, "{bytes} {equal_bytes}");
        assert!(reads * 2 < equal_reads, "{reads} {equal_reads}");
    }
}
