//! What a cursor shows within bounds, and what it reads for that.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use stratalog_base::fs::{File, Fs, SimRng};
use stratalog_base::{Cursor, InternalKey, KeyRef, Kind, Result, Trailer};
use stratalog_sstable::{
    BlockCache, Bounds, ReadUse, Reads, Table, TableCursor, TableOptions, key_hash,
};

use crate::support::{
    Entries, ID, PATH, enough_keys, every_options, open, options, random_entries, write,
};

/// Notes what is read of a file.
#[derive(Debug)]
struct Watched {
    file: Arc<dyn File>,
    reads: Mutex<Vec<Range<u64>>>,
}

impl File for Watched {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.reads.lock().unwrap().push(offset..offset + buf.len() as u64);
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.file.write_at(buf, offset)
    }

    fn write_parts_at(&self, parts: &[std::io::IoSlice<'_>], offset: u64) -> Result<()> {
        self.file.write_parts_at(parts, offset)
    }

    fn len(&self) -> Result<u64> {
        self.file.len()
    }

    fn sync(&self) -> Result<()> {
        self.file.sync()
    }
}

impl Watched {
    /// What was read since the last call.
    fn take(&self) -> Vec<Range<u64>> {
        std::mem::take(&mut *self.reads.lock().unwrap())
    }

    fn take_lengths(&self) -> Vec<u64> {
        self.take().iter().map(|range| range.end - range.start).collect()
    }
}

fn watched(
    entries: &Entries,
    options: &TableOptions,
    cache_bytes: usize,
) -> (Arc<Table>, Arc<Watched>) {
    let (fs, _) = write(entries, options);
    let file = fs.open(Path::new(PATH)).unwrap();
    let file = Arc::new(Watched { file, reads: Mutex::default() });
    let table = Table::open(file.clone(), ID, BlockCache::new(cache_bytes)).unwrap();
    file.take();
    (table, file)
}

/// Blocks of just over 1 000 B, one entry each.
fn one_entry_a_block(count: u64) -> Entries {
    let entry = |i: u64| {
        let key = KeyRef::new(&i.to_be_bytes(), 1, Kind::Put).to_owned();
        (key, vec![i as u8; 1000])
    };
    (0..count).map(entry).collect()
}

/// An upper limit of a block of [`one_entry_a_block`], frame included.
const BLOCK_BYTES: u64 = 1100;

fn reads_of_block(entries: &Entries, options: &TableOptions) -> u64 {
    let (table, file) = watched(entries, options, 0);
    let mut cursor = table.cursor(ReadUse::Lookup);
    cursor.seek(entries[7].0.as_ref()).unwrap();
    let lengths = file.take_lengths();
    assert_eq!(lengths.len(), 1, "a partition that stays in memory, and one block");
    assert!(lengths[0] < BLOCK_BYTES);
    lengths[0]
}

/// Stands at the end from which the walk starts.
fn begin(cursor: &mut TableCursor, forward: bool) {
    let moved = if forward { cursor.seek_first() } else { cursor.seek_last() };
    moved.unwrap();
}

fn walk(cursor: &mut TableCursor, forward: bool) {
    while cursor.valid() {
        if forward { cursor.next().unwrap() } else { cursor.prev().unwrap() }
    }
}

#[test]
fn a_walk_reads_ahead_more_and_more() {
    let (entries, options) = (one_entry_a_block(2000), options(1000, 16));
    let block = reads_of_block(&entries, &options);
    for forward in [true, false] {
        let (table, file) = watched(&entries, &options, 64 << 20);
        let mut cursor = table.cursor(ReadUse::Lookup);
        begin(&mut cursor, forward);
        walk(&mut cursor, forward);
        let blocks: Vec<u64> = file.take_lengths().iter().map(|bytes| bytes / block).collect();
        assert_eq!(blocks[..9], [1, 1, 2, 4, 8, 16, 32, 64, 128], "forward: {forward}");
        assert_eq!(blocks[9], (256 << 10) / block, "the most that is read at once");
        assert!(blocks.len() < 18 && blocks.iter().sum::<u64>() <= 2000, "{blocks:?}");
        // All of it is cached now.
        let mut again = table.cursor(ReadUse::Lookup);
        begin(&mut again, !forward);
        walk(&mut again, !forward);
        assert_eq!(file.take(), []);
    }
}

