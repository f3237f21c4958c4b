//! `wal dump`: the files of a log, and the frames in them.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};
use stratalog::Error;
use stratalog_base::fs::OsFs;
use stratalog_wal::inspect::{
    BegunSegment, Event, FrameInfo, Kind, LogStart, RingInfo, SegmentInfo, SegmentState, StartInfo,
    inspect,
};

use super::dropped_json;
use crate::args::WalDump;
use crate::failure::Failure;
use crate::output::{JsonBytes, Out, bytes, start_of, start_text, stdout};

pub fn run(args: &WalDump, json: bool) -> Result<(), Failure> {
    let mut dump = Dump { args, json, out: stdout(), frames: 0, failure: None };
    let inspected = inspect(&*OsFs::shared(), &args.dir, &mut |event| {
        dump.event(event).map_err(|error| {
            dump.failure = Some(error);
            Error::Closed // Ends the inspection.
        })
    });
    if let Some(failure) = dump.failure {
        return Err(failure.into());
    }
    inspected?;
    Ok(dump.out.flush()?)
}

struct Dump<'a> {
    args: &'a WalDump,
    json: bool,
    out: Out,
    /// Frames shown.
    frames: u64,
    /// Why the output ended.
    failure: Option<io::Error>,
}

impl Dump<'_> {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        if let Event::Frame(info) = event {
            let wanted = self.args.records
                && info.frame.position >= self.args.from
                && self.args.limit.is_none_or(|limit| self.frames < limit);
            if !wanted {
                return Ok(());
            }
            self.frames += 1;
        }
        match self.json {
            true => writeln!(self.out, "{}", event_json(event, self.args.payload)),
            false => self.text(event),
        }
    }

    fn text(&mut self, event: &Event<'_>) -> io::Result<()> {
        let out = &mut self.out;
        match event {
            Event::Start(info) => writeln!(out, "{}", start_file_text(info)),
            Event::Segment(info) => writeln!(out, "{}", segment_text(info)),
            Event::Frame(info) => {
                write!(out, "  {} {}", if info.counts { ' ' } else { '-' }, frame_text(info))?;
                if let Some(record) = shown(info, self.args.payload) {
                    write!(out, "  {}", start_text(&record))?;
                }
                writeln!(out)
            }
            Event::Bad(bad) => {
                writeln!(out, "  ! {} bytes at {}: {}", bad.bytes, bad.offset, bad.why)
            }
            Event::Ring(info) => writeln!(out, "{}", ring_text(info)),
            Event::Leftover { file, bytes: len } => {
                writeln!(out, "{}  {}, not in use", name(file), bytes(*len))
            }
        }
    }
}

fn name(file: &Path) -> std::borrow::Cow<'_, str> {
    file.file_name().unwrap_or_default().to_string_lossy()
}

fn start_file_text(info: &StartInfo) -> String {
    let name = name(&info.file);
    match &info.state {
        Ok(start) => {
            let counts = if start.counts { "" } else { ", does not count: of another log" };
            let LogStart { log_id, position, .. } = start;
            format!("{name}  log {log_id:016x}, nothing is missed below {position}{counts}")
        }
        Err(why) => format!("{name}, cannot be read: {why}"),
    }
}

fn segment_text(info: &SegmentInfo) -> String {
    let start = format!("{}  {}", name(&info.file), bytes(info.bytes));
    match &info.state {
        SegmentState::Begun(begun) => {
            let counts = match (info.counts, info.continued_at) {
                (false, _) => ", does not count",
                (true, Some(at)) if at < begun.end => ", counts in part",
                (true, _) => "",
            };
            format!("{start}{counts}\n{}", begun_text(begun, info))
        }
        SegmentState::NotBegun { log_id } => {
            format!("{start}, not begun, made ahead for log {log_id:016x}")
        }
        SegmentState::Unreadable { why } => format!("{start}, cannot be read: {why}"),
    }
}

fn begun_text(begun: &BegunSegment, info: &SegmentInfo) -> String {
    let mut text = format!(
        "    positions {} to {}, {} frames, {} records\n",
        begun.base, begun.end, begun.frames, begun.records
    );
    let ahead = if begun.made_ahead { ", made ahead" } else { "" };
    text += &format!("    log {:016x}, session {}{ahead}", begun.log_id, begun.session);
    match begun.previous {
        Some(it) => text += &format!(", continues segment {} at {}\n", it.index, it.end),
        None => text += ", the first\n",
    }
    text += &format!("    durable below {}", begun.promised.unwrap_or(0).max(begun.durable));
    if let Some(next) = begun.next_segment {
        text += &format!(", sealed, goes on in segment {next}");
    }
    if let Some(at) = info.continued_at {
        text += &format!(", continued at {at}");
    }
    if begun.closed {
        text += ", closed";
    }
    text
}

