//! [`Crews`]: many who wait for the same work take part in a [`GroupCommit`] as one.
//!
//! Who comes first is the *captain* of a crew and goes to the group for all who join it. They sleep until it rings the
//! crew's bell, which wakes them by one call to the system, and look at the watermark then. Once who leads has taken
//! its data, the crew has *cast off*: who comes later but is covered by that data joins it, all others a new one. So
//! a captain is not covered by the term under way, and waits in the group when that ends: it is woken to lead while
//! the bell wakes the crew before.
//!
//! A few go to the group each for itself: with nobody leading, whoever comes by takes the lead at once, while a crew waits
//! until its captain is awake.
//!
//! # Invariants
//! - CREW-1: a crew is there to be joined only while its captain is on its way through the group. The captain takes it
//!   away, and rings after that, also by a panic.
//! - CREW-2: the bell says nothing of targets. Who hears it looks at the watermark.
//!
//! # Why nobody sleeps for ever, or runs in circles
//! Whoever joins a crew does so before its captain takes it away, and so before the bell (CREW-1). The captain waits in
//! the group only, and the group lets everybody return (GROUP-3, GROUP-6). Who hears the bell and is not there yet comes
//! anew; the crew that it left is gone, so it sleeps with another or is a captain itself.

use stratalog_base::Result;
use stratalog_base::sync::{Arc, AtomicUsize, Bell, Mutex, Ordering};

use crate::calls::Hold;
use crate::group::GroupCommit;

/// See the module.
#[derive(Debug)]
pub struct Crews {
    few: usize,
    /// How many are in [`Crews::reach`].
    waiting: AtomicUsize,
    open: Mutex<Open>,
}

/// Crews that can be joined.
#[derive(Debug, Default)]
struct Open {
    /// By those who are not covered.
    next: Option<Arc<Bell>>,
    /// By those whose target is at most `covered`.
    cast_off: Option<Arc<Bell>>,
    covered: u64,
}

impl Crews {
    /// There are crews while more than `few` wait.
    pub fn new(few: usize) -> Crews {
        Crews { few, waiting: AtomicUsize::new(0), open: Mutex::default() }
    }

    /// As [`GroupCommit::reach`]; `lead` calls [`Crews::cast_off`].
    ///
    /// # Errors
    /// As [`GroupCommit::reach`].
    pub fn reach<L>(
        &self,
        group: &GroupCommit<L>,
        target: u64,
        lead: impl FnMut(&mut L) -> Result<u64>,
    ) -> Result<()> {
        let _waiting = Waiting(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.few {
            return group.reach(target, lead);
        }
        loop {
            match self.join(group, target) {
                Role::Captain(_captain) => return group.reach(target, lead),
                Role::Member(crew) => crew.wait(),
                Role::None => return Ok(()),
            }
            if group.reached() < target
                && let Some(failure) = group.failure()
            {
                // It stands still, maybe higher than before.
                return if group.reached() < target { Err(failure) } else { Ok(()) };
            }
        }
    }

    fn join<L>(&self, group: &GroupCommit<L>, target: u64) -> Role<'_> {
        let mut open = self.open.lock();
        // Here, for a crew that covered it may be gone.
        if group.reached() >= target {
            return Role::None;
        }
        let covered = open.covered;
        let crew = open.cast_off.as_ref().filter(|_| target <= covered).or(open.next.as_ref());
        if let Some(crew) = crew {
            return Role::Member(crew.clone());
        }
        let crew = Arc::new(Bell::default());
        open.next = Some(crew.clone());
        Role::Captain(Captain { open: &self.open, crew, _hold: Hold::take() })
    }

    /// Who leads has taken its data, and will make the group reach `covered`.
    pub fn cast_off(&self, covered: u64) {
        let mut open = self.open.lock();
        // Without a captain nobody would ring.
        if let Some(crew) = open.next.take() {
            (open.cast_off, open.covered) = (Some(crew), covered);
        }
    }
}