#[test]
fn seeks_here_and_there_read_a_block_each() {
    let (entries, options) = (one_entry_a_block(2000), options(1000, 16));
    let (table, file) = watched(&entries, &options, 0);
    let mut cursor = table.cursor(ReadUse::Lookup);
    let mut rng = SimRng::new(3);
    let mut last = 0;
    for _ in 0..500 {
        let index = rng.below(entries.len() as u64 - 2) as usize;
        if index.abs_diff(last) < 4 {
            continue;
        }
        last = index;
        if rng.chance(1, 2) {
            cursor.seek(entries[index].0.as_ref()).unwrap();
        } else {
            cursor.seek_before(entries[index + 1].0.as_ref()).unwrap();
        }
        assert_eq!(cursor.key(), entries[index].0.as_ref());
        let lengths = file.take_lengths();
        // To look before a key that begins a block is to look into that block first.
        assert!(matches!(lengths.len(), 1 | 2), "{lengths:?}");
        assert!(lengths.iter().all(|&bytes| bytes < BLOCK_BYTES), "{lengths:?}");
        // A few steps do not make it a walk.
        cursor.next().unwrap();
        assert!(file.take_lengths().iter().all(|&bytes| bytes < BLOCK_BYTES));
    }
}

#[test]
fn a_walk_that_turns_back_begins_anew() {
    let (entries, options) = (one_entry_a_block(200), options(1000, 16));
    let (table, file) = watched(&entries, &options, 0);
    let mut cursor = table.cursor(ReadUse::Lookup);
    cursor.seek_first().unwrap();
    (0..40).for_each(|_| cursor.next().unwrap());
    file.take();
    cursor.seek(entries[150].0.as_ref()).unwrap();
    cursor.prev().unwrap();
    assert!(file.take_lengths().iter().all(|&bytes| bytes < BLOCK_BYTES));
}

fn random_bound(entries: &Entries, rng: &mut SimRng) -> Option<InternalKey> {
    if rng.chance(1, 5) {
        return None;
    }
    let (key, _) = &entries[rng.below(entries.len() as u64) as usize];
    let mut user = key.user.to_vec();
    match rng.below(5) {
        0 => user.push(b'b'),
        1 => drop(user.pop()),
        _ => {}
    }
    let trailer = match rng.below(4) {
        0 => Trailer::NEWEST,
        1 => Trailer::OLDEST,
        2 => key.trailer,
        _ => Trailer::new(rng.below(1 << 20), Kind::Put),
    };
    Some(InternalKey { user: user.into(), trailer })
}

