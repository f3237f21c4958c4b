//! The crews of a group commit: who sleeps until a bell rings is not told early, and not forgotten.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use stratalog_base::Error;
use stratalog_wal::crews::{Crews, Voyage};
use stratalog_wal::group::GroupCommit;

/// A log reduced to two numbers, and its group, whose leaders count the terms.
struct Log {
    crews: Crews,
    group: GroupCommit<u64>,
    written: AtomicU64,
    synced: AtomicU64,
}

impl Log {
    fn new(few: usize) -> Arc<Log> {
        let (written, synced) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Log { crews: Crews::new(few), group: GroupCommit::new(0, 0), written, synced })
    }

    /// Writes and makes durable.
    fn commit(&self) {
        let mine = self.written.fetch_add(1, Ordering::AcqRel) + 1;
        self.crews.reach_until(&self.group, mine, None, |_, voyage| Ok(self.sync(voyage))).unwrap();
        assert!(self.synced.load(Ordering::Acquire) >= mine);
        assert!(self.group.reached() >= mine);
    }

    fn sync(&self, voyage: &mut Voyage<'_>) -> u64 {
        let covered = self.written.load(Ordering::Acquire);
        voyage.cast_off(covered);
        self.synced.fetch_max(covered, Ordering::AcqRel);
        covered
    }

    /// Gets to `target` one step a term, so that crews hear the bell too early.
    fn step_to(&self, target: u64) {
        let step = |steps: &mut u64, voyage: &mut Voyage<'_>| {
            *steps += 1;
            voyage.cast_off(*steps);
            Ok(*steps)
        };
        self.crews.reach_until(&self.group, target, None, step).unwrap();
        assert!(self.group.reached() >= target);
    }
}

fn spawn_all<T: 'static>(threads: Vec<impl FnOnce() -> T + 'static>) -> Vec<T> {
    let threads: Vec<_> = threads.into_iter().map(thread::spawn).collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

fn three_commit(few: usize) {
    super::model(move || {
        let log = Log::new(few);
        let committer = || {
            let log = log.clone();
            move || log.commit()
        };
        spawn_all(vec![committer(), committer(), committer()]);
    });
}

/// CREW-1 and CREW-2: everyone returns, and what it asked for is synced then.
#[test]
fn no_member_is_told_early_or_forgotten() {
    three_commit(0);
}

/// The same where one goes to the group for itself, and so leads for a crew that is not its own.
#[test]
fn a_crew_can_be_carried_by_who_is_in_none() {
    three_commit(1);
}

/// CREW-2: who hears the bell too early comes anew, and finds no crew whose bell has rung.
#[test]
fn who_is_not_there_yet_when_the_bell_rings_comes_anew() {
    for few in [0, 1] {
        super::model(move || {
            let log = Log::new(few);
            let committer = |target| {
                let log = log.clone();
                move || log.step_to(target)
            };
            spawn_all(vec![committer(1), committer(2), committer(3)]);
            assert_eq!(log.group.reached(), 3);
        });
    }
}

/// GROUP-4: a failure is everyone's, whether a member, a captain or in no crew.
#[test]
fn trap_13_a_failed_leader_wakes_the_crews() {
    for few in [0, 1] {
        super::model(move || {
            let log = Log::new(few);
            let committer = || {
                let log = log.clone();
                move || {
                    let lead = |_: &mut u64, voyage: &mut Voyage<'_>| {
                        voyage.cast_off(1);
                        Err(Error::Closed)
                    };
                    log.crews.reach_until(&log.group, 1, None, lead).unwrap_err()
                }
            };
            for error in spawn_all(vec![committer(), committer(), committer()]) {
                assert!(matches!(error, Error::Closed | Error::Poisoned(_)), "{error}");
            }
            assert_eq!(log.group.reached(), 0);
        });
    }
}

/// A group starts anew while a captain is on its way back: its crew is told of the failure, or goes on in the new life.
#[test]
fn a_crew_outlives_a_group_that_is_revived() {
    super::model(|| {
        let log = Log::new(0);
        let lead = |life: &mut u64, voyage: &mut Voyage<'_>| {
            voyage.cast_off(1);
            if *life == 0 { Err(Error::Closed) } else { Ok(1) }
        };
        let committer = || {
            let log = log.clone();
            thread::spawn(move || {
                let outcome = log.crews.reach_until(&log.group, 1, None, lead);
                assert!(outcome.is_err() || log.group.reached() >= 1);
            })
        };
        let committers = [committer(), committer()];
        log.group.fail(&Error::Closed);
        log.group.revive(0, |life| *life += 1);
        log.crews.reach_until(&log.group, 1, None, lead).unwrap();
        committers.into_iter().for_each(|committer| committer.join().unwrap());
    });
}

/// A failure that comes when all is reached is told to nobody, and one that comes before to everybody.
#[test]
fn who_is_there_is_not_told_of_a_later_failure() {
    super::model(|| {
        let log = Log::new(0);
        let committer = || {
            let log = log.clone();
            thread::spawn(move || {
                let lead = |_: &mut u64, voyage: &mut Voyage<'_>| {
                    voyage.cast_off(1);
                    Ok(1)
                };
                log.crews.reach_until(&log.group, 1, None, lead).is_ok()
            })
        };
        let committers = [committer(), committer()];
        log.group.fail(&Error::Closed);
        for committer in committers {
            assert_eq!(committer.join().unwrap(), log.group.reached() == 1);
        }
    });
}
