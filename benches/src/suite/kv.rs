//! The suite `kv`: every kind of read and write, in shapes that differ from the base in one thing each:
//! threads, bytes of a value, cache, compression.
//!
//! Base: 2 million entries (at scale 1) of 16 B random keys and 100 B values, one thread, a cache of
//! twice their bytes. With larger values there are fewer entries, of as many bytes.
//!
//! | step | is | ends |
//! |---|---|---|
//! | `fill sequential` | puts in order of keys, into a store of their own | step time |
//! | `fill batch 10`, `fill batch 100` | random keys in atomic batches, into a store of their own | step time |
//! | `fill random` | every key put once, in random order | all done |
//! | `fill random + settle` | the same with the flush and the compactions that it caused | none left |
//! | `overwrite` | puts of random existing keys | step time |
//! | `read random` | gets of random existing keys | steady |
//! | `read missing` | gets of keys that lie between existing ones but were never written | steady |
//! | `read Zipf 0.99` | gets of existing keys, some far more popular | steady |
//! | `scan` | all entries in order, again and again | step time |
//! | `seek + 10`, `seek + 100` | 10 or 100 entries from a random key on, an iterator each | steady |
//! | `read while writing` | random gets while one more thread overwrites, as fast as it can | step time |
//! | `read while writing 100 k/s` | the same while it puts so often for every engine; larger values less often, as many bytes | 5 step times |
//! | `compacted: read random`, `compacted: scan` | as above, with all in one run ([`Engine::compact`]) | as above |
//! | `delete` | deletes of distinct random keys | step time |
//!
//! The fills into stores of their own run in one process, `fill random` and `overwrite` in a second one,
//! the others in a third, which opens the settled store again and first gets every key once; so it does, settled,
//! before the paced `read while writing`, and after the compaction. Both of these print the writes that the thread beside made. Every value
//! is compared whole; a scan's order and number are checked; what was overwritten must have a later
//! version, what was deleted be gone, and a scan must find all of each fill.
//!
//! A call's latency takes reading the clock once, about 40 ns, which is part of each rate, too.

use std::fmt::Write as _;

use crate::Outcome;
use crate::check::{self, Acknowledged, get, put};
use crate::data::{self, Batch, Values, key, ordered_key, shuffled};
use crate::draw::{Rng, Zipf};
use crate::engine::{self, Config, Durability, Engine};
use crate::plan::Plan;
use crate::record::Step;
use crate::suite::{Case, Cell, Suite, threads_named};
use beside::Beside;

mod beside;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "kv",
    about: "every kind of read and write: threads, value sizes, cache and compression varied",
    cases,
    run,
};

/// Entries of the base shape at scale 1.
const ENTRIES: u64 = 2_000_000;
/// How many of a thread's writes are read again afterwards.
const CHECKED: u64 = 100_000;
/// Step times that reads beside a paced writer take: time for two flushes.
const PACED_STEPS: u32 = 5;
/// Bytes of a value in the base shape.
const VALUE_BYTES: usize = 100;

/// A case: the base shape, and what is different.
#[derive(Clone, Copy, Debug)]
struct Shape {
    name: &'static str,
    threads: usize,
    value_bytes: usize,
    /// Whether the cache holds a sixteenth of the data only.
    small_cache: bool,
    lz4: bool,
}

const BASE: Shape =
    Shape { name: "base", threads: 1, value_bytes: VALUE_BYTES, small_cache: false, lz4: false };

const SHAPES: &[Shape] = &[
    BASE,
    Shape { name: "2 threads", threads: 2, ..BASE },
    Shape { name: "16 threads", threads: 16, ..BASE },
    Shape { name: "1 KiB", value_bytes: 1 << 10, ..BASE },
    Shape { name: "16 KiB", value_bytes: 16 << 10, ..BASE },
    Shape { name: "cache 1/16", small_cache: true, ..BASE },
    Shape { name: "LZ4", lz4: true, ..BASE },
];

/// The sizes of a shape under a plan.
#[derive(Clone, Debug)]
struct Sizes {
    threads: usize,
    entries: u64,
    values: Values,
    config: Config,
}

impl Shape {
    fn sizes(&self, plan: &Plan) -> Sizes {
        let entry_bytes = |value| (data::KEY_BYTES + value) as u64;
        let entries = ENTRIES * entry_bytes(VALUE_BYTES) / entry_bytes(self.value_bytes);
        let entries = plan.scaled(entries, 500);
        let mut config = Config::scaled(plan, plan.class(Durability::Process));
        let data_bytes = entries * entry_bytes(self.value_bytes);
        // Twice the data has room for versions that compaction has not dropped yet.
        config.cache_bytes =
            if self.small_cache { (data_bytes / 16).max(64 << 10) } else { 2 * data_bytes };
        config.lz4 = self.lz4;
        let values = Values { bytes: self.value_bytes, half_blank: self.lz4 };
        Sizes { threads: self.threads, entries, values, config }
    }
}

