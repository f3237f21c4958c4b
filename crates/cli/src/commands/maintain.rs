//! `stats`, `check` and `compact`: the store as a whole.

use std::io::Write;
use std::time::Instant;

use serde_json::{Value, json};
use stratalog::{RecoveryReport, Stats};

use super::Target;
use crate::failure::Failure;
use crate::output::{bytes, count, fields, json_line, levels_json, levels_table, seconds, stdout};

pub fn stats(target: &Target) -> Result<(), Failure> {
    let db = target.open()?;
    let (stats, recovery) = (db.stats(), db.recovery());
    if target.json {
        return Ok(json_line(&stats_json(&stats, recovery))?);
    }
    let mut out = stdout();
    write!(out, "{}\n{}", levels_table(&stats.levels), fields(&stats_rows(&stats)))?;
    let recovered = recovery_rows(recovery);
    if !recovered.is_empty() {
        write!(out, "\nopening recovered\n{}", fields(&recovered))?;
    }
    Ok(out.flush()?)
}

pub fn check(target: &Target) -> Result<(), Failure> {
    let start = Instant::now();
    let db = target.open()?;
    let report = db.check()?;
    let (time, recovery) = (start.elapsed(), db.recovery());
    if target.json {
        return Ok(json_line(&json!({
            "ok": true,
            "tables": report.tables,
            "value_files": report.value_files,
            "bytes": report.bytes,
            "entries": report.entries,
            "seconds": time.as_secs_f64(),
            "recovery": recovery_json(recovery),
        }))?);
    }
    let mut out = stdout();
    let rows = [
        ("tables", count(report.tables as u64)),
        ("value files", count(report.value_files as u64)),
        ("entries", count(report.entries)),
        ("read", bytes(report.bytes)),
        ("time", seconds(time)),
    ];
    write!(out, "{} is sound\n{}", target.name(), fields(&rows))?;
    for range in &recovery.dropped {
        let (file, bytes) = (range.file.display(), range.bytes);
        writeln!(out, "cut off {bytes} bytes at {} of {file}: {}", range.offset, range.why)?;
    }
    Ok(out.flush()?)
}

pub fn compact(target: &Target) -> Result<(), Failure> {
    let db = target.open()?;
    let (start, before) = (Instant::now(), db.stats());
    db.compact()?;
    let (time, after) = (start.elapsed(), db.stats());
    db.close()?;
    if target.json {
        return Ok(json_line(&json!({
            "before": levels_json(&before.levels),
            "after": levels_json(&after.levels),
            "value_bytes_before": before.value_bytes,
            "value_bytes_after": after.value_bytes,
            "seconds": time.as_secs_f64(),
        }))?);
    }
    let mut out = stdout();
    let table = levels_table(&after.levels);
    let tables = |stats: &Stats| stats.levels.iter().map(|level| level.bytes).sum::<u64>();
    let bytes = |stats: &Stats| bytes(tables(stats) + stats.value_bytes);
    let (from, to) = (bytes(&before), bytes(&after));
    writeln!(out, "{} is compacted: {from} to {to} in {}\n", target.name(), seconds(time))?;
    write!(out, "{table}")?;
    Ok(out.flush()?)
}

fn stats_rows(stats: &Stats) -> Vec<(&'static str, String)> {
    let memtables = format!(
        "{}, {} entries, {} sealed",
        bytes(stats.memtable_bytes as u64),
        count(stats.memtable_entries),
        stats.sealed_memtables
    );
    let values = format!(
        "{}, {}, of which {} are garbage",
        count(stats.value_files as u64),
        bytes(stats.value_bytes),
        bytes(stats.value_garbage_bytes)
    );
    let memory = format!(
        "{} of {}, at most {} so far",
        bytes(stats.memory_used_bytes as u64),
        bytes(stats.memory_bytes as u64),
        bytes(stats.memory_peak_bytes as u64)
    );
    vec![
        ("value files", values),
        ("memory", memory),
        ("memtables", memtables),
        ("log", bytes(stats.log_bytes)),
        ("block cache", bytes(stats.cache_bytes as u64)),
        ("pinned blocks", bytes(stats.pinned_bytes as u64)),
        ("open tables", bytes(stats.index_bytes as u64)),
        ("newest write", format!("at log position {}", count(stats.visible))),
        ("durable", format!("below log position {}", count(stats.durable))),
    ]
}

fn recovery_rows(recovery: &RecoveryReport) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if recovery.records > 0 {
        let (records, size) = (count(recovery.records), bytes(recovery.bytes));
        rows.push(("log", format!("{records} records, {size}, to {} tables", recovery.tables)));
    }
    rows.extend(recovery.dropped.iter().map(|range| {
        let (file, offset) = (range.file.display(), range.offset);
        ("cut off", format!("{} bytes at {offset} of {file}: {}", range.bytes, range.why))
    }));
    rows.extend(recovery.orphans.iter().map(|file| ("removed", file.clone())));
    rows
}

fn stats_json(stats: &Stats, recovery: &RecoveryReport) -> Value {
    json!({
        "levels": levels_json(&stats.levels),
        "memory_bytes": stats.memory_bytes,
        "memory_used_bytes": stats.memory_used_bytes,
        "memory_peak_bytes": stats.memory_peak_bytes,
        "memtable_bytes": stats.memtable_bytes,
        "memtable_entries": stats.memtable_entries,
        "sealed_memtables": stats.sealed_memtables,
        "cache_bytes": stats.cache_bytes,
        "pinned_bytes": stats.pinned_bytes,
        "index_bytes": stats.index_bytes,
        "log_bytes": stats.log_bytes,
        "visible": stats.visible,
        "durable": stats.durable,
        "snapshots": stats.snapshots,
        "flushes": stats.flushes,
        "compactions": stats.compactions,
        "table_bytes_written": stats.table_bytes_written,
        "value_files": stats.value_files,
        "value_bytes": stats.value_bytes,
        "value_garbage_bytes": stats.value_garbage_bytes,
        "value_bytes_written": stats.value_bytes_written,
        "stalls": stats.stalls,
        "recovery": recovery_json(recovery),
    })
}

fn recovery_json(recovery: &RecoveryReport) -> Value {
    let dropped: Value = recovery
        .dropped
        .iter()
        .map(|range| {
            json!({
                "file": range.file.to_string_lossy(),
                "offset": range.offset,
                "bytes": range.bytes,
                "why": range.why,
            })
        })
        .collect();
    json!({
        "created": recovery.created,
        "clean_close": recovery.clean_close,
        "records": recovery.records,
        "bytes": recovery.bytes,
        "tables": recovery.tables,
        "dropped": dropped,
        "orphans": recovery.orphans,
    })
}
