//! The suite `memtable`: memtables alone, filled once and read.
//!
//! 500 000 entries (at scale 1) of 16 B random keys and 100 B values, a version each: about what 64 MiB
//! hold. Every map keeps versions, told apart by a sequence number; what is read is the newest version
//! that is not newer than a given one. The baseline, a `BTreeMap`, takes part with one thread only.
//!
//! | step | is | ends |
//! |---|---|---|
//! | `insert` | every entry once, in random order | all done |
//! | `get` | gets of random existing keys | steady |
//! | `get missing` | gets of keys that lie between existing ones | steady |
//! | `scan` | all entries in order, again and again | steady |
//! | `seek + 10` | 10 entries from a random existing key on | steady |
//!
//! With more than one thread there are `insert` and `get` only. A call does 16 operations (but for
//! `scan`, where it is one scan), so that reading the clock, about 40 ns, weighs little: latencies are
//! those of 16. All that is read is compared whole.
//!
//! `insert` tells what an entry takes beyond its 116 B: `resident` is the growth of the memory that the
//! kernel gave to the process, for every map alike, about a byte of it the measurement's own;
//! `counted` is the map's own count, if it keeps one.

use crate::Outcome;
use crate::check::Walk;
use crate::data::{KEY_BYTES, Key, Values, key};
use crate::draw::Rng;
use crate::map::{self, BTREE, Map};
use crate::meter::resident_bytes;
use crate::plan::Plan;
use crate::subjects::{opener, taking_part};
use crate::suite::{Case, Cell, Suite};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "memtable",
    about: "the memtable alone: insert, get and scan by one and by many threads, and what it takes",
    cases,
    run,
};

/// Entries at scale 1.
const ENTRIES: u64 = 500_000;
const VALUES: Values = Values { bytes: 100, half_blank: false };
/// Operations of a call.
const BATCH: u64 = 16;
/// Entries that a seek reads.
const SEEK_COUNT: u64 = 10;
/// Cases: name and threads.
const CASES: [(&str, usize); 3] = [("1 thread", 1), ("2 threads", 2), ("16 threads", 16)];

fn entries(plan: &Plan) -> u64 {
    plan.scaled(ENTRIES, 32 * BATCH).next_multiple_of(BATCH)
}

fn cases(plan: &Plan) -> Vec<Case> {
    let case = |(name, threads): (&str, usize)| {
        let mut subjects = taking_part(map::KNOWN, plan);
        subjects.retain(|name| threads == 1 || name != BTREE);
        let about =
            format!("{} entries, 16 B random keys, {} B values", entries(plan), VALUES.bytes);
        Case { name: name.to_owned(), about, subjects, parts: vec![""] }
    };
    CASES.into_iter().map(case).collect()
}

fn run(cell: &mut Cell) -> Outcome<()> {
    let found = CASES.iter().find(|(name, _)| *name == cell.case);
    let (_, threads) = *found.ok_or("no such case")?;
    let map = opener(map::KNOWN, cell.subject)?();
    insert(cell, &*map, threads)?;
    get(cell, &*map, threads)?;
    if threads == 1 {
        get_missing(cell, &*map)?;
        scan(cell, &*map)?;
        seek(cell, &*map)?;
    }
    Ok(())
}

fn insert(cell: &mut Cell, map: &dyn Map, threads: usize) -> Outcome<()> {
    let entries = entries(cell.plan);
    VALUES.make(&key(0), 0, &mut Vec::new()); // Brings the pool into memory.
    let resident_before = resident_bytes()?;
    let measure = cell.measure("insert").threads(threads).calls(entries / BATCH);
    let mut step = measure.run(|_| {
        let mut value = Vec::new();
        move |call| {
            for index in call * BATCH..(call + 1) * BATCH {
                let key = key(index);
                VALUES.make(&key, 0, &mut value);
                map.insert(&key, index + 1, &value);
            }
            Ok(BATCH)
        }
    })?;
    if step.cut {
        return Err(format!("`insert` not done after {:.0} s", step.seconds).into());
    }
    let resident = resident_bytes()?.saturating_sub(resident_before);
    let bytes = [("resident", Some(resident)), ("counted", map.used_bytes())];
    for (how, bytes) in bytes {
        let over = |bytes| bytes as f64 / entries as f64 - (KEY_BYTES + VALUES.bytes) as f64;
        let figure = bytes.map(|bytes| (format!("overhead B/entry, {how}"), over(bytes)));
        step.figures.extend(figure);
    }
    cell.steps.push(step);
    Ok(())
}

fn get(cell: &mut Cell, map: &dyn Map, threads: usize) -> Outcome<()> {
    let entries = entries(cell.plan);
    let step = cell.measure("get").threads(threads).until_steady().run(|thread| {
        let mut rng = Rng::new(1, thread);
        move |_| {
            for _ in 0..BATCH {
                let (key, mut right) = (key(rng.below(entries)), false);
                map.get(&key, entries, &mut |value| right = VALUES.belongs(&key, value));
                if !right {
                    return Err(format!("key {key:02x?} has no or a wrong value").into());
                }
            }
            Ok(BATCH)
        }
    })?;
    cell.steps.push(step);
    Ok(())
}

fn get_missing(cell: &mut Cell, map: &dyn Map) -> Outcome<()> {
    let entries = entries(cell.plan);
    let step = cell.measure("get missing").until_steady().run(|thread| {
        let (mut rng, mut found) = (Rng::new(2, thread), false);
        move |_| {
            for _ in 0..BATCH {
                let key = key(entries + rng.below(1 << 40));
                map.get(&key, entries, &mut |_| found = true);
            }
            if found { Err("a key was found that was never inserted".into()) } else { Ok(BATCH) }
        }
    })?;
    cell.steps.push(step);
    Ok(())
}

fn scan(cell: &mut Cell, map: &dyn Map) -> Outcome<()> {
    let entries = entries(cell.plan);
    let step = cell.measure("scan").unit("entry").until_steady().run(|_| {
        move |_| {
            let mut walk = Walk::new(VALUES);
            map.scan(&[0; KEY_BYTES], usize::MAX, &mut |key, value| walk.meet(key, value));
            walk.all(entries)
        }
    })?;
    cell.steps.push(step);
    Ok(())
}

fn seek(cell: &mut Cell, map: &dyn Map) -> Outcome<()> {
    let entries = entries(cell.plan);
    let greatest: Key = (0..entries).map(key).max().unwrap_or_default();
    let measure = cell.measure(format!("seek + {SEEK_COUNT}")).until_steady();
    let step = measure.run(|thread| {
        let mut rng = Rng::new(3, thread);
        move |_| {
            for _ in 0..BATCH {
                let from = key(rng.below(entries));
                let mut walk = Walk::starting_at(VALUES, &from);
                map.scan(&from, SEEK_COUNT as usize, &mut |key, value| walk.meet(key, value));
                walk.up_to(SEEK_COUNT, &greatest)?;
            }
            Ok(BATCH)
        }
    })?;
    cell.steps.push(step);
    Ok(())
}
