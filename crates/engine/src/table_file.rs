//! [`TableFile`]: a table of the tree as the engine holds it, and the removal of those that left.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stratalog_base::fs::{File, Fs};
use stratalog_base::sync::{AtomicBool, Mutex, Ordering};
use stratalog_base::{Error, Result};
use stratalog_compaction::{Readable, Shape};
use stratalog_sstable::{BlockCache, Table, TableSummary};

use crate::file_name;

/// An open table. Versions share it; when the last one that names it goes, and it has been marked
/// obsolete, its file is due for removal.
#[derive(Debug)]
pub(crate) struct TableFile {
    table: Arc<Table>,
    obsolete: AtomicBool,
    trash: Arc<Trash>,
}

impl TableFile {
    /// Opens the table that `summary` tells of.
    ///
    /// # Errors
    /// Of opening; [`Error::Corrupt`] if the file is missing or holds another table than that.
    pub fn open(
        fs: &dyn Fs,
        dir: &Path,
        summary: &TableSummary,
        cache: &Arc<BlockCache>,
        trash: &Arc<Trash>,
    ) -> Result<Arc<TableFile>> {
        let path = file_name::table(dir, summary.id);
        let file = fs.open(&path).map_err(|error| match error.is_not_found() {
            true => Error::corrupt(&path, 0, "the manifest names this table, but it is missing"),
            false => error,
        })?;
        let table = Table::open(file, summary.id, cache.clone())?;
        if table.summary() != summary {
            return Err(Error::corrupt(
                &path,
                0,
                "the manifest tells of another table by this name",
            ));
        }
        Ok(Arc::new(TableFile { table, obsolete: AtomicBool::new(false), trash: trash.clone() }))
    }

    /// Says that no manifest names the table any more, durably.
    pub fn mark_obsolete(&self) {
        self.obsolete.store(true, Ordering::Relaxed);
    }
}

impl Shape for TableFile {
    fn summary(&self) -> &TableSummary {
        self.table.summary()
    }
}

impl Readable for TableFile {
    fn table(&self) -> &Arc<Table> {
        &self.table
    }
}

impl Drop for TableFile {
    fn drop(&mut self) {
        if self.obsolete.load(Ordering::Relaxed) {
            self.trash.add(std::iter::once(self.table.summary().id));
        }
    }
}

/// Ids of tables whose files can go. Readers put them here when they drop the last pin; files are
/// removed by the thread that next has time, never in a read.
#[derive(Debug, Default)]
pub(crate) struct Trash {
    ids: Mutex<Vec<u64>>,
}

impl Trash {
    /// Adds tables that are in no tree.
    pub fn add(&self, ids: impl Iterator<Item = u64>) {
        self.ids.lock().extend(ids);
    }

    /// Removes the files. What cannot be removed is tried again by the next call, and swept when the
    /// store is next opened.
    pub fn empty(&self, fs: &dyn Fs, dir: &Path) {
        let mut ids = std::mem::take(&mut *self.ids.lock());
        ids.retain(|&id| {
            let removed = fs.remove(&file_name::table(dir, id));
            removed.is_err_and(|error| !error.is_not_found())
        });
        self.add(ids.into_iter());
    }
}

/// Files of new tables that nothing names yet. Dropping it removes them: on a full disk the next attempt
/// needs their space. What cannot be removed is swept by the next open that gets further.
#[derive(Debug)]
pub(crate) struct NewTables {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    ids: Vec<u64>,
}

impl NewTables {
    /// None yet.
    pub fn new(fs: &Arc<dyn Fs>, dir: &Path) -> NewTables {
        NewTables { fs: fs.clone(), dir: dir.to_owned(), ids: Vec::new() }
    }

    /// Creates the file of table `id`.
    ///
    /// # Errors
    /// Of creating it.
    pub fn create(&mut self, id: u64) -> Result<(u64, Arc<dyn File>)> {
        let file = self.fs.create(&file_name::table(&self.dir, id))?;
        self.ids.push(id);
        Ok((id, file))
    }

    /// Lets them be: from now on something may name them.
    pub fn keep(mut self) {
        self.ids.clear();
    }
}

impl Drop for NewTables {
    fn drop(&mut self) {
        let paths = self.ids.iter().map(|&id| file_name::table(&self.dir, id));
        let _ = remove_all(&*self.fs, paths);
    }
}

/// Removes every one of `paths` that it can.
pub(crate) fn remove_all(fs: &dyn Fs, paths: impl Iterator<Item = PathBuf>) -> Result<()> {
    let mut outcome = Ok(());
    for path in paths {
        outcome = outcome.and(fs.remove(&path));
    }
    outcome
}
