//! Range tombstones in tables.

use stratalog_base::fs::SimRng;
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::range::RangeTombstone;
use stratalog_base::{Cursor, KeyRef, Kind, SeqNo};
use stratalog_sstable::{BlockCache, Compression, ReadUse, TableOptions, key_hash};

use crate::support::{Entries, PATH, open, options, random_entries, random_ranges, write_with};

fn naive(ranges: &[RangeTombstone], user: &[u8], seq: SeqNo) -> Option<SeqNo> {
    let covers = |t: &&RangeTombstone| *t.start <= *user && *user < *t.end && t.seq <= seq;
    ranges.iter().filter(covers).map(|t| t.seq).max()
}

#[test]
fn a_table_covers_what_its_range_tombstones_cover() {
    for seed in 0..30 {
        println!("seed {seed}");
        let entries = random_entries(seed, seed * 3, 3);
        let ranges = random_ranges(seed, 1 + seed * seed / 3);
        let compression = [Compression::None, Compression::Lz4][seed as usize % 2];
        let options = TableOptions { compression, partition_bytes: 200, ..options(200, 16) };
        let (fs, summary) = write_with(&entries, &ranges, &options);
        let table = open(&fs, &BlockCache::new(1 << 20)).unwrap();
        assert_eq!(*table.summary(), summary);
        assert_eq!(table.verify(|_, _| Ok(())).unwrap(), entries.len() as u64);
        assert_eq!(summary.range_tombstones, table.ranges().len() as u64);
        let mut rng = SimRng::new(seed);
        for range in &ranges {
            let seq = rng.below(2 * range.seq);
            for user in [&range.start, &range.end] {
                assert_eq!(table.covering(user, seq), naive(&ranges, user, seq));
            }
        }
        for (key, value) in &entries {
            assert_eq!(
                table.covering(&key.user, MAX_SEQ_NO),
                naive(&ranges, &key.user, MAX_SEQ_NO)
            );
            // Entries are found whether they are covered or not.
            let found = table.get(&key.user, key_hash(&key.user), key.trailer.seq()).unwrap();
            assert_eq!(found.unwrap().1, *value);
        }
    }
}

#[test]
fn bounds_and_sequence_range_hold_entries_and_range_tombstones() {
    let entry = |user: &[u8], seq| (KeyRef::new(user, seq, Kind::Put).to_owned(), vec![1]);
    let range = |start: &[u8], end: &[u8], seq| RangeTombstone {
        start: start.into(),
        end: end.into(),
        seq,
    };
    let bounds = |entries: &Entries, ranges: &[RangeTombstone]| {
        let (_, summary) = write_with(entries, ranges, &options(64, 16));
        (summary.smallest, summary.largest, summary.min_seq..=summary.max_seq)
    };
    let (before, d) = (|user| KeyRef::before(user).to_owned(), entry(b"d", 5));
    let both = bounds(&vec![d.clone()], &[range(b"e", b"f", 9), range(b"a", b"b", 3)]);
    assert_eq!(both, (before(b"a"), before(b"f"), 3..=9));
    let inside = bounds(&vec![entry(b"a", 1), d.clone()], &[range(b"b", b"c", 3)]);
    assert_eq!(inside, (entry(b"a", 1).0, d.0.clone(), 1..=5));
    // The end is not covered: an entry of that key is greater than the bound.
    let end = bounds(&vec![d.clone()], &[range(b"d", b"d\0", 3), range(b"a", b"d", 4)]);
    assert_eq!(end, (before(b"a"), before(b"d\0"), 3..=5));
}

#[test]
fn a_table_may_hold_range_tombstones_only() {
    let ranges = random_ranges(5, 20);
    let (fs, summary) = write_with(&Entries::new(), &ranges, &TableOptions::default());
    assert_eq!(summary.entries, 0);
    let table = open(&fs, &BlockCache::new(1 << 20)).unwrap();
    assert_eq!(table.verify(|_, _| Ok(())).unwrap(), 0);
    assert_eq!(table.get(b"ab", key_hash(b"ab"), MAX_SEQ_NO).unwrap(), None);
    for reads in [ReadUse::Lookup, ReadUse::Sweep] {
        let mut cursor = table.cursor(reads);
        cursor.seek_first().unwrap();
        assert!(!cursor.valid());
        cursor.seek_last().unwrap();
        assert!(!cursor.valid());
        cursor.seek(KeyRef::before(b"a")).unwrap();
        assert!(!cursor.valid());
        cursor.seek_before(KeyRef::before(b"b")).unwrap();
        assert!(!cursor.valid());
    }
}

#[test]
fn the_order_and_repetition_of_range_tombstones_leave_the_bytes_alone() {
    let entries = random_entries(8, 30, 2);
    let mut ranges = random_ranges(9, 40);
    let bytes = |ranges: &[RangeTombstone]| {
        let (fs, summary) = write_with(&entries, ranges, &options(200, 16));
        (fs.read_file(PATH), summary)
    };
    let first = bytes(&ranges);
    ranges.reverse();
    ranges.extend_from_within(..10);
    ranges.push(RangeTombstone { start: b"x"[..].into(), end: b"x"[..].into(), seq: MAX_SEQ_NO });
    assert_eq!(bytes(&ranges), first);
}
