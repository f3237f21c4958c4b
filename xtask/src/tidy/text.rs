//! What no file holds: notes to self, debugging left-overs, paths of one machine; and files that grew
//! too long to read.

use super::Finding;
use super::source::Source;

/// Lines without tests after which a file is too long.
const MOST_LINES: usize = 500;
/// Lines without tests after which it should be split soon.
const MANY_LINES: usize = 400;

const NOTES: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
const LEFT_OVERS: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];
const HOMES: [&str; 4] =
    [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];

/// Checks any file.
pub fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(source.text.lines()) {
        if let Some(note) = NOTES.iter().find(|note| line.contains(**note)) {
            findings.push(Finding::error(source, number, format!("`{note}`: do it or drop it")));
        }
        if let Some(home) = HOMES.iter().find(|home| holds_path(line, home)) {
            findings.push(Finding::error(
                source,
                number,
                format!("`{home}…` is a path of one machine"),
            ));
        }
    }
    for (number, line) in source.code_lines() {
        if let Some(macro_name) = LEFT_OVERS.iter().find(|name| line.contains(**name)) {
            findings.push(Finding::error(
                source,
                number,
                format!("`{macro_name}` left in the code"),
            ));
        }
    }
    if source.is_rust() && !source.is_test_file() {
        let lines = source.code_lines().filter(|(number, _)| !source.is_test_line(*number)).count();
        let what = format!("{lines} lines without tests: split it (limit {MOST_LINES})");
        match lines {
            _ if lines > MOST_LINES => findings.push(Finding::error(source, 1, what)),
            _ if lines > MANY_LINES => findings.push(Finding::warning(source, 1, what)),
            _ => {}
        }
    }
    findings
}

/// Whether `line` holds an absolute path below `home`, and not a part of a longer path or address.
fn holds_path(line: &str, home: &str) -> bool {
    line.match_indices(home).any(|(at, _)| {
        !line[..at].ends_with(|before: char| before.is_alphanumeric() || "._-~/}".contains(before))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> usize {
        check(&Source::new(path, text)).iter().filter(|finding| !finding.warning).count()
    }

    #[test]
    fn left_overs_are_found_in_code_only() {
        assert_eq!(broken("a.rs", "fn f() { todo!() }\n"), 1);
        assert_eq!(broken("a.rs", "// todo! is banned\nlet x = \"dbg!\";\n"), 0);
        assert_eq!(broken("a.md", concat!("TO", "DO: write\n")), 1);
    }

    #[test]
    fn machine_paths_are_found_and_addresses_are_not() {
        assert_eq!(broken("a.md", concat!("see /ho", "me/ada/x\n")), 1);
        assert_eq!(broken("a.md", concat!("see https://x.y/ho", "me/ada\n")), 0);
    }

    #[test]
    fn long_files_are_found_without_their_tests() {
        let long = "fn f() {}\n".repeat(501);
        assert_eq!(broken("a.rs", &long), 1);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    fn f() {}\n".repeat(501));
        assert_eq!(broken("a.rs", &tests), 0);
        assert_eq!(check(&Source::new("a.rs", &long[..long.len() / 501 * 450])).len(), 1);
    }
}
