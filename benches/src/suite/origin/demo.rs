//! The workload `L-demo`: puts at a given pace onto small memtables and tables, so that flushes and
//! compactions run all the time, and how late a put is while they do.
//!
//! The original puts random keys below 100,000, written as decimal numbers, with 128 bytes `x`, for
//! 60 s. Its driver does at most one put a millisecond, whatever pace is asked for; here the loop is
//! open: each put is due at its time, and its latency runs from then. Windows are of 250 ms, as its
//! samples were.
//!
//! | case | step | is | ends |
//! |---|---|---|---|
//! | as published | `5000/s` | one thread puts at that pace | a minute's worth done |
//! | ×100 | `fill` | 100 times as many puts of keys below 10 million, in batches of 1,000 | all done |
//! | | `5000/s` | the same pace onto the larger tree | five step times' worth done |
//! | | `50000/s` | ten times the pace; not with class `Sync`, where a thread waits for each sync | as above |
//!
//! 100 times the pace is more than one thread puts into any engine, and 100 times the time would be a
//! quarter of an hour: so it is the tree that is 100 times as large. A step that falls behind is cut at
//! twice its time.

use std::time::Duration;

use crate::Outcome;
use crate::data::Batch;
use crate::draw::Rng;
use crate::engine::{self, Config, Durability, Engine};
use crate::plan::Plan;
use crate::suite::Cell;

const KEYS: u64 = 100_000;
const VALUE: [u8; 128] = [b'x'; 128];
const PUTS_PER_SECOND: u64 = 5_000;
const WINDOW: Duration = Duration::from_millis(250);
/// Step times that a paced step takes on the larger tree, and that the fill takes at most.
const STEPS: u32 = 5;
/// Step times, of 2 s, in a minute.
const PUBLISHED_STEPS: u32 = 30;
/// Puts in each batch of the fill.
const BATCH: u64 = 1_000;
/// Least windows of a step, however short.
const LEAST_WINDOWS: u32 = 4;

fn config(class: Durability) -> Config {
    Config { memtable_bytes: 200_000, table_bytes: 1_000_000, ..Config::new(class) }
}

/// How many puts the step at the published pace has: for a minute, as published, or, once the tree is
/// larger, for five step times.
fn puts(plan: &Plan, times: u64) -> u64 {
    let steps = if times == 1 { PUBLISHED_STEPS } else { STEPS };
    let seconds = (plan.step * steps).as_secs_f64();
    plan.scaled((PUTS_PER_SECOND as f64 * seconds) as u64, PUTS_PER_SECOND / 50)
}

/// Paces of the paced steps.
fn paces(class: Durability, times: u64) -> &'static [u64] {
    match class {
        _ if times == 1 => &[PUTS_PER_SECOND],
        Durability::Sync => &[PUTS_PER_SECOND],
        _ => &[PUTS_PER_SECOND, 10 * PUTS_PER_SECOND],
    }
}

/// Sizes and settings in words.
pub fn about(plan: &Plan, class: Durability, times: u64) -> String {
    let seconds = puts(plan, times) as f64 / PUTS_PER_SECOND as f64;
    let fill = match times {
        1 => String::new(),
        _ => format!(", after {} puts at full speed", times * puts(plan, times)),
    };
    format!("keys below {}, {seconds:.1} s{fill}; {}", times * KEYS, config(class))
}

/// Measures the case that is `times` as large as published.
pub fn run(cell: &mut Cell, class: Durability, times: u64) -> Outcome<()> {
    let store = engine::open(cell.subject, &cell.dir, &config(class))?;
    let mut seen = Seen::new(times * KEYS);
    if times > 1 {
        fill(cell, &*store, times * puts(cell.plan, times), &mut seen)?;
    }
    for (seed, pace) in (1..).zip(paces(class, times)) {
        let count = puts(cell.plan, times) * pace / PUTS_PER_SECOND;
        paced(cell, &*store, (seed, count), *pace, &mut seen)?;
    }
    seen.check(&*store)
    // Dropped unsettled: nothing reads it again.
}

/// Puts random keys as fast as it goes.
fn fill(cell: &mut Cell, store: &dyn Engine, count: u64, seen: &mut Seen) -> Outcome<()> {
    let keys = seen.keys;
    let limit = cell.plan.limit.min(cell.plan.step * STEPS);
    let measure = cell.measure("fill").writing(store).pace(None).calls(count.div_ceil(BATCH));
    let step = measure.within(limit).run(|_| {
        let (mut rng, mut batch) = (Rng::new(0, 0), Batch::default());
        move |_| {
            batch.clear();
            for _ in 0..BATCH {
                batch.push(rng.below(keys).to_string().as_bytes(), &VALUE);
            }
            store.write(0, &batch)?;
            Ok(BATCH)
        }
    })?;
    seen.add(0, step.ops);
    cell.steps.push(step);
    Ok(())
}

/// Does so many puts at `pace`.
fn paced(
    cell: &mut Cell,
    store: &dyn Engine,
    (seed, count): (u64, u64),
    pace: u64,
    seen: &mut Seen,
) -> Outcome<()> {
    let keys = seen.keys;
    let time = Duration::from_secs_f64(count as f64 / pace as f64);
    let measure = cell.measure(format!("{pace}/s")).writing(store).pace(Some(pace as f64));
    let measure = measure.window(WINDOW.min(time / LEAST_WINDOWS)).calls(count).within(time * 2);
    let step = measure.run(|_| {
        let mut rng = Rng::new(seed, 0);
        move |_| {
            store.put(rng.below(keys).to_string().as_bytes(), &VALUE)?;
            Ok(1)
        }
    })?;
    seen.add(seed, step.ops);
    cell.steps.push(step);
    Ok(())
}

/// Which keys were put: drawn again after the step, so as not to cost memory during it.
struct Seen {
    keys: u64,
    /// Seed and number of draws of each step.
    steps: Vec<(u64, u64)>,
}

impl Seen {
    /// None of `keys` keys.
    fn new(keys: u64) -> Seen {
        Seen { keys, steps: Vec::new() }
    }

    fn add(&mut self, seed: u64, draws: u64) {
        self.steps.push((seed, draws));
    }

    /// Scans for every key that was drawn, and no other.
    fn check(&self, store: &dyn Engine) -> Outcome<()> {
        let mut missing = vec![false; self.keys as usize];
        for (seed, draws) in &self.steps {
            let mut rng = Rng::new(*seed, 0);
            (0..*draws).for_each(|_| missing[rng.below(self.keys) as usize] = true);
        }
        let mut right = true;
        store.scan(&[], usize::MAX, &mut |key, value| {
            let number = std::str::from_utf8(key).ok().and_then(|text| text.parse::<usize>().ok());
            let expected = number.and_then(|number| missing.get_mut(number));
            // Met twice, or written in another way, it is none that is missing.
            right &= expected.is_some_and(std::mem::take) && value == VALUE;
            right &= number.is_some_and(|number| number.to_string().as_bytes() == key);
        })?;
        let missing = missing.into_iter().filter(|missing| *missing).count();
        if right && missing == 0 {
            Ok(())
        } else {
            Err(format!("a scan met what was not put, or missed keys: {missing}").into())
        }
    }
}
