//! What can be typed: the commands, their options and the help.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use stratalog::Durability;

const AFTER_HELP: &str = "\
Examples:
  stratalog --db demo-db import examples/data/unicode.tsv
  stratalog --db demo-db get U+01F600
  stratalog --db demo-db scan --prefix U+01F6 --limit 10
  stratalog --db demo-db scan --from U+000061 --to U+00007B --reverse
  stratalog --db demo-db put greeting 'hello, world'
  stratalog --db demo-db stats --json
  stratalog wal verify demo-db
  stratalog table stats demo-db/000002.sst
  journalctl -o json | stratalog --db logs import - --format jsonl --key __CURSOR

Exit codes:
  0  done
  1  the key is not there (get, delete)
  2  wrong usage: options or arguments that cannot be
  3  the input of an import is missing, unreadable or malformed
  4  the store: missing, in use, not ours, of a newer format, damaged, disk full or failing

A database is used by one process at a time. Errors go to standard error, one line each;
with --json as {\"error\": {\"code\", \"kind\", \"message\", …}}.";

/// Import, query, inspect and check Stratalog databases.
///
/// A database is a directory with an ordered map from keys to values, both any bytes. `import` and
/// `put` create it; the other commands want it to exist.
#[derive(Debug, Parser)]
#[command(name = "stratalog", version, after_help = AFTER_HELP, max_term_width = 100)]
#[command(override_usage = "stratalog --db <DIR> <COMMAND> [OPTIONS]")]
pub struct Cli {
    /// The database's directory
    #[arg(long, global = true, value_name = "DIR", display_order = 100)]
    pub db: Option<PathBuf>,

    /// Print JSON: one object a line, with stable field names
    ///
    /// A key or value that is not UTF-8 becomes {"hex": "…"} instead of a string.
    #[arg(long, global = true, display_order = 101)]
    pub json: bool,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Import(Import),
    Scan(Scan),
    Get(Get),
    Put(Put),
    Delete(Delete),
    /// Show levels, memory, log and what opening had to recover
    Stats,
    /// Verify every checksum and the order of every table
    ///
    /// Opening already verifies the log. Damage is reported with file and offset, exit code 4.
    Check,
    /// Merge everything into the last level, which drops superseded and deleted entries
    Compact,
    /// Look into the write-ahead log of a database, or any other, file by file
    #[command(subcommand)]
    Wal(Wal),
    /// Look into a table or a value file of a database, or any other
    #[command(subcommand)]
    Table(Table),
}

/// What can be done with a table or a value file, without opening the database.
#[derive(Debug, Subcommand)]
pub enum Table {
    Dump(TableDump),
    Verify(TableFile),
    /// Show how a file is made up: counts, sizes, compression, filter and index
    Stats(TableFile),
}

/// Show the blocks of a table or the records of a value file, and what is in them
///
/// A damaged block is shown as such, and what follows it, too. Only reads.
#[derive(Debug, Args)]
pub struct TableDump {
    /// The file
    pub file: PathBuf,

    /// Show the entries of each block
    #[arg(long)]
    pub entries: bool,

    /// Show the first bytes of each value, too
    #[arg(long)]
    pub values: bool,

    /// Only entries whose keys are not less than this one
    #[arg(long, value_name = "KEY", requires = "entries")]
    pub from: Option<OsString>,

    /// Stop after this many entries, or records of a value file
    #[arg(long, value_name = "ENTRIES")]
    pub limit: Option<u64>,
}

/// Read a whole file and verify all that it says
///
/// Every checksum, the order of the keys, that index and filter lead to each of them, and the properties.
/// Damage is reported with file and offset, exit code 4.
#[derive(Debug, Args)]
pub struct TableFile {
    /// The file
    pub file: PathBuf,
}

/// What can be done with a log, without opening the database.
#[derive(Debug, Subcommand)]
pub enum Wal {
    Dump(WalDump),
    Verify(WalVerify),
    Repair(WalRepair),
}

/// Show the files of a log and what is in them, whatever state they are in
///
/// What is damaged is shown as such, and what follows it, too. Only reads. Lines marked `-` do not count:
/// the log has dropped them.
#[derive(Debug, Args)]
pub struct WalDump {
    /// The log's directory
    pub dir: PathBuf,

    /// Show each frame
    #[arg(long)]
    pub records: bool,

    /// Show the first bytes of each record, too
    #[arg(long, requires = "records")]
    pub payload: bool,

    /// Only frames at or above this position
    #[arg(long, value_name = "POSITION", requires = "records", default_value = "0")]
    pub from: u64,

    /// Stop after this many frames
    #[arg(long, value_name = "FRAMES", requires = "records")]
    pub limit: Option<u64>,
}

/// Read a whole log as recovery does, and tell what is wrong
///
/// A tail that a power cut tore is told, but is no failure. Damage is: exit code 4. Only reads; the log
/// must not be in use.
#[derive(Debug, Args)]
pub struct WalVerify {
    /// The log's directory
    pub dir: PathBuf,

    /// Let a torn tail be a failure, too
    #[arg(long)]
    pub strict: bool,

    /// Where the log must begin, at the latest [default: where its start file says]
    #[arg(long, value_name = "POSITION")]
    pub from: Option<u64>,
}

/// Copy every record of a damaged log that is whole into a fresh log
///
/// Records keep their order and their positions. The damaged log is only read; it must not be in use.
/// What could not be read is told; that there is such is no failure.
#[derive(Debug, Args)]
pub struct WalRepair {
    /// The damaged log's directory
    pub dir: PathBuf,

    /// The fresh log's directory, which must not exist or be empty
    #[arg(long, value_name = "DIR")]
    pub into: PathBuf,
}

const IMPORT_HELP: &str = "\
Formats:
  tsv    key<TAB>value. The first tab separates; the value may hold more. Every byte but the
         newline is data, so that `scan` gives the lines back sorted by key, byte for byte.
  csv    A header row, then records (RFC 4180). --key names the column that is the key; the value
         is the whole record as it stands in the file. Every record needs as many fields as the
         header. Empty lines are skipped.
  jsonl  One JSON object a line. --key names the top-level field that is the key: a string, or a
         number as it is written. The value is the whole line. Empty lines are skipped.

A malformed line ends the import with its line and column (in bytes, from 1) and exit code 3; the
entries before it stay imported. A key over 64 KiB or a value over 1 GiB is malformed, too. To
import the same input again is harmless: every entry is written with the same value.

Entries are written in atomic batches. After a crash or a kill, every acknowledged batch is there
as far as --durability promises, and none is there in part. With --json each batch that was
acknowledged prints {\"acknowledged\": N}, the entries imported so far; the last line is the summary.

At the end everything is flushed to tables and thereby durable, whatever the class; then due
compactions are waited for.

Examples:
  stratalog --db demo-db import examples/data/unicode.tsv
  stratalog --db people import people.csv --key email
  stratalog --db a scan --escape | stratalog --db b import - --escape";

/// Load entries from a file or standard input
#[derive(Debug, Args)]
#[command(after_help = IMPORT_HELP)]
pub struct Import {
    /// The file to read; - is standard input
    pub file: PathBuf,

    /// The input's format [default: by the file's extension; tsv for standard input]
    #[arg(long, value_enum)]
    pub format: Option<Format>,

    /// The field that is the key, for csv and jsonl
    #[arg(long, value_name = "FIELD")]
    pub key: Option<String>,

    /// Read \t, \n, \r, \\ and \xNN in tsv as the bytes they stand for
    #[arg(long)]
    pub escape: bool,

    /// Leave out malformed lines and count them
    #[arg(long)]
    pub skip_bad: bool,

    /// What an acknowledged batch survives before the import's end
    #[arg(long, value_enum, default_value = "process")]
    pub durability: DurabilityArg,

    /// The most entries in a batch; 1 MiB ends a batch, too
    #[arg(long, value_name = "ENTRIES", default_value = "1000",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,

    /// Bytes in memory before they are flushed to a table, such as 512KiB or 64MiB
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = parse_bytes)]
    pub memtable: usize,
}

