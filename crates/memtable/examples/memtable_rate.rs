//! Nanoseconds an entry for insert, get and scan, beside a `BTreeMap` (which has one thread and no
//! versions). Run it with `cargo run --release -p stratalog-memtable --example memtable_rate [entries]`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use stratalog_base::sync::Instant;
use stratalog_base::{Cursor, KeyRef, Kind};
use stratalog_memtable::Memtable;

const VALUE: [u8; 100] = [7; 100];

/// A bijection that scatters its inputs.
fn scatter(index: u64) -> u64 {
    let mut x = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^ x >> 29
}

fn random_key(index: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&scatter(index).to_be_bytes());
    key[8..].copy_from_slice(&index.to_be_bytes());
    key
}

fn sequential_key(index: u64) -> [u8; 16] {
    format!("user{index:012}").into_bytes().try_into().expect("16 bytes")
}

fn decimal_key(index: u64) -> [u8; 16] {
    sequential_key(scatter(index) % 1_000_000_000_000)
}

/// Runs `body` for each of `count` indexes on `threads` threads; nanoseconds of wall time an index.
fn time(threads: u64, count: u64, body: impl Fn(u64) + Sync) -> f64 {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let body = &body;
            scope.spawn(move || (thread..count).step_by(threads as usize).for_each(body));
        }
    });
    start.elapsed().as_nanos() as f64 / count as f64
}

fn main() {
    let count: u64 = std::env::args().nth(1).map_or(500_000, |n| n.parse().expect("a number"));
    println!("{count} entries of 16 + 100 bytes; ns an entry, wall time");
    println!("{:<34}{:>8}{:>8}{:>8}{:>8}", "", "insert", "get", "next", "prev");
    let shapes = ["random", "user + random", "sequential"];
    for (name, key) in shapes.iter().zip([random_key, decimal_key, sequential_key]) {
        let keys: Vec<[u8; 16]> = (0..count).map(key).collect();
        let probe = |index: u64| &keys[(scatter(index) % count) as usize];
        for threads in [1, 2] {
            let memtable = Arc::new(Memtable::new());
            let insert = time(threads, count, |index| {
                memtable.insert(KeyRef::new(&keys[index as usize], index + 1, Kind::Put), &VALUE);
            });
            let get = time(threads, count, |index| {
                black_box(memtable.get(probe(index), count).expect("present").1[0]);
            });
            let walk = |forwards: bool| {
                time(threads, threads, |_| {
                    let mut cursor = memtable.cursor();
                    let mut seen = 0;
                    if forwards { cursor.seek_first() } else { cursor.seek_last() }.expect("ok");
                    while cursor.valid() {
                        black_box((cursor.key().user[0], cursor.value()[99]));
                        seen += 1;
                        if forwards { cursor.next() } else { cursor.prev() }.expect("ok");
                    }
                    assert_eq!(seen, memtable.len());
                }) / count as f64
            };
            let (next, prev) = (walk(true), walk(false));
            println!(
                "{:<34}{insert:>8.0}{get:>8.0}{next:>8.1}{prev:>8.1}   {:.1} bytes over key and value",
                format!("memtable, {name} keys, {threads} threads"),
                memtable.used_bytes() as f64 / memtable.len() as f64 - 116.0,
            );
        }
        let mut map = BTreeMap::new();
        let start = Instant::now();
        for key in &keys {
            map.insert(*key, VALUE);
        }
        let insert = start.elapsed().as_nanos() as f64 / count as f64;
        let get = time(1, count, |index| {
            black_box(map[probe(index)][0]);
        });
        let start = Instant::now();
        for (key, value) in &map {
            black_box((key[0], value[99]));
        }
        let next = start.elapsed().as_nanos() as f64 / map.len() as f64;
        println!("{:<34}{insert:>8.0}{get:>8.0}{next:>8.1}", format!("BTreeMap, {name} keys"));
    }
}
