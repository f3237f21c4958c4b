//! What the suites share: small stores on the simulated file system, and random histories of writes
//! with the states that they lead to.

use std::collections::BTreeMap;

use stratalog::fs::{SimFs, SimRng};
use stratalog::{Batch, Db, Durability, Iter, Options, Result, WriteOptions};

/// Where every simulated store lives.
pub const DIR: &str = "/store";

/// About half the values of random histories lie outside tables.
pub const SEPARATE_FROM: usize = 700;

pub type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// Options under which a few hundred writes flush, compact and rotate.
pub fn tiny(fs: &SimFs) -> Options {
    Options::new()
        .fs(fs.shared())
        .memtable_bytes(64 << 10)
        .table_bytes(16 << 10)
        .block_bytes(512)
        .cache_bytes(64 << 10)
        .separate_values_from(SEPARATE_FROM)
        .durability(Durability::Process)
}

/// The same without threads: the same calls lead to the same file operations.
pub fn tiny_and_steady(fs: &SimFs) -> Options {
    tiny(fs).background(false)
}

/// All that `iter` yields.
pub fn collect(iter: Iter) -> Result<State> {
    iter.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect()
}

/// How often a suite repeats: the variable, if set, or `default`.
pub fn repeats(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// One write of a random history.
#[derive(Clone, Debug)]
pub struct Write {
    pub entries: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub durability: Durability,
}

impl Write {
    /// A put, a delete or a batch over a few dozen keys. The values are large enough that some tens of
    /// writes fill a memtable of 64 KiB.
    pub fn random(rng: &mut SimRng, durabilities: &[Durability]) -> Write {
        let count = if rng.chance(1, 4) { 1 + rng.below(8) } else { 1 };
        let entries = (0..count).map(|_| {
            let key = format!("key-{:02}", rng.below(60)).into_bytes();
            let mut value = vec![0; rng.below(1500) as usize];
            rng.fill(&mut value);
            (key, rng.chance(4, 5).then_some(value))
        });
        let entries = entries.collect();
        let durability = durabilities[rng.below(durabilities.len() as u64) as usize];
        Write { entries, durability }
    }

    pub fn run(&self, db: &Db) -> Result<()> {
        let options = WriteOptions::new().durability(self.durability);
        let mut batch = Batch::new();
        for (key, value) in &self.entries {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            };
        }
        db.write(&batch, &options).map(|_| ())
    }

    pub fn apply(&self, state: &mut State) {
        for (key, value) in &self.entries {
            match value {
                Some(value) => drop(state.insert(key.clone(), value.clone())),
                None => drop(state.remove(key)),
            }
        }
    }
}

/// A history as its writer knows it: every state that writes led to, and how much of it must survive.
#[derive(Clone, Debug)]
pub struct History {
    states: Vec<State>,
    /// The first state that may be found after a power cut.
    durable: usize,
    /// The first state that may be found after a kill.
    acknowledged: usize,
}

impl History {
    pub fn new() -> History {
        History { states: vec![State::new()], durable: 0, acknowledged: 0 }
    }

    pub fn last(&self) -> &State {
        self.states.last().expect("there is always the empty state")
    }

    /// Makes a write; if it fails, it may or may not be found later.
    pub fn write(&mut self, db: &Db, write: &Write) -> Result<()> {
        let mut next = self.last().clone();
        write.apply(&mut next);
        let outcome = write.run(db);
        self.states.push(next);
        if outcome.is_ok() {
            self.acknowledged = self.states.len() - 1;
            if write.durability == Durability::Sync {
                self.durable = self.acknowledged;
            }
        }
        outcome
    }

    /// Takes note that everything acknowledged was made durable.
    pub fn synced(&mut self) {
        self.durable = self.acknowledged;
    }

    /// That `found` is a state that a power cut may leave (D1, D3, D5): returns its number.
    pub fn assert_after_power_cut(&self, found: &State, context: &str) -> usize {
        self.assert_from(self.durable, found, context)
    }

    /// That `found` is a state that a kill may leave (D2).
    pub fn assert_after_kill(&self, found: &State, context: &str) -> usize {
        self.assert_from(self.acknowledged, found, context)
    }

    fn assert_from(&self, first: usize, found: &State, context: &str) -> usize {
        let allowed = (first..self.states.len()).rev().find(|&index| self.states[index] == *found);
        allowed.unwrap_or_else(|| {
            let any = self.states.iter().rposition(|state| state == found);
            panic!(
                "{context}: found {} entries, which is state {any:?}; allowed were {first}..={}",
                found.len(),
                self.states.len() - 1
            )
        })
    }

    /// The history of a store that was found in state `index`.
    pub fn resume(&self, index: usize) -> History {
        History { states: vec![self.states[index].clone()], durable: 0, acknowledged: 0 }
    }
}
