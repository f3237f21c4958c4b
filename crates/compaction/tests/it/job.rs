//! Jobs: what they keep, where they cut, and what they leave behind when they fail.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use stratalog_base::fs::{Fault, FaultKind, File, Fs, Op, SimFs};
use stratalog_base::{Cursor, Error, InternalKey, KeyRef, Kind, Result};
use stratalog_compaction::{
    Output, Readable, Retain, Shape, Version, VersionEdit, plan_all, run, write_tables,
};
use stratalog_sstable::{BlockCache, Compression, ReadUse, Table, TableOptions, TableSummary};

use crate::merge::{Sorted, table};

#[derive(Clone)]
struct Open(Arc<Table>);

impl Shape for Open {
    fn summary(&self) -> &TableSummary {
        self.0.summary()
    }
}

impl Readable for Open {
    fn table(&self) -> &Arc<Table> {
        &self.0
    }
}

fn entry(user: &str, seq: u64, kind: Kind) -> (InternalKey, Vec<u8>) {
    (KeyRef::new(user.as_bytes(), seq, kind).to_owned(), vec![b'v'; 100])
}

fn output<R>(
    fs: &SimFs,
    table_bytes: u64,
    stop: bool,
    job: impl FnOnce(&mut Output<'_>) -> R,
) -> R {
    let next_id = RefCell::new(100);
    let mut create = || -> Result<(u64, Arc<dyn File>)> {
        *next_id.borrow_mut() += 1;
        let id = *next_id.borrow();
        Ok((id, fs.create(Path::new(&format!("{id:06}.sst")))?))
    };
    let table = TableOptions { compression: Compression::None, ..TableOptions::default() };
    job(&mut Output { create: &mut create, table: &table, table_bytes, stop: &|| stop })
}

#[test]
fn all_versions_of_a_key_stay_in_one_table() {
    let fs = SimFs::new();
    let users = ["a", "b", "c"];
    let all = users.iter().flat_map(|user| (1..400).rev().map(|seq| entry(user, seq, Kind::Put)));
    let mut cursor = Sorted(all.collect(), 0);
    let every = (0..400).collect(); // A snapshot at each number keeps all versions.
    let tables = output(&fs, 4 << 10, false, |output| {
        write_tables(&mut cursor, Retain::new(every), |_| true, output)
    });
    let tables = tables.unwrap();
    let ranges: Vec<_> = tables.iter().map(|t| (&*t.smallest.user, &*t.largest.user)).collect();
    assert_eq!(ranges, [(&b"a"[..], &b"a"[..]), (b"b", b"b"), (b"c", b"c")], "VERSION-2");
    assert!(tables.iter().all(|table| table.entries == 399));
}

#[test]
fn a_compaction_keeps_what_can_be_read_and_drops_the_rest() {
    let fs = SimFs::new();
    let newer = table(
        &fs,
        2,
        &[entry("a", 9, Kind::Delete), entry("b", 8, Kind::Put), entry("d", 7, Kind::Delete)],
    );
    let older = table(
        &fs,
        1,
        &[entry("a", 3, Kind::Put), entry("b", 4, Kind::Put), entry("c", 5, Kind::Put)],
    );
    let bottom = table(&fs, 3, &[entry("d", 1, Kind::Put), entry("e", 2, Kind::Put)]);
    let edit = |added| VersionEdit { added, ..VersionEdit::default() };
    let tree = |tables: &[(usize, &Arc<Table>)]| {
        let added = tables.iter().map(|(level, table)| (*level, table.summary().clone())).collect();
        let open = |summary: &TableSummary| {
            let found =
                tables.iter().find(|(_, table)| table.summary() == summary).expect("one of them");
            Ok(Open(found.1.clone()))
        };
        Version::default().apply(&edit(added), open, |what| what).unwrap()
    };
    let survivors = |version: &Version<Open>, snapshots: Vec<u64>| {
        let plan = plan_all(&tree(&[(0, &newer), (0, &older)]), &Default::default()).unwrap();
        let fs = SimFs::new();
        let edit = output(&fs, u64::MAX, false, |output| {
            run(&plan, version, Retain::new(snapshots), output)
        });
        let edit = edit.unwrap();
        assert_eq!(edit.removed, [(0, 2), (0, 1)]);
        let mut seqs = Vec::new();
        for (level, summary) in &edit.added {
            assert_eq!(*level, 1);
            let file = fs.open(Path::new(&format!("{:06}.sst", summary.id))).unwrap();
            let table = Table::open(file, summary.id, BlockCache::new(0)).unwrap();
            let mut cursor = table.cursor(ReadUse::Sweep);
            cursor.seek_first().unwrap();
            while cursor.valid() {
                seqs.push(cursor.key().trailer.seq());
                cursor.next().unwrap();
            }
        }
        seqs
    };
    let lone = tree(&[(0, &newer), (0, &older)]);
    assert_eq!(survivors(&lone, vec![]), [8, 5], "RETAIN-1, RETAIN-2");
    assert_eq!(survivors(&lone, vec![4]), [9, 3, 8, 4, 5, 7], "what the snapshot sees stays");
    let deep = tree(&[(0, &newer), (0, &older), (3, &bottom)]);
    assert_eq!(survivors(&deep, vec![]), [8, 5, 7], "the tombstone of d still hides something");
}

#[test]
fn a_job_stops_when_told_and_when_the_disk_is_full() {
    let all = |count: u64| {
        Sorted((1..count).map(|i| entry(&format!("{i:08}"), i, Kind::Put)).collect(), 0)
    };
    let fs = SimFs::new();
    let write = |fs: &SimFs, cursor: &mut Sorted, stop| {
        output(fs, 1 << 20, stop, |output| {
            write_tables(cursor, Retain::new(vec![]), |_| true, output)
        })
    };
    assert!(matches!(write(&fs, &mut all(10_000), true), Err(Error::Closed)));
    fs.inject(Fault::new(Op::Write, FaultKind::NoSpace));
    assert!(matches!(write(&SimFs::new(), &mut all(10), false), Ok(tables) if tables.len() == 1));
    let full = SimFs::new();
    full.inject(Fault::new(Op::Write, FaultKind::NoSpace));
    assert!(matches!(write(&full, &mut all(10), false), Err(Error::NoSpace { .. })));
}
