//! [`Source`]: a text file of the project, and for Rust its code without comments and literals.

use std::path::Path;
use std::{fs, io};

/// A text file.
pub struct Source {
    /// Path from the workspace root, with `/`.
    pub path: String,
    /// The whole text.
    pub text: String,
    /// The text with comments and literals blanked, line for line and byte for byte; empty unless Rust.
    pub code: String,
    /// First and last line of every inline test module, counted from 1.
    test_lines: Vec<(usize, usize)>,
}

impl Source {
    /// A source at `path`.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Source {
        let (path, text) = (path.into(), text.into());
        let code = if path.ends_with(".rs") { blanked(&text) } else { String::new() };
        let test_lines = test_modules(&code);
        Source { path, text, code, test_lines }
    }

    /// Whether the file is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The crate under `crates/` whose shipped code the file belongs to.
    pub fn library(&self) -> Option<&str> {
        let (name, rest) = self.path.strip_prefix("crates/")?.split_once('/')?;
        (self.is_rust() && rest.starts_with("src/") && !self.is_test_file()).then_some(name)
    }

    /// Whether all of the file is tests.
    pub fn is_test_file(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    /// Whether line `number` belongs to tests.
    pub fn is_test_line(&self, number: usize) -> bool {
        self.is_test_file() || self.test_lines.iter().any(|&(a, b)| (a..=b).contains(&number))
    }

    /// The line that byte `offset` is on, counted from 1.
    pub fn line_of(&self, offset: usize) -> usize {
        1 + self.text.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count()
    }

    /// Lines of code, numbered from 1, without comments and literals.
    pub fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.code.lines())
    }
}

/// Every text file under `root` that a person wrote.
pub fn read_tree(root: &Path) -> io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let hidden = name.starts_with('.') && !matches!(name.as_str(), ".ci" | ".cargo");
            if path.is_dir() {
                if !hidden && !matches!(name.as_str(), "target" | "corpus" | "artifacts") {
                    dirs.push(path);
                }
            } else if written_by_hand(&name) {
                let local = path.strip_prefix(root).unwrap_or(&path).to_string_lossy();
                sources.push(Source::new(local.replace('\\', "/"), fs::read_to_string(&path)?));
            }
        }
    }
    sources.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn written_by_hand(name: &str) -> bool {
    [".rs", ".md", ".toml", ".sh"].iter().any(|end| name.ends_with(end)) || name == "run"
}

/// `text` with every byte of comments and literals, but line ends, replaced by a space.
fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match skipped(&text[at..], at == 0 || !is_word(bytes[at - 1])) {
            0 => {
                at += text[at..].chars().next().map_or(1, char::len_utf8);
                continue;
            }
            len => at + len,
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    // Only whole characters were blanked, each byte by a space.
    String::from_utf8(out).unwrap_or_default()
}

/// Bytes of the comment or literal that `rest` starts with; `fresh`: no word runs into it.
fn skipped(rest: &str, fresh: bool) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if let Some(body) = rest.strip_prefix('"') {
        return 1 + string_end(body);
    }
    if rest.starts_with('\'') {
        return char_literal(rest);
    }
    if fresh && let Some((open, hashes)) = raw_string(rest) {
        let close = format!("\"{}", "#".repeat(hashes));
        return rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len());
    }
    0
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let open = rest[at..].find("/*");
        let Some(close) = rest[at..].find("*/") else { return rest.len() };
        match open {
            Some(open) if open < close => {
                depth += 1;
                at += open + 2;
            }
            _ => {
                depth -= 1;
                at += close + 2;
                if depth == 0 {
                    return at;
                }
            }
        }
    }
}

fn string_end(rest: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in rest.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character literal, or 0 for a lifetime.
fn char_literal(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            chars.next();
            chars.find(|&(_, c)| c == '\'').map_or(0, |(at, _)| at + 1)
        }
        Some(_) => chars.next().filter(|&(_, c)| c == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

/// Offset of the text and number of hashes of the raw string that `rest` starts with.
fn raw_string(rest: &str) -> Option<(usize, usize)> {
    let body = ["r", "br", "cr"].iter().find_map(|prefix| rest.strip_prefix(prefix))?;
    let hashes = body.bytes().take_while(|&byte| byte == b'#').count();
    body[hashes..].starts_with('"').then(|| (rest.len() - body.len() + hashes + 1, hashes))
}

/// Whether `byte` can be part of an identifier.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// First and last line of every `#[cfg(test)] mod … { … }` in blanked code.
fn test_modules(code: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let is_attribute = line.trim_start().starts_with("#[cfg(") && line.contains("test");
        let module = lines[index + 1..].iter().find(|line| !line.trim_start().starts_with("#["));
        let opens = module.is_some_and(|line| line.starts_with("mod ") && line.contains('{'));
        if is_attribute && opens {
            // The formatter puts the closing brace of an item at its own indent.
            let end = lines[index..].iter().position(|line| *line == "}");
            found.push((index + 1, end.map_or(lines.len(), |end| index + end + 1)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_line_for_line() {
        let text = "a // unsafe\n/* b /* c */ d */ e 'x' '\\'' \"u\\\"v\nw\" f<'a>(r#\"g\"h\"#) br\"i\" étar\"j\"";
        let code = Source::new("x.rs", text).code;
        assert_eq!(code.len(), text.len());
        assert_eq!(code.lines().count(), text.lines().count());
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "e", "f<'a>(", ")", "étar"]);
    }

    #[test]
    fn test_modules_are_known_by_their_lines() {
        let text = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
        let source = Source::new("crates/x/src/y.rs", text);
        let lines: Vec<bool> = (1..=7).map(|line| source.is_test_line(line)).collect();
        assert_eq!(lines, [false, false, true, true, true, true, false]);
    }

    #[test]
    fn libraries_are_shipped_code_only() {
        let library = |path: &str| Source::new(path, "").library().map(str::to_owned);
        assert_eq!(library("crates/wal/src/log.rs").as_deref(), Some("wal"));
        assert_eq!(library("crates/wal/src/log/tests.rs"), None);
        assert_eq!(library("crates/wal/tests/loom.rs"), None);
        assert_eq!(library("benches/src/main.rs"), None);
    }
}
