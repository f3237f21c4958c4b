//! Immutable sorted tables: how entries lie in a file, are found in it, and stay in memory.
//!
//! A table is written once, in key order, by a [`TableWriter`], and read by any number of threads
//! through a [`Table`]: point reads by [`Table::get`], ranges by a [`TableCursor`]. Values are not
//! copied: a returned [`Slice`](stratalog_base::Slice) pins the cached block that holds it.
//!
//! Data blocks are cut into **partitions**, each with its index and its filter, which are read when
//! needed and cached like data. A small top index, which leads to them, stays in memory.
//!
//! ```
//! use stratalog_base::fs::{Fs, OsFs};
//! use stratalog_base::{Cursor, KeyRef, Kind};
//! use stratalog_sstable::{BlockCache, ReadUse, Table, TableOptions, TableWriter, key_hash};
//!
//! # fn main() -> stratalog_base::Result<()> {
//! # let dir = std::env::temp_dir().join(format!("sstable-doc-{}", std::process::id()));
//! # OsFs.create_dir(&dir)?;
//! let path = dir.join("7.sst");
//! let mut writer = TableWriter::new(OsFs.create(&path)?, 7, &TableOptions::default());
//! writer.add(KeyRef::new(b"ada", 9, Kind::Delete), b"")?;
//! writer.add(KeyRef::new(b"ada", 3, Kind::Put), b"1815")?;
//! writer.add(KeyRef::new(b"bob", 4, Kind::Put), b"1903")?;
//! writer.finish()?;
//! OsFs.sync_dir(&dir)?;
//!
//! let table = Table::open(OsFs.open(&path)?, 7, BlockCache::new(8 << 20))?;
//! let (trailer, value) = table.get(b"ada", key_hash(b"ada"), 8)?.expect("written at 3");
//! assert_eq!((trailer.seq(), &*value), (3, &b"1815"[..]));
//!
//! let mut cursor = table.cursor(ReadUse::Lookup);
//! cursor.seek_last()?;
//! assert_eq!(cursor.key().user, b"bob");
//! # std::fs::remove_dir_all(&dir).ok();
//! # Ok(())
//! # }
//! ```
//!
//! # Files, in reading order
//! | file | holds |
//! |---|---|
//! | `options.rs` | what a table is built with |
//! | `ends.rs` | magic numbers, format version and footer checksum, for tables and value files alike |
//! | `footer.rs` | the layout of the file, its footer |
//! | `frame.rs` | the frame of every block: kind, checksum |
//! | `compress.rs`, `compress/` | LZ4 and Zstd; dictionaries |
//! | `block.rs`, `block/` | the layout of a data block, encoder and decoder; reading a decoded one |
//! | `search.rs` | finding entries in a block |
//! | `ahead.rs` | asking for parts of a block before they are needed |
//! | `separators.rs` | sorted lower bounds and their search |
//! | `index.rs` | an index partition: separators, offsets and ages of data blocks |
//! | `filter.rs`, `filter/` | the filter's codec; Bloom and Ribbon |
//! | `partition.rs` | an index partition with its filter, in memory |
//! | `top.rs` | the top index: how a table is cut into partitions |
//! | `ranges.rs` | the range-tombstone block |
//! | `properties.rs`, `summary.rs` | counts and bounds; the summary that manifests keep |
//! | `out.rs` | blocks behind one write buffer |
//! | `writer.rs` | [`TableWriter`] |
//! | `shared.rs` | a decoded block in one allocation, with a count of handles |
//! | `slab.rs`, `slab/` | memory for decoded blocks, in huge pages |
//! | `grace.rs` | when what was evicted can be freed |
//! | `cache.rs`, `cache/` | [`BlockCache`]: clock and limits; the slots of a table |
//! | `handles.rs` | [`Handles`]: more files than may be open |
//! | `meta.rs` | what is read when a table is opened, and from where everything else |
//! | `table.rs` | [`Table`]: open, `get` |
//! | `reads.rs`, `sweep.rs` | how a cursor reads; read-ahead |
//! | `cursor.rs`, `cursor/` | [`TableCursor`]: its steps; which block it stands in |
//! | `verify.rs` | [`Table::verify`] |
//! | `value_file.rs`, `value_file/` | value files: large values that lie outside their table |
//! | `inspect.rs` | looking into files, block by block, for tools |
//! | `pin.rs` | values that pin what holds them |
//! | `fuzz.rs` | the decoders, bare, for the fuzz targets |

mod ahead;
mod block;
mod cache;
mod compress;
mod cursor;
mod ends;
mod filter;
mod footer;
mod frame;
#[doc(hidden)]
pub mod fuzz;
mod grace;
mod handles;
mod index;
pub mod inspect;
mod meta;
mod options;
mod out;
mod partition;
mod pin;
mod properties;
mod ranges;
mod reads;
mod search;
mod separators;
mod shared;
mod slab;
mod summary;
mod sweep;
mod table;
mod top;
mod value_file;
mod verify;
mod writer;

/// Its examples run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use cache::BlockCache;

/// The parts whose concurrency is model-checked: `tests/loom.rs` runs them as they are.
#[doc(hidden)]
pub mod protocol {
    pub use crate::cache::{Cached, Slots, Wanted};
    pub use crate::grace::{Garbage, Grace, Reader};
    pub use crate::shared::{Borrowed, Shared};
    pub use crate::slab::Slabs;
}
pub use cursor::TableCursor;
pub use filter::key_hash;
pub use handles::{Handles, ReadBy};
pub use options::{
    Compression, FilterPolicy, MAX_BLOCK_BYTES, MAX_FILTER_BITS_PER_KEY, MAX_PARTITION_BYTES,
    TableOptions,
};
pub use reads::{ReadUse, Reads};
pub use stratalog_base::Bounds;
pub use summary::{TableSummary, ValueRef};
pub use table::Table;
pub use value_file::{ValueFile, ValueHandle, ValueSummary, ValueWriter, ValuesAhead};
pub use writer::TableWriter;
