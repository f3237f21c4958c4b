//! A whole table, on the simulated file system: any bytes, or what was written with bytes changed and
//! checksums made right again. It opens and is read whole, or errors say why not. Unchanged, it holds
//! what was written.
#![no_main]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use stratalog_base::fs::{Fs, SimFs};
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::{Cursor, KeyRef, Kind, Result};
use stratalog_sstable::{
    BlockCache, Compression, FilterPolicy, ReadUse, Table, TableOptions, TableWriter, fuzz,
    key_hash,
};

const PATH: &str = "7.sst";
const ID: u64 = 7;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Bytes { bytes: &'a [u8], heal: bool },
    Written { content: Content<'a>, changes: Vec<(u16, u8)>, cut: Option<u16>, heal: bool },
}

#[derive(Arbitrary, Debug)]
struct Content<'a> {
    entries: BTreeMap<(&'a [u8], u16), Option<&'a [u8]>>,
    ranges: Vec<(&'a [u8], &'a [u8], u16)>,
    block_bytes: u8,
    restart_interval: u8,
    partition_bytes: u8,
    filter_bits: u8,
    lz4: bool,
    ribbon: bool,
    prefix_bytes: u8,
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
            compression: if self.lz4 { Compression::Lz4 } else { Compression::None },
        }
    }

    /// In internal order, whose newer versions come first.
    fn entries(&self) -> impl Iterator<Item = (KeyRef<'_>, &[u8])> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|((user, seq), _)| (*user, u16::MAX - seq));
        entries.into_iter().map(|((user, seq), value)| {
            let kind = if value.is_some() { Kind::Put } else { Kind::Delete };
            (KeyRef::new(user, (*seq).into(), kind), value.unwrap_or_default())
        })
    }

    fn write(&self, fs: &SimFs) -> Result<bool> {
        let mut writer = TableWriter::new(fs.create(Path::new(PATH))?, ID, &self.options());
        for (start, end, seq) in &self.ranges {
            writer.add_range(start, end, (*seq).into());
        }
        for (key, value) in self.entries() {
            writer.add(key, value)?;
        }
        if writer.is_empty() {
            return Ok(false);
        }
        writer.finish()?;
        Ok(true)
    }

    fn is_held_by(&self, table: &Arc<Table>) {
        let found = walk(table, ReadUse::Sweep).expect("the table is whole");
        assert!(self.entries().eq(found.iter().map(|(user, seq, kind, value)| {
            (KeyRef::new(user, *seq, *kind), value.as_slice())
        })));
        for (key, value) in self.entries() {
            let found = table.get(key.user, key_hash(key.user), key.trailer.seq());
            let (trailer, found) = found.expect("the table is whole").expect("it was written");
            assert_eq!((trailer, &*found), (key.trailer, value));
        }
        assert_eq!(table.verify().expect("the table is whole"), self.entries.len() as u64);
    }
}

type Entry = (Vec<u8>, u64, Kind, Vec<u8>);

fn walk(table: &Arc<Table>, reads: ReadUse) -> Result<Vec<Entry>> {
    let mut cursor = table.cursor(reads);
    let mut entries = Vec::new();
    cursor.seek_first()?;
    while cursor.valid() {
        let KeyRef { user, trailer } = cursor.key();
        let value = cursor.value_slice().to_vec();
        entries.push((user.to_vec(), trailer.seq(), trailer.kind(), value));
        cursor.next()?;
    }
    Ok(entries)
}

/// Asks for everything; whatever comes is right, as long as it comes.
fn read_all(table: &Arc<Table>) {
    let _ = table.verify();
    let _ = walk(table, ReadUse::Sweep);
    for (user, seq, ..) in walk(table, ReadUse::Lookup).unwrap_or_default() {
        let _ = table.get(&user, key_hash(&user), seq);
        table.covering(&user, MAX_SEQ_NO);
    }
    let mut cursor = table.cursor(ReadUse::Lookup);
    let mut valid = cursor.seek_last().is_ok() && cursor.valid();
    while valid {
        valid = cursor.prev().is_ok() && cursor.valid();
    }
    for range in table.ranges().tombstones() {
        let _ = cursor.seek(KeyRef::before(range.start));
        let _ = cursor.seek_before(KeyRef::seek(range.end, range.seq));
    }
}

fuzz_target!(|input: Input<'_>| {
    let fs = SimFs::new();
    let (mut bytes, changes, content, heal) = match input {
        Input::Bytes { bytes, heal } => (bytes.to_vec(), true, None, heal),
        Input::Written { content, changes, cut, heal } => {
            if !content.write(&fs).expect("the simulated disk works") {
                return;
            }
            let mut bytes = fs.read_file(PATH);
            bytes.truncate(cut.map_or(bytes.len(), usize::from));
            for (at, bits) in &changes {
                let len = bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(usize::from(*at) % len) {
                    *byte ^= bits;
                }
            }
            (bytes, !changes.is_empty() || cut.is_some(), Some(content), heal)
        }
    };
    if heal {
        fuzz::heal(&mut bytes, ID);
    }
    fs.write_file(PATH, &bytes);
    let file = fs.open(Path::new(PATH)).expect("it was written");
    match (Table::open(file, ID, BlockCache::new(1 << 20)), changes, &content) {
        (Ok(table), true, _) | (Ok(table), _, None) => read_all(&table),
        (Ok(table), false, Some(content)) => content.is_held_by(&table),
        (Err(why), changed, _) => assert!(changed, "{why}"),
    }
});
