//! Stratalog's log, all settings default.
//!
//! | class asked for | what an append does | class |
//! |---|---|---|
//! | `None` | takes its positions; the record is not logged | `None` |
//! | `Process`, `Interval` | `append` of that class | the same |
//! | `Sync` | `append`, then waits until that is durable | `Sync` |

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use stratalog_base::Error;
use stratalog_base::fs::OsFs;
use stratalog_wal::{LogOptions, Recovered, RecoveryMode, SyncLog, Wal, recover};

use super::{Access, Durability, Each, Log};
use crate::Outcome;
use crate::counting_fs::CountingFs;

/// How it is used.
pub const ACCESS: Access = Access { create, replay };

/// Tells the segments of this log from others'; nothing else lies in its directory.
const LOG_ID: u64 = 1;

struct Stratalog {
    log: SyncLog,
    fs: CountingFs,
    class: Durability,
}

fn create(dir: &Path, class: Durability, _bytes: u64) -> Outcome<Box<dyn Log>> {
    let fs = CountingFs::default();
    let (options, after) = (LogOptions::default(), Recovered::empty(LOG_ID));
    let log = SyncLog::create(Arc::new(fs.clone()), dir, options, &after, after.end)?;
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
    let found = recover(&OsFs, dir, 1, RecoveryMode::Strict, &mut on_record);
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
        match self.class {
            Durability::None => {
                self.log.reserve(record.len() as u64)?;
            }
            Durability::Process => {
                self.log.append(&parts, stratalog_wal::Durability::Process)?;
            }
            Durability::Interval => {
                self.log.append(&parts, stratalog_wal::Durability::Interval)?;
            }
            Durability::Sync => {
                let ticket = self.log.append(&parts, stratalog_wal::Durability::Sync)?;
                self.log.wait_durable(ticket.end)?;
            }
        }
        Ok(())
    }

    fn written_bytes(&self) -> Option<u64> {
        Some(self.fs.written_bytes())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.log.close()?)
    }
}
