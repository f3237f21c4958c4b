//! The queue: frames that have their position but are not in the file yet.
//!
//! # Invariants
//! - QUEUE-1: frames lie in the buffer in the order of their positions and without a hole, since a
//!   frame gets its position and its place under the same lock.
//! - QUEUE-2: what [`Queue::take`] hands out starts where the one before ended.
//! - QUEUE-3: once stopped, nothing enters but the close mark.

use stratalog_base::{Error, Result};

use crate::frame::{Draft, Kind, PROMISE_BYTES, put_promise};
use crate::{Position, Ticket};

/// Frames on their way to the file.
#[derive(Debug)]
pub struct Queue {
    log_id: u64,
    frames: Vec<u8>,
    /// Where the next frame goes.
    end: Position,
    /// What the last mark promised.
    marked: Position,
    stopped: Option<Error>,
}

impl Queue {
    /// An empty queue whose first frame goes to `start`, below which all is durable.
    pub fn new(log_id: u64, start: Position) -> Queue {
        Queue { log_id, frames: Vec::new(), end: start, marked: start, stopped: None }
    }

    /// Gives `draft` its position. The first frame of a group is preceded by a mark if more has
    /// become durable since the last one.
    ///
    /// # Errors
    /// Why the queue was stopped.
    #[inline]
    pub fn push(&mut self, draft: &Draft<'_>, durable: Position) -> Result<Ticket> {
        self.check()?;
        let start = self.end;
        if self.frames.is_empty() && durable > self.marked {
            self.promise(Kind::Mark, durable);
        }
        let position = self.end; // QUEUE-1
        draft.encode(self.log_id, position, &mut self.frames);
        self.end += draft.frame_bytes();
        Ok(Ticket { start, position, end: self.end })
    }

    /// Enqueues the close mark. All before must be durable. Returns where it ends.
    pub fn push_close(&mut self) -> Position {
        self.promise(Kind::Close, self.end);
        self.end
    }

    fn promise(&mut self, kind: Kind, durable: Position) {
        put_promise(kind, durable, self.log_id, self.end, &mut self.frames);
        self.marked = durable;
        self.end += PROMISE_BYTES as u64;
    }

    /// Moves the waiting frames to `group`, which must be empty and whose memory the queue goes on
    /// with. Returns the position of the first.
    pub fn take(&mut self, group: &mut Vec<u8>) -> Position {
        debug_assert!(group.is_empty());
        std::mem::swap(&mut self.frames, group);
        self.end - group.len() as u64
    }

    /// Where the next frame goes.
    pub fn end(&self) -> Position {
        self.end
    }

    /// # Errors
    /// Why the queue was stopped, if it was.
    #[inline]
    pub fn check(&self) -> Result<()> {
        self.stopped.as_ref().map_or(Ok(()), |why| Err(why.clone()))
    }

    /// Lets nothing in any more (QUEUE-3). A failure outranks [`Error::Closed`], and the first
    /// failure stays.
    pub fn stop(&mut self, why: Error) {
        if !matches!(self.stopped, Some(Error::Poisoned(_))) {
            self.stopped = Some(why);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::io::IoSlice;

    use super::*;

    #[test]
    fn a_group_starts_with_a_mark_only_if_more_is_durable_than_the_last_mark_said() {
        let parts = [IoSlice::new(b"x")];
        let draft = Draft::new(Kind::Record, &parts).unwrap();
        let mut queue = Queue::new(1, 100);
        let first = queue.push(&draft, 100).unwrap();
        assert_eq!(first, Ticket { start: 100, position: 100, end: 111 });
        // Not the first of its group.
        assert_eq!(
            queue.push(&draft, 111).unwrap(),
            Ticket { start: 111, position: 111, end: 122 }
        );
        let mut group = Vec::new();
        assert_eq!(queue.take(&mut group), 100); // QUEUE-2
        assert_eq!(group.len(), 22);
        assert_eq!(
            queue.push(&draft, 111).unwrap(),
            Ticket { start: 122, position: 140, end: 151 }
        );
        group.clear();
        assert_eq!(queue.take(&mut group), 122);
        assert_eq!(
            queue.push(&draft, 111).unwrap(),
            Ticket { start: 151, position: 151, end: 162 }
        );
    }

    #[test]
    fn a_failure_outranks_closing_and_the_first_one_stays() {
        let mut queue = Queue::new(1, 1);
        queue.stop(Error::Closed);
        assert!(matches!(queue.check(), Err(Error::Closed)));
        queue.stop(Error::InvalidArgument("first".into()).poison());
        queue.stop(Error::InvalidArgument("second".into()).poison());
        queue.stop(Error::Closed);
        assert!(queue.check().unwrap_err().to_string().contains("first"));
    }
}
