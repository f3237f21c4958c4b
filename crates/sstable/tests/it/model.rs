//! Tables against a sorted list.

use stratalog_base::fs::SimRng;
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::{Cursor, KeyRef, Kind};
use stratalog_sstable::{
    BlockCache, Compression, ReadUse, Table, TableCursor, TableOptions, key_hash,
};

use crate::support::{
    Entries, enough_keys, every_options, open, options, random_entries, random_ranges, write,
    write_with,
};

fn here<'a>(cursor: &'a TableCursor) -> Option<(KeyRef<'a>, &'a [u8])> {
    cursor.valid().then(|| (cursor.key(), cursor.value()))
}

fn at(entries: &Entries, index: Option<usize>) -> Option<(KeyRef<'_>, &[u8])> {
    let (key, value) = entries.get(index?)?;
    Some((key.as_ref(), value))
}

fn walks_both_ways(table: &std::sync::Arc<Table>, entries: &Entries, reads: ReadUse) {
    let mut cursor = table.cursor(reads);
    assert!(!cursor.valid());
    cursor.seek_first().unwrap();
    for index in 0..entries.len() {
        assert_eq!(here(&cursor), at(entries, Some(index)));
        assert_eq!(cursor.value_slice(), entries[index].1);
        cursor.next().unwrap();
    }
    assert!(!cursor.valid());
    cursor.seek_last().unwrap();
    for index in (0..entries.len()).rev() {
        assert_eq!(here(&cursor), at(entries, Some(index)));
        cursor.prev().unwrap();
    }
    assert!(!cursor.valid());
}

/// Seeks to, before, between and behind entries, and a few steps from there.
fn seeks_anywhere(table: &std::sync::Arc<Table>, entries: &Entries, rng: &mut SimRng) {
    let mut cursor = table.cursor(ReadUse::Lookup);
    for _ in 0..300 {
        let mut user = entries[rng.below(entries.len() as u64) as usize].0.user.to_vec();
        match rng.below(4) {
            0 => user.push(b'b'),
            1 => drop(user.pop()),
            _ => {}
        }
        let target = match rng.below(3) {
            0 => KeyRef::before(&user),
            1 => KeyRef::seek(&user, rng.below(1 << 20)),
            _ => KeyRef::new(&user, rng.below(1 << 20), Kind::Put),
        };
        let mut index = entries.partition_point(|(key, _)| key.as_ref() < target);
        if rng.chance(1, 2) {
            cursor.seek(target).unwrap();
        } else {
            cursor.seek_before(target).unwrap();
            index = index.wrapping_sub(1);
        }
        assert_eq!(here(&cursor), at(entries, Some(index)), "{target:?}");
        for _ in 0..rng.below(40) {
            if !cursor.valid() {
                break;
            }
            if rng.chance(1, 2) {
                cursor.next().unwrap();
                index += 1;
            } else {
                cursor.prev().unwrap();
                index = index.wrapping_sub(1);
            }
            assert_eq!(here(&cursor), at(entries, Some(index)));
        }
    }
}

#[test]
fn a_table_holds_what_was_written_whatever_the_options() {
    for (seed, options) in every_options().into_iter().enumerate() {
        println!("seed {seed}, {options:?}");
        let entries =
            random_entries(seed as u64, enough_keys(&options, 400), 1 + 30 * (seed as u64 % 2));
        let ranges = random_ranges(seed as u64, seed as u64 % 20);
        let (fs, summary) = write_with(&entries, &ranges, &options);
        let table = open(&fs, &BlockCache::new(1 << 20)).unwrap();
        assert_eq!(*table.summary(), summary);
        assert_eq!(table.ranges().len() as u64, summary.range_tombstones);
        assert_eq!(summary.entries, entries.len() as u64);
        assert_eq!(summary.bytes, fs.read_file(crate::support::PATH).len() as u64);
        let mut shown = Vec::new();
        let show = |key: KeyRef<'_>, value: &[u8]| {
            shown.push((key.to_owned(), value.to_vec()));
            Ok(())
        };
        assert_eq!(table.verify(show).unwrap(), summary.entries);
        assert_eq!(shown, entries);
        walks_both_ways(&table, &entries, ReadUse::Sweep);
        walks_both_ways(&table, &entries, ReadUse::Lookup);
        seeks_anywhere(&table, &entries, &mut SimRng::new(seed as u64));
    }
}