/// Random moves of `cursor`, each compared with the same move over `entries`.
fn moves(cursor: &mut TableCursor, entries: &Entries, all: &Entries, rng: &mut SimRng) {
    let mut at = usize::MAX;
    for _ in 0..60 {
        let target = random_bound(all, rng).unwrap_or_else(|| all[0].0.clone());
        let target = target.as_ref();
        let found = entries.partition_point(|(key, _)| key.as_ref() < target);
        match rng.below(10) {
            0 => {
                begin(cursor, true);
                at = 0;
            }
            1 => {
                begin(cursor, false);
                at = entries.len().wrapping_sub(1);
            }
            2 => {
                cursor.seek(target).unwrap();
                at = found;
            }
            3 => {
                let mut part = 0;
                while cursor.approach(target, part) {
                    assert!(!cursor.valid());
                    part += 1;
                }
                cursor.seek(target).unwrap();
                at = found;
            }
            4 => {
                cursor.seek_before(target).unwrap();
                at = found.wrapping_sub(1);
            }
            5 if at < entries.len() => at += steps(cursor, entries, at, rng),
            5..8 => {
                for _ in 0..rng.below(50) {
                    if at < entries.len() {
                        cursor.next().unwrap();
                        at += 1;
                        assert_at(cursor, entries, at);
                    }
                }
            }
            _ => {
                for _ in 0..rng.below(50) {
                    if at < entries.len() {
                        cursor.prev().unwrap();
                        at = at.wrapping_sub(1);
                        assert_at(cursor, entries, at);
                    }
                }
            }
        }
        assert_at(cursor, entries, at);
        if at < entries.len() {
            assert!(cursor.run_before(target) <= found.saturating_sub(at + 1));
            assert!(cursor.run_behind(target) <= at.saturating_sub(found));
        }
    }
}

/// Steps by [`Cursor::next_while`] from entry `at`; returns how many.
fn steps(cursor: &mut TableCursor, entries: &Entries, at: usize, rng: &mut SimRng) -> usize {
    let (most, stop) = (rng.below(50) as usize, 1 + rng.below(50) as usize);
    let mut shown = 0;
    let taken = cursor.next_while(most, |key, value| {
        shown += 1;
        assert_eq!((key, value), (entries[at + shown].0.as_ref(), &entries[at + shown].1[..]));
        shown < stop
    });
    assert!(taken == shown && taken <= most.min(stop));
    taken
}

fn assert_at(cursor: &TableCursor, entries: &Entries, at: usize) {
    let here = cursor.valid().then(|| (cursor.key(), cursor.value()));
    assert_eq!(here, entries.get(at).map(|(key, value)| (key.as_ref(), &value[..])));
}

#[test]
fn a_bounded_cursor_is_that_of_a_table_with_fewer_entries() {
    // CURSOR-1
    for (seed, options) in every_options().into_iter().enumerate() {
        println!("seed {seed}, {options:?}");
        let mut rng = SimRng::new(seed as u64);
        let keys = enough_keys(&options, 30 + rng.below(300));
        let all = random_entries(seed as u64, keys, 1 + rng.below(20));
        let (fs, _) = write(&all, &options);
        let table =
            open(&fs, &BlockCache::new([0, 2_000, 1 << 20][rng.below(3) as usize])).unwrap();
        for _ in 0..12 {
            let bounds =
                Bounds { lower: random_bound(&all, &mut rng), upper: random_bound(&all, &mut rng) };
            let is_within = |key: KeyRef<'_>| {
                bounds.lower.as_ref().is_none_or(|lower| key >= lower.as_ref())
                    && bounds.upper.as_ref().is_none_or(|upper| key < upper.as_ref())
            };
            let entries: Entries =
                all.iter().filter(|(key, _)| is_within(key.as_ref())).cloned().collect();
            let purpose = [ReadUse::Lookup, ReadUse::Sweep][rng.below(2) as usize];
            let keys_only = rng.chance(1, 2);
            let reads = Reads { purpose, bounds: Some(Arc::new(bounds)), keys_only };
            moves(&mut table.cursor(reads), &entries, &all, &mut rng);
        }
    }
}

