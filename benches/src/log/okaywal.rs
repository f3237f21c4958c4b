//! okaywal, one chunk an entry.
//!
//! | class asked for | what an append does | class |
//! |---|---|---|
//! | any | `commit`, which always syncs; threads share syncs | `Sync` |
//!
//! Segments are preallocated, as its documentation asks: here for all that will be appended, up to 128
//! MiB, written and synced before the first append. Never checkpointed: what is checkpointed is gone,
//! and here all is read again. Beyond the preallocated bytes the file grows.

use std::fmt;
use std::io;
use std::path::Path;

use okaywal::{Configuration, Entry, EntryId, LogManager, LogVoid, SegmentReader, WriteAheadLog};

use super::{Access, Durability, Each, Log};
use crate::Outcome;

/// How it is used.
pub const ACCESS: Access = Access { create, replay };

const MOST_PREALLOCATED_BYTES: u64 = 128 << 20;
const LEAST_PREALLOCATED_BYTES: u64 = 1 << 20;

struct Okaywal(WriteAheadLog);

fn create(dir: &Path, _class: Durability, bytes: u64) -> Outcome<Box<dyn Log>> {
    let preallocated = bytes.clamp(LEAST_PREALLOCATED_BYTES, MOST_PREALLOCATED_BYTES);
    let log = Configuration::default_for(dir)
        .preallocate_bytes(preallocated as u32)
        .checkpoint_after_bytes(u64::MAX)
        .open(LogVoid)?;
    // An entry without a chunk is no record; its commit syncs what was preallocated.
    log.begin_entry()?.commit()?;
    Ok(Box::new(Okaywal(log)))
}

fn replay(dir: &Path, each: Each) -> Outcome<()> {
    let config = Configuration::default_for(dir).checkpoint_after_bytes(u64::MAX);
    Ok(config.open(Replayer(each))?.shutdown()?)
}

impl Log for Okaywal {
    fn class(&self) -> Durability {
        Durability::Sync
    }

    fn append(&self, record: &[u8]) -> Outcome<()> {
        let mut entry = self.0.begin_entry()?;
        entry.write_chunk(record)?;
        entry.commit()?;
        Ok(())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.0.shutdown()?)
    }
}

struct Replayer(Each);

impl fmt::Debug for Replayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replayer")
    }
}

impl LogManager for Replayer {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        let chunks = entry.read_all_chunks()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        chunks.iter().try_for_each(|chunk| (self.0)(chunk).map_err(io::Error::other))
    }

    fn checkpoint_to(
        &mut self,
        _last: EntryId,
        _entries: &mut SegmentReader,
        _log: &WriteAheadLog,
    ) -> io::Result<()> {
        Err(io::Error::other("this log is never checkpointed"))
    }
}