fn ring_text(info: &RingInfo) -> String {
    let start = format!("{}  {}", name(&info.file), bytes(info.bytes));
    match &info.owner {
        Ok(owner) => {
            let counts = if owner.counts { "" } else { ", does not count: of another session" };
            format!("{start}, log {:016x}, session {}{counts}", owner.log_id, owner.session)
        }
        Err(why) => format!("{start}, cannot be read: {why}"),
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Record => "record",
        Kind::Skip => "skip",
        Kind::Mark => "mark",
        Kind::Close => "close",
        Kind::Seal => "seal",
    }
}

fn frame_text(info: &FrameInfo<'_>) -> String {
    let frame = &info.frame;
    let mut text = format!("{} {}", frame.position, kind_name(frame.kind));
    match frame.promise() {
        Some(promise) => text += &format!(", durable below {promise}"),
        None => text += &format!(", {} bytes", frame.payload.len()),
    }
    if let Some(next) = frame.next_segment() {
        text += &format!(", goes on in segment {next}");
    }
    if frame.compressed {
        text += match frame.record() {
            Ok(_) => " compressed",
            Err(_) => " compressed, does not decompress",
        };
    }
    text
}

/// The record whose bytes are to be shown.
fn shown<'a>(info: &FrameInfo<'a>, payload: bool) -> Option<std::borrow::Cow<'a, [u8]>> {
    let is_wanted = payload && info.frame.kind == Kind::Record;
    is_wanted.then(|| info.frame.record().ok()).flatten()
}

fn event_json(event: &Event<'_>, payload: bool) -> Value {
    match event {
        Event::Start(info) => {
            let mut start = json!({ "file": name(&info.file) });
            match &info.state {
                Ok(found) => {
                    start["log_id"] = json!(format!("{:016x}", found.log_id));
                    start["position"] = json!(found.position);
                    start["counts"] = json!(found.counts);
                }
                Err(why) => start["unreadable"] = json!(why),
            }
            json!({ "start": start })
        }
        Event::Segment(info) => json!({ "segment": segment_json(info) }),
        Event::Frame(info) => json!({ "frame": frame_json(info, payload) }),
        Event::Bad(bad) => json!({ "bad": dropped_json(bad) }),
        Event::Ring(info) => {
            let mut ring = json!({ "file": name(&info.file), "bytes": info.bytes });
            match &info.owner {
                Ok(owner) => {
                    ring["log_id"] = json!(format!("{:016x}", owner.log_id));
                    ring["session"] = json!(owner.session);
                    ring["capacity"] = json!(owner.capacity);
                    ring["counts"] = json!(owner.counts);
                }
                Err(why) => ring["unreadable"] = json!(why),
            }
            json!({ "ring": ring })
        }
        Event::Leftover { file, bytes } => {
            json!({ "leftover": { "file": name(file), "bytes": bytes } })
        }
    }
}

fn segment_json(info: &SegmentInfo) -> Value {
    let mut segment = json!({
        "index": info.index,
        "file": name(&info.file),
        "bytes": info.bytes,
        "counts": info.counts,
        "continued_at": info.continued_at,
    });
    let mut set = |key: &str, value: Value| segment[key] = value;
    match &info.state {
        SegmentState::Begun(begun) => {
            set("state", json!("begun"));
            set("log_id", json!(format!("{:016x}", begun.log_id)));
            set("session", json!(begun.session));
            set("made_ahead", json!(begun.made_ahead));
            set("base", json!(begun.base));
            set("end", json!(begun.end));
            let previous = begun.previous.map(|it| json!({ "index": it.index, "end": it.end }));
            set("previous", json!(previous));
            set("durable", json!(begun.durable));
            set("promised", json!(begun.promised));
            set("frames", json!(begun.frames));
            set("records", json!(begun.records));
            set("next_segment", json!(begun.next_segment));
            set("closed", json!(begun.closed));
        }
        SegmentState::NotBegun { log_id } => {
            set("state", json!("not_begun"));
            set("log_id", json!(format!("{log_id:016x}")));
        }
        SegmentState::Unreadable { why } => {
            set("state", json!("unreadable"));
            set("why", json!(why));
        }
    }
    segment
}

fn frame_json(info: &FrameInfo<'_>, payload: bool) -> Value {
    let frame = &info.frame;
    let mut value = json!({
        "position": frame.position,
        "kind": kind_name(frame.kind),
        "bytes": frame.payload.len(),
        "file": name(info.file),
        "offset": info.offset,
        "counts": info.counts,
        "compressed": frame.compressed,
        "promise": frame.promise(),
        "next_segment": frame.next_segment(),
    });
    if let Some(record) = shown(info, payload) {
        value["record_bytes"] = json!(record.len());
        value["payload"] = json!(JsonBytes(start_of(&record)));
    }
    value
}
