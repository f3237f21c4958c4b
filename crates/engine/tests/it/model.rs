//! Random operations against a `BTreeMap` (D6). `STRATALOG_OPS=n` runs n operations in each
//! configuration.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use stratalog::fs::{SimFs, SimRng};
use stratalog::{Batch, Compression, Db, FilterPolicy, Iter, Keys, Options, Snapshot};

use crate::common::{DIR, State, collect, repeats, tiny};

const OPS: u64 = 260_000;

/// What an iterator has still to yield.
type Rest = VecDeque<(Vec<u8>, Vec<u8>)>;

struct Model {
    rng: SimRng,
    fs: SimFs,
    options: fn(&SimFs) -> Options,
    db: Db,
    state: State,
    snapshots: Vec<(Snapshot, State)>,
    iters: Vec<(Iter, Rest)>,
    keys: Vec<(Keys, Rest)>,
}

impl Model {
    fn key(&mut self) -> Vec<u8> {
        match self.rng.below(20) {
            0 => Vec::new(),
            1 => vec![0xff; self.rng.below(4) as usize],
            2 => format!("prefix-that-is-shared/{}", self.rng.below(50)).into_bytes(),
            _ => self.rng.below(700).to_be_bytes()[6..].to_vec(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.rng.below(50) {
            0 => 3000,
            1..10 => 200,
            _ => 40,
        };
        let mut value = vec![0; self.rng.below(len) as usize];
        self.rng.fill(&mut value);
        value
    }

    fn range(&mut self) -> (Vec<u8>, Vec<u8>) {
        let (a, b) = (self.key(), self.key());
        if a <= b { (a, b) } else { (b, a) }
    }

    fn step(&mut self) {
        match self.rng.below(1000) {
            0..420 => {
                let (key, value) = (self.key(), self.value());
                self.db.put(&key, &value).unwrap();
                self.state.insert(key, value);
            }
            420..540 => {
                let key = self.key();
                self.db.delete(&key).unwrap();
                self.state.remove(&key);
            }
            540..580 => {
                let mut batch = Batch::new();
                for _ in 0..1 + self.rng.below(10) {
                    let (key, value) = (self.key(), self.value());
                    if self.rng.chance(2, 3) {
                        batch.put(&key, &value);
                        self.state.insert(key, value);
                    } else {
                        batch.delete(&key);
                        self.state.remove(&key);
                    }
                }
                self.db.write(&batch, &Default::default()).unwrap();
            }
            580..940 => {
                let key = self.key();
                assert_eq!(
                    self.db.get(&key).unwrap().as_deref(),
                    self.state.get(&key).map(|v| &**v)
                );
            }
            940..960 => self.short_scan(),
            960..985 => self.step_iterators(),
            985..994 => {
                if let Some((snapshot, state)) = self.snapshots.last() {
                    let key = state.keys().nth(state.len() / 2).cloned().unwrap_or_default();
                    assert_eq!(
                        snapshot.get(&key).unwrap().as_deref(),
                        state.get(&key).map(|v| &**v)
                    );
                }
            }
            994..997 => self.turn_over(),
            997 if self.rng.chance(1, 4) => self.db.flush().unwrap(),
            998 if self.rng.chance(1, 40) => self.db.compact().unwrap(),
            999 if self.rng.chance(1, 12) => self.reopen(),
            _ => {}
        }
    }

    fn short_scan(&mut self) {
        let (from, to) = self.range();
        let limit = self.rng.below(30) as usize;
        let own = |entry: stratalog::Result<(stratalog::Slice, stratalog::Slice)>| {
            let (key, value) = entry.unwrap();
            (key.to_vec(), value.to_vec())
        };
        let expected = self.state.range(from.clone()..to.clone());
        let expected = expected.map(|(k, v)| (k.clone(), v.clone()));
        let mut iter = self.db.range(from..to);
        if self.rng.chance(1, 3) {
            let mut found = Vec::new();
            let broken = iter.visit(|key, value| {
                found.push((key.to_vec(), value.to_vec()));
                if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            let mut expected = expected;
            let first: Vec<_> = expected.by_ref().take(limit.max(1)).collect();
            assert_eq!((broken.unwrap().is_some(), &found), (first.len() == limit.max(1), &first));
            // On from there, and back from the other end.
            let ends = [(iter.next_back(), expected.next_back()), (iter.next(), expected.next())];
            for (found, expected) in ends {
                assert_eq!(found.map(own), expected);
            }
        } else if self.rng.chance(1, 3) {
            let (keys, expected) =
                (iter.keys().map(|key| key.unwrap().to_vec()), expected.map(|(k, _)| k));
            let (found, expected): (Vec<_>, Vec<_>) = match self.rng.chance(1, 2) {
                true => (keys.take(limit).collect(), expected.take(limit).collect()),
                false => (keys.rev().take(limit).collect(), expected.rev().take(limit).collect()),
            };
            assert_eq!(found, expected);
        } else if self.rng.chance(1, 2) {
            let found: Vec<_> = iter.map(own).take(limit).collect();
            assert_eq!(found, expected.take(limit).collect::<Vec<_>>());
        } else {
            let found: Vec<_> = iter.rev().map(own).take(limit).collect();
            assert_eq!(found, expected.rev().take(limit).collect::<Vec<_>>());
        }
    }

    /// Moves iterators that were made long ago, from either end.
    fn step_iterators(&mut self) {
        for (iter, expected) in &mut self.iters {
            for _ in 0..self.rng.below(6) {
                let front = self.rng.chance(1, 2);
                let found = if front { iter.next() } else { iter.next_back() };
                let found = found.map(|entry| entry.unwrap());
                let found = found.map(|(key, value)| (key.to_vec(), value.to_vec()));
                let expected = if front { expected.pop_front() } else { expected.pop_back() };
                assert_eq!(found, expected, "from the {}", if front { "front" } else { "back" });
            }
        }
        for (keys, expected) in &mut self.keys {
            for _ in 0..self.rng.below(6) {
                let front = self.rng.chance(1, 2);
                if front && self.rng.chance(1, 3) {
                    let broken = keys.visit(|key| ControlFlow::Break(key.to_vec())).unwrap();
                    assert_eq!(broken, expected.pop_front().map(|(key, _)| key));
                    continue;
                }
                let found = if front { keys.advance() } else { keys.advance_back() };
                let expected = if front { expected.pop_front() } else { expected.pop_back() };
                assert_eq!(found.unwrap(), expected.as_ref().map(|(key, _)| &**key));
            }
        }
    }

    /// Checks the oldest snapshot whole and replaces it and the oldest iterator.
    fn turn_over(&mut self) {
        if self.snapshots.len() > 2 {
            let (snapshot, state) = self.snapshots.remove(0);
            assert_eq!(collect(snapshot.iter()).unwrap(), state);
        }
        self.snapshots.push((self.db.snapshot(), self.state.clone()));
        if self.iters.len() > 2 {
            self.iters.remove(0);
            self.keys.remove(0);
        }
        let (from, to) = self.range();
        let expected = self.state.range(from.clone()..=to.clone());
        let expected: Rest = expected.map(|(k, v)| (k.clone(), v.clone())).collect();
        self.iters.push((self.db.range(from.clone()..=to.clone()), expected.clone()));
        self.keys.push((self.db.range(from..=to).keys(), expected));
        let prefix = vec![1];
        let expected: State = self
            .state
            .range(prefix.clone()..vec![2])
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        assert_eq!(collect(self.db.prefix(&prefix)).unwrap(), expected);
        self.visit_all();
    }

    /// All entries by [`Iter::visit`], broken off now and then, and all keys.
    fn visit_all(&mut self) {
        let (mut entries, mut expected, mut keys) = (self.db.iter(), self.state.iter(), 0);
        loop {
            let mut left = 1 + self.rng.below(400);
            let broken = entries.visit(|key, value| {
                let (expected_key, expected_value) = expected.next().expect("no more are shown");
                assert!(key == expected_key && value == expected_value, "{key:?}");
                left -= 1;
                if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            if broken.unwrap().is_none() {
                break;
            }
        }
        assert_eq!(expected.next(), None);
        let mut counted = self.db.iter().keys();
        let count = |_: &[u8]| {
            keys += 1;
            ControlFlow::<()>::Continue(())
        };
        counted.visit(count).unwrap();
        assert_eq!(keys, self.state.len());
    }

    /// Closes or kills the store and opens it again. Iterators go on; snapshots end with their store.
    fn reopen(&mut self) {
        self.snapshots.clear();
        if self.rng.chance(1, 2) {
            self.db.clone().close().unwrap();
        } else {
            self.fs = self.fs.kill();
        }
        self.db = (self.options)(&self.fs).open(DIR).unwrap();
        assert_eq!(collect(self.db.iter()).unwrap(), self.state);
        self.db.check().unwrap();
    }
}

fn run(seed: u64, options: fn(&SimFs) -> Options) {
    let fs = SimFs::new();
    let db = options(&fs).open(DIR).unwrap();
    let rng = SimRng::new(seed);
    let (state, snapshots, iters, keys) = (State::new(), Vec::new(), Vec::new(), Vec::new());
    let mut model = Model { rng, fs, options, db, state, snapshots, iters, keys };
    for op in 0..repeats("STRATALOG_OPS", OPS) {
        let step = std::panic::AssertUnwindSafe(|| model.step());
        if let Err(panic) = std::panic::catch_unwind(step) {
            eprintln!("seed {seed}, operation {op}");
            std::panic::resume_unwind(panic);
        }
    }
    assert_eq!(collect(model.db.iter()).unwrap(), model.state);
    model.reopen();
}

#[test]
fn the_store_is_a_sorted_map() {
    run(1, tiny);
}

#[test]
fn the_store_is_a_sorted_map_without_threads() {
    run(2, |fs| tiny(fs).background(false));
}

#[test]
fn the_store_is_a_sorted_map_without_cache_compression_and_filters() {
    run(3, |fs| tiny(fs).cache_bytes(0).compression(Compression::None).filter_bits_per_key(0.0));
}

#[test]
fn the_store_is_a_sorted_map_with_nearly_all_values_in_value_files() {
    run(5, |fs| tiny(fs).separate_values_from(32).background(false));
}

#[test]
fn the_store_is_a_sorted_map_with_large_blocks_and_tables() {
    run(4, |fs| {
        tiny(fs)
            .separate_values_from(usize::MAX)
            .block_bytes(16 << 10)
            .table_bytes(1 << 20)
            .memtable_bytes(256 << 10)
    });
}

#[test]
fn the_store_is_a_sorted_map_with_ribbon_filters_prefixes_and_compression_by_level() {
    run(6, |fs| {
        let levels = [Compression::None, Compression::Lz4];
        tiny(fs).filter(FilterPolicy::Ribbon).prefix_bytes(1).compression_by_level(&levels)
    });
}
