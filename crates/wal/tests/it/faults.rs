//! Every call can fail: nothing is acknowledged that is not so, nothing is retried, nothing hangs.

use std::path::Path;

use stratalog_base::fs::{Fault, FaultKind, On, Op, SimFs};
use stratalog_base::{Error, Result};
use stratalog_wal::{Durability, LogOptions, Recovered, RecoveryMode, Wal};

use crate::support::*;

/// A run of all that a log does; what it acknowledged goes to `acked` and `synced_count`.
fn run(
    fs: &SimFs,
    options: LogOptions,
    acked: &mut Vec<Record>,
    synced_count: &mut usize,
) -> Result<()> {
    let log = go_on(fs, options, &Recovered::empty(LOG_ID), 0)?;
    for (i, record) in some_records(25).enumerate() {
        let class = if i % 4 == 3 { Durability::Sync } else { Durability::Process };
        let outcome = append(&log, &record, class).and_then(|ticket| {
            log.reserve(2)?;
            Ok(ticket)
        });
        if let Err(error) = outcome {
            let ops = fs.ops();
            for late in [append(&log, b"late", Durability::Sync).map(drop), log.sync(), log.close()]
            {
                assert!(matches!(late, Err(Error::Poisoned(_))), "after {error}: {late:?}");
            }
            assert_eq!(fs.ops(), ops, "a poisoned log touches nothing");
            return Err(error);
        }
        acked.push((outcome?.position, record));
        if class == Durability::Sync {
            *synced_count = acked.len();
        }
    }
    log.close()?;
    *synced_count = acked.len();
    Ok(())
}

fn fail_each_call(op: On, kind: FaultKind) {
    for options in all_options(150) {
        fail_each_call_with(&options, op, kind);
    }
}

fn fail_each_call_with(options: &LogOptions, op: On, kind: FaultKind) {
    for n in 0.. {
        for for_ever in [false, true] {
            let fs = SimFs::new();
            let fault = Fault::new(op, kind).after(n);
            fs.inject(if for_ever { fault.for_ever() } else { fault });
            let (mut acked, mut synced_count) = (Vec::new(), 0);
            let outcome = run(&fs, options.clone(), &mut acked, &mut synced_count);
            if fs.faults_hit() == 0 {
                assert!(n > 15, "the run makes enough calls");
                return outcome.unwrap();
            }
            match (outcome, kind) {
                (Err(Error::NoSpace { .. }), FaultKind::NoSpace | FaultKind::ShortWrite) => {}
                (Err(Error::Io { .. }), FaultKind::Eio | FaultKind::EioAfter) => {}
                (outcome, _) => panic!("{kind:?} on call {n}: {outcome:?}"),
            }
            fs.clear_faults();
            // The process dies: what was acknowledged is there.
            let (records, _) = read(&fs.kill(), RecoveryMode::TornTail)
                .unwrap_or_else(|e| panic!("{kind:?} on call {n}, killed: {e}"));
            assert!(records.starts_with(&acked), "{kind:?} on call {n}");
            // The power fails: what was durable is.
            for seed in 0..20 {
                let (records, _) = read(&fs.crash(seed), RecoveryMode::TornTail)
                    .unwrap_or_else(|e| panic!("{kind:?} on call {n}, seed {seed}: {e}"));
                assert!(records.len() >= synced_count, "{kind:?} on call {n}, seed {seed}");
                let count = records.len().min(acked.len());
                assert_eq!(records[..count], acked[..count]);
            }
        }
    }
}

#[test]
fn an_io_error_of_any_call_is_told_and_never_retried() {
    fail_each_call(On::Mutating, FaultKind::Eio);
}

#[test]
fn a_late_io_error_of_any_call_is_told_and_never_retried() {
    fail_each_call(On::Mutating, FaultKind::EioAfter);
}

#[test]
fn a_full_disk_is_told_as_such() {
    fail_each_call(On::Mutating, FaultKind::NoSpace);
}

#[test]
fn a_short_write_is_never_acknowledged() {
    fail_each_call(Op::Write.into(), FaultKind::ShortWrite);
}

#[test]
fn an_error_of_the_receiver_ends_recovery() {
    let fs = SimFs::new();
    fill(&create(&fs, options(150)), some_records(10));
    let mut count = 0;
    let refuse = &mut |_, _: &[u8]| {
        count += 1;
        if count == 3 { Err(Error::Closed) } else { Ok(()) }
    };
    let outcome = stratalog_wal::recover(&fs, Path::new(""), 0, RecoveryMode::TornTail, refuse);
    assert!(matches!(outcome, Err(Error::Closed)));
    assert_eq!(count, 3);
}

#[test]
fn a_segment_that_cannot_be_removed_is_removed_next_time() {
    let fs = SimFs::new();
    let log = create(&fs, options(150));
    fill(&log, some_records(30));
    let count = segment_names(&fs).len();
    fs.inject(Fault::new(Op::Remove, FaultKind::Eio).after(2));
    assert!(matches!(log.truncate_before(u64::MAX), Err(Error::Io { .. })));
    assert_eq!(segment_names(&fs).len(), count - 1);
    append(&log, b"goes on", Durability::Sync).unwrap();
    log.truncate_before(u64::MAX).unwrap();
    assert_eq!(segment_names(&fs).len(), 1);
}
