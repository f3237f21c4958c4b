//! [`TableFile`]: a table of the tree as the engine holds it; and the files of tables and values that are
//! not yet, or no more, in the tree.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stratalog_base::fs::{File, Fs};
use stratalog_base::sync::{AtomicBool, Mutex, Ordering};
use stratalog_base::{Error, Result};
use stratalog_compaction::{NewFile, Readable, Shape};
use stratalog_sstable::{BlockCache, Handles, Table, TableSummary};

use crate::file_name::DataFile;

/// An open table. Versions share it; when the last one that names it goes, and it has been marked
/// obsolete, its file is due for removal. Who reads the table keeps a version: its handle may be closed
/// and have to be opened again by the file's name.
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
        handles: &Arc<Handles>,
        dir: &Path,
        summary: &TableSummary,
        cache: &Arc<BlockCache>,
        trash: &Arc<Trash>,
    ) -> Result<Arc<TableFile>> {
        let path = DataFile::Table(summary.id).path(dir);
        let file = handles.open(&path).map_err(|error| match error.is_not_found() {
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
            self.trash.add(std::iter::once(DataFile::Table(self.table.summary().id)));
        }
    }
}

/// Files that can go. Readers put them here when they drop the last pin; files are
/// removed by the thread that next has time, never in a read.
#[derive(Debug, Default)]
pub(crate) struct Trash {
    files: Mutex<Vec<DataFile>>,
}

impl Trash {
    /// Adds files that are in no tree.
    pub fn add(&self, files: impl Iterator<Item = DataFile>) {
        self.files.lock().extend(files);
    }

    /// Removes the files. What cannot be removed is tried again by the next call, and swept when the
    /// store is next opened.
    pub fn empty(&self, fs: &dyn Fs, dir: &Path) {
        let mut files = std::mem::take(&mut *self.files.lock());
        files.retain(|file| {
            let removed = fs.remove(&file.path(dir));
            removed.is_err_and(|error| !error.is_not_found())
        });
        self.add(files.into_iter());
    }
}

/// New files of tables and values that nothing names yet. Dropping it removes them: on a full disk the next attempt
/// needs their space. What cannot be removed is swept by the next open that gets further.
#[derive(Debug)]
pub(crate) struct NewFiles {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    files: Vec<DataFile>,
}

impl NewFiles {
    /// None yet.
    pub fn new(fs: &Arc<dyn Fs>, dir: &Path) -> NewFiles {
        NewFiles { fs: fs.clone(), dir: dir.to_owned(), files: Vec::new() }
    }

    /// Creates the file with this id for what `new` says.
    ///
    /// # Errors
    /// Of creating it.
    pub fn create(&mut self, new: NewFile, id: u64) -> Result<(u64, Arc<dyn File>)> {
        let name = match new {
            NewFile::Table => DataFile::Table(id),
            NewFile::Values => DataFile::Values(id),
        };
        let file = self.fs.create(&name.path(&self.dir))?;
        self.files.push(name);
        Ok((id, file))
    }

    /// Lets them be: from now on something may name them.
    pub fn keep(mut self) {
        self.files.clear();
    }
}

impl Drop for NewFiles {
    fn drop(&mut self) {
        let paths = self.files.iter().map(|file| file.path(&self.dir));
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
