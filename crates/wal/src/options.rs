//! [`LogOptions`]: how a log is laid out, how it is written and synced, and what it may use.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stratalog_base::{Error, Result};

use crate::alerts::{AlertListener, AlertThresholds};

/// Who writes, and what a record waits in until it is written. All three keep the same promises, in the
/// same files; see the crate for how to choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Backend {
    /// Callers write and sync in groups, one of them for all.
    Sync = 0,
    /// Records wait in memory, behind a short lock, for a thread that writes them; callers who wait
    /// for theirs do it themselves if that thread is not at it.
    SyncThread = 1,
    /// Writers take their place by one atomic operation and copy into a ring, which a thread drains.
    /// The ring is mapped from a file where [`LogOptions::ring_mapped`] allows it and the file system
    /// can be trusted with it, so a record survives the death of the process once it is copied.
    #[default]
    LockFree = 2,
}

impl Backend {
    /// All backends.
    pub const ALL: [Backend; 3] = [Backend::Sync, Backend::SyncThread, Backend::LockFree];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Sync => "sync",
            Backend::SyncThread => "sync-thread",
            Backend::LockFree => "lock-free",
        }
    }
}

/// What an append does that finds no room in the queue or ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// Waits for room, first come, first served.
    #[default]
    Block,
    /// Waits so long, then fails with [`Error::Full`].
    Wait(Duration),
    /// Fails with [`Error::Full`] at once, also while the backend is being changed. What takes more than
    /// half of a ring needs no room there, and waits for all writes before it even so. If no thread of the log
    /// writes, the caller writes once before it fails.
    Fail,
    /// Writes what is waiting itself, whether or not a thread is there for it.
    WriteThrough,
}

/// Which segments go by themselves once they are full; [`crate::Wal::truncate_before`] works besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// None.
    #[default]
    Everything,
    /// All but so many of the newest, besides the one being written.
    Segments(usize),
    /// Those sealed so long ago, by the monotonic clock. It does not run while the process does not, and files are not
    /// asked for their times, for those follow a clock that may be set: what earlier sessions left counts as sealed
    /// when it is found. So nothing goes in a process that never runs for so long.
    Age(Duration),
}

/// Called with the path of each segment before it is removed. If it fails, the segment stays, and its records are
/// read and recovered as before: [`crate::Wal::truncate_before`] returns the error; retention tells it
/// ([`crate::Alert::RetentionFailed`], [`crate::LogStats::retention_failed`]) and tries again, first after 100 ms, then
/// after twice as long each time, up to a minute.
///
/// It must not truncate the log, for whoever removes waits for it. It returns once the copy is durable, for the segment
/// is removed then. One that was archived comes again if a failure or a power cut comes between that and its removal;
/// so a copy that is there already is replaced.
#[derive(Clone)]
pub struct Archive(Arc<ArchiveFn>);

type ArchiveFn = dyn Fn(&Path) -> Result<()> + Send + Sync;

impl Archive {
    /// Calls `archive`, in the thread that removes.
    pub fn new(archive: impl Fn(&Path) -> Result<()> + Send + Sync + 'static) -> Archive {
        Archive(Arc::new(archive))
    }

    pub(crate) fn call(&self, path: &Path) -> Result<()> {
        (self.0)(path)
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Archive")
    }
}

/// How a log is laid out, written and synced.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Who writes; [`crate::Log::set_backend`] changes it later. Default: [`Backend::LockFree`].
    pub backend: Backend,
    /// A segment that a write would grow beyond this is sealed first, and the next begun: 64 MiB by
    /// default. Any value works; a group of records that is longer gets a segment of its own. Beyond
    /// 1 GiB none is made ahead.
    pub segment_bytes: u64,
    /// A segment that holds records is sealed after so long, not zero: never by default.
    pub segment_age: Option<Duration>,
    /// Whether a background step allocates, fills and recycles segment files ahead of need. Else each
    /// is made when it is needed, and removed when not. Default: yes.
    pub segments_ahead: bool,
    /// Which full segments go by themselves. Default: none.
    pub retention: Retention,
    /// What to do with a segment before it is removed. Default: nothing.
    pub archive: Option<Archive>,
    /// How long after a record of class [`crate::Durability::Interval`], or of class
    /// [`crate::Durability::Sync`] that nobody waits for, the background sync begins: 100 ms by default.
    pub interval: Duration,
    /// The background sync begins when so many bytes are written but not durable: 8 MiB by default.
    pub sync_every_bytes: u64,
    /// Records that may wait in the queue of [`Backend::Sync`] and [`Backend::SyncThread`], at least
    /// 1: 10,000 by default.
    pub queue_records: usize,
    /// Bytes that may wait there, besides one record: 64 MiB by default.
    pub queue_bytes: u64,
    /// Bytes of the ring of [`Backend::LockFree`], a power of two from 4 KiB to 1 GiB: 8 MiB by
    /// default. A record takes at least 16, so no more than a sixteenth as many records wait. One that
    /// needs more than half of the ring is written by its caller.
    pub ring_bytes: u64,
    /// Whether the ring may be mapped from a file. Else records of class `Process` are written before
    /// they are acknowledged. Default: yes.
    pub ring_mapped: bool,
    /// The thread of [`Backend::SyncThread`] writes when so many records wait: 1,000 by default. That of
    /// [`Backend::LockFree`] when the ring is half full.
    pub batch_records: usize,
    /// Or, both, when the first of them has waited so long: 10 ms by default.
    pub batch_delay: Duration,
    /// What an append does that finds no room. Default: it waits.
    pub overflow: Overflow,
    /// Records of at least so many bytes are compressed, with LZ4, if that makes them shorter. Default:
    /// none.
    pub compress_from_bytes: Option<usize>,
    /// When the listener is told.
    pub alert_thresholds: AlertThresholds,
    /// Who is told of what needs attention. Default: nobody.
    pub alert_listener: Option<AlertListener>,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            backend: Backend::default(),
            segment_bytes: 64 << 20,
            segment_age: None,
            segments_ahead: true,
            retention: Retention::Everything,
            archive: None,
            interval: Duration::from_millis(100),
            sync_every_bytes: 8 << 20,
            queue_records: 10_000,
            queue_bytes: 64 << 20,
            ring_bytes: 8 << 20,
            ring_mapped: true,
            batch_records: 1_000,
            batch_delay: Duration::from_millis(10),
            overflow: Overflow::Block,
            compress_from_bytes: None,
            alert_thresholds: AlertThresholds::default(),
            alert_listener: None,
        }
    }
}

/// The least that a ring has: a page, and in models, where each word costs, a few frames.
const RING_BYTES_MIN: u64 = if cfg!(loom) { 32 } else { 4 << 10 };

impl LogOptions {
    pub(crate) fn check(&self) -> Result<()> {
        let ring = self.ring_bytes.is_power_of_two()
            && (RING_BYTES_MIN..=1 << 30).contains(&self.ring_bytes);
        let refuse = |what: &str| Err(Error::InvalidArgument(what.into()));
        match self {
            _ if !ring => refuse("ring_bytes must be a power of two from 4 KiB to 1 GiB"),
            LogOptions { queue_records: 0, .. } => refuse("queue_records must be at least 1"),
            LogOptions { batch_records: 0, .. } => refuse("batch_records must be at least 1"),
            LogOptions { segment_age: Some(Duration::ZERO), .. } => {
                refuse("segment_age must not be zero")
            }
            _ => Ok(()),
        }
    }
}
