//! [`Work`]: who flushes and who compacts, who waits for it, and what went wrong.
//!
//! There are two kinds of work. Jobs run on the store's own threads, or in the call of whoever needs the
//! outcome. Everybody waits on one condition variable,
//! which is notified after every change of what is due; nobody polls.
//!
//! # Invariants
//! - WORK-1: a job's failure is told to at least one caller that depends on the job. Until then the
//!   job is not tried again; after that it is.
//! - WORK-2: whoever takes a slot gives it back, also on a panic.
//! - WORK-3: at most one job of each kind runs at a time. So a compaction finds the tables of its plan
//!   in every tree until it is done, and flushes install in order.

use std::sync::Arc;

use stratalog_base::sync::{Condvar, JoinHandle, Mutex, panicking, spawn};
use stratalog_base::{Error, Result};

use crate::store::Store;

/// A kind of background work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// The oldest sealed memtable becomes a table.
    Flush,
    /// Tables are merged as the planner says.
    Compact,
}

pub const TASKS: [Task; 2] = [Task::Flush, Task::Compact];

/// See the module page.
#[derive(Debug, Default)]
pub struct Work {
    state: Mutex<State>,
    changed: Condvar,
}

/// What [`Work`] guards.
#[derive(Debug, Default)]
pub struct State {
    running: [bool; 2],
    failed: [Option<Error>; 2],
    closing: bool,
}

impl State {
    /// Whether a job of this kind runs.
    pub fn is_running(&self, task: Task) -> bool {
        self.running[task as usize]
    }

    /// The failure of the last job of this kind, which may be tried again from now on (WORK-1).
    pub fn take_failure(&mut self, task: Task) -> Result<()> {
        self.failed[task as usize].take().map_or(Ok(()), Err)
    }

    fn may_start(&self, task: Task) -> bool {
        !self.closing && !self.running[task as usize] && self.failed[task as usize].is_none()
    }
}

/// A taken slot (WORK-2).
struct Slot<'a> {
    work: &'a Work,
    task: Task,
    /// Whether the thread was unwinding already when it took the slot.
    unwinding: bool,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.work.state.lock();
        state.running[self.task as usize] = false;
        // A bug: nobody may wait for a thread that is gone.
        state.closing |= panicking() && !self.unwinding;
        drop(state);
        self.work.changed.notify_all();
    }
}

impl Work {
    /// Says that something may have become due, or done.
    pub fn notify(&self) {
        drop(self.state.lock());
        self.changed.notify_all();
    }

    /// Asks running jobs to stop, and threads to end.
    pub fn begin_close(&self) {
        self.state.lock().closing = true;
        self.changed.notify_all();
    }

    /// Waits until no job runs, once [`Work::begin_close`] was called: none begins after that.
    pub fn drain(&self) {
        let mut state = self.state.lock();
        debug_assert!(state.closing);
        while state.running.contains(&true) {
            state = self.changed.wait(state);
        }
    }

    /// Whether [`Work::begin_close`] was called.
    pub fn is_closing(&self) -> bool {
        self.state.lock().closing
    }

    /// Waits until `done` says so, looking again after every change.
    ///
    /// # Errors
    /// What `done` returns; [`Error::Closed`] when the store is being closed.
    pub fn wait<T>(&self, mut done: impl FnMut(&mut State) -> Result<Option<T>>) -> Result<T> {
        let mut state = self.state.lock();
        loop {
            if state.closing {
                return Err(Error::Closed);
            }
            // A failure that is told here frees the job for its next try (WORK-1).
            let outcome = done(&mut state).inspect_err(|_| self.changed.notify_all())?;
            if let Some(outcome) = outcome {
                return Ok(outcome);
            }
            state = self.changed.wait(state);
        }
    }

    /// Waits for the slot of `task` and runs `job` in it.
    ///
    /// # Errors
    /// Of the job; [`Error::Closed`] when the store is being closed.
    pub fn run_alone(&self, task: Task, job: impl FnOnce() -> Result<()>) -> Result<()> {
        let slot = self.wait(|state| {
            state.failed[task as usize] = None; // This is the next try (WORK-1).
            Ok(self.take(state, task, || true))
        })?;
        let outcome = job();
        drop(slot);
        outcome
    }

    /// Runs `job` in the slot of `task` for as long as it is due and the slot is free.
    ///
    /// # Errors
    /// Of the job.
    pub fn run_due(
        &self,
        task: Task,
        due: impl Fn() -> bool,
        job: impl Fn() -> Result<()>,
    ) -> Result<()> {
        loop {
            let slot = self.take(&mut self.state.lock(), task, &due);
            let Some(_slot) = slot else { return Ok(()) };
            job()?;
        }
    }

    /// Takes the slot of `task` if it is free and `due` says so.
    fn take(&self, state: &mut State, task: Task, due: impl FnOnce() -> bool) -> Option<Slot<'_>> {
        if !state.may_start(task) || !due() {
            return None;
        }
        state.running[task as usize] = true;
        Some(Slot { work: self, task, unwinding: panicking() })
    }

    /// The body of a background thread: runs `job` whenever it is due, until the store closes.
    pub fn serve(&self, task: Task, due: impl Fn() -> bool, job: impl Fn() -> Result<()>) {
        while let Ok(slot) = self.wait(|state| Ok(self.take(state, task, &due))) {
            if let Err(error) = job() {
                self.state.lock().failed[task as usize] = Some(error);
            }
            drop(slot);
        }
    }
}

/// Starts the threads that serve `store`.
///
/// # Errors
/// If the system has no thread to give.
pub(crate) fn start(store: &Arc<Store>) -> Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::new();
    for task in TASKS {
        let name = match task {
            Task::Flush => "stratalog-flush",
            Task::Compact => "stratalog-compact",
        };
        let served = store.clone();
        let body = move || served.work.serve(task, || served.is_due(task), || served.run(task));
        threads
            .push(spawn(name, body).map_err(|e| Error::io("start a thread for", &store.dir, e))?);
    }
    Ok(threads)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn nobody_waits_for_a_job_that_panicked() {
        let work = Work::default();
        let job = || -> Result<()> { panic!("on purpose") };
        let alone = catch_unwind(AssertUnwindSafe(|| work.run_alone(Task::Compact, job)));
        assert!(alone.is_err());
        assert!(!work.state.lock().is_running(Task::Compact), "WORK-2");
        let idle = work.wait(|_| Ok(None::<()>));
        assert!(matches!(idle, Err(Error::Closed)));
    }
}
