//! Power cuts on the simulated file system, at every operation of a mixed workload (D1, D3, D4, D5, R1,
//! R5). `STRATALOG_SEEDS=n` runs n seeds instead of the slice that every test run does;
//! `STRATALOG_SEED=n` runs that one.

use stratalog::fs::{SimFs, SimRng};
use stratalog::{Db, Durability};

use crate::common::{DIR, History, SEPARATE_FROM, Write, collect, repeats, tiny, tiny_and_steady};

const MIXES: [&[Durability]; 4] = [
    &[Durability::Sync],
    &[Durability::Process, Durability::Sync],
    &[Durability::Process, Durability::Process, Durability::Interval, Durability::Sync],
    &[Durability::Process],
];

/// Seeds of a test run; each is a history, cut at a number of places.
const SEEDS: u64 = 12;
const WRITES: u64 = 160;
/// Crash states tried at each cut.
const STATES: u64 = 3;

fn seeds() -> Vec<u64> {
    match repeats("STRATALOG_SEED", u64::MAX) {
        u64::MAX => (0..repeats("STRATALOG_SEEDS", SEEDS)).collect(),
        seed => vec![seed],
    }
}

/// Runs the workload of `seed` until it ends or the power does. The store is given back open: dropping
/// it closes it.
fn workload(fs: &SimFs, seed: u64, background: bool) -> (History, Option<Db>) {
    let mut rng = SimRng::new(seed);
    let mut history = History::new();
    let mix = MIXES[rng.below(MIXES.len() as u64) as usize];
    // Of four seeds, one keeps all values in tables, two some and one none.
    let separate_from = [SEPARATE_FROM, usize::MAX, SEPARATE_FROM, 32][seed as usize % 4];
    let options = || tiny(fs).background(background).separate_values_from(separate_from);
    let Ok(mut db) = options().open(DIR) else { return (history, None) };
    for _ in 0..WRITES {
        let step = match rng.below(100) {
            0..4 => db.sync().map(|()| history.synced()),
            4..6 => db.flush().map(|()| history.synced()),
            6 => db.compact().map(|()| history.synced()),
            7 => db.clone().close().and_then(|()| {
                history.synced();
                db = options().open(DIR)?;
                Ok(())
            }),
            _ => history.write(&db, &Write::random(&mut rng, mix)),
        };
        if step.is_err() {
            assert!(fs.power_is_off(), "seed {seed}: {step:?}");
            break;
        }
    }
    (history, Some(db))
}

/// Opens what a power cut left, twice in a row with another cut in the middle of the first recovery,
/// and checks that it is a legal state that goes on working.
fn check(crashed: &SimFs, history: &History, rng: &mut SimRng, context: &str) {
    // The recovery itself is cut short, then done again.
    let again = crashed.kill();
    again.cut_power_at(rng.below(24));
    let _ = tiny_and_steady(&again).open(DIR);
    for fs in [crashed.clone(), again.crash(rng.next_u64())] {
        let open = || tiny_and_steady(&fs).open(DIR).unwrap_or_else(|e| panic!("{context}: {e}"));
        let db = open();
        let found = collect(db.iter()).unwrap_or_else(|e| panic!("{context}: {e}"));
        let index = history.assert_after_power_cut(&found, context);
        db.check().unwrap_or_else(|e| panic!("{context}: {e}"));
        let mut next = history.resume(index);
        for _ in 0..3 {
            next.write(&db, &Write::random(rng, &[Durability::Sync])).unwrap();
        }
        drop(db);
        let survivor = fs.crash(rng.next_u64());
        let db = tiny_and_steady(&survivor).open(DIR).unwrap_or_else(|e| panic!("{context}: {e}"));
        next.assert_after_power_cut(&collect(db.iter()).unwrap(), context);
    }
}

