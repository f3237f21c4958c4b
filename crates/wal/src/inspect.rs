//! Inspection: what lies in the files of a log, whatever state they are in. For tools; it writes nothing.
//!
//! Recovery asks what the log says; this shows what each file holds, one by one, also those that the log
//! does not count any more, and goes on behind bytes that are no frame.
//!
//! # Invariants
//! - INSPECT-1: what a file holds counts if the file is reached by the links from the newest segment
//!   that was begun, and only below the place where the segment that continues it begins. Where the
//!   links lead to a file that cannot be read, they go on from the next older one that can.

use std::path::{Path, PathBuf};

use stratalog_base::fs::{Fs, read_all};
use stratalog_base::{Error, Result};

pub use crate::frame::{Frame, Kind};
use crate::ring_file::{self, RingImage};
use crate::scan::{AtBad, Ending, Scan, scan_segment};
use crate::segment::{HEADER_BYTES, Header, Identity, Link, file_name, is_leftover, parse_name};
use crate::start_file::{self, Start};
use crate::{Dropped, FIRST_POSITION, Position, SegmentEnd};

/// A segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The number in its name.
    pub index: u64,
    /// The file.
    pub file: PathBuf,
    /// Bytes of the file, space not yet used included.
    pub bytes: u64,
    /// What its header says of it.
    pub state: SegmentState,
    /// Where the segment that continues it goes on.
    pub continued_at: Option<Position>,
    /// Whether anything in it counts (INSPECT-1).
    pub counts: bool,
}

/// What a segment's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// It has been begun.
    Begun(BegunSegment),
    /// It was made ahead and not begun, or its link is lost.
    NotBegun {
        /// The log it belongs to.
        log_id: u64,
    },
    /// Its header cannot be read.
    Unreadable {
        /// What is wrong.
        why: String,
    },
}

/// A segment whose header is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BegunSegment {
    /// The log it belongs to.
    pub log_id: u64,
    /// The index of the first segment that its writer began.
    pub session: u64,
    /// Whether the file was made before it was begun.
    pub made_ahead: bool,
    /// The position of its first frame.
    pub base: Position,
    /// One past its last valid frame.
    pub end: Position,
    /// The segment that it continues.
    pub previous: Option<SegmentEnd>,
    /// All below it was durable when the segment was begun.
    pub durable: Position,
    /// The greatest promise of its frames.
    pub promised: Option<Position>,
    /// Its valid frames.
    pub frames: u64,
    /// Those of them that are records.
    pub records: u64,
    /// The segment in which its seal says that the log goes on.
    pub next_segment: Option<u64>,
    /// Whether it ends with the mark of a close.
    pub closed: bool,
}

/// A valid frame, and where it lies.
#[derive(Clone, Debug)]
pub struct FrameInfo<'a> {
    /// The file.
    pub file: &'a Path,
    /// Where in it the frame starts.
    pub offset: u64,
    /// Whether it counts (INSPECT-1).
    pub counts: bool,
    /// The frame.
    pub frame: Frame<'a>,
}

/// The ring file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingInfo {
    /// The file.
    pub file: PathBuf,
    /// Bytes of the file.
    pub bytes: u64,
    /// Whose ring it is, or what is wrong with it.
    pub owner: std::result::Result<RingOwner, String>,
}

/// Whose ring a ring file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingOwner {
    /// The log.
    pub log_id: u64,
    /// The session.
    pub session: u64,
    /// Bytes of the ring.
    pub capacity: u64,
    /// Whether the newest begun segment is of that session: else the ring does not count.
    pub counts: bool,
}

/// The start file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartInfo {
    /// The file.
    pub file: PathBuf,
    /// What it says, or what is wrong with it.
    pub state: std::result::Result<LogStart, String>,
}

/// What the start file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogStart {
    /// The log.
    pub log_id: u64,
    /// Segments that lie wholly below may be gone.
    pub position: Position,
    /// Whether the newest begun segment is of that log, or there is none: else the start does not count.
    pub counts: bool,
}

