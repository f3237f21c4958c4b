//! The suite `recovery`: how long a store takes to open.
//!
//! | case | before | step `open` |
//! |---|---|---|
//! | `log` | 400,000 entries (at scale 1) in durable batches of 100, all still in the log; the process ends without closing the store | replays them: entries a second |
//! | `tables` | 2 million entries, flushed, settled, closed | reads no more than it must: opens a second |
//!
//! Writing and opening are processes of their own; the page cache stays warm. Afterwards every entry is
//! read and checked, so nothing that was promised may be missing. A B-tree without a log has nothing to
//! replay; its rate says how many entries were there again for the time that opening took.

use crate::Outcome;
use crate::check::{put, scan_all};
use crate::data::{Batch, Values, key};
use crate::engine::{self, Config, Durability};
use crate::plan::Plan;
use crate::suite::{Case, Cell, Suite};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "recovery",
    about: "opening a store: replay of a log after a kill, and a large store closed cleanly",
    cases,
    run,
};

const LOG: &str = "log";
const TABLES: &str = "tables";
const WRITE: &str = "write";
const OPEN: &str = "open";

const LOG_ENTRIES: u64 = 400_000;
const TABLE_ENTRIES: u64 = 2_000_000;
const BATCH_ENTRIES: u64 = 100;
const VALUES: Values = Values { bytes: 100, half_blank: false };

fn config(plan: &Plan, case: &str) -> Config {
    match case {
        // No flush happens on the way, so all of it is in the log.
        LOG => {
            let memtable_bytes = (entries(plan, LOG) * 1_000).max(16 << 20);
            Config { memtable_bytes, ..Config::new(Durability::Sync) }
        }
        _ => Config::scaled(plan, plan.class(Durability::Process)),
    }
}

fn entries(plan: &Plan, case: &str) -> u64 {
    plan.scaled(if case == LOG { LOG_ENTRIES } else { TABLE_ENTRIES }, 500)
}

fn cases(plan: &Plan) -> Vec<Case> {
    let case = |name, how| {
        let about = format!(
            "{} entries of 16 B keys and 100 B values, {how}; {}",
            entries(plan, name),
            config(plan, name)
        );
        Case {
            parts: vec![WRITE, OPEN],
            ..Case::of_engines(plan, config(plan, name).durability, name, about)
        }
    };
    vec![
        case(LOG, "written in durable batches of 100, then the process ends without a close"),
        case(TABLES, "flushed, compacted and closed"),
    ]
}

fn run(cell: &mut Cell) -> Outcome<()> {
    match (cell.part, cell.case) {
        (WRITE, LOG) => write_log(cell),
        (WRITE, _) => write_tables(cell),
        _ => open(cell),
    }
}

fn write_log(cell: &Cell) -> Outcome<()> {
    let store = engine::open(cell.subject, &cell.dir, &config(cell.plan, LOG))?;
    let (mut batch, mut value, entries) = (Batch::default(), Vec::new(), entries(cell.plan, LOG));
    for index in 0..entries {
        let key = key(index);
        VALUES.make(&key, 0, &mut value);
        batch.push(&key, &value);
        if batch.len() as u64 == BATCH_ENTRIES || index + 1 == entries {
            store.write(0, &batch)?;
            batch.clear();
        }
    }
    // Not closed: the process ends as if it had been killed.
    std::mem::forget(store);
    Ok(())
}

fn write_tables(cell: &Cell) -> Outcome<()> {
    let store = engine::open(cell.subject, &cell.dir, &config(cell.plan, TABLES))?;
    let mut value = Vec::new();
    for index in 0..entries(cell.plan, TABLES) {
        put(&*store, VALUES, &key(index), 0, &mut value)?;
    }
    store.settle()?;
    store.close()
}

fn open(cell: &mut Cell) -> Outcome<()> {
    let (config, entries) = (config(cell.plan, cell.case), entries(cell.plan, cell.case));
    let (unit, units) = if cell.case == LOG { ("entry", entries) } else { ("open", 1) };
    let mut opened = None;
    let mut step = cell.measure("open").unit(unit).once(|| {
        opened = Some(engine::open(cell.subject, &cell.dir, &config)?);
        Ok(units)
    })?;
    let store = opened.ok_or("nothing was opened")?;
    step.class = Some(store.class());
    step.figure("open ms", step.seconds * 1e3);
    scan_all(&*store, VALUES, entries)?;
    cell.steps.push(step);
    store.close()
}
