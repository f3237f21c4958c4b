//! The memtable: recent writes in memory, ordered by internal key (user key ascending, sequence
//! number descending), from where they are read until they have been flushed to a table.
//!
//! Any number of threads insert at once; readers and cursors take no lock and wait for nobody.
//! Nothing is removed or changed: a tombstone is an entry like others, and an entry stays where it
//! is until the memtable drops, so that what is read is pinned, not copied.
//!
//! | module | holds |
//! |---|---|
//! | `memtable` | [`Memtable`]: what it promises, the tree's invariants, entries as they lie |
//! | `search`, `insert` | how keys are found in the tree, and how they get in |
//! | `cursor` | [`MemtableCursor`]: the walk over the leaves |
//! | `node` | a sorted set of links in two cache lines, read without a lock |
//! | `arena` | memory named by 32-bit offsets |
//!
//! ```
//! use std::sync::Arc;
//! use stratalog_base::{KeyRef, Kind};
//! use stratalog_memtable::Memtable;
//!
//! let memtable = Arc::new(Memtable::new());
//! memtable.insert(KeyRef::new(b"ada", 3, Kind::Put), b"1815");
//! memtable.insert(KeyRef::new(b"ada", 7, Kind::Delete), b"");
//! let (trailer, value) = memtable.get(b"ada", 5).expect("version 3 is visible at 5");
//! assert_eq!((trailer.kind(), &value[..]), (Kind::Put, &b"1815"[..]));
//! assert_eq!(memtable.get(b"ada", 9).map(|(t, _)| t.kind()), Some(Kind::Delete));
//! assert!(memtable.get(b"ada", 2).is_none());
//! ```

mod arena;
mod cursor;
mod insert;
mod memtable;
mod node;
mod search;

pub use cursor::MemtableCursor;
pub use memtable::Memtable;
