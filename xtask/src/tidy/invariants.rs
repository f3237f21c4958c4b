//! Numbered invariants: each is stated once, in the doc of the module that owns it, as a list item
//! `- NAME-1: …`; what is cited exists, and what exists is cited by an assertion, a comment or a test.

use std::collections::BTreeMap;

use super::Finding;
use super::source::{Source, is_word};

/// Names that look like invariants and are not.
const ORDINARY: [&str; 7] = ["CRC", "ISO", "LEB", "RFC", "SHA", "UTC", "UTF"];

/// Checks all Rust files under `crates/`, and what documents cite.
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut defined: BTreeMap<&str, (&Source, usize)> = BTreeMap::new();
    let mut cited: BTreeMap<&str, Vec<(&Source, usize)>> = BTreeMap::new();
    let mut findings = Vec::new();
    let code = |source: &Source| source.is_rust() && source.path.starts_with("crates/");
    let docs = |source: &Source| source.path.ends_with(".md");
    for source in sources.iter().filter(|source| code(source) || docs(source)) {
        for (number, line) in (1..).zip(source.text.lines()) {
            let definition = definition(line).filter(|_| source.is_rust());
            if let Some(id) = definition
                && let Some((first, at)) = defined.insert(id, (source, number))
            {
                let what = format!("{id} is also defined at {}:{at}", first.path);
                findings.push(Finding::error(source, number, what));
            }
            for id in ids(line).into_iter().filter(|id| Some(*id) != definition) {
                cited.entry(id).or_default().push((source, number));
            }
        }
    }
    let families: Vec<&str> = defined.keys().map(|id| family(id)).collect();
    for (id, places) in &cited {
        for (source, number) in places.iter().filter(|_| !defined.contains_key(id)) {
            if source.is_rust() || families.contains(&family(id)) {
                findings.push(Finding::error(source, *number, format!("{id} is not defined")));
            }
        }
    }
    for (id, (source, number)) in &defined {
        let in_code = |places: &Vec<(&Source, usize)>| places.iter().any(|(s, _)| s.is_rust());
        if !cited.get(id).is_some_and(in_code) {
            findings.push(Finding::error(source, *number, format!("{id} is cited nowhere")));
        }
    }
    findings
}

fn family(id: &str) -> &str {
    id.split_once('-').map_or(id, |(family, _)| family)
}

/// The id that a line of module documentation defines.
fn definition(line: &str) -> Option<&str> {
    let item = line.trim_start().strip_prefix("//!")?.trim_start().strip_prefix("- ")?;
    let item = item.trim_start_matches(['*', '`']);
    let id = *ids(item).first()?;
    let rest = item.strip_prefix(id)?.trim_start_matches(['*', '`']);
    rest.starts_with(':').then_some(id)
}

/// Every id in `line`: two or more capitals, a hyphen, digits.
fn ids(line: &str) -> Vec<&str> {
    let bytes = line.as_bytes();
    let mut found = Vec::new();
    for (hyphen, _) in line.match_indices('-') {
        let letters = bytes[..hyphen].iter().rev().take_while(|b| b.is_ascii_uppercase()).count();
        let digits = bytes[hyphen + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        let (start, end) = (hyphen - letters, hyphen + 1 + digits);
        let joined = |byte: u8| is_word(byte) || byte == b'-';
        let alone = (start == 0 || !joined(bytes[start - 1]))
            && !bytes.get(end).is_some_and(|b| joined(*b));
        if letters >= 2 && digits >= 1 && alone && !ORDINARY.contains(&&line[start..hyphen]) {
            found.push(&line[start..end]);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> =
            files.iter().map(|(path, text)| Source::new(*path, *text)).collect();
        check(&sources).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn ids_stand_alone() {
        assert_eq!(
            ids("// WAL-1, (FS-22) and UTF-8, X-1, IDEOGRAPH-4E00, A-WAL-3"),
            ["WAL-1", "FS-22"]
        );
    }

    #[test]
    fn what_is_defined_once_and_cited_passes() {
        let a = ("crates/x/src/a.rs", "//! - WAL-1: whole.\n// WAL-1\n");
        assert!(broken(&[a, ("docs/x.md", "WAL-1, ISO-1, DDR-5")]).is_empty());
    }

    #[test]
    fn duplicates_strangers_and_orphans_are_found() {
        let a = ("crates/x/src/a.rs", "//! - WAL-1: whole.\n");
        assert_eq!(broken(&[a]), ["WAL-1 is cited nowhere"]);
        let b = ("crates/x/src/b.rs", "//! - WAL-1: again.\n// see WAL-1 and WAL-2\n");
        let found = broken(&[a, b]);
        assert_eq!(found, ["WAL-1 is also defined at crates/x/src/a.rs:1", "WAL-2 is not defined"]);
        assert_eq!(
            broken(&[a, ("docs/x.md", "WAL-7")]),
            ["WAL-7 is not defined", "WAL-1 is cited nowhere"]
        );
    }
}
