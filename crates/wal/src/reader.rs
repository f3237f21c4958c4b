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
use crate::frame::{Frame, HEADER_BYTES as FRAME_HEADER_BYTES, Kind, frame_bytes};
use crate::segment::{HEADER_BYTES, Header, file_name};
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

/// Reads a log, in the order of positions, while it is being written.
///
/// It sees a record once it is in a segment: when its ticket is done at the latest, and by itself
/// after [`crate::LogOptions::batch_delay`] where a thread writes. It keeps the file open that it
/// reads, so truncation does not pull it away; but what it has not reached yet can go.
pub struct Reader {
    core: Arc<Core>,
    next: Position,
    durable_only: bool,
    source: Option<Source>,
}

/// The segment being read.
struct Source {
    file: Arc<dyn File>,
    path: PathBuf,
    header: Header,
    /// Where it ends, if it is sealed.
    end: Option<Position>,
    /// Its bytes from `start` on.
    buffer: Vec<u8>,
    start: Position,
}

impl Reader {
    pub(crate) fn new(core: Arc<Core>, from: Position) -> Result<Reader> {
        let mut reader = Reader { core, next: from, durable_only: false, source: None };
        if from == 0 {
            let (index, end) = reader.core.files.locate(0);
            reader.next = reader.open(index, end)?.header.link.base;
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
    /// - [`Error::InvalidArgument`] if records at this position were removed;
    /// - [`Error::Corrupt`] with file and offset if what is there is not what was written;
    /// - [`Error::Io`]; the position stays the same.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not lend its buffer")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        loop {
            let end = self.readable_end()?;
            if self.next >= end {
                return Ok(None);
            }
            let position = self.next;
            let Some(source) = self.source_at(position, end)? else { continue };
            source.fill(position, end)?;
            let found = source.frame(position)?;
            let kind = found.kind;
            self.next = found.end();
            if kind == Kind::Record {
                // Decoded once more: the borrow must start after the loop's last turn.
                let source = self.source.as_ref().expect("just read");
                let frame = source.frame(position)?;
                let bytes = frame.record().map_err(|why| source.corrupt(position, why))?;
                return Ok(Some(Record { position, bytes }));
            }
        }
    }

    /// The next record; waits until there is one, or for so long, and returns `None` then.
    ///
    /// # Errors
    /// As [`Reader::next`]; [`Error::Closed`] or [`Error::Poisoned`] if no more will come.
    pub fn wait_next(&mut self, limit: Option<Duration>) -> Result<Option<Record<'_>>> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        while self.next >= self.readable_end()? {
            let target = self.next + 1;
            let come = match self.durable_only {
                true => self.core.durable.follow(target, deadline)?,
                false => self.core.written.follow(target, deadline)?,
            };
            if !come {
                return Ok(None);
            }
            self.skip_what_is_no_record()?;
        }
        self.next()
    }

    /// Passes marks and skips, so that waiting starts at the end.
    fn skip_what_is_no_record(&mut self) -> Result<()> {
        let end = self.readable_end()?;
        while self.next < end {
            let position = self.next;
            let Some(source) = self.source_at(position, end)? else { continue };
            source.fill(position, end)?;
            let frame = source.frame(position)?;
            if frame.kind == Kind::Record {
                break;
            }
            self.next = frame.end();
        }
        Ok(())
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
        let fits = |source: &Source| match source.end {
            Some(end) => source.header.link.base <= next && next < end,
            // What was active may have been sealed since.
            None => source.header.link.base <= next && next < written,
        };
        let (index, end) = self.core.files.locate(next);
        if !self.source.as_ref().is_some_and(|it| fits(it) && it.header.id.index == index) {
            let source = self.open(index, end)?;
            let link = source.header.link;
            let resumes = self.source.is_some() || link.previous.is_none_or(|it| it.end <= next);
            self.source = Some(source);
            if link.base > next {
                if !resumes {
                    let what = format!("records before position {} were removed", link.base);
                    return Err(Error::InvalidArgument(what));
                }
                self.next = link.base;
                return Ok(None);
            }
        }
        let source = self.source.as_mut().expect("just opened");
        source.end = end;
        Ok(Some(source))
    }

    fn open(&self, index: u64, end: Option<Position>) -> Result<Source> {
        let path = self.core.files.dir().join(file_name(index));
        let file = self.core.files.fs().open(&path)?;
        let mut start = [0; HEADER_BYTES];
        let read = file.read_at(&mut start, 0)?;
        let (id, link) = Header::decode(&start[..read], &path)?;
        let Some(link) = link else {
            return Err(Error::corrupt(&path, HEADER_BYTES as u64 / 2, "segment link mismatch"));
        };
        let (header, start) = (Header { id, link }, link.base);
        Ok(Source { file, path, header, end, buffer: Vec::new(), start })
    }
}

impl Source {
    fn corrupt(&self, position: Position, what: &str) -> Error {
        Error::corrupt(&self.path, self.header.offset(position), what)
    }

    /// Makes sure that the frame at `position`, which ends at or below `end`, is in the buffer.
    fn fill(&mut self, position: Position, end: Position) -> Result<()> {
        let end = self.end.map_or(end, |own| own.min(end));
        let mut wanted = FRAME_HEADER_BYTES as u64;
        loop {
            let buffered = self.start + self.buffer.len() as u64;
            if self.start <= position && position + wanted <= buffered {
                let at = (position - self.start) as usize;
                let head = self.buffer[at..].first_chunk::<4>().expect("a header");
                let bytes = frame_bytes(u32::from_le_bytes(*head) as usize);
                if bytes <= wanted || position + bytes <= buffered {
                    return Ok(());
                }
                wanted = bytes;
            }
            if position + wanted > end {
                return Err(self.corrupt(position, "a frame reaches beyond what was written"));
            }
            let len = (end - position).min(READ_BYTES.max(wanted));
            self.buffer.resize(len as usize, 0);
            self.start = position;
            let read = self.file.read_at(&mut self.buffer, self.header.offset(position))?;
            if read < self.buffer.len() {
                self.buffer.clear();
                return Err(self.corrupt(position, "the file ends before what was written"));
            }
        }
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
