//! What leaders of a write do: queue or ring to segment; and what is left of both after a failure.

use std::io::IoSlice;
use std::ops::Range;

use stratalog_base::sync::{Instant, panicking, yield_now};
use stratalog_base::{Error, Result};

use super::{Bomb, Core, Hole, Writer};
use crate::Position;
use crate::alarm::Urgency;
use crate::calls::Hold;
use crate::frame::{self, Draft, Kind, PROMISE_BYTES, put_promise};
use crate::queue::Refused;
use crate::segment::Segment;
use crate::stats::Cause;

/// A buffer that a big record has grown beyond this is given back.
const KEPT_BUFFER_BYTES: usize = 1 << 20;
/// What is drained from the ring by one write, at most.
const CHUNK_BYTES: u64 = 256 << 10;

impl Core {
    /// Writes what waits, or a part of it. For the holder of the seat, so the backend stands still.
    pub(super) fn write(&self, writer: &mut Writer, cause: Cause) -> Result<Position> {
        if self.alerts.is_listening() {
            let waiting = self.written.reached()..self.reserved();
            self.alerts.depth(waiting, || self.depth().0);
        }
        match self.ring() {
            Some(_) => self.drain_ring(writer, cause)?,
            None => self.write_queue(writer, cause)?,
        }
        self.note_written(&writer.segment);
        Ok(writer.segment.end)
    }

    /// Lets the threads know if there is enough to sync, or a file to make.
    fn note_written(&self, segment: &Segment) {
        if segment.end - self.durable.reached() >= self.options.sync_every_bytes {
            self.sync_alarm.raise(Urgency::Now);
        }
        if self.files.note_len(segment.len()) {
            self.files_alarm.raise(Urgency::Now);
        }
    }

    fn write_queue(&self, writer: &mut Writer, cause: Cause) -> Result<()> {
        let (start, records) = self.queue.lock().take(&mut writer.group);
        assert_eq!(start, writer.segment.end, "QUEUE-2");
        let bytes = writer.group.len() as u64;
        if bytes == 0 {
            return Ok(());
        }
        let began = Instant::now();
        self.write_group(writer)?;
        self.queue.lock().written(writer.segment.end);
        self.counters.wrote(records as u64, bytes, cause, began.elapsed());
        Ok(())
    }

    /// Writes the group, which is not empty.
    fn write_group(&self, writer: &mut Writer) -> Result<()> {
        let Writer { segment, group, .. } = writer;
        self.make_fit(segment, group.len() as u64)?;
        segment.append(group)?;
        group.clear();
        group.shrink_to(KEPT_BUFFER_BYTES);
        Ok(())
    }

    fn drain_ring(&self, writer: &mut Writer, cause: Cause) -> Result<()> {
        let drain_start = writer.segment.end;
        let began = Instant::now();
        let Some(drain) = &mut writer.drain else { unreachable!("the ring has a drain") };
        let chunk = drain.next(CHUNK_BYTES);
        assert_eq!(chunk.start, drain_start, "RING: the drain stands where the segment ends");
        let (end, records) = (chunk.end, chunk.records as u64);
        let bytes = end - drain_start;
        if bytes == 0 {
            return Ok(());
        }
        self.make_fit(&mut writer.segment, bytes)?;
        writer.segment.append_parts(&chunk.parts())?;
        drain.free(end);
        self.counters.wrote(records, bytes, cause, began.elapsed());
        Ok(())
    }