#[test]
fn nothing_is_read_beyond_the_bounds() {
    // CURSOR-2
    let (entries, options) = (one_entry_a_block(600), options(1000, 16));
    let block = reads_of_block(&entries, &options);
    let place = |index: usize| 8 + index as u64 * block;
    for partition_bytes in [400, 64 << 10] {
        let options = TableOptions { partition_bytes, ..options };
        let mut rng = SimRng::new(5);
        for _ in 0..60 {
            let first = rng.below(599) as usize;
            let last = first + 1 + rng.below(599 - first as u64) as usize;
            let before = |index: usize| Some(KeyRef::before(&entries[index].0.user).to_owned());
            let bounds = Arc::new(Bounds { lower: before(first), upper: before(last) });
            for purpose in [ReadUse::Lookup, ReadUse::Sweep] {
                for forward in [true, false] {
                    let (table, file) = watched(&entries, &options, 64 << 20);
                    let reads = Reads { purpose, bounds: Some(bounds.clone()), keys_only: false };
                    let mut cursor = table.cursor(reads);
                    begin(&mut cursor, forward);
                    walk(&mut cursor, forward);
                    let data = file.take().into_iter().filter(|read| read.start < place(600));
                    for read in data {
                        let allowed = place(first)..place(last);
                        assert!(
                            allowed.start <= read.start && read.end <= allowed.end,
                            "{first}..{last}, {purpose:?}, forward {forward}: {read:?} of {allowed:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn steps_at_once_take_all_of_a_block_but_what_is_beyond_the_bounds() {
    let entries = random_entries(3, 400, 1);
    let (fs, _) = write(&entries, &options(1 << 20, 16));
    let table = open(&fs, &BlockCache::new(0)).unwrap();
    for (bound, behind) in [(None, entries.len()), (Some(entries[70].0.clone()), 70)] {
        let bounds = Some(Arc::new(Bounds { lower: None, upper: bound }));
        let mut cursor = table.cursor(Reads { purpose: ReadUse::Lookup, bounds, keys_only: false });
        cursor.seek(entries[5].0.as_ref()).unwrap();
        assert_eq!(cursor.next_while(usize::MAX, |_, _| true), behind - 6);
        assert_at(&cursor, &entries, behind - 1);
        assert_eq!(cursor.next_while(usize::MAX, |_, _| true), 0);
        cursor.next().unwrap();
        assert!(!cursor.valid());
    }
}

#[test]
fn a_cursor_whose_steps_panic_is_invalid() {
    let entries = random_entries(3, 400, 1);
    let (fs, _) = write(&entries, &options(1 << 20, 16));
    let mut cursor = open(&fs, &BlockCache::new(0)).unwrap().cursor(ReadUse::Lookup);
    cursor.seek_first().unwrap();
    let steps = std::panic::AssertUnwindSafe(|| cursor.next_while(9, |_, _| panic!("as it must")));
    assert!(std::panic::catch_unwind(steps).is_err());
    assert!(!cursor.valid());
    cursor.seek(entries[7].0.as_ref()).unwrap();
    assert_at(&cursor, &entries, 7);
}

#[test]
fn a_failed_read_leaves_a_cursor_that_can_be_sought_again() {
    let entries = one_entry_a_block(50);
    let (fs, _) = write(&entries, &options(1000, 16));
    let mut bytes = fs.read_file(PATH);
    bytes[8 + 20 * 1030] ^= 1; // Some block in the middle.
    let file = fs.create(Path::new("db/000008.sst")).unwrap();
    file.write_at(&bytes, 0).unwrap();
    let table = Table::open(file, ID, BlockCache::new(1 << 20)).unwrap();
    for reads in [ReadUse::Lookup, ReadUse::Sweep] {
        let mut cursor = table.cursor(reads);
        cursor.seek_first().unwrap();
        let mut seen = 0;
        let error = loop {
            assert_eq!(cursor.key(), entries[seen].0.as_ref());
            match cursor.next() {
                Ok(()) => seen += 1,
                Err(error) => break error,
            }
        };
        assert!(!cursor.valid() && (15..25).contains(&seen), "{seen}: {error}");
        cursor.seek(entries[seen + 2].0.as_ref()).unwrap();
        assert_eq!(cursor.key(), entries[seen + 2].0.as_ref());
        cursor.prev().unwrap_err();
        assert!(!cursor.valid());
        let key = &entries[3].0.user;
        assert!(table.get(key, key_hash(key), 9).unwrap().is_some());
    }
}