fn cases(plan: &Plan) -> Vec<Case> {
    let case = |shape: &Shape| {
        let Sizes { threads, entries, values, config } = shape.sizes(plan);
        let mut about = format!("{entries} entries, 16 B random keys, {} B values", values.bytes);
        let blank = if values.half_blank { ", half of each blank" } else { "" };
        let _ = write!(about, "{blank}; {}; {config}", threads_named(threads));
        Case {
            parts: vec![FILL, WRITE, READ],
            ..Case::of_engines(plan, config.durability, shape.name, about)
        }
    };
    SHAPES.iter().map(case).collect()
}

const FILL: &str = "fill";
const WRITE: &str = "write";
const READ: &str = "read";

fn run(cell: &mut Cell) -> Outcome<()> {
    let shape = SHAPES.iter().find(|shape| shape.name == cell.case).ok_or("no such shape")?;
    let sizes = shape.sizes(cell.plan);
    match cell.part {
        FILL => fill(cell, &sizes),
        WRITE => write(cell, &sizes),
        _ => read(cell, &sizes),
    }
}

fn fill(cell: &mut Cell, sizes: &Sizes) -> Outcome<()> {
    fresh(cell, sizes, |cell, store| fill_sequential(cell, store, sizes))?;
    for count in [10, 100] {
        fresh(cell, sizes, |cell, store| fill_batches(cell, store, sizes, count))?;
    }
    Ok(())
}

fn write(cell: &mut Cell, sizes: &Sizes) -> Outcome<()> {
    let store = open(cell, sizes)?;
    fill_random(cell, &*store, sizes)?;
    overwrite(cell, &*store, sizes)?;
    store.settle()?;
    store.close()
}

fn read(cell: &mut Cell, sizes: &Sizes) -> Outcome<()> {
    let store = open(cell, sizes)?;
    let store = &*store;
    get_all(store, sizes)?;
    let entries = sizes.entries;
    read_random(cell, store, sizes, "read random")?;
    read_missing(cell, store, sizes)?;
    let zipf = Zipf::for_scrambling();
    read_keys(cell, store, sizes, "read Zipf 0.99", |rng| zipf.scrambled(rng, entries))?;
    scan(cell, store, sizes, "scan")?;
    for count in [10, 100] {
        seek(cell, store, sizes, count)?;
    }
    read_beside(cell, store, sizes, Beside::flat_out())?;
    store.settle()?;
    get_all(store, sizes)?;
    read_beside(cell, store, sizes, Beside::paced(sizes.values.bytes))?;
    store.settle()?;
    store.compact()?;
    get_all(store, sizes)?;
    read_random(cell, store, sizes, "compacted: read random")?;
    scan(cell, store, sizes, "compacted: scan")?;
    delete(cell, store, sizes)
    // Dropped unsettled: nothing reads it again.
}

/// Gets every key once: what caches have room for is in them afterwards.
fn get_all(store: &dyn Engine, sizes: &Sizes) -> Outcome<()> {
    for index in shuffled(sizes.entries) {
        get(store, sizes.values, &key(index))?;
    }
    Ok(())
}

fn open(cell: &Cell, sizes: &Sizes) -> Outcome<Box<dyn Engine>> {
    engine::open(cell.subject, &cell.dir, &sizes.config)
}

/// Does `work` with a store that begins empty, and checks that it holds what was put.
fn fresh(
    cell: &mut Cell,
    sizes: &Sizes,
    work: impl FnOnce(&mut Cell, &dyn Engine) -> Outcome<Step>,
) -> Outcome<()> {
    let store = open(cell, sizes)?;
    let step = work(cell, &*store)?;
    check::scan_all(&*store, sizes.values, step.ops)?;
    cell.steps.push(step);
    store.close()?;
    std::fs::remove_dir_all(&cell.dir)?;
    Ok(std::fs::create_dir(&cell.dir)?)
}

fn fill_sequential(cell: &Cell, store: &dyn Engine, sizes: &Sizes) -> Outcome<Step> {
    let measure = cell.measure("fill sequential").writing(store).threads(sizes.threads);
    measure.run(|_| {
        let mut value = Vec::new();
        move |call| {
            let key = ordered_key(call);
            sizes.values.make(&key, 0, &mut value);
            store.put(&key, &value)?;
            Ok(1)
        }
    })
}

fn fill_batches(cell: &Cell, store: &dyn Engine, sizes: &Sizes, batch_count: u64) -> Outcome<Step> {
    let measure = cell.measure(format!("fill batch {batch_count}"));
    measure.writing(store).threads(sizes.threads).run(|_| {
        let (mut batch, mut value) = (Batch::default(), Vec::new());
        move |call| {
            batch.clear();
            for index in call * batch_count..(call + 1) * batch_count {
                let key = key(index);
                sizes.values.make(&key, 0, &mut value);
                batch.push(&key, &value);
            }
            store.write(0, &batch)?;
            Ok(batch_count)
        }
    })
}

/// Puts every key; then, as a second step, the same with what it caused.
fn fill_random(cell: &mut Cell, store: &dyn Engine, sizes: &Sizes) -> Outcome<()> {
    let measure = cell.measure("fill random").writing(store).threads(sizes.threads);
    let filled = measure.load(sizes.entries).run_until(|_| {
        let mut value = Vec::new();
        move |call| {
            put(store, sizes.values, &key(call), 0, &mut value)?;
            Ok(1)
        }
    })?;
    cell.push_and_settle(store, filled)
}

