//! How fast one table is written, searched and walked: 16-byte random keys, 100-byte values, no
//! compression, all blocks cached, one thread.
//!
//! `cargo run --release -p stratalog-sstable --example table_rate [entries]`, 2 000 000 by default.

use std::hint::black_box;
use std::time::{Duration, Instant};

use stratalog_base::fs::{Fs, OsFs};
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::{Cursor, KeyRef, Kind, Result};
use stratalog_sstable::{
    BlockCache, Compression, ReadUse, Table, TableOptions, TableWriter, key_hash,
};

const VALUE: [u8; 100] = [7; 100];

fn main() -> Result<()> {
    let count = std::env::args().nth(1).map_or(2_000_000, |n| n.parse().expect("a number"));
    let mut random = Random(42);
    let mut keys: Vec<[u8; 16]> = (0..count).map(|_| random.key()).collect();
    keys.sort_unstable();

    let dir = std::env::temp_dir().join(format!("sstable-rate-{}", std::process::id()));
    OsFs.create_dir(&dir)?;
    let path = dir.join("1.sst");
    let options = TableOptions { compression: Compression::None, ..TableOptions::default() };

    let start = Instant::now();
    let mut writer = TableWriter::new(OsFs.create(&path)?, 1, &options);
    for (seq, key) in keys.iter().enumerate() {
        writer.add(KeyRef::new(key, seq as u64 * 128, Kind::Put), &VALUE)?;
    }
    let added = start.elapsed();
    let summary = writer.finish()?;
    let megabytes = count as f64 * 116.0 / 1e6;
    let rate = |elapsed: Duration| megabytes / elapsed.as_secs_f64();
    println!("build  {:8.0} MB/s, {:.0} with the sync", rate(added), rate(start.elapsed()));

    let start = Instant::now();
    let table = Table::open(OsFs.open(&path)?, 1, BlockCache::new(1 << 30))?;
    println!(
        "open   {:8.2} ms; file {:.1} MB, in memory {:.1} MB",
        start.elapsed().as_secs_f64() * 1e3,
        summary.bytes as f64 / 1e6,
        table.memory_bytes() as f64 / 1e6
    );

    let scan = |name: &str, reads, forward: bool| -> Result<()> {
        let start = Instant::now();
        let mut cursor = table.cursor(reads);
        let (mut seen, mut sum) = (0, 0);
        if forward {
            cursor.seek_first()?;
        } else {
            cursor.seek_last()?;
        }
        while cursor.valid() {
            seen += 1;
            sum += usize::from(cursor.key().user[15]) + usize::from(cursor.value()[99]);
            if forward { cursor.next()? } else { cursor.prev()? }
        }
        black_box(sum);
        assert_eq!(seen, count);
        println!("{name} {:8.1} M entries/s", seen as f64 / start.elapsed().as_secs_f64() / 1e6);
        Ok(())
    };
    scan("sweep ", ReadUse::Sweep, true)?;
    scan("fill  ", ReadUse::Lookup, true)?;
    for _ in 0..2 {
        scan("scan  ", ReadUse::Lookup, true)?;
    }
    scan("back  ", ReadUse::Lookup, false)?;

    const READS: usize = 1_000_000;
    let start = Instant::now();
    let memory: Vec<u64> = (0..summary.bytes / 8).map(|_| random.next()).collect();
    let filled = start.elapsed();
    let mut at = 0;
    for _ in 0..READS {
        at = (memory[at % memory.len()].rotate_left(17) ^ at as u64) as usize;
    }
    black_box(at);
    let probe = (start.elapsed() - filled).as_nanos() / READS as u128;
    println!("memory {probe:8} ns for one dependent random read of as many bytes, to compare with");
    drop(memory);
    for _ in 0..2 {
        let start = Instant::now();
        for _ in 0..READS {
            let key = &keys[random.next() as usize % count];
            let (_, value) = table.get(key, key_hash(key), MAX_SEQ_NO)?.expect("present");
            assert_eq!(value[99], 7);
        }
        let hit = start.elapsed();
        let start = Instant::now();
        let mut passed = 0;
        for _ in 0..READS {
            let key = random.key();
            passed += usize::from(table.get(&key, key_hash(&key), MAX_SEQ_NO)?.is_some());
        }
        assert_eq!(passed, 0);
        let miss = start.elapsed();
        let start = Instant::now();
        let mut cursor = table.cursor(ReadUse::Lookup);
        for _ in 0..READS / 4 {
            cursor.seek(KeyRef::before(&random.key()))?;
            for _ in 0..10 {
                if cursor.valid() {
                    black_box(cursor.value()[99]);
                    cursor.next()?;
                }
            }
        }
        let ns = |elapsed: Duration, reads| elapsed.as_nanos() / reads as u128;
        println!("get    {:8} ns hit, {} ns miss", ns(hit, READS), ns(miss, READS));
        println!("seek   {:8} ns, with ten entries", ns(start.elapsed(), READS / 4));
    }
    std::fs::remove_dir_all(&dir).ok();
    Ok(())
}

/// xorshift64*: repeatable, and fast enough not to be what is measured.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn key(&mut self) -> [u8; 16] {
        (u128::from(self.next()) << 64 | u128::from(self.next())).to_be_bytes()
    }
}
