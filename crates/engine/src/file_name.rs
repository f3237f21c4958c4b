//! The names of a store's files.
//!
//! | name | what |
//! |---|---|
//! | `LOCK` | locked while a handle has the store open |
//! | `MANIFEST` | the tree's shape; replaced as a whole by renaming `MANIFEST.tmp` over it |
//! | `NNNNNN.sst` | a table; the number is its id, never given out twice |
//! | `NNNNNN.wal` | a segment of the log, which names them itself |

use std::path::{Path, PathBuf};

pub(crate) const LOCK: &str = "LOCK";
pub(crate) const MANIFEST: &str = "MANIFEST";
pub(crate) const MANIFEST_TMP: &str = "MANIFEST.tmp";

/// The path of table `id`.
pub(crate) fn table(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:06}.sst"))
}

/// The id of the table called `name`.
pub(crate) fn table_id(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".sst")?;
    let id: u64 = digits.parse().ok()?;
    (id < u64::MAX && table(Path::new(""), id) == Path::new(name)).then_some(id)
}

/// Whether `name` looks like a segment of the log.
pub(crate) fn is_segment(name: &str) -> bool {
    name.ends_with(".wal")
}
