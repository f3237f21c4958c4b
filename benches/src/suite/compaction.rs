//! The suite `compaction`: merging tables, and deciding what to merge, without an engine around.
//!
//! | case | is |
//! |---|---|
//! | `merge distinct` | four tables of level 0 with distinct keys, which alternate |
//! | `merge overwritten` | the same, but all four hold the same keys: a quarter of the entries survives |
//! | `merge LZ4` | as `merge distinct`, compressed before and after |
//! | `plan` | the planner, and the installation of its outcome, in a tree of 1 000 tables |
//!
//! Each input holds 64 MiB (at scale 1) of 16 B keys and 100 B values. A merge is planned by
//! [`plan_all`], done once by one thread, and synced; its inputs come from the page cache, and no block
//! is cached. Of its outcome number, order, values and versions are checked.

use std::path::Path;
use std::sync::Arc;

use stratalog_base::fs::{Fs, OsFs};
use stratalog_base::{Cursor, Error};
use stratalog_compaction::{
    LevelCursor, Output, Readable, Retain, Separation, Shape, Version, VersionEdit, plan_all, run,
};
use stratalog_sstable::{BlockCache, ReadUse, Table, TableSummary};

use crate::Outcome;
use crate::check::Walk;
use crate::data::{KEY_BYTES, Values};
use crate::engine::Durability;
use crate::plan::Plan;
use crate::suite::{Case, Cell, Suite};
use crate::tables;

mod planning;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "compaction",
    about: "merging four tables into a level, and planning what to merge",
    cases,
    run: run_case,
};

/// Tables that are merged.
const INPUTS: u64 = 4;
/// Bytes of keys and values of each, at scale 1.
const INPUT_BYTES: u64 = 64 << 20;
const VALUE_BYTES: usize = 100;
/// After so many bytes a merge starts another table.
const TABLE_BYTES: u64 = 64 << 20;

/// A case that merges.
#[derive(Clone, Copy, Debug)]
struct Merge {
    name: &'static str,
    overwritten: bool,
    lz4: bool,
}

const MERGES: &[Merge] = &[
    Merge { name: "merge distinct", overwritten: false, lz4: false },
    Merge { name: "merge overwritten", overwritten: true, lz4: false },
    Merge { name: "merge LZ4", overwritten: false, lz4: true },
];
const PLAN: &str = "plan";

fn cases(plan: &Plan) -> Vec<Case> {
    let merge = |merge: &Merge| {
        let about = format!(
            "{INPUTS} tables of {} entries each, 16 B random keys, {VALUE_BYTES} B values{}; {}",
            input_entries(plan),
            if merge.lz4 { ", half of each blank" } else { "" },
            if merge.lz4 { "LZ4" } else { "no compression" }
        );
        Case::of_ours(merge.name, about)
    };
    let planning = Case::of_ours(PLAN, planning::about(plan));
    MERGES.iter().map(merge).chain([planning]).collect()
}

fn run_case(cell: &mut Cell) -> Outcome<()> {
    match MERGES.iter().find(|merge| merge.name == cell.case) {
        Some(merge) => merge.run(cell),
        None => planning::run(cell),
    }
}

fn input_entries(plan: &Plan) -> u64 {
    plan.scaled(INPUT_BYTES / (KEY_BYTES + VALUE_BYTES) as u64, 500)
}

/// An open table of a tree.
#[derive(Clone)]
struct Open(Arc<Table>);

impl Open {
    /// Without a cache, as a merge reads every block once.
    fn new(dir: &Path, summary: &TableSummary) -> stratalog_base::Result<Open> {
        let file = OsFs.open(&tables::path(dir, summary.id))?;
        Ok(Open(Table::open(file, summary.id, BlockCache::new(0))?))
    }
}

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

impl Merge {
    fn values(self) -> Values {
        Values { bytes: VALUE_BYTES, half_blank: self.lz4 }
    }

    fn run(self, cell: &mut Cell) -> Outcome<()> {
        let version = self.inputs(cell)?;
        let entries_in = INPUTS * input_entries(cell.plan);
        let mut edit = VersionEdit::default();
        let measure = cell.measure("merge").unit("entry").class(Durability::Sync);
        let mut step = measure.once(|| {
            edit = self.merge(&cell.dir, &version)?;
            Ok(entries_in)
        })?;
        let merged = apply(&version, &edit, |summary| Open::new(&cell.dir, summary))?;
        let entries_out = self.check(&merged, entries_in)?;
        let megabytes = |entries| tables::plain_bytes(entries, self.values()) as f64 / 1e6;
        step.figure("MB/s in", megabytes(entries_in) / step.seconds);
        step.figure("MB/s out", megabytes(entries_out) / step.seconds);
        cell.steps.push(step);
        Ok(())
    }

    /// Level 0 as four flushes leave it, the first the oldest.
    fn inputs(self, cell: &Cell) -> Outcome<Version<Open>> {
        let entries = input_entries(cell.plan);
        let keys = tables::sorted_keys(if self.overwritten { entries } else { entries * INPUTS });
        let options = tables::options(self.lz4);
        let mut edit = VersionEdit::default();
        for input in 0..INPUTS {
            let (skip, step) =
                if self.overwritten { (0, 1) } else { (input as usize, INPUTS as usize) };
            let own = keys.iter().skip(skip).step_by(step);
            let own = own.zip(input * entries + 1..).map(|(key, seq)| (*key, seq, input));
            edit.added
                .push((0, tables::write(&cell.dir, input + 1, &options, self.values(), own)?));
        }
        apply(&Version::default(), &edit, |summary| Open::new(&cell.dir, summary))
    }

    fn merge(self, dir: &Path, version: &Version<Open>) -> Outcome<VersionEdit> {
        let plan = plan_all(version).ok_or("there is something to merge")?;
        let mut next_id = INPUTS;
        let mut create = |_| {
            next_id += 1;
            Ok((next_id, OsFs.create(&tables::path(dir, next_id))?))
        };
        let mut output = Output {
            create: &mut create,
            table: &tables::options(self.lz4),
            table_bytes: TABLE_BYTES,
            values: &Separation::NONE,
            stop: &|| false,
        };
        let edit = run(&plan, version, Retain::new(Vec::new()), &mut output)?;
        OsFs.sync_dir(dir)?;
        Ok(edit)
    }

    /// Checks the outcome of a merge of `entries_in` entries; returns how many are left.
    fn check(self, merged: &Version<Open>, entries_in: u64) -> Outcome<u64> {
        let entries = entries_in / INPUTS;
        let expected = if self.overwritten { entries } else { entries_in };
        if !merged.level(0).is_empty() {
            return Err("a merge left something in level 0".into());
        }
        let level: Vec<_> = merged.level(1).iter().map(|table| table.0.clone()).collect();
        let mut cursor = LevelCursor::new(level, ReadUse::Sweep);
        let mut walk = Walk::new(self.values());
        cursor.seek_first()?;
        while cursor.valid() {
            let key = cursor.key();
            if self.overwritten && key.trailer.seq() <= entries_in - entries {
                return Err(format!("{key:?} is not the newest version").into());
            }
            walk.meet(key.user, cursor.value());
            cursor.next()?;
        }
        walk.all(expected)
    }
}

fn apply<T: Shape + Clone>(
    version: &Version<T>,
    edit: &VersionEdit,
    open: impl FnMut(&TableSummary) -> stratalog_base::Result<T>,
) -> Outcome<Version<T>> {
    Ok(version.apply(edit, open, Error::InvalidArgument)?)
}
