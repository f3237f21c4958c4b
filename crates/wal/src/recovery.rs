//! Recovery: reads the records of a log back and decides what a bad place in it means.
//!
//! It goes from the newest segment back by the links in the headers, as far as records at or above
//! `from` can lie, and then forward through the frames. It writes nothing.
//!
//! # Invariants
//! - REC-1: a segment is needed if it is the newest or the one after it says that its part ends above
//!   `from`. A needed segment that is missing or unreadable is damage.
//! - REC-2: an unreadable header is no damage if only zeros follow and no readable segment is newer:
//!   by SEG-1 the segment never held a frame.
//! - REC-3: where the newest segment ends with a seal, a newer one is missing (LOG-2).
//! - REC-4: a read that fails is an error, never damage and never the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stratalog_base::fs::{File, Fs, read_all};
use stratalog_base::{Error, Result};

use crate::Position;
use crate::frame::Kind;
use crate::scan::{Ending, scan_segment};
use crate::segment::{HEADER_BYTES, Header, Previous, file_name, parse_name};

/// What to do about bytes that are not what was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecoveryMode {
    /// Drops a torn tail, which a power cut leaves, and reports it; damage before the last promise of
    /// durability is an error.
    #[default]
    TornTail,
    /// Any invalid byte is an error, except zeros after the last frame.
    Strict,
    /// Ends at the first invalid byte, whatever it is, and reports what follows as dropped.
    PointInTime,
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

/// What recovery found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Identifies the log; `None` if there was no readable segment.
    pub log_id: Option<u64>,
    /// Where the log ends: one past the last valid frame, or 1 if there is none.
    pub end: Position,
    /// Records delivered.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// All segment files of the directory, by index.
    pub segments: Vec<SegmentEnd>,
    /// What was left out.
    pub dropped: Vec<Dropped>,
    /// Whether the log was closed and is whole.
    pub clean_close: bool,
    /// The index of the segment that continues the log.
    pub(crate) next_index: u64,
    /// What it continues.
    pub(crate) previous: Option<Previous>,
}

impl Recovered {
    /// A log that does not exist yet and shall have this id.
    pub fn empty(log_id: u64) -> Recovered {
        Recovered { log_id: Some(log_id), ..Recovered::nothing() }
    }

    fn nothing() -> Recovered {
        Recovered {
            log_id: None,
            end: 1,
            records: 0,
            bytes: 0,
            segments: Vec::new(),
            dropped: Vec::new(),
            clean_close: false,
            next_index: 1,
            previous: None,
        }
    }
}

/// Calls `on_record` with each record at or above `from` in `dir`, in the order of their positions.
/// A directory without a log is an empty log. Holds one segment in memory at a time. Changes nothing,
/// so it can be repeated, with the same result.
///
/// # Errors
/// - [`Error::Corrupt`] with file and offset, or naming a missing file, as `mode` says;
/// - [`Error::NewerFormat`] for a segment of a newer release;
/// - [`Error::Io`] if a read fails;
/// - those of `on_record`, at once.
///
/// Records may have been delivered before the error.
pub fn recover(
    fs: &dyn Fs,
    dir: &Path,
    from: Position,
    mode: RecoveryMode,
    on_record: &mut dyn FnMut(Position, &[u8]) -> Result<()>,
) -> Result<Recovered> {
    let mut indices: Vec<_> = fs.list(dir)?.iter().filter_map(|name| parse_name(name)).collect();
    indices.sort_unstable();
    let mut found = Recovered::nothing();
    found.next_index = indices.last().map_or(1, |newest| newest + 1);
    let mut recovery = Recovery { fs, dir, from, mode, indices, found };
    let mut chain = recovery.chain()?;
    recovery.replay(&mut chain, on_record)?;
    Ok(recovery.finish(&chain))
}

struct Recovery<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    from: Position,
    mode: RecoveryMode,
    indices: Vec<u64>,
    found: Recovered,
}

