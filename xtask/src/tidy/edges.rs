//! Edges between crates: the complete list of which may depend on which.

use super::Finding;
use super::source::Source;

/// Allowed dependencies of each crate on others of the workspace. The command line may use any.
const EDGES: [(&str, &[&str]); 6] = [
    ("base", &[]),
    ("wal", &["base"]),
    ("memtable", &["base"]),
    ("sstable", &["base"]),
    ("compaction", &["sstable", "base"]),
    ("engine", &["base", "wal", "memtable", "sstable", "compaction"]),
];

/// Checks a manifest under `crates/`.
pub fn check(source: &Source) -> Vec<Finding> {
    let Some(name) = crate_of(&source.path) else { return Vec::new() };
    if name == "cli" {
        return Vec::new();
    }
    let Some((_, allowed)) = EDGES.iter().find(|(known, _)| *known == name) else {
        return vec![Finding::error(source, 1, format!("crate `{name}` has no edges assigned"))];
    };
    let mut findings = Vec::new();
    let mut section = "";
    for (number, line) in (1..).zip(source.text.lines()) {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']');
        } else if section.ends_with("dependencies")
            && let Some(to) = dependency(line)
        {
            // A crate names itself to give its tests one of its own features.
            let in_tests = section.ends_with("dev-dependencies") && (to == "base" || to == name);
            if !in_tests && !allowed.contains(&to) {
                let what = format!("edge {name} → {to} is not allowed");
                findings.push(Finding::error(source, number, what));
            }
        }
    }
    findings
}

fn crate_of(path: &str) -> Option<&str> {
    path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")
}

/// The crate of the workspace that a dependency line names.
fn dependency(line: &str) -> Option<&str> {
    let end = line.find(['.', ' ', '='])?;
    match line[..end].strip_prefix("stratalog")? {
        "" => Some("engine"),
        rest => rest.strip_prefix('-'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(name: &str, manifest: &str) -> usize {
        check(&Source::new(format!("crates/{name}/Cargo.toml"), manifest)).len()
    }

    #[test]
    fn only_listed_edges_pass() {
        assert_eq!(edges("wal", "[dependencies]\nstratalog-base.workspace = true\n"), 0);
        assert_eq!(edges("wal", "[dependencies]\nstratalog-sstable = { path = \"x\" }\n"), 1);
        assert_eq!(edges("memtable", "[dependencies]\nstratalog.workspace = true\n"), 1);
        assert_eq!(edges("cli", "[dependencies]\nstratalog.workspace = true\n"), 0);
        assert_eq!(edges("newcomer", ""), 1);
    }

    #[test]
    fn tests_may_use_base_only() {
        assert_eq!(edges("base", "[dev-dependencies]\nstratalog-base.workspace = true\n"), 0);
        assert_eq!(edges("wal", "[dev-dependencies]\nstratalog-wal = { path = \".\" }\n"), 0);
        let other = "[target.'cfg(loom)'.dev-dependencies]\nstratalog-wal.workspace = true\n";
        assert_eq!(edges("sstable", other), 1);
    }
}
