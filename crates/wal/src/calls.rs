//! Those who are called back may do anything with the log. So nobody calls them while it holds what they
//! might need: a seat, a place that others wait behind, a lock. (A turn may be held: who is called back takes none.)
//!
//! Who takes such a thing takes a [`Hold`] before it. While the thread has one, its calls are put off; it makes them as
//! it gives back the last.
//!
//! # Invariants
//! - CALL-1: a call is made under no hold of its thread, and not within another call of the same: so calls neither wait
//!   for what their thread holds, nor nest without end.
//! - CALL-2: what was handed to [`call`] is called exactly once, in order, also if one before it panics.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use stratalog_base::Result;
use stratalog_base::sync::{panicking, thread_local};

use crate::Callback;

#[derive(Default)]
struct Calls {
    holds: usize,
    /// Whether one is being made.
    is_calling: bool,
    put_off: VecDeque<(Callback, Result<()>)>,
}

thread_local! {
    static CALLS: RefCell<Calls> = RefCell::default();
}

/// While a thread has one, its calls are put off; see the module. Dropping the last makes them, and panics with what the
/// first panicked with.
#[must_use = "calls are put off until it is dropped"]
pub struct Hold(PhantomData<*const ()>);

impl Hold {
    /// For this thread.
    pub fn take() -> Hold {
        with(|calls| calls.holds += 1);
        Hold(PhantomData)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        with(|calls| calls.holds -= 1);
        make_calls();
    }
}

/// Calls each with its outcome, as soon as the thread may.
pub fn call(all: impl IntoIterator<Item = (Callback, Result<()>)>) {
    let mut all = all.into_iter();
    match with(|calls| calls.put_off.extend(&mut all)) {
        Some(()) => make_calls(),
        None => all.for_each(|(then, outcome)| then(outcome)),
    }
}

/// Whether this thread is being called back.
pub fn is_called() -> bool {
    with(|calls| calls.is_calling).unwrap_or(false)
}

/// CALL-1
fn make_calls() {
    let mut panic = None;
    while let Some((then, outcome)) = with(Calls::next).flatten() {
        let called = catch_unwind(AssertUnwindSafe(|| then(outcome)));
        with(|calls| calls.is_calling = false);
        panic = panic.or(called.err()); // CALL-2
    }
    if let Some(panic) = panic
        && !panicking()
    {
        resume_unwind(panic);
    }
}

/// `None` in a thread that ends, where a log may be dropped with what else belonged to the thread.
fn with<R>(work: impl FnOnce(&mut Calls) -> R) -> Option<R> {
    CALLS.try_with(|calls| work(&mut calls.borrow_mut())).ok()
}

impl Calls {
    fn next(&mut self) -> Option<(Callback, Result<()>)> {
        if self.holds > 0 || self.is_calling {
            return None;
        }
        let next = self.put_off.pop_front();
        self.is_calling = next.is_some();
        next
    }
}
