//! The vocabulary under every Stratalog crate: what two or more of them share, and nothing that
//! knows how a log-structured merge tree works.
//!
//! | module | holds |
//! |---|---|
//! | [`key`] | user key, internal key, sequence number, kind, and their order |
//! | [`codec`] | varints and fixed little-endian integers; decoding never panics |
//! | [`cursor`] | the one seek/next/prev contract of memtables, tables and merges |
//! | [`mod@slice`] | bytes that keep alive what holds them, so values are not copied |
//! | [`error`] | the one error type, which names file, offset and operation |
//! | [`fs`] | the file-system trait, [`fs::OsFs`] and (feature `sim`) the simulated file system |
//! | [`sync`] | locks, atomics and threads, for production and for loom |

pub mod codec;
pub mod cursor;
pub mod error;
pub mod fs;
pub mod key;
pub mod slice;
pub mod sync;

pub use cursor::Cursor;
pub use error::{Error, Result};
pub use key::{InternalKey, KeyRef, Kind, SeqNo, Trailer};
pub use slice::Slice;
