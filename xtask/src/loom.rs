//! `loom`: runs the concurrency models of every crate that has `tests/loom.rs`.

use std::fs;

use crate::run::{self as commands, Args, Outcome, cargo, root, target_dir};

/// The sub-command.
pub fn run(args: &[String]) -> Outcome {
    let args = Args::parse(args, &[])?;
    let modelled = modelled()?;
    for word in &args.words {
        if !modelled.iter().any(|(dir, package)| word == dir || word == package) {
            return Err(format!("`{word}` has no tests/loom.rs"));
        }
    }
    let wanted = |dir: &String, package: &String| {
        args.words.is_empty() || args.words.contains(dir) || args.words.contains(package)
    };
    for (_, package) in modelled.iter().filter(|(dir, package)| wanted(dir, package)) {
        println!("── loom: {package}");
        commands::run(
            cargo(["test", "--release", "-p", package, "--test", "loom"])
                .env("RUSTFLAGS", "--cfg loom")
                .env("CARGO_TARGET_DIR", target_dir().join("loom"))
                .env("LOOM_MAX_PREEMPTIONS", variable("LOOM_MAX_PREEMPTIONS", "2"))
                .env("LOOM_MAX_BRANCHES", variable("LOOM_MAX_BRANCHES", "10000")),
        )?;
    }
    Ok(())
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// Directory and package name of every crate with models, in alphabetical order.
fn modelled() -> Result<Vec<(String, String)>, String> {
    let crates = fs::read_dir(root().join("crates")).map_err(|why| format!("crates: {why}"))?;
    let mut found = Vec::new();
    for entry in crates.flatten() {
        if entry.path().join("tests/loom.rs").exists() {
            let manifest = fs::read_to_string(entry.path().join("Cargo.toml"))
                .map_err(|why| format!("{}: {why}", entry.path().display()))?;
            let name = manifest
                .lines()
                .find_map(|line| line.strip_prefix("name = "))
                .ok_or_else(|| format!("{}: no name", entry.path().display()))?;
            let dir = entry.file_name().to_string_lossy().into_owned();
            found.push((dir, name.trim_matches('"').to_owned()));
        }
    }
    found.sort_unstable();
    Ok(found)
}
