//! [`Measure`]: threads that do the same work until there is reason to stop, and what it cost.
//!
//! In a closed loop each thread calls as soon as its last call has returned, and a call's latency is
//! its own time. In an open loop ([`Plan::calls_per_second`]) calls are due at fixed times, whatever the
//! subject does, and a call's latency runs from when it was due: what waited behind a slow call counts
//! as slow, too (G. Tene's "coordinated omission").

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use stratalog_base::sync::Padded;

use crate::Outcome;
use crate::engine::{Durability, Engine};
use crate::latency::{Recorder, Windows};
use crate::meter::{Meter, disk_bytes};
use crate::plan::Plan;
use crate::record::{ShapeAt, Step};

/// How often the step is looked at, and how long a window is unless said otherwise.
const TICK: Duration = Duration::from_millis(100);
/// Least parts of the step time that a steady step takes, and the parts that must agree.
const STEADY_TICKS: usize = 5;
/// How far the rates of these ticks may lie from their mean.
const STEADY_WITHIN: f64 = 0.03;

/// A step to be measured.
pub struct Measure<'a> {
    name: String,
    unit: &'static str,
    class: Option<Durability>,
    threads: usize,
    /// The step ends after so many calls of all threads together,
    calls: u64,
    /// or at this time,
    deadline: Duration,
    /// or once its rate is steady.
    until_steady: bool,
    /// Whether the deadline cuts work that has to be done.
    cut_at_deadline: bool,
    /// Calls a second of all threads together, in an open loop.
    pace: Option<f64>,
    tick: Duration,
    window: Duration,
    plan: &'a Plan,
    dir: &'a Path,
    engine: Option<&'a dyn Engine>,
}

/// What all threads of a step share.
struct Shared {
    ready: Barrier,
    /// When the first thread went.
    begun: OnceLock<Instant>,
    stop: AtomicBool,
    running: AtomicUsize,
    /// Woken by each thread that ends.
    controller: Thread,
    /// Calls and units done by each thread, for the controller.
    done: Vec<Padded<AtomicU64>>,
    windows: Windows,
}

