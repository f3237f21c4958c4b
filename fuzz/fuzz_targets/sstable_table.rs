//! A whole table, on the simulated file system: any bytes, or what was written with bytes changed and
//! checksums made right again. It opens and is read in every way, or errors say why not. Unchanged, it
//! holds what was written, by every way of reading, and a walk within bounds agrees with a sorted list.
//!
//! No dictionary of Zstd is among them, which would take a megabyte of entries: `sstable_frame` has some.
#![no_main]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use stratalog_base::fs::{Fs, SimFs};
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::range::RangeTombstoneRef;
use stratalog_base::{Cursor, InternalKey, KeyRef, Kind, Result};
use stratalog_sstable::inspect::Event;
use stratalog_sstable::{
    BlockCache, Bounds, Compression, FilterPolicy, ReadUse, Reads, Table, TableCursor,
    TableOptions, TableWriter, ValueFile, ValueHandle, ValueWriter, fuzz, key_hash,
};

const PATH: &str = "7.sst";
const ID: u64 = 7;
/// The numbers of the value files.
const VALUE_FILES: [u64; 2] = [8, 9];

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    source: Source<'a>,
    heal: bool,
    walk: Walk<'a>,
}

#[derive(Arbitrary, Debug)]
enum Source<'a> {
    Bytes(&'a [u8]),
    Written { content: Content<'a>, changes: Vec<(u16, u8)>, cut: Option<u16> },
}

#[derive(Arbitrary, Debug)]
enum Value<'a> {
    Put(&'a [u8]),
    Delete,
    /// In the first or the second value file.
    Separated(bool, &'a [u8]),
}

#[derive(Arbitrary, Debug)]
enum Packing {
    Plain,
    Lz4,
    Zstd(bool),
}

#[derive(Arbitrary, Debug)]
struct Content<'a> {
    entries: BTreeMap<(&'a [u8], u16), Value<'a>>,
    ranges: Vec<(&'a [u8], &'a [u8], u16)>,
    block_bytes: u8,
    restart_interval: u8,
    partition_bytes: u8,
    filter_bits: u8,
    packing: Packing,
    ribbon: bool,
    prefix_bytes: u8,
}

/// What a cursor shows, and what is asked of it.
#[derive(Arbitrary, Debug)]
struct Walk<'a> {
    lower: Option<Target<'a>>,
    upper: Option<Target<'a>>,
    sweep: bool,
    keys_only: bool,
    steps: Vec<Step<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Target<'a> {
    Key(&'a [u8], u16),
    /// That of an entry.
    Entry(u8),
}

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    First,
    Last,
    Seek {
        target: Target<'a>,
        approach: bool,
    },
    SeekBefore(Target<'a>),
    Next,
    Prev,
    NextWhile {
        most: u8,
        stop_at: u8,
    },
    /// Asks how far it is to there.
    Runs(Target<'a>),
}

type Entries = Vec<(InternalKey, Vec<u8>)>;

/// What was written: entries as the table holds them, in order, and what separated ones lead to.
#[derive(Default)]
struct Written<'a> {
    entries: Entries,
    values: Vec<(ValueHandle, &'a [u8])>,
}

fn value_path(file: u64) -> PathBuf {
    format!("{file}.val").into()
}

impl Content<'_> {
    fn options(&self) -> TableOptions {
        TableOptions {
            block_bytes: 1 + usize::from(self.block_bytes),
            restart_interval: 1 + usize::from(self.restart_interval % 8),
            partition_bytes: 1 + usize::from(self.partition_bytes),
            filter_bits_per_key: f64::from(self.filter_bits % 12),
            filter: if self.ribbon { FilterPolicy::Ribbon } else { FilterPolicy::Bloom },
            prefix_bytes: usize::from(self.prefix_bytes % 5),
            compression: match self.packing {
                Packing::Plain => Compression::None,
                Packing::Lz4 => Compression::Lz4,
                Packing::Zstd(fast) => Compression::Zstd { level: if fast { 1 } else { 3 } },
            },
        }
    }

    /// Writes the value files, and what the table will hold.
    fn separate(&self, fs: &SimFs) -> Result<Written<'_>> {
        let [mut first, mut second] = VALUE_FILES.map(|file| {
            let created = fs.create(&value_path(file)).expect("a new file");
            ValueWriter::new(created, file, Compression::Lz4)
        });
        let mut written = Written::default();
        for ((user, seq), value) in &self.entries {
            let (kind, stored) = match value {
                Value::Put(value) => (Kind::Put, value.to_vec()),
                Value::Delete => (Kind::Delete, Vec::new()),
                Value::Separated(is_second, value) => {
                    let writer = if *is_second { &mut second } else { &mut first };
                    let (handle, mut stored) = (writer.append(value)?, Vec::new());
                    handle.encode(&mut stored);
                    written.values.push((handle, value));
                    (Kind::Separated, stored)
                }
            };
            written.entries.push((KeyRef::new(user, (*seq).into(), kind).to_owned(), stored));
        }
        for (writer, file) in [(first, VALUE_FILES[0]), (second, VALUE_FILES[1])] {
            if written.values.iter().any(|(handle, _)| handle.file == file) {
                writer.finish()?;
            }
        }
        written.entries.sort_by(|(a, _), (b, _)| a.as_ref().cmp(&b.as_ref()));
        Ok(written)
    }

    /// Writes the table. Says whether it has anything to hold.
    fn write(&self, fs: &SimFs, entries: &Entries) -> Result<bool> {
        let mut writer = TableWriter::new(fs.create(Path::new(PATH))?, ID, &self.options());
        for (start, end, seq) in &self.ranges {
            writer.add_range(start, end, (*seq).into());
        }
        for (key, value) in entries {
            writer.add(key.as_ref(), value)?;
        }
        if writer.is_empty() {
            return Ok(false);
        }
        writer.finish()?;
        Ok(true)
    }

    /// Checks that `table`, unchanged, holds what was written.
    fn is_held_by(&self, table: &Arc<Table>, fs: &SimFs, written: &Written<'_>) {
        let Written { entries, values } = written;
        assert_eq!(table.verify(|_, _| Ok(())).expect("the table is whole"), entries.len() as u64);
        for (key, value) in entries {
            let found = table.get(&key.user, key_hash(&key.user), key.trailer.seq());
            let (trailer, found) = found.expect("the table is whole").expect("it was written");
            assert_eq!((trailer, &*found), (key.trailer, value.as_slice()));
            assert!(table.may_contain_prefix(&key.user).expect("the table is whole"));
            let covers = |&&(start, end, _): &&(&[u8], &[u8], u16)| {
                (start..end).contains(&&*key.user) // Also if it ends before it starts.
            };
            let newest = self.ranges.iter().filter(covers).map(|range| range.2.into()).max();
            assert_eq!(table.covering(&key.user, MAX_SEQ_NO), newest);
        }
        let mut inspected = Vec::new();
        let inspect = |event: Event<'_>| {
            match event {
                Event::Entry { key, value } => inspected.push((key.to_owned(), value.to_vec())),
                Event::Bad { at, error } => panic!("{at:?} of a whole table: {error}"),
                Event::Partition { .. } | Event::Block { .. } => {}
            }
            Ok(())
        };
        inspect_all(table, inspect);
        assert_eq!(inspected, *entries);
        let cache = BlockCache::new(1 << 20);
        let mut refs = BTreeMap::new();
        for (handle, value) in values {
            let file = fs.open(&value_path(handle.file)).expect("it was written");
            let file = ValueFile::open(file, handle.file, cache.clone()).expect("it is whole");
            assert_eq!(file.get(handle).expect("it is whole"), *value);
            *refs.entry(handle.file).or_insert(0) += handle.bytes;
        }
        let found = table.summary().value_refs.iter().map(|found| (found.file, found.bytes));
        assert!(found.eq(refs));
    }
}

