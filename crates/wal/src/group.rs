//! [`GroupCommit`]: many wait for a watermark, one of them does the work for all.
//!
//! Knows nothing of files. Whoever finds its target not reached and nobody leading takes the *seat*
//! (the leader's tools, of type `L`), works without a lock, and publishes how far it got. The others
//! sleep, each with an entry in the list of [`Waiters`], and are woken in a chain: nobody wakes for
//! nothing. Threads may also wait without ever leading, register a call, or await a future; and the
//! watermark may be raised from outside.
//!
//! # Invariants
//! - GROUP-1: the watermark never falls.
//! - GROUP-2: the watermark is only ever what a leader returned, or what was passed to
//!   [`GroupCommit::raise`] or [`GroupCommit::revive`]; nobody is told `Ok` below its target.
//! - GROUP-3: at most one leads. However its term ends, the seat is back, the outcome is known and
//!   all whom it concerns are off the list under one hold of the lock; they are told after it.
//! - GROUP-4: after the first failure nobody leads, the watermark stands still and nobody is on the
//!   list, until [`GroupCommit::revive`].
//! - GROUP-5: who is taken off the list is told exactly once, outside of the lock: by the one who took
//!   it off or, a sleeping thread, by another that was told. Each thread reads what it is told. At the latest the drop of the group does so ([`Error::Closed`]).
//! - GROUP-6: whenever the lock is free and someone who may lead is on the list, someone leads or
//!   someone off the list has the *baton*.
//! - GROUP-7: who wants the seat itself gets the baton before any who came to the list later, and then the seat.
//!
//! # Why no wake-up is lost
//! *To lead.* A thread goes on the list only while another leads or the seat is kept (same hold of the lock). The end of
//! a term gives the baton to the first of those who remain and may lead, unless it is out already.
//! Who has it always takes the lock next, and puts the baton down there. Either it takes the seat, or
//! another has it, or it leaves (its target is reached, or its time is up), and then gives the baton
//! to the next in the same hold. So GROUP-6 holds, and every term ends.
//!
//! *To have the seat itself.* No watermark is this one's target, so by targets it would come last, and any who comes
//! while it wakes would take the seat first, without end. So it gets the baton before the first of the others if it is
//! older, and the seat is kept for it: nobody else takes that while the baton is out to it. Whoever falls short or
//! finds the seat taken comes to the list anew, and so as a younger one: each of those who were older gets the baton
//! once before it, which is GROUP-7. It has no deadline, so it always comes for the seat, or finds the group failed,
//! when nobody is on the list.
//!
//! A thread whose time is up takes itself off the list. If it is not there any more, it is told
//! something at any moment: it waits for that, so that a baton on its way does not get lost.
//!
//! *To see the watermark.* A raise moves the watermark and then looks at `lowest`, the lowest target
//! on the list; one who registers sets `lowest` and then looks at the watermark; each has a `SeqCst`
//! fence in between. So one of them sees the other: either who registers leaves at once, or who raises
//! takes the lock and finds it. Other ends need no fence: they change the watermark under the lock.

use std::sync::Arc;

use stratalog_base::sync::{
    AtomicU64, Condvar, Instant, Letter, Mutex, MutexGuard, Ordering, Padded, fence, panicking,
};
use stratalog_base::{Error, Result};

use crate::Callback;
use crate::calls::call;
use crate::spin::Spin;
use crate::waiters::{Key, Told, Waiter, Waiters, Woken};

mod term;

use term::Term;

/// Set in `reached` while the group is failed: a `fetch_max` with any watermark has no effect then,
/// so that raising needs no lock (GROUP-4).
const FAILED: u64 = 1 << 63;

/// A watermark that the callers raise in groups; see the module.
#[derive(Debug)]
pub struct GroupCommit<L> {
    /// The watermark, and `FAILED`.
    reached: Padded<AtomicU64>,
    /// The lowest target on the list, or `u64::MAX`. Written under `turn`.
    lowest: AtomicU64,
    spin: Spin,
    turn: Mutex<Turn<L>>,
    /// The seat of a failed group is back.
    vacated: Condvar,
}

