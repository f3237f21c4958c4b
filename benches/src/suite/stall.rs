//! The suite `stall`: what a writer waits for at the worst, window by window, while flushes and
//! compactions go on.
//!
//! Random puts of 16 B keys and 100 B values over 2 million keys (at scale 1), five step times long, into
//! a store with a small memtable (16 MiB), so that flushes and compactions never end.
//!
//! | case | is |
//! |---|---|
//! | `flat out` | one thread as fast as it goes; latency is a put's own time |
//! | `20 k/s` | puts due 20,000 times a second; latency from when each was due |
//!
//! Figures: the worst of all windows of 250 ms for p99, p99.9 and the worst put, and the rate of the
//! slowest whole window as a share of the median one.

use crate::Outcome;
use crate::check::{get, put};
use crate::data::{Values, key};
use crate::draw::Rng;
use crate::engine::{self, Config, Durability};
use crate::plan::Plan;
use crate::record::{Step, Window};
use crate::suite::{Case, Cell, Suite};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "stall",
    about: "the worst waits of a writer under sustained load, in windows of 250 ms",
    cases,
    run,
};

const FLAT_OUT: &str = "flat out";
const PACED: &str = "20 k/s";
const PACE_PER_SECOND: f64 = 20_000.0;
const KEYS: u64 = 2_000_000;
const VALUES: Values = Values { bytes: 100, half_blank: false };
const STEPS: u32 = 5;
const WINDOWS_IN_A_STEP: u32 = 8;
/// How many of the puts are read again afterwards.
const CHECKED: u64 = 100_000;

/// Which keys are put.
fn rng() -> Rng {
    Rng::new(11, 0)
}

fn config(plan: &Plan) -> Config {
    let memtable_bytes = plan.scaled(16 << 20, 128 << 10);
    Config { memtable_bytes, ..Config::new(plan.class(Durability::Process)) }
}

fn cases(plan: &Plan) -> Vec<Case> {
    let case = |name, how| {
        let keys = plan.scaled(KEYS, 500);
        let about = format!("random puts over {keys} keys, 100 B values, {how}; {}", config(plan));
        Case::of_engines(plan, plan.class(Durability::Process), name, about)
    };
    vec![
        case(FLAT_OUT, "one thread, as fast as it goes"),
        case(PACED, "20,000 due a second, latency from when a put was due"),
    ]
}

fn run(cell: &mut Cell) -> Outcome<()> {
    let keys = cell.plan.scaled(KEYS, 500);
    let store = engine::open(cell.subject, &cell.dir, &config(cell.plan))?;
    let pace = match cell.case {
        PACED => Some(PACE_PER_SECOND),
        _ => cell.plan.calls_per_second,
    };
    let window = cell.plan.step / WINDOWS_IN_A_STEP;
    let measure = cell.measure("put").writing(&*store).window(window);
    let mut step = measure.pace(pace).within(cell.plan.step * STEPS).run(|_| {
        let (mut rng, mut value) = (rng(), Vec::new());
        let store = &store;
        move |call| {
            put(&**store, VALUES, &key(rng.below(keys)), call, &mut value)?;
            Ok(1)
        }
    })?;
    step.figures = figures(&step);
    store.settle()?;
    let mut rng = rng();
    for _ in 0..step.ops.min(CHECKED) {
        get(&*store, VALUES, &key(rng.below(keys)))?;
    }
    cell.steps.push(step);
    store.close()
}

fn figures(step: &Step) -> Vec<(String, f64)> {
    let worst = |of: fn(&Window) -> f64| step.windows.iter().map(of).fold(0.0, f64::max);
    let mut figures = vec![
        ("worst window p99 µs".to_owned(), worst(|window| window.p99_us)),
        ("worst window p99.9 µs".to_owned(), worst(|window| window.p999_us)),
        ("worst put ms".to_owned(), worst(|window| window.worst_us) / 1e3),
    ];
    // The last one may be shorter.
    let whole = step.windows.split_last().map_or(&[][..], |(_, whole)| whole);
    let mut rates: Vec<u64> = whole.iter().map(|window| window.ops).collect();
    rates.sort_unstable();
    if let Some(slowest) = rates.first() {
        let share = *slowest as f64 / rates[rates.len() / 2].max(1) as f64;
        figures.push(("slowest window / median".to_owned(), share));
    }
    figures
}
