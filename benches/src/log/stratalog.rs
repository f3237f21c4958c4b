//! Stratalog's log, all settings default but the backend.
//!
//! | class asked for | what an append does | class |
//! |---|---|---|
//! | `None` | takes its positions; the record is not logged | `None` |
//! | `Process`, `Interval`, `Sync` | `append` of that class | the same |
//!
//! Each append is waited for.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use stratalog_base::Error;
use stratalog_base::fs::OsFs;
use stratalog_wal::{Backend, LogOptions, RecoveryMode, Wal, recover};

use super::{Access, Durability, Each, Log};
use crate::Outcome;
use crate::counting_fs::CountingFs;

/// How it is used, with the backend that is the default.
pub const ACCESS: Access = Access { create, replay };
/// With the other backends.
pub const SYNC: Access = Access { create: |d, c, _| create_with(Backend::Sync, d, c), replay };
pub const SYNC_THREAD: Access =
    Access { create: |d, c, _| create_with(Backend::SyncThread, d, c), replay };
/// With the default one, but its ring not mapped.
pub const PRIVATE_RING: Access = Access {
    create: |d, c, _| create_as(LogOptions { ring_mapped: false, ..LogOptions::default() }, d, c),
    replay,
};

struct Stratalog {
    log: stratalog_wal::Log,
    fs: CountingFs,
    class: Durability,
}

fn create(dir: &Path, class: Durability, _bytes: u64) -> Outcome<Box<dyn Log>> {
    create_as(LogOptions::default(), dir, class)
}

fn create_with(backend: Backend, dir: &Path, class: Durability) -> Outcome<Box<dyn Log>> {
    create_as(LogOptions { backend, ..LogOptions::default() }, dir, class)
}

fn create_as(options: LogOptions, dir: &Path, class: Durability) -> Outcome<Box<dyn Log>> {
    let fs = CountingFs::default();
    let (log, _) = stratalog_wal::Log::open(Arc::new(fs.clone()), dir, options)?;
    Ok(Box::new(Stratalog { log, fs, class }))
}

fn replay(dir: &Path, mut each: Each) -> Outcome<()> {
    let mut failed = None;
    let mut on_record = |_, record: &[u8]| {
        each(record).map_err(|why| {
            failed = Some(why);
            Error::Closed
        })
    };
    let found = recover(&OsFs, dir, 0, RecoveryMode::Strict, &mut on_record);
    match failed {
        Some(why) => Err(why),
        None if found?.clean_close => Ok(()),
        None => Err("the log was not cleanly closed".into()),
    }
}

impl Log for Stratalog {
    fn class(&self) -> Durability {
        self.class
    }

    fn append(&self, record: &[u8]) -> Outcome<()> {
        let parts = [IoSlice::new(record)];
        let class = match self.class {
            Durability::None => stratalog_wal::Durability::None,
            Durability::Process => stratalog_wal::Durability::Process,
            Durability::Interval => stratalog_wal::Durability::Interval,
            Durability::Sync => stratalog_wal::Durability::Sync,
        };
        self.log.append(&parts, class)?.wait()?;
        Ok(())
    }

    fn written_bytes(&self) -> Option<u64> {
        Some(self.fs.written_bytes())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.log.close()?)
    }
}