#[derive(Debug)]
struct Turn<L> {
    /// `None` while someone leads.
    seat: Option<L>,
    failure: Option<Error>,
    waiters: Waiters,
    /// Whether somebody was told to lead and has not taken the lock since.
    baton: bool,
    /// Whether that one wants the seat itself: then nobody else takes it (GROUP-7).
    is_kept: bool,
}

/// What who wants the seat itself waits for: no watermark gets there.
const THE_SEAT: u64 = FAILED - 1;

/// One call of [`GroupCommit::reach_until`] or [`GroupCommit::follow`].
struct Caller {
    target: u64,
    deadline: Option<Instant>,
    /// Whether it may lead.
    leads: bool,
    /// Whether it has been in a group that had not failed.
    present: bool,
    slept: bool,
    spun: bool,
    letter: Option<Arc<Letter<Told>>>,
}

/// How a caller's wait ended.
enum Ended<L> {
    Reached,
    Late,
    Lead(L),
}

impl<L> GroupCommit<L> {
    /// A group whose watermark stands at `reached`, below 2⁶³, and whose leaders use `seat`.
    pub fn new(reached: u64, seat: L) -> Self {
        assert!(reached < FAILED);
        let waiters = Waiters::default();
        GroupCommit {
            reached: Padded(AtomicU64::new(reached)),
            lowest: AtomicU64::new(u64::MAX),
            spin: Spin::default(),
            turn: Mutex::new(Turn {
                seat: Some(seat),
                failure: None,
                waiters,
                baton: false,
                is_kept: false,
            }),
            vacated: Condvar::new(),
        }
    }

    /// The watermark. What was done before it was published is visible to the caller.
    #[inline]
    pub fn reached(&self) -> u64 {
        self.reached.load(Ordering::Acquire) & !FAILED
    }

    /// Returns once the watermark is at least `target`. Calls `lead` if nobody else does the work;
    /// `lead` returns the new watermark, which may lie beyond `target`, or below it as long as
    /// repeated calls get there.
    ///
    /// # Errors
    /// If `lead` failed or panicked, here or in the thread that led: its error for everyone who was
    /// in this call then, and [`Error::Poisoned`] for those who come later (GROUP-4).
    pub fn reach(&self, target: u64, lead: impl FnMut(&mut L) -> Result<u64>) -> Result<()> {
        let reached = self.reach_until(target, None, lead)?;
        debug_assert!(reached, "late without a deadline");
        Ok(())
    }

    /// The same, but does not sleep beyond `deadline`: returns whether the watermark is at least
    /// `target`. A caller who leads is not interrupted, and may take the lead whatever the time is.
    ///
    /// # Errors
    /// As [`GroupCommit::reach`].
    pub fn reach_until(
        &self,
        target: u64,
        deadline: Option<Instant>,
        mut lead: impl FnMut(&mut L) -> Result<u64>,
    ) -> Result<bool> {
        if self.reached() >= target {
            return Ok(true);
        }
        let mut caller = Caller::new(target, deadline, true);
        loop {
            let seat = match self.wait(&mut caller)? {
                Ended::Reached => return Ok(true),
                Ended::Late => return Ok(false),
                Ended::Lead(seat) => seat,
            };
            let ended = Term::new(self, seat).run(&mut lead);
            if self.reached() >= target {
                return Ok(true);
            }
            ended?;
            if caller.is_late() {
                return Ok(false);
            }
        }
    }

    /// Leads once if nobody does, and else does nothing; whether it led. Waits for nobody.
    ///
    /// # Errors
    /// As [`GroupCommit::reach`].
    pub fn lead_if_free(&self, lead: impl FnOnce(&mut L) -> Result<u64>) -> Result<bool> {
        // Who has the baton finds the seat taken, as if it had come later.
        let free = self.turn.try_lock().filter(|turn| turn.failure.is_none() && !turn.is_kept);
        match free.and_then(|mut turn| turn.seat.take()) {
            Some(seat) => Term::new(self, seat).run(lead).map(|()| true),
            None => Ok(false),
        }
    }

