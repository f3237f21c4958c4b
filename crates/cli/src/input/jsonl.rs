//! One JSON object a line. The key is a top-level field, a string's characters or a number as it is
//! written; the value is the line.

use std::fmt;
use std::io::Read;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::lines::{Line, Lines, without_line_end};
use super::{InputError, MAX_VALUE_BYTES, Malformed, Record, Records, malformed, record};

pub struct Jsonl {
    lines: Lines,
    field: String,
    line: Vec<u8>,
    key: String,
}

impl Jsonl {
    pub fn new(input: Box<dyn Read>, field: String) -> Jsonl {
        Jsonl { lines: Lines::new(input), field, line: Vec::new(), key: String::new() }
    }
}

impl Records for Jsonl {
    fn next(&mut self) -> Result<Option<Record<'_>>, InputError> {
        loop {
            self.line.clear();
            match self.lines.append(&mut self.line, MAX_VALUE_BYTES + 2)? {
                Line::End => return Ok(None),
                Line::TooLong => {
                    let error = malformed(self.lines.number(), 0, "the line is longer than 1 GiB");
                    return Err(InputError::Skippable(error));
                }
                Line::Whole if self.line.trim_ascii().is_empty() => {}
                Line::Whole => break,
            }
        }
        let number = self.lines.number();
        let line = without_line_end(&self.line);
        self.key = key_of(line, &self.field, number).map_err(InputError::Skippable)?;
        record(number, 0, self.key.as_bytes(), line)
    }

    fn bytes(&self) -> u64 {
        self.lines.bytes()
    }
}

/// The key in `line`, all of which is checked to be JSON.
fn key_of(line: &[u8], field: &str, number: u64) -> Result<String, Malformed> {
    let text = std::str::from_utf8(line)
        .map_err(|error| malformed(number, error.valid_up_to(), "not UTF-8"))?;
    let mut parser = serde_json::Deserializer::from_str(text);
    let not_json = |error: serde_json::Error| {
        let what = error.to_string();
        // The parser sees one line: its own "line 1" would mislead.
        let what = what.split(" at line ").next().unwrap_or(&what);
        malformed(number, error.column().saturating_sub(1), what)
    };
    let found = parser.deserialize_map(KeyVisitor { field }).map_err(not_json)?;
    parser.end().map_err(not_json)?;
    let raw = found.ok_or_else(|| malformed(number, 0, format!("no field {field:?}")))?.get();
    let offset = raw.as_ptr() as usize - text.as_ptr() as usize;
    match raw.as_bytes()[0] {
        b'"' => serde_json::from_str(raw).map_err(|error| {
            let what = error.to_string();
            malformed(number, offset, what.split(" at line ").next().unwrap_or(&what))
        }),
        b'-' | b'0'..=b'9' => Ok(raw.to_owned()),
        _ => {
            let what = format!("field {field:?} is neither a string nor a number");
            Err(malformed(number, offset, what))
        }
    }
}

/// Finds a field (its last occurrence, as most readers of JSON do) and builds nothing of the rest.
struct KeyVisitor<'a> {
    field: &'a str,
}

impl<'de> Visitor<'de> for KeyVisitor<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(Name(name)) = map.next_key()? {
            match name == self.field {
                true => found = Some(map.next_value()?),
                false => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

/// A field's name, borrowed unless it has escapes.
struct Name<'de>(std::borrow::Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a field name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(name.into()))
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(name.to_owned().into()))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Layout;
    use super::super::tests::{err, ok, read_all};

    fn read(input: &str) -> Vec<Result<(String, String), String>> {
        read_all(Layout::Jsonl { key: "id".to_owned() }, input.as_bytes())
    }

    #[test]
    fn strings_and_numbers_are_keys_and_the_line_is_the_value() {
        let lines = [r#"{"a":{"id":0}, "id" : "x\u00e9\n"}"#, r#"{"\u0069d":-1.50e2}"#];
        let read = read(&format!("{}\r\n\n  \n{}", lines[0], lines[1]));
        assert_eq!(read, [ok("xé\n", lines[0]), ok("-1.50e2", lines[1])]);
    }

    #[test]
    fn malformed_lines_are_placed_and_skipped() {
        let read = read(
            "{\"id\":1\n[1]\n{\"a\":1}\n{\"id\": null}\n{\"id\":1} x\n{\"id\":1,}\n{\"id\":\"\\ud800\"}\n{\"id\":2}\n",
        );
        let expected = [
            err("line 1, column 7: EOF while parsing an object"),
            err("line 2, column 1: invalid type: sequence, expected an object"),
            err("line 3, column 1: no field \"id\""),
            err("line 4, column 8: field \"id\" is neither a string nor a number"),
            err("line 5, column 10: trailing characters"),
            err("line 6, column 9: trailing comma"),
            err("line 7, column 7: unexpected end of hex escape"),
            ok("2", "{\"id\":2}"),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_placed() {
        let read = read_all(Layout::Jsonl { key: "id".to_owned() }, b"{\"id\":1,\"a\":\"\xff\"}\n");
        assert_eq!(read, [err("line 1, column 14: not UTF-8")]);
    }
}