fn inspect_all(table: &Table, mut each: impl FnMut(Event<'_>) -> Result<()>) {
    table.inspect(&mut each).expect("damage is told, and the disk works");
    let layout = table.layout();
    let parts = [
        layout.data_bytes,
        layout.index_bytes,
        layout.filter_bytes,
        layout.top_bytes,
        layout.range_tombstone_bytes,
        layout.dictionary_bytes,
        layout.properties_bytes,
    ];
    assert_eq!(parts.iter().sum::<u64>() + 8 + 80, table.summary().bytes);
}

impl Target<'_> {
    fn key<'a>(&'a self, entries: &'a Entries) -> KeyRef<'a> {
        match self {
            Target::Key(user, seq) => KeyRef::seek(user, (*seq).into()),
            Target::Entry(number) => match entries.get(usize::from(*number) % entries.len().max(1))
            {
                Some((key, _)) => key.as_ref(),
                None => KeyRef::before(b""),
            },
        }
    }
}

impl Walk<'_> {
    fn reads(&self, entries: &Entries) -> Reads {
        let bound = |target: &Option<Target<'_>>| {
            target.as_ref().map(|target| target.key(entries).to_owned())
        };
        let bounds = Bounds { lower: bound(&self.lower), upper: bound(&self.upper) };
        let is_bounded = bounds.lower.is_some() || bounds.upper.is_some();
        Reads {
            purpose: if self.sweep { ReadUse::Sweep } else { ReadUse::Lookup },
            bounds: is_bounded.then(|| Arc::new(bounds)),
            keys_only: self.keys_only,
        }
    }

    /// The entries within the bounds.
    fn shown<'a>(&self, entries: &'a Entries) -> &'a [(InternalKey, Vec<u8>)] {
        let place = |target: &Target<'_>| {
            let key = target.key(entries);
            entries.partition_point(|(entry, _)| entry.as_ref() < key)
        };
        let start = self.lower.as_ref().map_or(0, place);
        let end = self.upper.as_ref().map_or(entries.len(), place);
        &entries[start..end.max(start)]
    }

    /// Takes all steps. If the table is the one with `entries`, they lead where they should.
    fn take(&self, table: &Arc<Table>, entries: &Entries, is_whole: bool) {
        let mut cursor = table.cursor(self.reads(entries));
        let shown = self.shown(entries);
        let mut at = None;
        for step in &self.steps {
            if is_whole {
                at = model(step, at, shown, entries, &mut cursor);
                let expected = at.map(|at: usize| (shown[at].0.as_ref(), shown[at].1.as_slice()));
                let found = cursor.valid().then(|| (cursor.key(), cursor.value()));
                assert_eq!(found, expected, "after {step:?}");
            } else {
                let _ = take_step(step, entries, &mut cursor, |_, _| {});
                if cursor.valid() {
                    cursor.value_slice();
                }
            }
        }
    }
}

