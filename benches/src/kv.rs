//! The suite `kv`, one thread: fill with random keys, get, scan.
//!
//! | step | is |
//! |---|---|
//! | `fill` | every key put once, in random order: the puts alone |
//! | `fill + settle` | the same with the flush and compaction that it caused, until none is left |
//! | `get` | random existing keys, each value compared whole |
//! | `scan` | all entries in order, again and again for two seconds; order, number and sum checked |
//!
//! `fill` runs in one process; `get` and `scan` in a second one, which opens the store again and first
//! gets every key once, to check it and to warm the caches.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::data::{Key, checksum, checksum_of_all, key, mix, shuffled, value};
use crate::engine::{self, Config, Engine};
use crate::meter::{Meter, Step, histogram, peak_bytes};

/// Entries at scale 1.
pub const ENTRIES: u64 = 2_000_000;

/// What a process of its own does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Which part.
    pub part: Part,
    /// On a store of which engine.
    pub engine: String,
    /// Where.
    pub dir: PathBuf,
    /// Set up how.
    pub config: Config,
    /// Entries in the store.
    pub entries: u64,
}

/// A part of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the module says it")]
pub enum Part {
    Fill,
    Read,
}

/// What it found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Done {
    /// Figures of each step.
    pub steps: Vec<Step>,
    /// The most memory resident, all told.
    pub peak_bytes: u64,
}

/// Does `task` in this process.
///
/// # Errors
/// The engine's, or a wrong answer.
pub fn perform(task: &Task) -> Outcome<Done> {
    let store = open(task, &task.dir)?;
    let steps = match task.part {
        Part::Fill => fill(&*store, task.entries)?,
        Part::Read => {
            warm_up(&*store, task.entries)?;
            vec![get(&*store, task.entries)?, scan(&*store, task.entries)?]
        }
    };
    store.close()?;
    Ok(Done { steps, peak_bytes: peak_bytes()? })
}

fn open(task: &Task, dir: &Path) -> Outcome<Box<dyn Engine>> {
    engine::open(&task.engine, dir, &task.config)
}

fn fill(store: &dyn Engine, entries: u64) -> Outcome<Vec<Step>> {
    let mut latency = histogram()?;
    let meter = Meter::start()?;
    let mut last = Instant::now();
    for index in 0..entries {
        let key = key(index);
        store.put(&key, &value(&key))?;
        let now = Instant::now();
        latency.saturating_record((now - last).as_nanos() as u64);
        last = now;
    }
    let filled = meter.step("fill", entries, last, Some(&latency))?;
    let settled = store.settle()?;
    Ok(vec![filled, meter.step("fill + settle", entries, settled, None)?])
}

fn warm_up(store: &dyn Engine, entries: u64) -> Outcome<()> {
    for index in shuffled(entries) {
        get_one(store, &key(index))?;
    }
    Ok(())
}

fn get(store: &dyn Engine, entries: u64) -> Outcome<Step> {
    let gets = entries.div_ceil(2);
    let mut latency = histogram()?;
    let meter = Meter::start()?;
    let mut last = Instant::now();
    for draw in 0..gets {
        get_one(store, &key(mix(!draw) % entries))?;
        let now = Instant::now();
        latency.saturating_record((now - last).as_nanos() as u64);
        last = now;
    }
    meter.step("get", gets, last, Some(&latency))
}

fn get_one(store: &dyn Engine, key: &Key) -> Outcome<()> {
    let mut right = false;
    store.get(key, &mut |found| right = found == value(key))?;
    if right { Ok(()) } else { Err(format!("key {key:02x?} has no or a wrong value").into()) }
}

fn scan(store: &dyn Engine, entries: u64) -> Outcome<Step> {
    let expected = checksum_of_all(0..entries);
    let least = Duration::from_secs(2).mul_f64((entries as f64 / ENTRIES as f64).min(1.0));
    let meter = Meter::start()?;
    let start = Instant::now();
    let mut scanned = 0;
    while start.elapsed() < least {
        let (mut count, mut sum, mut ordered) = (0, 0u64, true);
        let mut last: Option<u128> = None;
        store.scan(&mut |key, value| {
            let key = key.first_chunk().map(|key| u128::from_be_bytes(*key));
            ordered &= last < key;
            last = key;
            count += 1;
            sum = sum.wrapping_add(checksum(value));
        })?;
        if (count, sum, ordered) != (entries, expected, true) {
            return Err(format!(
                "scan met {count} of {entries} entries, in order: {ordered}, \
                                values right: {}",
                sum == expected
            )
            .into());
        }
        scanned += count;
    }
    meter.step("scan", scanned, Instant::now(), None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Durability, OURS};

    #[test]
    fn the_suite_runs_small() {
        let dir = std::env::temp_dir().join(format!("stratalog-benches-{}", std::process::id()));
        let mut task = Task {
            part: Part::Fill,
            engine: OURS.to_owned(),
            dir: dir.clone(),
            config: Config { memtable_bytes: 128 << 10, ..Config::new(Durability::Process) },
            entries: 5_000,
        };
        let filled = perform(&task).unwrap();
        assert_eq!(filled.steps.len(), 2);
        task.part = Part::Read;
        let read = perform(&task).unwrap();
        assert!(read.steps.iter().all(|step| step.ops >= 2_500 && step.seconds > 0.0));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
