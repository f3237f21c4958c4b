//! A table of 100 000 entries of 16 B random keys and 100 B values, uncompressed.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stratalog_base::fs::{File, Fs, OsFs};
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::{Cursor, KeyRef, Kind, Result};
use stratalog_benches::data::{KEY_BYTES, Key, Values, key};
use stratalog_benches::draw::Rng;
use stratalog_benches::tables;
use stratalog_sstable::{BlockCache, ReadUse, Table, TableWriter, key_hash};

const ENTRIES: u64 = 100_000;
const VALUES: Values = Values { bytes: 100, half_blank: true };
const ID: u64 = 1;

fn build(c: &mut Criterion) {
    let keys = tables::sorted_keys(ENTRIES);
    let mut group = c.benchmark_group("sstable/build");
    group
        .throughput(Throughput::Bytes(ENTRIES * (KEY_BYTES + VALUES.bytes) as u64))
        .sample_size(20);
    for (name, lz4) in [("uncompressed", false), ("LZ4", true)] {
        let options = tables::options(lz4);
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut writer = TableWriter::new(Arc::new(Nowhere), ID, &options);
                let mut value = Vec::new();
                for key in &*keys {
                    VALUES.make(key, 0, &mut value);
                    writer.add(KeyRef::new(key, 1, Kind::Put), &value).expect("nothing is done");
                }
                writer.finish().expect("nothing is done").bytes
            });
        });
    }
}

fn read(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let keys = tables::sorted_keys(ENTRIES);
    let entries = keys.iter().map(|key| (*key, 1, 0));
    tables::write(dir.path(), ID, &tables::options(false), VALUES, entries).expect("disk works");
    let open = |cache_bytes| {
        let file = OsFs.open(&tables::path(dir.path(), ID)).expect("it was written");
        Table::open(file, ID, BlockCache::new(cache_bytes)).expect("it is whole")
    };
    let (cached, uncached) = (open(1 << 30), open(0));
    assert_eq!(scan(&cached), ENTRIES);

    let mut rng = Rng::new(1, 0);
    let mut present = || keys[rng.below(ENTRIES) as usize];
    let mut group = c.benchmark_group("sstable");
    group.bench_function("get", |b| b.iter(|| get(&cached, &present())));
    // Reads the block from the page cache and takes it apart.
    group.bench_function("get uncached", |b| b.iter(|| get(&uncached, &present())));
    group.bench_function("seek", |b| {
        let mut cursor = cached.cursor(ReadUse::Lookup);
        b.iter(|| cursor.seek(KeyRef::before(&present())).expect("the disk works"));
    });
    let mut rng = Rng::new(2, 0);
    group.bench_function("filter probe", |b| {
        b.iter(|| get(&cached, &key(ENTRIES + rng.below(1 << 40))));
    });
    group.throughput(Throughput::Elements(ENTRIES));
    group.bench_function("next", |b| b.iter(|| scan(&cached)));
}

fn get(table: &Arc<Table>, key: &Key) -> bool {
    table.get(key, key_hash(key), MAX_SEQ_NO).expect("the disk works").is_some()
}

fn scan(table: &Arc<Table>) -> u64 {
    let (mut cursor, mut seen) = (table.cursor(ReadUse::Lookup), 0);
    cursor.seek_first().expect("the disk works");
    while cursor.valid() {
        black_box((cursor.key(), cursor.value()));
        seen += 1;
        cursor.next().expect("the disk works");
    }
    seen
}

/// A file that takes everything and keeps nothing.
#[derive(Debug)]
struct Nowhere;

impl File for Nowhere {
    fn path(&self) -> &Path {
        Path::new("nowhere")
    }

    fn read_at(&self, _buf: &mut [u8], _offset: u64) -> Result<usize> {
        Ok(0)
    }

    fn write_at(&self, buf: &[u8], _offset: u64) -> Result<()> {
        black_box(buf);
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        Ok(0)
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

criterion_group!(benches, build, read);
criterion_main!(benches);
