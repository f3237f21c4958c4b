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
//! | `shortcuts` | from a key's first bytes straight to a node near the leaves |
//! | `newest`, `lines` | from a key straight to its newest version; the hash table's memory |
//! | `cursor` | [`MemtableCursor`]: the walk over the leaves |
//! | `node` | a sorted set of links in two cache lines, read without a lock |
//! | `ranges`, `spans` | range tombstones in the order of their numbers; trees over the spans that they cover |
//! | `records` | range tombstones and their trees as they lie in memory |
//! | `seal` | where a memtable ends; [`Sealed`] |
//! | `kept` | values that stay where they are until the memtable drops |
//! | `arena`, `blocks` | memory named by 32-bit offsets; blocks of it for each thread |
//!
//! ```
//! use std::sync::Arc;
//! use stratalog_base::{KeyRef, Kind};
//! use stratalog_memtable::Memtable;
//!
//! let memtable = Arc::new(Memtable::new());
//! memtable.insert(KeyRef::new(b"ada", 3, Kind::Put), b"1815")?;
//! memtable.insert(KeyRef::new(b"ada", 7, Kind::Delete), b"")?;
//! let (trailer, value) = memtable.get(b"ada", 5).expect("version 3 is visible at 5");
//! assert_eq!((trailer.kind(), &value[..]), (Kind::Put, &b"1815"[..]));
//! assert_eq!(memtable.get(b"ada", 9).map(|(t, _)| t.kind()), Some(Kind::Delete));
//! assert!(memtable.get(b"ada", 2).is_none());
//!
//! memtable.insert_range(b"a", b"c", 8)?;
//! assert_eq!(memtable.covering(b"bob", 9), Some(8));
//! # Ok::<(), stratalog_memtable::Sealed>(())
//! ```

mod arena;
mod blocks;
mod cursor;
mod insert;
mod kept;
mod lines;
mod memtable;
mod newest;
mod node;
mod ranges;
mod records;
mod seal;
mod search;
mod shortcuts;
mod spans;

/// Its examples run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use cursor::MemtableCursor;
pub use memtable::Memtable;
pub use seal::Sealed;
