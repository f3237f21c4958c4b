//! Following: waiting for the next record without having appended it.
//!
//! What is published in a mapped ring survives the death of the process, so whoever appended it is told that it is
//! logged. Nobody has to write it to a segment soon, and if the write thread is dead nobody does before the ring is
//! more than half full. So who follows waits until there is something to write, and then writes it itself (LOG-4).
//!
//! # Invariants
//! - FOLLOW-1: who follows a mapped ring is woken by whoever publishes what it waits for, for that one finds `watched`
//!   (see `wait_published`), or, if the backend is changed meanwhile, by whoever writes it, for a call is left for
//!   that.

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
        let Some(front) = core.ring().filter(|front| front.mapped) else {
            // Whoever appended it and waits for it writes it.
            return core.written.follow(target, deadline);
        };
        self.leave_call(core, target);
        core.watched.fetch_max(target, Ordering::Relaxed);
        heavy_fence(); // Pairs with that in `after_publish`.
        core.published.raise(front.ring.advance());
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
