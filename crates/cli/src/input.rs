//! The formats that `import` reads. Each yields [`Record`]s, or says line and column of what is
//! malformed and goes on with the next line.
//!
//! Memory is bounded by the longest record that a store accepts, whatever the input holds.

mod csv;
mod jsonl;
mod lines;
mod tsv;

use std::io::{self, Read};

use stratalog::{MAX_KEY_BYTES, MAX_VALUE_BYTES};

use crate::args::Format;

/// A key and its value, borrowed from the reader until its next record.
#[derive(Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
}

/// Where an input does not follow its format, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct Malformed {
    /// The line, from 1.
    pub line: u64,
    /// The byte in the line, from 1.
    pub column: u64,
    pub what: String,
}

#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The next call yields the record after it.
    #[error(transparent)]
    Skippable(Malformed),
    /// It is not clear where the next record would start.
    #[error(transparent)]
    Fatal(Malformed),
}

/// The records of an input, in order.
pub trait Records {
    /// The next record, or `None` at the end.
    fn next(&mut self) -> Result<Option<Record<'_>>, InputError>;

    /// Bytes of the input consumed so far.
    fn bytes(&self) -> u64;
}

/// How to read an input.
#[derive(Debug)]
pub enum Layout {
    Tsv { escape: bool },
    Csv { key: String },
    Jsonl { key: String },
}

impl Layout {
    /// The layout of `format`, if the options given for it belong to it.
    pub fn new(format: Format, key: Option<String>, escape: bool) -> Result<Layout, String> {
        match (format, key) {
            (Format::Tsv, None) => Ok(Layout::Tsv { escape }),
            (Format::Tsv, Some(_)) => Err("--key is for csv and jsonl only".to_owned()),
            (Format::Csv | Format::Jsonl, _) if escape => {
                Err("--escape is for tsv only".to_owned())
            }
            (Format::Csv, Some(key)) => Ok(Layout::Csv { key }),
            (Format::Jsonl, Some(key)) => Ok(Layout::Jsonl { key }),
            (Format::Csv | Format::Jsonl, None) => {
                Err("csv and jsonl need --key FIELD, the field that is the key".to_owned())
            }
        }
    }

    /// Starts to read `input`.
    pub fn records(self, input: Box<dyn Read>) -> Result<Box<dyn Records>, InputError> {
        Ok(match self {
            Layout::Tsv { escape } => Box::new(tsv::Tsv::new(input, escape)),
            Layout::Csv { key } => Box::new(csv::Csv::new(input, &key)?),
            Layout::Jsonl { key } => Box::new(jsonl::Jsonl::new(input, key)),
        })
    }
}

fn malformed(line: u64, offset: usize, what: impl Into<String>) -> Malformed {
    Malformed { line, column: offset as u64 + 1, what: what.into() }
}

/// A record of `line`, whose key starts at byte `key_offset` of it, if a store accepts it.
fn record<'a>(
    line: u64,
    key_offset: usize,
    key: &'a [u8],
    value: &'a [u8],
) -> Result<Option<Record<'a>>, InputError> {
    let refuse = |what| Err(InputError::Skippable(malformed(line, key_offset, what)));
    if key.len() > MAX_KEY_BYTES {
        return refuse("the key is longer than 64 KiB");
    }
    if value.len() > MAX_VALUE_BYTES {
        return refuse("the value is longer than 1 GiB");
    }
    Ok(Some(Record { key, value }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What reading `input` yields, errors as their text.
    pub fn read_all(layout: Layout, input: &[u8]) -> Vec<Result<(String, String), String>> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut records = match layout.records(Box::new(io::Cursor::new(input.to_vec()))) {
            Ok(records) => records,
            Err(error) => return vec![Err(error.to_string())],
        };
        let mut all = Vec::new();
        loop {
            match records.next() {
                Ok(Some(record)) => all.push(Ok((text(record.key), text(record.value)))),
                Ok(None) => break,
                Err(error) => {
                    all.push(Err(error.to_string()));
                    if !matches!(error, InputError::Skippable(_)) {
                        break;
                    }
                }
            }
        }
        assert!(all.len() == 1 || records.bytes() == input.len() as u64);
        all
    }

    pub fn ok(key: &str, value: &str) -> Result<(String, String), String> {
        Ok((key.to_owned(), value.to_owned()))
    }

    pub fn err(text: &str) -> Result<(String, String), String> {
        Err(text.to_owned())
    }
}
