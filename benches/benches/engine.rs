//! The engine with 100 000 entries of 16 B random keys and 100 B values, through `Db`.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stratalog::{Db, Durability, Options, Result};
use stratalog_benches::data::key;
use stratalog_benches::draw::Rng;

mod support;
use support::LOT;

const VALUE: [u8; 100] = [7; 100];

/// A new store, and how long `count` puts of class `None` took.
fn filled(dir: &Path, count: u64) -> Result<(Db, Duration)> {
    let db = Options::new().durability(Durability::None).open(dir)?;
    let start = Instant::now();
    for index in 0..count {
        db.put(key(index), VALUE)?;
    }
    let time = start.elapsed();
    Ok((db, time))
}

fn put(c: &mut Criterion) {
    c.bench_function("engine/put", |b| {
        b.iter_custom(|count| {
            support::in_lots(count, |count| {
                let dir = tempfile::tempdir().expect("a directory can be made");
                filled(dir.path(), count).expect("the disk works").1
            })
        });
    });
}

fn read(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let (db, _) = filled(dir.path(), LOT).expect("the disk works");
    for place in ["memtable", "table"] {
        let mut rng = Rng::new(1, 0);
        let mut group = c.benchmark_group(format!("engine/{place}"));
        group.bench_function("get", |b| {
            b.iter(|| {
                let found = db.get(key(rng.below(LOT))).expect("the disk works");
                found.expect("it was put")[99]
            });
        });
        group.bench_function("get missing", |b| {
            b.iter(|| db.get(key(LOT + rng.below(1 << 40))).expect("the disk works").is_some());
        });
        group.throughput(Throughput::Elements(LOT));
        group.bench_function("next", |b| b.iter(|| assert_eq!(scan(&db), LOT)));
        db.compact().expect("the disk works");
    }
}

fn scan(db: &Db) -> u64 {
    let (mut entries, mut seen) = (db.iter(), 0);
    while let Some(entry) = entries.advance().expect("the disk works") {
        black_box(entry);
        seen += 1;
    }
    seen
}

criterion_group!(benches, put, read);
criterion_main!(benches);
