//! Every backend keeps every promise of a log, and so does one that shares nothing with them; one that
//! breaks a promise is refused.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use stratalog_base::Result;
use stratalog_base::fs::SimFs;
use stratalog_wal::conformance::{self, Found, Subject, check};
use stratalog_wal::{Log, LogOptions, RecoveryMode, Wal};

use crate::support::*;
use crate::toy::{self, Flaw, Toy};

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

struct UnderToy(Option<Flaw>);

impl Subject for UnderToy {
    fn open(&self, fs: &SimFs) -> Result<Box<dyn Wal>> {
        Ok(Box::new(Toy::open(fs.shared(), self.0)?))
    }

    fn records(&self, fs: &SimFs) -> Result<Vec<Found>> {
        Ok(toy::read(fs)?.1)
    }
}

#[test]
fn a_log_of_another_make_keeps_all_promises() {
    check(&UnderToy(None));
}

/// Each flaw, the check that is about it, and what that says.
type Case = (Flaw, fn(&dyn Subject), &'static str);

const CASES: [Case; 13] = [
    (
        Flaw::LosesARecord,
        conformance::records_come_back_in_order,
        "come back as they were appended",
    ),
    (Flaw::ForgetsParts, conformance::parts_are_joined, "the parts of an append are joined"),
    (Flaw::Reorders, conformance::batches_lie_in_a_row, "the records of a batch lie in a row"),
    (
        Flaw::LogsWhatIsNotLogged,
        conformance::class_none_only_takes_positions,
        "what is not logged is not found",
    ),
    (
        Flaw::RaisesAMarkTooFar,
        conformance::watermarks_are_ordered_and_never_fall,
        "watermarks are in order",
    ),
    (Flaw::IgnoresLimits, conformance::a_limit_ends_a_wait, "ends when its time is up"),
    (
        Flaw::AcknowledgesBeforeTheWrite,
        conformance::acknowledged_records_survive_a_kill,
        "a record of class Process survives a kill",
    ),
    (
        Flaw::AcknowledgesBeforeTheSync,
        conformance::synced_records_survive_a_power_cut,
        "a record of class Sync survives a power cut",
    ),
    (
        Flaw::AcknowledgesBeforeTheSync,
        conformance::sync_makes_everything_durable,
        "a sync makes durable all that had a ticket",
    ),
    (Flaw::TriesAgain, conformance::a_failure_is_told_and_final, "a second wait says so"),
    (
        Flaw::ClosesWithoutASync,
        conformance::a_closed_log_is_whole_and_takes_nothing,
        "closing makes all durable",
    ),
    (
        Flaw::TruncatesOneTooMany,
        conformance::truncation_keeps_what_is_at_or_above,
        "keeps what is at or above its position",
    ),
    (Flaw::PassesOver, conformance::readers_read_all_and_follow, "gives all records in order"),
];

/// How `promise` ends for the toy with `flaw`.
fn refusal(flaw: Flaw, promise: impl FnOnce(&dyn Subject)) -> String {
    let outcome = catch_unwind(AssertUnwindSafe(|| promise(&UnderToy(Some(flaw)))));
    let panic = outcome.expect_err(&format!("{flaw:?} is not seen"));
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap()
}

#[test]
fn a_log_that_breaks_a_promise_is_refused_by_the_name_of_that() {
    for (flaw, promise, says) in CASES {
        let refusal = refusal(flaw, promise);
        assert!(refusal.contains(says), "{flaw:?}: {refusal}");
    }
    for flaw in CASES.map(|(flaw, ..)| flaw) {
        _ = refusal(flaw, check);
    }
}
