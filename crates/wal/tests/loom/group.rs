//! The group commit: no early word, no lost one. Names with `trap` tell of a defect that another log
//! shipped.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use stratalog_base::Error;
use stratalog_base::sync::Instant;
use stratalog_wal::group::GroupCommit;

/// A log reduced to two numbers: how much is written, and how much a sync that has ended covers.
#[derive(Default)]
struct Disk {
    written: AtomicU64,
    synced: AtomicU64,
}

impl Disk {
    /// A leader's work: a sync covers what was written when it began.
    fn sync(&self) -> u64 {
        let covered = self.written.load(Ordering::Acquire);
        self.synced.fetch_max(covered, Ordering::AcqRel);
        covered
    }
}

fn spawn_all<T: 'static>(threads: Vec<impl FnOnce() -> T + 'static>) -> Vec<T> {
    let threads: Vec<_> = threads.into_iter().map(thread::spawn).collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

/// Leads one step: the seat counts the steps.
fn step(steps: &mut u64) -> stratalog_base::Result<u64> {
    *steps += 1;
    Ok(*steps)
}

/// GROUP-2 and GROUP-3: everyone returns, and what it asked for is synced then.
#[test]
fn nobody_is_acknowledged_early_and_no_wake_up_is_lost() {
    loom::model(|| {
        let group = Arc::new(GroupCommit::new(0, ()));
        let disk = Arc::new(Disk::default());
        let committer = || {
            let (group, disk) = (group.clone(), disk.clone());
            move || {
                let mine = disk.written.fetch_add(1, Ordering::AcqRel) + 1;
                group.reach(mine, |()| Ok(disk.sync())).unwrap();
                assert!(disk.synced.load(Ordering::Acquire) >= mine);
                assert!(group.reached() >= mine);
            }
        };
        spawn_all(vec![committer(), committer(), committer()]);
    });
}

/// GROUP-6: who leads only if nobody does keeps nobody from leading, and takes nobody's wake-up along.
#[test]
fn who_leads_in_passing_leaves_nobody_asleep() {
    loom::model(|| {
        let group = Arc::new(GroupCommit::new(0, 0));
        let reach = |target| {
            let group = group.clone();
            move || group.reach(target, step).unwrap()
        };
        let threads = [thread::spawn(reach(1)), thread::spawn(reach(2))];
        group.lead_if_free(step).unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!((2..=3).contains(&group.reached()));
    });
}

/// GROUP-1: the watermark does not fall when a leader returns less than an earlier one did.
#[test]
fn the_watermark_never_falls() {
    loom::model(|| {
        let group = Arc::new(GroupCommit::new(0, 0));
        let reach = |target| {
            let group = group.clone();
            move || {
                let lead = |turn: &mut usize| {
                    *turn += 1;
                    assert_eq!(group.reached(), [0, 2, 2][*turn - 1]);
                    Ok([2, 1, 3][*turn - 1])
                };
                group.reach(target, lead).unwrap();
            }
        };
        let threads = [thread::spawn(reach(1)), thread::spawn(reach(3))];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(group.reached(), 3);
    });
}

/// GROUP-4: one failure is everyone's, and after it nobody leads. (A store whose leader left early on
/// an error let all who waited hang.)
#[test]
fn trap_13_a_failed_leader_wakes_everyone() {
    loom::model(|| {
        let group = Arc::new(GroupCommit::new(0, ()));
        let led = Arc::new(AtomicU64::new(0));
        let committer = || {
            let (group, led) = (group.clone(), led.clone());
            move || {
                let lead = |(): &mut ()| {
                    led.fetch_add(1, Ordering::AcqRel);
                    Err(Error::Closed)
                };
                group.reach(1, lead).unwrap_err()
            }
        };
        for error in spawn_all(vec![committer(), committer(), committer()]) {
            assert!(matches!(error, Error::Closed | Error::Poisoned(_)));
        }
        assert_eq!(led.load(Ordering::Acquire), 1);
        assert_eq!(group.reached(), 0);
    });
}

/// GROUP-4: a failure from outside ends a group in which someone leads.
#[test]
fn a_latched_failure_outlives_a_leader_who_succeeds() {
    loom::model(|| {
        let group = Arc::new(GroupCommit::new(0, ()));
        let other = group.clone();
        let failing = thread::spawn(move || {
            other.fail(&Error::Closed);
            other.reached()
        });
        let outcome = group.reach(1, |()| Ok(1));
        let at_failure = failing.join().unwrap();
        assert_eq!(group.reached(), at_failure, "the watermark stands still");
        assert_eq!(outcome.is_ok(), at_failure == 1);
    });
}

/// GROUP-6: who leads falls short of the other's target and goes. (There the leader woke the others
/// first and left the lead afterwards: they went back to sleep.)
#[test]
fn trap_12_nobody_sleeps_with_nobody_left_to_lead() {
    loom::model(|| {
        let group = Arc::new(GroupCommit::new(0, 0));
        let other = group.clone();
        let other = thread::spawn(move || other.reach(2, step).unwrap());
        group.reach(1, step).unwrap();
        other.join().unwrap();
        assert_eq!(group.reached(), 2);
    });
}

/// GROUP-6, among several: each term leaves somebody behind.
#[test]
fn the_baton_goes_on_until_nobody_waits() {
    loom::model(|| {
        let group = Arc::new(GroupCommit::new(0, 0));
        let committer = |target| {
            let group = group.clone();
            move || group.reach(target, step).unwrap()
        };
        spawn_all(vec![committer(1), committer(2), committer(3)]);
        assert_eq!(group.reached(), 3);
    });
}

/// GROUP-7: who wants the seat itself gets it, and those from whom it is kept meanwhile go on after it.
#[test]
fn the_seat_is_kept_for_who_wants_it_and_nobody_sleeps_over_that() {
    loom::model(|| {
        let group = Arc::new(GroupCommit::new(0, 0));
        let reach = |target| {
            let group = group.clone();
            thread::spawn(move || group.reach(target, step).unwrap())
        };
        let threads = [reach(1), reach(2)];
        let steps = group.with_seat(|steps| Ok(*steps)).unwrap();
        assert!(steps <= 2);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(group.reached(), 2);
    });
}

/// GROUP-4 and GROUP-7: a failure ends that wait, too, and a seat that was kept is free after it.
#[test]
fn who_wants_the_seat_is_told_of_a_failure() {
    loom::model(|| {
        let group = Arc::new(GroupCommit::new(0, 0));
        let seeker = {
            let group = group.clone();
            thread::spawn(move || group.with_seat(|_| Ok(())))
        };
        let failing = {
            let group = group.clone();
            thread::spawn(move || group.reach(1, |_| Err(Error::Closed)).unwrap_err())
        };
        failing.join().unwrap();
        group.revive(0, |_| ());
        group.reach(1, |_| Ok(1)).unwrap();
        let outcome = seeker.join().unwrap();
        assert!(matches!(outcome, Ok(()) | Err(Error::Closed)), "{outcome:?}");
    });
}

/// GROUP-6: who was woken to lead finds its target reached by a raise.
#[test]
fn who_need_not_lead_any_more_passes_the_baton() {
    loom::model(|| {
        let group = Arc::new(GroupCommit::new(0, 0));
        let committer = |target| {
            let group = group.clone();
            thread::spawn(move || {
                group
                    .reach(target, |steps| step(steps).map(|n| n.max(group.reached() + 1)))
                    .unwrap()
            })
        };
        let others = [committer(2), committer(3)];
        group.reach(1, step).unwrap();
        group.raise(2);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert!(group.reached() >= 3);
    });
}

/// GROUP-6: who was woken to lead has no time any more.
#[test]
fn who_is_late_passes_the_baton() {
    loom::model(|| {
        let group = Arc::new(GroupCommit::new(0, 0));
        let (late, other) = (group.clone(), group.clone());
        // In a model, a deadline is over whenever it is looked at.
        let deadline = Some(Instant::now());
        let late = thread::spawn(move || {
            let reached = late.reach_until(2, deadline, step).unwrap();
            assert!(!reached || late.reached() >= 2);
        });
        let other = thread::spawn(move || other.reach(3, step).unwrap());
        group.reach(1, step).unwrap();
        late.join().unwrap();
        other.join().unwrap();
        assert_eq!(group.reached(), 3);
    });
}

/// GROUP-1: the watermark does not fall when raises and a term overlap. (There a plain store of the
/// smaller number came last, and whoever waited for the larger one hung.)
#[test]
fn trap_14_the_durable_watermark_never_falls() {
    loom::model(|| {
        let group = Arc::new(GroupCommit::new(0, ()));
        let raiser = |to| {
            let group = group.clone();
            thread::spawn(move || {
                group.raise(to);
                assert!(group.reached() >= to);
            })
        };
        let raisers = [raiser(2), raiser(3)];
        group.reach(1, |()| Ok(1)).unwrap();
        assert!(group.follow(3, None).unwrap());
        raisers.into_iter().for_each(|raiser| raiser.join().unwrap());
        assert_eq!(group.reached(), 3);
    });
}

/// A raise between the look at the watermark and the entry on the list is not lost. (There the waiter
/// was created after the check, and a notification between the two went nowhere.)
#[test]
fn trap_16_a_raise_before_the_registration_is_not_missed() {
    loom::model(|| {
        let group = Arc::new(GroupCommit::new(0, ()));
        let logged = Arc::new(AtomicU64::new(0));
        let (other, other_logged) = (group.clone(), logged.clone());
        let raiser = thread::spawn(move || {
            other_logged.store(1, Ordering::Relaxed);
            other.raise(1);
        });
        assert!(group.follow(1, None).unwrap());
        assert_eq!(logged.load(Ordering::Relaxed), 1, "seen by those who are told");
        raiser.join().unwrap();
    });
}

/// GROUP-5: who is woken wakes the others.
#[test]
fn everyone_in_a_chain_is_woken() {
    loom::model(|| {
        let group = Arc::new(GroupCommit::new(0, ()));
        let follower = || {
            let group = group.clone();
            thread::spawn(move || assert!(group.follow(1, None).unwrap()))
        };
        let followers = [follower(), follower(), follower()];
        group.raise(1);
        followers.into_iter().for_each(|follower| follower.join().unwrap());
    });
}

/// GROUP-2 and GROUP-5: each call comes once, and not early; here two raise at once.
#[test]
fn a_call_comes_once_and_in_time() {
    loom::model(|| {
        let group = Arc::new(GroupCommit::new(0, ()));
        let calls = Arc::new(AtomicU64::new(0));
        let raiser = |to| {
            let group = group.clone();
            thread::spawn(move || group.raise(to))
        };
        let raisers = [raiser(1), raiser(2)];
        for target in [1, 2] {
            let (called, seen) = (calls.clone(), Arc::downgrade(&group));
            let then = move |outcome: stratalog_base::Result<()>| {
                outcome.unwrap();
                assert!(seen.upgrade().unwrap().reached() >= target);
                called.fetch_add(target, Ordering::AcqRel);
            };
            let at_once = group.when(target, Box::new(then));
            assert!(!at_once || calls.load(Ordering::Acquire) >= target);
        }
        raisers.into_iter().for_each(|raiser| raiser.join().unwrap());
        assert_eq!(calls.load(Ordering::Acquire), 3);
    });
}

/// GROUP-3: the end of a term is told to those who may not lead, too.
#[test]
fn a_leader_tells_followers_and_calls() {
    loom::model(|| {
        let group = Arc::new(GroupCommit::new(0, ()));
        let called = Arc::new(AtomicU64::new(0));
        let (other, caller) = (group.clone(), called.clone());
        let follower = thread::spawn(move || {
            let then = move |outcome: stratalog_base::Result<()>| {
                caller.fetch_add(1 + u64::from(outcome.is_err()), Ordering::AcqRel);
            };
            other.when(1, Box::new(then));
            assert!(other.follow(1, None).unwrap());
        });
        group.reach(1, |()| Ok(1)).unwrap();
        follower.join().unwrap();
        assert_eq!(called.load(Ordering::Acquire), 1);
    });
}

/// GROUP-5: a call comes once, with the outcome that came first.
#[test]
fn a_call_comes_once_when_a_raise_meets_a_failure() {
    loom::model(|| {
        let group = Arc::new(GroupCommit::new(0, ()));
        let (calls, errors) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (called, failed) = (calls.clone(), errors.clone());
        group.when(
            1,
            Box::new(move |outcome| {
                called.fetch_add(1, Ordering::AcqRel);
                failed.fetch_add(u64::from(outcome.is_err()), Ordering::AcqRel);
            }),
        );
        let other = group.clone();
        let raiser = thread::spawn(move || other.raise(1));
        group.fail(&Error::Closed);
        raiser.join().unwrap();
        assert_eq!(calls.load(Ordering::Acquire), 1);
        assert_eq!(errors.load(Ordering::Acquire), 1 - group.reached());
    });
}

/// A group starts anew while its last leader is still at work and another waits: that one is told of
/// the failure or comes into the new life, and then somebody leads.
#[test]
fn a_revived_group_goes_on_where_it_is_put() {
    loom::model(|| {
        let group = Arc::new(GroupCommit::new(0, 0));
        let committer = || {
            let group = group.clone();
            thread::spawn(move || {
                let outcome =
                    group.reach(1, |life| if *life == 0 { Err(Error::Closed) } else { Ok(1) });
                assert!(outcome.is_err() || group.reached() >= 1);
            })
        };
        let committers = [committer(), committer()];
        group.fail(&Error::Closed);
        group.revive(0, |life| *life += 1);
        assert!(group.failure().is_none());
        group.reach(1, |life| Ok(*life)).unwrap();
        committers.into_iter().for_each(|committer| committer.join().unwrap());
        assert_eq!(group.reached(), 1);
    });
}
