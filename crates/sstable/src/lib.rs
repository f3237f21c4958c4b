//! Immutable sorted tables: how entries lie in a file, are found in it, and stay in memory.
//!
//! A table is written once, in key order, by a [`TableWriter`], and read by any number of threads
//! through a [`Table`]: point reads by [`Table::get`], ranges by a [`TableCursor`]. Values are not
//! copied: a returned [`Slice`](stratalog_base::Slice) pins the cached block that holds it.
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
//! | `footer.rs` | the layout of the file, its footer |
//! | `frame.rs` | the frame of every block: compression, checksum |
//! | `block.rs` | the layout of a data block, encoder and decoder |
//! | `search.rs` | finding entries in a block |
//! | `index.rs` | separators and offsets of the data blocks |
//! | `filter.rs` | the blocked Bloom filter |
//! | `properties.rs` | counts and bounds; the summary that manifests keep |
//! | `writer.rs` | [`TableWriter`] |
//! | `cache.rs` | [`BlockCache`]: slots and clock |
//! | `table.rs` | [`Table`]: open, `get` |
//! | `sweep.rs`, `cursor.rs` | read-ahead; [`TableCursor`] |
//! | `verify.rs` | [`Table::verify`] |
//! | `pin.rs` | the one unsafe step |
//! | `fuzz.rs` | the decoders, bare, for the fuzz targets |

mod block;
mod cache;
mod cursor;
mod filter;
mod footer;
mod frame;
#[doc(hidden)]
pub mod fuzz;
mod index;
mod options;
mod pin;
mod properties;
mod search;
mod sweep;
mod table;
mod verify;
mod writer;

pub use cache::BlockCache;
pub use cursor::{ReadUse, TableCursor};
pub use filter::key_hash;
pub use options::{Compression, MAX_BLOCK_BYTES, MAX_FILTER_BITS_PER_KEY, TableOptions};
pub use properties::TableSummary;
pub use table::Table;
pub use writer::TableWriter;