enum Role<'a> {
    Captain(Captain<'a>),
    Member(Arc<Bell>),
    /// The target is reached.
    None,
}

/// Dropped when it is back from the group (CREW-1).
struct Captain<'a> {
    open: &'a Mutex<Open>,
    crew: Arc<Bell>,
    /// The last field, so that its crew need not wait for calls.
    _hold: Hold,
}

impl Drop for Captain<'_> {
    fn drop(&mut self) {
        {
            let Open { next, cast_off, .. } = &mut *self.open.lock();
            for open in [next, cast_off] {
                open.take_if(|crew| Arc::ptr_eq(crew, &self.crew));
            }
        }
        self.crew.ring();
    }
}

/// Counted while it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc;
    use std::time::Duration;

    use stratalog_base::Error;
    use stratalog_base::sync::{Instant, yield_now};

    use super::*;

    /// Two members sleep with the crew whose captain leads by `lead`, and say when they are back. Returns what all came to.
    fn sail(
        group: &GroupCommit<()>,
        lead: impl Fn() -> Result<u64> + Send + Sync,
        is_back: impl Fn() + Send + Sync,
    ) -> (std::thread::Result<Result<()>>, [Result<()>; 2]) {
        let crews = Crews::new(0);
        let member = || {
            let outcome = crews.reach(group, 1, |()| unreachable!("a member leads"));
            is_back();
            outcome
        };
        std::thread::scope(|scope| {
            let captain = scope.spawn(|| {
                catch_unwind(AssertUnwindSafe(|| {
                    crews.reach(group, 1, |()| {
                        let sleeps = |crew: &Arc<Bell>| Arc::strong_count(crew) == 4;
                        while !crews.open.lock().next.as_ref().is_some_and(sleeps) {
                            yield_now();
                        }
                        crews.cast_off(1);
                        lead()
                    })
                }))
            });
            while crews.open.lock().next.is_none() {
                yield_now();
            }
            let members = [scope.spawn(member), scope.spawn(member)];
            let members = members.map(|member| member.join().expect("a member panics"));
            (captain.join().expect("caught"), members)
        })
    }

    #[test]
    fn a_crew_gets_there_with_its_captain() {
        let group = GroupCommit::new(0, ());
        let (captain, members) = sail(&group, || Ok(1), || ());
        assert!(captain.unwrap().is_ok() && members.iter().all(Result::is_ok));
    }

    #[test]
    fn a_crew_is_told_of_the_failure_that_it_was_there_for() {
        // GROUP-4: not `Poisoned`.
        let group = GroupCommit::new(0, ());
        let (captain, members) = sail(&group, || Err(Error::Full), || ());
        assert!(matches!(captain.unwrap(), Err(Error::Full)));
        assert!(matches!(members, [Err(Error::Full), Err(Error::Full)]));
    }

    #[test]
    fn a_crew_whose_captain_panics_does_not_hang() {
        // CREW-1
        let group = GroupCommit::new(0, ());
        let (captain, members) = sail(&group, || panic!("on purpose"), || ());
        assert!(captain.is_err());
        assert!(matches!(members, [Err(Error::Io { .. }), Err(Error::Io { .. })]));
    }

    #[test]
    fn a_crew_does_not_wait_for_calls() {
        let group = Arc::new(GroupCommit::new(0, ()));
        let (sender, outcomes) = mpsc::channel();
        let both_are_back = Arc::new(AtomicUsize::new(0));
        let back = both_are_back.clone();
        let call = move |_| {
            let deadline = Instant::now() + Duration::from_secs(60);
            while back.load(Ordering::Acquire) < 2 && Instant::now() < deadline {
                yield_now();
            }
            sender.send(back.load(Ordering::Acquire)).expect("the test listens");
        };
        group.when(1, Box::new(call));
        sail(&group, || Ok(1), || _ = both_are_back.fetch_add(1, Ordering::AcqRel))
            .0
            .unwrap()
            .unwrap();
        assert_eq!(outcomes.recv(), Ok(2));
    }
}
