//! Carrying over: the frames of a log that were read back but are not known to be durable, to begin a
//! fresh segment with.
//!
//! # Invariants
//! - CARRY-1: what is carried is all that lies at or above the greatest promise of the log, from
//!   segments and ring, at the same positions; nothing, if all of that lies below the start. The fresh
//!   segment links to where that begins, so the old copies do not count any more once it has its name,
//!   and do until then.

use std::path::Path;

use stratalog_base::Result;
use stratalog_base::fs::Fs;

use crate::Position;
use crate::frame::{Kind, StreamId, carry_frame};
use crate::recovery::{Progress, Recovered, RecoveryMode, Taken, read_log};
use crate::segment::Previous;

/// What a fresh segment begins with.
#[derive(Debug)]
pub struct Carried {
    /// What recovery found.
    pub found: Recovered,
    /// Where the fresh segment begins.
    pub base: Position,
    /// What it continues.
    pub previous: Option<Previous>,
    /// Whole frames in a row, as of [`CARRIER`].
    frames: Vec<u8>,
}

/// The stream that frames belong to while they are carried.
const CARRIER: StreamId = StreamId::of(0, 0);

/// A frame that may be carried.
struct Kept {
    position: Position,
    /// What a segment that begins with it continues.
    previous: Option<Previous>,
    /// Where it starts among the bytes kept.
    at: usize,
}

impl Carried {
    /// A segment that begins empty, at `base`, after what was found.
    pub fn nothing(found: &Recovered, base: Position) -> Carried {
        Carried { found: found.clone(), base, previous: found.previous, frames: Vec::new() }
    }

    /// The frames as `stream` has them.
    pub fn frames_of(&self, stream: StreamId) -> Vec<u8> {
        let mut frames = self.frames.clone();
        carry_frame::move_all(&mut frames, self.base, CARRIER, stream);
        frames
    }

    /// Where they end.
    pub fn end(&self) -> Position {
        self.base + self.frames.len() as u64
    }
}

/// Reads the log in `dir`, whose segments below `from` are not needed, and keeps what is to be carried.
///
/// # Errors
/// As [`crate::recover`].
pub fn collect(
    fs: &dyn Fs,
    dir: &Path,
    from: Position,
    mode: RecoveryMode,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Carried> {
    let (mut kept, mut bytes): (Vec<Kept>, Vec<u8>) = (Vec::new(), Vec::new());
    let (mut promised, mut closed) = (0, None);
    let found = read_log(fs, dir, from, mode, on_progress, &mut |place, frame| {
        if let Err(why) = frame.record() {
            return Ok(Taken::Bad(why));
        }
        if frame.promise().is_some_and(|promise| promise > promised) {
            promised = frame.promise().unwrap_or(0);
            drop_durable(&mut kept, &mut bytes, promised);
        }
        let previous = place.previous(frame.position);
        match frame.kind {
            Kind::Seal => {}
            Kind::Close => closed = Some((frame.position, previous)),
            _ => {
                kept.push(Kept { position: frame.position, previous, at: bytes.len() });
                carry_frame::append(frame, CARRIER, &mut bytes);
            }
        }
        let is_record = frame.kind == Kind::Record && frame.position >= from;
        Ok(if is_record { Taken::Record } else { Taken::No })
    })?;
    drop_durable(&mut kept, &mut bytes, found.durable);
    let closed = closed.filter(|(base, _)| *base >= found.start);
    if kept.last().is_some_and(|last| last.position < found.start) {
        drop_durable(&mut kept, &mut bytes, found.start);
    }
    Ok(match (kept.first(), closed) {
        // The close mark itself may not be durable: the log goes on in its place.
        (None, Some((base, previous))) => Carried { base, previous, frames: bytes, found },
        (None, None) => Carried::nothing(&found, found.end),
        (Some(first), _) => {
            Carried { base: first.position, previous: first.previous, frames: bytes, found }
        }
    })
}

/// Lets go of what lies below `durable` (CARRY-1).
fn drop_durable(kept: &mut Vec<Kept>, bytes: &mut Vec<u8>, durable: Position) {
    let count = kept.iter().take_while(|frame| frame.position < durable).count();
    let cut = kept.get(count).map_or(bytes.len(), |frame| frame.at);
    kept.drain(..count);
    bytes.drain(..cut);
    for frame in kept.iter_mut() {
        frame.at -= cut;
    }
}
