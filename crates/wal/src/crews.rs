//! [`Crews`]: many who wait for the same work take part in a [`GroupCommit`] as one.
//!
//! Who comes first is the *captain* of a crew and goes to the group for all who join it. They sleep until the crew's bell
//! wakes them by one call to the system, and look at the watermark then. Once who leads has taken its data, the crew
//! has *cast off*: who comes later but is covered by that data joins it still, all others the next one. When the term is
//! over, who led rings. So the captain of the next crew is not covered by the term under way, and waits in the group
//! when that ends: it is woken to lead while the bell wakes the crew before.
//!
//! A few go to the group each for itself, as all do who have a deadline: with nobody leading, whoever comes by takes
//! the lead at once, while a crew begins to do something when its captain is awake.
//!
//! # Invariants
//! - CREW-1: a crew can be joined only while somebody is about to take it away and ring after that, also by a panic: its
//!   captain, who is on its way through the group, or, once it has cast off, who leads, or fails the group, or leads next.
//! - CREW-2: the bell says nothing of targets. Who hears it looks at the watermark.
//! - CREW-3: whoever a term covers hears the bell at its end: it has joined the crew of that term or of the one before. Whoever
//!   is there when the group fails hears it then, whatever the leader is waiting for.
//!
//! # Why nobody sleeps for ever, or runs in circles
//! Whoever joins a crew does so before that is taken away, and so before the bell. Who is to ring is in the group, and the
//! group lets everybody return (GROUP-3, GROUP-6). Who hears the bell and is not there yet comes anew; the
//! crew that it left is gone, so it sleeps with another, or goes to the group itself.

use stratalog_base::Result;
use stratalog_base::sync::{Arc, AtomicUsize, Bell, Instant, Mutex, Ordering};

use crate::calls::Hold;
use crate::group::GroupCommit;

/// See the module.
#[derive(Debug)]
pub struct Crews {
    few: usize,
    /// How many are in [`Crews::reach_until`].
    waiting: AtomicUsize,
    open: Mutex<Open>,
}

/// Crews that can be joined.
#[derive(Debug, Default)]
struct Open {
    /// By those who are not covered.
    next: Option<Arc<Bell>>,
    /// By those whose target is at most this.
    cast_off: Option<(u64, Arc<Bell>)>,
}

/// How one goes on.
enum Role<'a> {
    Captain(Captain<'a>),
    Member(Arc<Bell>),
    Reached,
}

impl Crews {
    /// There are crews while more than `few` wait.
    pub fn new(few: usize) -> Crews {
        Crews { few, waiting: AtomicUsize::new(0), open: Mutex::default() }
    }

    /// As [`GroupCommit::reach_until`]; `lead` casts off.
    ///
    /// # Errors
    /// As [`GroupCommit::reach`]; but who comes, or hears a bell too early, while others are told of a failure may be
    /// told of it as one who was there before, or after.
    pub fn reach_until<L>(
        &self,
        group: &GroupCommit<L>,
        target: u64,
        deadline: Option<Instant>,
        mut lead: impl FnMut(&mut L, &mut Voyage<'_>) -> Result<u64>,
    ) -> Result<bool> {
        let are_few = self.waiting.fetch_add(1, Ordering::Relaxed) < self.few;
        let mut voyage = Voyage { open: &self.open, crew: None, _hold: Hold::take() };
        let _waiting = Waiting(&self.waiting);
        let mut captain = None; // Dropped before the hold.
        while !are_few && deadline.is_none() && captain.is_none() {
            match self.join(group, target) {
                Role::Captain(role) => captain = Some(role),
                Role::Reached => return Ok(true),
                Role::Member(crew) => {
                    crew.wait();
                    if group.reached() >= target {
                        return Ok(true);
                    }
                    if let Some(failure) = group.failure() {
                        // It stands still, maybe higher than before.
                        return if group.reached() >= target { Ok(true) } else { Err(failure) };
                    }
                }
            }
        }
        group.reach_until(target, deadline, |seat| lead(seat, &mut voyage))
    }

    fn join<L>(&self, group: &GroupCommit<L>, target: u64) -> Role<'_> {
        let mut open = self.open.lock();
        // Here, for a crew that covered it may be gone.
        if group.reached() >= target {
            return Role::Reached;
        }
        let cast_off = open.cast_off.as_ref().filter(|(covered, _)| target <= *covered);
        if let Some(crew) = cast_off.map(|(_, crew)| crew).or(open.next.as_ref()) {
            return Role::Member(crew.clone());
        }
        let crew = Arc::new(Bell::default());
        open.next = Some(crew.clone());
        Role::Captain(Captain { open: &self.open, crew })
    }

