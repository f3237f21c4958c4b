//! The scan: the frames of one segment, and what it means that they end.
//!
//! Pure: bytes in, verdict out. Frames are valid one after the other from the base on; the first
//! bytes that are no valid frame end them. What these bytes mean:
//!
//! - SCAN-1: where the next segment says that this one ends, nothing beyond counts; nor does what
//!   follows a seal or the close mark.
//! - SCAN-2: if any later frame in the file promises that their position was durable, they are damage.
//!   So they are if a later segment promises it, which its reader finds out ([`greatest_promise`]).
//! - SCAN-3: else, if no valid frame follows and they begin with a zero word, or the file ends, they
//!   are space not yet used.
//! - SCAN-4: otherwise they are a torn tail: pages reach the disk in any order, so valid frames may
//!   follow, and a power cut may have kept those and lost these.

use stratalog_base::Result;

use crate::Position;
use crate::frame::{ALIGNMENT, Frame, HEADER_BYTES as FRAME_HEADER_BYTES, Kind, StreamId};
use crate::segment::{HEADER_BYTES, Header};

/// How the frames of a segment end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing that counts follows.
    Whole,
    /// A torn tail of so many bytes; 0 if the segment merely ends too early.
    Torn {
        /// Bytes to drop.
        bytes: u64,
        /// What is wrong with the first of them.
        why: &'static str,
    },
    /// Bytes that were durable are not what was written.
    Damaged {
        /// Bytes that cannot be trusted.
        bytes: u64,
        /// What is wrong with the first of them.
        why: &'static str,
        /// Up to where everything had been durable.
        promised: Position,
    },
}

/// Bytes in the midst of a segment that a salvage left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where they start.
    pub position: Position,
    /// How many.
    pub bytes: u64,
    /// What is wrong with the first of them.
    pub why: &'static str,
}

/// What a scan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Where the valid frames end.
    pub end: Position,
    /// The last valid frame's kind.
    pub last: Option<Kind>,
    /// Where the seal says that the stream goes on.
    pub next_segment: Option<u64>,
    /// What follows.
    pub ending: Ending,
    /// What a salvage left out before.
    pub gaps: Vec<Gap>,
}

/// What to do at bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtBad {
    /// The frames end there.
    End,
    /// Go on with the next valid frame, wherever it is.
    Skip,
}

/// What is to be made of a valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is one.
    Frame,
    /// What it holds cannot be used, so it counts as bytes that are no frame: why.
    NoFrame(&'static str),
}

impl From<()> for Verdict {
    fn from((): ()) -> Verdict {
        Verdict::Frame
    }
}

/// Calls `on_frame` with the valid frames of a segment, whose whole file is `bytes` and whose part of
/// the stream ends at `limit`, if a later segment says so.
///
/// # Errors
/// Those of `on_frame`.
pub fn scan_segment<'a, V: Into<Verdict>>(
    bytes: &'a [u8],
    header: &Header,
    limit: Option<Position>,
    at_bad: AtBad,
    on_frame: &mut dyn FnMut(Frame<'a>) -> Result<V>,
) -> Result<Scan> {
    let stream = header.stream();
    let mut rest = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let mut scan = Scan {
        end: header.link.base,
        last: None,
        next_segment: None,
        ending: Ending::Whole,
        gaps: Vec::new(),
    };
    loop {
        // SCAN-1
        if limit.is_some_and(|limit| limit <= scan.end) {
            return Ok(scan);
        }
        let why = if scan.last.is_some_and(Kind::is_last) {
            if limit.is_none() {
                return Ok(scan);
            }
            "a mark that ends the segment before the place where the next segment goes on"
        } else {
            match Frame::decode(rest, stream, scan.end) {
                Ok(frame) if limit.is_some_and(|limit| frame.end() > limit) => {
                    "a frame reaches beyond the place where the next segment goes on"
                }
                Ok(frame) => match on_frame(frame)?.into() {
                    Verdict::Frame => {
                        rest = &rest[frame.frame_bytes() as usize..];
                        scan.end = frame.end();
                        scan.last = Some(frame.kind);
                        scan.next_segment = frame.next_segment();
                        continue;
                    }
                    Verdict::NoFrame(why) => why,
                },
                Err(why) => why,
            }
        };
        let beyond = Beyond::of(rest, stream, scan.end, at_bad);
        match beyond.first {
            Some(skip) if at_bad == AtBad::Skip => {
                let left = limit.map_or(u64::MAX, |limit| limit - scan.end); // SCAN-1
                let skip = left.min(skip as u64) as usize;
                scan.gaps.push(Gap { position: scan.end, bytes: skip as u64, why });
                rest = &rest[skip..];
                scan.end += skip as u64;
            }
            _ => {
                scan.ending = beyond.ending(rest, limit.is_some(), why);
                return Ok(scan);
            }
        }
    }
}

