//! [`Ring`]: a byte ring in which many threads put frames side by side without a lock, and one takes
//! them out in order.
//!
//! A writer reserves its frame's positions, copies the frame, and publishes it by its first word.
//! [`Ring::advance`] finds how far all is published without a hole. The [`Drain`] reads that prefix and
//! frees it. Position *p* lies at byte *p* modulo the capacity.
//!
//! Of a frame the ring knows this: it starts at a multiple of 8, and so does the next; its first word,
//! the *head*, is little-endian and not 0; the head's lower half is the bytes of payload, which begin
//! behind the head and a checksum of 4 bytes; and the byte above that half is its kind, which says whether it is a
//! record, to be counted.
//!
//! A *big* frame, of more than half the capacity, has positions like any other, but its bytes never
//! come here: it is reserved even if there is no room, and when the drain stands before it, its owner
//! takes it elsewhere and the drain passes it by.
//!
//! # Invariants
//! - RING-1: `freed` ≤ `published` ≤ `reserved`, and but for big frames `reserved` ≤ `freed` + capacity.
//!   None ever falls; each stands between two frames.
//! - RING-2: the words of a frame are written by the owner of its reservation alone, and only until it
//!   is published. From `freed` to `published` they are read, and then zeroed, by the drain alone. All
//!   other words are 0.
//! - RING-3: whoever finds a head that is not 0 finds the whole frame.
//! - RING-4: a head is believed only if `published` stood where the walk began from before the walk
//!   until the very step that moves it, and only below `freed` + capacity.
//! - RING-5: once everyone who published has returned from a later `advance`, no published frame is left
//!   behind `published`, unless one before it is not published.
//! - RING-6: once closed, nothing is reserved, and all that was reserved ends at or below what
//!   [`Ring::close`] returned.
//! - RING-7: what stands in `seen` stands between two frames, and all below it was published, or freed.
//! - RING-8: a look from a place in `seen` is believed only if `freed` had not passed that place when it ended, and
//!   only below what was `freed` when it began + capacity.
//!
//! # Why the orders suffice
//! `reserved` carries nothing but itself: atomicity of the read-modify-writes alone makes reservations
//! disjoint, and lets none succeed after `close` (RING-6). All may be relaxed; what `reopen` does is
//! seen with it (release, acquire).
//!
//! RING-2: the drain zeroes, then releases `freed`; a reservation acquires it. So a writer's words come
//! after the zeros, and those after what the drain read.
//!
//! RING-3: the head is stored with release after the rest, and a walk loads it with acquire. The walk
//! releases `published`, the drain acquires it; each step acquires the one before, so the drain has
//! seen the heads of all the frames that others walked over.
//!
//! RING-4: a walk loads `published` (*p*), then `freed`, then heads. Other laps share the words. An
//! older lap's head cannot be seen: below the `freed` (acquired) + capacity it is zeroed. A younger lap's
//! words can, if the walk is slow, and be anything. They exist only because *p* was freed, hence after
//! some step moved `published` away from *p*; so the compare-exchange from *p* fails (were it to
//! succeed, the step away would follow it, and the words that the walk saw would be written after that
//! walk). Such a slow walk is also why the words are written and zeroed by atomic stores, relaxed: with
//! plain ones it would be a data race, though nobody believes what it reads.
//!
//! RING-5: every `advance` makes a read-modify-write of `published` after the head was stored, even if
//! it moves nothing; and whoever moves `published` walks once more. Let `published` rest at a published
//! frame, and look at the last read-modify-write of the frame's owner. If it came before the step that
//! moved `published` here, that step acquired the head, and the walk after it finds the frame. If it
//! came after, or was that step itself, the owner's own walk started here and found its own frame. Both
//! go on. No `SeqCst` is needed, since the read-modify-writes of one word have a total order. `freed`
//! stops neither: the owner had acquired enough of it to reserve, and passes it on with the head. Who only
//! looks ([`Ring::is_whole`]) makes no such step, and RING-5 promises nothing of its frame: who must find that
//! has a fence for it (`wait_published` in `core`, and the drain's alarm).
//!
//! RING-8: a younger lap's word behind the start of a look exists only once `freed` has passed that start. Its
//! writer acquired that, and releases it by a fence before it writes; the look acquires it with the word, which
//! it takes for a head. So it finds `freed` beyond its start, and believes nothing. As in a sequence lock.

use std::hint::spin_loop;
use std::io::IoSlice;

use stratalog_base::sync::{Arc, AtomicU64, Ordering, Padded, fence, thread_number};

use crate::Position;
use crate::frame::Kind;
use crate::queue::Refused;

pub mod memory;

use memory::Part;
pub use memory::RingMemory;

