//! [`Reader`]: the records of a log that is being written, from a position on, and on as they come.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use stratalog_base::fs::File;
use stratalog_base::sync::Instant;
use stratalog_base::{Error, Result};

use crate::Position;
use crate::core::Core;
use crate::core::follow::Follower;
use crate::files::Files;
use crate::frame::{ALIGNMENT, Frame, HEADER_BYTES as FRAME_HEADER_BYTES, Kind, frame_bytes};
use crate::segment::{HEADER_BYTES, Header, UNLINKED, file_name};
use crate::stats::Cause;

/// What is read at once; a longer record is read whole.
const READ_BYTES: u64 = 256 << 10;

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its position.
    pub position: Position,
    /// Its bytes.
    pub bytes: Cow<'a, [u8]>,
}

/// What [`crate::Wal::reader`] gives: the records of any log, in the order of positions, while it is being
/// written. [`Reader`] is that of [`crate::Log`].
pub trait Records: Send + fmt::Debug {
    /// From now on gives only records that survive a power cut.
    #[must_use]
    fn durable_only(self: Box<Self>) -> Box<dyn Records>;

    /// Where it will look next: one past the last record given.
    fn position(&self) -> Position;

    /// The next record, or `None` if there is none yet. A record whose ticket is done is there.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if records at this position were removed; or if they cannot be read.
    /// The position stays the same.
    fn next(&mut self) -> Result<Option<Record<'_>>>;

    /// The next record; waits until there is one, or for so long, and returns `None` then.
    ///
    /// # Errors
    /// As [`Records::next`]; [`Error::Closed`] or [`Error::Poisoned`] if no more will come.
    fn wait_next(&mut self, limit: Option<Duration>) -> Result<Option<Record<'_>>>;
}

/// Reads a [`crate::Log`], in the order of positions, while it is being written.
///
/// It sees a record once it survives the death of the process: when its ticket is done at the latest. In a mapped
/// ring that is as soon as it is appended, and who waits for the next record writes it out of the ring; elsewhere a
/// thread may write what nobody waits for, [`crate::LogOptions::batch_delay`] later. What it has not read yet can be
/// removed, also in the segment in which it stands: then it says so, and stays where it is.
pub struct Reader {
    core: Arc<Core>,
    next: Position,
    /// Whether a frame starts at `next`, or none is there yet: the caller's `from` may lie anywhere.
    is_settled: bool,
    durable_only: bool,
    source: Option<Source>,
    follower: Follower,
}

/// The segment being read.
struct Source {
    file: Arc<dyn File>,
    path: PathBuf,
    header: Header,
    /// Up to where it was known to be written, and to hold what lies there, when that was last asked.
    end: Position,
    /// Its bytes from `start` on.
    buffer: Vec<u8>,
    start: Position,
}

impl Reader {
    pub(crate) fn new(core: Arc<Core>, from: Position) -> Result<Reader> {
        let (is_settled, follower) = (from == 0, Follower::default());
        let mut reader =
            Reader { core, next: from, is_settled, durable_only: false, source: None, follower };
        while reader.next == 0 {
            let (index, end) = reader.core.files.locate(0);
            match reader.open(index, end) {
                Ok(source) => reader.next = source.header.link.base,
                // It was removed in the meantime (FILES-6): another one is the first now.
                Err(_) if reader.core.files.locate(0).0 != index => {}
                Err(error) => return Err(error),
            }
        }
        Ok(reader)
    }

    /// From now on gives only records that survive a power cut.
    #[must_use]
    pub fn durable_only(mut self) -> Reader {
        self.durable_only = true;
        self
    }

    /// Where it will look next: one past the last record given.
    pub fn position(&self) -> Position {
        self.next
    }