impl Recovery<'_> {
    fn path(&self, index: u64) -> PathBuf {
        self.dir.join(file_name(index))
    }

    fn open(&self, index: u64) -> Result<Arc<dyn File>> {
        self.fs.open(&self.path(index))
    }

    /// The headers of the needed segments (REC-1), oldest first.
    fn chain(&mut self) -> Result<Vec<Header>> {
        let mut chain: Vec<Header> = Vec::new(); // newest first
        let mut next = self.indices.last().copied();
        while let Some(index) = next {
            next = match self.header(index, chain.last()) {
                Ok(Some(header)) => {
                    chain.push(header);
                    header.previous.filter(|link| link.end > self.from).map(|link| link.index)
                }
                Ok(None) => self.below(index),
                Err(damage) => {
                    self.tolerate(damage, 0)?;
                    // What is newer hangs in the air.
                    for header in chain.drain(..).rev() {
                        self.drop_segment(header.index)?;
                    }
                    self.below(index)
                }
            };
        }
        chain.reverse();
        Ok(chain)
    }

    fn below(&self, index: u64) -> Option<u64> {
        self.indices.iter().rev().copied().find(|&it| it < index)
    }

    /// The header of the segment that comes before `newer`; `None` if it never held a frame.
    fn header(&mut self, index: u64, newer: Option<&Header>) -> Result<Option<Header>> {
        let path = self.path(index);
        if self.indices.binary_search(&index).is_err() {
            return Err(Error::corrupt(&path, 0, "is missing: the next segment continues it"));
        }
        let file = self.open(index)?;
        let mut start = [0; HEADER_BYTES];
        let read = file.read_at(&mut start, 0)?;
        let header = match Header::decode(&start[..read], &path) {
            Ok(header) => header,
            Err(damage) => return self.never_used(&*file, newer, damage).map(|()| None),
        };
        let what = if header.index != index {
            "is another segment under this name"
        } else if newer.is_some_and(|newer| newer.log_id != header.log_id) {
            "belongs to another log than the next segment"
        } else if newer.and_then(|newer| newer.previous).is_some_and(|it| it.end < header.base) {
            "starts after the place where the next segment says that it ends"
        } else {
            return Ok(Some(header));
        };
        Err(Error::corrupt(&path, 0, what))
    }

    /// REC-2: reports a segment that never held a frame, or returns `damage`.
    fn never_used(&mut self, file: &dyn File, newer: Option<&Header>, damage: Error) -> Result<()> {
        let Error::Corrupt { what, .. } = &damage else { return Err(damage) };
        let bytes = read_all(file)?;
        let zeros_from = if self.mode == RecoveryMode::Strict { 0 } else { HEADER_BYTES };
        let blank = bytes.iter().skip(zeros_from).all(|&byte| byte == 0);
        if newer.is_some() || !blank {
            return Err(damage);
        }
        let (file, bytes, why) = (file.path().to_owned(), bytes.len() as u64, what.clone());
        self.found.dropped.push(Dropped { file, offset: 0, bytes, why });
        Ok(())
    }

    /// Delivers the records of `chain`, which it cuts after the segment in which the log ends.
    fn replay(
        &mut self,
        chain: &mut Vec<Header>,
        on_record: &mut dyn FnMut(Position, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut at = 0;
        while let Some(header) = chain.get(at).copied() {
            let next = chain.get(at + 1).copied();
            if !self.replay_segment(&header, next.as_ref(), on_record)? {
                for dropped in chain.drain(at + 1..) {
                    self.drop_segment(dropped.index)?;
                }
            }
            at += 1;
        }
        Ok(())
    }

    /// Delivers the records of one segment; whether the log goes on after it.
    fn replay_segment(
        &mut self,
        header: &Header,
        next: Option<&Header>,
        on_record: &mut dyn FnMut(Position, &[u8]) -> Result<()>,
    ) -> Result<bool> {
        let bytes = read_all(&*self.open(header.index)?)?;
        let limit = next.and_then(|next| next.previous).map(|link| link.end);
        let (from, found) = (self.from, &mut self.found);
        let scan = scan_segment(&bytes, header, limit, &mut |frame| {
            if frame.kind == Kind::Record && frame.position >= from {
                found.records += 1;
                found.bytes += frame.payload.len() as u64;
                on_record(frame.position, frame.payload)?;
            }
            Ok(())
        })?;
        found.log_id = Some(header.log_id);
        found.end = scan.end;
        found.previous = Some(Previous { index: header.index, end: scan.end });
        found.clean_close = next.is_none()
            && scan.last == Some(Kind::Close)
            && scan.ending == Ending::Whole
            && found.dropped.is_empty();

        let (path, offset) = (self.path(header.index), header.offset(scan.end));
        match scan.ending {
            Ending::Whole if next.is_none() && scan.last == Some(Kind::Seal) => {
                let missing = self.path(header.index + 1);
                let what = "is missing or was never used, though the segment before is sealed";
                self.tolerate(Error::corrupt(&missing, 0, what), 0)?; // REC-3
            }
            Ending::Whole => {}
            Ending::Torn { bytes, why } if self.mode != RecoveryMode::Strict => {
                self.found.dropped.push(Dropped { file: path, offset, bytes, why: why.into() });
            }
            Ending::Torn { bytes, why } => {
                self.tolerate(Error::corrupt(&path, offset, why), bytes)?;
            }
            Ending::Damaged { bytes, why, promised } => {
                let what = format!("{why}, below position {promised}, up to which all was durable");
                self.tolerate(Error::corrupt(&path, offset, what), bytes)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reports damage of so many bytes as dropped if the mode allows it, else returns it.
    fn tolerate(&mut self, damage: Error, bytes: u64) -> Result<()> {
        match damage {
            Error::Corrupt { path: file, offset, what: why }
                if self.mode == RecoveryMode::PointInTime =>
            {
                self.found.dropped.push(Dropped { file, offset, bytes, why });
                Ok(())
            }
            other => Err(other),
        }
    }

    /// Reports a whole segment that follows damage.
    fn drop_segment(&mut self, index: u64) -> Result<()> {
        let (file, bytes) = (self.path(index), self.open(index)?.len()?);
        let why = "follows a place where the log is damaged".into();
        self.found.dropped.push(Dropped { file, offset: 0, bytes, why });
        Ok(())
    }

    fn finish(self, chain: &[Header]) -> Recovered {
        let Recovery { indices, mut found, .. } = self;
        let end_of = |index| {
            let links = chain.iter().filter_map(|header| header.previous);
            links.filter(|link| link.index >= index).map(|link| link.end).min().unwrap_or(found.end)
        };
        found.segments =
            indices.iter().map(|&index| SegmentEnd { index, end: end_of(index) }).collect();
        found
    }
}