/// Bytes before the payload: the head and the checksum.
const HEADER_BYTES: u64 = 12;
/// In `reserved`: nothing is reserved any more.
const CLOSED: u64 = 1 << 63;
/// Frames at which [`Ring::is_whole`] looks: enough for two threads that wait for every 64th of their records.
const FEW_FRAMES: usize = if cfg!(loom) { 2 } else { 256 };
/// How often it looks for one that is reserved and not there yet.
const LOOKS: u32 = if cfg!(loom) { 1 } else { 64 };
/// How often records are counted anew that were drained meanwhile.
const COUNTS: u32 = 3;
/// Parts of what threads have seen. How they are spread matters to speed only.
const SHARDS: usize = if cfg!(loom) { 1 } else { 8 };

/// Bytes of the frame with this head.
#[inline]
pub fn frame_bytes(head: u64) -> u64 {
    (HEADER_BYTES + payload_bytes(head)).next_multiple_of(8)
}

#[inline]
fn payload_bytes(head: u64) -> u64 {
    head & u64::from(u32::MAX)
}

#[inline]
fn is_record(head: u64) -> bool {
    (head >> 32) as u8 == Kind::Record as u8
}

/// The ring; see the module.
#[derive(Debug)]
pub struct Ring {
    memory: RingMemory,
    /// The end of all reservations, and [`CLOSED`].
    reserved: Padded<AtomicU64>,
    /// All below is published.
    published: Padded<AtomicU64>,
    /// All below is free again. Stored by the drain alone.
    freed: Padded<AtomicU64>,
    /// How far the threads of each shard have seen all published (RING-7).
    seen: [Padded<AtomicU64>; SHARDS],
}

impl Ring {
    /// An empty ring whose first frame goes to `start`, and the only one who may empty it.
    ///
    /// # Panics
    /// If `start` is not a multiple of 8, or beyond 2⁶².
    pub fn new(memory: RingMemory, start: Position) -> (Arc<Ring>, Drain) {
        assert!(start.is_multiple_of(8) && start <= CLOSED / 2, "{start} is no place for a frame");
        let mark = || Padded(AtomicU64::new(start));
        let (reserved, published, freed) = (mark(), mark(), mark());
        let seen = std::array::from_fn(|_| mark());
        let ring = Arc::new(Ring { memory, reserved, published, freed, seen });
        (ring.clone(), Drain { ring, start })
    }

    /// Bytes of memory.
    #[inline]
    pub fn capacity(&self) -> u64 {
        self.memory.capacity()
    }

    /// Whether a frame of so many bytes is big; see the module.
    #[inline]
    pub fn is_big(&self, bytes: u64) -> bool {
        bytes > self.capacity() / 2
    }

