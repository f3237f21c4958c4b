//! Recovery: reads the records of a log back and decides what a bad place in it means.
//!
//! It goes from the newest segment that was begun back by the links in the headers, as far as records
//! at or above `from` can lie, then forward through the frames, and at last takes from the ring what
//! the segments lack. It writes nothing.
//!
//! # Invariants
//! - REC-1: a segment is needed if it is the newest that was begun or the one after it says that its
//!   part ends above `from`. A needed segment that is missing or unreadable is damage.
//! - REC-2: a segment that was made ahead and has no valid link was not begun, or its link was lost with
//!   all that the segment held. It is damage only if a frame in it, read as what follows where the log
//!   ends, or a newer segment promises that something beyond that place was durable.
//! - REC-3: a seal names a segment that was there when it was written; if that is missing, it is lost.
//! - REC-4: a read that fails is an error, never damage and never the end.
//! - REC-5: where the frames of a segment end too early and no later promise, in whichever segment,
//!   covers the place, all that follows is the tail of the log, whole segments included.
//! - REC-6: the ring counts only if the newest begun segment is of the session that wrote it, and from
//!   the place on where the segments end.
//! - REC-7: a salvage takes every whole frame of every segment whose header it can read, and says of
//!   each file what it left out. Where a segment is lost it goes on with the next older file: that
//!   may hold records which the log had dropped, and replaced by those that are lost.
//! - REC-8: below the start that the start file gives nothing is missed. So nothing may be appended there:
//!   where the log ends before its start, it goes on at that.
//! - REC-9: a record that is wanted, has the right checksum and does not decompress is no tail that a power cut could
//!   leave: it is damage, wherever it lies, and where damage ends the log it ends before that record.
//! - REC-10: a start file that is damaged, or not of the newest begun segment's log, is damage; where that is forgiven,
//!   it says nothing. Segments may have been removed then: a read of all that there is (`from` 0) misses none that
//!   is older than each that is there; one from a position misses each that it needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stratalog_base::fs::{File, Fs, read_all_into};
use stratalog_base::{Error, Result};

use crate::Position;
use crate::frame::{Frame, Kind};
pub use crate::recovered::{
    Dropped, FIRST_POSITION, Progress, Recovered, RecoveryMode, SegmentEnd,
};
use crate::ring_file::{self, RingImage};
use crate::scan::{AtBad, Ending, Gap, Scan, Verdict, scan_segment};
use crate::segment::{
    HEADER_BYTES, Header, Identity, Link, Previous, UNLINKED, file_name, parse_name,
};
use crate::start_file::Start;

mod judge;
mod start;

/// Calls `on_record` with each record at or above `from` in `dir`, in the order of their positions; 0 is for all that
/// there are. A directory without a log is an empty log. Holds one segment in memory at a time. Changes nothing, so it
/// can be repeated, with the same result.
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
    recover_with_progress(fs, dir, from, mode, on_record, &mut |_| {})
}

/// The same; calls `on_progress` after each segment, the last time with all of them, and after the ring.
///
/// # Errors
/// As [`recover`].
pub fn recover_with_progress(
    fs: &dyn Fs,
    dir: &Path,
    from: Position,
    mode: RecoveryMode,
    on_record: &mut dyn FnMut(Position, &[u8]) -> Result<()>,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Recovered> {
    read_log(fs, dir, from, mode, on_progress, &mut |_, frame| {
        if frame.kind != Kind::Record || frame.position < from {
            return Ok(Taken::No);
        }
        let record = match frame.record() {
            Ok(record) => record,
            Err(why) => return Ok(Taken::Bad(why)),
        };
        on_record(frame.position, &record)?;
        Ok(Taken::Record)
    })
}

/// Where a frame was read.
pub(crate) struct FrameAt<'a> {
    path: &'a Path,
    /// The segment's, or, in the ring, that of the newest segment.
    header: &'a Header,
    ring: Option<&'a RingImage>,
}

impl FrameAt<'_> {
    /// The log it belongs to.
    pub fn log_id(&self) -> u64 {
        self.header.id.log_id
    }

    /// What a fresh segment continues that begins at `position`.
    pub fn previous(&self, position: Position) -> Option<Previous> {
        continued(self.header, position)
    }

    /// Damage at `position`.
    pub fn corrupt(&self, position: Position, what: &str) -> Error {
        Error::corrupt(self.path, self.offset(position), what)
    }

    fn offset(&self, position: Position) -> u64 {
        self.ring.map_or_else(|| self.header.offset(position), |image| image.offset(position))
    }
}

