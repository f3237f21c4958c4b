//! [`Version`]: which tables stand in which level.
//!
//! # Invariants
//! - VERSION-1: level 0 holds tables of disjoint sequence ranges, newest first.
//! - VERSION-2: in every other level the tables' user-key ranges are disjoint and ascending; all
//!   versions of a user key in the level stand in one table.
//! - VERSION-3: of two versions of a user key, the newer stands in the lower-numbered level (or, in
//!   level 0, in the table further to the front).
//! - VERSION-4: no table and no value file stands in a version twice.
//!
//! Which value files it has follows from its tables: VALUES-1 and VALUES-2 in `values`.

use std::collections::HashSet;
use std::sync::Arc;

use stratalog_sstable::{Table, TableSummary, ValueSummary};

use crate::VersionEdit;
use crate::values::{ValueUse, uses};

/// Levels in the tree. With the default policy the last one may hold 25 TB.
pub const LEVELS: usize = 7;

/// Something that stands for a table in a [`Version`]: an open table, or its summary alone.
pub trait Shape {
    /// What the table holds.
    fn summary(&self) -> &TableSummary;
}

/// A table in a [`Version`] whose entries can be read.
pub trait Readable: Shape {
    /// The open table.
    fn table(&self) -> &Arc<Table>;
}

impl<T: Readable + ?Sized> Readable for Arc<T> {
    fn table(&self) -> &Arc<Table> {
        T::table(self)
    }
}

impl Shape for TableSummary {
    fn summary(&self) -> &TableSummary {
        self
    }
}

impl<T: Shape + ?Sized> Shape for Arc<T> {
    fn summary(&self) -> &TableSummary {
        T::summary(self)
    }
}

/// The shape of a tree: immutable, replaced as a whole by applying a [`VersionEdit`].
#[derive(Clone, Debug)]
pub struct Version<T> {
    levels: [Vec<T>; LEVELS],
    values: Vec<ValueUse>,
}

impl<T> Default for Version<T> {
    fn default() -> Self {
        Version { levels: std::array::from_fn(|_| Vec::new()), values: Vec::new() }
    }
}

impl<T: Shape + Clone> Version<T> {
    /// The tables of a level, in the order of VERSION-1 or VERSION-2.
    pub fn level(&self, level: usize) -> &[T] {
        &self.levels[level]
    }

    /// Every table with its level, level 0 first.
    pub fn tables(&self) -> impl Iterator<Item = (usize, &T)> {
        self.levels
            .iter()
            .enumerate()
            .flat_map(|(level, tables)| tables.iter().map(move |t| (level, t)))
    }

    /// The value files, in the order of their ids.
    pub fn values(&self) -> &[ValueUse] {
        &self.values
    }

    /// The value file with this id.
    pub fn value_file(&self, id: u64) -> Option<&ValueUse> {
        let index = self.values.binary_search_by_key(&id, |it| it.summary.id).ok()?;
        Some(&self.values[index])
    }

    /// Bytes of a level's tables.
    pub fn level_bytes(&self, level: usize) -> u64 {
        self.levels[level].iter().map(|table| table.summary().bytes).sum()
    }

    /// The tables that may hold `user`, in the order in which the newest version is met first.
    #[inline]
    pub fn candidates(&self, user: &[u8]) -> impl Iterator<Item = &T> {
        let newest = self.levels[0].iter().filter(move |table| contains(table.summary(), user));
        let deeper = self.levels[1..].iter().filter_map(move |tables| {
            let index = tables.partition_point(|table| *table.summary().largest.user < *user);
            tables.get(index).filter(|table| *table.summary().smallest.user <= *user)
        });
        newest.chain(deeper)
    }

    /// The tables of `level` (not 0) whose user-key range meets `smallest..=largest`.
    pub fn overlapping(&self, level: usize, smallest: &[u8], largest: &[u8]) -> &[T] {
        debug_assert!(level > 0, "VERSION-2 does not hold in level 0");
        let tables = &self.levels[level];
        let from = tables.partition_point(|table| *table.summary().largest.user < *smallest);
        let to = tables.partition_point(|table| *table.summary().smallest.user <= *largest);
        &tables[from..to.max(from)]
    }

    /// The version after `edit`; `open` makes the tables that it adds.
    ///
    /// # Errors
    /// As `open`. An edit that does not fit this version, or leads to one that breaks an invariant,
    /// is reported by [`Version::check`]'s text through `misfit`.
    pub fn apply<E>(
        &self,
        edit: &VersionEdit,
        mut open: impl FnMut(&TableSummary) -> Result<T, E>,
        misfit: impl Fn(String) -> E,
    ) -> Result<Version<T>, E> {
        let mut next = self.clone();
        for &(level, id) in &edit.removed {
            let tables = &mut next.levels[level];
            match tables.iter().position(|table| table.summary().id == id) {
                Some(index) => drop(tables.remove(index)),
                None => return Err(misfit(format!("table {id} is not in level {level}"))),
            }
        }
        for (level, summary) in &edit.added {
            // A table that only moves is not opened a second time.
            let known = self.tables().find(|(_, table)| table.summary() == summary);
            let table = match known {
                Some((_, table)) => table.clone(),
                None => open(summary)?,
            };
            let tables = &mut next.levels[*level];
            let index = match level {
                0 => tables.partition_point(|other| other.summary().max_seq > summary.max_seq),
                _ => tables
                    .partition_point(|other| other.summary().smallest.user < summary.smallest.user),
            };
            tables.insert(index, table);
        }
        next.values = self.values_after(edit, &next).map_err(&misfit)?;
        next.check().map_err(misfit)?;
        Ok(next)
    }

    /// The value files of `next`, whose tables are those of this version after `edit` (VALUES-1).
    fn values_after(&self, edit: &VersionEdit, next: &Version<T>) -> Result<Vec<ValueUse>, String> {
        let before = self.values.iter().map(|it| it.summary);
        let known = before.chain(edit.added_values.iter().copied());
        let values = uses(next.tables().map(|(_, table)| table.summary()), known)?;
        for ValueSummary { id, .. } in &edit.added_values {
            if self.value_file(*id).is_some() {
                return Err(format!("VERSION-4: value file {id} is added twice"));
            }
            if values.binary_search_by_key(id, |it| it.summary.id).is_err() {
                return Err(format!("VALUES-1: no table refers to the added value file {id}"));
            }
        }
        Ok(values)
    }

    /// Checks VERSION-1, VERSION-2 and, of tables, VERSION-4.
    ///
    /// # Errors
    /// A sentence that names the tables that break one.
    pub fn check(&self) -> Result<(), String> {
        let mut ids = HashSet::new();
        for (level, table) in self.tables() {
            let id = table.summary().id;
            if !ids.insert(id) {
                return Err(format!("VERSION-4: table {id} stands twice, again in level {level}"));
            }
        }
        for (level, tables) in self.levels.iter().enumerate() {
            for pair in tables.windows(2) {
                let (a, b) = (pair[0].summary(), pair[1].summary());
                let fits = match level {
                    0 => a.min_seq > b.max_seq,
                    _ => a.largest.user < b.smallest.user,
                };
                if !fits {
                    let (a, b) = (a.id, b.id);
                    return Err(format!("tables {a} and {b} of level {level} are out of order"));
                }
            }
        }
        Ok(())
    }
}

#[inline]
fn contains(summary: &TableSummary, user: &[u8]) -> bool {
    *summary.smallest.user <= *user && *user <= *summary.largest.user
}
