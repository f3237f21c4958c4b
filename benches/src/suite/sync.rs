//! The suite `sync`: commits that survive a power cut, by one thread up to many.
//!
//! Each thread puts one entry after the other, 16 B + 100 B, under keys of its own, and each put is
//! durable when it returns. Where several threads wait at once, an engine can make one sync serve them
//! all. Then the process ends without closing the store, and in another one every acknowledged key must
//! be there.
//!
//! | step | an engine | `raw` |
//! |---|---|---|
//! | `1 thread` to `128 threads` | puts | each thread rewrites a part of a file of its own and calls `fdatasync` |
//! | `1 thread, growing file` | | appends to a file and calls `fdatasync` |
//!
//! The baseline [`raw`] is what the device does without an engine: with one thread the most that a log
//! can do which syncs for each commit, with more threads what the device gains from syncs of different
//! files at the same time. It is no upper bound for many threads: an engine that commits in groups needs
//! fewer syncs than commits.

use std::fs;

use crate::Outcome;
use crate::check::{Acknowledged, get, put};
use crate::data::{Values, key};
use crate::engine::{self, Config, Durability, Engine};
use crate::plan::Plan;
use crate::suite::{Case, Cell, Suite, threads_named};

mod raw;

/// The suite.
pub const SUITE: Suite =
    Suite { name: "sync", about: "durable commits by one thread up to many", cases, run };

const VALUE_BYTES: usize = 100;
const THREADS: [usize; 5] = [1, 4, 16, 64, 128];
/// Bits of a key's index below the number of its step.
const CALL_BITS: u32 = 40;

fn config(plan: &Plan) -> Config {
    Config::new(plan.class(Durability::Sync))
}

fn cases(plan: &Plan) -> Vec<Case> {
    let config = config(plan);
    let about = format!(
        "a commit is one put of 16 B + {VALUE_BYTES} B; `raw` is {} B and an fdatasync on a file for \
         each thread, no commits in groups; {config}",
        raw::BLOCK_BYTES
    );
    let mut case = Case::of_engines(plan, config.durability, "commits", about);
    if config.durability == Durability::Sync {
        case.subjects.insert(1, raw::NAME.to_owned());
    }
    case.parts = vec![COMMIT, READ];
    vec![case]
}

const COMMIT: &str = "commit";
const READ: &str = "read";

fn run(cell: &mut Cell) -> Outcome<()> {
    if cell.subject == raw::NAME {
        if cell.part == READ {
            return Ok(());
        }
        for threads in THREADS {
            raw::recycled(cell, threads_named(threads), threads)?;
        }
        return raw::growing(cell, "1 thread, growing file");
    }
    let (config, dir) = (config(cell.plan), cell.dir.join("store"));
    let notes = cell.dir.join("acknowledged");
    if cell.part == READ {
        let acknowledged: Vec<Vec<u64>> = serde_json::from_slice(&fs::read(notes)?)?;
        let store = engine::open(cell.subject, &dir, &config)?;
        let mut steps = acknowledged.iter().enumerate();
        return steps
            .try_for_each(|(number, calls)| read_back(&*store, first_index(number), calls));
    }
    fs::create_dir(&dir)?;
    let store = engine::open(cell.subject, &dir, &config)?;
    let mut acknowledged = Vec::new();
    for (number, threads) in THREADS.into_iter().enumerate() {
        acknowledged.push(commit(cell, &*store, first_index(number), threads)?);
    }
    fs::write(notes, serde_json::to_vec(&acknowledged)?)?;
    // Not closed: the process ends as if it had been killed.
    std::mem::forget(store);
    Ok(())
}

/// The index of the first key of step `number`.
fn first_index(number: usize) -> u64 {
    (number as u64) << CALL_BITS
}

fn values() -> Values {
    Values::random(VALUE_BYTES)
}

/// Commits until the step's time is over; returns how many commits of each thread were acknowledged.
fn commit(cell: &mut Cell, store: &dyn Engine, first: u64, threads: usize) -> Outcome<Vec<u64>> {
    let acknowledged = Acknowledged::new(threads);
    let measure = cell.measure(threads_named(threads)).unit("commit").writing(store);
    let step = measure.threads(threads).run(|thread| {
        let (acknowledged, mut value) = (&acknowledged, Vec::new());
        move |call| {
            put(store, values(), &key(first + call), 0, &mut value)?;
            acknowledged.count(thread);
            Ok(1)
        }
    })?;
    cell.steps.push(step);
    Ok(acknowledged.calls())
}

/// Gets every acknowledged key of a step in which thread `t` of `n` did calls `t`, `t + n`, ….
fn read_back(store: &dyn Engine, first: u64, calls: &[u64]) -> Outcome<()> {
    let threads = calls.len() as u64;
    for (thread, calls) in (0..).zip(calls) {
        for nth in 0..*calls {
            get(store, values(), &key(first + thread + threads * nth))?;
        }
    }
    Ok(())
}