/// What is found, in order: the start file; of each segment, by index, itself, then its frames, then what is wrong;
/// the ring and its frames; other files of the log.
#[derive(Debug)]
pub enum Event<'a> {
    /// The start file.
    Start(&'a StartInfo),
    /// A segment.
    Segment(&'a SegmentInfo),
    /// A frame of the segment or ring told of last.
    Frame(&'a FrameInfo<'a>),
    /// Bytes of that which are no frame, though something should be there.
    Bad(&'a Dropped),
    /// The ring file.
    Ring(&'a RingInfo),
    /// A file that never became a segment, or is none any more.
    Leftover {
        /// The file.
        file: &'a Path,
        /// Its bytes.
        bytes: u64,
    },
}

/// What takes the events.
pub type OnEvent<'a> = dyn FnMut(&Event<'_>) -> Result<()> + 'a;

/// Calls `on_event` with all that lies in the files of the log in `dir`. Holds one file in memory at a
/// time.
///
/// # Errors
/// If a file cannot be read; those of `on_event`, at once. Damage is no error.
pub fn inspect(fs: &dyn Fs, dir: &Path, on_event: &mut OnEvent<'_>) -> Result<()> {
    let names = fs.list(dir)?;
    let headers = read_headers(fs, dir, &names)?;
    inspect_start(fs, dir, &headers, on_event)?;
    let mut newest_end = None;
    for (index, header) in &headers {
        let end = inspect_segment(fs, dir, *index, header, &headers, on_event)?;
        newest_end = end.or(newest_end);
    }
    if names.iter().any(|name| name == ring_file::NAME) {
        inspect_ring(fs, dir, newest_end, on_event)?;
    }
    let unready = [ring_file::UNREADY_NAME, start_file::UNREADY_NAME];
    for name in names.iter().filter(|name| is_leftover(name) || unready.contains(&&***name)) {
        let file = dir.join(name);
        on_event(&Event::Leftover { bytes: fs.open(&file)?.len()?, file: &file })?;
    }
    Ok(())
}

/// Where the log in `dir` starts, for a recovery of all that there is: the position in the start file, or
/// [`FIRST_POSITION`] if there is none, for then nothing was removed. If it is damaged or does not count, the base of
/// the oldest segment; that older ones were lost cannot be told then.
///
/// # Errors
/// [`Error::NewerFormat`], or if a file cannot be read. Damage is no error.
pub fn start_of(fs: &dyn Fs, dir: &Path) -> Result<Position> {
    let read = match Start::read(fs, dir) {
        Ok(None) => return Ok(FIRST_POSITION),
        Ok(start) => start,
        Err(Error::Corrupt { .. }) => None,
        Err(error) => return Err(error),
    };
    let headers = read_headers(fs, dir, &fs.list(dir)?)?;
    Ok(match (read.filter(|start| counts(start, &headers)), headers.first()) {
        (Some(start), _) => start.position,
        (None, Some((_, Ok((_, Some(link)))))) => link.base,
        (None, _) => FIRST_POSITION,
    })
}

/// Tells of the start file, if there is one.
fn inspect_start(
    fs: &dyn Fs,
    dir: &Path,
    headers: &[(u64, FoundHeader)],
    on_event: &mut OnEvent<'_>,
) -> Result<()> {
    let state = match Start::read(fs, dir) {
        Ok(None) => return Ok(()),
        Ok(Some(start)) => {
            let Start { log_id, position } = start;
            Ok(LogStart { log_id, position, counts: counts(&start, headers) })
        }
        Err(Error::Corrupt { what, .. }) => Err(what),
        Err(error @ Error::NewerFormat { .. }) => Err(error.to_string()),
        Err(error) => return Err(error),
    };
    on_event(&Event::Start(&StartInfo { file: dir.join(start_file::NAME), state }))
}

/// See [`LogStart::counts`].
fn counts(start: &Start, headers: &[(u64, FoundHeader)]) -> bool {
    let log_id = |(_, header): &(u64, FoundHeader)| match header {
        Ok((id, Some(_))) => Some(id.log_id),
        _ => None,
    };
    headers.iter().rev().find_map(log_id).is_none_or(|it| it == start.log_id)
}

/// What is read of a header, or why it is none.
type FoundHeader = std::result::Result<(Identity, Option<Link>), String>;

/// The segments among `names`, by index.
fn read_headers(fs: &dyn Fs, dir: &Path, names: &[String]) -> Result<Vec<(u64, FoundHeader)>> {
    let mut indices: Vec<_> = names.iter().filter_map(|name| parse_name(name)).collect();
    indices.sort_unstable();
    let read = |index| {
        let path = dir.join(file_name(index));
        let mut start = [0; HEADER_BYTES];
        let len = fs.open(&path)?.read_at(&mut start, 0)?;
        let header = match Header::decode(&start[..len], &path) {
            Ok((id, _)) if id.index != index => Err("is another segment under this name".into()),
            Ok(header) => Ok(header),
            Err(Error::Corrupt { what, .. }) => Err(what),
            Err(error @ Error::NewerFormat { .. }) => Err(error.to_string()),
            Err(error) => return Err(error),
        };
        Ok((index, header))
    };
    indices.into_iter().map(read).collect()
}

/// Where the newest segment that continues `index` says that it does, and whether that, and so all
/// from the newest on, is reached by links (INSPECT-1).
fn continuation(index: u64, headers: &[(u64, FoundHeader)]) -> (Option<Position>, bool) {
    let begun = |entry: &(u64, FoundHeader)| match entry {
        (index, Ok((_, Some(link)))) => Some((*index, link.previous)),
        _ => None,
    };
    let mut next = headers.iter().rev().find_map(begun);
    let mut continued_at = None;
    while let Some((at, previous)) = next {
        if at == index {
            return (continued_at, true);
        }
        continued_at = previous.map(|it| it.end);
        let older = previous.map_or(0, |it| it.index);
        next = headers.iter().rev().filter_map(begun).find(|(at, _)| *at <= older);
    }
    (None, false)
}

/// Tells of one segment. Returns its header and where its frames end, if it was begun.
fn inspect_segment(
    fs: &dyn Fs,
    dir: &Path,
    index: u64,
    header: &FoundHeader,
    headers: &[(u64, FoundHeader)],
    on_event: &mut OnEvent<'_>,
) -> Result<Option<(Header, Position)>> {
    let file = dir.join(file_name(index));
    let bytes = read_all(&*fs.open(&file)?)?;
    let (continued_at, counts) = continuation(index, headers);
    let info = |state| SegmentInfo {
        index,
        file: file.clone(),
        bytes: bytes.len() as u64,
        state,
        continued_at,
        counts,
    };
    let header = match header {
        Ok((id, Some(link))) => Header { id: *id, link: *link },
        Ok((id, None)) => {
            let state = SegmentState::NotBegun { log_id: id.log_id };
            return on_event(&Event::Segment(&info(state))).map(|()| None);
        }
        Err(why) => {
            let state = SegmentState::Unreadable { why: why.clone() };
            return on_event(&Event::Segment(&info(state))).map(|()| None);
        }
    };
    let (begun, _) = survey(&bytes, &header)?;
    let (end, state) = (begun.end, SegmentState::Begun(begun));
    on_event(&Event::Segment(&info(state)))?;
    let scan = scan_segment(&bytes, &header, None, AtBad::Skip, &mut |frame| {
        let (offset, counts) =
            (header.offset(frame.position), counts && is_below(&frame, continued_at));
        on_event(&Event::Frame(&FrameInfo { file: &file, offset, counts, frame }))
    })?;
    for bad in bad_ranges(&file, &scan, |position| header.offset(position)) {
        on_event(&Event::Bad(&bad))?;
    }
    Ok(Some((header, end)))
}

fn is_below(frame: &Frame<'_>, limit: Option<Position>) -> bool {
    limit.is_none_or(|limit| frame.end() <= limit)
}

/// What there is to say of a begun segment as a whole.
fn survey(bytes: &[u8], header: &Header) -> Result<(BegunSegment, Scan)> {
    let Header { id, link } = *header;
    let (mut frames, mut records, mut promised) = (0, 0, None);
    let scan = scan_segment(bytes, header, None, AtBad::Skip, &mut |frame| {
        frames += 1;
        records += u64::from(frame.kind == Kind::Record);
        promised = promised.max(frame.promise());
        Ok(())
    })?;
    let begun = BegunSegment {
        log_id: id.log_id,
        session: link.session,
        made_ahead: id.is_ahead,
        base: link.base,
        end: scan.end,
        previous: link.previous.map(|it| SegmentEnd { index: it.index, end: it.end }),
        durable: link.durable,
        promised,
        frames,
        records,
        next_segment: scan.next_segment,
        closed: scan.last == Some(Kind::Close),
    };
    Ok((begun, scan))
}

/// The bytes that a scan could not read.
fn bad_ranges(file: &Path, scan: &Scan, offset: impl Fn(Position) -> u64) -> Vec<Dropped> {
    let bad = |position, bytes, why: &str| Dropped {
        file: file.to_owned(),
        offset: offset(position),
        bytes,
        why: why.into(),
    };
    let mut ranges: Vec<_> =
        scan.gaps.iter().map(|gap| bad(gap.position, gap.bytes, gap.why)).collect();
    match scan.ending {
        Ending::Whole => {}
        Ending::Torn { bytes, why } | Ending::Damaged { bytes, why, .. } => {
            ranges.push(bad(scan.end, bytes, why));
        }
    }
    ranges
}

/// Tells of the ring file; `newest` is the newest begun segment and where its frames end.
fn inspect_ring(
    fs: &dyn Fs,
    dir: &Path,
    newest: Option<(Header, Position)>,
    on_event: &mut OnEvent<'_>,
) -> Result<()> {
    let file = dir.join(ring_file::NAME);
    let bytes = read_all(&*fs.open(&file)?)?;
    let len = bytes.len() as u64;
    let image = match RingImage::decode(bytes, &file) {
        Ok(image) => Ok(image),
        Err(Error::Corrupt { what, .. }) => Err(what),
        Err(error @ Error::NewerFormat { .. }) => Err(error.to_string()),
        Err(error) => return Err(error),
    };
    let newest = newest.filter(|(header, _)| image.as_ref().is_ok_and(|image| image.is_of(header)));
    let owner = image.as_ref().map_err(Clone::clone).map(|image| RingOwner {
        log_id: image.log_id,
        session: image.session,
        capacity: image.capacity(),
        counts: newest.is_some(),
    });
    on_event(&Event::Ring(&RingInfo { file: file.clone(), bytes: len, owner }))?;
    let (Ok(image), Some((header, start))) = (image, newest) else { return Ok(()) };
    let scan = image.scan(&header, start, AtBad::Skip, &mut |frame| {
        let offset = image.offset(frame.position);
        on_event(&Event::Frame(&FrameInfo { file: &file, offset, counts: true, frame }))
    })?;
    for gap in bad_ranges(&file, &Scan { ending: Ending::Whole, ..scan }, |at| image.offset(at)) {
        on_event(&Event::Bad(&gap))?; // What follows the last frame is left of earlier rounds.
    }
    Ok(())
}