impl<'a> Measure<'a> {
    pub(crate) fn new(name: impl Into<String>, plan: &'a Plan, dir: &'a Path) -> Measure<'a> {
        let tick = TICK.min(plan.step / 20).max(Duration::from_millis(1));
        Measure {
            name: name.into(),
            unit: "op",
            class: None,
            threads: 1,
            calls: u64::MAX,
            deadline: plan.step,
            until_steady: false,
            cut_at_deadline: false,
            pace: plan.calls_per_second,
            tick,
            window: tick,
            plan,
            dir,
            engine: None,
        }
    }

    /// What is counted; "op" unless said.
    pub fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// The class that the subject promises for writes.
    pub fn class(mut self, class: Durability) -> Self {
        self.class = Some(class);
        self
    }

    /// How many threads do the work; 1 unless said.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// The step ends after `calls` calls of all threads together, thread `t` of `n` doing calls `t`,
    /// `t + n`, …; at the plan's limit it is cut, and says so.
    pub fn calls(mut self, calls: u64) -> Self {
        self.deadline = self.plan.limit;
        self.cut_at_deadline = true;
        self.at_most(calls)
    }

    /// As [`Measure::calls`], for what later steps need whole: as fast as it goes, and with more time.
    pub fn load(self, calls: u64) -> Self {
        let limit = self.plan.limit * 10;
        self.pace(None).calls(calls).within(limit)
    }

    /// The step ends at `deadline` instead.
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// An open loop of so many calls a second, or none, instead of the plan's.
    pub fn pace(mut self, calls_per_second: Option<f64>) -> Self {
        self.pace = calls_per_second;
        self
    }

    /// The step ends at the plan's step time, or after `calls` calls if that is sooner.
    pub fn at_most(mut self, calls: u64) -> Self {
        self.calls = calls;
        self
    }

    /// The step ends early once its rate is steady: for work that does not change what it works on.
    pub fn until_steady(mut self) -> Self {
        self.until_steady = true;
        self
    }

    /// The length of a window; a tenth of a second unless said.
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// The work reads from `engine`: shape and bytes written are taken from it.
    pub fn reading(mut self, engine: &'a dyn Engine) -> Self {
        self.engine = Some(engine);
        self
    }

    /// The work writes to `engine`: as [`Measure::reading`], and with its class.
    pub fn writing(self, engine: &'a dyn Engine) -> Self {
        let class = engine.class();
        self.reading(engine).class(class)
    }

    /// Measures. `worker` makes the work of each thread, given its number, before the clock starts. The
    /// work is called with the number of the call (see [`Measure::calls`]) and returns how many units
    /// it did.
    ///
    /// # Errors
    /// The first failure of any call, or the kernel's.
    pub fn run<W>(self, worker: impl Fn(usize) -> W + Sync) -> Outcome<Step>
    where
        W: FnMut(u64) -> Outcome<u64>,
    {
        self.run_until(worker).map(|(step, _)| step)
    }

    /// As [`Measure::run`]; also when the last call returned.
    ///
    /// # Errors
    /// As [`Measure::run`].
    pub fn run_until<W>(self, worker: impl Fn(usize) -> W + Sync) -> Outcome<(Step, Instant)>
    where
        W: FnMut(u64) -> Outcome<u64>,
    {
        let shared = Shared {
            ready: Barrier::new(self.threads + 1),
            begun: OnceLock::new(),
            running: AtomicUsize::new(self.threads),
            controller: thread::current(),
            stop: AtomicBool::new(false),
            done: (0..self.threads).map(|_| Padded::default()).collect(),
            windows: Windows::default(),
        };
        let fs_written = self.fs_written();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads)
                .map(|number| {
                    let (this, shared, worker) = (&self, &shared, &worker);
                    scope.spawn(move || this.thread(number, shared, worker))
                })
                .collect();
            // All are ready; then, once the counters were read, all go.
            shared.ready.wait();
            let meter = Meter::start();
            shared.ready.wait();
            let start = *shared.begun.get_or_init(Instant::now);
            let shapes = self.control(&shared, start);
            let mut ends = Vec::new();
            for thread in threads {
                ends.push(thread.join().map_err(|_| "a thread panicked")??);
            }
            let cut = ends.iter().any(|end| end.cut);
            let end = ends.iter().map(|end| end.at).max().unwrap_or(start);
            let ops = shared.done.iter().map(|done| done.load(Ordering::Relaxed)).sum();
            let mut step = meter?.step(self.name.clone(), ops, end - start)?;
            (step.latency, step.windows) = shared.windows.summary(self.window, end - start)?;
            step.unit = self.unit.to_owned();
            step.threads = self.threads;
            step.class = self.class;
            step.pace = self.pace;
            step.cut = cut;
            step.shapes = shapes;
            step.disk_bytes = disk_bytes(self.dir)?;
            step.fs_written_bytes =
                self.fs_written().zip(fs_written).map(|(after, before)| after - before);
            Ok((step, end))
        })
    }

    /// Measures one call of `work` on this thread, which returns how many units it did.
    ///
    /// # Errors
    /// The call's, or the kernel's.
    pub fn once(self, work: impl FnOnce() -> Outcome<u64> + Send) -> Outcome<Step> {
        let work = Mutex::new(Some(work));
        let mut step = self.load(1).run(|_| {
            let mut work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
            move |_| work.take().map_or(Ok(0), |work| work())
        })?;
        step.latency = None;
        step.windows.clear();
        Ok(step)
    }

    fn fs_written(&self) -> Option<u64> {
        self.engine.and_then(Engine::written_bytes)
    }

    fn thread<W>(&self, number: usize, shared: &Shared, worker: impl Fn(usize) -> W) -> Outcome<End>
    where
        W: FnMut(u64) -> Outcome<u64>,
    {
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| worker(number)));
        // Whatever happens, the others must not wait for this thread for ever.
        shared.ready.wait();
        shared.ready.wait();
        let outcome = match made {
            Ok(mut work) => self.calls_of(number, shared, &mut work),
            Err(_) => Err("the preparation of a thread panicked".into()),
        };
        if outcome.is_err() {
            shared.stop.store(true, Ordering::Relaxed);
        }
        shared.running.fetch_sub(1, Ordering::Release);
        shared.controller.unpark();
        outcome
    }

    fn calls_of(
        &self,
        number: usize,
        shared: &Shared,
        work: &mut impl FnMut(u64) -> Outcome<u64>,
    ) -> Outcome<End> {
        let (number, threads) = (number as u64, self.threads as u64);
        let start = *shared.begun.get_or_init(Instant::now);
        let due = |call| self.pace.map(|pace| start + Duration::from_secs_f64(call as f64 / pace));
        let mut recorder = Recorder::new(&shared.windows, self.window, start)?;
        let (mut last, mut done) = (start, 0);
        let mut call = number;
        while call < self.calls && !shared.stop.load(Ordering::Relaxed) {
            if let Some(due) = due(call) {
                wait_until(due);
                last = due;
            }
            let units = work(call)?;
            let now = Instant::now();
            recorder.record(now, now - last, units);
            last = now;
            done += units;
            shared.done[number as usize].store(done, Ordering::Relaxed);
            call += threads;
        }
        let cut = self.cut_at_deadline && call < self.calls;
        // Calls that were due and never made have waited, too.
        let now = Instant::now();
        while let Some(due) = due(call).filter(|due| call < self.calls && *due < now) {
            recorder.record(now, now - due, 0);
            call += threads;
        }
        recorder.close_window();
        Ok(End { at: last, cut })
    }

    /// Decides when to stop and watches the tree's shape.
    fn control(&self, shared: &Shared, start: Instant) -> Vec<ShapeAt> {
        let mut shapes = Vec::new();
        let mut rates: Vec<f64> = Vec::new();
        let (mut then, mut before) = (start, 0);
        let mut watch = |at: Instant| {
            if let Some(shape) = self.engine.and_then(Engine::shape) {
                shapes.push(ShapeAt { seconds: (at - start).as_secs_f64(), shape });
            }
        };
        watch(start);
        while shared.running.load(Ordering::Acquire) > 0 && !shared.stop.load(Ordering::Relaxed) {
            thread::park_timeout(self.tick);
            let now = Instant::now();
            if now - start >= self.deadline {
                shared.stop.store(true, Ordering::Relaxed);
            }
            if now - then < self.tick {
                continue;
            }
            watch(now);
            let done: u64 = shared.done.iter().map(|done| done.load(Ordering::Relaxed)).sum();
            rates.push((done - before) as f64 / (now - then).as_secs_f64());
            (then, before) = (now, done);
            if self.until_steady && is_steady(&rates) {
                shared.stop.store(true, Ordering::Relaxed);
            }
        }
        watch(Instant::now());
        shapes
    }
}

