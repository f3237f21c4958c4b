//! The queue: frames that have their position but are not in the file yet.
//!
//! # Invariants
//! - QUEUE-1: frames lie in the buffer in the order of their positions and without a hole, since a
//!   frame gets its position and its place under the same lock.
//! - QUEUE-2: what [`Queue::take`] hands out starts where the one before ended.
//! - QUEUE-3: once closed, nothing enters until it is opened again.
//! - QUEUE-4: what waits or is being written is at most the limit, besides one frame. What is being
//!   written ends with [`Queue::written`].

use crate::frame::{Draft, Kind, PROMISE_BYTES, StreamId, put_promise};
use crate::{Place, Position};

/// Why a frame did not enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no room.
    Full,
    /// The queue, or ring, is closed.
    Closed,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// Records and skips.
    frames: usize,
    records: usize,
}

/// Frames on their way to the file.
#[derive(Debug)]
pub struct Queue {
    stream: StreamId,
    frames: Vec<u8>,
    /// How many these are, marks not counted.
    waiting: Count,
    /// Those that were handed out and are not written yet.
    taken: Count,
    /// Where those waiting or being written start.
    start: Position,
    /// Where the next frame goes.
    end: Position,
    /// What the last mark promised.
    marked: Position,
    records_max: usize,
    bytes_max: u64,
    closed: bool,
}

impl Queue {
    /// An empty queue whose first frame goes to `start`, below which all is durable, for at most so
    /// many records and bytes.
    pub fn new(stream: StreamId, start: Position, records_max: usize, bytes_max: u64) -> Queue {
        Queue {
            stream,
            frames: Vec::new(),
            waiting: Count::default(),
            taken: Count::default(),
            start,
            end: start,
            marked: start,
            records_max,
            bytes_max,
            closed: false,
        }
    }

    /// Gives `draft` its position. The first frame of a group is preceded by a mark if more has
    /// become durable since the last one.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed.
    #[inline]
    pub fn push(&mut self, draft: &Draft<'_>, durable: Position) -> Result<Place, Refused> {
        self.check(1, draft.frame_bytes())?;
        let start = self.end;
        self.mark_group(durable);
        Ok(Place { start, ..self.put(draft) })
    }

    /// Gives all of `drafts` positions in a row, which go to `positions`. A mark precedes them as one
    /// precedes a single frame.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed.
    pub fn push_all(
        &mut self,
        drafts: &[Draft<'_>],
        durable: Position,
        positions: &mut Vec<Position>,
    ) -> Result<Place, Refused> {
        self.check(drafts.len(), drafts.iter().map(Draft::frame_bytes).sum())?;
        let start = self.end;
        if !drafts.is_empty() {
            self.mark_group(durable);
        }
        let position = self.end;
        positions.extend(drafts.iter().map(|draft| self.put(draft).position));
        Ok(Place { start, position, end: self.end })
    }

    /// Starts a group with a mark if more has become durable since the last one.
    #[inline]
    fn mark_group(&mut self, durable: Position) {
        if self.frames.is_empty() && durable > self.marked {
            self.promise(Kind::Mark, durable);
        }
    }

    #[inline]
    fn put(&mut self, draft: &Draft<'_>) -> Place {
        let position = self.end; // QUEUE-1
        draft.encode(self.stream, position, &mut self.frames);
        self.end += draft.frame_bytes();
        self.waiting.frames += 1;
        self.waiting.records += usize::from(draft.is_record());
        Place { start: position, position, end: self.end }
    }

    #[inline]
    fn check(&self, records: usize, bytes: u64) -> Result<(), Refused> {
        let waiting = self.depth();
        if self.closed {
            return Err(Refused::Closed);
        }
        // QUEUE-4
        let full =
            waiting + records > self.records_max || self.end - self.start + bytes > self.bytes_max;
        if full && waiting > 0 { Err(Refused::Full) } else { Ok(()) }
    }

    fn promise(&mut self, kind: Kind, durable: Position) {
        put_promise(kind, durable, self.stream, self.end, &mut self.frames);
        self.marked = durable;
        self.end += PROMISE_BYTES;
    }

    /// Moves the waiting frames to `group`, which must be empty and whose memory the queue goes on
    /// with. Returns the position of the first, and how many records they are.
    pub fn take(&mut self, group: &mut Vec<u8>) -> (Position, usize) {
        debug_assert!(group.is_empty());
        std::mem::swap(&mut self.frames, group);
        let Count { frames, records } = std::mem::take(&mut self.waiting);
        self.taken.frames += frames;
        self.taken.records += records;
        (self.end - group.len() as u64, records)
    }

    /// The waiting frames.
    pub fn frames(&self) -> &[u8] {
        &self.frames
    }

    /// What was taken is written, up to `end`.
    pub fn written(&mut self, end: Position) {
        self.taken = Count::default();
        self.start = end;
    }

    /// Where the next frame goes.
    pub fn end(&self) -> Position {
        self.end
    }

    /// Records that wait or are being written.
    pub fn records(&self) -> usize {
        self.waiting.records + self.taken.records
    }

    /// Records and skips that wait or are being written.
    pub fn depth(&self) -> usize {
        self.waiting.frames + self.taken.frames
    }

    /// Records and skips that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.frames
    }