/// Takes `step` and says where it leads among the entries `shown`, from the one at `at`.
fn model(
    step: &Step<'_>,
    at: Option<usize>,
    shown: &[(InternalKey, Vec<u8>)],
    entries: &Entries,
    cursor: &mut TableCursor,
) -> Option<usize> {
    let place = |target: &Target<'_>| {
        let key = target.key(entries);
        shown.partition_point(|(entry, _)| entry.as_ref() < key)
    };
    let mut seen = Vec::new();
    let count = take_step(step, entries, cursor, |key, value: &[u8]| {
        seen.push((key.to_owned(), value.to_vec()));
    });
    let count = count.expect("the table is whole");
    match step {
        Step::First => Some(0),
        Step::Last => shown.len().checked_sub(1),
        Step::Seek { target, .. } => Some(place(target)),
        Step::SeekBefore(target) => place(target).checked_sub(1),
        Step::Next => at.map(|at| at + 1),
        Step::Prev => at.and_then(|at| at.checked_sub(1)),
        Step::NextWhile { most, stop_at } => {
            assert!(count <= usize::from(*most));
            assert_eq!(count, seen.len());
            assert!(seen.iter().rev().skip(1).all(|(_, value)| !is_stop(value, *stop_at)));
            at.inspect(|at| assert_eq!(seen, shown[at + 1..][..count])).map(|at| at + count)
        }
        Step::Runs(target) => {
            if let Some(at) = at {
                // That many steps, none of which needs a comparison; more there may be.
                let (before, behind) = (count >> 16, count & 0xffff);
                assert!(before == 0 || at + before < place(target));
                assert!(behind == 0 || at - behind >= place(target));
            }
            at
        }
    }
    .filter(|at| *at < shown.len())
}

fn is_stop(value: &[u8], stop_at: u8) -> bool {
    value.len() == usize::from(stop_at)
}

