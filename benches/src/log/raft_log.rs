//! raft-log, one log entry a record, its cache of payloads as by default.
//!
//! | class asked for | what an append does | class |
//! |---|---|---|
//! | `None` | `append`; every 64 KiB are handed to its thread | `None` |
//! | `Process`, `Interval` | `append`, `flush` without sync, waits for the callback | `Process` |
//! | `Sync` | `append`, `flush` with sync, waits for the callback | `Sync` |
//!
//! It has one writer: here a lock around `append` and `flush`, but not around the wait, so threads share
//! syncs. Before its thread writes, it waits for more to come (`flush_batch_wait`): by default 1 ms, which
//! would be most of an append. Here it waits 20 µs before a sync, without which no two appends would share
//! one, and not at all before a write alone.

use std::io;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::{Config, RaftLog, Types};

use super::{Access, Durability, Each, Log};
use crate::Outcome;

/// How it is used.
pub const ACCESS: Access = Access { create, replay };

/// How long it waits for more before it syncs.
const SYNC_WAIT: Duration = Duration::from_micros(20);
/// Bytes of class `None` that wait to be handed over.
const UNFLUSHED_BYTES: usize = 64 << 10;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Records;

impl Types for Records {
    /// Term and index.
    type LogId = (u64, u64);
    type LogPayload = Vec<u8>;
    type Vote = (u64, u64);
    type Callback = SyncSender<io::Result<()>>;
    type UserData = String;

    fn log_index(id: &(u64, u64)) -> u64 {
        id.1
    }

    fn payload_size(payload: &Vec<u8>) -> u64 {
        payload.len() as u64
    }
}

struct Writer {
    log: RaftLog<Records>,
    next_index: u64,
    unflushed_bytes: usize,
}

struct RaftLogs {
    writer: Mutex<Writer>,
    class: Durability,
}

fn open(dir: &Path, class: Durability) -> Outcome<RaftLog<Records>> {
    let mut config = Config::new(dir.to_str().ok_or("the directory is not UTF-8")?);
    let wait = if class == Durability::Sync { SYNC_WAIT } else { Duration::ZERO };
    config.wal.flush_batch_wait = Some(wait);
    Ok(RaftLog::open(Arc::new(config))?)
}

fn create(dir: &Path, class: Durability, _bytes: u64) -> Outcome<Box<dyn Log>> {
    let class = if class == Durability::Interval { Durability::Process } else { class };
    let writer = Mutex::new(Writer { log: open(dir, class)?, next_index: 0, unflushed_bytes: 0 });
    Ok(Box::new(RaftLogs { writer, class }))
}

fn replay(dir: &Path, mut each: Each) -> Outcome<()> {
    for entry in open(dir, Durability::None)?.read(0, u64::MAX) {
        let (_, record) = entry?;
        each(&record)?;
    }
    Ok(())
}

impl Writer {
    fn append(&mut self, record: &[u8]) -> Outcome<()> {
        self.log.append([((1, self.next_index), record.to_vec())])?;
        self.next_index += 1;
        Ok(())
    }

    fn append_unflushed(&mut self, record: &[u8]) -> Outcome<()> {
        self.append(record)?;
        self.unflushed_bytes += record.len();
        if self.unflushed_bytes >= UNFLUSHED_BYTES {
            self.log.flush(false, None)?;
            self.unflushed_bytes = 0;
        }
        Ok(())
    }
}

impl Log for RaftLogs {
    fn class(&self) -> Durability {
        self.class
    }

    fn append(&self, record: &[u8]) -> Outcome<()> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if self.class == Durability::None {
            return writer.append_unflushed(record);
        }
        writer.append(record)?;
        let (done, written) = sync_channel(1);
        writer.log.flush(self.class == Durability::Sync, Some(done))?;
        drop(writer);
        Ok(written.recv()??)
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        let mut writer = self.writer.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (done, written) = sync_channel(1);
        writer.log.flush(true, Some(done))?;
        Ok(written.recv()??)
    }
}
