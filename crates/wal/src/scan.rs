//! The scan: the frames of one segment, and what it means that they end.
//!
//! Pure: bytes in, verdict out. Frames are valid one after the other from the base on; the first
//! bytes that are no valid frame end them. What these bytes mean:
//!
//! - SCAN-1: where the next segment says that this one ends, nothing beyond counts.
//! - SCAN-2: before that place they are damage, for the next segment's header is a promise.
//! - SCAN-3: zeros to the end of the file are space not yet used.
//! - SCAN-4: if any later frame in the file promises that their position was durable, they are damage.
//! - SCAN-5: otherwise they are a torn tail: pages reach the disk in any order, so valid frames may
//!   follow, and a power cut may have kept those and lost these.

use stratalog_base::Result;

use crate::Position;
use crate::frame::{Frame, Kind};
use crate::segment::{HEADER_BYTES, Header};

/// How the frames of a segment end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing that counts follows.
    Whole,
    /// A torn tail of so many bytes (trailing zeros not counted).
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

/// What a scan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Where the valid frames end.
    pub end: Position,
    /// The last valid frame's kind.
    pub last: Option<Kind>,
    /// What follows.
    pub ending: Ending,
}

/// Calls `on_frame` with the valid frames of a segment, whose whole file is `bytes` and whose part of
/// the stream ends at `limit`, if a later segment says so.
///
/// # Errors
/// Those of `on_frame`.
pub fn scan_segment<'a>(
    bytes: &'a [u8],
    header: &Header,
    limit: Option<Position>,
    on_frame: &mut dyn FnMut(Frame<'a>) -> Result<()>,
) -> Result<Scan> {
    let mut rest = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let mut end = header.base;
    let mut last = None;
    let why = loop {
        if limit == Some(end) {
            return Ok(Scan { end, last, ending: Ending::Whole }); // SCAN-1
        }
        if last.is_some_and(Kind::is_last) {
            break "bytes after the end of the log";
        }
        let frame = match Frame::decode(rest, header.log_id, end) {
            Ok(frame) => frame,
            Err(why) => break why,
        };
        if limit.is_some_and(|limit| frame.end() > limit) {
            break "a frame reaches beyond the place where the next segment goes on";
        }
        rest = &rest[frame.frame_bytes()..];
        (end, last) = (frame.end(), Some(frame.kind));
        on_frame(frame)?;
    };
    let used = rest.len() - rest.iter().rev().take_while(|&&byte| byte == 0).count();
    let bytes = used as u64;
    let promised = limit.or_else(|| promise_beyond(rest, used, header.log_id, end));
    let ending = match promised {
        Some(promised) => Ending::Damaged { bytes, why, promised }, // SCAN-2, SCAN-4
        None if used == 0 => Ending::Whole,                         // SCAN-3
        None => Ending::Torn { bytes, why },                        // SCAN-5
    };
    Ok(Scan { end, last, ending })
}

/// A promise of more than `bad`, made by a frame that starts in the first `used` bytes of `rest`, which
/// starts at the position `bad`.
fn promise_beyond(rest: &[u8], used: usize, log_id: u64, bad: Position) -> Option<Position> {
    // No length can be believed after a bad frame, so every offset is tried.
    (0..used)
        .filter(|&at| Frame::may_promise(&rest[at..]))
        .filter_map(|at| Frame::decode(&rest[at..], log_id, bad + at as u64).ok()?.promise())
        .find(|&promise| promise > bad)
}
