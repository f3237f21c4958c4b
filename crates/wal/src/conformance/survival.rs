//! What survives kills, power cuts, failures and closing.

use std::io::IoSlice;

use stratalog_base::Error;
use stratalog_base::fs::{Fault, FaultKind, Op, SimFs, SimRng};
use stratalog_base::sync::Mutex;

use super::*;

/// What was acknowledged survives the death of the process, whatever its class.
///
/// # Panics
/// If the promise is broken.
pub fn acknowledged_records_survive_a_kill(subject: &dyn Subject) {
    for class in CLASSES {
        let fs = SimFs::new();
        let log = opened(subject, &fs);
        let mut written = fill(&*log, 40, class);
        for i in 0..20 {
            let place = ok(append(&*log, &record(i), class), "an append succeeds");
            written.push((place.position, record(i)));
            let records = found(subject, &fs.kill());
            assert!(records == written, "a record of class {class:?} survives a kill");
        }
        let killed = fs.kill();
        drop(opened(subject, &killed));
        let records = found(subject, &killed.kill());
        assert!(records == written, "it survives the next kill, too");
    }
}

/// A record of class `Sync` survives a power cut once it is acknowledged, at any call; and what is
/// left is always a prefix of what was appended.
///
/// # Panics
/// If the promise is broken.
pub fn synced_records_survive_a_power_cut(subject: &dyn Subject) {
    for seed in 0..POWER_CUTS {
        let rng = &mut SimRng::new(seed);
        let fs = SimFs::new();
        let log = opened(subject, &fs);
        fs.cut_power_at(fs.ops() + rng.below(60));
        let (mut tried, mut durable_count) = (Vec::new(), 0);
        for i in 0..60 {
            let class = CLASSES[rng.below(3) as usize];
            tried.push(record(i));
            let Ok(ticket) = log.append(&[IoSlice::new(&record(i))], class) else { break };
            if rng.chance(1, 2) {
                match ticket.wait() {
                    // Before the look at the power: it may go any moment.
                    Ok(_) if class == Durability::Sync => durable_count = tried.len(),
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        }
        drop(log);
        for cut in 0..POWER_CUTS / 10 {
            let cut = fs.crash(seed * POWER_CUTS + cut);
            let records = found(subject, &cut);
            let bytes: Vec<_> = records.iter().map(|(_, bytes)| bytes.clone()).collect();
            let count = records.len();
            assert!(tried.starts_with(&bytes), "after a power cut a prefix is left (seed {seed})");
            let kept = count >= durable_count;
            assert!(
                kept,
                "a record of class Sync survives a power cut (seed {seed}): {count} of {durable_count}"
            );
            drop(opened(subject, &cut));
            let again = found(subject, &cut.crash(seed));
            assert!(
                again == records,
                "what an opened log holds survives the next power cut (seed {seed})"
            );
        }
    }
}

/// After `sync` all that had a ticket survives a power cut.
///
/// # Panics
/// If the promise is broken.
pub fn sync_makes_everything_durable(subject: &dyn Subject) {
    let fs = SimFs::new();
    let log = opened(subject, &fs);
    let mut written = Vec::new();
    for i in 0..40 {
        let ticket = log.append(&[IoSlice::new(&record(i))], CLASSES[i % 2]);
        written.push((ok(ticket, "an append succeeds").position(), record(i)));
    }
    ok(log.sync(), "a sync succeeds");
    let marks = log.watermarks();
    assert_eq!(marks.durable, marks.reserved, "a sync raises the watermark");
    for seed in 0..POWER_CUTS {
        let records = found(subject, &fs.crash(seed));
        assert!(records == written, "a sync makes durable all that had a ticket");
    }
}

/// A record of class `Interval` becomes durable without being asked for.
///
/// # Panics
/// If the promise is broken.
pub fn interval_records_become_durable(subject: &dyn Subject) {
    let fs = SimFs::new();
    let log = opened(subject, &fs);
    let end = ok(append(&*log, b"soon", Durability::Interval), "an append succeeds").end;
    let durable = || log.watermarks().durable >= end;
    eventually("a record of class Interval becomes durable by itself", durable);
    let count = found(subject, &fs.crash(0)).len();
    assert_eq!(count, 1, "a record of class Interval survives a power cut after a while");
}

/// A failed write or sync is told to whoever waits, is never acknowledged later, and stops the log.
///
/// # Panics
/// If the promise is broken.
pub fn a_failure_is_told_and_final(subject: &dyn Subject) {
    for (op, kind) in [
        (Op::Sync, FaultKind::Eio),
        (Op::Sync, FaultKind::EioAfter),
        (Op::Write, FaultKind::NoSpace),
        (Op::Write, FaultKind::ShortWrite),
    ] {
        let fs = SimFs::new();
        let log = opened(subject, &fs);
        let written = fill(&*log, 5, Durability::Sync);
        let told = Arc::new(Mutex::new(Vec::new()));
        fs.inject(Fault::new(op, kind).for_ever());
        let place = || log.append(&[IoSlice::new(b"doomed")], Durability::Sync);
        let ticket = ok(place(), "an append only takes a place");
        if let Ok(other) = place() {
            let told = told.clone();
            other.then(move |outcome| told.lock().push(outcome.is_ok()));
        } else {
            told.lock().push(false);
        }
        let durable = log.watermarks().durable;
        assert!(ticket.wait().is_err(), "a failed {op:?} is told to who waits");
        eventually("a failure is told to callbacks", || !told.lock().is_empty());
        fs.clear_faults();
        let poisoned = |outcome: Result<()>, what: &str| {
            let told = matches!(outcome, Err(Error::Poisoned(_)));
            assert!(told, "after a failed {op:?}, {what} says so: {outcome:?}");
        };
        poisoned(ticket.wait().map(drop), "a second wait");
        poisoned(place().map(drop), "an append");
        poisoned(
            log.append_batch(&[b"x"], Durability::Process, &mut Vec::new()).map(drop),
            "a batch",
        );
        poisoned(log.sync(), "a sync");
        assert_eq!(*told.lock(), [false], "a failure is told to callbacks, once");
        assert_eq!(log.watermarks().durable, durable, "after a failure nothing is acknowledged");
        drop(log);
        let records = found(subject, &fs.crash(1));
        assert!(records.starts_with(&written), "what was durable before a failure stays so");
    }
}

/// Closing makes all durable; a closed log takes nothing, and closes again.
///
/// # Panics
/// If the promise is broken.
pub fn a_closed_log_is_whole_and_takes_nothing(subject: &dyn Subject) {
    let fs = SimFs::new();
    let log = opened(subject, &fs);
    let written = fill(&*log, 30, Durability::Process);
    ok(log.close(), "a log closes");
    ok(log.close(), "a closed log closes again");
    let ops = fs.ops();
    let closed = |outcome: Result<()>, what: &str| {
        assert!(
            matches!(outcome, Err(Error::Closed)),
            "{what} on a closed log says so: {outcome:?}"
        );
    };
    closed(append(&*log, b"late", Durability::Process).map(drop), "an append");
    closed(log.append_batch(&[b"x"], Durability::Process, &mut Vec::new()).map(drop), "a batch");
    closed(log.reserve(1).map(drop), "a reservation");
    closed(log.sync(), "a sync");
    closed(log.truncate_before(0), "a truncation");
    assert_eq!(fs.ops(), ops, "a closed log changes nothing");
    let all_there = (0..POWER_CUTS).all(|seed| found(subject, &fs.crash(seed)) == written);
    assert!(all_there, "closing makes all durable");
}
