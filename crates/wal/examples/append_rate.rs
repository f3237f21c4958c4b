//! Prints what an append of class `Process` costs, beside the bare write that it contains.
//!
//! `cargo run --release -p stratalog-wal --example append_rate -- [directory] [threads]`

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stratalog_base::Result;
use stratalog_base::fs::{Fs, OsFs};
use stratalog_base::sync::{Instant, spawn};
use stratalog_wal::{Durability, LogOptions, Recovered, SyncLog, Wal};

const RECORD: [u8; 128] = [7; 128];
const COUNT: u64 = 1_000_000;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let threads = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    let dir = root.join(format!("append-rate-{}", std::process::id()));
    OsFs.create_dir(&dir)?;
    for _ in 0..3 {
        let bare = bare_writes(&dir)?;
        let append = appends(&dir, threads)?;
        println!(
            "{threads} threads: write {bare} ns, append {append} ns, over it {}",
            append - bare
        );
    }
    for name in OsFs.list(&dir)? {
        OsFs.remove(&dir.join(name))?;
    }
    std::fs::remove_dir(&dir).map_err(|e| stratalog_base::Error::io("remove", &dir, e))
}

fn bare_writes(dir: &Path) -> Result<i64> {
    let path = dir.join("bare");
    let file = OsFs.create(&path)?;
    let frame = [7; RECORD.len() + 10];
    let started = Instant::now();
    for i in 0..COUNT {
        file.write_at(&frame, i * frame.len() as u64)?;
    }
    let ns = started.elapsed().as_nanos() as i64 / COUNT as i64;
    OsFs.remove(&path)?;
    Ok(ns)
}

fn appends(dir: &Path, threads: u64) -> Result<i64> {
    let options =
        LogOptions { segment_bytes: 1 << 30, sync_every_bytes: u64::MAX, ..LogOptions::default() };
    let log = Arc::new(SyncLog::create(OsFs::shared(), dir, options, &Recovered::empty(1), 1)?);
    let started = Instant::now();
    let threads: Vec<_> = (0..threads)
        .map(|_| {
            let log = log.clone();
            let body = move || {
                for _ in 0..COUNT / threads {
                    log.append(&[IoSlice::new(&RECORD)], Durability::Process).expect("append");
                }
            };
            spawn("appender", body).expect("spawn")
        })
        .collect();
    for thread in threads {
        thread.join().expect("join");
    }
    let ns = started.elapsed().as_nanos() as i64 / COUNT as i64;
    drop(log);
    OsFs.remove(&dir.join("000001.wal"))?;
    Ok(ns)
}
