//! Comma-separated values with a header row (RFC 4180). The key is a column; the value is the record
//! as it stands in the input, quotes and line breaks inside quotes included.
//!
//! The fields are found here and not by a CSV library, because the record's own bytes and the place
//! of what is malformed are wanted, and libraries accept what this refuses: text after a closing
//! quote, a quote that is never closed.

use std::io::Read;

use super::lines::{Line, Lines, without_line_end};
use super::{InputError, MAX_VALUE_BYTES, Malformed, Record, Records, malformed, record};
use crate::output;

/// The longest header.
const MAX_HEADER_BYTES: usize = 1 << 20;
const CRLF_BYTES: usize = 2;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub struct Csv {
    rows: Rows,
    key_column: usize,
}

impl Csv {
    /// Reads the header and finds the column `key` in it.
    pub fn new(input: Box<dyn Read>, key: &str) -> Result<Csv, InputError> {
        let mut rows = Rows {
            lines: Lines::new(input),
            raw: Vec::new(),
            splitter: Splitter::default(),
            max_fields: MAX_HEADER_BYTES,
        };
        let line = rows.next(MAX_HEADER_BYTES).map_err(|error| match error {
            InputError::Skippable(place) => InputError::Fatal(place),
            error => error,
        })?;
        let line = line.ok_or_else(|| InputError::Fatal(malformed(1, 0, "no header row")))?;
        let columns = rows.splitter.ends.len();
        let key_of = |column: &usize| rows.splitter.field(*column) == key.as_bytes();
        let Some(key_column) = (0..columns).find(key_of) else {
            let names: Vec<_> =
                (0..columns).map(|i| String::from_utf8_lossy(rows.splitter.field(i))).collect();
            let what = format!("no column {key:?}; there are {}", names.join(", "));
            return Err(InputError::Fatal(malformed(line, 0, what)));
        };
        rows.max_fields = columns;
        Ok(Csv { rows, key_column })
    }
}

impl Records for Csv {
    fn next(&mut self) -> Result<Option<Record<'_>>, InputError> {
        let Some(line) = self.rows.next(MAX_VALUE_BYTES)? else {
            return Ok(None);
        };
        let (found, wanted) = (self.rows.splitter.ends.len(), self.rows.max_fields);
        if found < wanted {
            let what = format!("{found} fields where the header has {wanted}");
            return Err(InputError::Skippable(malformed(line, 0, what)));
        }
        let key = self.rows.splitter.field(self.key_column);
        record(line, 0, key, without_line_end(&self.rows.raw))
    }

    fn bytes(&self) -> u64 {
        self.rows.lines.bytes()
    }
}

/// The rows of the input, header included.
struct Rows {
    lines: Lines,
    /// The row as it stands in the input.
    raw: Vec<u8>,
    splitter: Splitter,
    max_fields: usize,
}

impl Rows {
    /// Reads the next row that is not empty, and yields the number of its first line.
    fn next(&mut self, max_bytes: usize) -> Result<Option<u64>, InputError> {
        self.raw.clear();
        self.splitter.start_row();
        while without_line_end(&self.raw).is_empty() {
            self.raw.clear();
            match self.append_line(max_bytes)? {
                Line::End => return Ok(None),
                Line::TooLong => {
                    let what =
                        format!("the record is longer than {}", output::bytes(max_bytes as u64));
                    return Err(InputError::Skippable(malformed(self.lines.number(), 0, what)));
                }
                Line::Whole => {}
            }
            if self.lines.number() == 1 && self.raw.starts_with(BYTE_ORDER_MARK) {
                self.raw.drain(..BYTE_ORDER_MARK.len());
            }
        }
        let first_line = self.lines.number();
        self.split(first_line, max_bytes)?;
        Ok(Some(first_line))
    }

    /// Splits the row whose first line is in `raw`, and reads the lines that its quotes extend over.
    fn split(&mut self, first_line: u64, max_bytes: usize) -> Result<(), InputError> {
        let mut open_quote = malformed(first_line, 0, "this quote is never closed");
        let mut line_start = 0;
        loop {
            let line = self.lines.number();
            let split = self.splitter.feed(&self.raw[line_start..], self.max_fields);
            match split.map_err(|bad| bad.in_line(line)).map_err(InputError::Skippable)? {
                Split::Row => return Ok(()),
                Split::OpenQuote { offset: None } => {}
                Split::OpenQuote { offset: Some(offset) } => {
                    (open_quote.line, open_quote.column) = (line, offset as u64 + 1);
                }
            }
            line_start = self.raw.len();
            if self.append_line(max_bytes)? != Line::Whole {
                return Err(InputError::Fatal(open_quote));
            }
        }
    }

