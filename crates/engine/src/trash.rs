//! Files of tables and values that are in no tree: [`NewFiles`], not yet, and [`Trash`], no more.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stratalog_base::Result;
use stratalog_base::fs::{File, Fs};
use stratalog_base::sync::Mutex;
use stratalog_compaction::NewFile;

use crate::file_name::DataFile;

/// Files that can go. They come here when the last tree that has them goes, perhaps in a read; they are removed
/// by whoever does background work next, never in a read.
#[derive(Debug, Default)]
pub(crate) struct Trash {
    files: Mutex<Vec<DataFile>>,
}

impl Trash {
    /// Adds files that are in no tree.
    pub fn add(&self, files: impl IntoIterator<Item = DataFile>) {
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
        self.add(files);
    }
}

/// New files of tables and values that nothing names yet. Dropping it removes them: on a full disk the next
/// attempt needs their space. What cannot be removed is swept by the next open that gets further.
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