    /// The next record, or `None` if there is none yet.
    ///
    /// # Errors
    /// - [`Error::InvalidArgument`] if records at this position were removed, also while it reads;
    /// - [`Error::Corrupt`] with file and offset if what is there is not what was written;
    /// - [`Error::Io`]; the position stays the same.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not lend its buffer")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        if self.find_record()? { self.take_record().map(Some) } else { Ok(None) }
    }

    /// The next record; waits until there is one, or for so long, and returns `None` then.
    ///
    /// # Errors
    /// As [`Reader::next`]; [`Error::Closed`] or [`Error::Poisoned`] if no more will come.
    pub fn wait_next(&mut self, limit: Option<Duration>) -> Result<Option<Record<'_>>> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        while !self.find_record()? {
            let target = self.next + 1;
            let come = match self.durable_only {
                true => self.core.durable.follow(target, deadline)?,
                false => self.follower.wait(&self.core, target, deadline)?,
            };
            if !come {
                return Ok(None);
            }
        }
        self.take_record().map(Some)
    }

    /// Passes what is no record, marks and skips; whether a record is there, in the buffer.
    fn find_record(&mut self) -> Result<bool> {
        loop {
            let end = self.readable_end()?;
            if self.next >= end {
                return Ok(false);
            }
            if self.look(end).map_err(|error| removed_or(error, &self.core.files, self.next))? {
                return Ok(true);
            }
        }
    }

    /// Whether a record is at `next`, in the buffer; if not, `next` has moved on, at most to `end`.
    fn look(&mut self, end: Position) -> Result<bool> {
        let position = self.next;
        let is_settled = self.is_settled;
        let Some(source) = self.source_at(position, end)? else { return Ok(false) };
        if !is_settled {
            self.next = source.first_from(position, end)?;
            self.is_settled = true;
            return Ok(false);
        }
        source.fill(position, end)?;
        let is_record = source.is_record(position);
        if !is_record {
            self.next = source.frame(position)?.end();
        }
        Ok(is_record)
    }

    /// The record that was found.
    fn take_record(&mut self) -> Result<Record<'_>> {
        let position = self.next;
        let source = self.source.as_ref().expect("a record was found there");
        let frame = source.frame(position);
        let frame = frame.map_err(|error| removed_or(error, &self.core.files, position))?;
        let bytes = frame.record().map_err(|why| source.corrupt(position, why))?;
        self.next = frame.end();
        Ok(Record { position, bytes })
    }

    fn readable_end(&self) -> Result<Position> {
        if self.durable_only {
            return Ok(self.core.durable.reached());
        }
        if self.next >= self.core.written.reached() {
            let logged = self.core.logged();
            self.core.write_to(logged, None, Cause::Waiter)?;
        }
        Ok(self.core.written.reached())
    }

    /// The segment that holds the position `next`; `None` if that was moved over a gap to the next one.
    fn source_at(&mut self, next: Position, written: Position) -> Result<Option<&mut Source>> {
        // What is in the buffer was in that segment when it was read.
        if !self.source.as_ref().is_some_and(|source| source.holds(next)) {
            let (index, end) = self.core.files.locate(next);
            let is_open = self.source.as_ref().is_some_and(|it| it.header.id.index == index);
            if !is_open {
                let source = self.open(index, end)?;
                let link = source.header.link;
                let is_gap = link.previous.is_none_or(|it| it.end <= next);
                if link.base > next && !is_gap {
                    return Err(removed(link.base));
                }
                self.source = Some(source);
            }
            let source = self.source.as_mut().expect("just opened");
            source.end = end.unwrap_or(written);
            if source.header.link.base > next {
                (self.next, self.is_settled) = (source.header.link.base, true);
                return Ok(None);
            }
        }
        Ok(self.source.as_mut())
    }

    fn open(&self, index: u64, end: Option<Position>) -> Result<Source> {
        let path = self.core.files.dir().join(file_name(index));
        let file = self.core.files.fs().open(&path)?;
        let mut start = [0; HEADER_BYTES];
        let read = file.read_at(&mut start, 0)?;
        let (id, link) = Header::decode(&start[..read], &path)?;
        if id.index != index {
            return Err(Error::corrupt(&path, 0, "is another segment under this name"));
        }
        let Some(link) = link else {
            return Err(Error::corrupt(&path, HEADER_BYTES as u64 / 2, UNLINKED));
        };
        let (header, start) = (Header { id, link }, link.base);
        let end = end.unwrap_or(start);
        Ok(Source { file, path, header, end, buffer: Vec::new(), start })
    }
}