    fn append_line(&mut self, max_bytes: usize) -> Result<Line, InputError> {
        let room = (max_bytes + CRLF_BYTES).saturating_sub(self.raw.len());
        match room {
            0 => Ok(Line::TooLong),
            room => Ok(self.lines.append(&mut self.raw, room)?),
        }
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    FieldStart,
    Plain,
    Quoted,
    /// After a quote in a quoted field: the field's end, or the first half of a doubled quote.
    QuotedQuote,
}

/// Finds the fields of a row, line by line.
#[derive(Default)]
struct Splitter {
    state: State,
    /// The fields' bytes, unquoted, one after another.
    text: Vec<u8>,
    /// Where each field ends in `text`.
    ends: Vec<usize>,
}

enum Split {
    /// The row ends with the line.
    Row,
    /// The line ends inside quotes, which were opened at `offset` of it or in an earlier line.
    OpenQuote { offset: Option<usize> },
}

struct BadField {
    offset: usize,
    what: &'static str,
}

impl BadField {
    fn in_line(self, line: u64) -> Malformed {
        malformed(line, self.offset, self.what)
    }
}

impl Splitter {
    fn start_row(&mut self) {
        self.state = State::FieldStart;
        self.text.clear();
        self.ends.clear();
    }

    fn field(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[index]]
    }

    fn feed(&mut self, line: &[u8], max_fields: usize) -> Result<Split, BadField> {
        let line_end = without_line_end(line).len();
        let mut quote_offset = None;
        for (offset, &byte) in line.iter().enumerate() {
            match (self.state, byte) {
                (State::Quoted, b'"') => self.state = State::QuotedQuote,
                (State::Quoted, _) => self.text.push(byte),
                _ if offset == line_end => break,
                (State::QuotedQuote, b'"') => {
                    self.text.push(byte);
                    self.state = State::Quoted;
                }
                (State::FieldStart, b'"') => {
                    quote_offset = Some(offset);
                    self.state = State::Quoted;
                }
                (_, b',') => {
                    self.end_field();
                    if self.ends.len() == max_fields {
                        return Err(BadField { offset, what: "more fields than the header has" });
                    }
                }
                (State::QuotedQuote, _) => {
                    return Err(BadField { offset, what: "text after a closing quote" });
                }
                (State::FieldStart | State::Plain, _) => {
                    self.text.push(byte);
                    self.state = State::Plain;
                }
            }
        }
        if self.state == State::Quoted {
            return Ok(Split::OpenQuote { offset: quote_offset });
        }
        self.end_field();
        Ok(Split::Row)
    }

    fn end_field(&mut self) {
        self.ends.push(self.text.len());
        self.state = State::FieldStart;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Layout;
    use super::super::tests::{err, ok, read_all};

    fn read(input: &str) -> Vec<Result<(String, String), String>> {
        read_all(Layout::Csv { key: "id".to_owned() }, input.as_bytes())
    }

    #[test]
    fn the_value_is_the_record_as_it_stands() {
        let read = read("\u{feff}name,id\r\nAda,1\r\n\n\"a \"\"b\"\",\r\n\nc\",\"2,\"\nB\"b,\n,3");
        let expected = [
            ok("1", "Ada,1"),
            ok("2,", "\"a \"\"b\"\",\r\n\nc\",\"2,\""),
            ok("", "B\"b,"),
            ok("3", ",3"),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn malformed_records_are_placed_and_skipped() {
        let read = read("id,\"a\"\n1\n2,b,c\n\"3\"x,d\n\"4\n\"x,e\n5,f\n");
        let expected = [
            err("line 2, column 1: 1 fields where the header has 2"),
            err("line 3, column 4: more fields than the header has"),
            err("line 4, column 4: text after a closing quote"),
            err("line 6, column 2: text after a closing quote"),
            ok("5", "5,f"),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn a_quote_that_is_never_closed_ends_the_input() {
        let read = read("id,a\n1,b\n2,\"c\n3,d\n4,e\n");
        assert_eq!(read, [ok("1", "1,b"), err("line 3, column 3: this quote is never closed")]);
    }

    #[test]
    fn a_header_without_the_key_names_its_columns() {
        assert_eq!(read("a,b\n1,2\n"), [err("line 1, column 1: no column \"id\"; there are a, b")]);
        assert_eq!(read("\n\n"), [err("line 1, column 1: no header row")]);
    }
}
