//! The examples do what they say, and a log whose start was removed opens.

use std::path::Path;

use stratalog_base::Error;
use stratalog_base::fs::{Fs, SimFs};
use stratalog_wal::{Durability, Log, Wal};

use crate::support::*;

#[path = "../../examples/message_queue.rs"]
mod message_queue;
#[path = "../../examples/raft_log.rs"]
mod raft_log;

#[test]
fn a_message_queue_delivers_each_message_across_a_restart() {
    message_queue::main().unwrap();
}

#[test]
fn a_raft_log_is_the_same_after_conflicts_cuts_snapshots_and_restarts() {
    raft_log::main().unwrap();
}

#[test]
fn a_log_whose_start_was_removed_opens_and_misses_what_lies_above() {
    for options in all_options(300) {
        let fs = SimFs::new();
        let open = |fs: &SimFs| Log::open(fs.shared(), Path::new(""), options.clone());
        let (log, _) = open(&fs).unwrap();
        let keep =
            |record: Vec<u8>| (append(&log, &record, Durability::Sync).unwrap().position, record);
        let records: Vec<Record> = some_records(40).map(keep).collect();
        let (from, _) = records[25];
        log.truncate_before(from).unwrap();
        drop(log);

        let (log, found) = open(&fs.crash(1)).unwrap();
        assert!((15..25).contains(&found.records), "{}", found.records);
        let mut reader = log.reader(from).unwrap();
        for (position, record) in &records[25..] {
            let found = reader.next().unwrap().unwrap();
            assert_eq!((found.position, &*found.bytes), (*position, &record[..]));
        }
        assert_eq!(reader.next().unwrap(), None);
        log.close().unwrap();

        // One that is missing above the start, or the start itself, is missed.
        let oldest = segment_names(&fs).remove(0);
        for lost in [&*oldest, "start.wal"] {
            let fs = fs.kill();
            fs.remove(Path::new(lost)).unwrap();
            let outcome = open(&fs).map(|_| ());
            assert!(matches!(outcome, Err(Error::Corrupt { .. })), "{lost}: {outcome:?}");
        }
        fs.corrupt("start.wal", 25, 1);
        let outcome = open(&fs).map(|_| ());
        assert!(
            matches!(&outcome, Err(Error::Corrupt { path, .. }) if path == Path::new("start.wal"))
        );
    }
}
