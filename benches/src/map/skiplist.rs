//! crossbeam-skiplist's `SkipMap` as a memtable: the key is a user key and the sequence number, newest
//! first. Keys lie in the nodes, which their fixed length allows; values in allocations of their own.

use std::cmp::Reverse;
use std::ops::Bound;

use crossbeam_skiplist::SkipMap;

use super::Map;
use crate::data::Key;

struct Skiplist(SkipMap<(Key, Reverse<u64>), Box<[u8]>>);

/// An empty map.
pub fn new() -> Box<dyn Map> {
    Box::new(Skiplist(SkipMap::new()))
}

impl Map for Skiplist {
    fn insert(&self, key: &Key, seq: u64, value: &[u8]) {
        self.0.insert((*key, Reverse(seq)), value.into());
    }

    fn get(&self, key: &Key, seq: u64, found: &mut dyn FnMut(&[u8])) {
        match self.0.lower_bound(Bound::Included(&(*key, Reverse(seq)))) {
            Some(entry) if entry.key().0 == *key => found(entry.value()),
            _ => (),
        }
    }

    fn scan(&self, from: &Key, count: usize, each: &mut dyn FnMut(&[u8], &[u8])) {
        let entries = self.0.range((*from, Reverse(u64::MAX))..).take(count);
        entries.for_each(|entry| each(&entry.key().0, entry.value()));
    }
}
