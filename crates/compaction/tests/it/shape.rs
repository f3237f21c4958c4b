//! Trees as text: one line a table, `LEVEL: FIRST..LAST MIB [#ID] [seq A-B]`.

use stratalog_base::{InternalKey, KeyRef, Kind, SeqNo};
use stratalog_compaction::{Version, VersionEdit};
use stratalog_sstable::TableSummary;

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
        smallest: key(first, id * 100 + 99),
        largest: key(last, id * 100),
        min_seq: id * 100,
        max_seq: id * 100 + 99,
        checksum: id,
    }
}

/// The tree that `text` shows. Ids count from 1 in the order of the lines.
pub fn parse(text: &str) -> Version<TableSummary> {
    let mut edit = VersionEdit::default();
    for (line, id) in text.lines().zip(1..) {
        let (level, table) = line.split_once(':').expect("LEVEL: …");
        let mut words = table.split_whitespace();
        let (first, last) = words.next().and_then(|range| range.split_once("..")).expect("A..B");
        let mib = words.next().expect("MIB").parse().expect("a number");
        edit.added.push((level.trim().parse().expect("a level"), summary(id, first, last, mib)));
    }
    Version::default().apply(&edit, |table| Ok(table.clone()), |what| what).expect("a good tree")
}
