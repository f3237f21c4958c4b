//! `table stats`: how a file is made up.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use stratalog_base::Kind;
use stratalog_sstable::inspect::{Event, Layout};
use stratalog_sstable::{Table, TableSummary, ValueFile};

use super::{Opened, open};
use crate::escape;
use crate::failure::Failure;
use crate::output::{JsonBytes, bytes, count, fields, json_line, stdout};

pub fn run(path: &Path, json: bool) -> Result<(), Failure> {
    match open(path)? {
        Opened::Table(table) => of_table(path, &table, json),
        Opened::Values(file) => of_values(path, &file, json),
    }
}

/// What has to be read of the blocks.
#[derive(Default)]
struct Blocks {
    contents_bytes: u64,
    compressed: u64,
    bad: u64,
    separated: u64,
}

fn of_table(path: &Path, table: &Table, json: bool) -> Result<(), Failure> {
    let mut blocks = Blocks::default();
    table.inspect(&mut |event| {
        match event {
            Event::Block { contents_bytes, compression, .. } => {
                blocks.contents_bytes += contents_bytes as u64;
                blocks.compressed += u64::from(compression != 0);
            }
            Event::Entry { key, .. } => {
                blocks.separated += u64::from(key.trailer.kind() == Kind::Separated);
            }
            Event::Bad { .. } => blocks.bad += 1,
            Event::Partition { .. } => {}
        }
        Ok(())
    })?;
    let (summary, layout) = (table.summary(), table.layout());
    if json {
        return Ok(json_line(&table_json(path, summary, &layout, &blocks))?);
    }
    let mut out = stdout();
    let rows = fields(&table_rows(summary, &layout, &blocks));
    write!(out, "{} is table {}\n{rows}", path.display(), summary.id)?;
    Ok(out.flush()?)
}

/// Contents for each stored byte.
fn ratio(layout: &Layout, blocks: &Blocks) -> f64 {
    blocks.contents_bytes as f64 / layout.data_bytes.max(1) as f64
}

fn filter_bits(layout: &Layout) -> f64 {
    8.0 * layout.filter_bytes as f64 / layout.user_keys.max(1) as f64
}

fn table_rows(
    summary: &TableSummary,
    layout: &Layout,
    blocks: &Blocks,
) -> Vec<(&'static str, String)> {
    let key = |key: &[u8]| escape::encode(key);
    let entries = format!(
        "{}, {} tombstones, {} separated, of {} keys",
        count(summary.entries),
        count(summary.tombstones),
        count(blocks.separated),
        count(layout.user_keys)
    );
    let data = format!(
        "{} in {} blocks, {} compressed, {:.2} of contents for each stored",
        bytes(layout.data_bytes),
        count(layout.blocks),
        count(blocks.compressed),
        ratio(layout, blocks)
    );
    let mut rows = vec![
        ("size", bytes(summary.bytes)),
        ("entries", entries),
        ("range tombstones", count(summary.range_tombstones)),
        ("keys", format!("{}, uncompressed", bytes(layout.key_bytes))),
        ("values", format!("{}, uncompressed", bytes(layout.value_bytes))),
        ("smallest", key(&summary.smallest.user)),
        ("largest", key(&summary.largest.user)),
        ("sequence numbers", format!("{} to {}", count(summary.min_seq), count(summary.max_seq))),
        ("data", data),
        ("index", format!("{} in {} partitions", bytes(layout.index_bytes), layout.partitions)),
        ("top index", bytes(layout.top_bytes)),
        (
            "filter",
            format!("{}, {:.1} bits a key", bytes(layout.filter_bytes), filter_bits(layout)),
        ),
    ];
    for it in &summary.value_refs {
        rows.push(("refers to", format!("{} of value file {}", bytes(it.bytes), it.file)));
    }
    if blocks.bad > 0 {
        rows.push(("unreadable", format!("{} blocks: see `table dump`", count(blocks.bad))));
    }
    rows
}

fn table_json(path: &Path, summary: &TableSummary, layout: &Layout, blocks: &Blocks) -> Value {
    let refs = summary.value_refs.iter();
    json!({
        "file": path.to_string_lossy(),
        "kind": "table",
        "id": summary.id,
        "bytes": summary.bytes,
        "entries": summary.entries,
        "tombstones": summary.tombstones,
        "separated": blocks.separated,
        "range_tombstones": summary.range_tombstones,
        "user_keys": layout.user_keys,
        "key_bytes": layout.key_bytes,
        "value_bytes": layout.value_bytes,
        "smallest": JsonBytes(&summary.smallest.user),
        "largest": JsonBytes(&summary.largest.user),
        "min_seq": summary.min_seq,
        "max_seq": summary.max_seq,
        "prefix_bytes": layout.prefix_bytes,
        "blocks": layout.blocks,
        "compressed_blocks": blocks.compressed,
        "bad_blocks": blocks.bad,
        "data_bytes": layout.data_bytes,
        "contents_bytes": blocks.contents_bytes,
        "compression_ratio": ratio(layout, blocks),
        "partitions": layout.partitions,
        "index_bytes": layout.index_bytes,
        "top_index_bytes": layout.top_bytes,
        "filter_bytes": layout.filter_bytes,
        "filter_bits_per_key": filter_bits(layout),
        "range_tombstone_bytes": layout.range_tombstone_bytes,
        "dictionary_bytes": layout.dictionary_bytes,
        "properties_bytes": layout.properties_bytes,
        "value_refs": refs.map(|it| json!({ "file": it.file, "bytes": it.bytes })).collect::<Value>(),
    })
}

fn of_values(path: &Path, file: &ValueFile, json: bool) -> Result<(), Failure> {
    let (summary, value_bytes) = (file.summary(), file.value_bytes());
    if json {
        return Ok(json_line(&json!({
            "file": path.to_string_lossy(),
            "kind": "values",
            "id": summary.id,
            "bytes": summary.bytes,
            "records": summary.records,
            "record_bytes": summary.record_bytes,
            "value_bytes": value_bytes,
        }))?);
    }
    let mut out = stdout();
    let rows = fields(&[
        ("size", bytes(summary.bytes)),
        ("records", format!("{}, {}", count(summary.records), bytes(summary.record_bytes))),
        ("values", format!("{}, uncompressed", bytes(value_bytes))),
    ]);
    write!(out, "{} is value file {}\n{rows}", path.display(), summary.id)?;
    Ok(out.flush()?)
}