    /// Whoever fails the group calls this after it, for who leads may never come back (CREW-3).
    pub fn release(&self) {
        let crew = self.open.lock().cast_off.take();
        if let Some((_, crew)) = crew {
            crew.ring();
        }
    }
}

/// Dropped when its captain is back from the group.
struct Captain<'a> {
    open: &'a Mutex<Open>,
    crew: Arc<Bell>,
}

impl Drop for Captain<'_> {
    fn drop(&mut self) {
        let next = self.open.lock().next.take_if(|crew| Arc::ptr_eq(crew, &self.crew));
        if let Some(crew) = next {
            crew.ring(); // It has not cast off, so nobody else would.
        }
    }
}

/// With one who may lead. Dropped when it is back from the group.
pub struct Voyage<'a> {
    open: &'a Mutex<Open>,
    crew: Option<Arc<Bell>>,
    /// Dropped after the bells: who is called may wait for those who sleep.
    _hold: Hold,
}

impl Voyage<'_> {
    /// The leader has taken its data, and makes the group reach `covered`, its own target at least, or fails. It looks
    /// for a failure of the group after this, for [`Crews::release`] may have come before.
    pub fn cast_off(&mut self, covered: u64) {
        let displaced = {
            let mut open = self.open.lock();
            let crew = open.next.take().unwrap_or_default();
            self.crew = Some(crew.clone());
            open.cast_off.replace((covered, crew))
        };
        // The term before is over. Who led it may not be awake.
        if let Some((_, crew)) = displaced {
            crew.ring();
        }
    }
}

