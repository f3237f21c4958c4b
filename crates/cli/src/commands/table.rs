//! `table dump`, `table verify` and `table stats`: a table or a value file by itself.

mod dump;
mod stats;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use stratalog_base::fs::{Fs, OsFs};
use stratalog_sstable::inspect::{Kind, identify};
use stratalog_sstable::{BlockCache, Table, ValueFile};

use crate::args;
use crate::failure::Failure;
use crate::output::{bytes, count, fields, json_line, seconds, stdout};

/// An open file.
enum Opened {
    Table(Arc<Table>),
    Values(ValueFile),
}

pub fn run(command: args::Table, json: bool) -> Result<(), Failure> {
    match command {
        args::Table::Dump(args) => dump::run(&args, json),
        args::Table::Verify(args) => verify(&args.file, json),
        args::Table::Stats(args) => stats::run(&args.file, json),
    }
}

fn open(path: &Path) -> Result<Opened, Failure> {
    let file = OsFs.open(path)?;
    Ok(match identify(&*file)? {
        (Kind::Table, id) => Opened::Table(Table::open(file, id, BlockCache::new(0))?),
        (Kind::Values, id) => Opened::Values(ValueFile::open(file, id, BlockCache::new(0))?),
    })
}

fn verify(path: &Path, json: bool) -> Result<(), Failure> {
    let start = Instant::now();
    let (kind, noun, id, entries, read) = match open(path)? {
        Opened::Table(table) => {
            let summary = table.summary();
            ("table", "entries", summary.id, table.verify(|_, _| Ok(()))?, summary.bytes)
        }
        Opened::Values(file) => {
            let summary = file.verify(|_, _| Ok(()))?;
            ("values", "records", summary.id, summary.records, summary.bytes)
        }
    };
    let time = start.elapsed();
    if json {
        return Ok(json_line(&json!({
            "ok": true,
            "file": path.to_string_lossy(),
            "kind": kind,
            "id": id,
            noun: entries,
            "bytes": read,
            "seconds": time.as_secs_f64(),
        }))?);
    }
    let mut out = stdout();
    let rows = [
        ("number", count(id)),
        (noun, count(entries)),
        ("read", bytes(read)),
        ("time", seconds(time)),
    ];
    write!(out, "{} is sound\n{}", path.display(), fields(&rows))?;
    Ok(out.flush()?)
}
