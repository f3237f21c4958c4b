//! [`Map`]: the face that every memtable shows to the suite `memtable`.

use crate::data::Key;
use crate::subjects::{Known, OURS};

mod btree;
#[cfg(feature = "crossbeam-skiplist")]
mod skiplist;
mod stratalog;

/// The name of the baseline that takes one thread at a time.
pub const BTREE: &str = "BTreeMap";

/// A sorted map in memory that keeps versions, told apart by sequence numbers. Any number of threads
/// may use it.
pub trait Map: Send + Sync {
    /// Adds a version of `key`; no two of a key have the same number.
    fn insert(&self, key: &Key, seq: u64, value: &[u8]);

    /// Shows the newest version of `key` that is not newer than `seq`, if there is one.
    fn get(&self, key: &Key, seq: u64, found: &mut dyn FnMut(&[u8]));

    /// Shows the first `count` versions of keys not less than `from`, in order of keys, of each key the
    /// newest first; fewer if there are no more.
    fn scan(&self, from: &Key, count: usize, each: &mut dyn FnMut(&[u8], &[u8]));

    /// Bytes in use, if it counts them.
    fn used_bytes(&self) -> Option<u64> {
        None
    }
}

/// Makes an empty map.
pub type Open = fn() -> Box<dyn Map>;

/// Every memtable that was built in, ours first.
pub const KNOWN: &[Known<Open>] = &[
    Known { name: OURS, package: Some("stratalog-memtable"), open: stratalog::new },
    Known { name: BTREE, package: None, open: btree::new },
    #[cfg(feature = "crossbeam-skiplist")]
    Known { name: "crossbeam-skiplist", package: Some("crossbeam-skiplist"), open: skiplist::new },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::key;
    use crate::draw::Rng;

    /// Versions in the order in which maps show them.
    fn model() -> Vec<(Key, u64)> {
        let mut rng = Rng::new(7, 0);
        let mut model: Vec<(Key, u64)> = (1..2_000).map(|seq| (key(rng.below(500)), seq)).collect();
        model.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        model
    }

    fn value(seq: u64) -> Vec<u8> {
        seq.to_le_bytes().into_iter().cycle().take(8 + seq as usize % 90).collect()
    }

    #[test]
    fn every_map_agrees_with_a_sorted_vector() {
        let model = model();
        for known in KNOWN {
            let map = (known.open)();
            let mut inserts = model.clone();
            inserts.sort_by_key(|(_, seq)| *seq);
            inserts.iter().for_each(|(key, seq)| map.insert(key, *seq, &value(*seq)));
            for index in 0..600 {
                for seq in [0, 1, 500, 1_000, 1_999, 5_000] {
                    let key = key(index);
                    let expected = model.iter().find(|(k, s)| *k == key && *s <= seq);
                    let mut found = None;
                    map.get(&key, seq, &mut |value| found = Some(value.to_vec()));
                    assert_eq!(found, expected.map(|(_, seq)| value(*seq)), "{}", known.name);
                }
            }
            for (from, count) in
                [(key(3), 10), (key(700), 1), ([0; 16], usize::MAX), ([255; 16], 2)]
            {
                let start = model.partition_point(|(key, _)| *key < from);
                let expected = model[start..].iter().take(count);
                let expected: Vec<_> = expected.map(|(k, seq)| (k.to_vec(), value(*seq))).collect();
                let mut met = Vec::new();
                map.scan(&from, count, &mut |key, value| met.push((key.to_vec(), value.to_vec())));
                assert!(met == expected, "{} from {from:02x?}", known.name);
            }
        }
    }

    #[test]
    fn only_ours_counts_its_bytes() {
        for known in KNOWN {
            let map = (known.open)();
            map.insert(&key(1), 1, &[7; 1_000]);
            assert_eq!(map.used_bytes().is_some_and(|bytes| bytes > 1_000), known.name == OURS);
        }
    }
}
