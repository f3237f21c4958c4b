//! The same with several writers at once, who change the backend under each other's hands: what each was
//! told is there, in its order, and the log is a prefix of what all of them appended.
//!
//! As in [`crate::crash`], with a twentieth of the histories; which call is the last for which thread differs
//! from run to run.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stratalog_base::Result;
use stratalog_base::fs::{Op, SimFs, SimRng};
use stratalog_base::sync::{Mutex, sleep, spawn};
use stratalog_wal::{Backend, Durability, Log, LogOptions, Position, RecoveryMode, Wal};

use crate::crash::seeds;
use crate::support::*;

const WRITERS: u8 = 3;

/// What one writer knows: where its records are, in order, and how many of them it was told of.
#[derive(Clone, Default)]
struct Writer {
    positions: Vec<Position>,
    acked_count: usize,
    durable_count: usize,
}

fn bytes_of(writer: u8, number: usize) -> Vec<u8> {
    let mut bytes = vec![writer ^ number as u8; 5 + (writer as usize * 11 + number * 7) % 90];
    bytes[0] = writer;
    bytes[1..5].copy_from_slice(&(number as u32).to_le_bytes());
    bytes
}

/// Appends until the power is off, or enough; most it waits for.
fn write(fs: &SimFs, log: &Log, name: u8, mut writer: Writer, rng: &mut SimRng) -> Writer {
    for _ in 0..30 {
        let class = match rng.below(8) {
            0 | 1 => Durability::Sync,
            2 => Durability::Interval,
            _ => Durability::Process,
        };
        let number = writer.positions.len();
        let ticket = if rng.chance(1, 6) {
            let records = [0, 1, 2].map(|next| bytes_of(name, number + next));
            let records = records.each_ref().map(Vec::as_slice);
            log.append_batch(&records, class, &mut writer.positions)
        } else {
            log.append(&[IoSlice::new(&bytes_of(name, number))], class)
                .inspect(|ticket| writer.positions.push(ticket.position()))
        };
        let Ok(ticket) = ticket else { break };
        if rng.chance(3, 4) {
            // A store to a mapping does not fail without power.
            if ticket.wait().is_err() || fs.power_is_off() {
                break;
            }
            writer.acked_count = writer.positions.len();
            if class == Durability::Sync {
                writer.durable_count = writer.acked_count;
            }
        }
    }
    writer
}

/// Checks what there is after a kill or a power cut; that is what the writers go on from.
fn check(fs: &SimFs, writers: &mut BTreeMap<u8, Writer>) {
    let (found, _) = read(fs, RecoveryMode::TornTail).unwrap();
    let end = found.last().map_or(0, |(at, _)| at + 1);
    for (name, writer) in writers {
        let of_writer: Vec<_> = found.iter().filter(|(_, bytes)| bytes[0] == *name).collect();
        for (number, (position, bytes)) in of_writer.iter().enumerate() {
            assert_eq!(*bytes, bytes_of(*name, number), "writer {name}: whole and in order");
            // The last append of a life may have got its place and not lived to tell.
            let told = writer.positions.get(number);
            assert!(told.is_some_and(|told| told == position), "writer {name}: where it was put");
        }
        let (count, owed) = (of_writer.len(), writer.acked_count);
        assert!(count >= owed, "writer {name}: {count} of {owed} records");
        let below = writer.positions.iter().filter(|position| **position < end).count();
        assert_eq!(count, below, "writer {name}: all that lies before the end is there");
        writer.positions.truncate(count);
    }
}

fn open(fs: &SimFs, options: &LogOptions, writers: &mut BTreeMap<u8, Writer>) -> Result<Arc<Log>> {
    let (log, _) = Log::open(fs.shared(), Path::new(""), options.clone())?;
    for writer in writers.values_mut() {
        writer.acked_count = writer.positions.len();
        writer.durable_count = writer.positions.len();
    }
    Ok(Arc::new(log))
}

fn live(seed: u64) {
    let rng = &mut SimRng::new(seed);
    let all = all_options(300 + rng.below(600));
    let mut options = all[seed as usize % all.len()].clone();
    options.segments_ahead = rng.chance(1, 3);
    options.batch_delay = Duration::from_micros(50);
    options.interval = Duration::from_micros(rng.below(500));
    let mut writers: BTreeMap<_, _> = (0..WRITERS).map(|name| (name, Writer::default())).collect();
    let mut fs = SimFs::new();
    for _ in 0..4 {
        check(&fs, &mut writers);
        fs.cut_power_at(fs.ops() + rng.below(120));
        match open(&fs, &options, &mut writers) {
            Ok(log) => {
                let told = Arc::new(Mutex::new(BTreeMap::new()));
                let threads: Vec<_> = std::mem::take(&mut writers)
                    .into_iter()
                    .map(|(name, writer)| {
                        let (fs, log, told) = (fs.clone(), log.clone(), told.clone());
                        let mut rng = SimRng::new(rng.next_u64());
                        let body = move || {
                            let writer = write(&fs, &log, name, writer, &mut rng);
                            told.lock().insert(name, writer);
                        };
                        spawn("writer", body).unwrap()
                    })
                    .collect();
                while threads.iter().any(|thread| !thread.is_finished()) {
                    let to = Backend::ALL[rng.below(3) as usize];
                    let changed = log.set_backend(to);
                    assert!(changed.is_ok() || fs.power_is_off(), "{changed:?}");
                }
                threads.into_iter().for_each(|thread| thread.join().unwrap());
                writers = std::mem::take(&mut *told.lock());
            }
            Err(error) => assert!(fs.power_is_off(), "only the power may fail: {error}"),
        }
        fs = if rng.chance(1, 2) {
            fs.kill()
        } else {
            writers.values_mut().for_each(|writer| writer.acked_count = writer.durable_count);
            fs.crash(rng.next_u64())
        };
    }
    check(&fs, &mut writers);
    open(&fs, &options, &mut writers).unwrap();
}

#[test]
fn what_several_writers_were_told_survives_kills_mixed_with_power_cuts() {
    let all = seeds();
    for seed in all.start..all.start + (all.end - all.start).div_ceil(20) {
        let one = AssertUnwindSafe(|| live(seed));
        assert!(catch_unwind(one).is_ok(), "STRATALOG_CRASH_SEED={seed}");
    }
}

/// So many wait for the same sync that most sleep with a crew; the power is cut in the midst of that.
#[test]
fn what_many_were_told_of_in_crews_survives_a_power_cut() {
    const THREADS: u8 = 20;
    for (seed, options) in
        (0..40).flat_map(|seed| all_options(3000).into_iter().map(move |it| (seed, it)))
    {
        let fs = SimFs::new();
        fs.before_calls(|op, _| {
            if op == Op::Sync {
                sleep(Duration::from_micros(50)); // Others come meanwhile.
            }
        });
        let log = create(&fs, options);
        fs.cut_power_at(fs.ops() + 5 + 3 * seed);
        let commit = &|thread| {
            let records = (0..50).map(move |number| bytes_of(thread, number));
            let acked = records.map_while(|bytes| {
                let place = append(&log, &bytes, Durability::Sync).ok()?;
                Some((place.position, bytes))
            });
            acked.collect()
        };
        let acked: Vec<Vec<Record>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|it| scope.spawn(move || commit(it))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(fs.power_is_off());
        let (found, _) = read(&fs.crash(seed), RecoveryMode::TornTail).unwrap();
        for record in acked.concat() {
            assert!(
                found.binary_search(&record).is_ok(),
                "{record:?} was acknowledged, seed {seed}"
            );
        }
    }
}
