//! [`Point`]: so many threads do so many calls on a store of their own, and what is in it is checked.

use std::time::Duration;

use crate::Outcome;
use crate::check::Acknowledged;
use crate::data::Batch;
use crate::engine::{self, Config, Durability, Engine};
use crate::suite::Cell;
use crate::suite::origin::clear;
use crate::suite::origin::entries::{Entries, Place};

/// A point of a published workload.
#[derive(Clone, Debug)]
pub struct Point {
    /// The step's name.
    pub name: String,
    /// How many threads.
    pub threads: usize,
    /// Calls of each thread.
    pub calls: u64,
    /// What a call is.
    pub call: Call,
    /// What is written.
    pub entries: Entries,
}

/// What a call does.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    /// One put.
    Put,
    /// A batch of so many puts.
    Batch(u64),
    /// A batch of so many puts to the family of the thread.
    FamilyBatch(u64),
}

impl Call {
    /// Entries that a call writes.
    fn count(self) -> u64 {
        match self {
            Call::Put => 1,
            Call::Batch(count) | Call::FamilyBatch(count) => count,
        }
    }
}

/// Sizes and settings of points in words.
pub fn about(points: &[Point], class: Durability) -> String {
    let calls = points.first().map_or(0, |point| point.calls);
    format!("{calls} calls a thread; {}", Config::new(class))
}

impl Point {
    fn config(&self, class: Durability) -> Config {
        let own_families = matches!(self.call, Call::FamilyBatch(_));
        let families = if own_families { self.threads as u8 } else { 1 };
        let common = Config::new(class);
        // As much memory for all memtables together, whether they are one or many.
        let memtable_bytes = common.memtable_bytes / u64::from(families);
        Config { families, memtable_bytes, ..common }
    }

    /// Measures the point on a store of its own, checks what is in it, and removes it.
    pub fn measure(&self, cell: &mut Cell, class: Durability, limit: Duration) -> Outcome<()> {
        let store = engine::open(cell.subject, &cell.dir, &self.config(class))?;
        let acknowledged = Acknowledged::new(self.threads);
        let unit = if matches!(self.call, Call::Put) { "commit" } else { "op" };
        let measure = cell.measure(&self.name).unit(unit).writing(&*store).threads(self.threads);
        let step = measure.calls(self.calls * self.threads as u64).within(limit).run(|thread| {
            let mut writer = Writer::new(self, &*store, thread);
            let acknowledged = &acknowledged;
            move |number| {
                writer.call(number / self.threads as u64)?;
                acknowledged.count(thread);
                Ok(self.call.count())
            }
        })?;
        cell.steps.push(step);
        self.check(&*store, &acknowledged.calls())?;
        store.close()?;
        clear(cell)
    }

    /// Scans for every entry of `calls` calls of each thread, and no other.
    fn check(&self, store: &dyn Engine, calls: &[u64]) -> Outcome<()> {
        let calls = self.entries.lasting(calls);
        let count = self.call.count();
        let mut met = vec![0; calls.len()];
        let (mut families, mut wrong, mut last) = (false, None, Vec::new());
        let (mut made_key, mut made_value) = (Vec::new(), Vec::new());
        store.scan(&[], usize::MAX, &mut |stored_key, value| {
            let (family, key) = self.split(stored_key);
            families |= family.is_some();
            let found = self.entries.find(key, count, family.unwrap_or(0));
            let right = found.is_some_and(|place| {
                self.entries.make(place, count, &mut made_key, &mut made_value);
                let acknowledged = calls.get(place.thread as usize).copied().unwrap_or(0);
                place.call < acknowledged
                    && place.nth < count
                    && made_key == key
                    && made_value == value
            });
            // In order, without repeats: so if the number is right, too, none is missing.
            let ordered = last.is_empty() || *last < *stored_key;
            match found {
                Some(place) if right && ordered => met[place.thread as usize] += 1,
                _ => wrong = wrong.take().or_else(|| Some(stored_key.to_vec())),
            }
            last.clear();
            last.extend_from_slice(stored_key);
        })?;
        if let Some(key) = wrong {
            return Err(format!("key {key:02x?} should not be there or has a wrong value").into());
        }
        // Where families are key spaces, the scan meets the first one alone.
        let own_families = matches!(self.call, Call::FamilyBatch(_)) && self.threads > 1;
        let visible = if own_families && !families { 1 } else { calls.len() };
        let expected: Vec<u64> = calls.iter().map(|calls| calls * count).collect();
        if met[..visible] == expected[..visible] {
            Ok(())
        } else {
            Err(format!("a scan met {met:?} of {expected:?} entries").into())
        }
    }

    /// Splits the number of the family off a key that has one, which only keys of numbers can have.
    fn split<'a>(&self, key: &'a [u8]) -> (Option<u64>, &'a [u8]) {
        match key {
            [family, number @ ..]
                if number.len() == size_of::<u64>()
                    && matches!(self.call, Call::FamilyBatch(_)) =>
            {
                (Some(u64::from(*family)), number)
            }
            _ => (None, key),
        }
    }
}

/// A thread's buffers.
struct Writer<'a> {
    point: &'a Point,
    store: &'a dyn Engine,
    thread: usize,
    batch: Batch,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<'a> Writer<'a> {
    fn new(point: &'a Point, store: &'a dyn Engine, thread: usize) -> Writer<'a> {
        let (batch, key, value) = Default::default();
        Writer { point, store, thread, batch, key, value }
    }

    fn call(&mut self, call: u64) -> Outcome<()> {
        let Point { call: kind, entries, .. } = self.point;
        let (thread, count) = (self.thread as u64, kind.count());
        self.batch.clear();
        for nth in 0..count {
            let place = Place { thread, call, nth };
            entries.make(place, count, &mut self.key, &mut self.value);
            if let Call::Put = kind {
                return self.store.put(&self.key, &self.value);
            }
            self.batch.push(&self.key, &self.value);
        }
        let family = if let Call::FamilyBatch(_) = kind { self.thread as u8 } else { 0 };
        self.store.write(family, &self.batch)
    }
}
