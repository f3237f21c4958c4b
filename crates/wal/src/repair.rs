//! Repair: what can be read of a damaged log, as a fresh log in another directory.
//!
//! # Invariants
//! - REPAIR-1: the damaged log is only read.
//! - REPAIR-2: each record that a salvage delivers is in the fresh log, at the same position, and
//!   nothing else is: where others were, positions are skipped.
//! - REPAIR-3: the fresh log ends with the mark of a close once it is whole; before, a repair that was
//!   cut short is seen by its lack. Its parts are durable in the order of positions.

use std::io::IoSlice;
use std::path::Path;

use stratalog_base::fs::Fs;
use stratalog_base::{Error, Result};

use crate::frame::{
    Draft, Frame, HEADER_BYTES, Kind, StreamId, carry_frame, frame_bytes, put_promise,
};
use crate::recovery::{Taken, read_log};
use crate::segment::{Header, Identity, Link, Previous, Segment};
use crate::{FIRST_POSITION, Position, Recovered, RecoveryMode};

/// Bytes of frames from which on a segment is not added to.
const SEGMENT_BYTES: usize = 64 << 20;
/// Up to this many positions are skipped by a frame; more, by the base of a new segment.
const MAX_SKIP: u64 = 64 << 10;
/// The frame that skips the fewest positions.
const MIN_SKIP: u64 = frame_bytes(0);

/// What a repair did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// What was found in the damaged log, and what could not be read.
    pub found: Recovered,
    /// Segments of the fresh log; 0 if there was no log.
    pub segments: u64,
    /// One past its last frame.
    pub end: Position,
}

/// Copies every whole record at or above `from` in `dir` into a fresh log in `into`, which is made if it
/// does not exist: same payloads, same order, same positions, same log id. The fresh log is closed,
/// durable, and opens in [`RecoveryMode::Strict`].
///
/// # Errors
/// [`Error::InvalidArgument`] if `into` holds any file; [`Error::NewerFormat`]; or if the system refuses,
/// then `into` holds a part.
pub fn salvage_into(fs: &dyn Fs, dir: &Path, from: Position, into: &Path) -> Result<Repaired> {
    // REPAIR-1: `dir` is listed, opened and read here and in `read_log`, nothing else.
    fs.list(dir)?; // A mistyped name leaves no empty directory behind.
    fs.create_dir(into)?;
    if !fs.list(into)?.is_empty() {
        return Err(Error::InvalidArgument(format!("{} is not empty", into.display())));
    }
    let mut copy = Copy { fs, dir: into, log_id: 0, open: None, previous: None, index: 1 };
    let found =
        read_log(fs, dir, from, RecoveryMode::Salvage, &mut |_| {}, &mut |place, frame| {
            if frame.kind != Kind::Record || frame.position < from {
                return Ok(Taken::No);
            }
            if let Err(why) = frame.record() {
                return Ok(Taken::Bad(why));
            }
            copy.log_id = place.log_id();
            copy.add(frame)?; // REPAIR-2
            Ok(Taken::Record)
        })?;
    let (mut segments, mut end) = (0, FIRST_POSITION);
    if let Some(log_id) = found.log_id {
        copy.log_id = log_id;
        (segments, end) = copy.close(found.end)?; // REPAIR-3
    }
    Ok(Repaired { found, segments, end })
}

/// The fresh log.
struct Copy<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    log_id: u64,
    /// The segment that takes frames.
    open: Option<Part>,
    /// The one before.
    previous: Option<Previous>,
    /// The index of the next.
    index: u64,
}

/// A segment in memory.
struct Part {
    base: Position,
    frames: Vec<u8>,
}

impl Part {
    fn end(&self) -> Position {
        self.base + self.frames.len() as u64
    }
}

impl Copy<'_> {
    /// Each segment is a session of its own.
    fn stream(&self) -> StreamId {
        StreamId::of(self.log_id, self.index)
    }

    fn add(&mut self, frame: &Frame<'_>) -> Result<()> {
        self.move_to(frame.position)?;
        let stream = self.stream();
        if let Some(part) = &mut self.open {
            carry_frame::append(frame, stream, &mut part.frames);
        }
        Ok(())
    }

    /// Makes the next frame lie at `position` (REPAIR-2).
    fn move_to(&mut self, position: Position) -> Result<()> {
        let stream = self.stream();
        if let Some(part) = &mut self.open {
            let end = part.end();
            let gap = position - end;
            let room = part.frames.len() < SEGMENT_BYTES;
            if room && gap == 0 {
                return Ok(());
            }
            if room && (MIN_SKIP..=MAX_SKIP).contains(&gap) {
                let zeros = vec![0; gap as usize - HEADER_BYTES];
                let parts = [IoSlice::new(&zeros)];
                Draft::new(Kind::Skip, &parts)?.encode(stream, end, &mut part.frames);
                return Ok(());
            }
            self.finish_part()?;
        }
        self.open = Some(Part { base: position, frames: Vec::new() });
        Ok(())
    }

    /// Writes the open segment; on return it is durable (REPAIR-3).
    fn finish_part(&mut self) -> Result<()> {
        let Some(part) = self.open.take() else { return Ok(()) };
        let Copy { log_id, index, previous, .. } = *self;
        let link = Link { base: part.base, previous, durable: part.base, session: index };
        let header = Header { id: Identity { log_id, index, is_ahead: false }, link };
        Segment::first(self.fs, self.dir, header, &part.frames, 0)?;
        self.previous = Some(Previous { index, end: part.end() });
        self.index += 1;
        Ok(())
    }

    /// Ends the log at or above `end`, with a segment that holds nothing but the mark: so all before is
    /// durable when that is made (FRAME-1). Returns how many segments there are, and where it ends.
    fn close(mut self, end: Position) -> Result<(u64, Position)> {
        let base = end.max(self.open.as_ref().map_or(FIRST_POSITION, Part::end));
        self.finish_part()?;
        let mut part = Part { base, frames: Vec::new() };
        put_promise(Kind::Close, base, self.stream(), base, &mut part.frames);
        let end = part.end();
        self.open = Some(part);
        self.finish_part()?;
        Ok((self.index - 1, end))
    }
}
