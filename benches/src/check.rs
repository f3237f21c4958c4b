//! Puts, gets and scans whose answers are checked, and how many calls of a step were acknowledged.

use std::sync::atomic::{AtomicU64, Ordering};

use stratalog_base::sync::Padded;

use crate::Outcome;
use crate::data::{Key, Values};
use crate::engine::Engine;

/// Puts version `version` of the value of `key`, made in `buffer`.
///
/// # Errors
/// The engine's.
pub fn put(
    store: &dyn Engine,
    values: Values,
    key: &Key,
    version: u64,
    buffer: &mut Vec<u8>,
) -> Outcome<()> {
    values.make(key, version, buffer);
    store.put(key, buffer)
}

/// Gets an existing key and compares its value; returns its version.
///
/// # Errors
/// The engine's, or a wrong answer.
pub fn get(store: &dyn Engine, values: Values, key: &Key) -> Outcome<u64> {
    let mut version = None;
    store.get(key, &mut |found| version = values.version(key, found))?;
    version.ok_or_else(|| format!("key {key:02x?} has no or a wrong value").into())
}

/// Scans the whole store, which must hold `count` entries; returns their number.
///
/// # Errors
/// The engine's, or a wrong answer.
pub fn scan_all(store: &dyn Engine, values: Values, count: u64) -> Outcome<u64> {
    let mut walk = Walk::new(values);
    store.scan(&[], usize::MAX, &mut |key, value| walk.meet(key, value))?;
    walk.all(count)
}

/// Scans `count` entries from the existing key `from` on, fewer at the end, see [`Walk::up_to`];
/// returns how many.
///
/// # Errors
/// The engine's, or a wrong answer.
pub fn seek(
    store: &dyn Engine,
    values: Values,
    from: &Key,
    count: u64,
    greatest: &Key,
) -> Outcome<u64> {
    let mut walk = Walk::starting_at(values, from);
    store.scan(from, count as usize, &mut |key, value| walk.meet(key, value))?;
    walk.up_to(count, greatest)
}

/// A walk over entries: keys ascend, and every value belongs to its key.
#[derive(Clone, Debug)]
pub struct Walk {
    values: Values,
    /// The last key, or the one that was sought.
    last: Option<u128>,
    met: u64,
    right: bool,
}

impl Walk {
    /// A walk over all entries.
    pub fn new(values: Values) -> Walk {
        Walk { values, last: None, met: 0, right: true }
    }

    /// A walk from the first entry on whose key is not less than `from`.
    pub fn starting_at(values: Values, from: &Key) -> Walk {
        Walk { last: Some(u128::from_be_bytes(*from)), ..Walk::new(values) }
    }

    /// Takes note of an entry.
    #[inline]
    pub fn meet(&mut self, key: &[u8], value: &[u8]) {
        let number = key.try_into().ok().map(u128::from_be_bytes);
        // The first may be the very key that was sought.
        self.right &= if self.met == 0 { self.last <= number } else { self.last < number };
        self.right &= self.values.belongs(key, value);
        self.last = number;
        self.met += 1;
    }

    /// Ends a walk that must have met `count` entries; returns their number.
    ///
    /// # Errors
    /// If something was wrong.
    pub fn all(self, count: u64) -> Outcome<u64> {
        self.end(count, false)
    }

    /// Ends a walk that must have met `count` entries, or fewer if it came to the end: to `greatest`, the
    /// last of the keys that are there for certain, or beyond; returns how many.
    ///
    /// # Errors
    /// If something was wrong.
    pub fn up_to(self, count: u64, greatest: &Key) -> Outcome<u64> {
        let at_end = self.last >= Some(u128::from_be_bytes(*greatest));
        self.end(count, at_end)
    }

    fn end(self, count: u64, fewer: bool) -> Outcome<u64> {
        if !self.right {
            Err("a scan met keys out of order or a wrong value".into())
        } else if self.met == count || fewer && (1..count).contains(&self.met) {
            Ok(self.met)
        } else {
            Err(format!("a scan met {} of {count} entries", self.met).into())
        }
    }
}

/// How many calls each thread of a step has had acknowledged.
pub struct Acknowledged(Vec<Padded<AtomicU64>>);

impl Acknowledged {
    /// None yet of any of `threads`.
    pub fn new(threads: usize) -> Acknowledged {
        Acknowledged((0..threads).map(|_| Padded::default()).collect())
    }

    /// Counts one more call of `thread`, which alone counts its own.
    #[inline]
    pub fn count(&self, thread: usize) {
        let own = &self.0[thread];
        own.store(own.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// The calls of each thread, once all have ended.
    pub fn calls(&self) -> Vec<u64> {
        self.0.iter().map(|own| own.load(Ordering::Relaxed)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ordered_key;

    const VALUES: Values = Values { bytes: 20, half_blank: false };

    fn walk(from: u64, indices: &[u64]) -> Walk {
        let mut walk = Walk::starting_at(VALUES, &ordered_key(from));
        for index in indices {
            let (key, mut value) = (ordered_key(*index), Vec::new());
            VALUES.make(&key, 0, &mut value);
            walk.meet(&key, &value);
        }
        walk
    }

    #[test]
    fn a_right_walk_is_counted() {
        assert_eq!(walk(3, &[3, 4, 9]).all(3).unwrap(), 3);
        assert_eq!(walk(3, &[4, 9]).up_to(2, &ordered_key(20)).unwrap(), 2);
        assert_eq!(walk(3, &[4, 9]).up_to(5, &ordered_key(9)).unwrap(), 2);
    }

    #[test]
    fn every_fault_is_found() {
        assert!(walk(3, &[4, 9]).all(3).is_err(), "one is missing");
        assert!(walk(3, &[4, 9]).up_to(3, &ordered_key(20)).is_err(), "one is missing");
        assert!(walk(3, &[4, 9]).up_to(1, &ordered_key(20)).is_err(), "one too many");
        assert!(walk(9, &[]).up_to(1, &ordered_key(9)).is_err(), "the sought key is missing");
        assert!(walk(3, &[2, 9]).all(2).is_err(), "before the key that was sought");
        assert!(walk(3, &[4, 4]).all(2).is_err(), "twice");
        let mut wrong = walk(3, &[4]);
        wrong.meet(&ordered_key(5), b"no value of it");
        assert!(wrong.all(2).is_err());
    }

    #[test]
    fn calls_are_counted_by_thread() {
        let acknowledged = Acknowledged::new(2);
        [0, 1, 1].into_iter().for_each(|thread| acknowledged.count(thread));
        assert_eq!(acknowledged.calls(), [1, 2]);
    }
}
