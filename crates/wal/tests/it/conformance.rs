//! Every backend keeps every promise of a log.

use std::path::Path;
use std::time::Duration;

use stratalog_base::Result;
use stratalog_base::fs::SimFs;
use stratalog_wal::conformance::{Found, Subject, check};
use stratalog_wal::{Log, LogOptions, RecoveryMode, Wal};

use crate::support::*;

struct Under(LogOptions);

impl Subject for Under {
    fn open(&self, fs: &SimFs) -> Result<Box<dyn Wal>> {
        Ok(Box::new(Log::open(fs.shared(), Path::new(""), self.0.clone())?.0))
    }

    fn records(&self, fs: &SimFs) -> Result<Vec<Found>> {
        Ok(read_from(fs, 0, RecoveryMode::TornTail)?.0)
    }
}

/// The `index`-th of [`all_options`], with threads that do their work soon.
fn keeps_all_promises(index: usize) {
    for segments_ahead in [false, true] {
        let options = all_options(500).swap_remove(index);
        let soon = Duration::from_millis(2);
        check(&Under(LogOptions { segments_ahead, interval: soon, batch_delay: soon, ..options }));
    }
}

#[test]
fn a_log_written_by_its_callers_keeps_all_promises() {
    keeps_all_promises(0);
}

#[test]
fn a_log_with_a_writing_thread_keeps_all_promises() {
    keeps_all_promises(1);
}

#[test]
fn a_log_with_a_mapped_ring_keeps_all_promises() {
    keeps_all_promises(2);
}

#[test]
fn a_log_with_a_private_ring_keeps_all_promises() {
    keeps_all_promises(3);
}
