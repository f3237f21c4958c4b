//! What the tests share: a log on a simulated disk, and short names for its calls.

use std::io::IoSlice;
use std::path::Path;
use std::time::Duration;

use stratalog_base::Result;
use stratalog_base::fs::SimFs;
use stratalog_base::sync::{Instant, yield_now};
use stratalog_wal::{
    Backend, Durability, FIRST_POSITION, Log, LogOptions, Place, Position, Recovered, RecoveryMode,
    Wal, recover,
};

pub const LOG_ID: u64 = 0xfeed_beef_0bad_cafe;

pub type Record = (Position, Vec<u8>);

/// Small segments, made when they are needed, and no write or sync but those that the test asks for.
pub fn options(segment_bytes: u64) -> LogOptions {
    LogOptions {
        backend: Backend::Sync,
        segment_bytes,
        segments_ahead: false,
        interval: Duration::from_secs(3600),
        batch_delay: Duration::from_secs(3600),
        sync_every_bytes: u64::MAX,
        ring_bytes: 4096,
        ..LogOptions::default()
    }
}

/// The same for each backend, the lock-free one with its ring mapped and not.
pub fn all_options(segment_bytes: u64) -> Vec<LogOptions> {
    let of = |backend| LogOptions { backend, ..options(segment_bytes) };
    let private = LogOptions { ring_mapped: false, ..of(Backend::LockFree) };
    Backend::ALL.map(of).into_iter().chain([private]).collect()
}

pub fn create(fs: &SimFs, options: LogOptions) -> Log {
    go_on(fs, options, &Recovered::empty(LOG_ID), 0).unwrap()
}

pub fn go_on(fs: &SimFs, options: LogOptions, after: &Recovered, at: Position) -> Result<Log> {
    Log::create(fs.shared(), Path::new(""), options, after, at)
}

pub fn read_from(
    fs: &SimFs,
    from: Position,
    mode: RecoveryMode,
) -> Result<(Vec<Record>, Recovered)> {
    let mut records = Vec::new();
    let found = recover(fs, Path::new(""), from, mode, &mut |position, record| {
        records.push((position, record.to_vec()));
        Ok(())
    })?;
    Ok((records, found))
}

pub fn read(fs: &SimFs, mode: RecoveryMode) -> Result<(Vec<Record>, Recovered)> {
    read_from(fs, FIRST_POSITION, mode)
}

pub fn append(log: &dyn Wal, record: &[u8], durability: Durability) -> Result<Place> {
    log.append(&[IoSlice::new(record)], durability)?.wait()
}

/// Appends the records in class `Process` and returns what recovery must find.
pub fn fill<T: AsRef<[u8]>>(log: &dyn Wal, records: impl IntoIterator<Item = T>) -> Vec<Record> {
    records
        .into_iter()
        .map(|record| {
            let record = record.as_ref();
            (append(log, record, Durability::Process).unwrap().position, record.to_vec())
        })
        .collect()
}

/// `count` records of different bytes and lengths, up to 40 bytes.
pub fn some_records(count: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(|i| vec![i as u8 ^ 0x5a; i * 7 % 41])
}

pub fn segment_names(fs: &SimFs) -> Vec<String> {
    let names = fs.files().into_iter().map(|(path, _)| path.display().to_string());
    names.filter(|name| stratalog_wal::segment::parse_name(name).is_some()).collect()
}

/// Waits for what the background thread is about to do; a deadline only turns a hang into a failure.
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        yield_now();
    }
}