/// The greatest promise that the frames in the file `bytes` make, 0 if they make none; `None` if there
/// is no valid frame.
pub fn greatest_promise(bytes: &[u8], header: &Header) -> Option<Position> {
    let frames = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let first = Frame::decode(frames, header.stream(), header.link.base).ok();
    let beyond = Beyond::of(frames, header.stream(), header.link.base, AtBad::End);
    let promised = first.and_then(|frame| frame.promise()).max(beyond.promised).unwrap_or(0);
    (first.is_some() || beyond.first.is_some()).then_some(promised)
}

/// Valid frames that follow a place where none is.
#[derive(Debug)]
struct Beyond {
    /// The place.
    bad: Position,
    /// Where the first of them starts.
    first: Option<usize>,
    /// Where the last of them ends.
    end: usize,
    /// The greatest of their promises.
    promised: Option<Position>,
}

impl Beyond {
    /// What follows the start of `rest`, which lies at the position `bad`: all that does if the frames
    /// end there, else the first frame.
    fn of(rest: &[u8], stream: StreamId, bad: Position, at_bad: AtBad) -> Beyond {
        let mut beyond = Beyond { bad, first: None, end: 0, promised: None };
        // No length can be believed after a bad frame, so every place is tried; what lies there may be
        // made up so that each try costs much, so what is tried in vain is bounded. Promises are short.
        let mut budget_bytes = rest.len().saturating_mul(4);
        let mut at = ALIGNMENT;
        while at + FRAME_HEADER_BYTES <= rest.len() {
            let (input, here) = (&rest[at..], bad + at as u64);
            let length = u32::from_le_bytes([input[0], input[1], input[2], input[3]]) as usize;
            let plausible = matches!(input[4..8], [1..=5, 0..=1, 0, 0]) && length <= input.len();
            let affordable = Frame::may_promise(input) || length <= budget_bytes;
            let frame = if plausible && affordable {
                Frame::decode(input, stream, here).ok()
            } else {
                None
            };
            let Some(frame) = frame else {
                if plausible {
                    budget_bytes = budget_bytes.saturating_sub(length);
                }
                at += ALIGNMENT;
                continue;
            };
            beyond.first.get_or_insert(at);
            at += frame.frame_bytes() as usize;
            beyond.end = at;
            beyond.promised = beyond.promised.max(frame.promise());
            if at_bad == AtBad::Skip {
                break;
            }
        }
        beyond
    }

    /// What this says of the start of `rest`; `continued` if a later segment goes on further up.
    fn ending(&self, rest: &[u8], continued: bool, why: &'static str) -> Ending {
        let used = rest.len() - rest.iter().rev().take_while(|&&byte| byte == 0).count();
        let blank = rest.iter().take(ALIGNMENT).all(|&byte| byte == 0);
        // What follows a zero word may be left from an earlier life of the file, but for valid frames.
        let bytes = if blank { self.end } else { used.max(self.end) } as u64;
        match self.promised.filter(|&promised| promised > self.bad) {
            Some(promised) => Ending::Damaged { bytes, why, promised }, // SCAN-2
            None if bytes == 0 && !continued => Ending::Whole,          // SCAN-3
            None => Ending::Torn { bytes, why },                        // SCAN-4
        }
    }
}