    /// Lets nothing in any more (QUEUE-3). Returns where it ends.
    pub fn close(&mut self) -> Position {
        self.closed = true;
        self.end
    }

    /// Opens it anew, empty, at `start`.
    pub fn open(&mut self, start: Position) {
        debug_assert!(self.closed && start >= self.end, "QUEUE-1");
        self.frames.clear();
        (self.waiting, self.taken, self.closed) = (Count::default(), Count::default(), false);
        (self.start, self.end) = (start, start);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::io::IoSlice;

    use super::*;

    const STREAM: StreamId = StreamId::of(1, 1);

    fn place(start: Position, position: Position, end: Position) -> Place {
        Place { start, position, end }
    }

    #[test]
    fn a_group_starts_with_a_mark_only_if_more_is_durable_than_the_last_mark_said() {
        let parts = [IoSlice::new(b"x")];
        let draft = Draft::new(Kind::Record, &parts).unwrap();
        let mut queue = Queue::new(STREAM, 96, 10, 1000);
        assert_eq!(queue.push(&draft, 96), Ok(place(96, 96, 112)));
        // Not the first of its group.
        assert_eq!(queue.push(&draft, 112), Ok(place(112, 112, 128)));
        let mut group = Vec::new();
        assert_eq!(queue.take(&mut group), (96, 2)); // QUEUE-2
        assert_eq!(group.len(), 32);
        assert_eq!(queue.push(&draft, 112), Ok(place(128, 152, 168)));
        group.clear();
        assert_eq!(queue.take(&mut group), (128, 1));
        assert_eq!(queue.push(&draft, 112), Ok(place(168, 168, 184)));
    }

    #[test]
    fn a_batch_that_starts_a_group_is_preceded_by_a_mark_and_its_place_covers_both() {
        let parts = [IoSlice::new(b"x")];
        let drafts = [1, 2].map(|_| Draft::new(Kind::Record, &parts).unwrap());
        let mut queue = Queue::new(STREAM, 96, 10, 1000);
        let mut positions = Vec::new();
        let first = queue.push_all(&drafts, 96, &mut positions);
        queue.take(&mut Vec::new());
        let second = queue.push_all(&drafts, 128, &mut positions);
        assert_eq!((first, second), (Ok(place(96, 96, 128)), Ok(place(128, 152, 184))));
        assert_eq!(positions, [96, 112, 152, 168]);
    }

    #[test]
    fn what_is_being_written_counts_until_it_is_written() {
        // QUEUE-4
        let draft = Draft::new(Kind::Record, &[]).unwrap();
        for (records_max, bytes_max) in [(2, 1000), (1000, 39)] {
            let mut queue = Queue::new(STREAM, 96, records_max, bytes_max);
            queue.push(&draft, 0).unwrap();
            queue.push(&draft, 0).unwrap();
            assert_eq!(queue.push(&draft, 0), Err(Refused::Full));
            queue.take(&mut Vec::new());
            assert_eq!(queue.push(&draft, 0), Err(Refused::Full));
            queue.written(queue.end());
            queue.push(&draft, 0).unwrap();
        }
        let mut queue = Queue::new(STREAM, 96, 2, 10);
        queue.push(&draft, 0).expect("one frame always has room");
        queue.written(queue.end());
        assert_eq!(queue.push_all(&[], 112, &mut Vec::new()), Ok(place(112, 112, 112)));
    }

    #[test]
    fn a_closed_queue_lets_nothing_in_until_it_is_opened() {
        // QUEUE-3
        let draft = Draft::new(Kind::Record, &[]).unwrap();
        let mut queue = Queue::new(STREAM, 96, 2, 10);
        assert_eq!(queue.close(), 96);
        assert_eq!(queue.push(&draft, 0), Err(Refused::Closed));
        queue.open(200);
        assert_eq!(queue.push(&draft, 0), Ok(place(200, 200, 216)));
    }
}
