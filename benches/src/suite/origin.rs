//! The suite `origin`: workloads that other systems published, exactly as they did, so that their
//! claims can be seen beside those of engines on one machine.
//!
//! | case | from | a point is | varied |
//! |---|---|---|---|
//! | `A-scale` | async-wal-db, `scaling_benchmark.rs` | threads × 100 commits of one put, `key-T-I` = `value-T-I` | 1 to 128 threads |
//! | `A-batch` | the same | 10 threads × 50 batches, `key-T-I-J` = `value-T-I-J` | 1 to 50 puts a batch |
//! | `A-cont` | the same | 20 threads × 50 commits of one put of 5 B | own keys, 10 shared keys |
//! | `M-cf` | manifold, `cf_comparison_benchmark.rs` | 8 threads, each in a family of its own, × 50 batches of 1,000 puts of 8 B (counted up, little-endian) + 150 B zeros | |
//! | `M-wal` | manifold, `wal_comparison.rs` | threads, each in a family of its own, × 100 batches of 1,000 puts of 8 B (counted up) + 1 KiB zeros | 1 to 8 threads |
//! | `M-lat` | manifold, `wal_detailed_benchmark.rs` | 1 thread × 200 batches of 1,000 puts of 8 B + 1 KiB zeros; latency is that of a batch | |
//! | `M-grp` | the same | as `M-wal`, 20 batches | 1 to 16 threads |
//! | `L-demo` | pyprojects, `lsm_tree/demo` | 5,000 puts a second in an open loop, see [`demo`] | |
//!
//! Each case comes under each durability class, because the claims compare unlike ones, and a second
//! time with 100 times as much, because the published sizes fit in a memtable. Each point has a store of
//! its own, with its families, created before the clock starts; one of the larger that is not done
//! after two step times is cut, and its rate is that of what was done. Their async tasks are threads here. Numbers that their store sorts as numbers are
//! big-endian here; those of `M-cf` are little-endian, as it gave them to the engines beside its own.
//! Stratalog has no key spaces yet: the number of the family goes before the key. Latencies are those of
//! the calls themselves, not the total time divided by their number.
//!
//! Afterwards a scan must meet every acknowledged entry, with its exact bytes, and no other; where
//! families are key spaces of their own, in the first of them, which is the one that a scan sees.
//!
//! What was published was measured on laptops with macOS, where a sync takes about 4 ms; only ratios
//! between engines on one machine mean anything.

use crate::Outcome;
use crate::engine::Durability;
use crate::plan::Plan;
use crate::suite::{Case, Cell, Suite, threads_named};
use entries::Entries;
use point::{Call, Point};

mod demo;
mod entries;
mod point;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "origin",
    about: "workloads that other systems published, under every durability class, as large and 100 \
            times as large",
    cases,
    run,
};

/// A published workload.
struct Workload {
    name: &'static str,
    /// What it does, and what was published.
    about: &'static str,
    kind: Kind,
}

enum Kind {
    /// Points with a store each.
    Points(fn(Factor) -> Vec<Point>),
    /// The paced one.
    Demo,
}

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "A-scale",
        about: "commits of one put of about 9 B + 11 B by 1 to 128 threads; published: 215 → 1,960 \
                txn/s on a laptop, by commits that did not wait for their write (312 when they did)",
        kind: Kind::Points(a_scale),
    },
    Workload {
        name: "A-batch",
        about: "10 threads, batches of 1 to 50 puts of about 9 B + 11 B; published: 323 → 81,627 op/s \
                on a laptop",
        kind: Kind::Points(a_batch),
    },
    Workload {
        name: "A-cont",
        about: "20 threads, commits of one put of 5 B, to own or to 10 shared keys; published: 410 \
                and 394 txn/s on a laptop",
        kind: Kind::Points(a_cont),
    },
    Workload {
        name: "M-cf",
        about: "8 threads with a family each (ours: a prefix), batches of 1,000 puts of 8 B + 150 B; published: \
                manifold, synced, 945 k op/s, RocksDB, unsynced, 3.8 M on a laptop",
        kind: Kind::Points(m_cf),
    },
    Workload {
        name: "M-wal",
        about: "1 to 8 threads with a family each, batches of 1,000 puts of 8 B + 1 KiB; published: \
                106 → 451 k op/s with a log, 83 → 248 k without (class None here) on a laptop",
        kind: Kind::Points(m_wal),
    },
    Workload {
        name: "M-lat",
        about: "1 thread, latency of a batch of 1,000 puts of 8 B + 1 KiB; published: p50 10.2, p95 \
                16.4, p99 53.8 ms on a laptop",
        kind: Kind::Points(m_lat),
    },
    Workload {
        name: "M-grp",
        about: "1 to 16 threads with a family each, batches of 1,000 puts of 8 B + 1 KiB; published: \
                73 → 224 k op/s on a laptop",
        kind: Kind::Points(m_grp),
    },
    Workload {
        name: "L-demo",
        about: "5,000 puts a second of random decimal keys + 128 B, memtable 200 kB, tables 1 MB; \
                published: writes in microseconds without spikes, on a laptop, by a driver that cannot \
                do more than 1,000 a second",
        kind: Kind::Demo,
    },
];