/// Takes `step`, if the cursor allows it. Returns what it counts.
fn take_step(
    step: &Step<'_>,
    entries: &Entries,
    cursor: &mut TableCursor,
    mut seen: impl FnMut(KeyRef<'_>, &[u8]),
) -> Result<usize> {
    match step {
        Step::First => cursor.seek_first()?,
        Step::Last => cursor.seek_last()?,
        Step::Seek { target, approach } => {
            let key = target.key(entries);
            let mut part = 0;
            while *approach && cursor.approach(key, part) {
                part += 1;
            }
            cursor.seek(key)?;
        }
        Step::SeekBefore(target) => cursor.seek_before(target.key(entries))?,
        _ if !cursor.valid() => {}
        Step::Next => cursor.next()?,
        Step::Prev => cursor.prev()?,
        Step::NextWhile { most, stop_at } => {
            return Ok(cursor.next_while((*most).into(), |key, value| {
                seen(key, value);
                !is_stop(value, *stop_at)
            }));
        }
        Step::Runs(target) => {
            let key = target.key(entries);
            return Ok(cursor.run_before(key) << 16 | cursor.run_behind(key));
        }
    }
    Ok(0)
}

/// Asks a table that was changed for everything; whatever comes is right, as long as it comes.
fn read_all(table: &Arc<Table>, fs: &SimFs) {
    let _ = table.verify(|_, _| Ok(()));
    let mut keys = Vec::new();
    let look = |event: Event<'_>| {
        if let Event::Entry { key, value } = event {
            keys.push(key.to_owned());
            if key.trailer.kind() == Kind::Separated {
                let handle = ValueHandle::of_entry(value); // BLOCK-1
                let file = fs.open(&value_path(handle.file));
                let file = file
                    .and_then(|file| ValueFile::open(file, handle.file, BlockCache::new(1 << 20)));
                let _ = file.and_then(|file| file.get(&handle));
            }
        }
        Ok(())
    };
    inspect_all(table, look);
    for key in &keys {
        let _ = table.get(&key.user, key_hash(&key.user), key.trailer.seq());
        let _ = table.may_contain_prefix(&key.user);
        table.covering(&key.user, MAX_SEQ_NO);
    }
    for purpose in [ReadUse::Sweep, ReadUse::Lookup] {
        let mut cursor = table.cursor(purpose);
        let mut valid = cursor.seek_first().is_ok() && cursor.valid();
        while valid {
            valid = cursor.next().is_ok() && cursor.valid();
        }
        let mut valid = cursor.seek_last().is_ok() && cursor.valid();
        while valid {
            valid = cursor.prev().is_ok() && cursor.valid();
        }
        for RangeTombstoneRef { start, end, seq } in table.ranges().tombstones() {
            let _ = cursor.seek(KeyRef::before(start));
            let _ = cursor.seek_before(KeyRef::seek(end, seq));
        }
    }
}

fuzz_target!(|input: Input<'_>| {
    let fs = SimFs::new();
    let Input { source, heal, walk } = input;
    let mut written = Written::default();
    let (mut bytes, whole) = match &source {
        Source::Bytes(bytes) => (bytes.to_vec(), None),
        Source::Written { content, changes, cut } => {
            written = content.separate(&fs).expect("the simulated disk works");
            if !content.write(&fs, &written.entries).expect("the simulated disk works") {
                return;
            }
            let mut bytes = fs.read_file(PATH);
            bytes.truncate(cut.map_or(bytes.len(), usize::from));
            for (at, bits) in changes {
                let len = bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(usize::from(*at) % len) {
                    *byte ^= bits;
                }
            }
            (bytes, (changes.is_empty() && cut.is_none()).then_some(content))
        }
    };
    if heal {
        fuzz::heal(&mut bytes, ID);
    }
    fs.write_file(PATH, &bytes);
    let file = fs.open(Path::new(PATH)).expect("it was written");
    let table = match Table::open(file, ID, BlockCache::new(1 << 20)) {
        Ok(table) => table,
        Err(why) => return assert!(whole.is_none(), "{why}"),
    };
    match whole {
        Some(content) => content.is_held_by(&table, &fs, &written),
        None => read_all(&table, &fs),
    }
    walk.take(&table, &written.entries, whole.is_some());
});