/// What was made of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is no record, or none that is wanted.
    No,
    /// A record was delivered.
    Record,
    /// It is a record that cannot be read: why.
    Bad(&'static str),
}

impl From<Taken> for Verdict {
    fn from(taken: Taken) -> Verdict {
        match taken {
            Taken::No | Taken::Record => Verdict::Frame,
            Taken::Bad(why) => Verdict::NoFrame(why),
        }
    }
}

/// What a fresh segment continues that begins at `position`, in the segment of `header`: not that one if
/// nothing before lies in it, for then nothing has made its link durable (SEG-2).
fn continued(header: &Header, position: Position) -> Option<Previous> {
    match position > header.link.base {
        true => Some(Previous { index: header.id.index, end: position }),
        false => header.link.previous,
    }
}

/// What takes the frames.
pub(crate) type OnFrame<'a> = dyn FnMut(&FrameAt<'_>, &Frame<'_>) -> Result<Taken> + 'a;

/// Recovery with frames of all kinds, from the start of the segment that holds `from`.
pub(crate) fn read_log(
    fs: &dyn Fs,
    dir: &Path,
    from: Position,
    mode: RecoveryMode,
    on_progress: &mut dyn FnMut(Progress),
    on_frame: &mut OnFrame<'_>,
) -> Result<Recovered> {
    let mut indices: Vec<_> = fs.list(dir)?.iter().filter_map(|name| parse_name(name)).collect();
    indices.sort_unstable();
    let mut found = Recovered::nothing();
    found.next_index = indices.last().map_or(1, |newest| newest + 1);
    let mut recovery = Recovery {
        fs,
        dir,
        from,
        mode,
        indices,
        start: None,
        is_start_unknown: false,
        unbegun: Vec::new(),
        hanging: Vec::new(),
        progress: Progress::default(),
        found,
    };
    recovery.read_start()?;
    let mut chain = recovery.chain()?;
    recovery.settle_start(&chain)?;
    let whole = recovery.replay(&mut chain, on_progress, on_frame)? || recovery.salvages();
    // After the close mark nothing was begun, so there is nothing to look for.
    let closed = recovery.found.clean_close && recovery.hanging.is_empty();
    if whole && !closed || chain.is_empty() {
        recovery.check_unbegun(chain.last())?;
    }
    if let Some(newest) = chain.last().filter(|_| whole && !recovery.found.clean_close) {
        recovery.replay_ring(newest, on_progress, on_frame)?;
    }
    Ok(recovery.finish(&chain))
}

