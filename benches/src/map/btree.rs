//! The standard library's `BTreeMap`: what one thread can have without any of the promises of a
//! memtable. A lock makes it shareable; nobody ever waits for it, as it takes part with one thread
//! only. Keys lie in the nodes, which their fixed length allows; values in allocations of their own.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use super::Map;
use crate::data::Key;

type Versions = BTreeMap<(Key, Reverse<u64>), Box<[u8]>>;

#[derive(Default)]
struct BTree(RwLock<Versions>);

/// An empty map.
pub fn new() -> Box<dyn Map> {
    Box::<BTree>::default()
}

impl Map for BTree {
    fn insert(&self, key: &Key, seq: u64, value: &[u8]) {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        map.insert((*key, Reverse(seq)), value.into());
    }

    fn get(&self, key: &Key, seq: u64, found: &mut dyn FnMut(&[u8])) {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match map.range((*key, Reverse(seq))..).next() {
            Some(((user, _), value)) if user == key => found(value),
            _ => (),
        }
    }

    fn scan(&self, from: &Key, count: usize, each: &mut dyn FnMut(&[u8], &[u8])) {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let entries = map.range((*from, Reverse(u64::MAX))..).take(count);
        entries.for_each(|((user, _), value)| each(user, value));
    }
}