#[test]
fn get_finds_the_newest_version_at_every_sequence_number() {
    for (seed, options) in every_options().into_iter().enumerate() {
        println!("seed {seed}, {options:?}");
        let entries = match enough_keys(&options, 150) {
            150 => random_entries(1000 + seed as u64, 150, 25),
            many => random_entries(1000 + seed as u64, many, 2),
        };
        let (fs, _) = write(&entries, &options);
        let table = open(&fs, &BlockCache::new(1 << 16)).unwrap();
        for (key, _) in &entries {
            let seq = key.trailer.seq();
            for seq in [0, seq - 1, seq, seq + 1, MAX_SEQ_NO] {
                let target = KeyRef::seek(&key.user, seq);
                let index = entries.partition_point(|(key, _)| key.as_ref() < target);
                let expected = entries.get(index).filter(|(found, _)| found.user == key.user);
                let found = table.get(&key.user, key_hash(&key.user), seq).unwrap();
                match (&found, expected) {
                    (None, None) => {}
                    (Some((trailer, slice)), Some((key, value))) => {
                        assert_eq!(
                            (*trailer, slice),
                            (key.trailer, &value.as_slice().to_vec().into())
                        );
                    }
                    _ => panic!("{target:?}: found {found:?}, expected {expected:?}"),
                }
            }
            let mut absent = key.user.to_vec();
            absent.push(b'!');
            assert_eq!(table.get(&absent, key_hash(&absent), MAX_SEQ_NO).unwrap(), None);
        }
    }
}

#[test]
fn a_get_reads_a_partition_and_a_block_and_no_more() {
    // TOP-1, TOP-2
    let entries = random_entries(77, 400, 3);
    for (partition_bytes, most) in [(64 << 10, 1), (300, 2)] {
        let (fs, _) = write(&entries, &TableOptions { partition_bytes, ..options(300, 16) });
        let table = open(&fs, &BlockCache::new(0)).unwrap();
        let mut absent = 0;
        for (key, value) in &entries {
            let before = fs.reads();
            let found = table.get(&key.user, key_hash(&key.user), key.trailer.seq()).unwrap();
            assert_eq!(found.unwrap().1, *value);
            // Where newer versions fill the first block, the next is read as well.
            assert!((most..=most * 2).contains(&(fs.reads() - before)));
            let (before, user) = (fs.reads(), [&key.user[..], b"#"].concat());
            assert_eq!(table.get(&user, key_hash(&user), MAX_SEQ_NO).unwrap(), None);
            absent += fs.reads() - before;
        }
        let per_get = absent as f64 / entries.len() as f64;
        assert!(per_get < most as f64 - 0.9, "{per_get} reads for an absent key");
    }
}

#[test]
fn large_keys_and_values_stand_alone() {
    let mut entries = random_entries(5, 50, 2);
    for (letter, len) in [(b'p', 100_000), (b'q', 3 << 20), (b'r', 70_000)] {
        let key = KeyRef::new(&[letter; 65_536], 8, Kind::Put).to_owned();
        entries.push((key, vec![letter; len]));
    }
    entries.sort_by(|a, b| a.0.as_ref().cmp(&b.0.as_ref()));
    for compression in [Compression::None, Compression::Lz4] {
        let (fs, _) = write(&entries, &TableOptions { compression, ..options(4096, 16) });
        let table = open(&fs, &BlockCache::new(1 << 20)).unwrap();
        walks_both_ways(&table, &entries, ReadUse::Sweep);
        walks_both_ways(&table, &entries, ReadUse::Lookup);
        table.verify(|_, _| Ok(())).unwrap();
    }
}

#[test]
fn a_value_outlives_cursor_table_and_cache() {
    let (fs, _) = write(&crate::support::tiny(), &options(64, 16));
    let table = open(&fs, &BlockCache::new(1 << 20)).unwrap();
    let (_, got) = table.get(b"adder", key_hash(b"adder"), 9).unwrap().unwrap();
    let mut cursor = table.cursor(ReadUse::Sweep);
    cursor.seek(KeyRef::before(b"adder")).unwrap();
    let walked = cursor.value_slice();
    drop((cursor, table, fs));
    assert_eq!((got, walked), (vec![7; 40].into(), vec![7; 40].into()));
}

#[test]
fn tables_and_cursors_go_between_threads() {
    fn sendable<T: Send + 'static>() {}
    sendable::<std::sync::Arc<Table>>();
    sendable::<TableCursor>();
}