/// Print entries in the order of their keys, as key<TAB>value lines
///
/// Keys and values are printed as they are: a key with a tab, or either with a newline, needs
/// --escape or --json to be told apart. A reader that goes away ends the scan quietly.
#[derive(Debug, Args)]
pub struct Scan {
    /// Only keys that start with this
    #[arg(long, conflicts_with_all = ["from", "to"])]
    pub prefix: Option<OsString>,

    /// Only keys from this one on
    #[arg(long, value_name = "KEY")]
    pub from: Option<OsString>,

    /// Only keys before this one
    #[arg(long, value_name = "KEY")]
    pub to: Option<OsString>,

    /// Largest key first
    #[arg(long)]
    pub reverse: bool,

    /// Stop after this many entries
    #[arg(long, value_name = "ENTRIES")]
    pub limit: Option<u64>,

    /// Leave out the values
    #[arg(long)]
    pub keys_only: bool,

    #[command(flatten)]
    pub escape: Escape,
}

/// Print the value of a key
///
/// Exit code 1 if the key is not there.
#[derive(Debug, Args)]
pub struct Get {
    /// The key
    pub key: OsString,

    /// Print the value's bytes and no newline after them
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,

    #[command(flatten)]
    pub escape: Escape,
}

/// Set the value of a key
#[derive(Debug, Args)]
pub struct Put {
    /// The key
    pub key: OsString,

    /// Its value from now on
    pub value: OsString,

    /// What the write survives
    #[arg(long, value_enum, default_value = "sync")]
    pub durability: DurabilityArg,

    #[command(flatten)]
    pub escape: Escape,
}

/// Remove a key
///
/// Exit code 1 if the key is not there.
#[derive(Debug, Args)]
pub struct Delete {
    /// The key
    pub key: OsString,

    /// What the delete survives
    #[arg(long, value_enum, default_value = "sync")]
    pub durability: DurabilityArg,

    #[command(flatten)]
    pub escape: Escape,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Escape {
    /// Write control characters, backslashes and bytes that are not UTF-8 as \t, \n, \r, \\ and
    /// \xNN, and read them so in arguments
    #[arg(long)]
    pub escape: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// key<TAB>value lines
    Tsv,
    /// Comma-separated values with a header row
    Csv,
    /// One JSON object a line
    Jsonl,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DurabilityArg {
    /// Nothing before the next flush
    None,
    /// A kill of the process, not a power cut
    Process,
    /// As process, and all but the last 100 ms survive a power cut
    Interval,
    /// A power cut
    Sync,
}

impl From<DurabilityArg> for Durability {
    fn from(class: DurabilityArg) -> Durability {
        match class {
            DurabilityArg::None => Durability::None,
            DurabilityArg::Process => Durability::Process,
            DurabilityArg::Interval => Durability::Interval,
            DurabilityArg::Sync => Durability::Sync,
        }
    }
}

fn parse_bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        unit => return Err(format!("{unit:?} is none of B, KiB, MiB and GiB")),
    };
    let number: usize = digits.parse().map_err(|_| "a whole number is missing".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(parse_bytes("512"), Ok(512));
        assert_eq!(parse_bytes("64KiB"), Ok(64 << 10));
        assert_eq!(parse_bytes("2 GiB"), Ok(2 << 30));
        for bad in
            ["", "KiB", "1.5MiB", "1MB", "-1", "99999999999999999999", "18446744073709551615KiB"]
        {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }
}