impl Records for Reader {
    fn durable_only(self: Box<Self>) -> Box<dyn Records> {
        Box::new(Reader::durable_only(*self))
    }

    fn position(&self) -> Position {
        Reader::position(self)
    }

    fn next(&mut self) -> Result<Option<Record<'_>>> {
        Reader::next(self)
    }

    fn wait_next(&mut self, limit: Option<Duration>) -> Result<Option<Record<'_>>> {
        Reader::wait_next(self, limit)
    }
}

fn removed(start: Position) -> Error {
    Error::InvalidArgument(format!("records before position {start} were removed"))
}

/// What is wrong at `next`, if `error` is what came of reading there: a file that was removed can be
/// missing, or be used anew.
fn removed_or(error: Error, files: &Files, next: Position) -> Error {
    let start = files.start();
    if next < start { removed(start) } else { error }
}

impl Source {
    fn corrupt(&self, position: Position, what: &str) -> Error {
        Error::corrupt(&self.path, self.header.offset(position), what)
    }

    /// Bytes of the frame at `position`, if its head is in the buffer.
    fn frame_bytes(&self, position: Position) -> Option<u64> {
        let at = position.checked_sub(self.start)? as usize;
        let head = self.buffer.get(at..at + FRAME_HEADER_BYTES)?.first_chunk::<4>()?;
        Some(frame_bytes(u32::from_le_bytes(*head) as usize))
    }

    /// Whether the whole frame at `position` is in the buffer.
    fn holds(&self, position: Position) -> bool {
        let buffered = self.start + self.buffer.len() as u64;
        self.frame_bytes(position).is_some_and(|bytes| position + bytes <= buffered)
    }

    /// Whether the frame at `position`, which is in the buffer, says that it is a record.
    fn is_record(&self, position: Position) -> bool {
        self.buffer[(position - self.start) as usize + 4] == Kind::Record as u8
    }

    /// Makes sure that the frame at `position`, which ends at or below `end`, is in the buffer.
    fn fill(&mut self, position: Position, end: Position) -> Result<()> {
        let end = self.end.min(end);
        while !self.holds(position) {
            let wanted = self.frame_bytes(position).unwrap_or(FRAME_HEADER_BYTES as u64);
            if position + wanted > end {
                return Err(self.corrupt(position, "a frame reaches beyond what was written"));
            }
            let len = (end - position).min(READ_BYTES.max(wanted));
            self.buffer.resize(len as usize, 0);
            self.start = position;
            let read = self.file.read_at(&mut self.buffer, self.header.offset(position));
            if read.as_ref().ok() != Some(&self.buffer.len()) {
                self.buffer.clear(); // What is in it was not read there.
                read?;
                return Err(self.corrupt(position, "the file ends before what was written"));
            }
        }
        Ok(())
    }

    /// Where the first frame at or above `position` starts, or `end` if none does. Most ask for the place of a record,
    /// and what is a valid frame there is one; else all before it in the segment is read, once.
    fn first_from(&mut self, position: Position, end: Position) -> Result<Position> {
        let is_aligned = position.is_multiple_of(ALIGNMENT as u64);
        if is_aligned && self.fill(position, end).is_ok() && self.frame(position).is_ok() {
            return Ok(position);
        }
        let mut at = self.header.link.base;
        while at < position {
            self.fill(at, end)?;
            let frame = self.frame(at)?;
            if frame.kind == Kind::Seal {
                return Err(self.corrupt(at, "a seal before the end of the segment"));
            }
            at = frame.end();
        }
        Ok(at)
    }

    fn frame(&self, position: Position) -> Result<Frame<'_>> {
        let input = &self.buffer[(position - self.start) as usize..];
        let stream = self.header.stream();
        Frame::decode(input, stream, position).map_err(|why| self.corrupt(position, why))
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("next", &self.next).finish_non_exhaustive()
    }
}
