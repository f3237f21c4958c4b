//! Binary keys and values as one line of text, and back.
//!
//! | text | byte |
//! |---|---|
//! | `\t` `\n` `\r` `\\` | tab, newline, carriage return, backslash |
//! | `\xNN` | the byte with these two hexadecimal digits |
//! | anything else | itself |
//!
//! [`append`] escapes control characters, backslashes and bytes that are not UTF-8; [`decode`]
//! accepts any byte as itself, so that `decode(append(bytes)) == bytes` for all bytes.

use std::io::{self, Write};

/// A backslash that starts none of the known escapes.
#[derive(Debug, PartialEq, Eq)]
pub struct BadEscape {
    /// Where the backslash is, from 0.
    pub offset: usize,
}

/// Writes `bytes` escaped.
pub fn write(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    for chunk in bytes.utf8_chunks() {
        let text = chunk.valid();
        let mut plain_from = 0;
        for (at, char) in text.char_indices().filter(|(_, c)| c.is_control() || *c == '\\') {
            out.write_all(&text.as_bytes()[plain_from..at])?;
            plain_from = at + char.len_utf8();
            match char {
                '\t' => out.write_all(b"\\t")?,
                '\n' => out.write_all(b"\\n")?,
                '\r' => out.write_all(b"\\r")?,
                '\\' => out.write_all(b"\\\\")?,
                _ => write_hex(out, &text.as_bytes()[at..plain_from])?,
            }
        }
        out.write_all(&text.as_bytes()[plain_from..])?;
        write_hex(out, chunk.invalid())?;
    }
    Ok(())
}

fn write_hex(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    bytes.iter().try_for_each(|byte| write!(out, "\\x{byte:02x}"))
}

/// `bytes` escaped, for messages.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    write(&mut out, bytes).expect("writing to memory succeeds");
    String::from_utf8(out).expect("escaped text is UTF-8")
}

/// Appends to `out` the bytes that `text` stands for.
pub fn decode(text: &[u8], out: &mut Vec<u8>) -> Result<(), BadEscape> {
    let mut at = 0;
    while let Some(plain_len) = text[at..].iter().position(|&byte| byte == b'\\') {
        out.extend_from_slice(&text[at..at + plain_len]);
        let offset = at + plain_len;
        let (byte, len) = decode_one(&text[offset..]).ok_or(BadEscape { offset })?;
        out.push(byte);
        at = offset + len;
    }
    out.extend_from_slice(&text[at..]);
    Ok(())
}

/// The byte that the escape at the start of `text` stands for, and the escape's length.
fn decode_one(text: &[u8]) -> Option<(u8, usize)> {
    match text.get(1)? {
        b't' => Some((b'\t', 2)),
        b'n' => Some((b'\n', 2)),
        b'r' => Some((b'\r', 2)),
        b'\\' => Some((b'\\', 2)),
        b'x' => {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let byte = digit(*text.get(2)?)? << 4 | digit(*text.get(3)?)?;
            Some((byte as u8, 4))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_as_documented() {
        assert_eq!(encode("a\tb\\c\r\né\u{85}".as_bytes()), "a\\tb\\\\c\\r\\né\\xc2\\x85");
        assert_eq!(encode(b"\x00\xff\x7f"), "\\x00\\xff\\x7f");
    }

    #[test]
    fn all_pairs_of_bytes_survive_a_round_trip() {
        for pair in 0..=u16::MAX {
            let bytes = pair.to_be_bytes();
            let text = encode(&bytes);
            assert!(!text.contains(['\t', '\n']));
            let mut back = Vec::new();
            assert_eq!(decode(text.as_bytes(), &mut back), Ok(()));
            assert_eq!(back, bytes);
        }
    }

    #[test]
    fn a_bad_escape_is_placed() {
        for (text, offset) in [("\\", 0), ("ab\\q", 2), ("\\\\\\x1", 2), ("\\xg0", 0), ("\\x", 0)] {
            assert_eq!(
                decode(text.as_bytes(), &mut Vec::new()),
                Err(BadEscape { offset }),
                "{text}"
            );
        }
    }
}
