//! `import`: from a file's records to entries of a store, in atomic batches.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::{Value, json};
use stratalog::{Batch, Db, Options, Stats, WriteOptions};

use super::{Target, progress};
use crate::args::{Format, Import};
use crate::failure::Failure;
use crate::input::{InputError, Layout, Malformed, Records};
use crate::output::{
    bytes, count, fields, json_line, levels_json, levels_table, per_second, seconds, stdout,
};

/// Encoded bytes that end a batch.
const BATCH_BYTES: usize = 1 << 20;
/// Malformed lines that the summary shows.
const SHOWN_BAD: usize = 10;
/// The entry whose key stands in the suggested commands.
const SAMPLE_ENTRY: u64 = 100;

pub fn run(target: &Target, args: Import) -> Result<(), Failure> {
    let format = format_of(&args.file, args.format)?;
    let layout = Layout::new(format, args.key, args.escape).map_err(Failure::Usage)?;
    // The input comes first, so that a mistyped name or column leaves no empty store behind.
    let (input, total_bytes) = open_input(&args.file)?;
    let mut records = layout.records(input).map_err(|error| input_failure(&args.file, error))?;
    let db = Options::new().memtable_bytes(args.memtable).open(&target.dir)?;

    let start = Instant::now();
    let mut writer = Writer {
        db: &db,
        options: WriteOptions::new().durability(args.durability.into()),
        batch: Batch::new(),
        batch_entries: args.batch as usize,
        acknowledged: 0,
        json: target.json,
    };
    let bar = progress::bar(total_bytes, target.json);
    let copied = copy(records.as_mut(), &mut writer, &args.file, args.skip_bad, &bar);
    let acknowledged = writer.acknowledged;
    let import_time = start.elapsed();
    let settled = copied.and_then(|copied| {
        bar.set_message("flushing and compacting");
        db.flush()?;
        db.wait_idle()?;
        Ok(copied)
    });
    bar.finish_and_clear();
    let (settle_time, stats) = (start.elapsed() - import_time, db.stats());
    // After a failure, too: what came before it becomes durable, whatever its class.
    let closed = db.close();
    let copied = settled
        .and_then(|copied| closed.map(|()| copied).map_err(Failure::from))
        .map_err(|source| Failure::Import { acknowledged, source: Box::new(source) })?;

    let bytes = records.bytes();
    let summary = Summary { entries: acknowledged, copied, bytes, import_time, settle_time, stats };
    match target.json {
        true => json_line(&summary.to_json())?,
        false => summary.print(target)?,
    }
    Ok(())
}

fn format_of(file: &Path, chosen: Option<Format>) -> Result<Format, Failure> {
    let extension = file.extension().map(OsStr::to_ascii_lowercase);
    match (chosen, extension.as_ref().and_then(|extension| extension.to_str())) {
        (Some(format), _) => Ok(format),
        (None, Some("tsv" | "tab")) => Ok(Format::Tsv),
        (None, Some("csv")) => Ok(Format::Csv),
        (None, Some("jsonl" | "ndjson")) => Ok(Format::Jsonl),
        (None, _) if is_stdin(file) => Ok(Format::Tsv),
        (None, _) => {
            let file = file.display();
            Err(Failure::Usage(format!(
                "the name {file} tells no format: add --format tsv|csv|jsonl"
            )))
        }
    }
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// The input and its size, if that is known.
fn open_input(path: &Path) -> Result<(Box<dyn Read>, Option<u64>), Failure> {
    if is_stdin(path) {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let unreadable = |error| Failure::unreadable(path, error);
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    Ok((Box::new(file), metadata.is_file().then_some(metadata.len())))
}

fn input_failure(file: &Path, error: InputError) -> Failure {
    match error {
        InputError::Io(source) => Failure::unreadable(file, source),
        InputError::Skippable(source) | InputError::Fatal(source) => {
            Failure::InputMalformed { path: file.to_owned(), source }
        }
    }
}

/// What is worth telling of the records that were copied, beside their number.
#[derive(Default)]
struct Copied {
    skipped: u64,
    /// The first of the skipped.
    first_bad: Vec<Malformed>,
    sample_key: Option<String>,
}

/// Writes all records. What comes before a failure is written, too.
fn copy(
    records: &mut dyn Records,
    writer: &mut Writer,
    file: &Path,
    skip_bad: bool,
    bar: &ProgressBar,
) -> Result<Copied, Failure> {
    let mut copied = Copied::default();
    let mut read_count = 0;
    loop {
        match records.next() {
            Ok(Some(record)) => {
                read_count += 1;
                if read_count <= SAMPLE_ENTRY {
                    copied.sample_key = printable(record.key).or(copied.sample_key);
                }
                if !writer.add(record.key, record.value)? {
                    continue;
                }
            }
            Ok(None) => break,
            Err(InputError::Skippable(bad)) if skip_bad => {
                copied.skipped += 1;
                if copied.first_bad.len() < SHOWN_BAD {
                    copied.first_bad.push(bad);
                }
            }
            Err(error) => {
                writer.write()?;
                return Err(input_failure(file, error));
            }
        }
        bar.set_position(records.bytes());
    }
    writer.write()?;
    Ok(copied)
}

/// `key`, if it can be typed without trouble.
fn printable(key: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(key).ok()?;
    let short = (1..=40).contains(&text.len());
    (short && !text.starts_with('-') && !text.contains(char::is_control)).then(|| text.to_owned())
}

/// Gathers entries and writes them batch by batch.
struct Writer<'a> {
    db: &'a Db,
    options: WriteOptions,
    batch: Batch,
    batch_entries: usize,
    acknowledged: u64,
    json: bool,
}

impl Writer<'_> {
    /// Adds an entry, and tells whether it completed a batch, which then is written.
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<bool, Failure> {
        self.batch.put(key, value);
        let complete = self.batch.len() >= self.batch_entries || self.batch.bytes() >= BATCH_BYTES;
        if complete {
            self.write()?;
        }
        Ok(complete)
    }

    /// Writes what was gathered.
    fn write(&mut self) -> Result<(), Failure> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.db.write(&self.batch, &self.options)?;
        self.acknowledged += self.batch.len() as u64;
        self.batch.clear();
        if self.json {
            json_line(&json!({ "acknowledged": self.acknowledged }))?;
        }
        Ok(())
    }
}

