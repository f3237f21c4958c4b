//! Sorted tables as the suites of single crates need them: files called by their number.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stratalog_base::fs::{Fs, OsFs};
use stratalog_base::{KeyRef, Kind, SeqNo};
use stratalog_sstable::{Compression, TableOptions, TableSummary, TableWriter};

use crate::Outcome;
use crate::data::{KEY_BYTES, Key, Values};

/// A version of a key: its sequence number, and the version of its value.
pub type Entry = (Key, SeqNo, u64);

/// The options of a table: all default but the compression.
pub fn options(lz4: bool) -> TableOptions {
    let compression = if lz4 { Compression::Lz4 } else { Compression::None };
    TableOptions { compression, ..TableOptions::default() }
}

/// The file of table `id`.
pub fn path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:06}.sst"))
}

/// Bytes of keys and values in `entries` entries.
pub fn plain_bytes(entries: u64, values: Values) -> u64 {
    entries * (KEY_BYTES + values.bytes) as u64
}

/// Writes table `id`, which survives a power cut when this returns. The entries come in the order of
/// keys, versions of a key newest first.
///
/// # Errors
/// The file system's.
pub fn write(
    dir: &Path,
    id: u64,
    options: &TableOptions,
    values: Values,
    entries: impl IntoIterator<Item = Entry>,
) -> Outcome<TableSummary> {
    let mut writer = TableWriter::new(OsFs.create(&path(dir, id))?, id, options);
    let mut value = Vec::new();
    for (key, seq, version) in entries {
        values.make(&key, version, &mut value);
        writer.add(KeyRef::new(&key, seq, Kind::Put), &value)?;
    }
    let summary = writer.finish()?;
    OsFs.sync_dir(dir)?;
    Ok(summary)
}

/// The keys of all indices below `count`, in their order.
pub fn sorted_keys(count: u64) -> Arc<[Key]> {
    let mut keys: Vec<Key> = (0..count).map(crate::data::key).collect();
    keys.sort_unstable();
    keys.into()
}
