//! `table dump`: the blocks of a table, the records of a value file, and what is in them.

use std::io::{self, Write};
use std::ops::Range;

use serde_json::{Value, json};
use stratalog::Error;
use stratalog_base::{KeyRef, Kind};
use stratalog_sstable::inspect::Event;
use stratalog_sstable::{Table, ValueFile, ValueHandle};

use super::{Opened, open};
use crate::args::TableDump;
use crate::escape;
use crate::failure::Failure;
use crate::output::{JsonBytes, Out, start_of, start_text, stdout};

pub fn run(args: &TableDump, json: bool) -> Result<(), Failure> {
    let mut dump = Dump { args, json, out: stdout(), shown: 0, failure: None };
    let walked = match open(&args.file)? {
        Opened::Table(table) => dump.table(&table),
        Opened::Values(file) => dump.values(&file),
    };
    match dump.failure {
        Some(failure) => return Err(failure.into()),
        // The limit was reached.
        None if matches!(walked, Err(Error::Closed)) => {}
        None => walked?,
    }
    Ok(dump.out.flush()?)
}

struct Dump<'a> {
    args: &'a TableDump,
    json: bool,
    out: Out,
    /// Entries or records shown.
    shown: u64,
    /// Why the output ended.
    failure: Option<io::Error>,
}

impl Dump<'_> {
    fn table(&mut self, table: &Table) -> Result<(), Error> {
        for range in table.ranges().tombstones() {
            let [start, end] = [range.start, range.end].map(escape::encode);
            let value = json!({ "range_tombstone": {
                "start": JsonBytes(range.start), "end": JsonBytes(range.end), "seq": range.seq,
            }});
            self.line(&value, || format!("deletes {start} to {end}, not with it  #{}", range.seq))?;
        }
        table.inspect(&mut |event| self.event(&event))
    }

    fn event(&mut self, event: &Event<'_>) -> Result<(), Error> {
        match event {
            Event::Partition { number, blocks, filter, index, seqs } => {
                let value = json!({ "partition": {
                    "number": number, "blocks": blocks.len(), "first_block": blocks.start,
                    "filter": range_json(filter), "index": range_json(index),
                    "min_seq": seqs.start(), "max_seq": seqs.end(),
                }});
                self.line(&value, || {
                    let filter = range_text(filter);
                    format!("partition {number}  filter {filter}, index {}", range_text(index))
                })
            }
            Event::Block { number, at, contents_bytes, compression, entries } => {
                let compression = compression_name(*compression);
                let value = json!({ "block": {
                    "number": number, "at": range_json(at), "contents_bytes": contents_bytes,
                    "compression": compression, "entries": entries,
                }});
                self.line(&value, || {
                    let at = range_text(at);
                    format!("  block {number}  {at}, {contents_bytes} bytes {compression}, {entries} entries")
                })
            }
            Event::Bad { at, error } => {
                let value = json!({ "bad": { "at": range_json(at), "why": error.to_string() } });
                self.line(&value, || format!("  ! {}: {error}", range_text(at)))
            }
            Event::Entry { key, value } if self.args.entries => self.entry(*key, value),
            Event::Entry { .. } => Ok(()),
        }
    }

    fn entry(&mut self, key: KeyRef<'_>, stored: &[u8]) -> Result<(), Error> {
        let is_before = |from: &std::ffi::OsString| key.user < from.as_encoded_bytes();
        if self.args.from.as_ref().is_some_and(is_before) {
            return Ok(());
        }
        self.count()?;
        let (seq, kind) = (key.trailer.seq(), key.trailer.kind());
        let handle = (kind == Kind::Separated).then(|| ValueHandle::decode(stored).ok()).flatten();
        let kind = kind_name(kind);
        let mut entry = json!({
            "key": JsonBytes(key.user), "seq": seq, "kind": kind, "stored_bytes": stored.len(),
        });
        if let Some(handle) = &handle {
            entry["handle"] = handle_json(handle);
        }
        let shown = self.args.values && handle.is_none() && key.trailer.kind() == Kind::Put;
        if shown {
            entry["value"] = json!(JsonBytes(start_of(stored)));
        }
        self.line(&json!({ "entry": entry }), || {
            let key = escape::encode(key.user);
            let value = match &handle {
                Some(handle) => handle_text(handle),
                None if shown => start_text(stored),
                None => format!("{} bytes", stored.len()),
            };
            format!("    {key}  #{seq} {kind}  {value}")
        })
    }

    fn values(&mut self, file: &ValueFile) -> Result<(), Error> {
        for handle in file.handles()? {
            self.count()?;
            let value = match file.get(&handle) {
                Ok(value) => value,
                Err(error @ Error::Corrupt { .. }) => {
                    let at = handle.offset..handle.end();
                    let value =
                        json!({ "bad": { "at": range_json(&at), "why": error.to_string() } });
                    self.line(&value, || format!("! {}: {error}", range_text(&at)))?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut record = handle_json(&handle);
            record["value_bytes"] = json!(value.len());
            if self.args.values {
                record["value"] = json!(JsonBytes(start_of(&value)));
            }
            self.line(&json!({ "record": record }), || {
                let at = range_text(&(handle.offset..handle.end()));
                let start = if self.args.values { start_text(&value) } else { String::new() };
                let text = format!("record {}  {at}, {} bytes  {start}", handle.index, value.len());
                text.trim_end().to_owned()
            })?;
        }
        Ok(())
    }

    /// Counts an entry or record to be shown.
    ///
    /// # Errors
    /// [`Error::Closed`] if enough were.
    fn count(&mut self) -> Result<(), Error> {
        self.shown += 1;
        if self.args.limit.is_some_and(|limit| self.shown > limit) {
            return Err(Error::Closed);
        }
        Ok(())
    }

    fn line(&mut self, value: &Value, text: impl FnOnce() -> String) -> Result<(), Error> {
        let written = match self.json {
            true => writeln!(self.out, "{value}"),
            false => writeln!(self.out, "{}", text()),
        };
        written.map_err(|error| {
            self.failure = Some(error);
            Error::Closed // Ends the walk.
        })
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Delete => "delete",
        Kind::Put => "put",
        Kind::Separated => "separated",
    }
}

fn compression_name(code: u8) -> &'static str {
    match code {
        0 => "uncompressed",
        1 => "by LZ4",
        2 => "by Zstd",
        _ => "compressed",
    }
}

fn range_text(range: &Range<u64>) -> String {
    format!("{} bytes at {}", range.end - range.start, range.start)
}

fn range_json(range: &Range<u64>) -> Value {
    json!({ "offset": range.start, "bytes": range.end - range.start })
}

fn handle_text(handle: &ValueHandle) -> String {
    let ValueHandle { file, index, offset, bytes } = handle;
    format!("record {index} of value file {file}, {bytes} bytes at {offset}")
}

fn handle_json(handle: &ValueHandle) -> Value {
    let ValueHandle { file, index, offset, bytes } = handle;
    json!({ "file": file, "index": index, "offset": offset, "bytes": bytes })
}