    /// Runs `work` on the seat, as soon as nobody leads, however many wait to (GROUP-7).
    ///
    /// # Errors
    /// As [`GroupCommit::reach`]; an error of `work` fails the group.
    pub fn with_seat<R>(&self, work: impl FnOnce(&mut L) -> Result<R>) -> Result<R> {
        let seat = match self.wait(&mut Caller::new(THE_SEAT, None, true))? {
            Ended::Lead(seat) => seat,
            _ => unreachable!("no watermark gets there, and there is no deadline"),
        };
        let (mut work, mut outcome) = (Some(work), None);
        let mut lead = |seat: &mut L| {
            let work = work.take().expect("leads once");
            outcome = Some(work(seat)?);
            Ok(self.reached())
        };
        Term::new(self, seat).run(&mut lead)?;
        Ok(outcome.expect("it has led"))
    }

    /// The same without ever leading: somebody else must raise the watermark.
    ///
    /// # Errors
    /// As [`GroupCommit::reach`].
    pub fn follow(&self, target: u64, deadline: Option<Instant>) -> Result<bool> {
        if self.reached() >= target {
            return Ok(true);
        }
        match self.wait(&mut Caller::new(target, deadline, false))? {
            Ended::Reached => Ok(true),
            Ended::Late => Ok(false),
            Ended::Lead(_) => unreachable!("a follower leads"),
        }
    }

    /// Raises the watermark from outside of a term, and tells those who wait for it. No effect if it
    /// is there already, or after a failure. Takes no lock unless somebody waits for `reached` or
    /// less.
    #[inline]
    pub fn raise(&self, reached: u64) {
        if !self.publish(reached) {
            return;
        }
        // Pairs with the fence in `register`; see the module.
        fence(Ordering::SeqCst);
        if self.lowest.load(Ordering::Relaxed) <= reached {
            self.settle();
        }
    }

    /// Calls `then` with `Ok` once the watermark is at least `target`, or with the failure as
    /// [`GroupCommit::reach`] would return it, or with [`Error::Closed`] if the group is dropped
    /// first. Called here if that is so already; else later by the thread that raises or fails, or
    /// finds out on its way to the list, in no term and under no lock. Returns whether it was called
    /// here. Somebody must see to it that somebody leads.
    pub fn when(&self, target: u64, then: Callback) -> bool {
        if self.reached() >= target {
            call([(then, Ok(()))]);
            return true;
        }
        let turn = self.turn.lock();
        if let Some(failure) = &turn.failure
            && self.reached() < target
        {
            let failure = failure.poison();
            drop(turn);
            call([(then, Err(failure))]);
            return true;
        }
        self.register(turn, target, Waiter::Call(then)).1
    }

    /// Latches `error` as if a leader had failed (GROUP-4). The first one stays.
    pub fn fail(&self, error: &Error) {
        let (mut turn, mut woken) = (self.turn.lock(), Woken::default());
        self.latch(&mut turn, error.clone(), &mut woken);
        self.unlock(turn, woken);
    }

    /// The failure that stopped the group.
    pub fn failure(&self) -> Option<Error> {
        self.turn.lock().failure.clone()
    }

    /// Calls `look` on the seat of a failed group under the lock, once nobody leads.
    ///
    /// # Panics
    /// If the group has not failed.
    pub fn at_rest<R>(&self, look: impl FnOnce(&mut L) -> R) -> R {
        look(self.vacated().seat.as_mut().expect("vacated"))
    }