    /// Writes frames of more than half the ring together, whose place is `position`, past the ring.
    ///
    /// # Errors
    /// [`Refused::Closed`] if the log has failed.
    #[cold]
    pub(super) fn write_big(
        &self,
        position: Position,
        drafts: &[Draft<'_>],
    ) -> Result<(), Refused> {
        let _hold = Hold::take(); // All others wait behind the place.
        let end = position + drafts.iter().map(Draft::frame_bytes).sum::<u64>();
        let mut place = Some(BigPlace { core: self, hole: Hole { start: position, end } });
        _ = self.write_to(position, None, Cause::Full).and_then(|_| {
            self.written.reach(end, |writer| {
                self.lead(|| {
                    self.write_past(writer, position..end, drafts)?;
                    std::mem::forget(place.take());
                    Ok(end)
                })
            })
        });
        if place.is_some() {
            return Err(Refused::Closed);
        }
        // If the log failed meanwhile, the record has its place all the same, and whoever waits for it is told. Those who
        // published behind it could not move that past it, and nobody may come to do so.
        let published = self.any_ring().map_or(end, |front| front.ring.advance());
        self.published.raise(published);
        Ok(())
    }

    /// Writes the frames of `drafts` to `place`, and lets the ring go on behind it.
    fn write_past(
        &self,
        writer: &mut Writer,
        place: Range<Position>,
        drafts: &[Draft<'_>],
    ) -> Result<()> {
        assert_eq!(writer.segment.end, place.start, "nobody passes a place that is not written");
        let began = Instant::now();
        let mut at = place.start;
        for draft in drafts {
            draft.encode(self.stream, at, &mut writer.group);
            at += draft.frame_bytes();
        }
        self.write_group(writer)?;
        let records = drafts.iter().filter(|draft| draft.is_record()).count() as u64;
        self.counters.wrote(records, place.end - place.start, Cause::Full, began.elapsed());
        if let Some(drain) = &mut writer.drain {
            drain.pass(place.end);
        }
        self.note_written(&writer.segment);
        Ok(())
    }

    /// Lets the ring go on after a place that will not be written, so that it comes to rest. Those
    /// before are in the midst of copying and will be done.
    fn leave_hole(&self, hole: Hole) {
        let Some(front) = self.any_ring() else { return };
        self.holes.lock().push(hole);
        while !front.ring.pass_hole(hole.start, hole.end) {
            yield_now();
        }
    }

    /// How far the log is as it was acknowledged, after a failure; returns once nobody copies any more.
    pub fn come_to_rest(&self, why: &Error) -> (Position, Position) {
        self.poison(why); // Who stopped the log may not have failed all groups yet.
        let logged = self.logged();
        let end = self.close_front();
        if let Some(front) = self.ring() {
            while front.ring.advance() < end {
                yield_now();
            }
        }
        (logged, end)
    }

    /// After [`Core::come_to_rest`], for a log that can be read back to `read`: the frames that have a place behind
    /// that, up to `end`, holes filled with skips. Their tickets are still out, and promise what they promised.
    pub fn unwritten_frames(&self, writer: &mut Writer, read: Position, end: Position) -> Vec<u8> {
        let read = read.min(end);
        if self.ring().is_none() {
            let frames = [&writer.group, self.queue.lock().frames()].concat();
            return frames[(read - writer.segment.end) as usize..].to_vec();
        }
        let Some(drain) = &mut writer.drain else { unreachable!("the ring has a drain") };
        let mut holes = self.holes.lock().clone();
        holes.sort_unstable();
        let (mut at, mut frames) = (read, Vec::new());
        // A write that was cut short may have stored the first frames of a hole.
        for hole in holes.into_iter().filter(|hole| hole.end > read) {
            let start = hole.start.max(read);
            frames.extend(drain.bytes(at, start));
            let zeros = vec![0; (hole.end - start) as usize - frame::HEADER_BYTES];
            let parts = [IoSlice::new(&zeros)];
            let skip = Draft::new(Kind::Skip, &parts).expect("no longer than what was refused");
            skip.encode(self.stream, start, &mut frames);
            at = hole.end;
        }
        frames.extend(drain.bytes(at, end));
        frames
    }

    /// The log goes on.
    pub fn forget_holes(&self) {
        self.holes.lock().clear();
    }

    /// Makes sure that `bytes` more fit into the segment, or that it is empty.
    fn make_fit(&self, segment: &mut Segment, bytes: u64) -> Result<()> {
        let full = self.files.is_beyond_limit(segment.len().saturating_add(bytes));
        if !full || segment.is_empty() { Ok(()) } else { self.rotate(segment) }
    }

    /// Seals the segment and begins the next.
    ///
    /// # Errors
    /// If the system refuses; then the log has failed.
    pub fn rotate(&self, segment: &mut Segment) -> Result<()> {
        *segment = self.files.rotate(segment, self.durable.reached())?;
        self.files_alarm.raise(Urgency::Now);
        Ok(())
    }

    /// Writes the close mark, after all else is durable.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn write_close_mark(&self, end: Position) -> Result<Position> {
        let close = |writer: &mut Writer| {
            debug_assert_eq!(writer.segment.end, end, "the front is closed");
            put_promise(Kind::Close, end, self.stream, end, &mut writer.group);
            self.write_group(writer)?;
            Ok(end + PROMISE_BYTES)
        };
        self.written.reach(end + PROMISE_BYTES, |writer| self.lead(|| close(writer)))?;
        Ok(end + PROMISE_BYTES)
    }
}

/// The place of a big frame until the drain has passed it. If it is dropped before, also by a panic, the place is a
/// hole, of a log that has failed.
struct BigPlace<'a> {
    core: &'a Core,
    hole: Hole,
}

impl Drop for BigPlace<'_> {
    fn drop(&mut self) {
        if panicking() {
            drop(Bomb(self.core)); // It may have been leading nobody.
        }
        self.core.leave_hole(self.hole);
    }
}