fn overwrite(cell: &mut Cell, store: &dyn Engine, sizes: &Sizes) -> Outcome<()> {
    let acknowledged = Acknowledged::new(sizes.threads);
    let measure = cell.measure("overwrite").writing(store).threads(sizes.threads);
    let step = measure.run(|thread| {
        let (mut rng, mut value, acknowledged) = (Rng::new(1, thread), Vec::new(), &acknowledged);
        move |call| {
            put(store, sizes.values, &key(rng.below(sizes.entries)), call + 1, &mut value)?;
            acknowledged.count(thread);
            Ok(1)
        }
    })?;
    cell.steps.push(step);
    for (thread, calls) in acknowledged.calls().into_iter().enumerate() {
        let mut rng = Rng::new(1, thread);
        for _ in 0..calls.min(CHECKED) {
            if get(store, sizes.values, &key(rng.below(sizes.entries)))? == 0 {
                return Err("an overwritten key has its first value".into());
            }
        }
    }
    Ok(())
}

fn read_random(cell: &mut Cell, store: &dyn Engine, sizes: &Sizes, name: &str) -> Outcome<()> {
    read_keys(cell, store, sizes, name, |rng| rng.below(sizes.entries))
}

fn read_keys(
    cell: &mut Cell,
    store: &dyn Engine,
    sizes: &Sizes,
    name: &str,
    draw: impl Fn(&mut Rng) -> u64 + Sync,
) -> Outcome<()> {
    let measure = cell.measure(name).reading(store).threads(sizes.threads).until_steady();
    let step = measure.run(|thread| {
        let (mut rng, draw) = (Rng::new(2, thread), &draw);
        move |_| {
            get(store, sizes.values, &key(draw(&mut rng)))?;
            Ok(1)
        }
    })?;
    cell.steps.push(step);
    Ok(())
}

fn read_missing(cell: &mut Cell, store: &dyn Engine, sizes: &Sizes) -> Outcome<()> {
    let measure = cell.measure("read missing").reading(store).threads(sizes.threads);
    let step = measure.until_steady().run(|thread| {
        let mut rng = Rng::new(3, thread);
        move |_| {
            let (key, mut found) = (key(sizes.entries + rng.below(1 << 40)), false);
            store.get(&key, &mut |_| found = true)?;
            if found { Err("a key was found that was never written".into()) } else { Ok(1) }
        }
    })?;
    cell.steps.push(step);
    Ok(())
}

fn scan(cell: &mut Cell, store: &dyn Engine, sizes: &Sizes, name: &str) -> Outcome<()> {
    let measure = cell.measure(name).unit("entry").reading(store).threads(sizes.threads);
    let step = measure.run(|_| move |_| check::scan_all(store, sizes.values, sizes.entries))?;
    cell.steps.push(step);
    Ok(())
}

fn seek(cell: &mut Cell, store: &dyn Engine, sizes: &Sizes, count: u64) -> Outcome<()> {
    let greatest = (0..sizes.entries).map(key).max().ok_or("a store without entries")?;
    let measure = cell.measure(format!("seek + {count}")).reading(store).threads(sizes.threads);
    let step = measure.until_steady().run(|thread| {
        let mut rng = Rng::new(4, thread);
        move |_| {
            let from = key(rng.below(sizes.entries));
            check::seek(store, sizes.values, &from, count, &greatest)?;
            Ok(1)
        }
    })?;
    cell.steps.push(step);
    Ok(())
}

fn read_beside(cell: &mut Cell, store: &dyn Engine, sizes: &Sizes, writer: Beside) -> Outcome<()> {
    let mut measure = cell.measure(writer.step_name()).writing(store).threads(sizes.threads);
    if writer.is_paced() {
        measure = measure.within(cell.plan.step * PACED_STEPS);
    }
    let read = || {
        measure.run(|thread| {
            let mut rng = Rng::new(6, thread);
            move |_| {
                get(store, sizes.values, &key(rng.below(sizes.entries)))?;
                Ok(1)
            }
        })
    };
    let step = writer.during(store, sizes, read)?;
    cell.steps.push(step);
    Ok(())
}

fn delete(cell: &mut Cell, store: &dyn Engine, sizes: &Sizes) -> Outcome<()> {
    let (threads, acknowledged) = (sizes.threads, Acknowledged::new(sizes.threads));
    let measure = cell.measure("delete").writing(store).threads(threads);
    let step = measure.at_most(sizes.entries).run(|thread| {
        let acknowledged = &acknowledged;
        move |call| {
            store.delete(&key(call))?;
            acknowledged.count(thread);
            Ok(1)
        }
    })?;
    let mut found = false;
    for (thread, calls) in (0..).zip(acknowledged.calls()) {
        for nth in 0..calls.min(CHECKED) {
            store.get(&key(thread + threads as u64 * nth), &mut |_| found = true)?;
        }
    }
    if found {
        return Err("a deleted key was found".into());
    }
    cell.steps.push(step);
    Ok(())
}
