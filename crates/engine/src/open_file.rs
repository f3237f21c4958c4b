//! [`OpenFile`]: a table or a value file of the tree, open to be read; and [`Opener`], which opens them.

use std::path::PathBuf;
use std::sync::Arc;

use stratalog_base::fs::File;
use stratalog_base::sync::{AtomicBool, Ordering};
use stratalog_base::{Error, Result};
use stratalog_compaction::{Readable, Shape};
use stratalog_sstable::{BlockCache, Handles, Table, TableSummary, ValueFile, ValueSummary};

use crate::file_name::DataFile;
use crate::trash::Trash;

/// An open table or value file. Trees share it; when the last one that has it goes, and it has been marked
/// obsolete, its file is due for removal. Who reads it keeps a tree: its handle may be closed and have to
/// be opened again by the file's name.
#[derive(Debug)]
pub(crate) struct OpenFile<F> {
    /// What reads it.
    pub file: F,
    name: DataFile,
    obsolete: AtomicBool,
    trash: Arc<Trash>,
}

/// An open table.
pub(crate) type OpenTable = OpenFile<Arc<Table>>;
/// An open value file.
pub(crate) type OpenValues = OpenFile<ValueFile>;

impl<F> OpenFile<F> {
    /// The number that names it.
    pub fn id(&self) -> u64 {
        self.name.id()
    }

    /// Says that no manifest names the file any more, durably.
    pub fn mark_obsolete(&self) {
        self.obsolete.store(true, Ordering::Relaxed);
    }
}

impl<F> Drop for OpenFile<F> {
    fn drop(&mut self) {
        if self.obsolete.load(Ordering::Relaxed) {
            self.trash.add([self.name]);
        }
    }
}

impl Shape for OpenTable {
    fn summary(&self) -> &TableSummary {
        self.file.summary()
    }
}

impl Readable for OpenTable {
    fn table(&self) -> &Arc<Table> {
        &self.file
    }
}

/// Opens the tables and value files of a store.
#[derive(Debug)]
pub(crate) struct Opener {
    pub handles: Arc<Handles>,
    /// Where they are.
    pub dir: PathBuf,
    pub cache: Arc<BlockCache>,
    /// Where they go when they are obsolete.
    pub trash: Arc<Trash>,
}

impl Opener {
    /// Opens the table that `summary` tells of.
    ///
    /// # Errors
    /// Of opening; [`Error::Corrupt`] if the file is missing or holds another table than that.
    pub fn table(&self, summary: &TableSummary) -> Result<Arc<OpenTable>> {
        let open = |file| Table::open(file, summary.id, self.cache.clone());
        self.open(DataFile::Table(summary.id), open, |table| table.summary() == summary)
    }

    /// Opens the value file that `summary` tells of.
    ///
    /// # Errors
    /// As [`Opener::table`].
    pub fn values(&self, summary: &ValueSummary) -> Result<Arc<OpenValues>> {
        let open = |file| ValueFile::open(file, summary.id, self.cache.clone());
        self.open(DataFile::Values(summary.id), open, |file| file.summary() == *summary)
    }

    fn open<F>(
        &self,
        name: DataFile,
        open: impl FnOnce(Arc<dyn File>) -> Result<F>,
        is_it: impl FnOnce(&F) -> bool,
    ) -> Result<Arc<OpenFile<F>>> {
        let path = name.path(&self.dir);
        let file = self.handles.open(&path).map_err(|error| match error.is_not_found() {
            true => Error::corrupt(&path, 0, "the manifest names this file, but it is missing"),
            false => error,
        })?;
        let file = open(file)?;
        if !is_it(&file) {
            return Err(Error::corrupt(
                &path,
                0,
                "the manifest tells of another file by this name",
            ));
        }
        let (obsolete, trash) = (AtomicBool::new(false), self.trash.clone());
        Ok(Arc::new(OpenFile { file, name, obsolete, trash }))
    }
}
