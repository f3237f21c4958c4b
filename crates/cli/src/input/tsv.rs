//! `key<TAB>value` lines. The first tab separates, only the newline ends a line, and all other bytes
//! are data, or escapes if asked for.

use std::io::Read;

use super::lines::{Line, Lines, without_newline};
use super::{InputError, MAX_KEY_BYTES, MAX_VALUE_BYTES, Record, Records, malformed, record};
use crate::escape;

/// Bytes of the longest escape for one byte, `\xNN`.
const ESCAPE_BYTES: usize = 4;

pub struct Tsv {
    lines: Lines,
    escape: bool,
    /// Key, tab, value and newline at their longest.
    limit: usize,
    line: Vec<u8>,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Tsv {
    pub fn new(input: Box<dyn Read>, escape: bool) -> Tsv {
        let widest = if escape { ESCAPE_BYTES } else { 1 };
        Tsv {
            lines: Lines::new(input),
            escape,
            limit: (MAX_KEY_BYTES + MAX_VALUE_BYTES) * widest + 2,
            line: Vec::new(),
            key: Vec::new(),
            value: Vec::new(),
        }
    }
}

impl Records for Tsv {
    fn next(&mut self) -> Result<Option<Record<'_>>, InputError> {
        self.line.clear();
        let found = self.lines.append(&mut self.line, self.limit)?;
        let number = self.lines.number();
        let bad = |offset, what| InputError::Skippable(malformed(number, offset, what));
        match found {
            Line::End => return Ok(None),
            Line::TooLong => return Err(bad(0, "the line is longer than any key and value")),
            Line::Whole => {}
        }
        let line = without_newline(&self.line);
        let tab = line.iter().position(|&byte| byte == b'\t');
        let tab = tab.ok_or_else(|| bad(line.len(), "no tab between key and value"))?;
        let (key, value) = (&line[..tab], &line[tab + 1..]);
        if !self.escape {
            return record(number, 0, key, value);
        }
        let bad_escape = |start: usize| {
            move |error: escape::BadEscape| {
                bad(start + error.offset, r"a backslash that starts none of \t \n \r \\ \xNN")
            }
        };
        self.key.clear();
        self.value.clear();
        escape::decode(key, &mut self.key).map_err(bad_escape(0))?;
        escape::decode(value, &mut self.value).map_err(bad_escape(tab + 1))?;
        record(number, 0, &self.key, &self.value)
    }

    fn bytes(&self) -> u64 {
        self.lines.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{err, ok, read_all};
    use super::super::{Layout, MAX_KEY_BYTES};

    #[test]
    fn every_byte_but_the_newline_is_data() {
        let read = read_all(Layout::Tsv { escape: false }, b"a\tb\tc\\n\r\n\t\n \t");
        assert_eq!(read, [ok("a", "b\tc\\n\r"), ok("", ""), ok(" ", "")]);
    }

    #[test]
    fn a_line_without_tab_is_placed_and_skipped() {
        let read = read_all(Layout::Tsv { escape: false }, b"a\t1\nabc\n\nb\t2\n");
        let expected = [
            ok("a", "1"),
            err("line 2, column 4: no tab between key and value"),
            err("line 3, column 1: no tab between key and value"),
            ok("b", "2"),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn escapes_are_read_and_bad_ones_placed() {
        let read = read_all(Layout::Tsv { escape: true }, b"a\\tb\t\\x41\\\\\nab\tc\\qd\n\\\t\n");
        let expected = [
            ok("a\tb", "A\\"),
            err("line 2, column 5: a backslash that starts none of \\t \\n \\r \\\\ \\xNN"),
            err("line 3, column 1: a backslash that starts none of \\t \\n \\r \\\\ \\xNN"),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn a_key_over_64_kib_is_refused() {
        let longest = "k".repeat(MAX_KEY_BYTES);
        let read = read_all(
            Layout::Tsv { escape: false },
            format!("{longest}\t1\n{longest}k\t2\n").as_bytes(),
        );
        assert_eq!(
            read,
            [ok(&longest, "1"), err("line 2, column 1: the key is longer than 64 KiB")]
        );
    }
}
