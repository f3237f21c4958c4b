//! `unsafe` only in files that say so, and why, in their first lines.

use super::Finding;
use super::source::{Source, is_word};

/// Checks a Rust file.
pub fn check(source: &Source) -> Vec<Finding> {
    let used = source.code_lines().find(|(_, line)| has_word(line, "unsafe"));
    match used {
        Some((number, _)) if !source.code.contains("#![expect(unsafe_code") => {
            let what = "`unsafe` in a file without `#![expect(unsafe_code, reason = …)]`";
            vec![Finding::error(source, number, what)]
        }
        _ => Vec::new(),
    }
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let bytes = line.as_bytes();
        let before = at.checked_sub(1).map(|before| bytes[before]);
        let after = bytes.get(at + word.len()).copied();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_needs_its_reason() {
        let broken = |text: &str| check(&Source::new("crates/x/src/y.rs", text)).len();
        assert_eq!(broken("unsafe { f() }"), 1);
        assert_eq!(broken("#![expect(unsafe_code, reason = \"…\")]\nunsafe { f() }"), 0);
        assert_eq!(broken("// unsafe\nlet unsafe_code = \"unsafe\";"), 0);
    }
}
