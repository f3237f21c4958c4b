//! `wal dump`, `wal verify` and `wal repair`: a log by itself, whatever state it is in.

mod dump;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stratalog::Error;
use stratalog_base::fs::OsFs;
use stratalog_wal::inspect::start_of;
use stratalog_wal::repair::{Repaired, salvage_into};
use stratalog_wal::{Dropped, Progress, Recovered, RecoveryMode, recover_with_progress};

use super::progress;
use crate::args::{Wal, WalRepair, WalVerify};
use crate::failure::Failure;
use crate::output::{bytes, count, fields, json_line, stdout};

pub fn run(command: Wal, json: bool) -> Result<(), Failure> {
    match command {
        Wal::Dump(args) => dump::run(&args, json),
        Wal::Verify(args) => verify(&args, json),
        Wal::Repair(args) => repair(&args, json),
    }
}

fn verify(args: &WalVerify, json: bool) -> Result<(), Failure> {
    let (fs, dir) = (OsFs::shared(), &*args.dir);
    let start = match args.from {
        Some(from) => from,
        None => start_of(&*fs, dir)?,
    };
    let mode = if args.strict { RecoveryMode::Strict } else { RecoveryMode::TornTail };
    let bar = progress::bar(None, json);
    let read = |mode| {
        let on_progress = &mut |it: Progress| bar.set_position(it.bytes);
        recover_with_progress(&*fs, dir, start, mode, &mut |_, _| Ok(()), on_progress)
    };
    let (found, failure) = match read(mode) {
        Ok(found) => (found, None),
        // What there is beside the damage.
        Err(error @ Error::Corrupt { .. }) => (read(RecoveryMode::Salvage)?, Some(error)),
        Err(error) => return Err(error.into()),
    };
    bar.finish_and_clear();
    if json {
        let mut report = found_json(&found);
        report["ok"] = json!(failure.is_none());
        report["start"] = json!(start);
        json_line(&report)?;
    } else {
        let mut out = stdout();
        let state = match (&failure, found.dropped.is_empty()) {
            (None, true) => "is whole",
            (None, false) => "is whole but for a torn tail",
            (Some(_), _) => "is damaged; what a repair would save",
        };
        let mut rows = vec![("starts", format!("at position {}", count(start)))];
        rows.extend(found_rows(&found));
        write!(out, "{} {state}\n{}", dir.display(), fields(&rows))?;
        write_dropped(&mut out, &found.dropped)?;
        out.flush()?;
    }
    failure.map_or(Ok(()), |error| Err(error.into()))
}

fn repair(args: &WalRepair, json: bool) -> Result<(), Failure> {
    let (fs, dir, into) = (OsFs::shared(), &*args.dir, &*args.into);
    if is_inside(into, dir) {
        let (into, dir) = (into.display(), dir.display());
        return Err(Failure::Usage(format!("{into} lies in {dir}, which a repair only reads")));
    }
    let start = start_of(&*fs, dir)?;
    let repaired = salvage_into(&*fs, dir, start, into)?;
    let Repaired { found, segments, end } = &repaired;
    if json {
        let mut report = found_json(found);
        report["start"] = json!(start);
        report["into"] = json!({
            "dir": into.to_string_lossy(),
            "segments": segments,
            "end": end,
        });
        return Ok(json_line(&report)?);
    }
    let mut out = stdout();
    let rows = [
        ("records", format!("{}, at the positions where they were", count(found.records))),
        ("bytes", bytes(found.bytes)),
        ("segments", count(*segments)),
        ("ends", format!("at position {}", count(*end))),
    ];
    let (from, to) = (dir.display(), into.display());
    write!(out, "what is whole in {from} is in {to}\n{}", fields(&rows))?;
    write_dropped(&mut out, &found.dropped)?;
    Ok(out.flush()?)
}

/// Whether `path`, which need not exist, lies in `dir` or is it.
fn is_inside(path: &Path, dir: &Path) -> bool {
    let Ok(dir) = fs::canonicalize(dir) else { return false };
    let absolute = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
    let existing = absolute.ancestors().find_map(|path| fs::canonicalize(path).ok());
    existing.is_some_and(|path| path.starts_with(dir))
}

fn found_rows(found: &Recovered) -> Vec<(&'static str, String)> {
    let ring = match found.ring_records {
        0 => String::new(),
        records => format!(", {} of them in the ring only", count(records)),
    };
    vec![
        ("ends", format!("at position {}", count(found.end))),
        ("durable", format!("below position {}", count(found.durable))),
        ("records", format!("{}{ring}", count(found.records))),
        ("bytes", bytes(found.bytes)),
        ("segments", count(found.segments.len() as u64)),
        ("closed", if found.clean_close { "yes" } else { "no" }.to_owned()),
    ]
}

fn write_dropped(out: &mut impl Write, dropped: &[Dropped]) -> std::io::Result<()> {
    dropped.iter().try_for_each(|it| {
        let (file, bytes) = (it.file.display(), it.bytes);
        writeln!(out, "left out: {bytes} bytes at {} of {file}: {}", it.offset, it.why)
    })
}

fn found_json(found: &Recovered) -> Value {
    json!({
        "log_id": found.log_id.map(|id| format!("{id:016x}")),
        "end": found.end,
        "durable": found.durable,
        "records": found.records,
        "ring_records": found.ring_records,
        "bytes": found.bytes,
        "segments": found.segments.len(),
        "clean_close": found.clean_close,
        "dropped": found.dropped.iter().map(dropped_json).collect::<Value>(),
    })
}

fn dropped_json(dropped: &Dropped) -> Value {
    json!({
        "file": dropped.file.to_string_lossy(),
        "offset": dropped.offset,
        "bytes": dropped.bytes,
        "why": dropped.why,
    })
}
