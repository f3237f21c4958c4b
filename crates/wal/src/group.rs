//! [`GroupCommit`]: many wait for a watermark, one of them does the work for all.
//!
//! Knows nothing of files. Whoever finds its target not reached and nobody leading takes the *seat*
//! (the leader's tools, of type `L`), works without a lock, and publishes how far it got.
//!
//! # Invariants
//! - GROUP-1: the watermark never falls.
//! - GROUP-2: the watermark is only ever what a leader returned; nobody is told `Ok` below its target.
//! - GROUP-3: at most one leads. However its term ends, the seat is back, the outcome is known and all
//!   who wait are woken under one hold of the lock, so no wake-up is lost.
//! - GROUP-4: after the first failure nobody leads again and the watermark stands still.

use std::hint::spin_loop;
use std::io;
use std::path::Path;

use stratalog_base::sync::{AtomicU64, Condvar, Mutex, Ordering};
use stratalog_base::{Error, Result};

/// Looks at the watermark before a caller goes to sleep: a few small writes long. Sleeping and waking
/// costs more than the write that is waited for: without looking, two writers on two cores made 260
/// thousand `Process` puts a second, with 64 looks 307, with 400 looks 700; syncs show no difference.
const SPINS: u32 = if cfg!(loom) { 0 } else { 400 };

/// A watermark that the callers raise in groups; see the module.
#[derive(Debug)]
pub struct GroupCommit<L> {
    /// Written under `turn`; read anywhere.
    reached: AtomicU64,
    turn: Mutex<Turn<L>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Turn<L> {
    /// `None` while someone leads.
    seat: Option<L>,
    failure: Option<Error>,
}

impl<L> GroupCommit<L> {
    /// A group whose watermark stands at `reached` and whose leaders use `seat`.
    pub fn new(reached: u64, seat: L) -> Self {
        GroupCommit {
            reached: AtomicU64::new(reached),
            turn: Mutex::new(Turn { seat: Some(seat), failure: None }),
            changed: Condvar::new(),
        }
    }

    /// The watermark. What its leader did before publishing it is visible to the caller.
    #[inline]
    pub fn reached(&self) -> u64 {
        self.reached.load(Ordering::Acquire)
    }

    /// Returns once the watermark is at least `target`. Calls `lead` if nobody else does the work;
    /// `lead` returns the new watermark, which may lie beyond `target`, or below it as long as
    /// repeated calls get there.
    ///
    /// # Errors
    /// If `lead` failed or panicked, here or in the thread that led: its error for everyone who was
    /// in this call then, and [`Error::Poisoned`] for those who come later (GROUP-4).
    pub fn reach(&self, target: u64, mut lead: impl FnMut(&mut L) -> Result<u64>) -> Result<()> {
        let mut present = false;
        let mut spins = SPINS;
        loop {
            if self.reached() >= target {
                return Ok(());
            }
            let mut turn = self.turn.lock();
            let seat = loop {
                if self.reached() >= target {
                    return Ok(());
                }
                if let Some(failure) = &turn.failure {
                    return Err(if present { failure.clone() } else { failure.poison() });
                }
                present = true;
                match turn.seat.take() {
                    Some(seat) => break seat,
                    None if spins > 0 => {
                        drop(turn);
                        while spins > 0 && self.reached() < target {
                            spins -= 1;
                            spin_loop();
                        }
                        turn = self.turn.lock();
                    }
                    None => turn = self.changed.wait(turn),
                }
            };
            drop(turn);
            let mut term = Term { group: self, seat: Some(seat), outcome: None };
            term.outcome = term.seat.as_mut().map(&mut lead);
        }
    }

    /// Latches `error` as if a leader had failed (GROUP-4). The first one stays.
    pub fn fail(&self, error: &Error) {
        self.turn.lock().failure.get_or_insert_with(|| error.clone());
        self.changed.notify_all();
    }

    fn publish(&self, reached: u64) {
        // GROUP-1: `turn` is held, so nobody stores in between.
        if reached > self.reached.load(Ordering::Relaxed) {
            self.reached.store(reached, Ordering::Release);
        }
    }
}

/// A leader's term; dropping it, also by a panic, ends it (GROUP-3).
struct Term<'a, L> {
    group: &'a GroupCommit<L>,
    seat: Option<L>,
    outcome: Option<Result<u64>>,
}

impl<L> Drop for Term<'_, L> {
    fn drop(&mut self) {
        let panicked = || {
            let source = io::Error::other("the thread that did it for all panicked");
            Err(Error::io("group commit", Path::new(""), source))
        };
        let outcome = self.outcome.take().unwrap_or_else(panicked);
        let mut turn = self.group.turn.lock();
        turn.seat = self.seat.take();
        match outcome {
            Ok(reached) if turn.failure.is_none() => self.group.publish(reached),
            Ok(_) => {}
            Err(error) => _ = turn.failure.get_or_insert(error),
        }
        self.group.changed.notify_all();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_reached_target_needs_no_leader() {
        let group = GroupCommit::new(7, ());
        group.reach(7, |()| unreachable!()).unwrap();
    }

    #[test]
    fn a_leader_who_falls_short_leads_again() {
        let group = GroupCommit::new(0, 0);
        let lead = |steps: &mut u64| {
            *steps += 1;
            Ok(*steps)
        };
        group.reach(3, lead).unwrap();
        assert_eq!(group.reached(), 3);
    }

    #[test]
    fn the_watermark_never_falls() {
        // GROUP-1
        let group = GroupCommit::new(5, 9);
        group.reach(6, |next| Ok(std::mem::replace(next, 2))).unwrap();
        assert_eq!(group.reached(), 9);
        group.publish(2);
        assert_eq!(group.reached(), 9);
    }

    #[test]
    fn the_first_failure_stays_and_later_callers_are_told_it_is_old() {
        // GROUP-4
        let group = GroupCommit::new(0, ());
        let first = group.reach(1, |()| Err(Error::InvalidArgument("first".into())));
        assert!(matches!(first, Err(Error::InvalidArgument(_))));
        group.fail(&Error::Closed);
        let later = group.reach(1, |()| unreachable!()).unwrap_err();
        assert!(
            matches!(&later, Error::Poisoned(first) if matches!(**first, Error::InvalidArgument(_)))
        );
        group.reach(0, |()| unreachable!()).unwrap();
    }

    #[test]
    fn a_leader_who_panics_fails_the_group_instead_of_hanging_it() {
        // GROUP-3
        let group = GroupCommit::new(0, ());
        let led = catch_unwind(AssertUnwindSafe(|| group.reach(1, |()| panic!("on purpose"))));
        assert!(led.is_err());
        assert!(matches!(group.reach(1, |()| Ok(1)), Err(Error::Poisoned(_))));
    }
}