struct Summary {
    entries: u64,
    copied: Copied,
    bytes: u64,
    import_time: Duration,
    settle_time: Duration,
    stats: Stats,
}

impl Summary {
    fn to_json(&self) -> Value {
        let bad =
            |bad: &Malformed| json!({ "line": bad.line, "column": bad.column, "what": bad.what });
        json!({
            "entries": self.entries,
            "skipped": self.copied.skipped,
            "first_bad": self.copied.first_bad.iter().map(bad).collect::<Value>(),
            "bytes": self.bytes,
            "import_seconds": self.import_time.as_secs_f64(),
            "settle_seconds": self.settle_time.as_secs_f64(),
            "entries_per_second": per_second(self.entries, self.import_time),
            "levels": levels_json(&self.stats.levels),
        })
    }

    fn print(&self, target: &Target) -> io::Result<()> {
        let mut out = stdout();
        let rate = |number| per_second(number, self.import_time);
        let rows = [
            ("entries", format!("{}  ({}/s)", count(self.entries), count(rate(self.entries)))),
            ("bytes", format!("{}  ({}/s)", bytes(self.bytes), bytes(rate(self.bytes)))),
            ("import", seconds(self.import_time)),
            ("flush and compaction", seconds(self.settle_time)),
        ];
        write!(out, "imported into {}\n{}\n", target.name(), fields(&rows))?;
        write!(out, "{}", levels_table(&self.stats.levels))?;
        if self.copied.skipped > 0 {
            writeln!(out, "\nmalformed lines skipped: {}", count(self.copied.skipped))?;
            for bad in &self.copied.first_bad {
                writeln!(out, "  {bad}")?;
            }
        }
        write!(out, "\n{}", self.suggestions(target))?;
        out.flush()
    }

    /// Commands to go on with, as they can be typed here.
    fn suggestions(&self, target: &Target) -> String {
        let program = std::env::args().next().unwrap_or_else(|| "stratalog".to_owned());
        let start = format!("  {} --db {}", quoted(&program), quoted(&target.name().to_string()));
        let mut text = "next\n".to_owned();
        if let Some(key) = &self.copied.sample_key {
            let mut prefix = key.clone();
            if key.chars().count() > 1 {
                prefix.pop();
            }
            text += &format!("{start} get {}\n", quoted(key));
            text += &format!("{start} scan --prefix {} --limit 5\n", quoted(&prefix));
        }
        text + &format!("{start} stats\n{start} check\n")
    }
}

/// `text` as a shell takes it for one word.
fn quoted(text: &str) -> String {
    let plain = |char: char| char.is_alphanumeric() || "+-_./:,@%=".contains(char);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_the_shell_when_needed() {
        assert_eq!(quoted("U+000041"), "U+000041");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
