//! Jobs: what they keep, where they cut, and what they leave behind when they fail.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use stratalog_base::fs::{Fault, FaultKind, File, Fs, Op, SimFs};
use stratalog_base::{Cursor, Error, InternalKey, KeyRef, Kind, Result};
use stratalog_compaction::{
    NewFile, Output, Plan, Readable, Retain, Separation, Shape, Version, VersionEdit, plan_all,
    run, write_tables,
};
use stratalog_sstable::{
    BlockCache, Compression, ReadUse, Table, TableOptions, TableSummary, ValueFile, ValueHandle,
    ValueRef,
};

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
    output_with(fs, &Separation::NONE, table_bytes, stop, job)
}

fn output_with<R>(
    fs: &SimFs,
    values: &Separation<'_>,
    table_bytes: u64,
    stop: bool,
    job: impl FnOnce(&mut Output<'_>) -> R,
) -> R {
    let next_id = RefCell::new(100 + fs.files().len() as u64);
    let mut create = |new: NewFile| -> Result<(u64, Arc<dyn File>)> {
        *next_id.borrow_mut() += 1;
        let id = *next_id.borrow();
        let extension = if new == NewFile::Table { "sst" } else { "val" };
        Ok((id, fs.create(Path::new(&format!("{id:06}.{extension}")))?))
    };
    let table = TableOptions { compression: Compression::None, ..TableOptions::default() };
    job(&mut Output { create: &mut create, table: &table, table_bytes, values, stop: &|| stop })
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
    let tables = tables.unwrap().tables;
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
        let plan = plan_all(&tree(&[(0, &newer), (0, &older)])).unwrap();
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
    let write = |fs: &SimFs, cursor: &mut Sorted, stop| {
        output(fs, 1 << 20, stop, |output| {
            write_tables(cursor, Retain::new(vec![]), |_| true, output)
        })
    };
    let written = write(&SimFs::new(), &mut all(10_000), false).unwrap();
    assert_eq!(written.tables.iter().map(|table| table.entries).sum::<u64>(), 9_999);
    assert!(matches!(write(&SimFs::new(), &mut all(10_000), true), Err(Error::Closed)));
    let full = SimFs::new();
    full.inject(Fault::new(Op::Write, FaultKind::NoSpace));
    assert!(matches!(write(&full, &mut all(10), false), Err(Error::NoSpace { .. })));
}

/// The entries of the tables that `written` names; what is separated is resolved, its file told.
fn stored(fs: &SimFs, tables: &[TableSummary]) -> Vec<(u64, Option<u64>, Vec<u8>)> {
    let mut entries = Vec::new();
    for summary in tables {
        let file = fs.open(Path::new(&format!("{:06}.sst", summary.id))).unwrap();
        let mut cursor =
            Table::open(file, summary.id, BlockCache::new(0)).unwrap().cursor(ReadUse::Sweep);
        cursor.seek_first().unwrap();
        while cursor.valid() {
            let trailer = cursor.key().trailer;
            let (id, value) = match trailer.kind() {
                Kind::Separated => {
                    let handle = ValueHandle::decode(cursor.value()).unwrap();
                    (Some(handle.file), read_value(fs, &handle).unwrap().to_vec())
                }
                _ => (None, cursor.value().to_vec()),
            };
            entries.push((trailer.seq(), id, value));
            cursor.next().unwrap();
        }
    }
    entries
}

fn read_value(fs: &SimFs, handle: &ValueHandle) -> Result<stratalog_base::Slice> {
    let path = format!("{:06}.val", handle.file);
    ValueFile::open(fs.open(Path::new(&path))?, handle.file, BlockCache::new(0))?.get(handle)
}

#[test]
fn large_values_go_to_value_files_and_merges_pass_them_on_or_collect_them() {
    let fs = SimFs::new();
    let value = |i: u64| vec![i as u8; if i.is_multiple_of(2) { 300 } else { 10 }];
    let entries =
        (1..9).map(|i| (KeyRef::new(format!("{i}").as_bytes(), i, Kind::Put).to_owned(), value(i)));
    let separation = |collect| Separation {
        from_bytes: 100,
        file_bytes: 600,
        collect,
        read: &|_| panic!(),
        ..Separation::NONE
    };
    let never = |_| false;
    let written = output_with(&fs, &separation(&never), u64::MAX, false, |output| {
        write_tables(&mut Sorted(entries.collect(), 0), Retain::new(vec![]), |_| true, output)
    });
    let written = written.unwrap();
    let files: Vec<_> = written.values.iter().map(|it| (it.id, it.records)).collect();
    assert_eq!(files, [(102, 2), (103, 2)], "a file of 600 bytes is full");
    let found = stored(&fs, &written.tables);
    let expected = |file: fn(u64) -> Option<u64>| {
        (1..9).map(|i| (i, file(i).filter(|_| i % 2 == 0), value(i))).collect::<Vec<_>>()
    };
    assert_eq!(found, expected(|i| Some(if i < 5 { 102 } else { 103 })));

    let summary = &written.tables[0];
    let refs: Vec<_> =
        written.values.iter().map(|it| ValueRef { file: it.id, bytes: it.record_bytes }).collect();
    assert_eq!(summary.value_refs, refs);
    let file = fs.open(Path::new("000101.sst")).unwrap();
    let open = Open(Table::open(file, 101, BlockCache::new(0)).unwrap());
    let edit = VersionEdit {
        added: vec![(1, summary.clone())],
        added_values: written.values.clone(),
        ..VersionEdit::default()
    };
    let version = Version::default().apply(&edit, |_| Ok(open.clone()), |what| what).unwrap();
    let plan = Plan { inputs: vec![(1, vec![open.clone()])], target: 1 };
    let rewrite = |from_bytes, collect: &dyn Fn(u64) -> bool| {
        let fs = fs.kill();
        let read = |handle: &ValueHandle| read_value(&fs, handle);
        let values = Separation { from_bytes, collect, read: &read, ..separation(&never) };
        let edit = output_with(&fs, &values, u64::MAX, false, |output| {
            run(&plan, &version, Retain::new(vec![]), output)
        });
        let edit = edit.unwrap();
        let tables: Vec<_> = edit.added.iter().map(|(_, table)| table.clone()).collect();
        let open = |summary: &TableSummary| {
            let file = fs.open(Path::new(&format!("{:06}.sst", summary.id))).unwrap();
            Ok(Open(Table::open(file, summary.id, BlockCache::new(0)).unwrap()))
        };
        let next = version.apply(&edit, open, |what| what).unwrap();
        let files: Vec<_> = next.values().iter().map(|it| it.summary.id).collect();
        (stored(&fs, &tables), files)
    };
    let passed_on = expected(|i| Some(if i < 5 { 102 } else { 103 }));
    assert_eq!(rewrite(100, &never), (passed_on, vec![102, 103]));
    let collected = expected(|i| Some(if i < 5 { 105 } else { 103 }));
    assert_eq!(rewrite(100, &|id| id == 102), (collected, vec![103, 105]), "VALUES-1");
    assert_eq!(rewrite(301, &|_| true), (expected(|_| None), vec![]), "back in the table");
}
