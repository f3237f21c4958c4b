//! `check`: everything that a change must pass besides its tests.

use std::time::{Duration, Instant};

use crate::run::{self as commands, Args, Outcome, cargo, is_installed};
use crate::tidy;

type Step = (&'static str, fn() -> Outcome);

const STEPS: [Step; 5] =
    [("fmt", fmt), ("tidy", tidy_step), ("clippy", clippy), ("doc", doc), ("deny", deny)];

/// Runs every step, also after one has failed, and sums up.
fn run_steps(skipped: &[&str]) -> Vec<(&'static str, Option<Outcome>, Duration)> {
    let mut results = Vec::new();
    for (name, step) in STEPS {
        if skipped.contains(&name) {
            results.push((name, None, Duration::ZERO));
            continue;
        }
        println!("── {name}");
        let start = Instant::now();
        let outcome = step();
        if let Err(why) = &outcome {
            println!("{why}");
        }
        results.push((name, Some(outcome), start.elapsed()));
    }
    results
}

/// The sub-command.
pub fn run(args: &[String]) -> Outcome {
    let args = Args::parse(args, &["--skip"])?;
    args.no_words()?;
    let mut skipped: Vec<&str> =
        args.get("--skip").unwrap_or_default().split_terminator(',').collect();
    if let Some(unknown) = skipped.iter().find(|skip| !STEPS.iter().any(|(name, _)| name == *skip))
    {
        return Err(format!("no step `{unknown}`"));
    }
    if !is_installed("cargo-deny") {
        skipped.push("deny");
    }
    let results = run_steps(&skipped);
    println!("──");
    let mut failed = Vec::new();
    for (name, outcome, took) in results {
        let word = match outcome {
            None => "skipped",
            Some(Ok(())) => "ok",
            Some(Err(_)) => {
                failed.push(name);
                "FAILED"
            }
        };
        println!("{name:8} {word:8} {:6.1} s", took.as_secs_f64());
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("check failed: {}", failed.join(", "))) }
}

fn fmt() -> Outcome {
    commands::run(&mut cargo(["fmt", "--all", "--check"]))
}

fn tidy_step() -> Outcome {
    tidy::run(&[])
}

/// Everything, then once more what has the feature `zstd`.
fn clippy() -> Outcome {
    let zstd =
        ["-p", "stratalog-sstable", "-p", "stratalog", "-p", "stratalog-cli", "--features", "zstd"];
    for packages in [&["--workspace"][..], &zstd] {
        let mut command = cargo(["clippy", "--all-targets"]);
        commands::run(command.args(packages).args(["--", "-D", "warnings"]))?;
    }
    Ok(())
}

fn doc() -> Outcome {
    commands::run(cargo(["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Licences, sources and duplicates, where `cargo-deny` is installed.
fn deny() -> Outcome {
    commands::run(&mut cargo(["deny", "check", "bans", "licenses", "sources"]))
}