    /// Takes the next `bytes` positions for a frame, or several in a row. Until they are published, nothing
    /// behind them is drained.
    ///
    /// # Errors
    /// Why there is no room now, or never will be. Others are not the reason: whoever loses a race tries
    /// again.
    ///
    /// # Panics
    /// If no frame has so many bytes.
    #[inline]
    pub fn try_reserve(&self, bytes: u64) -> Result<Reservation<'_>, Refused> {
        let possible = frame_bytes(0)..=frame_bytes(u64::from(u32::MAX));
        assert!(bytes.is_multiple_of(8) && possible.contains(&bytes), "no frame has {bytes} bytes");
        let mut position = self.reserved.load(Ordering::Acquire);
        loop {
            if position & CLOSED != 0 {
                return Err(Refused::Closed); // RING-6
            }
            let end = position + bytes;
            // RING-2: acquires the zeros below.
            let room_ends = self.freed.load(Ordering::Acquire) + self.capacity();
            if end > room_ends && !self.is_big(bytes) {
                return Err(Refused::Full);
            }
            match self.reserved.compare_exchange_weak(
                position,
                end,
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(Reservation { ring: self, position, bytes }),
                Err(now) => position = now,
            }
        }
    }

    /// Moves `published` over all that is published without a hole, and returns where it stands. Anyone
    /// may call it at any time; who publishes and then waits for `published` must (RING-5).
    pub fn advance(&self) -> Position {
        // Relaxed: what counts is what the read-modify-write finds.
        let mut from = self.published.load(Ordering::Relaxed);
        let mut moved = false;
        loop {
            let to = self.walk(from);
            if to == from && moved {
                return from;
            }
            // RING-4 and RING-5: also if nothing moves.
            match self.published.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if to == from => return from,
                Ok(_) => (from, moved) = (to, true),
                Err(now) => (from, moved) = (now, false),
            }
        }
    }

    /// Whether all below `end` is published, by a look at the few frames behind those that this thread saw last
    /// time, or by [`Ring::advance`] if they are many.
    ///
    /// That spares those who publish side by side from all writing to `published`. So who hears no and will wait must
    /// advance first (RING-5).
    #[inline]
    pub fn is_whole(&self, end: Position) -> bool {
        let seen = &self.seen[thread_number() % SHARDS];
        let freed = self.freed.load(Ordering::Acquire);
        let from = seen.load(Ordering::Acquire).max(freed);
        let mut at = from;
        for _ in 0..FEW_FRAMES {
            if at >= end || at.wrapping_sub(freed) >= self.capacity() {
                break;
            }
            match self.look_at(at) {
                0 => return false,
                head => at = at.wrapping_add(frame_bytes(head)), // RING-3
            }
        }
        // RING-8: acquired with the heads.
        if at < end || self.freed.load(Ordering::Relaxed) > from {
            at = self.advance();
        }
        seen.store(at, Ordering::Release);
        at >= end
    }

    /// The head at `position`, waited for as long as a writer needs that is not held up.
    #[inline]
    fn look_at(&self, position: Position) -> u64 {
        let mut looks = 1..LOOKS;
        loop {
            match self.memory.head(position) {
                0 if looks.next().is_some() => spin_loop(),
                head => return head,
            }
        }
    }

    /// Where the first frame at or behind `from` that is not published starts; nonsense if `published`
    /// has left `from` meanwhile (RING-4).
    fn walk(&self, from: Position) -> Position {
        let freed = self.freed.load(Ordering::Acquire);
        let mut at = from;
        // Wraps, and ends, if `freed` has overtaken a slow walk.
        while at.wrapping_sub(freed) < self.capacity() {
            match self.memory.head(at) {
                0 => break,
                head => at += frame_bytes(head), // RING-3
            }
        }
        at
    }

    /// Lets nobody reserve any more, and returns the end of all reservations (RING-6). Those may still be
    /// about to be published. Closing again does nothing.
    pub fn close(&self) -> Position {
        self.reserved.fetch_or(CLOSED, Ordering::Relaxed) & !CLOSED
    }

    /// The end of all reservations.
    #[inline]
    pub fn reserved(&self) -> Position {
        self.reserved.load(Ordering::Acquire) & !CLOSED
    }

    /// All below was published when someone last called [`Ring::advance`].
    #[inline]
    pub fn published(&self) -> Position {
        self.published.load(Ordering::Acquire)
    }

    /// Goes past frames from `from` to `to` that will never be published, once all before is; whether
    /// that is so. For a ring that is not drained any more.
    pub fn pass_hole(&self, from: Position, to: Position) -> bool {
        self.advance() >= from
            && self
                .published
                .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok_and(|_| self.advance() >= to)
    }

    /// How many published records wait. Only looks, at each head: writers share the lines in which these lie, and
    /// nothing else. Rough while the ring is drained, for what a look finds may be gone meanwhile (RING-8).
    pub fn count_records(&self) -> u64 {
        let mut records = 0;
        for _ in 0..COUNTS {
            let freed = self.freed();
            let mut at = freed;
            records = 0;
            while at.wrapping_sub(freed) < self.capacity() {
                match self.memory.head(at) {
                    0 => break,
                    head => {
                        at = at.wrapping_add(frame_bytes(head)); // RING-3
                        records += u64::from(is_record(head));
                    }
                }
            }
            if self.freed.load(Ordering::Relaxed) == freed {
                break;
            }
        }
        records
    }

    /// All below has left the ring.
    #[inline]
    pub fn freed(&self) -> Position {
        self.freed.load(Ordering::Acquire)
    }
}

/// The positions of one frame, or of several in a row. If it is dropped with one unpublished, nothing
/// behind that is ever drained, unless it is big.
#[derive(Debug)]
#[must_use = "nothing behind it is drained before it is published"]
pub struct Reservation<'a> {
    ring: &'a Ring,
    position: Position,
    bytes: u64,
}

impl Reservation<'_> {
    /// Where the (next) frame starts.
    #[inline]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Where the next one starts.
    #[inline]
    pub fn end(&self) -> Position {
        self.position + self.bytes
    }

    /// Whether the frame must be taken elsewhere; see [`Drain::pass`].
    #[inline]
    pub fn is_big(&self) -> bool {
        self.ring.is_big(self.bytes)
    }

    /// Copies the next frame, the payload being the parts in a row, and publishes it. It is counted by
    /// the next [`Ring::advance`].
    ///
    /// # Panics
    /// If the frame is big, or there is no place left for it. Nothing is published then.
    #[inline]
    pub fn publish(&mut self, head: u64, checksum: u32, parts: &[IoSlice<'_>]) {
        let payload: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let bytes = frame_bytes(head);
        let fits = payload == payload_bytes(head) && bytes <= self.bytes;
        assert!(fits && head != 0 && !self.is_big(), "more than was reserved"); // RING-2
        let memory = &self.ring.memory;
        fence(Ordering::Release); // RING-8: who sees a word sees what was freed for it.
        memory.copy(self.position + 8, checksum, parts);
        memory.store_head(self.position, head); // RING-3
        self.position += bytes;
        self.bytes -= bytes;
    }
}

