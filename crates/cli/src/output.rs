//! Results for people (aligned tables, human units) and for programs (JSON, one object a line).

use std::io::{self, BufWriter, StdoutLock, Write};
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};
use stratalog::LevelStats;

use crate::escape;

/// Buffered standard output.
pub type Out = BufWriter<StdoutLock<'static>>;

/// Standard output with a buffer that makes the writes of a scan few.
pub fn stdout() -> Out {
    BufWriter::with_capacity(256 << 10, io::stdout().lock())
}

/// `value` on a line of its own, at once.
pub fn json_line(value: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}

/// Bytes as JSON: a string if they are UTF-8, `{"hex": "…"}` otherwise.
#[derive(Clone, Copy, Debug)]
pub struct JsonBytes<'a>(pub &'a [u8]);

impl Serialize for JsonBytes<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            Ok(text) => to.serialize_str(text),
            Err(_) => {
                let hex: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
                let mut object = to.serialize_map(Some(1))?;
                object.serialize_entry("hex", &hex)?;
                object.end()
            }
        }
    }
}

/// Bytes of a value or a record that dumps show.
const SHOWN_BYTES: usize = 64;

/// What a dump shows of `bytes`.
pub fn start_of(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(SHOWN_BYTES)]
}

/// The same escaped, with an ellipsis if there is more.
pub fn start_text(bytes: &[u8]) -> String {
    let more = if bytes.len() > SHOWN_BYTES { "…" } else { "" };
    format!("{}{more}", escape::encode(start_of(bytes)))
}

/// An entry as a JSON object, without newline; `None` leaves the value out.
pub fn write_json_entry(out: &mut impl Write, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
    out.write_all(b"{\"key\":")?;
    serde_json::to_writer(&mut *out, &JsonBytes(key))?;
    if let Some(value) = value {
        out.write_all(b",\"value\":")?;
        serde_json::to_writer(&mut *out, &JsonBytes(value))?;
    }
    out.write_all(b"}")
}

/// `1,234`
pub fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// `1.21 MiB`
pub fn bytes(number: u64) -> String {
    HumanBytes(number).to_string()
}

/// `0.123 s`
pub fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

/// `number` for each second of `time`.
pub fn per_second(number: u64, time: Duration) -> u64 {
    (number as f64 / time.as_secs_f64().max(1e-9)) as u64
}

/// `name  value` lines with the values below one another.
pub fn fields(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect()
}

/// The levels that hold tables.
pub fn levels_table(levels: &[LevelStats]) -> String {
    let mut rows = vec![["level", "tables", "bytes", "entries", "tombstones"].map(str::to_owned)];
    rows.extend(filled(levels).map(|(level, stats)| {
        let tables = count(stats.tables as u64);
        let entries = count(stats.entries);
        [format!("{level}"), tables, bytes(stats.bytes), entries, count(stats.tombstones)]
    }));
    right_aligned(&rows)
}

/// The levels that hold tables.
pub fn levels_json(levels: &[LevelStats]) -> Value {
    let level = |(level, stats): (usize, &LevelStats)| {
        json!({
            "level": level,
            "tables": stats.tables,
            "bytes": stats.bytes,
            "entries": stats.entries,
            "tombstones": stats.tombstones,
        })
    };
    filled(levels).map(level).collect()
}

fn filled(levels: &[LevelStats]) -> impl Iterator<Item = (usize, &LevelStats)> {
    levels.iter().enumerate().filter(|(_, stats)| stats.tables > 0)
}

fn right_aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(widths) {
            text += &format!("{cell:>width$}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_empty_levels_left_out() {
        let filled = LevelStats { tables: 12, bytes: 3 << 20, entries: 34_924, tombstones: 0 };
        let text = levels_table(&[LevelStats::default(), filled]);
        assert_eq!(
            text,
            "level  tables     bytes  entries  tombstones\n    1      12  3.00 MiB   34,924           0\n"
        );
    }

    #[test]
    fn bytes_that_are_not_utf8_become_hex() {
        let mut out = Vec::new();
        write_json_entry(&mut out, b"a\"\n", Some(b"\xff\x00")).unwrap();
        write_json_entry(&mut out, b"\xff", None).unwrap();
        let expected = r#"{"key":"a\"\n","value":{"hex":"ff00"}}{"key":{"hex":"ff"}}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(json!({ "key": JsonBytes(b"\xff") }), json!({ "key": { "hex": "ff" } }));
    }
}
