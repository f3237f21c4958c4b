//! Following: waiting for the next record without having appended it.
//!
//! What is published in a mapped ring survives the death of the process, so whoever appended it is told that it is
//! logged. Nobody has to write it to a segment soon, and if the write thread is dead nobody does before the ring is
//! more than half full. So who follows waits until there is something to write, and then writes it itself (LOG-4).
//!
//! # Invariants
//! - FOLLOW-1: who follows a log that has a mapped ring, or may get one, sleeps until `published` is raised, whoever
//!   takes records then. In the ring that is done by whoever publishes what it waits for, for that one finds `watched`
//!   (see `wait_published`), also if the ring became the front meanwhile; elsewhere by whoever writes it, for a call is
//!   left for that.

use std::sync::{Arc, Weak};

use stratalog_base::Result;
use stratalog_base::sync::{Instant, Ordering, heavy_fence};

use super::Core;
use crate::Position;

/// One who follows the log.
#[derive(Debug, Default)]
pub struct Follower {
    /// The place for which a call is left, and what lives as long as the call: so there is one, however often a wait
    /// ends in time.
    call: Option<(Position, Weak<()>)>,
}

impl Follower {
    /// Returns once all below `target` is in segments, or could be written there, or `false` at the deadline.
    ///
    /// # Errors
    /// If the log has failed or was closed.
    pub fn wait(
        &mut self,
        core: &Arc<Core>,
        target: Position,
        deadline: Option<Instant>,
    ) -> Result<bool> {
        if core.any_ring().is_some_and(|front| !front.mapped) || core.written.reached() >= target {
            // Whoever appended it and waits for it writes it. A ring that is not mapped stays so.
            return core.written.follow(target, deadline);
        }
        self.leave_call(core, target);
        core.watched.fetch_max(target, Ordering::Relaxed);
        // Pairs with that in `after_publish`: who does not find `watched` has published before, so after the ring
        // became the front, if it did meanwhile; and that is seen here.
        heavy_fence();
        core.published.raise(core.logged());
        core.published.follow(target, deadline)
    }

    /// FOLLOW-1
    fn leave_call(&mut self, core: &Arc<Core>, target: Position) {
        if self.call.as_ref().is_some_and(|(at, call)| *at == target && call.strong_count() > 0) {
            return;
        }
        let (call, core_then) = (Arc::new(()), Arc::downgrade(core));
        self.call = Some((target, Arc::downgrade(&call)));
        let then = move |_| {
            drop(call);
            if let Some(core) = core_then.upgrade() {
                core.published.raise(core.written.reached());
            }
        };
        core.written.when(target, Box::new(then));
    }
}