/// How many times as much the second case of each workload does.
const LARGER: u64 = 100;

/// Step times after which a point of these is cut: all of M-wal would be 150 GB.
const LARGER_STEPS: u32 = 2;

/// What the published counts are multiplied with.
#[derive(Clone, Copy)]
struct Factor(f64);

impl Factor {
    fn of(self, count: u64) -> u64 {
        ((count as f64 * self.0) as u64).max(1)
    }

    /// Puts in a batch of manifold's workloads: as published, but fewer where all is smaller.
    fn batch(self) -> u64 {
        self.of(BATCH).clamp(BATCH / 10, BATCH)
    }
}

/// A case.
struct Variant {
    workload: &'static Workload,
    class: Durability,
    /// 1 or [`LARGER`].
    times: u64,
}

impl Variant {
    fn all(plan: &Plan) -> impl Iterator<Item = Variant> {
        let classes = plan.durability.map_or_else(|| Durability::ALL.to_vec(), |class| vec![class]);
        WORKLOADS.iter().flat_map(move |workload| {
            let classes = classes.clone();
            classes
                .into_iter()
                .flat_map(move |class| [1, LARGER].map(|times| Variant { workload, class, times }))
        })
    }

    fn name(&self) -> String {
        let larger = if self.times == 1 { String::new() } else { format!(" ×{}", self.times) };
        format!("{} {}{larger}", self.workload.name, self.class)
    }

    fn case(&self, plan: &Plan) -> Case {
        let what = match self.workload.kind {
            Kind::Points(points) => point::about(&points(self.factor(plan)), self.class),
            Kind::Demo => demo::about(plan, self.class, self.times),
        };
        Case::of_engines(plan, self.class, self.name(), format!("{}; {what}", self.workload.about))
    }

    fn factor(&self, plan: &Plan) -> Factor {
        Factor(self.times as f64 * plan.scale)
    }
}

fn cases(plan: &Plan) -> Vec<Case> {
    Variant::all(plan).map(|variant| variant.case(plan)).collect()
}

fn run(cell: &mut Cell) -> Outcome<()> {
    let mut variants = Variant::all(cell.plan);
    let variant = variants.find(|variant| variant.name() == cell.case).ok_or("no such case")?;
    match variant.workload.kind {
        Kind::Points(points) => {
            let points = points(variant.factor(cell.plan));
            let limit = match variant.times {
                1 => cell.plan.limit,
                _ => cell.plan.limit.min(cell.plan.step * LARGER_STEPS),
            };
            points.iter().try_for_each(|point| point.measure(cell, variant.class, limit))
        }
        Kind::Demo => demo::run(cell, variant.class, variant.times),
    }
}

/// Starts afresh with an empty directory.
fn clear(cell: &Cell) -> Outcome<()> {
    std::fs::remove_dir_all(&cell.dir)?;
    Ok(std::fs::create_dir(&cell.dir)?)
}

fn a_scale(factor: Factor) -> Vec<Point> {
    let point = |threads| Point {
        name: threads_named(threads),
        threads,
        calls: factor.of(100),
        call: Call::Put,
        entries: Entries::Transactions,
    };
    (0..=7).map(|power| point(1 << power)).collect()
}

fn a_batch(factor: Factor) -> Vec<Point> {
    let point = |count| Point {
        name: format!("batch {count}"),
        threads: 10,
        calls: factor.of(50),
        call: Call::Batch(count),
        entries: Entries::Operations,
    };
    [1, 5, 10, 20, 50].map(point).into()
}

fn a_cont(factor: Factor) -> Vec<Point> {
    let point = |name: &str, entries| Point {
        name: name.to_owned(),
        threads: 20,
        calls: factor.of(50),
        call: Call::Put,
        entries,
    };
    vec![point("own keys", Entries::Own), point("10 shared keys", Entries::Shared)]
}

/// Puts in a batch of manifold's workloads, as published.
const BATCH: u64 = 1_000;

fn m_cf(factor: Factor) -> Vec<Point> {
    let calls = factor.of(50);
    let count = factor.batch();
    vec![Point {
        name: threads_named(8),
        threads: 8,
        calls,
        call: Call::FamilyBatch(count),
        entries: Entries::LittleEndian { thread_step: calls * count, value_bytes: 150 },
    }]
}

fn m_wal(factor: Factor) -> Vec<Point> {
    [1, 2, 4, 8].map(|threads| m_point(threads, 100, factor)).into()
}

fn m_lat(factor: Factor) -> Vec<Point> {
    vec![m_point(1, 200, factor)]
}

fn m_grp(factor: Factor) -> Vec<Point> {
    [1, 2, 4, 8, 12, 16].map(|threads| m_point(threads, 20, factor)).into()
}

fn m_point(threads: usize, calls: u64, factor: Factor) -> Point {
    Point {
        name: threads_named(threads),
        threads,
        calls: factor.of(calls),
        call: Call::FamilyBatch(factor.batch()),
        entries: Entries::BigEndian { value_bytes: 1 << 10 },
    }
}