/// The one who takes frames out.
#[derive(Debug)]
pub struct Drain {
    ring: Arc<Ring>,
    /// The same as `freed`.
    start: Position,
}

/// Whole frames in a row.
#[derive(Debug)]
pub struct Chunk<'a> {
    parts: [Part<'a>; 2],
    /// Where they start.
    pub start: Position,
    /// Where they end; the same as the start if there are none.
    pub end: Position,
    /// How many they are.
    pub frames: usize,
    /// How many of them are records.
    pub records: usize,
}

impl Chunk<'_> {
    /// Their bytes: two slices, the second empty unless the memory wraps.
    pub fn parts(&self) -> [&[u8]; 2] {
        self.parts.each_ref().map(|part| &**part)
    }
}

impl Drain {
    /// Where it stands: all below is free.
    #[inline]
    pub fn start(&self) -> Position {
        self.start
    }

    /// The ring that it drains.
    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// The published frames from here on, after an [`Ring::advance`]: as many as `max_bytes` hold, but at
    /// least one if there is one. They stay until they are freed.
    pub fn next(&mut self, max_bytes: u64) -> Chunk<'_> {
        let published = self.ring.advance();
        let (mut end, mut frames, mut records) = (self.start, 0, 0);
        while end < published {
            let head = self.ring.memory.head(end);
            let next = end + frame_bytes(head);
            if frames > 0 && next - self.start > max_bytes {
                break;
            }
            (end, frames) = (next, frames + 1);
            records += usize::from(is_record(head));
        }
        assert!(end <= published, "the ring was freed up to the middle of a frame");
        let parts = self.ring.memory.bytes(self.start, end); // RING-2
        Chunk { parts, start: self.start, end, frames, records }
    }

    /// The bytes between two frames of a closed ring, where nobody copies any more and between which
    /// no hole lies.
    pub fn bytes(&mut self, from: Position, to: Position) -> Vec<u8> {
        assert!(self.start <= from && to <= self.ring.published(), "beyond what is published");
        self.ring.memory.bytes(from, to).iter().flat_map(|part| part.iter().copied()).collect()
    }

    /// Gives the memory of all below `to`, the end of a frame, back to the writers.
    ///
    /// # Panics
    /// If `to` is not published, or below where it stands.
    pub fn free(&mut self, to: Position) {
        let here = self.start..=self.ring.published();
        assert!(here.contains(&to) && to.is_multiple_of(8), "{to} is not in {here:?}");
        self.ring.memory.zero(self.start, to);
        self.ring.freed.store(to, Ordering::Release); // RING-2
        self.start = to;
    }

    /// Goes past a big frame that starts here and ends at `to`, whose bytes are elsewhere.
    ///
    /// # Panics
    /// If no such frame can be here.
    pub fn pass(&mut self, to: Position) {
        let ring = &*self.ring;
        let fits = to.is_multiple_of(8) && to <= ring.reserved() && to > self.start;
        assert!(fits && ring.is_big(to - self.start), "no big frame ends at {to}");
        // RING-4: its head is 0, so nobody else moves `published`, though others try in vain.
        let moved =
            ring.published.compare_exchange(self.start, to, Ordering::AcqRel, Ordering::Relaxed);
        assert!(moved.is_ok(), "frames before the big one are not freed");
        ring.freed.store(to, Ordering::Release); // RING-1: after `published`.
        self.start = to;
        ring.advance(); // RING-5
    }

    /// Throws away what a closed ring holds, where nobody copies any more.
    pub fn discard(&mut self) {
        let ring = &*self.ring;
        let end = ring.reserved();
        assert_eq!(ring.advance(), end, "somebody still copies");
        ring.memory.zero(end, end + ring.capacity());
        ring.freed.store(end, Ordering::Release);
        self.start = end;
    }

    /// Opens a closed ring from which all is drained again, at `at`.
    ///
    /// # Panics
    /// If it is not closed and drained, or `at` lies before its end or is not a multiple of 8.
    pub fn reopen(&mut self, at: Position) {
        let ring = &*self.ring;
        let reserved = ring.reserved.load(Ordering::Acquire);
        assert_eq!(reserved, self.start | CLOSED, "not closed, or not drained");
        assert!(
            at.is_multiple_of(8) && (self.start..=CLOSED / 2).contains(&at),
            "{at} is no place"
        );
        // RING-1: in this order. All words are 0, so it does not matter which of them come next.
        ring.published.swap(at, Ordering::AcqRel);
        ring.freed.store(at, Ordering::Release);
        ring.reserved.store(at, Ordering::Release);
        self.start = at;
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
