//! The log: frames in memory, and appends that nobody syncs.

use std::hint::black_box;
use std::io::IoSlice;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use stratalog_base::Result;
use stratalog_base::fs::OsFs;
use stratalog_wal::frame::{Draft, Frame, Kind};
use stratalog_wal::{Durability, LogOptions, Recovered, SyncLog, Wal};

mod support;

const RECORD: [u8; 128] = [7; 128];
const LOG_ID: u64 = 1;

fn frame(c: &mut Criterion) {
    let mut group = c.benchmark_group("wal/frame");
    let encode = |out: &mut Vec<u8>| {
        let parts = [IoSlice::new(black_box(&RECORD))];
        let draft = Draft::new(Kind::Record, &parts).expect("128 bytes are not too long");
        draft.encode(LOG_ID, 1, out);
    };
    let mut out = Vec::new();
    group.bench_function("encode", |b| {
        b.iter(|| {
            out.clear();
            encode(&mut out);
        });
    });
    out.clear();
    encode(&mut out);
    group.bench_function("decode", |b| {
        b.iter(|| Frame::decode(black_box(&out), LOG_ID, 1).expect("it is valid").payload.len());
    });
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("wal/append");
    for class in [Durability::None, Durability::Process] {
        group.bench_function(format!("{class:?}"), |b| {
            b.iter_custom(|count| {
                support::in_lots(count, |count| {
                    let dir = tempfile::tempdir().expect("a directory can be made");
                    appends(dir.path(), class, count).expect("the disk works")
                })
            });
        });
    }
}

fn appends(dir: &Path, class: Durability, count: u64) -> Result<Duration> {
    let (options, after) = (LogOptions::default(), Recovered::empty(LOG_ID));
    let log = SyncLog::create(OsFs::shared(), dir, options, &after, 1)?;
    let parts = [IoSlice::new(&RECORD)];
    let start = Instant::now();
    for _ in 0..count {
        match class {
            Durability::None => log.reserve(RECORD.len() as u64)?,
            _ => log.append(&parts, class)?,
        };
    }
    Ok(start.elapsed())
}

criterion_group!(benches, frame, append);
criterion_main!(benches);
