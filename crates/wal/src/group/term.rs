//! [`Term`]: the time for which one leads.

use std::io;
use std::path::Path;

use stratalog_base::{Error, Result};

use super::GroupCommit;
use crate::calls::Hold;
use crate::waiters::Woken;

/// A leader's term; dropping it, also by a panic, ends it (GROUP-3).
pub(super) struct Term<'a, L> {
    group: &'a GroupCommit<L>,
    /// `None` once it has ended.
    seat: Option<L>,
    /// Dropped when the seat is back, and calls are made then.
    _hold: Hold,
}

impl<'a, L> Term<'a, L> {
    pub(super) fn new(group: &'a GroupCommit<L>, seat: L) -> Self {
        Term { group, seat: Some(seat), _hold: Hold::take() }
    }

    pub(super) fn run(mut self, lead: impl FnOnce(&mut L) -> Result<u64>) -> Result<()> {
        let seat = self.seat.as_mut().expect("the term has not ended");
        let outcome = lead(seat);
        self.end(outcome)
    }

    /// Returns the failure, if the group has one then.
    fn end(&mut self, outcome: Result<u64>) -> Result<()> {
        let group = self.group;
        let (mut turn, mut woken) = (group.turn.lock(), Woken::default());
        turn.seat = self.seat.take();
        match outcome {
            Ok(reached) => {
                group.publish(reached);
                turn.waiters.take_reached(group.reached(), &mut woken);
            }
            Err(error) => group.latch(&mut turn, error, &mut woken),
        }
        let failure = turn.failure.clone();
        if failure.is_some() {
            group.vacated.notify_all();
        }
        group.unlock(turn, woken);
        failure.map_or(Ok(()), Err)
    }
}

impl<L> Drop for Term<'_, L> {
    fn drop(&mut self) {
        if self.seat.is_some() {
            let source = io::Error::other("the thread that did it for all panicked");
            _ = self.end(Err(Error::io("group commit", Path::new(""), source)));
        }
    }
}
