//! Many threads at once, with flushes and compactions going on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use stratalog::fs::SimFs;
use stratalog::{Batch, Durability, Error, WriteOptions};

use crate::common::{DIR, collect, tiny};

#[test]
fn writers_do_not_lose_each_others_writes() {
    let fs = SimFs::new();
    let db = tiny(&fs).open(DIR).unwrap();
    let classes =
        [Durability::Process, Durability::Sync, Durability::Interval, Durability::Process];
    thread::scope(|scope| {
        for (writer, durability) in classes.into_iter().enumerate() {
            let db = &db;
            scope.spawn(move || {
                let options = WriteOptions::new().durability(durability);
                for i in 0..2000u32 {
                    let key = [i.to_be_bytes().as_slice(), &[writer as u8]].concat();
                    db.put_with(&key, [writer as u8; 50], &options).unwrap();
                    assert!(db.contains(&key).unwrap(), "a thread sees its own write");
                }
            });
        }
    });
    assert_eq!(collect(db.iter()).unwrap().len(), 8000);
    assert!(db.stats().flushes > 3);
    db.clone().close().unwrap();
    let db = tiny(&fs).open(DIR).unwrap();
    assert_eq!(collect(db.iter()).unwrap().len(), 8000);
    db.check().unwrap();
}

#[test]
fn readers_see_batches_whole_and_time_go_forward() {
    let db = tiny(&SimFs::new()).open(DIR).unwrap();
    let write = |round: u64| {
        let mut batch = Batch::new();
        for key in 0..20u8 {
            batch.put([key], round.to_be_bytes());
        }
        db.write(&batch, &WriteOptions::new()).unwrap();
    };
    write(0);
    let done = AtomicBool::new(false);
    let rounds = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut newest = 0;
                while !done.load(Ordering::Relaxed) {
                    let found = collect(db.iter()).unwrap();
                    let round = &found[&vec![0u8]];
                    assert_eq!(found.len(), 20);
                    assert!(found.values().all(|value| value == round), "a torn batch");
                    let round = u64::from_be_bytes(round[..].try_into().unwrap());
                    assert!(round >= newest, "time went backwards");
                    let snapshot = db.snapshot();
                    let (a, b) = (snapshot.get([3]).unwrap(), snapshot.get([17]).unwrap());
                    assert_eq!(a, b, "a snapshot moved");
                    newest = round;
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 1..8000 {
            write(round);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(rounds.into_inner() > 10 && db.stats().flushes > 3);
}

#[test]
fn closing_while_others_write_loses_nothing_acknowledged() {
    for round in 0..20u8 {
        let fs = SimFs::new();
        let db = tiny(&fs).open(DIR).unwrap();
        let acknowledged = AtomicU64::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for i in 0u64.. {
                    match db.put(i.to_be_bytes(), [round; 100]) {
                        Ok(_) => acknowledged.store(i + 1, Ordering::Relaxed),
                        Err(Error::Closed) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            while acknowledged.load(Ordering::Relaxed) < u64::from(round) * 150 {
                thread::yield_now();
            }
            db.clone().close().unwrap();
        });
        let db = tiny(&fs).open(DIR).unwrap();
        let found = collect(db.iter()).unwrap().len() as u64;
        assert!(found >= acknowledged.into_inner(), "round {round}: {found}");
    }
}

#[test]
fn one_of_two_openers_wins() {
    for _ in 0..50 {
        let fs = SimFs::new();
        let opened: Vec<_> = thread::scope(|scope| {
            let open = || tiny(&fs).open(DIR);
            let threads = [scope.spawn(open), scope.spawn(open)];
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(opened.iter().filter(|db| db.is_ok()).count(), 1);
        assert!(opened.iter().any(|db| matches!(db, Err(Error::Locked { .. }))));
    }
}