struct Recovery<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    from: Position,
    mode: RecoveryMode,
    indices: Vec<u64>,
    /// What the start file says, as long as that counts.
    start: Option<Start>,
    /// Whether there is one that does not (REC-10).
    is_start_unknown: bool,
    /// Segments without a valid link, newest first.
    unbegun: Vec<Identity>,
    /// Begun ones that are newer than one of these.
    hanging: Vec<Header>,
    progress: Progress,
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
                Ok((id, Some(link))) => {
                    let header = Header { id, link };
                    chain.push(header);
                    self.needed_before(&header)?
                }
                Ok((id, None)) => {
                    let newer = chain.last().and_then(|newer| newer.link.previous);
                    if !self.salvages() {
                        self.unbegun.push(id);
                        self.hanging.append(&mut chain);
                    } else if newer.is_some_and(|it| it.index == index) {
                        self.lose_segment(index, UNLINKED)?; // It was begun, for it is continued.
                    } else {
                        self.unbegun.push(id);
                    }
                    self.below(index)
                }
                Err(Error::Corrupt { what, .. }) if self.salvages() => {
                    self.lose_segment(index, &what)?;
                    self.below(index)
                }
                Err(damage) => {
                    self.tolerate(damage, 0)?;
                    // What is newer hangs in the air.
                    for header in chain.drain(..).rev() {
                        self.drop_segment(header.id.index)?;
                    }
                    self.below(index)
                }
            };
        }
        chain.reverse();
        Ok(chain)
    }

    fn salvages(&self) -> bool {
        self.mode == RecoveryMode::Salvage
    }

    /// Reports a whole segment whose frames cannot be read; it may be missing.
    fn lose_segment(&mut self, index: u64, why: &str) -> Result<()> {
        let bytes = match self.open(index) {
            Ok(file) => file.len()?,
            Err(error) if error.is_not_found() => 0,
            Err(error) => return Err(error),
        };
        self.found.dropped.push(Dropped {
            file: self.path(index),
            offset: 0,
            bytes,
            why: why.into(),
        });
        Ok(())
    }

    fn below(&self, index: u64) -> Option<u64> {
        self.indices.iter().rev().copied().find(|&it| it < index)
    }

    /// The header of the segment that comes before `newer`.
    fn header(&self, index: u64, newer: Option<&Header>) -> Result<(Identity, Option<Link>)> {
        let path = self.path(index);
        let corrupt = |offset, what| Err(Error::corrupt(&path, offset, what));
        if self.indices.binary_search(&index).is_err() {
            return corrupt(0, "is missing: the next segment continues it");
        }
        let mut start = [0; HEADER_BYTES];
        let read = self.open(index)?.read_at(&mut start, 0)?;
        let (id, link) = Header::decode(&start[..read], &path)?;
        let end = newer.and_then(|newer| newer.link.previous).map(|it| it.end);
        if id.index != index {
            return corrupt(0, "is another segment under this name");
        }
        if newer.is_some_and(|newer| newer.id.log_id != id.log_id) {
            return corrupt(0, "belongs to another log than the next segment");
        }
        match link {
            None if !id.is_ahead => corrupt(HEADER_BYTES as u64 / 2, UNLINKED),
            Some(link) if end.is_some_and(|end| end < link.base) => {
                corrupt(0, "starts after the place where the next segment says that it ends")
            }
            link => Ok((id, link)),
        }
    }

    /// Delivers the frames of `chain`, which it cuts after the segment in which the log ends. Whether
    /// nothing is damaged.
    fn replay(
        &mut self,
        chain: &mut Vec<Header>,
        on_progress: &mut dyn FnMut(Progress),
        on_frame: &mut OnFrame<'_>,
    ) -> Result<bool> {
        self.progress.segments_total = chain.len();
        let (mut whole, mut bytes, mut next) = (true, Vec::new(), 0);
        while let Some(header) = chain.get(next).copied() {
            next += 1;
            read_all_into(&*self.open(header.id.index)?, &mut bytes)?;
            let scan = self.scan(&header, chain.get(next), &bytes, on_frame)?;
            let goes_on = self.judge(&header, &scan, &chain[next..], &mut whole)?;
            self.progress.segments = next;
            if !goes_on && !self.salvages() {
                self.progress.segments = chain.len();
                for dropped in chain.drain(next..) {
                    self.drop_segment(dropped.id.index)?;
                }
            }
            self.progress.bytes += bytes.len() as u64;
            self.progress.records = self.found.records;
            on_progress(self.progress);
        }
        Ok(whole)
    }

    /// Delivers the frames of one segment.
    fn scan(
        &mut self,
        header: &Header,
        next: Option<&Header>,
        bytes: &[u8],
        on_frame: &mut OnFrame<'_>,
    ) -> Result<Scan> {
        let path = self.path(header.id.index);
        let place = FrameAt { path: &path, header, ring: None };
        let limit = next.and_then(|next| next.link.previous).map(|link| link.end);
        self.found.durable = self.found.durable.max(header.link.durable);
        let scan = scan_segment(bytes, header, limit, self.at_bad(), &mut |frame| {
            self.found.durable = self.found.durable.max(frame.promise().unwrap_or(0));
            self.deliver(&place, &frame, on_frame)
        })?;
        let found = &mut self.found;
        found.log_id = Some(header.id.log_id);
        found.end = scan.end;
        found.previous = continued(header, scan.end);
        found.clean_close = next.is_none()
            && scan.last == Some(Kind::Close)
            && scan.ending == Ending::Whole
            && scan.gaps.is_empty()
            && found.dropped.is_empty();
        Ok(scan)
    }

    fn at_bad(&self) -> AtBad {
        if self.salvages() { AtBad::Skip } else { AtBad::End }
    }

    /// Delivers one frame and counts it. One that is bad ends the log, or is passed over, or is an error: REC-9.
    fn deliver(
        &mut self,
        place: &FrameAt<'_>,
        frame: &Frame<'_>,
        on_frame: &mut OnFrame<'_>,
    ) -> Result<Taken> {
        let taken = on_frame(place, frame)?;
        match (taken, self.mode) {
            (Taken::Record, _) => {
                self.found.records += 1;
                self.found.bytes += frame.payload.len() as u64;
            }
            (Taken::Bad(why), RecoveryMode::Salvage) => {
                self.drop_frame(place, frame.position, frame.frame_bytes(), why);
                return Ok(Taken::No);
            }
            (Taken::Bad(why), RecoveryMode::TornTail | RecoveryMode::Strict) => {
                return Err(place.corrupt(frame.position, why));
            }
            (Taken::Bad(_), RecoveryMode::PointInTime) | (Taken::No, _) => {}
        }
        Ok(taken)
    }

    fn drop_frame(&mut self, place: &FrameAt<'_>, position: Position, bytes: u64, why: &str) {
        let (file, offset) = (place.path.to_owned(), place.offset(position));
        self.found.dropped.push(Dropped { file, offset, bytes, why: why.into() });
    }

    /// Delivers what the ring has and the segments lack (REC-6).
    fn replay_ring(
        &mut self,
        newest: &Header,
        on_progress: &mut dyn FnMut(Progress),
        on_frame: &mut OnFrame<'_>,
    ) -> Result<()> {
        let image = match RingImage::read(self.fs, self.dir) {
            Ok(image) => image,
            Err(damage) => return self.tolerate(damage, 0),
        };
        let Some(image) = image.filter(|it| it.is_of(newest)) else {
            return Ok(());
        };
        let path = self.dir.join(ring_file::NAME);
        let place = FrameAt { path: &path, header: newest, ring: Some(&image) };
        let (start, mut bad) = (self.found.end, None);
        let scan = image.scan(newest, start, self.at_bad(), &mut |frame| {
            let taken = self.deliver(&place, &frame, on_frame)?;
            self.found.ring_records += u64::from(taken == Taken::Record);
            if let Taken::Bad(why) = taken {
                bad = Some((frame.end(), why));
            }
            Ok(taken)
        })?;
        if let Some((next, why)) = bad {
            let rest = image.scan(newest, next, AtBad::End, &mut |_| Ok(()))?;
            self.drop_frame(&place, scan.end, rest.end - scan.end, why); // REC-9
        }
        self.progress.bytes += image.capacity();
        self.progress.records = self.found.records;
        on_progress(self.progress);
        self.found.end = scan.end;
        if scan.end > start && scan.gaps.first().is_none_or(|gap| gap.position > start) {
            // What a write that was cut short left in the segment is whole in the ring.
            let (file, end) = (self.path(newest.id.index), newest.offset(start));
            self.found.dropped.retain(|it| it.file != file || it.offset < end);
        }
        for Gap { position, bytes, why } in scan.gaps {
            let (file, offset) = (path.clone(), image.offset(position));
            self.found.dropped.push(Dropped { file, offset, bytes, why: why.into() });
        }
        Ok(())
    }

    /// Reports damage of so many bytes as dropped if the mode allows it, else returns it.
    fn tolerate(&mut self, damage: Error, bytes: u64) -> Result<()> {
        match damage {
            Error::Corrupt { path: file, offset, what: why } if self.mode.forgives_damage() => {
                self.found.dropped.push(Dropped { file, offset, bytes, why });
                Ok(())
            }
            other => Err(other),
        }
    }

    /// Reports a whole segment that follows the end of the log.
    fn drop_segment(&mut self, index: u64) -> Result<()> {
        let (file, bytes) = (self.path(index), self.open(index)?.len()?);
        let why = "follows the place where the log ends".into();
        self.found.dropped.push(Dropped { file, offset: 0, bytes, why });
        Ok(())
    }

    fn finish(self, chain: &[Header]) -> Recovered {
        let Recovery { indices, mut found, .. } = self;
        found.end = found.end.max(found.start); // REC-8
        // Where whatever is newer takes over: that of an older session may have replaced several.
        let end_of = |index| {
            let newer = chain.iter().filter(|header| header.id.index > index);
            let begins = newer.map(|it| it.link.previous.map_or(it.link.base, |link| link.end));
            begins.min().unwrap_or(found.end)
        };
        found.segments =
            indices.iter().map(|&index| SegmentEnd { index, end: end_of(index) }).collect();
        found.durable = found.durable.min(found.end);
        found
    }
}
