//! Calls of a log with its threads: each is made once, when what it waits for is so, by a thread that holds nothing
//! (CALL-1), also beside a close.

use std::io::IoSlice;
use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use stratalog_wal::{Backend, Durability, LogOptions, Wal};

use crate::disk::{Disk, Fails, log, options};
use crate::model;

/// A record's callback is called once, when the record is as its class says. If it appends
/// another, in class `appends`, it waits for that.
fn a_callback_is_called(options: LogOptions, class: Durability, appends: Option<Durability>) {
    model(move || {
        let disk = Disk::new(Fails::Nothing);
        let log = log(&disk, options.clone(), true, true);
        let ticket = log.append(&[IoSlice::new(b"a")], class).unwrap();
        let called = Arc::new(AtomicUsize::new(0));
        let (end, user, here, count) = (ticket.end(), log.clone(), disk.clone(), called.clone());
        ticket.then(move |outcome| {
            outcome.unwrap();
            let logged = user.watermarks().logged;
            let done = if class == Durability::Sync { here.durable() } else { logged };
            assert!(done >= end);
            // The log may be closed meanwhile.
            if let Some(class) = appends
                && let Ok(ticket) = user.append(&[IoSlice::new(b"b")], class)
            {
                _ = ticket.wait();
            }
            count.fetch_add(1, Ordering::Relaxed);
        });
        if appends == Some(Durability::Sync) {
            log.sync().unwrap();
        }
        log.close().unwrap();
        assert_eq!(called.load(Ordering::Relaxed), 1);
        assert!((1..=2).contains(&disk.records().len()));
    });
}

#[test]
fn a_callback_appends_to_a_log_whose_thread_writes() {
    a_callback_is_called(
        options(Backend::SyncThread),
        Durability::Process,
        Some(Durability::Process),
    );
}

#[test]
fn a_callback_appends_after_a_sync() {
    a_callback_is_called(options(Backend::Sync), Durability::Sync, Some(Durability::Sync));
}

/// Whoever syncs writes first, in a term of `durable`, and calls those who waited for that.
#[test]
fn a_callback_called_by_who_syncs_may_sync() {
    let options = options(Backend::Sync);
    a_callback_is_called(options, Durability::Process, Some(Durability::Sync));
}

#[test]
fn a_callback_of_a_log_with_a_ring_is_called() {
    a_callback_is_called(options(Backend::LockFree), Durability::Process, None);
}

#[test]
fn a_callback_of_a_log_with_a_mapped_ring_is_called() {
    let options = LogOptions { ring_mapped: true, ..options(Backend::LockFree) };
    a_callback_is_called(options, Durability::Process, None);
}
