//! Lines of bounded length, counted.

use std::io::{self, BufRead, BufReader, Read};

/// What [`Lines::append`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// A line, appended with its newline if it has one.
    Whole,
    /// A line over the limit: its start was appended and its rest passed over.
    TooLong,
    /// The end of the input.
    End,
}

pub struct Lines {
    input: BufReader<Box<dyn Read>>,
    number: u64,
    bytes: u64,
}

impl Lines {
    pub fn new(input: Box<dyn Read>) -> Lines {
        Lines { input: BufReader::with_capacity(256 << 10, input), number: 0, bytes: 0 }
    }

    /// The number of the last line read, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Bytes consumed so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends the next line to `to`, at most `limit` bytes of it.
    pub fn append(&mut self, to: &mut Vec<u8>, limit: usize) -> io::Result<Line> {
        assert!(limit > 0, "no room for a line");
        let read = (&mut self.input).take(limit as u64).read_until(b'\n', to)?;
        self.bytes += read as u64;
        if read == 0 {
            return Ok(Line::End);
        }
        self.number += 1;
        if read < limit || to.ends_with(b"\n") {
            return Ok(Line::Whole);
        }
        let rest = self.input.skip_until(b'\n')?;
        self.bytes += rest as u64;
        Ok(if rest == 0 { Line::Whole } else { Line::TooLong })
    }
}

/// `line` without its newline.
pub fn without_newline(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// `line` without its newline or its carriage return and newline.
pub fn without_line_end(line: &[u8]) -> &[u8] {
    match line.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_over_the_limit_is_passed_over_without_being_kept() {
        let input = b"123\n1234\n12345\n\n123456789\n1234";
        let mut lines = Lines::new(Box::new(&input[..]));
        let mut seen = Vec::new();
        loop {
            let mut line = Vec::new();
            match lines.append(&mut line, 5).unwrap() {
                Line::End => break,
                found => seen.push((lines.number(), found, line)),
            }
        }
        let expected: Vec<(u64, Line, Vec<u8>)> = vec![
            (1, Line::Whole, b"123\n".into()),
            (2, Line::Whole, b"1234\n".into()),
            (3, Line::TooLong, b"12345".into()),
            (4, Line::Whole, b"\n".into()),
            (5, Line::TooLong, b"12345".into()),
            (6, Line::Whole, b"1234".into()),
        ];
        assert_eq!(seen, expected);
        assert_eq!(lines.bytes(), input.len() as u64);
    }

    #[test]
    fn a_line_of_the_limit_without_newline_is_whole_at_the_end() {
        let mut lines = Lines::new(Box::new(&b"12345"[..]));
        let mut line = Vec::new();
        assert_eq!(lines.append(&mut line, 5).unwrap(), Line::Whole);
        assert_eq!(lines.append(&mut line, 5).unwrap(), Line::End);
    }
}
