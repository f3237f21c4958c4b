//! The vocabulary under every Stratalog crate: what two or more of them share, and nothing that
//! knows how a log-structured merge tree works.
//!
//! | module | holds |
//! |---|---|
//! | [`budget`] | how much memory may be in use, and how much is |
//! | [`key`] | user key, internal key, sequence number, kind, and their order |
//! | [`key_buf`] | the user key that a cursor stands on |
//! | [`codec`] | varints and fixed little-endian integers; decoding never panics |
//! | [`cursor`] | the one seek/next/prev contract of memtables, tables and merges |
//! | [`pages`] | large pieces of memory straight from the system |
//! | [`range`] | range tombstones, and which of them covers a key |
//! | [`mod@slice`] | bytes that keep alive what holds them, so values are not copied |
//! | [`error`] | the one error type, which names file, offset and operation |
//! | [`fs`] | the file-system trait, [`fs::OsFs`] and (feature `sim`) the simulated file system |
//! | [`sync`] | locks, atomics, fences and threads, for production and for loom |

pub mod budget;
pub mod codec;
pub mod cursor;
pub mod error;
mod fences;
pub mod fs;
pub mod key;
pub mod key_buf;
pub mod pages;
pub mod range;
pub mod slice;
pub mod sync;

pub use cursor::{Bounds, Cursor};
pub use error::{Error, Result};
pub use key::{InternalKey, KeyRef, Kind, SeqNo, Trailer};
pub use key_buf::KeyBuf;
pub use slice::Slice;
