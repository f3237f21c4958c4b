//! The write-ahead log: opaque records in, and after a crash the same records out, in order.
//!
//! A log is one stream of frames. A record's *position* in it is its place, its order and its sequence
//! number at once. The stream is cut into segment files; a record lies whole in one of them.
//!
//! # What survives what
//! | class | done when | survives the death of the process | survives a power cut |
//! |---|---|---|---|
//! | [`Durability::None`] | it has a position | no | no |
//! | [`Durability::Process`] | it and all before it is in the page cache | yes | a prefix |
//! | [`Durability::Interval`] | the same, and a background sync is due | yes | all but the last interval |
//! | [`Durability::Sync`] | it and all before it was synced | yes | yes |
//!
//! An append returns a [`Ticket`] at once; the promise holds when that is done: [`Ticket::wait`] blocks,
//! `ticket.await` does not, [`Ticket::then`] calls back. After a power cut the log is always a prefix of
//! what was appended. The first write or sync that fails stops the log: whoever waits is told, nothing
//! is retried, nothing more is acknowledged, until [`Log::resume`] goes on in fresh files.
//!
//! Checksums find accidents, not forgers.
//!
//! # Who writes
//! | [`Backend`] | `append` costs | a record of class `Process` | choose it for |
//! |---|---|---|---|
//! | [`Backend::Sync`] | a lock and a copy | is written by its caller, in a group | few threads, or every record waited for |
//! | [`Backend::SyncThread`] | the same | the same, or by the thread, whoever is first | records that nobody waits for |
//! | [`Backend::LockFree`] | an atomic operation and a copy | is safe once copied, if the ring is mapped | the most records |
//!
//! # The files
//! | module | holds |
//! |---|---|
//! | [`frame`], [`segment`], [`ring_file`], [`start_file`] | the formats |
//! | [`scan`], [`recovery`], [`recovered`], `carry` | reading: one segment, purely; the whole log; what was found; what to begin anew with |
//! | [`group`], [`waiters`], [`crews`], `calls` | group commit, which knows nothing of files; who waits for it; many who wait as one; who is called back, and when |
//! | [`queue`], [`ring`] | frames that wait to be written: under a lock; without |
//! | `files` | the segments being written, and those made ahead |
//! | `core`, `lifecycle` | a record's way to the disk; what happens to a log as a whole |
//! | `background`, [`alarm`] | the threads; what wakes them |
//! | [`log`], [`ticket`], [`reader`], [`options`] | the public face |
//! | [`inspect`], [`repair`] | for tools: what the files hold; what can be saved of them |
//! | [`stats`], [`histogram`], [`alerts`], `tally` | what is counted and told |
//! | `conformance` (a feature) | the promises of [`Wal`], as checks for any backend |
//!
//! ```
//! use std::{io::IoSlice, path::Path, sync::Arc};
//! use stratalog_base::fs::SimFs;
//! use stratalog_wal::{Durability, Log, LogOptions, RecoveryMode, Wal, recover};
//!
//! let (fs, dir) = (Arc::new(SimFs::new()), Path::new(""));
//! let (log, _) = Log::open(fs.clone(), dir, LogOptions::default())?;
//! let ticket = log.append(&[IoSlice::new(b"hello, "), IoSlice::new(b"log")], Durability::Sync)?;
//! let place = ticket.wait()?;
//!
//! let after_power_cut = fs.crash(42);
//! let mut records = Vec::new();
//! let found = recover(&after_power_cut, dir, 0, RecoveryMode::TornTail, &mut |position, record| {
//!     records.push((position, record.to_vec()));
//!     Ok(())
//! })?;
//! assert_eq!(records, [(place.position, b"hello, log".to_vec())]);
//! assert_eq!(found.end, place.end);
//! # Ok::<(), stratalog_base::Error>(())
//! ```

use std::fmt::Debug;
use std::io::IoSlice;

use stratalog_base::Result;
use stratalog_base::sync::Instant;

#[doc(hidden)]
pub mod alarm;
pub mod alerts;
mod background;
mod calls;
mod carry;
#[cfg(all(feature = "conformance", not(loom)))]
pub mod conformance;
mod core;
#[doc(hidden)]
pub mod crews;
mod files;
#[doc(hidden)]
pub mod frame;
#[doc(hidden)]
pub mod group;
pub mod histogram;
pub mod inspect;
mod lifecycle;
pub mod log;
pub mod options;
#[doc(hidden)]
pub mod queue;
pub mod reader;
pub mod recovered;
pub mod recovery;
pub mod repair;
#[doc(hidden)]
pub mod ring;
#[doc(hidden)]
pub mod ring_file;
#[doc(hidden)]
pub mod scan;
#[doc(hidden)]
pub mod segment;
mod spin;
#[doc(hidden)]
pub mod start_file;
pub mod stats;
mod tally;
pub mod ticket;
#[doc(hidden)]
pub mod waiters;

pub use alerts::{Alert, AlertListener, AlertThresholds};
pub use log::Log;
pub use options::{Archive, Backend, LogOptions, Overflow, Retention};
pub use reader::{Reader, Record, Records};
pub use recovered::{Dropped, FIRST_POSITION, Progress, Recovered, RecoveryMode, SegmentEnd};
pub use recovery::{recover, recover_with_progress};
pub use stats::{Health, LogStats};
pub use ticket::Ticket;

