//! The memtable with 100 000 entries of 16 B random keys and 100 B values.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stratalog_base::{Cursor, KeyRef, Kind};
use stratalog_benches::data::key;
use stratalog_benches::draw::Rng;
use stratalog_memtable::Memtable;

mod support;
use support::LOT;

const VALUE: [u8; 100] = [7; 100];

fn insert_all(memtable: &Memtable, count: u64) {
    for index in 0..count {
        let inserted = memtable.insert(KeyRef::new(&key(index), index + 1, Kind::Put), &VALUE);
        inserted.expect("nobody seals it");
    }
}

fn insert(c: &mut Criterion) {
    c.bench_function("memtable/insert", |b| {
        b.iter_custom(|count| {
            support::in_lots(count, |count| {
                let memtable = Memtable::new();
                let start = Instant::now();
                insert_all(&memtable, count);
                start.elapsed()
            })
        });
    });
}

fn read(c: &mut Criterion) {
    let memtable = Arc::new(Memtable::new());
    insert_all(&memtable, LOT);
    let mut rng = Rng::new(1, 0);
    let mut group = c.benchmark_group("memtable");
    group.bench_function("get", |b| {
        b.iter(|| memtable.get(&key(rng.below(LOT)), LOT).expect("present").1[99]);
    });
    group.bench_function("get missing", |b| {
        b.iter(|| memtable.get(&key(LOT + rng.below(1 << 40)), LOT).is_some());
    });
    group.throughput(Throughput::Elements(LOT));
    group.bench_function("next", |b| {
        b.iter(|| {
            let (mut cursor, mut seen) = (memtable.cursor(), 0);
            cursor.seek_first().expect("no operation of this cursor fails");
            while cursor.valid() {
                black_box((cursor.key(), cursor.value()));
                seen += 1;
                cursor.next().expect("no operation of this cursor fails");
            }
            assert_eq!(seen, LOT);
        });
    });
}

criterion_group!(benches, insert, read);
criterion_main!(benches);
