//! Trees as text: one line a table, `LEVEL: FIRST..LAST MIB [vID=MIB…]`, behind its size what it refers to
//! of which value file; and one line a value file, `vID MIB`. All of them together make one edit.

use stratalog_base::{InternalKey, KeyRef, Kind, SeqNo};
use stratalog_compaction::{Version, VersionEdit};
use stratalog_sstable::{TableSummary, ValueRef, ValueSummary};

pub fn key(user: &str, seq: SeqNo) -> InternalKey {
    KeyRef::new(user.as_bytes(), seq, Kind::Put).to_owned()
}

/// A summary with these keys; sequence numbers grow with the id unless given.
pub fn summary(id: u64, first: &str, last: &str, mib: u64) -> TableSummary {
    TableSummary {
        id,
        bytes: mib << 20,
        entries: 10,
        tombstones: 0,
        range_tombstones: 0,
        smallest: key(first, id * 100 + 99),
        largest: key(last, id * 100),
        min_seq: id * 100,
        max_seq: id * 100 + 99,
        value_refs: Vec::new(),
        checksum: id,
    }
}

/// A value file whose records take `mib`.
pub fn values(id: u64, mib: u64) -> ValueSummary {
    let record_bytes = mib << 20;
    ValueSummary { id, bytes: record_bytes + 100, records: 10, record_bytes, checksum: id }
}

/// The edit that `text` shows. Ids of tables count from 1 in the order of the lines.
pub fn parse_edit(text: &str) -> VersionEdit {
    let mut edit = VersionEdit::default();
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let (files, tables): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with('v'));
    for line in files {
        let (id, mib) = line[1..].split_once(' ').expect("vID MIB");
        edit.added_values.push(values(number(id), number(mib)));
    }
    for (line, id) in tables.into_iter().zip(1..) {
        let (level, table) = line.split_once(':').expect("LEVEL: …");
        let mut words = table.split_whitespace();
        let (first, last) = words.next().and_then(|range| range.split_once("..")).expect("A..B");
        let mib = words.next().expect("MIB").parse().expect("a number");
        let mut summary = summary(id, first, last, mib);
        summary.value_refs.extend(words.map(|word| {
            let (id, mib) = word[1..].split_once('=').expect("vID=MIB");
            ValueRef { file: number(id), bytes: number(mib) << 20 }
        }));
        edit.added.push((level.trim().parse().expect("a level"), summary));
    }
    edit
}

/// The tree that `text` shows.
pub fn parse(text: &str) -> Version<TableSummary> {
    let edit = parse_edit(text);
    Version::default().apply(&edit, |table| Ok(table.clone()), |what| what).expect("a good tree")
}
