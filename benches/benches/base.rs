//! What everything stands on: varints, the order of internal keys, checksums and hashes.

use std::hint::black_box;
use std::io::IoSlice;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stratalog_base::codec::{Decoder, put_varint};
use stratalog_base::{KeyRef, Kind};
use stratalog_benches::data::key;
use stratalog_sstable::key_hash;
use stratalog_wal::frame::{Draft, Kind as FrameKind};

const COUNT: u64 = 1_000;

/// Numbers of one to five bytes, as lengths and offsets are.
fn numbers() -> impl Iterator<Item = u64> {
    (0..COUNT).map(|index| 1 << (index * 7 % 35))
}

fn varints(c: &mut Criterion) {
    let mut group = c.benchmark_group("base/varint");
    group.throughput(Throughput::Elements(COUNT));
    let mut encoded = Vec::new();
    group.bench_function("encode", |b| {
        b.iter(|| {
            encoded.clear();
            numbers().for_each(|number| put_varint(&mut encoded, black_box(number)));
        });
    });
    encoded.clear();
    numbers().for_each(|number| put_varint(&mut encoded, number));
    group.bench_function("decode", |b| {
        b.iter(|| {
            let mut decoder = Decoder::new(black_box(&encoded));
            let mut sum = 0;
            while let Ok(number) = decoder.varint() {
                sum ^= number;
            }
            assert!(decoder.is_empty());
            sum
        });
    });
}

fn keys(c: &mut Criterion) {
    let mut group = c.benchmark_group("base/key");
    group.throughput(Throughput::Elements(COUNT));
    let users: Vec<_> = (0..=COUNT).map(key).collect();
    let keys: Vec<_> = users.iter().map(|user| KeyRef::new(user, 7, Kind::Put)).collect();
    group.bench_function("compare", |b| {
        b.iter(|| black_box(&keys).windows(2).filter(|pair| pair[0] < pair[1]).count());
    });
    let same: Vec<_> = (0..=COUNT).map(|seq| KeyRef::new(&users[0], seq, Kind::Put)).collect();
    group.bench_function("compare versions", |b| {
        b.iter(|| black_box(&same).windows(2).filter(|pair| pair[0] < pair[1]).count());
    });
}

fn hashes(c: &mut Criterion) {
    let bytes: Vec<u8> = (0..256).flat_map(key).collect();
    assert_eq!(bytes.len(), 4 << 10);
    let mut group = c.benchmark_group("base/4 KiB");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    // The head of a frame and its checksum, little else.
    group.bench_function("CRC-32C", |b| {
        b.iter(|| {
            let parts = [IoSlice::new(black_box(&bytes))];
            Draft::new(FrameKind::Record, &parts).map(|draft| draft.frame_bytes())
        });
    });
    group.bench_function("XXH3", |b| b.iter(|| key_hash(black_box(&bytes))));
}

criterion_group!(benches, varints, keys, hashes);
criterion_main!(benches);
