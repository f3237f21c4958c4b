//! Where the outside world comes in: locks, atomics, threads and time through `base::sync`, files
//! through `base::fs`, so that loom and the simulated file system see all of it.

use super::Finding;
use super::source::{Source, is_word};

/// What is harmless in `std::sync`.
const SHARED: [&str; 3] = ["Arc", "Weak", "OnceLock"];

/// Checks the shipped code of the library crates.
pub fn check(source: &Source) -> Vec<Finding> {
    if source.library().is_none_or(|name| name == "cli") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (offset, path) in paths(&source.code) {
        let line = source.line_of(offset);
        if source.is_test_line(line) {
            continue;
        }
        if let Some((module, homes)) = home(&path)
            && !homes.iter().any(|home| source.path.starts_with(home))
        {
            let what = format!("`{}`: take it from {module}", path.join("::"));
            findings.push(Finding::error(source, line, what));
        }
    }
    findings
}

/// The module that stands for `path`, and the files that may name it.
fn home(path: &[String]) -> Option<(&'static str, &'static [&'static str])> {
    let sync = Some(("base::sync", &["crates/base/src/sync"][..]));
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path[..] {
        ["parking_lot" | "loom", ..] => sync,
        ["std" | "core" | "alloc", "sync", name, ..] if SHARED.contains(&name) => None,
        ["std" | "core" | "alloc", "sync", ..] | ["std", "thread", ..] => sync,
        ["std", "time", "Instant" | "SystemTime" | "*", ..] | ["std", "time"] => sync,
        ["std", "fs", ..] => Some(("base::fs", &["crates/base/src/fs"][..])),
        _ => None,
    }
}

/// Every path in `code` that starts at a crate root, groups taken apart, with its offset.
fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let word = word_at(code, at);
        let before = code[..at].trim_end().strip_suffix("::");
        let is_root = !before.is_some_and(|before| before.bytes().last().is_some_and(is_word))
            && code[at + word.len()..].trim_start().starts_with("::");
        if is_root && ["std", "core", "alloc", "parking_lot", "loom"].contains(&word) {
            tree(code, at, &mut Vec::new(), &mut found);
        }
        at += word.len().max(code[at..].chars().next().map_or(1, char::len_utf8));
    }
    found
}

/// Adds the paths of the tree at `at`, below `prefix`; returns where it ends.
fn tree(
    code: &str,
    mut at: usize,
    prefix: &mut Vec<String>,
    found: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let (start, depth) = (at, prefix.len());
    loop {
        at = skip_space(code, at);
        if code[at..].starts_with('{') {
            at += 1;
            loop {
                at = skip_space(code, at);
                match code.as_bytes().get(at) {
                    Some(b',') => at += 1,
                    Some(b'}') => break at += 1,
                    Some(b'{' | b'*' | b'A'..=b'Z' | b'a'..=b'z' | b'_') => {
                        at = tree(code, at, prefix, found);
                    }
                    _ => break,
                }
            }
            break;
        }
        let word = if code[at..].starts_with('*') { "*" } else { word_at(code, at) };
        at += word.len();
        prefix.push(word.to_owned());
        let next = skip_space(code, at);
        if word.is_empty() || !code[next..].starts_with("::") {
            found.push((start, prefix.iter().filter(|part| *part != "self").cloned().collect()));
            // `as name` belongs to no path.
            at =
                code[at..].find([',', '}', ';', '\n']).map_or(at, |end| match &code[at..][..end] {
                    rest if rest.trim_start().starts_with("as ") => at + end,
                    _ => at,
                });
            break;
        }
        at = next + 2;
    }
    prefix.truncate(depth);
    at
}

fn skip_space(code: &str, at: usize) -> usize {
    at + (code[at..].len() - code[at..].trim_start().len())
}

/// The identifier that starts at `at`; empty if none does.
fn word_at(code: &str, at: usize) -> &str {
    let len = code.as_bytes()[at..].iter().take_while(|&&byte| is_word(byte)).count();
    &code[at..at + len]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> Vec<String> {
        check(&Source::new(path, text)).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn groups_are_taken_apart() {
        let code = "use std::{sync::{Arc, atomic::{AtomicU8 as A, Ordering}}, fs};\nlet x = std::mem::take(y);";
        let paths: Vec<String> = paths(code).into_iter().map(|(_, p)| p.join("::")).collect();
        let expected = [
            "std::sync::Arc",
            "std::sync::atomic::AtomicU8",
            "std::sync::atomic::Ordering",
            "std::fs",
            "std::mem::take",
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn the_outside_world_has_one_door() {
        let wal = "crates/wal/src/log.rs";
        assert!(broken(wal, "use std::sync::{Arc, OnceLock, Weak};").is_empty());
        assert!(broken(wal, "use stratalog_base::sync::{Mutex, Instant};").is_empty());
        assert!(broken(wal, "use std::time::Duration; // std::fs\n").is_empty());
        assert!(broken(wal, "#[cfg(loom)]\nuse my::std::fs;").is_empty());
        for line in [
            "use std::sync::Mutex;",
            "use std::sync;",
            "use core::sync::atomic::AtomicU8;",
            "use parking_lot::Mutex;",
            "let t = std::time::Instant::now();",
            "std::thread::sleep(d);",
            "let a = ::std::fs::read(path);",
        ] {
            assert_eq!(broken(wal, line).len(), 1, "{line}");
        }
    }

    #[test]
    fn tests_the_command_line_and_the_doors_themselves_are_free() {
        let line = "use std::fs;";
        assert!(broken("crates/cli/src/import.rs", line).is_empty());
        assert!(broken("crates/wal/tests/it.rs", line).is_empty());
        assert!(broken("crates/base/src/fs/os.rs", line).is_empty());
        assert!(broken("crates/base/src/sync.rs", "use loom::sync::Arc;").is_empty());
        assert!(
            broken("crates/wal/src/a.rs", "#[cfg(test)]\nmod tests {\nuse std::fs;\n}\n")
                .is_empty()
        );
    }
}
