//! The threads of a log. Each sleeps until an alarm is raised; an idle log uses no processor time.
//!
//! | thread | raised by | does |
//! |---|---|---|
//! | `stratalog-wal-write` | appends of the backends with a thread, those who await or are called back | writes what waits |
//! | `stratalog-wal-sync` | appends of the classes `Interval` and `Sync`, much that is not durable, those who await or are called back | writes and syncs |
//! | `stratalog-wal-files` | its start, a segment that fills or is full, its age | makes files ahead, seals by age, removes what retention does not keep, looks at the log's size |
//!
//! If one dies, its work is done by callers (LOG-4), or not at all (files ahead); the health says so.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use stratalog_base::sync::{
    AtomicU8, Condvar, Instant, JoinHandle, Mutex, Ordering, ThreadId, current, heavy_fence, spawn,
};
use stratalog_base::{Error, Result};

use crate::alarm::Wake;
use crate::core::Core;
use crate::stats::{Cause, Health};

/// How long a log that is dropped waits for a thread in the midst of a call.
const DROP_LIMIT: Duration = Duration::from_secs(1);

/// How a thread is.
#[derive(Debug, Default)]
pub struct Pulse(AtomicU8);

const STOPPED: u8 = 0;
const RUNNING: u8 = 1;
const DEAD: u8 = 2;

impl Pulse {
    /// Notes how it is.
    pub fn set(&self, health: Health) {
        let health = match health {
            Health::Stopped => STOPPED,
            Health::Running => RUNNING,
            Health::Dead => DEAD,
        };
        self.0.store(health, Ordering::Release);
    }

    /// How it is.
    pub fn health(&self) -> Health {
        match self.0.load(Ordering::Acquire) {
            STOPPED => Health::Stopped,
            RUNNING => Health::Running,
            _ => Health::Dead,
        }
    }

    /// Whether it does its work.
    pub fn is_running(&self) -> bool {
        self.health() == Health::Running
    }
}

/// How the threads are.
#[derive(Debug, Default)]
pub struct Roll {
    pub write: Pulse,
    pub sync: Pulse,
    pub files: Pulse,
    /// How many run, and whether that has changed.
    running: (Mutex<usize>, Condvar),
}

const WRITE: &str = "stratalog-wal-write";
const SYNC: &str = "stratalog-wal-sync";
const FILES: &str = "stratalog-wal-files";

impl Roll {
    fn one_begins(&self) {
        *self.running.0.lock() += 1;
    }

    fn one_ends(&self) {
        *self.running.0.lock() -= 1;
        self.running.1.notify_all();
    }

    /// Waits until all have ended, at most until `deadline`; whether they have.
    fn wait_ended(&self, deadline: Instant) -> bool {
        let (running, changed) = &self.running;
        let mut running = running.lock();
        while *running > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            running = changed.wait_timeout(running, left).0;
        }
        true
    }

    /// All, by name.
    pub fn list(&self) -> [(&'static str, Health); 3] {
        [(WRITE, &self.write), (SYNC, &self.sync), (FILES, &self.files)]
            .map(|(name, pulse)| (name, pulse.health()))
    }
}

/// The threads' handles.
#[derive(Debug, Default)]
pub struct Threads {
    ids: Vec<ThreadId>,
    /// Locked while they are waited for, so that all who close wait.
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// Starts those that the options ask for.
    ///
    /// # Errors
    /// If the system refuses; those started end by [`stop`].
    pub fn start(core: &Arc<Core>) -> Result<Threads> {
        let options = &core.options;
        let files = options.segments_ahead
            || options.segment_age.is_some()
            || options.alert_listener.is_some() // It is told of the log's size.
            || options.retention != crate::Retention::Everything;
        Threads::start_some(core, true, true, files)
    }

    /// The same for those that are chosen here.
    ///
    /// # Errors
    /// As [`Threads::start`].
    pub fn start_some(
        core: &Arc<Core>,
        writes: bool,
        syncs: bool,
        makes_files: bool,
    ) -> Result<Threads> {
        let mut threads = Threads::default();
        let mut run = |wanted, name, pulse, body| match wanted {
            true => threads.run(core, name, pulse, body),
            false => Ok(()),
        };
        let started = run(writes, WRITE, |roll| &roll.write, write)
            .and_then(|()| run(syncs, SYNC, |roll| &roll.sync, sync))
            .and_then(|()| run(makes_files, FILES, |roll| &roll.files, files_step));
        if let Err(error) = started {
            stop(core);
            return Err(error);
        }
        Ok(threads)
    }

    fn run(
        &mut self,
        core: &Arc<Core>,
        name: &'static str,
        pulse: fn(&Roll) -> &Pulse,
        body: fn(&Core),
    ) -> Result<()> {
        pulse(&core.threads).set(Health::Running);
        core.threads.one_begins();
        let thread = {
            let core = core.clone();
            move || {
                // What it had in hand is guarded where it is: a group whose leader panics has failed.
                let ended = catch_unwind(AssertUnwindSafe(|| body(&core)));
                let health = if ended.is_ok() { Health::Stopped } else { Health::Dead };
                pulse(&core.threads).set(health);
                // Pairs with that in `Core::appended`: who still finds the thread running has its place, which is
                // seen here.
                heavy_fence();
                if health == Health::Dead {
                    // Those who count on it by now are served once more; later ones serve themselves.
                    let serve = || _ = core.durable_to(core.reserved(), None, Cause::Age);
                    _ = catch_unwind(AssertUnwindSafe(serve));
                    core.alerts.thread_died(name);
                }
                core.threads.one_ends();
            }
        };
        let handle = spawn(name, thread).map_err(|e| {
            core.threads.one_ends();
            Error::io("start a thread of", core.files.dir(), e)
        })?;
        self.ids.push(handle.thread().id());
        self.handles.lock().push(handle);
        Ok(())
    }

    /// Waits until they have ended, unless the caller is one of them, who calls somebody back.
    pub fn join(&self) {
        if !self.is_here() {
            self.handles.lock().drain(..).for_each(|thread| _ = thread.join());
        }
    }

    /// The same, but no longer than [`DROP_LIMIT`]: a thread in a call that does not return is left.
    pub fn join_or_leave(&self, core: &Core) {
        if !self.is_here() && core.threads.wait_ended(Instant::now() + DROP_LIMIT) {
            self.join();
        }
    }

    fn is_here(&self) -> bool {
        self.ids.contains(&current().id())
    }
}

/// Tells the threads to end.
pub fn stop(core: &Core) {
    for alarm in [&core.write_alarm, &core.sync_alarm, &core.files_alarm] {
        alarm.stop();
    }
}

fn write(core: &Core) {
    while core.write_alarm.wait(None) == Wake::Raised {
        let cause = core.batch_cause();
        // A failure has stopped the log, which tells everyone who asks.
        while let Some(target) = core.unwritten() {
            if core.write_to(target, None, cause).is_err() {
                break;
            }
        }
    }
}

fn sync(core: &Core) {
    while core.sync_alarm.wait(None) == Wake::Raised {
        // A failure has stopped the log, which tells everyone who asks.
        _ = core.durable_to(core.reserved(), None, Cause::Age);
    }
}

fn files_step(core: &Core) {
    // Nobody may write for long, and what was found may be too much.
    let mut next = core.options.segment_age.into_iter().chain(core.keep_to_limits()).min();
    loop {
        let deadline = next.and_then(|after| Instant::now().checked_add(after));
        if core.files_alarm.wait(deadline) == Wake::Stopped {
            return;
        }
        next = core.step_files();
    }
}
