//! What the tests share: a log on a simulated disk, and short names for its calls.

use std::io::IoSlice;
use std::path::Path;
use std::time::Duration;

use stratalog_base::Result;
use stratalog_base::fs::SimFs;
use stratalog_wal::{
    Durability, LogOptions, Position, Recovered, RecoveryMode, SyncLog, Ticket, Wal, recover,
};

pub const LOG_ID: u64 = 0xfeed_beef_0bad_cafe;

pub type Record = (Position, Vec<u8>);

/// Small segments, and no sync but those that the test asks for.
pub fn options(segment_bytes: u64) -> LogOptions {
    LogOptions { segment_bytes, interval: Duration::from_secs(3600), sync_every_bytes: u64::MAX }
}

pub fn create(fs: &SimFs, options: LogOptions) -> SyncLog {
    let after = Recovered::empty(LOG_ID);
    SyncLog::create(fs.shared(), Path::new(""), options, &after, 1).unwrap()
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
    read_from(fs, 1, mode)
}

pub fn append(log: &SyncLog, record: &[u8], durability: Durability) -> Result<Ticket> {
    let ticket = log.append(&[IoSlice::new(record)], durability)?;
    if durability == Durability::Sync {
        log.wait_durable(ticket.end)?;
    }
    Ok(ticket)
}

/// Appends the records in class `Process` and returns what recovery must find.
pub fn fill<T: AsRef<[u8]>>(log: &SyncLog, records: impl IntoIterator<Item = T>) -> Vec<Record> {
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
    fs.files().into_iter().map(|(path, _)| path.display().to_string()).collect()
}
