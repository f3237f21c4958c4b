//! [`Beside`]: a thread that overwrites random keys for as long as a step of other threads takes.
//!
//! **Flat out**, it is as fast as it can, so an engine with a fast writer gives its readers more to do,
//! and fewer cores to do it on. **Paced**, it puts as often for every engine: each millisecond it does the
//! puts that have come due since it began, one by one, and sleeps. What a slow put held up it catches up with;
//! an engine that cannot do so many puts shows that by the rate that it reached.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{CHECKED, Sizes, VALUE_BYTES};
use crate::Outcome;
use crate::check::{get, put};
use crate::data::{KEY_BYTES, key};
use crate::draw::Rng;
use crate::engine::Engine;
use crate::record::Step;
use crate::report::format::si;

/// What a paced writer puts a second in the base shape; larger values less often, so that it is as many bytes.
const PUTS_PER_SECOND: usize = 100_000;
/// How long a paced writer sleeps once it has done what was due.
const NAP: Duration = Duration::from_millis(1);

/// See the module page.
#[derive(Clone, Copy, Debug)]
pub struct Beside {
    /// Puts due a second; without, as many as can be.
    pace: Option<f64>,
    seed: u64,
}

/// What the thread did.
struct Written {
    puts: u64,
    seconds: f64,
}

impl Beside {
    /// A writer as fast as it can be.
    pub fn flat_out() -> Beside {
        Beside { pace: None, seed: 5 }
    }

    /// One that puts as often for every engine.
    pub fn paced(value_bytes: usize) -> Beside {
        let (base, own) = (KEY_BYTES + VALUE_BYTES, KEY_BYTES + value_bytes);
        Beside { pace: Some((PUTS_PER_SECOND * base / own) as f64), seed: 7 }
    }

    /// Whether it puts as often for every engine.
    pub fn is_paced(self) -> bool {
        self.pace.is_some()
    }

    /// What a step of readers beside it is called.
    pub fn step_name(self) -> String {
        let pace = self.pace.map(|puts| format!(" {}/s", si(puts)));
        format!("read while writing{}", pace.unwrap_or_default())
    }

    /// Does `work` while the thread writes; then checks what it wrote last, and adds its rate to the step.
    pub fn during(
        self,
        store: &dyn Engine,
        sizes: &Sizes,
        work: impl FnOnce() -> Outcome<Step>,
    ) -> Outcome<Step> {
        let stop = AtomicBool::new(false);
        let (step, written) = thread::scope(|scope| {
            let writer = scope.spawn(|| self.write(store, sizes, &stop));
            let step = work();
            stop.store(true, Ordering::Relaxed);
            (step, writer.join())
        });
        let (mut step, written) = (step?, written.map_err(|_| "the writer panicked")??);
        step.figure("writes/s beside", written.puts as f64 / written.seconds);
        self.check(store, sizes, written.puts)?;
        Ok(step)
    }

    fn draws(self) -> Rng {
        Rng::new(self.seed, 0)
    }

    /// Puts until `stop`; the version of a put is its number, from 1.
    fn write(self, store: &dyn Engine, sizes: &Sizes, stop: &AtomicBool) -> Outcome<Written> {
        let (mut rng, mut value, mut puts) = (self.draws(), Vec::new(), 0);
        let start = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            if self.pace.is_some_and(|pace| puts >= due(pace, start.elapsed())) {
                thread::sleep(NAP);
                continue;
            }
            puts += 1;
            put(store, sizes.values, &key(rng.below(sizes.entries)), puts, &mut value)?;
        }
        Ok(Written { puts, seconds: start.elapsed().as_secs_f64() })
    }

    /// Every key that one of the last of `puts` puts wrote has the version of the last of these.
    fn check(self, store: &dyn Engine, sizes: &Sizes, puts: u64) -> Outcome<()> {
        for (index, version) in self.last_versions(sizes.entries, puts) {
            let found = get(store, sizes.values, &key(index))?;
            if found != version {
                return Err(format!("a key has version {found}, not its last, {version}").into());
            }
        }
        Ok(())
    }

    fn last_versions(self, entries: u64, puts: u64) -> HashMap<u64, u64> {
        let mut rng = self.draws();
        let draws = (1..=puts).map(|version| (rng.below(entries), version));
        draws.skip(puts.saturating_sub(CHECKED) as usize).collect()
    }
}

/// Puts that are due after `elapsed`.
fn due(pace: f64, elapsed: Duration) -> u64 {
    (elapsed.as_secs_f64() * pace) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paced_writer_writes_as_many_bytes_whatever_the_values() {
        let names = [100, 1 << 10, 16 << 10].map(|bytes| Beside::paced(bytes).step_name());
        assert_eq!(
            names,
            ["100 k/s", "11.2 k/s", "707/s"].map(|n| format!("read while writing {n}"))
        );
        assert_eq!(Beside::flat_out().step_name(), "read while writing");
    }

    #[test]
    fn puts_come_due_evenly_from_the_start() {
        let due = |millis| due(707.0, Duration::from_millis(millis));
        assert_eq!([0, 1, 2, 1_000, 10_000].map(due), [0, 0, 1, 707, 7_070]);
    }

    #[test]
    fn the_last_version_of_a_key_is_that_of_its_last_put() {
        let writer = Beside::flat_out();
        let last = writer.last_versions(1_000, CHECKED + 500);
        assert_eq!(last.len(), 1_000);
        assert_eq!(last.values().max(), Some(&(CHECKED + 500)));
        let mut rng = writer.draws();
        let mut all = HashMap::new();
        for version in 1..=CHECKED + 500 {
            all.insert(rng.below(1_000), version);
        }
        assert_eq!(last, all);
    }
}
