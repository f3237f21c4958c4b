//! Prefixes in filters, as readers of a table meet them. (Rates are tested beside the filters.)

use std::collections::BTreeSet;

use stratalog_base::{KeyRef, Kind};
use stratalog_sstable::{BlockCache, FilterPolicy, TableOptions};

use crate::support::{Entries, open, options, random_entries, write};

fn with_prefixes(filter: FilterPolicy, prefix_bytes: usize, partition: usize) -> TableOptions {
    let filter_bits_per_key = 12.0;
    let base = TableOptions { partition_bytes: partition, ..options(64, 4) };
    TableOptions { filter, filter_bits_per_key, prefix_bytes, ..base }
}

#[test]
fn a_prefix_of_any_key_passes() {
    for seed in 0..20 {
        let entries = random_entries(50 + seed, 200, 4);
        for (filter, partition) in [(FilterPolicy::Bloom, 1), (FilterPolicy::Ribbon, 64 << 10)] {
            let (fs, _) = write(&entries, &with_prefixes(filter, 3, partition));
            let table = open(&fs, &BlockCache::new(1 << 20)).unwrap();
            assert_eq!(table.prefix_bytes(), 3);
            assert_eq!(table.verify(|_, _| Ok(())).unwrap(), entries.len() as u64);
            for (key, _) in &entries {
                for len in 0..=key.user.len() {
                    assert!(table.may_contain_prefix(&key.user[..len]).unwrap(), "{key:?} {len}");
                }
            }
        }
    }
}

#[test]
fn most_absent_prefixes_do_not_pass() {
    // Runs of keys by prefix, some of which go over many partitions; every other prefix is absent.
    let mut entries = Entries::new();
    for prefix in (0..2000u32).step_by(2) {
        for i in 0..if prefix % 100 == 0 { 300 } else { 3 } {
            let user = [&prefix.to_be_bytes()[..], format!("{i:04}").as_bytes()].concat();
            entries.push((KeyRef::new(&user, 1, Kind::Put).to_owned(), Vec::new()));
        }
    }
    for (filter, partition) in [(FilterPolicy::Bloom, 300), (FilterPolicy::Ribbon, 64 << 10)] {
        let (fs, _) = write(&entries, &with_prefixes(filter, 4, partition));
        let table = open(&fs, &BlockCache::new(1 << 20)).unwrap();
        let passes: BTreeSet<u32> = (0..2000)
            .filter(|prefix: &u32| table.may_contain_prefix(&prefix.to_be_bytes()).unwrap())
            .collect();
        assert!((0..2000).step_by(2).all(|prefix| passes.contains(&prefix)));
        assert!(passes.len() < 1000 + 30, "{} absent ones pass", passes.len() - 1000);
        // Shorter ones are not known, longer ones are as good as their beginning.
        assert!(table.may_contain_prefix(&[9, 9, 9]).unwrap());
        let longer = |prefix: u32| [&prefix.to_be_bytes()[..], b"x"].concat();
        let passed = (1..2000).step_by(2).filter(|prefix| {
            let passes_too = table.may_contain_prefix(&longer(*prefix)).unwrap();
            assert!(!passes_too || passes.contains(prefix));
            passes_too
        });
        assert!(passed.count() < 30);
    }
}

#[test]
fn a_table_without_prefixes_or_filter_excludes_none() {
    let entries = random_entries(3, 50, 2);
    for options in [
        with_prefixes(FilterPolicy::Bloom, 0, 1 << 16),
        TableOptions { filter_bits_per_key: 0.0, ..with_prefixes(FilterPolicy::Bloom, 2, 1 << 16) },
    ] {
        let (fs, _) = write(&entries, &options);
        let table = open(&fs, &BlockCache::new(0)).unwrap();
        assert_eq!(table.prefix_bytes(), 0);
        assert!(table.may_contain_prefix(b"surely absent").unwrap());
    }
}