/// When a thread ended, and whether it had more to do.
struct End {
    at: Instant,
    cut: bool,
}

/// Whether the rates of the last ticks agree, the first tick left out.
fn is_steady(rates: &[f64]) -> bool {
    if rates.len() <= STEADY_TICKS {
        return false;
    }
    let last = &rates[rates.len() - STEADY_TICKS..];
    let mean = last.iter().sum::<f64>() / last.len() as f64;
    mean > 0.0 && last.iter().all(|rate| (rate / mean - 1.0).abs() <= STEADY_WITHIN)
}

/// Waits for `due`: asleep while it is far. A thread sleeps too long by up to 60 µs, so the rest is spun;
/// what an open loop takes of the processor says nothing of the subject.
fn wait_until(due: Instant) {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        if left > Duration::from_micros(100) {
            thread::sleep(left - Duration::from_micros(80));
        } else {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            peers: Vec::new(),
            rounds: 1,
            scale: 1.0,
            durability: None,
            calls_per_second: None,
            step: Duration::from_millis(200),
            limit: Duration::from_millis(300),
        }
    }

    fn spin(time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn all_threads_share_the_calls() {
        let (plan, dir) = (plan(), std::env::temp_dir());
        let met = Mutex::new(Vec::new());
        let step = Measure::new("count", &plan, &dir).threads(3).calls(100).run(|_| {
            |call| {
                met.lock().unwrap().push(call);
                Ok(2)
            }
        });
        let step = step.unwrap();
        let mut met = met.into_inner().unwrap();
        met.sort_unstable();
        assert!(met.into_iter().eq(0..100));
        assert_eq!((step.ops, step.cut, step.latency.unwrap().calls), (200, false, 100));
        assert_eq!(step.windows.iter().map(|window| window.ops).sum::<u64>(), 200);
    }

    #[test]
    fn the_limit_cuts_a_step_and_says_so() {
        let (plan, dir) = (plan(), std::env::temp_dir());
        let measure = Measure::new("slow", &plan, &dir).calls(1_000_000);
        let step = measure
            .run(|_| {
                |_| {
                    Ok({
                        spin(Duration::from_millis(1));
                        1
                    })
                }
            })
            .unwrap();
        assert!(step.cut && step.ops < 1_000 && step.seconds >= 0.29, "{step:?}");
    }

    #[test]
    fn steady_work_ends_early_and_the_rest_in_time() {
        let (plan, dir) = (plan(), std::env::temp_dir());
        let run = |measure: Measure| measure.run(|_| |_| Ok(1)).unwrap().seconds;
        let whole = run(Measure::new("time", &plan, &dir));
        let steady = run(Measure::new("steady", &plan, &dir).until_steady());
        assert!(whole >= 0.2 && steady <= whole * 3.0, "{whole} {steady}");
    }

    #[test]
    fn rates_are_steady_when_they_agree() {
        assert!(!is_steady(&[1.0; STEADY_TICKS]));
        assert!(is_steady(&[9.0, 1.0, 1.01, 1.0, 0.99, 1.0]));
        assert!(!is_steady(&[9.0, 1.0, 1.0, 1.2, 1.0, 1.0]));
        assert!(!is_steady(&[0.0; 9]));
    }

    /// One call of 50 ms among calls that are due every millisecond delays the 50 after it.
    #[test]
    fn an_open_loop_counts_those_that_waited() {
        let plan = Plan { calls_per_second: Some(1_000.0), ..plan() };
        let dir = std::env::temp_dir();
        let step = Measure::new("open", &plan, &dir).calls(150).run(|_| {
            |call| {
                Ok({
                    if call == 20 {
                        spin(Duration::from_millis(50));
                    }
                    1
                })
            }
        });
        let latency = step.unwrap().latency.unwrap();
        assert!(latency.at(0.9) > 10_000.0 && latency.at(1.0) >= 50_000.0, "{latency:?}");
    }

    #[test]
    fn a_failed_call_ends_the_step() {
        let (plan, dir) = (plan(), std::env::temp_dir());
        let step = Measure::new("fail", &plan, &dir)
            .threads(2)
            .run(|thread| move |_| if thread == 1 { Err("no".into()) } else { Ok(1) });
        assert_eq!(step.unwrap_err().to_string(), "no");
    }
}
