//! The suite `wal`: logs alone, beside others of their kind.
//!
//! A case is a durability class. For each size of a record and each number of threads a log of its own
//! takes appends for the step time, or until it holds 1 GiB (at scale 1) of records: the step `append`.
//! Then it is closed and read again: every record acknowledged must come back once, whole, and those of
//! one thread in their order. For the last number of threads this is a step, too: `replay`, from the
//! page cache.
//!
//! Unless a class is asked for, there are `process` and `sync`. A log whose appends have class `None` is
//! not replayed: its records may be gone.
//!
//! The baseline [`raw`](crate::log::raw) is the least that could be called a log: with one thread of class
//! `Sync` a write and an `fdatasync` a record, with more of them writes and syncs in batches, and the cheapest
//! waking found. What ours takes beyond it is its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Outcome;
use crate::data::Values;
use crate::engine::Durability;
use crate::log::{self, Access, Each};
use crate::plan::Plan;
use crate::record::Step;
use crate::subjects::{opener, taking_part};
use crate::suite::{Case, Cell, Suite, threads_named};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "wal",
    about: "the log alone: appends of each class by one and by many threads, and replay",
    cases,
    run,
};

/// The classes that are measured unasked.
const CLASSES: [Durability; 2] = [Durability::Process, Durability::Sync];
/// Bytes of a record.
const SIZES: [usize; 3] = [128, 1 << 10, 16 << 10];
/// Bytes of records in a log at scale 1, at most.
const LOG_BYTES: u64 = 1 << 30;

/// Numbers of threads: more of them where they can share a sync.
fn threads(class: Durability) -> [usize; 3] {
    if class == Durability::Sync { [1, 16, 64] } else { [1, 2, 16] }
}

fn cases(plan: &Plan) -> Vec<Case> {
    let classes = plan.durability.map_or(CLASSES.to_vec(), |class| vec![class]);
    let case = |class: Durability| {
        let [a, b, c] = threads(class);
        Case {
            name: class.to_string().to_lowercase(),
            about: format!(
                "records of 128 B, 1 KiB and 16 KiB; {a}, {b} and {c} threads; a log for each, of up \
                 to {} MiB",
                log_bytes(plan) >> 20
            ),
            subjects: taking_part(log::KNOWN, plan),
            parts: vec![""],
        }
    };
    classes.into_iter().map(case).collect()
}

fn log_bytes(plan: &Plan) -> u64 {
    plan.scaled(LOG_BYTES, 1 << 20)
}

fn run(cell: &mut Cell) -> Outcome<()> {
    let class = cell.case.parse()?;
    let access = *opener(log::KNOWN, cell.subject)?;
    for bytes in SIZES {
        let records = Records::new(bytes);
        let counts = threads(class);
        for threads in counts {
            let dir = cell.dir.join("log");
            std::fs::create_dir(&dir)?;
            let appended = append(cell, &dir, &access, class, records, threads)?;
            let replayed = match appended.class {
                Some(Durability::None) => None,
                _ => Some(replay(cell, &dir, &access, records, &appended)?),
            };
            cell.steps.push(appended);
            cell.steps.extend(replayed.filter(|_| threads == counts[counts.len() - 1]));
            std::fs::remove_dir_all(&dir)?;
        }
    }
    Ok(())
}

fn append(
    cell: &Cell,
    dir: &Path,
    access: &Access,
    class: Durability,
    records: Records,
    threads: usize,
) -> Outcome<Step> {
    let most_bytes = log_bytes(cell.plan);
    let log = (access.create)(dir, class, most_bytes)?;
    let name = format!("append {}, {}", records.size(), threads_named(threads));
    let measure = cell.measure(name).unit("record").class(log.class()).threads(threads);
    let written_before = log.written_bytes();
    let mut step = measure.at_most(most_bytes / records.bytes() as u64).run(|_| {
        let (log, mut record) = (&*log, Vec::new());
        move |call| {
            records.make(call, &mut record);
            log.append(&record)?;
            Ok(1)
        }
    })?;
    let written = log.written_bytes();
    step.fs_written_bytes = written.zip(written_before).map(|(after, before)| after - before);
    records.add_rate(&mut step);
    log.close()?;
    Ok(step)
}

/// Reads the log that `appended` tells of.
fn replay(
    cell: &Cell,
    dir: &Path,
    access: &Access,
    records: Records,
    appended: &Step,
) -> Outcome<Step> {
    let measure = cell.measure(format!("replay {}", records.size())).unit("record");
    let mut step = measure.once(|| {
        let met = Arc::new(AtomicU64::new(0));
        (access.replay)(dir, records.checked(appended.threads, met.clone()))?;
        Ok(met.load(Ordering::Relaxed))
    })?;
    records.add_rate(&mut step);
    if step.ops == appended.ops {
        Ok(step)
    } else {
        Err(format!("{} of {} records came back", step.ops, appended.ops).into())
    }
}

/// Numbered records of one size.
#[derive(Clone, Copy, Debug)]
struct Records {
    values: Values,
    /// What the number in a record is mixed with.
    mixed_with: u64,
}

impl Records {
    /// All records are versions of the value of this key.
    const KEY: &[u8] = b"a record";

    fn new(bytes: usize) -> Records {
        let values = Values::random(bytes);
        let mut first = Vec::new();
        values.make(Records::KEY, 0, &mut first);
        Records { values, mixed_with: head(&first) }
    }

    fn bytes(self) -> usize {
        self.values.bytes
    }

    fn size(self) -> String {
        match self.bytes() {
            bytes @ ..1024 => format!("{bytes} B"),
            bytes => format!("{} KiB", bytes >> 10),
        }
    }

    fn make(self, number: u64, out: &mut Vec<u8>) {
        self.values.make(Records::KEY, number, out);
    }

    /// The number of a record, if it is one of these.
    fn number(self, record: &[u8]) -> Option<u64> {
        self.values.belongs(Records::KEY, record).then(|| head(record) ^ self.mixed_with)
    }

    /// Counts records in `met`; fails if one is none of these, or not the next of its thread.
    fn checked(self, threads: usize, met: Arc<AtomicU64>) -> Each {
        let mut next: Vec<u64> = (0..threads as u64).collect();
        Box::new(move |record| {
            let number = self.number(record).ok_or("a record came back changed")?;
            let expected = &mut next[(number % threads as u64) as usize];
            if number != *expected {
                return Err(format!("record {number} came back instead of {expected}").into());
            }
            *expected += threads as u64;
            met.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    }

    fn add_rate(self, step: &mut Step) {
        let bytes = step.ops * self.bytes() as u64;
        step.figure("MB/s", bytes as f64 / 1e6 / step.seconds);
    }
}

fn head(record: &[u8]) -> u64 {
    record.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_swapped_and_changed_records_are_found() {
        let records = Records::new(128);
        let record = |number| {
            let mut record = Vec::new();
            records.make(number, &mut record);
            record
        };
        let replay = |given: &[Vec<u8>]| {
            let met = Arc::new(AtomicU64::new(0));
            let mut each = records.checked(2, met.clone());
            given.iter().try_for_each(|record| each(record)).map(|()| met.load(Ordering::Relaxed))
        };
        // Two threads may overtake one another, but no thread itself.
        assert_eq!(replay(&[0, 2, 1, 4, 3].map(record)).unwrap(), 5);
        assert!(replay(&[0, 1, 4].map(record)).is_err(), "2 is missing");
        assert!(replay(&[0, 0].map(record)).is_err(), "0 came twice");
        let mut changed = record(0);
        changed[100] ^= 1;
        assert!(replay(&[changed]).is_err());
    }
}
