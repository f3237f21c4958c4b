//! [`Log`]: the face that every log shows to the suite `wal`.

use std::path::Path;

use crate::Outcome;
use crate::engine::Durability;
use crate::subjects::{Known, OURS};

#[cfg(feature = "okaywal")]
mod okaywal;
#[cfg(feature = "raft-log")]
mod raft_log;
pub mod raw;
mod stratalog;

/// A log. Any number of threads may append.
pub trait Log: Send + Sync {
    /// The class that appends have: the one asked for, or the nearest that the log offers.
    fn class(&self) -> Durability;

    /// Appends a record; returns once it has the class. A record of class `None` need not be there when
    /// the log is read again.
    ///
    /// # Errors
    /// The log's.
    fn append(&self, record: &[u8]) -> Outcome<()>;

    /// Bytes written to files since the log was created, if the log counts them.
    fn written_bytes(&self) -> Option<u64> {
        None
    }

    /// Closes the log; all that was appended survives a power cut, unless the class is `None`.
    ///
    /// # Errors
    /// The log's.
    fn close(self: Box<Self>) -> Outcome<()>;
}

/// What is called with each record of a log, in order. It owns what it needs because some logs are read
/// by an object that lives as long as the log.
pub type Each = Box<dyn FnMut(&[u8]) -> Outcome<()> + Send + Sync>;

/// How a kind of log is begun, and how it is read again.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// Creates a log in an existing, empty directory, to take records of about so many bytes in all.
    pub create: fn(&Path, Durability, u64) -> Outcome<Box<dyn Log>>,
    /// Opens a closed log as after a restart, and calls its argument with each record.
    pub replay: fn(&Path, Each) -> Outcome<()>,
}

/// Every log that was built in, ours first.
pub const KNOWN: &[Known<Access>] = &[
    Known { name: OURS, package: Some("stratalog-wal"), open: stratalog::ACCESS },
    // Ours, too: shown beside it, not judged.
    Known { name: "ours-sync", package: None, open: stratalog::SYNC },
    Known { name: "ours-sync-thread", package: None, open: stratalog::SYNC_THREAD },
    Known { name: "ours-private-ring", package: None, open: stratalog::PRIVATE_RING },
    // The least that could be called a log: what is compared with, not judged.
    Known { name: raw::NAME, package: None, open: raw::ACCESS },
    #[cfg(feature = "okaywal")]
    Known { name: "okaywal", package: Some("okaywal"), open: okaywal::ACCESS },
    #[cfg(feature = "raft-log")]
    Known { name: "raft-log", package: Some("raft-log"), open: raft_log::ACCESS },
];

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn record(thread: u8, number: u32) -> Vec<u8> {
        let head = [&[thread], &number.to_le_bytes()[..]].concat();
        head.into_iter().cycle().take(5 + number as usize * 37 % 5_000).collect()
    }

    #[test]
    fn every_log_gives_back_what_was_appended() {
        for known in KNOWN {
            for class in [Durability::Process, Durability::Interval, Durability::Sync] {
                let dir = tempfile::tempdir().unwrap();
                let log = (known.open.create)(dir.path(), class, 1 << 20).unwrap();
                assert_ne!(log.class(), Durability::None, "{}", known.name);
                std::thread::scope(|scope| {
                    for thread in 0..3 {
                        let log = &log;
                        let append = move |number| log.append(&record(thread, number)).unwrap();
                        scope.spawn(move || (0..100).for_each(append));
                    }
                });
                log.close().unwrap();
                let met = Arc::new(Mutex::new(Vec::new()));
                let each = {
                    let met = met.clone();
                    move |record: &[u8]| {
                        met.lock().unwrap().push(record.to_vec());
                        Ok(())
                    }
                };
                (known.open.replay)(dir.path(), Box::new(each)).unwrap();
                let met = met.lock().unwrap();
                for thread in 0..3 {
                    let own = met.iter().filter(|record| record[0] == thread);
                    assert!(own.eq(&(0..100).map(|n| record(thread, n)).collect::<Vec<_>>()));
                }
                assert_eq!(met.len(), 300, "{} {class}", known.name);
            }
        }
    }

    #[test]
    fn a_failed_visit_ends_the_replay() {
        for known in KNOWN {
            let dir = tempfile::tempdir().unwrap();
            let log = (known.open.create)(dir.path(), Durability::Sync, 1 << 20).unwrap();
            (0..3).for_each(|number| log.append(&record(0, number)).unwrap());
            log.close().unwrap();
            let failed = (known.open.replay)(dir.path(), Box::new(|_| Err("seen enough".into())));
            assert!(failed.unwrap_err().to_string().contains("seen enough"), "{}", known.name);
        }
    }

    #[test]
    fn logs_of_class_none_can_be_closed() {
        for known in KNOWN {
            let dir = tempfile::tempdir().unwrap();
            let log = (known.open.create)(dir.path(), Durability::None, 1 << 20).unwrap();
            (0..1_000).for_each(|number| log.append(&record(0, number)).unwrap());
            log.close().unwrap();
        }
    }
}