impl Drop for Voyage<'_> {
    fn drop(&mut self) {
        let Some(mine) = self.crew.take() else { return };
        self.open.lock().cast_off.take_if(|(_, crew)| Arc::ptr_eq(crew, &mine));
        mine.ring();
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
    use stratalog_base::sync::yield_now;

    use super::*;

    /// Two members sleep with the crew whose captain leads by `lead`, and say when they are back. Returns what all came to.
    fn sail(
        group: &GroupCommit<()>,
        lead: impl Fn(&Crews) -> Result<u64> + Send + Sync,
        is_back: impl Fn() + Send + Sync,
    ) -> (std::thread::Result<Result<bool>>, [Result<bool>; 2]) {
        let crews = Crews::new(0);
        let member = || {
            let lead = |(): &mut (), _: &mut Voyage<'_>| unreachable!("a member leads");
            let outcome = crews.reach_until(group, 1, None, lead);
            is_back();
            outcome
        };
        std::thread::scope(|scope| {
            let captain = scope.spawn(|| {
                catch_unwind(AssertUnwindSafe(|| {
                    crews.reach_until(group, 1, None, |(), voyage| {
                        let sleeps = |crew: &Arc<Bell>| Arc::strong_count(crew) == 4;
                        while !crews.open.lock().next.as_ref().is_some_and(sleeps) {
                            yield_now();
                        }
                        voyage.cast_off(1);
                        lead(&crews)
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
    fn who_is_covered_joins_the_crew_that_has_cast_off_and_others_the_next() {
        let (crews, group) = (Crews::new(0), GroupCommit::new(0, ()));
        let captain = |target| match crews.join(&group, target) {
            Role::Captain(captain) => captain,
            _ => panic!("{target} has no crew of its own"),
        };
        let is_with = |target, bell: &Arc<Bell>| matches!(crews.join(&group, target), Role::Member(crew) if Arc::ptr_eq(&crew, bell));
        let voyage = || Voyage { open: &crews.open, crew: None, _hold: Hold::take() };

        let first = captain(10);
        assert!(is_with(9, &first.crew) && is_with(30, &first.crew));
        let mut term = voyage();
        term.cast_off(20);
        let second = captain(30);
        assert!(is_with(9, &first.crew) && is_with(20, &first.crew)); // CREW-3
        assert!(is_with(21, &second.crew) && is_with(31, &second.crew));
        group.raise(20);
        assert!(matches!(crews.join(&group, 20), Role::Reached));
        let mut later = voyage();
        later.cast_off(25);
        assert!(is_with(25, &second.crew), "it is not covered, and carried all the same"); // CREW-3
        first.crew.wait(); // The term before is over.
        drop((term, first));
        assert!(is_with(25, &second.crew), "the end of the term before is nothing to it");
        drop((later, second));
        drop(captain(25)); // CREW-1
        let mut last = voyage();
        last.cast_off(25);
        let third = captain(26);
        assert!(
            matches!(crews.join(&group, 25), Role::Member(_)),
            "though nobody was there before"
        ); // CREW-3
        let fourth = Captain { open: &crews.open, crew: Arc::default() };
        drop((last, fourth));
        assert!(
            is_with(26, &third.crew),
            "a captain whose crew has cast off leaves the next alone"
        );
    }

    #[test]
    fn a_few_are_in_no_crew() {
        let crews = Crews::new(1);
        let has_captain = || crews.open.lock().next.is_some();
        for _ in 0..2 {
            let (first, second) = (GroupCommit::new(0, ()), GroupCommit::new(0, ()));
            let lead_second = |(): &mut (), _: &mut Voyage<'_>| {
                assert!(has_captain());
                Ok(1)
            };
            let lead_first = |(): &mut (), _: &mut Voyage<'_>| {
                assert!(!has_captain());
                crews.reach_until(&second, 1, None, lead_second).map(|_| 1)
            };
            crews.reach_until(&first, 1, None, lead_first).unwrap();
        }
    }

    #[test]
    fn a_crew_gets_there_with_its_captain() {
        let group = GroupCommit::new(0, ());
        let (captain, members) = sail(&group, |_| Ok(1), || ());
        assert!(captain.unwrap().is_ok() && members.iter().all(Result::is_ok));
    }

    #[test]
    fn a_crew_is_told_of_the_failure_that_it_was_there_for() {
        // GROUP-4: not `Poisoned`.
        let group = GroupCommit::new(0, ());
        let (captain, members) = sail(&group, |_| Err(Error::Full), || ());
        assert!(matches!(captain.unwrap(), Err(Error::Full)));
        assert!(matches!(members, [Err(Error::Full), Err(Error::Full)]));
    }

    #[test]
    fn a_crew_whose_captain_panics_does_not_hang() {
        // CREW-1
        let group = GroupCommit::new(0, ());
        let (captain, members) = sail(&group, |_| panic!("on purpose"), || ());
        assert!(captain.is_err());
        assert!(matches!(members, [Err(Error::Io { .. }), Err(Error::Io { .. })]));
    }

    #[test]
    fn a_crew_is_told_of_a_failure_though_its_leader_does_not_come_back() {
        // CREW-3
        let (group, back) = (GroupCommit::new(0, ()), AtomicUsize::new(0));
        let lead = |crews: &Crews| {
            group.fail(&Error::Full);
            crews.release();
            let deadline = Instant::now() + Duration::from_secs(60);
            while back.load(Ordering::Acquire) < 2 && Instant::now() < deadline {
                yield_now();
            }
            assert_eq!(back.load(Ordering::Acquire), 2);
            Ok(1)
        };
        let (captain, members) = sail(&group, lead, || _ = back.fetch_add(1, Ordering::AcqRel));
        assert!(matches!(captain, Ok(Err(Error::Full))));
        assert!(matches!(members, [Err(Error::Full), Err(Error::Full)]));
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
        sail(&group, |_| Ok(1), || _ = both_are_back.fetch_add(1, Ordering::AcqRel))
            .0
            .unwrap()
            .unwrap();
        assert_eq!(outcomes.recv(), Ok(2));
    }
}
