//! Dead files: every Rust file is reached by `mod` from the root of a crate or a test.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::source::Source;

/// Checks all files of `crates/`, `xtask/` and `benches/`.
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let files: BTreeMap<&str, &Source> = sources
        .iter()
        .filter(|source| source.is_rust())
        .filter(|source| {
            ["crates/", "xtask/", "benches/"].iter().any(|d| source.path.starts_with(d))
        })
        .map(|source| (source.path.as_str(), source))
        .collect();
    let mut reached = BTreeSet::new();
    let mut pending: Vec<String> =
        files.keys().filter(|path| is_root(path)).map(|path| (*path).to_owned()).collect();
    while let Some(path) = pending.pop() {
        if let Some(source) = files.get(path.as_str())
            && reached.insert(path)
        {
            pending.extend(children(source));
        }
    }
    let dead = files.iter().filter(|(path, _)| !reached.contains(**path));
    dead.map(|(_, source)| Finding::error(source, 1, "no `mod` leads to this file")).collect()
}

/// Whether cargo starts at this file by itself.
fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.rsplit('/').collect();
    matches!(
        parts[..],
        ["lib.rs" | "main.rs", "src", ..]
            | ["build.rs", ..]
            | [_, "bin", "src", ..]
            | [_, "tests" | "examples" | "benches", _, "crates"]
            | [_, "benches", "benches"]
            | ["main.rs", _, "bin" | "tests" | "examples" | "benches", ..]
    )
}

/// The files that the `mod` declarations of `source` may mean.
fn children(source: &Source) -> Vec<String> {
    let (dir, name) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let own = match name {
        "lib.rs" | "main.rs" | "mod.rs" => dir.to_owned(),
        _ if is_root(&source.path) => dir.to_owned(),
        _ => format!("{dir}/{}", name.trim_end_matches(".rs")),
    };
    let mut found = Vec::new();
    let lines: Vec<&str> = source.text.lines().collect();
    for (number, line) in source.code_lines() {
        let Some(declared) = line.trim().strip_suffix(';') else { continue };
        let Some(at) =
            declared.find("mod ").filter(|&at| at == 0 || declared[..at].starts_with("pub"))
        else {
            continue;
        };
        let attribute =
            lines[..number - 1].last().and_then(|line| line.trim().strip_prefix("#[path = \""));
        match attribute.and_then(|rest| rest.strip_suffix("\"]")) {
            Some(file) => found.push(normal(&format!("{dir}/{file}"))),
            None => {
                let module = declared[at + 4..].trim();
                found.push(format!("{own}/{module}.rs"));
                found.push(format!("{own}/{module}/mod.rs"));
            }
        }
    }
    found
}

/// `path` with `..` resolved.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_no_module_names_are_dead() {
        let sources = [
            ("crates/x/src/lib.rs", "pub mod a;\n#[cfg(test)]\nmod tests;\nmod inline { }\n"),
            ("crates/x/src/a.rs", "// mod dead;\npub(crate) mod b;\n"),
            ("crates/x/src/a/b.rs", "#[path = \"../c/odd.rs\"]\nmod c;\n"),
            ("crates/x/src/c/odd.rs", ""),
            ("crates/x/src/tests.rs", ""),
            ("crates/x/src/a/dead.rs", ""),
            ("crates/x/tests/loom.rs", ""),
            ("crates/x/tests/it/main.rs", "mod model;\n"),
            ("crates/x/tests/it/model.rs", ""),
            ("crates/x/tests/it/lost.rs", ""),
        ];
        let sources = sources.map(|(path, text)| Source::new(path, text));
        let dead: Vec<String> = check(&sources).into_iter().map(|finding| finding.path).collect();
        assert_eq!(dead, ["crates/x/src/a/dead.rs", "crates/x/tests/it/lost.rs"]);
    }
}
