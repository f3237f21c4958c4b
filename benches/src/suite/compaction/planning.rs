//! The case `plan`: what to merge in a large tree, and putting the outcome in place.
//!
//! Of 1 000 tables (at scale 1) 3 stand in level 0, which is one less than makes it due, and about 10,
//! 100 and 890 in levels 1 to 3, each level cut into equal parts. All levels are at 7 to 8 tenths of
//! what they may hold, unless the tables of one are made four times as large.
//!
//! | step | is |
//! |---|---|
//! | `plan, nothing due` | the planner, as it is asked after every flush and merge |
//! | `plan, level 1 due`, `plan, level 2 due` | the same with one level too large: one table is chosen |
//! | `apply` | the edit that a merge from level 2 leaves, applied |

use std::sync::Arc;

use stratalog_base::{InternalKey, KeyRef, Kind};
use stratalog_compaction::{Plan as Merging, Policy, Version, VersionEdit, plan};
use stratalog_sstable::TableSummary;

use super::apply;
use crate::Outcome;
use crate::data::ordered_key;
use crate::plan::Plan;
use crate::suite::Cell;

/// Tables at scale 1.
const TABLES: u64 = 1_000;
const LEVEL0_TABLES: u64 = 3;
const TABLE_BYTES: u64 = 64 << 20;

type Tree = Version<Arc<TableSummary>>;

fn tables(plan: &Plan) -> u64 {
    // A whole number of them in each level, or rounding alone makes one due.
    plan.scaled(TABLES, 200).next_multiple_of(100)
}

/// The case in words.
pub fn about(plan: &Plan) -> String {
    format!("a tree of {} tables in 4 levels", tables(plan))
}

/// Measures the case.
pub fn run(cell: &mut Cell) -> Outcome<()> {
    let tables = tables(cell.plan);
    let policy = Policy { level1_bytes: tables / 100 * TABLE_BYTES * 5 / 4, ..Policy::default() };
    let steps = [
        ("plan, nothing due", None),
        ("plan, level 1 due", Some(1)),
        ("plan, level 2 due", Some(2)),
    ];
    for (name, due) in steps {
        let tree = tree(tables, due)?;
        let step = cell.measure(name).until_steady().run(|_| {
            |_| {
                let found = plan(&tree, &policy);
                if is_right(found.as_ref(), due) { Ok(1) } else { Err(wrong(name)) }
            }
        })?;
        cell.steps.push(step);
    }
    let tree = tree(tables, Some(2))?;
    let merging = plan(&tree, &policy).ok_or("level 2 is due")?;
    let edit = outcome(&merging, tables);
    let step = cell.measure("apply").until_steady().run(|_| {
        |_| {
            let next = apply(&tree, &edit, |summary| Ok(Arc::new(summary.clone())))?;
            // The table of level 2 is gone; those of level 3 were replaced.
            if next.level(2).len() + 1 == tree.level(2).len()
                && next.level(3).len() == tree.level(3).len()
            {
                Ok(1)
            } else {
                Err(wrong("apply"))
            }
        }
    })?;
    cell.steps.push(step);
    Ok(())
}

fn wrong(name: &str) -> Box<dyn std::error::Error + Send + Sync> {
    format!("`{name}` had another outcome than it must have").into()
}

/// Whether one table of the level that is `due` shall be merged into the next, with tables of that.
fn is_right(found: Option<&Merging<Arc<TableSummary>>>, due: Option<usize>) -> bool {
    match (found, due) {
        (None, None) => true,
        (Some(Merging { inputs, target }), Some(level)) => {
            *target == level + 1
                && inputs.iter().map(|(level, _)| *level).eq([level, level + 1])
                && inputs[0].1.len() == 1
        }
        _ => false,
    }
}

/// A tree of `tables` tables, those of level `large` large.
fn tree(tables: u64, large: Option<usize>) -> Outcome<Tree> {
    let (level1, level2) = (tables / 100, tables / 10);
    let counts = [LEVEL0_TABLES, level1, level2, tables - level2 - level1 - LEVEL0_TABLES];
    let mut added = Vec::new();
    for (level, count) in counts.into_iter().enumerate() {
        let bytes = if large == Some(level) { TABLE_BYTES * 4 } else { TABLE_BYTES };
        for index in 0..count {
            // Level 0 spans all keys, each table newer than those before.
            let (part, parts) = if level == 0 { (0, 1) } else { (index, count) };
            let seq = (counts.len() - level) as u64 * TABLES + index;
            added.push((level, summary(added.len() as u64, part, parts, seq, bytes)));
        }
    }
    let edit = VersionEdit { added, ..VersionEdit::default() };
    apply(&Version::default(), &edit, |summary| Ok(Arc::new(summary.clone())))
}

/// A table that holds part `part` of `parts` of all keys.
fn summary(id: u64, part: u64, parts: u64, seq: u64, bytes: u64) -> TableSummary {
    const KEYS: u64 = 1 << 40;
    TableSummary {
        id,
        bytes,
        entries: bytes / 120,
        tombstones: 0,
        range_tombstones: 0,
        smallest: internal_key(KEYS / parts * part, seq),
        largest: internal_key(KEYS / parts * (part + 1) - 1, seq),
        min_seq: seq,
        max_seq: seq,
        value_refs: Vec::new(),
        checksum: id,
    }
}

fn internal_key(index: u64, seq: u64) -> InternalKey {
    KeyRef::new(&ordered_key(index), seq, Kind::Put).to_owned()
}

/// What is left by a merge that gives back its lower tables under new ids, from `next_id` on.
fn outcome(merging: &Merging<Arc<TableSummary>>, next_id: u64) -> VersionEdit {
    let mut edit = VersionEdit::default();
    for (level, tables) in &merging.inputs {
        edit.removed.extend(tables.iter().map(|table| (*level, table.id)));
        if *level == merging.target {
            let renewed = tables.iter().zip(next_id..);
            let renewed = renewed.map(|(table, id)| TableSummary { id, ..(**table).clone() });
            edit.added.extend(renewed.map(|table| (*level, table)));
        }
    }
    edit
}
