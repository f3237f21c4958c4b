//! Stratalog: an embedded, persistent, ordered key-value engine in pure Rust, a log-structured merge
//! tree.
//!
//! ```
//! # let dir = std::env::temp_dir().join(format!("stratalog-doc-{}", std::process::id()));
//! use stratalog::{Batch, Db, Durability, WriteOptions};
//!
//! let db = Db::open(&dir)?;
//! db.put(b"ada", b"1815")?;
//! db.put(b"alan", b"1912")?;
//! assert_eq!(db.get(b"ada")?.as_deref(), Some(&b"1815"[..]));
//!
//! let mut batch = Batch::new();
//! batch.put(b"grace", b"1906").delete(b"ada");
//! db.write(&batch, &WriteOptions::new().durability(Durability::Sync))?;
//!
//! let keys: Vec<_> = db.prefix("a").keys().collect::<Result<_, _>>()?;
//! assert_eq!(keys, [b"alan"]);
//! db.close()?;
//! # std::fs::remove_dir_all(&dir).unwrap();
//! # Ok::<(), stratalog::Error>(())
//! ```
//!
//! # Where things are
//! The three paths, each read from top to bottom:
//!
//! - **put**: `db` → `write` → the log → the memtable → `visible`
//! - **get**: `db` → `read` (pins a `view`) → the memtable → the tree → a table
//! - **flush and compaction**: `work` (who, when) → `jobs` (what) → `store` (`install`) → `manifest`
//!
//! `recovery` opens a store; `store` holds the lock table and what all of it shares; `tree` is what a view
//! has on disk, with its files open.

#![doc(test(attr(allow(clippy::unwrap_used))))]

mod batch;
mod bounds;
mod check;
mod db;
mod file_name;
mod iter;
mod jobs;
mod keys;
mod lanes;
mod manifest;
mod open_file;
mod options;
mod pinned;
mod read;
mod recovery;
mod replay;
mod scan;
mod snapshot;
mod sources;
mod stats;
mod store;
mod trash;
mod tree;
mod values;
mod view;
mod visible;
mod work;
mod write;

pub use batch::Batch;
pub use check::CheckReport;
pub use db::{Commit, Db};
pub use iter::Iter;
pub use keys::Keys;
pub use options::{Options, WriteOptions};
pub use snapshot::Snapshot;
pub use stats::{DroppedRange, LevelStats, RecoveryReport, Stats};

pub use stratalog_base::key::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
pub use stratalog_base::{Error, Result, SeqNo, Slice};
pub use stratalog_sstable::{Compression, FilterPolicy, ReadBy};
pub use stratalog_wal::{Durability, RecoveryMode};

/// The parts whose concurrency is model-checked: `tests/loom.rs` runs them as they are.
#[doc(hidden)]
pub mod protocol {
    pub use crate::pinned::{Pin, Pinned};
    pub use crate::visible::Visible;
    pub use crate::work::{Task, Work};
}

/// The decoders of what the engine itself stores, for fuzzing: any bytes, no panic.
#[doc(hidden)]
pub mod fuzz {
    use std::path::Path;

    /// Decodes a record's payload.
    pub fn batch(bytes: &[u8]) {
        crate::batch::entries(bytes).take_while(Result::is_ok).for_each(drop);
    }

    /// Decodes a manifest.
    pub fn manifest(bytes: &[u8]) {
        let _ = crate::manifest::decode(bytes, Path::new("MANIFEST"));
    }
}

/// File systems: the real one, and (feature `sim`) a simulated one for tests.
pub mod fs {
    pub use stratalog_base::fs::*;
}
