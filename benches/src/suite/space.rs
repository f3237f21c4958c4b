//! The suite `space`: what a byte of the user's costs in writing, reading and keeping.
//!
//! Every key of 2 million (at scale 1) is put once in random order; then as many puts overwrite random
//! keys, uniformly or by a Zipfian; then the store settles.
//!
//! | figure | is |
//! |---|---|
//! | `write amplification, kernel` | bytes that were written or became dirty in the page cache ÷ bytes of keys and values put |
//! | `write amplification, trait` | the same, as the file-system trait counted it; ours alone |
//! | `space amplification` | bytes of all files ÷ bytes of keys and values alive |
//! | `read amplification` | bytes read by system calls ÷ bytes of keys and values got, by uniform gets with a cache of a sixteenth of the data; none for an engine that reads through a mapping |
//!
//! The kernel counts a whole page whenever one becomes dirty, so a page that is written often before it
//! goes to the device counts once; the trait counts the bytes of every call.

use std::time::Duration;

use crate::Outcome;
use crate::check::{get, put};
use crate::data::{KEY_BYTES, Values, key, shuffled};
use crate::draw::{Rng, Zipf};
use crate::engine::{self, Config, Durability, Engine};
use crate::plan::Plan;
use crate::record::Step;
use crate::suite::{Case, Cell, Suite};

/// The suite.
pub const SUITE: Suite =
    Suite { name: "space", about: "write, read and space amplification", cases, run };

const KEYS: u64 = 2_000_000;
const VALUES: Values = Values { bytes: 100, half_blank: false };
const ENTRY_BYTES: u64 = (KEY_BYTES + 100) as u64;

const UNIFORM: &str = "uniform";
const ZIPF: &str = "Zipf 0.99";

const WRITE: &str = "write";
const READ: &str = "read";

fn cases(plan: &Plan) -> Vec<Case> {
    let case = |name: &str| {
        let keys = plan.scaled(KEYS, 500);
        let config = Config::scaled(plan, plan.class(Durability::Process));
        let about = format!(
            "{keys} keys put, then as many {name} overwrites, then gets; 16 B keys, 100 B values; \
             {config}"
        );
        Case { parts: vec![WRITE, READ], ..Case::of_engines(plan, config.durability, name, about) }
    };
    vec![case(UNIFORM), case(ZIPF)]
}

fn run(cell: &mut Cell) -> Outcome<()> {
    let keys = cell.plan.scaled(KEYS, 500);
    let mut config = Config::scaled(cell.plan, cell.plan.class(Durability::Process));
    if cell.part == WRITE {
        let store = engine::open(cell.subject, &cell.dir, &config)?;
        let step = write(cell, &*store, keys)?;
        cell.steps.push(step);
        return store.close();
    }
    config.cache_bytes = (keys * ENTRY_BYTES / 16).max(64 << 10);
    let store = engine::open(cell.subject, &cell.dir, &config)?;
    let step = read(cell, &*store, keys)?;
    cell.steps.push(step);
    store.close()
}

fn write(cell: &Cell, store: &dyn Engine, keys: u64) -> Outcome<Step> {
    let zipf = Zipf::for_scrambling();
    let measure = cell.measure("fill + overwrite + settle").writing(store);
    let mut idle = Duration::ZERO;
    let mut step = measure.once(|| {
        let (mut rng, mut value) = (Rng::new(21, 0), Vec::new());
        for index in 0..keys {
            put(store, VALUES, &key(index), 0, &mut value)?;
        }
        for version in 1..=keys {
            let index = match cell.case {
                ZIPF => zipf.scrambled(&mut rng, keys),
                _ => rng.below(keys),
            };
            put(store, VALUES, &key(index), version, &mut value)?;
        }
        idle = store.settle()?;
        Ok(2 * keys)
    })?;
    step.seconds -= idle.as_secs_f64();
    let put_bytes = (2 * keys * ENTRY_BYTES) as f64;
    step.figure("write amplification, kernel", step.written_bytes as f64 / put_bytes);
    if let Some(bytes) = step.fs_written_bytes {
        step.figure("write amplification, trait", bytes as f64 / put_bytes);
    }
    let alive_bytes = (keys * ENTRY_BYTES) as f64;
    step.figure("space amplification", step.disk_bytes as f64 / alive_bytes);
    Ok(step)
}

fn read(cell: &Cell, store: &dyn Engine, keys: u64) -> Outcome<Step> {
    let mut overwritten = 0;
    for index in shuffled(keys) {
        overwritten += u64::from(get(store, VALUES, &key(index))? > 0);
    }
    // Of as many uniform draws as there are keys, 63 % of the keys are drawn.
    if cell.case == UNIFORM && overwritten < keys * 6 / 10 {
        return Err(format!("of {keys} keys only {overwritten} have a later version").into());
    }
    let measure = cell.measure("read random, cache 1/16").reading(store);
    let mut step = measure.until_steady().run(|thread| {
        let mut rng = Rng::new(22, thread);
        move |_| {
            get(store, VALUES, &key(rng.below(keys)))?;
            Ok(1)
        }
    })?;
    let got_bytes = (step.ops * ENTRY_BYTES) as f64;
    step.figure("read amplification", step.read_bytes as f64 / got_bytes);
    Ok(step)
}
