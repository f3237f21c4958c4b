//! Every file call fails in turn, once and for ever (F1, F2, F3, F4): a typed error, reads go on, nothing
//! acknowledged is lost, and nothing stands on bytes whose sync failed.

use stratalog::fs::{Fault, FaultKind, On, Op, SimFs, SimRng};
use stratalog::{Db, Durability, Error, Result};

use crate::common::{DIR, History, State, Write, collect, tiny_and_steady};

const WRITES: usize = 90;
const MIX: &[Durability] = &[Durability::Process, Durability::Sync];

/// Runs a workload until its first failed call, or its end. The store's history, the store if it
/// opened, and the failure.
fn workload(fs: &SimFs, seed: u64) -> (History, Option<Db>, Result<()>) {
    let mut rng = SimRng::new(seed);
    let mut history = History::new();
    let db = match tiny_and_steady(fs).open(DIR) {
        Ok(db) => db,
        Err(error) => return (history, None, Err(error)),
    };
    let mut run = || {
        for step in 0..WRITES {
            history.write(&db, &Write::random(&mut rng, MIX))?;
            match step {
                30 => db.flush()?,
                60 => db.compact()?,
                _ => {}
            }
        }
        Ok(())
    };
    let outcome = run();
    (history, Some(db), outcome)
}

fn is_system_error(error: &Error) -> bool {
    matches!(error, Error::Io { .. } | Error::NoSpace { .. } | Error::Poisoned(_))
}

/// What a store may be found in: the state of some write, in `History`'s terms.
fn check(fs: &SimFs, db: Option<Db>, history: &History, context: &str) {
    if let Some(db) = db {
        let found =
            collect(db.iter()).unwrap_or_else(|e| panic!("{context}: reads go on, but {e}"));
        history.assert_after_kill(&found, context);
        let _ = db.close();
    }
    let found = |fs: SimFs| {
        let db = tiny_and_steady(&fs).open(DIR).unwrap_or_else(|e| panic!("{context}: {e}"));
        db.put("goes on", "").unwrap_or_else(|e| panic!("{context}: {e}"));
        db.delete("goes on").unwrap();
        collect(db.iter()).unwrap()
    };
    history.assert_after_kill(&found(fs.kill()), context);
    for seed in 0..4 {
        history.assert_after_power_cut(&found(fs.crash(seed)), context);
    }
}

#[test]
fn every_changing_call_may_fail() {
    let kinds = [FaultKind::Eio, FaultKind::EioAfter, FaultKind::NoSpace, FaultKind::ShortWrite];
    for kind in kinds {
        for for_ever in [false, true] {
            // N = 0, 1, 2 … until the workload ends without reaching the fault.
            for n in 0.. {
                let fs = SimFs::new();
                let fault = Fault::new(On::Mutating, kind).after(n);
                fs.inject(if for_ever { fault.for_ever() } else { fault });
                let (history, db, outcome) = workload(&fs, 7);
                let context = format!("{kind:?} at call {n}, for ever: {for_ever}: {outcome:?}");
                if let Err(error) = &outcome {
                    assert!(is_system_error(error), "{context}");
                }
                if fs.faults_hit() == 0 {
                    assert!(n > 100, "{context}");
                    eprintln!("{kind:?}, for ever: {for_ever}: {n} calls failed in turn");
                    break;
                }
                fs.clear_faults();
                check(&fs, db, &history, &context);
            }
        }
    }
}

#[test]
fn every_failed_sync_stops_the_writes_that_stand_on_it() {
    for n in 0.. {
        let fs = SimFs::new();
        fs.inject(Fault::new(Op::Sync, FaultKind::Eio).after(n));
        let (history, db, outcome) = workload(&fs, 11);
        if fs.faults_hit() == 0 {
            assert!(n > 20);
            eprintln!("{n} syncs failed in turn");
            break;
        }
        let context = format!("sync {n} failed: {outcome:?}");
        // The page cache still shows what the disk never got (F3): it must not be relied on.
        for seed in 0..30 {
            let crashed = fs.crash(seed);
            let opened =
                tiny_and_steady(&crashed).open(DIR).unwrap_or_else(|e| panic!("{context}: {e}"));
            history.assert_after_power_cut(&collect(opened.iter()).unwrap(), &context);
        }
        check(&fs, db, &history, &context);
    }
}

#[test]
fn every_read_may_fail_and_is_never_taken_for_damage_or_absence() {
    let whole = SimFs::new();
    let (history, db, outcome) = workload(&whole, 13);
    outcome.unwrap();
    db.unwrap().close().unwrap();
    let state = history.last();
    for n in 0.. {
        let fs = whole.kill();
        fs.inject(Fault::new(Op::Read, FaultKind::Eio).after(n));
        let outcome = read(&fs, state);
        if fs.faults_hit() == 0 {
            assert!(n > 10);
            eprintln!("{n} reads failed in turn");
            outcome.unwrap();
            break;
        }
        let error = outcome.expect_err("the failed read is told");
        assert!(matches!(error, Error::Io { .. }), "read {n}: {error:?}");
        read(&fs, state).unwrap_or_else(|e| panic!("after failed read {n}: {e}"));
    }
}

fn read(fs: &SimFs, state: &State) -> Result<()> {
    let db = tiny_and_steady(fs).open(DIR)?;
    for (key, value) in state {
        assert_eq!(db.get(key)?.as_deref(), Some(&**value));
    }
    assert_eq!(collect(db.iter())?, *state);
    db.compact()
}

#[test]
fn a_full_disk_stops_writes_until_space_is_back_and_never_reads() {
    let fs = SimFs::new();
    let db = tiny_and_steady(&fs).open(DIR).unwrap();
    let mut history = History::new();
    let mut rng = SimRng::new(3);
    for _ in 0..20 {
        history.write(&db, &Write::random(&mut rng, MIX)).unwrap();
    }
    fs.inject(Fault::new(On::Mutating, FaultKind::NoSpace).path(".sst").for_ever());
    let error = db.flush().unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert_eq!(collect(db.iter()).unwrap(), *history.last());
    fs.clear_faults();
    db.flush().unwrap();
    history.write(&db, &Write::random(&mut rng, MIX)).unwrap();
    assert_eq!(collect(db.iter()).unwrap(), *history.last());
    db.check().unwrap();
}

#[test]
fn writers_hear_why_there_is_no_room() {
    for background in [false, true] {
        let fs = SimFs::new();
        let db = tiny_and_steady(&fs).background(background).open(DIR).unwrap();
        fs.inject(Fault::new(On::Mutating, FaultKind::NoSpace).path(".sst").for_ever());
        let failure = (0..2000u32).find_map(|i| db.put(i.to_be_bytes(), [0; 500]).err());
        assert!(matches!(failure, Some(Error::NoSpace { .. })), "{failure:?}");
        assert!(db.contains(0u32.to_be_bytes()).unwrap());
        fs.clear_faults();
        // The failure may have been met by several jobs; each tells once.
        let recovered = (0..4).any(|_| db.put("back", "").is_ok());
        assert!(recovered);
        db.flush().unwrap();
        db.check().unwrap();
    }
}
