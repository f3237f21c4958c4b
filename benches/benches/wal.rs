//! The log: frames in memory, and appends that nobody syncs.

use std::hint::black_box;
use std::io::IoSlice;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use stratalog_base::Result;
use stratalog_base::fs::OsFs;
use stratalog_wal::frame::{Draft, Frame, Kind, StreamId};
use stratalog_wal::{Backend, Durability, Log, LogOptions, Wal};

mod support;

const RECORD: [u8; 128] = [7; 128];
const STREAM: StreamId = StreamId::of(1, 1);

fn frame(c: &mut Criterion) {
    let mut group = c.benchmark_group("wal/frame");
    let encode = |out: &mut Vec<u8>| {
        let parts = [IoSlice::new(black_box(&RECORD))];
        let draft = Draft::new(Kind::Record, &parts).expect("128 bytes are not too long");
        draft.encode(STREAM, 8, out);
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
        b.iter(|| Frame::decode(black_box(&out), STREAM, 8).expect("it is valid").payload.len());
    });
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("wal/append");
    let classes = [Durability::None, Durability::Process];
    for (backend, class) in Backend::ALL.into_iter().flat_map(|it| classes.map(|class| (it, class)))
    {
        group.bench_function(format!("{backend:?}/{class:?}"), |b| {
            b.iter_custom(|count| {
                support::in_lots(count, |count| {
                    let dir = tempfile::tempdir().expect("a directory can be made");
                    appends(dir.path(), backend, class, count).expect("the disk works")
                })
            });
        });
    }
}

fn appends(dir: &Path, backend: Backend, class: Durability, count: u64) -> Result<Duration> {
    let options = LogOptions { backend, ..LogOptions::default() };
    let (log, _) = Log::open(OsFs::shared(), dir, options)?;
    let parts = [IoSlice::new(&RECORD)];
    let start = Instant::now();
    for _ in 0..count {
        log.append(&parts, class)?.wait()?;
    }
    Ok(start.elapsed())
}

criterion_group!(benches, frame, append);
criterion_main!(benches);