#[test]
fn a_power_cut_at_any_operation_leaves_a_prefix_with_every_synced_write() {
    let mut states = 0;
    for seed in seeds() {
        let whole = SimFs::new();
        workload(&whole, seed, false);
        let operations = whole.ops();
        let mut rng = SimRng::new(seed ^ 0x5eed);
        // Every operation of the first seed, some of the others'.
        let mut cut = if seed == 0 { 0 } else { rng.below(10) };
        while cut < operations {
            let fs = SimFs::new();
            fs.cut_power_at(cut);
            let (history, _db) = workload(&fs, seed, false);
            for _ in 0..STATES {
                let state = rng.next_u64();
                let context = format!("STRATALOG_SEED={seed} cut at {cut}, state {state}");
                check(&fs.crash(state), &history, &mut rng, &context);
                states += 2;
            }
            cut += 1 + rng.below(if seed == 0 { 1 } else { 10 });
        }
    }
    eprintln!("{states} crash states");
}

#[test]
fn a_power_cut_with_threads_at_work_leaves_a_prefix_with_every_synced_write() {
    for seed in seeds() {
        let mut rng = SimRng::new(seed ^ 0x7ead);
        for _ in 0..12 {
            let fs = SimFs::new();
            let cut = rng.below(600);
            fs.cut_power_at(cut);
            let (history, _db) = workload(&fs, seed, true);
            for _ in 0..STATES {
                let state = rng.next_u64();
                let context = format!("threads, STRATALOG_SEED={seed} cut at {cut}, state {state}");
                check(&fs.crash(state), &history, &mut rng, &context);
            }
        }
    }
}

#[test]
fn a_kill_loses_nothing_that_was_acknowledged() {
    for seed in seeds() {
        let mut rng = SimRng::new(seed ^ 0x6111);
        let fs = SimFs::new();
        let mut history = History::new();
        let mut db = tiny(&fs).open(DIR).unwrap();
        let mut machine = fs;
        for _ in 0..20 {
            for _ in 0..rng.below(40) {
                history.write(&db, &Write::random(&mut rng, &[Durability::Process])).unwrap();
            }
            let killed = machine.kill();
            drop(db);
            machine = killed;
            db = tiny(&machine).open(DIR).unwrap();
            history.assert_after_kill(&collect(db.iter()).unwrap(), &format!("seed {seed}"));
        }
    }
}

#[test]
fn a_power_cut_in_the_recovery_after_a_kill_loses_nothing_that_was_durable() {
    for seed in seeds() {
        let mut rng = SimRng::new(seed ^ 0xd0b1);
        let whole = SimFs::new();
        let (history, _db) = workload(&whole, seed, false);
        for cut in 0..24 {
            // What the recovery replays is in the page cache and, in part, on no disk.
            let killed = whole.kill();
            killed.cut_power_at(cut);
            let _ = tiny_and_steady(&killed).open(DIR);
            let context = format!("STRATALOG_SEED={seed}, recovery cut at {cut}");
            for _ in 0..STATES {
                check(&killed.crash(rng.next_u64()), &history, &mut rng, &context);
            }
        }
    }
}

#[test]
fn unlogged_writes_survive_a_close_and_a_flush() {
    let fs = SimFs::new();
    let write = |db: &Db, rng: &mut SimRng, history: &mut History| {
        history.write(db, &Write::random(rng, &[Durability::None])).unwrap();
    };
    let mut rng = SimRng::new(1);
    let mut history = History::new();
    let db = tiny_and_steady(&fs).open(DIR).unwrap();
    (0..10).for_each(|_| write(&db, &mut rng, &mut history));
    db.close().unwrap();
    history.synced();
    let fs = fs.crash(1);
    let db = tiny_and_steady(&fs).open(DIR).unwrap();
    history.assert_after_power_cut(&collect(db.iter()).unwrap(), "after a close");
    (0..10).for_each(|_| write(&db, &mut rng, &mut history));
    db.sync().unwrap();
    history.synced();
    let db = tiny_and_steady(&fs.crash(2)).open(DIR).unwrap();
    history.assert_after_power_cut(&collect(db.iter()).unwrap(), "after a sync");
}
