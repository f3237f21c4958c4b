//! Stratalog's memtable. Keys and values may have any length; a value that was found is pinned.

use std::sync::Arc;

use stratalog_base::{Cursor, KeyRef, Kind};
use stratalog_memtable::Memtable;

use super::Map;
use crate::data::Key;

struct Stratalog(Arc<Memtable>);

/// An empty map.
pub fn new() -> Box<dyn Map> {
    // As the store makes it by default, which seals it at so many bytes.
    Box::new(Stratalog(Arc::new(Memtable::with_budget(Arc::default(), 64 << 20))))
}

impl Map for Stratalog {
    fn insert(&self, key: &Key, seq: u64, value: &[u8]) {
        self.0.insert(KeyRef::new(key, seq, Kind::Put), value).expect("nobody seals it");
    }

    fn get(&self, key: &Key, seq: u64, found: &mut dyn FnMut(&[u8])) {
        if let Some((_, value)) = self.0.get(key, seq) {
            found(&value);
        }
    }

    fn scan(&self, from: &Key, count: usize, each: &mut dyn FnMut(&[u8], &[u8])) {
        let mut cursor = self.0.cursor();
        let mut outcome = cursor.seek(KeyRef::before(from));
        for _ in 0..count {
            outcome.expect("no operation of this cursor fails");
            if !cursor.valid() {
                break;
            }
            each(cursor.key().user, cursor.value());
            outcome = cursor.next();
        }
    }

    fn used_bytes(&self) -> Option<u64> {
        Some(self.0.used_bytes() as u64)
    }
}
