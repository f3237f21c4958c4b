//! [`Values`]: the open value files of a tree, and reading what lies in them.
//!
//! A [`Tree`](crate::tree::Tree) holds the value files that its tables refer to (VALUES-1), so whoever
//! holds a view (a read, an iterator, a merge) can resolve every handle that it meets there, also when
//! later trees have let go of the file: it is removed when the last tree that has it goes, as tables are.
//!
//! # Invariants
//! - SEPARATE-1: a value file is synced before its name is, and its name before a manifest edit names
//!   it (STORE-3): an entry that survives finds its value.
//! - SEPARATE-2: a view has every value file that a table of the view refers to. A handle that finds none
//!   is damage, and never an absent key.

use std::path::PathBuf;
use std::sync::Arc;

use stratalog_base::{Error, Kind, Result, Slice, Trailer};
use stratalog_compaction::{Shape, Version};
use stratalog_sstable::{ValueFile, ValueHandle, ValuesAhead};

use crate::file_name::DataFile;
use crate::open_file::{OpenValues, Opener};

/// The open value files of a tree.
#[derive(Debug, Default)]
pub(crate) struct Values {
    /// Ascending by id.
    files: Vec<Arc<OpenValues>>,
    /// Where they are.
    dir: PathBuf,
}

impl Values {
    /// The value files of `version`. Those that `self` has open are shared.
    ///
    /// # Errors
    /// Of opening; [`Error::Corrupt`] if a file is missing or another than the version says.
    pub fn of<T: Shape + Clone>(&self, version: &Version<T>, opener: &Opener) -> Result<Values> {
        let files = version.values().iter().map(|it| match self.find(it.summary.id) {
            Some(known) => Ok(known.clone()),
            None => opener.values(&it.summary),
        });
        Ok(Values { files: files.collect::<Result<_>>()?, dir: opener.dir.clone() })
    }

    /// The value of an entry of a table, for a point read: `stored`, or what it leads to; `None` for a
    /// tombstone.
    ///
    /// # Errors
    /// As [`Values::read`].
    #[inline]
    pub fn resolve(&self, trailer: Trailer, stored: Slice) -> Result<Option<Slice>> {
        match trailer.kind() {
            Kind::Put => Ok(Some(stored)),
            Kind::Delete => Ok(None),
            Kind::Separated => {
                let handle = ValueHandle::of_entry(&stored);
                self.file(&handle)?.get(&handle).map(Some)
            }
        }
    }

    /// The value that a separated entry's stored handle leads to, for an iterator, which reads `ahead`.
    ///
    /// # Errors
    /// As [`Values::read`].
    pub fn fetch(&self, stored: &[u8], ahead: &mut ValuesAhead) -> Result<Slice> {
        let handle = ValueHandle::of_entry(stored);
        self.file(&handle)?.scan(&handle, ahead)
    }

    /// The value that `handle` leads to, past the cache.
    ///
    /// # Errors
    /// [`Error::Corrupt`], naming file and offset, if it is damaged or not there; of reading.
    pub fn read(&self, handle: &ValueHandle) -> Result<Slice> {
        self.file(handle)?.read(handle)
    }

    /// The value file that `handle` leads into.
    ///
    /// # Errors
    /// [`Error::Corrupt`], naming the file, if the tree has it not.
    #[inline]
    pub fn file(&self, handle: &ValueHandle) -> Result<&ValueFile> {
        match self.find(handle.file) {
            Some(open) => Ok(&open.file),
            None => {
                let path = DataFile::Values(handle.file).path(&self.dir);
                let what = "a table refers to this value file, which its tree has not";
                Err(Error::corrupt(&path, handle.offset, what)) // SEPARATE-2
            }
        }
    }

    /// See [`Tree::mark_obsolete_but`](crate::tree::Tree::mark_obsolete_but).
    pub fn mark_obsolete_but(&self, next: &Values) {
        for gone in self.files.iter().filter(|it| next.find(it.id()).is_none()) {
            gone.mark_obsolete();
        }
    }

    /// The files, ascending.
    pub fn files(&self) -> impl Iterator<Item = &ValueFile> {
        self.files.iter().map(|it| &it.file)
    }

    fn find(&self, id: u64) -> Option<&Arc<OpenValues>> {
        self.files.binary_search_by_key(&id, |it| it.id()).ok().map(|index| &self.files[index])
    }
}
