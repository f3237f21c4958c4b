//! The write-ahead log: opaque records in, and after a crash the same records out, in order.
//!
//! A log is one stream of frames. A record's *position* in it is its place, its order and its sequence
//! number at once. The stream is cut into segment files; a record lies whole in one of them.
//!
//! # What survives what
//! | class | acknowledged when | survives the death of the process | survives a power cut |
//! |---|---|---|---|
//! | [`Durability::None`] | it has a position | no | no |
//! | [`Durability::Process`] | it and all before it is in the page cache | yes | a prefix |
//! | [`Durability::Interval`] | the same, and a background sync is due | yes | all but the last interval |
//! | [`Durability::Sync`] | [`Wal::wait_durable`] returned | yes | yes |
//!
//! After a power cut the log is always a prefix of what was appended. The first write or sync that
//! fails ends the log: whoever waits is told, nothing is retried, nothing more is acknowledged.
//!
//! Checksums find accidents, not forgers.
//!
//! # The files
//! | module | holds |
//! |---|---|
//! | [`frame`], [`segment`] | the formats |
//! | [`scan`], [`recovery`] | reading: one segment, purely; the whole log |
//! | [`group`] | group commit, which knows nothing of files |
//! | [`queue`], [`alarm`] | frames that wait to be written; when the background thread syncs |
//! | [`sync_log`] | the log itself |
//!
//! ```
//! use std::{io::IoSlice, path::Path, sync::Arc};
//! use stratalog_base::fs::SimFs;
//! use stratalog_wal::{Durability, LogOptions, Recovered, RecoveryMode, SyncLog, Wal, recover};
//!
//! let (fs, dir) = (Arc::new(SimFs::new()), Path::new(""));
//! let log = SyncLog::create(fs.clone(), dir, LogOptions::default(), &Recovered::empty(7), 1)?;
//! let ticket = log.append(&[IoSlice::new(b"hello, "), IoSlice::new(b"log")], Durability::Sync)?;
//! log.wait_durable(ticket.end)?;
//!
//! let after_power_cut = fs.crash(42);
//! let mut records = Vec::new();
//! let found = recover(&after_power_cut, dir, 1, RecoveryMode::TornTail, &mut |position, record| {
//!     records.push((position, record.to_vec()));
//!     Ok(())
//! })?;
//! assert_eq!(records, [(ticket.position, b"hello, log".to_vec())]);
//! assert_eq!(found.end, ticket.end);
//! # Ok::<(), stratalog_base::Error>(())
//! ```

use std::fmt::Debug;
use std::io::IoSlice;
use std::time::Duration;

use stratalog_base::{Error, Result};

#[doc(hidden)]
pub mod alarm;
#[doc(hidden)]
pub mod frame;
#[doc(hidden)]
pub mod group;
#[doc(hidden)]
pub mod queue;
pub mod recovery;
#[doc(hidden)]
pub mod scan;
#[doc(hidden)]
pub mod segment;
pub mod sync_log;

pub use recovery::{Dropped, Recovered, RecoveryMode, SegmentEnd, recover};
pub use sync_log::SyncLog;

/// A byte offset in the stream of frames, at least 1. A record's position is the sequence number of
/// its first entry; its frame is longer than it has entries.
pub type Position = u64;

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

/// The place of a record. Each ticket starts where the one before ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The end of the ticket before; marks that the log itself writes lie between here and `position`.
    pub start: Position,
    /// The record's own position.
    pub position: Position,
    /// One past the record.
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
    /// Gives one record, the parts in a row, its place. It is written by [`Wal::wait_logged`], for
    /// this ticket or a later one, and not acknowledged before.
    ///
    /// # Errors
    /// [`stratalog_base::Error::InvalidArgument`] for more than 4 GiB; nothing has changed.
    fn enqueue(&self, parts: &[IoSlice<'_>]) -> Result<Ticket>;

    /// Returns once the record of `ticket` and all before it survive the death of the process. For
    /// [`Durability::Interval`] a background sync follows; for [`Durability::Sync`] call
    /// [`Wal::wait_durable`] with the ticket's end; for [`Durability::None`] it returns at once.
    ///
    /// # Errors
    /// [`stratalog_base::Error::NoSpace`] or [`stratalog_base::Error::Io`] if the group's write or a
    /// new segment failed; recovery may or may not find the record, and the log is poisoned.
    fn wait_logged(&self, ticket: &Ticket, durability: Durability) -> Result<()>;

    /// [`Wal::enqueue`] and [`Wal::wait_logged`] in one.
    ///
    /// # Errors
    /// Of both; and [`stratalog_base::Error::InvalidArgument`] for [`Durability::None`], which has no
    /// record: see [`Wal::reserve`].
    fn append(&self, parts: &[IoSlice<'_>], durability: Durability) -> Result<Ticket> {
        if durability == Durability::None {
            return Err(Error::InvalidArgument("a record of class None is not logged".into()));
        }
        let ticket = self.enqueue(parts)?;
        self.wait_logged(&ticket, durability)?;
        Ok(ticket)
    }

    /// Takes at least `len` positions for a write that is not logged. Reaches the file with a later
    /// append, so it does not fail because of I/O.
    ///
    /// # Errors
    /// [`stratalog_base::Error::InvalidArgument`] if `len` exceeds 2³² - 1.
    fn reserve(&self, len: u64) -> Result<Ticket>;

    /// Returns once all below `end` survives a power cut. Callers that wait at the same time share
    /// syncs.
    ///
    /// # Errors
    /// - [`stratalog_base::Error::InvalidArgument`] if `end` is beyond the last ticket.
    /// - [`stratalog_base::Error::Io`] if the sync failed; what survives a power cut is unknown then.
    fn wait_durable(&self, end: Position) -> Result<()>;

    /// Makes all that has a ticket survive a power cut.
    ///
    /// # Errors
    /// As [`Wal::wait_durable`].
    fn sync(&self) -> Result<()>;

    /// How far the log has got.
    fn watermarks(&self) -> Watermarks;

    /// Removes the segments that lie wholly below `position`, never the one being written. On return
    /// they do not come back after a power cut.
    ///
    /// # Errors
    /// If a file cannot be removed or the directory not be synced; then some are gone, and the log
    /// goes on.
    fn truncate_before(&self, position: Position) -> Result<()>;

    /// Makes all that has a ticket survive a power cut, marks the log as closed, and ends its thread.
    /// Closing again does nothing.
    ///
    /// # Errors
    /// If a write or sync fails; the log is closed all the same, but recovery will not find it clean.
    fn close(&self) -> Result<()>;
}

/// How a log is laid out and synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// A segment that a write would grow beyond this is sealed first, and the next begun: 64 MiB by
    /// default. Any value works; a group of records that is longer gets a segment of its own.
    pub segment_bytes: u64,
    /// How long after a record of class [`Durability::Interval`] the background sync begins: 100 ms by
    /// default.
    pub interval: Duration,
    /// The background sync begins when so many bytes are logged but not durable, so that a new
    /// segment never has much to wait for: 8 MiB by default.
    pub sync_every_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            segment_bytes: 64 << 20,
            interval: Duration::from_millis(100),
            sync_every_bytes: 8 << 20,
        }
    }
}