    /// The lock of a failed group once nobody leads.
    fn vacated(&self) -> MutexGuard<'_, Turn<L>> {
        let mut turn = self.turn.lock();
        loop {
            assert!(turn.failure.is_some(), "revived without a failure");
            match turn.seat {
                Some(_) => return turn,
                None => turn = self.vacated.wait(turn),
            }
        }
    }

    /// Starts a failed group anew: waits until nobody leads, calls `with` on the seat under the lock,
    /// forgets the failure, and puts the watermark at `reached`, which is at least where it stood.
    ///
    /// A caller who was on its way to the list when the group failed may have missed that; it goes on
    /// as if it came now. So `reached` must hold for old callers, too.
    ///
    /// # Panics
    /// If the group has not failed, or the watermark would fall.
    pub fn revive(&self, reached: u64, with: impl FnOnce(&mut L)) {
        let mut turn = self.vacated();
        assert!((self.reached()..FAILED).contains(&reached), "GROUP-1");
        with(turn.seat.as_mut().expect("vacated"));
        turn.failure = None;
        // Not a plain store: who reads this also sees what earlier raises published.
        self.reached.swap(reached, Ordering::AcqRel);
    }

    /// Waits until `caller`'s target is reached, its time is up, or it has the seat.
    fn wait(&self, caller: &mut Caller) -> Result<Ended<L>> {
        let mut turn = self.turn.lock();
        loop {
            if self.reached() >= caller.target {
                self.unlock(turn, Woken::default());
                return Ok(Ended::Reached);
            }
            if let Some(failure) = &turn.failure {
                return Err(if caller.present { failure.clone() } else { failure.poison() });
            }
            caller.present = true;
            if caller.slept && caller.is_late() {
                self.unlock(turn, Woken::default());
                return Ok(Ended::Late);
            }
            if caller.leads
                && !turn.is_kept
                && let Some(seat) = turn.seat.take()
            {
                return Ok(Ended::Lead(seat));
            }
            if !caller.spun && self.spin.is_due() {
                caller.spun = true;
                drop(turn);
                // Also who saw its target takes the lock once more: two who take turns are 10 % slower
                // if one of them runs ahead.
                self.spin.until(|| self.reached() >= caller.target);
                turn = self.turn.lock();
                continue;
            }
            let (key, _) = self.register(turn, caller.target, caller.waiter());
            match self.sleep(caller, key) {
                None => return Ok(Ended::Late),
                Some(Told::Over(outcome, chain)) => {
                    chain.tell();
                    return outcome.map(|()| Ended::Reached);
                }
                Some(Told::Lead) => {
                    turn = self.turn.lock();
                    (turn.baton, turn.is_kept) = (false, false);
                }
            }
        }
    }

    /// Sleeps until the caller is told something, or until its time is up and it is off the list.
    fn sleep(&self, caller: &mut Caller, key: Key) -> Option<Told> {
        caller.slept = true;
        let letter = caller.letter();
        let Some(deadline) = caller.deadline else { return Some(letter.receive()) };
        letter.receive_until(deadline).or_else(|| {
            // Off the list already: something is on its way, and it may be the baton.
            (!self.remove(key)).then(|| letter.receive())
        })
    }

    /// Puts `waiter` on the list and releases the lock. Returns its entry, and whether the watermark
    /// was at `target` already: then it is off the list again and told so.
    fn register(
        &self,
        mut turn: MutexGuard<'_, Turn<L>>,
        target: u64,
        waiter: Waiter,
    ) -> (Key, bool) {
        let (key, mut woken) = (turn.waiters.add(target, waiter), Woken::default());
        self.lowest.store(turn.waiters.lowest(), Ordering::Relaxed);
        // Pairs with the fence in `raise`; see the module.
        fence(Ordering::SeqCst);
        let reached = self.reached();
        turn.waiters.take_reached(reached, &mut woken);
        self.unlock(turn, woken);
        (key, reached >= target)
    }

    /// Takes an entry off the list. Returns whether it was there.
    fn remove(&self, key: Key) -> bool {
        let mut turn = self.turn.lock();
        let waiter = turn.waiters.remove(key);
        self.unlock(turn, Woken::default());
        waiter.is_some()
    }

    /// Tells those whose target is reached.
    #[cold]
    fn settle(&self) {
        let (mut turn, mut woken) = (self.turn.lock(), Woken::default());
        turn.waiters.take_reached(self.reached(), &mut woken);
        self.unlock(turn, woken);
    }

    /// Ends a hold of the lock that may have changed the list or put the baton down (GROUP-6), and
    /// tells `woken` after it (GROUP-5).
    fn unlock(&self, mut turn: MutexGuard<'_, Turn<L>>, mut woken: Woken) {
        if turn.seat.is_some() && !turn.baton {
            (turn.baton, turn.is_kept) = turn.waiters.take_leader(&mut woken);
        }
        let lowest = turn.waiters.lowest();
        // Not stored for nothing: others look at `reached`, which is near.
        if self.lowest.load(Ordering::Relaxed) != lowest {
            self.lowest.store(lowest, Ordering::Relaxed);
        }
        drop(turn);
        woken.tell();
    }

    /// Raises the watermark, if there was no failure. Returns whether it moved.
    #[inline]
    fn publish(&self, reached: u64) -> bool {
        assert!(reached < FAILED);
        // GROUP-1, and GROUP-4: `FAILED` is above all watermarks.
        self.reached.fetch_max(reached, Ordering::AcqRel) < reached
    }

    fn latch(&self, turn: &mut Turn<L>, error: Error, woken: &mut Woken) {
        if turn.failure.is_some() {
            return;
        }
        let reached = self.reached.fetch_or(FAILED, Ordering::AcqRel);
        turn.waiters.take_reached(reached, woken);
        turn.waiters.take_failed(&error, woken);
        turn.failure = Some(error);
    }
}

