//! What a recovery is asked for, and what it found.

use std::path::PathBuf;

use crate::Position;
use crate::segment::Previous;

/// What to do about bytes that are not what was written.
///
/// A start file, which says what was removed, is damage, too, if it cannot be read or is of another log than the newest
/// segment. Modes that forgive that report it and do without: then a log of which all is read ([`crate::recover`] from
/// 0, [`crate::Log::open_with`]) starts with the oldest segment that there is, for it cannot be told whether older
/// ones were removed or lost; of one that is read from a position, all above that is needed. A log that goes on gets a
/// start file of its own. If there is a start file and no segment, that is damage as well, and a log that goes on in
/// spite of it is the one of the start file, and goes on at its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecoveryMode {
    /// Drops a torn tail, which a power cut leaves, and reports it; damage before the last promise of
    /// durability is an error.
    #[default]
    TornTail,
    /// Any invalid byte is an error, except space not yet used after the last frame.
    Strict,
    /// Ends at the first invalid byte, whatever it is, and reports what follows as dropped.
    PointInTime,
    /// Delivers every record that is whole, also after damage, and reports what lies between. What it
    /// delivers may have holes: it is for getting out what can be had, not for going on with the log.
    Salvage,
}

impl RecoveryMode {
    pub(crate) fn forgives_damage(self) -> bool {
        matches!(self, RecoveryMode::PointInTime | RecoveryMode::Salvage)
    }
}

/// Bytes that recovery left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The segment file.
    pub file: PathBuf,
    /// Where in it they start.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
    /// What is wrong with them.
    pub why: String,
}

/// A segment that is not written any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentEnd {
    /// Its index, the number in its name.
    pub index: u64,
    /// No record in it that counts lies at or above this position.
    pub end: Position,
}

/// How far a recovery has got, segment by segment. No number ever falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Segments read, or left out because the log ends before them.
    pub segments: usize,
    /// Segments to read in all.
    pub segments_total: usize,
    /// Bytes of the files read, of the ring, too.
    pub bytes: u64,
    /// Records delivered.
    pub records: u64,
}

/// What recovery found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Identifies the log; `None` if there was no readable segment and no start file.
    pub log_id: Option<u64>,
    /// Where the log ends: one past the last valid frame, or where the log starts, if that is more.
    pub end: Position,
    /// Up to where the log says of itself that it was durable. What lies above was read back, but may
    /// be in the page cache only.
    pub durable: Position,
    /// Records delivered.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Records of these that were in the ring only.
    pub ring_records: u64,
    /// All segment files of the directory, by index.
    pub segments: Vec<SegmentEnd>,
    /// What was left out.
    pub dropped: Vec<Dropped>,
    /// Whether the log was closed and is whole.
    pub clean_close: bool,
    /// Nothing below is missed: it was truncated, or, if the start file does not say, was not needed or not found. 0
    /// if nothing was.
    pub(crate) start: Position,
    /// The index of the segment that continues the log.
    pub(crate) next_index: u64,
    /// What it continues.
    pub(crate) previous: Option<Previous>,
}

/// The first position of a log.
pub const FIRST_POSITION: Position = 8;

impl Recovered {
    /// A log that does not exist yet and shall have this id.
    pub fn empty(log_id: u64) -> Recovered {
        Recovered { log_id: Some(log_id), ..Recovered::nothing() }
    }

    pub(crate) fn nothing() -> Recovered {
        Recovered {
            log_id: None,
            end: FIRST_POSITION,
            durable: FIRST_POSITION,
            records: 0,
            bytes: 0,
            ring_records: 0,
            segments: Vec::new(),
            dropped: Vec::new(),
            clean_close: false,
            start: 0,
            next_index: 1,
            previous: None,
        }
    }
}
