//! The names of a store's files.
//!
//! | name | what |
//! |---|---|
//! | `LOCK` | locked while a handle has the store open |
//! | `MANIFEST` | the tree's shape; replaced as a whole by renaming `MANIFEST.tmp` over it |
//! | `NNNNNN.sst` | a table; the number is its id, never given out twice |
//! | `NNNNNN.val` | a value file; its id is of the same numbers |
//! | `NNNNNN.wal` | a segment of the log, which names them itself |

use std::path::{Path, PathBuf};

pub(crate) const LOCK: &str = "LOCK";
pub(crate) const MANIFEST: &str = "MANIFEST";
pub(crate) const MANIFEST_TMP: &str = "MANIFEST.tmp";

/// A file that a version names, by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataFile {
    /// A table.
    Table(u64),
    /// A value file.
    Values(u64),
}

impl DataFile {
    /// Its path.
    pub fn path(self, dir: &Path) -> PathBuf {
        match self {
            DataFile::Table(id) => dir.join(format!("{id:06}.sst")),
            DataFile::Values(id) => dir.join(format!("{id:06}.val")),
        }
    }

    /// The file called `name`.
    pub fn named(name: &str) -> Option<DataFile> {
        let (digits, extension) = name.split_once('.')?;
        let id: u64 = digits.parse().ok()?;
        let file = match extension {
            "sst" => DataFile::Table(id),
            "val" => DataFile::Values(id),
            _ => return None,
        };
        (id < u64::MAX && file.path(Path::new("")) == Path::new(name)).then_some(file)
    }

    /// Its id.
    pub fn id(self) -> u64 {
        match self {
            DataFile::Table(id) | DataFile::Values(id) => id,
        }
    }
}

/// Whether `name` looks like a segment of the log.
pub(crate) fn is_segment(name: &str) -> bool {
    name.ends_with(".wal")
}