impl<L> Drop for GroupCommit<L> {
    fn drop(&mut self) {
        // A loom model that fails drops what it has with locks held; a second panic would abort it.
        if !(cfg!(loom) && panicking()) {
            self.fail(&Error::Closed);
        }
    }
}

impl Caller {
    fn new(target: u64, deadline: Option<Instant>, leads: bool) -> Caller {
        let (present, spun, slept) = (false, cfg!(loom), false);
        Caller { target, deadline, leads, present, spun, slept, letter: None }
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn letter(&mut self) -> Arc<Letter<Told>> {
        self.letter.get_or_insert_with(|| Arc::new(Letter::to_this_thread())).clone()
    }

    fn waiter(&mut self) -> Waiter {
        let letter = self.letter();
        match self.leads {
            _ if self.target == THE_SEAT => Waiter::Seat(letter),
            true => Waiter::Leader(letter),
            false => Waiter::Follower(letter),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Duration;

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
        group.raise(2);
        assert_eq!(group.reached(), 9);
        group.raise(10);
        assert_eq!(group.reached(), 10);
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

    /// Calls that came, each with whether it was told `Ok`.
    type Calls = Arc<Mutex<Vec<bool>>>;

    fn note(calls: &Calls) -> Callback {
        let calls = calls.clone();
        Box::new(move |outcome: Result<()>| calls.lock().push(outcome.is_ok()))
    }

    fn past() -> Option<Instant> {
        Some(Instant::now())
    }

    #[test]
    fn who_may_not_lead_gives_up_in_time() {
        let group = GroupCommit::new(0, ());
        assert!(!group.follow(1, past()).unwrap());
        let soon = Instant::now() + Duration::from_millis(5);
        assert!(!group.follow(1, Some(soon)).unwrap());
        assert!(Instant::now() >= soon);
        assert_eq!(group.turn.lock().waiters.lowest(), u64::MAX, "nobody is left on the list");
    }

    #[test]
    fn who_may_lead_does_so_whatever_the_time_is_but_once() {
        let group = GroupCommit::new(0, 0);
        let step = |steps: &mut u64| {
            *steps += 1;
            Ok(*steps)
        };
        assert!(group.reach_until(1, past(), step).unwrap());
        assert!(!group.reach_until(3, past(), step).unwrap());
        assert_eq!(group.reached(), 2);
    }

    #[test]
    fn a_call_comes_at_once_or_when_its_target_is_reached() {
        // GROUP-5
        let (group, calls) = (GroupCommit::new(1, ()), Calls::default());
        assert!(group.when(1, note(&calls)));
        assert_eq!(*calls.lock(), [true]);
        assert!(!group.when(3, note(&calls)));
        assert!(!group.when(4, note(&calls)));
        group.raise(2);
        assert_eq!(*calls.lock(), [true]);
        group.reach(3, |()| Ok(3)).unwrap();
        assert_eq!(*calls.lock(), [true, true]);
        group.fail(&Error::Closed);
        assert_eq!(*calls.lock(), [true, true, false]);
        assert!(group.when(4, note(&calls)));
        assert_eq!(*calls.lock(), [true, true, false, false]);
    }

    #[test]
    fn a_call_of_a_dropped_group_is_told_that_it_is_closed() {
        // GROUP-5
        let group = GroupCommit::new(1, ());
        let told = Arc::new(Mutex::new(None));
        let teller = told.clone();
        group.when(2, Box::new(move |outcome| *teller.lock() = Some(outcome)));
        drop(group);
        assert!(matches!(told.lock().take(), Some(Err(Error::Closed))));
    }

    #[test]
    fn a_call_may_use_the_group_and_may_panic() {
        // GROUP-5
        let (group, calls) = (Arc::new(GroupCommit::new(0, ())), Calls::default());
        let inner = group.clone();
        group.when(1, Box::new(move |_| inner.reach(2, |()| Ok(2)).unwrap()));
        group.when(1, Box::new(|_| panic!("on purpose")));
        group.when(1, note(&calls));
        assert!(catch_unwind(AssertUnwindSafe(|| group.raise(1))).is_err());
        assert_eq!((group.reached(), calls.lock().len()), (2, 1));
    }

    #[test]
    fn a_failed_group_stands_still_until_it_is_revived() {
        // GROUP-4
        let group = GroupCommit::new(1, 7);
        group.fail(&Error::Full);
        group.raise(5);
        assert_eq!(group.reached(), 1);
        assert!(matches!(group.follow(2, past()), Err(Error::Poisoned(_))));
        assert!(matches!(group.failure(), Some(Error::Full)));
        group.revive(3, |seat| *seat = 8);
        assert!(group.failure().is_none());
        assert_eq!(group.reached(), 3);
        group.reach(8, |seat| Ok(*seat)).unwrap();
    }

    #[test]
    #[should_panic(expected = "GROUP-1")]
    fn a_revived_group_does_not_fall_back() {
        let group = GroupCommit::new(2, ());
        group.fail(&Error::Closed);
        group.revive(1, |()| ());
    }

    /// GROUP-7
    #[test]
    fn who_wants_the_seat_itself_gets_it_among_those_who_reach_without_end() {
        const TERMS_MAX: u64 = 200_000;
        let (group, written) = (GroupCommit::new(0, ()), AtomicU64::new(0));
        let done = AtomicU64::new(0);
        let terms = AtomicU64::new(0);
        let lead = |(): &mut ()| {
            terms.fetch_add(1, Ordering::Relaxed);
            let covered = written.load(Ordering::Acquire);
            std::thread::sleep(Duration::from_micros(20)); // The others come meanwhile.
            Ok(covered)
        };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while done.load(Ordering::Acquire) < 20
                        && terms.load(Ordering::Relaxed) < TERMS_MAX
                    {
                        let mine = written.fetch_add(1, Ordering::AcqRel) + 1;
                        group.reach(mine, lead).unwrap();
                    }
                });
            }
            scope.spawn(|| {
                while done.load(Ordering::Acquire) < 20 {
                    std::thread::sleep(Duration::from_micros(300)); // Somebody leads, others wait.
                    group.with_seat(|()| Ok(())).unwrap();
                    done.fetch_add(1, Ordering::AcqRel);
                }
            });
        });
        let terms = terms.into_inner();
        assert!(terms < 20 * 50, "{terms} terms passed 20 who wanted the seat");
    }

    #[test]
    fn threads_with_and_without_time_and_calls_get_through_together() {
        let (group, written) = (GroupCommit::new(0, ()), AtomicU64::new(0));
        let calls = Calls::default();
        let sync = |(): &mut ()| {
            let covered = written.load(Ordering::Acquire);
            std::thread::sleep(Duration::from_micros(20));
            Ok(covered)
        };
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (group, written, calls, sync) = (&group, &written, &calls, &sync);
                scope.spawn(move || {
                    for round in 0..200 {
                        let mine = written.fetch_add(1, Ordering::AcqRel) + 1;
                        let soon = Instant::now() + Duration::from_micros(round);
                        if thread % 4 == 1 {
                            group.when(mine, note(calls));
                        }
                        let reached = match thread % 4 {
                            2 => group.follow(mine, Some(soon)).unwrap(),
                            3 => group.reach_until(mine, Some(soon), sync).unwrap(),
                            _ => group.reach(mine, sync).map(|()| true).unwrap(),
                        };
                        assert!(!reached || group.reached() >= mine);
                    }
                });
            }
        });
        assert_eq!(*calls.lock(), [true; 400]);
        let turn = group.turn.lock();
        assert!(turn.seat.is_some() && !turn.baton);
    }
}