/// Its examples run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// A byte offset in the stream of frames, a multiple of 8 and at least [`FIRST_POSITION`]. A record's
/// position is the sequence number of its first entry; its frame is longer than it has entries.
pub type Position = u64;

/// Called once, with how it ended.
pub type Callback = Box<dyn FnOnce(Result<()>) + Send>;

/// What a record survives once it is acknowledged; see the crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is not logged, it only takes positions.
    None,
    /// The death of the process.
    Process,
    /// The death of the process, and soon a power cut.
    Interval,
    /// A power cut.
    Sync,
}

/// The place of a record, or of several in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The end of what came before; marks that the log itself writes may lie between here and
    /// `position`, and before `start`.
    pub start: Position,
    /// The (first) record's own position.
    pub position: Position,
    /// One past the (last) record.
    pub end: Position,
}

/// How far the log has got. Each is free of holes, never falls, and is at most the one above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// All below has a position.
    pub reserved: Position,
    /// All below survives the death of the process.
    pub logged: Position,
    /// All below survives a power cut.
    pub durable: Position,
}

/// A log that takes records. All methods may be called from several threads at once.
///
/// Besides the errors that it names, each method but [`Wal::watermarks`] returns
/// [`stratalog_base::Error::Poisoned`] after a write or sync has failed, and
/// [`stratalog_base::Error::Closed`] after [`Wal::close`].
pub trait Wal: Send + Sync + Debug {
    /// Gives one record, the parts in a row, its place. It is not acknowledged before the ticket is
    /// done. One of class [`Durability::None`] only takes positions, as [`Wal::reserve`] does.
    ///
    /// # Errors
    /// [`stratalog_base::Error::InvalidArgument`] for more than 4 GiB - 20 B, and
    /// [`stratalog_base::Error::Full`] if there is no room and the log does not wait for it; nothing
    /// has changed.
    fn append(&self, parts: &[IoSlice<'_>], durability: Durability) -> Result<Ticket<'_>>;

    /// Gives several records places in a row, with no other caller's in between; their positions go to
    /// `positions`. Each is a record of its own: after a crash a part of them may be there. The ticket is
    /// that of the last one.
    ///
    /// # Errors
    /// As [`Wal::append`]; [`stratalog_base::Error::InvalidArgument`] for [`Durability::None`], and for a
    /// batch that takes 4 GiB or more.
    fn append_batch(
        &self,
        records: &[&[u8]],
        durability: Durability,
        positions: &mut Vec<Position>,
    ) -> Result<Ticket<'_>>;

    /// Takes at least `len` positions for a write that is not logged. Reaches the file with a later
    /// append, so it does not fail because of I/O, unless it has to wait for room or takes more than half
    /// of a ring, which is written at once.
    ///
    /// # Errors
    /// As [`Wal::append`]; [`stratalog_base::Error::InvalidArgument`] if `len` exceeds 2³² - 1.
    fn reserve(&self, len: u64) -> Result<Place>;

    /// Returns `true` once all below `end` survives what `durability` says, or `false` at `deadline`.
    /// Callers that wait at the same time share writes and syncs.
    ///
    /// # Errors
    /// - [`stratalog_base::Error::InvalidArgument`] if `end` is beyond the last ticket.
    /// - [`stratalog_base::Error::NoSpace`] or [`stratalog_base::Error::Io`] if the write, the sync or a
    ///   new segment failed: recovery may or may not find the record, and the log is poisoned.
    fn wait(
        &self,
        end: Position,
        durability: Durability,
        deadline: Option<Instant>,
    ) -> Result<bool>;

    /// Calls `then` once all below `end` survives what `durability` says, or with why it will not:
    /// at once in this thread if that is so already, else in the thread that does the work, or in the
    /// one that drops the log. That may be another caller, in the midst of an append or a wait. So it
    /// must not panic: that goes on in the thread that calls, and ends it if it is one of the log's. Then
    /// callers do its work.
    fn when(&self, end: Position, durability: Durability, then: Callback);

    /// Makes all that has a ticket survive a power cut.
    ///
    /// # Errors
    /// As [`Wal::wait`].
    fn sync(&self) -> Result<()>;

    /// How far the log has got.
    fn watermarks(&self) -> Watermarks;

    /// Removes the segments that lie wholly below `position`, never the one being written. On return
    /// they do not come back after a power cut.
    ///
    /// # Errors
    /// If a file cannot be archived or removed or the directory not be synced; then some are gone, and
    /// the log goes on.
    fn truncate_before(&self, position: Position) -> Result<()>;

    /// Reads the records at or above `from`, 0 for all that there are, and those that come.
    ///
    /// # Errors
    /// If the first segment cannot be read; never because it is removed at the same time.
    fn reader(&self, from: Position) -> Result<Box<dyn Records>>;

    /// Makes all that has a ticket survive a power cut, marks the log as closed, and ends its threads.
    /// Closing again does nothing.
    ///
    /// # Errors
    /// If a write or sync fails; the log is closed all the same, but recovery will not find it clean.
    fn close(&self) -> Result<()>;
}
